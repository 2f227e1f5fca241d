"""The two transports: what goes through memory, and through sockets in every mode.

Every wait is bounded: sockets come from ``bounded``, which shuts them down if a test takes too
long. Times are asserted only where they are the subject, and then with wide bounds.
"""

import errno
import gc
import hashlib
import os
import select
import signal
import socket
import statistics
import struct
import threading
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NoReturn, TypeVar

import pytest
from conftest import Certificates
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pair import TLS12, TLS13, Pair, Setting, Sockets, bounded, in_thread, tcp_pair

from gnutls_resume.binding import (
    CertificateRequest,
    CertificateStatus,
    HandshakeType,
    HookTime,
    MemoryTransport,
    Session,
    Shutdown,
    TicketKey,
)
from gnutls_resume.errors import (
    AlertError,
    GnuTLSError,
    MisuseError,
    PrematureTerminationError,
    VerificationError,
    WantReadError,
    WantWriteError,
)

RECORD = 16384  # bytes; RFC 8446 §5.1
HANDSHAKE, ALERT = 22, 21  # record types
BAD_CERTIFICATE, CERTIFICATE_REQUIRED = 42, 116
BUFFER = 65536
SOON = 10  # seconds: far more than what is done at once takes
T = TypeVar("T")


@pytest.fixture
def setting(certificates: Certificates) -> Setting:
    return Setting(certificates)


def small(pair: Sockets) -> Sockets:
    """With buffers that are soon full, and do not grow."""
    for end in pair:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    return pair


@pytest.fixture
def tcp() -> Iterator[Sockets]:
    with bounded(small(tcp_pair())) as pair:
        yield pair


@pytest.fixture
def unix() -> Iterator[Sockets]:
    with bounded(small(socket.socketpair())) as pair:
        yield pair


@pytest.fixture(params=["tcp", "unix"])
def ends(request: pytest.FixtureRequest) -> Sockets:
    pair: Sockets = request.getfixturevalue(request.param)
    return pair


def memory(session: Session) -> MemoryTransport:
    assert isinstance(session.transport, MemoryTransport)
    return session.transport


def driven(sock: socket.socket, call: Callable[..., T], *args: Any) -> T:
    """Repeat a call on a socket that does not wait until it has its answer."""
    while True:
        try:
            return call(*args)
        except WantReadError:
            ready, _, _ = select.select([sock], [], [], SOON)
        except WantWriteError:
            _, ready, _ = select.select([], [sock], [], SOON)
        assert ready


@contextmanager
def lasting(at_least: float, at_most: float = SOON) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert at_least <= time.monotonic() - started < at_most


