import socket
import threading
from contextlib import suppress

import urllib3
from libraries.peers import DATA, SECONDS, Server, serving
from libraries.trial import Trial, case
from urllib3_client import pool


@case("urllib3", "`PoolManager`", "`PoolManager(ssl_context=ctx)`, urllib3_client.py")
def test_urllib3(trial: Trial, http: Server) -> None:
    def post() -> None:
        with pool(trial.context) as manager:
            assert manager.request("POST", http.url, body=DATA, timeout=10).data == DATA

    trial.check(post, http.reused)


def tunnel(server: Server, sock: socket.socket) -> None:
    """A proxy that is reached over TLS; what it tunnels is TLS again."""
    with server.wrap(sock) as tls:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += tls.recv(1)
        host, port = request.split()[1].decode().split(":")
        with socket.create_connection((host, int(port)), SECONDS) as target:
            tls.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=copy, args=(target, tls))
            back.start()
            copy(tls, target)
            back.join(SECONDS)


def copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(16384):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@case(
    "urllib3",
    "`ProxyManager`, TLS in TLS",
    "`ProxyManager(ssl_context=ctx, proxy_ssl_context=ctx)`",
)
def test_urllib3_through_a_proxy(trial: Trial, http: Server) -> None:
    with serving(trial.foreign, tunnel) as proxy:

        def post() -> None:
            with urllib3.ProxyManager(
                proxy.url, ssl_context=trial.context, proxy_ssl_context=trial.context
            ) as manager:
                assert manager.request("POST", http.url, body=DATA, timeout=10).data == DATA

        trial.check(post)
        assert proxy.reused == [False, True]
