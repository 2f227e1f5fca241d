"""What opens and closes a guard's circuits, who is asked meanwhile, and what must not hang. That a
guard is itself a store is in test_conformance.py.
"""

import copy
import gc
import logging
import math
import pickle
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
from redis_server import redis_server

from gnutls_resume.errors import StoreBusyError, StoreClosedError, StoreError
from gnutls_resume.stores import MemoryStore
from gnutls_resume.stores import guard as module
from gnutls_resume.stores.guard import GRACE, VERBS, Guard, guard_for
from gnutls_resume.stores.redis import RedisStore
from gnutls_resume.testing import after_call, in_children, in_threads

DEADLINE = 0.05
SOON = 10  # seconds: far more than what is done at once takes
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "get": (b"key",),
    "put": (b"key", b"value", 60),
    "add": (b"key", b"value", 60.5),
    "push": (b"key", b"value", 60, 8),
    "take": (b"key",),
    "remove": (b"key",),
}
EXCEPTIONS = [
    Exception("any"),
    OSError(28, "No space left on device"),
    ConnectionRefusedError(111, "Connection refused"),
    ConnectionResetError(104, "Connection reset by peer"),
    BrokenPipeError(32, "Broken pipe"),
    PermissionError(13, "Permission denied"),
    TimeoutError("timed out"),
    MemoryError(),
    RecursionError("too deep"),
    ValueError("of the store's own"),
    TypeError("of the store's own"),
    KeyError(b"key"),
    AttributeError("connection"),
    RuntimeError("event loop is closed"),
    StopIteration(),
    AssertionError(),
    NotImplementedError(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    ExceptionGroup("several", [OSError()]),
    ssl.SSLError(1, "certificate verify failed"),
    sqlite3.OperationalError("disk I/O error"),
    sqlite3.DatabaseError("file is not a database"),
    StoreError("cannot answer"),
    StoreClosedError("closed"),
]
every_verb = pytest.mark.parametrize("verb", VERBS)


class Below:
    """A store in memory which first does what is said for the verb in ``acts``."""

    exposed = False
    private = True

    def __init__(self, acts: dict[str, Callable[[], object]] | None = None) -> None:
        self.memory = MemoryStore()
        self.acts = acts or {}
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        """Of the guard's callers."""
        self.probes: list[tuple[str, tuple[Any, ...]]] = []
        self.threads: set[int] = set()
        """Those that probed."""

    def _do(self, verb: str, *arguments: Any) -> Any:
        if arguments[0] == b"key":
            self.calls.append((verb, arguments))
        else:
            self.probes.append((verb, arguments))
            self.threads.add(threading.get_ident())
        if verb in self.acts:
            self.acts[verb]()
        return getattr(self.memory, verb)(*arguments)

    def get(self, *arguments: Any) -> Any:
        return self._do("get", *arguments)

    def put(self, *arguments: Any) -> Any:
        return self._do("put", *arguments)

    def add(self, *arguments: Any) -> Any:
        return self._do("add", *arguments)

    def push(self, *arguments: Any) -> Any:
        return self._do("push", *arguments)

    def take(self, *arguments: Any) -> Any:
        return self._do("take", *arguments)

    def remove(self, *arguments: Any) -> Any:
        return self._do("remove", *arguments)


class Clock:
    """A clock that stands until it is told to go on."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    for circuits in tuple(module._all_circuits):
        circuits.open.clear()
        if circuits._wake is not None:
            module.release(circuits._wake)
        wait_for_end(circuits)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """No thread can be started; how often it was tried."""
    tries: list[object] = []

    def refuse(*arguments: object) -> None:
        tries.append(arguments)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module._thread, "start_new_thread", refuse)
    return tries


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.002)


def raising(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def call(store: Any, verb: str) -> Any:
    return getattr(store, verb)(*ARGUMENTS[verb])


def patient(store: Any) -> Guard:
    """A guard that no stall of this computer opens."""
    return Guard(store, deadline=SOON)


def opened(below: Below, *verbs: str, error: Exception | None = None) -> Guard:
    """A guard whose circuits of these verbs have opened, because they fail."""
    guard = patient(below)
    for verb in verbs:
        below.acts[verb] = raising(error or OSError("broken"))
        with pytest.raises(type(error or OSError())):
            call(guard, verb)
    return guard


def refused(guard: Guard) -> tuple[str, ...]:
    """The verbs that the store is not asked for."""
    verbs = []
    for verb in VERBS:
        before = len(guard.store.calls)  # type: ignore[attr-defined]
        with suppress(Exception):
            call(guard, verb)
        if len(guard.store.calls) == before:  # type: ignore[attr-defined]
            verbs.append(verb)
    return tuple(verbs)


def until(condition: Callable[[], object]) -> None:
    """Where there is no event to wait for."""
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.0005)


def wait_for_end(circuits: module.Circuits) -> None:
    """Wait until the thread has ended."""
    assert circuits._probing.acquire(timeout=SOON)
    circuits._probing.release()


# What a call may do


@every_verb
def test_arguments_and_results_pass_unchanged(verb: str) -> None:
    below = Below()
    answers = [None, True, 0, "text", b"bytes", bytearray(b"x"), object(), NotImplemented, OSError]
    guard = patient(below)
    for answer in answers:
        below._do = lambda *_, answer=answer: answer  # type: ignore[method-assign]
        assert call(guard, verb) is answer
    assert guard.open_verbs == ()
    del below._do
    call(guard, verb)
    assert below.calls == [(verb, ARGUMENTS[verb])]


@every_verb
@pytest.mark.parametrize("error", EXCEPTIONS, ids=lambda error: type(error).__name__)
def test_an_exception_comes_out_as_it_is_and_opens_its_verb(
    verb: str, error: Exception, no_threads: list[object]
) -> None:
    below = Below({verb: raising(error)})
    guard = patient(below)
    with pytest.raises(type(error)) as raised:
        call(guard, verb)
    assert raised.value is error
    assert guard.open_verbs == (verb,)
    assert guard.opened == 1
    assert refused(guard) == (verb,)


def test_there_are_at_least_twenty_types_of_them() -> None:
    assert len({type(error) for error in EXCEPTIONS}) >= 20


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), GeneratorExit()], ids=repr)
def test_what_is_no_exception_comes_out_and_opens_nothing(
    error: BaseException, clock: Clock
) -> None:
    below = Below({"get": raising(error)})
    guard = Guard(below)
    with pytest.raises(type(error)) as raised:
        call(guard, "get")
    assert raised.value is error
    below.acts = {}
    clock.advance(SOON)  # nothing is left that would look like a call in flight
    assert guard.open_verbs == refused(guard) == ()


def test_an_interrupt_out_of_a_call_that_is_late_opens_all(clock: Clock) -> None:
    def hang_until_interrupted() -> None:
        clock.advance(1)
        raise KeyboardInterrupt

    guard = Guard(Below({"get": hang_until_interrupted}))
    with pytest.raises(KeyboardInterrupt):
        call(guard, "get")
    assert guard.opened == 1


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("get", ("text",)),
        ("take", (bytearray(b"key"),)),
        ("remove", (None,)),
        ("put", (b"key", "text", 60)),
        ("put", (b"key", b"value", "60")),
        ("put", (b"key", b"value", math.nan)),
        ("add", (b"key", b"value", 2**32)),
        ("push", (b"key", b"value", 60, 0)),
        ("push", (b"key", b"value", 60, 1.0)),
    ],
)
def test_wrong_arguments_are_the_callers_fault_and_open_nothing(
    verb: str, arguments: tuple[Any, ...]
) -> None:
    guard = patient(MemoryStore())
    with pytest.raises((TypeError, ValueError)):
        getattr(guard, verb)(*arguments)
    assert guard.open_verbs == ()


@every_verb
def test_an_answer_that_took_four_deadlines_is_returned_and_opens_all(
    verb: str, clock: Clock, no_threads: list[object]
) -> None:
    below = Below({verb: partial(clock.advance, DEADLINE * 4 + 0.001)})
    below.memory.put(b"key", b"value", 60)
    below.memory.push(b"key", b"value", 60, 8)
    guard = Guard(below, deadline=DEADLINE)
    expected = {"get": b"value", "take": b"value", "add": False}.get(verb)
    assert call(guard, verb) == expected
    assert guard.open_verbs == refused(guard) == VERBS
    assert guard.opened == 1


@every_verb
def test_the_third_late_answer_in_a_row_opens_all(
    verb: str, clock: Clock, no_threads: list[object]
) -> None:
    """One is a moment in which the machine had something else to do."""
    below = Below({verb: partial(clock.advance, DEADLINE + 0.001)})
    guard = Guard(below, deadline=DEADLINE)
    for _ in range(2):
        call(guard, verb)
    below.acts, late = {}, below.acts
    call(guard, verb)
    below.acts = late
    for opened in ((), (), VERBS):
        call(guard, verb)
        assert guard.open_verbs == opened
    assert refused(guard) == VERBS


def test_an_answer_at_the_deadline_opens_nothing(clock: Clock) -> None:
    clock.time = 0.0
    guard = Guard(Below({"get": partial(clock.advance, DEADLINE)}), deadline=DEADLINE)
    call(guard, "get")
    assert guard.open_verbs == ()


def test_a_late_exception_opens_all_once(clock: Clock, no_threads: list[object]) -> None:
    def time_out() -> None:
        clock.advance(DEADLINE * 1.01)
        raise TimeoutError

    guard = Guard(Below({"get": time_out}), deadline=DEADLINE)
    with pytest.raises(TimeoutError):
        call(guard, "get")
    assert guard.open_verbs == VERBS
    assert guard.opened == 1


# Busy


def test_two_busy_calls_are_misses_and_three_in_a_row_open_all(no_threads: list[object]) -> None:
    below = Below({"put": raising(StoreBusyError())})
    guard = patient(below)
    for number in (1, 2, 3):
        assert guard.open_verbs == ()
        with pytest.raises(StoreBusyError):
            call(guard, "put")
        assert len(below.calls) == number
    assert guard.open_verbs == refused(guard) == VERBS
    assert guard.opened == 1


def test_a_success_between_busy_calls_counts_from_the_beginning() -> None:
    below = Below()
    guard = patient(below)
    for busy in (True, True, False, True, True, False, True, True):
        below.acts = {"put": raising(StoreBusyError())} if busy else {}
        try:
            call(guard, "put")
        except StoreBusyError:
            assert busy
    assert guard.opened == 0


def test_busy_calls_of_three_verbs_are_three(no_threads: list[object]) -> None:
    below = Below(dict.fromkeys(VERBS, raising(StoreBusyError())))
    guard = patient(below)
    for verb in ("get", "take", "put"):
        assert guard.open_verbs == ()
        with pytest.raises(StoreBusyError):
            call(guard, verb)
    assert guard.open_verbs == VERBS


def test_reading_that_succeeds_does_not_hide_that_nobody_can_write(
    no_threads: list[object],
) -> None:
    """As with SQLite, while a process that is stuck has it for writing."""
    guard = patient(Below({"put": raising(StoreBusyError())}))
    for _ in range(3):
        with pytest.raises(StoreBusyError):
            call(guard, "put")
        if guard.open_verbs == ():
            assert call(guard, "get") is None
    assert guard.open_verbs == VERBS


def test_a_busy_call_may_be_late(clock: Clock) -> None:
    """It has waited as long as it may."""

    def wait() -> None:
        clock.advance(DEADLINE * 1.1)
        raise StoreBusyError

    guard = Guard(Below({"put": wait}), deadline=DEADLINE)
    with pytest.raises(StoreBusyError):
        call(guard, "put")
    assert guard.opened == 0


# A store that hangs


class Hanging:
    """A store with calls in flight, each in a thread, until it is let go."""

    def __init__(self, calls: int = 1, verb: str = "get") -> None:
        self.flying = threading.Semaphore(0)
        self.go = threading.Event()
        self.below = Below({verb: self._hang})
        self.below.memory.put(b"key", b"value", 60)
        self.guard = Guard(self.below, deadline=DEADLINE)
        self.answers: list[object] = []
        self.threads = [threading.Thread(target=self._call, args=(verb,)) for _ in range(calls)]
        for thread in self.threads:
            thread.start()
            assert self.flying.acquire(timeout=SOON)

    def _hang(self) -> None:
        self.flying.release()
        assert self.go.wait(SOON)

    def _call(self, verb: str) -> None:
        try:
            self.answers.append(call(self.guard, verb))
        except Exception as error:
            self.answers.append(type(error))

    def end(self) -> list[object]:
        self.go.set()
        for thread in self.threads:
            thread.join(SOON)
        return self.answers


@pytest.fixture
def hanging() -> Iterator[Callable[..., Hanging]]:
    made: list[Hanging] = []

    def make(**how: Any) -> Hanging:
        made.append(Hanging(**how))
        return made[-1]

    yield make
    for each in made:
        each.end()


@every_verb
def test_a_call_that_hangs_is_noticed_before_it_comes_back(
    verb: str, clock: Clock, no_threads: list[object], hanging: Callable[..., Hanging]
) -> None:
    store = hanging(verb=verb)
    clock.advance(DEADLINE + GRACE + 0.001)
    for further in VERBS:
        with pytest.raises(StoreClosedError):
            call(store.guard, further)
    assert store.guard.open_verbs == (), "it may still come back"
    clock.advance(DEADLINE * 3)
    for further in (*VERBS, *VERBS):
        with pytest.raises(StoreClosedError):
            call(store.guard, further)
    assert store.guard.open_verbs == VERBS
    assert len(store.below.calls) == 1
    assert store.guard.opened == 1
    assert store.answers == []


def test_a_call_in_flight_within_the_deadline_hinders_none(
    clock: Clock, hanging: Callable[..., Hanging]
) -> None:
    store = hanging()
    clock.advance(DEADLINE)
    for verb in VERBS[1:]:
        call(store.guard, verb)
    assert store.guard.open_verbs == ()
    assert len(store.below.calls) == len(VERBS)


def test_calls_in_flight_get_their_own_answers(
    clock: Clock, no_threads: list[object], hanging: Callable[..., Hanging]
) -> None:
    store = hanging(calls=50)
    clock.advance(1)
    with pytest.raises(StoreClosedError):
        call(store.guard, "get")
    assert store.end() == [b"value"] * 50
    assert store.guard.opened == 1


def test_a_call_that_hangs_is_noticed_behind_others_that_come_and_go(
    clock: Clock, no_threads: list[object], hanging: Callable[..., Hanging]
) -> None:
    store = hanging()
    for _ in range(6):
        call(store.guard, "put")
        clock.advance(DEADLINE / 6)
    clock.advance(DEADLINE / 6 + GRACE)
    with pytest.raises(StoreClosedError):
        call(store.guard, "put")


def test_what_has_hung_is_held_against_the_store_once(
    clock: Clock, often: None, hanging: Callable[..., Hanging]
) -> None:
    """One call that is stuck for ever is not the whole store: probes decide."""
    store = hanging()
    store.below.acts = {}
    clock.advance(1)
    with pytest.raises(StoreClosedError):
        call(store.guard, "put")
    wait_for_end(store.guard._circuits)
    assert store.guard.open_verbs == ()
    call(store.guard, "put")
    clock.advance(10)
    call(store.guard, "put")
    assert store.end() == [b"value"]
    assert (store.guard.open_verbs, store.guard.opened) == ((), 1)


def test_what_began_later_is_held_against_the_store_when_it_hangs_too(
    clock: Clock, often: None, hanging: Callable[..., Hanging]
) -> None:
    store = hanging(calls=1)
    clock.advance(1)
    second = threading.Thread(target=store._call, args=("get",))
    flights = store.guard._circuits._flights
    first = flights.popitem()  # or the second would be refused
    second.start()
    assert store.flying.acquire(timeout=SOON)
    (number,) = flights
    store.guard._circuits._flights = {first[0]: first[1], number: flights[number]}
    store.below.acts = {}
    for times in (1, 2):
        with pytest.raises(StoreClosedError):
            call(store.guard, "put")
        assert store.guard.opened == times
        wait_for_end(store.guard._circuits)
        clock.advance(1)
    call(store.guard, "put")
    store.threads.append(second)


@pytest.mark.parametrize("change", ["come", "go"])
def test_calls_may_come_and_go_while_the_oldest_is_looked_for(change: str, clock: Clock) -> None:
    class Changing(dict[int, float]):
        def values(self) -> Any:
            values = iter(super().values())
            if change == "come":
                self[-1] = clock.time
            else:
                self.clear()
                values = iter(())
            return values

    guard = Guard(Below())
    guard._circuits._flights = Changing({-2: clock.time})
    assert call(guard, "get") is None
    assert guard.opened == 0


def test_what_has_hung_and_fails_at_last_is_held_against_the_store_once(
    clock: Clock, often: None
) -> None:
    flying, go = threading.Event(), threading.Event()

    def fail_at_last() -> None:
        flying.set()
        go.wait(SOON)
        raise ConnectionResetError

    below = Below({"get": fail_at_last})
    guard = Guard(below)

    def wait_and_fail() -> None:
        with pytest.raises(ConnectionResetError):
            call(guard, "get")

    def meanwhile() -> None:
        try:
            assert flying.wait(SOON)
            below.acts = {}
            clock.advance(1)
            with pytest.raises(StoreClosedError):
                call(guard, "put")
            wait_for_end(guard._circuits)
        finally:
            go.set()

    in_threads([wait_and_fail, meanwhile])
    assert (guard.open_verbs, guard.opened) == ((), 1)


def test_a_probe_that_hangs_shows_that_the_store_hangs(clock: Clock) -> None:
    flying, go = threading.Event(), threading.Event()
    below = Below()
    guard = Guard(below)

    def fail_then_hang() -> None:
        if below.probes:
            flying.set()
            go.wait(SOON)
        raise OSError

    below.acts["put"] = fail_then_hang
    with pytest.raises(OSError):
        call(guard, "put")
    try:
        assert flying.wait(SOON)
        assert call(guard, "get") is None
        clock.advance(1)
        assert refused(guard) == VERBS
    finally:
        go.set()


# Probing


@every_verb
def test_a_probe_is_a_harmless_call_under_another_key_in_another_thread(
    verb: str, often: None
) -> None:
    below = Below()
    guard = opened(below, verb)
    until(lambda: len(below.probes) >= 3)
    assert guard.open_verbs == (verb,)
    (key, *arguments) = below.probes[0][1]
    assert {probe for probe, _ in below.probes} == {verb}
    assert key.startswith(b"gnutls_resume guard ")
    assert len(key) > 32
    if arguments:
        value, ttl, *keep = arguments
        assert len(value) == 2048
        assert 0 < ttl <= 2
        assert keep == [1] * (verb == "push")
    assert threading.get_ident() not in below.threads
    assert len(below.threads) == 1
    below.acts = {}
    wait_for_end(guard._circuits)
    assert guard.open_verbs == refused(guard) == ()


def test_two_guards_probe_under_different_keys() -> None:
    one, other = Below(), Below()
    guards = opened(one, "get"), opened(other, "get")
    until(lambda: one.probes and other.probes)
    assert one.probes[0][1] != other.probes[0][1]
    del guards


def test_each_verb_closes_by_itself(often: None) -> None:
    below = Below()
    guard = opened(below, "put", "add", "get")
    del below.acts["put"]
    until(lambda: guard.open_verbs == ("get", "add"))
    del below.acts["add"]
    until(lambda: guard.open_verbs == ("get",))
    call(guard, "put")
    with pytest.raises(StoreClosedError):
        call(guard, "get")


def test_it_probes_at_once_and_then_once_an_interval(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "INTERVAL", 60.0)  # too long to be waited for
    below = Below()
    guard = opened(below, "get")
    until(lambda: below.probes)

    def probes_after_opening(verb: str) -> list[str]:
        """Another verb that opens wakes the thread; when it is probed, ``get`` has had its turn."""
        below.probes.clear()
        below.acts[verb] = raising(OSError())
        with pytest.raises(OSError):
            call(guard, verb)
        until(lambda: verb in [probe for probe, _ in below.probes])
        return [probe for probe, _ in below.probes]

    assert probes_after_opening("put") == ["put"]
    clock.advance(59.99)
    assert probes_after_opening("add") == ["add"]
    clock.advance(0.011)
    assert probes_after_opening("push") == ["get", "put", "push"]


def test_refused_calls_do_not_wake_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    below = Below()
    guard = opened(below, "get")
    until(lambda: below.probes)
    releases: list[object] = []
    monkeypatch.setattr(module, "release", releases.append)
    for _ in range(10):
        with pytest.raises(StoreClosedError):
            call(guard, "get")
    assert releases == []
    below.acts["put"] = raising(OSError())
    with pytest.raises(OSError):
        call(guard, "put")
    assert releases == [guard._circuits._wake]


def test_a_success_that_began_before_closes_nothing(
    no_threads: list[object], hanging: Callable[..., Hanging], clock: Clock
) -> None:
    store = hanging()
    store.below.acts = {"get": raising(OSError())}
    with pytest.raises(OSError):
        call(store.guard, "get")
    assert store.end() == [b"value"]
    assert store.guard.open_verbs == ("get",)


def test_real_seconds_are_kept() -> None:
    below = Below()
    times: list[float] = []

    def fail() -> None:
        times.append(time.monotonic())
        raise OSError

    guard = patient(below)
    below.acts["get"] = fail
    with pytest.raises(OSError):
        call(guard, "get")
    until(lambda: len(times) == 4)  # the caller's, and three probes
    assert times[1] - times[0] < 0.9
    assert all(later - earlier >= 1 for earlier, later in pairwise(times[1:]))


def test_a_store_that_fails_callers_and_no_probe_is_asked_once_a_second(clock: Clock) -> None:
    """One that refuses what is larger, say. Without this, each handshake would wait for it."""
    below = Below()

    def fail() -> None:
        if threading.get_ident() == main:
            raise OSError

    main = threading.get_ident()
    below.acts["get"] = fail
    guard = Guard(below)
    with pytest.raises(OSError):
        call(guard, "get")
    wait_for_end(guard._circuits)
    with pytest.raises(OSError):
        call(guard, "get")
    for _ in range(100):
        with pytest.raises(StoreClosedError):
            call(guard, "get")
    assert len(below.probes) == 1
    assert guard.opened == 2


def test_a_probe_that_is_late_closes_nothing(clock: Clock) -> None:
    below = Below(dict.fromkeys(VERBS, partial(clock.advance, 1.0)))
    guard = Guard(below)
    call(guard, "get")
    until(lambda: len(below.probes) > 20)
    assert guard.open_verbs == VERBS
    below.acts = {}
    clock.advance(1)
    until(lambda: guard.open_verbs == ())


def test_a_busy_probe_closes_nothing_and_opens_nothing(often: None) -> None:
    below = Below()
    guard = opened(below, "put")
    below.acts["put"] = raising(StoreBusyError())
    until(lambda: len(below.probes) > 20)
    assert guard.open_verbs == ("put",)
    assert guard.opened == 1


@pytest.mark.parametrize("error", [SystemExit(), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_a_probe_may_raise_anything(error: BaseException, often: None) -> None:
    below = Below()
    guard = opened(below, "get")
    below.acts["get"] = raising(error)
    until(lambda: len(below.probes) > 5)
    below.acts = {}
    wait_for_end(guard._circuits)
    assert guard.open_verbs == ()


def test_the_thread_ends_when_nothing_is_open_and_is_made_anew(often: None) -> None:
    below = Below()
    guard = patient(below)
    for opening in (1, 2, 3):
        below.acts["get"] = raising(OSError())
        with pytest.raises(OSError):
            call(guard, "get")
        assert guard.opened == opening
        below.acts = {}
        wait_for_end(guard._circuits)
        assert guard.open_verbs == ()


def test_what_opens_while_the_thread_ends_is_probed(
    monkeypatch: pytest.MonkeyPatch, often: None
) -> None:
    below = Below()
    guard = opened(below, "get")
    tell_end = guard._circuits._tell_end

    def open_another() -> None:
        """When the thread has found nothing open."""
        tell_end()
        if guard.opened == 1:
            below.acts["put"] = raising(OSError())
            with pytest.raises(OSError):
                call(guard, "put")

    monkeypatch.setattr(guard._circuits, "_tell_end", open_another)
    below.acts = {}
    until(lambda: "put" in [verb for verb, _ in below.probes])
    below.acts = {}
    until(lambda: guard.open_verbs == ())


def test_the_thread_ends_with_the_guard_and_keeps_no_store() -> None:
    below = Below()
    guard = opened(below, "get")
    probes = below.probes
    until(lambda: probes)
    circuits = guard._circuits
    gone = weakref.ref(guard), weakref.ref(below)
    began = time.monotonic()
    del guard, below
    gc.collect()
    wait_for_end(circuits)
    assert time.monotonic() - began < 0.9  # it was woken
    assert [reference() for reference in gone] == [None, None]


# Without threads


def test_without_a_thread_one_call_a_second_is_let_through(
    clock: Clock, no_threads: list[object]
) -> None:
    below = Below()
    guard = opened(below, "get")

    def let_through() -> int:
        before = len(below.calls)
        for _ in range(10):
            with pytest.raises((OSError, StoreClosedError)):
                call(guard, "get")
        return len(below.calls) - before

    assert let_through() == 0
    clock.advance(0.999)
    assert let_through() == 0
    clock.advance(0.0011)
    assert [let_through(), let_through()] == [1, 0]
    clock.advance(1)
    del below.acts["get"]
    assert call(guard, "get") is None
    assert guard.open_verbs == ()
    assert guard.opened == 1


def test_a_call_let_through_that_is_late_closes_nothing(
    clock: Clock, no_threads: list[object]
) -> None:
    below = Below({"get": partial(clock.advance, 0.5)})
    guard = Guard(below)
    call(guard, "get")
    clock.advance(1)
    call(guard, "get")
    assert guard.open_verbs == VERBS


def test_a_thread_that_can_be_started_later_probes(
    monkeypatch: pytest.MonkeyPatch, often: None
) -> None:
    below = Below()
    with monkeypatch.context() as patch:
        patch.setattr(module._thread, "start_new_thread", raising_any(RuntimeError()))
        guard = opened(below, "get")
    with pytest.raises(StoreClosedError):
        call(guard, "get")
    until(lambda: below.probes)
    below.acts = {}
    wait_for_end(guard._circuits)
    assert guard.open_verbs == ()


def raising_any(error: BaseException) -> Callable[..., None]:
    def act(*_: object) -> None:
        raise error

    return act


def test_a_fault_while_opening_does_not_take_the_answers_place(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = Below({"get": partial(clock.advance, 1)})
    below.memory.put(b"key", b"value", 60)
    guard = Guard(below)
    monkeypatch.setattr(guard._circuits, "_start_probing", raising_any(MemoryError()))
    assert call(guard, "get") == b"value"


# Threads, forks, and calls in the middle of a call


def test_threads_that_fail_at_once_open_once(no_threads: list[object]) -> None:
    begin = threading.Barrier(16)

    def fail() -> None:
        begin.wait(SOON)
        raise OSError

    guard = Guard(Below({"get": fail}), deadline=SOON)

    def call_and_fail() -> None:
        with pytest.raises(OSError):
            call(guard, "get")

    in_threads([call_and_fail] * 16)
    assert guard.opened == 1


def test_threads_leave_no_call_in_flight() -> None:
    below = Below()
    numbers = count()

    def fail_now_and_then() -> None:
        if next(numbers) % 100 == 0:
            raise OSError

    below.acts = dict.fromkeys(VERBS, fail_now_and_then)
    guard = Guard(below, deadline=SOON)

    def call_often() -> None:
        for number in range(600):
            try:
                call(guard, VERBS[number % len(VERBS)])
            except (OSError, StoreClosedError):
                guard._circuits.open.clear()

    in_threads([call_often] * 8)
    assert guard.opened > 0
    until(lambda: guard._circuits._flights == {})  # a probe may still be in flight


def test_a_forked_child_begins_closed_and_probes_for_itself(often: None) -> None:
    below = Below()
    guard = opened(below, "get", "put", error=OSError())

    def child() -> list[object]:
        seen: list[object] = [guard.open_verbs, guard.opened]
        below.probes.clear()
        with pytest.raises(OSError):
            call(guard, "put")
        seen += [guard.open_verbs, guard.opened]
        until(lambda: below.probes)
        below.acts = {}
        wait_for_end(guard._circuits)
        seen += [guard.open_verbs, call(guard, "put"), below.probes[0][1][0]]
        return seen

    *seen, key = in_children([child])[0]
    assert seen == [(), 0, ("put",), 1, (), None]
    until(lambda: "put" in [verb for verb, _ in below.probes])
    assert key not in [arguments[0] for _, arguments in below.probes]
    assert guard.open_verbs == ("get", "put")


def test_calls_in_flight_are_none_in_a_forked_child(
    clock: Clock, hanging: Callable[..., Hanging]
) -> None:
    store = hanging()
    clock.advance(1)

    def child() -> object:
        store.below.acts = {}
        return call(store.guard, "get"), store.guard.opened

    assert in_children([child]) == [(None, 0)]
    with pytest.raises(StoreClosedError):
        call(store.guard, "get")


def test_a_fork_beside_failing_threads_does_not_hang(often: None) -> None:
    below = Below(dict.fromkeys(VERBS, raising(OSError())))
    guard = patient(below)
    ended = threading.Event()

    def try_all() -> None:
        for verb in VERBS:
            with pytest.raises((OSError, StoreClosedError)):
                call(guard, verb)

    def try_until_ended() -> None:
        while not ended.is_set():
            try_all()
            guard._circuits.open.clear()

    def fork() -> None:
        try:
            for _ in range(20):
                in_children([try_all])
        finally:
            ended.set()

    in_threads([fork, try_until_ended, try_until_ended])


@pytest.mark.parametrize("guards", [1, 2])
def test_a_finaliser_may_fail_in_the_middle_of_failing(guards: int) -> None:
    def child() -> int:
        reached = 0
        for place in range(100):
            below = Below(dict.fromkeys(VERBS, raising(OSError())))
            guard = patient(below)
            inner = guard if guards == 1 else patient(below)

            def fail(verb: str, store: Guard) -> None:
                with pytest.raises((OSError, StoreClosedError)):
                    call(store, verb)

            with after_call(place, partial(fail, "put", inner)) as done:
                fail("get", guard)
            reached += len(done)
            assert guard.open_verbs[0] == "get"
        return reached

    assert in_children([child])[0] > 20


def test_a_finaliser_may_fail_while_a_thread_is_started() -> None:
    """``Thread.start`` holds locks of ``threading`` meanwhile."""

    def child() -> int:
        reached = 0
        for place in range(60):
            guard = patient(Below({"get": raising(OSError())}))

            def fail(guard: Guard = guard) -> None:
                with pytest.raises((OSError, StoreClosedError)):
                    call(guard, "get")

            with after_call(place, fail) as done:
                thread = threading.Thread(target=int)
                thread.start()
            thread.join(SOON)
            reached += len(done)
        return reached

    assert in_children([child])[0] > 10


def test_a_finaliser_may_call_in_the_middle_of_a_late_call(clock: Clock) -> None:
    """The call around it is in flight for long, but that is no reason to wait."""
    below = Below()
    guard = Guard(below)

    def call_later() -> None:
        clock.advance(1)
        with pytest.raises(StoreClosedError):
            call(guard, "put")

    below.acts["get"] = call_later
    assert call(guard, "get") is None
    assert guard.opened == 1


ENDING = """
import logging, threading
from gnutls_resume.errors import StoreClosedError
from gnutls_resume.stores import MemoryStore
from gnutls_resume.stores.guard import Guard

logging.getLogger("gnutls_resume").addHandler(logging.NullHandler())
probing = threading.Event()

class Failing(MemoryStore):
    def get(self, key):
        if key != b"key":
            probing.set()
            if hang:
                threading.Event().wait()
        raise OSError("broken")
"""


@pytest.mark.parametrize("hang", [True, False])
def test_the_interpreter_ends_while_the_store_is_probed(hang: Any) -> None:
    program = """
guard = Guard(Failing())
try:
    guard.get(b"key")
except OSError:
    assert probing.wait(10)
    print("ended")
"""
    assert run(f"hang = {hang}{ENDING}{program}") == "ended\n"


def test_a_store_may_fail_while_the_interpreter_ends() -> None:
    program = """
import atexit

def fail(guard=Guard(Failing()), errors=(OSError, StoreClosedError), print=print):
    try:
        guard.get(b"key")
    except errors as error:
        print(type(error).__name__)

class Last:
    def __del__(self, fail=fail):
        fail()

atexit.register(fail)
last = Last()
last.itself = last
"""
    assert run(f"hang = False{ENDING}{program}") == "OSError\nStoreClosedError\n"


def run(program: str) -> str:
    """The output of a Python of its own."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout


# What operators see


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], list[tuple[str, str]]]:
    caplog.set_level(logging.DEBUG, logger="gnutls_resume")

    def read() -> list[tuple[str, str]]:
        return [(record.levelname, record.getMessage()) for record in caplog.records]

    return read


