"""anyio"s TLSListener, on asyncio and on trio."""

from collections.abc import Iterator

import pytest
from conftest import Certificates
from libraries.servers import Server, assert_resumes, each_version, echo, server_case, serving

pytestmark = server_case(
    "anyio", "`TLSListener`, on asyncio and trio", "`TLSListener(listener, ctx)`"
)


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def server(certificates: Certificates, request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving(certificates, "server_anyio.py", request.param) as server:
        yield server


@each_version
def test_anyio_server_resumes(server: Server, version: str) -> None:
    assert_resumes(server, version, echo)
