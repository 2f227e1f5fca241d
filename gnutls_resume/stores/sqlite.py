"""Sessions in an SQLite database, for all processes of one computer.

Rules of this file:

1. A call is one statement, begun and ended in one C call, and in no transaction but its own: a
   signal handler may call in the middle of another call, and what it was told must not be taken
   back with that one's transaction.
2. A process has one connection, used under ``_lock``; it lets go of that to wait for another
   process. A call within a call (``_depth``) uses the connection, but does not end it. It is made
   in a thread of its own, which goes on while a handler runs: its call waits for the same.
3. No connection outlives a fork. SQLite's locks are fcntl(2)'s, which a child does not inherit,
   but SQLite remembers them in memory, which it does: even a new connection to the same file
   would take none, and another process could delete the log that the child writes to.

Over 500 lines, because calls, the connection and a fork share one lock; what does not need it is
in _sql.py and _database_file.py.
"""

import logging
import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import chain, starmap
from typing import Any, NoReturn, SupportsIndex

from gnutls_resume.errors import StoreBusyError, StoreError
from gnutls_resume.stores import _connection as connections
from gnutls_resume.stores import _database_file as files
from gnutls_resume.stores import _sql as sql
from gnutls_resume.stores._arguments import check_bytes, check_count, check_timeout, check_ttl
from gnutls_resume.stores._connection import BUSY, CLOSING, DAMAGED, KEPT, Opening, code
from gnutls_resume.stores.protocol import StoredEntry

logger = logging.getLogger("gnutls_resume")

LOOK = 1  # seconds between looks at whether the file is still there and what has expired
EMPTY = 60  # seconds between attempts to empty the write-ahead log
PATIENCE = 5  # seconds for which calls that no handshake waits for wait for other processes
PAUSE = 0.0005  # seconds, at most, between two attempts; SQLite's own pauses are much longer
AGAIN = 60  # seconds in which a second damaged file is not moved aside: the disk may be bad
HIGHEST = 2**31  # entries of a stack

DAMAGE = "%s is damaged (%s): it is now %s, and a new one is begun"

Row = tuple[Any, ...]


