"""The getpeercert() dictionary: equal to the standard library's, whatever the certificate says."""

import datetime as dt
import ssl
from pathlib import Path
from typing import Any

import pytest
from certify import (
    BIT_STRING,
    ECDSA_WITH_SHA256,
    SEQUENCE,
    VERSION_3,
    Issued,
    common_name,
    issue,
    value,
    version_1,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.name import _ASN1Type as StringType
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtensionOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from gnutls_resume.binding import certificates_of
from gnutls_resume.drop_in import peercert
from gnutls_resume.drop_in.peercert import decode

HOST = "www.example.org"
Part = x509.NameAttribute
URI = x509.UniformResourceIdentifier
INTEGER = 2


def theirs(der: bytes, folder: Path) -> dict[str, Any]:
    path = folder / "certificate.pem"
    path.write_text(ssl.DER_cert_to_PEM_cert(der))
    return ssl._ssl._test_decode_cert(str(path))  # type: ignore[attr-defined]


def same(der: bytes, folder: Path) -> dict[str, Any]:
    """The dictionary, equal to the standard library's in values, types and order of keys."""
    ours, wanted = decode(der), theirs(der, folder)
    assert ours == wanted
    assert list(ours.items()) == list(wanted.items())
    assert repr(ours) == repr(wanted)
    return ours


# -- equal ------------------------------------------------------------------------------------


def system_certificates() -> list[bytes]:
    path = Path(ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt")
    assert path.exists(), f"{path} is missing: install ca-certificates"
    return certificates_of(path.read_bytes())


def test_every_certificate_of_the_system_is_shown_alike(tmp_path: Path) -> None:
    found = system_certificates()
    assert len(found) > 50
    for der in found:
        same(der, tmp_path)


def test_a_plain_certificate(tmp_path: Path) -> None:
    fields = same(issue("x", names=[HOST]).der, tmp_path)
    assert fields["subject"] == ((("commonName", "x"),),)
    assert fields["subjectAltName"] == (("DNS", HOST),)
    assert list(fields) == [
        *("subject", "issuer", "version", "serialNumber", "notBefore", "notAfter"),
        "subjectAltName",
    ]


def test_every_kind_of_alternative_name(tmp_path: Path) -> None:
    directory = x509.Name(
        [
            x509.RelativeDistinguishedName(
                [Part(NameOID.COUNTRY_NAME, "DE"), Part(NameOID.COMMON_NAME, "ü")]
            ),
            x509.RelativeDistinguishedName(
                [Part(NameOID.ORGANIZATION_NAME, "Ω", _type=StringType.BMPString)]
            ),
        ]
    )
    names = [
        *(HOST, "*.example.org", "127.0.0.1", "::1", "2001:db8::ff:0:1"),
        x509.RFC822Name("a@example.org"),
        URI("https://example.org/?a=b"),
        x509.DirectoryName(directory),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3.4.5")),
        x509.RegisteredID(NameOID.COMMON_NAME),
    ]
    fields = same(issue(names=names).der, tmp_path)
    assert len(fields["subjectAltName"]) == len(names)
    assert fields["subjectAltName"][4] == ("IP Address", "2001:DB8:0:0:0:FF:0:1")
    assert fields["subjectAltName"][-1] == ("Registered ID", "commonName")


@pytest.mark.parametrize("oid", [*peercert.OTHER_NAMES, "1.2.3"])
@pytest.mark.parametrize("tag", [12, 22, 4])
def test_other_names(oid: str, tag: int, tmp_path: Path) -> None:
    other = x509.OtherName(x509.ObjectIdentifier(oid), value(tag, "me@Ω:5".encode()))
    fields = same(issue(names=[other, HOST, other]).der, tmp_path)
    kinds = [kind for kind, _ in fields["subjectAltName"]]
    assert kinds == ["othername", "DNS", "othername"]


def test_address_of_another_length_is_invalid(tmp_path: Path) -> None:
    for size in (1, 3, 5, 8, 17, 32):
        fields = same(with_alternative_names(value(0x87, bytes(size))), tmp_path)
        assert fields["subjectAltName"] == (("IP Address", "<invalid>"),)


def with_alternative_names(names: bytes) -> bytes:
    oid = ExtensionOID.SUBJECT_ALTERNATIVE_NAME
    extension = x509.UnrecognizedExtension(oid, value(SEQUENCE, names))
    return issue(extensions=[(extension, False)]).der


@pytest.mark.parametrize("text", [f"{HOST}\0.evil.org", "\0", f"{HOST}\0", "a\nb", "a:b", "%s"])
def test_odd_characters_are_shown_whole(text: str, tmp_path: Path) -> None:
    """CVE-2013-4238: a name must not end at its NUL."""
    one = issue(text, names=[x509.DNSName(text), x509.RFC822Name(text), URI(text)])
    fields = same(one.der, tmp_path)
    assert fields["subject"] == ((("commonName", text),),)
    assert [name for _, name in fields["subjectAltName"]] == [text] * 3


TYPES = [
    StringType.UTF8String,
    StringType.NumericString,
    StringType.PrintableString,
    StringType.T61String,
    StringType.IA5String,
    StringType.UniversalString,
    StringType.BMPString,
]


@pytest.mark.parametrize("type_", TYPES, ids=lambda type_: type_.name)
def test_every_type_of_string(type_: StringType, tmp_path: Path) -> None:
    wide = {StringType.UTF8String, StringType.UniversalString, StringType.BMPString}
    text = "12 Ω" if type_ in wide else "12 34"
    name = x509.Name([Part(NameOID.ORGANIZATION_NAME, text, _type=type_)])
    assert same(issue(name).der, tmp_path)["subject"] == ((("organizationName", text),),)


def test_t61_string_is_latin_1(tmp_path: Path) -> None:
    name = x509.Name([Part(NameOID.ORGANIZATION_NAME, "abcd", _type=StringType.T61String)])
    der = issue(name).der.replace(b"abcd", b"\xe4\xf6\xfc\xdf")
    assert same(der, tmp_path)["subject"] == ((("organizationName", "äöüß"),),)


def test_bit_string_is_bytes(tmp_path: Path) -> None:
    for bits in (b"\1\x23\x45", b"\0\xff", b"\7\xff"):
        part = Part(NameOID.X500_UNIQUE_IDENTIFIER, bits, _type=StringType.BitString)
        fields = same(issue(x509.Name([part])).der, tmp_path)
        assert type(fields["subject"][0][0][1]) is bytes


def test_parts_keep_their_order_and_groups(tmp_path: Path) -> None:
    name = x509.Name(
        [
            x509.RelativeDistinguishedName(
                [
                    Part(NameOID.COUNTRY_NAME, "DE"),
                    Part(NameOID.COMMON_NAME, "b"),
                    Part(NameOID.SURNAME, "c"),
                ]
            ),
            x509.RelativeDistinguishedName([Part(NameOID.COMMON_NAME, "a")]),
            x509.RelativeDistinguishedName([Part(NameOID.ORGANIZATION_IDENTIFIER, "d")]),
            x509.RelativeDistinguishedName([Part(x509.ObjectIdentifier("1.2.3.4.5.6"), "e")]),
        ]
    )
    fields = same(issue(name).der, tmp_path)
    assert [len(rdn) for rdn in fields["subject"]] == [3, 1, 1, 1]
    assert fields["subject"][2:] == ((("organizationIdentifier", "d"),), (("1.2.3.4.5.6", "e"),))


def test_empty_subject(tmp_path: Path) -> None:
    assert same(issue(x509.Name([])).der, tmp_path)["subject"] == ()


def test_certificate_of_version_1(tmp_path: Path) -> None:
    assert same(version_1("old").der, tmp_path)["version"] == 1


def with_serial(raw: bytes) -> bytes:
    one = issue(serial=5).certificate
    tbs = one.tbs_certificate_bytes
    rest = tbs[tbs.index(VERSION_3) + len(VERSION_3) + len(value(INTEGER, b"\5")) :]
    new = value(SEQUENCE, VERSION_3 + value(INTEGER, raw) + rest)
    signature = value(BIT_STRING, b"\0" + one.signature)
    return value(SEQUENCE, new + ECDSA_WITH_SHA256 + signature)


@pytest.mark.parametrize(
    "raw",
    [
        *(b"\0", b"\1", b"\x10", b"\x7f", b"\0\x80", b"\0\xff", b"\xff", b"\x80", b"\xff\x7f"),
        *(b"\x80" + bytes(19), b"\0" + b"\xff" * 20),
        *(b"\x7f" * size for size in (20, 34, 35, 36, 71, 1000)),
    ],
    ids=lambda raw: f"{len(raw)} bytes from {raw[:2].hex()}",
)
def test_any_serial_number(raw: bytes, tmp_path: Path) -> None:
    assert same(with_serial(raw), tmp_path)["serialNumber"]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("1950-01-01 00:00:00", "1950-01-02 00:00:00"),
        ("1969-12-31 23:59:59", "1970-01-01 00:00:00"),
        ("1970-01-01 00:00:00", "1970-01-01 00:00:01"),
        ("1999-12-31 23:59:59", "2000-02-29 12:00:00"),
        ("2049-12-31 23:59:59", "2050-01-01 00:00:00"),
        ("2018-01-05 09:34:43", "9999-12-31 23:59:59"),
        ("2038-01-19 03:14:08", "2106-02-07 06:28:16"),
    ],
)
def test_any_date(start: str, end: str, tmp_path: Path) -> None:
    key = issue().key
    certificate = (
        x509.CertificateBuilder()
        .subject_name(common_name("x"))
        .issuer_name(common_name("x"))
        .public_key(key.public_key())
        .serial_number(5)
        .not_valid_before(dt.datetime.fromisoformat(f"{start}+00:00"))
        .not_valid_after(dt.datetime.fromisoformat(f"{end}+00:00"))
        .sign(key, hashes.SHA256())
    )
    fields = same(certificate.public_bytes(serialization.Encoding.DER), tmp_path)
    then = dt.datetime.fromtimestamp(ssl.cert_time_to_seconds(fields["notAfter"]), dt.UTC)
    assert then.isoformat(" ") == f"{end}+00:00"


