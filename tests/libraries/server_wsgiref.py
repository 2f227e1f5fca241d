"""wsgiref's server; connections are wrapped before their handler."""

from wsgiref.simple_server import WSGIServer, make_server

from server_context import make_context, port
from server_echo import wsgi


class Server(WSGIServer):
    def get_request(self):
        sock, address = super().get_request()
        wrapped = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return wrapped, address


context = make_context()
with make_server("127.0.0.1", port, wsgi, server_class=Server) as server:
    print("listening")
    server.serve_forever()
