"""Certificates, trust and host names: what is read, what is refused, and that it never crashes."""

import datetime as dt
import ssl
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from certify import DAY, Issued, common_name, crl, issue, stdlib_refusal, version_1
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from pair import in_thread

from gnutls_resume.binding import (
    MAX_CHAIN,
    NO_CRL,
    PROFILE_MEDIUM,
    Certificate,
    CertificateStatus,
    GeneralName,
    TrustList,
    certificates_of,
    chain_not_after,
    crls_of,
    rdn_sequence,
)

HOST = "www.example.org"
GOOD = CertificateStatus(0)
INVALID = CertificateStatus.INVALID
ROOT = issue("root", ca=True)
MIDDLE = issue("middle", ROOT, ca=True)
LEAF = issue("leaf", MIDDLE, names=[HOST])
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


def ders(*chain: Issued) -> list[bytes]:
    return [one.der for one in chain]


def verify(
    chain: Sequence[Issued],
    anchors: Sequence[Issued] = (ROOT,),
    hostname: str | None = HOST,
    *,
    crls: Sequence[bytes] = (),
    **more: Any,
) -> CertificateStatus:
    lists = [der for one in crls for der in crls_of(one)]
    return TrustList(ders(*anchors), lists).verify(ders(*chain), hostname=hostname, **more)


# -- what a certificate says ------------------------------------------------------------------


def test_fields_are_those_of_the_certificate() -> None:
    one, theirs = Certificate(LEAF.der), LEAF.certificate
    assert one.version == 3
    assert one.serial_number == theirs.serial_number
    assert one.subject == ((("2.5.4.3", "leaf"),),)
    assert one.issuer == ((("2.5.4.3", "middle"),),)
    assert one.subject_der == theirs.subject.public_bytes()
    assert one.issuer_der == theirs.issuer.public_bytes()
    assert one.not_before == theirs.not_valid_before_utc.timestamp()
    assert one.not_after == theirs.not_valid_after_utc.timestamp()
    assert one.public_key_algorithm == "EC/ECDSA"
    assert one.names == (HOST,)
    assert repr(one) == f"<Certificate {theirs.serial_number:x}>"


def test_every_kind_of_name_is_told_apart() -> None:
    other = x509.OtherName(x509.ObjectIdentifier("1.2.3.4"), b"\x0c\x02hi")
    directory = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
            x509.NameAttribute(NameOID.COMMON_NAME, "me"),
        ]
    )
    names = [
        x509.DNSName(HOST),
        x509.RFC822Name("a@example.org"),
        x509.UniformResourceIdentifier("https://example.org/"),
        x509.DirectoryName(directory),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3.4.5")),
        other,
    ]
    one = Certificate(issue(names=[*names, "127.0.0.1", "::1"]).der)
    assert one.subject_alt_names == [
        (GeneralName.DNSNAME, HOST.encode()),
        (GeneralName.RFC822NAME, b"a@example.org"),
        (GeneralName.URI, b"https://example.org/"),
        (GeneralName.DN, directory.public_bytes()),
        (GeneralName.REGISTERED_ID, b"1.2.3.4.5"),
        (GeneralName.OTHERNAME, b"\x0c\x02hi"),
        (GeneralName.IPADDRESS, bytes([127, 0, 0, 1])),
        (GeneralName.IPADDRESS, bytes(15) + b"\1"),
    ]
    assert one.other_names == [("1.2.3.4", 12, b"hi")]
    assert rdn_sequence(one.subject_alt_names[3][1]) == ((("2.5.4.6", "DE"),), (("2.5.4.3", "me"),))
    assert one.names == tuple(sorted(["127.0.0.1", "::1", HOST]))


def test_names_are_the_common_names_where_there_are_no_others() -> None:
    both = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in ("b", "a")])
    assert Certificate(issue(both).der).names == ("a", "b")
    assert Certificate(issue(both, names=[x509.RFC822Name("c@example.org")]).der).names == (
        "a",
        "b",
    )


def test_certificate_without_extensions_has_none() -> None:
    one = Certificate(issue().der)
    assert one.subject_alt_names == one.authority_info_access == one.crl_distribution_points == []


