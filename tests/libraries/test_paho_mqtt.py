from pathlib import Path
from threading import Event

from conftest import HOST, Certificates
from libraries.daemons import mosquitto
from libraries.peers import DATA, SECONDS
from libraries.trial import Trial, case
from paho_mqtt_client import client


@case("paho-mqtt", "`Client`, to mosquitto", "`client.tls_set_context(ctx)`, paho_mqtt_client.py")
def test_paho_mqtt(trial: Trial, certificates: Certificates, tmp_path: Path) -> None:
    trial.restrict()

    def connect() -> None:
        subscribed, arrived, received = Event(), Event(), list[bytes]()

        def receive(_client, _data, message) -> None:
            received.append(message.payload)
            arrived.set()

        subscriber = client(trial.context)
        subscriber.on_connect = lambda *_: subscriber.subscribe("topic", qos=1)
        subscriber.on_subscribe = lambda *_: subscribed.set()
        subscriber.on_message = receive
        subscriber.connect(HOST, port)
        subscriber.loop_start()
        assert subscribed.wait(SECONDS)
        subscriber.publish("topic", DATA, qos=1)
        assert arrived.wait(SECONDS)
        subscriber.disconnect()
        subscriber.loop_stop()
        assert received == [DATA]

    with mosquitto(certificates, tmp_path) as port:
        trial.check(connect)
