"""Sessions in this process's memory.

Rules of this file:

1. ``Held.entries`` is ordered, the least recently used key first. A key's entry is a tuple that
   is replaced, never changed; ``Held.bytes`` is the sum of their costs.
2. A signal handler or a finaliser may run after any call here, in the thread that holds the lock
   (so it is an RLock), and use the store. Therefore each change takes the key's entry out, in one
   C call, and notes in ``Held.place`` that it will fill its place. Whoever fills a place wipes
   the note: if it is gone, somebody came in between, and what was taken out must stay out, for
   it may have been removed. Nothing is called between reading ``bytes`` and writing it, nor
   between the look at the note and the filling and counting.
3. What breaks in from outside (Ctrl-C, no memory) can part entries and count. Then everything is
   forgotten: a store may lose entries, but not lose count. To forget is to begin with a new
   ``Held``; a call that was in the middle of something goes on with the old one.
"""

import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import NoReturn, SupportsIndex

from gnutls_resume.stores._arguments import check_bytes, check_count, check_ttl

Kept = tuple[float, bytes]  # when it expires, and what
Entry = tuple[float, bytes, tuple[Kept, ...]]  # the value's two, then the stack, newest last

NEVER = float("-inf")  # before any time: there is no value
NOTHING: Entry = (NEVER, b"", ())

# What CPython needs beside the bytes themselves, measured and rounded up. A key: the heads of two
# bytes objects, a tuple, a number, a place in an ordered dictionary. An entry on a stack: a head,
# a tuple, a number, a place in a tuple.
KEY_COST = 330
STACKED_COST = 150

