import socket

import neo4j
from conftest import HOST
from libraries.peers import Server, read_exactly, serving
from libraries.trial import Trial, case

SUCCESS = b"\xb1\x70"  # a structure with one field, in PackStream
HELLO, GOODBYE = 0x01, 0x02
DETAILS = b"\xa2\x86server\x8bNeo4j/5.0.0\x8dconnection_id\x811"
AGENT = 20_000 * "x"


def bolt(server: Server, sock: socket.socket) -> None:
    """As much of Bolt 5.0 as says hello."""
    with server.wrap(sock) as tls:
        read_exactly(tls, 20)  # the versions that the client offers
        tls.sendall(b"\0\0\0\x05")
        while (message := receive(tls)) and message[1] != GOODBYE:
            answer = SUCCESS + (DETAILS if message[1] == HELLO else b"\xa0")
            if message[1] == HELLO:
                assert AGENT.encode() in message
            tls.sendall(len(answer).to_bytes(2) + answer + b"\0\0")


def receive(sock: socket.socket) -> bytes:
    """A message, which is in chunks up to an empty one."""
    message = b""
    while size := int.from_bytes(read_exactly(sock, 2)):
        message += read_exactly(sock, size)
    return message


@case("neo4j", "`GraphDatabase.driver`, to a minimal server", "`driver(uri, ssl_context=ctx)`")
def test_neo4j(trial: Trial) -> None:
    with serving(trial.foreign, bolt) as server:

        def connect() -> None:
            with neo4j.GraphDatabase.driver(
                f"bolt://{HOST}:{server.port}",
                auth=("user", "12345"),
                ssl_context=trial.context,
                user_agent=AGENT,
            ) as driver:
                assert driver.get_server_info().agent == "Neo4j/5.0.0"

        trial.check(connect, server.reused)
