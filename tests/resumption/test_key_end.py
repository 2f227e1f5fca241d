"""After a key's end nothing of it is in the process's memory, not even on stacks that are over.

A server in a process of its own gets a record that this one knows, so that this one can compute
all that is derived from it, and searches the memory of the other for it.
"""

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import HOST, Certificates
from derived import secrets_of, words_of
from memory import memory_of
from rings import ratchet
from wrapped import TLS12, TLS13, client_context, connect, server_context

from gnutls_resume import MemoryStore, SSLContext
from gnutls_resume.resumption.ticket_key_record import TicketKeyRecord
from gnutls_resume.resumption.ticket_key_sources import write_key_file

SERVER = Path(__file__).with_name("key_server.py")
PERIOD = 21_600  # seconds; of the ring, and so the lifetime of its tickets
SECONDS = 30
OPEN = 7  # connections, of those that visit

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads memory in /proc")


# -- the server -------------------------------------------------------------------------------


class Server:
    """key_server.py, and what is known of its keys."""

    def __init__(self, process: "subprocess.Popen[str]", chain: bytes, start: int) -> None:
        self.process = process
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        self.ports: list[int] = told["ports"]
        self.early: int = told["early"]
        policies = [bytes.fromhex(policy) for policy in told["policies"]]
        assert told["epoch"] == start + 1
        self.epochs = [secrets_of(ratchet(chain, steps), policies) for steps in range(3)]
        """Of the epoch before, the current one and the next, when it started."""

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def memory(self) -> Iterator[memoryview]:
        """All that it can write, in words."""
        for region in memory_of(self.process.pid):
            yield memoryview(region).cast("Q")

    def found(self) -> list[set[str]]:
        """Which secrets of each epoch are there, whole or in part."""
        words = {
            word: (epoch, name)
            for epoch, secrets in enumerate(self.epochs)
            for word, name in words_of(secrets).items()
        }
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            os.waitpid(self.process.pid, os.WUNTRACED)
            found = {words[word] for memory in self.memory() for word in words.keys() & memory}
        finally:
            os.kill(self.process.pid, signal.SIGCONT)
        return [{name for at, name in found if at == epoch} for epoch in range(len(self.epochs))]


@contextlib.contextmanager
def serving(certificates: Certificates, folder: Path, source: str) -> Iterator[Server]:
    chain, start = os.urandom(32), int(time.time()) // PERIOD - 1
    path = folder / "keys"
    write_key_file(path, TicketKeyRecord(PERIOD, start, chain), replace=False)
    files = certificates.certificate_file, certificates.key_file
    with subprocess.Popen(
        [sys.executable, SERVER, *files, path, source],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Server(process, chain, start)
        finally:
            process.kill()


# -- its clients ------------------------------------------------------------------------------


def clients(certificates: Certificates) -> list[SSLContext]:
    """By ticket, and each holds one of another server's that ours does not know; by ID."""
    made = []
    for version in (TLS12, TLS13):
        client = client_context(certificates, sessions=MemoryStore())
        client.minimum_version = client.maximum_version = version
        connect(client, server_context(certificates))
        made.append(client)
    by_id = client_context(certificates, sessions=MemoryStore())
    by_id.maximum_version = TLS12
    by_id.options |= ssl.OP_NO_TICKET
    return [*made, by_id]


def visit(client: SSLContext, port: int) -> ssl.SSLSocket:
    sock = socket.create_connection(("127.0.0.1", port), SECONDS)
    wrapped = client.wrap_socket(sock, server_hostname=HOST)
    wrapped.sendall(b"ping")
    assert wrapped.recv(4) == b"ping"
    return wrapped


def break_off(client: SSLContext, port: int) -> None:
    """After a ClientHello."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    half = client.wrap_bio(incoming, outgoing, server_hostname=HOST)
    with pytest.raises(ssl.SSLWantReadError):
        half.do_handshake()
    with socket.create_connection(("127.0.0.1", port), SECONDS) as sock:
        sock.sendall(outgoing.read())


@contextlib.contextmanager
def visited(server: Server, certificates: Certificates) -> Iterator[None]:
    """Full and resumed, in all ways; a connection of each is open until the end, and then none."""
    with contextlib.ExitStack() as still_open:
        for client in clients(certificates):
            for port in server.ports:
                visit(client, port).close()
                sock = still_open.enter_context(visit(client, port))
                assert sock.session_reused
            for port in server.ports:
                break_off(client, port)
        early = client_context(certificates, sessions=MemoryStore())
        visit(early, server.early).close()
        sock = still_open.enter_context(visit(early, server.early))
        assert sock.session_reused
        server.tell(f"wait {OPEN}")
        yield
    server.tell("wait 0")


NOTHING: set[str] = set()
SECRET = {"secret"}
IN_USE = {  # GnuTLS has the keys of each open connection
    f"{kind} {way}" for kind in ("key", "derived 0") for way in ("TLS1_2 0", "TLS1_3 0", "TLS1_3 1")
}


@pytest.mark.parametrize("way", ["expire", "handshake"])
def test_nothing_of_a_key_is_left_after_its_end(
    way: str, certificates: Certificates, tmp_path: Path
) -> None:
    def go_on(connections: int) -> None:
        server.tell("go on")
        if way == "expire":
            server.tell("expire")
        else:
            visit(clients(certificates)[0], server.ports[0]).close()
            server.tell(f"wait {connections}")

    source = "file" if way == "expire" else "record"
    with serving(certificates, tmp_path, source) as server:
        with visited(server, certificates):
            assert server.found() == [SECRET, SECRET | IN_USE, SECRET]
            go_on(OPEN)
            assert server.found() == [NOTHING, SECRET | IN_USE, SECRET]
        assert server.found() == [NOTHING, SECRET, SECRET], "a connection makes its key anew"
        with visited(server, certificates):  # under keys of three epochs
            pass
        go_on(0)
        assert server.found() == [NOTHING, NOTHING, SECRET]


def test_nothing_of_a_key_is_left_after_a_rotation(
    certificates: Certificates, tmp_path: Path
) -> None:
    with serving(certificates, tmp_path, "file") as server:
        with visited(server, certificates):
            server.tell("rotate")
            assert server.found() == [NOTHING, IN_USE, NOTHING]
        assert server.found() == [NOTHING, NOTHING, NOTHING]
