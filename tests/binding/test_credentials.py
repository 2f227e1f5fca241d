"""Certificates, keys, trust and revocation lists: their forms, and what is wrong with them."""

import datetime as dt
import gc
import os
import resource
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from conftest import HOST, Certificates
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from pair import TLS12, TLS13, Pair, Setting, in_thread

from gnutls_resume.binding import (
    CertificateRequest,
    CertificateStatus,
    Credentials,
    InitFlag,
    Session,
    TicketKey,
    certificate_verification_status_print,
)
from gnutls_resume.errors import AlertError, GnuTLSError, VerificationError

NAMES = ["certificate", "key", "trust", "crl"]
UNKNOWN_CA, BAD_CERTIFICATE = 48, 42  # RFC 8446 §6.2
each_name = pytest.mark.parametrize("name", NAMES)


class NamedPath:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


class BytesPath(NamedPath):
    def __fspath__(self) -> Any:
        return os.fsencode(self.path)


def give(certificates: Certificates, name: str, value: Any) -> Credentials:
    """Credentials with `value` in one place, and what else has to be there."""
    arguments: dict[str, Any] = {name: value}
    if name == "certificate":
        arguments["key"] = certificates.key
    if name == "key":
        arguments["certificate"] = certificates.certificate
    return Credentials(**arguments)


# -- forms ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [str, Path, NamedPath, BytesPath, Path.read_bytes])
def test_each_may_be_a_path_or_pem_bytes(
    form: Callable[[Path], Any], certificates: Certificates
) -> None:
    server = Credentials(
        certificate=form(certificates.certificate_file), key=form(certificates.key_file)
    )
    client = Credentials(trust=form(certificates.trust_file))
    setting = Setting(certificates, server_credentials=server, client_credentials=client)
    with setting.pair() as pair:
        pair.handshake()
        pair.exchange()
        assert len(pair.client.certificate_get_peers()) == 2


