import pika
from conftest import HOST
from libraries.amqp import amqp
from libraries.peers import DATA, serving
from libraries.trial import Trial, case


@case("pika", "`BlockingConnection`, to a minimal broker", "`ssl_options=SSLOptions(ctx, host)`")
def test_pika(trial: Trial) -> None:
    messages = list[bytes]()
    with serving(trial.foreign, amqp(messages)) as server:

        def publish() -> None:
            messages.clear()
            parameters = pika.ConnectionParameters(
                HOST, server.port, ssl_options=pika.SSLOptions(trial.context, HOST)
            )
            with pika.BlockingConnection(parameters) as connection:
                channel = connection.channel()
                channel.confirm_delivery()
                channel.basic_publish("", "queue", DATA)
            assert messages == [DATA]

        trial.check(publish, server.reused)
