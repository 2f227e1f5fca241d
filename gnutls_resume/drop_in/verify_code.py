"""Temporary."""

from gnutls_resume.binding.constants import CertificateStatus as S


def verify_code(status, chain, hostname):
    if status & S.EXPIRED:
        return 10, "certificate has expired"
    if status & S.SIGNER_NOT_FOUND:
        return 20, "unable to get local issuer certificate"
    if status & S.UNEXPECTED_OWNER:
        return 62, f"Hostname mismatch, certificate is not valid for '{hostname}'."
    return 1, "unspecified certificate verification error"
