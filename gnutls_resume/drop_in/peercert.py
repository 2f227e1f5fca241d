"""The dictionary of ``getpeercert()``, as the standard library makes it, read by GnuTLS.

Its texts are OpenSSL's: long names of object identifiers, upper-case hexadecimal, English months.
Which identifiers have a name is asked of the OpenSSL that Python is built with.
"""

import time
from _ssl import txt2obj
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, TypeAlias

from gnutls_resume.binding import Certificate, GeneralName, rdn_sequence

Names: TypeAlias = tuple[tuple[tuple[str, str | bytes], ...], ...]

OCSP, CA_ISSUERS = "1.3.6.1.5.5.7.48.1", "1.3.6.1.5.5.7.48.2"
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

TEXTS = {GeneralName.RFC822NAME: "email", GeneralName.DNSNAME: "DNS", GeneralName.URI: "URI"}
IPV4_SIZE, IPV6_SIZE = 4, 16

# OID of an otherName -> tag of its string and OpenSSL's name for it.
UTF8_STRING, IA5_STRING = 12, 22
OTHER_NAMES = {
    "1.3.6.1.5.5.7.8.5": (UTF8_STRING, "XmppAddr"),
    "1.3.6.1.5.5.7.8.7": (IA5_STRING, "SRVName"),
    "1.3.6.1.5.5.7.8.8": (UTF8_STRING, "NAIRealm"),
    "1.3.6.1.5.5.7.8.9": (UTF8_STRING, "SmtpUTF8Mailbox"),
    "1.3.6.1.4.1.311.20.2.3": (UTF8_STRING, "UPN"),
}
# i2a_ASN1_INTEGER breaks the line there, and the standard library reads one line.
SERIAL_LINE = 70


def decode(der: bytes) -> dict[str, Any]:
    """What ``getpeercert()`` returns for a certificate in DER; a dictionary of the caller's own.

    Raises ValueError for what GnuTLS cannot read (see `Certificate`) and, as the standard library
    does, for text that breaks its encoding's rules.
    """
    return dict(decoded(der))


@lru_cache(maxsize=32)
def decoded(der: bytes) -> dict[str, Any]:
    one = Certificate(der)
    fields: dict[str, Any] = {
        "subject": named(one.subject),
        "issuer": named(one.issuer),
        "version": one.version,
        "serialNumber": serial(one.serial_number),
        "notBefore": date(one.not_before),
        "notAfter": date(one.not_after),
    }
    access = one.authority_info_access
    lists: dict[str, tuple[Any, ...]] = {
        "subjectAltName": tuple(alternative_names(one)),
        "OCSP": tuple(uris((kind, name) for oid, kind, name in access if oid == OCSP)),
        "caIssuers": tuple(uris((kind, name) for oid, kind, name in access if oid == CA_ISSUERS)),
        "crlDistributionPoints": tuple(uris(iter(one.crl_distribution_points))),
    }
    return fields | {key: found for key, found in lists.items() if found}


def named(name: Names) -> Names:
    return tuple(tuple((long_name(oid), text) for oid, text in rdn) for rdn in name)


@lru_cache(maxsize=256)
def long_name(oid: str) -> str:
    """OpenSSL's long name, such as ``'countryName'``; the dotted form where it has none."""
    try:
        _, short, long, _ = txt2obj(oid)
    except ValueError:
        return oid
    return long or short or oid


def serial(number: int) -> str:
    digits = f"{abs(number):X}"
    digits = "-" * (number < 0) + "0" * (len(digits) % 2) + digits
    return digits if len(digits) <= SERIAL_LINE else f"{digits[:SERIAL_LINE]}\\\n"


def date(seconds: int) -> str:
    """As ``ASN1_TIME_print``: ``'Jan  5 09:34:43 2018 GMT'``."""
    then = time.gmtime(seconds)
    clock = f"{then.tm_hour:02}:{then.tm_min:02}:{then.tm_sec:02}"
    return f"{MONTHS[then.tm_mon - 1]} {then.tm_mday:2} {clock} {then.tm_year} GMT"


def alternative_names(one: Certificate) -> Iterator[tuple[str, str | Names]]:
    others = iter(one.other_names)
    for kind, name in one.subject_alt_names:
        if kind is GeneralName.DN:
            yield "DirName", named(rdn_sequence(name))
        elif kind is GeneralName.IPADDRESS:
            yield "IP Address", address(name)
        elif kind is GeneralName.REGISTERED_ID:
            yield "Registered ID", long_name(name.decode())
        elif kind is GeneralName.OTHERNAME:
            yield "othername", other_name(*next(others))
        else:
            yield TEXTS[kind], name.decode()


def address(packed: bytes) -> str:
    if len(packed) == IPV4_SIZE:
        return ".".join(str(byte) for byte in packed)
    if len(packed) == IPV6_SIZE:
        return ":".join(f"{int.from_bytes(packed[i : i + 2]):X}" for i in range(0, IPV6_SIZE, 2))
    return "<invalid>"


def other_name(oid: str, tag: int, content: bytes) -> str:
    """Whole, where the standard library ends at a NUL, a newline or 2,036 bytes."""
    wanted, name = OTHER_NAMES.get(oid, (None, ""))
    return f"{name}:{content.decode()}" if tag == wanted else "<unsupported>"


def uris(names: Iterator[tuple[GeneralName, bytes]]) -> Iterator[str]:
    return (name.decode() for kind, name in names if kind is GeneralName.URI)
