"""GnuTLS's errors as the ``ssl.SSLError`` family, with what libraries look at.

urllib3, aiohttp, trio, anyio, paho and others read ``args[0]``, ``reason``, ``library``,
``strerror``, ``verify_code`` and ``verify_message``; the reasons are OpenSSL's names.
"""

import ssl

from gnutls_resume.binding import CertificateStatus, TrustList
from gnutls_resume.drop_in.verify_code import verify_code
from gnutls_resume.errors import (
    AlertError,
    GnuTLSError,
    PrematureTerminationError,
    VerificationError,
    WantReadError,
    WantWriteError,
)

# OpenSSL's names for alerts (RFC 8446 §6, RFC 5246 §7.2).
ALERTS = {
    0: "SSLV3_ALERT_CLOSE_NOTIFY",
    10: "SSLV3_ALERT_UNEXPECTED_MESSAGE",
    20: "SSLV3_ALERT_BAD_RECORD_MAC",
    21: "TLSV1_ALERT_DECRYPTION_FAILED",
    22: "TLSV1_ALERT_RECORD_OVERFLOW",
    30: "SSLV3_ALERT_DECOMPRESSION_FAILURE",
    40: "SSLV3_ALERT_HANDSHAKE_FAILURE",
    41: "SSLV3_ALERT_NO_CERTIFICATE",
    42: "SSLV3_ALERT_BAD_CERTIFICATE",
    43: "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
    44: "SSLV3_ALERT_CERTIFICATE_REVOKED",
    45: "SSLV3_ALERT_CERTIFICATE_EXPIRED",
    46: "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
    47: "SSLV3_ALERT_ILLEGAL_PARAMETER",
    48: "TLSV1_ALERT_UNKNOWN_CA",
    49: "TLSV1_ALERT_ACCESS_DENIED",
    50: "TLSV1_ALERT_DECODE_ERROR",
    51: "TLSV1_ALERT_DECRYPT_ERROR",
    70: "TLSV1_ALERT_PROTOCOL_VERSION",
    71: "TLSV1_ALERT_INSUFFICIENT_SECURITY",
    80: "TLSV1_ALERT_INTERNAL_ERROR",
    86: "TLSV1_ALERT_INAPPROPRIATE_FALLBACK",
    90: "TLSV1_ALERT_USER_CANCELLED",
    100: "TLSV1_ALERT_NO_RENEGOTIATION",
    109: "TLSV13_ALERT_MISSING_EXTENSION",
    110: "TLSV1_UNSUPPORTED_EXTENSION",
    112: "TLSV1_UNRECOGNIZED_NAME",
    113: "TLSV1_BAD_CERTIFICATE_STATUS_RESPONSE",
    115: "TLSV1_ALERT_UNKNOWN_PSK_IDENTITY",
    116: "TLSV13_ALERT_CERTIFICATE_REQUIRED",
    120: "TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
}

# What OpenSSL says where GnuTLS has found the fault itself.
REASONS = {
    "GNUTLS_E_UNEXPECTED_PACKET": "WRONG_VERSION_NUMBER",
    "GNUTLS_E_UNEXPECTED_PACKET_LENGTH": "WRONG_VERSION_NUMBER",
    "GNUTLS_E_UNSUPPORTED_VERSION_PACKET": "WRONG_VERSION_NUMBER",
    "GNUTLS_E_RECORD_OVERFLOW": "WRONG_VERSION_NUMBER",
    "GNUTLS_E_DECRYPTION_FAILED": "DECRYPTION_FAILED_OR_BAD_RECORD_MAC",
    "GNUTLS_E_UNEXPECTED_HANDSHAKE_PACKET": "UNEXPECTED_MESSAGE",
    "GNUTLS_E_NO_CIPHER_SUITES": "NO_SHARED_CIPHER",
    "GNUTLS_E_NO_APPLICATION_PROTOCOL": "NO_APPLICATION_PROTOCOL",
    "GNUTLS_E_CERTIFICATE_REQUIRED": "PEER_DID_NOT_RETURN_A_CERTIFICATE",
    "GNUTLS_E_NO_CERTIFICATE_FOUND": "PEER_DID_NOT_RETURN_A_CERTIFICATE",
}

