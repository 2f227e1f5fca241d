"""The workers of a server share ticket keys and sessions: each resumes what any other began."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Certificates
from interop.fleet import CLIENTS, TIMES, WORKERS, come_back
from interop.programs import WAYS, Way, our_server
from redis_server import redis_server

from gnutls_resume import TicketKeyRecord
from gnutls_resume.resumption.ticket_key_sources import write_key_file

Options = tuple[str | Path, ...]
CASES = {
    "tls12-by-ticket": (WAYS["tls12-by-ticket"], "sqlite"),
    "tls13-by-ticket": (WAYS["tls13-by-ticket"], "sqlite"),
    "tls12-by-id-sqlite": (WAYS["tls12-by-id"], "sqlite"),
    "tls12-by-id-redis": (WAYS["tls12-by-id"], "redis"),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Options]]:
    """What the server is given to share, by where the sessions are."""
    folder = tmp_path_factory.mktemp("shared")
    keys, sealing = folder / "ticket.keys", folder / "sealing.key"
    write_key_file(keys, TicketKeyRecord.generate(), replace=False)
    sealing.write_text(secrets.token_hex(32))
    # A busy machine may not give a process its turn for more than the default 0.05 seconds.
    options = ("--ticket-keys", keys, "--sealing-key", sealing, "--store-timeout=5", "--sessions")
    with redis_server(folder) as redis:
        yield {"sqlite": (*options, folder / "sessions.db"), "redis": (*options, redis.url)}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_each_worker_resumes_what_others_began_also_after_a_restart_of_all(
    certificates: Certificates,
    tmp_path: Path,
    shared: dict[str, Options],
    case: tuple[Way, str],
) -> None:
    way, store = case
    clients = [make(certificates, way, tmp_path) for make in CLIENTS]
    options = ("--workers", str(WORKERS), *shared[store])
    for full in (1, 0):
        with our_server(certificates, *options) as (server, port):
            for client in clients:
                resumed, workers = come_back(client, server, int(port), full + TIMES)
                assert resumed == full * [False] + TIMES * [True], server.output
                assert len(workers) == WORKERS
            server.wait_for(f"^worker .*: {way.resumed}$", TIMES * len(clients))
