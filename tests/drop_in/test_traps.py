"""The traps of the ecosystem that the other files of this folder do not name.

| trap | test |
|---|---|
| 1 writes into a BIO are complete | test_engine: test_a_large_write_into_a_bio_is_complete |
| 2 uploads cut short | test_sockets: test_uploads_of_clients_that_never_read_arrive_whole |
| 3 what a session is bound to | test_policy_matrix; test_exceptions: test_unverified_... |
| 8 snapshots | test_outcomes: test_snapshots_... |
| 11 no reference cycle | test_sockets: test_dropped_sockets_..., test_failed_handshakes_... |
| 12 gevent's inner sockets | test_sockets: test_engine_works_over_the_inner_sockets_of_gevent |
| 15 connect after wrap | test_sockets: test_connect_after_wrap_as_dnspython_does |
| 16 shutdown(how) | test_shutdown: test_shutdown_of_the_socket_drops_tls_as_in_ssl |
| 18 the SNI callback | test_sni |
| 19 read and write do the handshake | test_engine: test_read_and_write_make_the_handshake_... |
| 20 threads | test_sockets: test_a_reader_and_a_writer_move_64_mb_both_ways |
| 22 contexts as keys, no copies | test_outcomes, test_engine |
| 23 ragged ends | test_shutdown: test_ragged_end_is_told_as_in_ssl |
"""

import asyncio
import gc
import os
import queue
import select
import socket
import ssl
import sys
import threading
import time
import tracemalloc
from typing import Any

import pytest
from conftest import HOST, Certificates
from drop_in.peers import client_context, connected, fact, resumed, server_context
from interop.programs import run
from pair import TOO_LONG
from wrapped import End, Wire, each_version

from gnutls_resume import MemoryStore, SSLContext

ASKED_BY_ASYNCIO = 262_144
MB = 1 << 20


