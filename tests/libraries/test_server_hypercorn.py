"""hypercorn, as in the example: on asyncio and on trio, HTTP/1.1 and HTTP/2."""

from collections.abc import Iterator
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest
from conftest import HOST, Certificates
from libraries.servers import (
    BODY,
    Client,
    Server,
    assert_resumes,
    assert_s_client_resumes,
    connected,
    each_version,
    server_case,
    serving,
)

pytestmark = server_case("hypercorn", "asyncio and trio workers, HTTP/2 too", "hypercorn_server.py")


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def server(certificates: Certificates, request: pytest.FixtureRequest) -> Iterator[Server]:
    arguments = ("server_echo:asgi", request.param)
    ready = "Running on https"
    with serving(certificates, "hypercorn_server.py", *arguments, ready=ready) as server:
        yield server


@each_version
def test_example_hypercorn_server_resumes(server: Server, version: str) -> None:
    assert_resumes(server, version)


@each_version
def test_example_hypercorn_server_resumes_with_s_client(
    server: Server, version: str, tmp_path: Path
) -> None:
    assert_s_client_resumes(server, version, tmp_path)


def post_http2(port: int, client: Client) -> None:
    """As `post`, over HTTP/2, chosen by ALPN; the body fits into the first flow window."""
    client.set_alpn_protocols(["h2"])
    body = BODY[:60_000]
    head = [(":method", "POST"), (":scheme", "https"), (":authority", HOST), (":path", "/")]
    connection = h2.connection.H2Connection(h2.config.H2Configuration())
    received = b""
    with connected(port, client) as sock:
        assert sock.selected_alpn_protocol() == "h2"
        connection.initiate_connection()
        connection.send_headers(1, head)
        for start in range(0, len(body), 10_000):
            connection.send_data(1, body[start : start + 10_000])
        connection.end_stream(1)
        sock.sendall(connection.data_to_send())
        ended = False
        while not ended:
            for event in connection.receive_data(sock.recv(65_536)):
                if isinstance(event, h2.events.DataReceived):
                    received += event.data
                ended |= isinstance(event, h2.events.StreamEnded)
        connection.close_connection()
        sock.sendall(connection.data_to_send())
    assert received == body


@each_version
def test_example_hypercorn_server_resumes_with_http2(server: Server, version: str) -> None:
    assert_resumes(server, version, post_http2)
