"""An HTTP/1.0 server whose clients resume their TLS sessions: by ticket, or, where a TLS 1.2
client takes no tickets, by session ID from the server's database. The ticket key changes every
few hours; a ticket of an earlier key leads to a full handshake and a new ticket.
"""

import argparse
import socket
import sys
import threading
import time
from collections.abc import Callable

from gnutls_resume.binding import Credentials, Session, TicketKey
from gnutls_resume.errors import AlertError, GnuTLSError


class TicketKeys:
    """The current ticket key, replaced when it is `hours` old."""

    def __init__(self, hours: float) -> None:
        self.hours, self.lock, self.end = hours, threading.Lock(), 0.0

    def current(self) -> TicketKey:
        with self.lock:
            if time.monotonic() >= self.end:
                self.key, self.end = TicketKey.generate(), time.monotonic() + 3600 * self.hours
            return self.key


class Database(dict[bytes, bytes]):
    """Sessions by ID, 10,000 at most; the oldest makes room for the newest."""

    def store(self, key: bytes, data: bytes) -> None:
        while len(self) >= 10_000:  # noqa: PLR2004
            self.drop(next(iter(self)))
        self[key] = data

    def drop(self, key: bytes) -> None:
        self.pop(key, None)


def answer(session: Session) -> None:
    """Read a request's head, and answer how its connection came about."""
    request = b""
    while b"\r\n\r\n" not in request and (data := session.record_recv()):
        request = request[-3:] + data
    how = "Reused" if session.is_resumed() else "New"
    body = f"{how}, {session.get_desc()}\n".encode()
    session.record_send(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + body)
    session.bye()
    print(how, session.get_desc(), flush=True)


def serve(sock: socket.socket, make_session: Callable[[], Session]) -> None:
    with sock, make_session() as session:
        sock.settimeout(10)
        session.attach(sock)
        try:
            session.handshake()
            answer(session)
        except (GnuTLSError, OSError) as error:
            if isinstance(error, AlertError):
                session.db_remove_session()  # RFC 5246 §7.2.2; GnuTLS never does
            print("failed:", error, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--certificate", required=True, help="PEM file, the chain, leaf first")
    parser.add_argument("--key", required=True, help="PEM file, the private key")
    parser.add_argument("--port", type=int, default=5556, help="0 chooses one (default 5556)")
    parser.add_argument("--priority", help="a GnuTLS priority string")
    parser.add_argument("--no-tickets", action="store_true", help="sessions in the database only")
    parser.add_argument("--rotate", type=float, default=6, metavar="HOURS", help="default 6")
    options = parser.parse_args()

    credentials = Credentials(certificate=options.certificate, key=options.key)
    keys, database = TicketKeys(options.rotate), Database()

    def make_session() -> Session:
        session = Session("server", credentials, priority=options.priority)
        if not options.no_tickets:
            session.ticket_enable_server(keys.current())
        session.db_set_functions(store=database.store, retrieve=database.get, remove=database.drop)
        return session

    make_session().close()  # a wrong option shows now, not at the first client
    with socket.create_server(("127.0.0.1", options.port)) as listener:
        print("listening on 127.0.0.1 port", listener.getsockname()[1], flush=True)
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=serve, args=(sock, make_session), daemon=True).start()


if __name__ == "__main__":
    try:
        main()
    except (GnuTLSError, OSError, ValueError) as error:
        sys.exit(f"failed: {error}")
