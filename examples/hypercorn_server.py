"""Serve an ASGI application with hypercorn, HTTP/2 included; clients resume their TLS sessions.

One process: hypercorn's workers are spawned, each with ticket keys of its own.

    python hypercorn_server.py certificate.pem key.pem 8443 module:application [asyncio|trio]
"""

import ssl
import sys

from hypercorn.config import Config
from hypercorn.run import run

from gnutls_resume import create_default_context


class ResumingConfig(Config):
    def create_ssl_context(self) -> ssl.SSLContext:
        assert self.certfile
        context = create_default_context(ssl.Purpose.CLIENT_AUTH, on_handshake=print)
        context.set_alpn_protocols(self.alpn_protocols)
        context.load_cert_chain(self.certfile, self.keyfile)
        return context


def main(
    certificate: str, key: str, port: str, application: str, worker_class: str = "asyncio"
) -> None:
    config = ResumingConfig()
    config.application_path = application
    config.bind = f"127.0.0.1:{port}"
    config.certfile, config.keyfile = certificate, key
    config.worker_class, config.workers = worker_class, 0
    run(config)


if __name__ == "__main__":
    main(*sys.argv[1:])
