"""A client's sessions: learnt, offered, taken once, forgotten, whatever the store does."""

import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import certify
import pytest
from certify import Issued
from conftest import Certificates
from hypothesis import given, settings
from hypothesis import strategies as st
from wrapped import (
    PRIORITIES,
    TLS12,
    TLS13,
    Wire,
    bare_server,
    client_context,
    connect,
    each_version,
    lax_context,
    server_context,
)

from gnutls_resume import (
    HandshakeKind,
    MemoryStore,
    MissReason,
    SealingKey,
    SSLContext,
    SSLSession,
)
from gnutls_resume.binding import Credentials, InitFlag, Sealing, Session, TicketKey
from gnutls_resume.binding._ffi import ffi
from gnutls_resume.binding.envelope import MAX_LIFETIME, Kind, read_header, seal, unwrapped
from gnutls_resume.drop_in.engine import Engine
from gnutls_resume.resumption import store_view
from gnutls_resume.resumption.client_cache import KEEP, NOTHING, TICKETS_ONLY, ClientSessionCache
from gnutls_resume.resumption.outcome import Counters


class Clock:
    """For a MemoryStore: goes when it is told to."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Recorder:
    """A MemoryStore that is asked in clear, and remembers what it was asked and has answered."""

    exposed = private = False

    def __init__(self, *, private: bool = False, clock: Callable[[], float] | None = None) -> None:
        self.inner = MemoryStore(**({"clock": clock} if clock else {}))
        self.private = private
        self.calls: list[tuple[Any, ...]] = []
        self.ends: list[bytes | None] = []

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self.calls.append((verb, *args))
            answer = getattr(self.inner, verb)(*args)
            if verb == "take":
                self.ends.append(answer)
            return answer

        return call

    def of(self, *verbs: str) -> list[tuple[Any, ...]]:
        return [call for call in self.calls if call[0] in verbs]

    @property
    def kept(self) -> list[bytes]:
        """What was put or pushed, marks and all, in order."""
        return [call[2] for call in self.of("put", "push")]


def digest_of(end: ssl.SSLObject) -> bytes:
    engine = end._sslobj  # type: ignore[attr-defined]
    assert isinstance(engine, Engine)
    return engine._digest


# -- learning ---------------------------------------------------------------------------------


def test_tls12_session_is_put_and_read_again_and_again(certificates: Certificates) -> None:
    store = Recorder()
    client, server = (
        client_context(certificates, sessions=store),
        server_context(certificates, TLS12),
    )
    assert connect(client, server).resumed == (False, False)
    for _ in range(5):
        assert connect(client, server).resumed == (True, True)
    assert [verb for verb, *_ in store.calls if verb not in {"get", "take"}] == ["put"]


def test_tls13_tickets_are_pushed_and_each_is_taken_once(certificates: Certificates) -> None:
    store = Recorder()
    client, server = (
        client_context(certificates, sessions=store),
        server_context(certificates, TLS13),
    )
    connect(client, server)
    assert len(store.of("push")) == 2
    offered = [connect(client, server).ticket for _ in range(10)]
    assert None not in offered
    assert len(set(offered)) == len(offered)
    assert not store.of("put")


def test_freshest_ticket_is_offered_first(certificates: Certificates) -> None:
    store = Recorder()
    client, server = (
        client_context(certificates, sessions=store),
        server_context(certificates, TLS13),
    )
    for _ in range(4):
        connect(client, server)
    for _ in range(5):
        latest = store.kept[-1]
        ticket = connect(client, server).ticket
        assert ticket
        assert ticket in latest


def test_no_more_than_eight_tickets_are_kept(certificates: Certificates) -> None:
    store = MemoryStore()
    server = server_context(certificates, TLS13)
    server.num_tickets = 20
    connect(client_context(certificates, sessions=store), server)
    server.num_tickets = 0
    client = client_context(certificates, sessions=store)
    outcomes = [connect(client, server).resumed for _ in range(KEEP + 1)]
    assert outcomes == [(False, False)] * (KEEP + 1), "a server without tickets knows none"
    assert client.stats["client_declined"] == KEEP == 8
    assert client.stats["client_none_stored"] == 1


def test_tickets_of_either_version_stand_side_by_side(certificates: Certificates) -> None:
    """A client of both versions has sessions of both, and asks for a ticket first."""
    store = Recorder()
    client = client_context(certificates, sessions=store)
    old, new = server_context(certificates, TLS12), server_context(certificates, TLS13)
    connect(client, old)
    assert connect(client, old).resumed == (True, True), "offered though TLS 1.3 is allowed"
    assert connect(client, new).client.miss_reason is MissReason.DECLINED
    assert connect(client, new).resumed == (True, True)
    found = connect(client, new)
    assert (found.resumed, found.client.version()) == ((True, True), "TLSv1.3")


def test_server_that_goes_back_to_tls12_is_resumed_at_the_third_connection(
    certificates: Certificates,
) -> None:
    """The tickets that it does not know are dropped all at once."""
    client = client_context(certificates, sessions=MemoryStore())
    for _ in range(5):
        connect(client, server_context(certificates, TLS13))
    old = server_context(certificates, TLS12)
    assert connect(client, old).client.miss_reason is MissReason.DECLINED
    assert connect(client, old).resumed == (True, True)


@each_version
def test_nothing_is_kept_without_a_server_name(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    store = Recorder()
    client = client_context(certificates, sessions=store)
    client.check_hostname = False
    for _ in range(2):
        made = connect(client, server_context(certificates, version), None)
        assert made.client.miss_reason is MissReason.DISABLED
    assert store.calls == []


@each_version
def test_without_a_store_nothing_is_offered(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    client, server = (
        client_context(certificates, sessions=None),
        server_context(certificates, version),
    )
    for _ in range(2):
        made = connect(client, server)
        assert (made.resumed, made.client.miss_reason) == ((False, False), MissReason.DISABLED)
        assert made.client.session is not None, "for who wants it by hand"


def test_tls12_session_without_extended_master_secret_is_not_kept(
    certificates: Certificates,
) -> None:
    """RFC 7627 §5.3."""
    store = Recorder()
    client = client_context(certificates, sessions=store)
    for more in (":%NO_SESSION_HASH", ":%COMPAT"):
        key = TicketKey.generate()
        made = connect(client, bare_server(certificates.server(), key, TLS12, more))
        assert made.resumed == (False, False)
        assert not made.server.session.ext_master_secret_status()
    assert store.kept == []
    connect(client, bare_server(certificates.server(), TicketKey.generate(), TLS12))
    assert len(store.kept) == 1


def test_ticket_of_a_peer_that_is_not_accepted_yet_is_not_kept(certificates: Certificates) -> None:
    """GnuTLS brings none so early; should it ever, the peer may still be refused."""
    first, store = Recorder(), Recorder()
    server = server_context(certificates, TLS13)
    connect(client_context(certificates, sessions=first), server)
    made = Wire(client_context(certificates, sessions=store), server)
    attempt = made.client._sslobj._attempt
    attempt.keep_ticket(first.kept[-1], 3600)
    assert store.kept == []
    made.handshake()
    attempt.keep_ticket(first.kept[-1], 3600)
    assert len(store.kept) == 1


@each_version
def test_what_is_kept_is_sealed_in_memory_and_carries_a_checksum_elsewhere(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    for private, protection in ((True, 2), (False, 1)):
        store = Recorder(private=private)
        connect(client_context(certificates, sessions=store), server_context(certificates, version))
        assert {read_header(value).protection for value in store.kept} == {protection}
        assert (b"localhost" in store.kept[0]) is not private


@each_version
def test_store_keys_under_a_sealing_key_are_not_the_digest(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    store = Recorder()
    client = client_context(certificates, sessions=store, sealing_key=SealingKey.generate())
    made = connect(client, server_context(certificates, version))
    keys = {call[1] for call in store.calls}
    assert len(keys) == 1
    assert digest_of(made.client) not in keys
    assert digest_of(made.client) not in store.kept[0]


# -- taken once -------------------------------------------------------------------------------


@each_version
def test_sessions_under_the_previous_sealing_key_are_used_and_forgotten_too(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    """R-5. The store key changes with the sealing key, so both are asked, and both removed."""
    store, server = Recorder(), server_context(certificates, version)
    old = SealingKey.generate()
    connect(client_context(certificates, sessions=store, sealing_key=old), server)
    new = SealingKey.generate(previous=old)
    client = client_context(certificates, sessions=store, sealing_key=new)
    made = connect(client, server)
    assert made.resumed == (True, True)
    store.calls.clear()
    made.client._sslobj._attempt.refused()
    assert len({key for _, key in store.of("remove")}) == 2
    later = SSLContext(ssl.PROTOCOL_TLS_CLIENT, sessions=store, sealing_key=SealingKey.generate())
    later.load_verify_locations(cadata=certificates.trust.decode())
    assert connect(later, server).client.miss_reason is MissReason.NONE_STORED


def test_threads_on_one_store_never_offer_a_ticket_twice(certificates: Certificates) -> None:
    store, server = MemoryStore(), server_context(certificates, TLS13)
    tickets: list[bytes | None] = []
    errors: list[BaseException] = []
    together = threading.Barrier(8)

    def work() -> None:
        try:
            together.wait()
            client = client_context(certificates, sessions=store)
            tickets.extend(connect(client, server).ticket for _ in range(20))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    offered = [ticket for ticket in tickets if ticket is not None]
    assert len(offered) > 100
    assert len(set(offered)) == len(offered)


def test_failed_connection_does_not_put_its_ticket_back(certificates: Certificates) -> None:
    store, server = Recorder(), server_context(certificates, TLS13)
    client = client_context(certificates, sessions=store)
    connect(client, server)
    made = Wire(client, server)
    with pytest.raises(ssl.SSLWantReadError):
        made.client.do_handshake()
    made.move()
    offered = made.ticket
    assert offered
    made.ends[0].incoming.write_eof()
    with pytest.raises(ssl.SSLEOFError):
        made.client.do_handshake()
    while (left := store.inner.take(digest_of(made.client))) is not None:
        assert offered not in left


def silent(certificates: Certificates, key: TicketKey, *, renews: bool = False) -> Session:
    """A server that takes tickets and, unless it `renews` them, gives none."""
    session = Session(
        "server",
        certificates.server(),
        priority=PRIORITIES[TLS13],
        flags=InitFlag.NONE if renews else InitFlag.NO_AUTO_SEND_TICKET,
    )
    session.ticket_enable_server(key)
    return session


def test_ticket_that_is_not_renewed_goes_back_when_its_connection_ends(
    certificates: Certificates,
) -> None:
    """As ProFTPD's for uploads: else every third data connection would be refused."""
    store, key = Recorder(), TicketKey.generate()
    client = client_context(certificates, sessions=store)
    connect(client, silent(certificates, key, renews=True))
    last = store.kept[-1]
    for _ in range(5):
        store.calls.clear()
        made = connect(client, silent(certificates, key))
        assert made.resumed == (True, True)
        assert made.ticket
        assert made.ticket in last
        assert store.kept == [], "not before"
        made.client._sslobj.end()
        made.client._sslobj.end()  # as unwrap and close do, one after the other
        del made
        assert store.kept == [last], "as it was, so it lives no longer"


