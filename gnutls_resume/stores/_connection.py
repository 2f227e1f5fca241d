"""A connection to the database of an ``SQLiteStore``, and what its errors mean."""

import _thread
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from urllib.parse import quote

from gnutls_resume.stores import _database_file as files
from gnutls_resume.stores import _sql as sql

CLOSING = 1  # seconds for which closing waits for others that make or move the file
LOG_SIZE = 4 * 1024 * 1024  # bytes from which on it is copied into the database

BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
# After these the connection is as good as before: on a full disk it can still read.
KEPT = BUSY | {sqlite3.SQLITE_FULL, sqlite3.SQLITE_TOOBIG}
DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Opening:
    """A connection in the making, in a thread of its own."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._begun = threading.Lock()
        # No Event: a handler in the middle of its wait() could not wait for it.
        self._running = threading.Lock()
        self._running.acquire()
        self._done = False
        self.connection: sqlite3.Connection | None = None
        self._error: BaseException | None = None

    def wait(self, timeout: float) -> None:
        """Begin if nobody has, and wait. BlockingIOError if it takes longer."""
        if not self._begun.locked():
            # Of a handler that comes in between the next one is started too, and ends at once.
            # Not threading.Thread, whose start takes long enough for many handlers.
            try:
                _thread.start_new_thread(self._run, ())
            except RuntimeError:  # no more threads, or the interpreter ends
                self._run()
        if not self._done and self._running.acquire(timeout=timeout):
            self._running.release()
        if not self._done:
            raise BlockingIOError("the file is being opened")

    def result(self) -> sqlite3.Connection:
        if self.connection is not None:
            return self.connection
        # Told once: a kept exception would keep its frames, and they this.
        error, self._error = self._error, None
        try:
            raise error or BlockingIOError("the file could not be opened just now")
        finally:
            del error

    def _run(self) -> None:
        if not self._begun.acquire(blocking=False):
            return
        try:
            self.connection = self._connect()
        except BaseException as error:  # noqa: BLE001 - raised in the threads that wait for it
            self._error = error
        finally:
            self._done = True
            self._running.release()


def connect(path: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?mode=rw",  # or SQLite would make it for all to read
        uri=True,
        timeout=0,
        isolation_level=None,
        check_same_thread=False,
    )


def prepare(connection: sqlite3.Connection, max_entries: int) -> None:
    """What each connection needs. NotSupportedError where there can be no write-ahead log."""
    [(mode,)] = connection.execute("PRAGMA journal_mode = WAL")
    if mode != "wal":
        raise sqlite3.NotSupportedError("no write-ahead log can be kept here")
    for setting in (
        "synchronous = NORMAL",
        "secure_delete = ON",
        "temp_store = MEMORY",
        f"wal_autocheckpoint = {LOG_SIZE // sql.PAGE}",
    ):
        connection.execute(f"PRAGMA {setting}")
    for statement in sql.of_one_connection(max_entries):
        connection.execute(statement)
    connection.text_factory = no_text


def close(connection: sqlite3.Connection, path: str) -> None:
    """The last process to close a database deletes its log: a file of that name, which must not
    be that of a new database by now.
    """
    try:
        with files.locked(path, CLOSING, shared=True):
            connection.close()
    except (OSError, sqlite3.Error):
        with suppress(sqlite3.Error):
            connection.close()


def has_tables(connection: sqlite3.Connection, path: str) -> bool:
    """Whether the tables are there; False if there is nothing at all, else an exception."""
    [(application,)] = connection.execute("PRAGMA application_id")
    [(version,)] = connection.execute("PRAGMA user_version")
    found = set(chain.from_iterable(connection.execute("SELECT sql FROM sqlite_master")))
    if not application and not version and not found:
        return False
    if application != sql.APPLICATION_ID:
        raise ValueError(f"{path} is a database of another program: choose another path")
    if version != sql.VERSION:
        raise ValueError(
            f"{path} has format {version}, and this release of gnutls_resume knows only "
            f"{sql.VERSION}: choose another path"
        )
    if not found.issuperset(sql.SCHEMA):
        error = sqlite3.DatabaseError("tables are missing")
        error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_CORRUPT, "no tables"
        raise error
    return True


def make_tables(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA synchronous = OFF")  # for a power cut now there is nothing to lose
    connection.execute(f"PRAGMA page_size = {sql.PAGE}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    for statement in (*sql.SCHEMA, sql.START_COUNTING):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {sql.APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {sql.VERSION}")
    connection.execute("COMMIT")


def code(error: Exception) -> int | None:
    """SQLite's primary result code; files.locked speaks in its own way."""
    if isinstance(error, BlockingIOError):
        return sqlite3.SQLITE_BUSY
    extended: int | None = getattr(error, "sqlite_errorcode", None)
    return None if extended is None else extended & 0xFF


def no_text(_: bytes) -> None:
    """For text, which none of our columns holds: an error would show it."""
