"""aiohttp's server, as in the example."""

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

pytestmark = server_case(
    "aiohttp", "`web`", "`web.run_app(application, ssl_context=ctx)`, aiohttp_server.py"
)


@pytest.fixture(scope="module")
def server(certificates: Certificates) -> Iterator[Server]:
    with serving(certificates, "aiohttp_server.py", ready="Running on https") as server:
        yield server


@each_version
def test_example_aiohttp_server_resumes(server: Server, version: str) -> None:
    assert_resumes(server, version)


@each_version
def test_example_aiohttp_server_resumes_with_s_client(
    server: Server, version: str, tmp_path: Path
) -> None:
    assert_s_client_resumes(server, version, tmp_path)
