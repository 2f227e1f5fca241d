"""trio.serve_ssl_over_tcp."""

from collections.abc import Iterator

import pytest
from conftest import Certificates
from libraries.servers import Server, assert_resumes, each_version, echo, server_case, serving

pytestmark = server_case("trio", "`serve_ssl_over_tcp`", "`serve_ssl_over_tcp(handler, port, ctx)`")


@pytest.fixture(scope="module")
def server(certificates: Certificates) -> Iterator[Server]:
    with serving(certificates, "server_trio.py") as server:
        yield server


@each_version
def test_trio_server_resumes(server: Server, version: str) -> None:
    assert_resumes(server, version, echo)
