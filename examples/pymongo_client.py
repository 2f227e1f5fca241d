"""PyMongo: python pymongo_client.py mongodb://mongo.example.org:27017/ [trust.pem]

PyMongo makes its context out of its options, and has no option for a context. Until its first
operation it has made no connection, so the context can still be exchanged.
"""

import ssl
import sys
from typing import Any

import pymongo

import gnutls_resume


def use(context: ssl.SSLContext, client: Any) -> Any:
    """For a client that was made with `tls=True, connect=False`."""
    client.options.pool_options._PoolOptions__ssl_context = context  # noqa: SLF001
    return client


if __name__ == "__main__":
    uri, *trust = sys.argv[1:]
    context = gnutls_resume.create_default_context(
        cafile=next(iter(trust), None), on_handshake=print
    )
    for _ in range(2):
        with use(context, pymongo.MongoClient(uri, tls=True, connect=False)) as client:
            print(client.admin.command("ping"))
