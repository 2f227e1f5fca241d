"""A store as one context sees it: under which names, how often asked, and for how long."""

import logging
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from gnutls_resume import MemoryStore, SealingKey
from gnutls_resume.binding import _callbacks
from gnutls_resume.binding.envelope import store_key
from gnutls_resume.errors import StoreClosedError
from gnutls_resume.resumption import store_view
from gnutls_resume.resumption.outcome import Counters
from gnutls_resume.resumption.store_view import StoreView, process_key
from gnutls_resume.stores.guard import Guard
from gnutls_resume.stores.protocol import Store

DIGEST = b"digest" * 5
READS, WRITES = ("store_hits", "store_misses", "store_errors"), ("store_writes",)


class Shelf:
    """A store of values and stacks that a test can reach into, and that does what it is told."""

    exposed = private = False
    timeout = 10  # seconds: on a busy computer the guard is to wait

    def __init__(self) -> None:
        self.values: dict[bytes, Any] = {}
        self.asked: list[tuple[str, bytes]] = []
        self.instead: Callable[[str], Any] | None = None

    def _ask(self, verb: str, key: bytes) -> Any:
        self.asked.append((verb, key))
        return self.instead(verb) if self.instead is not None else self.values.get(key)

    def get(self, key: bytes) -> bytes | None:
        return self._ask("get", key)  # type: ignore[no-any-return]

    def take(self, key: bytes) -> bytes | None:
        return self._ask("take", key)  # type: ignore[no-any-return]

    def put(self, key: bytes, value: bytes, ttl: float) -> None:
        self._ask("put", key)
        self.values[key] = value

    def push(self, key: bytes, value: bytes, ttl: float, keep: int) -> None:
        self._ask("push", key)
        self.values[key] = value

    def add(self, key: bytes, value: bytes, ttl: float) -> bool:
        raise AssertionError("nobody asks for it")

    def remove(self, key: bytes) -> None:
        self._ask("remove", key)
        self.values.pop(key, None)


def view(store: Store | None, key: SealingKey | None = None) -> StoreView:
    return StoreView(store, key, Counters())


def counts(of: StoreView, *names: str) -> list[int]:
    return [of._counters.number(name) for name in names]


# -- names ------------------------------------------------------------------------------------


def test_without_a_key_the_digest_is_the_name() -> None:
    shelf = Shelf()
    one = view(shelf)
    one.put(DIGEST, b"value", 10)
    assert shelf.values == {DIGEST: b"value"}
    assert one.get(DIGEST) == b"value"


def test_with_a_key_names_tell_nothing_and_differ_from_key_to_key() -> None:
    shelf = Shelf()
    for _ in range(3):
        one = view(shelf, SealingKey.generate())
        one.put(DIGEST, b"value", 10)
        assert one.get(DIGEST) == b"value"
    assert len(shelf.values) == 3
    assert not any(DIGEST in name for name in shelf.values)
    assert {len(name) for name in shelf.values} == {32}


@pytest.mark.parametrize("verb", ["get", "take"])
def test_what_is_not_found_is_asked_for_under_the_previous_name(verb: str) -> None:
    shelf, old = Shelf(), SealingKey.generate()
    new = SealingKey.generate(previous=old)
    one = view(shelf, new)
    ask = getattr(one, verb)
    names = [store_key(DIGEST, key) for key in (new, old)]
    assert ask(DIGEST) is None
    assert shelf.asked == [(verb, name) for name in names]
    assert counts(one, *READS) == [0, 1, 0], "one lookup, two questions"
    shelf.values[names[1]] = b"old"
    assert ask(DIGEST) == b"old"
    shelf.values[names[0]] = b"new"
    shelf.asked.clear()
    assert ask(DIGEST) == b"new"
    assert shelf.asked == [(verb, names[0])]
    assert counts(one, *READS) == [2, 1, 0]


def test_what_is_kept_is_kept_under_the_current_name_and_removed_under_both() -> None:
    shelf, old = Shelf(), SealingKey.generate()
    view(shelf, old).put(DIGEST, b"old", 10)
    one = view(shelf, SealingKey.generate(previous=old))
    one.put(DIGEST, b"new", 10)
    one.push(DIGEST, b"newer", 10, 8)
    assert len(shelf.values) == 2
    one.remove(DIGEST)
    assert shelf.values == {}
    assert one.get(DIGEST) is None


def test_removal_under_the_previous_name_is_tried_after_a_failure_too() -> None:
    shelf, old = Shelf(), SealingKey.generate()
    view(shelf, old).put(DIGEST, b"old", 10)
    new = SealingKey.generate(previous=old)
    one = view(shelf, new)
    one.store = Unguarded(shelf, fails_for=store_key(DIGEST, new))  # type: ignore[assignment]
    with pytest.raises(OSError, match="once"):
        one.remove(DIGEST)
    assert shelf.values == {}
    assert counts(one, "store_writes", "store_write_errors") == [1, 1]


class Unguarded:
    """A store that cannot remove one of its keys."""

    def __init__(self, store: Shelf, fails_for: bytes) -> None:
        self.store, self.fails_for = store, fails_for

    def remove(self, key: bytes) -> None:
        if key == self.fails_for:
            raise OSError("once")
        self.store.remove(key)


# -- keys -------------------------------------------------------------------------------------


