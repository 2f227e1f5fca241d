"""Between handshakes and a store that may fail or hang.

For each verb there is a circuit, as in an electrician's: closed, calls pass; open, the store is
not asked. Rules of this file:

1. A call that passes costs little, so it takes no lock: what it changes, it changes in one C
   call, or with nothing called between reading and writing.
2. Nothing here waits, except the thread that probes, for its own lock: a signal handler or a
   finaliser may run after any call here, in the same thread, and call the store. (Starting a
   ``threading.Thread`` takes locks that the thread may hold at that moment. Hence ``_thread``.)
3. A handshake gets the store's answer or exception, or a StoreClosedError, and no fault of this
   file: what opens a circuit raises nothing.
4. Circuits live as long as the store: a program that makes a context for every connection must
   not find a dead store afresh with each.
"""

import _thread
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import count
from time import monotonic
from typing import Any, NoReturn, SupportsIndex, TypeVar

from gnutls_resume.errors import StoreBusyError, StoreClosedError
from gnutls_resume.stores._arguments import check_bytes, check_count, check_ttl
from gnutls_resume.stores.protocol import VERBS, Store

DEADLINE = 0.05  # seconds, the contract's
LONGEST = 10.0  # seconds
GRACE = 0.01  # seconds; a store that limits itself to the deadline comes back a little later
HANGING = 4  # deadlines; what comes back sooner has only been slow
SLOW = 3  # times in a row
INTERVAL = 1.0  # seconds between two probes of a verb
LOG_INTERVAL = 60.0  # seconds between two warnings
PROBE_TTL = 0.5  # seconds: less than the interval, so that each probing add finds nothing
PROBE_VALUE = bytes(2048)  # as large as a session: a nearly full disk takes less

T = TypeVar("T")

logger = logging.getLogger("gnutls_resume")


class Guard:
    """A ``Store`` that asks another one, unless that has just failed or hangs.

    - What the store raises comes out as it is and opens the circuit of that verb: a full disk
      refuses ``put``, but ``get`` goes on. A call with arguments that no store takes opens none.
    - A call that has failed after more than `deadline` seconds opens all circuits. So does one
      that took four times as long, or has not come back by then. Its answer, if any, still counts.
    - An answer that came later than the deadline, or a ``StoreBusyError``, is no fault by itself:
      three of them, with no answer in time of the same verb between, open all circuits.
    - While a call is late, others are not made.

    While a verb's circuit is open, a call raises ``StoreClosedError`` at once. A daemon thread
    makes a harmless call of that verb, under a key of its own: at once, but not more often than
    once a second. The first that succeeds within the deadline closes the circuit. So a store that
    is dead costs each handshake that waits for it one timeout, and later ones nothing. Without a
    thread (none can be started) one call a second is let through instead.

    A forked child begins with all circuits closed.
    """

    def __init__(self, store: Store, *, deadline: float = DEADLINE) -> None:
        if isinstance(store, Guard):
            raise TypeError("store is a Guard already")
        if isinstance(store, type) or not all(callable(getattr(store, v, None)) for v in VERBS):
            raise TypeError(f"store must be a Store, not {type(store).__name__}")
        if isinstance(deadline, bool) or not isinstance(deadline, int | float):
            raise TypeError(f"deadline must be a number, not {type(deadline).__name__}")
        if not 0 < deadline <= LONGEST:  # also for what is not a number
            raise ValueError(f"deadline must be more than 0 and at most {LONGEST} seconds")
        self._store = store
        self._circuits = Circuits(deadline)

    @property
    def store(self) -> Store:
        """The store below."""
        return self._store

    @property
    def exposed(self) -> bool:
        """That of the store below."""
        return self._store.exposed

    @property
    def private(self) -> bool:
        """That of the store below."""
        return self._store.private

    @property
    def deadline(self) -> float:
        """How long a call may take, in seconds."""
        return self._circuits.deadline

    @property
    def open_verbs(self) -> tuple[str, ...]:
        """The verbs that the store is not asked for now."""
        return tuple(verb for verb in VERBS if verb in self._circuits.open)

    @property
    def opened(self) -> int:
        """How often circuits have opened in this process; several at once count once."""
        return self._circuits.opened

    def get(self, key: bytes) -> bytes | None:
        return self._circuits.ask(self, "get", self._store.get, (key,))

    def put(self, key: bytes, value: bytes, ttl: float) -> None:
        return self._circuits.ask(self, "put", self._store.put, (key, value, ttl))

    def add(self, key: bytes, value: bytes, ttl: float) -> bool:
        return self._circuits.ask(self, "add", self._store.add, (key, value, ttl))

    def push(self, key: bytes, value: bytes, ttl: float, keep: int) -> None:
        return self._circuits.ask(self, "push", self._store.push, (key, value, ttl, keep))

    def take(self, key: bytes) -> bytes | None:
        return self._circuits.ask(self, "take", self._store.take, (key,))

    def remove(self, key: bytes) -> None:
        return self._circuits.ask(self, "remove", self._store.remove, (key,))

    def __repr__(self) -> str:
        state = f"not asking for {', '.join(self.open_verbs)}" if self.open_verbs else "asking"
        return f"<Guard of {type(self._store).__name__}: {state}>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a Guard cannot be pickled or copied: it belongs to this process")