def message(number: int) -> bytes:
    return number.to_bytes(4) * (RECORD // 4)


def messages(count: int) -> bytes:
    return b"".join(map(message, range(count)))


def send_until(error: type[Exception], session: Session, data: bytes | None = None) -> int:
    """Send numbered messages, or always `data`, to a peer that does not read; the number of the
    one that failed.
    """
    number = 0
    try:
        while True:
            sent = session.record_send(data or message(number))
            assert sent == RECORD or data
            number += 1
    except error:
        return number


def receive(session: Session, size: int) -> bytes:
    """That many bytes, or what came before the end."""
    data = bytearray()
    while len(data) < size and (piece := session.record_recv()):
        data += piece
    return bytes(data)


def forever(call: Callable[..., object], *args: Any) -> NoReturn:
    """Until it raises."""
    while True:
        call(*args)


def fill(sock: socket.socket) -> int:
    """Write until the socket takes no more; returns how many bytes it took."""
    size = 0
    for piece in (bytes(65536), b"\0"):
        with suppress(BlockingIOError):
            while True:
                size += sock.send(piece, socket.MSG_DONTWAIT)
    return size


def discard(sock: socket.socket, size: int) -> None:
    while size > 0:
        size -= len(sock.recv(min(size, 65536)))


def record_types(data: bytes) -> list[int]:
    """The types of the records that `data` consists of, whole."""
    types = []
    while data:
        size = 5 + int.from_bytes(data[3:5])
        assert len(data) >= size
        types.append(data[0])
        data = data[size:]
    return types


# -- memory -----------------------------------------------------------------------------------


def test_what_was_written_is_drained_in_pieces_of_the_size_asked_for(setting: Setting) -> None:
    with setting.pair() as pair:
        carrier = memory(pair.client)
        with pytest.raises(WantReadError):
            pair.client.handshake()
        waiting = carrier.pending
        pieces = [carrier.drain(size) for size in (0, 1, 10)]
        assert carrier.pending == waiting - 11
        pieces.append(carrier.drain(waiting))
        assert [len(piece) for piece in pieces] == [0, 1, 10, waiting - 11]
        assert (carrier.drain(), carrier.drain(5), carrier.pending) == (b"", b"", 0)
        memory(pair.server).feed(b"".join(pieces))
        pair.handshake()


@pytest.mark.parametrize("priority", [TLS12, TLS13])
@pytest.mark.parametrize("resume", [False, True])
def test_handshake_and_data_arrive_byte_by_byte(
    setting: Setting, priority: str, *, resume: bool
) -> None:
    setting.priority, setting.ticket_key = priority, TicketKey.generate()
    data = setting.connect()[0] if resume else None
    with setting.pair(data) as pair:
        pair.piece = 1
        pair.handshake()
        assert pair.resumed == (resume, resume)
        pair.server.record_send(b"answer")
        while True:
            pair.move()
            try:
                assert pair.client.record_recv() == b"answer"
                break
            except WantReadError:
                continue


@pytest.mark.parametrize("priority", [TLS12, TLS13])
@pytest.mark.parametrize("resume", [False, True])
def test_a_flight_stands_whole_in_memory_when_the_handshake_asks_for_more(
    setting: Setting, priority: str, *, resume: bool
) -> None:
    setting.priority, setting.ticket_key = priority, TicketKey.generate()
    data = setting.connect()[0] if resume else None
    with setting.pair(data) as pair:
        with pytest.raises(WantReadError):
            pair.client.handshake()
        pair.move()
        with pytest.raises(WantReadError):
            pair.server.handshake()
        flight = memory(pair.server).drain()
        assert record_types(flight)[0] == HANDSHAKE
        memory(pair.client).feed(flight)
        if resume or priority == TLS13:
            pair.client.handshake()
        else:
            with pytest.raises(WantReadError):
                pair.client.handshake()
        pair.move()
        pair.server.handshake()


@pytest.mark.parametrize("priority", [TLS12, TLS13])
def test_end_of_input_in_the_handshake_is_premature(setting: Setting, priority: str) -> None:
    setting.priority = priority
    with setting.pair() as pair:
        with pytest.raises(WantReadError):
            pair.client.handshake()
        pair.move()
        memory(pair.client).eof()
        memory(pair.server).eof()
        for session in (pair.client, pair.server):
            with pytest.raises(PrematureTerminationError):
                session.handshake()


def test_end_of_input_without_close_notify_is_premature(setting: Setting) -> None:
    with setting.pair() as pair:
        pair.handshake()
        pair.server.record_send(b"last words")
        pair.move()
        memory(pair.client).eof()
        assert pair.client.record_recv() == b"last words"
        with pytest.raises(PrematureTerminationError):
            pair.client.record_recv()


def test_end_of_input_inside_a_record_is_premature(setting: Setting) -> None:
    with setting.pair() as pair:
        pair.handshake()
        pair.move()
        pair.server.record_send(b"cut short")
        memory(pair.client).feed(memory(pair.server).drain()[:-1])
        memory(pair.client).eof()
        with pytest.raises(PrematureTerminationError):
            pair.client.record_recv()


def test_close_notify_ends_the_data_and_stays_the_end(setting: Setting) -> None:
    with setting.pair() as pair:
        pair.handshake()
        pair.server.record_send(b"last words")
        pair.server.bye()
        pair.move()
        assert [pair.client.record_recv() for _ in range(3)] == [b"last words", b"", b""]
        memory(pair.client).eof()
        assert pair.client.record_recv() == b""


def test_ten_megabytes_wait_in_memory_and_come_out_as_they_were(setting: Setting) -> None:
    count = 640
    with setting.pair() as pair:
        pair.handshake()
        for number in range(count):
            assert pair.server.record_send(message(number)) == RECORD
        assert memory(pair.server).pending > count * RECORD
        pair.move()
        received = receive(pair.client, count * RECORD)
        assert hashlib.sha256(received).digest() == hashlib.sha256(messages(count)).digest()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    sizes=st.lists(st.integers(1, 40_000), min_size=1, max_size=8),
    piece=st.integers(1, 50_000),
    request_size=st.integers(1, 20_000),
)
def test_data_of_any_size_are_carried_in_pieces_of_any_size(
    certificates: Certificates, sizes: list[int], piece: int, request_size: int
) -> None:
    data = b"".join(bytes([number]) * size for number, size in enumerate(sizes))
    with Setting(certificates).pair() as pair:
        pair.handshake()
        sent, received = 0, bytearray()
        while sent < len(data):
            taken = pair.client.record_send(data[sent : sent + 30_000])
            assert 0 < taken <= 30_000
            sent += taken
        pair.piece = max(piece, len(data) // 500)
        while len(received) < len(data):
            try:
                got = pair.server.record_recv(request_size)
            except WantReadError:
                assert pair.move() > 0
            else:
                assert 0 < len(got) <= request_size
                received += got
        assert bytes(received) == data


def test_counters_say_how_many_bytes_were_read_and_written(setting: Setting) -> None:
    with setting.pair() as pair:
        client, server = memory(pair.client), memory(pair.server)
        assert (client.sent, client.received, server.sent, server.received) == (0, 0, 0, 0)
        pair.handshake()
        pair.exchange()
        assert client.sent == server.received > len(b"ping")
        assert server.sent == client.received > len(b"pong")
        before = client.sent
        pair.client.record_send(b"unread")
        assert client.sent - before == client.pending
        pair.move()
        assert server.received == before


def test_anything_bytes_like_is_taken(setting: Setting) -> None:
    with setting.pair() as pair:
        pair.handshake()
        pair.move()
        for data in (
            b"data",
            bytearray(b"data"),
            memoryview(b"data"),
            memoryview(b"data").cast("I"),
        ):
            assert pair.client.record_send(data) == len(b"data")
            memory(pair.server).feed(bytearray(memory(pair.client).drain(3)))
            memory(pair.server).feed(memoryview(memory(pair.client).drain()))
            buffer = bytearray(10)
            assert pair.server.record_recv_into(memoryview(buffer)[3:]) == len(b"data")
            assert bytes(buffer) == b"\0\0\0data\0\0\0"


@pytest.mark.parametrize("data", ["text", 5, None, [1, 2], 1.5])
def test_only_bytes_are_fed_and_sent(setting: Setting, data: Any) -> None:
    with setting.pair() as pair:
        pair.handshake()
        with pytest.raises(TypeError, match="data must be bytes"):
            memory(pair.client).feed(data)
        with pytest.raises(TypeError, match="data must be bytes"):
            pair.client.record_send(data)
        pair.exchange()


@pytest.mark.parametrize(
    ("size", "error"), [(-1, ValueError), (1 << 41, ValueError), (True, TypeError)]
    + [(size, TypeError) for size in (1.0, "1", b"1")],
)  # fmt: skip
def test_sizes_are_whole_numbers_in_range(
    setting: Setting, size: Any, error: type[Exception]
) -> None:
    with setting.pair() as pair:
        pair.handshake()
        with pytest.raises(error, match="size must be"):
            memory(pair.client).drain(size)
        with pytest.raises(error, match="size must be"):
            pair.client.record_recv(size)
        pair.exchange()


@pytest.mark.parametrize(
    ("buffer", "error"),
    [(b"constant", BufferError), (bytearray(), ValueError), ("text", TypeError), (5, TypeError)],
)
def test_only_a_writable_buffer_with_room_is_received_into(
    setting: Setting, buffer: Any, error: type[Exception]
) -> None:
    with setting.pair() as pair:
        pair.handshake()
        with pytest.raises(error):
            pair.client.record_recv_into(buffer)
        pair.exchange()


@pytest.mark.parametrize("carrier", [None, 5, "socket", b"", object()])
def test_only_a_socket_or_memory_is_attached(certificates: Certificates, carrier: Any) -> None:
    with (
        Session("client", certificates.client()) as client,
        pytest.raises(TypeError, match="a socket or a MemoryTransport"),
    ):
        client.attach(carrier)


def test_a_memory_transport_serves_one_session(certificates: Certificates) -> None:
    carrier = MemoryTransport()
    with (
        Session("client", certificates.client()) as one,
        Session("client", certificates.client()) as other,
    ):
        one.attach(carrier)
        with pytest.raises(MisuseError):
            other.attach(carrier)
        assert (one.transport, other.transport) == (carrier, None)


def test_a_session_has_one_transport(certificates: Certificates, unix: Sockets) -> None:
    with Session("client", certificates.client()) as client:
        client.attach(unix[0])
        for carrier in (unix[0], unix[1], MemoryTransport()):
            with pytest.raises(MisuseError):
                client.attach(carrier)
        assert client.transport is not None
        assert client.transport.is_socket


# -- sockets: handshake and data in each mode -------------------------------------------------


@pytest.mark.parametrize("priority", [TLS12, TLS13])
@pytest.mark.parametrize("timeout", [None, SOON])
def test_megabytes_go_both_ways_over_a_socket_that_waits(
    setting: Setting, ends: Sockets, priority: str, timeout: float | None
) -> None:
    setting.priority, count = priority, 100
    for end in ends:
        end.settimeout(timeout)

    def send(session: Session) -> None:
        for number in range(count):
            session.record_send(message(number))
        session.bye()

    with setting.connected(ends) as pair:
        for one, other in ((pair.client, pair.server), (pair.server, pair.client)):
            with in_thread(partial(send, one)) as errors:
                assert receive(other, count * RECORD) == messages(count)
            assert not errors
            assert other.record_recv() == b""


@pytest.mark.parametrize("priority", [TLS12, TLS13])
def test_megabytes_go_both_ways_over_a_socket_that_does_not_wait(
    setting: Setting, ends: Sockets, priority: str
) -> None:
    setting.priority, count = priority, 100
    for end in ends:
        end.setblocking(False)

    def send(session: Session, end: socket.socket) -> None:
        for number in range(count):
            assert driven(end, session.record_send, message(number)) == RECORD
        driven(end, session.bye)

    def read(session: Session, end: socket.socket) -> bytes:
        data = bytearray()
        while piece := driven(end, session.record_recv):
            data += piece
        return bytes(data)

    with setting.pair(None, ends) as pair:
        client, server = (pair.client, ends[0]), (pair.server, ends[1])
        with in_thread(lambda: driven(ends[1], pair.server.handshake)) as errors:
            driven(ends[0], pair.client.handshake)
        for one, other in ((client, server), (server, client)):
            with in_thread(partial(send, *one)) as more:
                assert read(*other) == messages(count)
            assert (errors, more) == ([], [])


def test_a_socket_that_does_not_wait_says_what_it_wants(setting: Setting, ends: Sockets) -> None:
    for end in ends:
        end.setblocking(False)
    with setting.pair(None, ends) as pair:
        for session in (pair.client, pair.server):
            with pytest.raises(WantReadError):
                session.handshake()
        pair.client.handshake()
        pair.server.handshake()
        with pytest.raises(WantReadError):
            pair.server.record_recv()
        with pytest.raises(WantReadError):
            pair.client.bye(Shutdown.RDWR)
        driven(ends[1], pair.server.bye, Shutdown.RDWR)
        driven(ends[0], pair.client.bye, Shutdown.RDWR)


@pytest.mark.parametrize("blocking", [True, False])
def test_a_handshake_waits_for_room_before_it_waits_for_input(
    setting: Setting, ends: Sockets, *, blocking: bool
) -> None:
    end, other = ends
    end.setblocking(blocking)
    stuffing, begun = fill(end), threading.Event()
    setting.prepare = lambda client, server: client.handshake_set_hook_function(
        HandshakeType.CLIENT_HELLO, HookTime.POST, lambda *_: begun.set()
    )
    with setting.pair(None, ends) as pair:
        if not blocking:
            with pytest.raises(WantWriteError):
                pair.client.handshake()

        def serve() -> None:
            assert begun.wait(SOON)
            time.sleep(0.1)  # nothing shows that it is in the kernel by now
            discard(other, stuffing)
            pair.server.handshake()

        with in_thread(serve) as errors:
            driven(end, pair.client.handshake)
        assert not errors


def test_the_socket_counts_what_goes_through_it(setting: Setting, tcp: Sockets) -> None:
    with setting.connected(tcp) as pair:
        client, server = pair.client.transport, pair.server.transport
        assert client is not None
        assert server is not None
        pair.server.record_send(b"answer")
        assert pair.client.record_recv() == b"answer"
        assert client.sent == server.received > 0
        assert server.sent == client.received > 0


# -- flights ----------------------------------------------------------------------------------


@contextmanager
def by_messages(
    setting: Setting, data: bytes | None = None
) -> Iterator[tuple[Session, Sockets, list[bytes]]]:
    """A server on a socket of which each send is one message, after its handshake with a client
    in memory: the server, the socket and its other end, the messages that the client needed.
    """
    with (
        bounded(socket.socketpair(type=socket.SOCK_SEQPACKET)) as (end, wire),
        setting.pair(data, (MemoryTransport(), end)) as pair,
    ):
        carrier, received = memory(pair.client), []

        def pass_on() -> None:  # as GnuTLS reads: a record's header, then its rest
            while carrier.pending:
                header = carrier.drain(5)
                wire.send(header)
                wire.send(carrier.drain(int.from_bytes(header[3:])))

        with in_thread(pair.server.handshake) as errors:
            while True:
                try:
                    pair.client.handshake()
                    break
                except WantReadError:
                    pass_on()
                    received.append(wire.recv(65536))
                    carrier.feed(received[-1])
            pass_on()
        assert not errors
        yield pair.server, (end, wire), received


@pytest.mark.parametrize(
    ("priority", "resume", "flights"),
    [
        pytest.param(TLS12, False, 2, id="full 1.2"),
        pytest.param(TLS12, True, 1, id="resumed 1.2"),
        pytest.param(TLS13, False, 1, id="full 1.3 and its tickets"),
        pytest.param(TLS13, True, 2, id="resumed 1.3; its tickets follow the client's Finished"),
    ],
)
def test_each_flight_of_a_server_is_one_send(
    setting: Setting, priority: str, flights: int, *, resume: bool
) -> None:
    setting.priority, setting.ticket_key = priority, TicketKey.generate()
    data = setting.connect()[0] if resume else None
    with by_messages(setting, data) as (_, (end, wire), received):
        end.shutdown(socket.SHUT_WR)
        while flight := wire.recv(65536):
            received.append(flight)
    assert len(received) == flights
    assert all(len(record_types(flight)) > 1 for flight in received)


@pytest.mark.parametrize("priority", [TLS12, TLS13])
@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("before", [0, 1])
def test_no_delay_stays_as_the_owner_had_it(
    setting: Setting, tcp: Sockets, priority: str, before: int, *, resume: bool
) -> None:
    def now() -> list[bool]:
        return [bool(end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)) for end in tcp]

    setting.priority, setting.ticket_key = priority, TicketKey.generate()
    data = setting.connect()[0] if resume else None
    for end in tcp:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, before)
    with setting.connected(tcp, data) as pair:
        assert pair.resumed == (resume, resume)
        assert now() == [bool(before)] * 2
        for one, other in ((pair.client, pair.server), (pair.server, pair.client)) * 2:
            one.record_send(b"data")
            assert other.record_recv() == b"data"
            assert now() == [bool(before)] * 2


