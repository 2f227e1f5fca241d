import trio
from conftest import HOST
from libraries.peers import DATA, echo, serving
from libraries.trial import Trial, case


@case(
    "trio", "`open_ssl_over_tcp_stream`", "`open_ssl_over_tcp_stream(host, port, ssl_context=ctx)`"
)
def test_trio(trial: Trial) -> None:
    with serving(trial.foreign, echo) as server:

        async def connect() -> None:
            stream = await trio.open_ssl_over_tcp_stream(
                HOST, server.port, ssl_context=trial.context
            )
            async with stream:
                await stream.send_all(DATA)
                assert await receive(stream) == DATA

        trial.check(lambda: trio.run(connect), server.reused)


@case("trio", "`SSLStream`", "`SSLStream(stream, ctx, server_hostname=host)`")
def test_trio_ssl_stream(trial: Trial) -> None:
    with serving(trial.foreign, echo) as server:

        async def connect() -> None:
            tcp = await trio.open_tcp_stream(HOST, server.port)
            async with trio.SSLStream(tcp, trial.context, server_hostname=HOST) as stream:
                await stream.send_all(DATA)
                assert await receive(stream) == DATA

        trial.check(lambda: trio.run(connect), server.reused)


async def receive(stream: trio.SSLStream) -> bytes:
    data = b""
    while len(data) < len(DATA):
        data += await stream.receive_some()
    return data