def locations(*found: tuple[x509.ObjectIdentifier, x509.GeneralName]) -> Issued:
    access = x509.AuthorityInformationAccess([x509.AccessDescription(*one) for one in found])
    return issue(extensions=[(access, False)])


def test_locations_of_the_authority(tmp_path: Path) -> None:
    ocsp, issuers = AuthorityInformationAccessOID.OCSP, AuthorityInformationAccessOID.CA_ISSUERS
    one = locations(
        (ocsp, URI("http://a")),
        (issuers, URI("http://b")),
        (ocsp, x509.DNSName("c")),
        (ocsp, URI("http://d")),
        (x509.ObjectIdentifier("1.2.3"), URI("http://e")),
    )
    fields = same(one.der, tmp_path)
    assert fields["OCSP"] == ("http://a", "http://d")
    assert fields["caIssuers"] == ("http://b",)
    assert "OCSP" not in same(locations((issuers, URI("http://b"))).der, tmp_path)
    assert "OCSP" not in same(locations((ocsp, x509.DNSName("c"))).der, tmp_path)


def point(*names: x509.GeneralName, issuer: bool = False) -> x509.DistributionPoint:
    directory = [x509.DirectoryName(common_name("issuer"))] if issuer else None
    return x509.DistributionPoint(list(names) or None, None, None, directory)