# Nobody can set this clock back, and it goes on while the computer sleeps. With time.time() or,
# on Linux, time.monotonic(), which stands still meanwhile, an entry could outlive its ttl.
CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Seconds since the computer was started, asleep or awake."""
    return time.clock_gettime(CLOCK)


class MemoryStore:
    """A ``Store`` in this process's memory, bounded in keys and in bytes.

    With more than `max_keys` keys or `max_bytes` bytes, the keys go whose last ``get``, ``put``,
    ``add``, ``push`` or ``take`` is longest ago, each with its value and its stack. Bytes are
    those of keys and values, and 330 for each key and 150 for each entry on a stack: what
    CPython needs for them, so that the bound is one on memory. What `max_bytes` cannot hold even
    alone is not kept and drives out nothing else; a stack too large for it loses its oldest.

    No call's time depends on the number of keys. Expired entries leave when they are asked for,
    replaced or evicted.

    A forked child starts with an empty store: a ticket used by parent and child would be used
    twice, and show an observer that the two belong together.

    `clock` returns seconds and must never go back; it is there for tests.
    """

    exposed = False
    private = True

    def __init__(
        self,
        *,
        max_keys: int = 1024,
        max_bytes: int = 8 * 1024 * 1024,
        clock: Callable[[], float] = now,
    ) -> None:
        check_count("max_keys", max_keys)
        check_count("max_bytes", max_bytes)
        if not callable(clock):
            raise TypeError(f"clock must be callable, not {type(clock).__name__}")
        self._max_keys = max_keys
        self._max_bytes = max_bytes
        self._clock = clock
        self._start()
        _stores.add(self)

    @property
    def key_count(self) -> int:
        """How many keys are held, those included whose expiry nobody has noticed yet."""
        return len(self._held.entries)

    @property
    def byte_count(self) -> int:
        """How many bytes they cost, counted as for ``max_bytes``."""
        return self._held.bytes

    def get(self, key: bytes) -> bytes | None:
        """The value, which stays; None if there is none, or it has expired."""
        check_bytes("key", key)
        with self._lock:
            at = self._clock()
            entries = self._held.entries
            try:
                expires, value, _ = entries[key]
                entries.move_to_end(key)
            except KeyError:
                return None
            if expires > at:
                return value
            _, _, stack = self._pop(key)
            self._insert(key, (NEVER, b"", stack))
            return None

    def put(self, key: bytes, value: bytes, ttl: float) -> None:
        """Make this the value for `ttl` seconds, whatever it was before."""
        check_bytes("key", key)
        check_bytes("value", value)
        check_ttl(ttl)
        kept = ttl > 0 and self._fits(KEY_COST, key, value)
        with self._lock:
            _, _, stack = self._pop(key)
            expires = self._clock() + ttl
            self._insert(key, (expires, value, stack) if kept else (NEVER, b"", stack))

    def add(self, key: bytes, value: bytes, ttl: float) -> bool:
        """Make this the value if there is none. True only if it has been kept."""
        check_bytes("key", key)
        check_bytes("value", value)
        check_ttl(ttl)
        if ttl <= 0 or not self._fits(KEY_COST, key, value):
            return False
        with self._lock:
            at = self._clock()
            if self._held.entries.get(key, NOTHING)[0] > at:
                return False
            expires, _, stack = self._pop(key)
            # Looked at again: a handler may have added it meanwhile.
            return expires <= at and self._insert(key, (at + ttl, value, stack))

    def push(self, key: bytes, value: bytes, ttl: float, keep: int) -> None:
        """Put this on top of the stack for `ttl` seconds; its newest `keep` entries stay."""
        check_bytes("key", key)
        check_bytes("value", value)
        check_ttl(ttl)
        check_count("keep", keep)
        if ttl <= 0 or not self._fits(KEY_COST + STACKED_COST, key, value):
            return
        with self._lock:
            expires, old, stack = self._pop(key)
            top = (self._clock() + ttl, value)
            self._insert(key, (expires, old, (*stack, top)[-keep:]))

    def take(self, key: bytes) -> bytes | None:
        """Remove the top of the stack and return it; None if it has expired, or there is none."""
        check_bytes("key", key)
        with self._lock:
            expires, value, stack = self._pop(key)
            self._insert(key, (expires, value, stack[:-1]))
            if stack and stack[-1][0] > self._clock():
                return stack[-1][1]
            return None

    def remove(self, key: bytes) -> None:
        """Forget the value and the stack."""
        check_bytes("key", key)
        with self._lock:
            self._pop(key)
            self._insert(key, NOTHING)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._held = Held()

    def __repr__(self) -> str:
        keys = f"{self.key_count} of {self._max_keys} keys"
        return f"<MemoryStore: {keys}, {self.byte_count} of {self._max_bytes} bytes>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a MemoryStore cannot be pickled or copied: what it holds is secret")

    def _fits(self, overhead: int, key: bytes, value: bytes) -> bool:
        return overhead + len(key) + len(value) <= self._max_bytes

    def _pop(self, key: bytes) -> Entry:
        """Take a key out and return what it had."""
        held = self._held
        held.place = key
        try:
            entry = held.entries.pop(key, NOTHING)
            if entry is not NOTHING:
                size = cost(key, entry)
                held.bytes -= size
        except BaseException:
            self._held = Held()
            raise
        return entry

    def _insert(self, key: bytes, entry: Entry) -> bool:
        """Fill the place that ``_pop`` left, as the most recently used. True if it is filled."""
        expires, value, stack = entry
        size = cost(key, entry)
        while size > self._max_bytes and stack:
            size -= STACKED_COST + len(stack[0][1])
            stack = stack[1:]
            entry = (expires, value, stack)
        held = self._held
        if held.place is not key:
            return False
        held.place = None
        if expires == NEVER and not stack:
            return False
        held.entries[key] = entry
        held.bytes += size
        self._evict()
        return True

    def _evict(self) -> None:
        held = self._held
        try:
            while len(held.entries) > self._max_keys or held.bytes > self._max_bytes:
                size = cost(*held.entries.popitem(last=False))
                held.bytes -= size
        except BaseException:
            self._held = Held()
            raise

    def _start(self) -> None:
        self._lock = threading.RLock()
        self._held = Held()


class Held:
    """The entries, the sum of their costs, and the key whose entry is taken out."""

    __slots__ = ("bytes", "entries", "place")

    def __init__(self) -> None:
        self.entries: OrderedDict[bytes, Entry] = OrderedDict()
        self.bytes = 0
        self.place: bytes | None = None


def cost(key: bytes, entry: Entry) -> int:
    """What a key and its entry count against ``max_bytes``."""
    _, value, stack = entry
    size = KEY_COST + len(key) + len(value)
    for _, stacked in stack:
        size += STACKED_COST + len(stacked)
    return size


# Weak, so that stores are collected; one hook for all, since no hook can be taken back.
_stores: weakref.WeakSet[MemoryStore] = weakref.WeakSet()


def _start_again() -> None:
    """In a forked child: another thread may have held a lock, and will never let go of it."""
    for store in _stores:
        store._start()  # noqa: SLF001 - the same file


os.register_at_fork(after_in_child=_start_again)
