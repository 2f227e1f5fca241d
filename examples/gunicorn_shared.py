"""gunicorn's settings for TLS sessions that resume at any worker, also after a restart of all.

Tickets are sealed under the keys of a file, and TLS 1.2 clients that take none find their sessions
in a database. Start gunicorn as the user that its workers have: both are for their owner only.
gunicorn_config.py says more about gunicorn itself.

    python -m gnutls_resume keys new ticket.keys
    gunicorn -c gunicorn_shared.py --certfile certificate.pem --keyfile key.pem module:application

Servers on several machines are given the same ticket keys, and share sessions in Redis:

    export SESSIONS=redis://192.0.2.1:6379/0 SEALING_KEY=file-of-32-random-bytes
"""

import functools
import os
import ssl
from collections.abc import Callable
from typing import Any

import gnutls_resume

TICKET_KEYS = os.environ.get("TICKET_KEYS", "ticket.keys")
SESSIONS = os.environ.get("SESSIONS", "sessions.db")
SEALING_KEY = os.environ.get("SEALING_KEY")


@functools.cache
def make_context(certificate: str, key: str) -> ssl.SSLContext:
    store = gnutls_resume.RedisStore if "://" in SESSIONS else gnutls_resume.SQLiteStore
    context = gnutls_resume.create_default_context(
        ssl.Purpose.CLIENT_AUTH,
        ticket_keys=gnutls_resume.TicketKeyRing.from_file(TICKET_KEYS),
        sessions=store(SESSIONS),
        sealing_key=gnutls_resume.SealingKey.from_file(SEALING_KEY) if SEALING_KEY else None,
        on_handshake=print,
    )
    context.load_cert_chain(certificate, key)
    return context


def ssl_context(config: Any, _: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    return make_context(config.certfile, config.keyfile)


def when_ready(server: Any) -> None:
    make_context(server.cfg.certfile, server.cfg.keyfile)
