"""Where rings get their ticket keys from: a file, a function, a store.

A source may raise anything, whenever it is looked at: the ring goes on with what it has.
"""

import errno
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gnutls_resume.binding import Sealing, SealingKey
from gnutls_resume.binding._arguments import check_callable, check_instance
from gnutls_resume.binding._datum import wiped_memory
from gnutls_resume.binding._ffi import ffi
from gnutls_resume.binding.envelope import Kind, seal, store_key, unwrapped
from gnutls_resume.errors import InvalidReason, InvalidSessionError
from gnutls_resume.resumption import ticket_key_record
from gnutls_resume.resumption.outcome import warn
from gnutls_resume.resumption.ticket_key_ratchets import SourceError
from gnutls_resume.resumption.ticket_key_record import SIZE, TicketKeyRecord, check_record
from gnutls_resume.stores.protocol import Store, check_store

if TYPE_CHECKING:
    from gnutls_resume.resumption.ticket_keys import TicketKeyRing

NOT_SHARED = (
    "rotate() needs keys that are shared through a file or a store: use TicketKeyRing.from_file or "
    "from_store"
)
CONTEXT = b"gnutls_resume ticket keys 1"
OTHERS = stat.S_IRWXG | stat.S_IRWXO
TO_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe of that name is no reason to wait
TO_LOCK = os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK  # only NFS asks for more than to read

Stamp = tuple[int, int, int, int]  # by which a changed file is known


