"""Certificates for all tests, made once a run."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from gnutls_resume.binding import Credentials

HOST = "localhost"


@dataclass(frozen=True)
class Certificates:
    """An authority and what it signed, as PEM bytes and as files for foreign programs."""

    trust: bytes
    certificate: bytes
    key: bytes
    client_certificate: bytes
    client_key: bytes
    other_trust: bytes
    folder: Path

    @property
    def trust_file(self) -> Path:
        return self.folder / "trust.pem"

    @property
    def certificate_file(self) -> Path:
        return self.folder / "certificate.pem"

    @property
    def key_file(self) -> Path:
        return self.folder / "key.pem"

    def server(self) -> Credentials:
        return Credentials(certificate=self.certificate, key=self.key, trust=self.trust)

    def client(self) -> Credentials:
        return Credentials(trust=self.trust)

    def client_with_certificate(self) -> Credentials:
        return Credentials(
            certificate=self.client_certificate, key=self.client_key, trust=self.trust
        )


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Leaf and intermediate, so that chains are two long: short ones hide GnuTLS's faults."""
    root = trustme.CA()
    intermediate = root.create_child_ca()
    server = intermediate.issue_cert(HOST, "127.0.0.1")
    client = intermediate.issue_cert("client@example.org")
    made = Certificates(
        trust=root.cert_pem.bytes(),
        certificate=b"".join(blob.bytes() for blob in server.cert_chain_pems),
        key=server.private_key_pem.bytes(),
        client_certificate=b"".join(blob.bytes() for blob in client.cert_chain_pems),
        client_key=client.private_key_pem.bytes(),
        other_trust=trustme.CA().cert_pem.bytes(),
        folder=tmp_path_factory.mktemp("certificates"),
    )
    made.trust_file.write_bytes(made.trust)
    made.certificate_file.write_bytes(made.certificate)
    made.key_file.write_bytes(made.key)
    return made