def points(*found: x509.DistributionPoint) -> Issued:
    return issue(extensions=[(x509.CRLDistributionPoints(list(found)), False)])


def test_points_of_revocation_lists(tmp_path: Path) -> None:
    one = points(
        point(URI("http://a"), x509.DNSName("x"), URI("ldap://b")),
        point(URI("http://c"), issuer=True),
    )
    fields = same(one.der, tmp_path)
    assert fields["crlDistributionPoints"] == ("http://a", "ldap://b", "http://c")


def test_empty_point_is_passed_over(tmp_path: Path) -> None:
    """CVE-2019-5010."""
    assert "crlDistributionPoints" not in same(points(point(issuer=True)).der, tmp_path)


# -- not equal --------------------------------------------------------------------------------


def test_points_after_one_without_a_name_are_lost(tmp_path: Path) -> None:
    der = points(point(issuer=True), point(URI("http://a"))).der
    assert theirs(der, tmp_path)["crlDistributionPoints"] == ("http://a",)
    assert "crlDistributionPoints" not in decode(der)


def test_names_after_an_empty_directory_name_are_lost(tmp_path: Path) -> None:
    empty = x509.DirectoryName(x509.Name([]))
    full = x509.DirectoryName(common_name("x"))
    der = issue(names=[HOST, full, empty, HOST]).der
    names = theirs(der, tmp_path)["subjectAltName"]
    assert decode(der)["subjectAltName"] == names[:2]


