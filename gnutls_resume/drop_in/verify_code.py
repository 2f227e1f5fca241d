"""Why a certificate was refused, in OpenSSL's numbers and words, which libraries look at."""

import ssl
from collections.abc import Sequence

from gnutls_resume.binding import MAX_CHAIN, NO_CRL, CertificateStatus, TrustList, ip_address

NOT_YET = "certificate is not yet valid"
if ssl.OPENSSL_VERSION_INFO >= (3, 6):
    NOT_YET += " or the system clock is incorrect"

# X509_V_ERR_… of OpenSSL's x509_vfy.h -> X509_verify_cert_error_string().
SENTENCES = {
    1: "unspecified certificate verification error",
    2: "unable to get issuer certificate",
    3: "unable to get certificate CRL",
    7: "certificate signature failure",
    8: "CRL signature failure",
    9: NOT_YET,
    10: "certificate has expired",
    11: "CRL is not yet valid",
    12: "CRL has expired",
    18: "self-signed certificate",
    19: "self-signed certificate in certificate chain",
    20: "unable to get local issuer certificate",
    22: "certificate chain too long",
    23: "certificate revoked",
    26: "unsuitable certificate purpose",
    34: "unhandled critical extension",
    66: "EE certificate key too weak",
    67: "CA certificate key too weak",
    68: "CA signature digest algorithm too weak",
    79: "invalid CA certificate",
}
UNSPECIFIED = 1
GET_ISSUER, GET_ISSUER_LOCALLY = 2, 20
SELF_SIGNED_LEAF, SELF_SIGNED_IN_CHAIN = 18, 19
CHAIN_TOO_LONG = 22
HOSTNAME_MISMATCH, IP_ADDRESS_MISMATCH = 62, 64
EE_KEY_TOO_SMALL, CA_KEY_TOO_SMALL, CA_MD_TOO_WEAK = 66, 67, 68
SECURITY_LEVEL = 112  # bits, of PROFILE_MEDIUM and of OpenSSL's level 2

# In the order in which OpenSSL looks; it reports the first it finds.
CODES = (
    (CertificateStatus.UNKNOWN_CRITICAL_EXTENSIONS, 34),
    (CertificateStatus.SIGNER_NOT_CA, 79),
    (CertificateStatus.PURPOSE_MISMATCH, 26),
    (CertificateStatus.INSECURE_ALGORITHM, CA_MD_TOO_WEAK),
    (CertificateStatus.UNEXPECTED_OWNER, HOSTNAME_MISMATCH),
    (NO_CRL | CertificateStatus.SIGNATURE_FAILURE, 8),
    (NO_CRL | CertificateStatus.REVOCATION_DATA_ISSUED_IN_FUTURE, 11),
    (NO_CRL | CertificateStatus.REVOCATION_DATA_SUPERSEDED, 12),
    (NO_CRL, 3),
    (CertificateStatus.REVOKED, 23),
    (CertificateStatus.SIGNATURE_FAILURE, 7),
    (CertificateStatus.NOT_ACTIVATED, 9),
    (CertificateStatus.EXPIRED, 10),
)


def verify_code(
    status: CertificateStatus, chain: Sequence[bytes], trust: TrustList, hostname: str | None
) -> tuple[int, str]:
    """``verify_code`` and ``verify_message`` for what `TrustList.verify` made of `chain`.

    The numbers are those of OpenSSL 3; what GnuTLS does not tell apart is 1.
    """
    code = number(status, chain, trust)
    if code != HOSTNAME_MISMATCH:
        return code, SENTENCES[code]
    if ip_address(hostname or "") is None:
        sentence = f"Hostname mismatch, certificate is not valid for '{hostname}'."
        return HOSTNAME_MISMATCH, sentence
    sentence = f"IP address mismatch, certificate is not valid for '{hostname}'."
    return IP_ADDRESS_MISMATCH, sentence


def number(status: CertificateStatus, chain: Sequence[bytes], trust: TrustList) -> int:
    if len(chain) > MAX_CHAIN:
        return CHAIN_TOO_LONG
    if status & CertificateStatus.SIGNER_NOT_FOUND:
        return without_anchor(chain, trust)
    code = next((code for bits, code in CODES if status & bits == bits), UNSPECIFIED)
    return weakness(chain, trust) if code == CA_MD_TOO_WEAK else code


def without_anchor(chain: Sequence[bytes], trust: TrustList) -> int:
    path = trust.path(chain)
    if path[-1].issued_by(path[-1]):
        return SELF_SIGNED_LEAF if len(path) == 1 else SELF_SIGNED_IN_CHAIN
    return GET_ISSUER if path[-1] in trust else GET_ISSUER_LOCALLY


def weakness(chain: Sequence[bytes], trust: TrustList) -> int:
    leaf, *issuers = (one.security_level < SECURITY_LEVEL for one in trust.path(chain))
    return EE_KEY_TOO_SMALL if leaf else CA_KEY_TOO_SMALL if any(issuers) else CA_MD_TOO_WEAK
