"""The pump for contexts: a client's and a server's object over BIOs, both outcomes returned.

Either end may also be a bare ``binding.Session``, which offers and resumes what it is told to:
GnuTLS itself compares hardly anything, so what the other end must not take is then offered.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from conftest import HOST, Certificates

from gnutls_resume import SSLContext
from gnutls_resume.binding import Credentials, MemoryTransport, Session, TicketKey
from gnutls_resume.errors import WantReadError

Change = Callable[[bytes], bytes]
Errors = tuple[BaseException | None, BaseException | None]
End = ssl.SSLContext | Session

TLS12 = ssl.TLSVersion.TLSv1_2
TLS13 = ssl.TLSVersion.TLSv1_3
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

    def write(self, data: bytes) -> None:
        self._moving(self.session.record_send, data)

    @property
    def session_reused(self) -> bool:
        return self.session.is_resumed()


@dataclass
class Wire:
    """Two ends and the bytes between them. `to_client` changes what the server has sent."""

    client: Any
    server: Any
    client_bios: tuple[ssl.MemoryBIO, ssl.MemoryBIO]
    server_bios: tuple[ssl.MemoryBIO, ssl.MemoryBIO]
    to_client: Change = unchanged
    sent: bytearray = field(default_factory=bytearray)
    """What the client has sent so far."""

    def carry(self) -> int:
        """Take all bytes across; returns how many."""
        out, back = self.client_bios[1].read(), self.server_bios[1].read()
        self.sent += out
        for bio, data in ((self.server_bios[0], out), (self.client_bios[0], self.to_client(back))):
            if not bio.eof and data:
                bio.write(data)
        return len(out) + len(back)

    def outcomes(self) -> Errors:
        """The error, or None, of the client and of the server, each let run to its end."""
        errors: dict[int, BaseException | None] = {}
        while len(errors) < 2:
            for number, end in enumerate((self.client, self.server)):
                if number in errors:
                    continue
                try:
                    end.do_handshake()
                    errors[number] = None
                except ssl.SSLWantReadError:
                    pass
                except Exception as error:
                    errors[number] = error
            if self.carry() == 0 and len(errors) < 2:
                for bio in (self.client_bios[0], self.server_bios[0]):
                    bio.write_eof()
        return errors[0], errors[1]

    def handshake(self) -> None:
        """Until both ends are done; the first error of either comes out."""
        for error in self.outcomes():
            if error is not None:
                raise error

    def exchange(self) -> None:
        """Data both ways; the client reads its TLS 1.3 tickets on the way."""
        self.client.write(b"ping")
        self.carry()
        assert self.server.read(100) == b"ping"
        self.server.write(b"pong")
        self.carry()
        assert self.client.read(100) == b"pong"

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


def wire(
    client: End,
    server: End,
    name: str | None = HOST,
    *,
    session: Any = None,
    to_client: Change = unchanged,
) -> Wire:
    """Both ends, ready for the handshake; `session` is offered by hand."""
    ours = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = (
        Bare(client, *ours)
        if isinstance(client, Session)
        else client.wrap_bio(*ours, server_hostname=name, session=session)
    )
    far = (
        Bare(server, *theirs)
        if isinstance(server, Session)
        else server.wrap_bio(*theirs, server_side=True)
    )
    return Wire(near, far, ours, theirs, to_client)


def connect(client: End, server: End, name: str | None = HOST, *, session: Any = None) -> Wire:
    """A connection with data both ways: tickets are learnt."""
    made = wire(client, server, name, session=session)
    made.handshake()
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
