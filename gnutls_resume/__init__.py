"""TLS session resumption over the system's GnuTLS."""

from gnutls_resume import binding
from gnutls_resume.binding import (
    GNUTLS_VERSION,
    AntiReplay,
    Credentials,
    SealingKey,
    TicketKey,
)
from gnutls_resume.drop_in.context import SSLContext, create_default_context
from gnutls_resume.drop_in.resuming import DEFAULT
from gnutls_resume.drop_in.session import SSLSession
from gnutls_resume.drop_in.sockets import SSLObject, SSLSocket, outcome
from gnutls_resume.errors import (
    AlertError,
    FeatureMissingError,
    GnuTLSError,
    InvalidReason,
    InvalidSessionError,
    MisuseError,
    PrematureTerminationError,
    StoreBusyError,
    StoreClosedError,
    StoreError,
    VerificationError,
    WantReadError,
    WantWriteError,
)
from gnutls_resume.resumption.outcome import HandshakeKind, MissReason, Outcome
from gnutls_resume.resumption.ticket_key_record import TicketKeyRecord
from gnutls_resume.resumption.ticket_keys import TicketKeyEpoch, TicketKeyRing
from gnutls_resume.stores.memory import MemoryStore
from gnutls_resume.stores.protocol import Store, StoredEntry
from gnutls_resume.stores.redis import RedisStore
from gnutls_resume.stores.sqlite import SQLiteStore

__version__ = "0.1.0"

__all__ = [
    "DEFAULT",
    "GNUTLS_VERSION",
    "AlertError",
    "AntiReplay",
    "Credentials",
    "FeatureMissingError",
    "GnuTLSError",
    "HandshakeKind",
    "InvalidReason",
    "InvalidSessionError",
    "MemoryStore",
    "MissReason",
    "MisuseError",
    "Outcome",
    "PrematureTerminationError",
    "RedisStore",
    "SQLiteStore",
    "SSLContext",
    "SSLObject",
    "SSLSession",
    "SSLSocket",
    "SealingKey",
    "Store",
    "StoreBusyError",
    "StoreClosedError",
    "StoreError",
    "StoredEntry",
    "TicketKey",
    "TicketKeyEpoch",
    "TicketKeyRecord",
    "TicketKeyRing",
    "VerificationError",
    "WantReadError",
    "WantWriteError",
    "__version__",
    "binding",
    "create_default_context",
    "outcome",
]
