"""Threads, forks and signals: what may happen beside what, and that misuse never corrupts.

Every wait is bounded: sockets come from ``bounded``, which shuts them down if a test takes too
long, and barriers and joins have timeouts.
"""

import gc
import hashlib
import os
import random
import resource
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from conftest import HOST, Certificates
from pair import TLS12, TLS13, Pair, Setting, Sockets, bounded, in_thread, tcp_pair

from gnutls_resume.binding import (
    AlertLevel,
    CertificateRequest,
    Credentials,
    HandshakeType,
    HookTime,
    MemoryTransport,
    Session,
    Shutdown,
    TicketKey,
)
from gnutls_resume.errors import GnuTLSError, MisuseError, WantReadError, WantWriteError

RECORD = 16384  # bytes; RFC 8446 §5.1
USER_CANCELED = 90  # RFC 8446 §6.1
THREADS = 8
SOON = 10  # seconds: far more than what is done at once takes

Call = Callable[[Session], object]


class Struck(Exception):  # noqa: N818 - no error, what a handler raises
    pass


@pytest.fixture
def setting(certificates: Certificates) -> Setting:
    return Setting(certificates)


@pytest.fixture
def tcp() -> Iterator[Sockets]:
    with bounded(tcp_pair()) as pair:
        yield pair


@pytest.fixture
def unix() -> Iterator[Sockets]:
    with bounded(socket.socketpair()) as pair:
        yield pair


def in_threads(*works: Callable[[], object], ends: Iterable[socket.socket] = ()) -> None:
    """Run them all at once, to their ends; an error of any shuts the sockets down, so that none
    waits for it, and comes out.
    """
    barrier = threading.Barrier(len(works), timeout=SOON)

    def run(work: Callable[[], object]) -> None:
        barrier.wait()
        try:
            work()
        except BaseException:
            for end in ends:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            raise

    with ThreadPoolExecutor(len(works)) as pool:
        for future in [pool.submit(run, work) for work in works]:
            future.result(60)


def wait_until_busy(session: Session) -> None:
    """Until another thread is in a call of the session, which is past its handshake."""
    deadline = time.monotonic() + SOON
    while time.monotonic() < deadline:
        with pytest.raises(MisuseError) as caught:
            session.handshake()
        if "another thread" in str(caught.value):
            return
        time.sleep(0.001)
    raise AssertionError("no other thread came to use the session")


def wait_until_full(end: socket.socket, session: Session) -> None:
    """Until the thread that sends through the session has to wait."""
    assert session.transport is not None
    before = -1
    while before != session.transport.sent or select.select([], [end], [], 0)[1]:
        before = session.transport.sent
        time.sleep(0.05)


@contextmanager
def blocked_reader(pair: Pair) -> Iterator[None]:
    """Beside the body a thread waits in the client's record_recv, and afterwards gets data."""
    received: list[bytes] = []
    with in_thread(lambda: received.append(pair.client.record_recv())) as errors:
        wait_until_busy(pair.client)
        yield
        assert not received
        pair.server.record_send(b"for the reader")
    assert not errors
    assert received == [b"for the reader"]


# -- one reader and one writer ----------------------------------------------------------------


def pour(session: Session, seed: int, size: int, beside: Call | None = None) -> bytes:
    """Send that much in pieces of any size, and a close_notify; returns its digest."""
    source, digest, sent = random.Random(seed), hashlib.sha256(), 0  # noqa: S311
    while sent < size:
        data = source.randbytes(min(source.randrange(1, 3 * RECORD), size - sent))
        digest.update(data)
        sent += len(data)
        while data:  # no memoryview: in garbage they crash CPython before 3.12.7
            data = data[session.record_send(data) :]
        if beside is not None:
            beside(session)
    session.bye()
    return digest.digest()


def drink(session: Session, beside: Call | None = None) -> bytes:
    """Receive to the end; returns the digest."""
    digest = hashlib.sha256()
    while data := session.record_recv():
        digest.update(data)
        if beside is not None:
            beside(session)
    return digest.digest()


