"""uvicorn, as in the example, and on asyncio's loop."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Certificates
from libraries.servers import (
    Server,
    assert_resumes,
    assert_s_client_resumes,
    each_version,
    server_case,
    serving,
)

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
