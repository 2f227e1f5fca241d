"""The four that handshake.py compares: the same rounds in C, with ours and with two others.

The three in Python are meant to read alike, line by line, and like handshake.c.
"""

import ssl
import time
from collections.abc import Callable
from typing import IO, Generic, NamedTuple, Protocol, TypeVar

from certificates import HOST, Files
from OpenSSL import SSL

from gnutls_resume.binding import Credentials, MemoryTransport, Session, TicketKey
from gnutls_resume.errors import WantReadError

TLS12 = "NORMAL:-VERS-ALL:+VERS-TLS1.2"
TLS13 = "NORMAL:-VERS-ALL:+VERS-TLS1.3"
TLS12_NO_TICKETS = TLS12 + ":%NO_TICKETS"


class Kind(NamedTuple):
    """A kind of handshake, named as in handshake.c."""

    name: str
    tls13: bool
    resumed: bool
    by_id: bool  # a session database on the server instead of tickets
    goal: float  # the largest ratio to C that is good enough


KINDS = [
    Kind("full-1.2", tls13=False, resumed=False, by_id=False, goal=1.05),
    Kind("full-1.3", tls13=True, resumed=False, by_id=False, goal=1.05),
    Kind("resumed-1.2", tls13=False, resumed=True, by_id=False, goal=1.5),
    Kind("resumed-1.2-id", tls13=False, resumed=True, by_id=True, goal=1.5),
    Kind("resumed-1.3", tls13=True, resumed=True, by_id=False, goal=1.1),
]


class Cost(NamedTuple):
    """Nanoseconds by the clock and of processor time."""

    wall: int
    cpu: int


class Peer(Protocol):
    """One of the four."""

    name: str

    def batch(self, kind: Kind, rounds: int) -> Cost: ...


class CPeer:
    """The program of handshake.c, already running."""

    name = "C"

    def __init__(self, stdin: IO[str], stdout: IO[str]) -> None:
        self.stdin = stdin
        self.stdout = stdout

    def batch(self, kind: Kind, rounds: int) -> Cost:
        self.stdin.write(f"{kind.name} {rounds}\n")
        self.stdin.flush()
        answer = self.stdout.readline()
        if not answer:
            raise SystemExit("the C program ended early")
        wall, cpu = answer.split()
        return Cost(int(wall), int(cpu))


Saved = TypeVar("Saved")


class PythonPeer(Generic[Saved]):
    """Batches as the C program does them; what a round is, each library says below."""

    def batch(self, kind: Kind, rounds: int) -> Cost:
        # A full handshake, not timed: it gives the session to resume and warms the caches.
        saved = self.round(kind, None)
        wall, cpu = time.monotonic_ns(), time.process_time_ns()
        for _ in range(rounds):
            saved = self.round(kind, saved if kind.resumed else None)
        return Cost(time.monotonic_ns() - wall, time.process_time_ns() - cpu)

    def round(self, kind: Kind, saved: Saved | None) -> Saved:
        """Offer the saved session, if there is one, and return this connection's."""
        raise NotImplementedError


class ResumePeer(PythonPeer[bytes]):
    """gnutls_resume's own calls, those of GnuTLS in C one by one."""

    name = "gnutls_resume"

    def __init__(self, files: Files) -> None:
        self.client_credentials = Credentials(trust=files.trust)
        self.server_credentials = Credentials(certificate=files.certificate, key=files.key)
        self.ticket_key = TicketKey.generate()
        self.database: dict[bytes, bytes] = {}

    def round(self, kind: Kind, saved: bytes | None) -> bytes:
        priority = TLS13 if kind.tls13 else TLS12_NO_TICKETS if kind.by_id else TLS12
        client = Session("client", self.client_credentials, priority=priority)
        client_wire = MemoryTransport()
        client.attach(client_wire)
        client.server_name_set(HOST)
        client.set_verify_cert(HOST)
        if saved is not None:
            client.set_data(saved)

        priority = TLS13 if kind.tls13 else TLS12
        server = Session("server", self.server_credentials, priority=priority)
        server_wire = MemoryTransport()
        server.attach(server_wire)
        server.ticket_enable_server(self.ticket_key)
        if kind.by_id:
            server.db_set_functions(
                store=self.store, retrieve=self.database.get, remove=self.remove
            )

        client_done = server_done = False
        while not (client_done and server_done):
            client_done = client_done or finished(client.handshake, WantReadError)
            server_wire.feed(client_wire.drain())
            server_done = server_done or finished(server.handshake, WantReadError)
            client_wire.feed(server_wire.drain())
        if kind.tls13 and finished(lambda: client.record_recv(16384), WantReadError):
            raise SystemExit("read something other than a ticket")
        data = client.get_data()
        check(kind, saved, resumed=client.is_resumed() and server.is_resumed())
        client.close()
        server.close()
        if data is None:
            raise SystemExit(f"{kind.name}: no session data")
        return data

    def store(self, key: bytes, data: bytes) -> None:
        self.database.clear()  # room for one entry, as in C
        self.database[key] = data

    def remove(self, key: bytes) -> None:
        self.database.pop(key, None)


