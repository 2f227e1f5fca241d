"""DER and PEM that GnuTLS has no call for, or only one that also decodes each certificate.

That is the length of the first of several DER values, a directoryName as it stands in a
subjectAltName (GnuTLS gives only its RFC 4514 text), and a time before 1970 (GnuTLS says 0).
"""

import binascii
import datetime as dt
import re
from collections.abc import Iterator

from gnutls_resume.binding._arguments import BytesLike, check_bytes

UTC_TIME = 0x17
EXPLICIT_VERSION = 0xA0  # [0] in a TBSCertificate, RFC 5280 §4.1
LONG_FORM = 0x80  # of a length: the other bits say how many bytes follow

PEM_BEGIN = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----")
PEM_CERTIFICATE = re.compile(
    rb"-----BEGIN ((?:X509 )?CERTIFICATE)-----([A-Za-z0-9+/=\s]*)-----END \1-----"
)
CRL_BEGIN = re.compile(rb"-----BEGIN X509 CRL-----")
PEM_CRL = re.compile(rb"-----BEGIN (X509 CRL)-----([A-Za-z0-9+/=\s]*)-----END \1-----")


def certificates_of(data: BytesLike) -> list[bytes]:
    """Each certificate of concatenated PEM or DER, as DER, in order; [] for PEM without one.

    Other PEM blocks and text between them are passed over. Raises ValueError for a block that
    is cut or damaged, and for OpenSSL's ``TRUSTED CERTIFICATE``: its trust settings, which may
    be a refusal, would be lost. Whether each DER is a certificate, `Certificate` finds out.
    """
    data = bytes(check_bytes("data", data))
    if b"-----BEGIN" in data:
        return blocks(data, PEM_BEGIN, PEM_CERTIFICATE)
    found = []
    rest = memoryview(data)
    while rest:
        whole = rest
        _, _, rest = first_element(whole)
        found.append(bytes(whole[: len(whole) - len(rest)]))
    return found


def crls_of(pem: BytesLike) -> list[bytes]:
    """Each ``X509 CRL`` of concatenated PEM, as DER, in order.

    Raises ValueError for one that is cut or damaged.
    """
    return blocks(bytes(check_bytes("pem", pem)), CRL_BEGIN, PEM_CRL)


def blocks(data: bytes, begin: re.Pattern[bytes], whole: re.Pattern[bytes]) -> list[bytes]:
    found = [binascii.a2b_base64(body) for _, body in whole.findall(data)]
    if len(found) != len(begin.findall(data)):
        raise ValueError("a PEM block is cut, damaged, or an OpenSSL TRUSTED CERTIFICATE")
    return found


def first_element(der: memoryview) -> tuple[int, memoryview, memoryview]:
    """Tag byte and content of the first value in `der`, and what follows it."""
    length, start = int.from_bytes(der[1:2]), 2
    if length == LONG_FORM:
        raise ValueError("a DER value does not say its length")
    if length > LONG_FORM:
        start += length - LONG_FORM
        length = int.from_bytes(der[2:start])
    end = start + length
    if end > len(der):
        raise ValueError("not enough data: a DER value ends early")
    return der[0], der[start:end], der[end:]


def elements(der: BytesLike) -> Iterator[tuple[int, bytes]]:
    """Tag byte and content of each value in `der`."""
    rest = memoryview(der)
    while rest:
        tag, content, rest = first_element(rest)
        yield tag, bytes(content)


def early_time(der: bytes, index: int) -> int:
    """Unix seconds of a certificate's notBefore (0) or notAfter (1) that is not after
    1 January 1970.
    """
    (_, certificate), *_ = elements(der)
    (_, tbs), *_ = elements(certificate)
    _, _, _, validity, *_ = [field for tag, field in elements(tbs) if tag != EXPLICIT_VERSION]
    tag, text = list(elements(validity))[index]
    year = b"19" + text if tag == UTC_TIME else text  # 50 to 70
    then = dt.datetime.strptime(year[:14].decode(), "%Y%m%d%H%M%S").replace(tzinfo=dt.UTC)
    return int(then.timestamp())
