"""http.server of the standard library."""

import http.client
import http.server
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import HOST, Certificates
from interop.programs import SECONDS
from libraries.servers import (
    BODY,
    Client,
    Server,
    assert_resumes,
    assert_s_client_resumes,
    assert_slow_client_holds_up_nobody,
    each_version,
    server_case,
    serving,
)

pytestmark = server_case(
    "http.server", "`ThreadingHTTPServer`", "wrap in `finish_request`, http_server.py"
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    (folder / "page").write_bytes(BODY)
    return folder


@pytest.fixture(scope="module")
def server(certificates: Certificates, pages: Path) -> Iterator[Server]:
    with serving(certificates, "http_server.py", pages, ready="^serving") as server:
        yield server


def get(port: int, client: Client) -> None:
    connection = http.client.HTTPSConnection(HOST, port, context=client, timeout=SECONDS)
    try:
        connection.request("GET", "/page")
        assert connection.getresponse().read() == BODY
    finally:
        connection.close()


@each_version
def test_example_http_server_resumes(server: Server, version: str) -> None:
    assert_resumes(server, version, get)


@each_version
def test_example_http_server_resumes_with_s_client(
    server: Server, version: str, tmp_path: Path
) -> None:
    assert_s_client_resumes(server, version, tmp_path)


def test_slow_client_of_the_example_holds_up_nobody(
    certificates: Certificates, pages: Path
) -> None:
    with (
        socket.socket() as slow,
        serving(certificates, "http_server.py", pages, ready="^serving") as server,
    ):
        assert_slow_client_holds_up_nobody(server, slow, get)


@each_version
def test_http_server_with_a_wrapped_listener_resumes(
    certificates: Certificates, version: str
) -> None:
    with serving(certificates, "server_http_server.py", "listener") as server:
        assert_resumes(server, version)


@pytest.mark.skipif(
    not hasattr(http.server, "HTTPSServer"), reason="http.server has no HTTPSServer before 3.14"
)
@each_version
def test_https_server_resumes(certificates: Certificates, version: str) -> None:
    with serving(certificates, "server_http_server.py", "HTTPSServer") as server:
        assert_resumes(server, version)
