import asyncio

import httpx
import trio
from libraries.peers import DATA, Server, http2, serving
from libraries.trial import Trial, case


@case("httpx", "`Client`", "`Client(verify=ctx)`, httpx_client.py")
def test_httpx(trial: Trial, http: Server) -> None:
    def post() -> None:
        with httpx.Client(verify=trial.context) as client:
            assert client.post(http.url, content=DATA).content == DATA

    trial.check(post, http.reused)


@case("httpx", "`Client`, HTTP/2", "`Client(verify=ctx, http2=True)`")
def test_httpx_over_http2(trial: Trial) -> None:
    trial.foreign.set_alpn_protocols(["h2"])
    with serving(trial.foreign, http2(bytes)) as server:

        def post() -> None:
            with httpx.Client(verify=trial.context, http2=True) as client:
                response = client.post(server.url, content=DATA[:60_000])
                assert response.http_version == "HTTP/2"
                assert response.content == DATA[:60_000]

        trial.check(post, server.reused)


@case("httpx", "`AsyncClient`, asyncio", "`AsyncClient(verify=ctx)`, httpx_client.py")
def test_httpx_async(trial: Trial, http: Server) -> None:
    trial.check(lambda: asyncio.run(post_async(trial, http)), http.reused)


@case("httpx", "`AsyncClient`, trio", "`AsyncClient(verify=ctx)`")
def test_httpx_on_trio(trial: Trial, http: Server) -> None:
    trial.check(lambda: trio.run(post_async, trial, http), http.reused)


async def post_async(trial: Trial, server: Server) -> None:
    async with httpx.AsyncClient(verify=trial.context) as client:
        assert (await client.post(server.url, content=DATA)).content == DATA
