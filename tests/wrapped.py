"""The pump for contexts: a client's and a server's object over BIOs, both outcomes returned.

Either end may also be a bare ``binding.Session``, which offers and resumes what it is told to:
GnuTLS itself compares hardly anything, so what the other end must not take is then offered.
"""

import ssl
from collections.abc import Callable
from typing import Any, Self

import pytest
from conftest import HOST, Certificates

from gnutls_resume import SSLContext
from gnutls_resume.binding import Credentials, MemoryTransport, Session, TicketKey
from gnutls_resume.errors import WantReadError

Change = Callable[[bytes], bytes]
Errors = tuple[BaseException | None, BaseException | None]
Side = ssl.SSLContext | Session

TLS12 = ssl.TLSVersion.TLSv1_2
TLS13 = ssl.TLSVersion.TLSv1_3
each_version = pytest.mark.parametrize("version", [TLS12, TLS13], ids=["tls12", "tls13"])
PRIORITIES = {
    TLS12: "NORMAL:-VERS-ALL:+VERS-TLS1.2",
    TLS13: "NORMAL:-VERS-ALL:+VERS-TLS1.3",
}
PRE_SHARED_KEY, PSK_KEY_EXCHANGE_MODES = 41, 45  # extensions, RFC 8446 §4.2


def unchanged(data: bytes) -> bytes:
    return data


class Bare:
    """A ``binding.Session`` with the methods of an ``ssl.SSLObject`` that are used here."""

    def __init__(self, session: Session, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        session.attach(MemoryTransport())
        self.session, self._incoming, self._outgoing = session, incoming, outgoing

    def _moving(self, call: Callable[..., Any], *args: object) -> Any:
        transport = self.session.transport
        assert isinstance(transport, MemoryTransport)
        transport.feed(self._incoming.read())
        if self._incoming.eof:
            transport.eof()
        try:
            return call(*args)
        except WantReadError:
            raise ssl.SSLWantReadError from None
        finally:
            self._outgoing.write(transport.drain())

    def do_handshake(self) -> None:
        self._moving(self.session.handshake)

    def read(self, size: int) -> bytes:
        return bytes(self._moving(self.session.record_recv, size))

    def write(self, data: bytes) -> int:
        return int(self._moving(self.session.record_send, data))

    @property
    def session_reused(self) -> bool:
        return self.session.is_resumed()


class End:
    """An SSLObject, or what stands for one, and its two BIOs."""

    def __init__(self, of: Side, **how: Any) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        bios = self.incoming, self.outgoing
        self.object = Bare(of, *bios) if isinstance(of, Session) else of.wrap_bio(*bios, **how)


class Wire:
    """A client's and a server's end and the bytes between them, ready for the handshake;
    `session` is offered by hand, `to_client` changes what the server has sent.
    """

    def __init__(
        self,
        client: Side,
        server: Side,
        hostname: str | None = HOST,
        *,
        session: Any = None,
        to_client: Change = unchanged,
    ) -> None:
        self.ends = (
            End(client, server_hostname=hostname, session=session),
            End(server, server_side=True),
        )
        self.to_client = to_client
        self.sent = bytearray()
        """What the client has sent so far."""

    @property
    def client(self) -> Any:
        return self.ends[0].object

    @property
    def server(self) -> Any:
        return self.ends[1].object

    def move(self) -> int:
        """Carry all bytes both ways; returns how many."""
        client, server = self.ends
        out, back = client.outgoing.read(), server.outgoing.read()
        self.sent += out
        for end, data in ((server, out), (client, self.to_client(back))):
            if not end.incoming.eof and data:
                end.incoming.write(data)
        return len(out) + len(back)

    def outcomes(self) -> Errors:
        """The error, or None, of the client and of the server, each let run to its end."""
        errors: dict[int, BaseException | None] = {}
        while len(errors) < 2:
            for number, end in enumerate(self.ends):
                if number in errors:
                    continue
                try:
                    end.object.do_handshake()
                    errors[number] = None
                except ssl.SSLWantReadError:
                    pass
                except Exception as error:
                    errors[number] = error
            if self.move() == 0 and len(errors) < 2:
                for end in self.ends:
                    end.incoming.write_eof()
        return errors[0], errors[1]

    def handshake(self) -> Self:
        """Until both ends are done; the first error of either comes out."""
        for error in self.outcomes():
            if error is not None:
                raise error
        return self

    def say(self, data: bytes = b"pong", *, from_server: bool = True) -> None:
        """One way, so that a client reads its tickets."""
        one, other = (self.server, self.client) if from_server else (self.client, self.server)
        assert one.write(data) == len(data)
        self.move()
        got = b""
        while len(got) < len(data):
            got += other.read(len(data))
        assert got == data

    def exchange(self) -> None:
        """Data both ways."""
        self.say(b"ping", from_server=False)
        self.say()

    @property
    def resumed(self) -> tuple[bool, bool]:
        """What the client says, what the server says."""
        return self.client.session_reused, self.server.session_reused

    @property
    def extensions(self) -> dict[int, bytes]:
        """Of the client's first hello, RFC 8446 §4.1.2."""
        hello = bytes(self.sent[5 + 4 + 2 + 32 :])
        for width in (1, 2, 1):  # session ID, cipher suites, compression methods
            hello = hello[width + int.from_bytes(hello[:width]) :]
        rest, found = hello[2 : 2 + int.from_bytes(hello[:2])], {}
        while rest:
            kind, size = int.from_bytes(rest[:2]), int.from_bytes(rest[2:4])
            found[kind] = rest[4 : 4 + size]
            rest = rest[4 + size :]
        return found

    @property
    def ticket(self) -> bytes | None:
        """The first TLS 1.3 ticket that the client has offered."""
        identities = self.extensions.get(PRE_SHARED_KEY)
        return identities and identities[4 : 4 + int.from_bytes(identities[2:4])]


def connect(client: Side, server: Side, name: str | None = HOST, *, session: Any = None) -> Wire:
    """A connection with data both ways: tickets are learnt."""
    made = Wire(client, server, name, session=session).handshake()
    made.exchange()
    return made


def client_context(certificates: Certificates, **own: Any) -> SSLContext:
    """A strict client, that trusts the authority of all tests. Keywords are SSLContext's."""
    context = SSLContext(ssl.PROTOCOL_TLS_CLIENT, **own)
    context.load_verify_locations(cadata=certificates.trust.decode())
    return context


def lax_context(**own: Any) -> SSLContext:
    """A client that verifies nothing."""
    context = SSLContext(ssl.PROTOCOL_TLS_CLIENT, **own)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def server_context(
    certificates: Certificates, version: ssl.TLSVersion | None = None, **own: Any
) -> SSLContext:
    context = SSLContext(ssl.PROTOCOL_TLS_SERVER, **own)
    context.load_cert_chain(certificates.certificate_file, certificates.key_file)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def bare_server(
    credentials: Credentials, key: TicketKey | None, version: ssl.TLSVersion, more: str = ""
) -> Session:
    """A server that resumes every ticket of `key`, whoever brings it."""
    session = Session("server", credentials, priority=PRIORITIES[version] + more)
    if key is not None:
        session.ticket_enable_server(key)
    return session
