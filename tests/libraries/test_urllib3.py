import socket
from select import select

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
            while True:
                # One thread: of the standard library's sockets, two may not use one at once.
                ready = [tls] if tls.pending() else select([tls, target], [], [], SECONDS)[0]
                for source in ready:
                    data = source.recv(16384)
                    if not data:
                        return
                    (target if source is tls else tls).sendall(data)


@case(
    "urllib3",
    "`ProxyManager`, TLS in TLS",
    "`ProxyManager(ssl_context=ctx, proxy_ssl_context=ctx)`",
)
def test_urllib3_through_a_proxy(trial: Trial, http: Server) -> None:
    with serving(trial.foreign, tunnel) as proxy:

        def post() -> None:
            with urllib3.ProxyManager(
                proxy.url, ssl_context=trial.context, proxy_ssl_context=trial.context, retries=False
            ) as manager:
                assert manager.request("POST", http.url, body=DATA, timeout=10).data == DATA

        trial.check(post)
        assert proxy.reused == [False, True]
