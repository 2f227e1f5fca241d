import pytest
from libraries.patched import check_in_child
from libraries.peers import Server
from libraries.trial import Trial, case

PATCH = "import eventlet; eventlet.monkey_patch()"


@pytest.mark.parametrize("client", ["http_client", "requests_session"])
@case("eventlet", "patched http.client, requests", "patch first, then import `gnutls_resume`")
def test_eventlet(trial: Trial, http: Server, client: str) -> None:
    check_in_child(trial, http, PATCH, client)
