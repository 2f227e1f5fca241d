"""Hand-made certificates, and what the standard library says of them: the oracle.

Everything is P-256, valid from yesterday until tomorrow, unless a test says otherwise.
"""

import datetime as dt
import ipaddress
import ssl
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Issued:
    certificate: x509.Certificate
    key: Any

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


def common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def general_name(text: str) -> x509.GeneralName:
    """An iPAddress if `text` is an address, else a dNSName."""
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def issue(
    subject: str | x509.Name = "subject",
    issuer: Issued | None = None,
    *,
    names: Iterable[str | x509.GeneralName] = (),
    ca: bool = False,
    path_length: int | None = None,
    extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
    start: dt.timedelta = -DAY,
    end: dt.timedelta = DAY,
    serial: int | None = None,
    key: Any = None,
    digest: hashes.HashAlgorithm | None = None,
) -> Issued:
    """A certificate, signed by itself without `issuer`; times from now."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = common_name(subject) if isinstance(subject, str) else subject
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(now + start)
        .not_valid_after(now + end)
    )
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(ca, path_length), critical=True)
    if names:
        found = [general_name(name) if isinstance(name, str) else name for name in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(found), critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    signer = issuer.key if issuer else key
    return Issued(builder.sign(signer, digest or hashes.SHA256()), key)


def value(tag: int, content: bytes) -> bytes:
    """A DER value."""
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8)
    length = bytes([len(content)]) if len(content) < 0x80 else bytes([0x80 | len(size)]) + size
    return bytes([tag]) + length + content


SEQUENCE, BIT_STRING = 0x30, 3
ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
VERSION_3 = bytes.fromhex("a003020102")


def version_1(subject: str) -> Issued:
    """What cryptography does not make: an old certificate, signed by itself."""
    one = issue(subject)
    tbs = one.certificate.tbs_certificate_bytes
    old = value(SEQUENCE, tbs[tbs.index(VERSION_3) + len(VERSION_3) :])
    signature = one.key.sign(old, ec.ECDSA(hashes.SHA256()))
    der = value(SEQUENCE, old + ECDSA_WITH_SHA256 + value(BIT_STRING, b"\0" + signature))
    return Issued(x509.load_der_x509_certificate(der), one.key)


def crl(
    issuer: Issued,
    *revoked: Issued,
    start: dt.timedelta = -DAY,
    end: dt.timedelta = DAY,
    key: Any = None,
) -> bytes:
    """A revocation list as PEM; `key` in place of the issuer's makes a forged one."""
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=issuer.certificate.subject, last_update=now + start, next_update=now + end
    )
    for one in revoked:
        entry = x509.RevokedCertificateBuilder(one.certificate.serial_number, now - DAY)
        builder = builder.add_revoked_certificate(entry.build())
    signed = builder.sign(key or issuer.key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


def stdlib_refusal(
    chain: Sequence[Issued],
    anchors: Iterable[Issued],
    hostname: str | None,
    *,
    crls: Iterable[bytes] = (),
    server: bool = True,
    prepare: Callable[[ssl.SSLContext], None] | None = None,
) -> tuple[int, str] | None:
    """verify_code and verify_message of the standard library for `chain`; None if it is good.

    The chain is the server's, or the client's without `server`; `prepare` changes the context
    that verifies.
    """
    with tempfile.TemporaryDirectory() as folder:
        return in_memory(
            verifier(Path(folder), anchors, hostname, crls, server=server, prepare=prepare),
            shower(Path(folder), chain, server=server),
            hostname,
            server=server,
        )


def verifier(
    folder: Path,
    anchors: Iterable[Issued],
    hostname: str | None,
    crls: Iterable[bytes],
    *,
    server: bool,
    prepare: Callable[[ssl.SSLContext], None] | None,
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if server else ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # where a server reads before a client is done
    context.check_hostname = hostname is not None
    context.verify_mode = ssl.CERT_REQUIRED
    trust = folder / "trust.pem"
    trust.write_bytes(b"".join([*(anchor.pem for anchor in anchors), *crls]))
    if trust.stat().st_size:
        context.load_verify_locations(trust)
    if not server:
        own = issue("server")
        (folder / "own.pem").write_bytes(own.pem + own.key_pem)
        context.load_cert_chain(folder / "own.pem")
    if prepare:
        prepare(context)
    return context


def shower(folder: Path, chain: Sequence[Issued], *, server: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # it shows weak ones too
    if not server:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    path = folder / "chain.pem"
    path.write_bytes(b"".join(one.pem for one in chain) + chain[0].key_pem)
    context.load_cert_chain(path)
    return context


def in_memory(
    verifying: ssl.SSLContext, showing: ssl.SSLContext, hostname: str | None, *, server: bool
) -> tuple[int, str] | None:
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = verifying.wrap_bio(there, back, server_side=not server, server_hostname=hostname)
    other = showing.wrap_bio(back, there, server_side=server)
    waiting = [one, other]
    while waiting:
        for end in list(waiting):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return error.verify_code, error.verify_message
            waiting.remove(end)
    return None
