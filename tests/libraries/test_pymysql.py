import socket
import struct

import pymysql
from conftest import HOST
from libraries.peers import Server, read_exactly, serving
from libraries.trial import Trial, case

OK = b"\0" + 6 * b"\0"
# Protocol 4.1, SSL, secure connection, plugin authentication, long password.
CAPABILITIES = 0x0200 | 0x0800 | 0x8000 | 0x80000 | 0x0001


def packet(number: int, body: bytes) -> bytes:
    return struct.pack("<I", len(body))[:3] + bytes([number]) + body


def receive(sock: socket.socket) -> tuple[int, bytes]:
    header = read_exactly(sock, 4)
    if not header:
        return 0, b""
    return header[3], read_exactly(sock, int.from_bytes(header[:3], "little"))


def mysql(server: Server, sock: socket.socket) -> None:
    """As much of MySQL's protocol as says how long a query was."""
    low, high = CAPABILITIES & 0xFFFF, CAPABILITIES >> 16
    greeting = (
        b"\x0a8.0.0\0" + struct.pack("<I", 1) + 8 * b"x" + b"\0"
        + struct.pack("<HBHHB", low, 45, 2, high, 21) + bytes(10)
        + 12 * b"x" + b"\0mysql_native_password\0"
    )  # fmt: skip
    sock.sendall(packet(0, greeting))
    receive(sock)  # the request for TLS
    with server.wrap(sock) as tls:
        number, _ = receive(tls)  # the login
        tls.sendall(packet(number + 1, OK))
        while True:
            number, command = receive(tls)
            if command[:1] in {b"", b"\x01"}:
                return
            affected = b"\xfd" + struct.pack("<I", len(command) - 1)[:3]
            tls.sendall(packet(number + 1, b"\0" + affected + b"\0\x02\0\0\0"))


@case("pymysql", "`connect`, to a minimal server", "`ssl=ctx`")
def test_pymysql(trial: Trial) -> None:
    with serving(trial.foreign, mysql) as server:

        def query() -> None:
            with (
                pymysql.connect(
                    host=HOST, port=server.port, user="user", password="12345", ssl=trial.context
                ) as connection,
                connection.cursor() as cursor,
            ):
                text = f"SELECT '{100_000 * 'x'}'"
                assert cursor.execute(text) == len(text)

        trial.check(query, server.reused)
