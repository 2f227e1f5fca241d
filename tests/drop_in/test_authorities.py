"""Which of the loaded certificates count as authorities, and how a chain shows itself."""

import ssl

from certify import issue, version_1
from cryptography import x509
from cryptography.x509.oid import NameOID

from gnutls_resume import SSLContext
from gnutls_resume.drop_in.engine import Certificate


def test_a_root_of_version_1_counts_as_with_ssl() -> None:
    def told(library: type[ssl.SSLContext]) -> list[object]:
        context = library(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=old.pem.decode() + leaf.pem.decode())
        return [context.cert_store_stats(), context.get_ca_certs()]

    old, leaf = version_1("old root"), issue("leaf", names=["example.org"])
    assert told(SSLContext) == told(ssl.SSLContext)
    assert told(SSLContext)[0] == {"x509": 2, "x509_ca": 1, "crl": 0}


def test_certificates_of_a_chain_are_compared_by_their_content() -> None:
    assert Certificate(b"one") == Certificate(b"one")
    assert len({Certificate(b"one"), Certificate(b"one"), Certificate(b"two")}) == 2
    assert Certificate(b"one") != b"one"


def test_certificates_of_a_chain_show_whose_they_are() -> None:
    kinds = (NameOID.ORGANIZATION_NAME, NameOID.TITLE, NameOID.COMMON_NAME)
    name = x509.Name([x509.NameAttribute(kind, "a name") for kind in kinds])
    shown = repr(Certificate(issue(name).der))
    assert shown == "<Certificate O=a name, title=a name, CN=a name>"