Logged = Callable[[], list[tuple[str, str]]]
BACKGROUND = "; it is asked again in the background"


def test_opening_is_a_warning_and_closing_an_info(logged: Logged, often: None) -> None:
    below = Below()
    guard = opened(below, "put", error=sqlite3.OperationalError("SECRET of key"))
    until(lambda: len(below.probes) > 3)
    below.acts = {}
    wait_for_end(guard._circuits)
    assert logged() == [
        ("WARNING", f"the session store's put failed: OperationalError{BACKGROUND}"),
        ("INFO", "the session store answers again"),
    ]


def test_a_slow_a_busy_and_a_hanging_store_are_told_apart(
    logged: Logged, clock: Clock, hanging: Callable[..., Hanging]
) -> None:
    def warned() -> list[str]:
        return [text for level, text in logged() if level == "WARNING"]

    below = Below({"get": partial(clock.advance, 1)})
    slow = Guard(below)
    call(slow, "get")
    below.acts = {}
    until(lambda: len(warned()) == 1)
    busy = Guard(Below({"get": raising(StoreBusyError())}))
    for _ in range(3):
        with pytest.raises(StoreBusyError):
            call(busy, "get")
    until(lambda: len(warned()) == 2)
    store = hanging()
    clock.advance(1)
    with pytest.raises(StoreClosedError):
        call(store.guard, "put")
    until(lambda: len(warned()) == 3)
    assert warned() == [
        f"the session store's get took 1.00 s{BACKGROUND}",
        f"the session store is slow or busy{BACKGROUND}",
        f"the session store hangs{BACKGROUND}",
    ]


