"""Client certificates both ways, in the handshake and after it, full and resumed."""

import contextlib
import ssl
import threading
from typing import Any

import pytest
from conftest import Certificates
from drop_in.peers import (
    Library,
    client_context,
    connected,
    each_library,
    fact,
    resumed,
    server_context,
    socket_outcomes,
    told,
    wanting_certificates,
    with_certificate,
)
from pair import in_thread
from wrapped import Wire, each_version

from gnutls_resume import MissReason, SSLContext

MODES = pytest.mark.parametrize(
    "mode",
    [ssl.CERT_NONE, ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED],
    ids=["none", "optional", "required"],
)
SHOWN = pytest.mark.parametrize("shown", [True, False], ids=["shown", "not shown"])


@each_version
@MODES
@SHOWN
@pytest.mark.parametrize("ours", ["client", "server"])
def test_certificates_of_clients_are_asked_for_and_told_as_in_ssl(
    certificates: Certificates,
    version: ssl.TLSVersion,
    mode: ssl.VerifyMode,
    ours: str,
    *,
    shown: bool,
) -> None:
    def steps(library: Library) -> list[object]:
        libraries = [ssl.SSLContext, ssl.SSLContext]
        libraries[ours == "server"] = library
        client = client_context(certificates, libraries[0], version)
        if shown:
            with_certificate(client, certificates)
        server = server_context(certificates, libraries[1], version)
        wanting_certificates(server, certificates, mode)
        pair = Wire(client, server)
        errors = pair.outcomes()
        if errors != (None, None):
            return [told(error) if error else None for error in errors]
        if mode == ssl.CERT_REQUIRED and not shown:  # TLS 1.3: the client hears of it later
            pair.move()
            return [fact(pair.client.read, 1)]
        pair.say()
        pair.say(from_server=False)
        return [
            fact(one.getpeercert, binary_form=form)
            for one in (pair.client, pair.server)
            for form in (False, True)
        ]

    assert steps(SSLContext) == steps(ssl.SSLContext)


@each_version
@each_library
def test_a_resumed_server_session_still_knows_its_peer(
    certificates: Certificates, library: Library, version: ssl.TLSVersion
) -> None:
    """With our client; the standard library's has to carry its session itself."""
    server = wanting_certificates(server_context(certificates, version=version), certificates)
    client = with_certificate(client_context(certificates, library, version), certificates)
    session = None
    for number in range(3):
        pair = Wire(client, server, session=session).handshake()
        pair.say()
        assert pair.server.session_reused == bool(number)
        subject = pair.server.getpeercert()["subjectAltName"]
        assert subject == (("email", "client@example.org"),)
        der = pair.server.getpeercert(binary_form=True)
        assert der == ssl.PEM_cert_to_DER_cert(
            certificates.client_certificate.decode().partition("-----END")[0]
            + "-----END CERTIFICATE-----\n"
        )
        chain = pair.server._sslobj.get_verified_chain()
        assert len(chain) == 3
        session = pair.client.session if library is ssl.SSLContext else None