def test_relative_path_is_looked_up_where_the_program_runs(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(certificates.folder)
    Credentials(certificate="certificate.pem", key="key.pem", trust="trust.pem")


def test_trust_may_hold_several_certificates(certificates: Certificates) -> None:
    both = certificates.other_trust + b"a comment\n" + certificates.trust
    setting = Setting(certificates, client_credentials=Credentials(trust=both))
    with setting.pair() as pair:
        pair.handshake()


def test_credentials_may_be_empty() -> None:
    assert repr(Credentials()) == "<Credentials>"


def test_repr_shows_nothing(certificates: Certificates) -> None:
    assert repr(certificates.server()) == str(certificates.server()) == "<Credentials>"


def test_credentials_are_given_by_keyword(certificates: Certificates) -> None:
    with pytest.raises(TypeError):
        Credentials(certificates.certificate, certificates.key)  # type: ignore[call-arg]


def test_system_trust_is_added(certificates: Certificates) -> None:
    credentials = Credentials(trust=certificates.trust)
    assert credentials.set_x509_system_trust() >= 0
    with Setting(certificates, client_credentials=credentials).pair() as pair:
        pair.handshake()


def test_system_trust_does_not_include_everyone(certificates: Certificates) -> None:
    credentials = Credentials()
    credentials.set_x509_system_trust()
    assert refused(Setting(certificates, client_credentials=credentials)).status


# -- files ------------------------------------------------------------------------------------


@each_name
def test_missing_file_is_named(name: str, certificates: Certificates) -> None:
    path = certificates.folder / "missing.pem"
    with pytest.raises(FileNotFoundError) as caught:
        give(certificates, name, path)
    assert str(path) in str(caught.value)


@each_name
def test_directory_is_no_file(name: str, certificates: Certificates) -> None:
    with pytest.raises(IsADirectoryError) as caught:
        give(certificates, name, certificates.folder)
    assert str(certificates.folder) in str(caught.value)


@each_name
def test_file_below_a_file_does_not_exist(name: str, certificates: Certificates) -> None:
    with pytest.raises(NotADirectoryError):
        give(certificates, name, certificates.trust_file / "key.pem")


def outcome_as_nobody(work: Callable[[], object]) -> str:
    """The name of the exception of `work` in a child process without root's rights."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads
        child = os.fork()
    if child == 0:
        outcome = "no error"
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            work()
        except BaseException as error:
            outcome = type(error).__name__
        finally:
            os.write(writer, outcome.encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        outcome = file.read()
    os.waitpid(child, 0)
    return outcome


@each_name
def test_unreadable_file_is_a_permission_error(
    name: str, certificates: Certificates, tmp_path: Path
) -> None:
    path = tmp_path / "secret.pem"
    path.write_bytes(certificates.key)
    path.chmod(0)
    assert outcome_as_nobody(lambda: give(certificates, name, path)) == "PermissionError"


@each_name
def test_path_with_a_nul_is_refused(name: str, certificates: Certificates) -> None:
    files = {"certificate": "certificate", "key": "key"}
    path = certificates.folder / f"{files.get(name, 'trust')}.pem\0.txt"
    with pytest.raises(ValueError, match="null"):
        give(certificates, name, str(path))


def test_pem_in_a_str_does_not_show_the_key(certificates: Certificates) -> None:
    text = certificates.key.decode()
    with pytest.raises((TypeError, ValueError, OSError)) as caught:
        give(certificates, "key", text)
    line = text.splitlines()[1]
    assert line not in str(caught.value)
    assert line not in repr(vars(caught.value))


# -- wrong ones -------------------------------------------------------------------------------


@each_name
@pytest.mark.parametrize("value", [5, 1.5, [b"pem"], bytearray(b"pem"), object()], ids=type)
def test_other_types_are_refused(name: str, value: Any, certificates: Certificates) -> None:
    with pytest.raises(TypeError, match=f"{name} must be a path or PEM bytes, not"):
        give(certificates, name, value)


@pytest.mark.parametrize("name", ["certificate", "key"])
def test_certificate_and_key_come_together(name: str, certificates: Certificates) -> None:
    with pytest.raises(ValueError, match="certificate and key come together"):
        Credentials(**{name: getattr(certificates, name)})


@each_name
@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\0",
        b"garbage",
        b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
        b"-----BEGIN",
    ],
    ids=lambda value: str(value)[2:24],
)
@pytest.mark.parametrize("as_file", ["bytes", "file"])
def test_garbage_is_refused(
    name: str, value: bytes, as_file: str, certificates: Certificates, tmp_path: Path
) -> None:
    path = tmp_path / "garbage.pem"
    path.write_bytes(value)
    with pytest.raises((GnuTLSError, ValueError)):
        give(certificates, name, path if as_file == "file" else value)


@each_name
def test_truncated_file_is_refused(name: str, certificates: Certificates) -> None:
    whole = {"certificate": certificates.certificate, "key": certificates.key}
    pem = whole.get(name, certificates.trust)
    end = pem.index(b"-----END")
    for size in (end // 2, end - 2, end):
        with pytest.raises((GnuTLSError, ValueError)):
            give(certificates, name, pem[:size])


def test_key_of_another_certificate_is_refused(certificates: Certificates) -> None:
    with pytest.raises(GnuTLSError) as caught:
        Credentials(certificate=certificates.certificate, key=certificates.client_key)
    assert caught.value.name == "GNUTLS_E_CERTIFICATE_KEY_MISMATCH"


def test_key_where_a_certificate_should_be_is_refused(certificates: Certificates) -> None:
    with pytest.raises(GnuTLSError):
        Credentials(certificate=certificates.key, key=certificates.key)
    with pytest.raises((ValueError, GnuTLSError)):
        Credentials(trust=certificates.key)


@pytest.mark.parametrize("trust", [b"", b"garbage", b"# only a comment\n"])
def test_trust_without_a_certificate_is_refused(trust: bytes) -> None:
    with pytest.raises((ValueError, GnuTLSError)):
        Credentials(trust=trust)


def test_encrypted_key_is_refused(certificates: Certificates) -> None:
    key = serialization.load_pem_private_key(certificates.key, None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )
    with pytest.raises(GnuTLSError):
        Credentials(certificate=certificates.certificate, key=encrypted)


# -- verification -----------------------------------------------------------------------------


def refused(setting: Setting) -> VerificationError:
    """The client's error; the server is told."""
    with setting.pair() as pair:
        client, server = pair.outcomes()
    assert isinstance(client, VerificationError)
    assert isinstance(server, AlertError)
    assert client.status & CertificateStatus.INVALID
    assert client.reasons == certificate_verification_status_print(client.status)
    assert client.reasons in str(client)
    assert client.fatal
    return client


@pytest.mark.parametrize("priority", [TLS12, TLS13])
def test_certificate_of_an_unknown_authority_is_refused(
    priority: str, certificates: Certificates
) -> None:
    other = Credentials(trust=certificates.other_trust)
    error = refused(Setting(certificates, priority, client_credentials=other))
    assert error.status & CertificateStatus.SIGNER_NOT_FOUND
    assert "issuer is unknown" in error.reasons


@pytest.mark.parametrize("priority", [TLS12, TLS13])
def test_certificate_of_another_host_is_refused(priority: str, certificates: Certificates) -> None:
    error = refused(Setting(certificates, priority, server_name="www.example.org"))
    assert error.status == CertificateStatus.INVALID | CertificateStatus.UNEXPECTED_OWNER
    assert "does not match" in error.reasons


def test_client_that_does_not_verify_takes_any_certificate(certificates: Certificates) -> None:
    setting = Setting(certificates, server_name=None, client_credentials=Credentials())
    with setting.pair() as pair:
        pair.handshake()
        pair.exchange()
        status = pair.client.certificate_verify_peers(HOST)
        assert status & CertificateStatus.SIGNER_NOT_FOUND


def asking(request: CertificateRequest) -> Callable[[Session, Session], None]:
    def prepare(_: Session, server: Session) -> None:
        server.certificate_server_set_request(request)
        server.set_verify_cert(None)

    return prepare


@pytest.mark.parametrize("priority", [TLS12, TLS13])
def test_client_certificate_is_verified(priority: str, certificates: Certificates) -> None:
    setting = Setting(
        certificates,
        priority,
        client_credentials=certificates.client_with_certificate(),
        prepare=asking(CertificateRequest.REQUIRE),
    )
    with setting.pair() as pair:
        pair.handshake()
        assert pair.server.certificate_get_peers()[0] == pair.client.certificate_get_ours()
        assert pair.server.certificate_verify_peers() == 0

    # Or it would not show a certificate of which the server cannot know the authority.
    setting.client_flags = InitFlag.FORCE_CLIENT_CERT
    setting.server_credentials = Credentials(
        certificate=certificates.certificate,
        key=certificates.key,
        trust=certificates.other_trust,
    )
    with setting.pair() as pair:
        client, server = pair.outcomes()
        assert isinstance(server, VerificationError)
        assert server.status & CertificateStatus.SIGNER_NOT_FOUND
        assert isinstance(client, AlertError) or told(pair)


def told(pair: Pair) -> bool:
    """A client of TLS 1.3 is done before the server looks at its certificate."""
    with pytest.raises(AlertError):
        pair.client.record_recv()
    return True


@pytest.mark.parametrize("priority", [TLS12, TLS13])
@pytest.mark.parametrize("request_", [CertificateRequest.REQUIRE, CertificateRequest.REQUEST])
def test_server_may_insist_on_a_client_certificate(
    request_: CertificateRequest, priority: str, certificates: Certificates
) -> None:
    def prepare(_: Session, server: Session) -> None:
        server.certificate_server_set_request(request_)

    with Setting(certificates, priority, prepare=prepare).pair() as pair:
        client, server = pair.outcomes()
        if request_ is CertificateRequest.REQUEST:
            assert (client, server) == (None, None)
            assert pair.server.certificate_get_peers() == []
        else:
            assert isinstance(server, GnuTLSError)
            assert isinstance(client, AlertError) or told(pair)


# -- revocation -------------------------------------------------------------------------------


class Authority:
    """An authority whose revocation lists can be made."""

    def __init__(self) -> None:
        self.ca = trustme.CA()
        self.trust = self.ca.cert_pem.bytes()
        self.server = self.ca.issue_cert(HOST)
        self.client = self.ca.issue_cert("client@example.org")

    def chain(self, leaf: trustme.LeafCert) -> bytes:
        return b"".join(blob.bytes() for blob in leaf.cert_chain_pems)

    def credentials(self, leaf: trustme.LeafCert, **more: bytes) -> Credentials:
        return Credentials(certificate=self.chain(leaf), key=leaf.private_key_pem.bytes(), **more)

    def crl(self, *revoked: trustme.LeafCert) -> bytes:
        now = dt.datetime.now(dt.UTC)
        key = serialization.load_pem_private_key(self.ca.private_key_pem.bytes(), None)
        issuer = x509.load_pem_x509_certificate(self.trust).subject
        builder = x509.CertificateRevocationListBuilder(
            issuer_name=issuer,
            last_update=now - dt.timedelta(hours=1),
            next_update=now + dt.timedelta(hours=1),
        )
        for leaf in revoked:
            serial = x509.load_pem_x509_certificate(self.chain(leaf)).serial_number
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder(serial, now - dt.timedelta(hours=1)).build()
            )
        signed = builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]
        return signed.public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.mark.parametrize("form", ["bytes", "file"])
