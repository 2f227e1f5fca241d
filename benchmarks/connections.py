"""What drop_in.py times: servers in processes of their own, and clients that visit them.

A visit is what most programs do: connect, shake hands, send a request of a few bytes, read an
answer as short, close. Both ends assert, on every visit, whether the session was resumed.
"""

import asyncio
import contextlib
import itertools
import multiprocessing
import os
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import NamedTuple

from certificates import HOST, Files
from contexts import MakeContext

LOOPBACK = "127.0.0.1"
THREADS = 8
BULK = 64 << 20  # bytes
CHUNK = bytes(64 << 10)

# A request is one of these, and an answer too, but for the bulk: all of one length.
SIZE = 16
ASK, KEEP, UPLOAD, DOWNLOAD, FULL, RESUMED = (
    word.ljust(SIZE) for word in (b"ask", b"keep", b"upload", b"download", b"full", b"resumed")
)


class Service(NamedTuple):
    """What a server process does."""

    make_context: MakeContext
    version: ssl.TLSVersion
    certificates: Sequence[Files]  # one a connection, in turn
    asynchronous: bool = False
    nodelay: bool = True
    threads: int = THREADS


class Target(NamedTuple):
    """Where a client connects to, and how."""

    port: int
    context: ssl.SSLContext
    by_hand: bool = False  # the session of each connection is handed to the next one
    nodelay: bool = True


class Server(NamedTuple):
    """A running server process."""

    port: int
    pid: int


Saved = ssl.SSLSession | None