@pytest.mark.parametrize("names", ["8200", "8700", "a303020101", "a5028100"])
def test_names_that_gnutls_refuses(names: str, tmp_path: Path) -> None:
    der = with_alternative_names(bytes.fromhex(names))
    assert theirs(der, tmp_path)
    with pytest.raises(ValueError, match="no certificate that GnuTLS can read"):
        decode(der)


def test_other_name_is_whole(tmp_path: Path) -> None:
    for text in ("a\0b", "a\nb", "a" * 3000):
        upn = x509.OtherName(
            x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), value(12, text.encode())
        )
        der = issue(names=[upn]).der
        ((_, theirs_),) = theirs(der, tmp_path)["subjectAltName"]
        ((_, ours),) = decode(der)["subjectAltName"]
        assert ours == f"UPN:{text}"
        assert ours.startswith(theirs_.rstrip("\n"))


# -- damage -----------------------------------------------------------------------------------


@pytest.mark.parametrize("der", [b"", b"0", b"garbage", issue().der[:-1]], ids=range(4))
def test_what_is_no_certificate_is_a_value_error(der: bytes) -> None:
    with pytest.raises(ValueError):
        decode(der)


def test_text_that_is_no_utf_8_is_a_value_error(tmp_path: Path) -> None:
    der = with_alternative_names(value(0x82, b"\xe9"))
    for decoder in (decode, lambda der: theirs(der, tmp_path)):
        with pytest.raises(UnicodeDecodeError):
            decoder(der)


FULL = issue(
    "x",
    names=[
        *(HOST, "127.0.0.1", "::1"),
        x509.DirectoryName(common_name("y")),
        x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), value(12, b"me")),
        x509.RegisteredID(NameOID.COMMON_NAME),
    ],
    extensions=[
        (x509.CRLDistributionPoints([point(URI("http://a"))]), False),
        (
            x509.AuthorityInformationAccess(
                [x509.AccessDescription(AuthorityInformationAccessOID.OCSP, URI("http://b"))]
            ),
            False,
        ),
    ],
).der
places = st.integers(0, len(FULL) - 1)


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(places, st.integers(0, 255), min_size=1, max_size=4))
def test_damaged_certificate_is_a_dictionary_or_a_value_error(changes: dict[int, int]) -> None:
    damaged = bytearray(FULL)
    for place, byte in changes.items():
        damaged[place] = byte
    try:
        assert list(decode(bytes(damaged)))[:3] == ["subject", "issuer", "version"]
    except ValueError:
        return


def test_every_bit_may_be_flipped() -> None:
    kinds = set()
    for i in range(8 * len(FULL)):
        damaged = bytearray(FULL)
        damaged[i // 8] ^= 1 << i % 8
        try:
            decode(bytes(damaged))
            kinds.add("read")
        except ValueError:
            kinds.add("refused")
    assert kinds == {"read", "refused"}


# -- remembered -------------------------------------------------------------------------------


def test_dictionary_is_the_callers_own() -> None:
    one = decode(FULL)
    one.clear()
    assert decode(FULL)["subject"] == ((("commonName", "x"),),)


def test_few_are_remembered() -> None:
    for i in range(100):
        decode(issue(f"{i}").der)
    assert peercert.decoded.cache_info().currsize <= 32