@pytest.mark.parametrize("priority", [TLS12, TLS13])
def test_revoked_server_certificate_is_refused(
    priority: str, form: str, authority: Authority, certificates: Certificates, tmp_path: Path
) -> None:
    crl: Any = authority.crl(authority.server)
    if form == "file":
        (tmp_path / "crl.pem").write_bytes(crl)
        crl = tmp_path / "crl.pem"
    setting = Setting(
        certificates,
        priority,
        server_credentials=authority.credentials(authority.server),
        client_credentials=Credentials(trust=authority.trust, crl=crl),
    )
    error = refused(setting)
    assert error.status & CertificateStatus.REVOKED
    assert "revoked" in error.reasons


def test_certificate_that_no_list_names_is_taken(
    authority: Authority, certificates: Certificates
) -> None:
    for crl in (authority.crl(), authority.crl(authority.client)):
        setting = Setting(
            certificates,
            server_credentials=authority.credentials(authority.server),
            client_credentials=Credentials(trust=authority.trust, crl=crl),
        )
        with setting.pair() as pair:
            pair.handshake()
            pair.exchange()


def test_revoked_client_certificate_is_refused(
    authority: Authority, certificates: Certificates
) -> None:
    crl = authority.crl(authority.client)
    setting = Setting(
        certificates,
        server_credentials=authority.credentials(authority.server, trust=authority.trust, crl=crl),
        client_credentials=authority.credentials(authority.client, trust=authority.trust),
        prepare=asking(CertificateRequest.REQUIRE),
    )
    with setting.pair() as pair:
        _, server = pair.outcomes()
        assert isinstance(server, VerificationError)
        assert server.status & CertificateStatus.REVOKED
        assert told(pair)


