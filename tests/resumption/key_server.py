"""A server whose memory is searched for ticket keys: test_key_end.py starts it.

It answers each line of its standard input, and lets its ring's clock go on when it is told to.
"""

import contextlib
import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from gnutls_resume import MemoryStore, SSLContext, TicketKeyRing
from gnutls_resume.binding import Credentials, InitFlag, Session
from gnutls_resume.errors import GnuTLSError
from gnutls_resume.resumption import ticket_key_record
from gnutls_resume.resumption.ticket_key_sources import FileSource

certificate, private_key, key_file, source = (Path(argument) for argument in sys.argv[1:])
PRIORITY = "NORMAL:-VERS-ALL:+VERS-TLS1.3"
POLICY = bytes(range(32))
SECONDS = 30
ahead = 0  # seconds; the clock of the ring
quiet = threading.Condition()
open_connections = 0


def make_ring() -> TicketKeyRing:
    """With a thread that looks at the file, or without one."""
    if source.name == "file":
        return TicketKeyRing.from_file(key_file)
    return TicketKeyRing(FileSource(key_file).read())


def with_context(sock: socket.socket) -> None:
    with context.wrap_socket(sock, server_side=True) as wrapped:
        while data := wrapped.recv(100):
            wrapped.sendall(data)


def with_early_start(sock: socket.socket) -> None:
    """Its handshake ends where it receives, and it sends one more ticket."""
    with Session("server", bare, priority=PRIORITY, flags=InitFlag.ENABLE_EARLY_START) as session:
        session.attach(sock)
        session.ticket_derive(ring.table(), POLICY)
        session.handshake()
        while data := session.record_recv():
            session.ticket_send(1)
            session.record_send(data)


def answer(sock: socket.socket, how: Callable[[socket.socket], None]) -> None:
    global open_connections  # noqa: PLW0603
    with quiet:
        open_connections += 1
    with sock, contextlib.suppress(OSError, GnuTLSError):
        how(sock)
    with quiet:
        open_connections -= 1
        quiet.notify_all()


def serve(listener: socket.socket, how: Callable[[socket.socket], None]) -> None:
    while True:
        answer(listener.accept()[0], how)


def serve_in_threads(listener: socket.socket, how: Callable[[socket.socket], None]) -> None:
    """Each connection in one that ends with it."""
    while True:
        sock = listener.accept()[0]
        threading.Thread(target=answer, args=(sock, how), daemon=True).start()


def listen(
    how: Callable[[socket.socket], None], serve: Callable[..., None] = serve, threads: int = 1
) -> int:
    listener = socket.create_server(("127.0.0.1", 0))
    for _ in range(threads):
        threading.Thread(target=serve, args=(listener, how), daemon=True).start()
    return int(listener.getsockname()[1])


threading.stack_size(256 * 1024)  # less to search
ticket_key_record.now = lambda: time.time() + ahead
ring = make_ring()
context = SSLContext(ssl.PROTOCOL_TLS_SERVER, ticket_keys=ring, sessions=MemoryStore())
context.load_cert_chain(certificate, private_key)
policy = context._connection(server_side=True)[0].policy
bare = Credentials(certificate=certificate.read_bytes(), key=private_key.read_bytes())
started = {
    "ports": [listen(with_context, threads=8), listen(with_context, serve_in_threads)],
    "early": listen(with_early_start),
    "epoch": ring.current.number,
    "policies": [policy.digest().hex(), POLICY.hex()],
}
print(json.dumps(started), flush=True)  # noqa: T201
for line in sys.stdin:
    match line.split():
        case ["go", "on"]:
            ahead += ring.period
        case ["expire"]:
            ring.expire()
        case ["rotate"]:
            ring.rotate()
        case ["wait", number]:
            with quiet:
                assert quiet.wait_for(lambda n=int(number): open_connections == n, SECONDS)
    print("done", flush=True)  # noqa: T201