@pytest.mark.parametrize(
    ("priority", "resume", "server_first"),
    [
        pytest.param(TLS12, True, False, id="resumed 1.2"),
        pytest.param(TLS12, True, True, id="resumed 1.2, server first"),
        pytest.param(TLS12, False, False, id="full 1.2"),
        pytest.param(TLS12, False, True, id="full 1.2, server first"),
        pytest.param(TLS13, True, False, id="resumed 1.3"),
        pytest.param(TLS13, True, True, id="resumed 1.3, server first"),
        pytest.param(TLS13, False, False, id="full 1.3"),
        pytest.param(TLS13, False, True, id="full 1.3, server first"),
    ],
)
def test_first_data_do_not_wait_for_an_acknowledgement(
    setting: Setting, priority: str, *, resume: bool, server_first: bool
) -> None:
    setting.priority, setting.ticket_key = priority, TicketKey.generate()
    data = setting.connect()[0] if resume else None

    def first_round(no_delay: int) -> float:
        """Seconds from the start of a handshake to the end of a first request and answer."""
        with bounded(tcp_pair()) as ends, setting.pair(data, ends) as pair:
            for end in ends:
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, no_delay)

            def serve() -> None:
                pair.server.handshake()
                if server_first:
                    pair.server.record_send(b"greeting")
                pair.server.record_recv()
                pair.server.record_send(b"answer")

            with in_thread(serve) as errors:
                started = time.perf_counter()
                pair.client.handshake()
                if server_first:
                    assert pair.client.record_recv() == b"greeting"
                pair.client.record_send(b"request")
                assert pair.client.record_recv() == b"answer"
                took = time.perf_counter() - started
            assert not errors
            assert pair.resumed == (resume, resume)
            return took

    times = [(first_round(0), first_round(1)) for _ in range(15)]
    ours, without_nagle = (statistics.median(column) for column in zip(*times, strict=True))
    assert ours < 5 * without_nagle


