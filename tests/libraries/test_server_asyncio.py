"""asyncio's streams as a server, with TLS from the start and after STARTTLS."""

import functools

from conftest import Certificates
from libraries.servers import assert_resumes, each_version, echo, server_case, serving

pytestmark = server_case(
    "asyncio", "streams, `start_tls` too", "`start_server(…, ssl=ctx)`, `writer.start_tls(ctx)`"
)


@each_version
def test_start_server_of_asyncio_resumes(certificates: Certificates, version: str) -> None:
    with serving(certificates, "server_asyncio.py", "asyncio", "start_server") as server:
        assert_resumes(server, version, echo)


@each_version
def test_start_tls_of_an_asyncio_server_resumes(certificates: Certificates, version: str) -> None:
    with serving(certificates, "server_asyncio.py", "asyncio", "start_tls") as server:
        assert_resumes(server, version, functools.partial(echo, before=b"STARTTLS\n"))
