import urllib.request

from libraries.peers import DATA, Server
from libraries.trial import Trial, case


@case("urllib.request", "`urlopen`", "`context=ctx`")
def test_urllib_request(trial: Trial, http: Server) -> None:
    def post() -> None:
        with urllib.request.urlopen(  # noqa: S310
            http.url, DATA, 10, context=trial.context
        ) as response:
            assert response.read() == DATA

    trial.check(post, http.reused)
