"""The store in memory: its bounds, its clock, and what may break in. The rest of what it does is
in test_conformance.py.
"""

import copy
import gc
import linecache
import os
import pickle
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from types import FrameType
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gnutls_resume.stores import MemoryStore, memory
from gnutls_resume.stores.memory import KEY_COST, STACKED_COST
from gnutls_resume.testing import in_children, in_threads

TTL = 3600  # seconds
SOON = 10  # seconds: far more than what is done at once takes
MIB = 1024 * 1024
A, B, C, D = (bytes([letter]) for letter in b"ABCD")


@dataclass
class Clock:
    """A clock that stands until it is told to go on."""

    time: float = 1000.0

    def __call__(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def counted(store: MemoryStore) -> int:
    """What the entries cost, counted afresh."""
    return sum(memory.cost(key, entry) for key, entry in store._held.entries.items())


def kept(store: MemoryStore) -> list[bytes]:
    """The keys, the next to be evicted first; looking uses none of them."""
    return list(store._held.entries)


def filled(max_keys: int = 3) -> MemoryStore:
    store = MemoryStore(max_keys=max_keys)
    for key in (A, B, C)[:max_keys]:
        store.put(key, b"value of " + key, TTL)
    return store


# Order


def test_the_first_key_goes_first() -> None:
    store = filled()
    store.put(D, b"value", TTL)
    assert kept(store) == [B, C, D]


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.get(A),
        lambda store: store.put(A, b"new", TTL),
        lambda store: store.put(A, b"new", 0) or store.add(A, b"new", TTL),
        lambda store: store.push(A, b"new", TTL, 8),
        lambda store: store.take(A),
    ],
    ids=["get", "put", "add", "push", "take"],
)
def test_a_used_key_goes_last(use: Callable[[MemoryStore], object]) -> None:
    store = filled()
    use(store)
    assert kept(store) == [B, C, A]
    store.put(D, b"value", TTL)
    assert kept(store) == [C, A, D]


def test_a_refused_add_and_a_miss_use_no_key() -> None:
    store = filled()
    assert not store.add(A, b"new", TTL)
    assert store.get(D) is None
    assert store.take(D) is None
    store.remove(D)
    assert kept(store) == [A, B, C]


def test_a_key_goes_with_its_value_and_its_stack() -> None:
    store = MemoryStore(max_keys=1)
    store.put(A, b"value", TTL)
    store.push(A, b"entry", TTL, 8)
    assert store.key_count == 1
    store.put(B, b"value", TTL)
    assert [store.get(A), store.take(A)] == [None, None]


def test_replacing_evicts_nothing() -> None:
    store = filled()
    for _ in range(10):
        store.put(B, os.urandom(10), TTL)
        store.push(B, os.urandom(10), TTL, 8)
    assert kept(store) == [A, C, B]


# Bytes


def test_bytes_are_counted_as_documented() -> None:
    store = MemoryStore()
    assert store.byte_count == 0
    store.put(b"key", b"value", TTL)
    assert store.byte_count == 330 + 3 + 5
    store.push(b"key", b"entry!", TTL, 8)
    assert store.byte_count == 330 + 3 + 5 + 150 + 6
    store.put(b"key", b"v", TTL)
    assert store.byte_count == 330 + 3 + 1 + 150 + 6
    store.take(b"key")
    assert store.byte_count == 330 + 3 + 1
    store.remove(b"key")
    assert store.byte_count == 0
    assert store.key_count == 0


def test_the_least_recently_used_go_until_the_bytes_fit() -> None:
    store = MemoryStore(max_bytes=4 * (KEY_COST + 101))
    for key in (A, B, C, D):
        store.put(key, bytes(100), TTL)
    store.get(A)
    store.put(b"E", bytes(KEY_COST + 200), TTL)
    assert kept(store) == [D, A, b"E"]


def test_a_value_may_fill_the_store() -> None:
    store = MemoryStore(max_bytes=2000)
    store.put(A, bytes(2000 - KEY_COST - 1), TTL)
    assert kept(store) == [A]
    assert store.byte_count == 2000