@pytest.mark.parametrize(
    "der",
    [b"", b"0", b"\0" * 100, LEAF.der[:-1], LEAF.der[:200], LEAF.pem, b"\x30\x84\xff\xff\xff\xff"],
    ids=range(7),
)
def test_what_is_no_certificate_is_a_value_error(der: bytes) -> None:
    with pytest.raises(ValueError, match="no certificate that GnuTLS can read"):
        Certificate(der)


@pytest.mark.parametrize("value", [None, 5, "pem", [LEAF.der]], ids=type)
def test_der_is_bytes(value: Any) -> None:
    with pytest.raises(TypeError, match="der must be bytes"):
        Certificate(value)


def test_bytes_of_any_kind_will_do() -> None:
    for kind in (bytes, bytearray, memoryview):
        assert Certificate(kind(LEAF.der)).names == (HOST,)


def test_name_that_is_no_der_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="no name"):
        rdn_sequence(b"\x30\x05")
    number = bytes.fromhex("300c310a3008060355040302 0101".replace(" ", ""))
    with pytest.raises(ValueError, match="type 2, which is no string"):
        rdn_sequence(number)


# -- splitting --------------------------------------------------------------------------------


def test_pem_is_split_in_order() -> None:
    crl_pem = crl(ROOT)
    pem = b"a comment\n" + ROOT.pem + LEAF.key_pem + b"# another\r\n" + crl_pem + LEAF.pem
    assert certificates_of(pem) == ders(ROOT, LEAF)
    assert certificates_of(pem.replace(b"\n", b"\r\n")) == ders(ROOT, LEAF)
    assert certificates_of(pem.replace(b"CERTIFICATE", b"X509 CERTIFICATE")) == ders(ROOT, LEAF)
    assert len(crls_of(pem)) == 1
    assert certificates_of(crl_pem) == crls_of(LEAF.pem) == crls_of(b"") == []


def test_der_is_split_in_order() -> None:
    assert certificates_of(ROOT.der + LEAF.der) == ders(ROOT, LEAF)
    assert certificates_of(b"") == []


@pytest.mark.parametrize(
    "data",
    [
        ROOT.pem[:-30],
        ROOT.pem + ROOT.pem[:200],
        ROOT.pem[:200] + ROOT.pem,
        ROOT.pem.replace(b"\nM", b"\n!", 1),
        b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n",
        ROOT.pem.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"),
        ROOT.der + b"\0",
        ROOT.der + LEAF.der[:-1],
        ROOT.der[:3],
        b"\x30\x80\0\0",
        b"\x30\x80" + bytes(128),
    ],
    ids=range(11),
)
def test_damaged_lists_are_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        certificates_of(data)


def test_damaged_crls_are_a_value_error() -> None:
    with pytest.raises(ValueError):
        crls_of(crl(ROOT)[:-40])
    with pytest.raises(ValueError, match="no CRL"):
        TrustList([], [ROOT.der])


SYSTEM = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"


def test_system_authorities_are_all_read() -> None:
    path = Path(SYSTEM)
    assert path.exists(), f"{path} is missing: install ca-certificates"
    found = certificates_of(path.read_bytes())
    assert len(found) == path.read_bytes().count(b"-----BEGIN CERTIFICATE-----") > 50
    assert len(TrustList(found)) == len(set(found))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=b"".join(found))
    assert sorted(context.get_ca_certs(binary_form=True)) == sorted(set(found))


# -- chains -----------------------------------------------------------------------------------


def test_good_chain_is_good() -> None:
    assert verify([LEAF, MIDDLE]) == GOOD
    assert verify([LEAF, MIDDLE, ROOT]) == GOOD
    assert verify([LEAF, ROOT, MIDDLE]) == GOOD
    assert verify([LEAF, MIDDLE, MIDDLE]) == GOOD
    assert verify([LEAF], [ROOT, MIDDLE]) == GOOD
    assert verify([LEAF, MIDDLE], hostname=None) == GOOD


def test_chain_without_its_middle_is_refused() -> None:
    assert verify([LEAF]) == INVALID | CertificateStatus.SIGNER_NOT_FOUND
    assert verify([LEAF, ROOT]) == INVALID | CertificateStatus.SIGNER_NOT_FOUND


