import asyncio

import httpx2
from libraries.peers import DATA, Server
from libraries.trial import Trial, case


@case("httpx2", "`Client`", "`Client(verify=ctx)`")
def test_httpx2(trial: Trial, http: Server) -> None:
    def post() -> None:
        with httpx2.Client(verify=trial.context) as client:
            assert client.post(http.url, content=DATA).content == DATA

    trial.check(post, http.reused)


@case("httpx2", "`AsyncClient`", "`AsyncClient(verify=ctx)`")
def test_httpx2_async(trial: Trial, http: Server) -> None:
    async def post() -> None:
        async with httpx2.AsyncClient(verify=trial.context) as client:
            assert (await client.post(http.url, content=DATA)).content == DATA

    trial.check(lambda: asyncio.run(post()), http.reused)