@pytest.mark.parametrize("priority", [TLS12, TLS13])
@pytest.mark.parametrize("timeout", [None, SOON])
def test_a_reader_and_a_writer_use_both_ends_at_once(
    setting: Setting, tcp: Sockets, priority: str, timeout: float | None
) -> None:
    setting.priority, setting.ticket_key, size = priority, TicketKey.generate(), 4_000_000
    for end in tcp:
        end.settimeout(timeout)
    with setting.connected(tcp) as pair, ThreadPoolExecutor(4) as pool:
        to_server = pool.submit(pour, pair.client, 1, size), pool.submit(drink, pair.server)
        to_client = pool.submit(pour, pair.server, 2, size), pool.submit(drink, pair.client)
        for sent, received in (to_server, to_client):
            assert sent.result(30) == received.result(30)


def test_a_writer_sends_while_the_reader_of_the_same_end_waits(
    setting: Setting, tcp: Sockets
) -> None:
    with setting.connected(tcp) as pair, blocked_reader(pair):
        with in_thread(lambda: pour(pair.client, 1, 1_000_000)) as errors:
            drink(pair.server)
        assert not errors


def test_a_reader_reads_while_the_writer_of_the_same_end_waits(
    setting: Setting, unix: Sockets
) -> None:
    with setting.connected(unix) as pair:
        with in_thread(lambda: pour(pair.client, 1, 2_000_000)) as errors:
            wait_until_full(unix[0], pair.client)
            for number in range(10):
                pair.server.record_send(bytes([number]))
                assert pair.client.record_recv() == bytes([number])
            drink(pair.server)
        assert not errors


def test_tickets_are_sent_beside_a_reader_and_handed_over_beside_a_writer(
    setting: Setting, tcp: Sockets
) -> None:
    setting.ticket_key = TicketKey.generate()
    with setting.connected(tcp) as pair:

        def answer() -> None:
            for _ in range(50):
                pair.server.ticket_send(1)
            pair.server.bye()

        works = partial(pour, pair.client, 1, 500_000), partial(drink, pair.client)
        in_threads(*works, answer, partial(drink, pair.server), ends=tcp)
        assert len(pair.tickets) >= 50


def test_what_a_ticket_function_raises_comes_out_of_the_reader_not_of_the_writer(
    setting: Setting, tcp: Sockets
) -> None:
    count, over = 1000, threading.Event()

    def refuse(*_: object) -> None:
        raise Struck

    def send_numbers() -> None:
        number = 0
        while not over.is_set():
            pair.client.record_send(number.to_bytes(4))
            number += 1
        pair.client.bye()

    def receive_numbers() -> None:
        number = 0
        while data := pair.server.record_recv():
            assert int.from_bytes(data) == number
            number += 1

    def send_tickets() -> None:
        try:
            for _ in range(count):
                pair.server.ticket_send(1)
                time.sleep(0.0002)
            pair.server.bye()
        finally:
            over.set()

    setting.ticket_key = TicketKey.generate()
    setting.prepare = lambda client, server: client.set_ticket_function(refuse)
    struck: list[int] = []
    with setting.connected(tcp) as pair:
        read = partial(count_struck, pair.client, struck)
        in_threads(read, send_numbers, receive_numbers, send_tickets, ends=tcp)
    assert sum(struck) >= count


def count_struck(session: Session, struck: list[int]) -> None:
    while True:
        try:
            if not session.record_recv():
                break
        except Struck:
            struck.append(1)


LOOKS: list[Call] = [
    Session.protocol_get_version,
    Session.get_desc,
    Session.ciphersuite_get,
    Session.group_get,
    Session.get_flags,
    Session.server_name_get,
    Session.alpn_get_selected_protocol,
    Session.certificate_get_peers,
    Session.certificate_get_ours,
    lambda session: session.certificate_verify_peers(HOST),
    Session.get_id,
    Session.is_resumed,
    Session.alert_get,
    Session.record_check_pending,
    Session.record_get_max_size,
    Session.ext_master_secret_status,
]


def test_looking_is_allowed_beside_a_reader_that_waits(setting: Setting, unix: Sockets) -> None:
    with setting.connected(unix) as pair:
        before = [look(pair.client) for look in LOOKS]
        with blocked_reader(pair):
            assert [look(pair.client) for look in LOOKS] == before


