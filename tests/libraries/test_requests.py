import requests
from libraries.peers import DATA, Server
from libraries.trial import Trial, case
from requests_adapter import ResumingAdapter


@case("requests", "`Session`", '`session.mount("https://", …)`, requests_adapter.py')
def test_requests(trial: Trial, http: Server) -> None:
    def post() -> None:
        with requests.Session() as session:
            session.mount("https://", ResumingAdapter(trial.context))
            assert session.post(http.url, DATA, timeout=10).content == DATA

    trial.check(post, http.reused)
