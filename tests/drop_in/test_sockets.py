"""What the standard library's sockets do with the engine: its own code, so its own behaviour."""

import _socket
import array
import contextlib
import gc
import logging
import os
import select
import socket
import ssl
import struct
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
from conftest import HOST, Certificates
from drop_in.peers import (
    Library,
    client_context,
    connected,
    each_library,
    fact,
    resumed,
    server_context,
    wrap_pair,
)
from pair import TOO_LONG, in_thread, tcp_pair
from wrapped import each_version

from gnutls_resume import GnuTLSError, MemoryStore, SSLContext, SSLSocket, outcome
from gnutls_resume.drop_in.engine import Engine

UPLOAD = bytes(range(250)) * 1600


def other_library(library: Library) -> Library:
    return ssl.SSLContext if library is SSLContext else SSLContext


# -- the socket's methods ---------------------------------------------------------------------


@each_version
@each_library
def test_files_of_a_socket_read_write_and_count_its_ends(
    certificates: Certificates, library: Library, version: ssl.TLSVersion
) -> None:
    client = client_context(certificates, library, version)
    server = server_context(certificates, ssl.SSLContext, version)
    with connected(client, server) as pair:
        file = pair.client.makefile("rwb")
        pair.client.close()
        assert pair.client.fileno() >= 0  # the file still uses it

        def serve() -> None:
            with pair.server.makefile("r", encoding="ascii") as text:
                assert text.readline() == "hello\n"
            pair.server.sendall(b"line 1\nline 2\nrest")
            pair.server.shutdown(socket.SHUT_WR)

        with in_thread(serve) as errors:
            file.write(b"hello\n")
            file.flush()
            assert file.readline() == b"line 1\n"
            assert file.readlines() == [b"line 2\n", b"rest"]
            assert file.read() == b""
            file.close()
        assert errors == []
        assert pair.client.fileno() == -1


@each_version
@pytest.mark.parametrize("side", [0, 1], ids=["client", "server"])
def test_sendfile_sends_all(
    certificates: Certificates, version: ssl.TLSVersion, side: int, tmp_path: Path
) -> None:
    path = tmp_path / "data"
    path.write_bytes(UPLOAD)
    contexts = [
        client_context(certificates, version=version),
        server_context(certificates, version=version),
    ]
    with connected(*contexts) as pair:
        one, other = [pair.client, pair.server][:: -1 if side else 1]

        def send() -> None:
            with path.open("rb") as file:
                assert one.sendfile(file) == len(UPLOAD)
                assert one.sendfile(file, offset=10, count=5) == 5

        with in_thread(send) as errors:
            got = other.makefile("rb").read(len(UPLOAD) + 5)
        assert errors == []
        assert got == UPLOAD + UPLOAD[10:15]


def test_methods_that_ssl_refuses_are_refused(certificates: Certificates) -> None:
    def steps(library: Library) -> list[object]:
        context = client_context(certificates, library)
        with connected(context, server_context(certificates, ssl.SSLContext)) as pair:
            one = pair.client
            return [
                fact(one.dup),
                fact(one.recv, 10, socket.MSG_PEEK),
                fact(one.recv_into, bytearray(4), 4, socket.MSG_PEEK),
                fact(one.send, b"x", socket.MSG_OOB),
                fact(one.sendall, b"x", socket.MSG_OOB),
                fact(one.sendto, b"x", ("127.0.0.1", 9)),
                fact(one.recvfrom, 10),
                fact(one.recvmsg, 10),
                fact(one.sendmsg, [b"x"]),
                fact(one.connect, ("127.0.0.1", 9)),
                fact(one.verify_client_post_handshake)[0] in {ssl.SSLError, NotImplementedError},
            ]

    assert [
        str(one).replace("gnutls_resume.drop_in.sockets", "ssl") for one in steps(SSLContext)
    ] == [str(one) for one in steps(ssl.SSLContext)]


