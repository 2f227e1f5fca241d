"""socketserver of the standard library."""

import pytest
from conftest import Certificates
from libraries.servers import assert_resumes, each_version, echo, server_case, serving

pytestmark = server_case(
    "socketserver",
    "threading and forking servers",
    "wrap in `get_request` with `do_handshake_on_connect=False`",
)


@pytest.mark.parametrize("kind", ["threading", "forking"])
@each_version
def test_socketserver_resumes(certificates: Certificates, kind: str, version: str) -> None:
    with serving(certificates, "server_socketserver.py", kind) as server:
        assert_resumes(server, version, echo)
