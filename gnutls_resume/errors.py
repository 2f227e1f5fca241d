"""The exception trees: of GnuTLS and of stores. Each class is a different thing for the caller to
do next.

Faults of the socket are not here: they stay the ``OSError`` or ``TimeoutError`` they are.
This file imports nothing of ours.
"""

from enum import Enum

__all__ = [
    "AlertError",
    "FeatureMissingError",
    "GnuTLSError",
    "InvalidReason",
    "InvalidSessionError",
    "MisuseError",
    "PrematureTerminationError",
    "StoreBusyError",
    "StoreClosedError",
    "StoreError",
    "VerificationError",
    "WantReadError",
    "WantWriteError",
]


class GnuTLSError(Exception):
    """A GnuTLS function failed. Raised itself where no subclass fits.

    ``code`` is GnuTLS's negative number (0 where the error is this library's own), ``name`` its
    symbol (``GNUTLS_E_…``), ``text`` its sentence, ``fatal`` whether the session is over
    (``gnutls_error_is_fatal``).
    """

    code = 0
    name = ""
    fatal = False

    @property
    def text(self) -> str:
        """The sentence alone, without symbol and number."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        return f"{self.text} [{self.name}, {self.code}]" if self.name else self.text


class WantReadError(GnuTLSError):
    """The transport has nothing to read: wait until it has, then repeat the call."""


class WantWriteError(GnuTLSError):
    """The transport takes no more: wait until it does, then repeat the call as it was."""


class VerificationError(GnuTLSError):
    """The peer's certificate was refused.

    ``status`` holds the ``CertificateStatus`` bits, ``reasons`` GnuTLS's sentences for them.
    """

    status: int = 0
    reasons: str = ""

    def __str__(self) -> str:
        return f"{super().__str__()} {self.reasons}".rstrip()


class AlertError(GnuTLSError):
    """The peer ended the connection with a fatal alert (RFC 8446 §6).

    ``alert`` is its number, ``alert_name`` GnuTLS's name for it.
    """

    alert: int = 0
    alert_name: str = ""

    def __str__(self) -> str:
        return f"{super().__str__()} {self.alert_name}".rstrip()


class PrematureTerminationError(GnuTLSError):
    """The peer closed the transport without a close_notify: data may be missing."""


class InvalidReason(Enum):
    """Why a stored session was refused."""

    DAMAGED = "it is damaged, was moved, or is no stored session at all"
    EXPIRED = "it has expired"
    OTHER_VERSION = "it was made by another version of GnuTLS or of this format"
    OTHER_KIND = "it is a session of another kind"
    OTHER_POLICY = "it was made under another context"
    OTHER_KEY = "it was sealed under another key, or under none"
    TOO_LARGE = "it is larger than 65,536 bytes"
    NOT_RESUMABLE = "the connection has failed and its session must not be resumed"


class InvalidSessionError(GnuTLSError):
    """A stored session cannot be used; a full handshake can. ``reason`` says why."""

    def __init__(self, reason: InvalidReason) -> None:
        super().__init__(f"the session cannot be resumed: {reason.value}")
        self.reason = reason


class MisuseError(GnuTLSError):
    """The call came at the wrong time, from the wrong side, or from a second thread."""


class FeatureMissingError(GnuTLSError, NotImplementedError):
    """The loaded GnuTLS lacks a function or flag; the message says which version has it."""


class StoreError(Exception):
    """A store cannot answer. Where a session was wanted, the handshake is full."""


class StoreBusyError(StoreError):
    """Another process held the store for as long as a handshake may wait."""


class StoreClosedError(StoreError):
    """The store has failed or hung a short while ago, and is asked nothing for now."""
