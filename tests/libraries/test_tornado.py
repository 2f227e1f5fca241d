import asyncio

from conftest import HOST
from libraries.peers import DATA, Server, echo, serving
from libraries.trial import Trial, case
from libraries.ws import websocket_echo
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.tcpclient import TCPClient
from tornado.websocket import websocket_connect


@case("tornado", "`AsyncHTTPClient`", "`fetch(url, ssl_options=ctx)`")
def test_tornado_http(trial: Trial, http: Server) -> None:
    async def post() -> None:
        response = await AsyncHTTPClient().fetch(
            http.url, method="POST", body=DATA, ssl_options=trial.context
        )
        assert response.body == DATA

    trial.check(lambda: asyncio.run(post()), http.reused)


@case("tornado", "`TCPClient`, `IOStream`", "`connect(host, port, ssl_options=ctx)`")
def test_tornado_stream(trial: Trial) -> None:
    with serving(trial.foreign, echo) as server:

        async def connect() -> None:
            stream = await TCPClient().connect(HOST, server.port, ssl_options=trial.context)
            await stream.write(DATA)
            assert await stream.read_bytes(len(DATA)) == DATA
            stream.close()

        trial.check(lambda: asyncio.run(connect()), server.reused)


@case("tornado", "`websocket_connect`", "`HTTPRequest(url, ssl_options=ctx)`")
def test_tornado_websocket(trial: Trial) -> None:
    with serving(trial.foreign, websocket_echo) as server:

        async def connect() -> None:
            request = HTTPRequest(f"wss://{HOST}:{server.port}/", ssl_options=trial.context)
            websocket = await websocket_connect(request)
            await websocket.write_message(DATA, binary=True)
            assert await websocket.read_message() == DATA
            websocket.close()
            assert await websocket.read_message() is None  # it is closed

        trial.check(lambda: asyncio.run(connect()), server.reused)