# -- timeouts ---------------------------------------------------------------------------------


def test_a_handshake_with_a_silent_peer_times_out_and_can_go_on(
    setting: Setting, ends: Sockets
) -> None:
    ends[0].settimeout(0.2)
    with setting.pair(None, ends) as pair:
        with lasting(0.15), pytest.raises(TimeoutError):
            pair.client.handshake()
        ends[0].settimeout(SOON)
        with in_thread(pair.server.handshake) as errors:
            pair.client.handshake()
        assert not errors


def test_one_deadline_bounds_the_handshake_with_a_peer_that_dribbles(
    setting: Setting, ends: Sockets
) -> None:
    end, other = ends
    end.settimeout(0.4)
    over = threading.Event()

    def dribble() -> None:
        other.sendall(bytes([HANDSHAKE]) + b"\3\3\x40\0")
        while not over.wait(0.05):
            other.sendall(b"\2")

    with setting.pair(None, ends) as pair, in_thread(dribble) as errors:
        try:
            with lasting(0.35), pytest.raises(TimeoutError):
                pair.client.handshake()
        finally:
            over.set()
    assert not errors


def test_the_deadline_also_holds_while_there_is_always_something_to_read(
    setting: Setting, unix: Sockets
) -> None:
    end, other = unix
    end.setblocking(False)
    flood = bytes([HANDSHAKE]) + b"\3\3\0\4\2\0\xff\xff"  # a ServerHello, one byte a record
    flood += (bytes([HANDSHAKE]) + b"\3\3\0\1\0") * 65_000
    with setting.pair(None, unix) as pair:
        with pytest.raises(WantReadError):
            pair.client.handshake()
        other.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * len(flood))
        size = other.send(flood, socket.MSG_DONTWAIT)
        end.settimeout(0.0005)
        with pytest.raises(TimeoutError):
            pair.client.handshake()
        assert pair.client.transport is not None
        assert pair.client.transport.received < size


