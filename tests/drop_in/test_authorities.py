"""Which of the loaded certificates count as authorities."""

import ssl
import subprocess
from pathlib import Path

from conftest import Certificates

from gnutls_resume import SSLContext
from gnutls_resume.drop_in.engine import Certificate


def test_a_root_of_version_1_counts_as_with_ssl(certificates: Certificates, tmp_path: Path) -> None:
    key, request, root = (tmp_path / name for name in ("key", "request", "root"))
    for command in (
        f"openssl req -newkey rsa:2048 -nodes -keyout {key} -subj /CN=old -out {request}",
        f"openssl x509 -req -in {request} -signkey {key} -out {root}",  # no extensions: version 1
    ):
        subprocess.run(command.split(), check=True, capture_output=True)
    leaf = certificates.certificate.decode().partition("-----END")

    def told(library: type[ssl.SSLContext]) -> list[object]:
        context = library(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(root)
        context.load_verify_locations(cadata="".join(leaf[:2]) + " CERTIFICATE-----\n")
        return [context.cert_store_stats(), context.get_ca_certs()]

    assert told(SSLContext) == told(ssl.SSLContext)
    assert told(SSLContext)[0] == {"x509": 2, "x509_ca": 1, "crl": 0}


def test_certificates_of_a_chain_are_compared_by_their_content() -> None:
    assert Certificate(b"one") == Certificate(b"one")
    assert len({Certificate(b"one"), Certificate(b"one"), Certificate(b"two")}) == 2
    assert Certificate(b"one") != b"one"
