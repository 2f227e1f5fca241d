"""pyftpdlib's server with TLS on both connections, for the FTP clients."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import Certificates
from OpenSSL import SSL
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import TLS_FTPHandler
from pyftpdlib.servers import FTPServer

USER, PASSWORD = "user", "12345"
VERSIONS = {"TLSv1.3": SSL.TLS1_3_VERSION, "TLSv1.2": SSL.TLS1_2_VERSION}


@contextmanager
def ftp_server(certificates: Certificates, version: str, folder: Path) -> Iterator[int]:
    """The port of a server of `folder`."""
    authorizer = DummyAuthorizer()
    authorizer.add_user(USER, PASSWORD, folder, perm="elradfmw")
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(VERSIONS[version])
    context.set_max_proto_version(VERSIONS[version])
    context.use_certificate_chain_file(certificates.certificate_file)
    context.use_privatekey_file(str(certificates.key_file))
    context.set_session_id(b"pyftpdlib")

    class Handler(TLS_FTPHandler):
        tls_control_required = tls_data_required = True
        ssl_context = context

    Handler.authorizer = authorizer
    with FTPServer(("127.0.0.1", 0), Handler) as server:
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                server.serve_forever(timeout=0.02, blocking=False)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.address[1]
        finally:
            stop.set()
            thread.join()
            server.close_all()
