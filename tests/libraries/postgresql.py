"""As much of PostgreSQL's protocol as answers a simple query with its length.

A real PostgreSQL server sends no tickets and keeps no sessions, so that nothing would resume.
"""

import socket
import struct

from libraries.peers import Server, read_exactly

SSL_REQUEST = struct.pack("!II", 8, 80877103)
READY = b"Z" + struct.pack("!Ic", 5, b"I")


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def postgresql(server: Server, sock: socket.socket) -> None:
    assert read_exactly(sock, len(SSL_REQUEST)) == SSL_REQUEST
    sock.sendall(b"S")
    with server.wrap(sock) as tls:
        read_exactly(tls, int.from_bytes(read_exactly(tls, 4)) - 4)  # the startup message
        version = message(b"S", b"server_version\x0015.0\0")
        encoding = message(b"S", b"client_encoding\0UTF8\0")
        tls.sendall(message(b"R", bytes(4)) + version + encoding + READY)
        while header := read_exactly(tls, 5):
            kind, size = struct.unpack("!cI", header)
            body = read_exactly(tls, size - 4)
            if kind == b"X":
                return
            if kind == b"Q":
                tls.sendall(message(b"C", b"SELECT %d\0" % (len(body) - 1)) + READY)
