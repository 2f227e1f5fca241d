"""Certificates: what they say, whom they lead to, and why one was refused.

GnuTLS decodes them and decides; what it has no call for is in `_der`. Where it is laxer than
OpenSSL, as Python's ssl sets that up, the stricter rule holds: see `Certificate.matches` and
`TrustList.verify`. Longer than 500 lines because a certificate and what trusts it share their
names, and half of it says what is decided.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from enum import IntEnum
from itertools import count
from typing import Literal, TypeAlias

from gnutls_resume.binding._arguments import BytesLike, check_bytes, check_name
from gnutls_resume.binding._check import check, error_for
from gnutls_resume.binding._datum import Freed, bytes_of, datum_of
from gnutls_resume.binding._der import (
    certificates_of,
    crls_of,
    early_time,
    elements,
    first_element,
)
from gnutls_resume.binding._ffi import CData, c_string, ffi, lib
from gnutls_resume.binding.constants import CertificateStatus

__all__ = [
    "MAX_CHAIN",
    "NO_CRL",
    "PROFILE_MEDIUM",
    "Certificate",
    "GeneralName",
    "TrustList",
    "certificate_verification_status_print",
    "certificates_of",
    "chain_not_after",
    "crls_of",
    "ip_address",
    "rdn_sequence",
]

Name: TypeAlias = tuple[tuple[tuple[str, str | bytes], ...], ...]
"""An RDNSequence: for each RDN its (OID, text) pairs. A BIT STRING is bytes."""

MAX_CHAIN = 16
"""The longest chain that is verified: DEFAULT_MAX_VERIFY_DEPTH in GnuTLS's source."""

PROFILE_MEDIUM: int = lib.GNUTLS_PROFILE_MEDIUM << 24
"""Flag of `TrustList.verify`: 112 bits, so RSA from 2,048 bits on (GNUTLS_PROFILE_MEDIUM)."""

NO_CRL = CertificateStatus(1 << 30)
"""A bit of our own in a status: a revocation list was asked for, and there is none that is good;
other bits say why, if there is a bad one."""

SUBJECT_ALT_NAME = b"2.5.29.17"
CRL_DISTRIBUTION_POINTS = b"2.5.29.31"
AUTHORITY_INFO_ACCESS = b"1.3.6.1.5.5.7.1.1"
TLS_WWW_SERVER = b"1.3.6.1.5.5.7.3.1"  # GNUTLS_KP_TLS_WWW_SERVER
TLS_WWW_CLIENT = b"1.3.6.1.5.5.7.3.2"
COMMON_NAME = "2.5.4.3"

BIT_STRING = 3
DIRECTORY_NAME = 0xA4  # [4] in a GeneralName, RFC 5280 §4.2.1.6
# ASN.1 string type -> codec, as OpenSSL's ASN1_STRING_to_UTF8: T61String is read as Latin-1.
CODECS = {12: "utf-8", 28: "utf-32-be", 30: "utf-16-be"} | dict.fromkeys(
    (18, 19, 20, 22, 26), "latin-1"
)

# OpenSSL lets a wildcard stand for these only.
LABEL = re.compile(r"[A-Za-z0-9-]+")
LITERALLY = lib.GNUTLS_VERIFY_DO_NOT_ALLOW_WILDCARDS


class GeneralName(IntEnum):
    """``gnutls_x509_subject_alt_name_t``: the kind of a name."""

    DNSNAME = lib.GNUTLS_SAN_DNSNAME
    RFC822NAME = lib.GNUTLS_SAN_RFC822NAME
    URI = lib.GNUTLS_SAN_URI
    IPADDRESS = lib.GNUTLS_SAN_IPADDRESS
    OTHERNAME = lib.GNUTLS_SAN_OTHERNAME
    DN = lib.GNUTLS_SAN_DN
    REGISTERED_ID = lib.GNUTLS_SAN_REGISTERED_ID


# -- certificates -----------------------------------------------------------------------------


