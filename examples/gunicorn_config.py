"""gunicorn's settings for TLS sessions that resume, whichever worker a client comes back to.

gunicorn asks for a context at each connection, so it is remembered. It is made before the workers
are forked: they share its ticket keys, and a wrong file is noticed at the start.

With gevent's workers begin this file with `from gevent import monkey; monkey.patch_all()`: it must
come before the import of gnutls_resume, and gunicorn itself does it too late.

    gunicorn -c gunicorn_config.py --certfile certificate.pem --keyfile key.pem module:application
"""

import functools
import ssl
from collections.abc import Callable
from typing import Any

from gnutls_resume import create_default_context


@functools.cache
def make_context(certificate: str, key: str) -> ssl.SSLContext:
    context = create_default_context(ssl.Purpose.CLIENT_AUTH, on_handshake=print)
    context.load_cert_chain(certificate, key)
    return context


def ssl_context(config: Any, _: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    return make_context(config.certfile, config.keyfile)


def when_ready(server: Any) -> None:
    make_context(server.cfg.certfile, server.cfg.keyfile)
