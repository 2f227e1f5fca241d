"""Two programs of test_groups.py: a group of servers, and all clients.

python groups.py serve ADDRESS REDIS SEALING-KEY CERTIFICATE KEY
python groups.py visit SECONDS FILE TRUST ADDRESS ADDRESS
"""

import itertools
import json
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import server  # the example's
from conftest import HOST
from interop.programs import REQUEST, SECONDS, WAYS

import gnutls_resume

PERIOD = 10  # seconds of a ticket key, and of a ticket's life
WORKERS = 2  # of a group
PORT = 8443
EACH = 2  # clients that resume in one way
PAUSE = 0.05  # seconds from one connection of a client to its next


class Visit(NamedTuple):
    """A connection: whose, when (Unix seconds), and what the server said of it or what failed."""

    way: str
    number: int
    began: float
    ended: float
    said: str


def serve(address: str, redis: str, sealing_key: str, certificate: str, key: str) -> None:
    store = gnutls_resume.RedisStore(redis)
    sealing = gnutls_resume.SealingKey(Path(sealing_key).read_bytes())
    ring = gnutls_resume.TicketKeyRing.from_store(
        store, sealing_key=sealing, period=PERIOD, ticket_lifetime=PERIOD
    )
    context = gnutls_resume.create_default_context(
        ssl.Purpose.CLIENT_AUTH, sessions=store, sealing_key=sealing, ticket_keys=ring
    )
    context.load_cert_chain(certificate, key)
    server.run((address, PORT), context, WORKERS)


def visit(seconds: str, file: str, trust: str, *addresses: str) -> None:
    until = time.time() + float(seconds)

    def come_back_to_the_end(client: tuple[str, int]) -> list[Visit]:
        return list(come_back(*client, trust, addresses, until))

    clients = [(way, number) for way in WAYS for number in range(EACH)]
    with ThreadPoolExecutor(len(clients)) as pool:
        visits = [visit for those in pool.map(come_back_to_the_end, clients) for visit in those]
    Path(file).write_text(json.dumps(visits))


def come_back(
    way: str, number: int, trust: str, addresses: tuple[str, ...], until: float
) -> Iterator[Visit]:
    """One client: each connection is to another group than the one before."""
    store = gnutls_resume.MemoryStore()
    context = gnutls_resume.create_default_context(cafile=trust, sessions=store)
    WAYS[way].restrict(context)
    due = time.time()
    for address in itertools.cycle(addresses):
        began = time.time()
        if began >= until:
            return
        try:
            said = ask(context, address)
        except Exception as error:
            said = f"failed: {type(error).__name__}: {error}"
        yield Visit(way, number, began, time.time(), said)
        due = max(due + PAUSE, began)  # one that took longer is not made up for
        time.sleep(max(0, due - time.time()))


def ask(context: ssl.SSLContext, address: str) -> str:
    """How the server says that the connection came about; it must be what the client says."""
    with (
        socket.create_connection((address, PORT), timeout=SECONDS) as sock,
        context.wrap_socket(sock, server_hostname=HOST) as tls,
    ):
        tls.sendall(REQUEST.encode())
        page = b"".join(iter(partial(tls.recv, 16384), b"")).decode()
        said = page.split("\r\n\r\n")[1].strip()
        assert said.startswith("resumed by") is tls.session_reused, said
        return said


if __name__ == "__main__":
    {"serve": serve, "visit": visit}[sys.argv[1]](*sys.argv[2:])
