"""Where sessions are kept: bytes, keys and time. Nothing here knows TLS or GnuTLS."""

from gnutls_resume.stores.memory import MemoryStore
from gnutls_resume.stores.protocol import Store

__all__ = [
    "MemoryStore",
    "Store",
]