def test_there_is_one_warning_a_minute(logged: Logged, clock: Clock) -> None:
    below = Below()
    guard = opened(below, "get")
    until(lambda: len(logged()) == 1)
    for _ in range(5):
        below.acts = {}
        clock.advance(1)
        module.release(guard._circuits._wake)  # type: ignore[arg-type]
        wait_for_end(guard._circuits)
        below.acts["get"] = raising(ValueError())
        with pytest.raises(ValueError):
            call(guard, "get")
    assert guard.opened == 6
    assert [level for level, _ in logged()] == ["WARNING", "INFO"]
    clock.advance(60)
    module.release(guard._circuits._wake)  # type: ignore[arg-type]
    until(lambda: len(logged()) == 3)
    assert logged()[2] == ("WARNING", f"the session store's get failed: ValueError{BACKGROUND}")


def test_a_store_that_stays_dead_is_told_of_once(logged: Logged, clock: Clock) -> None:
    below = Below()
    guard = opened(below, "get")
    for minutes in (1, 2, 3):
        until(lambda minutes=minutes: len(below.probes) == minutes)
        clock.advance(61)
        module.release(guard._circuits._wake)  # type: ignore[arg-type]
    assert len(logged()) == 1


def test_a_handlers_fault_does_not_come_out(often: None) -> None:
    class Faulty(logging.Handler):
        records = 0

        def handle(self, record: logging.LogRecord) -> bool:
            self.records += 1
            raise ValueError

    handler = Faulty()
    logger = logging.getLogger("gnutls_resume")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        below = Below()
        guard = opened(below, "get")
        until(lambda: below.probes)
        below.acts = {}
        wait_for_end(guard._circuits)
        assert guard.open_verbs == ()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    assert handler.records == 2