def test_looking_is_allowed_beside_a_writer_that_waits(setting: Setting, unix: Sockets) -> None:
    with setting.connected(unix) as pair:
        before = [look(pair.client) for look in LOOKS]
        with in_thread(lambda: pour(pair.client, 1, 2_000_000)) as errors:
            wait_until_full(unix[0], pair.client)
            assert [look(pair.client) for look in LOOKS] == before
            drink(pair.server)
        assert not errors


def test_a_reader_and_a_writer_may_look_between_their_calls(setting: Setting, tcp: Sockets) -> None:
    def look(session: Session) -> None:
        for _ in range(10):
            session.record_check_pending()
            session.get_flags()

    size = 2_000_000
    with setting.connected(tcp) as pair:
        in_threads(
            partial(pour, pair.client, 1, size, look),
            partial(drink, pair.client, look),
            partial(pour, pair.server, 2, size, look),
            partial(drink, pair.server, look),
            ends=tcp,
        )


# -- misuse -----------------------------------------------------------------------------------

MISUSES: dict[str, Call] = {
    "a second reader": Session.record_recv,
    "a second reader into a buffer": lambda session: session.record_recv_into(bytearray(10)),
    "get_data": Session.get_data,
    "close": Session.close,
    "handshake": Session.handshake,
    "bye that waits": lambda session: session.bye(Shutdown.RDWR),
    "attach": lambda session: session.attach(MemoryTransport()),
    "priority_set": lambda session: session.priority_set(None),
    "credentials_set": lambda session: session.credentials_set(Credentials()),
    "server_name_set": lambda session: session.server_name_set(HOST),
    "alpn_set_protocols": lambda session: session.alpn_set_protocols([b"h2"]),
    "set_verify_cert": lambda session: session.set_verify_cert(HOST),
    "set_data": lambda session: session.set_data(b"data"),
    "set_ticket_function": lambda session: session.set_ticket_function(lambda *_: None),
    "db_set_cache_expiration": lambda session: session.db_set_cache_expiration(60),
}


@pytest.mark.parametrize("misuse", MISUSES.values(), ids=MISUSES)
def test_misuse_beside_a_reader_that_waits_is_refused_and_does_no_harm(
    setting: Setting, unix: Sockets, misuse: Call
) -> None:
    with setting.connected(unix) as pair:
        with blocked_reader(pair):
            for _ in range(3):
                with pytest.raises(MisuseError, match="another thread is using this session"):
                    misuse(pair.client)
        pair.client.record_send(b"still here")
        assert pair.server.record_recv() == b"still here"


WRITES: list[Call] = [
    lambda session: session.record_send(b"data"),
    lambda session: session.alert_send(AlertLevel.WARNING, USER_CANCELED),
    Session.bye,
    Session.close,
    lambda session: session.bye(Shutdown.RDWR),
]


def test_a_second_writer_is_refused_and_does_no_harm(setting: Setting, unix: Sockets) -> None:
    with setting.connected(unix) as pair:
        digests: list[bytes] = []
        with in_thread(lambda: digests.append(pour(pair.client, 1, 2_000_000))) as errors:
            wait_until_full(unix[0], pair.client)
            for misuse in WRITES:
                with pytest.raises(MisuseError, match="another thread is using this session"):
                    misuse(pair.client)
            digests.append(drink(pair.server))
        assert not errors
        assert digests[0] == digests[1]


def test_taking_early_data_needs_the_readers_turn(setting: Setting, unix: Sockets) -> None:
    with setting.connected(unix) as pair:
        with in_thread(pair.server.record_recv) as errors:
            wait_until_busy(pair.server)
            try:
                with pytest.raises(MisuseError):
                    pair.server.record_recv_early_data()
            finally:
                pair.client.record_send(b"for the reader")
        assert not errors


