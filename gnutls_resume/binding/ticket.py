"""The keys under which a server seals its session tickets, and what a client offered."""

from enum import IntEnum

from gnutls_resume.binding._arguments import BytesLike
from gnutls_resume.binding._check import check
from gnutls_resume.binding._datum import Freed, Secret, wiped_memory
from gnutls_resume.binding._ffi import ffi, lib

SIZE = 64  # bytes; GnuTLS derives the keys of each period from them


class TicketKey(Secret):
    """A ticket key: 64 bytes in C memory, wiped when ``wipe()`` or ``close()`` is called, or
    when it is collected.

    Whoever knows it can read every connection resumed under it, also past TLS 1.2 ones: change
    it every few hours (RFC 9325 §3.4). Raises TypeError or ValueError for `raw` that is not 64
    random bytes.
    """

    def __init__(self, raw: BytesLike) -> None:
        super().__init__("the ticket key", raw, SIZE)

    @classmethod
    def generate(cls) -> "TicketKey":
        """A new random key (``gnutls_session_ticket_key_generate``)."""
        with Freed(wipe=True) as datum:
            check(lib.gnutls_session_ticket_key_generate(datum))
            return cls(memoryview(ffi.buffer(datum.data, datum.size)))


class TicketSecret(Secret):
    """The secret from which ``Session.ticket_derive`` makes ticket keys: 32 bytes in C memory,
    wiped when ``wipe()`` or ``close()`` is called, or when it is collected.

    Who has it has every ticket key made from it. Raises TypeError or ValueError for `raw` that is
    not 32 random bytes.
    """

    def __init__(self, raw: BytesLike) -> None:
        super().__init__("the ticket secret", raw, lib.GR_TICKET_SECRET_SIZE)

    @classmethod
    def generate(cls) -> "TicketSecret":
        """A new random secret (``gnutls_rnd``)."""
        size = lib.GR_TICKET_SECRET_SIZE
        memory = wiped_memory(size)
        check(lib.gnutls_rnd(lib.GNUTLS_RND_KEY, memory, size))
        return cls(memoryview(ffi.buffer(memory, size)))


class TicketOffer(IntEnum):
    """What a client offered for resumption, besides a session ID."""

    NONE = lib.GR_OFFERED_NONE
    UNKNOWN_KEY = lib.GR_OFFERED_UNKNOWN_KEY
    """No ticket of the key that ``Session.ticket_derive`` made for this connection."""
    KNOWN_KEY = lib.GR_OFFERED_KNOWN_KEY
    """Made under that key; what may still be wrong with it GnuTLS alone knows."""
