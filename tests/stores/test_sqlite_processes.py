"""Several processes on one SQLite file: killed, at work at once, and finding it damaged."""

import os
import random
import signal
import sqlite3
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count
from pathlib import Path

import pytest

from gnutls_resume import testing
from gnutls_resume.errors import StoreBusyError
from gnutls_resume.stores import _sql
from gnutls_resume.stores.sqlite import SQLiteStore
from gnutls_resume.testing import in_children

TTL = 3600  # seconds
SOON = 10  # seconds: far more than what is done at once takes
KEYS = 5  # of each writer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What many processes do takes longer than one call may."""
    monkeypatch.setattr(testing, "PATIENCE", 300)


def sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        [(entries,)] = connection.execute("SELECT entries FROM counted")
        tables = (connection.execute(f"SELECT count(*) FROM {t}") for t in ("single", "stack"))  # noqa: S608
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)] and (
            entries == sum(count for [(count,)] in tables)
        )


# Killed writers


def value_of(key: bytes, number: int) -> bytes:
    """A value that tells its key, and may need several pages."""
    mark = b"%b=%d;" % (key, number)
    return mark * (number * 37 % 400)


def belongs(value: bytes | None, key: bytes) -> bool:
    """Whether a key may have this value."""
    return not value or value == value_of(key, int(value.split(b";")[0].rpartition(b"=")[2]))