@each_library
def test_recv_into_fills_any_buffer(certificates: Certificates, library: Library) -> None:
    context = client_context(certificates, library)
    with connected(context, server_context(certificates, ssl.SSLContext)) as pair:
        pair.server.sendall(bytes(range(100)))
        one = pair.client
        buffer = bytearray(b"." * 12)
        assert one.recv_into(buffer, 10) == 10
        assert buffer == bytes(range(10)) + b".."
        assert one.recv_into(memoryview(buffer)[10:]) == 2
        assert buffer[10:] == bytes([10, 11])
        numbers = array.array("B", [0] * 8)
        assert one.recv_into(numbers) == 8
        assert numbers.tobytes() == bytes(range(12, 20))
        assert one.recv_into(bytearray(200)) == 80
        assert one.pending() == 0


@each_library
def test_accept_of_a_wrapped_listener_makes_the_handshake(
    certificates: Certificates, library: Library
) -> None:
    server = server_context(certificates, library)
    with socket.create_server(("127.0.0.1", 0)) as plain:
        plain.settimeout(TOO_LONG)
        with server.wrap_socket(plain, server_side=True) as listener:
            address = listener.getsockname()

            def visit() -> None:
                context = client_context(certificates, other_library(library))
                with (
                    socket.create_connection(address, timeout=TOO_LONG) as sock,
                    context.wrap_socket(sock, server_hostname=HOST) as tls,
                ):
                    assert tls.recv(10) == b"welcome"

            with in_thread(visit) as errors:
                accepted, _ = listener.accept()
                with accepted:
                    assert accepted.version() == "TLSv1.3"
                    assert accepted.context is server
                    assert isinstance(accepted, server.sslsocket_class)
                    accepted.settimeout(TOO_LONG)
                    accepted.sendall(b"welcome")
                    assert accepted.recv(1) == b""
            assert errors == []


@each_library
@pytest.mark.parametrize("at_connect", [True, False])
def test_connect_after_wrap_as_dnspython_does(
    certificates: Certificates, library: Library, *, at_connect: bool
) -> None:
    """Trap 15."""
    server = server_context(certificates, ssl.SSLContext)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TOO_LONG)

        def serve() -> None:
            sock, _ = listener.accept()
            sock.settimeout(TOO_LONG)
            with sock, server.wrap_socket(sock, server_side=True) as tls:
                tls.sendall(b"data")
                assert tls.recv(1) == b""

        with in_thread(serve) as errors:
            sock = socket.socket()
            sock.settimeout(TOO_LONG)
            tls = client_context(certificates, library).wrap_socket(
                sock, server_hostname=HOST, do_handshake_on_connect=at_connect
            )
            with tls:
                assert tls.version() is None
                assert isinstance(fact(tls.recv, 10), tuple)
                tls.connect(listener.getsockname())
                assert (tls.version() is not None) == at_connect
                assert tls.recv(4) == b"data"  # does the handshake if nobody has
                assert tls.version() == "TLSv1.3"
        assert errors == []


@each_version
@each_library
def test_sockets_that_never_wait_want_to_read_and_write(
    certificates: Certificates, library: Library, version: ssl.TLSVersion
) -> None:
    """Trap 12, as tornado and gevent use them."""
    client = client_context(certificates, library, version)
    server = server_context(certificates, other_library(library), version)
    one, other = wrap_pair(client, server, timeout=0)
    with one, other:
        waiting = [one, other]
        while waiting:
            for sock in list(waiting):
                try:
                    sock.do_handshake()
                except ssl.SSLWantReadError:
                    continue
                waiting.remove(sock)
        assert fact(one.recv, 10) == (ssl.SSLWantReadError, 2, None, None)
        sent = 0
        while isinstance(count := fact(one.send, bytes(50_000)), int):
            sent += count
        assert count == (ssl.SSLWantWriteError, ssl.SSL_ERROR_WANT_WRITE, None, None)
        got = 0
        while got < sent:
            select.select([other], [], [], TOO_LONG)
            with contextlib.suppress(ssl.SSLWantReadError):
                got += len(other.recv(65_536))
        select.select([], [one], [], TOO_LONG)
        assert one.send(bytes(50_000)) > 0


