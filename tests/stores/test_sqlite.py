"""The store in an SQLite file: the file itself, its bounds, what is deleted, and faults. Several
processes are in test_sqlite_processes.py, and the contract of all stores in test_conformance.py.
"""
# ruff: noqa: S608 - all that is put into SQL is in this file

import copy
import gc
import logging
import os
import pickle
import random
import re
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import types
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count as count_from
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gnutls_resume.errors import StoreBusyError, StoreError
from gnutls_resume.stores import _connection, _database_file, _sql, sqlite
from gnutls_resume.stores.protocol import StoredEntry
from gnutls_resume.stores.sqlite import SQLiteStore
from gnutls_resume.testing import after_call, in_children, in_threads

TTL = 3600  # seconds
SOON = 10  # seconds: far more than what is done at once takes
A, B, C = b"key A", b"key B", b"key C"
BESIDE = ("-wal", "-shm", "-lock")


@dataclass
class Clock:
    """The computer's clock, which stands until it is told to go on."""

    time: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time", clock)
    return clock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    with closing(open_store(path)) as store:
        yield store


@pytest.fixture
def always_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done once a second is done in every call."""
    monkeypatch.setattr(sqlite, "LOOK", 0)


def open_store(path: str | Path, **options: Any) -> SQLiteStore:
    """One that waits: where many tests run at once, to open a file may take a while."""
    return SQLiteStore(path, **{"timeout": SOON, **options})


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def side(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def files(path: Path) -> set[str]:
    return {found.name for found in path.parent.iterdir()}


@contextmanager
def foreign(path: Path) -> Iterator[sqlite3.Connection]:
    """Somebody else's connection to a database."""
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        yield connection


def make_database(path: Path, *statements: str) -> bytes:
    with foreign(path) as connection:
        for statement in statements:
            connection.execute(statement)
    path.chmod(0o600)
    return path.read_bytes()


def damage(path: Path) -> None:
    """Overwrite all pages but the first, as a bad disk might."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(_sql.PAGE)
        file.write(random.Random(1).randbytes(size - _sql.PAGE))  # noqa: S311


def open_files() -> dict[str, str]:
    """The descriptors of this process, and of what."""
    found = {}
    for descriptor in Path("/dev/fd").iterdir():
        with suppress(OSError):  # that of the listing itself
            found[descriptor.name] = os.readlink(descriptor)  # noqa: PTH115 - may be no path
    return found


def moved_aside(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.damaged-*[0-9]"))


# The file


@pytest.mark.parametrize("umask", [0, 0o022, 0o277, 0o777])
def test_all_files_are_for_their_owner_alone_whatever_the_umask(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        store = open_store(path)
        store.put(A, b"value", TTL)
    finally:
        os.umask(before)
    assert {name: mode(path.parent / name) for name in files(path)} == {
        path.name + suffix: 0o600 for suffix in ("", *BESIDE)
    }
    store.close()


def test_a_store_holds_nothing_open_before_its_first_call(path: Path) -> None:
    """A process that forks without Python's hooks next, as uWSGI's, must not hand it on."""
    before = open_files()
    store = open_store(path)
    assert open_files() == before
    assert files(path) == {path.name, path.name + "-lock"}
    store.close()


@pytest.mark.parametrize(
    "name", [":memory:", "", "file:sessions.db", "sub/", ".", "sub/..", "a\0b"]
)
def test_what_names_no_file_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="path must name a file"):
        open_store(name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [b"sessions.db", 5, None])
def test_a_path_is_text(name: object) -> None:
    with pytest.raises(TypeError, match=r"path|PathLike"):
        open_store(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a b?c#d%20e.db", "ключ.db", "'; --.db", "no\udce9l.db"])
def test_a_file_may_have_any_name(name: str, tmp_path: Path) -> None:
    with closing(open_store(tmp_path / name)) as store:
        store.put(A, b"value", TTL)
        assert store.get(A) == b"value"
    assert files(tmp_path / name) == {name, name + "-lock"}


def test_a_relative_path_stays_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    with closing(open_store("sessions.db")) as store:
        monkeypatch.chdir(tmp_path / "other")
        store.put(A, b"value", TTL)
    assert list((tmp_path / "other").iterdir()) == []
    with closing(open_store(tmp_path / "sessions.db")) as store:
        assert store.get(A) == b"value"


def test_a_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        open_store(tmp_path / "missing" / "sessions.db")


def make_link(path: Path) -> None:
    path.with_name("target").write_bytes(b"")
    path.with_name("target").chmod(0o600)
    path.symlink_to(path.with_name("target"))


def make_hard_link(path: Path) -> None:
    make_database(path.with_name("target"))
    path.hardlink_to(path.with_name("target"))


def make_file(mode: int, path: Path) -> None:
    path.write_bytes(b"")
    path.chmod(mode)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (make_link, "symbolic link"),
        (lambda path: path.symlink_to("nowhere"), "symbolic link"),
        (make_hard_link, "hard link"),
        (lambda path: path.mkdir(0o700), "not a regular file"),
        (lambda path: os.mkfifo(path, 0o600), "not a regular file"),
        (partial(make_file, 0o644), "chmod 600"),
        (partial(make_file, 0o640), "chmod 600"),
        (partial(make_file, 0o620), "chmod 600"),
        (partial(make_file, 0o602), "chmod 600"),
        (partial(make_file, 0o601), "chmod 600"),
    ],
)
@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_a_file_that_is_not_the_users_alone_is_refused(
    make: Callable[[Path], None], reason: str, suffix: str, path: Path
) -> None:
    if suffix:
        open_store(path).close()
    make(side(path, suffix))
    before = {found.name: found.lstat() for found in path.parent.iterdir()}
    with pytest.raises(PermissionError, match=reason) as raised:
        open_store(path)
    assert str(side(path, suffix)) in str(raised.value)
    after = {found.name: found.lstat() for found in path.parent.iterdir()}
    assert {name: (found.st_ino, found.st_mtime_ns) for name, found in after.items()} == {
        name: (found.st_ino, found.st_mtime_ns) for name, found in before.items()
    }


def test_a_link_for_a_lock_is_refused(path: Path) -> None:
    side(path, "-lock").symlink_to("nowhere")
    with pytest.raises(OSError, match="-lock"):
        open_store(path)
    assert files(path) == {path.name + "-lock"}


def test_another_users_file_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_store(path).close()
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    with pytest.raises(PermissionError, match=rf"{path}.* another user \(uid {user}\)"):
        open_store(path)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o720])
def test_a_folder_in_which_others_can_replace_the_file_is_refused(mode: int, path: Path) -> None:
    path.parent.chmod(mode)
    with pytest.raises(PermissionError, match=f"chmod go-w {path.parent}"):
        open_store(path)
    assert files(path) == set()


@pytest.mark.parametrize("mode", [0o1777, 0o755, 0o500 | stat.S_IWUSR])
def test_a_folder_in_which_others_cannot_replace_it_is_good(mode: int, path: Path) -> None:
    path.parent.chmod(mode)
    open_store(path).close()


def test_a_database_of_another_program_is_refused_and_not_changed(path: Path) -> None:
    statements = [
        ["CREATE TABLE cookies (name)"],
        ["CREATE TABLE cookies (name)", "PRAGMA journal_mode = WAL"],
        ["PRAGMA application_id = 5"],
        ["PRAGMA user_version = 1"],
    ]
    for number, those in enumerate(statements):
        other = path.with_name(f"{number}.db")
        before = make_database(other, *those)
        with pytest.raises(ValueError, match=rf"{other} is a database of another program"):
            open_store(other)
        assert other.read_bytes() == before
    assert files(path) == {f"{n}.db{suffix}" for n in range(4) for suffix in ("", "-lock")}


def test_a_later_format_is_refused_and_not_changed(path: Path) -> None:
    with closing(open_store(path)) as store:
        store.put(A, b"value", TTL)
    before = make_database(path, "PRAGMA user_version = 2")
    with pytest.raises(
        ValueError, match="format 2, and this release of gnutls_resume knows only 1"
    ):
        open_store(path)
    assert path.read_bytes() == before


def test_a_database_of_another_program_in_its_place_is_an_error_of_the_store(
    store: SQLiteStore, path: Path, always_looking: None
) -> None:
    store.put(A, b"value", TTL)
    other = path.with_name("other.db")
    before = make_database(other, "CREATE TABLE cookies (name)")
    other.rename(path)
    with pytest.raises(StoreError, match="another program"):
        store.get(A)
    assert path.read_bytes() == before


def test_an_empty_file_is_a_new_database(path: Path) -> None:
    make_file(0o600, path)
    with closing(open_store(path)) as store:
        store.put(A, b"value", TTL)
        assert store.get(A) == b"value"


def test_what_is_written_is_there_when_it_is_opened_again(path: Path) -> None:
    with closing(open_store(path)) as store:
        store.put(A, b"value", TTL)
        store.push(A, b"1", TTL, 8)
        store.push(A, b"2", TTL, 8)
    with closing(open_store(path)) as store:
        assert [store.get(A), store.take(A), store.take(A)] == [b"value", b"2", b"1"]


def test_the_last_to_close_leaves_nothing_beside_it(store: SQLiteStore, path: Path) -> None:
    store.put(A, b"value", TTL)
    store.close()
    assert files(path) == {path.name, path.name + "-lock"}


def test_an_old_sqlite_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(NotImplementedError, match=r"SQLite 3\.35 or later is needed"):
        open_store(path)


def test_a_file_is_made_only_where_there_is_none(path: Path) -> None:
    for make in (lambda: path.symlink_to("nowhere"), path.touch):
        make()
        with pytest.raises(FileExistsError):
            _database_file.create(str(path))
        path.unlink()
    with pytest.raises(sqlite3.OperationalError):
        _connection.connect(str(path)).execute(_sql.COUNT)
    assert files(path) == set()


def test_a_file_that_is_replaced_while_it_is_opened_is_opened_again(
    store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(open_store(path.with_name("new.db"))) as other:
        other.put(A, b"new", TTL)
    connect = _connection.connect

    def connect_and_replace(*arguments: Any) -> sqlite3.Connection:
        connection = connect(*arguments)
        with suppress(FileNotFoundError):
            path.with_name("new.db").rename(path)
        return connection

    monkeypatch.setattr(_connection, "connect", connect_and_replace)
    assert store.get(A) == b"new"


# A damaged file


def test_what_never_was_a_database_is_left_alone(path: Path) -> None:
    """It may be somebody's private key, under a name that was meant for another argument."""
    path.write_bytes(b"-----BEGIN PRIVATE KEY-----")
    path.chmod(0o600)
    with pytest.raises(ValueError, match=r"sessions\.db is no SQLite database"):
        SQLiteStore(path)
    assert path.read_bytes() == b"-----BEGIN PRIVATE KEY-----"
    assert list(path.parent.iterdir()) == [path]