@each_version
def test_a_session_without_certificate_serves_no_server_that_needs_one(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    """The servers differ in this alone, and have the same process key."""
    open_to_all = server_context(certificates, version=version)
    strict = wanting_certificates(server_context(certificates, version=version), certificates)
    client = client_context(certificates, ssl.SSLContext, version)
    pair = Wire(client, open_to_all).handshake()
    pair.say()
    session = pair.client.session
    pair = Wire(client, strict, session=session)
    _, theirs = pair.outcomes()
    assert isinstance(theirs, ssl.SSLError)
    again = Wire(client, open_to_all, session=session).handshake()
    again.say()
    assert again.server.session_reused


@each_version
def test_a_session_with_a_certificate_serves_no_server_of_other_trust(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    one = wanting_certificates(server_context(certificates, version=version), certificates)
    other = wanting_certificates(server_context(certificates, version=version), certificates)
    other.load_verify_locations(cadata=certificates.other_trust.decode())
    client = with_certificate(client_context(certificates, version=version), certificates)
    assert not resumed(client, one)
    with connected(client, other) as pair:
        assert not pair.client.session_reused
        assert pair.server.miss_reason is MissReason.KEY_UNKNOWN


@each_version
def test_a_certificate_of_an_unknown_authority_is_refused_on_both_ends(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    def steps(library: Library) -> list[object]:
        server = server_context(certificates, library, version)
        server.load_verify_locations(cadata=certificates.other_trust.decode())
        server.verify_mode = ssl.CERT_REQUIRED
        client = with_certificate(
            client_context(certificates, ssl.SSLContext, version), certificates
        )
        ours, theirs = socket_outcomes(client, server)
        assert isinstance(theirs, ssl.SSLCertVerificationError)
        return [told(ours) if ours else None, told(theirs), theirs.verify_code]

    assert steps(SSLContext) == steps(ssl.SSLContext)


# -- after the handshake ----------------------------------------------------------------------


def asking_later(certificates: Certificates) -> Any:
    server = server_context(certificates, ssl.SSLContext, ssl.TLSVersion.TLSv1_3)
    server.post_handshake_auth = True
    return wanting_certificates(server, certificates)


@each_library
@SHOWN
def test_the_client_shows_its_certificate_after_the_handshake(
    certificates: Certificates, library: Library, *, shown: bool
) -> None:
    client = client_context(certificates, library, ssl.TLSVersion.TLSv1_3)
    client.post_handshake_auth = True
    if shown:
        with_certificate(client, certificates)
    pair = Wire(client, asking_later(certificates)).handshake()
    pair.say()
    assert not pair.server.getpeercert()
    pair.server.verify_client_post_handshake()
    pair.server.write(b"who are you?")
    pair.move()
    assert pair.client.read(100) == b"who are you?"
    pair.client.write(b"see above")
    pair.move()
    if shown:
        assert pair.server.read(100) == b"see above"
        subject = pair.server.getpeercert()["subjectAltName"]
        assert subject == (("email", "client@example.org"),)
    else:
        assert fact(pair.server.read, 100)[0] is ssl.SSLError


def test_the_client_shows_its_certificate_beside_a_writer(certificates: Certificates) -> None:
    client = with_certificate(client_context(certificates), certificates)
    client.post_handshake_auth = True
    piece = bytes(50_000)
    with connected(client, asking_later(certificates)) as pair:
        stop = threading.Event()

        def write() -> None:
            while not stop.is_set():
                pair.client.sendall(piece)

        def read() -> None:
            try:
                while pair.client.recv(1000) != b"stop":
                    pass
            finally:
                stop.set()

        with in_thread(write) as first, in_thread(read) as second:
            pair.server.verify_client_post_handshake()
            while not isinstance(fact(pair.server.getpeercert), dict):
                assert pair.server.recv(100_000)
            pair.server.sendall(b"stop")
            pair.server.settimeout(0.5)
            with contextlib.suppress(TimeoutError):
                while pair.server.recv(100_000):
                    pass
        assert [*first, *second] == []


def test_a_client_that_does_not_offer_it_cannot_be_asked(certificates: Certificates) -> None:
    def steps(library: Library) -> object:
        client = client_context(certificates, library, ssl.TLSVersion.TLSv1_3)
        pair = Wire(client, asking_later(certificates)).handshake()
        pair.say()
        return fact(pair.server.verify_client_post_handshake)

    assert steps(SSLContext) == steps(ssl.SSLContext)


def test_our_server_refuses_to_ask_later_and_says_what_to_use(certificates: Certificates) -> None:
    pair = Wire(client_context(certificates), server_context(certificates)).handshake()
    with pytest.raises(NotImplementedError, match="verify_mode"):
        pair.server.verify_client_post_handshake()
