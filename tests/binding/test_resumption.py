"""Which connections resume, which make a full handshake instead, and which fail.

Most cases are those of GnuTLS's own tests (resume.c, session-tickets-*.c, resume-lifetime.c,
tls13/no-auto-send-ticket.c, tls13/hello_retry_request_resume.c), at both ends: hence the length.
"""

import hashlib
import struct
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
from conftest import HOST, Certificates
from pair import TLS12, TLS13, Pair, Setting

from gnutls_resume.binding import (
    CertificateRequest,
    CertificateStatus,
    Credentials,
    HandshakeType,
    HookTime,
    InitFlag,
    MemoryTransport,
    Protocol,
    Session,
    SessionFlag,
    Shutdown,
    TicketKey,
    _ffi,
    db_check_entry_expire_time,
    db_check_entry_time,
    envelope,
)
from gnutls_resume.errors import (
    AlertError,
    GnuTLSError,
    InvalidReason,
    InvalidSessionError,
    VerificationError,
)

WEEK = 604_800  # seconds; RFC 8446 §4.6.1
BOTH, NEITHER = (True, True), (False, False)
WAYS = ["session-id", "ticket-1.2", "ticket-1.3"]
TICKETS = WAYS[1:]
IN_TLS12 = WAYS[:2]
each_way = pytest.mark.parametrize("way", WAYS)


def setting_for(way: str, certificates: Certificates) -> Setting:
    if way == "session-id":
        no_tickets = InitFlag.NO_TICKETS
        return Setting(certificates, TLS12, client_flags=no_tickets, database={})
    priority = TLS13 if way == "ticket-1.3" else TLS12
    return Setting(certificates, priority, ticket_key=TicketKey.generate())


def session_of(setting: Setting) -> bytes:
    """What the client has after a full handshake."""
    data, resumed = setting.connect()
    assert resumed == NEITHER
    assert data is not None
    return data


def assert_resumes(setting: Setting, data: bytes | None) -> None:
    assert data is not None
    assert setting.connect(data)[1] == BOTH


def assert_full(setting: Setting, data: bytes | None) -> None:
    assert data is not None
    assert setting.connect(data)[1] == NEITHER


# -- what resumes -----------------------------------------------------------------------------


@dataclass
class Facts:
    """What upstream compares between connections."""

    server_id: bytes
    group: int
    server_shows: bool
    requested: bool
    resumed: tuple[bool, bool]
    chain: list[bytes]
    client_chain: list[bytes]


def facts(pair: Pair) -> Facts:
    groups = {pair.client.group_get(), pair.server.group_get()}
    assert len(groups) == 1
    return Facts(
        pair.server.get_id(),
        groups.pop(),
        pair.server.certificate_get_ours() is not None,
        pair.server.resumption_requested(),
        pair.resumed,
        pair.client.certificate_get_peers(),
        pair.server.certificate_get_peers(),
    )


def connect(setting: Setting, data: bytes | None = None) -> tuple[bytes, Facts]:
    with setting.pair(data) as pair:
        assert not any(pair.resumed), "nothing is known before the handshake"
        pair.handshake()
        pair.exchange()
        made = pair.client.get_data()
        assert made is not None
        return made, facts(pair)


@pytest.mark.parametrize("again", ["the-first", "the-last"])
@each_way
def test_session_resumes_and_so_does_that_of_the_resumed_connection(
    way: str, again: str, certificates: Certificates
) -> None:
    setting = setting_for(way, certificates)
    first, full = connect(setting)
    assert full.resumed == NEITHER
    assert full.server_shows
    assert not full.requested
    data = first
    for _ in range(3):
        made, resumed = connect(setting, data)
        assert resumed == replace(full, server_shows=False, requested=True, resumed=BOTH)
        assert len(resumed.chain) == 2
        data = made if again == "the-last" else first


@each_way
def test_session_resumes_after_the_post_client_hello_function_set_priorities(
    way: str, certificates: Certificates
) -> None:
    setting = setting_for(way, certificates)

    def prepare(_: Session, server: Session) -> None:
        server.handshake_set_post_client_hello_function(lambda s: s.priority_set(setting.priority))

    setting.prepare = prepare
    assert_resumes(setting, session_of(setting))


