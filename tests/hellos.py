"""ClientHellos in their parts (RFC 8446 §4.1.2), taken from clients of ours, to be changed."""

from dataclasses import dataclass, field, replace

import pytest
from pair import TLS12, Setting

from gnutls_resume.binding import MemoryTransport
from gnutls_resume.errors import WantReadError

SERVER_NAME, SESSION_TICKET, PRE_SHARED_KEY = 0, 35, 41
RECORD, MESSAGE = 5, 4  # bytes; headers


def vector(data: bytes, width: int = 2) -> bytes:
    return len(data).to_bytes(width) + data


def framed(message: bytes) -> bytes:
    """The body of a ClientHello in as many records as it needs."""
    message = b"\1" + vector(message, 3)
    pieces = [message[i : i + 16384] for i in range(0, len(message), 16384)]
    return b"".join(b"\x16\3\1" + vector(piece) for piece in pieces)


def names(*entries: tuple[int, bytes]) -> bytes:
    """A server_name extension (RFC 6066 §3)."""
    return vector(b"".join(bytes([kind]) + vector(name) for kind, name in entries))


def psk(identity: bytes, *more: bytes, binder: bytes = bytes(32)) -> bytes:
    """A pre_shared_key extension (RFC 8446 §4.2.11)."""
    identities = [vector(each) + bytes(4) for each in (identity, *more)]
    return vector(b"".join(identities)) + vector(vector(binder, 1) * len(identities))


@dataclass
class Hello:
    """A ClientHello in its parts."""

    start: bytes  # version and random
    session_id: bytes
    suites: bytes
    compression: bytes
    extensions: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def parse(cls, body: bytes) -> "Hello":
        at = 34

        def cut(width: int) -> bytes:
            nonlocal at
            size = int.from_bytes(body[at : at + width])
            at += width + size
            return body[at - size : at]

        hello = cls(body[:34], cut(1), cut(2), cut(1))
        end = at + 2 + int.from_bytes(body[at : at + 2])
        at += 2
        assert end == len(body)
        while at < end:
            kind = int.from_bytes(body[at : at + 2])
            at += 2
            hello.extensions[kind] = cut(2)
        return hello

    def with_extension(self, kind: int, data: bytes | None) -> "Hello":
        """Put an extension last, where a pre_shared_key must be; or take it away."""
        others = {key: value for key, value in self.extensions.items() if key != kind}
        return replace(self, extensions=others if data is None else {**others, kind: data})

    @property
    def body(self) -> bytes:
        extensions = (key.to_bytes(2) + vector(data) for key, data in self.extensions.items())
        return (
            self.start
            + vector(self.session_id, 1)
            + vector(self.suites)
            + vector(self.compression, 1)
            + vector(b"".join(extensions))
        )


def first_flight(setting: Setting, data: bytes | None = None) -> bytes:
    """The body of the ClientHello that a client of ours sends."""
    with setting.pair(data) as pair:
        with pytest.raises(WantReadError):
            pair.client.handshake()
        assert isinstance(pair.client.transport, MemoryTransport)
        record = pair.client.transport.drain()
        assert len(record) == RECORD + int.from_bytes(record[3:RECORD])
        return record[RECORD + MESSAGE :]


def offering(hello: Hello, priority: str, ticket: bytes) -> bytes:
    """The hello, with a ticket of its version."""
    if priority == TLS12:
        return hello.with_extension(SESSION_TICKET, ticket).body
    return hello.with_extension(PRE_SHARED_KEY, psk(ticket)).body
