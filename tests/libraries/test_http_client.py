import http.client

from conftest import HOST
from libraries.peers import DATA, Server
from libraries.trial import Trial, case


@case("http.client", "`HTTPSConnection`", "`context=ctx`")
def test_http_client(trial: Trial, http: Server) -> None:
    trial.check(lambda: post(trial, http), http.reused)


def post(trial: Trial, server: Server) -> None:
    connection = http.client.HTTPSConnection(HOST, server.port, context=trial.context, timeout=10)
    connection.request("POST", "/", DATA)
    assert connection.getresponse().read() == DATA
    connection.close()
