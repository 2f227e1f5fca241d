"""Serve a folder over https with the standard library; who comes back resumes his TLS session.

A connection is wrapped in the thread that serves it, not in the listener: accept() would shake
hands there, and one silent client would keep all others waiting.

    python http_server.py certificate.pem key.pem 8443 folder
"""

import functools
import ssl
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from gnutls_resume import create_default_context


class Server(ThreadingHTTPServer):
    context: ssl.SSLContext

    def finish_request(self, request: Any, client_address: Any) -> None:
        request.settimeout(60)  # of the handshake, too
        with self.context.wrap_socket(request, server_side=True) as connection:
            super().finish_request(connection, client_address)


def main(certificate: str, key: str, port: str, folder: str) -> None:
    handler = functools.partial(SimpleHTTPRequestHandler, directory=folder)
    with Server(("127.0.0.1", int(port)), handler) as server:
        server.context = create_default_context(ssl.Purpose.CLIENT_AUTH, on_handshake=print)
        server.context.load_cert_chain(certificate, key)
        print("serving", folder)
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