def test_a_thread_beside_a_handshake_may_do_nothing(setting: Setting, unix: Sockets) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hook(*_: object) -> None:
        entered.set()
        assert leave.wait(SOON)

    def prepare(client: Session, server: Session) -> None:
        server.handshake_set_hook_function(HandshakeType.CLIENT_HELLO, HookTime.POST, hook)

    setting.prepare = prepare
    with setting.pair(None, unix) as pair:
        with in_thread(pair.server.handshake) as errors, in_thread(pair.client.handshake) as more:
            assert entered.wait(SOON)
            calls: list[Call] = [Session.get_flags, Session.handshake, Session.close, *LOOKS]
            for call in calls:
                with pytest.raises(MisuseError, match="another thread is using this session"):
                    call(pair.server)
            leave.set()
        assert (errors, more) == ([], [])


def any_call(source: random.Random, session: Session) -> None:
    """One of the calls, any of which may come at a wrong time."""
    size = source.randrange(1, 3000)
    calls: list[Callable[[], object]] = [
        lambda: session.record_send(bytes(size)),
        lambda: session.record_recv(size),
        lambda: session.record_recv_into(bytearray(size)),
        session.get_data,
        lambda: session.set_data(bytes(size)),
        lambda: session.priority_set(None),
        session.handshake,
        *(partial(look, session) for look in LOOKS),
    ]
    source.choice(calls)()


@pytest.mark.parametrize("priority", [TLS12, TLS13])
@pytest.mark.parametrize("role", ["client", "server"])
def test_many_threads_in_one_session_get_only_errors_that_say_so(
    setting: Setting, tcp: Sockets, priority: str, role: str
) -> None:
    setting.priority, setting.ticket_key = priority, TicketKey.generate()
    setting.client_credentials = setting.certificates.client_with_certificate()
    setting.prepare = lambda client, server: server.certificate_server_set_request(
        CertificateRequest.REQUIRE
    )
    over = time.monotonic() + 1
    counts = [0] * THREADS
    with setting.connected(tcp) as pair:
        session, other = pair.client, pair.server
        if role == "server":
            session, other = other, session
        for end in tcp:
            end.settimeout(0.005)

        def hammer(thread: int) -> None:
            source = random.Random(thread)  # noqa: S311
            while time.monotonic() < over:
                with suppress(MisuseError, WantReadError, WantWriteError, TimeoutError):
                    any_call(source, session)
                    counts[thread] += 1

        def answer() -> None:  # what a corrupt session sends would be an error here
            while time.monotonic() < over:
                with suppress(TimeoutError):
                    other.record_recv()
                    other.record_send(b"answer")

        in_threads(*(partial(hammer, thread) for thread in range(THREADS)), answer, ends=tcp)
        assert sum(counts) > THREADS
        assert session.get_desc().startswith("(TLS1.")


# -- many sessions ----------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["ticket 1.2", "ticket 1.3", "database"])
def test_threads_share_credentials_ticket_key_and_database(setting: Setting, way: str) -> None:
    setting.priority = TLS13 if way == "ticket 1.3" else TLS12
    setting.client_credentials = setting.certificates.client()
    setting.server_credentials = setting.certificates.server()
    if way == "database":
        setting.database = {}
    else:
        setting.ticket_key = TicketKey.generate()

    def work() -> None:
        data: bytes | None = None
        for attempt in range(6):
            data, resumed = setting.connect(data)
            assert data is not None
            assert resumed == (attempt > 0,) * 2

    in_threads(*[work] * THREADS)


def test_sessions_are_dropped_without_close_in_many_threads(setting: Setting) -> None:
    setting.ticket_key = TicketKey.generate()
    certificates = setting.certificates

    def work() -> None:
        for attempt in range(8):
            client = Session("client", certificates.client(), priority=TLS13)
            server = Session("server", certificates.server(), priority=TLS13)
            client.attach(MemoryTransport())
            server.attach(MemoryTransport())
            client.set_ticket_function(lambda *_, client=client: None)  # a cycle
            server.handshake_set_post_client_hello_function(lambda _, server=server: None)
            pair = Pair(client, server)
            if attempt % 2:
                pair.handshake()
                pair.exchange()
            else:
                with pytest.raises(WantReadError):
                    client.handshake()
            del client, server, pair
            gc.collect()

    in_threads(*[work] * THREADS)