def test_chain_of_a_stranger_is_refused() -> None:
    assert verify([LEAF, MIDDLE], [issue("root", ca=True)]) & CertificateStatus.INVALID
    assert verify([LEAF, MIDDLE], []) == INVALID | CertificateStatus.SIGNER_NOT_FOUND


def test_expired_and_future_certificates_are_refused() -> None:
    old = issue("old", MIDDLE, names=[HOST], start=-3 * DAY, end=-DAY)
    assert verify([old, MIDDLE]) == INVALID | CertificateStatus.EXPIRED
    early = issue("early", MIDDLE, names=[HOST], start=DAY, end=3 * DAY)
    assert verify([early, MIDDLE]) == INVALID | CertificateStatus.NOT_ACTIVATED
    past = issue("past", ROOT, ca=True, start=-3 * DAY, end=-DAY)
    assert verify([issue("x", past, names=[HOST]), past]) == INVALID | CertificateStatus.EXPIRED


def test_expired_anchor_makes_what_it_signed_expired() -> None:
    past = issue("past", ca=True, start=-3 * DAY, end=-DAY)
    status = verify([issue("x", past, names=[HOST])], [past])
    assert status == INVALID | CertificateStatus.EXPIRED


def test_anchor_that_is_no_authority_is_trusted_for_itself_alone() -> None:
    lone = issue("lone", names=[HOST])
    assert verify([lone], [lone]) == verify([lone, ROOT], [lone]) == GOOD
    chain = [issue("child", lone, names=[HOST]), lone]
    assert verify(chain, [lone]) == INVALID | CertificateStatus.SIGNER_NOT_CA
    assert stdlib_refusal(chain, [lone], HOST)


def test_authority_of_version_1_is_trusted_as_an_anchor() -> None:
    old = version_1("old")
    assert Certificate(old.der).version == 1
    chain = [issue("x", old, names=[HOST])]
    assert verify(chain, [old]) == GOOD
    assert stdlib_refusal(chain, [old], HOST) is None
    assert verify([*chain, old], [ROOT]) & CertificateStatus.SIGNER_NOT_FOUND


def test_anchor_given_twice_counts_once() -> None:
    trust = TrustList(ders(ROOT, ROOT))
    assert len(trust) == 1
    assert repr(trust) == "<TrustList of 1>"
    assert trust.verify(ders(LEAF, MIDDLE), hostname=HOST) == GOOD


def test_path_must_end_in_an_anchor_that_signed_itself() -> None:
    """As in OpenSSL without X509_V_FLAG_PARTIAL_CHAIN; GnuTLS alone would be content."""

    def partial(context: ssl.SSLContext) -> None:
        context.verify_flags |= getattr(ssl, "VERIFY_X509_PARTIAL_CHAIN", 0x80000)

    for chain, anchor in (
        ([LEAF], MIDDLE),
        ([LEAF, MIDDLE], MIDDLE),
        ([LEAF, MIDDLE, ROOT], MIDDLE),
        ([LEAF, MIDDLE], LEAF),
        ([LEAF, MIDDLE, ROOT], LEAF),
    ):
        assert verify(chain, [anchor]) == INVALID | CertificateStatus.SIGNER_NOT_FOUND
        assert stdlib_refusal(chain, [anchor], HOST)
        assert verify(chain, [anchor], partial_chain=True) == GOOD
        assert stdlib_refusal(chain, [anchor], HOST, prepare=partial) is None


def test_length_of_the_path_is_limited_by_its_authorities() -> None:
    short = issue("short", ca=True, path_length=0)
    below = issue("below", short, ca=True)
    chain = [issue("x", below, names=[HOST]), below]
    assert verify(chain, [short]) & CertificateStatus.INVALID


@pytest.mark.parametrize("server", [True, False])
def test_purpose_is_checked(*, server: bool) -> None:
    for purpose in (SERVER, CLIENT):
        chain = [issue("x", MIDDLE, names=[HOST], extensions=usage(purpose)), MIDDLE]
        good = (purpose == SERVER) == server
        wanted = GOOD if good else INVALID | CertificateStatus.PURPOSE_MISMATCH
        assert verify(chain, hostname=None, server=server) == wanted
        assert (stdlib_refusal(chain, [ROOT], None, server=server) is None) == good


