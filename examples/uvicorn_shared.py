"""Serve an ASGI application with four of uvicorn's workers; clients resume at any of them, also
after a restart of all.

uvicorn's workers are spawned, and inherit nothing: they share the ticket keys of a file, and a
database with the sessions of TLS 1.2 clients that take no tickets. Both are for their owner only.

    python -m gnutls_resume keys new ticket.keys
    python uvicorn_shared.py certificate.pem key.pem 8443 module:application ticket.keys sessions.db

Servers on several machines are given the same ticket keys, and share sessions in Redis: give its
URL in place of sessions.db, and after it a file of 32 random bytes to seal them with.
"""

import ssl
import sys
from collections.abc import Callable, Sequence
from functools import partial

import uvicorn

import gnutls_resume


def make_context(
    shared: Sequence[str], config: uvicorn.Config, _: Callable[[], ssl.SSLContext]
) -> ssl.SSLContext:
    ticket_keys, sessions, *sealing_key = shared
    store = gnutls_resume.RedisStore if "://" in sessions else gnutls_resume.SQLiteStore
    context = gnutls_resume.create_default_context(
        ssl.Purpose.CLIENT_AUTH,
        ticket_keys=gnutls_resume.TicketKeyRing.from_file(ticket_keys),
        sessions=store(sessions),
        sealing_key=gnutls_resume.SealingKey.from_file(*sealing_key) if sealing_key else None,
        on_handshake=print,
    )
    assert config.ssl_certfile
    context.load_cert_chain(config.ssl_certfile, config.ssl_keyfile)
    return context


def main(certificate: str, key: str, port: str, application: str, *shared: str) -> None:
    uvicorn.run(
        application,
        port=int(port),
        workers=4,
        app_dir=".",
        ssl_certfile=certificate,
        ssl_keyfile=key,
        ssl_context_factory=partial(make_context, shared),  # not a lambda, which has no name
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
