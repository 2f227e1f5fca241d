"""What servers have to share to resume each other's tickets, and its stored form.

In the presentation language of RFC 8446 §3, all numbers in network byte order::

    struct {
        opaque magic[4] = "GTKR";
        uint8 format = 1;
        uint32 period;           /* seconds */
        uint32 ticket_lifetime;  /* seconds; at most the period */
        uint64 generation;
        uint64 start;            /* the epoch of the chain key: Unix seconds / period */
        opaque chain[32];
        opaque check[32];        /* SHA-256 of all before it */
    } TicketKeyRecord;

A key file holds just that. It is secret: it is written to and read from C memory that is wiped.
"""

import hashlib
import hmac
import struct
import time
from typing import NoReturn, SupportsIndex

from gnutls_resume.binding import TicketSecret
from gnutls_resume.binding._arguments import BytesLike, check_instance, check_number
from gnutls_resume.binding._datum import wiped_memory
from gnutls_resume.binding._ffi import CData, ffi
from gnutls_resume.binding.envelope import MAX_LIFETIME

HOURS_6 = 21_600  # seconds; "every few hours" (RFC 9325 §3.4), and GnuTLS's own ticket lifetime
MAX_PERIOD = 31_536_000  # seconds; a year
MAX_NUMBER = 2**63 - 1

MAGIC = b"GTKR"
FORMAT = 1
HEADER = struct.Struct(">4sBIIQQ")
CHAIN_SIZE = 32
CHECK_SIZE = 32
SIZE = HEADER.size + CHAIN_SIZE + CHECK_SIZE  # bytes


now = time.time
"""Unix seconds, by which all ticket keys turn."""


class TicketKeyRecord:
    """Ticket keys of all epochs from `start` on; number n begins at n times `period` Unix seconds.

    `chain` is the secret of epoch `start`: a ``TicketSecret``, or its 32 random bytes. Those of
    later epochs are made from it, and no earlier one can be. Tickets live for `ticket_lifetime`
    seconds, by default the period or, if that is less, 604,800 (RFC 8446 §4.6.1); at most the
    period (RFC 9325 §3.4). A record of a later `generation` ends those of all earlier ones at
    once: in what this library makes it is the Unix time of ``keys new`` or ``rotate``, or 0.

    Raises TypeError or ValueError for a wrong argument.
    """

    def __init__(
        self,
        period: int,
        start: int,
        chain: TicketSecret | BytesLike,
        *,
        ticket_lifetime: int | None = None,
        generation: int = 0,
    ) -> None:
        self.period = check_number("period", period, 1, MAX_PERIOD)
        self.start = check_number("start", start, 0, MAX_NUMBER)
        self.chain = chain if isinstance(chain, TicketSecret) else TicketSecret(chain)
        self.ticket_lifetime = check_lifetime(ticket_lifetime, period)
        self.generation = check_number("generation", generation, 0, MAX_NUMBER)

    @classmethod
    def generate(
        cls,
        period: int = HOURS_6,
        *,
        ticket_lifetime: int | None = None,
        start: int | None = None,
        generation: int = 0,
    ) -> "TicketKeyRecord":
        """A record of random keys, by default from the current epoch on."""
        check_number("period", period, 1, MAX_PERIOD)
        return cls(
            period,
            int(now()) // period if start is None else start,
            TicketSecret.generate(),
            ticket_lifetime=ticket_lifetime,
            generation=generation,
        )

    def pack(self) -> CData:
        """The stored form, ``SIZE`` bytes of C memory that is wiped."""
        memory = wiped_memory(SIZE)
        view = ffi.buffer(memory, SIZE)
        numbers = self.period, self.ticket_lifetime, self.generation, self.start
        view[: HEADER.size] = HEADER.pack(MAGIC, FORMAT, *numbers)
        ffi.memmove(memory + HEADER.size, self.chain.datum.data, CHAIN_SIZE)
        view[-CHECK_SIZE:] = hashlib.sha256(memoryview(view)[:-CHECK_SIZE]).digest()
        return memory

    @classmethod
    def unpack(cls, packed: memoryview) -> "TicketKeyRecord":
        """The record in its stored form. Raises ValueError for anything else."""
        if len(packed) != SIZE:
            raise ValueError(f"a ticket key record has {SIZE} bytes, not {len(packed)}")
        magic, form, *numbers = HEADER.unpack_from(packed)
        if magic != MAGIC or form != FORMAT:
            raise ValueError("this is no ticket key record of a known format")
        check = hashlib.sha256(packed[:-CHECK_SIZE]).digest()
        if not hmac.compare_digest(check, packed[-CHECK_SIZE:]):
            raise ValueError("the ticket key record is damaged")
        period, lifetime, generation, start = numbers
        chain = packed[HEADER.size : -CHECK_SIZE]
        return cls(period, start, chain, ticket_lifetime=lifetime, generation=generation)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits by which its first epoch's secret is known."""
        return self.chain.fingerprint

    def __repr__(self) -> str:
        return (
            f"<TicketKeyRecord: period {self.period} s, from epoch {self.start}, "
            f"generation {self.generation}>"
        )

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a TicketKeyRecord cannot be pickled or copied: it is secret")


def check_lifetime(lifetime: int | None, period: int) -> int:
    if lifetime is None:
        return min(period, MAX_LIFETIME)
    check_number("ticket_lifetime", lifetime, 1, MAX_LIFETIME)
    if lifetime > period:
        raise ValueError(
            f"ticket_lifetime must be at most the period, {period} seconds, not {lifetime}: "
            "tickets would outlive their keys"
        )
    return lifetime


def check_record(name: str, record: TicketKeyRecord) -> TicketKeyRecord:
    if isinstance(record, bytes | bytearray | memoryview):
        raise TypeError(
            f"{name} must be a TicketKeyRecord, not {type(record).__name__}: bytes alone do not "
            "say when they began, and so cannot be rotated"
        )
    return check_instance(name, record, TicketKeyRecord)