def test_ticket_of_an_open_connection_is_nobody_elses(certificates: Certificates) -> None:
    store, key = MemoryStore(), TicketKey.generate()
    client = client_context(certificates, sessions=store)
    connect(client, silent(certificates, key, renews=True))
    opened = [connect(client, silent(certificates, key)) for _ in range(3)]
    assert [made.resumed[0] for made in opened] == [True, True, False]
    tickets = {made.ticket for made in opened}
    opened.clear()
    again = [connect(client, silent(certificates, key)) for _ in range(3)]
    assert {made.ticket for made in again} == tickets


def test_ticket_that_was_declined_or_renewed_does_not_go_back(certificates: Certificates) -> None:
    store, key = Recorder(), TicketKey.generate()
    client = client_context(certificates, sessions=store)
    connect(client, silent(certificates, key, renews=True))
    connect(client, silent(certificates, TicketKey.generate()))
    assert len(store.kept) == 2
    connect(client, silent(certificates, key, renews=True))
    assert len(set(store.kept)) == len(store.kept) == 4


# -- marks ------------------------------------------------------------------------------------


def break_off(client: SSLContext, server: Any) -> ssl.SSLError:
    """A connection whose server answers with an alert."""
    alert = b"\x15\x03\x03\x00\x02\x02\x28"
    made = Wire(client, server, to_client=lambda data: alert if data else data)
    error, _ = made.outcomes()
    assert isinstance(error, ssl.SSLError)
    return error