def test_a_store_that_is_probed_no_more_is_not_told_of(logged: Logged) -> None:
    patient(Below())
    assert logged() == []


def test_repr_is_dull(no_threads: list[object]) -> None:
    below = Below()
    below.memory.put(b"SECRET", b"SECRET", 60)
    guard = patient(below)
    assert repr(guard) == "<Guard of Below: asking>"
    below.acts["put"] = raising(OSError("SECRET"))
    with pytest.raises(OSError):
        call(guard, "put")
    assert repr(guard) == "<Guard of Below: not asking for put>"


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_it_is_neither_pickled_nor_copied(duplicate: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="pickled or copied"):
        duplicate(patient(MemoryStore()))


# What can be guarded


@pytest.mark.parametrize("exposed", [True, False])
@pytest.mark.parametrize("private", [True, False])
def test_it_says_of_itself_what_the_store_says(exposed: Any, private: Any) -> None:
    below = Below()
    below.exposed, below.private = exposed, private
    guard = patient(below)
    assert (guard.exposed, guard.private) == (exposed, private)
    assert guard.store is below


def test_a_guard_is_not_guarded_again() -> None:
    with pytest.raises(TypeError, match="Guard already"):
        Guard(Guard(MemoryStore()))


@pytest.mark.parametrize("store", [MemoryStore, None, {}, object(), "path"], ids=repr)
def test_a_store_is_an_object_with_the_six_methods(store: Any) -> None:
    with pytest.raises(TypeError, match="store must be a Store"):
        Guard(store)