@each_way
def test_client_certificate_is_known_after_resumption(way: str, certificates: Certificates) -> None:
    setting = setting_for(way, certificates)
    setting.client_credentials = certificates.client_with_certificate()

    def prepare(_: Session, server: Session) -> None:
        server.certificate_server_set_request(CertificateRequest.REQUIRE)
        server.set_verify_cert(None)

    setting.prepare = prepare
    data, full = connect(setting)
    assert len(full.client_chain) == 2
    for _ in range(2):
        data, resumed = connect(setting, data)
        assert resumed.resumed == BOTH
        assert resumed.client_chain == full.client_chain


@each_way
def test_application_protocol_is_that_of_the_current_handshake(
    way: str, certificates: Certificates
) -> None:
    setting = setting_for(way, certificates)
    data: bytes | None = None
    for protocol in (b"myproto-0", b"myproto-1", b"myproto-2", None):

        def prepare(*sessions: Session, protocol: bytes | None = protocol) -> None:
            for session in sessions:
                session.alpn_set_protocols([protocol] if protocol else [])

        setting.prepare = prepare
        with setting.pair(data) as pair:
            pair.handshake()
            pair.exchange()
            assert pair.resumed == (NEITHER if data is None else BOTH)
            assert pair.client.alpn_get_selected_protocol() == protocol
            assert pair.server.alpn_get_selected_protocol() == protocol
            data = pair.client.get_data()


def test_cipher_of_the_session_is_used_again(certificates: Certificates) -> None:
    setting = setting_for("ticket-1.3", certificates)
    setting.client_priority = f"{TLS13}:-CIPHER-ALL:+AES-128-GCM"
    data = session_of(setting)
    setting.client_priority = f"{TLS13}:-CIPHER-ALL:+AES-256-GCM:+AES-128-GCM"
    with setting.pair(data) as pair:
        pair.handshake()
        assert pair.resumed == BOTH
        assert "AES-128-GCM" in pair.client.get_desc()


def test_session_of_a_connection_that_was_started_early_resumes(
    certificates: Certificates,
) -> None:
    setting = setting_for("ticket-1.3", certificates)
    setting.server_flags = InitFlag.ENABLE_EARLY_START
    data: bytes | None = None
    for expected in (NEITHER, BOTH, BOTH):
        with setting.pair(data) as pair:
            pair.handshake()
            early = pair.server.get_flags() & SessionFlag.EARLY_START
            assert bool(early) is (data is None)
            pair.exchange()
            assert pair.resumed == expected
            data = pair.client.get_data()


def test_session_resumes_through_a_hello_retry_request(certificates: Certificates) -> None:
    """The client's only key share is of a group that the server lacks."""
    setting = setting_for("ticket-1.3", certificates)
    setting.client_priority = f"{TLS13}:-GROUP-ALL:+GROUP-SECP256R1:+GROUP-SECP384R1"
    setting.server_priority = f"{TLS13}:-GROUP-ALL:+GROUP-SECP384R1"
    hellos: list[bytes] = []

    def prepare(_: Session, server: Session) -> None:
        server.handshake_set_hook_function(
            HandshakeType.CLIENT_HELLO, HookTime.PRE, lambda *args: hellos.append(args[-1])
        )

    setting.prepare = prepare
    assert_resumes(setting, session_of(setting))
    assert len(hellos) == 4, "two in each connection"
    ids = {hello[34 : 35 + hello[34]] for hello in hellos}
    assert len(ids) == 1, "one legacy_session_id in both"
    assert len(ids.pop()) == 33


@each_way
def test_the_same_session_resumes_as_often_as_it_is_offered(
    way: str, certificates: Certificates
) -> None:
    setting = setting_for(way, certificates)
    data = session_of(setting)
    for _ in range(3):
        assert_resumes(setting, data)


# -- what makes a full handshake --------------------------------------------------------------


@pytest.mark.parametrize("way", IN_TLS12)
@pytest.mark.parametrize(("first", "then"), [("", "%NO_SESSION_HASH"), ("%NO_SESSION_HASH", "")])
def test_change_of_the_extended_master_secret_is_a_full_handshake(
    way: str, first: str, then: str, certificates: Certificates
) -> None:
    setting = setting_for(way, certificates)
    setting.client_priority = f"{TLS12}:{first}".rstrip(":")
    data = session_of(setting)
    assert_resumes(setting, data)
    setting.client_priority = f"{TLS12}:{then}".rstrip(":")
    assert_full(setting, data)


