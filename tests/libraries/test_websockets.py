import asyncio

import trio
import websockets.asyncio.client
import websockets.sync.client
import websockets.trio.client
from conftest import HOST
from libraries.peers import DATA, serving
from libraries.trial import Trial, case
from libraries.ws import websocket_echo


@case("websockets", "`asyncio.client.connect`", "`connect(uri, ssl=ctx)`")
def test_websockets(trial: Trial) -> None:
    with serving(trial.foreign, websocket_echo) as server:

        async def connect() -> None:
            async with websockets.asyncio.client.connect(
                f"wss://{HOST}:{server.port}/", ssl=trial.context
            ) as websocket:
                await websocket.send(DATA)
                assert await websocket.recv() == DATA

        trial.check(lambda: asyncio.run(connect()), server.reused)


@case("websockets", "`sync.client.connect`", "`connect(uri, ssl=ctx)`")
def test_websockets_sync(trial: Trial) -> None:
    with serving(trial.foreign, websocket_echo) as server:

        def connect() -> None:
            with websockets.sync.client.connect(
                f"wss://{HOST}:{server.port}/", ssl=trial.context
            ) as websocket:
                websocket.send(DATA)
                assert websocket.recv() == DATA

        trial.check(connect, server.reused)


@case("websockets", "`trio.client.connect`", "`connect(uri, ssl=ctx)`")
def test_websockets_trio(trial: Trial) -> None:
    with serving(trial.foreign, websocket_echo) as server:

        async def connect() -> None:
            async with websockets.trio.client.connect(
                f"wss://{HOST}:{server.port}/", ssl=trial.context
            ) as websocket:
                await websocket.send(DATA)
                assert await websocket.recv() == DATA

        trial.check(lambda: trio.run(connect), server.reused)