def test_a_read_times_out_and_can_be_repeated(setting: Setting, ends: Sockets) -> None:
    with setting.connected(ends) as pair:
        ends[0].settimeout(0.2)
        with lasting(0.15), pytest.raises(TimeoutError):
            pair.client.record_recv()
        pair.server.record_send(b"late")
        assert pair.client.record_recv() == b"late"


def test_waiting_for_close_notify_times_out_and_can_be_repeated(
    setting: Setting, ends: Sockets
) -> None:
    with setting.connected(ends) as pair:
        ends[0].settimeout(0.2)
        with lasting(0.15), pytest.raises(TimeoutError):
            pair.client.bye(Shutdown.RDWR)
        assert pair.server.record_recv() == b""
        pair.server.bye()
        pair.client.bye(Shutdown.RDWR)


def test_a_change_of_the_timeout_is_honoured_by_the_next_call(
    setting: Setting, ends: Sockets
) -> None:
    with setting.connected(ends) as pair:
        ends[0].settimeout(0)
        with lasting(0), pytest.raises(WantReadError):
            pair.client.record_recv()
        ends[0].settimeout(0.2)
        with lasting(0.15), pytest.raises(TimeoutError):
            pair.client.record_recv()
        ends[0].settimeout(None)
        started = threading.Event()

        def answer() -> None:
            started.wait(SOON)
            with pytest.raises(TimeoutError):  # long after a timeout of 0.2 seconds is over
                pair.server.record_recv()
            pair.server.record_send(b"late")

        ends[1].settimeout(0.4)
        with in_thread(answer) as errors:
            started.set()
            assert pair.client.record_recv() == b"late"
        assert not errors


# -- a peer that does not read ----------------------------------------------------------------


@pytest.mark.parametrize(("timeout", "error"), [(0.2, TimeoutError), (0, WantWriteError)])
def test_a_send_that_was_put_off_goes_on_with_nothing_lost_or_doubled(
    setting: Setting, ends: Sockets, timeout: float, error: type[Exception]
) -> None:
    end = ends[0]
    with setting.connected(ends) as pair:
        end.settimeout(timeout)
        with lasting(timeout * 3 / 4):
            number = send_until(error, pair.client)
        size = (number + 3) * RECORD
        received: list[bytes] = []
        with in_thread(lambda: received.append(receive(pair.server, size))) as errors:
            end.settimeout(SOON)
            for later in (number, number + 1, number + 2):
                assert pair.client.record_send(message(later)) == RECORD
        assert not errors
        assert received == [messages(number + 3)]


def test_another_call_than_the_one_put_off_is_misuse(setting: Setting, ends: Sockets) -> None:
    end = ends[0]
    with setting.connected(ends) as pair:
        end.setblocking(False)
        number = send_until(WantWriteError, pair.client)
        with pytest.raises(MisuseError, match="the same call must be repeated"):
            pair.client.bye()
        size = (number + 1) * RECORD
        received: list[bytes] = []
        with in_thread(lambda: received.append(receive(pair.server, size))) as errors:
            assert driven(end, pair.client.record_send, message(number)) == RECORD
        assert not errors
        assert received == [messages(number + 1)]
        driven(end, pair.client.bye)
        assert pair.server.record_recv() == b""


def test_other_data_than_those_put_off_are_misuse(setting: Setting, unix: Sockets) -> None:
    with setting.connected(unix) as pair:
        unix[0].setblocking(False)
        send_until(WantWriteError, pair.client)
        with pytest.raises(MisuseError):
            pair.client.record_send(b"other data")


def test_a_read_beside_a_send_that_was_put_off_wants_to_read(
    setting: Setting, unix: Sockets
) -> None:
    with setting.connected(unix) as pair:
        unix[0].setblocking(False)
        send_until(WantWriteError, pair.client)
        with pytest.raises(WantReadError):
            pair.client.record_recv()


def test_putting_off_the_start_of_much_data_does_not_copy_all_of_it(
    setting: Setting, unix: Sockets
) -> None:
    data = bytes(20_000_000)
    with setting.connected(unix) as pair:
        unix[0].setblocking(False)
        send_until(WantWriteError, pair.client, data)
        tracemalloc.start()
        try:
            with pytest.raises(WantWriteError):
                pair.client.record_send(data)
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()


def test_a_connection_that_breaks_after_a_send_was_put_off_says_so_ever_after(
    setting: Setting, unix: Sockets
) -> None:
    with setting.connected(unix) as pair:
        unix[0].setblocking(False)
        number = send_until(WantWriteError, pair.client)
        unix[1].close()
        for data in (message(number), b"other data"):
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                pair.client.record_send(data)


def test_an_error_does_not_hold_on_to_the_buffer_handed_in(setting: Setting, unix: Sockets) -> None:
    data, buffer = bytearray(RECORD), bytearray(10)
    with setting.connected(unix) as pair:
        unix[0].setblocking(False)
        with pytest.raises((WantReadError, WantWriteError)) as not_received:
            pair.client.record_recv_into(buffer)
        with pytest.raises(WantWriteError) as not_sent:
            forever(pair.client.record_send, data)
    held = []
    for what, caught, array in (("sent", not_sent, data), ("received", not_received, buffer)):
        try:
            array.append(0)
        except BufferError:
            held.append(what)
            traceback.clear_frames(caught.tb)
    assert not held


