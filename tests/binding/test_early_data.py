"""Early data (0-RTT): accepted once, or refused with a handshake that goes on.

The cases of GnuTLS's tls13-early-data*.c and tls13/anti_replay.c as far as they can be reached.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from conftest import Certificates
from pair import TLS12, TLS13, Pair, Setting

from gnutls_resume.binding import (
    AntiReplay,
    HandshakeType,
    HookTime,
    InitFlag,
    MemoryTransport,
    Session,
    SessionFlag,
    TicketKey,
)
from gnutls_resume.errors import GnuTLSError, WantReadError

WEEK = 604_800  # seconds
DEFAULT_MAX = 16_384  # bytes that GnuTLS's server takes
UNKNOWN, SHA256 = 0, 6  # gnutls_digest_algorithm_t
EARLY = b"GET / HTTP/1.0\r\n\r\n"
AES_128 = f"{TLS13}:-CIPHER-ALL:+AES-128-GCM"
AES_256 = f"{TLS13}:-CIPHER-ALL:+AES-256-GCM"
BOTH, NEITHER = (True, True), (False, False)


@dataclass
class Store:
    """What processes of one server share: add if absent."""

    seen: dict[bytes, tuple[bytes, int]] = field(default_factory=dict)
    asked: list[bytes] = field(default_factory=list)

    def add(self, key: bytes, data: bytes, expires: int) -> bool:
        self.asked.append(key)
        if key in self.seen:
            return False
        self.seen[key] = data, expires
        return True


@dataclass
class Early:
    """A server that takes early data, and a session with which a client may send them."""

    setting: Setting
    store: Store
    anti_replay: AntiReplay
    data: bytes

    @contextmanager
    def pair(self, early: bytes | None = EARLY) -> Iterator[Pair]:
        with self.setting.pair(self.data) as pair:
            if early is not None:
                pair.client.record_send_early_data(early)
            yield pair


def make(certificates: Certificates, priority: str = TLS13, size: int = DEFAULT_MAX) -> Early:
    store = Store()
    made = Early(
        Setting(
            certificates,
            priority,
            server_flags=InitFlag.ENABLE_EARLY_DATA,
            ticket_key=TicketKey.generate(),
        ),
        store,
        AntiReplay(store.add),
        b"",
    )

    def prepare(_: Session, server: Session) -> None:
        server.anti_replay_enable(made.anti_replay)
        server.record_set_max_early_data_size(size)

    made.setting.prepare = prepare
    renew(made)
    return made


def renew(made: Early) -> None:
    """A new session; GnuTLS takes no early data with one from before its AntiReplay began."""
    asked = len(made.store.asked)
    data, resumed = made.setting.connect()
    assert data is not None
    assert resumed == NEITHER
    assert len(made.store.asked) == asked
    made.data = data


@pytest.fixture
def made(certificates: Certificates) -> Early:
    return make(certificates)


def accepted(pair: Pair) -> bool:
    """What both ends say."""
    said = {bool(s.get_flags() & SessionFlag.EARLY_DATA) for s in (pair.client, pair.server)}
    (answer,) = said
    return answer


def everything(server: Session, size: int = DEFAULT_MAX) -> bytes:
    parts: list[bytes] = []
    while part := server.record_recv_early_data(size):
        assert len(part) <= size
        parts.append(part)
    assert server.record_recv_early_data() == b""
    return b"".join(parts)


# -- accepted ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, DEFAULT_MAX])
@pytest.mark.parametrize("early", [b"x", EARLY, bytes(DEFAULT_MAX)], ids=len)
def test_early_data_arrive(early: bytes, size: int, made: Early) -> None:
    if size == 1 and len(early) > 99:
        size = 99
    with made.pair(early) as pair:
        pair.handshake()
        assert pair.resumed == BOTH
        assert accepted(pair)
        assert everything(pair.server, size) == early
        pair.exchange()
    assert len(made.store.asked) == 1
    assert made.anti_replay.failures == 0


def test_early_data_may_be_sent_in_parts(made: Early) -> None:
    parts: list[bytes | bytearray | memoryview] = [
        b"one",
        bytearray(b"two"),
        memoryview(b"three"),
        b"",
    ]
    with made.setting.pair(made.data) as pair:
        for part in parts:
            pair.client.record_send_early_data(part)
        pair.handshake()
        assert everything(pair.server) == b"onetwothree"


def test_early_data_leave_with_the_first_flight(made: Early) -> None:
    """The server has them before the client has heard from it."""
    with made.pair() as pair:
        flight = first_flight(pair)
        assert isinstance(pair.server.transport, MemoryTransport)
        pair.server.transport.feed(flight)
        with pytest.raises(WantReadError):
            pair.server.handshake()
        assert pair.server.record_recv_early_data() == EARLY
        pair.handshake()
        assert accepted(pair)
        assert everything(pair.server) == b""


def first_flight(pair: Pair) -> bytes:
    with pytest.raises(WantReadError):
        pair.client.handshake()
    assert isinstance(pair.client.transport, MemoryTransport)
    return pair.client.transport.drain()


def test_no_early_data_are_no_early_data(made: Early) -> None:
    with made.pair(None) as pair:
        pair.handshake()
        assert pair.resumed == BOTH
        assert not accepted(pair)
        assert everything(pair.server) == b""
    assert made.store.asked == []


@pytest.mark.parametrize("early", [b"", None], ids=["empty", "flag"])
def test_client_may_ask_without_data(early: bytes | None, made: Early) -> None:
    if early is None:
        made.setting.client_flags = InitFlag.ENABLE_EARLY_DATA
    with made.pair(early) as pair:
        pair.handshake()
        assert pair.resumed == BOTH
        assert everything(pair.server) == b""
        pair.exchange()


def test_one_ticket_may_be_used_for_early_data_twice(made: Early) -> None:
    """Only the same bytes are a replay."""
    for _ in range(2):
        with made.pair() as pair:
            pair.handshake()
            assert accepted(pair)
    assert len(set(made.store.asked)) == 2


def test_session_of_a_connection_with_early_data_can_send_them_again(made: Early) -> None:
    for _ in range(2):
        with made.pair() as pair:
            pair.handshake()
            pair.exchange()
            assert accepted(pair)
            data = pair.client.get_data()
            assert data is not None
            made.data = data


def test_cipher_and_hash_of_early_data_are_known_in_callbacks(certificates: Certificates) -> None:
    made = make(certificates, AES_128)
    known: list[tuple[int, int]] = []

    def note(session: Session, *_: object) -> None:
        known.append((session.early_cipher_get(), session.early_prf_hash_get()))

    prepare = made.setting.prepare
    assert prepare is not None

    def hooked(client: Session, server: Session) -> None:
        prepare(client, server)
        server.handshake_set_hook_function(HandshakeType.CLIENT_HELLO, HookTime.POST, note)
        server.handshake_set_hook_function(HandshakeType.END_OF_EARLY_DATA, HookTime.PRE, note)

    made.setting.prepare = hooked
    with made.pair() as pair:
        pair.handshake()
        assert accepted(pair)
        assert (pair.server.early_cipher_get(), pair.server.early_prf_hash_get()) == (0, UNKNOWN)
    (cipher, digest) = known[-1]
    assert cipher != 0
    assert digest == SHA256


# -- refused ----------------------------------------------------------------------------------


def assert_refused(made: Early, resumed: tuple[bool, bool]) -> None:
    """The handshake goes on, and what the client sends again arrives."""
    with made.pair() as pair:
        pair.handshake()
        assert pair.resumed == resumed
        assert not accepted(pair)
        assert everything(pair.server) == b""
        pair.exchange(EARLY)


def test_server_without_protection_against_replay_refuses_early_data(made: Early) -> None:
    made.setting.prepare = None
    assert_refused(made, resumed=BOTH)


def test_server_without_the_flag_refuses_early_data(made: Early) -> None:
    made.setting.server_flags = InitFlag.NONE
    assert_refused(made, resumed=BOTH)


def test_new_ticket_key_refuses_early_data(made: Early) -> None:
    made.setting.ticket_key = TicketKey.generate()
    assert_refused(made, resumed=NEITHER)
    assert made.store.asked == []


def test_server_that_says_no_refuses_early_data(made: Early) -> None:
    made.anti_replay.add = lambda *_: False
    assert_refused(made, resumed=BOTH)
    assert made.anti_replay.failures == 0


def test_ticket_older_than_the_window_is_refused(made: Early) -> None:
    """What a new or renewed AntiReplay cannot know about, it refuses."""
    time.sleep(0.01)
    made.anti_replay = AntiReplay(made.store.add)
    assert_refused(made, resumed=BOTH)
    assert made.store.asked == []


@pytest.mark.parametrize("priority", [TLS12, TLS13])
def test_session_that_does_not_allow_early_data_sends_none(
    priority: str, certificates: Certificates
) -> None:
    """RFC 8446 §4.2.10: the ticket must say that it may be used so."""
    setting = Setting(certificates, priority, ticket_key=TicketKey.generate())
    data, _ = setting.connect()
    with setting.pair(data) as pair:
        assert pair.client.record_get_max_early_data_size() == 0
        with pytest.raises(GnuTLSError) as caught:
            pair.client.record_send_early_data(EARLY)
        assert caught.value.name == "GNUTLS_E_RECORD_LIMIT_REACHED"
        pair.handshake()
        assert pair.resumed == BOTH


# -- replay -----------------------------------------------------------------------------------


def replay(made: Early, flight: bytes) -> tuple[bool, bytes]:
    """Another server session is fed what was recorded: whether it took the early data."""
    with made.setting.pair() as pair:
        assert isinstance(pair.server.transport, MemoryTransport)
        pair.server.transport.feed(flight)
        with pytest.raises(WantReadError):
            pair.server.handshake()
        assert pair.server.is_resumed()
        flags = pair.server.get_flags()
        return bool(flags & SessionFlag.EARLY_DATA), everything(pair.server)


@pytest.mark.parametrize("priority", [AES_128, AES_256])
def test_replayed_flight_is_refused_by_every_process_that_shares_the_store(
    priority: str, certificates: Certificates
) -> None:
    made = make(certificates, priority)
    another = AntiReplay(made.store.add)
    renew(made)
    with made.pair() as pair:
        flight = first_flight(pair)
        assert isinstance(pair.server.transport, MemoryTransport)
        pair.server.transport.feed(flight)
        pair.handshake()
        assert accepted(pair)
        assert everything(pair.server) == EARLY
    for anti_replay in (made.anti_replay, another, made.anti_replay):
        made.anti_replay = anti_replay
        assert replay(made, flight) == (False, b"")
    assert len(made.store.asked) == 4
    assert len(set(made.store.asked)) == 1, "all saw the same key"


def test_flight_is_taken_by_whoever_gets_it_first(made: Early) -> None:
    with made.pair() as pair:
        flight = first_flight(pair)
    assert replay(made, flight) == (True, EARLY)
    assert replay(made, flight) == (False, b"")


@pytest.mark.parametrize(("priority", "size"), [(AES_128, 32), (AES_256, 48)])
def test_key_is_the_binder_alone(priority: str, size: int, certificates: Certificates) -> None:
    """RFC 8446 §8.2: the time at which this process began is no part of it. The binder stands at
    the end of the ClientHello.
    """
    made = make(certificates, priority)
    hellos: list[bytes] = []
    prepare = made.setting.prepare
    assert prepare is not None

    def hooked(client: Session, server: Session) -> None:
        prepare(client, server)
        server.handshake_set_hook_function(1, 0, lambda *args: hellos.append(args[-1]))

    made.setting.prepare = hooked
    with made.pair() as pair:
        pair.handshake()
    (key,) = made.store.asked
    assert len(key) == size
    assert hellos[-1].endswith(key)


@pytest.mark.parametrize("window", [0.9, 1, 10.0, 3600, WEEK])
def test_entry_outlives_the_window(window: float, made: Early) -> None:
    made.anti_replay = AntiReplay(made.store.add, window=window)
    renew(made)
    before = time.time()
    with made.pair() as pair:
        pair.handshake()
        assert accepted(pair)
    after = time.time()
    ((data, expires),) = made.store.seen.values()
    assert before + window - 1 <= expires <= after + window + 4
    assert type(expires) is int
    assert type(data) is bytes


# -- limits -----------------------------------------------------------------------------------


def assert_too_much(client: Session, early: bytes) -> None:
    with pytest.raises(GnuTLSError) as caught:
        client.record_send_early_data(early)
    assert caught.value.name == "GNUTLS_E_RECORD_LIMIT_REACHED"


def test_nothing_can_be_sent_early_without_a_session(certificates: Certificates) -> None:
    with make(certificates).setting.pair() as pair:
        assert pair.client.record_get_max_early_data_size() == 0
        assert_too_much(pair.client, b"x")
        pair.handshake()
        assert pair.resumed == NEITHER
        pair.exchange()


@pytest.mark.parametrize("size", [1, 100, DEFAULT_MAX, (1 << 32) - 2])
def test_client_knows_how_much_the_server_takes(size: int, certificates: Certificates) -> None:
    made = make(certificates, size=size)
    with made.pair(None) as pair:
        assert pair.server.record_get_max_early_data_size() == size
        assert pair.client.record_get_max_early_data_size() == size
        if size < 1 << 20:
            assert_too_much(pair.client, bytes(size + 1))
            pair.client.record_send_early_data(bytes(size))
            assert_too_much(pair.client, b"x")
        pair.handshake()
        assert pair.resumed == BOTH
        assert accepted(pair) is (size < 1 << 20)
        assert len(everything(pair.server)) == (size if size < 1 << 20 else 0)
        pair.exchange()


def test_server_that_has_lowered_its_limit_ends_the_connection(certificates: Certificates) -> None:
    made = make(certificates, size=1000)
    prepare = made.setting.prepare
    assert prepare is not None

    def lowered(client: Session, server: Session) -> None:
        prepare(client, server)
        server.record_set_max_early_data_size(10)

    made.setting.prepare = lowered
    with made.pair(bytes(1000)) as pair:
        client, server = pair.outcomes()
    assert client is None or isinstance(client, GnuTLSError)
    assert isinstance(server, GnuTLSError)
    assert server.name == "GNUTLS_E_UNEXPECTED_PACKET"


@pytest.mark.parametrize(
    ("window", "error"),
    [
        *((value, ValueError) for value in (0, 0.0009, -1, WEEK + 1, float("nan"), float("inf"))),
        *((value, TypeError) for value in ("10", None, b"1", [1])),
    ],
)
def test_window_has_limits(window: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        AntiReplay(lambda *_: True, window=window)


@pytest.mark.parametrize("window", ["10", None, True])
def test_refusal_of_a_window_names_it(window: Any) -> None:
    with pytest.raises(TypeError, match="window"):
        AntiReplay(lambda *_: True, window=window)


@pytest.mark.parametrize("add", [None, "add", 1])
def test_add_must_be_callable(add: Any) -> None:
    with pytest.raises(TypeError, match="add must be callable"):
        AntiReplay(add)
