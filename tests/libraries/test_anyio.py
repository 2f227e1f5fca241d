import anyio
import anyio.streams.tls
import pytest
from conftest import HOST
from libraries.peers import DATA, echo, serving
from libraries.trial import Trial, case

on_each_loop = pytest.mark.parametrize("backend", ["asyncio", "trio"])


async def exchange(stream: anyio.abc.ByteStream) -> None:
    async with stream:
        await stream.send(DATA)
        data = b""
        while len(data) < len(DATA):
            data += await stream.receive()
        assert data == DATA


@on_each_loop
@case("anyio", "`connect_tcp`, asyncio and trio", "`connect_tcp(host, port, ssl_context=ctx)`")
def test_connect_tcp(trial: Trial, backend: str) -> None:
    with serving(trial.foreign, echo) as server:

        async def connect() -> None:
            await exchange(await anyio.connect_tcp(HOST, server.port, ssl_context=trial.context))

        trial.check(lambda: anyio.run(connect, backend=backend), server.reused)


@on_each_loop
@case(
    "anyio",
    "`TLSConnectable`, asyncio and trio",
    "`TLSConnectable(connectable, hostname=host, ssl_context=ctx)`",
)
def test_tls_connectable(trial: Trial, backend: str) -> None:
    with serving(trial.foreign, echo) as server:

        async def connect() -> None:
            tcp = anyio.TCPConnectable(HOST, server.port)
            tls = anyio.streams.tls.TLSConnectable(tcp, hostname=HOST, ssl_context=trial.context)
            await exchange(await tls.connect())

        trial.check(lambda: anyio.run(connect, backend=backend), server.reused)
