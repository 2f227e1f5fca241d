"""A TLS 1.2 server that asks for another handshake is told that there is none: GnuTLS leaves that
to its caller. The standard library's servers cannot ask.
"""

import socket
import ssl
from contextlib import suppress

from conftest import HOST, Certificates
from drop_in.peers import client_context
from interop.programs import SECONDS, find, running


def test_a_request_for_renegotiation_neither_hangs_nor_disturbs_data(
    certificates: Certificates,
) -> None:
    files = ("-cert", certificates.certificate_file, "-key", certificates.key_file)
    chain = ("-cert_chain", certificates.folder / "both.pem")
    (certificates.folder / "both.pem").write_bytes(certificates.certificate)
    command = (find("openssl"), "s_server", "-tls1_2", "-accept", "127.0.0.1:0", *files, *chain)
    with running(*command) as server:
        port = int(server.wait_for(r"^ACCEPT 127\.0\.0\.1:(\d+)")[1])
        context = client_context(certificates, version=ssl.TLSVersion.TLSv1_2)
        with (
            socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as sock,
            context.wrap_socket(sock, server_hostname=HOST) as tls,
        ):
            server.write("before\n")
            assert tls.recv(100) == b"before\n"
            server.write("r\n")  # OpenSSL's server does not go on without
            with suppress(ssl.SSLError):
                assert tls.recv(100) == b""
            server.wait_for("no renegotiation")