class Certificate:
    """An X.509 certificate (``gnutls_x509_crt_t``), from its DER.

    Any thread may read it. Raises ValueError for what GnuTLS cannot read
    (``gnutls_x509_crt_import``); that is also a subjectAltName with an x400Address, an
    ediPartyName or an empty name.
    """

    def __init__(self, der: BytesLike) -> None:
        self.c = initialized("x509_crt")
        datum, _memory = datum_of(check_bytes("der", der))
        code = lib.gnutls_x509_crt_import(self.c, datum, lib.GNUTLS_X509_FMT_DER)
        if code < 0:
            raise ValueError(f"no certificate that GnuTLS can read: {error_for(code)}")
        self.der = bytes(der)

    @property
    def version(self) -> int:
        """1, 2 or 3 (``gnutls_x509_crt_get_version``)."""
        return check(lib.gnutls_x509_crt_get_version(self.c))

    @property
    def serial_number(self) -> int:
        """The serial number (``gnutls_x509_crt_get_serial``)."""
        size = ffi.new("size_t *", 20)  # RFC 5280 §4.1.2.2: no longer
        buffer = ffi.new("unsigned char[]", size[0])
        code = lib.gnutls_x509_crt_get_serial(self.c, buffer, size)
        if code == lib.GNUTLS_E_SHORT_MEMORY_BUFFER:
            buffer = ffi.new("unsigned char[]", size[0])
            code = lib.gnutls_x509_crt_get_serial(self.c, buffer, size)
        check(code)
        return int.from_bytes(ffi.buffer(buffer, size[0]), signed=True)

    @property
    def subject_der(self) -> bytes:
        """The subject's RDNSequence in DER (``gnutls_x509_crt_get_raw_dn``)."""
        with Freed() as datum:
            check(lib.gnutls_x509_crt_get_raw_dn(self.c, datum))
            return bytes_of(datum)

    @property
    def issuer_der(self) -> bytes:
        """The issuer's RDNSequence in DER (``gnutls_x509_crt_get_raw_issuer_dn``)."""
        with Freed() as datum:
            check(lib.gnutls_x509_crt_get_raw_issuer_dn(self.c, datum))
            return bytes_of(datum)

    @property
    def subject(self) -> Name:
        """The subject. Raises ValueError for a string that breaks its type's rules."""
        return rdn_sequence(self.subject_der)

    @property
    def issuer(self) -> Name:
        """The issuer. Raises ValueError for a string that breaks its type's rules."""
        return rdn_sequence(self.issuer_der)

    @property
    def not_before(self) -> int:
        """Unix seconds (``gnutls_x509_crt_get_activation_time``)."""
        seconds = lib.gnutls_x509_crt_get_activation_time(self.c)
        return seconds if seconds > 0 else early_time(self.der, 0)

    @property
    def not_after(self) -> int:
        """Unix seconds (``gnutls_x509_crt_get_expiration_time``)."""
        seconds = lib.gnutls_x509_crt_get_expiration_time(self.c)
        return seconds if seconds > 0 else early_time(self.der, 1)

    @property
    def security_level(self) -> int:
        """Of the public key: bits of a symmetric key as strong, 0 if below every level
        (``gnutls_pk_bits_to_sec_param``, ``gnutls_sec_param_to_symmetric_bits``).
        """
        bits = ffi.new("unsigned int *")
        algorithm = lib.gnutls_x509_crt_get_pk_algorithm(self.c, bits)
        level = lib.gnutls_pk_bits_to_sec_param(max(algorithm, 0), bits[0])
        return lib.gnutls_sec_param_to_symmetric_bits(level)

    @property
    def public_key_algorithm(self) -> str:
        """GnuTLS's name of it, such as ``'EC/ECDSA'`` (``gnutls_x509_crt_get_pk_algorithm``)."""
        algorithm = lib.gnutls_x509_crt_get_pk_algorithm(self.c, ffi.NULL)
        return c_string(lib.gnutls_pk_algorithm_get_name(max(algorithm, 0)))

    @property
    def subject_alt_names(self) -> list[tuple[GeneralName, bytes]]:
        """Each name with its kind (``gnutls_subject_alt_names_get``).

        Bytes as they stand in the certificate, NULs and all; an iPAddress is 4 or 16 of them,
        a registeredID its dotted text, a directoryName its RDNSequence in DER, an otherName its
        value in DER. GnuTLS reads as far as the first empty directoryName.
        """
        names = [(kind, name) for kind, name, _ in self._alt_names()]
        if any(kind is GeneralName.DN for kind, _ in names):
            with Freed() as datum:
                self._read(SUBJECT_ALT_NAME, datum)
                _, content, _ = first_element(memoryview(bytes_of(datum)))
            for i, (tag, value) in enumerate(elements(content)):
                if tag == DIRECTORY_NAME and i < len(names):
                    names[i] = GeneralName.DN, value
        return names

    @property
    def other_names(self) -> list[tuple[str, int, bytes]]:
        """OID, and tag byte and content of the value, of each otherName among the
        `subject_alt_names`, in order (``gnutls_subject_alt_names_get``).
        """
        others = [
            (oid, first_element(memoryview(value)))
            for kind, value, oid in self._alt_names()
            if kind is GeneralName.OTHERNAME
        ]
        return [(oid, tag, bytes(content)) for oid, (tag, content, _) in others]

    def _alt_names(self) -> list[tuple[GeneralName, bytes, str]]:
        parsed = initialized("subject_alt_names")
        with Freed() as der:
            if self._read(SUBJECT_ALT_NAME, der):
                lib.gnutls_x509_ext_import_subject_alt_names(der, parsed, 0)
        kind = ffi.new("unsigned int *")
        name = ffi.new("gnutls_datum_t *")
        oid = ffi.new("gnutls_datum_t *")
        found: list[tuple[GeneralName, bytes, str]] = []
        while lib.gnutls_subject_alt_names_get(parsed, len(found), kind, name, oid) >= 0:
            found.append((GeneralName(kind[0]), bytes_of(name), text_oid(oid)))
        return found

    @property
    def authority_info_access(self) -> list[tuple[str, GeneralName, bytes]]:
        """Method's OID, kind and name of each location (``gnutls_x509_aia_get``)."""
        parsed = initialized("x509_aia")
        with Freed() as der:
            if self._read(AUTHORITY_INFO_ACCESS, der):
                # If it fails, the locations before the one it cannot read are there.
                lib.gnutls_x509_ext_import_aia(der, parsed, 0)
        oid = ffi.new("gnutls_datum_t *")
        kind = ffi.new("unsigned int *")
        name = ffi.new("gnutls_datum_t *")
        found: list[tuple[str, GeneralName, bytes]] = []
        while lib.gnutls_x509_aia_get(parsed, len(found), oid, kind, name) >= 0:
            found.append((text_oid(oid), GeneralName(kind[0]), bytes_of(name)))
        return found

    @property
    def crl_distribution_points(self) -> list[tuple[GeneralName, bytes]]:
        """The names of all points (``gnutls_x509_crl_dist_points_get``).

        GnuTLS reads as far as the first point without a full name.
        """
        parsed = initialized("x509_crl_dist_points")
        with Freed() as der:
            if self._read(CRL_DISTRIBUTION_POINTS, der):
                lib.gnutls_x509_ext_import_crl_dist_points(der, parsed, 0)
        kind = ffi.new("unsigned int *")
        name = ffi.new("gnutls_datum_t *")
        found: list[tuple[GeneralName, bytes]] = []
        while lib.gnutls_x509_crl_dist_points_get(parsed, len(found), kind, name, ffi.NULL) >= 0:
            found.append((GeneralName(kind[0]), bytes_of(name)))
        return found

    @property
    def is_ca(self) -> bool:
        """Whether it says that it may sign certificates (``gnutls_x509_crt_get_ca_status``)."""
        return bool(lib.gnutls_x509_crt_get_ca_status(self.c, ffi.new("unsigned int *")) > 0)

    @property
    def names(self) -> tuple[str, ...]:
        """For whom the certificate is: its sorted dNSNames and IP addresses, or, if it has
        neither, its common names.
        """
        found = set()
        for kind, name in self.subject_alt_names:
            if kind is GeneralName.DNSNAME:
                found.add(name.decode(errors="backslashreplace").lower())
            elif kind is GeneralName.IPADDRESS and len(name) in {4, 16}:
                found.add(str(ipaddress.ip_address(name)))
        if not found:
            pairs = [pair for rdn in self.subject for pair in rdn]
            found = {str(text) for oid, text in pairs if oid == COMMON_NAME}
        return tuple(sorted(found))

    def matches(self, hostname: str, *, common_name: bool = True) -> bool:
        """Whether it is for `hostname`, a DNS name in ASCII or an IP address as text
        (``gnutls_x509_crt_check_hostname2``, ``gnutls_x509_crt_check_ip``).

        Without `common_name` a subjectAltName must say so (``hostname_checks_common_name``).
        A wildcard is a whole first label, stands for one label of letters, digits and hyphens,
        and is followed by two or more: GnuTLS alone would take ``*b.example.org`` for
        ``ab.example.org`` and a wildcard for any characters. An IP address must be an
        iPAddress. GnuTLS is stricter than OpenSSL about the common name: it counts if there is
        only one, the extended key usage allows servers, and no name of a host, address, URI
        or service stands in the subjectAltName.
        """
        if (address := ip_address(hostname)) is not None:
            return bool(lib.gnutls_x509_crt_check_ip(self.c, address, len(address), 0))
        check_name(hostname).decode("ascii")
        if hostname.startswith("."):
            return False
        if not common_name and all(
            kind is not GeneralName.DNSNAME for kind, _ in self.subject_alt_names
        ):
            return False
        label, _, rest = hostname.partition(".")
        forms = [hostname]
        if "." in rest and LABEL.fullmatch(label):
            forms.append(f"*.{rest}")
        return any(
            lib.gnutls_x509_crt_check_hostname2(self.c, form.encode(), LITERALLY) for form in forms
        )

    def issued_by(self, other: "Certificate") -> bool:
        """Whether names and key identifiers say so; the signature is not looked at
        (``gnutls_x509_crt_check_issuer``).
        """
        return bool(lib.gnutls_x509_crt_check_issuer(self.c, other.c))

    def _read(self, oid: bytes, datum: CData) -> bool:
        """Put an extension's DER into `datum`; whether there is one."""
        code = lib.gnutls_x509_crt_get_extension_by_oid2(self.c, oid, 0, datum, ffi.NULL)
        return code >= 0

    def __repr__(self) -> str:
        return f"<Certificate {self.serial_number:x}>"


