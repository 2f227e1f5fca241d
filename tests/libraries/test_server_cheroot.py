"""cheroot, CherryPy"s server."""

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
    "cheroot", "`wsgi.Server`", "`BuiltinSSLAdapter(certificate, key).context = ctx`"
)


@pytest.fixture(scope="module")
def server(certificates: Certificates) -> Iterator[Server]:
    with serving(certificates, "server_cheroot.py") as server:
        yield server


@each_version
def test_cheroot_server_resumes(server: Server, version: str) -> None:
    assert_resumes(server, version)


@each_version
def test_cheroot_server_resumes_with_s_client(server: Server, version: str, tmp_path: Path) -> None:
    assert_s_client_resumes(server, version, tmp_path)
