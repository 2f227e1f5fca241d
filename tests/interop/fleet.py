"""What workers share, and clients that come back to them, each time to another one.

Three clients keep their sessions in three ways: our context by itself, the standard library's by
hand, openssl in a file.
"""

import os
import re
import signal
import socket
import ssl
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest
from conftest import HOST, Certificates
from interop.programs import REQUEST, SECONDS, WAYS, Program, Way, find, run
from redis_server import redis_server
from wrapped import client_context

from gnutls_resume import MemoryStore

WORKERS = 4
TIMES = 40  # that a client comes back
CASES = {
    "tls12-by-ticket": (WAYS["tls12-by-ticket"], "sqlite"),
    "tls13-by-ticket": (WAYS["tls13-by-ticket"], "sqlite"),
    "tls12-by-id-sqlite": (WAYS["tls12-by-id"], "sqlite"),
    "tls12-by-id-redis": (WAYS["tls12-by-id"], "redis"),
}
"""How clients resume, and where the workers keep sessions."""

Case = tuple[Way, str]
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@dataclass(frozen=True)
class Shared:
    """Files and stores that all workers are given."""

    ticket_keys: Path
    sealing_key: Path
    sessions: dict[str, str]


@contextmanager
def sharing(folder: Path) -> Iterator[Shared]:
    """New ones, and a Redis that runs."""
    ticket_keys, sealing_key = folder / "ticket.keys", folder / "sealing.key"
    done = run(sys.executable, "-P", "-m", "gnutls_resume", "keys", "new", ticket_keys)
    assert done.returncode == 0, done.stderr
    sealing_key.touch(0o600)
    sealing_key.write_bytes(os.urandom(32))
    with redis_server(folder) as redis:
        sessions = {"sqlite": str(folder / "sessions.db"), "redis": redis.url}
        yield Shared(ticket_keys, sealing_key, sessions)


class Client(Protocol):
    def __init__(self, certificates: Certificates, way: Way, folder: Path) -> None: ...

    def visit(self, port: int) -> bool:
        """Fetch a page. Returns whether the connection was resumed."""


class Ours:
    """Our context, which keeps its sessions by itself."""

    def __init__(self, certificates: Certificates, way: Way, _: Path) -> None:
        self.context = way.restrict(client_context(certificates, sessions=MemoryStore()))

    def visit(self, port: int) -> bool:
        resumed, _ = fetch(self.context, port)
        return resumed


class Stock:
    """The standard library's, told by hand which session to offer."""

    def __init__(self, certificates: Certificates, way: Way, _: Path) -> None:
        self.context = way.restrict(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        self.context.load_verify_locations(certificates.trust_file)
        self.session: ssl.SSLSession | None = None

    def visit(self, port: int) -> bool:
        resumed, self.session = fetch(self.context, port, self.session)
        return resumed


class OpenSSL:
    """OpenSSL's program, with its session in a file."""

    def __init__(self, certificates: Certificates, way: Way, folder: Path) -> None:
        self.way, self.trust, self.session = way, certificates.trust_file, folder / "session.pem"

    def visit(self, port: int) -> bool:
        offer = ("-sess_in", self.session) if self.session.exists() else ()
        done = run(
            *(find("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-servername", HOST),
            *("-CAfile", self.trust, "-verify_return_error", "-verify_hostname", HOST),
            *("-ign_eof", "-sess_out", self.session, *offer, *self.way.openssl),
            text=REQUEST,
        )
        match = re.search(r"^(New|Reused), TLSv1\.\d", done.stdout, re.MULTILINE)
        assert match is not None, done.stdout + done.stderr
        assert "200 OK" in done.stdout
        return match[1] == "Reused"


CLIENTS: list[type[Client]] = [Ours, Stock, OpenSSL]


def fetch(
    context: ssl.SSLContext, port: int, session: ssl.SSLSession | None = None
) -> tuple[bool, ssl.SSLSession | None]:
    """Whether the connection was resumed, and the session for the next one."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # the server may be waiting for more
    with sock, context.wrap_socket(sock, server_hostname=HOST, session=session) as tls:
        tls.sendall(REQUEST.encode())
        page = tls.recv(16384)
        # Now: if the server ends without a close_notify, OpenSSL forgets it.
        session = tls.session
        while data := tls.recv(16384):
            page += data
        assert b"200 OK" in page
        return bool(tls.session_reused), session


def assert_workers_resume(
    clients: list[Client],
    program: Program,
    port: int,
    *,
    before: bool = False,
    served: str = r"^worker (\d+)",
) -> None:
    """40 of 40 connections of each client resume, but for one if there were none before; and each
    connection is another worker's.
    """
    full = [] if before else [False]
    for client in clients:
        resumed, workers = come_back(client, program, port, len(full) + TIMES, served)
        assert resumed == full + TIMES * [True], program.output
        assert len(workers) == WORKERS


def come_back(
    client: Client, program: Program, port: int, count: int, served: str
) -> tuple[list[bool], set[int]]:
    """Whether each of `count` connections was resumed, and which processes served them.

    A worker that has served is stopped until all others have, so each connection is another's.
    """
    before = len(re.findall(served, program.output, re.MULTILINE))
    resumed: list[bool] = []
    workers: set[int] = set()
    stopped: deque[int] = deque()
    try:
        for number in range(1, count + 1):
            resumed.append(client.visit(port))
            stopped.append(int(program.wait_for(served, before + number)[1]))
            workers.add(stopped[-1])
            stop(stopped[-1])
            if len(stopped) == WORKERS:
                os.kill(stopped.popleft(), signal.SIGCONT)
    finally:
        for worker in stopped:
            os.kill(worker, signal.SIGCONT)
    return resumed, workers


def stop(process: int) -> None:
    """Until it has stopped, it might accept a connection."""
    os.kill(process, signal.SIGSTOP)
    while Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.001)  # there is no event for what others' children do