def guard_for(store: Store) -> Guard:
    """The one Guard of a store in this process, itself if it is one. The deadline is the store's
    own ``timeout`` if that is a number of seconds (10 at most), else 0.05.

    What it knows of the store stays for as long as the store lives.
    """
    if isinstance(store, Guard):
        return store
    known = _circuits_of.get(id(store))
    guard = known and known.guard and known.guard()
    if guard:
        return guard
    guard = Guard(store, deadline=own_timeout(store))
    guard._circuits = _circuits_of.setdefault(id(store), guard._circuits)  # noqa: SLF001 - ours
    if not known:
        forget_with(store, guard)
    guard._circuits.guard = weakref.ref(guard)  # noqa: SLF001
    return guard


def own_timeout(store: Store) -> float:
    timeout = getattr(store, "timeout", None)
    if isinstance(timeout, int | float) and not isinstance(timeout, bool):
        return min(timeout, LONGEST) if timeout > 0 else DEADLINE
    return DEADLINE


def forget_with(store: Store, guard: Guard) -> None:
    """Forget the store's circuits when it goes; where Python cannot tell, when its guard does."""
    try:
        weakref.finalize(store, _circuits_of.pop, id(store), None)
    except TypeError:  # a class with __slots__
        weakref.finalize(guard, _circuits_of.pop, id(store), None)


