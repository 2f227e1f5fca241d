"""TLS session resumption over the system's GnuTLS."""

from gnutls_resume import binding
from gnutls_resume.binding import (
    GNUTLS_VERSION,
    AntiReplay,
    Credentials,
    SealingKey,
    TicketKey,
)
from gnutls_resume.errors import (
    AlertError,
    FeatureMissingError,
    GnuTLSError,
    InvalidReason,
    InvalidSessionError,
    MisuseError,
    PrematureTerminationError,
    VerificationError,
    WantReadError,
    WantWriteError,
)

__version__ = "0.1.0"

__all__ = [
    "GNUTLS_VERSION",
    "AlertError",
    "AntiReplay",
    "Credentials",
    "FeatureMissingError",
    "GnuTLSError",
    "InvalidReason",
    "InvalidSessionError",
    "MisuseError",
    "PrematureTerminationError",
    "SealingKey",
    "TicketKey",
    "VerificationError",
    "WantReadError",
    "WantWriteError",
    "__version__",
    "binding",
]
