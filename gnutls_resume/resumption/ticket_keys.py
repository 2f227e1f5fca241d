"""The ring of a server's ticket keys: a current one, the one before and the one after.

Keys change by the clock. A record's chain key leads through a one-way ratchet from each epoch to
the next, so all who have the same record agree without a word, and nobody computes the keys of
yesterday from those of today. Rules:

- New tickets are made under the current epoch's secret. That of the epoch before is accepted, for
  a ticket lives no longer than an epoch, and the next one's, for another host's clock may be ahead.
- Epochs never go back, also if the clock does, until a record of a later generation begins anew.
- Where a source brings other records, one of a later generation ends all earlier ones at once; in
  one generation the latest to have begun is current, and the one that it replaces is accepted for
  one more epoch.
- A source is looked at once a second by a thread of its own, never in a handshake and never under
  the lock that handshakes take. Whatever it does, the ring goes on with the keys that it has.
- A change is made ready aside, and comes into force at once or not at all: a signal handler, a
  fork or an exception may come in between.
- Whoever ends a secret wipes it. Sessions that still hold it pass it over.
"""

import _thread
import os
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol, SupportsIndex

from gnutls_resume.binding import SealingKey, TicketKeyTable
from gnutls_resume.binding.ticket import MAX_SECRETS
from gnutls_resume.resumption import ticket_key_record, ticket_key_sources
from gnutls_resume.resumption.lock import Lock
from gnutls_resume.resumption.outcome import warn
from gnutls_resume.resumption.ticket_key_ratchets import (
    FarOffError,
    Ratchet,
    SourceError,
    accepted,
    begun,
    check_agreement,
    refuse_rollback,
    secrets_of,
    still_needed,
    with_record,
)
from gnutls_resume.resumption.ticket_key_record import (
    HOURS_6,
    TicketKeyRecord,
    check_lifetime,
    check_record,
)
from gnutls_resume.stores.protocol import Store

