"""What comes out where a connection fails: class, number, reason and text as of the standard
library, and nothing of it in the store.
"""

import asyncio
import contextlib
import datetime as dt
import errno
import re
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trustme
from conftest import HOST, Certificates
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from drop_in.peers import (
    Library,
    client_context,
    connected,
    each_library,
    fact,
    failure,
    resumed,
    server_context,
    socket_outcomes,
    told,
    wanting_certificates,
    wrap_pair,
)
from pair import TOO_LONG, in_thread, tcp_pair
from wrapped import End, Wire, each_version

from gnutls_resume import MemoryStore, MissReason, SSLContext, SSLObject
from gnutls_resume.drop_in.exceptions import ALERTS
from gnutls_resume.resumption.client_cache import NOTHING, TICKETS_ONLY

CLIENT_HELLO_AT_LEAST = 100  # bytes


class RecordingStore(MemoryStore):
    """Remembers all that was ever put in."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[bytes] = []

    def put(self, key: bytes, value: bytes, ttl: float) -> None:
        self.kept.append(value)
        super().put(key, value, ttl)

    def push(self, key: bytes, value: bytes, ttl: float, keep: int) -> None:
        self.kept.append(value)
        super().push(key, value, ttl, keep)

    def add(self, key: bytes, value: bytes, ttl: float) -> bool:
        self.kept.append(value)
        return super().add(key, value, ttl)


# -- refused certificates ---------------------------------------------------------------------


def self_signed() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return certificate.public_bytes(pem), key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.fixture(scope="session")
def bad_servers(
    certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], ssl.SSLContext]:
    """Servers of the standard library whose certificates must be refused."""
    folder = tmp_path_factory.mktemp("bad")
    authority = trustme.CA()
    now = dt.datetime.now(dt.UTC)
    day = dt.timedelta(days=1)
    expired = authority.issue_cert(HOST, not_before=now - 3 * day, not_after=now - day)
    future = authority.issue_cert(HOST, not_before=now + day, not_after=now + 3 * day)
    other = authority.issue_cert("other.example", "*.example.org")
    (folder / "trust.pem").write_bytes(authority.cert_pem.bytes())
    stranger = trustme.CA()
    unknown = stranger.create_child_ca().issue_cert(HOST)
    for name, issued in {
        "expired": expired,
        "not yet valid": future,
        "wrong host": other,
        "unknown issuer": unknown,
    }.items():
        (folder / name).write_bytes(issued.private_key_and_cert_chain_pem.bytes())
    whole = unknown.private_key_and_cert_chain_pem.bytes() + stranger.cert_pem.bytes()
    (folder / "unknown root").write_bytes(whole)
    (folder / "self-signed").write_bytes(b"".join(self_signed()[::-1]))

    def server(name: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / name)
        return context

    server.trust = folder / "trust.pem"  # type: ignore[attr-defined]
    return server


BAD = {
    "expired": 10,
    "not yet valid": 9,
    "wrong host": 62,
    "unknown issuer": 20,
    "unknown root": 19,
    "self-signed": 18,
}


def refusing_client(bad_servers: Any, library: Library, version: Any, **options: Any) -> Any:
    if issubclass(library, SSLContext):
        options.setdefault("sessions", MemoryStore())
    context = library(ssl.PROTOCOL_TLS_CLIENT, **options)
    context.load_verify_locations(bad_servers.trust)
    context.minimum_version = context.maximum_version = version
    return context


def verification_told(error: Any) -> tuple[object, ...]:
    """What programs look at; the standard library ends with the place in its own source."""
    text = re.sub(r" \(_ssl\.c:\d+\)$", "", error.strerror)
    return (*told(error), error.verify_code, error.verify_message, text)


@each_version
@pytest.mark.parametrize("bad", BAD)
def test_refused_certificates_are_told_as_by_ssl(
    certificates: Certificates, bad_servers: Any, version: ssl.TLSVersion, bad: str
) -> None:
    def steps(library: Library, **options: Any) -> list[object]:
        client = refusing_client(bad_servers, library, version, **options)
        ours, theirs = Wire(client, bad_servers(bad)).outcomes()
        assert isinstance(ours, ssl.SSLCertVerificationError)
        assert isinstance(ours, ssl.CertificateError)
        assert isinstance(ours, ValueError)
        assert ours.verify_code == BAD[bad]
        assert theirs is not None  # it is told by an alert
        return [*verification_told(ours), told(theirs)]

    store = RecordingStore()
    assert steps(SSLContext, sessions=store) == steps(ssl.SSLContext)
    assert store.kept == []


@each_version
def test_a_wrong_host_is_told_with_its_name(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    for name in ("other.example", "127.0.0.2", "::1"):

        def steps(library: Library, name: str = name) -> tuple[object, ...]:
            client = client_context(certificates, library, version)
            server = server_context(certificates, ssl.SSLContext, version)
            ours, _ = Wire(client, server, hostname=name).outcomes()
            return verification_told(ours)

        assert steps(SSLContext) == steps(ssl.SSLContext)


@each_version
def test_addresses_are_verified_as_addresses(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    client = client_context(certificates, version=version)
    server = server_context(certificates, ssl.SSLContext, version)
    names: list[str | None] = []
    server.sni_callback = lambda _, name, __: names.append(name)
    for number in range(2):
        pair = Wire(client, server, hostname="127.0.0.1").handshake()
        pair.say()
        assert pair.client.session_reused == bool(number)
    assert names == [None, None]  # RFC 6066 §3: an address is no name for SNI


@each_version
def test_unverified_connections_enter_no_verified_key(
    certificates: Certificates, bad_servers: Any, version: ssl.TLSVersion
) -> None:
    """Trap 3: who looks at nothing is remembered under his own key."""
    store = RecordingStore()
    careless = refusing_client(bad_servers, SSLContext, version, sessions=store)
    careless.check_hostname = False
    careless.verify_mode = ssl.CERT_NONE
    server = bad_servers("self-signed")
    pair = Wire(careless, server).handshake()
    pair.say()
    assert store.kept
    strict = refusing_client(bad_servers, SSLContext, version, sessions=store)
    ours, _ = Wire(strict, server).outcomes()
    assert isinstance(ours, ssl.SSLCertVerificationError)
    assert ours.session_offered is False
    careful_host = refusing_client(bad_servers, SSLContext, version, sessions=store)
    careful_host.check_hostname = False
    ours, _ = Wire(careful_host, server).outcomes()
    assert isinstance(ours, ssl.SSLCertVerificationError)
    assert Wire(careless, server).handshake().client.session_reused


# -- peers that speak something else ----------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"220 mail.example ESMTP\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00" * 20,
        b"\xff" * 20,
    ],
)
def test_a_server_that_speaks_no_tls_is_told_as_by_ssl(
    certificates: Certificates, text: bytes
) -> None:
    def steps(library: Library) -> tuple[object, ...]:
        end = End(client_context(certificates, library), server_hostname=HOST)
        with pytest.raises(ssl.SSLWantReadError):
            end.object.do_handshake()
        end.incoming.write(text)
        error = failure(end.object.do_handshake)
        assert "wrong version number" in str(error)  # urllib3 looks for it
        again = fact(end.object.do_handshake)
        assert issubclass(again[0], ssl.SSLError)
        return told(error)

    assert steps(SSLContext) == steps(ssl.SSLContext)


@pytest.mark.parametrize(
    "text",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\n\r\n",
        b"HEAD / HTTP/1.1\r\n\r\n",
        b"PUT / HTTP/1.1\r\n\r\n",
        b"CONNECT localhost:443 HTTP/1.1\r\n\r\n",
        b"EHLO localhost\r\n",
        b"\x00" * 20,
    ],
)
def test_a_client_that_speaks_no_tls_is_told_as_by_ssl(
    certificates: Certificates, text: bytes
) -> None:
    """cheroot looks for "http request" in the text, and answers in clear."""

    def steps(library: Library) -> tuple[object, ...]:
        end = End(server_context(certificates, library), server_side=True)
        end.incoming.write(text)
        error = failure(end.object.do_handshake)
        words = str(error).partition("] ")[2].partition(" (")[0]
        return (*told(error), words)

    assert steps(SSLContext) == steps(ssl.SSLContext)


def test_a_client_without_a_common_version_is_told_on_both_ends(
    certificates: Certificates,
) -> None:
    v12, v13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
    for client_version, server_version in ((v12, v13), (v13, v12)):

        def steps(
            library: Library,
            server_library: Library = ssl.SSLContext,
            client_version: ssl.TLSVersion = client_version,
            server_version: ssl.TLSVersion = server_version,
        ) -> list[tuple[object, ...]]:
            client = client_context(certificates, library, client_version)
            server = server_context(certificates, server_library, server_version)
            return [told(error) for error in Wire(client, server).outcomes() if error]

        assert steps(SSLContext)[0] == steps(ssl.SSLContext)[0]
        # A server of GnuTLS that cannot go as low as the client says "handshake failure".
        reference = steps(ssl.SSLContext, ssl.SSLContext)
        assert steps(ssl.SSLContext, SSLContext)[0][:2] == reference[0][:2]


# -- alerts -----------------------------------------------------------------------------------


def alert(number: int, level: int = 2) -> bytes:
    return bytes([0x15, 3, 3, 0, 2, level, number])


def test_every_fatal_alert_has_openssls_reason(certificates: Certificates) -> None:
    def steps(library: Library) -> dict[int, tuple[object, ...]]:
        found = {}
        for number in (*range(1, 123), 255):
            end = End(client_context(certificates, library), server_hostname=HOST)
            with pytest.raises(ssl.SSLWantReadError):
                end.object.do_handshake()
            end.incoming.write(alert(number))
            error = failure(end.object.do_handshake)
            found[number] = told(error)
            if library is SSLContext:
                assert error.session_offered is False  # type: ignore[attr-defined]
        return found

    ours, theirs = steps(SSLContext), steps(ssl.SSLContext)
    known = {number for number in ALERTS if number and theirs[number][2] is not None}
    assert len(known) > 25
    assert {n: ours[n] for n in known} == {n: theirs[n] for n in known}
    assert all(one[:2] == (ssl.SSLError, 1) for one in ours.values())


@each_version
def test_a_fatal_alert_to_a_read_has_its_reason(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    from gnutls_resume.binding import AlertLevel

    def steps(library: Library) -> list[object]:
        client = client_context(certificates, library, version)
        pair = Wire(client, server_context(certificates, version=version)).handshake()
        pair.say()
        pair.server._sslobj._session.alert_send(AlertLevel.FATAL, 80)
        pair.server.write(b"")
        pair.ends[1].outgoing.write(pair.server._sslobj._session.transport.drain())
        pair.move()
        first = fact(pair.client.read, 10)
        again = fact(pair.client.read, 10)
        assert again == (first if library is SSLContext else b"")
        return [first]

    assert steps(SSLContext) == steps(ssl.SSLContext)


def test_close_notify_in_place_of_a_hello_is_no_success(certificates: Certificates) -> None:
    end = End(client_context(certificates), server_hostname=HOST)
    with pytest.raises(ssl.SSLWantReadError):
        end.object.do_handshake()
    end.incoming.write(alert(0, level=1))
    end.incoming.write_eof()
    assert isinstance(failure(end.object.do_handshake), ssl.SSLError)


# -- timeouts ---------------------------------------------------------------------------------


@each_version
def test_timeouts_have_the_texts_of_ssl(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    def steps(library: Library) -> list[object]:
        client = client_context(certificates, library, version)
        server = server_context(certificates, ssl.SSLContext, version)
        one, other = wrap_pair(client, server, timeout=0.05)
        with one, other:
            found = [fact(one.do_handshake)]
            assert found[0][0] is TimeoutError
        with connected(client, server) as pair:
            pair.server.sendall(b"some")
            assert pair.client.recv(4) == b"some"
            pair.client.settimeout(0.05)
            found.append(fact(pair.client.recv, 10))
            found.append(fact(pair.client.recv_into, bytearray(10)))
            found.append(fact(pair.client.unwrap))
            assert pair.server.recv(10) == b""
        with connected(client, server) as pair:
            pair.client.settimeout(0.05)
            found.append(fact(pair.client.sendall, bytes(50_000_000)))
        return found

    assert steps(SSLContext) == steps(ssl.SSLContext)


@each_version
def test_a_handshake_goes_on_after_a_timeout(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    one, other = wrap_pair(
        client_context(certificates, version=version),
        server_context(certificates, ssl.SSLContext, version),
    )
    with one, other:
        one.settimeout(0.01)
        error = failure(one.do_handshake)
        assert isinstance(error, TimeoutError)
        assert error.session_offered is False  # type: ignore[attr-defined]
        one.settimeout(TOO_LONG)
        with in_thread(other.do_handshake) as errors:
            one.do_handshake()
        assert errors == []
        assert one.version() == other.version()


@each_version
def test_reads_and_writes_go_on_after_a_timeout(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    client = client_context(certificates, version=version)
    server = server_context(certificates, ssl.SSLContext, version)
    with connected(client, server) as pair:
        one, other = pair.client, pair.server
        one.settimeout(0.01)
        for number in range(3):
            assert isinstance(failure(one.recv, 10), TimeoutError)
            other.sendall(b"%d" % number)
            one.settimeout(TOO_LONG)
            assert one.recv(10) == b"%d" % number
            one.settimeout(0.01)
        data = bytes(range(256)) * 40_000
        sent = one.send(data)  # what fits
        assert 0 < sent < len(data)
        got = bytearray()

        def receive() -> None:
            while len(got) < len(data):
                got.extend(other.recv(65_536))

        with in_thread(receive) as errors:
            one.settimeout(TOO_LONG)
            one.sendall(data[sent:])
        assert errors == []
        assert got == data


def test_a_timeout_inside_a_record_loses_nothing(certificates: Certificates) -> None:
    one, other = tcp_pair()
    client = client_context(certificates).wrap_socket(
        one, server_hostname=HOST, do_handshake_on_connect=False
    )
    server = End(server_context(certificates, ssl.SSLContext), server_side=True)
    other.settimeout(TOO_LONG)
    client.settimeout(TOO_LONG)
    with client, other:
        with in_thread(client.do_handshake) as errors:
            while True:
                try:
                    server.object.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    other.sendall(server.outgoing.read())
                    server.incoming.write(other.recv(65_536))
            other.sendall(server.outgoing.read())
        assert errors == []
        server.object.write(b"cut in two")
        record = server.outgoing.read()
        client.settimeout(0.02)
        for cut in (3, 5, 9):
            other.sendall(record[:cut])
            record = record[cut:]
            assert isinstance(failure(client.recv, 100), TimeoutError)
        other.sendall(record)
        client.settimeout(TOO_LONG)
        assert client.recv(100) == b"cut in two"


# -- a session was offered --------------------------------------------------------------------


def break_off(kind: str, sock: socket.socket) -> None:
    """The peer of a handshake, which ends it after the ClientHello."""
    assert len(sock.recv(10_000)) > CLIENT_HELLO_AT_LEAST
    if kind == "alert":
        sock.sendall(alert(40))
    elif kind == "plaintext":
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    elif kind == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


BROKEN = {
    "alert": (ssl.SSLError, "SSLV3_ALERT_HANDSHAKE_FAILURE"),
    "plaintext": (ssl.SSLError, "WRONG_VERSION_NUMBER"),
    "reset": (ConnectionResetError, None),
    "eof": (ssl.SSLEOFError, "UNEXPECTED_EOF_WHILE_READING"),
}


@each_version
@pytest.mark.parametrize("kind", BROKEN)
def test_a_handshake_that_breaks_off_says_whether_a_session_was_offered(
    certificates: Certificates, version: ssl.TLSVersion, kind: str
) -> None:
    store = RecordingStore()
    client = client_context(certificates, version=version, sessions=store)
    server = server_context(certificates, ssl.SSLContext, version)
    for offered in (False, True):
        if offered:
            assert not resumed(client, server)
        kept = len(store.kept)
        one, other = tcp_pair()
        one.settimeout(TOO_LONG)
        tls = client.wrap_socket(one, server_hostname=HOST, do_handshake_on_connect=False)
        with tls, in_thread(partial(break_off, kind, other)) as errors:
            error = failure(tls.do_handshake)
            assert (type(error), getattr(error, "reason", None)) == BROKEN[kind]
            assert error.session_offered is offered  # type: ignore[attr-defined]
            again = failure(tls.do_handshake)
            assert again.session_offered is offered  # type: ignore[attr-defined]
        assert errors == []
        assert {*store.kept[kept:]} <= ({NOTHING, TICKETS_ONLY} if offered else set())
    # The next connection is full, and goes well.
    with connected(client, server) as pair:
        assert pair.client.miss_reason is MissReason.AFTER_FAILURE
        pair.server.sendall(b"data")
        assert pair.client.recv(4) == b"data"


@each_version
def test_a_timeout_before_the_first_byte_forgets_nothing(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    store = MemoryStore()
    client = client_context(certificates, version=version, sessions=store)
    server = server_context(certificates, ssl.SSLContext, version)
    assert not resumed(client, server)
    one, other = wrap_pair(client, server, timeout=0.05)
    with one, other:
        error = failure(one.do_handshake)
        assert isinstance(error, TimeoutError)
        assert error.session_offered is True  # type: ignore[attr-defined]
    assert resumed(client, server)


@each_version
def test_a_timeout_after_the_first_byte_makes_the_next_handshake_full(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    client = client_context(certificates, version=version)
    server = server_context(certificates, ssl.SSLContext, version)
    assert not resumed(client, server)
    one, other = tcp_pair()
    one.settimeout(0.2)
    tls = client.wrap_socket(one, server_hostname=HOST, do_handshake_on_connect=False)
    with tls, other:
        other.sendall(b"\x16")
        assert isinstance(failure(tls.do_handshake), TimeoutError)
    assert not resumed(client, server)


@each_version
def test_a_handshake_that_goes_on_after_such_a_timeout_is_none_that_failed(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    client = client_context(certificates, version=version)
    server = server_context(certificates, ssl.SSLContext, version)
    assert not resumed(client, server)
    one, other = tcp_pair()
    tls = client.wrap_socket(one, server_hostname=HOST, do_handshake_on_connect=False)
    end = End(server, server_side=True)
    tls.settimeout(0.05)
    other.settimeout(TOO_LONG)
    with tls, other:
        assert isinstance(failure(tls.do_handshake), TimeoutError)
        end.incoming.write(other.recv(65_536))
        with pytest.raises(ssl.SSLWantReadError):
            end.object.do_handshake()
        flight = end.outgoing.read()
        other.sendall(flight[:10])
        assert isinstance(failure(tls.do_handshake), TimeoutError)
        tls.settimeout(TOO_LONG)
        other.sendall(flight[10:])
        tls.do_handshake()
        assert tls.session_reused
        end.incoming.write(other.recv(65_536))
        end.object.do_handshake()
        end.object.write(b"data")
        other.sendall(end.outgoing.read())
        assert tls.recv(4) == b"data"
    with connected(client, server) as pair:
        assert pair.client.miss_reason is not MissReason.AFTER_FAILURE
        assert pair.client.session_reused == (version == ssl.TLSVersion.TLSv1_3)


def test_a_refused_connect_forgets_nothing(certificates: Certificates) -> None:
    client, server = client_context(certificates), server_context(certificates)
    assert not resumed(client, server)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    sock = client.wrap_socket(socket.socket(), server_hostname=HOST)
    with sock:
        assert isinstance(failure(sock.connect, address), ConnectionRefusedError)
    assert resumed(client, server)


@each_version
def test_the_standard_librarys_server_that_refuses_our_certificate(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    """In TLS 1.3 the client hears of it when it reads."""
    for mode in (ssl.CERT_REQUIRED,):

        def steps(library: Library, mode: ssl.VerifyMode = mode) -> list[object]:
            client = client_context(certificates, library, version)
            server = server_context(certificates, ssl.SSLContext, version)
            ours, theirs = socket_outcomes(client, wanting_certificates(server, certificates, mode))
            return [told(ours) if ours else None, told(theirs) if theirs else None]

        assert steps(SSLContext) == steps(ssl.SSLContext)


# -- callbacks, and what asyncio survives -----------------------------------------------------


class BrokenStore(MemoryStore):
    """Whatever is asked, it raises."""

    def __getattribute__(self, name: str) -> Any:
        if name in {"get", "put", "add", "push", "take", "remove"}:
            return self.fail
        return super().__getattribute__(name)

    def fail(self, *_: object) -> Any:
        raise RuntimeError("the store is broken")


def fail(*_: object) -> Any:
    raise LookupError("a fault of the callback")


@each_version
def test_a_failing_store_or_listener_fails_no_handshake(
    certificates: Certificates, version: ssl.TLSVersion, caplog: pytest.LogCaptureFixture
) -> None:
    client = client_context(
        certificates, version=version, sessions=BrokenStore(), on_handshake=fail
    )
    server = server_context(certificates, version=version, on_handshake=fail)
    for _ in range(2):
        assert not resumed(client, server)
    assert client.stats["on_handshake_errors"] == server.stats["on_handshake_errors"] == 2
    assert client.stats["store_errors"] >= 2
    assert client.stats["client_store_error"] == 2


@each_library
def test_a_handshake_in_asyncio_with_a_failing_callback_ends_at_once(
    certificates: Certificates, library: Library
) -> None:
    """Anything but an SSLError out of the first do_handshake would hang for a minute."""
    server = server_context(certificates, library)
    server.sni_callback = fail
    client = client_context(certificates, ssl.SSLContext)
    ended = threading.Event()

    async def run() -> BaseException:
        errors: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: errors.append(what))
        serving = await asyncio.start_server(lambda *_: ended.set(), "127.0.0.1", 0, ssl=server)
        address = serving.sockets[0].getsockname()
        try:
            async with asyncio.timeout(10):
                await asyncio.open_connection(*address, ssl=client, server_hostname=HOST)
        except OSError as error:
            return error
        finally:
            serving.close()
        raise AssertionError("it was accepted")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "unraisablehook", lambda *_: None)  # of the standard library
        error = asyncio.run(run())
    assert isinstance(error, ssl.SSLError | ConnectionError)
    assert not ended.is_set()


@each_version
def test_asyncio_talks_and_resumes_with_failing_stores_and_listeners(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    client = client_context(
        certificates, version=version, sessions=BrokenStore(), on_handshake=fail
    )
    server = server_context(certificates, version=version, on_handshake=fail)
    assert asyncio.run(talk(client, server, 2)) == [False, False]
    working = client_context(certificates, version=version)
    assert asyncio.run(talk(working, server, 3)) == [False, True, True]


async def talk(client: Any, server: Any, times: int) -> list[bool]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(100_000))
        await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    serving = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server)
    address = serving.sockets[0].getsockname()
    found = []
    for _ in range(times):
        reader, writer = await asyncio.open_connection(*address, ssl=client, server_hostname=HOST)
        one = writer.get_extra_info("ssl_object")
        assert isinstance(one, SSLObject)
        found.append(one.session_reused)
        writer.write(bytes(100_000))
        assert await reader.readexactly(100_000) == bytes(100_000)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
    serving.close()
    await serving.wait_closed()
    return found


def test_first_handshake_on_a_bio_raises_ssl_errors_only(
    certificates: Certificates, bad_servers: Any
) -> None:
    """Whatever a callback of ours raises."""
    for error in (ValueError("x"), KeyError(1), OSError(errno.EIO, "x"), TimeoutError("x")):

        def refuse(*_: object, error: Exception = error) -> None:
            raise error

        server = server_context(certificates)
        server.sni_callback = refuse
        _, theirs = Wire(client_context(certificates), server).outcomes()
        assert isinstance(theirs, ssl.SSLError)
        assert theirs.__cause__ is error
        assert theirs.session_offered is False  # type: ignore[attr-defined]
    client = client_context(certificates)
    client.keylog_filename = str(certificates.folder / "keys")
    end = End(client, server_hostname=HOST)
    end.object._sslobj._session.keylog = fail
    pair = Wire(client, server_context(certificates))
    pair.ends = (end, pair.ends[1])
    ours, _ = pair.outcomes()
    assert isinstance(ours, ssl.SSLError)


def test_what_goes_wrong_before_the_first_flight_is_an_ssl_error_too(
    certificates: Certificates,
) -> None:
    end = End(client_context(certificates), server_hostname=HOST)
    end.object._sslobj._given = object()  # no session at all
    error = failure(end.object.do_handshake)
    assert isinstance(error, ssl.SSLError)
    assert isinstance(error.__cause__, AttributeError)


def test_what_a_callback_raises_is_the_cause_of_an_ssl_error(certificates: Certificates) -> None:
    """A server that accepts connections survives an OSError, and nothing else."""
    server = server_context(certificates)
    server.sni_callback = fail
    ours, theirs = socket_outcomes(client_context(certificates), server)
    assert isinstance(theirs, ssl.SSLError)
    assert theirs.reason == "CALLBACK_FAILED"
    assert isinstance(theirs.__cause__, LookupError)
    assert isinstance(ours, ssl.SSLError)


def test_on_a_socket_a_callbacks_exception_is_told_as_by_ssl(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server's loop that expects an OSError of an accept must survive it."""
    monkeypatch.setattr(sys, "unraisablehook", lambda *_: None)  # of the standard library

    def steps(library: Library) -> tuple[object, ...]:
        server = server_context(certificates, library)
        server.sni_callback = fail
        ours, theirs = socket_outcomes(client_context(certificates), server)
        assert isinstance(ours, ssl.SSLError)
        assert theirs is not None
        return told(theirs)

    assert steps(SSLContext) == steps(ssl.SSLContext)


def test_interrupts_go_through(certificates: Certificates) -> None:
    """Ctrl-C in a blocking read: Python serves it, and the connection goes on."""
    program = """
import os, signal, ssl, sys, threading
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
sys.path.insert(0, sys.argv[1])
from gnutls_resume import SSLContext
import socket
one, other = socket.socketpair()
context = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
tls = context.wrap_socket(one, server_hostname="localhost", do_handshake_on_connect=False)
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    tls.do_handshake()
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, str(certificates.folder)],
        capture_output=True,
        text=True,
        timeout=TOO_LONG,
        check=True,
    )
    assert done.stdout == "interrupted\n"


@each_version
def test_a_refused_certificate_is_told_at_once_whatever_the_timeout(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    """What the peer has sent meanwhile is read away, and not waited for."""
    client = client_context(certificates, version=version)
    server = server_context(certificates, ssl.SSLContext, version)
    one, other = wrap_pair(client, server, hostname="other.example", timeout=TOO_LONG)
    with one, other, in_thread(lambda: fact(other.do_handshake)):
        before = time.monotonic()
        assert isinstance(failure(one.do_handshake), ssl.SSLCertVerificationError)
        assert time.monotonic() - before < TOO_LONG / 3