class Circuits:
    """The circuits of one store, which they do not hold: its guard does."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.guard: weakref.ref[Guard] | None = None
        self._start()
        _all_circuits.add(self)

    def _start(self) -> None:
        self.open: dict[str, object] = {}  # verbs; each with a mark of who opened it
        self.opened = 0
        self._flights: dict[int, float] = {}  # calls in flight and when they began, oldest first
        self._numbers = count()
        self._slow: dict[str, int] = {}  # late or busy answers since the verb's last in time
        self._due: dict[str, float] = {}  # when a verb may be probed again
        self._news: str | None = None  # what has not been logged yet
        self._warned = float("-inf")  # when
        self._told = False  # a warning has been logged, and no end of it
        self._probing = threading.Lock()  # held by the thread, and never waited for
        self._wake: _thread.LockType | None = None
        self._key = b"gnutls_resume guard " + os.urandom(16)

    # -- calls --------------------------------------------------------------------------------

    def ask(
        self,
        guard: Guard,
        verb: str,
        call: Callable[..., T],
        arguments: tuple[Any, ...],
        *,
        probing: bool = False,
    ) -> T:
        if verb in self.open and not probing:
            probing = self._may_probe(guard, verb)
        flights = self._flights
        begun = monotonic()
        if flights and self._is_late(guard, flights, begun):
            raise StoreClosedError("the session store hangs, and is asked nothing for now")
        flight = next(self._numbers)
        flights[flight] = begun
        try:
            answer = call(*arguments)
        except BaseException as error:
            self._failed(guard, verb, error, arguments, flights.pop(flight, None))
            raise
        taken = monotonic() - begun
        noted = flights.pop(flight, None) is None
        if taken <= self.deadline:
            if self._slow:
                self._slow.pop(verb, None)
            if probing:
                self.open.pop(verb, None)
        elif taken > self.deadline * HANGING and not noted:
            self._open_all(guard, f"the session store's {verb} took {taken:.2f} s")
        elif not noted:
            self._note_slow(guard, verb)
        return answer

    def _failed(
        self,
        guard: Guard,
        verb: str,
        error: BaseException,
        arguments: tuple[Any, ...],
        begun: float | None,
    ) -> None:
        if begun is None:  # it hung, which was noted then
            return
        late = monotonic() - begun > self.deadline
        if isinstance(error, StoreBusyError):
            self._note_slow(guard, verb)
        elif late:
            self._open_all(guard, f"the session store's {verb} failed: {type(error).__name__}")
        elif isinstance(error, Exception) and acceptable(*arguments):
            self._open(guard, [verb], f"the session store's {verb} failed: {type(error).__name__}")

    def _note_slow(self, guard: Guard, verb: str) -> None:
        if verb in self.open:
            return
        self._slow[verb] = self._slow.get(verb, 0) + 1
        # A copy: another thread may change it meanwhile.
        if sum(self._slow.copy().values()) >= SLOW:
            self._slow = {}
            self._open_all(guard, "the session store is slow or busy")

    def _is_late(self, guard: Guard, flights: dict[int, float], now: float) -> bool:
        """Whether the oldest call is. All that hang are taken out, and noted."""
        try:
            waited = now - next(iter(flights.values()))
        except (RuntimeError, StopIteration):  # it has just come back
            return False
        if waited > self.deadline * HANGING:
            for flight, begun in flights.copy().items():
                if now - begun > self.deadline * HANGING:
                    flights.pop(flight, None)
            self._open_all(guard, "the session store hangs")
        return waited > self.deadline + GRACE

    # -- opening ------------------------------------------------------------------------------

    def _open_all(self, guard: Guard, news: str) -> None:
        self._open(guard, VERBS, news)

    def _open(self, guard: Guard, verbs: Iterable[str], news: str) -> None:
        with suppress(Exception):  # no memory, too deep a recursion
            mark = object()
            opened = [verb for verb in verbs if self.open.setdefault(verb, mark) is mark]
            if not opened:
                return
            self.opened += 1
            self._news = news
            if not self._start_probing(guard):
                self._due.update(dict.fromkeys(opened, monotonic() + INTERVAL))
            elif self._wake is not None:
                release(self._wake)

    def _may_probe(self, guard: Guard, verb: str) -> bool:
        """True if a call may pass because there is no thread; else raises StoreClosedError."""
        now = monotonic()
        if not self._start_probing(guard) and now >= self._due.get(verb, now):
            self._due[verb] = now + INTERVAL
            return True
        raise StoreClosedError(f"the session store is not asked for {verb} for now")

    # -- probing ------------------------------------------------------------------------------

    def _start_probing(self, guard: Guard) -> bool:
        """Start the thread unless there is one. False if none can be started."""
        probing = self._probing
        try:
            if not probing.acquire(blocking=False):
                return True
            # Made here and now: gevent and eventlet may have taken threading over meanwhile.
            self._wake = wake = threading.Lock()
            wake.acquire()
            collected = weakref.ref(guard, lambda _: release(wake))
            _thread.start_new_thread(probe, (collected, probing, wake))
        except Exception:  # noqa: BLE001 - too many threads, no memory, the interpreter ends
            release(probing)
            return False
        except BaseException:
            release(probing)
            raise
        return True

    def probe(self, guard: Guard) -> float | None:
        """Probe what is open and due. Returns in how many seconds the next is due, or None."""
        self._tell(monotonic())
        for verb in VERBS:
            now = monotonic()
            if verb in self.open and now >= self._due.get(verb, now):
                self._due[verb] = now + INTERVAL
                with suppress(BaseException):  # it only tells that the store still fails
                    call = getattr(guard.store, verb)
                    self.ask(guard, verb, call, self._harmless(verb), probing=True)
        due = [self._due.get(verb, 0.0) for verb in tuple(self.open)]
        if not due:
            self._tell_end()
            return None
        return max(0.0, min(due) - monotonic())

    def _harmless(self, verb: str) -> tuple[Any, ...]:
        """Arguments for a probe; each verb has a key of its own."""
        key = self._key + verb.encode()
        if verb in ("put", "add"):
            return key, PROBE_VALUE, PROBE_TTL
        if verb == "push":
            return key, PROBE_VALUE, PROBE_TTL, 1
        return (key,)

    # -- telling, in the thread: a handler of the log may itself make connections ---------------

    def _tell(self, now: float) -> None:
        if self._news is None or now - self._warned < LOG_INTERVAL:
            return
        news, self._news = self._news, None
        self._warned = now
        self._told = True
        with suppress(Exception):
            logger.warning("%s; it is asked again in the background", news)

    def _tell_end(self) -> None:
        if self._told:
            self._told = False
            with suppress(Exception):
                logger.info("the session store answers again")


def probe(collected: weakref.ref[Guard], probing: _thread.LockType, wake: _thread.LockType) -> None:
    """The thread. It holds the guard only while it probes."""
    try:
        while (guard := collected()) is not None:
            pause = guard._circuits.probe(guard)  # noqa: SLF001 - the same file
            del guard
            if pause is None:
                break
            wake.acquire(timeout=pause)
    finally:
        release(probing)
    guard = collected()
    if guard is not None and guard._circuits.open:  # noqa: SLF001 - opened when it was too late
        guard._circuits._start_probing(guard)  # noqa: SLF001


def acceptable(key: object, value: object = b"", ttl: object = 0, keep: object = 1) -> bool:
    """Whether a store must take these arguments: if not, what it raised is no fault of its own."""
    try:
        check_bytes("key", key)
        check_bytes("value", value)
        check_ttl(ttl)
        check_count("keep", keep)
    except (TypeError, ValueError):
        return False
    return True


def release(lock: _thread.LockType) -> None:
    with suppress(RuntimeError):  # nobody holds it
        lock.release()


# By the store's id, which is its own for as long as the circuits are here.
_circuits_of: dict[int, Circuits] = {}

# Weak, so that they are collected; one hook for all, since no hook can be taken back.
_all_circuits: weakref.WeakSet[Circuits] = weakref.WeakSet()


def _start_again() -> None:
    """In a forked child: there are no calls in flight, and no thread."""
    for circuits in _all_circuits:
        circuits._start()  # noqa: SLF001 - the same file


os.register_at_fork(after_in_child=_start_again)
