import asyncio

import aio_pika
from conftest import HOST
from libraries.amqp import amqp
from libraries.peers import DATA, serving
from libraries.trial import Trial, case


@case("aio-pika", "`connect`, to a minimal broker", "`connect(url, ssl_context=ctx)`")
def test_aio_pika(trial: Trial) -> None:
    messages = list[bytes]()
    with serving(trial.foreign, amqp(messages)) as server:

        async def publish() -> None:
            messages.clear()
            connection = await aio_pika.connect(
                f"amqps://user:12345@{HOST}:{server.port}/", ssl_context=trial.context
            )
            async with connection:
                channel = await connection.channel()
                await channel.default_exchange.publish(aio_pika.Message(DATA), "queue")
            assert messages == [DATA]

        trial.check(lambda: asyncio.run(publish()), server.reused)