def test_client_without_tickets_makes_a_full_handshake(certificates: Certificates) -> None:
    setting = setting_for("ticket-1.2", certificates)
    setting.client_flags = InitFlag.NO_TICKETS
    assert_full(setting, session_of(setting))


@pytest.mark.parametrize("priority", [TLS12, TLS13])
def test_server_without_a_key_makes_full_handshakes(
    priority: str, certificates: Certificates
) -> None:
    setting = Setting(certificates, priority)
    data, resumed = setting.connect()
    assert resumed == NEITHER
    assert (data is None) is (priority == TLS13), "in 1.2 the server gave a session ID"
    if data is not None:
        assert_full(setting, data)


@pytest.mark.parametrize("way", TICKETS)
def test_server_that_has_lost_its_key_makes_full_handshakes(
    way: str, certificates: Certificates
) -> None:
    setting = setting_for(way, certificates)
    data = session_of(setting)
    setting.ticket_key = None
    assert_full(setting, data)


@pytest.mark.parametrize("way", TICKETS)
def test_new_ticket_key_is_a_full_handshake_and_a_ticket_that_resumes(
    way: str, certificates: Certificates
) -> None:
    setting = setting_for(way, certificates)
    data = session_of(setting)
    setting.ticket_key = TicketKey.generate()
    with setting.pair(data) as pair:
        pair.handshake()
        pair.exchange()
        assert pair.resumed == NEITHER
        assert pair.server.resumption_requested() is (way == "ticket-1.2")
        new = pair.client.get_data()
    assert new is not None
    assert_resumes(setting, new)
    assert_full(setting, data)


@pytest.mark.parametrize("way", TICKETS)
def test_servers_with_one_key_must_agree_on_the_expiration(
    way: str, certificates: Certificates
) -> None:
    setting = setting_for(way, certificates)
    data = session_of(setting)
    setting.prepare = lambda _, server: server.db_set_cache_expiration(3600)
    assert_full(setting, data)
    assert_resumes(setting, session_of(setting))


@pytest.mark.parametrize("way", IN_TLS12)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("www.example.com", "example.com"),
        ("example.com", "EXAMPLE.com"),
        ("example.com", None),
        (None, "example.com"),
    ],
)
def test_other_server_name_is_a_full_handshake_in_tls_1_2(
    way: str, one: str | None, other: str | None, certificates: Certificates
) -> None:
    setting = named(setting_for(way, certificates), one)
    data = session_of(setting)
    assert_full(named(setting, other), data)
    assert_resumes(named(setting, one), data)


def test_server_name_is_not_compared_in_tls_1_3(certificates: Certificates) -> None:
    setting = named(setting_for("ticket-1.3", certificates), "www.example.com")
    data = session_of(setting)
    with named(setting, "example.com").pair(data) as pair:
        pair.handshake()
        assert pair.resumed == BOTH
        assert pair.server.server_name_get() == "example.com"


def named(setting: Setting, name: str | None) -> Setting:
    """The server's name is sent, but not verified: the certificate has another."""

    def prepare(client: Session, _: Session) -> None:
        if name is not None:
            client.server_name_set(name)

    return replace(setting, server_name=None, prepare=prepare)


