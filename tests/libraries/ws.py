"""A WebSocket server, by websockets' sans-I/O part, that sends every message back."""

import socket

from libraries.peers import Server
from websockets.frames import Opcode
from websockets.server import ServerProtocol


def websocket_echo(server: Server, sock: socket.socket) -> None:
    with server.wrap(sock) as tls:
        protocol = ServerProtocol()
        while data := tls.recv(65536):
            protocol.receive_data(data)
            for event in protocol.events_received():
                if not hasattr(event, "opcode"):
                    protocol.send_response(protocol.accept(event))
                elif event.opcode in {Opcode.TEXT, Opcode.BINARY}:
                    assert event.fin
                    protocol.send_binary(event.data)
            for part in protocol.data_to_send():
                if part:
                    tls.sendall(part)
            if protocol.close_expected():
                break