# What OpenSSL's servers know of those who speak no TLS, by the first five bytes.
IN_CLEAR = {
    b"GET ": "HTTP_REQUEST",
    b"POST ": "HTTP_REQUEST",
    b"HEAD ": "HTTP_REQUEST",
    b"PUT ": "HTTP_REQUEST",
    b"CONNE": "HTTPS_PROXY_REQUEST",
}

WANT_READ = "The operation did not complete (read)"
WANT_WRITE = "The operation did not complete (write)"
EOF = "EOF occurred in violation of protocol"


def ssl_error(
    reason: str, text: str, kind: type[ssl.SSLError] = ssl.SSLError, *, library: str = "SSL"
) -> ssl.SSLError:
    """An error as OpenSSL's bindings make it."""
    return dressed(kind(ssl.SSL_ERROR_SSL, f"[{library}: {reason}] {text}"), reason, library)


def dressed(error: ssl.SSLError, reason: str, library: str = "SSL") -> ssl.SSLError:
    error.reason = reason
    error.library = library
    return error


def want(kind: type[ssl.SSLError], number: int, text: str) -> ssl.SSLError:
    """No fault: there is no reason."""
    error = kind(number, text)
    error.reason = error.library = None  # type: ignore[assignment] # so in ssl, too
    return error


def eof_error() -> ssl.SSLError:
    """The peer has closed the transport without a close_notify."""
    reason = "UNEXPECTED_EOF_WHILE_READING"
    return dressed(ssl.SSLEOFError(ssl.SSL_ERROR_EOF, f"[SSL: {reason}] {EOF}"), reason)


def zero_return_error() -> ssl.SSLError:
    """Both sides have said that they are done."""
    text = "TLS/SSL connection has been closed (EOF)"
    return want(ssl.SSLZeroReturnError, ssl.SSL_ERROR_ZERO_RETURN, text)


def verification_error(
    error: VerificationError, chain: list[bytes], trust: TrustList | None, hostname: str | None
) -> ssl.SSLCertVerificationError:
    """Why the peer's certificate was refused, with OpenSSL's number and sentence."""
    if not chain or trust is None:
        reason = "PEER_DID_NOT_RETURN_A_CERTIFICATE"
        return ssl_error(reason, "peer did not return a certificate")  # type: ignore[return-value]
    code, message = verify_code(CertificateStatus(error.status), chain, trust, hostname)
    text = f"certificate verify failed: {message}"
    made = ssl_error("CERTIFICATE_VERIFY_FAILED", text, ssl.SSLCertVerificationError)
    assert isinstance(made, ssl.SSLCertVerificationError)
    made.verify_code, made.verify_message = code, message
    return made


def client_error(error: GnuTLSError, header: bytes) -> ssl.SSLError:
    """The error of a server's handshake. `header`: of the record that was read last."""
    made = translated(error)
    if made.reason == "WRONG_VERSION_NUMBER":
        for start, reason in IN_CLEAR.items():
            if header.startswith(start):
                return ssl_error(reason, reason.lower().replace("_", " "))
    return made


def translated(error: GnuTLSError) -> ssl.SSLError:
    """The ``ssl.SSLError`` for any error of the binding but a refused certificate's."""
    if isinstance(error, WantReadError):
        return want(ssl.SSLWantReadError, ssl.SSL_ERROR_WANT_READ, WANT_READ)
    if isinstance(error, WantWriteError):
        return want(ssl.SSLWantWriteError, ssl.SSL_ERROR_WANT_WRITE, WANT_WRITE)
    if isinstance(error, PrematureTerminationError):
        return eof_error()
    if isinstance(error, AlertError):
        reason = ALERTS.get(error.alert, f"ALERT_{error.alert}")
        return ssl_error(reason, reason.lower().replace("_", " "))
    reason = REASONS.get(error.name, error.name.removeprefix("GNUTLS_E_") or "INTERNAL_ERROR")
    return ssl_error(reason, f"{reason.lower().replace('_', ' ')} ({error})")


def refused(text: str, alert: int) -> AlertError:
    """A resumption that must not be: RFC 8446 §6.2 has the alerts."""
    error = AlertError(text)
    error.alert = alert
    return error


def timed_out(error: TimeoutError, word: str) -> TimeoutError:
    """As the standard library words it, unless it is the kernel's ETIMEDOUT."""
    return error if error.errno is not None else TimeoutError(f"The {word} operation timed out")