@each_way
def test_expired_session_is_refused_before_it_is_offered(
    way: str, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = setting_for(way, certificates)
    setting.prepare = lambda *ends: expire_in(1000, *ends)
    data = session_of(setting)
    expires = db_check_entry_expire_time(data)
    assert expires == db_check_entry_time(data) + 1000
    monkeypatch.setattr(envelope, "time", SimpleNamespace(time=lambda: expires - 0.5))
    assert_resumes(setting, data)
    monkeypatch.setattr(envelope, "time", SimpleNamespace(time=lambda: float(expires)))
    with setting.pair() as pair:
        with pytest.raises(InvalidSessionError) as caught:
            pair.client.set_data(data)
        assert caught.value.reason is InvalidReason.EXPIRED
        pair.handshake()
        assert pair.resumed == NEITHER


def expire_in(seconds: int, *sessions: Session) -> None:
    for session in sessions:
        session.db_set_cache_expiration(seconds)


def test_expired_session_is_refused_by_the_server(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All ways at once: GnuTLS's clock is the real one."""
    offered: list[tuple[Setting, bytes]] = []
    for way in WAYS:
        setting = setting_for(way, certificates)
        setting.prepare = lambda *ends: expire_in(1, *ends)
        offered.append((setting, session_of(setting)))
    now = time.time()
    monkeypatch.setattr(envelope, "time", SimpleNamespace(time=lambda: now - 10))
    time.sleep(2.1)
    for setting, data in offered:
        assert_full(setting, data)


def test_expired_entry_is_refused_by_its_envelope(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = setting_for("session-id", certificates)
    data = session_of(setting)
    with setting.pair(data) as pair:
        late = db_check_entry_expire_time(data)
        monkeypatch.setattr(envelope, "time", SimpleNamespace(time=lambda: late))
        pair.handshake()
        pair.exchange()
        assert pair.resumed == NEITHER
        error = pair.server.db_error
        assert isinstance(error, InvalidSessionError)
        assert error.reason is InvalidReason.EXPIRED


@pytest.mark.parametrize("fate", ["removed", "damaged", "emptied"])
def test_entry_that_is_gone_is_a_full_handshake_and_a_new_entry(
    fate: str, certificates: Certificates
) -> None:
    setting = setting_for("session-id", certificates)
    data = session_of(setting)
    assert setting.database is not None
    ((key, entry),) = setting.database.items()
    if fate == "removed":
        del setting.database[key]
    else:
        setting.database[key] = entry[:200] + b"damage" + entry[206:] if fate == "damaged" else b""
    with setting.pair(data) as pair:
        pair.handshake()
        pair.exchange()
        assert pair.resumed == NEITHER
        assert pair.server.db_failures == (0 if fate == "removed" else 1)
        new = pair.client.get_data()
    (stored,) = setting.database.keys() - {key}
    assert stored
    assert new is not None
    assert_resumes(setting, new)


def test_session_removed_by_its_server_does_not_resume(certificates: Certificates) -> None:
    setting = setting_for("session-id", certificates)
    with setting.pair() as pair:
        pair.handshake()
        pair.exchange()
        data = pair.client.get_data()
        pair.server.db_remove_session()
    assert setting.database == {}
    assert_full(setting, data)


# -- a database and tickets -------------------------------------------------------------------


def test_server_with_a_database_prefers_tickets(certificates: Certificates) -> None:
    setting = replace(
        setting_for("session-id", certificates),
        client_flags=InitFlag.NONE,
        ticket_key=TicketKey.generate(),
    )
    data = session_of(setting)
    assert setting.database == {}, "the client has a ticket"
    assert_resumes(setting, data)
    assert setting.database == {}

    setting.client_flags = InitFlag.NO_TICKETS
    data = session_of(setting)
    assert len(setting.database) == 1
    assert_resumes(setting, data)


def test_database_is_not_used_in_tls_1_3(certificates: Certificates) -> None:
    setting = setting_for("ticket-1.3", certificates)
    setting.database = {}
    assert_resumes(setting, session_of(setting))
    assert setting.database == {}


@pytest.mark.skipif(not _ffi.at_least("3.7.5"), reason="GnuTLS before 3.7.5")
@pytest.mark.parametrize("flag", ["priority", "init"])
def test_tickets_can_be_off_in_tls_1_2_alone(flag: str, certificates: Certificates) -> None:
    def off(setting: Setting) -> Setting:
        if flag == "init":
            return replace(setting, client_flags=InitFlag.NO_TICKETS_TLS12)
        return replace(setting, client_priority=setting.priority + ":%NO_TICKETS_TLS12")

    setting = off(setting_for("ticket-1.2", certificates))
    assert_full(setting, session_of(setting))
    setting = off(setting_for("ticket-1.3", certificates))
    assert_resumes(setting, session_of(setting))


def test_tickets_that_were_off_can_be_asked_for_again(certificates: Certificates) -> None:
    setting = setting_for("ticket-1.2", certificates)
    setting.client_flags = InitFlag.NO_TICKETS
    setting.prepare = lambda client, _: client.ticket_enable_client()
    assert_resumes(setting, session_of(setting))


def test_priority_string_without_tickets_must_come_after_the_key(
    certificates: Certificates,
) -> None:
    key, without = TicketKey.generate(), TLS13 + ":%NO_TICKETS"

    def before(_: Session, server: Session) -> None:
        server.priority_set(without)
        server.ticket_enable_server(key)

    def after(_: Session, server: Session) -> None:
        server.ticket_enable_server(key)
        server.priority_set(without)

    for prepare, count in ((before, 2), (after, 0)):
        with Setting(certificates, prepare=prepare).pair() as pair:
            pair.handshake()
            pair.exchange()
            assert len(pair.tickets) == count


# -- tickets of TLS 1.3 -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "sent", "count"),
    [
        (InitFlag.NONE, [], 2),
        (InitFlag.NONE, [1], 3),
        (InitFlag.NO_AUTO_SEND_TICKET, [], 0),
        (InitFlag.NO_AUTO_SEND_TICKET, [1], 1),
        (InitFlag.NO_AUTO_SEND_TICKET, [1, 2], 3),
        (InitFlag.NONE, [8], 10),
        (InitFlag.NONE, [16], 18),
        (InitFlag.NO_AUTO_SEND_TICKET, [31, 31], 62),
    ],
)
def test_client_gets_every_ticket_that_is_sent(
    flags: InitFlag, sent: list[int], count: int, certificates: Certificates
) -> None:
    setting = setting_for("ticket-1.3", certificates)
    setting.server_flags = flags
    with setting.pair() as pair:
        pair.handshake()
        for n in sent:
            pair.server.ticket_send(n)
        pair.exchange()
        tickets = [data for data, _ in pair.tickets]
        assert (pair.client.get_data() is None) is (count == 0)
    assert len(set(tickets)) == len(tickets) == count
    for data in tickets[:1] + tickets[-1:]:
        assert_resumes(setting, data)


@pytest.mark.parametrize("n", [32, 255])
def test_many_tickets_at_once_do_not_break_the_connection(
    n: int, certificates: Certificates
) -> None:
    with setting_for("ticket-1.3", certificates).pair() as pair:
        pair.handshake()
        with suppress(ValueError):
            pair.server.ticket_send(n)
        pair.exchange()


def test_tickets_come_with_their_lifetime(certificates: Certificates) -> None:
    setting = setting_for("ticket-1.3", certificates)
    setting.prepare = lambda _, server: server.db_set_cache_expiration(1234)
    with setting.pair() as pair:
        pair.handshake()
        assert pair.tickets == []
        pair.exchange()
        (one, other) = pair.tickets
        data = pair.client.get_data()
    assert one[1] == other[1] == 1234
    assert one[0] != other[0]
    assert data is not None
    for session in (one[0], other[0], data):
        assert db_check_entry_expire_time(session) - db_check_entry_time(session) == 1234
        assert_resumes(setting, session)


@pytest.mark.parametrize("way", TICKETS)
def test_lifetime_is_known_without_a_ticket_function(way: str, certificates: Certificates) -> None:
    setting = setting_for(way, certificates)
    with setting.pair() as pair:
        pair.client = Session("client", certificates.client(), priority=setting.priority)
        pair.client.attach(MemoryTransport())
        pair.server.db_set_cache_expiration(1234)
        pair.handshake()
        pair.exchange()
        data = pair.client.get_data()
    assert data is not None
    assert db_check_entry_expire_time(data) - db_check_entry_time(data) == 1234


def test_default_lifetime_is_six_hours(certificates: Certificates) -> None:
    for way in WAYS:
        data = session_of(setting_for(way, certificates))
        assert db_check_entry_expire_time(data) - db_check_entry_time(data) == 21_600
        assert abs(db_check_entry_time(data) - time.time()) < 5


def test_bye_hands_over_tickets_too(certificates: Certificates) -> None:
    with setting_for("ticket-1.3", certificates).pair() as pair:
        pair.handshake()
        pair.server.bye()
        pair.move()
        pair.client.bye(Shutdown.RDWR)
        assert len(pair.tickets) == 2


def test_session_of_tls_1_2_is_not_handed_to_the_ticket_function(
    certificates: Certificates,
) -> None:
    with setting_for("ticket-1.2", certificates).pair() as pair:
        pair.handshake()
        pair.exchange()
        assert pair.client.get_flags() & SessionFlag.SESSION_TICKET
        assert pair.tickets == []
        assert pair.client.get_data() is not None


@pytest.mark.parametrize(
    ("priority", "client", "server"),
    [
        (TLS12, InitFlag.NO_TICKETS, InitFlag.NONE),
        (TLS13, InitFlag.NO_TICKETS, InitFlag.NO_TICKETS),
        ("NORMAL", InitFlag.NO_TICKETS, InitFlag.NO_TICKETS),
    ],
)
def test_no_ticket_is_sent_where_tickets_are_off(
    priority: str, client: InitFlag, server: InitFlag, certificates: Certificates
) -> None:
    """A server's flag alone would be undone by its key."""
    setting = Setting(certificates, priority, client_flags=client, server_flags=server)
    if not server:
        setting.ticket_key = TicketKey.generate()
    with setting.pair() as pair:
        pair.handshake()
        pair.exchange()
        assert pair.tickets == []
        assert not pair.client.get_flags() & SessionFlag.SESSION_TICKET


def test_client_that_takes_no_ticket_offers_none(certificates: Certificates) -> None:
    setting = setting_for("ticket-1.3", certificates)
    data = session_of(setting)
    setting.client_flags = InitFlag.NO_TICKETS
    assert_full(setting, data)


def test_without_a_key_no_ticket_is_sent_and_nothing_said(certificates: Certificates) -> None:
    with Setting(certificates, TLS13).pair() as pair:
        pair.handshake()
        pair.server.ticket_send(3)
        pair.exchange()
        assert pair.tickets == []
        assert pair.client.get_data() is None


def test_tls_1_2_sends_no_ticket_after_the_handshake(certificates: Certificates) -> None:
    with setting_for("ticket-1.2", certificates).pair() as pair:
        pair.handshake()
        with pytest.raises(GnuTLSError) as caught:
            pair.server.ticket_send(1)
        assert caught.value.name == "GNUTLS_E_INVALID_REQUEST"
        pair.exchange()


def test_there_is_no_session_before_a_ticket_has_come(certificates: Certificates) -> None:
    setting = setting_for("ticket-1.3", certificates)
    setting.server_flags = InitFlag.NO_AUTO_SEND_TICKET
    with setting.pair() as pair:
        pair.handshake()
        assert pair.client.get_data() is None
        pair.server.record_send(b"first")
        pair.server.ticket_send(1)
        pair.move()
        assert pair.client.get_data() is None, "the data stand before the ticket"
        assert pair.client.record_recv() == b"first", "and are not lost"
        data = pair.client.get_data()
    assert_resumes(setting, data)


def test_get_data_reads_the_ticket_that_waits(certificates: Certificates) -> None:
    setting = setting_for("ticket-1.3", certificates)
    with setting.pair() as pair:
        pair.handshake()
        data = pair.client.get_data()
        assert len(pair.tickets) == 1, "one record is read"
    assert_resumes(setting, data)


@pytest.mark.parametrize("arrived", [1, 3, 20, 200])
def test_get_data_loses_nothing_of_a_record_that_is_still_arriving(
    arrived: int, certificates: Certificates
) -> None:
    setting = setting_for("ticket-1.3", certificates)
    setting.server_flags = InitFlag.NO_AUTO_SEND_TICKET
    with setting.pair() as pair:
        pair.handshake()
        pair.server.ticket_send(1)
        pair.server.record_send(b"data")
        assert isinstance(pair.server.transport, MemoryTransport)
        assert isinstance(pair.client.transport, MemoryTransport)
        sent = pair.server.transport.drain()
        pair.client.transport.feed(sent[:arrived])
        assert pair.client.get_data() is None
        pair.client.transport.feed(sent[arrived:])
        assert pair.client.record_recv() == b"data"
        data = pair.client.get_data()
    assert_resumes(setting, data)


@each_way
def test_two_calls_of_get_data_give_sessions_that_both_resume(
    way: str, certificates: Certificates
) -> None:
    setting = setting_for(way, certificates)
    with setting.pair() as pair:
        pair.handshake()
        pair.exchange()
        sessions = [pair.client.get_data() for _ in range(2)]
    for data in sessions:
        assert_resumes(setting, data)


def test_ticket_without_a_lifetime_is_discarded(certificates: Certificates) -> None:
    """RFC 8446 §4.6.1; GnuTLS's server sends none, so its answer is changed."""
    with setting_for("ticket-1.3", certificates).pair() as pair:
        pair.handshake()
        pair.exchange()
        pair.client.own.ticket_lifetime = 0
        assert pair.client.get_data() is None


@pytest.mark.parametrize(("lifetime", "kept"), [(WEEK, WEEK), (WEEK + 1, WEEK), (1 << 31, WEEK)])
def test_no_session_lives_longer_than_a_week(
    lifetime: int, kept: int, certificates: Certificates
) -> None:
    """RFC 8446 §4.6.1: "regardless of the ticket_lifetime"."""
    with setting_for("ticket-1.3", certificates).pair() as pair:
        pair.handshake()
        pair.exchange()
        pair.client.own.ticket_lifetime = lifetime
        data = pair.client.get_data()
    assert data is not None
    assert db_check_entry_expire_time(data) - db_check_entry_time(data) == kept


def test_ticket_function_is_told_no_more_than_a_week(certificates: Certificates) -> None:
    """GnuTLS's server sends no more, so its answer is changed as it arrives."""

    def lengthen(session: Session, *_: object) -> None:
        session.own.ticket_lifetime = WEEK + 1

    def prepare(client: Session, _: Session) -> None:
        kind = HandshakeType.NEW_SESSION_TICKET
        client.handshake_set_hook_function(kind, HookTime.PRE, lengthen)

    with replace(setting_for("ticket-1.3", certificates), prepare=prepare).pair() as pair:
        pair.handshake()
        pair.exchange()
        assert [lifetime for _, lifetime in pair.tickets] == [WEEK, WEEK]


def test_ticket_of_tls_1_2_without_a_lifetime_lives_as_the_client_says(
    certificates: Certificates,
) -> None:
    """RFC 5077 §3.3: zero means that it is unspecified."""
    with setting_for("ticket-1.2", certificates).pair() as pair:
        pair.client.db_set_cache_expiration(777)
        pair.handshake()
        pair.client.own.ticket_lifetime = 0
        data = pair.client.get_data()
    assert data is not None
    assert db_check_entry_expire_time(data) - db_check_entry_time(data) == 777


HEADER_SIZE, TIMES = 106, slice(14, 30)  # of an envelope; created and expires


def aged(data: bytes, seconds: int) -> bytes:
    """The session as if it had been made so much earlier."""
    created, expires = struct.unpack(">QQ", data[TIMES])
    times = struct.pack(">QQ", created - seconds, expires - seconds)
    header = data[: TIMES.start] + times + data[TIMES.stop : HEADER_SIZE]
    body = data[HEADER_SIZE:-32]
    return header + body + hashlib.sha256(header + bytes(4) + body).digest()


@pytest.mark.parametrize("way", IN_TLS12)
def test_resumption_does_not_lengthen_the_life_of_a_session_of_tls_1_2(
    way: str, certificates: Certificates
) -> None:
    setting = setting_for(way, certificates)
    data = aged(session_of(setting), 500)
    again, resumed = setting.connect(data)
    assert resumed == BOTH
    assert again is not None
    assert again[TIMES] == data[TIMES]


# -- what a resumption does not look at -------------------------------------------------------


def refuse(_: Session) -> bool:
    raise AssertionError("it is not called on a resumed session")


@pytest.mark.parametrize("verifier", ["function", "name"])
@each_way
def test_resumption_does_not_verify_but_the_caller_can(
    way: str, verifier: str, certificates: Certificates
) -> None:
    setting = setting_for(way, certificates)
    setting.server_name = None
    data = session_of(setting)

    def prepare(client: Session, _: Session) -> None:
        if verifier == "function":
            client.set_verify_function(refuse)
        else:
            client.set_verify_cert("evil.example")

    setting.prepare = prepare
    with setting.pair(data) as pair:
        pair.handshake()
        pair.exchange()
        assert pair.resumed == BOTH
        client = pair.client
        assert client.certificate_verify_peers(HOST) == client.certificate_verify_peers() == 0
        wrong = client.certificate_verify_peers("evil.example")
        assert wrong == CertificateStatus.UNEXPECTED_OWNER | CertificateStatus.INVALID
    with setting.pair() as pair:
        client_error, server_error = pair.outcomes()
        assert isinstance(client_error, AssertionError | VerificationError)
        assert isinstance(server_error, AlertError)


@each_way
def test_resumption_does_not_look_at_trust_but_the_caller_can(
    way: str, certificates: Certificates
) -> None:
    setting = setting_for(way, certificates)
    data = session_of(setting)
    setting.client_credentials = Credentials(trust=certificates.other_trust)
    with setting.pair(data) as pair:
        pair.handshake()
        assert pair.resumed == BOTH
        status = pair.client.certificate_verify_peers(HOST)
        assert status & CertificateStatus.SIGNER_NOT_FOUND


@each_way
def test_resumption_does_not_ask_for_a_client_certificate(
    way: str, certificates: Certificates
) -> None:
    setting = setting_for(way, certificates)
    data = session_of(setting)

    def prepare(_: Session, server: Session) -> None:
        server.certificate_server_set_request(CertificateRequest.REQUIRE)

    setting.prepare = prepare
    with setting.pair(data) as pair:
        pair.handshake()
        assert pair.resumed == BOTH
        assert pair.server.certificate_get_peers() == []
        with pytest.raises(GnuTLSError):
            pair.server.certificate_verify_peers()


@pytest.mark.parametrize("way", IN_TLS12)
def test_resumption_in_tls_1_2_does_not_look_at_priorities(
    way: str, certificates: Certificates
) -> None:
    setting = setting_for(way, certificates)
    setting.priority = f"{TLS12}:-CIPHER-ALL:+AES-256-GCM"
    data = session_of(setting)
    setting.priority = f"{TLS12}:-CIPHER-ALL:+AES-128-GCM"
    with setting.pair(data) as pair:
        pair.handshake()
        assert pair.resumed == BOTH
        assert "AES-256-GCM" in pair.client.get_desc()


def test_random_session_id_of_a_1_3_client_looks_like_a_request(
    certificates: Certificates,
) -> None:
    asked: list[bytes] = []

    def prepare(_: Session, server: Session) -> None:
        server.db_set_functions(store=lambda *_: None, retrieve=asked.append, remove=lambda _: None)

    setting = Setting(certificates, "NORMAL", server_priority=TLS12, prepare=prepare)
    with setting.pair() as pair:
        pair.handshake()
        assert pair.resumed == NEITHER
        assert pair.server.resumption_requested()
    assert [len(key) for key in asked] == [32]


# -- where an offered session costs the connection --------------------------------------------


def test_ticket_of_tls_1_2_fails_where_both_ends_can_do_1_3(certificates: Certificates) -> None:
    setting = setting_for("ticket-1.2", certificates)
    data = session_of(setting)
    setting.priority = "NORMAL"
    with setting.pair(data) as pair:
        client, server = pair.outcomes()
    assert isinstance(client, GnuTLSError)
    assert client.name == "GNUTLS_E_UNEXPECTED_HANDSHAKE_PACKET"
    assert isinstance(server, AlertError)
    assert setting.connect()[1] == NEITHER, "without it there is no trouble"


def test_session_id_of_tls_1_2_is_a_full_handshake_where_both_ends_can_do_1_3(
    certificates: Certificates,
) -> None:
    setting = setting_for("session-id", certificates)
    data = session_of(setting)
    setting.priority = "NORMAL"
    with setting.pair(data) as pair:
        pair.handshake()
        pair.exchange()
        assert pair.resumed == NEITHER
        assert pair.client.protocol_get_version() is Protocol.TLS1_3


def test_session_of_tls_1_2_resumes_with_a_client_that_can_do_1_3(
    certificates: Certificates,
) -> None:
    for way in IN_TLS12:
        setting = setting_for(way, certificates)
        setting.client_priority = "NORMAL"
        assert_resumes(setting, session_of(setting))


@pytest.mark.parametrize("side", ["client_priority", "server_priority"])
def test_session_whose_hash_is_no_longer_enabled_fails(
    side: str, certificates: Certificates
) -> None:
    """SHA-384 was the session's, SHA-256 is left."""
    setting = setting_for("ticket-1.3", certificates)
    setting.priority = f"{TLS13}:-CIPHER-ALL:+AES-256-GCM:+AES-128-GCM"
    data = session_of(setting)
    setattr(setting, side, f"{TLS13}:-CIPHER-ALL:+AES-128-GCM")
    with setting.pair(data) as pair:
        client, server = pair.outcomes()
    assert isinstance(client, AlertError)
    assert isinstance(server, GnuTLSError)
    assert server.name == "GNUTLS_E_NO_CIPHER_SUITES"
    assert setting.connect()[1] == NEITHER, "without it there is no trouble"
    setattr(setting, side, None)
    assert_resumes(setting, data)