def test_an_error_does_not_hold_on_to_the_early_data_handed_in(setting: Setting) -> None:
    data = bytearray(10)
    with setting.pair() as pair, pytest.raises(GnuTLSError) as caught:
        pair.client.record_send_early_data(data)  # without a session none may be sent
    try:
        data.append(0)
    except BufferError:
        traceback.clear_frames(caught.tb)
        pytest.fail("the data are still held")


def test_reading_goes_on_beside_a_send_that_was_put_off(setting: Setting, ends: Sockets) -> None:
    end = ends[0]
    with setting.connected(ends) as pair:
        end.setblocking(False)
        number = send_until(WantWriteError, pair.client)
        pair.server.record_send(b"from the other side")
        select.select([end], [], [], SOON)
        assert pair.client.record_recv() == b"from the other side"
        size = (number + 1) * RECORD
        received: list[bytes] = []
        with in_thread(lambda: received.append(receive(pair.server, size))) as errors:
            driven(end, pair.client.record_send, message(number))
        assert not errors
        assert received == [messages(number + 1)]


def test_a_peer_that_does_not_read_does_not_hold_up_an_error(
    setting: Setting, unix: Sockets
) -> None:
    other, end = unix
    with setting.pair(None, (MemoryTransport(), end)) as pair:
        fill(end)
        other.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with lasting(0), pytest.raises(GnuTLSError):
            pair.server.handshake()


# -- a peer that ends, breaks or talks nonsense -----------------------------------------------


