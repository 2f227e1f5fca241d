import socket
import struct

from cassandra.connection import DefaultEndPoint
from cassandra.io.libevreactor import LibevConnection
from cassandra.protocol import OptionsMessage
from conftest import HOST
from libraries.peers import Server, read_exactly, serving
from libraries.trial import Trial, case

STARTUP, READY, OPTIONS, SUPPORTED = 1, 2, 5, 6
FRAMES = struct.Struct("!BBhBI")
PADDING = 10_000 * "x"


def text(value: str) -> bytes:
    return struct.pack("!H", len(value)) + value.encode()


def cassandra(server: Server, sock: socket.socket) -> None:
    """As much of the native protocol, version 4, as says hello."""
    options = {"CQL_VERSION": "3.4.5", "COMPRESSION": PADDING}
    supported = struct.pack("!H", len(options)) + b"".join(
        text(key) + struct.pack("!H", 1) + text(value) for key, value in options.items()
    )
    with server.wrap(sock) as tls:
        while header := read_exactly(tls, FRAMES.size):
            _, _, stream, operation, size = FRAMES.unpack(header)
            read_exactly(tls, size)
            answer, body = (READY, b"") if operation == STARTUP else (SUPPORTED, supported)
            tls.sendall(FRAMES.pack(0x84, 0, stream, answer, len(body)) + body)


@case(
    "cassandra-driver", "`Connection` on libev, to a minimal server", "`Cluster(ssl_context=ctx)`"
)
def test_cassandra(trial: Trial) -> None:
    LibevConnection.initialize_reactor()
    with serving(trial.foreign, cassandra) as server:

        def connect() -> None:
            connection = LibevConnection.factory(
                DefaultEndPoint(HOST, server.port),
                10,
                protocol_version=4,
                ssl_context=trial.context,
                ssl_options={"server_hostname": HOST},
            )
            answer = connection.wait_for_response(OptionsMessage(), 10)
            assert answer.options["COMPRESSION"] == [PADDING]
            connection.close()

        trial.check(connect, server.reused)
