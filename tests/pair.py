"""The one pump: a client and a server in memory, or over a pair of sockets.

No test writes its own. Both ends' outcomes are returned, so that a test can assert both.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from conftest import HOST, Certificates

from gnutls_resume.binding import (
    Credentials,
    InitFlag,
    MemoryTransport,
    Sealing,
    Session,
    TicketKey,
)
from gnutls_resume.errors import WantReadError

TLS12 = "NORMAL:-VERS-ALL:+VERS-TLS1.2"
TLS13 = "NORMAL:-VERS-ALL:+VERS-TLS1.3"

TOO_LONG = 30  # seconds
Carrier = MemoryTransport | socket.socket
Sockets = tuple[socket.socket, socket.socket]


@dataclass
class Pair:
    """Two sessions over memory, closed at the end of the with-statement."""

    client: Session
    server: Session
    tickets: list[tuple[bytes, int]] = field(default_factory=list)
    piece: int | None = None  # the most bytes carried at once

    @property
    def resumed(self) -> tuple[bool, bool]:
        """What the client says, what the server says."""
        return self.client.is_resumed(), self.server.is_resumed()

    def move(self) -> int:
        """Carry bytes both ways; returns how many."""
        moved = 0
        for one, other in ((self.client, self.server), (self.server, self.client)):
            assert isinstance(one.transport, MemoryTransport)
            assert isinstance(other.transport, MemoryTransport)
            data = one.transport.drain(self.piece)
            other.transport.feed(data)
            moved += len(data)
        return moved

    def handshake(self) -> None:
        """Until both ends are done; the first error of either comes out."""
        waiting = [self.client, self.server]
        while waiting:
            for session in list(waiting):
                try:
                    session.handshake()
                except WantReadError:
                    continue
                waiting.remove(session)
            if self.move() == 0 and waiting:
                raise AssertionError(f"{waiting} wait for bytes that never come")

    def outcomes(self) -> tuple[BaseException | None, BaseException | None]:
        """The error, or None, of the client and of the server, each let run to its end."""
        errors: dict[Session, BaseException | None] = {}
        while len(errors) < 2:
            for session in (self.client, self.server):
                if session in errors:
                    continue
                try:
                    session.handshake()
                    errors[session] = None
                except WantReadError:
                    pass
                except BaseException as error:
                    errors[session] = error
            if self.move() == 0 and len(errors) == 1:
                (left,) = {self.client, self.server} - errors.keys()
                assert isinstance(left.transport, MemoryTransport)
                left.transport.eof()
        return errors[self.client], errors[self.server]

    def exchange(self, request: bytes = b"ping", answer: bytes = b"pong") -> None:
        """Data both ways; the client reads its TLS 1.3 tickets on the way."""
        assert self.client.record_send(request) == len(request)
        self.move()
        assert self.server.record_recv() == request
        assert self.server.record_send(answer) == len(answer)
        self.move()
        assert self.client.record_recv() == answer


@dataclass
class Setting:
    """What a pair is made from. Change a field, and both ends get it."""

    certificates: Certificates
    priority: str = TLS13
    client_priority: str | None = None
    server_priority: str | None = None
    client_flags: InitFlag = InitFlag.NONE
    server_flags: InitFlag = InitFlag.NONE
    client_sealing: Sealing | None = None
    server_sealing: Sealing | None = None
    client_credentials: Credentials | None = None
    server_credentials: Credentials | None = None
    server_name: str | None = HOST
    ticket_key: TicketKey | None = None
    database: dict[bytes, bytes] | None = None
    prepare: Callable[[Session, Session], None] | None = None

    @contextmanager
    def pair(
        self, data: bytes | None = None, carriers: tuple[Carrier, Carrier] | None = None
    ) -> Iterator[Pair]:
        """Both sessions, ready for the handshake; `data` is offered by the client. The carriers
        are memory if not given.
        """
        certificates = self.certificates
        client = Session(
            "client",
            self.client_credentials or certificates.client(),
            priority=self.client_priority or self.priority,
            flags=self.client_flags,
            sealing=self.client_sealing,
        )
        server = Session(
            "server",
            self.server_credentials or certificates.server(),
            priority=self.server_priority or self.priority,
            flags=self.server_flags,
            sealing=self.server_sealing,
        )
        with client, server:
            client.attach(carriers[0] if carriers else MemoryTransport())
            server.attach(carriers[1] if carriers else MemoryTransport())
            pair = Pair(client, server)
            if self.server_name is not None:
                client.server_name_set(self.server_name)
                client.set_verify_cert(self.server_name)
            client.set_ticket_function(lambda data, lifetime: pair.tickets.append((data, lifetime)))
            if self.ticket_key is not None:
                server.ticket_enable_server(self.ticket_key)
            if self.database is not None:
                use_database(server, self.database)
            if data is not None:
                client.set_data(data)
            if self.prepare is not None:
                self.prepare(client, server)
            yield pair

    @contextmanager
    def connected(self, sockets: Sockets, data: bytes | None = None) -> Iterator[Pair]:
        """A pair over connected sockets, after the handshake."""
        with self.pair(data, sockets) as pair:
            with in_thread(pair.server.handshake) as errors:
                pair.client.handshake()
            assert not errors, errors
            yield pair

    def connect(self, data: bytes | None = None) -> tuple[bytes | None, tuple[bool, bool]]:
        """One connection with data both ways: the client's session afterwards, and whether
        the client and the server resumed.
        """
        with self.pair(data) as pair:
            pair.handshake()
            pair.exchange()
            return pair.client.get_data(), pair.resumed


def use_database(server: Session, database: dict[bytes, bytes]) -> None:
    def remove(key: bytes) -> None:
        database.pop(key, None)

    server.db_set_functions(store=database.__setitem__, retrieve=database.get, remove=remove)


@contextmanager
def in_thread(work: Callable[[], object]) -> Iterator[list[BaseException]]:
    """Run `work` beside the body; its exception is in the list when the body is over."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield errors
    finally:
        thread.join(60)
        assert not thread.is_alive()


def tcp_pair() -> Sockets:
    """Two connected TCP sockets on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    return one, other


@contextmanager
def bounded(sockets: Sockets) -> Iterator[Sockets]:
    """The sockets, closed at the end, and shut down before that if a test takes too long."""

    def stop() -> None:
        for sock in sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    watchdog = threading.Timer(TOO_LONG, stop)
    watchdog.start()
    try:
        with sockets[0], sockets[1]:
            yield sockets
    finally:
        watchdog.cancel()
