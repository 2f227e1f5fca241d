"""wsgiref of the standard library."""

from conftest import Certificates
from libraries.servers import assert_resumes, each_version, server_case, serving

pytestmark = server_case(
    "wsgiref", "`make_server`", "wrap in `get_request` with `do_handshake_on_connect=False`"
)


@each_version
def test_wsgiref_resumes(certificates: Certificates, version: str) -> None:
    with serving(certificates, "server_wsgiref.py") as server:
        assert_resumes(server, version)
