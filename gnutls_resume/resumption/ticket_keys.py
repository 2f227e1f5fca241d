"""The ring of a server's ticket keys: a current one, the one before and the one after.

Keys change by the clock. A record's chain key leads through a one-way ratchet from each epoch to
the next, so all who have the same record agree without a word, and nobody computes the keys of
yesterday from those of today. Rules:

- New tickets are made under the current epoch's secret. That of the epoch before is accepted, for
  a ticket lives no longer than an epoch, and the next one's, for another host's clock may be ahead.
- Epochs never go back, also if the clock does.
- Where a source brings other records, a record of a later generation ends all earlier ones at
  once; in one generation the latest to have begun is current, and the one that it replaces is
  accepted for one more epoch.
- A source is looked at once a second by a thread of its own, never in a handshake, and whatever
  it does, the ring goes on with the keys that it has.
- Whoever ends a secret wipes it. Sessions that still hold it pass it over.
"""

import contextlib
import hmac
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol, SupportsIndex

from gnutls_resume.binding import SealingKey, TicketKeyTable, TicketSecret
from gnutls_resume.binding._datum import bytes_of
from gnutls_resume.binding.ticket import MAX_SECRETS, MAX_STEPS
from gnutls_resume.resumption import ticket_key_sources
from gnutls_resume.resumption.lock import Lock
from gnutls_resume.resumption.outcome import warn
from gnutls_resume.resumption.ticket_key_record import (
    HOURS_6,
    TicketKeyRecord,
    check_lifetime,
    check_record,
)
from gnutls_resume.stores.protocol import Store

LOOK_INTERVAL = 1.0  # seconds


def now() -> float:
    """Unix seconds."""
    return time.time()


class RollbackError(Exception):
    """A source has brought keys that are older than those in use."""


class DisagreementError(ValueError):
    """Those who share keys have other ideas of how long these last."""


@dataclass(frozen=True, slots=True)
class TicketKeyEpoch:
    """What may be shown of a secret: the epoch's number, its first and its last moment (Unix
    seconds), and 16 hexadecimal digits by which the secret is known.
    """

    number: int
    begins: int
    ends: int
    fingerprint: str


class Source(Protocol):
    """Where a ring's records come from."""

    def look(self, ring: "TicketKeyRing") -> None:
        """Bring the ring, and what the source keeps, up to date. May raise anything."""

    def replace(self, record: TicketKeyRecord) -> None:
        """Keep this record instead of all others. May raise anything."""


class Ratchet:
    """A record at work: the secrets of the epochs that are still needed."""

    def __init__(self, record: TicketKeyRecord) -> None:
        self.generation = record.generation
        self.begin = record.start
        self.oldest = record.start
        self._secrets = {record.start: record.chain.ratchet(0)}  # our own, to be wiped

    def secret(self, epoch: int) -> TicketSecret:
        found = self._secrets.get(epoch)
        if found is None:
            before = max(number for number in self._secrets if number < epoch)
            found = self._secrets[epoch] = self._secrets[before].ratchet(epoch - before)
        return found

    def forget(self, before: int) -> None:
        """Wipe the secrets of all epochs before this one."""
        self.oldest = max(self.oldest, before)
        self.secret(self.oldest)
        for number in [number for number in self._secrets if number < self.oldest]:
            self._secrets.pop(number).wipe()

    def wipe(self) -> None:
        for secret in list(self._secrets.values()):
            secret.wipe()

    def leads_to(self, record: TicketKeyRecord) -> bool:
        """Whether this is the record, at another epoch perhaps."""
        common = max(record.start, self.oldest)
        if record.generation != self.generation or common - record.start > MAX_STEPS:
            return False
        later = record.chain.ratchet(common - record.start)
        return hmac.compare_digest(bytes_of(later.datum), bytes_of(self.secret(common).datum))