def reset(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


def test_a_reset_comes_out_of_reading(setting: Setting, tcp: Sockets) -> None:
    with setting.connected(tcp) as pair:
        reset(tcp[1])
        with pytest.raises(ConnectionResetError):
            pair.client.record_recv()


def test_a_reset_comes_out_of_the_handshake(setting: Setting, tcp: Sockets) -> None:
    with setting.pair(None, tcp) as pair:
        reset(tcp[1])
        with pytest.raises(ConnectionResetError):
            pair.client.handshake()


@pytest.mark.parametrize("broken", [reset, socket.socket.close])
def test_a_broken_connection_comes_out_of_sending_and_stays(
    setting: Setting, tcp: Sockets, broken: Callable[[socket.socket], None]
) -> None:
    with setting.connected(tcp) as pair:
        broken(tcp[1])
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            forever(pair.client.record_send, bytes(RECORD))
        for call in (lambda: pair.client.record_send(b"more"), pair.client.bye):
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                call()


def test_after_a_send_that_failed_nothing_more_is_sent(setting: Setting) -> None:
    with by_messages(setting) as (server, (end, wire), _):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        for data in (bytes(RECORD), b"small enough"):
            with pytest.raises(OSError, match="Message too long"):
                server.record_send(data)
        assert_silent(wire)


def test_a_broken_pipe_is_no_signal(setting: Setting, unix: Sockets) -> None:
    struck: list[int] = []
    before = signal.signal(signal.SIGPIPE, lambda number, _: struck.append(number))
    try:
        with setting.connected(unix) as pair:
            unix[1].close()
            with pytest.raises(BrokenPipeError):
                pair.client.record_send(b"data")
    finally:
        signal.signal(signal.SIGPIPE, before)
    assert not struck


def test_end_of_the_connection_without_close_notify_is_premature(
    setting: Setting, ends: Sockets
) -> None:
    with setting.connected(ends) as pair:
        pair.server.record_send(b"last words")
        ends[1].close()
        assert pair.client.record_recv() == b"last words"
        with pytest.raises(PrematureTerminationError):
            pair.client.record_recv()


def test_end_of_the_connection_in_the_handshake_is_premature(
    setting: Setting, ends: Sockets
) -> None:
    with setting.pair(None, ends) as pair:
        ends[1].shutdown(socket.SHUT_WR)
        with pytest.raises(PrematureTerminationError):
            pair.client.handshake()


def test_close_notify_on_both_sides_ends_a_connection(setting: Setting, ends: Sockets) -> None:
    with (
        setting.connected(ends) as pair,
        in_thread(lambda: pair.server.bye(Shutdown.RDWR)) as errors,
    ):
        pair.client.bye(Shutdown.RDWR)
        assert pair.client.record_recv() == b""
    assert not errors


def test_nonsense_in_the_handshake_is_an_error_and_the_peer_gets_an_alert(
    setting: Setting, ends: Sockets
) -> None:
    other, end = ends
    with setting.pair(None, (MemoryTransport(), end)) as pair:
        other.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(GnuTLSError) as caught:
            pair.server.handshake()
        assert caught.value.fatal
        assert record_types(other.recv(RECORD)) == [ALERT]


@pytest.mark.parametrize("blocking", [True, False])
def test_a_certificate_that_is_refused_says_why_and_the_peer_is_told(
    setting: Setting, ends: Sockets, *, blocking: bool
) -> None:
    setting.prepare = lambda client, server: client.set_verify_cert("elsewhere.example")
    ends[0].setblocking(blocking)
    with setting.pair(None, ends) as pair:
        with in_thread(pair.server.handshake) as errors, pytest.raises(VerificationError) as caught:
            driven(ends[0], pair.client.handshake)
        wanted = CertificateStatus.INVALID | CertificateStatus.UNEXPECTED_OWNER
        assert caught.value.status == wanted
        assert "name in the certificate does not match" in caught.value.reasons
        (alert,) = errors
        assert isinstance(alert, AlertError)
        assert (alert.alert, alert.alert_name) == (BAD_CERTIFICATE, "Certificate is bad")


def test_the_peers_alert_is_read_though_nothing_can_be_sent_any_more(
    setting: Setting, unix: Sockets
) -> None:
    """In TLS 1.3 the client is done before the server has seen its certificate."""
    setting.prepare = lambda client, server: server.certificate_server_set_request(
        CertificateRequest.REQUIRE
    )
    with setting.pair(None, unix) as pair:

        def serve() -> None:
            with pytest.raises(GnuTLSError):
                pair.server.handshake()
            unix[1].close()

        with in_thread(serve) as errors:
            pair.client.handshake()
        assert not errors
        with pytest.raises(BrokenPipeError):
            pair.client.record_send(b"request")
        with pytest.raises(AlertError) as caught:
            pair.client.record_recv()
        assert caught.value.alert == CERTIFICATE_REQUIRED


def test_reading_waits_and_goes_on_though_nothing_can_be_sent_any_more(
    setting: Setting, unix: Sockets
) -> None:
    with setting.connected(unix) as pair:
        unix[1].shutdown(socket.SHUT_RD)
        with pytest.raises(BrokenPipeError):
            pair.client.record_send(b"data")
        received: list[bytes] = []
        with in_thread(lambda: received.append(pair.client.record_recv())) as errors:
            wait_until_busy(pair.client)
            pair.server.record_send(b"still talking")
        assert not errors
        assert received == [b"still talking"]


# -- descriptors ------------------------------------------------------------------------------

CALLS: list[Callable[[Session], object]] = [
    Session.record_recv,
    Session.bye,
    Session.get_data,
    lambda session: session.record_send(b"data"),
    lambda session: session.bye(Shutdown.RDWR),
]


@contextmanager
def bad_descriptor() -> Iterator[None]:
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        yield
    assert caught.value.errno == errno.EBADF


def test_a_closed_socket_is_a_bad_descriptor(setting: Setting, ends: Sockets) -> None:
    with setting.connected(ends) as pair:
        ends[0].close()
        for call in CALLS:
            with bad_descriptor():
                call(pair.client)


def test_a_socket_closed_before_the_handshake_is_a_bad_descriptor(
    setting: Setting, ends: Sockets
) -> None:
    with setting.pair(None, ends) as pair:
        ends[0].close()
        with bad_descriptor():
            pair.client.handshake()


class Owner:
    """What attach asks of a socket, and no more."""

    def __init__(self, sock: socket.socket) -> None:
        self.fileno, self.gettimeout = sock.fileno, sock.gettimeout


def test_a_socket_that_was_collected_is_a_bad_descriptor(
    setting: Setting, certificates: Certificates, unix: Sockets
) -> None:
    with (
        setting.pair(None, (MemoryTransport(), unix[1])) as pair,
        Session("client", certificates.client()) as client,
    ):
        owner = Owner(unix[0])
        client.attach(owner)
        with in_thread(pair.server.handshake) as errors:
            client.handshake()
        assert not errors
        del owner
        gc.collect()
        for call in CALLS:
            with bad_descriptor():
                call(client)


@contextmanager
def reused(end: socket.socket) -> Iterator[Sockets]:
    """Close the socket, and give its number to another one: the first of the pair."""
    with bounded(socket.socketpair()) as (stranger, other):
        number = end.fileno()
        end.close()
        os.dup2(stranger.fileno(), number)
        try:
            yield stranger, other
        finally:
            os.close(number)


def assert_silent(end: socket.socket) -> None:
    with pytest.raises(BlockingIOError):
        end.recv(1, socket.MSG_DONTWAIT)


@pytest.mark.parametrize("owing", [False, True])
def test_who_has_the_number_after_a_close_gets_nothing_from_us(
    setting: Setting, ends: Sockets, *, owing: bool
) -> None:
    with setting.connected(ends) as pair:
        if owing:
            ends[0].setblocking(False)
            send_until(WantWriteError, pair.client)
        with reused(ends[0]) as (_, other):
            for call in CALLS:
                with pytest.raises((OSError, MisuseError)):
                    call(pair.client)
            pair.client.close()
            assert_silent(other)


def test_who_gets_the_number_of_a_socket_in_use_gets_nothing_from_us(
    setting: Setting, unix: Sockets
) -> None:
    with setting.connected(unix) as pair:

        def send() -> None:
            with bad_descriptor():
                forever(pair.client.record_send, bytes(RECORD))

        with in_thread(send) as errors:
            while select.select([], [unix[0]], [], 0)[1]:
                time.sleep(0.001)
            time.sleep(0.1)  # nothing shows that it is in the kernel by now
            with reused(unix[0]) as (_, other):
                # Now there is room again, and the sender wakes.
                unix[1].settimeout(0.5)
                with pytest.raises((TimeoutError, PrematureTerminationError)):
                    forever(pair.server.record_recv)
                assert_silent(other)
        assert not errors


@pytest.mark.parametrize(
    "before",
    [
        0,
        3,
        9,
    ],
)
def test_who_gets_the_number_of_a_socket_in_use_loses_nothing_to_us(
    setting: Setting, unix: Sockets, before: int
) -> None:
    with by_hand(setting, unix) as pair:
        server = memory(pair.server)
        pair.server.record_send(b"now the reader wakes")
        unix[1].sendall(server.drain(before))

        def receive_one() -> None:
            with suppress(OSError, GnuTLSError):
                pair.client.record_recv()

        with in_thread(receive_one) as errors:
            wait_until_busy(pair.client)
            time.sleep(0.1)  # nothing shows that it is in the kernel by now
            with reused(unix[0]) as (stranger, other):
                other.sendall(b"private")
                unix[1].sendall(server.drain(1))
                time.sleep(0.1)
                with suppress(BrokenPipeError):
                    unix[1].sendall(server.drain())
                wait_until_free(pair.client)
                assert stranger.recv(100, socket.MSG_DONTWAIT) == b"private"
        assert not errors


@contextmanager
def by_hand(setting: Setting, ends: Sockets) -> Iterator[Pair]:
    """A client on the first socket, after its handshake with a server in memory, whose bytes
    have to be put on the second.
    """
    end, wire = ends
    with setting.pair(None, (end, MemoryTransport())) as pair:
        server = memory(pair.server)

        def serve() -> None:
            while True:
                try:
                    pair.server.handshake()
                    break
                except WantReadError:
                    wire.sendall(server.drain())
                    server.feed(wire.recv(RECORD))

        with in_thread(serve) as errors:
            pair.client.handshake()
        assert not errors
        wire.sendall(server.drain())
        yield pair


def wait_until_busy(session: Session) -> None:
    """Until another thread is in a call of the session, which is past its handshake."""
    wait_for(session, "another thread")


def wait_until_free(session: Session) -> None:
    wait_for(session, "after the handshake")


def wait_for(session: Session, words: str) -> None:
    """Until a handshake is refused in these words."""
    deadline = time.monotonic() + SOON
    while time.monotonic() < deadline:
        with pytest.raises(MisuseError) as caught:
            session.handshake()
        if words in str(caught.value):
            return
        time.sleep(0.001)
    raise AssertionError(f"{session} never came to be {words!r}")


# -- a ticket that is waited for --------------------------------------------------------------


def test_get_data_waits_a_little_for_a_ticket_that_does_not_come(
    setting: Setting, ends: Sockets
) -> None:
    with setting.connected(ends) as pair:
        with lasting(0.05):
            assert pair.client.get_data() is None
        ends[0].setblocking(False)
        assert pair.client.get_data() is None
        pair.server.record_send(b"answer")
        select.select([ends[0]], [], [], SOON)
        assert pair.client.record_recv() == b"answer"


@pytest.mark.parametrize("part", [1, 4, 5, 6, 100])
def test_get_data_loses_nothing_of_a_record_of_which_a_part_has_come(
    setting: Setting, part: int
) -> None:
    with setting.pair() as pair:
        pair.handshake()
        pair.move()
        pair.server.record_send(bytes(1000))
        memory(pair.client).feed(memory(pair.server).drain(part))
        assert pair.client.get_data() is None
        pair.move()
        assert pair.client.record_recv() == bytes(1000)


@pytest.mark.parametrize("timeout", [None, SOON, 0])
def test_get_data_loses_nothing_of_a_record_that_is_still_on_its_way(
    setting: Setting, ends: Sockets, timeout: float | None
) -> None:
    end, wire = ends
    with by_hand(setting, ends) as pair:
        server = memory(pair.server)
        pair.server.record_send(bytes(1000))
        wire.sendall(server.drain(500))
        end.settimeout(timeout)
        assert pair.client.get_data() is None
        wire.sendall(server.drain())
        end.settimeout(0.5)
        assert pair.client.record_recv() == bytes(1000)


# -- signals ----------------------------------------------------------------------------------


class Struck(Exception):  # noqa: N818 - no error, what a handler raises
    pass


@contextmanager
def alarms(handler: Callable[[], None], interval: float = 0) -> Iterator[None]:
    """Call the handler for a signal in 50 ms, and again after each interval."""
    before = signal.signal(signal.SIGALRM, lambda *_: handler())
    signal.setitimer(signal.ITIMER_REAL, 0.05, interval)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def interrupting(work: Callable[[], object]) -> Iterator[None]:
    """Interrupt the body's call with signals; `work` begins only after some of them."""
    count, enough = 0, threading.Event()

    def handler() -> None:
        nonlocal count
        count += 1
        if count == 5:
            enough.set()

    def wait_and_work() -> None:
        assert enough.wait(SOON)
        work()

    with in_thread(wait_and_work) as errors, alarms(handler, 0.01):
        yield
    assert count >= 5
    assert not errors


def test_a_handshake_goes_on_after_signals(setting: Setting, ends: Sockets) -> None:
    with setting.pair(None, ends) as pair, interrupting(pair.server.handshake):
        pair.client.handshake()


@pytest.mark.parametrize("timeout", [None, SOON])
def test_reading_goes_on_after_signals(
    setting: Setting, ends: Sockets, timeout: float | None
) -> None:
    with setting.connected(ends) as pair:
        ends[0].settimeout(timeout)
        with interrupting(lambda: pair.server.record_send(b"late")):
            assert pair.client.record_recv() == b"late"


def test_sending_goes_on_after_signals(setting: Setting, ends: Sockets) -> None:
    count, received = 100, []  # far more than the buffers hold
    with setting.connected(ends) as pair:
        with interrupting(lambda: received.append(receive(pair.server, count * RECORD))):
            for number in range(count):
                assert pair.client.record_send(message(number)) == RECORD
        assert received == [messages(count)]


def test_signals_do_not_put_off_the_deadline(setting: Setting, ends: Sockets) -> None:
    with setting.connected(ends) as pair, alarms(lambda: None, 0.02):
        ends[0].settimeout(0.3)
        with lasting(0.25, 5), pytest.raises(TimeoutError):
            pair.client.record_recv()


def raise_struck() -> None:
    raise Struck


def test_what_a_signal_handler_raises_comes_out_and_reading_can_go_on(
    setting: Setting, ends: Sockets
) -> None:
    with setting.connected(ends) as pair:
        with pytest.raises(Struck), alarms(raise_struck):
            pair.client.record_recv()
        pair.server.record_send(b"late")
        assert pair.client.record_recv() == b"late"


def test_what_a_signal_handler_raises_comes_out_and_sending_can_go_on(
    setting: Setting, ends: Sockets
) -> None:
    with setting.connected(ends) as pair:
        with alarms(raise_struck):
            number = send_until(Struck, pair.client)
        received: list[bytes] = []
        with in_thread(lambda: received.append(receive(pair.server, (number + 1) * RECORD))):
            assert pair.client.record_send(message(number)) == RECORD
        assert received == [messages(number + 1)]


# -- a send that has failed -------------------------------------------------------------------


def test_a_handshake_that_cannot_send_ends_though_the_peer_is_silent(
    setting: Setting, ends: Sockets
) -> None:
    ends[0].settimeout(SOON)
    ends[0].shutdown(socket.SHUT_WR)
    with setting.pair(None, ends) as pair, pytest.raises(BrokenPipeError):
        pair.client.handshake()
