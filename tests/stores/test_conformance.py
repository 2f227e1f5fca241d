"""The stores and their contract; and that ``check_store`` notices what breaks it."""

import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis_server import redis_server

from gnutls_resume import testing
from gnutls_resume.stores import MemoryStore
from gnutls_resume.stores.guard import Guard
from gnutls_resume.stores.redis import RedisStore
from gnutls_resume.stores.sqlite import SQLiteStore
from gnutls_resume.testing import STORE_CASES, check_store

LONG = 3600  # seconds
LONGEST = 10  # seconds a guard may wait: here threads wait for each other and the processor


@pytest.mark.parametrize("case", STORE_CASES)
def test_memory_store(case: str) -> None:
    check_store(MemoryStore, cases=[case])


@pytest.mark.parametrize("case", STORE_CASES)
def test_guard(case: str) -> None:
    check_store(lambda: Guard(MemoryStore(), deadline=LONGEST), cases=[case])


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.mark.parametrize("case", STORE_CASES)
def test_redis_store(case: str, redis_url: str) -> None:
    def make() -> RedisStore:
        return RedisStore(redis_url, prefix=f"{secrets.token_hex(8)}:", timeout=20)

    check_store(make, cases=[case])


@pytest.mark.parametrize("case", STORE_CASES)
def test_sqlite_store(case: str, tmp_path: Path) -> None:
    # Where many tests run at once, to open a file may take longer than a handshake may wait.
    check_store(lambda: SQLiteStore(tmp_path / "sessions.db", timeout=10), cases=[case])


def test_there_are_at_least_sixty_cases() -> None:
    assert len(set(STORE_CASES)) == len(STORE_CASES) >= 60