def test_revocation_shows_on_a_resumed_session_when_it_is_looked_for(
    authority: Authority, certificates: Certificates
) -> None:
    setting = Setting(
        certificates,
        server_credentials=authority.credentials(authority.server),
        client_credentials=Credentials(trust=authority.trust),
        ticket_key=TicketKey.generate(),
    )
    data, _ = setting.connect()
    setting.client_credentials = Credentials(
        trust=authority.trust, crl=authority.crl(authority.server)
    )
    with setting.pair(data) as pair:
        pair.handshake()
        assert pair.resumed == (True, True), "GnuTLS does not look"
        assert pair.client.certificate_verify_peers(HOST) & CertificateStatus.REVOKED


# -- sharing ----------------------------------------------------------------------------------


def test_many_sessions_share_credentials(certificates: Certificates) -> None:
    setting = Setting(
        certificates,
        client_credentials=certificates.client_with_certificate(),
        server_credentials=certificates.server(),
        prepare=asking(CertificateRequest.REQUIRE),
    )

    def connect() -> None:
        for _ in range(10):
            setting.connect()

    with in_thread(connect) as one, in_thread(connect) as other:
        connect()
    assert one == other == []


def test_credentials_live_as_long_as_their_sessions(certificates: Certificates) -> None:
    credentials = certificates.client()
    alive = weakref.ref(credentials)
    setting = Setting(certificates, client_credentials=credentials)
    del credentials
    with setting.pair() as pair:
        setting.client_credentials = None
        gc.collect()
        assert alive() is not None
        pair.handshake()
        pair.exchange()
    assert alive() is None


STATM = Path("/proc/self/statm")


def resident() -> int:
    """Bytes of memory that this process uses."""
    return int(STATM.read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(not STATM.exists(), reason="needs Linux")
def test_credentials_leave_no_memory(certificates: Certificates) -> None:
    def make(count: int) -> None:
        for _ in range(count):
            certificates.server()
            with pytest.raises(GnuTLSError):
                Credentials(certificate=certificates.certificate, key=certificates.client_key)

    make(100)
    before = resident()
    make(400)
    assert resident() - before < 4 << 20, "some 29 KiB each would be 12 MiB"