@pytest.mark.parametrize("bad", ["1", None, True, 1j])
def test_a_deadline_is_a_number(bad: Any) -> None:
    with pytest.raises(TypeError, match="deadline must be a number"):
        Guard(MemoryStore(), deadline=bad)


@pytest.mark.parametrize("bad", [0, -1, 10.1, math.inf, math.nan])
def test_a_deadline_is_more_than_nothing_and_ten_seconds_at_most(bad: float) -> None:
    with pytest.raises(ValueError, match="deadline must be more than 0"):
        Guard(MemoryStore(), deadline=bad)


@pytest.mark.parametrize("deadline", [0.001, 1, 10])
def test_a_deadline_may_be_shorter_or_longer(deadline: float) -> None:
    assert Guard(MemoryStore(), deadline=deadline).deadline == deadline
    assert Guard(MemoryStore()).deadline == 0.05


# One guard a store


class Unhashable(Below):
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, _: object) -> bool:
        return True


class Slotted:
    __slots__ = ("add", "exposed", "get", "private", "push", "put", "remove", "take")

    def __init__(self) -> None:
        self.exposed = self.private = False
        for verb in VERBS:
            setattr(self, verb, raising_any(OSError()))


@pytest.mark.parametrize("make", [Below, Unhashable, Slotted])
def test_a_store_has_one_guard(make: Callable[[], Any]) -> None:
    store, other = make(), make()
    guard = guard_for(store)
    assert guard_for(store) is guard
    assert guard_for(guard) is guard
    assert guard.store is store
    assert guard_for(other) is not guard
    assert guard_for(other)._circuits is not guard._circuits
    own = Guard(store)
    assert guard_for(own) is own