@contextlib.contextmanager
def running(service: Service) -> Iterator[Server]:
    """Start a server process, and end it with the block."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=serve, args=(service, theirs))
    process.start()
    theirs.close()
    try:
        assert process.pid is not None
        yield Server(ours.recv(), process.pid)
    finally:
        ours.close()
        process.join()


def serve(service: Service, pipe: "Connection[int, None]") -> None:
    """Run a server until the other end of the pipe is closed."""
    contexts = itertools.cycle(
        [
            service.make_context(ssl.PROTOCOL_TLS_SERVER, service.version, files)
            for files in service.certificates
        ]
    )
    # Without the protocol's number asyncio does not set TCP_NODELAY on what it accepts.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen(128)
        if service.asynchronous:
            targets = [lambda: asyncio.run(serve_streams(listener, next(contexts)))]
        else:
            targets = [lambda: serve_sockets(listener, contexts, service)] * service.threads
        for target in targets:
            threading.Thread(target=target, daemon=True).start()
        pipe.send(listener.getsockname()[1])
        with contextlib.suppress(EOFError, KeyboardInterrupt):
            pipe.recv()
    # The threads still wait for connections: end without them.
    os._exit(0)


# Blocking sockets.


def serve_sockets(
    listener: socket.socket, contexts: Iterator[ssl.SSLContext], service: Service
) -> None:
    kept = []
    while True:
        sock, _ = listener.accept()
        if service.nodelay:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls = next(contexts).wrap_socket(sock, server_side=True)
        request = tls.recv(SIZE)
        if request == UPLOAD:
            receive_bulk(tls)
        elif request == DOWNLOAD:
            send_bulk(tls)
        tls.sendall(RESUMED if tls.session_reused else FULL)
        if request == KEEP:
            kept.append(tls)
            continue
        tls.recv(1)  # until the client closes
        tls.close()


def connect(target: Target, saved: Saved = None) -> ssl.SSLSocket:
    sock = socket.socket()
    if target.nodelay:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.connect((LOOPBACK, target.port))
    return target.context.wrap_socket(sock, server_hostname=HOST, session=saved)


def ask(tls: ssl.SSLSocket, request: bytes = ASK) -> bool:
    """Say whether the session was resumed, of which both ends must be of one mind."""
    tls.sendall(request)
    if request == UPLOAD:
        send_bulk(tls)
    elif request == DOWNLOAD:
        receive_bulk(tls)
    return agree(tls.session_reused, tls.recv(SIZE))


def visit(target: Target, saved: Saved, *, resumed: bool) -> Saved:
    """Return the session to offer in the next visit, if that is to be done by hand."""
    tls = connect(target, saved)
    expect(ask(tls), resumed)
    session = tls.session if target.by_hand else None
    tls.close()
    return session


def visits(target: Target, saved: Saved, number: int, *, resumed: bool) -> None:
    for _ in range(number):
        saved = visit(target, saved, resumed=resumed)


def warm(target: Target, number: int) -> list[Saved]:
    """Make this many connections at a time, so that each finds or leaves a session to resume."""
    connections = [connect(target) for _ in range(number)]
    for tls in connections:
        ask(tls)
    sessions = [tls.session if target.by_hand else None for tls in connections]
    for tls in connections:
        tls.close()
    return sessions


def visits_in_threads(
    pool: ThreadPoolExecutor, target: Target, saved: Sequence[Saved], number: int, *, resumed: bool
) -> None:
    """Make this many visits in each of as many threads as there are sessions, None or not."""
    if len(saved) == 1:
        visits(target, saved[0], number, resumed=resumed)
        return
    futures = [pool.submit(visits, target, one, number, resumed=resumed) for one in saved]
    for future in futures:
        future.result()


def send_bulk(tls: ssl.SSLSocket) -> None:
    for _ in range(BULK // len(CHUNK)):
        tls.sendall(CHUNK)


def receive_bulk(tls: ssl.SSLSocket) -> None:
    buffer = bytearray(len(CHUNK))
    left = BULK
    while left:
        received = tls.recv_into(buffer, min(left, len(buffer)))
        if not received:
            raise EOFError(f"{left} bytes are missing")
        left -= received


def agree(session_reused: bool | None, answer: bytes) -> bool:  # noqa: FBT001
    if answer != (RESUMED if session_reused else FULL):
        raise RuntimeError(f"session_reused is {session_reused}, but the server says {answer!r}")
    return bool(session_reused)


def expect(resumed: bool, expected: bool) -> None:  # noqa: FBT001
    if resumed != expected:
        raise RuntimeError("resumed" if resumed else "not resumed")


# asyncio, which sets TCP_NODELAY by itself and knows no session= to be given by hand.

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def serve_streams(listener: socket.socket, context: ssl.SSLContext) -> None:
    server = await asyncio.start_server(handle, sock=listener, ssl=context)
    await server.serve_forever()


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    request = await reader.readexactly(SIZE)
    if request == UPLOAD:
        await receive_bulk_async(reader)
    elif request == DOWNLOAD:
        await send_bulk_async(writer)
    writer.write(RESUMED if session_reused(writer) else FULL)
    await reader.read()  # until the client closes
    writer.close()
    await writer.wait_closed()


async def connect_async(target: Target) -> Streams:
    return await asyncio.open_connection(
        LOOPBACK, target.port, ssl=target.context, server_hostname=HOST
    )


async def ask_async(streams: Streams, request: bytes = ASK) -> bool:
    reader, writer = streams
    writer.write(request)
    if request == UPLOAD:
        await send_bulk_async(writer)
    elif request == DOWNLOAD:
        await receive_bulk_async(reader)
    return agree(session_reused(writer), await reader.readexactly(SIZE))


async def close_async(streams: Streams) -> None:
    _, writer = streams
    writer.close()
    await writer.wait_closed()


async def visits_async(target: Target, number: int, *, resumed: bool) -> None:
    for _ in range(number):
        streams = await connect_async(target)
        expect(await ask_async(streams), resumed)
        await close_async(streams)


async def warm_async(target: Target, number: int) -> None:
    connections = [await connect_async(target) for _ in range(number)]
    for streams in connections:
        await ask_async(streams)
    for streams in connections:
        await close_async(streams)


async def visits_in_tasks(target: Target, tasks: int, number: int, *, resumed: bool) -> None:
    await asyncio.gather(*(visits_async(target, number, resumed=resumed) for _ in range(tasks)))


async def send_bulk_async(writer: asyncio.StreamWriter) -> None:
    for _ in range(BULK // len(CHUNK)):
        writer.write(CHUNK)
        await writer.drain()


async def receive_bulk_async(reader: asyncio.StreamReader) -> None:
    left = BULK
    while left:
        data = await reader.read(min(left, len(CHUNK)))
        if not data:
            raise EOFError(f"{left} bytes are missing")
        left -= len(data)


def session_reused(writer: asyncio.StreamWriter) -> bool | None:
    ssl_object: ssl.SSLObject = writer.get_extra_info("ssl_object")
    return ssl_object.session_reused
