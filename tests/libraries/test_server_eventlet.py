"""eventlet"s wsgi server."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Certificates
from libraries.servers import (
    Server,
    assert_resumes,
    assert_s_client_resumes,
    assert_slow_client_holds_up_nobody,
    each_version,
    server_case,
    serving,
)

RECIPE = "patch first; wrap the listener with `do_handshake_on_connect=False`"
pytestmark = server_case("eventlet", "`wsgi.server`", RECIPE)


@pytest.fixture(scope="module")
def server(certificates: Certificates) -> Iterator[Server]:
    with serving(certificates, "server_eventlet.py") as server:
        yield server


@each_version
def test_eventlet_server_resumes(server: Server, version: str) -> None:
    assert_resumes(server, version)


@each_version
def test_eventlet_server_resumes_with_s_client(
    server: Server, version: str, tmp_path: Path
) -> None:
    assert_s_client_resumes(server, version, tmp_path)


def test_slow_client_of_eventlet_holds_up_nobody(certificates: Certificates) -> None:
    with socket.socket() as slow, serving(certificates, "server_eventlet.py") as server:
        assert_slow_client_holds_up_nobody(server, slow)
