"""A server's session database: when it is asked, with what, and what its entries tell."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import Certificates
from pair import TLS12, TLS13, Pair, Setting

from gnutls_resume.binding import (
    Credentials,
    HandshakeType,
    HookTime,
    InitFlag,
    Sealing,
    SealingKey,
    Session,
    TicketKey,
    db_check_entry_expire_time,
    db_check_entry_time,
    db_get_default_cache_expiration,
    envelope,
)

WEEK = 604_800  # seconds; the longest life of a session
BOTH, NEITHER = (True, True), (False, False)


@dataclass
class Watched:
    """A database that notes what it is asked."""

    entries: dict[bytes, bytes] = field(default_factory=dict)
    asked: list[tuple[str, bytes]] = field(default_factory=list)

    def store(self, key: bytes, data: bytes) -> None:
        self.asked.append(("store", key))
        self.entries[key] = data

    def retrieve(self, key: bytes) -> bytes | None:
        self.asked.append(("retrieve", key))
        return self.entries.get(key)

    def remove(self, key: bytes) -> None:
        self.asked.append(("remove", key))
        self.entries.pop(key, None)

    def attach(self, server: Session) -> None:
        server.db_set_functions(store=self.store, retrieve=self.retrieve, remove=self.remove)

    def setting(self, certificates: Certificates, seconds: int | None = None) -> Setting:
        def prepare(client: Session, server: Session) -> None:
            self.attach(server)
            if seconds is not None:
                client.db_set_cache_expiration(seconds)
                server.db_set_cache_expiration(seconds)

        no_tickets = InitFlag.NO_TICKETS
        return Setting(certificates, TLS12, client_flags=no_tickets, prepare=prepare)


@pytest.fixture
def database() -> Watched:
    return Watched()


@pytest.fixture
def server() -> Session:
    return Session("server", Credentials())


@pytest.fixture
def entry(database: Watched, certificates: Certificates) -> tuple[bytes, bytes]:
    """A session ID and what is stored under it."""
    database.setting(certificates).connect()
    (item,) = database.entries.items()
    return item


# -- when it is asked -------------------------------------------------------------------------


def test_session_is_stored_under_its_id_and_retrieved_by_it(
    database: Watched, certificates: Certificates
) -> None:
    setting = database.setting(certificates)
    with setting.pair() as pair:
        pair.handshake()
        pair.exchange()
        session_id = pair.server.get_id()
        data = pair.client.get_data()
        assert pair.client.get_id() == session_id
    assert len(session_id) == 32
    assert database.asked == [("store", session_id)]
    database.asked.clear()
    with setting.pair(data) as pair:
        pair.handshake()
        assert pair.resumed == BOTH
        assert pair.server.get_id() == session_id
    assert database.asked == [("retrieve", session_id)], "what resumed is not stored again"
    assert all(type(key) is bytes for key in database.entries)
    assert all(type(value) is bytes for value in database.entries.values())


def hello_ids(setting: Setting, data: bytes | None = None) -> tuple[list[bytes], Pair]:
    """The session ID in the ClientHello as it stands on the wire (RFC 5246 §7.4.1.2)."""
    ids: list[bytes] = []

    def note(_s: Session, _kind: int, _when: int, _in: object, message: bytes) -> None:
        ids.append(message[35 : 35 + message[34]])

    with setting.pair(data) as pair:
        pair.server.handshake_set_hook_function(HandshakeType.CLIENT_HELLO, HookTime.PRE, note)
        pair.handshake()
        pair.exchange()
        return ids, pair


@pytest.mark.parametrize("priority", [TLS12, "NORMAL"])
def test_keys_of_retrieve_are_what_the_client_sent(
    priority: str, database: Watched, certificates: Certificates
) -> None:
    """Also the random ID of a client that can do TLS 1.3, and none where the client has none."""
    setting = replace(
        database.setting(certificates), client_priority=priority, server_priority=TLS12
    )
    ((sent,), _) = hello_ids(setting)
    assert len(sent) == (0 if priority == TLS12 else 32)
    retrieved = [key for name, key in database.asked if name == "retrieve"]
    assert retrieved == ([sent] if sent else [])

    data, _ = setting.connect()
    database.asked.clear()
    ((sent,), _) = hello_ids(setting, data)
    assert database.asked == [("retrieve", sent)]
    assert sent in database.entries


def test_database_is_asked_even_where_a_ticket_resumes(
    database: Watched, certificates: Certificates
) -> None:
    setting = replace(
        database.setting(certificates),
        client_flags=InitFlag.NONE,
        ticket_key=TicketKey.generate(),
    )
    data, _ = setting.connect()
    assert database.asked == []
    assert setting.connect(data)[1] == BOTH
    assert [name for name, _ in database.asked] == ["retrieve"]


def test_database_is_not_asked_in_tls_1_3(database: Watched, certificates: Certificates) -> None:
    setting = replace(
        database.setting(certificates), priority=TLS13, ticket_key=TicketKey.generate()
    )
    with setting.pair() as pair:
        pair.handshake()
        pair.exchange()
        pair.server.db_remove_session()
    assert {name for name, _ in database.asked} <= {"remove"}


def test_sessions_of_one_server_do_not_resume_at_another(certificates: Certificates) -> None:
    one, other = Watched(), Watched()
    data, _ = one.setting(certificates).connect()
    assert other.setting(certificates).connect(data)[1] == NEITHER
    assert one.setting(certificates).connect(data)[1] == BOTH


def test_later_functions_replace_the_earlier(certificates: Certificates) -> None:
    one, other = Watched(), Watched()
    setting = one.setting(certificates)
    prepare = setting.prepare
    assert prepare is not None

    def twice(client: Session, server: Session) -> None:
        prepare(client, server)
        other.attach(server)

    setting.prepare = twice
    data, _ = setting.connect()
    assert setting.connect(data)[1] == BOTH
    assert one.asked == []
    assert len(other.entries) == 1


def test_remove_is_called_with_the_session_id_and_only_then(
    database: Watched, certificates: Certificates
) -> None:
    with database.setting(certificates).pair() as pair:
        pair.handshake()
        session_id = pair.server.get_id()
        for _ in range(2):
            pair.server.db_remove_session()
        pair.exchange()
    assert database.asked == [("store", session_id), *([("remove", session_id)] * 2)]
    assert database.entries == {}


def test_remove_without_a_database_does_nothing(certificates: Certificates) -> None:
    with Setting(certificates, TLS12).pair() as pair:
        pair.handshake()
        pair.server.db_remove_session()
        pair.exchange()


# -- what an entry tells ----------------------------------------------------------------------


def test_default_expiration_is_six_hours() -> None:
    assert db_get_default_cache_expiration() == 21_600


@pytest.mark.parametrize("seconds", [None, 1, 1000, WEEK])
def test_times_of_an_entry_are_those_of_its_handshake(
    seconds: int | None, database: Watched, certificates: Certificates
) -> None:
    before = int(time.time())
    with database.setting(certificates, seconds).pair() as pair:
        pair.handshake()
        after = int(time.time())
        data = pair.client.get_data()
    (entry,) = database.entries.values()
    assert data is not None
    for session in (entry, data):
        created = db_check_entry_time(session)
        # GnuTLS's clock may differ from Python's a little: one is coarse.
        assert before - 1 <= created <= after + 1
        assert db_check_entry_expire_time(session) - created == (seconds or 21_600)


@pytest.mark.parametrize("like", [bytearray, memoryview])
def test_entry_may_be_any_bytes_like_object(
    like: Callable[[bytes], Any], entry: tuple[bytes, bytes], server: Session
) -> None:
    key, data = entry
    assert db_check_entry_time(like(data)) == db_check_entry_time(data)
    assert db_check_entry_expire_time(like(data)) == db_check_entry_expire_time(data)
    assert server.db_check_entry(like(data))
    assert server.db_check_entry(like(data), key)


# -- whether an entry would resume ------------------------------------------------------------


def test_entry_would_resume(entry: tuple[bytes, bytes], server: Session) -> None:
    key, data = entry
    assert server.db_check_entry(data) is True
    assert server.db_check_entry(data, key) is True
    assert server.db_check_entry(data=data, key=key) is True


def test_damage_shows_with_the_key(entry: tuple[bytes, bytes], server: Session) -> None:
    key, data = entry
    for place in (150, -1):
        damaged = bytearray(data)
        damaged[place] ^= 1
        assert server.db_check_entry(damaged) is True
        assert server.db_check_entry(damaged, key) is False
    for size in (1, 105, 106, len(data) - 1):
        assert server.db_check_entry(data[:size]) is False
        assert server.db_check_entry(data[:size], key) is False


def test_entry_of_another_key_would_not_resume(entry: tuple[bytes, bytes], server: Session) -> None:
    key, data = entry
    for other in (b"", key[:-1], key + b"\0", bytes(32)):
        assert server.db_check_entry(data, other) is False


def test_expired_entry_would_not_resume(
    entry: tuple[bytes, bytes], server: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, data = entry
    end = db_check_entry_expire_time(data)
    for now, alive in ((end - 1, True), (end, False), (end + 1, False)):
        monkeypatch.setattr(envelope, "time", SimpleNamespace(time=lambda now=now: now))
        assert server.db_check_entry(data) is alive
        assert server.db_check_entry(data, key) is alive


def test_session_of_a_client_would_not_resume(
    database: Watched, server: Session, certificates: Certificates
) -> None:
    data, _ = database.setting(certificates).connect()
    assert data is not None
    assert server.db_check_entry(data) is False
    assert server.db_check_entry(data, b"") is False


def test_entry_of_another_context_would_not_resume(
    entry: tuple[bytes, bytes], certificates: Certificates
) -> None:
    key, data = entry
    other = Session("server", certificates.server(), sealing=Sealing(context=b"other"))
    assert other.db_check_entry(data) is False
    assert other.db_check_entry(data, key) is False


@pytest.mark.parametrize("sealing", [None, Sealing(SealingKey.generate())], ids=["clear", "other"])
def test_entry_sealed_otherwise_would_not_resume_whether_the_id_is_given_or_not(
    sealing: Sealing | None, database: Watched, certificates: Certificates
) -> None:
    replace(database.setting(certificates), server_sealing=sealing).connect()
    ((key, data),) = database.entries.items()
    server = Session("server", certificates.server(), sealing=Sealing(SealingKey.generate()))
    assert server.db_check_entry(data, key) is False
    assert server.db_check_entry(data) is False


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((None,), TypeError),
        (("text",), TypeError),
        ((b"",), ValueError),
        ((bytes(65_537),), ValueError),
        ((b"", b"key"), ValueError),
        ((None, b"key"), TypeError),
    ],
    ids=lambda value: str(value)[:20],
)
def test_check_of_what_cannot_be_an_entry_is_an_error(
    arguments: tuple[Any, ...], error: type[Exception], server: Session
) -> None:
    with pytest.raises(error, match="session data must be"):
        server.db_check_entry(*arguments)


@pytest.mark.parametrize("key", ["text", 5, [1]])
def test_key_of_a_check_must_be_bytes(
    key: Any, entry: tuple[bytes, bytes], server: Session
) -> None:
    with pytest.raises(TypeError):
        server.db_check_entry(entry[1], key)