@each_version
def test_mark_of_a_version_stands_as_long_as_it_should(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    clock = Clock()
    store = MemoryStore(clock=clock)
    client, server = (
        client_context(certificates, sessions=store),
        server_context(certificates, version),
    )
    client.minimum_version = client.maximum_version = version
    connect(client, server)
    error = break_off(client, server)
    assert error.session_offered  # type: ignore[attr-defined]
    assert store.get(digest_of(Wire(client, server).client)) == NOTHING
    for clock.seconds in (0, 1, 300, 599.9):
        made = connect(client, server)
        assert (made.resumed, made.client.miss_reason) == (
            (False, False),
            MissReason.AFTER_FAILURE,
        )
    clock.seconds = 600.1
    again = connect(client, server)
    if version is TLS12:  # forgotten, and not learnt while the mark stood
        assert again.client.miss_reason is MissReason.NONE_STORED
        again = connect(client, server)
    assert again.resumed == (True, True)


def test_after_a_failed_tls12_session_only_tickets_are_offered_for_a_day(
    certificates: Certificates,
) -> None:
    clock = Clock()
    store = MemoryStore(clock=clock)
    client = client_context(certificates, sessions=store)
    old, new = server_context(certificates, TLS12), server_context(certificates, TLS13)
    connect(client, old)
    break_off(client, old)
    assert store.get(digest_of(Wire(client, old).client)) == TICKETS_ONLY
    for clock.seconds in (0, 601, 86_399):
        made = connect(client, old)
        assert (made.resumed, made.client.miss_reason) == (
            (False, False),
            MissReason.AFTER_FAILURE,
        )
    connect(client, new)
    assert connect(client, new).resumed == (True, True), "tickets are offered"
    clock.seconds = 86_401
    store.take(digest_of(Wire(client, old).client))
    client = client_context(certificates, sessions=store)
    connect(client, old)
    assert connect(client, old).resumed == (True, True)


def test_ticket_by_hand_is_offered_while_only_tickets_are(certificates: Certificates) -> None:
    client = client_context(certificates, sessions=MemoryStore())
    old, new = server_context(certificates, TLS12), server_context(certificates, TLS13)
    ticket, other = (connect(client, server).client.session for server in (new, old))
    client = client_context(certificates, sessions=MemoryStore())
    connect(client, old)
    break_off(client, old)
    assert connect(client, new, session=ticket).resumed == (True, True)
    made = connect(client, old, session=other)
    assert (made.resumed, made.client.miss_reason) == ((False, False), MissReason.AFTER_FAILURE)


def test_failure_without_a_session_leaves_no_mark(certificates: Certificates) -> None:
    store = Recorder()
    client = client_context(certificates, sessions=store)
    error = break_off(client, server_context(certificates))
    assert error.session_offered is False  # type: ignore[attr-defined]
    assert store.kept == []
    assert not store.of("remove")


def test_sessions_pushed_while_a_mark_stands_are_offered_after_it(
    certificates: Certificates,
) -> None:
    clock = Clock()
    store = MemoryStore(clock=clock)
    client, server = (
        client_context(certificates, sessions=store),
        server_context(certificates, TLS13),
    )
    connect(client, server)
    break_off(client, server)
    assert connect(client, server).client.miss_reason is MissReason.AFTER_FAILURE
    clock.seconds = 601
    for _ in range(3):
        assert connect(client, server).resumed == (True, True)


# -- lifetimes --------------------------------------------------------------------------------


@dataclass
class Lives:
    """Servers whose chains end in so many seconds."""

    root: Issued
    ends: dict[int, int] = field(default_factory=dict)
    credentials: dict[int, Credentials] = field(default_factory=dict)
    key: TicketKey = field(default_factory=TicketKey.generate)

    def server(self, seconds: int, ticket_lifetime: int, version: ssl.TLSVersion) -> Session:
        session = bare_server(self.credentials[seconds], self.key, version)
        session.db_set_cache_expiration(ticket_lifetime)
        return session

    def client(self, store: Any, lifetime: int, partition: bytes = b"") -> SSLContext:
        context = SSLContext(
            ssl.PROTOCOL_TLS_CLIENT,
            sessions=store,
            session_lifetime=lifetime,
            partition=partition,
        )
        context.load_verify_locations(cadata=self.root.der)
        return context


CHAIN_LIVES = [60, 3600, 90_000, 604_000, 604_801, 30 * 86_400]
lifetimes = st.integers(1, MAX_LIFETIME) | st.sampled_from([1, 60, 61, 3600, 86_400, MAX_LIFETIME])


@pytest.fixture(scope="module")
def lives() -> Lives:
    root = certify.issue("root", ca=True, end=400 * certify.DAY)
    made = Lives(root)
    for seconds in CHAIN_LIVES:
        # The intermediate ends first, or the leaf.
        ends = [seconds, 400 * 86_400][:: 1 if seconds % 2 else -1]
        inter, leaf = (certify.dt.timedelta(seconds=end) for end in ends)
        issuer = certify.issue("intermediate", root, ca=True, end=inter)
        one = certify.issue("leaf", issuer, names=["localhost"], end=leaf)
        made.credentials[seconds] = Credentials(certificate=one.pem + issuer.pem, key=one.key_pem)
        made.ends[seconds] = int(
            min(x.certificate.not_valid_after_utc for x in (one, issuer)).timestamp()
        )
    return made


@each_version
@settings(deadline=None, max_examples=100)
@given(ticket=lifetimes, session=lifetimes, chain=st.sampled_from(CHAIN_LIVES))
def test_expiry_is_never_beyond_the_least_of_all_lifetimes(
    lives: Lives, version: ssl.TLSVersion, ticket: int, session: int, chain: int
) -> None:
    store = Recorder()
    before = int(time.time())
    made = connect(lives.client(store, session), lives.server(chain, ticket, version))
    after = time.time()
    assert made.client.session is not None
    calls = store.of("put", "push")
    assert len(calls) == (1 if version is TLS12 else 2)
    for _, _, value, ttl, *_ in calls:
        header = read_header(value)
        least = min(MAX_LIFETIME, ticket, session)
        assert header.expires <= min(after + least, lives.ends[chain])
        assert header.expires >= min(before + least - 1, lives.ends[chain], before + session)
        assert ttl <= header.expires - before
    assert made.client.session.expires == read_header(calls[-1][2]).expires


def aged(data: bytes, sealing: Sealing, seconds: int) -> bytes:
    """The same session, made so many seconds ago."""
    opened = unwrapped(data, b"", sealing)
    header = opened.header
    return seal(
        ffi.new("gnutls_datum_t *", (opened.pointer, opened.size)),
        kind=Kind(header.kind),
        protocol_version=header.protocol_version,
        created=header.created - seconds,
        expires=header.expires,
        server_name=opened.server_name,
        store_key=b"",
        sealing=sealing,
    )


@settings(deadline=None, max_examples=50)
@given(age=st.integers(0, 80_000), lifetime=st.integers(80_010, 200_000))
def test_renewed_ticket_ends_with_the_full_handshakes_lifetime(
    lives: Lives, age: int, lifetime: int
) -> None:
    """Else a client could be followed for ever, and a session outlive every check."""
    store = Recorder()
    chain, ticket = 604_801, MAX_LIFETIME
    client = lives.client(store, lifetime)
    made = connect(client, lives.server(chain, ticket, TLS13))
    digest = digest_of(made.client)
    first = aged(store.kept[-1], Sealing(None, digest), age)
    created = read_header(first).created
    store.inner.remove(digest)
    store.inner.push(digest, first, 1000, 8)
    for _ in range(3):
        assert connect(client, lives.server(chain, ticket, TLS13)).resumed == (True, True)
        header = read_header(store.kept[-1])
        assert header.created == created
        assert header.expires == created + lifetime


@each_version
@pytest.mark.parametrize("by", ["store", "hand"])
def test_session_of_a_patient_context_is_too_old_for_another(
    lives: Lives, version: ssl.TLSVersion, by: str
) -> None:
    """They share a store; each has a `session_lifetime` of its own."""
    store = Recorder()
    server = lives.server(604_801, 86_400, version)
    made = connect(lives.client(store, 86_400), server)
    digest = digest_of(made.client)
    old = aged(store.kept[-1], Sealing(None, digest), 3600)
    store.inner.put(digest, old, 1000)
    for lifetime, resumed in ((3590, False), (3700, True)):
        store.inner.push(digest, old, 1000, 8)
        client = lives.client(store, lifetime)
        server = lives.server(604_801, 86_400, version)
        session = SSLSession.from_bytes(old) if by == "hand" else None
        later = Wire(client, server, session=session)
        later.handshake()
        assert later.resumed == (resumed, resumed)
        assert later.client.miss_reason is (None if resumed else MissReason.EXPIRED)
        store.inner.put(digest, old, 1000)


@each_version
def test_expired_session_is_not_offered_even_by_a_store_that_returns_it(
    lives: Lives, version: ssl.TLSVersion
) -> None:
    store = Recorder(clock=Clock())  # whose time stands still
    client = lives.client(store, 1)
    connect(client, lives.server(3600, 3600, version))
    expires = read_header(store.kept[-1]).expires
    while time.time() < expires:
        time.sleep(0.02)
    made = connect(client, lives.server(3600, 3600, version))
    assert (made.resumed, made.client.miss_reason) == ((False, False), MissReason.EXPIRED)
    assert made.ticket is None


@each_version
def test_session_of_an_expired_chain_is_not_kept(version: ssl.TLSVersion) -> None:
    """Of a server that a lax client accepts."""
    leaf = certify.issue("leaf", names=["localhost"], end=-certify.DAY / 2)
    store = MemoryStore()
    client = lax_context(sessions=store)
    credentials, key = Credentials(certificate=leaf.pem, key=leaf.key_pem), TicketKey.generate()
    for _ in range(2):
        made = connect(client, bare_server(credentials, key, version))
        assert made.client.miss_reason is MissReason.NONE_STORED
    assert store.key_count == 0


# -- what cannot be sealed --------------------------------------------------------------------


@pytest.fixture(scope="module")
def large_server(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Credentials]:
    """A server whose certificate alone is larger than an envelope may be; and who signed it."""
    root = certify.issue("root", ca=True)
    names = ["localhost", *(f"{i:05}.{'a' * 40}.example" for i in range(1300))]
    leaf = certify.issue("leaf", root, names=names)
    assert len(leaf.der) > 65_536
    return root.der, Credentials(certificate=leaf.pem, key=leaf.key_pem)


@each_version
@pytest.mark.parametrize("kept", [True, False])
def test_session_too_large_for_an_envelope_costs_no_connection(
    large_server: tuple[bytes, Credentials], version: ssl.TLSVersion, *, kept: bool
) -> None:
    trust, credentials = large_server
    client = SSLContext(ssl.PROTOCOL_TLS_CLIENT, sessions=MemoryStore() if kept else None)
    client.load_verify_locations(cadata=trust)
    key = TicketKey.generate()
    for _ in range(2):
        made = connect(client, bare_server(credentials, key, version))
        assert made.resumed == (False, False)
        assert made.client.session is None


def test_what_is_forgotten_is_forgotten_under_the_previous_key_too() -> None:
    store, old, digest = MemoryStore(), SealingKey.generate(), bytes(32)
    before = ClientSessionCache(store, old, Counters())
    before.put(digest, b"session", 100)
    before.keep_ticket(digest, b"ticket", 100)
    after = ClientSessionCache(store, SealingKey.generate(previous=old), Counters())
    assert after.get(digest) == b"session"
    after.remove(digest)
    assert (after.get(digest), after.take(digest)) == (None, None)


def test_wiped_sealing_key_costs_no_handshake(certificates: Certificates) -> None:
    key = SealingKey.generate()
    client = client_context(certificates, sessions=MemoryStore(), sealing_key=key)
    server = server_context(certificates, TLS12)
    connect(client, server)
    key.wipe()
    made = connect(client, server)
    assert (made.resumed, made.client.miss_reason) == ((False, False), MissReason.STORE_ERROR)
    assert client.stats["not_sealed"] == 1


def test_sealing_key_wiped_during_a_connection_costs_no_data(certificates: Certificates) -> None:
    key = SealingKey.generate()
    client = client_context(certificates, sessions=MemoryStore(), sealing_key=key)
    made = Wire(client, server_context(certificates, TLS13))
    made.handshake()
    key.wipe()
    made.exchange()
    assert made.client.session is None


# -- stores that fail -------------------------------------------------------------------------


class Odd(Exception):  # noqa: N818
    """Whose text is a fault of its own."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


FAULTS = [
    Exception("x"),
    ValueError("x"),
    TypeError(),
    KeyError("x"),
    AttributeError("x"),
    RuntimeError("x"),
    NotImplementedError(),
    AssertionError(),
    MemoryError(),
    RecursionError(),
    StopIteration(),
    StopAsyncIteration(),
    BufferError(),
    EOFError(),
    ZeroDivisionError(),
    UnicodeDecodeError("utf-8", b"", 0, 1, "x"),
    OSError(28, "No space left on device"),
    TimeoutError("x"),
    ConnectionResetError(104, "x"),
    BrokenPipeError(32, "x"),
    BlockingIOError(11, "x"),
    InterruptedError(4, "x"),
    ssl.SSLError(1, "x"),
    ssl.SSLWantReadError(2, "x"),
    ssl.SSLCertVerificationError(1, "x"),
    Odd(),
    ExceptionGroup("x", [ValueError()]),
    UserWarning("x"),
]
VERBS = ["get", "put", "add", "push", "take", "remove"]


class Failing:
    """A store of which some methods raise."""

    exposed, private = False, True

    def __init__(self, error: BaseException, verbs: list[str]) -> None:
        self.inner = MemoryStore()
        self.error = error
        self.verbs = verbs

    def __getattr__(self, verb: str) -> Any:
        if verb not in VERBS:
            raise AttributeError(verb)

        def call(*args: Any) -> Any:
            if verb in self.verbs:
                raise self.error
            return getattr(self.inner, verb)(*args)

        return call


@each_version
@pytest.mark.parametrize("error", FAULTS, ids=[type(error).__name__ for error in FAULTS])
def test_store_that_raises_costs_no_handshake(
    certificates: Certificates,
    caplog: pytest.LogCaptureFixture,
    version: ssl.TLSVersion,
    error: Exception,
) -> None:
    client = client_context(certificates, sessions=Failing(error, VERBS))
    server = server_context(certificates, version)
    for _ in range(3):
        made = connect(client, server)
        assert made.resumed == (False, False)
        assert made.client.miss_reason is MissReason.STORE_ERROR
    failures = client.stats["store_errors"] + client.stats.get("store_write_errors", 0)
    assert failures >= 6, "each search and each storing"
    for _ in range(500):  # a thread of the store's guard logs it
        warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
        if warnings:
            break
        time.sleep(0.01)
    assert len(warnings) == 1
    assert type(error).__name__ in warnings[0].getMessage()


@each_version
@pytest.mark.parametrize("verb", VERBS)
def test_store_of_which_one_method_raises_costs_no_handshake(
    certificates: Certificates, version: ssl.TLSVersion, verb: str
) -> None:
    client = client_context(certificates, sessions=Failing(OSError(5, "x"), [verb]))
    server = server_context(certificates, version)
    for _ in range(3):
        connect(client, server)
    assert isinstance(break_off(client, server), ssl.SSLError)
    connect(client, server)
    used = {TLS12: {"get", "put"}, TLS13: {"get", "push", "take"}}[version]
    count = "store_errors" if verb in {"get", "take"} else "store_write_errors"
    assert (client.stats.get(count, 0) > 0) is (verb in used | {"put", "take"})


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("verb", ["get", "take"])
def test_interrupt_in_a_search_comes_out(
    certificates: Certificates, error: type[BaseException], verb: str
) -> None:
    client = client_context(certificates, sessions=Failing(error(), [verb]))
    made = Wire(client, server_context(certificates, TLS13))
    with pytest.raises(error):
        made.client.do_handshake()
    made.handshake()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_interrupt_while_a_session_is_stored_comes_out(
    certificates: Certificates, error: type[BaseException]
) -> None:
    client = client_context(certificates, sessions=Failing(error(), ["put", "push"]))
    made = Wire(client, server_context(certificates, TLS13))
    made.handshake()
    with pytest.raises(error):
        made.exchange()
    made.client.write(b"ping")
    made.move()
    assert made.server.read(4) == b"ping", "the connection goes on"
    made = Wire(client, server_context(certificates, TLS12))
    with pytest.raises(error):
        made.handshake()


class Unwritable(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise OSError(28, "No space left on device")


@contextmanager
def unwritable_log(level: int) -> Iterator[None]:
    logger, handler = logging.getLogger("gnutls_resume"), Unwritable()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


@pytest.mark.parametrize("level", [logging.WARNING, logging.DEBUG])
def test_log_that_cannot_be_written_costs_no_handshake(
    certificates: Certificates, level: int
) -> None:
    client = client_context(certificates, sessions=Failing(OSError(5, "x"), VERBS))
    server = server_context(certificates, TLS13)
    with unwritable_log(level):
        connect(client, server)
    assert client.stats["store_errors"] > 0


def test_slow_store_costs_its_time_and_no_handshake(certificates: Certificates) -> None:
    class Slow(Recorder):
        def __getattr__(self, verb: str) -> Callable[..., Any]:
            time.sleep(0.2)
            return super().__getattr__(verb)

    client = client_context(certificates, sessions=Slow(private=True))
    server = server_context(certificates, TLS12)
    connect(client, server)
    assert connect(client, server).resumed == (True, True)


class Constant:
    """A store that has one answer to everything."""

    exposed, private = False, True

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def _any(self, *_: object) -> Any:
        return self.answer

    get = put = add = push = take = remove = _any


RUBBISH = [
    b"",
    b"x",
    b"x" * 65_536,
    b"x" * 65_537,
    b"x" * 50_000_000,
    bytes(4),
    b"GTLS" + b"\1" * 200,
    bytearray(b"x" * 300),
    memoryview(b"x" * 300),
    memoryview(b"x" * 300)[::2],
    "text",
    "x" * 300,
    5,
    -1,
    2**70,
    1.5,
    float("nan"),
    True,
    object(),
    [],
    {},
    (b"x",),
    [b"x"],
    MemoryStore,
]


@each_version
@pytest.mark.parametrize("answer", RUBBISH, ids=[f"{type(x).__name__}" for x in RUBBISH])
def test_store_that_returns_rubbish_costs_no_handshake(
    certificates: Certificates, version: ssl.TLSVersion, answer: Any
) -> None:
    client = client_context(certificates, sessions=Constant(answer))
    server = server_context(certificates, version)
    for _ in range(2):
        made = connect(client, server)
        assert made.resumed == (False, False)
        assert made.client.miss_reason in {
            MissReason.DAMAGED,
            MissReason.STORE_ERROR,
            MissReason.OTHER_VERSION,
        }


@each_version
@pytest.mark.parametrize("private", [True, False])
def test_entry_of_another_policy_is_damaged_goods(
    certificates: Certificates, version: ssl.TLSVersion, *, private: bool
) -> None:
    """A store that mixes up its keys."""
    theirs, server = Recorder(private=private), server_context(certificates, version)
    connect(client_context(certificates, sessions=theirs, partition=b"other"), server)
    answer = Constant(theirs.kept[-1])
    answer.private = private  # type: ignore[misc]
    made = connect(client_context(certificates, sessions=answer), server)
    assert (made.resumed, made.client.miss_reason) == ((False, False), MissReason.DAMAGED)


@each_version
def test_damaged_entry_is_a_miss_at_every_byte(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    """R-2, through the store: a sample of places; tests/binding/test_damage.py has them all."""
    first, server = Recorder(), server_context(certificates, version)
    connect(client_context(certificates, sessions=first), server)
    good = first.kept[-1]
    for place in range(0, len(good), 37):
        bad = bytearray(good)
        bad[place] ^= 1
        store = Constant(bytes(bad))
        store.private = False  # type: ignore[misc]
        made = connect(client_context(certificates, sessions=store), server)
        assert made.resumed == (False, False), place
        assert made.client.miss_reason not in {None, MissReason.DECLINED}, place


def test_resumed_handshake_tells_its_kind(certificates: Certificates) -> None:
    """By session ID where the client wants no tickets."""
    client = client_context(certificates, sessions=MemoryStore())
    client.options |= ssl.OP_NO_TICKET
    database: dict[bytes, bytes] = {}
    for kind in (HandshakeKind.FULL, HandshakeKind.RESUMED_SESSION_ID):
        server = bare_server(certificates.server(), None, TLS12)
        server.db_set_functions(
            store=database.__setitem__, retrieve=database.get, remove=database.pop
        )
        assert connect(client, server).client.handshake_kind is kind


def test_threads_that_make_the_process_key_at_once_get_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Under a key of its own, what a thread stores could never be opened again."""
    count = 8
    start = threading.Barrier(count)

    class Slow:
        """All threads stand in here together: each has found that there is no key."""

        @staticmethod
        def generate() -> SealingKey:
            start.wait(30)
            return SealingKey.generate()

    monkeypatch.setattr(store_view, "keys", [])
    monkeypatch.setattr(store_view, "SealingKey", Slow)
    with ThreadPoolExecutor(count) as pool:
        made = list(pool.map(lambda _: store_view.process_key(), range(count)))
    assert len({id(key) for key in made}) == 1