def initialized(kind: str) -> CData:
    """A new ``gnutls_<kind>_t``, freed with its last reference."""
    pointer = ffi.new(f"gnutls_{kind}_t *")
    check(getattr(lib, f"gnutls_{kind}_init")(pointer))
    return ffi.gc(pointer[0], getattr(lib, f"gnutls_{kind}_deinit"))


def ip_address(text: str) -> bytes | None:
    """The 4 or 16 bytes of an IP address, None if `text` is none."""
    try:
        return None if "%" in text else ipaddress.ip_address(text).packed
    except ValueError:
        return None


def text_oid(datum: CData) -> str:
    """An OID as GnuTLS writes it, sometimes with its NUL."""
    return bytes_of(datum).rstrip(b"\0").decode()


def rdn_sequence(der: bytes) -> Name:
    """A name in DER as OIDs and texts (``gnutls_x509_dn_import``, ``gnutls_x509_dn_get_rdn_ava``).

    Raises ValueError for malformed DER and for a string that breaks its type's rules.
    """
    parsed = initialized("x509_dn")
    datum, _memory = datum_of(der)
    code = lib.gnutls_x509_dn_import(parsed, datum)
    if code < 0:
        raise ValueError(f"no name that GnuTLS can read: {error_for(code)}")
    rdns = []
    for i in count():
        if not (rdn := tuple(attributes(parsed, i))):
            break
        rdns.append(rdn)
    return tuple(rdns)


