"""http.server with a wrapped listener, the pattern of the standard library's documentation, or
(Python 3.14) its HTTPSServer.
"""

import http.server

from server_context import certificate, key, make_context, port, words


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def listener():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.socket = make_context().wrap_socket(server.socket, server_side=True)
    return server


def https_server():
    class Server(http.server.ThreadingHTTPSServer):
        def _create_context(self):
            return make_context()

    return Server(("127.0.0.1", port), Handler, certfile=certificate, keyfile=key)


with {"listener": listener, "HTTPSServer": https_server}[words[0]]() as server:
    print("listening")
    server.serve_forever()
