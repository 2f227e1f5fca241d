"""Serve an ASGI application with uvicorn; clients resume their TLS sessions.

One process: uvicorn's workers are spawned, each with ticket keys of its own. uvicorn_shared.py
lets them share.

    python uvicorn_server.py certificate.pem key.pem 8443 module:application
"""

import ssl
import sys
from collections.abc import Callable

import uvicorn

from gnutls_resume import create_default_context


def make_context(config: uvicorn.Config, _: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    context = create_default_context(ssl.Purpose.CLIENT_AUTH, on_handshake=print)
    assert config.ssl_certfile
    context.load_cert_chain(config.ssl_certfile, config.ssl_keyfile)
    return context


def main(certificate: str, key: str, port: str, application: str) -> None:
    uvicorn.run(
        application,
        port=int(port),
        app_dir=".",
        ssl_certfile=certificate,
        ssl_keyfile=key,
        ssl_context_factory=make_context,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