def attributes(dn: CData, rdn: int) -> Iterator[tuple[str, str | bytes]]:
    ava: CData = ffi.new("gnutls_x509_ava_st *")
    for i in count():
        if lib.gnutls_x509_dn_get_rdn_ava(dn, rdn, i, ava) < 0:
            return
        yield text_oid(ava.oid), text_of(ava.value_tag, bytes_of(ava.value))


def text_of(tag: int, value: bytes) -> str | bytes:
    if tag == BIT_STRING and value:
        unused = value[0] & 7
        return value[1:-1] + bytes([value[-1] >> unused << unused]) if value[1:] else b""
    if tag not in CODECS:
        raise ValueError(f"a name has a value of ASN.1 type {tag}, which is no string")
    return value.decode(CODECS[tag])


def readable(chain: Iterable[BytesLike]) -> list[Certificate]:
    """The leaf, and those of the others that GnuTLS can read: no path leads through the rest.

    Raises ValueError for a leaf that it cannot read, and for an empty chain.
    """
    leaf, *others = chain
    found = [Certificate(leaf)]
    for der in others:
        with suppress(ValueError):
            found.append(Certificate(der))
    return found


def chain_not_after(chain: Iterable[BytesLike]) -> int:
    """Unix seconds when the first certificate of a chain in DER, leaf first, expires.

    Raises ValueError for an empty chain and for a leaf that GnuTLS cannot read.
    """
    return min(certificate.not_after for certificate in readable(chain))


