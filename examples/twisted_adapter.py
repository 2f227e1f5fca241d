"""Twisted: python twisted_adapter.py https://example.org/ [trust.pem]

Twisted takes TLS from pyOpenSSL only. This adapter stands where a pyOpenSSL connection stood, for
clients and servers: `wrapClientTLS(Resuming(context, host), endpoint)`,
`reactor.listenSSL(port, factory, Resuming(context))`, `Agent(reactor, ResumingPolicy(context))`.
"""

import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from OpenSSL import SSL, crypto
from twisted.internet import task
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
)
from twisted.web.client import Agent, readBody
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

import gnutls_resume


@contextmanager
def errors_of_pyopenssl() -> Iterator[None]:
    try:
        yield
    except ssl.SSLWantReadError:
        raise SSL.WantReadError from None
    except ssl.SSLZeroReturnError:
        raise SSL.ZeroReturnError from None
    except ssl.SSLEOFError as error:
        raise SSL.SysCallError(-1, "Unexpected EOF") from error
    except ssl.SSLError as error:
        raise SSL.Error([("SSL", "", str(error))]) from error


class Connection:
    """The methods of OpenSSL.SSL.Connection that Twisted calls."""

    def __init__(self, context: ssl.SSLContext, host: str | None, *, server_side: bool) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side, host)

    def set_connect_state(self) -> None:
        pass

    def set_accept_state(self) -> None:
        pass

    def set_app_data(self, data: object) -> None:
        self.app_data = data

    def get_app_data(self) -> object:
        return self.app_data

    def do_handshake(self) -> None:
        with errors_of_pyopenssl():
            self.tls.do_handshake()

    def send(self, data: bytes) -> int:
        with errors_of_pyopenssl():
            return self.tls.write(data)

    def recv(self, size: int) -> bytes:
        with errors_of_pyopenssl():
            if data := self.tls.read(size):
                return data
        raise SSL.ZeroReturnError

    def bio_write(self, data: bytes) -> int:
        return self.incoming.write(data)

    def bio_read(self, size: int) -> bytes:
        if not self.outgoing.pending:
            raise SSL.WantReadError
        return self.outgoing.read(size)

    def bio_shutdown(self) -> None:
        self.incoming.write_eof()

    def shutdown(self) -> bool:
        try:
            with errors_of_pyopenssl():
                self.tls.unwrap()
        except SSL.WantReadError:
            return False
        return True

    def get_peer_certificate(self) -> crypto.X509 | None:
        der = self.tls.getpeercert(binary_form=True)
        return crypto.load_certificate(crypto.FILETYPE_ASN1, der) if der else None

    def get_alpn_proto_negotiated(self) -> bytes:
        return (self.tls.selected_alpn_protocol() or "").encode()


@implementer(IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator)
class Resuming:
    """Makes connections to `host`, or, without one, those of a server."""

    def __init__(self, context: ssl.SSLContext, host: str | None = None) -> None:
        self.context = context
        self.host = host

    def clientConnectionForTLS(self, _: object) -> Connection:  # noqa: N802
        return Connection(self.context, self.host, server_side=False)

    def serverConnectionForTLS(self, _: object) -> Connection:  # noqa: N802
        return Connection(self.context, None, server_side=True)


@implementer(IPolicyForHTTPS)
class ResumingPolicy:
    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context

    def creatorForNetloc(self, hostname: bytes, _: int) -> Resuming:  # noqa: N802
        return Resuming(self.context, hostname.decode("ascii"))


async def main(reactor: Any, url: str, trust: str | None = None) -> None:
    context = gnutls_resume.create_default_context(cafile=trust, on_handshake=print)
    for _ in range(2):
        response = await Agent(reactor, ResumingPolicy(context)).request(b"GET", url.encode())
        print(len(await readBody(response)), "bytes")


if __name__ == "__main__":
    task.react(lambda *arguments: task.ensureDeferred(main(*arguments)), sys.argv[1:])