def test_a_value_too_large_is_not_kept_and_nothing_else_goes() -> None:
    store = MemoryStore(max_bytes=2000)
    large = bytes(2000 - KEY_COST)
    store.put(A, b"old", TTL)
    store.push(A, b"entry", TTL, 8)
    store.put(B, b"value", TTL)
    store.put(A, large, TTL)
    assert store.get(A) is None
    assert store.take(A) == b"entry"
    assert store.get(B) == b"value"
    assert store.add(C, large, TTL) is False
    assert store.get(C) is None
    assert kept(store) == [B]


def test_an_entry_too_large_is_not_pushed_and_nothing_else_goes() -> None:
    store = MemoryStore(max_bytes=2000)
    store.push(A, b"entry", TTL, 8)
    store.put(B, b"value", TTL)
    store.push(A, bytes(2000 - KEY_COST - STACKED_COST), TTL, 1)
    assert store.take(A) == b"entry"
    assert store.get(B) == b"value"


def test_a_key_too_large_is_not_kept() -> None:
    store = MemoryStore(max_bytes=2000)
    store.put(bytes(2000), b"", TTL)
    store.push(bytes(2000), b"", TTL, 8)
    assert not store.add(bytes(2000), b"", TTL)
    assert store.byte_count == store.key_count == 0


def test_a_stack_too_large_loses_its_oldest_entries() -> None:
    store = MemoryStore(max_bytes=KEY_COST + 1 + 3 * (STACKED_COST + 100))
    for number in range(5):
        store.push(A, bytes([number]) * 100, TTL, 8)
    assert store.byte_count == KEY_COST + 1 + 3 * (STACKED_COST + 100)
    assert [store.take(A) for _ in range(4)] == [bytes([n]) * 100 for n in (4, 3, 2)] + [None]


def test_a_value_put_over_a_stack_drops_what_no_longer_fits() -> None:
    store = MemoryStore(max_bytes=2000)
    store.push(A, bytes(600), TTL, 8)
    store.push(A, bytes(500), TTL, 8)
    store.put(A, bytes(800), TTL)
    assert [store.get(A), store.take(A), store.take(A)] == [bytes(800), bytes(500), None]


@pytest.mark.parametrize(
    "puts", [100_000, pytest.param(1_000_000, marks=pytest.mark.matrix)], ids=str
)
def test_memory_stays_flat_however_many_keys_are_put(puts: int) -> None:
    program = f"""
import os, resource
from gnutls_resume.stores import MemoryStore

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

store = MemoryStore(max_keys=5000, max_bytes=4 << 20)
for number in range({puts}):
    if number == 30_000:
        full = resident()
    store.put(os.urandom(32), bytes(500 + number % 500), {TTL})
    store.push(os.urandom(32), bytes(500 + number % 500), {TTL}, 8)
    assert store.byte_count <= 4 << 20
print(resident() - full)
"""
    assert int(run(program)) < 1.5 * MIB


def test_the_count_is_not_below_what_memory_the_store_takes() -> None:
    """With as many keys as just fill a dictionary's new table: the dearest case."""
    program = f"""
import os, resource
from gnutls_resume.stores import MemoryStore

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

before = resident()
store = MemoryStore(max_keys=10**6, max_bytes=10**9)
for number in range(180_000):
    store.put(os.urandom(32), os.urandom(200), {TTL})
print((resident() - before) / store.byte_count)
"""
    assert 0.8 < float(run(program)) < 1.02