def usage(*purposes: x509.ObjectIdentifier) -> list[tuple[x509.ExtensionType, bool]]:
    return [(x509.ExtendedKeyUsage(purposes), False)]


def test_weak_keys_and_digests_are_refused() -> None:
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505
    status = verify([issue("x", ROOT, names=[HOST], key=weak)])
    assert status == INVALID | CertificateStatus.INSECURE_ALGORITHM
    assert verify([issue("x", ROOT, names=[HOST], key=weak)], flags=0) == GOOD
    root = issue("root", ca=True, key=rsa.generate_private_key(65537, 2048))
    leaf = issue("x", root, names=[HOST])
    assert verify([leaf], [root]) == GOOD
    trust = TrustList([root.der])
    for flags in (0, PROFILE_MEDIUM):
        status = trust.verify([signed_with_sha1(leaf, root)], hostname=HOST, flags=flags)
        assert status == INVALID | CertificateStatus.INSECURE_ALGORITHM


def signed_with_sha1(leaf: Issued, issuer: Issued) -> bytes:
    """cryptography signs no certificate with SHA-1 any more."""
    one = leaf.certificate
    oids = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
    tbs = one.tbs_certificate_bytes.replace(*oids)
    signature = issuer.key.sign(tbs, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303
    der = leaf.der.replace(*oids)
    return der.replace(one.signature, signature)


def test_empty_chain_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="one certificate or more"):
        TrustList(ders(ROOT)).verify([], hostname=None)


@pytest.mark.parametrize("size", [MAX_CHAIN, MAX_CHAIN + 1, 100, 5000])
def test_chain_has_a_limit(size: int) -> None:
    trust = TrustList(ders(ROOT))
    chain = ders(LEAF, MIDDLE) + [ROOT.der] * (size - 2)
    long = INVALID | CertificateStatus.SIGNER_CONSTRAINTS_FAILURE
    assert trust.verify(chain, hostname=HOST) == (GOOD if size <= MAX_CHAIN else long)


def test_path_as_long_as_the_limit_is_followed() -> None:
    issuers = [ROOT]
    for i in range(MAX_CHAIN - 1):
        issuers.insert(0, issue(f"{i}", issuers[0], ca=True))
    chain = [issue("x", issuers[0], names=[HOST]), *issuers[:-1]]
    assert len(chain) == MAX_CHAIN
    assert verify(chain) == GOOD


def test_certificates_that_sign_each_other_are_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    one = issue("one", Issued(issue("two", ca=True, key=key).certificate, key), ca=True)
    two = issue("two", one, ca=True, key=key)
    leaf = issue("x", one, names=[HOST])
    for crls in ("none", "chain"):
        for anchors in ([ROOT], [one, two]):
            status = verify([leaf, one, two], anchors, need_crl=crls)
            assert status & CertificateStatus.SIGNER_NOT_FOUND


def test_damaged_leaf_is_invalid() -> None:
    trust = TrustList(ders(ROOT))
    chain = [LEAF.der[:-1], MIDDLE.der]
    assert trust.verify(chain, hostname=HOST) == INVALID
    for ask in (trust.path, chain_not_after):
        with pytest.raises(ValueError, match="no certificate"):
            ask(chain)


def test_certificate_that_gnutls_cannot_read_leads_nowhere() -> None:
    """The standard library reads this one's x400Address, and needs it as little."""
    x400 = x509.UnrecognizedExtension(
        x509.ExtensionOID.SUBJECT_ALTERNATIVE_NAME, bytes.fromhex("3005a303020101")
    )
    odd = issue("odd", ca=True, end=DAY / 2, extensions=[(x400, False)])
    chain = [LEAF, odd, MIDDLE]
    assert stdlib_refusal(chain, [ROOT], HOST) is None
    assert verify(chain) == GOOD
    assert len(TrustList(ders(ROOT)).path(ders(*chain))) == 3
    assert chain_not_after(ders(*chain)) == chain_not_after(ders(LEAF, MIDDLE))
    trust = TrustList(ders(ROOT))
    status = trust.verify([LEAF.der, MIDDLE.der[:-1]], hostname=HOST)
    assert status == INVALID | CertificateStatus.SIGNER_NOT_FOUND


def test_damaged_anchor_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="no certificate"):
        TrustList([ROOT.der, ROOT.der[:-1]])