class StdlibPeer(PythonPeer[ssl.SSLSession]):
    """The standard library's ssl, with contexts made once."""

    name = "ssl"

    def __init__(self, files: Files) -> None:
        self.contexts = {kind.name: self.make_contexts(kind, files) for kind in KINDS}

    def make_contexts(self, kind: Kind, files: Files) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.load_verify_locations(files.trust)
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(files.certificate, files.key)
        version = ssl.TLSVersion.TLSv1_3 if kind.tls13 else ssl.TLSVersion.TLSv1_2
        for context in client, server:
            context.minimum_version = context.maximum_version = version
        if kind.by_id:
            server.options |= ssl.OP_NO_TICKET
        return client, server

    def round(self, kind: Kind, saved: ssl.SSLSession | None) -> ssl.SSLSession:
        client_context, server_context = self.contexts[kind.name]
        client_in, client_out = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = client_context.wrap_bio(
            client_in,
            client_out,
            server_hostname=HOST,
            session=saved,
        )
        server_in, server_out = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = server_context.wrap_bio(server_in, server_out, server_side=True)

        client_done = server_done = False
        while not (client_done and server_done):
            client_done = client_done or finished(client.do_handshake, ssl.SSLWantReadError)
            server_in.write(client_out.read())
            server_done = server_done or finished(server.do_handshake, ssl.SSLWantReadError)
            client_in.write(server_out.read())
        if kind.tls13 and finished(lambda: client.read(16384), ssl.SSLWantReadError):
            raise SystemExit("read something other than a ticket")
        session = client.session
        check(kind, saved, resumed=bool(client.session_reused and server.session_reused))
        if kind.by_id:
            # OpenSSL forgets the session of a connection that is freed without a shutdown.
            finished(server.unwrap, ssl.SSLWantReadError)
        if session is None:
            raise SystemExit(f"{kind.name}: no session")
        return session


class PyOpenSSLPeer(PythonPeer[SSL.Session]):
    """Verifies the chain but not the host name, for which pyOpenSSL has no call."""

    name = "pyOpenSSL"

    def __init__(self, files: Files) -> None:
        self.contexts = {kind.name: self.make_contexts(kind, files) for kind in KINDS}

    def make_contexts(self, kind: Kind, files: Files) -> tuple[SSL.Context, SSL.Context]:
        client = SSL.Context(SSL.TLS_CLIENT_METHOD)
        client.load_verify_locations(str(files.trust))
        client.set_verify(SSL.VERIFY_PEER)
        server = SSL.Context(SSL.TLS_SERVER_METHOD)
        server.use_certificate_chain_file(str(files.certificate))
        server.use_privatekey_file(str(files.key))
        server.set_session_id(b"benchmark")
        version = SSL.TLS1_3_VERSION if kind.tls13 else SSL.TLS1_2_VERSION
        for context in client, server:
            context.set_min_proto_version(version)
            context.set_max_proto_version(version)
        if kind.by_id:
            server.set_options(SSL.OP_NO_TICKET)
        return client, server

    def round(self, kind: Kind, saved: SSL.Session | None) -> SSL.Session:
        client_context, server_context = self.contexts[kind.name]
        client = SSL.Connection(client_context)
        client.set_connect_state()
        client.set_tlsext_host_name(HOST.encode())
        if saved is not None:
            client.set_session(saved)
        server = SSL.Connection(server_context)
        server.set_accept_state()

        client_done = server_done = False
        while not (client_done and server_done):
            client_done = client_done or finished(client.do_handshake, SSL.WantReadError)
            self.move(client, server)
            server_done = server_done or finished(server.do_handshake, SSL.WantReadError)
            self.move(server, client)
        if kind.tls13 and finished(lambda: client.recv(16384), SSL.WantReadError):
            raise SystemExit("read something other than a ticket")
        session = client.get_session()
        # pyOpenSSL does not say whether it resumed, but only a full handshake verifies a chain.
        check(kind, saved, resumed=client.get_verified_chain() is None)
        # OpenSSL forgets the session of a connection that is freed without a shutdown.
        client.set_shutdown(SSL.SENT_SHUTDOWN)
        server.set_shutdown(SSL.SENT_SHUTDOWN)
        if session is None:
            raise SystemExit(f"{kind.name}: no session")
        return session

    def move(self, source: SSL.Connection, target: SSL.Connection) -> None:
        try:
            data = source.bio_read(65536)
        except SSL.WantReadError:
            return
        target.bio_write(data)


def finished(step: Callable[[], object], want_read: type[Exception]) -> bool:
    try:
        step()
    except want_read:
        return False
    return True


def check(kind: Kind, saved: object, *, resumed: bool) -> None:
    if resumed != (saved is not None):
        raise SystemExit(f"{kind.name}: {'resumed' if resumed else 'not resumed'}")
