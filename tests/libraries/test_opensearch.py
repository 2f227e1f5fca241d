import opensearchpy
from conftest import HOST
from libraries.peers import http_length, serving
from libraries.trial import Trial, case

DOCUMENT = {"text": 100_000 * "x"}


@case("opensearch-py", "`OpenSearch`", "`OpenSearch(hosts, ssl_context=ctx)`")
def test_opensearch(trial: Trial) -> None:
    with serving(trial.foreign, http_length) as server:

        def index() -> None:
            with opensearchpy.OpenSearch(
                [{"host": HOST, "port": server.port}],
                use_ssl=True,
                ssl_context=trial.context,
                timeout=10,
                max_retries=0,
            ) as client:
                answer = client.index(index="index", body=DOCUMENT)
                assert answer["length"] > len(DOCUMENT["text"])

        trial.check(index, server.reused)