class TicketKeyRing:
    """The keys under which a server seals its session tickets, changed every `period` seconds
    (default 21,600). Servers resume each other's tickets if they have the same ring, or rings of
    the same record or source, and clocks less than a period apart.

    `record` is a ``TicketKeyRecord``, by default a random one: processes share it only if they are
    forked after it was made. `ticket_lifetime` is how long a ticket can be used, in seconds; by
    default, and at most, the period, and at most 604,800 (RFC 8446 §4.6.1).

    An ended key is wiped by the first handshake after its end, or by ``expire()``, but for
    GnuTLS's copy in each connection that is still open. Who has copied a record has its later keys
    too: ``rotate()`` ends them.

    Raises TypeError or ValueError for a wrong argument.
    """

    _table: TicketKeyTable
    _until: float  # Unix seconds; then the table is over

    def __init__(
        self,
        record: TicketKeyRecord | None = None,
        *,
        period: int | None = None,
        ticket_lifetime: int | None = None,
    ) -> None:
        if record is None:
            period = HOURS_6 if period is None else period
            record = TicketKeyRecord.generate(period, ticket_lifetime=ticket_lifetime)
        elif period not in {None, check_record("record", record).period}:
            raise ValueError(f"period must be that of the record, {record.period}, not {period}")
        self._start([record], None, ticket_lifetime)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> "TicketKeyRing":
        """The ring of a key file, which ``python -m gnutls_resume keys new`` makes. Processes
        that read the same file share it; it is read again when it has changed, and written when
        its oldest key has ended.

        Raises OSError if it cannot be read, PermissionError if others than its owner can,
        ValueError if it holds no ticket key record.
        """
        source = ticket_key_sources.FileSource(path)
        return cls._following([source.read()], source)

    @classmethod
    def from_provider(cls, provider: Callable[[], Sequence[TicketKeyRecord]]) -> "TicketKeyRing":
        """The ring of the records that `provider` returns, newest first: of all that have begun
        the newest is current. It is called now, and then once a second by a thread.

        Raises what `provider` raises now, TypeError or ValueError if it returns anything else.
        """
        source = ticket_key_sources.ProviderSource(provider)
        return cls._following(source.records(), source)

    @classmethod
    def from_store(
        cls,
        store: Store,
        *,
        sealing_key: SealingKey | None,
        period: int = HOURS_6,
        ticket_lifetime: int | None = None,
    ) -> "TicketKeyRing":
        """The ring that all who use this store share: random keys for each epoch, published
        there half a period before they are used. `period` and `ticket_lifetime` must be
        the same for all. While the store is silent, all go on from the last record.

        `sealing_key` seals the records; it is required for a store that others can read.
        Raises TypeError or ValueError for a wrong argument.
        """
        source = ticket_key_sources.StoreSource(store, sealing_key)
        first = TicketKeyRecord.generate(period, ticket_lifetime=ticket_lifetime)
        try:
            found = source.records(first.start)
        except Exception as error:  # noqa: BLE001 - others may come to agree with these keys
            ring = cls._following([first], source)
            ring._note(error)  # noqa: SLF001 - a constructor
            return ring
        for record in found:
            check_agreement(record, first.period, first.ticket_lifetime)
        ring = cls._following(found or [first], source)
        ring.look()
        return ring

    @classmethod
    def _following(cls, records: Sequence[TicketKeyRecord], source: Source) -> "TicketKeyRing":
        ring = cls.__new__(cls)
        ring._start(records, source, records[0].ticket_lifetime)  # noqa: SLF001 - a constructor
        return ring

    def _start(
        self,
        records: Sequence[TicketKeyRecord],
        source: Source | None,
        ticket_lifetime: int | None,
    ) -> None:
        self.period = records[0].period
        lifetime = records[0].ticket_lifetime if ticket_lifetime is None else ticket_lifetime
        self.ticket_lifetime = check_lifetime(lifetime, self.period)
        self._source = source
        self._watched_in = 0  # the process whose thread looks at the source
        self._lock = Lock()
        self._ratchets: list[Ratchet] = []  # the newest first
        self._epoch = 0
        self._counts = {"ring_rotations": 0, "ring_source_errors": 0}
        self.follow(records)

    # -- what handshakes ask for --------------------------------------------------------------

    def table(self) -> TicketKeyTable:
        """The secrets of now, for ``Session.ticket_derive``."""
        if self._source is not None and self._watched_in != os.getpid():
            self._watch()
        if now() >= self._until:
            self._advance()
        return self._table

    # -- what operators ask for ---------------------------------------------------------------

    @property
    def current(self) -> TicketKeyEpoch:
        """The epoch under whose key new tickets are made."""
        return self.accepted[0]

    @property
    def accepted(self) -> tuple[TicketKeyEpoch, ...]:
        """The epochs whose tickets are accepted: the current one, the one before, the next."""
        with self._lock:
            self._advance()
            found = [(epoch, secret) for epoch in self._accepted for secret in self._of(epoch)]
            period = self.period
            return tuple(
                TicketKeyEpoch(number, number * period, (number + 1) * period, secret.fingerprint)
                for number, secret in found
            )

    def expire(self) -> None:
        """Wipe now what has ended, and bring the source up to date if there is one."""
        self._advance()
        if self._source is not None:
            self.look()

    def rotate(self) -> None:
        """Begin with new random keys, and refuse at once all tickets that were made before; the
        others who share the source do within a second or two of each other.

        Raises RuntimeError if the ring has neither a file nor a store to tell them, and what
        writing there raises: then nothing has changed.
        """
        if self._source is None:
            raise RuntimeError(ticket_key_sources.NOT_SHARED)
        with self._lock:
            self._advance()
            record = TicketKeyRecord.generate(
                self.period,
                ticket_lifetime=self.ticket_lifetime,
                start=self._epoch,
                generation=max(int(now()), self.generation + 1),
            )
            self._source.replace(record)
            self.follow([record])

    @property
    def stats(self) -> dict[str, int]:
        """Numbers to watch: the current epoch, how many secrets are accepted, how often the
        current one has changed, and failures of the source.
        """
        self._advance()
        accepted = len(self._table.secrets)
        return {"ring_epoch": self._epoch, "ring_accepted": accepted, **self._counts}

    # -- what sources ask for -----------------------------------------------------------------

    @property
    def generation(self) -> int:
        """Of the current records."""
        return self._ratchets[0].generation

    @property
    def epoch(self) -> int:
        """The current epoch's number."""
        self._advance()
        return self._epoch

    @property
    def oldest(self) -> int:
        """The number of the oldest epoch that the current record still has."""
        return self._ratchets[0].oldest

    def knows(self, epoch: int) -> bool:
        """Whether there is a secret of that epoch."""
        return bool(self._of(epoch))

    def record(self, epoch: int) -> TicketKeyRecord:
        """The record of that epoch, which is accepted now, or later than those."""
        with self._lock:
            secret = self._of(epoch)[0]
            return TicketKeyRecord(
                self.period,
                epoch,
                secret.ratchet(0),
                ticket_lifetime=self.ticket_lifetime,
                generation=self.generation,
            )

    def begins_at(self, epoch: int) -> bool:
        """Whether a record is known that begins with this epoch."""
        return any(ratchet.begin == epoch for ratchet in self._ratchets)

    def follow(self, records: Sequence[TicketKeyRecord]) -> None:
        """Go on with these records, newest first, beside those that are still accepted.

        Raises DisagreementError for other periods or lifetimes, RollbackError for what is older
        than the keys in use.
        """
        if self._source is not None:
            for record in records:
                check_agreement(record, self.period, self.ticket_lifetime)
        with self._lock:
            self._refuse_rollback(records[0])
            before = self._ratchets
            for record in reversed(records):
                self._adopt(record)
            self._advance(changed=True)
            for ratchet in before:
                if ratchet not in self._ratchets:
                    ratchet.wipe()

    def look(self) -> None:
        """Look at the source now. Its failure is counted, logged once a minute, and survived."""
        assert self._source is not None
        try:
            self._source.look(self)
        except Exception as error:  # noqa: BLE001 - whatever it is, the keys at hand go on
            self._note(error)

    def _note(self, error: Exception) -> None:
        self._counts["ring_source_errors"] += 1
        warn("ticket keys", "the source of the ticket keys failed: %s", described(error))

    # -- how it turns -------------------------------------------------------------------------

    @property
    def _accepted(self) -> tuple[int, ...]:
        return self._epoch, self._epoch - 1, self._epoch + 1

    def _of(self, epoch: int) -> list[TicketSecret]:
        """The secrets of an epoch: the newest record's that had begun, and those of records that
        began together with it, if hosts could not agree on one.
        """
        begun = [ratchet for ratchet in self._ratchets if ratchet.begin <= epoch]
        return [
            ratchet.secret(epoch)
            for ratchet in begun
            if ratchet.begin == begun[0].begin and ratchet.oldest <= epoch
        ]

    def _refuse_rollback(self, record: TicketKeyRecord) -> None:
        if not self._ratchets or any(ratchet.leads_to(record) for ratchet in self._ratchets):
            return
        newest = self._ratchets[0]
        if (record.generation, record.start) < (newest.generation, newest.begin):
            raise RollbackError("it holds keys that are older than those in use")

    def _adopt(self, record: TicketKeyRecord) -> None:
        held = self._ratchets
        if any(ratchet.leads_to(record) for ratchet in held):
            return
        if held and record.generation < self.generation:
            return
        if held and record.generation > self.generation:
            held = []
        place = sum(ratchet.begin > record.start for ratchet in held)
        self._ratchets = [*held[:place], Ratchet(record), *held[place:]]

    def _advance(self, *, changed: bool = False) -> None:
        """Go on to the epoch of now, and wipe what has ended."""
        with self._lock:
            epoch = max(int(now()) // self.period, self._epoch)
            first = min(ratchet.begin for ratchet in self._ratchets)
            epoch = max(epoch, first)  # a host whose clock is ahead has begun with the next one
            if epoch - max(ratchet.oldest for ratchet in self._ratchets) > MAX_STEPS:
                if not self._epoch:
                    raise ValueError(
                        f"the ticket keys are more than {MAX_STEPS} periods old: begin with new "
                        "ones (python -m gnutls_resume keys rotate)"
                    )
                warn("ticket key clock", "the clock is too far ahead of the ticket keys")
                epoch = self._epoch
            if epoch == self._epoch and not changed:
                return
            self._turn(epoch)

    def _turn(self, epoch: int) -> None:
        before = self._table.secrets[0] if self._epoch else None
        self._epoch = epoch
        kept: list[Ratchet] = []
        ended: list[Ratchet] = []
        for ratchet in self._ratchets:
            over = any(newer.begin < epoch for newer in kept)
            (ended if over else kept).append(ratchet)
        self._ratchets = kept
        secrets = [secret for number in self._accepted for secret in self._of(number)]
        self._table = TicketKeyTable(*secrets[:MAX_SECRETS])
        self._until = (epoch + 1) * self.period
        if before is not None and before is not self._table.secrets[0]:
            self._counts["ring_rotations"] += 1
        for ratchet in kept:
            ratchet.forget(epoch - 1)
        for ratchet in ended:
            ratchet.wipe()

    # -- the thread that looks at the source --------------------------------------------------

    def _watch(self) -> None:
        """Start it, once a process: a forked child has none."""
        with self._lock:
            if self._watched_in == os.getpid():
                return
            self._watched_in = os.getpid()
            # Under a limit on threads, or at the interpreter's end: the keys at hand go on.
            with contextlib.suppress(RuntimeError):
                threading.Thread(
                    target=watch, args=(weakref.ref(self),), name="ticket keys", daemon=True
                ).start()

    def __repr__(self) -> str:
        return f"<TicketKeyRing: epoch {self._epoch}, {len(self._table.secrets)} secrets>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a TicketKeyRing cannot be pickled or copied: it is secret")