@each_version
def test_trap_4_the_port_is_not_in_the_key(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    """FTPS data connections resume the session of the control connection, on another port. Every
    server of these tests has a port of its own.
    """
    client = client_context(certificates, version=version)
    server = server_context(certificates, ssl.SSLContext, version)
    ports = set()
    found = []
    for _ in range(3):
        with connected(client, server) as pair:
            ports.add(pair.client.getpeername()[1])
            pair.server.sendall(b"data")
            assert pair.client.recv(4) == b"data"
            found.append(pair.client.session_reused)
    assert found == [False, True, True]
    assert len(ports) > 1


def test_trap_4_without_a_name_nothing_is_kept(certificates: Certificates) -> None:
    client = client_context(certificates)
    client.check_hostname = False
    server = server_context(certificates)
    for _ in range(2):
        assert not resumed(client, server, hostname=None)


@each_version
def test_trap_5_a_context_for_each_connection_still_resumes(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    store = MemoryStore()
    server = server_context(certificates, version=version)
    found = [
        resumed(client_context(certificates, version=version, sessions=store), server)
        for _ in range(3)
    ]
    assert found == [False, True, True]
    servers = [server_context(certificates, version=version) for _ in range(2)]
    client = client_context(certificates, version=version)
    assert [resumed(client, server) for server in servers] == [False, True]


def test_trap_6_settings_are_honoured_or_refused(certificates: Certificates) -> None:
    """Asked for TLS 1.2, got 1.3: that must not be."""
    client = client_context(certificates)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    server = server_context(certificates, ssl.SSLContext)
    assert Wire(client, server).handshake().server.version() == "TLSv1.2"
    client = client_context(certificates)
    with pytest.warns(DeprecationWarning, match="deprecated"):
        client.options |= ssl.OP_NO_TLSv1_3
    assert Wire(client, server).handshake().server.version() == "TLSv1.2"
    with pytest.raises(NotImplementedError, match="priority"):
        client.set_ciphers("AES256-SHA")
    client = client_context(certificates, priority="NORMAL:-CIPHER-ALL:+AES-256-GCM")
    name, _, bits = Wire(client, server).handshake().server.cipher()
    assert (name, bits) == ("TLS_AES_256_GCM_SHA384", 256)
    server.minimum_version = ssl.TLSVersion.TLSv1_3
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    assert None not in Wire(client, server).outcomes()


def test_trap_7_loading_the_same_authorities_for_each_connection_costs_nothing(
    certificates: Certificates,
) -> None:
    """requests and urllib3 do it."""
    client = client_context(certificates)
    first = End(client, server_hostname=HOST).object._sslobj._settings.verifier
    server = server_context(certificates)
    for number in range(5):
        client.load_verify_locations(certificates.trust_file)
        settings = End(client, server_hostname=HOST).object._sslobj._settings
        assert settings.verifier is first
        assert client.cert_store_stats()["x509"] == 1
        assert resumed(client, server) == bool(number)


@each_version
def test_trap_9_wrap_bio_in_a_worker_thread_with_a_name_of_bytes(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    """As anyio does for any class but ssl.SSLContext: positional, and used by another thread."""
    client = client_context(certificates, version=version)
    server = server_context(certificates, ssl.SSLContext, version)
    for number in range(2):
        made: queue.Queue[tuple[Any, Any, Any]] = queue.Queue()

        def work(made: Any = made) -> None:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            one = client.wrap_bio(incoming, outgoing, False, HOST.encode(), None)
            made.put((incoming, outgoing, one))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join(TOO_LONG)
        pair = Wire(client, server)
        pair.ends[0].incoming, pair.ends[0].outgoing, pair.ends[0].object = made.get(timeout=1)
        pair.handshake().say()
        assert pair.client.server_hostname == HOST
        assert pair.client.session_reused == bool(number)


def test_trap_10_the_host_name_outlives_the_call(certificates: Certificates) -> None:
    name = "".join(list(HOST))  # nobody else's object
    pair = Wire(client_context(certificates), server_context(certificates), hostname=name)
    del name
    gc.collect()
    bytes(100_000)
    pair.handshake()


def test_trap_13_the_class_is_a_subclass_of_the_one_at_import() -> None:
    """gevent and eventlet replace ssl.SSLContext by a subclass, and must do so first."""
    program = """
import ssl

class Patched(ssl.SSLContext):
    __slots__ = ()
    def wrap_socket(self, *arguments, **keywords):
        raise AssertionError("unused")

ssl.SSLContext = Patched
import gnutls_resume
assert issubclass(gnutls_resume.SSLContext, Patched)
context = gnutls_resume.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
one = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost")
try:
    one.do_handshake()
except ssl.SSLWantReadError:
    print("works")
"""
    done = run(sys.executable, "-P", "-c", program)
    assert done.stdout == "works\n", done.stderr


def test_trap_14_a_read_of_asyncios_size_allocates_little(certificates: Certificates) -> None:
    pair = Wire(client_context(certificates), server_context(certificates)).handshake()
    pair.say()
    pair.server.write(b"x")
    pair.move()
    tracemalloc.start()
    try:
        assert pair.client.read(ASKED_BY_ASYNCIO) == b"x"
        with pytest.raises(ssl.SSLWantReadError):
            pair.client.read(ASKED_BY_ASYNCIO)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_trap_17_pending_tells_what_select_cannot(certificates: Certificates) -> None:
    """paho and dnspython ask for it before they wait."""
    client, server = client_context(certificates), server_context(certificates, ssl.SSLContext)
    with connected(client, server) as pair:
        pair.server.sendall(b"x" * 1000)
        assert select.select([pair.client], [], [], TOO_LONG)[0]
        assert pair.client.recv(1) == b"x"
        assert select.select([pair.client], [], [], 0) == ([], [], [])
        assert pair.client.pending() == 999
        pair.client.setblocking(False)
        got = 0
        while pair.client.pending():
            got += len(pair.client.recv(100))
        assert got == 999
        assert fact(pair.client.recv, 1)[0] is ssl.SSLWantReadError


@each_version
@pytest.mark.parametrize("size", [100, 16_384, 16_385, 200_000])
def test_trap_17_reading_until_it_wants_more_gets_all(
    certificates: Certificates, version: ssl.TLSVersion, size: int
) -> None:
    """tornado and gevent do; an edge-triggered selector tells only once. Nothing may stay in a
    buffer that nobody sees.
    """
    client = client_context(certificates, version=version)
    server = server_context(certificates, ssl.SSLContext, version)
    with connected(client, server) as pair:
        pair.client.setblocking(False)
        poll = select.epoll()
        with poll:
            poll.register(pair.client, select.EPOLLIN | select.EPOLLET)
            sending = threading.Thread(target=pair.server.sendall, args=(bytes(size),))
            sending.start()
            got = 0
            while got < size:
                assert poll.poll(TOO_LONG)
                try:
                    while True:
                        got += len(pair.client.recv(10_000))
                except ssl.SSLWantReadError:
                    assert pair.client.pending() == 0
            sending.join(TOO_LONG)


def test_trap_21_importing_replaces_nothing_of_ssl() -> None:
    program = """
import socket, ssl
before = dict(vars(ssl)), dict(vars(ssl.SSLContext)), dict(vars(ssl.SSLSocket)), dict(vars(socket))
import gnutls_resume
gnutls_resume.create_default_context()
after = dict(vars(ssl)), dict(vars(ssl.SSLContext)), dict(vars(ssl.SSLSocket)), dict(vars(socket))
assert before == after
context = ssl.create_default_context()
assert type(context) is ssl.SSLContext
print("untouched")
"""
    done = run(sys.executable, "-P", "-c", program)
    assert done.stdout == "untouched\n", done.stderr


# -- the contract of asyncio ------------------------------------------------------------------


async def echo_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(100_000):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


@each_version
@pytest.mark.parametrize("ours", ["client", "server", "both"])
def test_asyncio_moves_data_and_start_tls_works(
    certificates: Certificates, version: ssl.TLSVersion, ours: str
) -> None:
    libraries = [
        SSLContext if ours in {side, "both"} else ssl.SSLContext for side in ("client", "server")
    ]
    client = client_context(certificates, libraries[0], version)
    server = server_context(certificates, libraries[1], version)
    data = os.urandom(1 << 20)

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go\n")
        await writer.drain()
        await writer.start_tls(server)
        await echo_once(reader, writer)

    async def visit(*, starttls: bool) -> bool:
        serving = await asyncio.start_server(
            greet if starttls else echo_once, "127.0.0.1", 0, ssl=None if starttls else server
        )
        port = serving.sockets[0].getsockname()[1]
        if starttls:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"STARTTLS\n")
            assert await reader.readline() == b"go\n"
            await writer.start_tls(client, server_hostname=HOST)
        else:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=client, server_hostname=HOST
            )
        one = writer.get_extra_info("ssl_object")
        assert one.version() == version.name.replace("v1_", "v1.")
        assert writer.get_extra_info("peercert")["subjectAltName"]
        assert writer.get_extra_info("cipher") == one.cipher()

        async def send() -> None:
            for start in range(0, len(data), 50_000):
                writer.write(data[start : start + 50_000])
                await writer.drain()

        sending = asyncio.create_task(send())
        assert await reader.readexactly(len(data)) == data
        await sending
        writer.close()
        await writer.wait_closed()
        serving.close()
        await serving.wait_closed()
        return bool(one.session_reused)

    async def run() -> list[bool]:
        async with asyncio.timeout(TOO_LONG):
            return [await visit(starttls=at_once) for at_once in (False, False, True)]

    found = asyncio.run(run())
    if ours != "server":
        assert found == [False, True, True]


def test_asyncio_readers_of_buffers_get_all(certificates: Certificates) -> None:
    """BufferedProtocol: read(n, buffer)."""

    class Buffered(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.buffer = bytearray(10_000)
            self.got = bytearray()
            self.done = asyncio.get_running_loop().create_future()

        def get_buffer(self, sizehint: int) -> memoryview:
            return memoryview(self.buffer)

        def buffer_updated(self, nbytes: int) -> None:
            self.got += self.buffer[:nbytes]

        def connection_lost(self, exc: Exception | None) -> None:
            self.done.set_result(exc)

    data = bytes(range(256)) * 1000

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        writer.close()

    async def run() -> None:
        server = server_context(certificates, ssl.SSLContext)
        serving = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server)
        port = serving.sockets[0].getsockname()[1]
        _, protocol = await asyncio.get_running_loop().create_connection(
            Buffered, "127.0.0.1", port, ssl=client_context(certificates), server_hostname=HOST
        )
        async with asyncio.timeout(TOO_LONG):
            assert await protocol.done is None
        assert protocol.got == data
        serving.close()
        await serving.wait_closed()

    asyncio.run(run())


# Newer builds of Debian 12's Python warn before we refuse.
@pytest.mark.filterwarnings("ignore:check_hostname requires server_hostname:DeprecationWarning")
def test_wrap_bio_raises_wrong_arguments_at_once(certificates: Certificates) -> None:
    """asyncio hands them to the caller; later ones would be lost."""

    def steps(library: Any) -> list[object]:
        client = client_context(certificates, library)
        server = server_context(certificates, library)
        found = []
        for context, how in (
            (client, {"server_hostname": ""}),
            (client, {"server_hostname": ".example"}),
            (client, {"server_side": True}),
            (server, {}),
            (server, {"server_side": True, "server_hostname": HOST}),
        ):
            made = fact(context.wrap_bio, ssl.MemoryBIO(), ssl.MemoryBIO(), **how)
            found.append(made[0] if isinstance(made, tuple) else isinstance(made, ssl.SSLObject))
        return found

    assert steps(SSLContext) == steps(ssl.SSLContext)
    # The standard library would go on, and check no name.
    with pytest.raises(ValueError, match="server_hostname"):
        client_context(certificates).wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())