def test_anchors_are_bytes() -> None:
    with pytest.raises(TypeError):
        TrustList([ROOT.pem.decode()])  # type: ignore[list-item]


def test_first_expiry_of_a_chain_is_told() -> None:
    soon = issue("soon", ROOT, ca=True, end=dt.timedelta(hours=1))
    chain = [issue("x", soon), soon]
    assert chain_not_after(ders(*chain)) == soon.certificate.not_valid_after_utc.timestamp()


# -- revocation -------------------------------------------------------------------------------

CRLS = [crl(MIDDLE), crl(ROOT)]
Need = Literal["none", "leaf", "chain"]


def crl_check(need: Need) -> Any:
    def prepare(context: ssl.SSLContext) -> None:
        if need != "none":
            context.verify_flags |= (
                ssl.VERIFY_CRL_CHECK_LEAF if need == "leaf" else ssl.VERIFY_CRL_CHECK_CHAIN
            )

    return prepare


@pytest.mark.parametrize(
    ("crls", "need", "status", "code"),
    [
        ([], "none", GOOD, None),
        ([crl(MIDDLE, LEAF), crl(ROOT)], "none", GOOD, None),
        ([], "leaf", NO_CRL, 3),
        ([crl(ROOT)], "leaf", NO_CRL, 3),
        ([crl(MIDDLE)], "leaf", GOOD, None),
        ([crl(MIDDLE)], "chain", NO_CRL, 3),
        (CRLS, "chain", GOOD, None),
        ([crl(MIDDLE, LEAF), crl(ROOT)], "leaf", CertificateStatus.REVOKED, 23),
        ([crl(MIDDLE, LEAF), crl(ROOT)], "chain", CertificateStatus.REVOKED, 23),
        ([crl(MIDDLE), crl(ROOT, MIDDLE)], "leaf", GOOD, None),
        ([crl(MIDDLE), crl(ROOT, MIDDLE)], "chain", CertificateStatus.REVOKED, 23),
        (
            [crl(MIDDLE, start=-3 * DAY, end=-DAY)],
            "leaf",
            NO_CRL | CertificateStatus.REVOCATION_DATA_SUPERSEDED,
            12,
        ),
        (
            [crl(MIDDLE, start=DAY, end=3 * DAY)],
            "leaf",
            NO_CRL | CertificateStatus.REVOCATION_DATA_ISSUED_IN_FUTURE,
            11,
        ),
        ([crl(MIDDLE, key=LEAF.key)], "leaf", NO_CRL | CertificateStatus.SIGNATURE_FAILURE, 8),
        ([crl(MIDDLE, start=-3 * DAY, end=-DAY), crl(MIDDLE)], "leaf", GOOD, None),
        (
            [crl(MIDDLE), crl(MIDDLE, LEAF, key=ROOT.key), crl(ROOT)],
            "chain",
            GOOD,
            None,
        ),
    ],
)
def test_lists_are_used_as_asked(
    crls: list[bytes], need: Need, status: CertificateStatus, code: int | None
) -> None:
    chain = [LEAF, MIDDLE]
    assert verify(chain, crls=crls, need_crl=need) == (status | INVALID if status else GOOD)
    refusal = stdlib_refusal(chain, [ROOT], HOST, crls=crls, prepare=crl_check(need))
    assert (refusal and refusal[0]) == code


# -- host names -------------------------------------------------------------------------------


def with_common_name(text: str, *names: str | x509.GeneralName) -> Issued:
    return issue(text, ROOT, names=names)