def test_sessions_dropped_without_close_are_freed(certificates: Certificates) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    credentials = certificates.client()
    before = resident()
    for _ in range(10_000):
        Session("client", credentials, priority=TLS13)
    assert resident() - before < 40_000_000  # a session takes some 8,000


def test_a_session_made_in_one_thread_is_used_and_closed_in_others(setting: Setting) -> None:
    with setting.pair() as pair:
        in_threads(pair.handshake)
        in_threads(pair.exchange)
        in_threads(pair.client.close)
        assert pair.client.closed


# -- forks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("child_closes", [False, True])
@pytest.mark.parametrize("priority", [TLS12, TLS13])
def test_a_fork_with_a_session_open_leaves_it_to_the_parent(
    setting: Setting, priority: str, *, child_closes: bool
) -> None:
    setting.priority = priority
    one, other = socket.socketpair()  # not bounded: its watchdog is a thread
    with one, other:
        one.settimeout(SOON)
        other.settimeout(SOON)
        with setting.connected((one, other)) as pair:
            child = os.fork()
            if child == 0:
                with suppress(BaseException):
                    if child_closes:
                        pair.client.close()
                        pair.server.close()
                        gc.collect()
                    os._exit(0)
                os._exit(1)
            assert os.waitpid(child, 0) == (child, 0)
            pair.client.record_send(b"after the fork")
            assert pair.server.record_recv() == b"after the fork"
            pair.server.bye()
            assert pair.client.record_recv() == b""


# -- what ends a wait -------------------------------------------------------------------------


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """A program that is started in the background ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("times", [1, 3])
def test_keyboard_interrupt_comes_out_of_a_handshake_that_waits(
    setting: Setting, unix: Sockets, times: int
) -> None:
    main = threading.get_ident()
    with setting.pair(None, unix) as pair:
        for _ in range(times):
            timer = threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGINT))
            with pytest.raises(KeyboardInterrupt):  # noqa: PT012
                timer.start()
                pair.client.handshake()
            timer.join()
        pair.client.close()
        assert pair.client.closed


@pytest.mark.usefixtures("ctrl_c")
def test_keyboard_interrupt_comes_out_of_a_callback(setting: Setting) -> None:
    def hook(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    def prepare(client: Session, server: Session) -> None:
        server.handshake_set_hook_function(HandshakeType.CLIENT_HELLO, HookTime.POST, hook)

    setting.prepare = prepare
    with setting.pair() as pair:
        client_error, server_error = pair.outcomes()
        assert isinstance(server_error, KeyboardInterrupt)
        assert isinstance(client_error, GnuTLSError)


@pytest.mark.parametrize("waiting", ["reader", "writer", "handshake"])
def test_shutting_the_socket_down_ends_the_wait_of_another_thread(
    setting: Setting, unix: Sockets, waiting: str
) -> None:
    ended: list[BaseException] = []

    def run(call: Callable[[], object]) -> None:
        try:
            call()
        except (GnuTLSError, OSError) as error:
            ended.append(error)

    with setting.pair(None, unix) as pair:
        call: Callable[[], object] = pair.client.handshake
        if waiting != "handshake":
            with in_thread(pair.server.handshake):
                pair.client.handshake()
            call = partial(pour, pair.client, 1, 2_000_000)
            call = pair.client.record_recv if waiting == "reader" else call
        with in_thread(lambda: run(call)) as errors:
            assert pair.client.transport is not None
            while pair.client.transport.sent == 0:
                time.sleep(0.001)
            unix[0].shutdown(socket.SHUT_RDWR)
        assert not errors
        assert len(ended) == 1


def test_what_signal_handlers_raise_never_leaves_a_session_taken(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)  # it may come in a finaliser
    armed = False

    def handler(*_: object) -> None:
        if armed:
            raise Struck

    before = signal.signal(signal.SIGALRM, handler)
    over = time.monotonic() + 2
    try:
        with setting.pair() as pair:
            pair.handshake()
            while time.monotonic() < over:
                try:
                    armed = True
                    # Again, if it was lost in a finaliser.
                    signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 2e-4), 0.01)  # noqa: S311
                    while True:
                        pair.client.record_check_pending()
                except Struck:
                    armed = False
            pair.exchange()
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
