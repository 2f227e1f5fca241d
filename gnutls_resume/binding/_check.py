"""Return code -> exception: a table, not a ladder."""

from gnutls_resume.binding._ffi import c_string, lib
from gnutls_resume.binding.constants import CertificateStatus
from gnutls_resume.errors import (
    AlertError,
    GnuTLSError,
    InvalidReason,
    InvalidSessionError,
    PrematureTerminationError,
    VerificationError,
    WantReadError,
)

CLASSES: dict[int, type[GnuTLSError]] = {
    lib.GNUTLS_E_AGAIN: WantReadError,
    lib.GNUTLS_E_FATAL_ALERT_RECEIVED: AlertError,
    lib.GNUTLS_E_PREMATURE_TERMINATION: PrematureTerminationError,
    lib.GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR: VerificationError,
}

SESSION_REASONS = {
    lib.GNUTLS_E_INVALID_SESSION: InvalidReason.NOT_RESUMABLE,
    lib.GNUTLS_E_DB_ERROR: InvalidReason.OTHER_VERSION,
    lib.GNUTLS_E_EXPIRED: InvalidReason.EXPIRED,
}


def error_for(code: int) -> GnuTLSError:
    """The exception for a negative return code."""
    return with_facts(CLASSES.get(code, GnuTLSError)(c_string(lib.gnutls_strerror(code))), code)


def session_error_for(code: int) -> GnuTLSError:
    """The exception for a negative return code of a function that stores or offers a session."""
    reason = SESSION_REASONS.get(code)
    return error_for(code) if reason is None else with_facts(InvalidSessionError(reason), code)


def with_facts(error: GnuTLSError, code: int) -> GnuTLSError:
    error.code = code
    error.name = c_string(lib.gnutls_strerror_name(code))
    error.fatal = bool(lib.gnutls_error_is_fatal(code))
    return error


# RFC 8446 §6.2, as OpenSSL chooses them; the first that fits.
ALERTS = {
    CertificateStatus.REVOKED: 44,  # certificate_revoked
    CertificateStatus.SIGNER_NOT_FOUND | CertificateStatus.SIGNER_NOT_CA: 48,  # unknown_ca
    CertificateStatus.EXPIRED: 45,  # certificate_expired
    CertificateStatus.PURPOSE_MISMATCH: 43,  # unsupported_certificate
}
HANDSHAKE_FAILURE, BAD_CERTIFICATE = 40, 42


def alert_for(error: BaseException) -> int | None:
    """The alert that tells the peer of an error better than GnuTLS would, if there is one."""
    if isinstance(error, VerificationError) and error.status:
        fitting = (alert for status, alert in ALERTS.items() if error.status & status)
        return next(fitting, BAD_CERTIFICATE)
    if isinstance(error, GnuTLSError) and error.code == lib.GNUTLS_E_NO_CERTIFICATE_FOUND:
        return HANDSHAKE_FAILURE  # RFC 5246 §7.4.6: the client has shown none
    return error.alert if isinstance(error, AlertError) and error.alert else None


def check(code: int) -> int:
    """Return a code that is not negative; raise the exception for one that is."""
    if code < 0:
        raise error_for(code)
    return code