def test_key_is_the_callers_or_the_processs_where_nothing_leaves_it() -> None:
    mine = SealingKey.generate()
    assert view(Shelf(), mine).key is view(MemoryStore(), mine).key is mine
    assert view(MemoryStore()).key is view(None).key is process_key()
    assert view(Shelf()).key is None


def test_all_threads_have_the_same_process_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_view, "keys", [])
    found: list[SealingKey] = []
    ready = threading.Barrier(8)

    def ask() -> None:
        ready.wait()
        process_key()
        found.append(process_key())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(map(id, found))) == 1


# -- the guard --------------------------------------------------------------------------------


def test_all_views_of_a_store_have_one_guard_but_of_this_processs_memory() -> None:
    shelf, memory = Shelf(), MemoryStore()
    one, other = view(shelf), view(shelf, SealingKey.generate())
    assert isinstance(one.store, Guard)
    assert one.store is other.store
    assert one.store.store is shelf
    assert view(one.store).store is one.store
    assert view(memory).store is memory

    class Mine(MemoryStore):
        pass

    assert isinstance(view(Mine()).store, Guard), "it may do anything"


def test_what_the_store_raises_comes_out_and_then_that_it_is_not_asked() -> None:
    shelf = Shelf()
    one = view(shelf)

    def fail(verb: str) -> None:
        raise LookupError(verb)

    shelf.instead = fail
    with pytest.raises(LookupError, match="get"):
        one.get(DIGEST)
    with pytest.raises(StoreClosedError):
        one.get(DIGEST)
    assert counts(one, *READS) == [0, 0, 2]
    assert isinstance(one.store, Guard)
    assert one.store.open_verbs == ("get",)


# -- answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["get", "take"])
@pytest.mark.parametrize(
    "answer",
    ["text", 0, 5, True, False, 1.5, (), [], {}, object(), bytearray(b"x"), memoryview(b"")],
)
def test_answer_that_is_not_bytes_is_an_error_that_is_logged(
    verb: str, answer: object, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_callbacks, "last_warning", {})
    shelf = Shelf()
    shelf.instead = lambda _: answer
    one = view(shelf)
    for _ in range(3):
        with pytest.raises(TypeError, match=rf"{verb} must return bytes or None, not \w+"):
            getattr(one, verb)(DIGEST)
    assert counts(one, *READS) == [0, 0, 3]
    (record,) = caplog.records
    assert (record.levelno, record.name) == (logging.WARNING, "gnutls_resume")
    text = record.getMessage()
    assert text == f"the session store's {verb} returned {type(answer).__name__}"


@pytest.mark.parametrize("answer", [b"", b"x", bytes(10_000_000)])
def test_answer_that_is_bytes_is_passed_on_as_it_is(answer: bytes) -> None:
    shelf = Shelf()
    shelf.instead = lambda _: answer
    assert view(shelf).get(DIGEST) is answer


# -- numbers ----------------------------------------------------------------------------------


def test_hits_misses_and_errors_add_up_to_the_lookups() -> None:
    """R-21. Whatever comes back."""
    chance = random.Random(21)  # noqa: S311 - the same in every run
    shelf, old = Shelf(), SealingKey.generate()
    one = view(None, SealingKey.generate(previous=old))
    one.store = shelf  # no guard: the store is asked each time

    def instead(verb: str) -> object:
        kind = chance.randrange(5)
        if kind == 0:
            raise chance.choice(
                [OSError, KeyboardInterrupt, SystemExit, MemoryError, StopIteration]
            )
        return chance.choice([None, None, b"", b"value", 5, "text"])

    shelf.instead = instead
    lookups = writes = 0
    for _ in range(2_000):
        verb = chance.choice(["get", "take", "put", "push", "remove"])
        rest: tuple[Any, ...] = {"put": (b"x", 1), "push": (b"x", 1, 8)}.get(verb, ())
        with suppress(BaseException):
            getattr(one, verb)(DIGEST, *rest)
        if verb in {"get", "take"}:
            lookups += 1
        else:
            writes += 2 if verb == "remove" else 1
    found = counts(one, *READS)
    assert min(found) > 20
    assert sum(found) == lookups
    assert sum(counts(one, "store_writes", "store_write_errors")) == writes


def test_time_is_that_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    monkeypatch.setattr(store_view, "time", type("Clock", (), {"perf_counter": lambda: clock}))
    shelf = Shelf()
    one = view(shelf)

    def slow(verb: str) -> None:
        nonlocal clock
        clock += 0.25
        if verb == "take":
            raise OSError("broken")

    shelf.instead = slow
    one.get(DIGEST)
    one.put(DIGEST, b"x", 1)
    with pytest.raises(OSError, match="broken"):
        one.take(DIGEST)
    assert one._counters.read()["store_seconds"] == 0.75


def test_nothing_asked_is_nothing_counted() -> None:
    one = view(MemoryStore())
    assert one._counters.read() == {}
    before = time.perf_counter()
    one.get(DIGEST)
    assert 0 < one._counters.read()["store_seconds"] < time.perf_counter() - before


class Yielding(dict[str, int]):
    """Between reading and writing a number, other threads run."""

    def get(self, *args: Any) -> Any:
        found = super().get(*args)
        time.sleep(0)
        return found


def test_counts_of_many_threads_are_exact() -> None:
    one = view(MemoryStore())
    one._counters._numbers = Yielding()

    def ask() -> None:
        for _ in range(500):
            one.get(DIGEST)
            one.put(DIGEST, b"x", 1)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts(one, *READS)) == sum(counts(one, *WRITES)) == 4_000
