import asyncio
from collections.abc import Iterator

import elastic_transport
import pytest
from conftest import HOST
from libraries.peers import DATA, Server, http_length, serving
from libraries.trial import Trial, case

RECIPE = "`NodeConfig(ssl_context=ctx)`, `Elasticsearch(hosts, ssl_context=ctx)`"
HEADERS = {"content-type": "application/json", "accept": "application/json"}


@pytest.fixture
def server(trial: Trial) -> Iterator[Server]:
    with serving(trial.foreign, http_length) as server:
        yield server


@pytest.mark.parametrize("node", ["urllib3", "requests"])
@case("elastic-transport", "`Transport`, urllib3 and requests", RECIPE)
def test_elastic_transport(trial: Trial, server: Server, node: str) -> None:
    def post() -> None:
        config = elastic_transport.NodeConfig("https", HOST, server.port, ssl_context=trial.context)
        transport = elastic_transport.Transport([config], node_class=node, max_retries=0)
        answer = transport.perform_request("POST", "/", body=DATA, headers=HEADERS)
        assert answer.body == {"length": len(DATA)}
        transport.close()

    trial.check(post, server.reused)


@case("elastic-transport", "`AsyncTransport`, aiohttp", RECIPE)
def test_elastic_transport_async(trial: Trial, server: Server) -> None:
    async def post() -> None:
        config = elastic_transport.NodeConfig("https", HOST, server.port, ssl_context=trial.context)
        transport = elastic_transport.AsyncTransport([config], max_retries=0)
        answer = await transport.perform_request("POST", "/", body=DATA, headers=HEADERS)
        assert answer.body == {"length": len(DATA)}
        await transport.close()

    trial.check(lambda: asyncio.run(post()), server.reused)
