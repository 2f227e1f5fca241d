"""gevent's pywsgi and StreamServer."""

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
    echo,
    server_case,
    serving,
)

pytestmark = server_case(
    "gevent",
    "`pywsgi`, `StreamServer`",
    "patch first; `WSGIServer(address, application, ssl_context=ctx)`",
)


@pytest.fixture(scope="module")
def server(certificates: Certificates) -> Iterator[Server]:
    with serving(certificates, "server_gevent.py", "pywsgi") as server:
        yield server


@each_version
def test_pywsgi_of_gevent_resumes(server: Server, version: str) -> None:
    assert_resumes(server, version)


@each_version
def test_pywsgi_of_gevent_resumes_with_s_client(
    server: Server, version: str, tmp_path: Path
) -> None:
    assert_s_client_resumes(server, version, tmp_path)


@each_version
def test_stream_server_of_gevent_resumes(certificates: Certificates, version: str) -> None:
    with serving(certificates, "server_gevent.py", "StreamServer") as server:
        assert_resumes(server, version, echo)


def test_slow_client_of_gevent_holds_up_nobody(certificates: Certificates) -> None:
    with (
        socket.socket() as slow,
        serving(certificates, "server_gevent.py", "pywsgi") as server,
    ):
        assert_slow_client_holds_up_nobody(server, slow)