W = "*.example.org"
HOST_NAMES: list[tuple[Issued, str, bool]] = [
    (with_common_name("x", HOST), HOST, True),
    (with_common_name("x", HOST), "WWW.Example.ORG", True),
    (with_common_name("x", HOST.upper()), HOST, True),
    (with_common_name("x", HOST), f"{HOST}.", False),
    (with_common_name("x", f"{HOST}."), HOST, False),
    (with_common_name("x", HOST), "example.org", False),
    (with_common_name("x", HOST), f"a.{HOST}", False),
    (with_common_name("x", "other.example.org", HOST), HOST, True),
    (with_common_name("x", "localhost"), "localhost", True),
    # wildcards
    (with_common_name("x", W), HOST, True),
    (with_common_name("x", W), "a.b.example.org", False),
    (with_common_name("x", W), "example.org", False),
    (with_common_name("x", W), "xn--bcher-kva.example.org", True),
    (with_common_name("x", W), "a-b.example.org", True),
    (with_common_name("x", W), "a_b.example.org", False),
    (with_common_name("x", "a_b.example.org"), "a_b.example.org", True),
    (with_common_name("x", "*.org"), "example.org", False),
    (with_common_name("x", "*"), "localhost", False),
    (with_common_name("x", "*.localhost"), "a.localhost", False),
    (with_common_name("x", "*w.example.org"), HOST, False),
    (with_common_name("x", "w*.example.org"), HOST, False),
    (with_common_name("x", "w*w.example.org"), HOST, False),
    (with_common_name("x", "www.*.org"), HOST, False),
    (with_common_name("x", "*.*.org"), HOST, False),
    (with_common_name("x", "*.*.example.org"), "a.b.example.org", False),
    (with_common_name("x", "xn--*.example.org"), "xn--bcher-kva.example.org", False),
    (with_common_name("x", W), W, True),
    (with_common_name("x", "*.www.example.org"), f"a.{HOST}", True),
    # the common name
    (with_common_name(HOST), HOST, True),
    (with_common_name(W), HOST, True),
    (with_common_name("*w.example.org"), HOST, False),
    (with_common_name(HOST, "other.example.org"), HOST, False),
    (with_common_name(HOST, x509.RFC822Name("a@example.org")), HOST, True),
    (with_common_name(f"{HOST}\0.evil.org"), HOST, False),
    # IDNA
    (with_common_name("x", "xn--bcher-kva.example.org"), "xn--bcher-kva.example.org", True),
    (with_common_name("x", "xn--bcher-kva.example.org"), "XN--BCHER-KVA.example.org", True),
    (with_common_name("bücher.example.org"), "xn--bcher-kva.example.org", False),
    # a NUL, CVE-2013-4238
    (with_common_name("x", f"{HOST}\0.evil.org"), HOST, False),
    (with_common_name("x", f"{HOST}\0"), HOST, False),
    # addresses
    (with_common_name("x", "127.0.0.1"), "127.0.0.1", True),
    (with_common_name("x", "127.0.0.1"), "127.0.0.2", False),
    (with_common_name("x", "::1"), "::1", True),
    (with_common_name("x", "::1"), "0:0:0:0:0:0:0:1", True),
    (with_common_name("x", "::ffff:127.0.0.1"), "127.0.0.1", False),
    (with_common_name("x", "fe80::1"), "fe80::1%1", False),
    (with_common_name("127.0.0.1"), "127.0.0.1", False),
    (with_common_name("x", x509.DNSName("127.0.0.1")), "127.0.0.1", False),
    (with_common_name("x", x509.DNSName("::1")), "::1", False),
    (with_common_name("x", x509.DNSName("*.0.0.1")), "127.0.0.1", False),
    (with_common_name("x", "127.0.0.1"), "localhost", False),
    (with_common_name("x", x509.RFC822Name("www.example.org")), HOST, False),
    (with_common_name("x", x509.UniformResourceIdentifier(f"https://{HOST}")), HOST, False),
]


@pytest.mark.parametrize(
    ("leaf", "hostname", "good"),
    HOST_NAMES,
    ids=[f"{Certificate(leaf.der).names}-{hostname}" for leaf, hostname, _ in HOST_NAMES],
)
def test_host_name_matches_where_it_does_in_the_standard_library(
    *, leaf: Issued, hostname: str, good: bool
) -> None:
    assert Certificate(leaf.der).matches(hostname) == good
    wanted = GOOD if good else INVALID | CertificateStatus.UNEXPECTED_OWNER
    assert verify([leaf], hostname=hostname) == wanted
    refusal = stdlib_refusal([leaf], [ROOT], hostname)
    assert (refusal is None) == good


