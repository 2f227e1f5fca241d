"""gunicorn with the example's settings: each kind of worker, four of them, one set of keys."""

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from conftest import Certificates
from interop.fleet import Case, Shared, each_case, sharing
from interop.programs import EXAMPLES, free_port
from libraries.fleets import PATIENT, assert_workers_resume_also_after_a_restart_of_all
from libraries.servers import (
    HERE,
    Server,
    assert_resumes,
    assert_s_client_resumes,
    assert_slow_client_holds_up_nobody,
    each_version,
    post,
    server_case,
    serving_by,
)
from libraries.trial import Record

pytestmark = server_case(
    "gunicorn",
    "sync, gthread, gevent, tornado and asgi workers, four of each",
    "gunicorn_config.py",
)
EXAMPLE = (EXAMPLES / "gunicorn_config.py").read_text()
PATCHED = "from gevent import monkey\n\nmonkey.patch_all()\n\n" + EXAMPLE
SHARED = (EXAMPLES / "gunicorn_shared.py").read_text()
KINDS = ["sync", "gthread", "gevent", "tornado", "asgi"]
WORKERS = 4


@contextmanager
def gunicorn(
    certificates: Certificates,
    kind: str,
    folder: Path,
    settings: str,
    *environment: str,
    count: int = WORKERS,
) -> Iterator[Server]:
    port, file = free_port(), folder / "settings.py"
    file.write_text(settings)
    command = (*environment, sys.executable, HERE / "server_gunicorn.py", "-c", file)
    files = ("--certfile", certificates.certificate_file, "--keyfile", certificates.key_file)
    workers = ("-b", f"127.0.0.1:{port}", "-w", str(count), "-k", kind, "--graceful-timeout", "1")
    threads = ("--threads", "2") if kind == "gthread" else ()
    application = "server_echo:asgi" if kind == "asgi" else "server_echo:wsgi"
    whole = (*command, *files, *workers, *threads, "--no-control-socket", application)
    with serving_by(certificates, port, *whole, ready="Listening at") as server:
        server.program.wait_for("Booting worker with pid", count)
        yield server


@pytest.fixture(scope="module", params=KINDS)
def server(
    certificates: Certificates,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    settings = PATCHED if request.param == "gevent" else EXAMPLE
    folder = tmp_path_factory.mktemp("gunicorn")
    with gunicorn(certificates, request.param, folder, settings) as server:
        yield server


@each_version
def test_example_settings_of_gunicorn_resume(server: Server, version: str) -> None:
    assert_resumes(server, version)


@each_version
def test_example_settings_of_gunicorn_resume_with_s_client(
    server: Server, version: str, tmp_path: Path
) -> None:
    assert_s_client_resumes(server, version, tmp_path)


def assert_workers_share_keys(server: Server, version: str) -> None:
    """Each connection is another worker's, because those that had one are stopped."""
    client, workers = server.client(version), []
    before = server.program.output.count("served by")
    try:
        for count in range(WORKERS):
            post(server.port, client)
            workers.append(int(server.program.wait_for(r"served by (\d+)", before + count + 1)[1]))
            os.kill(workers[-1], signal.SIGSTOP)
    finally:
        for worker in workers:
            os.kill(worker, signal.SIGCONT)
    assert len(set(workers)) == WORKERS
    assert client.outcomes == [(False, version)] + (WORKERS - 1) * [(True, version)]


@each_version
def test_ticket_of_one_worker_resumes_at_each_other(server: Server, version: str) -> None:
    assert_workers_share_keys(server, version)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    with sharing(tmp_path_factory.mktemp("shared")) as made:
        yield made


@pytest.mark.case(
    "gunicorn",
    "four workers that share sessions and keys",
    "gunicorn_shared.py",
    direction="server",
)
@each_case
def test_each_worker_resumes_what_others_began_also_after_a_restart_of_all(
    certificates: Certificates, tmp_path: Path, shared: Shared, case: Case, record: Record
) -> None:
    _, store = case
    environment = (
        f"SESSIONS={shared.sessions[store]}",
        f"TICKET_KEYS={shared.ticket_keys}",
        f"SEALING_KEY={shared.sealing_key}",
    )
    settings = SHARED.replace("store(SESSIONS)", "store(SESSIONS" + PATIENT)
    start = partial(gunicorn, certificates, "sync", tmp_path, settings, *environment)
    assert_workers_resume_also_after_a_restart_of_all(start, certificates, tmp_path, case, record)


@each_version
@pytest.mark.parametrize("kind", ["sync", "asgi"])
def test_workers_share_keys_also_if_each_makes_its_own_context(
    certificates: Certificates, tmp_path: Path, kind: str, version: str
) -> None:
    with gunicorn(certificates, kind, tmp_path, EXAMPLE + "\ndel when_ready\n") as server:
        assert_workers_share_keys(server, version)


@pytest.mark.parametrize("kind", ["gthread", "gevent", "tornado", "asgi"])
def test_slow_client_of_one_worker_holds_up_nobody(
    certificates: Certificates, tmp_path: Path, kind: str
) -> None:
    settings = PATCHED if kind == "gevent" else EXAMPLE
    with (
        socket.socket() as slow,
        gunicorn(certificates, kind, tmp_path, settings, count=1) as server,
    ):
        assert_slow_client_holds_up_nobody(server, slow)
