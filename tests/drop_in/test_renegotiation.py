"""A TLS 1.2 server that asks for another handshake is told that there is none: GnuTLS leaves that
to its caller. The standard library's servers cannot ask.
"""

import socket
import ssl
import threading
import time
from contextlib import suppress

import pytest
from conftest import HOST, Certificates
from drop_in.peers import client_context, connected, server_context
from interop.programs import SECONDS, find, running
from pair import in_thread
from wrapped import Wire

from gnutls_resume.binding import AlertLevel

USER_CANCELED = 90


def test_a_warning_is_no_error(certificates: Certificates) -> None:
    """RFC 5246 §7.2.2. (In TLS 1.3 GnuTLS takes every alert for the end.)"""
    version = ssl.TLSVersion.TLSv1_2
    made = Wire(client_context(certificates, version=version), server_context(certificates))
    made.handshake()
    session = made.server._sslobj._session
    for _ in range(10):
        session.alert_send(AlertLevel.WARNING, USER_CANCELED)
    made.say()
    made.say(from_server=False)


def test_warnings_do_not_put_off_the_timeout_of_a_read(certificates: Certificates) -> None:
    version = ssl.TLSVersion.TLSv1_2
    client = client_context(certificates, version=version)
    with connected(client, server_context(certificates), timeout=0.5) as pair:
        over = threading.Event()

        def warn() -> None:
            for _ in range(100):
                pair.server._sslobj._session.alert_send(AlertLevel.WARNING, USER_CANCELED)
                if over.wait(0.1):
                    break

        with in_thread(warn):
            before = time.monotonic()
            with pytest.raises(TimeoutError, match="The read operation timed out"):
                pair.client.recv(1)
            took = time.monotonic() - before
            over.set()
        assert 0.45 < took < 3


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