def check_agreement(record: TicketKeyRecord, period: int, ticket_lifetime: int) -> None:
    if (record.period, record.ticket_lifetime) != (period, ticket_lifetime):
        raise DisagreementError(
            "all who share ticket keys need the same period and ticket_lifetime: here they are "
            f"{period} and {ticket_lifetime} seconds, there {record.period} and "
            f"{record.ticket_lifetime}"
        )


def watch(reference: "weakref.ref[TicketKeyRing]") -> None:
    """Look at a ring's source once a second, as long as there is the ring."""
    while (ring := reference()) is not None:
        ring.expire()
        del ring
        time.sleep(LOOK_INTERVAL)


def described(error: Exception) -> str:
    """In words if it is ours or the system's; else only the type, for it may hold secrets."""
    known = isinstance(error, OSError | ValueError | RollbackError)
    return f"{type(error).__name__}: {error}" if known else type(error).__name__


rings: list[TicketKeyRing] = []  # the first is the process's


def process_ring() -> TicketKeyRing:
    """The ring that the process's servers share by default: made when it is first asked for, or
    right before the process forks, so that its workers have the same.
    """
    if not rings:
        rings.append(TicketKeyRing())  # two threads may both come here: the first one counts
    return rings[0]


os.register_at_fork(before=process_ring)