def run(program: str) -> str:
    """The output of a Python of its own."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.stderr == ""
    return done.stdout


# Time


@pytest.mark.parametrize("ttl", [1, 10, 0.25, 604_800])
def test_an_entry_lives_until_its_ttl_and_not_at_it(ttl: float, clock: Clock) -> None:
    store = MemoryStore(clock=clock)
    store.put(A, b"value", ttl)
    for _ in range(3):
        store.push(A, b"entry", ttl, 8)
    clock.time = 1000 + ttl - 0.001
    assert [store.get(A), store.take(A)] == [b"value", b"entry"]
    assert not store.add(A, b"new", ttl)
    clock.time = 1000 + ttl
    assert [store.get(A), store.take(A)] == [None, None]
    clock.time = 1000 + ttl + 1
    assert [store.get(A), store.take(A)] == [None, None]
    assert store.add(A, b"new", ttl)


def test_an_expired_value_is_dropped_when_it_is_asked_for(clock: Clock) -> None:
    store = MemoryStore(clock=clock)
    store.put(A, b"value", 1)
    clock.advance(2)
    assert store.key_count == 1
    store.get(A)
    assert store.byte_count == store.key_count == 0


def test_an_expired_value_is_dropped_and_its_stack_stays(clock: Clock) -> None:
    store = MemoryStore(clock=clock)
    store.put(A, b"value", 1)
    store.push(A, b"entry", TTL, 8)
    clock.advance(2)
    store.get(A)
    assert store.byte_count == KEY_COST + 1 + STACKED_COST + len(b"entry")


def test_setting_the_computers_time_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    store.put(A, b"value", TTL)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert store.get(A) == b"value"
    store.put(B, b"value", 1e-9)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert store.get(B) is None


def test_time_counts_the_computers_sleep() -> None:
    """No test can put a computer to sleep, but Linux says which of its clocks counts that."""
    assert memory.CLOCK == time.CLOCK_BOOTTIME
    assert time.clock_gettime(time.CLOCK_BOOTTIME) <= memory.now()


# Limits of the store itself, and secrecy


@pytest.mark.parametrize("name", ["max_keys", "max_bytes"])
def test_limits_are_whole_numbers_from_one(name: str) -> None:
    for bad in ("1", 1.0, None, True):
        with pytest.raises(TypeError, match=name):
            MemoryStore(**{name: bad})
    for low in (0, -1):
        with pytest.raises(ValueError, match=name):
            MemoryStore(**{name: low})


def test_a_key_with_an_equality_of_its_own_is_refused() -> None:
    """It would run under the lock, and could find what other keys hold."""

    class Chameleon(bytes):
        def __eq__(self, _: object) -> bool:
            return True

        __hash__ = bytes.__hash__

    with pytest.raises(TypeError, match="key must be bytes, not Chameleon"):
        filled().get(Chameleon(A))


def test_a_clock_is_callable() -> None:
    with pytest.raises(TypeError, match="clock"):
        MemoryStore(clock=1.0)  # type: ignore[arg-type]


def test_a_store_with_room_for_one_byte_keeps_nothing() -> None:
    store = MemoryStore(max_bytes=1)
    store.put(A, b"", TTL)
    store.push(A, b"", TTL, 8)
    assert [store.get(A), store.take(A), store.add(A, b"", TTL)] == [None, None, False]


def test_it_is_private_and_not_exposed() -> None:
    assert (MemoryStore.private, MemoryStore.exposed) == (True, False)


def test_an_empty_store_is_not_false() -> None:
    """``sessions or default`` would else give another store to whoever passes an empty one."""
    assert MemoryStore()


def test_repr_shows_counts_only() -> None:
    store = MemoryStore(max_keys=10, max_bytes=5000)
    store.put(b"SECRET", b"SECRET", TTL)
    assert repr(store) == f"<MemoryStore: 1 of 10 keys, {KEY_COST + 12} of 5000 bytes>"


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_it_is_neither_pickled_nor_copied(duplicate: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="secret"):
        duplicate(filled())


def test_clear_forgets_everything() -> None:
    store = filled()
    store.push(A, b"entry", TTL, 8)
    store.clear()
    assert store.byte_count == store.key_count == 0
    assert [store.get(A), store.take(A)] == [None, None]
    store.put(A, b"new", TTL)
    assert store.get(A) == b"new"


# Threads and forks


def test_threads_do_not_part_entries_and_count() -> None:
    store = MemoryStore(max_keys=20, max_bytes=20_000)

    def call(number: int) -> None:
        for round_ in range(300):
            key = bytes([(number * round_) % 30])
            store.put(key, bytes(round_), TTL)
            store.push(key, bytes(round_), TTL, 3)
            store.add(bytes([round_ % 30]), bytes(100), TTL)
            store.take(bytes([round_ % 25]))
            if round_ % 10 == 0:
                store.remove(key)

    in_threads([partial(call, number) for number in range(8)])
    assert store.byte_count == counted(store) <= 20_000
    assert store.key_count <= 20


def test_a_child_forked_while_a_thread_holds_the_lock_does_not_hang() -> None:
    store = filled()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with store._lock:
            held.set()
            done.wait(SOON)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(SOON)

    def call() -> tuple[object, ...]:
        found = store.get(A), store.byte_count, store.key_count
        store.put(A, b"new", TTL)
        return (*found, store.get(A))

    try:
        assert in_children([call]) == [(None, 0, 0, b"new")]
    finally:
        done.set()
        thread.join()
    assert store.get(A) == b"value of A"


def test_the_hook_for_forks_does_not_keep_stores_alive() -> None:
    before = len(memory._stores)
    stores = [MemoryStore() for _ in range(10)]
    references = [weakref.ref(store) for store in stores]
    assert len(memory._stores) == before + 10
    stores.clear()
    gc.collect()
    assert [reference() for reference in references] == [None] * 10


# What may break in: handlers and finalisers at any line that follows a call

# Python runs handlers after calls, and none came before these.
UNDIVIDED = {
    "try:",
    "with self._lock:",
    "held.place = None",
    "if expires == NEVER and not stack:",
    "held.entries[key] = entry",
    "held.bytes += size",
}

CALLS: dict[str, Callable[[MemoryStore], object]] = {
    "get": lambda store: store.get(A),
    "put": lambda store: store.put(A, bytes(20), TTL),
    "put nothing": lambda store: store.put(A, b"", 0),
    "add": lambda store: store.add(A, bytes(30), TTL),
    "push": lambda store: store.push(A, b"pushed", TTL, 2),
    "take": lambda store: store.take(A),
    "remove": lambda store: store.remove(A),
    "clear": lambda store: store.clear(),
    "evict": lambda store: store.put(os.urandom(8), bytes(20), TTL),
}


FORGETTING = {"remove", "clear"}
REPLACING = {"put", "put nothing", *FORGETTING}


class Struck(BaseException):
    """What a handler raises, as KeyboardInterrupt."""


@contextmanager
def broken_into(line: int, intrude: Callable[[], object]) -> Iterator[list[int]]:
    """Call `intrude` once, before the given line, counted from 0, that runs in memory.py.

    The list gets the number of lines that ran.
    """
    seen = [0]

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename != memory.__file__:
            return None
        source = linecache.getline(memory.__file__, frame.f_lineno).strip()
        if event == "line" and source not in UNDIVIDED:
            seen[0] += 1
            if seen[0] == line + 1:
                intrude()
        return trace

    traced = sys.gettrace()
    sys.settrace(trace)
    try:
        yield seen
    finally:
        sys.settrace(traced)


def prepared(state: str) -> MemoryStore:
    """A full store whose key A is in one of four states."""
    clock = Clock()
    store = MemoryStore(max_keys=3, clock=clock)
    if state == "expired":
        store.put(A, b"value of A", 1)
        clock.advance(2)
    if state in {"value", "both"}:
        store.put(A, b"value of A", TTL)
    if state in {"stack", "both", "expired"}:
        store.push(A, b"1", TTL, 8)
        store.push(A, b"2", TTL, 8)
    store.put(B, b"value of B", TTL)
    store.put(C, b"value of C", TTL)
    return store


@pytest.mark.parametrize("state", ["nothing", "value", "stack", "both", "expired"])
@pytest.mark.parametrize("inner", CALLS)
@pytest.mark.parametrize("outer", CALLS)
def test_a_call_in_the_middle_of_a_call_breaks_no_promise(
    outer: str, inner: str, state: str
) -> None:
    for line in count():
        store = prepared(state)
        results: list[object] = []
        with broken_into(line, lambda: results.append(CALLS[inner](store))) as seen:  # noqa: B023
            results.append(CALLS[outer](store))
        assert store.byte_count == counted(store)
        assert store.key_count <= 3
        assert len(kept(store)) == len(set(kept(store)))
        value, entries = store.get(A), [store.take(A) for _ in range(4)]
        for entry in (b"1", b"2"):
            assert (results + entries).count(entry) <= 1
        if len(results) == 2:  # else there was no such line
            assert value != b"value of A" or inner not in REPLACING
            assert {b"1", b"2"}.isdisjoint(entries) or inner not in FORGETTING
        if outer == inner == "add":
            assert results.count(True) <= 1
        if seen[0] <= line:
            break
    assert line > 2


@pytest.mark.parametrize("state", ["nothing", "value", "stack", "both", "expired"])
@pytest.mark.parametrize("call", CALLS)
def test_an_exception_in_the_middle_of_a_call_does_not_lose_count(call: str, state: str) -> None:
    def strike() -> None:
        raise Struck

    for line in count():
        store = prepared(state)
        try:
            with broken_into(line, strike):
                CALLS[call](store)
        except Struck:
            assert store.byte_count == counted(store)
            store.put(A, b"new", TTL)
            assert store.get(A) == b"new"
            assert in_threads([partial(store._lock.acquire, blocking=False)]) == [True]
        else:
            break
    assert line > 2


# Against a model


@dataclass
class Model:
    """The documentation of MemoryStore, in the most simple code."""

    clock: Clock
    max_keys: int
    max_bytes: int
    values: dict[bytes, tuple[float, bytes]] = field(default_factory=dict)
    stacks: dict[bytes, list[tuple[float, bytes]]] = field(default_factory=dict)
    used: list[bytes] = field(default_factory=list)

    def size(self, key: bytes) -> int:
        size = 330 + len(key)
        size += len(self.values[key][1]) if key in self.values else 0
        return size + sum(150 + len(entry) for _, entry in self.stacks.get(key, []))

    def use(self, key: bytes) -> None:
        """`key` has been used, and perhaps changed: forget what is too much."""
        if key in self.used:
            self.used.remove(key)
        if key not in self.values and not self.stacks.get(key):
            return
        while self.size(key) > self.max_bytes:
            self.stacks[key].pop(0)
        self.used.append(key)
        while len(self.used) > self.max_keys or sum(map(self.size, self.used)) > self.max_bytes:
            self.forget(self.used[0])

    def forget(self, key: bytes) -> None:
        self.values.pop(key, None)
        self.stacks.pop(key, None)
        if key in self.used:
            self.used.remove(key)

    def get(self, key: bytes) -> bytes | None:
        expires, value = self.values.get(key, (0, b""))
        if expires <= self.clock():
            self.values.pop(key, None)
        self.use(key)
        return value if expires > self.clock() else None

    def put(self, key: bytes, value: bytes, ttl: float) -> None:
        self.values.pop(key, None)
        if ttl > 0 and 330 + len(key) + len(value) <= self.max_bytes:
            self.values[key] = self.clock() + ttl, value
        self.use(key)

    def add(self, key: bytes, value: bytes, ttl: float) -> bool:
        if ttl <= 0 or 330 + len(key) + len(value) > self.max_bytes:
            return False
        if self.values.get(key, (0, b""))[0] > self.clock():
            return False
        self.put(key, value, ttl)
        return True

    def push(self, key: bytes, value: bytes, ttl: float, keep: int) -> None:
        if ttl > 0 and 330 + len(key) + 150 + len(value) <= self.max_bytes:
            stack = self.stacks.setdefault(key, [])
            stack.append((self.clock() + ttl, value))
            del stack[:-keep]
            self.use(key)

    def take(self, key: bytes) -> bytes | None:
        stack = self.stacks.get(key)
        expires, value = stack.pop() if stack else (0, b"")
        self.use(key)
        return value if expires > self.clock() else None


KEYS = st.sampled_from([b"", A, B, C, b"a longer key"])
VALUES = st.one_of(st.binary(max_size=8), st.integers(0, 1200).map(bytes))
TTLS = st.one_of(st.sampled_from([-1, 0, 1, 5, TTL]), st.floats(-1, 20))


class MemoryStoreMachine(RuleBasedStateMachine):
    """Calls in any order, on the store and on the model: the same answers, order and bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.store = MemoryStore(max_keys=3, max_bytes=2500, clock=self.clock)
        self.model = Model(self.clock, 3, 2500)

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
        self.model.forget(key)

    @rule(seconds=st.sampled_from([0.5, 1, 4, 10]))
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def same_order_and_bytes(self) -> None:
        assert kept(self.store) == self.model.used
        sizes = sum(map(self.model.size, self.model.used))
        assert self.store.byte_count == counted(self.store) == sizes <= 2500


MemoryStoreMachine.TestCase.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None
)
test_any_calls_agree_with_the_model = MemoryStoreMachine.TestCase
