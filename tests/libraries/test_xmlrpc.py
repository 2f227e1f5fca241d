import socket
import xmlrpc.client
from xmlrpc.server import SimpleXMLRPCDispatcher, SimpleXMLRPCRequestHandler

from libraries.peers import DATA, Server, serving
from libraries.trial import Trial, case


class Dispatcher(SimpleXMLRPCDispatcher):
    logRequests = False  # noqa: N815

    def __init__(self) -> None:
        super().__init__(use_builtin_types=True)
        self.register_function(lambda data: data[::-1], "reverse")


def serve(server: Server, sock: socket.socket) -> None:
    with server.wrap(sock) as tls:
        SimpleXMLRPCRequestHandler(tls, ("", 0), Dispatcher())


@case("xmlrpc.client", "`ServerProxy`", "`context=ctx`")
def test_xmlrpc_client(trial: Trial) -> None:
    with serving(trial.foreign, serve) as server:

        def call() -> None:
            url = server.url + "RPC2"
            with xmlrpc.client.ServerProxy(
                url, context=trial.context, use_builtin_types=True
            ) as proxy:
                assert proxy.reverse(DATA) == DATA[::-1]

        trial.check(call, server.reused)
