"""The server of websockets, on asyncio and with threads, and its own client over ssl."""

from collections.abc import Iterator

import pytest
from conftest import HOST, Certificates
from interop.programs import SECONDS
from libraries.servers import (
    BODY,
    Client,
    Server,
    assert_resumes,
    each_version,
    server_case,
    serving,
)
from websockets.sync.client import connect

pytestmark = server_case("websockets", "asyncio and threading servers", "`serve(handler, ssl=ctx)`")


@pytest.fixture(scope="module", params=["asyncio", "threads"])
def server(certificates: Certificates, request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving(certificates, "server_websockets.py", request.param) as server:
        yield server


def message(port: int, client: Client) -> None:
    options = {"ssl": client, "open_timeout": SECONDS, "compression": None}
    with connect(f"wss://{HOST}:{port}", **options) as connection:
        connection.send(BODY)
        assert connection.recv(timeout=SECONDS) == BODY
        connection.socket.leave()


@each_version
def test_websockets_server_resumes(server: Server, version: str) -> None:
    assert_resumes(server, version, message)
