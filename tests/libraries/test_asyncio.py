import asyncio

from asyncio_client import talk
from conftest import HOST
from libraries.peers import DATA, echo_once, serving, start_tls
from libraries.trial import Trial, case


class Client(asyncio.Protocol):
    """Collects DATA, then closes."""

    def __init__(self) -> None:
        self.received = b""
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        transport.write(DATA)

    def data_received(self, data):
        self.received += data
        if len(self.received) == len(DATA):
            self.transport.close()

    def connection_lost(self, exc):
        self.closed.set_result(exc)


@case("asyncio", "`open_connection`", "`open_connection(host, port, ssl=ctx)`, asyncio_client.py")
def test_streams(trial: Trial) -> None:
    with serving(trial.foreign, echo_once) as server:

        def connect() -> None:
            assert asyncio.run(talk(trial.context, HOST, server.port, DATA)) == DATA

        trial.check(connect, server.reused)


@case("asyncio", "`loop.create_connection`", "`create_connection(factory, host, port, ssl=ctx)`")
def test_create_connection(trial: Trial) -> None:
    with serving(trial.foreign, echo_once) as server:

        async def connect() -> None:
            loop = asyncio.get_running_loop()
            _, client = await loop.create_connection(Client, HOST, server.port, ssl=trial.context)
            assert await client.closed is None
            assert client.received == DATA

        trial.check(lambda: asyncio.run(connect()), server.reused)


@case("asyncio", "`writer.start_tls`", "`await writer.start_tls(ctx, server_hostname=host)`")
def test_start_tls(trial: Trial) -> None:
    with serving(trial.foreign, start_tls) as server:
        trial.check(lambda: asyncio.run(upgrade(trial, server.port)), server.reused)


async def upgrade(trial: Trial, port: int) -> None:
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(b"STARTTLS\n")
    assert await reader.readline() == b"go ahead\n"
    await writer.start_tls(trial.context, server_hostname=HOST)
    writer.write(DATA)
    assert await reader.readexactly(len(DATA)) == DATA
    writer.close()
    await writer.wait_closed()