def test_check_store_needs_no_test_runner_and_no_assert_statements() -> None:
    program = (
        "from gnutls_resume.stores import MemoryStore\n"
        "from gnutls_resume.testing import check_store\n"
        "check_store(MemoryStore)\n"
        "class Forgetful(MemoryStore):\n"
        "    def get(self, key): return None\n"
        "check_store(Forgetful, cases=['a_value_comes_back'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-O", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert "ExceptionGroup: 1 of 1 cases failed" in done.stderr
    assert "AssertionError: expected b'value A', got None" in done.stderr
    assert "in the case a_value_comes_back" in done.stderr


def test_all_failures_are_told_with_their_cases() -> None:
    class Refusing(MemoryStore):
        def push(self, key: bytes, value: bytes, ttl: float, keep: int) -> None:
            raise OSError("the disk is full")

    cases = ["a_value_comes_back", "the_newest_is_taken_first", "equal_entries_are_two"]
    with pytest.raises(ExceptionGroup, match="2 of 3 cases failed") as raised:
        check_store(Refusing, cases=cases)
    assert [type(error) for error in raised.value.exceptions] == [OSError, OSError]
    notes = [error.__notes__ for error in raised.value.exceptions]
    assert notes == [[f"in the case {case}"] for case in cases[1:]]


def test_an_unknown_case_is_refused() -> None:
    with pytest.raises(ValueError, match="a_value_comes_home"):
        check_store(MemoryStore, cases=["a_value_comes_home"])


def test_time_can_be_that_of_a_test_clock() -> None:
    clock = [0.0]

    def advance(seconds: float) -> None:
        clock[0] += seconds

    check_store(
        lambda: MemoryStore(clock=lambda: clock[0]),
        wait=advance,
        cases=[case for case in STORE_CASES if "ttl" in case or "expire" in case],
    )
    assert clock[0] > 1


# Each of these breaks the contract in one way, and the named case must notice.


class Sleepless(MemoryStore):
    """Whose clock stands."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: 0.0)


class Generous(MemoryStore):
    def add(self, key: bytes, value: bytes, ttl: float) -> bool:
        super().add(key, value, ttl)
        return True


class Numeric(MemoryStore):
    def add(self, key: bytes, value: bytes, ttl: float) -> bool:
        return int(super().add(key, value, ttl))  # type: ignore[return-value]


class Racing(MemoryStore):
    """Looks, and acts on what it saw: not atomic."""

    def take(self, key: bytes) -> bytes | None:
        with self._lock:
            entry = self._held.entries.get(key)
        top = entry[2][-1][1] if entry and entry[2] else None
        time.sleep(0.0001)  # others come in between
        super().take(key)
        return top


class RacingAdd(MemoryStore):
    def add(self, key: bytes, value: bytes, ttl: float) -> bool:
        if self.get(key) is not None:
            return False
        time.sleep(0.0001)  # others come in between
        self.put(key, value, ttl)
        return True


class Peeking(MemoryStore):
    def take(self, key: bytes) -> bytes | None:
        entry = super().take(key)
        if entry is not None:
            self.push(key, entry, LONG, 100)
        return entry


class Upside(MemoryStore):
    """A queue, not a stack."""

    def push(self, key: bytes, value: bytes, ttl: float, keep: int) -> None:
        super().push(key, value, ttl, keep)
        with self._lock:
            expires, old, stack = self._pop(key)
            self._insert(key, (expires, old, (*stack[-1:], *stack[:-1])))


class Hoarding(MemoryStore):
    def push(self, key: bytes, value: bytes, ttl: float, keep: int) -> None:
        super().push(key, value, ttl, keep * 2)


class Skipping(MemoryStore):
    """Looks below an expired top."""

    def take(self, key: bytes) -> bytes | None:
        return super().take(key) or super().take(key)


class Halved(MemoryStore):
    def remove(self, key: bytes) -> None:
        self.put(key, b"", 0)


class Keeping(MemoryStore):
    def put(self, key: bytes, value: bytes, ttl: float) -> None:
        if ttl > 0 or type(value) is not bytes:
            super().put(key, value, ttl)


class Prolonging(MemoryStore):
    def get(self, key: bytes) -> bytes | None:
        value = super().get(key)
        if value is not None:
            self.put(key, value, LONG)
        return value


class Folding(MemoryStore):
    def get(self, key: bytes) -> bytes | None:
        return super().get(key.lower())

    def put(self, key: bytes, value: bytes, ttl: float) -> None:
        super().put(key.lower(), value, ttl)


class Lenient(MemoryStore):
    def get(self, key: bytes) -> bytes | None:
        return super().get(bytes(key))


class Talkative(MemoryStore):
    def __repr__(self) -> str:
        return f"<{self._held.entries}>"


class Telling(MemoryStore):
    def put(self, key: bytes, value: bytes, ttl: float) -> None:
        if type(value) is not bytes:
            raise TypeError(f"value is {value!r}")
        super().put(key, value, ttl)


class OneLock(MemoryStore):
    """With a lock that its own thread cannot take twice."""

    def _start(self) -> None:
        super()._start()
        self._lock = threading.Lock()  # type: ignore[assignment]


class Inheriting(MemoryStore):
    """Whose child has what the parent had."""

    def _start(self) -> None:
        if not hasattr(self, "_lock"):
            super()._start()


class Undecided(MemoryStore):
    exposed = True


@pytest.mark.parametrize(
    ("store", "case"),
    [
        (Sleepless, "a_value_is_gone_after_its_ttl"),
        (Sleepless, "a_whole_stack_expires"),
        (Sleepless, "add_replaces_what_has_expired"),
        (Generous, "add_refuses_the_second"),
        (Generous, "add_with_a_ttl_of_zero_or_below_is_refused"),
        (Generous, "one_thread_wins_each_add"),
        (Numeric, "add_keeps_the_first"),
        (Racing, "no_entry_is_taken_by_two_threads"),
        (Racing, "threads_that_push_and_take_lose_and_double_nothing"),
        (RacingAdd, "one_thread_wins_each_add"),
        (RacingAdd, "one_thread_wins_each_add_over_an_expired_value"),
        (Peeking, "a_pushed_entry_is_taken_once"),
        (Upside, "the_newest_is_taken_first"),
        (Hoarding, "the_newest_to_be_kept_stay"),
        (Skipping, "an_expired_top_is_removed_and_answered_with_none"),
        (Halved, "remove_forgets_the_whole_stack"),
        (Halved, "what_was_removed_does_not_return"),
        (Keeping, "a_ttl_of_zero_or_below_removes_the_old_value"),
        (Prolonging, "reading_does_not_prolong"),
        (Folding, "keys_that_look_alike_are_apart"),
        (Lenient, "get_takes_keys_of_bytes_only"),
        (Talkative, "neither_repr_nor_pickle_shows_what_it_holds"),
        (Telling, "errors_do_not_show_values"),
        (OneLock, "a_signal_handler_may_call_in_the_middle_of_a_call"),
        (OneLock, "a_finaliser_may_call_in_the_middle_of_a_call"),
        (Inheriting, "a_forked_child_finds_what_is_not_private"),
        (Inheriting, "no_entry_is_taken_by_two_processes"),
        (Inheriting, "a_fork_beside_calling_threads_does_not_hang"),
        (Undecided, "it_says_who_can_read_it"),
    ],
)
def test_a_store_that_breaks_the_contract_is_noticed(
    store: type[MemoryStore], case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(testing, "PATIENCE", 1)
    with pytest.raises(ExceptionGroup) as raised:
        check_store(store, cases=[case])
    assert [type(error) for error in raised.value.exceptions] == [AssertionError]