# -- trust ------------------------------------------------------------------------------------


class TrustList:
    """Authorities that a chain must lead to (``gnutls_x509_trust_list_t``), and revocation lists.

    `anchors` and `crls` are DER. Raises ValueError for what GnuTLS cannot read
    (``gnutls_x509_crt_import``, ``gnutls_x509_crl_import``). An anchor given twice counts once;
    one that is no authority is trusted for itself alone; an expired one makes what it signed
    expired.

    Any number of threads may verify at once: GnuTLS only reads the list then, as it does when
    sessions share credentials.
    """

    def __init__(self, anchors: Iterable[bytes], crls: Iterable[bytes] = ()) -> None:
        deinit = lib.gnutls_x509_trust_list_deinit
        pointer = ffi.new("gnutls_x509_trust_list_t *")
        check(lib.gnutls_x509_trust_list_init(pointer, 0))
        # 0: each certificate is freed by its own object, which this one holds.
        self.c = ffi.gc(pointer[0], lambda c: deinit(c, 0))
        self._anchors = {der: Certificate(der) for der in anchors}
        self._by_pointer = {anchor.c: anchor for anchor in self._anchors.values()}
        array = ffi.new("gnutls_x509_crt_t[]", list(self._by_pointer))
        size = len(self._anchors)
        if lib.gnutls_x509_trust_list_add_cas(self.c, array, size, 0) != size:
            raise MemoryError
        self._crls: dict[bytes, list[CData]] = {}
        for der in dict.fromkeys(crls):
            crl = initialized("x509_crl")
            datum, _memory = datum_of(check_bytes("a CRL", der))
            code = lib.gnutls_x509_crl_import(crl, datum, lib.GNUTLS_X509_FMT_DER)
            if code < 0:
                raise ValueError(f"no CRL that GnuTLS can read: {error_for(code)}")
            with Freed() as issuer:
                check(lib.gnutls_x509_crl_get_raw_issuer_dn(crl, issuer))
                self._crls.setdefault(bytes_of(issuer), []).append(crl)

    def __len__(self) -> int:
        return len(self._anchors)

    def verify(
        self,
        chain: Sequence[BytesLike],
        *,
        hostname: str | None,
        server: bool = True,
        flags: int = PROFILE_MEDIUM,
        need_crl: Literal["none", "leaf", "chain"] = "none",
        partial_chain: bool = False,
        common_name: bool = True,
    ) -> CertificateStatus:
        """Why `chain`, DER with the leaf first, is refused now; 0 if it is good
        (``gnutls_x509_trust_list_verify_crt2``).

        `hostname` and `common_name` are those of `Certificate.matches`; None does not look at
        names. `server` says whose certificate it is, for the extended key usage. `flags` are
        GnuTLS's ``GNUTLS_VERIFY_*`` and a profile. With `need_crl` the leaf, or every
        certificate of the path, must have a current revocation list signed by its issuer;
        without, lists are not looked at. Without `partial_chain` the path must end in an anchor
        that signed itself, or the leaf be such a one.

        A chain of more than `MAX_CHAIN` certificates is SIGNER_CONSTRAINTS_FAILURE, a leaf that
        GnuTLS cannot read is INVALID alone. Raises ValueError for an empty chain.
        """
        if not chain:
            raise ValueError("a chain has one certificate or more")
        if len(chain) > MAX_CHAIN:
            return CertificateStatus.INVALID | CertificateStatus.SIGNER_CONSTRAINTS_FAILURE
        try:
            certificates = readable(chain)
        except ValueError:
            return CertificateStatus.INVALID
        path = self._path(certificates)
        if path[0] in self:
            del certificates[1:]  # GnuTLS would ask for the trust of these alone
        if path[-1].version > 1:
            # Or GnuTLS would take any certificate that signed itself for an authority.
            flags |= lib.GNUTLS_VERIFY_DO_NOT_ALLOW_X509_V1_CA_CRT
        status = CertificateStatus(self._verify(certificates, server=server, flags=flags))
        if hostname is not None and not certificates[0].matches(hostname, common_name=common_name):
            status |= CertificateStatus.UNEXPECTED_OWNER
        if not partial_chain and not self._ends(path):
            status |= CertificateStatus.SIGNER_NOT_FOUND
        if need_crl != "none":
            status |= self._revocation(path, 1 if need_crl == "leaf" else len(path))
        return status | CertificateStatus.INVALID if status else status

    def path(self, chain: Iterable[BytesLike]) -> list[Certificate]:
        """From the leaf to the last issuer that is known, an anchor or one of `chain`
        (``gnutls_x509_trust_list_get_issuer``, ``gnutls_x509_crt_check_issuer``).

        Raises ValueError for an empty chain and for a leaf that GnuTLS cannot read.
        """
        return self._path(readable(chain))

    def __contains__(self, certificate: Certificate) -> bool:
        """Whether it is an anchor."""
        return certificate.der in self._anchors

    def _verify(self, certificates: list[Certificate], *, server: bool, flags: int) -> int:
        purpose = ffi.new("char[]", TLS_WWW_SERVER if server else TLS_WWW_CLIENT)
        data: CData = ffi.new("gnutls_typed_vdata_st *")
        data.type, data.data = lib.GNUTLS_DT_KEY_PURPOSE_OID, ffi.cast("unsigned char *", purpose)
        array = ffi.new("gnutls_x509_crt_t[]", [certificate.c for certificate in certificates])
        status = ffi.new("unsigned int *")
        check(
            lib.gnutls_x509_trust_list_verify_crt2(
                self.c, array, len(certificates), data, 1, flags, status, ffi.NULL
            )
        )
        return int(status[0])

    def _path(self, certificates: list[Certificate]) -> list[Certificate]:
        path = [certificates[0]]
        while not path[-1].issued_by(path[-1]) and len(path) <= MAX_CHAIN:
            issuers = (other for other in certificates if path[-1].issued_by(other))
            issuer = self._issuer(path[-1]) or next(issuers, None)
            if issuer is None:
                break
            path.append(issuer)
        return path

    def _ends(self, path: list[Certificate]) -> bool:
        """Whether it ends in an anchor that signed itself."""
        return path[-1].issued_by(path[-1]) and self._issuer(path[-1]) is not None

    def _issuer(self, certificate: Certificate) -> Certificate | None:
        """The anchor that may have issued it."""
        issuer = ffi.new("gnutls_x509_crt_t *")
        code = lib.gnutls_x509_trust_list_get_issuer(self.c, certificate.c, issuer, 0)
        return self._by_pointer[issuer[0]] if code == 0 else None

    def _revocation(self, path: list[Certificate], depth: int) -> CertificateStatus:
        """Whether lists say that one of the first `depth` certificates was revoked."""
        status = CertificateStatus(0)
        for certificate, issuer in zip(path[:depth], [*path[1:], path[-1]], strict=False):
            crls = self._crls.get(certificate.issuer_der, [])
            states = [crl_status(crl, issuer) for crl in crls]
            good = [crl for crl, state in zip(crls, states, strict=True) if state == 0]
            if good:
                array = ffi.new("gnutls_x509_crl_t[]", good)
                if lib.gnutls_x509_crt_check_revocation(certificate.c, array, len(good)) != 0:
                    status |= CertificateStatus.REVOKED
            else:
                status |= NO_CRL | (states[-1] if states else 0)
        return status

    def __repr__(self) -> str:
        return f"<TrustList of {len(self)}>"


def crl_status(crl: CData, issuer: Certificate) -> CertificateStatus:
    """Why a revocation list may not be used; 0 if it is good (``gnutls_x509_crl_verify``)."""
    array = ffi.new("gnutls_x509_crt_t[]", [issuer.c])
    status = ffi.new("unsigned int *")
    if lib.gnutls_x509_crl_verify(crl, array, 1, 0, status) < 0:
        return CertificateStatus.INVALID
    return CertificateStatus(status[0])


# -- texts ------------------------------------------------------------------------------------


def certificate_verification_status_print(status: CertificateStatus | int) -> str:
    """GnuTLS's sentences for `status` (``gnutls_certificate_verification_status_print``)."""
    with Freed() as text:
        check(
            lib.gnutls_certificate_verification_status_print(status, lib.GNUTLS_CRT_X509, text, 0)
        )
        return bytes_of(text).decode().strip()
