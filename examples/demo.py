"""Resumption, seen: a server and a client over real sockets, in three ways.

Each way is two connections: the first performs the full handshake, the second offers what the
first was given. Needs openssl's command to make a certificate.
"""

import argparse
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from gnutls_resume.binding import GNUTLS_VERSION, Credentials, InitFlag, Session, TicketKey

TLS12 = "NORMAL:-VERS-ALL:+VERS-TLS1.2"
TLS13 = "NORMAL:-VERS-ALL:+VERS-TLS1.3"
ROW = "{:<22} {:<8} {:<7} {:<11} {:>12} {:>14}"


@dataclass(frozen=True)
class Way:
    name: str
    priority: str
    client_flags: InitFlag = InitFlag.NONE


WAYS = (
    Way("TLS 1.2 by session ID", TLS12, InitFlag.NO_TICKETS),
    Way("TLS 1.2 by ticket", TLS12),
    Way("TLS 1.3 by ticket", TLS13),
)


class Server(threading.Thread):
    """Answers each connection with how it was resumed: by session ID, by ticket, or not."""

    def __init__(self, credentials: Credentials) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.credentials, self.ticket_key = credentials, TicketKey.generate()
        self.sessions: dict[bytes, bytes] = {}

    def run(self) -> None:
        while True:
            sock, _ = self.listener.accept()
            found: list[bytes] = []

            def retrieve(key: bytes, found: list[bytes] = found) -> bytes | None:
                data = self.sessions.get(key)
                found.extend([] if data is None else [data])
                return data

            with sock, Session("server", self.credentials) as session:
                session.attach(sock)
                session.ticket_enable_server(self.ticket_key)
                session.db_set_functions(
                    store=self.sessions.__setitem__,
                    retrieve=retrieve,
                    remove=self.sessions.__delitem__,
                )
                session.handshake()
                means = "session ID" if found else "ticket"
                session.record_send((means if session.is_resumed() else "-").encode())
                session.bye()


def connect(
    address: tuple[str, int], credentials: Credentials, way: Way, data: bytes | None
) -> bytes | None:
    """One connection, and its row of the table; returns the session for the next one."""
    with (
        socket.create_connection(address, timeout=10) as sock,
        Session("client", credentials, priority=way.priority, flags=way.client_flags) as session,
    ):
        session.attach(sock)
        session.server_name_set("localhost")
        session.set_verify_cert("localhost")
        if data is not None:
            session.set_data(data)
        start = time.perf_counter()
        session.handshake()
        milliseconds = (time.perf_counter() - start) * 1000
        assert session.transport is not None
        size = session.transport.sent + session.transport.received
        means = session.record_recv().decode()
        version = session.get_desc().split(")")[0].strip("(")
        how = "Reused" if session.is_resumed() else "New"
        print(ROW.format(way.name, version, how, means, f"{milliseconds:.2f}", size))
        return session.get_data()


def certificate(folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-days", "1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        chain, key = certificate(Path(folder))
        server = Server(Credentials(certificate=chain, key=key))
        client = Credentials(trust=chain)
    server.start()
    print(f"GnuTLS {GNUTLS_VERSION}, loopback, P-256 certificate\n")
    print(ROW.format("connection", "protocol", "session", "resumed by", "handshake ms", "bytes"))
    for way in WAYS:
        data = connect(server.listener.getsockname(), client, way, None)
        connect(server.listener.getsockname(), client, way, data)


if __name__ == "__main__":
    main()