@each_version
def test_handshake_that_waits_to_send_its_tickets_goes_on(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    """More tickets than the socket takes at once."""
    server = server_context(certificates, version=version)
    server.num_tickets = 250
    one, other = tcp_pair()
    for sock, option in ((one, socket.SO_RCVBUF), (other, socket.SO_SNDBUF)):
        sock.setsockopt(socket.SOL_SOCKET, option, 4096)
        sock.settimeout(TOO_LONG)
    client = client_context(certificates, ssl.SSLContext, version).wrap_socket(
        one, server_hostname=HOST, do_handshake_on_connect=False
    )
    ours = server.wrap_socket(other, server_side=True, do_handshake_on_connect=False)
    ours.setblocking(False)
    wanted = 0
    got: list[bytes] = []

    def visit() -> None:
        client.do_handshake()
        got.append(client.recv(10))

    with client, ours, in_thread(visit) as errors:
        while True:
            try:
                ours.do_handshake()
                break
            except ssl.SSLWantReadError:
                select.select([ours], [], [], TOO_LONG)
            except ssl.SSLWantWriteError:
                wanted += 1
                select.select([], [ours], [], TOO_LONG)
        ours.settimeout(TOO_LONG)
        ours.sendall(b"x")
    assert errors == []
    assert got == [b"x"]
    assert bool(wanted) == (version == ssl.TLSVersion.TLSv1_3)


# -- close_wait: tickets and uploads ----------------------------------------------------------


class Upload:
    """A server in a thread that keeps what it gets until the end."""

    def __init__(self, server: Any, sock: socket.socket) -> None:
        self.received = bytearray()
        self.clean = False
        sock.settimeout(TOO_LONG)
        self._tls = server.wrap_socket(
            sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False
        )

    def __call__(self) -> None:
        with self._tls as tls:
            tls.do_handshake()
            with contextlib.suppress(OSError):
                while data := tls.recv(1000):
                    self.received += data
                self.clean = True


@each_version
@pytest.mark.parametrize("how", ["close", "unwrap", "without waiting"])
def test_uploads_of_clients_that_never_read_arrive_whole(
    certificates: Certificates, version: ssl.TLSVersion, how: str
) -> None:
    """Trap 2: tickets left unread make the kernel reset the connection at the close. Who does
    not wait for them may lose the end of what was sent, as with the standard library.
    """
    options = {"close_wait": 0.0 if how == "without waiting" else 5.0}
    client = client_context(certificates, version=version, **options)
    server = server_context(certificates, ssl.SSLContext, version)
    for _ in range(3):
        one, other = tcp_pair()
        upload = Upload(server, other)
        with in_thread(upload) as errors:
            tls = client.wrap_socket(one, server_hostname=HOST)
            tls.sendall(UPLOAD)
            if how == "unwrap":
                tls.unwrap()
            tls.close()
        assert errors == []
        if how != "without waiting" or version == ssl.TLSVersion.TLSv1_2:
            assert bytes(upload.received) == UPLOAD
            assert upload.clean == (how == "unwrap")


@each_library
def test_a_write_only_connection_keeps_its_ticket(
    certificates: Certificates, library: Library
) -> None:
    client = client_context(certificates)
    server = server_context(certificates, library)
    for number in range(3):
        one, other = tcp_pair()
        upload = Upload(server, other)
        with in_thread(upload) as errors:
            one.settimeout(TOO_LONG)
            with client.wrap_socket(one, server_hostname=HOST) as tls:
                tls.sendall(b"short")
                assert tls.session_reused == bool(number)
        assert errors == []
        assert upload.received == b"short"


def silent_server(certificates: Certificates) -> Any:
    """One that never sends a ticket."""
    server = server_context(certificates, ssl.SSLContext)
    server.num_tickets = 0
    return server


def seconds_to_close(sock: Any) -> float:
    before = time.monotonic()
    sock.close()
    return time.monotonic() - before


def test_close_waits_as_long_as_it_may_for_a_ticket_that_never_comes(
    certificates: Certificates,
) -> None:
    client = client_context(certificates, close_wait=0.3)
    with connected(client, silent_server(certificates)) as pair:
        assert 0.25 < seconds_to_close(pair.client) < 5


@pytest.mark.parametrize(
    "case",
    ["no waiting", "never blocks", "data read", "server", "tls12", "unwrapped", "ended", "reset"],
)
def test_close_does_not_wait(certificates: Certificates, case: str) -> None:
    wait = 0.0 if case == "no waiting" else 5.0
    version = ssl.TLSVersion.TLSv1_2 if case == "tls12" else None
    client = client_context(certificates, version=version, close_wait=wait)
    server = silent_server(certificates)
    if case == "server":
        client, server = (
            client_context(certificates, ssl.SSLContext),
            server_context(certificates, close_wait=wait),
        )
    with connected(client, server) as pair:
        one = pair.server if case == "server" else pair.client
        if case == "never blocks":
            one.setblocking(False)
        if case == "data read":
            pair.server.sendall(b"data")
            assert one.recv(4) == b"data"
        if case == "unwrapped":
            with in_thread(pair.server.unwrap):
                one.unwrap()
        if case == "ended":
            pair.server.close()
            assert one.recv(1) == b""
        if case == "reset":
            linger = struct.pack("ii", 1, 0)
            pair.server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            pair.server.close()
            assert fact(one.recv, 1)[0] is ConnectionResetError
        assert seconds_to_close(one) < 2


def test_close_does_not_wait_while_another_thread_reads(certificates: Certificates) -> None:
    client = client_context(certificates, close_wait=5.0)
    with connected(client, silent_server(certificates)) as pair:
        reading = threading.Thread(target=lambda: fact(pair.client.recv, 1))
        reading.start()
        while pair.client._sslobj._reading.acquire(blocking=False):
            pair.client._sslobj._reading.release()
        assert seconds_to_close(pair.client) < 2
        pair.server.close()
        reading.join(TOO_LONG)
        assert not reading.is_alive()


def test_a_ticket_goes_back_at_a_close_beside_a_shutdown(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which has the session to itself, until the peer answers."""
    client, server = client_context(certificates), server_context(certificates)
    server.num_tickets = 1  # not GnuTLS's own number
    assert not resumed(client, server)
    monkeypatch.setattr(Engine, "_send_tickets", lambda _: None)
    with connected(client, server) as pair:
        assert pair.client.session_reused
        unwrapping = threading.Thread(target=lambda: fact(pair.client.unwrap))
        unwrapping.start()
        assert pair.server.recv(1) == b""  # the close_notify
        while pair.client._sslobj._reading.acquire(blocking=False):
            pair.client._sslobj._reading.release()
        pair.client.close()
    unwrapping.join(TOO_LONG)
    assert not unwrapping.is_alive()
    assert resumed(client, server)


def test_a_flood_of_data_does_not_hold_up_a_close(certificates: Certificates) -> None:
    client = client_context(certificates, close_wait=0.3)
    server = silent_server(certificates)
    with connected(client, server) as pair:

        def flood() -> None:
            with contextlib.suppress(OSError):
                while True:
                    pair.server.sendall(bytes(100_000))

        with in_thread(flood):
            assert seconds_to_close(pair.client) < 5


def test_a_flood_of_tickets_does_not_hold_up_a_close(certificates: Certificates) -> None:
    client, server = client_context(certificates, close_wait=0.3), server_context(certificates)
    with connected(client, server) as pair:
        ahead = threading.Event()

        def flood() -> None:
            with contextlib.suppress(GnuTLSError, OSError):
                while True:
                    for _ in range(20):
                        pair.server._sslobj._session.ticket_send(100)
                    ahead.set()

        watchdog = threading.Timer(TOO_LONG, lambda: fact(pair.server.shutdown, socket.SHUT_RDWR))
        watchdog.start()
        with in_thread(flood):
            assert ahead.wait(TOO_LONG)
            assert seconds_to_close(pair.client) < 5
        watchdog.cancel()


# -- forks ------------------------------------------------------------------------------------


def in_child(work: Any) -> None:
    """Run `work` in a forked child, whose failure is the test's."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_that_closes_its_copy_reads_nothing(certificates: Certificates) -> None:
    client = client_context(certificates, close_wait=5.0)
    server = server_context(certificates, ssl.SSLContext)
    with connected(client, server) as pair:
        in_child(pair.client.close)
        pair.server.sendall(b"data")
        assert pair.client.recv(4) == b"data"  # tickets and data are still there
    assert resumed(client, server)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_puts_no_used_ticket_back(certificates: Certificates) -> None:
    """It would be used twice, where the store is shared."""
    client, server = client_context(certificates, close_wait=0.0), server_context(certificates)
    assert not resumed(client, server)
    with connected(client, server) as pair:
        assert pair.client.session_reused
        kept: list[bytes] = []
        pair.client._sslobj._attempt._keep = kept.append

        def close() -> None:
            pair.client.close()
            assert kept == []

        in_child(close)
        pair.client.close()
        assert len(kept) == 1


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_may_use_the_connection_instead(certificates: Certificates) -> None:
    """As socketserver.ForkingMixIn and gunicorn do: who accepted only closes."""
    with connected(
        client_context(certificates, ssl.SSLContext), server_context(certificates)
    ) as pair:
        in_child(lambda: pair.server.sendall(b"from the child"))
        pair.server.close()
        assert pair.client.recv(100) == b"from the child"


# -- memory -----------------------------------------------------------------------------------


@contextlib.contextmanager
def without_collector() -> Any:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def open_descriptors() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


def parts_of(*socks: Any) -> list[Any]:
    return [
        weakref.ref(part) for sock in socks for part in (sock, sock._sslobj, sock._sslobj._session)
    ]


def alive(parts: list[Any]) -> list[object]:
    return [part() for part in parts if part() is not None]


@each_version
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_dropped_sockets_are_freed_without_the_collector(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    """Trap 11."""
    client = client_context(certificates, version=version)
    server = server_context(certificates, version=version)
    assert resumed(client, server) is False
    with without_collector():
        before = open_descriptors()
        for _ in range(3):
            one, other = wrap_pair(client, server)
            with in_thread(other.do_handshake) as errors:
                one.do_handshake()
            assert errors == []
            one.sendall(b"data")
            assert other.recv(4) == b"data"
            other.sendall(b"data")
            assert one.recv(4) == b"data"
            assert one.session is not None
            parts = parts_of(one, other)
            del one, other
            assert alive(parts) == []
        assert open_descriptors() == before


@each_version
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "failure", ["wrong host", "callback", "plaintext", "reset", "timeout", "eof"]
)
def test_failed_handshakes_are_freed_without_the_collector(
    certificates: Certificates,
    version: ssl.TLSVersion,
    failure: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = client_context(certificates, version=version)
    server = server_context(certificates, version=version)
    if failure == "callback":
        caplog.set_level(logging.CRITICAL, "gnutls_resume")  # what is caught of the log stays
        server.sni_callback = lambda *_: 1 / 0
    hostname = "other.example" if failure == "wrong host" else HOST

    def shake(sock: Any) -> None:
        with contextlib.suppress(OSError, ZeroDivisionError):
            sock.do_handshake()

    def attempt() -> list[Any]:
        one, other = wrap_pair(client, server, hostname=hostname)
        parts = parts_of(one, other)
        if failure in {"plaintext", "reset", "eof"}:
            raw = socket.socket(fileno=other.detach())
            if failure == "plaintext":
                raw.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            if failure == "reset":
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raw.shutdown(socket.SHUT_WR) if failure == "eof" else raw.close()
            shake(one)
            raw.close()
        elif failure == "timeout":
            one.settimeout(0.01)
            shake(one)
        else:
            thread = threading.Thread(target=shake, args=(other,))
            thread.start()
            shake(one)
            thread.join(TOO_LONG)
            del thread
        shake(one)  # fails as before
        return parts

    with without_collector():
        before = open_descriptors()
        for _ in range(2):
            assert alive(attempt()) == []
        assert open_descriptors() == before


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_errors_after_the_handshake_leave_nothing_behind(certificates: Certificates) -> None:
    client, server = client_context(certificates), server_context(certificates)

    def attempt() -> list[Any]:
        with connected(client, server) as pair:
            one = pair.client
            one.settimeout(0.01)
            for call in (one.recv, one.read):
                with contextlib.suppress(TimeoutError):
                    call(10)
            pair.server.shutdown(socket.SHUT_RDWR)
            one.suppress_ragged_eofs = False
            for _ in range(2):
                with contextlib.suppress(ssl.SSLError):
                    one.recv(10)
            for _ in range(3):
                with contextlib.suppress(OSError):
                    one.sendall(bytes(1_000_000))
            return parts_of(one)

    with without_collector():
        assert alive(attempt()) == []


# -- threads ----------------------------------------------------------------------------------


@each_version
def test_a_reader_and_a_writer_move_64_mb_both_ways(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    """Trap 20."""
    piece = bytes(range(256)) * 1024
    pieces = 256
    client = client_context(certificates, version=version)
    server = server_context(certificates, version=version)

    def send(sock: Any) -> None:
        for _ in range(pieces):
            sock.sendall(piece)

    def receive(sock: Any) -> None:
        buffer = bytearray(len(piece))
        for _ in range(pieces):
            view = memoryview(buffer)
            while view:
                view = view[sock.recv_into(view) :]
            assert buffer == piece

    with (
        connected(client, server) as pair,
        in_thread(lambda: send(pair.client)) as first,
        in_thread(lambda: send(pair.server)) as second,
        in_thread(lambda: receive(pair.client)) as third,
    ):
        receive(pair.server)
    assert [*first, *second, *third] == []


def test_two_writers_and_two_readers_take_turns(certificates: Certificates) -> None:
    with connected(client_context(certificates), server_context(certificates)) as pair:
        messages = 300
        got: list[bytes] = []

        def write(letter: bytes) -> None:
            for _ in range(messages):
                pair.client.sendall(letter * 100)

        def read() -> None:
            while data := pair.server.recv(100):
                got.append(data)

        with in_thread(read) as first, in_thread(read) as second:
            with in_thread(lambda: write(b"a")) as third:
                write(b"b")
            pair.client.shutdown(socket.SHUT_WR)
        assert [*first, *second, *third] == []
        assert sorted(set(b"".join(got))) == list(b"ab")
        assert len(b"".join(got)) == 2 * messages * 100
        assert all(len(set(data)) == 1 for data in got)


@each_version
def test_unwrap_beside_a_reader_lets_it_see_the_end(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    client = client_context(certificates, version=version)
    server = server_context(certificates, ssl.SSLContext, version)
    with connected(client, server) as pair:
        got: list[bytes] = []
        engine = pair.client._sslobj

        arrived = threading.Event()

        def read() -> None:
            while data := engine.read(100):
                got.append(data)
                arrived.set()

        with in_thread(read) as errors:
            pair.server.sendall(b"data")
            assert arrived.wait(TOO_LONG)
            assert pair.client.unwrap() is pair.client
            assert pair.server.recv(1) == b""
            pair.server.unwrap()
        assert errors == []
        assert got == [b"data"]


def test_what_is_asked_while_unwrap_waits_is_answered(certificates: Certificates) -> None:
    with connected(client_context(certificates), server_context(certificates)) as pair:
        one, engine = pair.client, pair.client._sslobj
        with in_thread(one.unwrap) as errors:
            assert pair.server.recv(1) == b""
            facts = (
                fact(engine.pending),
                fact(engine.version),
                fact(engine.cipher)[1],
                fact(engine.selected_alpn_protocol),
                fact(engine.getpeercert, True) is not None,
                fact(lambda: engine.session_reused),
            )
            pair.server.unwrap()
        assert errors == []
        assert facts == (0, "TLSv1.3", "TLSv1.3", None, True, False)


def test_many_threads_may_make_the_same_handshake(certificates: Certificates) -> None:
    one, other = wrap_pair(client_context(certificates), server_context(certificates))
    with one, other, in_thread(other.do_handshake) as errors:
        with in_thread(one.do_handshake) as first, in_thread(lambda: one.write(b"data")) as second:
            one.do_handshake()
        assert other.recv(4) == b"data" or errors
    assert [*errors, *first, *second] == []
    assert outcome(one) is not None


# -- other sockets ----------------------------------------------------------------------------


class Inner(_socket.socket):
    """As gevent's: the bare socket, never blocking, that its own socket holds."""

    __slots__ = ("__weakref__",)


@each_version
def test_engine_works_over_the_inner_sockets_of_gevent(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    """Trap 12: it waits itself, for what the engine wants."""
    one, other = tcp_pair()
    inner = Inner(one.family, one.type, one.proto, fileno=one.detach())
    inner.settimeout(0)
    context = client_context(certificates, version=version)

    class Owner:
        pass

    owner = Owner()
    engine = context._wrap_socket(inner, False, HOST, owner=owner, session=None)
    waits: set[type] = set()

    def waited(call: Any, *arguments: Any) -> Any:
        while True:
            try:
                return call(*arguments)
            except ssl.SSLWantReadError as error:
                waits.add(type(error))
                select.select([inner], [], [], TOO_LONG)
            except ssl.SSLWantWriteError as error:
                waits.add(type(error))
                select.select([], [inner], [], TOO_LONG)

    other.settimeout(TOO_LONG)
    server = server_context(certificates, ssl.SSLContext, version)

    def serve() -> None:
        with server.wrap_socket(other, server_side=True) as tls:
            assert tls.recv(4) == b"ping"
            tls.sendall(b"pong")
            assert tls.recv(1) == b""
            tls.unwrap()

    with in_thread(serve) as errors:
        waited(engine.do_handshake)
        assert waited(engine.write, b"ping") == 4
        assert waited(engine.read, 4) == b"pong"
        assert waited(engine.shutdown) is inner
        inner.close()
    assert errors == []
    assert ssl.SSLWantReadError in waits
    assert outcome(type("Outer", (), {"_sslobj": engine})()) is engine.outcome
    assert engine.owner is owner


def test_sockets_are_those_of_this_library_and_of_ssl(certificates: Certificates) -> None:
    with connected(client_context(certificates), server_context(certificates)) as pair:
        for sock in (pair.client, pair.server):
            assert type(sock) is SSLSocket
            assert isinstance(sock, ssl.SSLSocket)
        kind = pair.client.handshake_kind
        assert outcome(pair.client) is pair.client.outcome
    # Also after the close.
    assert pair.client.handshake_kind is kind is not None
    assert outcome(socket.socket) is None


def test_store_of_another_context_is_found(certificates: Certificates) -> None:
    """Trap 5: a context for each connection."""
    store = MemoryStore()
    server = server_context(certificates)
    found = [resumed(client_context(certificates, sessions=store), server) for _ in range(3)]
    assert found == [False, True, True]
