"""As much of an AMQP 0-9-1 broker as takes messages, with the frames of pika."""

import socket

import pika.frame
import pika.spec
from libraries.peers import Server, read_exactly

Connection, Channel, Basic = pika.spec.Connection, pika.spec.Channel, pika.spec.Basic

CAPABILITIES = {"publisher_confirms": True, "basic.nack": True}


def amqp(messages: list[bytes]):
    """A server that puts the bodies of published messages into the list, and confirms them."""
    answers = {
        Connection.StartOk: lambda _: Connection.Tune(100, 131072, 0),
        Connection.Open: lambda _: Connection.OpenOk(),
        Connection.Close: lambda _: Connection.CloseOk(),
        Channel.Open: lambda _: Channel.OpenOk(),
        Channel.Close: lambda _: Channel.CloseOk(),
        pika.spec.Confirm.Select: lambda _: pika.spec.Confirm.SelectOk(),
    }

    def serve(server: Server, sock: socket.socket) -> None:
        with server.wrap(sock) as tls:
            assert read_exactly(tls, 8) == b"AMQP\0\0\x09\x01"
            start = Connection.Start(server_properties={"capabilities": CAPABILITIES})
            tls.sendall(pika.frame.Method(0, start).marshal())
            while head := read_exactly(tls, 7):
                rest = read_exactly(tls, int.from_bytes(head[3:7]) + 1)
                _, frame = pika.frame.decode_frame(head + rest)
                if isinstance(frame, pika.frame.Header):
                    size, body = frame.body_size, b""
                elif isinstance(frame, pika.frame.Body):
                    body += frame.fragment
                    if len(body) == size:
                        messages.append(body)
                        ack = pika.frame.Method(frame.channel_number, Basic.Ack(len(messages)))
                        tls.sendall(ack.marshal())
                elif make := answers.get(type(getattr(frame, "method", None))):
                    tls.sendall(pika.frame.Method(frame.channel_number, make(frame)).marshal())

    return serve
