"""Foreign servers on loopback: the standard library's TLS, and just enough of each protocol.

`serving` runs one in threads of this process. Where a protocol is more than a few lines, the
tests use a real server instead.
"""

import http.server
import socket
import socketserver
import ssl
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import h2.config
import h2.connection
import h2.events
from conftest import HOST

SECONDS = 30
DATA = bytes(range(256)) * 400
"""What the cases transfer: six TLS records and a bit."""


class Server(socketserver.ThreadingTCPServer):
    """Each connection is served by `serve` in a thread of its own."""

    def __init__(self, context: ssl.SSLContext, serve: "Serve") -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.context = context
        self.serve = serve
        self.reused: list[bool] = []
        self.connections: list[ssl.SSLSocket] = []
        self.stored = DATA
        self.errors: list[BaseException | None] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}/"

    def wrap(self, sock: socket.socket) -> ssl.SSLSocket:
        """The server's handshake, which STARTTLS protocols reach by themselves."""
        tls = self.context.wrap_socket(sock, server_side=True)
        self.reused.append(bool(tls.session_reused))
        self.connections.append(tls)
        return tls

    def handle_error(self, request, client_address):
        self.errors.append(sys.exception())

    def finish_request(self, request, client_address):
        request.settimeout(SECONDS)
        self.serve(self, request)


Serve = Callable[[Server, socket.socket], object]


@contextmanager
def serving(context: ssl.SSLContext, serve: Serve) -> Iterator[Server]:
    with Server(context, serve) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(SECONDS)
            for sock in server.connections:  # which a client has left open
                with suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)
        assert server.errors == []


# -- HTTP ---------------------------------------------------------------------------------------


class Echo(http.server.BaseHTTPRequestHandler):
    """Sends back what was posted, or last put; before that DATA."""

    protocol_version = "HTTP/1.1"
    content_type = "application/octet-stream"

    def do_GET(self):
        self.answer(self.server.stored)

    def do_POST(self):
        self.answer(self.body())

    def do_PUT(self):
        self.server.stored = self.body()
        self.answer(b"")

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", self.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Length(Echo):
    """Tells in JSON how many bytes were posted."""

    content_type = "application/json"

    def do_POST(self):
        self.answer(b'{"length": %d}' % len(self.body()))


def http_echo(server: Server, sock: socket.socket) -> None:
    with server.wrap(sock) as tls:
        Echo(tls, ("", 0), server)


def http_length(server: Server, sock: socket.socket) -> None:
    with server.wrap(sock) as tls:
        Length(tls, ("", 0), server)


def http2(respond: Callable[[bytes], bytes], content_type: str = "text/plain") -> "Serve":
    """HTTP/2, for bodies that fit into its first window, 65,535 bytes."""

    def serve(server: Server, sock: socket.socket) -> None:
        headers = [(":status", "200"), ("content-type", content_type)]
        bodies = defaultdict[int, bytes](bytes)
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        with server.wrap(sock) as tls:
            while data := tls.recv(16384):
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.DataReceived):
                        bodies[event.stream_id] += event.data
                    elif isinstance(event, h2.events.StreamEnded):
                        connection.send_headers(event.stream_id, headers)
                        body = respond(bodies[event.stream_id])
                        for start in range(0, len(body), connection.max_outbound_frame_size):
                            end = start + connection.max_outbound_frame_size
                            connection.send_data(event.stream_id, body[start:end])
                        connection.end_stream(event.stream_id)
                tls.sendall(connection.data_to_send())

    return serve


# -- bytes --------------------------------------------------------------------------------------


def echo(server: Server, sock: socket.socket) -> None:
    """Send everything back, until the client has no more."""
    with server.wrap(sock) as tls:
        while data := tls.recv(16384):
            tls.sendall(data)
        with suppress(OSError):  # if the client does not wait for it
            tls.unwrap()


def echo_once(server: Server, sock: socket.socket) -> None:
    """Send as much as DATA back, and close."""
    with server.wrap(sock) as tls:
        tls.sendall(read_exactly(tls, len(DATA)))
        tls.unwrap()


def start_tls(server: Server, sock: socket.socket) -> None:
    """`echo`, after a line each way."""
    assert sock.recv(100) == b"STARTTLS\n"
    sock.sendall(b"go ahead\n")
    echo(server, sock)


def read_exactly(sock: socket.socket, count: int) -> bytes:
    """`count` bytes, or b"" at the end of the stream."""
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            return b""
        data += part
    return data
