"""socketserver's threading and forking servers; connections are wrapped before their handler."""

import socketserver

from server_context import make_context, port, words
from server_echo import SIZE


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.read(SIZE))


class Wrapping:
    allow_reuse_address = True

    def get_request(self):
        sock, address = super().get_request()
        # The handshake belongs to the thread or process that reads first.
        wrapped = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return wrapped, address


class Threading(Wrapping, socketserver.ThreadingTCPServer):
    pass


class Forking(Wrapping, socketserver.ForkingTCPServer):
    pass


context = make_context()
with {"threading": Threading, "forking": Forking}[words[0]](("127.0.0.1", port), Handler) as server:
    print("listening")
    server.serve_forever()
