import asyncio

import aiohttp
from aiohttp_client import get
from libraries.peers import DATA, Server
from libraries.trial import Trial, case


@case("aiohttp", "`TCPConnector`", "`TCPConnector(ssl=ctx)`, aiohttp_client.py")
def test_aiohttp(trial: Trial, http: Server) -> None:
    def fetch() -> None:
        assert asyncio.run(get(trial.context, http.url)) == DATA

    trial.check(fetch, http.reused)


@case("aiohttp", "a request", "`session.post(url, ssl=ctx)`")
def test_aiohttp_request(trial: Trial, http: Server) -> None:
    async def post() -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.post(http.url, data=DATA, ssl=trial.context) as response,
        ):
            assert await response.read() == DATA

    trial.check(lambda: asyncio.run(post()), http.reused)