@pytest.mark.parametrize(
    ("leaf", "hostname"), [pair[:2] for pair in HOST_NAMES], ids=range(len(HOST_NAMES))
)
def test_common_name_may_be_left_out(leaf: Issued, hostname: str) -> None:
    def prepare(context: ssl.SSLContext) -> None:
        context.hostname_checks_common_name = False

    good = stdlib_refusal([leaf], [ROOT], hostname, prepare=prepare) is None
    assert Certificate(leaf.der).matches(hostname, common_name=False) == good
    assert (verify([leaf], hostname=hostname, common_name=False) == GOOD) == good


two_names = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in (HOST, "other")])
STRICTER = [
    issue(two_names, ROOT),
    with_common_name(HOST, "127.0.0.1"),
    with_common_name(HOST, x509.UniformResourceIdentifier("https://example.org")),
]


@pytest.mark.parametrize("leaf", STRICTER, ids=["two", "address", "URI"])
def test_common_name_counts_less_than_in_openssl(leaf: Issued) -> None:
    assert stdlib_refusal([leaf], [ROOT], HOST) is None
    assert not Certificate(leaf.der).matches(HOST)


@pytest.mark.parametrize("hostname", ["", "a" * 256, "a\0b", "bücher.example.org"])
def test_impossible_host_names_are_a_value_error(hostname: str) -> None:
    with pytest.raises(ValueError):
        Certificate(LEAF.der).matches(hostname)


def test_leading_dot_matches_nothing() -> None:
    assert not Certificate(issue("x", names=[W, ".example.org"]).der).matches(".example.org")


# -- threads, damage --------------------------------------------------------------------------


def test_threads_verify_at_once() -> None:
    trust = TrustList(ders(ROOT, *(issue(f"{i}", ca=True) for i in range(20))))
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        for _ in range(200):
            assert trust.verify(ders(LEAF, MIDDLE), hostname=HOST) == GOOD
            assert trust.verify(ders(LEAF), hostname=HOST) & CertificateStatus.SIGNER_NOT_FOUND

    with in_thread(work) as one, in_thread(work) as two, in_thread(work) as three:
        work()
    assert one == two == three == []


def read_all(der: bytes) -> None:
    one = Certificate(der)
    for name in vars(Certificate):
        try:
            getattr(one, name)
        except ValueError:
            continue
    one.matches(HOST)
    one.matches("127.0.0.1", common_name=False)


FULL = issue(
    "x",
    MIDDLE,
    names=[HOST, "127.0.0.1", x509.DirectoryName(common_name("x")), x509.RFC822Name("a@b")],
    extensions=[
        (
            x509.AuthorityInformationAccess(
                [
                    x509.AccessDescription(
                        x509.AuthorityInformationAccessOID.OCSP,
                        x509.UniformResourceIdentifier("http://example.org"),
                    )
                ]
            ),
            False,
        ),
        (
            x509.CRLDistributionPoints(
                [
                    x509.DistributionPoint(
                        [x509.UniformResourceIdentifier("http://example.org")], None, None, None
                    )
                ]
            ),
            False,
        ),
    ],
)
changes = st.lists(
    st.tuples(st.integers(0, len(FULL.der) - 1), st.integers(0, 255)), min_size=1, max_size=4
)


@settings(max_examples=300, deadline=None)
@given(changes, st.integers(0, 20))
def test_damaged_certificates_are_read_or_refused(changes: list[tuple[int, int]], cut: int) -> None:
    damaged = bytearray(FULL.der)
    for place, value in changes:
        damaged[place] = value
    der = bytes(damaged[: len(damaged) - max(cut - 15, 0)])
    trust = TrustList(ders(ROOT))
    try:
        read_all(der)
    except ValueError:
        assert trust.verify([der, MIDDLE.der], hostname=None) == INVALID
        return
    status = trust.verify([der, MIDDLE.der], hostname=HOST, need_crl="chain")
    assert status & CertificateStatus.INVALID
    if der != FULL.der:
        assert status & ~(INVALID | NO_CRL)
    with_it = TrustList([der, ROOT.der])
    with_it.verify(ders(LEAF, MIDDLE), hostname=HOST)
    with_it.verify([der, MIDDLE.der], hostname=HOST, need_crl="leaf")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda end: ROOT.pem[:-20] + end))
def test_any_bytes_are_split_or_refused(data: bytes) -> None:
    for split in (certificates_of, crls_of):
        try:
            assert all(isinstance(der, bytes) for der in split(data))
        except ValueError:
            continue
