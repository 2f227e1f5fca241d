"""A proxy on loopback that passes everything on until it is told to misbehave.

``fault`` is what it does with each piece that the server answers, out of the functions at the
end; a test may change it at any time. ``requests`` are the pieces that clients have sent.
"""

import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from interop.programs import SECONDS


class FaultProxy:
    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.fault: Fault = relay
        self.requests: list[bytes] = []
        self.connections = 0
        self.closing = threading.Event()
        self.threads: list[threading.Thread] = []
        self.port = 0
        self.listen()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def listen(self) -> None:
        """Accept connections, on the port that it had before."""
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self.listener.getsockname()[1]
        self._start(self._accept, self.listener)

    def refuse(self) -> None:
        """Accept no more: whoever connects is refused. What is open stays open."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def close(self) -> None:
        self.closing.set()
        with suppress(OSError):
            self.refuse()
        for thread in self.threads:
            thread.join(SECONDS)
            assert not thread.is_alive()

    def _start(self, call: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=call, args=arguments)
        self.threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # refuse() was called
                return
            self.connections += 1
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with (
            client,
            suppress(OSError),
            socket.create_connection(("127.0.0.1", self.upstream)) as server,
        ):
            while not self.closing.is_set():
                for ready in select.select([client, server], [], [], 0.05)[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    if ready is client:
                        self.requests.append(data)
                        server.sendall(data)
                    else:
                        self.fault(self, client, data)


@contextmanager
def fault_proxy(upstream: int) -> Iterator[FaultProxy]:
    """A proxy before the server on this port."""
    proxy = FaultProxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()


Fault = Callable[[FaultProxy, socket.socket, bytes], None]


def relay(_: FaultProxy, client: socket.socket, data: bytes) -> None:
    client.sendall(data)


def swallow(_: FaultProxy, client: socket.socket, data: bytes) -> None:
    """The answer is lost, and the connection stays."""


def cut(_: FaultProxy, client: socket.socket, data: bytes) -> None:
    """Half the answer, and the end."""
    client.sendall(data[: len(data) // 2])
    raise ConnectionAbortedError


def end(_: FaultProxy, client: socket.socket, data: bytes) -> None:
    """No answer, and the end."""
    raise ConnectionAbortedError


def reset(_: FaultProxy, client: socket.socket, data: bytes) -> None:
    """No answer, and the end with an RST."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise ConnectionAbortedError


def drip(proxy: FaultProxy, client: socket.socket, data: bytes) -> None:
    """The beginning of a long answer, then a byte now and then, for half a minute."""
    client.sendall(b"$3000\r\n")
    for _ in range(3000):
        client.sendall(b"x")
        if proxy.closing.wait(0.01):
            return


def delay(seconds: float) -> Fault:
    """The answer comes so much later."""

    def late(proxy: FaultProxy, client: socket.socket, data: bytes) -> None:
        if not proxy.closing.wait(seconds):
            client.sendall(data)

    return late


def answer(instead: bytes) -> Fault:
    """Something else is answered."""

    def other(proxy: FaultProxy, client: socket.socket, data: bytes) -> None:
        client.sendall(instead)

    return other