def test_what_is_no_database_any_more_is_moved_aside_when_it_is_opened(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    SQLiteStore(path).close()
    path.write_bytes(b"this is no database, but long enough to be one " * 100)
    path.chmod(0o600)
    before = path.read_bytes()
    with closing(open_store(path)) as store:
        store.put(A, b"value", TTL)
        assert store.get(A) == b"value"
    [aside] = moved_aside(path)
    assert aside.read_bytes() == before
    [record] = caplog.records
    assert (record.name, record.levelno) == ("gnutls_resume", logging.WARNING)
    assert str(aside) in record.getMessage()


@pytest.mark.parametrize(
    "spoil",
    [
        damage,
        lambda path: os.truncate(path, _sql.PAGE * 3),
        lambda path: os.truncate(path, 100),
        lambda path: make_database(path, "DROP TABLE stack"),
        lambda path: make_database(path, "DROP TRIGGER single_insert"),
    ],
)
def test_a_damaged_database_is_moved_aside(
    spoil: Callable[[Path], object], path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(open_store(path)) as store:
        for number in range(100):
            store.put(b"%d" % number, b"SECRET" * 200, TTL)
    spoil(path)
    with closing(open_store(path)) as store:
        found = [store.get(b"%d" % number) for number in range(100)]
        assert set(found) == {None}
        store.put(A, b"value", TTL)
        assert store.get(A) == b"value"
    assert len(moved_aside(path)) == len(caplog.records) == 1
    assert "SECRET" not in caplog.text


def test_damage_is_noticed_while_the_store_is_used(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(path)
    for number in range(1000):
        store.put(b"%d" % number, bytes(2000), TTL)
    store._empty_log()
    damage(path)
    connection = store._connection
    assert connection is not None
    connection.execute("PRAGMA shrink_memory")
    for number in range(1000):
        assert store.get(b"%d" % number) in (None, bytes(2000))
    store.put(A, b"value", TTL)
    assert store.get(A) == b"value"
    assert len(moved_aside(path)) == len(caplog.records) == 1
    store.close()


def test_damage_is_noticed_where_only_expired_entries_are_looked_for(
    path: Path, always_looking: None
) -> None:
    store = open_store(path)
    store.put(A, b"value", TTL)
    store._empty_log()
    [(page,)] = store._ask("SELECT rootpage FROM sqlite_master WHERE name = 'single_expires'", ())
    with path.open("r+b") as file:
        file.seek((page - 1) * _sql.PAGE)
        file.write(b"\xff" * _sql.PAGE)
    assert store._connection
    store._connection.execute("PRAGMA shrink_memory")
    assert store.get(A) is None
    assert len(moved_aside(path)) == 1
    store.close()


def test_a_damaged_file_replaces_no_earlier_one(path: Path, clock: Clock) -> None:
    SQLiteStore(path).close()
    for _ in range(3):
        path.write_bytes(b"no database" * 1000)
        path.chmod(0o600)
        open_store(path).close()
    names = [f"{path.name}.damaged-{int(clock.time) + number}" for number in range(3)]
    assert [aside.name for aside in moved_aside(path)] == names


def test_a_damaged_file_takes_its_log_along(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        side(path, suffix).write_text(f"old{suffix}")
    target = Path(_database_file.move_aside(str(path)))
    assert files(path) == {target.name + suffix for suffix in ("", "-wal", "-shm")}
    assert side(target, "-wal").read_text() == "old-wal"


def test_two_that_notice_damage_at_once_keep_the_new_file(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(open_store(path)) as store:
        for number in range(100):
            store.put(b"%d" % number, bytes(2000), TTL)
    for round_ in range(10):
        stores = [open_store(path) for _ in range(4)]
        for number, store in enumerate(stores):
            store.put(b"%d" % number, bytes(2000), TTL)
        stores[0]._empty_log()
        damage(path)

        def use(store: SQLiteStore) -> list[bytes | None]:
            mine = b"mine %d" % id(store)
            assert store._connection
            store._connection.execute("PRAGMA shrink_memory")
            store.get(A)
            with suppress(StoreError):  # the other connection's file was moved just now
                store._ask("PRAGMA quick_check", ())
            store.get(A)
            store._looked = 0
            store.put(mine, b"value", TTL)
            return [store.get(mine)]

        assert in_threads([partial(use, store) for store in stores]) == [[b"value"]] * 4
        with closing(open_store(path)) as store:
            found = [store.get(b"mine %d" % id(other)) for other in stores]
        assert found == [b"value"] * 4
        for store in stores:
            store.close()
        assert len(moved_aside(path)) == len(caplog.records) == round_ + 1


# A file that was removed or replaced


def test_a_removed_file_is_made_again(store: SQLiteStore, path: Path, always_looking: None) -> None:
    store.put(A, b"value", TTL)
    for suffix in ("", "-wal", "-shm"):
        side(path, suffix).unlink()
    assert store.get(A) is None
    store.put(B, b"value", TTL)
    assert mode(path) == 0o600
    with closing(open_store(path)) as other:
        assert other.get(B) == b"value"


def test_of_a_removed_database_nothing_comes_back_from_its_log(
    store: SQLiteStore, path: Path, always_looking: None
) -> None:
    store.put(A, b"value", TTL)
    path.unlink()
    assert side(path, "-wal").stat().st_size > 0
    with closing(open_store(path)) as other:
        assert other.get(A) is None
        other.put(B, b"value", TTL)
        assert [store.get(A), store.get(B)] == [None, b"value"]
        # The first to close the old database must not delete the new one's log.
        assert side(path, "-wal").exists()
        other.put(C, b"value", TTL)
    with closing(open_store(path)) as other:
        assert [other.get(key) for key in (A, B, C)] == [None, b"value", b"value"]


def test_a_file_put_in_its_place_is_used(
    store: SQLiteStore, path: Path, always_looking: None
) -> None:
    for number in range(50):
        store.put(b"%d" % number, b"old" * 500, TTL)
    with closing(open_store(path.with_name("new.db"))) as other:
        for number in range(50):
            other.put(b"%d" % number, b"new" * 500, TTL)
    path.with_name("new.db").rename(path)
    assert {store.get(b"%d" % number) for number in range(50)} == {b"new" * 500}
    store.put(A, b"value", TTL)
    store.close()
    with closing(open_store(path)) as other:
        assert [other.get(A), other.get(b"1")] == [b"value", b"new" * 500]
    assert moved_aside(path) == []


def test_a_file_that_goes_is_noticed_within_seconds(store: SQLiteStore, path: Path) -> None:
    store.put(A, b"value", TTL)
    path.unlink()
    end = time.monotonic() + SOON
    while store.get(A) is not None and time.monotonic() < end:
        time.sleep(0.01)
    assert store.get(A) is None
    assert path.exists()


# Bounds


def count(store: SQLiteStore) -> int:
    """The entries that are held, those included that have expired."""
    [(entries,)] = store._ask(_sql.COUNT, ())
    values, stacked = (
        store._ask(f"SELECT count(*) FROM {table}", ())[0][0] for table in ("single", "stack")
    )
    assert entries == values + stacked
    return entries


def test_at_most_so_many_entries_are_kept(path: Path) -> None:
    store = open_store(path, max_entries=50)
    for number in range(200):
        store.put(b"%d" % number, b"", TTL)
        store.push(b"%d" % (number % 7), b"", TTL, 100)
        assert store.add(b"add %d" % number, b"", TTL)
        assert count(store) <= 50
    assert count(store) == 50
    store.close()


def test_what_expires_first_makes_room(path: Path) -> None:
    store = open_store(path, max_entries=4)
    store.push(A, b"second", TTL + 2, 8)
    store.put(A, b"first", TTL + 1)
    store.put(B, b"fourth", TTL + 4)
    store.push(B, b"third", TTL + 3, 8)
    left = []
    for number in range(4):
        store.put(b"%d" % number, b"", 2 * TTL)
        left.append({(entry.key, bool(entry.stacked)) for entry in store.entries()})
    first, second, third, fourth = (A, False), (A, True), (B, True), (B, False)
    assert [{first, second, third, fourth} & those for those in left] == [
        {second, third, fourth},
        {third, fourth},
        {fourth},
        set(),
    ]
    store.close()


def test_a_new_entry_is_kept_even_if_it_expires_first(path: Path) -> None:
    store = open_store(path, max_entries=1)
    store.put(A, b"value", TTL)
    assert store.add(B, b"value", 1)
    assert [store.get(A), store.get(B)] == [None, b"value"]
    store.push(A, b"entry", 1, 8)
    assert [store.get(B), store.take(A)] == [None, b"entry"]
    store.close()


def test_replacing_makes_no_room(path: Path) -> None:
    store = open_store(path, max_entries=3)
    for key in (A, B):
        store.put(key, b"value", TTL)
    store.push(A, b"entry", TTL, 1)
    for _ in range(3):
        store.put(B, b"new", TTL + 1)
        store.push(A, b"new entry", TTL, 1)
        assert not store.add(B, b"other", TTL)
    assert [store.get(A), store.get(B), store.take(A)] == [b"value", b"new", b"new entry"]
    store.close()


def test_a_store_with_a_smaller_bound_brings_a_file_down_to_it(path: Path) -> None:
    with closing(open_store(path)) as store:
        for number in range(100):
            store.put(b"%d" % number, b"", TTL)
    for push in (False, True):
        store = open_store(path, max_entries=10)
        for number in range(100):
            if push:
                store.push(b"%d" % number, b"", TTL, 1)
            else:
                store.put(b"new %d" % number, b"", TTL)
        assert count(store) == 10
        store.close()


def test_expired_entries_are_deleted_by_later_calls(
    path: Path, clock: Clock, always_looking: None
) -> None:
    store = open_store(path)
    for number in range(_sql.BATCH + 50):
        store.put(b"%d" % number, b"", 1)
        store.push(A, b"", 1, 1000)
    store.put(B, b"value", TTL)
    clock.time += 2
    with foreign(path) as connection:

        def held() -> list[int]:
            return [
                connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for table in ("single", "stack")
            ]

        assert held() == [_sql.BATCH + 51, _sql.BATCH + 50]
        assert store.get(B) == b"value"
        assert held() == [51, 50]
        assert store.get(B) == b"value"
        assert held() == [1, 0]
    assert count(store) == 1
    store.close()


def test_any_number_of_entries_may_be_asked_to_stay(store: SQLiteStore) -> None:
    for entry in (b"1", b"2"):
        store.push(A, entry, TTL, 2**100)
    assert [store.take(A), store.take(A)] == [b"2", b"1"]


def test_bounds_and_times_are_checked(path: Path) -> None:
    for bad in ("1", 1.0, None, True):
        with pytest.raises(TypeError, match="max_entries"):
            SQLiteStore(path, max_entries=bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_entries"):
        SQLiteStore(path, max_entries=0)
    for bad in ("1", None, True):
        with pytest.raises(TypeError, match="timeout"):
            SQLiteStore(path, timeout=bad)  # type: ignore[arg-type]
    for number in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="timeout"):
            SQLiteStore(path, timeout=number)
    assert files(path) == set()


def test_a_store_may_be_told_not_to_wait(path: Path) -> None:
    store = open_store(path, timeout=0)
    end = time.monotonic() + SOON
    while time.monotonic() < end:  # to open the file takes a moment, and it is opened by itself
        with suppress(StoreBusyError):
            store.put(A, b"value", TTL)
            break
    assert store.get(A) == b"value"
    store.close()


@pytest.mark.parametrize("ttl", [1, 10, 0.25, 604_800])
def test_an_entry_lives_until_its_ttl_and_not_at_it(path: Path, ttl: float, clock: Clock) -> None:
    start = clock.time
    with closing(open_store(path)) as store:
        store.put(A, b"value", ttl)
        for _ in range(3):
            store.push(A, b"entry", ttl, 8)
        clock.time = start + ttl - 0.001
        assert [store.get(A), store.take(A)] == [b"value", b"entry"]
        assert not store.add(A, b"new", ttl)
        clock.time = start + ttl
        assert [store.get(A), store.take(A)] == [None, None]
        clock.time = start + ttl + 1
        assert [store.get(A), store.take(A)] == [None, None]
        assert store.add(A, b"new", ttl)


# entries, clear, close


def test_entries_are_listed_with_time_size_and_height(path: Path, clock: Clock) -> None:
    with closing(open_store(path)) as store:
        store.put(B, b"value", 10)
        store.put(b"", b"", 20)
        store.push(B, b"12", 30, 8)
        store.push(B, b"345", 40, 8)
        store.push(A, b"1", 5, 8)
        store.put(C, b"expires", 4)
        store.push(C, b"expires", 4, 8)
        clock.time += 4
        start = clock.time - 4
        assert list(store.entries()) == [
            StoredEntry(b"", start + 20, 0, 0),
            StoredEntry(B, start + 10, 5, 0),
            StoredEntry(A, start + 5, 1, 1),
            StoredEntry(B, start + 40, 5, 2),
        ]


def test_many_entries_are_listed_once_each(store: SQLiteStore) -> None:
    keys = [b"%d" % number for number in range(2 * _sql.BATCH + 50)]
    for key in keys:
        store.put(key, b"", TTL)
        store.push(key, b"", TTL, 8)
        store.push(key, b"", TTL, 8)
    listed = [(entry.key, entry.stacked) for entry in store.entries()]
    assert listed == [(key, 0) for key in sorted(keys)] + [(key, 2) for key in sorted(keys)]


def test_whoever_lists_entries_stops_nobody(store: SQLiteStore) -> None:
    for number in range(2 * _sql.BATCH):
        store.put(b"%03d" % number, b"", TTL)
    listed = store.entries()
    first = next(listed)
    store.remove(b"150")
    store.put(b"999", b"", TTL)
    store.clear()
    store.put(b"~", b"", TTL)
    keys = [first.key, *(entry.key for entry in listed)]
    assert keys[: _sql.BATCH] == [b"%03d" % number for number in range(_sql.BATCH)]
    assert keys[_sql.BATCH :] == [b"~"]


def test_clear_forgets_everything(store: SQLiteStore) -> None:
    for number in range(2 * _sql.BATCH + 50):
        store.put(b"%d" % number, b"value", TTL)
        store.push(b"%d" % (number // 3), b"value", TTL, 8)
    store.clear()
    assert list(store.entries()) == []
    assert count(store) == 0
    store.put(A, b"new", TTL)
    assert store.get(A) == b"new"


def test_clear_comes_to_an_end_while_others_put(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3 * _sql.BATCH):
        store.put(b"%d" % number, b"", TTL)
    ask, calls = store._ask, count_from(1)

    def ask_and_put(statement: str, *others: object) -> object:
        rows = ask(statement, *others)  # type: ignore[arg-type]
        if statement is _sql.CLEAR_SINGLE:
            ask(_sql.PUT, (b"", time.time() + TTL, b"put meanwhile"))
            assert next(calls) < 10
        return rows

    monkeypatch.setattr(store, "_ask", ask_and_put)
    store.clear()
    monkeypatch.undo()
    assert [entry.key for entry in store.entries()] == [b""]


def test_close_empties_the_log_though_others_are_at_work(store: SQLiteStore, path: Path) -> None:
    with closing(open_store(path)) as other:
        other.put(B, b"value", TTL)
        store.put(A, b"SECRET", TTL)
        store.remove(A)
        store.close()
        assert side(path, "-wal").stat().st_size == 0
        assert b"SECRET" not in bytes_of(path)
        assert other.get(B) == b"value"


def test_a_closed_store_raises_and_can_be_closed_again(store: SQLiteStore) -> None:
    store.put(A, b"value", TTL)
    store.close()
    store.close()
    for call in CALLS.values():
        with pytest.raises(StoreError, match="closed"):
            call(store)
    with pytest.raises(StoreError, match="closed"):
        list(store.entries())
    with pytest.raises(StoreError, match="closed"):
        store.clear()


def test_a_store_that_nobody_keeps_is_closed(path: Path) -> None:
    before = open_files()
    store = open_store(path)
    store.put(A, b"value", TTL)
    reference = weakref.ref(store)
    assert len(open_files()) > len(before)
    del store
    gc.collect()
    assert reference() is None
    assert open_files() == before


CALLS: dict[str, Callable[[SQLiteStore], object]] = {
    "get": lambda store: store.get(A),
    "put": lambda store: store.put(A, b"value", TTL),
    "put nothing": lambda store: store.put(A, b"value", 0),
    "add": lambda store: store.add(A, b"value", TTL),
    "push": lambda store: store.push(A, b"value", TTL, 8),
    "take": lambda store: store.take(A),
    "remove": lambda store: store.remove(A),
}


# Deletion


def bytes_of(path: Path) -> bytes:
    """What is in all files of a database."""
    names = files(path)
    return b"".join((path.parent / name).read_bytes() for name in names if path.name in name)


def filled(path: Path, **options: int) -> tuple[SQLiteStore, list[int]]:
    """A store with many entries under even and odd numbers, each with a mark of its own."""
    store = open_store(path, **options)
    chance = random.Random(1)  # noqa: S311
    numbers = list(range(1000))
    chance.shuffle(numbers)
    for number in numbers:
        value = b"<%d>" % number * chance.choice([3, 30, 100, 300, 1000])
        store.put(b"%d" % number, value, TTL + number % 2 * TTL)
        store.push(b"%d" % number, value, TTL + number % 2 * TTL, 8)
    return store, numbers


def found(path: Path, numbers: list[int]) -> list[int]:
    marks = {int(mark) for mark in re.findall(rb"<(\d+)>", bytes_of(path))}
    return [number for number in numbers if number in marks]


def even(number: int) -> bool:
    return number % 2 == 0


@pytest.mark.parametrize("way", ["removed", "taken", "replaced", "expired", "cleared", "evicted"])
def test_what_is_deleted_is_in_no_file(
    way: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, numbers = filled(path)
    gone, left = list(filter(even, numbers)), [n for n in numbers if not even(n)]
    assert found(path, numbers) == numbers
    for number in gone:
        key = b"%d" % number
        if way == "removed":
            store.remove(key)
        if way == "taken":
            assert store.take(key)
            store.put(key, b"", 0)
        if way == "replaced":
            store.put(key, b"new", TTL)
            store.push(key, b"new", TTL, 1)
    if way == "expired":
        later = time.time() + TTL
        monkeypatch.setattr(time, "time", lambda: later)
        monkeypatch.setattr(sqlite, "LOOK", 0)
        for _ in range(len(gone) // _sql.BATCH + 1):
            store.get(A)
        monkeypatch.undo()
    if way == "cleared":
        store.clear()
        gone, left = numbers, []
        assert found(path, gone) == []
        assert b"%d" % 999 not in bytes_of(path)  # no key either
    if way == "evicted":
        store.close()
        store = open_store(path, max_entries=2000)
        for number in range(1000):
            store.put(b"new %d" % number, b"", 3 * TTL)
    store.close()
    assert found(path, gone) == []
    assert found(path, left) == left


def test_the_log_is_emptied_while_there_are_calls(
    store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch, always_looking: None
) -> None:
    store.put(A, b"SECRET", TTL)
    store.remove(A)
    assert b"SECRET" in bytes_of(path)
    monkeypatch.setattr(sqlite, "EMPTY", 0)
    store.get(A)
    assert b"SECRET" not in bytes_of(path)
    assert side(path, "-wal").stat().st_size == 0


def test_sqlite_keeps_no_secrets_in_temporary_files(store: SQLiteStore) -> None:
    store.put(A, b"value", TTL)
    assert store._ask("PRAGMA temp_store", ()) == [(2,)]
    assert store._ask("PRAGMA secure_delete", ()) == [(1,)]
    assert store._ask("PRAGMA synchronous", ()) == [(1,)]


# Secrecy, and what somebody else may have written


def test_it_is_neither_private_nor_exposed() -> None:
    assert (SQLiteStore.private, SQLiteStore.exposed) == (False, False)


def test_repr_shows_the_path_only(store: SQLiteStore, path: Path) -> None:
    store.put(b"SECRET", b"SECRET", TTL)
    assert repr(store) == f"<SQLiteStore: '{path}', at most 100000 entries>"


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_it_is_neither_pickled_nor_copied(
    duplicate: Callable[[object], object], store: SQLiteStore
) -> None:
    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        duplicate(store)


@pytest.mark.parametrize("value", ["5", "5.5", "'text'", "CAST(x'ff00fe' AS TEXT)"])
def test_what_is_no_bytes_is_a_miss(value: str, store: SQLiteStore, path: Path) -> None:
    store.put(A, b"value", TTL)
    store.push(A, b"entry", TTL, 8)
    with foreign(path) as connection:
        for table in ("single", "stack"):
            connection.execute(f"UPDATE {table} SET value = {value}")
    assert [store.get(A), store.take(A), store.take(A)] == [None, None, None]
    store.put(A, b"value", TTL)
    assert store.get(A) == b"value"


def test_keys_that_are_no_bytes_are_not_listed(store: SQLiteStore, path: Path) -> None:
    store.put(A, b"value", TTL)
    with foreign(path) as connection:
        for key in ("'text'", "5"):
            for table in ("single (key,", "stack (id, key,"):
                connection.execute(
                    f"INSERT INTO {table} expires, padding, value) VALUES"
                    f" ({'1,' if 'stack' in table else ''} {key}, 9e9, x'', x'')"
                )
    assert [entry.key for entry in store.entries()] == [A]


# Faults


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Somebody else is in the middle of writing."""
    with foreign(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def test_a_second_damaged_file_is_not_moved_soon_after_the_first(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """On a bad disk there would soon be more of them than the disk can hold."""
    store = open_store(path)
    for _ in range(2):
        store.put(A, b"value", TTL)
        store._empty_log()
        store._disconnect()
        damage(path)
        with suppress(StoreError):
            store.get(A)
    with pytest.raises(StoreError, match=f"{path} is damaged again"):
        store.get(A)
    assert len(moved_aside(path)) == len(caplog.records) == 1
    store._moved -= sqlite.AGAIN
    assert store.get(A) is None
    assert len(moved_aside(path)) == len(caplog.records) == 2
    store.close()


def test_threads_that_wait_at_once_do_not_wait_one_after_another(path: Path) -> None:
    store = open_store(path, timeout=0.3)
    with _database_file.locked(str(path)):
        begin = time.monotonic()
        errors = in_threads([partial(failure, store.get, A)] * 8)
        assert time.monotonic() - begin < 4 * 0.3
    assert {type(error) for error in errors} == {StoreBusyError}
    store.close()


def failure(call: Callable[..., object], *arguments: object) -> Exception | None:
    try:
        call(*arguments)
    except StoreError as error:
        return error
    return None


def test_a_held_file_is_busy_for_writers_only_and_not_for_long(
    store: SQLiteStore, path: Path
) -> None:
    store.put(A, b"value", TTL)
    store.push(A, b"entry", TTL, 8)
    store._timeout = 0.05
    with held(path):
        for name, call in CALLS.items():
            if name == "get":
                continue
            begin = time.monotonic()
            with pytest.raises(StoreBusyError, match="held by another process"):
                call(store)
            assert time.monotonic() - begin >= 0.05
        assert store.get(A) == b"value"
    assert [store.get(A), store.take(A), store.take(A)] == [b"value", b"entry", None]


def test_readers_do_not_wait_for_a_thread_that_waits(path: Path) -> None:
    store = open_store(path)
    store.put(A, b"value", TTL)
    waiting = threading.Event()
    read = threading.Event()

    def put() -> None:
        waiting.set()
        store.put(B, b"value", TTL)
        assert read.is_set()

    with held(path):
        thread = threading.Thread(target=put)
        thread.start()
        assert waiting.wait(SOON)
        for _ in range(100):
            assert store.get(A) == b"value"
        read.set()
    thread.join(SOON)
    assert store.get(B) == b"value"
    store.close()


def test_a_file_that_is_being_opened_by_others_is_busy(store: SQLiteStore, path: Path) -> None:
    store._timeout = 0.05
    with _database_file.locked(str(path)), pytest.raises(StoreBusyError):
        store.get(A)
    store._timeout = SOON
    assert store.get(A) is None


def test_a_child_that_is_forked_meanwhile_does_not_keep_the_lock_of_the_file(path: Path) -> None:
    reading, writing = os.pipe()
    with _database_file.locked(str(path)):
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)  # as long as the parent tries
            os._exit(0)
    try:
        with _database_file.locked(str(path)):
            assert os.waitpid(child, os.WNOHANG) == (0, 0)
    finally:
        os.close(writing)
        os.close(reading)
        os.waitpid(child, 0)


def limited(kind: int, limit: Callable[[], int], call: Callable[[], object]) -> object:
    """What a call returns or raises under a limit of the process."""
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (limit(), hard))
    try:
        return call()
    except StoreError as error:
        return error
    finally:
        resource.setrlimit(kind, (soft, hard))


def test_a_disk_that_takes_no_more_is_an_error_and_passes(store: SQLiteStore, path: Path) -> None:
    """The limit of a file's size stands for the disk's."""
    values = {b"%d" % number: os.urandom(3000) for number in range(50)}
    for key, value in values.items():
        store.put(key, value, TTL)
    size = side(path, "-wal").stat().st_size
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for extra in range(0, 40_000, 1000):
        failure = limited(
            resource.RLIMIT_FSIZE,
            lambda: size + extra,  # noqa: B023
            lambda: [store.put(A, bytes(50_000), TTL), store.push(A, bytes(9_000), TTL, 8)],
        )
        assert type(failure) is StoreError
        assert store.get(A) is None
        assert {key: store.get(key) for key in values} == values
        size = side(path, "-wal").stat().st_size
    store.put(A, b"value", TTL)
    assert [store.get(A), store.take(A)] == [b"value", None]


def test_a_process_without_descriptors_cannot_open_and_later_can(path: Path) -> None:
    def call() -> list[object]:
        store = open_store(path)
        before = len(open_files())
        errors = []
        for extra in range(5):
            error = limited(
                resource.RLIMIT_NOFILE,
                lambda: len(open_files()) + extra,  # noqa: B023
                lambda: [store.put(A, b"value", TTL)],
            )
            errors.append(type(error) in {StoreError, list})
            store._disconnect()
        assert len(open_files()) == before
        store.put(A, b"new", TTL)
        return [*errors, store.get(A)]

    assert in_children([call]) == [[True] * 5 + [b"new"]]


def test_a_file_without_rights_is_an_error_and_passes(path: Path) -> None:
    def call() -> list[object]:
        if os.geteuid() == 0:  # who has all rights
            for name in ("", *files(path)):
                os.chown(path.parent / name, 65534, 65534)
            path.parent.chmod(0o700)
            for folder in path.parents:
                if folder.stat().st_uid == 0 and not mode(folder) & 1:
                    folder.chmod(mode(folder) | 0o011)
            os.setresuid(65534, 65534, 65534)
        store = open_store(path)
        store.put(A, b"value", TTL)
        results: list[object] = []
        for target, rights in ((path, 0), (path, 0o400), (path.parent, 0o500), (path.parent, 0)):
            before = mode(target)
            store._disconnect()
            target.chmod(rights)
            try:
                store.put(A, b"other", TTL)
                results.append("written")
            except StoreError as error:
                results.append(type(error) is StoreError)
            target.chmod(before)
            results.append(store.get(A))
        store.put(A, b"new", TTL)
        return [*results, store.get(A)]

    open_store(path).close()
    assert in_children([call]) == [[True, b"value"] * 4 + [b"new"]]


def test_failures_leave_nothing_for_the_garbage_collector(store: SQLiteStore, path: Path) -> None:
    """Frames of failed calls hold keys and values."""

    def left() -> list[object]:
        return [thing for thing in gc.get_objects() if isinstance(thing, _connection.Opening)]

    gc.collect()
    gc.disable()
    try:
        path.parent.chmod(0o777)
        for _ in range(3):
            with suppress(StoreError):
                store.get(A)
        assert left() == []
        path.parent.chmod(0o700)
        store.get(A)
        store._timeout = 0.05
        with held(path):
            for _ in range(3):
                with suppress(StoreBusyError):
                    store.put(A, b"value", TTL)
        frames = [thing for thing in gc.get_objects() if isinstance(thing, types.FrameType)]
        ours = (sqlite.__file__, _connection.__file__, _database_file.__file__)
        assert [frame for frame in frames if frame.f_code.co_filename in ours] == []
    finally:
        gc.enable()


def test_errors_do_not_show_what_is_kept(store: SQLiteStore, path: Path) -> None:
    store.put(b"SECRET", b"SECRET", TTL)
    store._timeout = 0.05
    with held(path), pytest.raises(StoreError) as raised:
        store.put(b"SECRET", b"SECRET", TTL)
    assert str(path) in str(raised.value)
    assert "SECRET" not in repr(raised.value) + repr(raised.value.__cause__)


ON_A_FULL_DISK = """
import os, sys
from gnutls_resume.errors import StoreError
from gnutls_resume.stores.sqlite import SQLiteStore

folder = sys.argv[1]
os.chmod(folder, 0o700)
store = SQLiteStore(folder + "/sessions.db", timeout=10)
store.get(b"")
connection = store._connection
kept, failures = [], 0
for number in range(2000):
    key = b"%d" % number
    try:
        store.put(key, key * 500, 600)
        kept.append(key)
    except StoreError:
        failures += 1
assert kept and failures, (len(kept), failures)
assert store._connection is connection  # a new one might not be had
assert all(store.get(key) == key * 500 for key in kept)  # it can still be read
os.truncate(folder + "/other", 0)
for number in range(100):
    store.put(b"more", b"%d" % number, 600)
assert store.get(b"more") == b"99"
assert all(store.get(key) == key * 500 for key in kept)
"""


@pytest.mark.matrix  # the right to mount is not everybody's
def test_a_full_disk_can_be_read_and_written_when_it_is_full_no_more(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = (
        'mount -t tmpfs -o size=3m disk "$0" && head -c 2m /dev/zero > "$0/other"'
        ' && chmod 600 "$0/other" && "$1" -c "$2" "$0"'
    )
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
    subprocess.run([*command, disk, sys.executable, ON_A_FULL_DISK], check=True, timeout=100)


# Threads, handlers and forks


def test_no_handler_runs_while_a_statement_is_open(store: SQLiteStore, path: Path) -> None:
    """Else its calls would end with the statement's transaction, and with that come to nothing."""
    opened = []
    with foreign(path) as other:

        def look() -> None:
            try:
                other.execute("BEGIN IMMEDIATE")
                other.execute("ROLLBACK")
            except sqlite3.OperationalError as error:
                opened.append(error)

        for call in CALLS.values():
            for place in count_from(0):
                store.push(A, b"entry", TTL, 8)
                with after_call(place, look) as looked:
                    call(store)
                if not looked:
                    break
            assert place > 3
    assert opened == []


def test_closing_waits_for_whoever_moves_the_file(store: SQLiteStore, path: Path) -> None:
    """It may delete a log, which must not be that of the next database."""
    store.put(A, b"value", TTL)
    with _database_file.locked(str(path)):
        thread = threading.Thread(target=store.close)
        thread.start()
        thread.join(0.1)
        assert thread.is_alive()
        assert side(path, "-wal").exists()
    thread.join(SOON)
    assert not side(path, "-wal").exists()


def test_a_connection_is_not_ended_in_the_middle_of_a_call(store: SQLiteStore) -> None:
    """A finaliser may close the store in the middle of another call."""
    store.put(A, b"value", TTL)
    connection = store._connection
    assert connection is not None
    # In the middle of a statement.
    connection.set_progress_handler(lambda: bool(store.close()), 1)  # type: ignore[func-returns-value]
    assert store.get(A) == b"value"
    with pytest.raises(StoreError, match="closed"):
        store.get(A)
    assert store._connection is None


def test_a_failing_call_in_the_middle_of_a_call_does_not_end_the_connection(
    store: SQLiteStore,
) -> None:
    store.put(A, b"value", TTL)
    connection = store._connection
    assert connection is not None
    failures = []

    def fail() -> bool:
        try:
            store._ask("SELECT nonsense", ())
        except StoreError as error:
            failures.append(error)
        return False

    connection.set_progress_handler(fail, 1)
    assert store.get(A) == b"value"
    assert failures
    assert store._connection is None  # but after it
    assert store.get(A) == b"value"


def test_a_fork_leaves_nothing_open_in_either(store: SQLiteStore, path: Path) -> None:
    store.put(A, b"value", TTL)

    def of_the_store() -> list[str]:
        return [target for target in open_files().values() if target.startswith(str(path))]

    assert len(of_the_store()) == 3
    assert in_children([of_the_store]) == [[]]
    assert of_the_store() == []
    assert store.get(A) == b"value"


def test_a_child_of_a_fork_without_hooks_does_not_use_the_connection(
    store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that embeds Python may fork in C."""
    store.put(A, b"value", TTL)
    mine = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: mine + 1)
    with pytest.raises(StoreError, match="fork at another time"):
        store.get(A)
    assert sqlite._stranded
    # What follows belongs to no child.
    connection = sqlite._stranded.pop()
    assert connection is not None
    connection.close()
    monkeypatch.undo()
    assert store.get(A) == b"value"


def test_a_child_locks_the_file_itself_and_loses_nothing_when_the_parent_ends(
    path: Path,
) -> None:
    """With a connection beside an inherited one it would lock nothing, and whoever closed the
    file as the last of those that do would delete the log to which the child writes.
    """
    store = open_store(path)
    store.put(A, b"value", TTL)
    ready, go = os.pipe(), os.pipe()

    def call() -> list[bytes | None]:
        store.put(B, b"of the child", TTL)
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        store.put(C, b"of the child", TTL)
        return [store.get(key) for key in (A, B, C)]

    def end_parent() -> None:
        os.read(ready[0], 1)
        store.close()
        with closing(open_store(path)) as other:
            assert other.get(B) == b"of the child"
        os.write(go[1], b"x")

    thread = threading.Timer(0, end_parent)
    thread.start()
    assert in_children([call]) == [[b"value", b"of the child", b"of the child"]]
    thread.join()
    with closing(open_store(path)) as other:
        assert other.get(C) == b"of the child"
    for descriptor in (*ready, *go):
        os.close(descriptor)


def test_a_child_forked_in_the_middle_of_a_threads_call_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could not use the file safely; the parent goes on."""
    monkeypatch.setattr(sqlite, "CLOSING", 0.01)
    store = open_store(path)
    store.put(A, b"value", TTL)
    holding, done = threading.Event(), threading.Event()

    def hold() -> None:
        with store._lock:
            holding.set()
            done.wait(SOON)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holding.wait(SOON)

    def call() -> list[str]:
        errors = []
        for use in (lambda: store.get(A), lambda: open_store(path).get(A)):
            try:
                use()
            except StoreError as error:
                errors.append(str(error))
        return errors

    try:
        [errors] = in_children([call])
    finally:
        done.set()
        thread.join()
    assert ["fork at another time" in error for error in errors] == [True, True]
    assert store.get(A) == b"value"
    store.close()


def test_a_store_is_opened_while_handlers_call_it(path: Path) -> None:
    """Each call of a handler takes longer than the next signal: it must not begin anew."""

    def call() -> list[list[bytes]]:
        store = open_store(path)
        numbers, told = count_from(0), []

        def handle(*_: object) -> None:
            key = b"%d" % next(numbers)
            store.put(key, b"value", TTL)
            told.append(key)

        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
        try:
            store.get(A)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return [sorted(told), sorted(entry.key for entry in store.entries())]

    open_store(path).close()
    for _ in range(10):
        [[told, kept]] = in_children([call])
        assert told == kept != []
        path.unlink()


def test_a_store_that_is_never_closed_says_nothing_at_the_end(path: Path) -> None:
    program = (
        "import atexit, sys\n"
        "from gnutls_resume.stores.sqlite import SQLiteStore\n"
        "stores = [SQLiteStore(sys.argv[1], timeout=10) for _ in range(3)]\n"
        "stores[0].put(b'key', b'value', 600)\n"
        "def use():\n"
        "    assert stores[1].get(b'key') == b'value'\n"  # which is opened now
        "atexit.register(use)\n"
    )
    command = [sys.executable, "-W", "error", "-c", program, path]
    done = subprocess.run(command, capture_output=True, timeout=100, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert files(path) == {path.name, path.name + "-lock"}


def test_the_hook_for_forks_does_not_keep_stores_alive(tmp_path: Path) -> None:
    gc.collect()
    before = len(sqlite._stores)
    stores = [open_store(tmp_path / f"{number}.db") for number in range(5)]
    assert len(sqlite._stores) == before + 5
    stores.clear()
    gc.collect()
    assert len(sqlite._stores) == before


# Against a model


@dataclass
class Model:
    """The documentation of SQLiteStore, in the most simple code."""

    clock: Clock
    max_entries: int
    values: dict[bytes, tuple[float, bytes]] = field(default_factory=dict)
    stacks: dict[bytes, list[tuple[float, bytes]]] = field(default_factory=dict)

    def held(self) -> int:
        return len(self.values) + sum(map(len, self.stacks.values()))

    def make_room(self) -> None:
        if self.held() < self.max_entries:
            return
        values = [(expires, 0, key, 0) for key, (expires, _) in self.values.items()]
        stacked = [
            (entry[0], 1, key, place)
            for key, stack in self.stacks.items()
            for place, entry in enumerate(stack)
        ]
        _, kind, key, place = min(values + stacked)
        if kind == 0:
            del self.values[key]
        else:
            del self.stacks[key][place]

    def get(self, key: bytes) -> bytes | None:
        expires, value = self.values.get(key, (0, b""))
        return value if expires > self.clock() else None

    def put(self, key: bytes, value: bytes, ttl: float) -> None:
        if ttl <= 0:
            self.values.pop(key, None)
            return
        if key not in self.values:
            self.make_room()
        self.values[key] = self.clock() + ttl, value

    def add(self, key: bytes, value: bytes, ttl: float) -> bool:
        if ttl <= 0 or self.get(key) is not None:
            return False
        self.put(key, value, ttl)
        return True

    def push(self, key: bytes, value: bytes, ttl: float, keep: int) -> None:
        if ttl > 0:
            stack = self.stacks.setdefault(key, [])
            del stack[: max(0, len(stack) - keep + 1)]
            self.make_room()
            stack.append((self.clock() + ttl, value))

    def take(self, key: bytes) -> bytes | None:
        stack = self.stacks.get(key)
        expires, value = stack.pop() if stack else (0, b"")
        return value if expires > self.clock() else None

    def remove(self, key: bytes) -> None:
        self.values.pop(key, None)
        self.stacks.pop(key, None)


KEYS = st.sampled_from([b"", A, B, C, b"a longer key"])
VALUES = st.one_of(st.binary(max_size=8), st.integers(0, 5000).map(bytes))
TTLS = st.one_of(st.sampled_from([-1, 0]), st.floats(0.001, 20))


class SQLiteStoreMachine(RuleBasedStateMachine):
    """Calls in any order, on the store and on the model: the same answers and entries."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(time, "time", self.clock)
        self.folder = TemporaryDirectory()
        self.store = open_store(Path(self.folder.name) / "sessions.db", max_entries=6)
        self.store._looked = float("inf")  # nothing is purged: the model holds the expired too
        self.model = Model(self.clock, 6)

    def teardown(self) -> None:
        self.store.close()
        self.patch.undo()
        self.folder.cleanup()

    @rule(key=KEYS)
    def get(self, key: bytes) -> None:
        assert self.store.get(key) == self.model.get(key)

    @rule(key=KEYS, value=VALUES, ttl=TTLS)
    def put(self, key: bytes, value: bytes, ttl: float) -> None:
        self.store.put(key, value, ttl)
        self.model.put(key, value, ttl)

    @rule(key=KEYS, value=VALUES, ttl=TTLS)
    def add(self, key: bytes, value: bytes, ttl: float) -> None:
        assert self.store.add(key, value, ttl) == self.model.add(key, value, ttl)

    @rule(key=KEYS, value=VALUES, ttl=TTLS, keep=st.integers(1, 4))
    def push(self, key: bytes, value: bytes, ttl: float, keep: int) -> None:
        self.store.push(key, value, ttl, keep)
        self.model.push(key, value, ttl, keep)

    @rule(key=KEYS)
    def take(self, key: bytes) -> None:
        assert self.store.take(key) == self.model.take(key)

    @rule(key=KEYS)
    def remove(self, key: bytes) -> None:
        self.store.remove(key)
        self.model.remove(key)

    @rule(seconds=st.sampled_from([0.5, 1, 4, 10]))
    def advance(self, seconds: float) -> None:
        self.clock.time += seconds

    @invariant()
    def same_entries(self) -> None:
        assert count(self.store) == self.model.held() <= 6


SQLiteStoreMachine.TestCase.settings = settings(
    max_examples=100, stateful_step_count=30, deadline=None
)
test_any_calls_agree_with_the_model = SQLiteStoreMachine.TestCase