LOOK_INTERVAL = 1.0  # seconds


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
            ring.note(error)
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
        self._looking = Lock()  # at the source
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
        if ticket_key_record.now() >= self._until:
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
        self._advance()
        with self._lock:
            period = self.period
            return tuple(
                TicketKeyEpoch(number, number * period, (number + 1) * period, secret.fingerprint)
                for number in accepted(self._epoch)
                for secret in secrets_of(self._ratchets, number)
            )

    def expire(self) -> None:
        """Wipe now what has ended, and bring the source up to date if there is one."""
        self._advance()
        if self._source is not None:
            self.look()

    def rotate(self) -> None:
        """Begin with new random keys, and refuse at once all tickets that were made before; the
        others who share the source do within a second or two of each other. Sessions in a database
        stay: they are under no ticket key.

        Raises RuntimeError if the ring has neither a file nor a store to tell them, or if a signal
        handler calls it in the middle of a rotation or a look at the source, and what writing
        there raises: then nothing has changed.
        """
        if self._source is None:
            raise RuntimeError(ticket_key_sources.NOT_SHARED)
        # It would wait for the lock that its own thread has on the file, or could not follow.
        if self._looking.mine or self._lock.mine:
            raise RuntimeError("a signal handler has come in the middle of a change of keys")
        with self._looking:
            record = TicketKeyRecord.generate(
                self.period,
                ticket_lifetime=self.ticket_lifetime,
                generation=max(int(ticket_key_record.now()), self.generation + 1),
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
        with self._lock:
            return begun(self._ratchets, self._epoch)[0].oldest

    def knows(self, epoch: int) -> bool:
        """Whether there is a secret of that epoch."""
        with self._lock:
            return bool(secrets_of(self._ratchets, epoch))

    def record(self, epoch: int) -> TicketKeyRecord:
        """The record of that epoch, which is accepted now, or later than those."""
        with self._lock:
            epoch = max(epoch, self.oldest)  # another thread may have gone on
            secret = secrets_of(self._ratchets, epoch)[0]
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
        than the keys in use, FarOffError for what is much older than now.
        """
        if self._source is not None:
            for record in records:
                check_agreement(record, self.period, self.ticket_lifetime)
        if self._lock.mine:
            raise RuntimeError("a signal handler has come in the middle of a change of keys")
        with self._lock:
            held = self._ratchets
            if held:
                refuse_rollback(held, records[0], self._epoch)
            for record in reversed(records):
                held = with_record(held, record)
            if held is not self._ratchets:
                same = bool(self._ratchets) and held[0].generation == self.generation
                self._turn(self._epoch_of(held, at_least=self._epoch if same else 0), held)

    def look(self) -> None:
        """Look at the source now. Its failure is counted, logged once a minute, and survived."""
        assert self._source is not None
        try:
            with self._looking:
                self._source.look(self)
        except Exception as error:  # noqa: BLE001 - whatever it is, the keys at hand go on
            self.note(error)

    def note(self, error: BaseException) -> None:
        """Count and log a failure of the source."""
        self._counts["ring_source_errors"] += 1
        warn("ticket keys", "the source of the ticket keys failed: %s", described(error))

    # -- how it turns -------------------------------------------------------------------------

    def _epoch_of(self, ratchets: Sequence[Ratchet], *, at_least: int) -> int:
        """That of now, but for a host whose clock is behind: the first that there are keys of."""
        first = min(ratchet.begin for ratchet in ratchets)
        return max(int(ticket_key_record.now()) // self.period, at_least, first)

    def _advance(self) -> None:
        """Go on to the epoch of now, and wipe what has ended."""
        if self._lock.mine:  # a signal handler, in the middle of a change: the keys at hand do
            return
        with self._lock:
            epoch = self._epoch_of(self._ratchets, at_least=self._epoch)
            try:
                if epoch != self._epoch:
                    self._turn(epoch, self._ratchets)
            except FarOffError:
                warn("ticket key clock", "the clock is too far ahead of the ticket keys")
            if ticket_key_record.now() < (self._epoch - 1) * self.period:
                warn("ticket key clock", "the ticket keys are ahead of the clock, and wait for it")

    def _turn(self, epoch: int, ratchets: Sequence[Ratchet]) -> None:
        """Go on with these at that epoch. Raises FarOffError, and has changed nothing."""
        kept = still_needed(ratchets, epoch)
        secrets = [it for number in accepted(epoch) for it in secrets_of(kept, number)]
        table = TicketKeyTable(*secrets[:MAX_SECRETS])
        gone = [ratchet for ratchet in self._ratchets if ratchet not in kept]
        if self._epoch and table.secrets[0] is not self._table.secrets[0]:
            self._counts["ring_rotations"] += 1

        self._ratchets, self._table, self._epoch = kept, table, epoch
        self._until = (epoch + 1) * self.period
        for ratchet in kept:
            ratchet.forget(epoch - 1)
        for ratchet in gone:
            ratchet.wipe()

    # -- the thread that looks at the source --------------------------------------------------

    def _watch(self) -> None:
        """Start it, once a process: a forked child has none. Not a ``threading.Thread``: that
        takes locks, which a signal handler's thread may hold.
        """
        with self._lock:
            if self._watched_in == os.getpid():
                return
            self._watched_in = os.getpid()
            try:
                _thread.start_new_thread(watch, (weakref.ref(self),))
            except RuntimeError:  # a limit on threads, or the interpreter's end
                self._watched_in = 0

    def __repr__(self) -> str:
        return f"<TicketKeyRing: epoch {self._epoch}, {len(self._table.secrets)} secrets>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a TicketKeyRing cannot be pickled or copied: it is secret")


def watch(reference: "weakref.ref[TicketKeyRing]") -> None:
    """Look at a ring's source once a second, as long as there is the ring."""
    while (ring := reference()) is not None:
        try:
            ring.expire()
        except BaseException as error:  # noqa: BLE001 - what a provider may raise, too
            ring.note(error)
        del ring
        time.sleep(LOOK_INTERVAL)


def described(error: BaseException) -> str:
    """In words if they are ours; else only the type, for the words may hold secrets."""
    return str(error) if isinstance(error, SourceError) else type(error).__name__


rings: list[TicketKeyRing] = []  # the first is the process's


def process_ring() -> TicketKeyRing:
    """The ring that the process's servers share by default: made when it is first asked for, or
    right before the process forks, so that its workers have the same.
    """
    if not rings:
        rings.append(TicketKeyRing())  # two threads may both come here: the first one counts
    return rings[0]


os.register_at_fork(before=process_ring)
