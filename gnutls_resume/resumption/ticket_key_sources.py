"""Where rings get their ticket keys from: a file, a function, a store.

A source may raise anything, whenever it is looked at: the ring goes on with what it has.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gnutls_resume.binding import Sealing, SealingKey
from gnutls_resume.binding._arguments import check_callable, check_instance
from gnutls_resume.binding._datum import wiped_memory
from gnutls_resume.binding._ffi import ffi
from gnutls_resume.binding.envelope import Kind, seal, store_key, unwrapped
from gnutls_resume.errors import InvalidReason, InvalidSessionError
from gnutls_resume.resumption.outcome import warn
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

Stamp = tuple[int, int, int, int]  # by which a changed file is known


class FileSource:
    """A key file, shared by the processes of one machine."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._seen: Stamp | None = None
        self._start = 0  # of the record in the file
        self._warned = False

    def read(self) -> TicketKeyRecord:
        """The record. Raises OSError or ValueError, with what to do."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"there is no key file {self._path}: make one with python -m gnutls_resume keys "
                f"new {self._path}"
            ) from None
        try:
            return self._read(descriptor)
        finally:
            os.close(descriptor)

    def _read(self, descriptor: int) -> TicketKeyRecord:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"the key file {self._path} is no regular file")
        if status.st_mode & OTHERS:
            raise PermissionError(
                f"others can read or write the key file {self._path}: chmod 600 {self._path}, "
                "and rotate the keys if anybody may have read it"
            )
        memory = wiped_memory(SIZE + 1)
        view = memoryview(ffi.buffer(memory, SIZE + 1))
        size = os.readv(descriptor, [view])
        try:
            record = TicketKeyRecord.unpack(view[:size])
        except ValueError as error:
            raise ValueError(f"the key file {self._path}: {error}") from None
        self._seen = stamp(status)
        self._start = record.start
        return record

    def look(self, ring: "TicketKeyRing") -> None:
        """Read what has changed, and write what has ended out of the file."""
        if stamp(self._path.stat()) != self._seen:
            ring.follow([self.read()])
        oldest = ring.oldest
        if self._start < oldest:
            try:
                self._write(ring.record(oldest), only_forward=True)
            except OSError as error:
                if not self._warned:
                    warn("key file", "ended keys stay in the key file: %s", error)
                self._warned = True

    def replace(self, record: TicketKeyRecord) -> None:
        """Write another record into the file."""
        self._write(record, only_forward=False)

    def _write(self, record: TicketKeyRecord, *, only_forward: bool) -> None:
        path = self._path.resolve()  # a link stays one
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            # Whoever waits here finds another file under the name afterwards, and looks again.
            fcntl.flock(descriptor, fcntl.LOCK_EX | (fcntl.LOCK_NB if only_forward else 0))
            if only_forward:
                if not os.path.samestat(os.fstat(descriptor), path.stat()):
                    return
                there = self._read(descriptor)
                if (there.generation, there.start) >= (record.generation, record.start):
                    return
            write_key_file(path, record, replace=True)
            self._seen = stamp(path.stat())
            self._start = record.start
        except BlockingIOError:
            return  # another process is at it
        finally:
            os.close(descriptor)


def write_key_file(path: Path, record: TicketKeyRecord, *, replace: bool) -> None:
    """Write a key file that only its owner can read: all of it, or nothing. One that is replaced
    keeps its owner.

    Raises FileExistsError if it is there and not to be replaced, OSError.
    """
    temporary = path.with_name(path.name + ".new")
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
        if replace:
            temporary.rename(path)
        else:
            path.hardlink_to(temporary)  # unlike rename, it refuses a name that is taken
    finally:
        temporary.unlink(missing_ok=True)
    opened = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def stamp(status: os.stat_result) -> Stamp:
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_mode


class DamagedError(Exception):
    """The store holds something that is no record of this epoch."""


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
        return found

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
        """Those of that epoch and the one before, as far as they are there, newest first."""
        found = []
        for number in (epoch, epoch - 1):
            with contextlib.suppress(DamagedError):
                found.append(self.get(number))
        there = [record for record in found if record is not None]
        return [record for record in there if record.generation == there[0].generation]

    def look(self, ring: "TicketKeyRing") -> None:
        epoch = ring.epoch
        self._agree(ring, epoch)
        if not ring.knows(epoch - 1):
            self._follow(ring, self.get(epoch - 1))
        # Published before it is used, so that all have it when it begins.
        if time.time() >= (epoch + 0.5) * ring.period:
            self._agree(ring, epoch + 1)

    def _agree(self, ring: "TicketKeyRing", epoch: int) -> None:
        """Follow the record of an epoch. If there is none, or a damaged one, or one that `rotate`
        has ended, put there what we hold, or for an epoch still to come a new one.
        """
        write: Callable[[bytes, bytes, float], bool | None] = self._store.add
        try:
            found = self.get(epoch)
        except DamagedError:
            found, write = None, self._store.put
        if found is not None and found.generation < ring.generation:
            found, write = None, self._store.put
        if found is None:
            ours = self._ours(ring, epoch)
            kept = write(self._name(epoch), self._sealed(ours), self._ttl(ours))
            found = self.get(epoch) if kept is False else ours
        self._follow(ring, found)

    def _ours(self, ring: "TicketKeyRing", epoch: int) -> TicketKeyRecord:
        if epoch <= ring.epoch or ring.begins_at(epoch):
            return ring.record(epoch)
        return TicketKeyRecord.generate(
            ring.period,
            ticket_lifetime=ring.ticket_lifetime,
            start=epoch,
            generation=ring.generation,
        )

    def _follow(self, ring: "TicketKeyRing", record: TicketKeyRecord | None) -> None:
        if record is not None and record.generation >= ring.generation:
            ring.follow([record])

    def replace(self, record: TicketKeyRecord) -> None:
        """Put a record in the place of its epoch's, and remove those of its neighbours."""
        self._store.remove(self._name(record.start - 1))
        self._store.remove(self._name(record.start + 1))
        self._store.put(self._name(record.start), self._sealed(record), self._ttl(record))

    def get(self, epoch: int) -> TicketKeyRecord | None:
        """The record of an epoch, None if there is none. Raises DamagedError for anything else."""
        name = self._name(epoch)
        found = self._store.get(name)
        if found is None and self._key is not None and self._key.previous is not None:
            found = self._store.get(self._name(epoch, self._key.previous))
        if found is None:
            return None
        try:
            return self._open(found, epoch)
        except InvalidSessionError as error:
            if error.reason is InvalidReason.OTHER_VERSION:  # a newer one of this library's
                raise
            raise DamagedError(str(error)) from None
        except (TypeError, ValueError) as error:  # a store may return anything
            raise DamagedError(str(error)) from None

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
            created=int(time.time()),
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
        return (record.start + 2) * record.period - time.time()


def place_of(epoch: int) -> bytes:
    """What a sealed record is bound to, so that it cannot be moved to another epoch."""
    return CONTEXT + epoch.to_bytes(8)
