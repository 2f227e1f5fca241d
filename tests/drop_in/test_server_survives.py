"""A sni_callback that fails must not end a server: it gets an OSError, as from ``ssl``."""

import logging
import socket
import ssl
import threading
from collections.abc import Callable

import pytest
from conftest import HOST, Certificates

from gnutls_resume import MemoryStore, SSLContext

Callback = Callable[..., object]


def both_errors(
    certificates: Certificates, library: type[ssl.SSLContext], callback: Callback
) -> tuple[ssl.SSLError, ssl.SSLError]:
    """What a client's and a server's handshake raise, over sockets that block."""
    server = library(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificates.certificate_file, certificates.key_file)
    server.sni_callback = callback  # type: ignore[assignment]
    client = ssl.create_default_context(cafile=certificates.trust_file)
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.settimeout(30)
    raised: list[ssl.SSLError] = []

    def serve() -> None:
        with pytest.raises(ssl.SSLError) as caught, theirs:
            server.wrap_socket(theirs, server_side=True)
        raised.append(caught.value)

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(ssl.SSLError) as caught, ours:
        client.wrap_socket(ours, server_hostname=HOST)
    thread.join()
    return caught.value, raised[0]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # ssl's way to tell
@pytest.mark.parametrize(
    "callback",
    [lambda *_: {}["unknown"], lambda *_: "text", lambda *_: 1.5, lambda *_: 49],
    ids=["raises", "text", "float", "alert"],
)
def test_both_ends_see_what_ssl_shows_them(certificates: Certificates, callback: Callback) -> None:
    def reasons(library: type[ssl.SSLContext]) -> list[tuple[str, str]]:
        errors = both_errors(certificates, library, callback)
        return [(error.reason, error.library) for error in errors]

    assert reasons(SSLContext) == reasons(ssl.SSLContext)


def test_the_callbacks_own_exception_is_the_cause_and_is_logged(
    certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    _, error = both_errors(certificates, SSLContext, lambda *_: {}["unknown"])
    assert isinstance(error.__cause__, KeyError)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.name == "gnutls_resume"
    assert record.message.startswith("sni_callback failed: Traceback")
    assert "KeyError: 'unknown'" in record.message


def test_session_stats_count_what_was_started_and_what_succeeded(
    certificates: Certificates,
) -> None:
    server = SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificates.certificate_file, certificates.key_file)
    client = SSLContext(ssl.PROTOCOL_TLS_CLIENT, sessions=MemoryStore())
    for rounds, trusted in enumerate((False, True, True), 1):
        if trusted:
            client.load_verify_locations(certificates.trust_file)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            thread = threading.Thread(target=serve_once, args=(server, theirs))
            thread.start()
            try:
                with client.wrap_socket(ours, server_hostname=HOST) as sock:
                    sock.sendall(b"x")
                    assert sock.recv(1) == b"x"
            except ssl.SSLCertVerificationError:
                assert not trusted
            thread.join()
        for stats in (client.session_stats(), server.session_stats()):
            assert stats["connect"] + stats["accept"] == rounds
            assert stats["connect_good"] + stats["accept_good"] == rounds - 1
            assert stats["hits"] == max(rounds - 2, 0)


def serve_once(context: ssl.SSLContext, sock: socket.socket) -> None:
    try:
        with context.wrap_socket(sock, server_side=True) as wrapped:
            wrapped.sendall(wrapped.recv(1))
    except ssl.SSLError:
        sock.close()
