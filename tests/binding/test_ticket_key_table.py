"""Several secrets at once: which one a ticket's key is made of, in C, once a session."""

import hmac
import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Certificates
from derived import NAME, derived, ticket_key
from deriving import (
    FULL,
    KNOWN,
    NONE,
    OTHER_POLICY,
    POLICY,
    RESUMED,
    RETRY,
    UNKNOWN,
    deriving,
    meet,
    ticket,
)
from hellos import PRE_SHARED_KEY, SESSION_TICKET, Hello, first_flight, framed, psk
from pair import TLS12, TLS13, Setting, in_thread

from gnutls_resume.binding import (
    HandshakeType,
    HookTime,
    InitFlag,
    MemoryTransport,
    Protocol,
    Session,
    TicketKey,
    TicketKeyTable,
    TicketSecret,
)
from gnutls_resume.binding.ticket import MAX_SECRETS
from gnutls_resume.errors import WantReadError

MAC = 20  # bytes; at the end of GnuTLS's tickets, HMAC-SHA1
WAYS: dict[str, dict[str, Any]] = {
    "tls12": {"priority": TLS12},
    "tls13": {"priority": TLS13},
    "retry": RETRY,
    "tls13-client-on-tls12": {"client_priority": "NORMAL", "server_priority": TLS12},
}
VERSIONS = {"tls12": Protocol.TLS1_2, "tls13": Protocol.TLS1_3}
each_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
each_version = pytest.mark.parametrize("version", VERSIONS)


def new_secrets(count: int = 3) -> list[TicketSecret]:
    return [TicketSecret.generate() for _ in range(count)]


def issued(setting: Setting, data: bytes | None = None) -> list[bytes]:
    """The tickets that a server sends, as they stand on the wire; nothing fails."""
    tickets: list[bytes] = []

    def note(session: Session, _kind: int, _when: int, _in: object, message: bytes) -> None:
        # lifetime, and in TLS 1.3 a number to add and a nonce, before the ticket
        at = 4 if session.protocol_get_version() is Protocol.TLS1_2 else 8 + 1 + message[8]
        tickets.append(message[at + 2 : at + 2 + int.from_bytes(message[at : at + 2])])

    with setting.pair(data) as pair:
        kind = HandshakeType.NEW_SESSION_TICKET
        pair.client.handshake_set_hook_function(kind, HookTime.PRE, note)
        pair.handshake()
        pair.exchange()
        assert len(tickets) == pair.client.own.tickets
        assert not tickets or pair.server.ticket_failures == 0
    return tickets


def names_of(raw: bytes, version: Protocol, policy: bytes = POLICY) -> set[bytes]:
    """Of the keys that are made of a secret now."""
    key = ticket_key(raw, policy, version)
    return {derived(key, period)[:NAME] for period in (0, -1)}


# -- the choice -------------------------------------------------------------------------------


@each_way
def test_ticket_of_each_secret_resumes_and_no_other(
    way: dict[str, Any], certificates: Certificates
) -> None:
    """Of the current epoch, the one before, the next; and of one that is not in the table."""
    *known, unknown = new_secrets(4)
    ring = deriving(certificates, TicketKeyTable(*known), **way)
    assert meet(ring) == (FULL, NONE)
    for secret in known:
        data = ticket(deriving(certificates, secret, **way))
        for _ in range(3):
            assert meet(ring, data) == (RESUMED, KNOWN)
    data = ticket(deriving(certificates, unknown, **way))
    for _ in range(3):
        assert meet(ring, data) == (FULL, UNKNOWN)


def test_hello_retry_request_ends_no_handshake(certificates: Certificates) -> None:
    """100 each, under the current, the previous, the next and an unknown key, and under none: a
    second key for the second hello would be refused, and fatal.
    """
    *known, unknown = new_secrets(4)
    table = TicketKeyTable(*known)
    calls: list[Session] = []
    ring = deriving(
        certificates,
        table,
        set_up=lambda server: server.handshake_set_post_client_hello_function(calls.append),
        client_credentials=certificates.client(),
        server_credentials=certificates.server(),
        **RETRY,
    )
    for secret in known:
        data = ticket(deriving(certificates, secret, **RETRY))
        assert [meet(ring, data) for _ in range(100)] == [(RESUMED, KNOWN)] * 100
    data = ticket(deriving(certificates, unknown, **RETRY))
    assert [meet(ring, data) for _ in range(100)] == [(FULL, UNKNOWN)] * 100
    assert [meet(ring) for _ in range(100)] == [(FULL, NONE)] * 100
    assert len(calls) == 2 * 500