class SQLiteStore:
    """A ``Store`` in an SQLite database, shared by the processes of one computer.

    `path` names its file. If there is none it is made, for this user alone (mode 600), with
    others beside it: ``-wal``, ``-shm`` and ``-lock``. PermissionError, saying what to change, if
    others can read or write it or put another in its place, if it is somebody else's or a
    symbolic link. ValueError if it is another program's database, or none at all. A damaged one is
    renamed, to ``.damaged-`` and the Unix time, with a warning in the log, and a new one begun.
    Network file systems will not do: SQLite's write-ahead log needs shared memory.

    At most `max_entries` are kept, values and entries of stacks together. Where there are more,
    what expires first makes room.

    A call waits at most `timeout` seconds for other processes, and raises StoreBusyError; none of
    them takes so long unless it is stopped or the disk is slow. What SQLite cannot do, as on a
    full disk, is a StoreError; the next call tries again. That the file was removed or replaced
    is noticed after a second.

    What a call has done outlives the process, even if that is killed; a power cut may take the
    last of it back (``synchronous=NORMAL``). Time is the computer's clock: set back, it lets
    entries live longer.

    **Deletion.** What is taken, removed or replaced, or makes room, is overwritten with zeros in
    the database. So is what has expired, within seconds in which there are calls. A copy is left
    in the ``-wal`` file until that is emptied: by ``clear`` and ``close``, once a minute by one of
    the calls, unless another process is in the middle of one, and when the last process closes
    the file. A key, though no value, can be left in an unused part of the file; ``clear`` takes
    away those too. Files that were moved aside stay until somebody removes them.

    Threads share one connection. For a fork it is closed, which takes milliseconds; parent and
    child open one of their own when they need it.
    """

    exposed = False
    private = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_entries: int = 100_000,
        timeout: float = 0.05,
    ) -> None:
        if sqlite3.sqlite_version_info < (3, 35):
            raise NotImplementedError(
                f"SQLite 3.35 or later is needed, and {sqlite3.sqlite_version} is loaded"
            )
        check_count("max_entries", max_entries)
        check_timeout(timeout)
        self._path = files.full_path(path)
        files.check_origin(self._path)
        self._max_entries = max_entries
        self._timeout = timeout
        self._closed = False
        self._connection: sqlite3.Connection | None = None
        self._file: files.Identity | None = None  # what it is connected to
        self._beside: dict[str, files.Identity | None] = {}  # with what beside it
        self._damaged: tuple[files.Identity | None, str] | None = None  # which file, and how
        self._moved = float("-inf")
        self._looked = self._emptied = time.monotonic()
        self._opening: Opening | None
        self._depth: int  # calls of the thread that has the lock, one within another
        self._unwanted: bool  # the connection, as soon as the outermost call is done
        self._start()
        _stores[id(self)] = self
        try:
            self._insist(sql.COUNT, (), PATIENCE)
        except sqlite3.Error as error:
            raise self._failure(error) from error
        # It may be that this process forks next, in a way that does not run Python's hooks.
        with self._lock:
            self._disconnect()

    @property
    def timeout(self) -> float:
        """How long a call may wait for other processes, in seconds."""
        return self._timeout

    def get(self, key: bytes) -> bytes | None:
        """The value, which stays; None if there is none, or it has expired."""
        check_bytes("key", key)
        rows = self._ask(sql.GET, (key, time.time()))
        return only_bytes(rows[0][0]) if rows else None

    def put(self, key: bytes, value: bytes, ttl: float) -> None:
        """Make this the value for `ttl` seconds, whatever it was before."""
        check_bytes("key", key)
        check_bytes("value", value)
        check_ttl(ttl)
        if ttl > 0:
            self._ask(sql.PUT, (key, time.time() + ttl, value))
        else:
            self._ask(sql.DROP, (key,))

    def add(self, key: bytes, value: bytes, ttl: float) -> bool:
        """Make this the value if there is none. True only if it has been kept."""
        check_bytes("key", key)
        check_bytes("value", value)
        check_ttl(ttl)
        if ttl <= 0:
            return False
        now = time.time()
        return bool(self._ask(sql.ADD, (key, now + ttl, value, now)))

    def push(self, key: bytes, value: bytes, ttl: float, keep: int) -> None:
        """Put this on top of the stack for `ttl` seconds; its newest `keep` entries stay."""
        check_bytes("key", key)
        check_bytes("value", value)
        check_ttl(ttl)
        check_count("keep", keep)
        if ttl > 0:
            self._ask(sql.PUSH, (key, time.time() + ttl, value, min(keep, HIGHEST)))

    def take(self, key: bytes) -> bytes | None:
        """Remove the top of the stack and return it; None if it has expired, or there is none."""
        check_bytes("key", key)
        rows = self._ask(sql.TAKE, (key, key))
        if rows and rows[0][1] > time.time():
            return only_bytes(rows[0][0])
        return None

    def remove(self, key: bytes) -> None:
        """Forget the value and the stack."""
        check_bytes("key", key)
        self._ask(sql.REMOVE, (key,))

    def entries(self) -> Iterator[StoredEntry]:
        """What has not expired: values first, then stacks, both in the order of their keys.

        What is put and taken meanwhile may be among them or not.
        """
        for statement in (sql.LIST_SINGLE, sql.LIST_STACK):
            last: bytes | float = sql.BEFORE_ALL
            while rows := self._ask(statement, (last, time.time()), PATIENCE):
                yield from starmap(StoredEntry, rows)
                last = rows[-1][0]

    def clear(self) -> None:
        """Forget everything, and empty the write-ahead log. What is put meanwhile may stay."""
        for statement in (sql.CLEAR_SINGLE, sql.CLEAR_STACK):
            last: bytes | float = sql.BEFORE_ALL
            while rows := self._ask(statement, (last,), PATIENCE):
                last = max((key for (key,) in rows if type(key) is bytes), default=last)
        self._empty_log()

    def close(self) -> None:
        """Empty the write-ahead log and close the file. Later calls are a StoreError."""
        self._notice_fork()
        with self._lock:
            if self._connection and not self._closed and not self._depth:
                with suppress(StoreError):
                    self._empty_log()
            self._closed = self._unwanted = True
            if not self._depth:
                self._abandon_opening()
                self._disconnect()

    def __del__(self) -> None:
        if getattr(self, "_connection", None):
            self._notice_fork()
            self._disconnect()

    def __repr__(self) -> str:
        return f"<SQLiteStore: {self._path!r}, at most {self._max_entries} entries>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("an SQLiteStore cannot be pickled or copied: make one from its path")

    # Statements

    def _ask(self, statement: str, parameters: Row, patience: float | None = None) -> list[Row]:
        """The rows that a statement returns. StoreError, with the reason, if it cannot."""
        try:
            return self._insist(
                statement, parameters, self._timeout if patience is None else patience
            )
        except (sqlite3.Error, OSError, ValueError) as error:
            raise self._failure(error) from error

    def _insist(self, statement: str, parameters: Row, patience: float) -> list[Row]:
        """Try again while others are in the way, and once a damaged file is out of the way."""
        end = time.monotonic() + patience
        while True:
            try:
                return self._try(statement, parameters, end)
            except (BlockingIOError, sqlite3.Error) as error:
                if code(error) not in BUSY | DAMAGED:
                    raise
                if time.monotonic() >= end:
                    raise self._failure(error) from error
            time.sleep(random.random() * PAUSE)  # noqa: S311 - no secret

    def _try(self, statement: str, parameters: Row, end: float) -> list[Row]:
        self._notice_fork()
        with self._lock:
            outer = self._depth
            try:
                self._depth = outer + 1
                connection = self._connection
                if connection is None or time.monotonic() - self._looked > LOOK:
                    connection = self._tend(end)
                # list() does it all, and no handler runs in the middle: between an execute() and
                # a fetchall() the statement would be open for one.
                return list(
                    chain.from_iterable(map(connection.execute, (statement,), (parameters,)))
                )
            except sqlite3.Error as error:
                self._unwanted |= code(error) not in KEPT
                if code(error) in DAMAGED:
                    self._damaged = self._file, error.sqlite_errorname
                raise
            finally:
                self._depth = outer
                if self._unwanted and not outer:
                    self._disconnect()

    def _failure(self, error: Exception) -> StoreError:
        if code(error) in BUSY:
            return StoreBusyError(f"{self._path} is held by another process, or being opened")
        text = str(error)
        return StoreError(text if self._path in text else f"{self._path}: {text}")

    # The connection; all of this is called under the lock

    def _tend(self, end: float) -> sqlite3.Connection:
        """What is done once a second, and a connection afterwards."""
        if self._depth == 1 and self._connection and files.identity(self._path) != self._file:
            with files.locked(self._path):
                # SQLite would read the log of the database that was there in the new one.
                files.remove(self._path, self._beside)
            self._disconnect()
        if self._connection is None:
            return self._open(end)
        if self._depth == 1:
            self._looked = time.monotonic()
            try:
                self._purge(self._connection)
            except sqlite3.Error as error:
                if code(error) in DAMAGED:
                    raise
                # Busy or full: it can wait, and the call itself may only read.
        return self._connection

    def _purge(self, connection: sqlite3.Connection) -> None:
        for statement in (sql.PURGE_SINGLE, sql.PURGE_STACK):
            connection.execute(statement, (time.time(),))
        if self._looked - self._emptied > EMPTY:
            self._emptied = self._looked
            connection.execute(sql.EMPTY_LOG)

    def _empty_log(self) -> None:
        end = time.monotonic() + PATIENCE
        while self._ask(sql.EMPTY_LOG, (), PATIENCE)[0][0] and time.monotonic() < end:
            time.sleep(PAUSE)

    def _open(self, end: float) -> sqlite3.Connection:
        if self._closed:
            raise StoreError(f"{self._path} has been closed")
        if _stranded:
            raise StoreError(
                f"{self._path}: this process was forked while a thread used the store, and cannot "
                "use it any more: fork at another time"
            )
        opening = self._opening
        if opening is None:
            opening = Opening(self._connect)
            self._opening = opening
        opening.wait(max(0, end - time.monotonic()))
        if self._opening is opening:  # else a handler was quicker
            self._opening = None
            self._looked = time.monotonic()
            self._connection = opening.connection
        return opening.result()

    def _connect(self) -> sqlite3.Connection:
        files.check_folder(self._path)
        files.check_files(self._path)  # before a lock is put beside somebody else's
        with files.locked(self._path, shared=True):
            connection = self._connect_if_sound()
        if connection is None:
            with files.locked(self._path):
                self._make()
                connection = self._connect_if_sound()
        if connection is None:
            raise BlockingIOError("the file was removed at this moment")
        return connection

    def _connect_if_sound(self) -> sqlite3.Connection | None:
        file = files.check_files(self._path)
        if file is None or (self._damaged and self._damaged[0] == file):
            return None
        self._file = file
        connection = connections.connect(self._path)
        try:
            if not connections.has_tables(connection, self._path):
                connection.close()
                return None
            connections.prepare(connection, self._max_entries)
            if files.check_files(self._path) != file:
                raise BlockingIOError("the file was replaced at this moment")
        except BaseException:
            connection.close()
            raise
        self._beside = files.beside(self._path)
        self._damaged = None
        return connection

    def _make(self) -> None:
        file = files.check_files(self._path)
        if self._damaged and self._damaged[0] == file is not None:
            if time.monotonic() - self._moved < AGAIN:
                raise OSError(f"{self._path} is damaged again: look at the disk")
            _, damage = self._damaged
            target = files.move_aside(self._path)
            self._moved = time.monotonic()
            logger.warning(DAMAGE, self._path, damage, target)
            file = None
        if file is None:
            files.create(self._path)
        with closing(connections.connect(self._path)) as connection:
            if not connections.has_tables(connection, self._path):
                connections.make_tables(connection)

    def _abandon_opening(self) -> None:
        """Of a call that did not wait to its end."""
        if self._opening:
            with suppress(Exception):
                self._opening.wait(CLOSING)
                self._connection, self._opening = self._opening.connection, None

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._unwanted = False
        if connection is not None:
            connections.close(connection, self._path)

    def _notice_fork(self) -> None:
        """Programs that embed Python may fork without its hooks."""
        if self._process != os.getpid():
            self._start_in_child()

    def _start_in_child(self) -> None:
        if self._connection or self._opening or self._depth:
            _stranded.append(self._connection)  # neither used nor closed
            self._connection = None
        self._start()

    def _start(self) -> None:
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._depth = 0
        self._opening = None
        self._unwanted = False