class FileSource:
    """A key file, shared by the processes of one machine."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._seen: Stamp | None = None  # of the file that the ring follows
        self._start = 0  # of the record in it
        self._warned = False

    def read(self) -> TicketKeyRecord:
        """The record. Raises OSError or ValueError, with what to do."""
        record, self._seen = read_key_file(self._path)
        self._start = record.start
        return record

    def look(self, ring: "TicketKeyRing") -> None:
        """Read what has changed, and write what has ended out of the file."""
        try:
            if stamp(self._path.stat()) != self._seen:
                record, seen = read_key_file(self._path)
                ring.follow([record])
                self._seen, self._start = seen, record.start
            if self._start < ring.oldest:
                self._write(ring.record(ring.oldest))
        except (OSError, ValueError) as error:
            raise SourceError(str(error)) from error

    def _write(self, record: TicketKeyRecord) -> None:
        """Unless another process does, or has."""
        path = self._path.resolve()  # a link stays one
        try:
            with lock_of(path, wait=False):
                there, _ = read_key_file(path)
                if there.generation == record.generation and there.start < record.start:
                    self._seen = write_key_file(path, record, replace=True)
                    self._start = record.start
        except BlockingIOError:
            return
        except OSError as error:
            if not self._warned:
                warn("key file", "ended keys stay in the key file: %s", error)
            self._warned = True

    def replace(self, record: TicketKeyRecord) -> None:
        """Write another record into the file, whatever it holds."""
        path = self._path.resolve()
        with lock_of(path, wait=True):
            with suppress(OSError, ValueError):
                there, _ = read_key_file(path)
                record.generation = max(record.generation, there.generation + 1)
            write_key_file(path, record, replace=True)


def read_key_file(path: Path) -> tuple[TicketKeyRecord, Stamp]:
    """Its record, and how to see that it has changed. Raises OSError or ValueError."""
    try:
        descriptor = os.open(path, TO_READ)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"there is no key file {path}: make one with python -m gnutls_resume keys new {path}"
        ) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"the key file {path} is no regular file")
        if status.st_mode & OTHERS:
            raise PermissionError(
                f"others can read or write the key file {path}: chmod 600 {path}, and rotate the "
                "keys if anybody may have read it"
            )
        memory = wiped_memory(SIZE + 1)
        view = memoryview(ffi.buffer(memory, SIZE + 1))
        size = os.readv(descriptor, [view])
    finally:
        os.close(descriptor)
    try:
        return TicketKeyRecord.unpack(view[:size]), stamp(status)
    except ValueError as error:
        raise ValueError(f"the key file {path}: {error}") from None


@contextmanager
def lock_of(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock of the file of this name: only its holder puts another one in its place.

    Raises BlockingIOError if another process holds it and we do not wait, OSError.
    """
    while True:
        descriptor = os.open(path, TO_LOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            try:
                # Or else it has been replaced while we waited.
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    yield
                    return
            finally:
                # By name: a forked child may have the descriptor, too.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)


def write_key_file(path: Path, record: TicketKeyRecord, *, replace: bool) -> Stamp:
    """Write a key file that only its owner can read: all of it, or nothing. Who replaces one
    holds its lock; it keeps its owner. Returns how to see that it has changed.

    Raises FileExistsError if it is there and not to be replaced, OSError.
    """
    unique = "" if replace else f".{os.urandom(8).hex()}"
    temporary = path.with_name(f"{path.name}{unique}.new")
    if replace:
        temporary.unlink(missing_ok=True)  # of a writer that was killed
    packed = record.pack()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            if file.write(ffi.buffer(packed, SIZE)) != SIZE:
                raise OSError(errno.ENOSPC, f"no room for the key file {path}")
            os.fsync(descriptor)
            if replace:
                owner = path.stat()
                if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(descriptor, owner.st_uid, owner.st_gid)
            at = time.time_ns()  # finer than what the kernel notes, so that no change is missed
            os.utime(descriptor, ns=(at, at))
            written = stamp(os.fstat(descriptor))
        if replace:
            temporary.rename(path)
        else:
            path.hardlink_to(temporary)  # unlike rename, it refuses a name that is taken
    except BaseException:
        temporary.unlink()
        raise
    if not replace:  # or else it is another writer's now
        temporary.unlink()
    with suppress(OSError):  # only a power cut could undo it now
        opened = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
    return written


def stamp(status: os.stat_result) -> Stamp:
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_mode


class ProviderSource:
    """A function of the caller's that returns the records."""

    def __init__(self, provider: Callable[[], Sequence[TicketKeyRecord]]) -> None:
        self._provider = check_callable("provider", provider)

    def records(self) -> Sequence[TicketKeyRecord]:
        """What it returns now, checked."""
        found = self._provider()
        if not isinstance(found, Sequence) or isinstance(found, str | bytes | bytearray):
            raise TypeError(
                f"provider must return a sequence of TicketKeyRecord, not {type(found).__name__}"
            )
        if not found:
            raise ValueError("provider must return at least one TicketKeyRecord")
        for record in found:
            check_record("what provider returns", record)
        return tuple(found)

    def look(self, ring: "TicketKeyRing") -> None:
        ring.follow(self.records())

    def replace(self, _record: TicketKeyRecord) -> None:
        """Not ours to do."""
        raise RuntimeError(NOT_SHARED)


class StoreSource:
    """A store, in which each epoch has a record under a key of its own: the first that is added
    there counts for all.
    """

    def __init__(self, store: Store, sealing_key: SealingKey | None) -> None:
        if sealing_key is not None:
            check_instance("sealing_key", sealing_key, SealingKey)
        self._store = check_store("store", store, sealed=sealing_key is not None)
        self._key = sealing_key
        self._sealing = Sealing(sealing_key)

    def records(self, epoch: int) -> list[TicketKeyRecord]:
        """Those of that epoch and of its neighbours, as far as they are there, newest first."""
        there = [self.get(number) for number in (epoch + 1, epoch, epoch - 1)]
        found = [record for record in there if record is not None]
        newest = max((record.generation for record in found), default=0)
        return [record for record in found if record.generation == newest]

    def look(self, ring: "TicketKeyRing") -> None:
        """Follow the records that are there, and put there what is missing."""
        epoch = ring.epoch
        agreed = self._agreed(ring, epoch)
        ring.follow([agreed])
        before = None if ring.knows(epoch - 1) else self.get(epoch - 1)
        if before is not None and before.generation == ring.generation:
            ring.follow([agreed, before])
        # Published before it is used, so that all have it when it begins.
        if ticket_key_record.now() >= (epoch + 0.5) * ring.period:
            ring.follow([self._agreed(ring, epoch + 1)])

    def _agreed(self, ring: "TicketKeyRing", epoch: int) -> TicketKeyRecord:
        """The record of an epoch that is there, or else what we hold, or for an epoch still to
        come a new one: put there in the place of a damaged one, or of one that `rotate` has ended.
        """
        there = self._valid(ring, epoch)
        if there is not None:
            return there
        ours = self._ours(ring, epoch)
        entry = self._name(epoch), self._sealed(ours), self._ttl(ours)
        if self._store.add(*entry) is False:
            there = self._valid(ring, epoch)
            if there is not None:  # another was faster
                return there
            self._store.put(*entry)
        return ours

    def _valid(self, ring: "TicketKeyRing", epoch: int) -> TicketKeyRecord | None:
        found = self.get(epoch)
        return None if found is None or found.generation < ring.generation else found

    def _ours(self, ring: "TicketKeyRing", epoch: int) -> TicketKeyRecord:
        if epoch <= ring.epoch or ring.begins_at(epoch):
            return ring.record(epoch)
        return TicketKeyRecord.generate(
            ring.period,
            ticket_lifetime=ring.ticket_lifetime,
            start=epoch,
            generation=ring.generation,
        )

    def replace(self, record: TicketKeyRecord) -> None:
        """Put a record in the place of its epoch's, and remove those of its neighbours; but if the
        next one's is published by now, put another in its place. For who looks only when that
        epoch has begun would find none, and put the old one back.
        """
        there = self.get(record.start)
        if there is not None:
            record.generation = max(record.generation, there.generation + 1)
        self._put(record)
        with suppress(Exception):  # whoever follows this one replaces them
            if ticket_key_record.now() >= (record.start + 0.5) * record.period:
                self._put(next_of(record))
            else:
                self._store.remove(self._name(record.start + 1))
            self._store.remove(self._name(record.start - 1))

    def _put(self, record: TicketKeyRecord) -> None:
        self._store.put(self._name(record.start), self._sealed(record), self._ttl(record))

    def get(self, epoch: int) -> TicketKeyRecord | None:
        """The record of an epoch, None if there is none, or anything else. Raises
        InvalidSessionError for one of another version of this library.
        """
        found = self._store.get(self._name(epoch))
        if found is None and self._key is not None and self._key.previous is not None:
            found = self._store.get(self._name(epoch, self._key.previous))
        if found is None:
            return None
        try:
            return self._open(found, epoch)
        except InvalidSessionError as error:
            if error.reason is InvalidReason.OTHER_VERSION:  # a newer one of this library's
                raise
            return None
        except (TypeError, ValueError):  # a store may return anything
            return None

    def _open(self, data: bytes, epoch: int) -> TicketKeyRecord:
        opened = unwrapped(data, place_of(epoch), self._sealing)
        try:
            if opened.header.kind != Kind.TICKET_KEYS:
                raise ValueError("this is a session")
            packed = memoryview(ffi.buffer(opened.pointer, opened.size))
            record = TicketKeyRecord.unpack(packed)
        finally:
            opened.wipe()
        if record.start != epoch:
            raise ValueError("these are the keys of another epoch")
        return record

    def _sealed(self, record: TicketKeyRecord) -> bytes:
        packed = record.pack()
        return seal(
            ffi.new("gnutls_datum_t *", (packed, SIZE)),
            kind=Kind.TICKET_KEYS,
            protocol_version=0,
            created=int(ticket_key_record.now()),
            expires=(record.start + 2) * record.period,
            server_name="",
            store_key=place_of(record.start),
            sealing=self._sealing,
        )

    def _name(self, epoch: int, key: SealingKey | None = None) -> bytes:
        digest = hashlib.sha256(place_of(epoch)).digest()
        return store_key(digest, self._key if key is None else key)

    def _ttl(self, record: TicketKeyRecord) -> float:
        """Until its last ticket has expired."""
        return (record.start + 2) * record.period - ticket_key_record.now()


def next_of(record: TicketKeyRecord) -> TicketKeyRecord:
    """A new one for the epoch after."""
    return TicketKeyRecord.generate(
        record.period,
        ticket_lifetime=record.ticket_lifetime,
        start=record.start + 1,
        generation=record.generation,
    )


def place_of(epoch: int) -> bytes:
    """What a sealed record is bound to, so that it cannot be moved to another epoch."""
    return CONTEXT + epoch.to_bytes(8)