@each_version
def test_new_tickets_are_made_under_the_first_secret(
    version: str, certificates: Certificates
) -> None:
    raws = [os.urandom(32) for _ in range(3)]
    ring = deriving(certificates, TicketKeyTable(*map(TicketSecret, raws)), **WAYS[version])
    for name in (each[:NAME] for each in issued(ring)):
        assert name in names_of(raws[0], VERSIONS[version])


def test_tickets_of_a_resumption_end_with_the_secret_of_the_one_offered(
    certificates: Certificates,
) -> None:
    """They would expire then anyhow: their lifetime is what is left of the first. In TLS 1.2
    GnuTLS sends none.
    """
    raws = [os.urandom(32) for _ in range(3)]
    secrets = [TicketSecret(raw) for raw in raws]
    data = ticket(deriving(certificates, secrets[1], priority=TLS13))
    tickets = issued(deriving(certificates, TicketKeyTable(*secrets), priority=TLS13), data)
    assert tickets
    for name in (each[:NAME] for each in tickets):
        assert name in names_of(raws[1], Protocol.TLS1_3)
    data = ticket(deriving(certificates, secrets[1], priority=TLS12))
    assert issued(deriving(certificates, TicketKeyTable(*secrets), priority=TLS12), data) == []


@each_version
@pytest.mark.parametrize(
    "raw", [bytes(range(32)), bytes(range(200, 232))], ids=["one-secret", "another"]
)
def test_key_is_the_one_that_python_computes(
    raw: bytes, version: str, certificates: Certificates
) -> None:
    """Its name, and its last part, under which GnuTLS authenticates the ticket (RFC 5077 §4)."""
    key = ticket_key(raw, OTHER_POLICY, VERSIONS[version])
    keys = {it[:NAME]: it for it in (derived(key), derived(key, -1))}
    table = TicketKeyTable(TicketSecret(raw), *new_secrets())
    (first, *_) = issued(deriving(certificates, table, OTHER_POLICY, **WAYS[version]))
    mac_key = keys[first[:NAME]][NAME + 32 :]
    assert hmac.digest(mac_key, first[:-MAC], "sha1") == first[-MAC:]


def test_table_has_at_most_8_secrets(certificates: Certificates) -> None:
    secrets = new_secrets(MAX_SECRETS + 1)
    assert MAX_SECRETS == 8
    with pytest.raises(ValueError, match="a table has at most 8 secrets, not 9"):
        TicketKeyTable(*secrets)
    table = TicketKeyTable(*secrets[:8])
    assert repr(table) == "<TicketKeyTable of 8>"
    for secret in secrets[:8]:
        data = ticket(deriving(certificates, secret))
        assert meet(deriving(certificates, table), data) == (RESUMED, KNOWN)
    data = ticket(deriving(certificates, secrets[8]))
    assert meet(deriving(certificates, table), data) == (FULL, UNKNOWN)


def test_table_takes_secrets_alone() -> None:
    secret = TicketSecret.generate()
    for others in ([TicketKey.generate()], [bytes(range(32))], [None]):
        with pytest.raises(TypeError, match="a table's secret must be TicketSecret, not"):
            TicketKeyTable(secret, *others)  # type: ignore[arg-type]