def test_what_is_known_of_a_store_outlives_its_guard(often: None) -> None:
    """A library that makes a context for every connection drops the guard with each."""

    def fail() -> None:
        raise OSError  # a new one: its traceback keeps the guard

    below = Below({"get": fail})
    guard = guard_for(below)
    with pytest.raises(OSError):
        call(guard, "get")
    gone = weakref.ref(guard)
    del guard
    gc.collect()
    assert gone() is None
    for _ in range(3):
        with pytest.raises(StoreClosedError):
            call(guard_for(below), "get")
    assert guard_for(below).opened == 1
    assert len(below.calls) == 1
    below.acts = {}
    guard = guard_for(below)
    until(lambda: guard.open_verbs == () or refused(guard) == ())


@pytest.mark.parametrize("make", [Below, Slotted])
def test_nothing_is_left_of_a_store_that_is_gone(make: Callable[[], Any]) -> None:
    gc.collect()
    before = len(module._circuits_of)
    store = make()
    guard_for(store)
    guard = guard_for(store)
    assert len(module._circuits_of) == before + 1
    gone = weakref.ref(guard)
    del store, guard
    gc.collect()
    assert len(module._circuits_of) == before
    assert gone() is None


@pytest.mark.parametrize(
    ("timeout", "deadline"),
    [
        (0.2, 0.2),
        (1, 1),
        (10, 10),
        (11, 10),
        (math.inf, 10),
        *((bad, 0.05) for bad in (0, -1, math.nan, None, "1", True, int)),
    ],
    ids=repr,
)
def test_the_deadline_is_the_stores_timeout_if_it_has_one(timeout: object, deadline: float) -> None:
    store = Below()
    store.timeout = timeout  # type: ignore[attr-defined]
    assert guard_for(store).deadline == deadline


def test_the_deadline_is_the_contracts_for_a_store_without_timeout() -> None:
    assert guard_for(Below()).deadline == 0.05


def test_threads_find_the_same_circuits() -> None:
    for _ in range(50):
        below = Below()
        guards = in_threads([partial(guard_for, below)] * 8)
        assert len({id(guard._circuits) for guard in guards}) == 1


# A real store


def test_a_frozen_redis_delays_the_calls_in_flight_and_no_later_ones(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        store = RedisStore(server.url)
        guard = guard_for(store)
        assert guard.deadline == store.timeout
        store.put(b"key", b"value", 600)
        before = guard.opened

        def wait() -> None:
            with pytest.raises(StoreError):
                guard.get(b"key")

        server.stop()
        in_threads([wait] * 8)
        assert guard.open_verbs == VERBS
        assert guard.opened == before + 1
        for verb in VERBS:
            with pytest.raises(StoreClosedError):
                call(guard, verb)
        server.cont()
        until(lambda: guard.open_verbs == ())
