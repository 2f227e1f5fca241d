"""The keys under which a server seals its session tickets, and what a client offered."""

from enum import IntEnum

from gnutls_resume.binding import crypto
from gnutls_resume.binding._arguments import BytesLike, check_instance, check_number
from gnutls_resume.binding._check import check
from gnutls_resume.binding._datum import Freed, Secret, wiped_memory
from gnutls_resume.binding._ffi import CData, ffi, lib

MAX_SECRETS: int = lib.GR_MAX_TICKET_SECRETS
MAX_STEPS = 1_000_000  # of a ratchet: about two seconds
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

    def ratchet(self, steps: int = 1) -> "TicketSecret":
        """The secret `steps` (0 to 1,000,000) epochs later. From a later one no earlier one can
        be computed (HKDF-Expand, RFC 5869 §2.3).
        """
        check_number("steps", steps, 0, MAX_STEPS)
        later = wiped_memory(lib.GR_TICKET_SECRET_SIZE)
        check(lib.gr_ratchet(self.datum, steps, later))
        return TicketSecret(memoryview(ffi.buffer(later, lib.GR_TICKET_SECRET_SIZE)))

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits by which it is known, and which tell nothing of it."""
        return bytes(ffi.buffer(crypto.hkdf(self.datum, b"", b"fingerprint", 8), 8)).hex()


class TicketKeyTable:
    """The secrets of which a ticket that is offered may have been made, newest or not; new
    tickets are made of `current`. At most 8 in all. One that is wiped is passed over.
    """

    def __init__(self, current: TicketSecret, *accepted: TicketSecret) -> None:
        self.secrets = (current, *accepted)
        if len(self.secrets) > MAX_SECRETS:
            raise ValueError(f"a table has at most {MAX_SECRETS} secrets, not {len(self.secrets)}")
        for secret in self.secrets:
            check_instance("a table's secret", secret, TicketSecret)
        datums = [secret.datum for secret in self.secrets]
        self.c: CData = ffi.new("gr_ticket_table *", (len(datums), datums))

    def __repr__(self) -> str:
        return f"<TicketKeyTable of {len(self.secrets)}>"


class TicketOffer(IntEnum):
    """What a client offered for resumption, besides a session ID."""

    NONE = lib.GR_OFFERED_NONE
    UNKNOWN_KEY = lib.GR_OFFERED_UNKNOWN_KEY
    """No ticket of a key that ``Session.ticket_derive`` could make for this connection."""
    KNOWN_KEY = lib.GR_OFFERED_KNOWN_KEY
    """Made under that key; what may still be wrong with it GnuTLS alone knows."""