def only_bytes(value: object) -> bytes | None:
    """Whatever somebody has written into the file."""
    return value if type(value) is bytes else None


# Weak, so that stores are collected; one hook for all, since no hook can be taken back.
_stores: weakref.WeakValueDictionary[int, SQLiteStore] = weakref.WeakValueDictionary()
_stranded: list[sqlite3.Connection | None] = []  # open in the parent when this process was forked


def _stores_now() -> list[SQLiteStore]:
    return [store for reference in _stores.valuerefs() if (store := reference())]


def _close_all() -> None:
    """Before a fork. Whoever keeps a lock for long must not stop it: see _start_again."""
    for store in _stores_now():
        if store._lock.acquire(timeout=CLOSING) and not store._depth:  # noqa: SLF001 - this file's
            store._abandon_opening()  # noqa: SLF001
            store._disconnect()  # noqa: SLF001


def _go_on() -> None:
    """In the parent: let go of the locks."""
    for store in _stores_now():
        with suppress(RuntimeError):  # it was not to be had
            store._lock.release()  # noqa: SLF001


def _start_again() -> None:
    """In the child: with new locks, and without what could not be closed."""
    for store in _stores_now():
        store._start_in_child()  # noqa: SLF001


os.register_at_fork(before=_close_all, after_in_parent=_go_on, after_in_child=_start_again)
