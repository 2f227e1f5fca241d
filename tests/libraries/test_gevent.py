import pytest
from libraries.patched import check_in_child
from libraries.peers import Server
from libraries.trial import Trial, case

PATCH = "from gevent import monkey; monkey.patch_all()"


@pytest.mark.parametrize("client", ["http_client", "requests_session"])
@case("gevent", "patched http.client, requests", "patch first, then import `gnutls_resume`")
def test_gevent(trial: Trial, http: Server, client: str) -> None:
    check_in_child(trial, http, PATCH, client)
