"""A client whose certificate a server refuses is told why, also if it has more to say."""

import socket
import ssl
import threading

import pytest
import trustme
from conftest import HOST, Certificates

from gnutls_resume import SSLContext

Library = type[ssl.SSLContext]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("library", [SSLContext, ssl.SSLContext], ids=["ours", "ssl"])
def test_alert_arrives_and_no_reset(
    certificates: Certificates, library: Library, version: ssl.TLSVersion
) -> None:
    server = SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificates.certificate_file, certificates.key_file)
    server.load_verify_locations(certificates.trust_file)
    server.verify_mode = ssl.CERT_REQUIRED
    client = library(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(certificates.trust_file)
    client.minimum_version = client.maximum_version = version
    trustme.CA().issue_cert("stranger@example.org").configure_cert(client)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with pytest.raises(ssl.SSLCertVerificationError):
                server.wrap_socket(listener.accept()[0], server_side=True)

        thread = threading.Thread(target=serve)
        thread.start()
        with (
            socket.create_connection(listener.getsockname(), timeout=30) as sock,
            pytest.raises(ssl.SSLError, match=r"(?i)alert unknown ca"),
        ):
            ask(client.wrap_socket(sock, server_hostname=HOST), thread)
        thread.join()


def ask(sock: ssl.SSLSocket, server: threading.Thread) -> None:
    """In TLS 1.3 the client's handshake is complete before the server has seen its certificate."""
    with sock:
        server.join()  # it has closed the connection
        sock.sendall(b"question")
        sock.recv(1)