@each_version
@pytest.mark.parametrize("seconds", [60, 86_400, 604_800])
def test_lifetime_may_be_any(seconds: int, version: str, certificates: Certificates) -> None:
    def with_lifetime(holder: TicketSecret | TicketKeyTable, seconds: int) -> Setting:
        def set_up(server: Session) -> None:
            server.db_set_cache_expiration(seconds)

        return deriving(certificates, holder, set_up=set_up, **WAYS[version])

    secrets = new_secrets()
    table = TicketKeyTable(*secrets)
    for secret in secrets:
        data = ticket(with_lifetime(secret, seconds))
        assert meet(with_lifetime(table, seconds), data) == (RESUMED, KNOWN)
        assert meet(with_lifetime(table, seconds // 2), data) == (FULL, UNKNOWN)


# -- the end of a secret ----------------------------------------------------------------------


@pytest.mark.parametrize("remembered", [True, False], ids=["remembered", "first"])
@pytest.mark.parametrize("wiped", range(3), ids=["current", "previous", "next"])
@each_way
def test_wiped_secret_is_passed_over(
    *, way: dict[str, Any], wiped: int, remembered: bool, certificates: Certificates
) -> None:
    """Also if the names of its keys are known. Without the current one there are no new tickets."""
    secrets = new_secrets()
    sessions = [ticket(deriving(certificates, secret, **way)) for secret in secrets]
    ring = deriving(certificates, TicketKeyTable(*secrets), **way)
    if remembered:
        assert [meet(ring, data) for data in sessions] == [(RESUMED, KNOWN)] * 3
    secrets[wiped].wipe()
    for number, data in enumerate([*sessions, None]):
        with ring.pair(data) as pair:
            pair.handshake()
            pair.exchange()
            known = data is not None and number != wiped
            assert pair.resumed == (RESUMED if known else FULL)
            assert pair.server.ticket_offered() is (
                KNOWN if known else NONE if data is None else UNKNOWN
            )
            assert pair.server.ticket_failures == (wiped == 0 and not known)
            if pair.server.ticket_failures:
                assert pair.client.own.tickets == 0


@each_version
def test_secrets_wiped_while_handshakes_run_harm_none(
    version: str, certificates: Certificates
) -> None:
    """Nor is there ever a ticket under a key made of half a secret, or of none."""
    chance = random.Random(1)  # noqa: S311
    for _ in range(60):
        raws = [os.urandom(32) for _ in range(3)]
        secrets = [TicketSecret(raw) for raw in raws]
        setting = deriving(certificates, TicketKeyTable(*secrets), **WAYS[version])
        data = ticket(deriving(certificates, secrets[chance.randrange(3)], **WAYS[version]))
        start = threading.Barrier(2)

        def wipe(
            secrets: list[TicketSecret] = secrets,
            start: threading.Barrier = start,
            moment: float = chance.random() / 1000,
        ) -> None:
            start.wait(30)
            end = time.perf_counter() + moment
            while time.perf_counter() < end:
                pass
            for secret in secrets:
                secret.wipe()

        with in_thread(wipe) as errors:
            start.wait(30)
            tickets = issued(setting, data)
        assert not errors
        names = set().union(*(names_of(raw, VERSIONS[version]) for raw in raws))
        assert {each[:NAME] for each in tickets} <= names


# -- what is remembered -----------------------------------------------------------------------


def test_names_of_many_contexts_do_not_get_mixed_up(certificates: Certificates) -> None:
    """More than a table remembers, so that they take each other's places."""
    secrets = new_secrets()
    table = TicketKeyTable(*secrets)
    contexts: list[dict[str, Any]] = [
        {"policy": policy, "alpn": alpn, "priority": priority}
        for policy in (POLICY, OTHER_POLICY)
        for alpn in (None, *(b"protocol %d" % number for number in range(8)))
        for priority in (TLS12, TLS13)
    ]
    assert len(contexts) == 36
    credentials = {
        "client_credentials": certificates.client(),
        "server_credentials": certificates.server(),
    }
    sessions = [
        ticket(deriving(certificates, secrets[number % 3], **context, **credentials))
        for number, context in enumerate(contexts)
    ]
    chance = random.Random(2)  # noqa: S311
    for _ in range(300):
        one, other = chance.randrange(36), chance.randrange(36)
        if contexts[one]["priority"] != contexts[other]["priority"]:
            other = one
        ring = deriving(certificates, table, **contexts[one], **credentials)
        expected = (RESUMED, KNOWN) if one == other else (FULL, UNKNOWN)
        assert meet(ring, sessions[other]) == expected, (one, other)


@each_version
def test_threads_share_a_table(version: str, certificates: Certificates) -> None:
    *known, unknown = new_secrets(4)
    table = TicketKeyTable(*known)
    expected = [*[(RESUMED, KNOWN)] * 3, (FULL, UNKNOWN)]
    sessions = [
        ticket(deriving(certificates, secret, **WAYS[version])) for secret in (*known, unknown)
    ]

    def work() -> None:
        ring = deriving(
            certificates,
            table,
            client_credentials=certificates.client(),
            server_credentials=certificates.server(),
            **WAYS[version],
        )
        for _ in range(20):
            assert [meet(ring, data) for data in sessions] == expected

    with in_thread(work) as one, in_thread(work) as two, in_thread(work) as three:
        work()
    assert not [*one, *two, *three]


# -- beside the session database --------------------------------------------------------------


def with_database(database: dict[bytes, bytes], asked: list[bytes]) -> Callable[[Session], None]:
    def retrieve(key: bytes) -> bytes | None:
        asked.append(key)
        return database.get(key)

    def set_up(server: Session) -> None:
        server.db_set_functions(store=database.__setitem__, retrieve=retrieve, remove=database.pop)

    return set_up


@pytest.mark.parametrize("alpn", [None, b"h2"])
@pytest.mark.parametrize("client", ["tls12", "tls13"])
def test_ticket_that_is_known_spares_the_question(
    client: str, alpn: bytes | None, certificates: Certificates
) -> None:
    """Under each secret; one that is not known, or not here, does not."""
    fields = {
        "client_priority": TLS12 if client == "tls12" else "NORMAL",
        "server_priority": TLS12,
        "alpn": alpn,
    }
    *known, unknown = new_secrets(4)
    asked: list[bytes] = []
    set_up = with_database({}, asked)
    table = TicketKeyTable(*known)
    ring = deriving(certificates, table, set_up=set_up, **fields)
    for secret in known:
        data = ticket(deriving(certificates, secret, **fields))
        assert meet(ring, data) == (RESUMED, KNOWN)
        assert asked == []
        elsewhere = deriving(certificates, table, OTHER_POLICY, set_up=set_up, **fields)
        assert meet(elsewhere, data) == (FULL, UNKNOWN)
        assert len(asked) == 1
        asked.clear()
    data = ticket(deriving(certificates, unknown, **fields))
    assert meet(ring, data) == (FULL, UNKNOWN)
    assert len(asked) == 1


def test_database_is_not_asked_in_tls13(certificates: Certificates) -> None:
    asked: list[bytes] = []
    secrets = new_secrets()
    set_up = with_database({}, asked)
    ring = deriving(certificates, TicketKeyTable(*secrets), set_up=set_up, priority=TLS13)
    for secret in (*secrets, TicketSecret.generate()):
        meet(ring, ticket(deriving(certificates, secret, priority=TLS13)))
    assert asked == []


@pytest.mark.parametrize("offered", ["known", "unknown", "as-psk"])
def test_client_that_offers_both_a_ticket_and_an_id(
    offered: str, certificates: Certificates
) -> None:
    """The ticket comes first, if it is known. A TLS 1.3 identity is none in TLS 1.2, whatever it
    says.
    """
    database: dict[bytes, bytes] = {}
    asked: list[bytes] = []
    secrets = new_secrets()
    ring = deriving(
        certificates,
        TicketKeyTable(*secrets),
        set_up=with_database(database, asked),
        priority=TLS12,
    )
    ring.client_flags = InitFlag.NO_TICKETS
    assert meet(ring) == (FULL, NONE)
    (session_id,) = database
    ring.client_flags = InitFlag.NONE

    secret = TicketSecret.generate() if offered == "unknown" else secrets[1]
    data = ticket(deriving(certificates, secret, priority=TLS12))
    hello = Hello.parse(first_flight(Setting(certificates, TLS12), data))
    hello.session_id = session_id
    if offered == "as-psk":
        ticket_bytes = hello.extensions[SESSION_TICKET]
        hello = hello.with_extension(SESSION_TICKET, b"")
        hello = hello.with_extension(PRE_SHARED_KEY, psk(ticket_bytes))
    asked.clear()
    with ring.pair() as pair:
        assert isinstance(pair.server.transport, MemoryTransport)
        pair.server.transport.feed(framed(hello.body))
        with pytest.raises(WantReadError):
            pair.server.handshake()
        assert pair.server.is_resumed()
        assert asked == ([] if offered == "known" else [session_id])
        assert pair.server.ticket_offered() is (KNOWN if offered == "known" else UNKNOWN)
