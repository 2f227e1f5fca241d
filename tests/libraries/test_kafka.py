import socket
import struct

import kafka
from conftest import HOST
from libraries.peers import Server, read_exactly, serving
from libraries.trial import Trial, case

API_VERSIONS, METADATA = 18, 3
UNSUPPORTED_VERSION = 35
TOPICS = [f"topic-{index}" for index in range(1000)]


def text(value: str) -> bytes:
    return struct.pack("!h", len(value)) + value.encode()


def versions(error: int) -> bytes:
    """ApiVersions, version 0: both requests, each at one version."""
    return struct.pack("!hihhhhhh", error, 2, API_VERSIONS, 0, 0, METADATA, 1, 1)


def metadata(port: int) -> bytes:
    """Metadata, version 1: one broker, and topics without partitions."""
    brokers = struct.pack("!ii", 1, 0) + text(HOST) + struct.pack("!ihi", port, -1, 0)
    topics = [struct.pack("!h", 0) + text(name) + struct.pack("!?i", False, 0) for name in TOPICS]
    return brokers + struct.pack("!i", len(topics)) + b"".join(topics)


def broker(server: Server, sock: socket.socket) -> None:
    """As much of Kafka's protocol as lists topics."""
    with server.wrap(sock) as tls:
        while size := read_exactly(tls, 4):
            request = read_exactly(tls, int.from_bytes(size))
            key, version, correlation = struct.unpack_from("!hhi", request)
            if key == METADATA:
                reply = metadata(server.port)
            else:
                reply = versions(UNSUPPORTED_VERSION if version else 0)
            tls.sendall(struct.pack("!ii", len(reply) + 4, correlation) + reply)


@case("kafka-python", "`KafkaConsumer`, to a minimal broker", "`KafkaConsumer(ssl_context=ctx)`")
def test_kafka(trial: Trial) -> None:
    with serving(trial.foreign, broker) as server:

        def ask() -> None:
            consumer = kafka.KafkaConsumer(
                bootstrap_servers=[f"{HOST}:{server.port}"],
                security_protocol="SSL",
                ssl_context=trial.context,
            )
            assert consumer.topics() == set(TOPICS)
            consumer.close()

        trial.check(ask, server.reused)
