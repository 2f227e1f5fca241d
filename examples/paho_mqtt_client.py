"""paho-mqtt: python paho_mqtt_client.py mqtt.example.org 8883 TOPIC MESSAGE [trust.pem]"""

import ssl
import sys

import paho.mqtt.client as mqtt

import gnutls_resume


def client(context: ssl.SSLContext) -> mqtt.Client:
    """Call `connect(host, port)`; reconnections resume."""
    made = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    made.tls_set_context(context)
    return made


def publish(context: ssl.SSLContext, host: str, port: int, topic: str, message: str) -> None:
    publisher = client(context)
    publisher.connect(host, port)
    publisher.loop_start()
    publisher.publish(topic, message, qos=1).wait_for_publish(10)
    publisher.disconnect()
    publisher.loop_stop()


if __name__ == "__main__":
    host, port, topic, message, *trust = sys.argv[1:]
    context = gnutls_resume.create_default_context(
        cafile=next(iter(trust), None), on_handshake=print
    )
    for _ in range(2):
        publish(context, host, int(port), topic, message)