def test_descriptors_are_asked_for_at_every_operation(certificates: Certificates) -> None:
    """A number used again after a close must not get our records."""
    client, server = client_context(certificates), server_context(certificates)
    with connected(client, server) as pair:
        engine = pair.client._sslobj
        number = pair.client.fileno()
        os.close(pair.client.detach())
        one, other = socket.socketpair()
        with one, other:
            for sock in (one, other):
                if sock.fileno() == number:
                    break
            else:
                os.dup2(one.fileno(), number)
            try:
                with pytest.raises(OSError):
                    engine.write(b"secret")
                other.setblocking(False)
                with pytest.raises(BlockingIOError):
                    other.recv(10)
            finally:
                if number not in {one.fileno(), other.fileno()}:
                    os.close(number)


def test_a_wait_for_a_peer_lets_other_threads_run(certificates: Certificates) -> None:
    with connected(client_context(certificates), server_context(certificates)) as pair:
        done = threading.Event()
        thread = threading.Thread(target=lambda: (pair.client.recv(1), done.set()))
        thread.start()
        counted, until = 0, time.monotonic() + 0.05
        while time.monotonic() < until:
            counted += 1
        assert counted > 100
        assert not done.is_set()
        pair.server.sendall(b"x")
        thread.join(TOO_LONG)
        assert done.is_set()
