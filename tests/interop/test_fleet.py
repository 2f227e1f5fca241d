"""The workers of a server share ticket keys and sessions: each resumes what any other began."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Certificates
from interop.fleet import (
    CLIENTS,
    TIMES,
    WORKERS,
    Case,
    Shared,
    assert_workers_resume,
    each_case,
    sharing,
)
from interop.programs import our_server


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    with sharing(tmp_path_factory.mktemp("shared")) as made:
        yield made


@each_case
def test_each_worker_resumes_what_others_began_also_after_a_restart_of_all(
    certificates: Certificates, tmp_path: Path, shared: Shared, case: Case
) -> None:
    way, store = case
    clients = [make(certificates, way, tmp_path) for make in CLIENTS]
    options = (
        *("--workers", str(WORKERS), "--sessions", shared.sessions[store]),
        *("--ticket-keys", shared.ticket_keys, "--sealing-key", shared.sealing_key),
        # A busy machine may not give a process its turn for more than the default 0.05 seconds.
        "--store-timeout=5",
    )
    for before in (False, True):
        with our_server(certificates, *options) as (server, port):
            assert_workers_resume(clients, server, int(port), before=before)
            server.wait_for(f"^worker .*: {way.resumed}$", TIMES * len(clients))
