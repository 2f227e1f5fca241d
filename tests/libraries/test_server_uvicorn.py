"""uvicorn, as in the examples, and on asyncio's loop."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from conftest import Certificates
from interop.fleet import WORKERS, Case, Shared, each_case, sharing
from interop.programs import EXAMPLES, free_port
from libraries.fleets import PATIENT, assert_workers_resume_also_after_a_restart_of_all
from libraries.servers import (
    Server,
    assert_resumes,
    assert_s_client_resumes,
    each_version,
    server_case,
    serving,
    serving_by,
)
from libraries.trial import Record

pytestmark = server_case("uvicorn", "one process", "`ssl_context_factory`, uvicorn_server.py")
READY = "Uvicorn running on https"


@pytest.fixture(scope="module")
def server(certificates: Certificates) -> Iterator[Server]:
    with serving(certificates, "uvicorn_server.py", "server_echo:asgi", ready=READY) as server:
        yield server


@each_version
def test_example_uvicorn_server_resumes(server: Server, version: str) -> None:
    assert_resumes(server, version)


@each_version
def test_example_uvicorn_server_resumes_with_s_client(
    server: Server, version: str, tmp_path: Path
) -> None:
    assert_s_client_resumes(server, version, tmp_path)


@each_version
def test_uvicorn_on_asyncio_s_loop_resumes(certificates: Certificates, version: str) -> None:
    with serving(certificates, "server_uvicorn.py", "asyncio", ready=READY) as server:
        assert_resumes(server, version)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    with sharing(tmp_path_factory.mktemp("shared")) as made:
        yield made


@contextmanager
def workers(
    certificates: Certificates, folder: Path, shared: Shared, store: str
) -> Iterator[Server]:
    port, script = free_port(), folder / "uvicorn_shared.py"
    text = (EXAMPLES / "uvicorn_shared.py").read_text()
    script.write_text(text.replace("store(sessions)", "store(sessions" + PATIENT))
    files = (certificates.certificate_file, certificates.key_file)
    given = (shared.ticket_keys, shared.sessions[store], shared.sealing_key)
    command = (sys.executable, script, *files, str(port), "server_echo:asgi", *given)
    with serving_by(certificates, port, *command, ready=READY) as server:
        server.program.wait_for("Application startup complete", WORKERS)
        yield server


@pytest.mark.case(
    "uvicorn", "four workers that share sessions and keys", "uvicorn_shared.py", direction="server"
)
@each_case
def test_each_worker_resumes_what_others_began_also_after_a_restart_of_all(
    certificates: Certificates, tmp_path: Path, shared: Shared, case: Case, record: Record
) -> None:
    _, store = case
    start = partial(workers, certificates, tmp_path, shared, store)
    assert_workers_resume_also_after_a_restart_of_all(start, certificates, tmp_path, case, record)
