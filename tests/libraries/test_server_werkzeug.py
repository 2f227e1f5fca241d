"""werkzeug"s development server, and Flask on it."""

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
    "werkzeug", "`run_simple`, and Flask's `run`", "`run_simple(…, ssl_context=ctx)`"
)


@pytest.fixture(scope="module", params=["werkzeug", "flask"])
def server(certificates: Certificates, request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving(
        certificates, "server_werkzeug.py", request.param, ready="Running on https"
    ) as server:
        yield server


@each_version
def test_werkzeug_server_resumes(server: Server, version: str) -> None:
    assert_resumes(server, version)


@each_version
def test_werkzeug_server_resumes_with_s_client(
    server: Server, version: str, tmp_path: Path
) -> None:
    assert_s_client_resumes(server, version, tmp_path)
