"""Certificates: why one was refused."""

from gnutls_resume.binding._check import check
from gnutls_resume.binding._datum import Freed, bytes_of
from gnutls_resume.binding._ffi import lib
from gnutls_resume.binding.constants import CertificateStatus

__all__ = ["certificate_verification_status_print"]


def certificate_verification_status_print(status: CertificateStatus | int) -> str:
    """GnuTLS's sentences for `status` (``gnutls_certificate_verification_status_print``)."""
    with Freed() as text:
        check(
            lib.gnutls_certificate_verification_status_print(status, lib.GNUTLS_CRT_X509, text, 0)
        )
        return bytes_of(text).decode().strip()