@dataclass
class Writer:
    """A sequence of calls that follows from its seed, on keys of its own, and a model of what
    they leave.
    """

    seed: int
    values: dict[bytes, bytes] = field(default_factory=dict)
    stacks: dict[bytes, list[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.keys = [b"%d/%d" % (self.seed, number) for number in range(KEYS)]

    def calls(self) -> Iterator[tuple[str, bytes, bytes]]:
        chance = random.Random(self.seed)  # noqa: S311
        names = ["put"] * 5 + ["push"] * 5 + ["take"] * 3 + ["add"] * 2 + ["remove", "put nothing"]
        for number in count():
            key = chance.choice(self.keys)
            yield chance.choice(names), key, value_of(key, number)

    def write(self, path: Path, descriptor: int) -> None:
        """Make all calls, and tell of each that has returned."""
        store = SQLiteStore(path, timeout=SOON)
        for call in self.calls():
            result = make(store, call)
            os.write(descriptor, b"%d\n" % zlib.crc32(repr(result).encode()))

    def follow(self, call: tuple[str, bytes, bytes]) -> object:
        """What a call does and returns if nothing goes wrong."""
        name, key, value = call
        stack = self.stacks.setdefault(key, [])
        if name == "put" or (name == "add" and key not in self.values):
            self.values[key] = value
            return True if name == "add" else None
        if name == "add":
            return False
        if name == "push":
            stack.append(value)
            del stack[:-3]
        if name == "take":
            return stack.pop() if stack else None
        if name in {"remove", "put nothing"}:
            self.values.pop(key, None)
        if name == "remove":
            stack.clear()
        return None

    def state(self, key: bytes) -> tuple[bytes | None, list[bytes]]:
        return self.values.get(key), self.stacks.get(key, [])[::-1]


def make(store: SQLiteStore, call: tuple[str, bytes, bytes]) -> object:
    name, key, value = call
    if name == "put nothing":
        return store.put(key, b"", 0)  # type: ignore[func-returns-value]
    if name == "push":
        return store.push(key, value, TTL, 3)  # type: ignore[func-returns-value]
    if name in {"take", "remove"}:
        return getattr(store, name)(key)
    return getattr(store, name)(key, value, TTL)


@contextmanager
def child(run: Callable[[int], object]) -> Iterator[tuple[int, int]]:
    """A process that is killed at the end, and a pipe from it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            run(writer)
        finally:
            os._exit(1)
    os.close(writer)
    try:
        yield pid, reader
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)


def read_all(descriptor: int) -> bytes:
    return b"".join(iter(partial(os.read, descriptor, 65536), b""))


def read_for_ever(path: Path, writers: int, descriptor: int) -> None:
    """Ends, with a word, when a wrong value comes back."""
    chance = random.Random(0)  # noqa: S311
    store = SQLiteStore(path, timeout=SOON)
    os.write(descriptor, b"begun ")
    while True:
        key = b"%d/%d" % (chance.randrange(writers), chance.randrange(KEYS))
        if not belongs(store.get(key), key):
            os.write(descriptor, b"wrong value of " + key)
            return


def drained(store: SQLiteStore, key: bytes) -> list[bytes]:
    return list(iter(partial(store.take, key), None))


def kill_writers(path: Path, number: int) -> None:
    chance = random.Random(number)  # noqa: S311
    acknowledged = 0
    kept: dict[bytes, bytes | None] = {}
    with child(partial(read_for_ever, path, number)) as (reader, words):
        for seed in range(number):
            writer = Writer(seed)
            with child(partial(writer.write, path)) as (pid, pipe):
                # Any moment will do, but half of them when it has been told something.
                told = os.read(pipe, 65536) if seed % 2 else b""
                time.sleep(chance.random() * 0.03)
                os.kill(pid, signal.SIGKILL)
                answers = (told + read_all(pipe)).split()
            calls = writer.calls()
            for answer in answers:
                assert int(answer) == zlib.crc32(repr(writer.follow(next(calls))).encode())
            before = [writer.state(key) for key in writer.keys]
            writer.follow(next(calls))  # which it was in the middle of
            after = [writer.state(key) for key in writer.keys]
            with closing(SQLiteStore(path, timeout=SOON)) as store:
                found = [(store.get(key), drained(store, key)) for key in writer.keys]
            assert sound(path)
            assert found in (before, after)
            kept |= {key: value for key, (value, _) in zip(writer.keys, found, strict=True)}
            acknowledged += len(answers)
        os.kill(reader, signal.SIGKILL)
        assert read_all(words) == b"begun "
    with closing(SQLiteStore(path, timeout=SOON)) as store:
        assert {key: store.get(key) for key in kept} == kept
    assert acknowledged >= number // 2
    assert list(path.parent.glob("*damaged*")) == []


def test_what_a_killed_writer_was_told_is_there_and_nothing_is_torn(path: Path) -> None:
    kill_writers(path, 20)


@pytest.mark.matrix
def test_a_thousand_killed_writers(path: Path) -> None:
    kill_writers(path, 1000)


def test_a_process_that_is_killed_while_it_makes_the_file_leaves_one_to_use(
    tmp_path: Path,
) -> None:
    chance = random.Random(1)  # noqa: S311
    for number in range(50):
        path = tmp_path / f"{number}.db"
        with child(lambda _: SQLiteStore(path)) as (pid, _):  # noqa: B023
            time.sleep(chance.random() * 0.005)
            os.kill(pid, signal.SIGKILL)
        with closing(SQLiteStore(path, timeout=SOON)) as store:
            store.put(b"key", b"value", TTL)
            assert store.get(b"key") == b"value"
    assert list(tmp_path.glob("*damaged*")) == []


# Processes that work at the same time


@dataclass
class Work:
    """What a process has seen."""

    pushed: list[bytes] = field(default_factory=list)
    taken: list[bytes] = field(default_factory=list)
    added: list[bytes] = field(default_factory=list)
    put: dict[bytes, bytes] = field(default_factory=dict)
    wrong: list[bytes] = field(default_factory=list)
    busy: int = 0


def work(path: Path, worker: int, rounds: int, timeout: float) -> Work:
    store = SQLiteStore(path, timeout=timeout)
    seen = Work()
    for number in range(rounds):
        mine, shared = b"%d.%d" % (worker, number), b"shared %d" % (number % 7)
        for call in (
            partial(push, store, seen, shared, mine),
            partial(take, store, seen, shared),
            partial(add, store, seen, b"add %d" % number),
            partial(put, store, seen, mine),
            partial(get, store, seen, shared),
        ):
            try:
                call()
            except StoreBusyError:
                seen.busy += 1
    return seen


def push(store: SQLiteStore, seen: Work, key: bytes, entry: bytes) -> None:
    store.push(key, entry, TTL, 10**6)
    seen.pushed.append(entry)


def take(store: SQLiteStore, seen: Work, key: bytes) -> None:
    entry = store.take(key)
    if entry is not None:
        seen.taken.append(entry)


def add(store: SQLiteStore, seen: Work, key: bytes) -> None:
    if store.add(key, b"", TTL):
        seen.added.append(key)


def put(store: SQLiteStore, seen: Work, key: bytes) -> None:
    store.put(key, b"value of " + key, TTL)
    seen.put[key] = b"value of " + key


def get(store: SQLiteStore, seen: Work, key: bytes) -> None:
    for known in list(seen.put)[-3:]:
        if store.get(known) != seen.put[known]:
            seen.wrong.append(known)
    value = b"%b,%d" % (key, os.getpid())
    store.put(key, value, TTL)
    found = store.get(key)
    if found is None or not found.startswith(key + b","):
        seen.wrong.append(key)


def check_work(path: Path, workers: int, rounds: int, timeout: float) -> int:
    """Let them work and return how often the file was busy."""
    seen = in_children([partial(work, path, worker, rounds, timeout) for worker in range(workers)])
    with closing(SQLiteStore(path, timeout=SOON)) as store:
        left = chain.from_iterable(drained(store, b"shared %d" % number) for number in range(7))
        taken = Counter([*chain.from_iterable(work.taken for work in seen), *left])
        pushed = Counter(chain.from_iterable(work.pushed for work in seen))
        # What was not told to have been pushed may have been, but nothing twice.
        assert pushed - taken == Counter()
        assert max(taken.values()) == 1
        added = list(chain.from_iterable(work.added for work in seen))
        assert len(set(added)) == len(added)
        for those in seen:
            assert those.wrong == []
            assert {key: store.get(key) for key in those.put} == those.put
    assert sound(path)
    busy = sum(work.busy for work in seen)
    if not busy:
        assert taken == pushed
        assert sorted(added) == sorted(b"add %d" % number for number in range(rounds))
    return busy


def test_four_processes_lose_and_double_nothing(path: Path) -> None:
    assert check_work(path, 4, 200, SOON) == 0


def test_fifty_processes_lose_nothing_that_they_were_told(path: Path) -> None:
    """With the default timeout: some calls may be told that the file is busy."""
    busy = check_work(path, 50, 10, 0.05)
    assert busy < 50 * 10 * 5


@pytest.mark.matrix
def test_sixteen_processes_lose_and_double_nothing(path: Path) -> None:
    check_work(path, 16, 2000, 0.05)


def test_a_process_with_a_removed_database_does_no_harm_to_the_next(path: Path) -> None:
    """Its index of the log is in shared memory, in a file whose name the next one's has too."""

    def use(ready: int, go: int) -> list[bytes | None]:
        store = SQLiteStore(path, timeout=SOON)
        for number in range(100):
            store.put(b"old %d" % number, bytes(1000), TTL)
        os.write(ready, b"x")
        found = []
        for number in range(3):
            os.read(go, 1)
            if number == 2:
                store._looked = 0
            store.put(b"child %d" % number, b"value", TTL)
            found.append(store.get(b"new 1"))
            os.write(ready, b"x")
        return found

    ready, go = os.pipe(), os.pipe()

    def replace() -> None:
        os.read(ready[0], 1)
        path.unlink()
        with closing(SQLiteStore(path, timeout=SOON)) as store:
            for number in range(3):
                store.put(b"new %d" % number, b"value", TTL)
                os.write(go[1], b"x")
                os.read(ready[0], 1)
            assert store.get(b"child 2") == b"value"
            assert [store.get(b"new %d" % number) for number in range(3)] == [b"value"] * 3

    thread = Asserting(target=replace)
    thread.start()
    assert in_children([partial(use, ready[1], go[0])]) == [[None, None, b"value"]]
    thread.finish()
    with closing(SQLiteStore(path, timeout=SOON)) as store:
        found = [store.get(b"%b %d" % (word, n)) for word in (b"new", b"child") for n in range(3)]
    assert found == [b"value"] * 3 + [None, None, b"value"]
    assert sound(path)
    assert list(path.parent.glob("*damaged*")) == []
    for descriptor in (*ready, *go):
        os.close(descriptor)


class Asserting(threading.Thread):
    """Whose failure is one of the test."""

    error: BaseException | None = None

    def run(self) -> None:
        try:
            super().run()
        except BaseException as error:
            self.error = error

    def finish(self) -> None:
        self.join(SOON)
        assert not self.is_alive()
        if self.error:
            raise self.error


def test_processes_that_find_damage_at_once_move_it_aside_once(path: Path) -> None:
    def use(number: int, ready: int, go: int) -> bytes | None:
        store = SQLiteStore(path, timeout=SOON)
        for key in range(50):
            store.put(b"%d %d" % (number, key), bytes(1000), TTL)
        os.write(ready, b"x")
        os.read(go, 1)
        for key in range(50):
            assert store.get(b"%d %d" % (number, key)) in (None, bytes(1000))
        mine = b"mine %d" % number
        store._looked = 0
        store.put(mine, mine, TTL)
        return store.get(mine)

    ready, go = os.pipe(), os.pipe()

    def spoil() -> None:
        for _ in range(4):
            os.read(ready[0], 1)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with path.open("r+b") as file:
            file.seek(_sql.PAGE)
            file.write(os.urandom(path.stat().st_size - _sql.PAGE))
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            # So that nobody reads from memory what he has read before.
            connection.execute("PRAGMA user_version = 1")
        os.write(go[1], b"x" * 4)

    thread = Asserting(target=spoil)
    thread.start()
    found = in_children([partial(use, number, ready[1], go[0]) for number in range(4)])
    thread.finish()
    assert found == [b"mine %d" % number for number in range(4)]
    with closing(SQLiteStore(path, timeout=SOON)) as store:
        assert [store.get(mine) for mine in found if mine] == found
    assert len(list(path.parent.glob("*.damaged-*[0-9]"))) == 1
    for descriptor in (*ready, *go):
        os.close(descriptor)
