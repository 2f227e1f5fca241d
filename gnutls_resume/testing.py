"""The contract of ``Store`` as a test, for people who write stores.

A long file, because it is one text: each case is a sentence and a few lines, and read in order
they are the contract. What is checked is checked by calls and not by assert statements, so that
``python -O`` checks it too.
"""

import math
import os
import pickle
import select
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain, count
from types import FrameType
from typing import Any, TypeVar

from gnutls_resume.stores.protocol import Store

__all__ = ["STORE_CASES", "check_store"]

LONG = 600  # seconds; what has this ttl does not expire during a test
SHORT = 0.05  # seconds
AFTER = 0.1  # seconds after which what is SHORT has expired
LONGEST = 2**32 - 1  # seconds
LARGEST = 65_536  # bytes; no stored session is larger
THREADS = 16
CHILDREN = 4
PLACES = 200  # in the middle of a few calls
SIGNALS = 200
PATIENCE = 10  # seconds after which a call counts as hung
SHOWN = 100  # characters of a value in a message

KEY, OTHER_KEY = b"key", b"other key"
A, B, C = b"value A", b"value B", b"value C"
NO_BYTES: tuple[Any, ...] = ("text", bytearray(b"key"), memoryview(b"key"), None, 1)
NO_NUMBERS: tuple[Any, ...] = ("1", None, b"1", True, 1j)

T = TypeVar("T")


def check_store(
    factory: Callable[[], Store],
    *,
    wait: Callable[[float], object] = time.sleep,
    cases: Iterable[str] | None = None,
) -> None:
    """Check that stores made by `factory` keep the contract of ``Store``, a new one in each case.

    `factory` returns an empty store with room for 1,000 keys and 4 MiB. `wait(seconds)` makes
    time pass for it; give the one of your test clock if it takes one. `cases` are names out of
    ``STORE_CASES``, by default all. No test runner is needed:

        check_store(MyStore)

    and with pytest each case can be a test:

        @pytest.mark.parametrize("case", STORE_CASES)
        def test_my_store(case: str) -> None:
            check_store(MyStore, cases=[case])

    Raises an ExceptionGroup of what the failed cases raised, with their names as notes:
    AssertionError where the contract is broken, otherwise what came out of the store. Some cases
    start threads, and some fork.
    """
    names = STORE_CASES if cases is None else tuple(cases)
    if unknown := set(names) - set(STORE_CASES):
        raise ValueError(f"cases has unknown names: {', '.join(sorted(unknown))}")
    failures = []
    for name in names:
        case = getattr(Cases(factory(), wait), name)
        try:
            case()
        except Exception as error:  # noqa: BLE001 - raised below, with those of other cases
            error.add_note(f"in the case {name}")
            failures.append(error)
    if failures:
        raise ExceptionGroup(f"{len(failures)} of {len(names)} cases failed", failures)


class Cases:
    """One store, for one of the cases."""

    def __init__(self, store: Store, wait: Callable[[float], object]) -> None:
        self.store = store
        self.wait = wait

    # The value

    def an_empty_store_has_no_value(self) -> None:
        same(self.store.get(KEY), None)

    def a_value_comes_back(self) -> None:
        same(self.store.put(KEY, A, LONG), None)  # type: ignore[func-returns-value]
        same(self.store.get(KEY), A)

    def a_value_stays_when_read(self) -> None:
        self.store.put(KEY, A, LONG)
        same([self.store.get(KEY) for _ in range(3)], [A, A, A])

    def put_replaces_the_value(self) -> None:
        self.store.put(KEY, A, LONG)
        self.store.put(KEY, B, LONG)
        same(self.store.get(KEY), B)

    def keys_are_apart(self) -> None:
        self.store.put(KEY, A, LONG)
        self.store.put(OTHER_KEY, B, LONG)
        same([self.store.get(KEY), self.store.get(OTHER_KEY)], [A, B])

    def keys_that_look_alike_are_apart(self) -> None:
        keys = [b"key", b"Key", b"key\0", b"\0key", b"key ", b" key", b"key\n", b"ke", b"6b6579"]
        keys += [b"'key'", b'"key"', b"{key}", b"key*", b"k?y", b"%6bey", b"key%", b"k_y"]
        for key in keys:
            self.store.put(key, b"value of " + key, LONG)
        for key in keys:
            same(self.store.get(key), b"value of " + key)

    def keys_may_be_any_bytes(self) -> None:
        keys = [bytes([byte]) for byte in range(256)] + [b"\xff\xfe\x00\xc3\x28", "kľúč".encode()]
        for key in keys:
            self.store.put(key, b"value of " + key, LONG)
        for key in keys:
            same(self.store.get(key), b"value of " + key)

    def the_empty_key_is_a_key(self) -> None:
        same(self.store.get(b""), None)
        self.store.put(b"", A, LONG)
        self.store.push(b"", B, LONG, 1)
        same([self.store.get(b""), self.store.get(KEY), self.store.take(b"")], [A, None, B])

    def long_keys_differ_in_their_last_byte(self) -> None:
        one, other = b"k" * 1000 + b"1", b"k" * 1000 + b"2"
        self.store.put(one, A, LONG)
        same(self.store.get(other), None)
        self.store.put(other, B, LONG)
        same([self.store.get(one), self.store.get(other)], [A, B])

    def the_empty_value_is_a_value(self) -> None:
        self.store.put(KEY, b"", LONG)
        same(self.store.get(KEY), b"")
        same(self.store.add(KEY, A, LONG), False)

    def values_may_be_any_bytes(self) -> None:
        for value in (bytes(range(256)), b"\0" * 100, b"\r\n", b"\xff" * 7, b"None"):
            self.store.put(KEY, value, LONG)
            same(self.store.get(KEY), value)

    def the_largest_value_comes_back(self) -> None:
        value = os.urandom(LARGEST)
        self.store.put(KEY, value, LONG)
        same(self.store.get(KEY), value)

    def many_keys_are_kept(self) -> None:
        for number in numbered(500):
            self.store.put(number, b"value of " + number, LONG)
        for number in numbered(500):
            same(self.store.get(number), b"value of " + number)

    # The value's time

    def a_value_is_gone_after_its_ttl(self) -> None:
        self.store.put(KEY, A, SHORT)
        self.wait(AFTER)
        same([self.store.get(KEY), self.store.get(KEY)], [None, None])

    def a_value_lives_until_its_ttl(self) -> None:
        self.store.put(KEY, A, LONG)
        self.wait(AFTER)
        same(self.store.get(KEY), A)

    def put_prolongs(self) -> None:
        self.store.put(KEY, A, SHORT)
        self.store.put(KEY, B, LONG)
        self.wait(AFTER)
        same(self.store.get(KEY), B)

    def put_shortens(self) -> None:
        self.store.put(KEY, A, LONG)
        self.store.put(KEY, B, SHORT)
        self.wait(AFTER)
        same(self.store.get(KEY), None)

    def reading_does_not_prolong(self) -> None:
        self.store.put(KEY, A, SHORT)
        self.store.get(KEY)
        self.wait(AFTER)
        same(self.store.get(KEY), None)

    def an_expired_value_can_be_put_again(self) -> None:
        self.store.put(KEY, A, SHORT)
        self.wait(AFTER)
        self.store.put(KEY, A, LONG)
        same(self.store.get(KEY), A)

    def keys_expire_apart(self) -> None:
        self.store.put(KEY, A, SHORT)
        self.store.put(OTHER_KEY, B, LONG)
        self.wait(AFTER)
        same([self.store.get(KEY), self.store.get(OTHER_KEY)], [None, B])

    def a_ttl_of_zero_keeps_nothing(self) -> None:
        self.store.put(KEY, A, 0)
        same(self.store.get(KEY), None)

    def a_negative_ttl_keeps_nothing(self) -> None:
        for ttl in (-1, -0.001, -LONGEST, -math.inf):
            self.store.put(KEY, A, ttl)
            same(self.store.get(KEY), None)

    def a_ttl_of_zero_or_below_removes_the_old_value(self) -> None:
        for ttl in (0, 0.0, -1, -math.inf):
            self.store.put(KEY, A, LONG)
            self.store.put(KEY, B, ttl)
            same(self.store.get(KEY), None)

    def a_ttl_may_be_a_fraction(self) -> None:
        self.store.put(KEY, A, LONG + 0.123456789)
        same(self.store.get(KEY), A)

    def a_tiny_ttl_is_no_error(self) -> None:
        self.store.put(KEY, A, 1e-9)
        self.store.push(KEY, A, 1e-300, 1)
        same(self.store.get(OTHER_KEY), None)

    def the_longest_ttl_is_kept(self) -> None:
        self.store.put(KEY, A, LONGEST)
        self.store.push(KEY, B, LONGEST, 1)
        same([self.store.get(KEY), self.store.take(KEY)], [A, B])

    # add

    def add_keeps_the_first(self) -> None:
        same(self.store.add(KEY, A, LONG), True)
        same(self.store.get(KEY), A)

    def add_refuses_the_second(self) -> None:
        self.store.add(KEY, A, LONG)
        same([self.store.add(KEY, B, LONG), self.store.add(KEY, A, LONG)], [False, False])
        same(self.store.get(KEY), A)

    def add_refuses_where_something_was_put(self) -> None:
        self.store.put(KEY, A, LONG)
        same(self.store.add(KEY, B, LONG), False)
        same(self.store.get(KEY), A)

    def add_of_other_keys_is_apart(self) -> None:
        same([self.store.add(KEY, A, LONG), self.store.add(OTHER_KEY, A, LONG)], [True, True])

    def put_replaces_what_was_added(self) -> None:
        self.store.add(KEY, A, LONG)
        self.store.put(KEY, B, LONG)
        same(self.store.get(KEY), B)

    def what_was_added_expires(self) -> None:
        self.store.add(KEY, A, SHORT)
        self.wait(AFTER)
        same(self.store.get(KEY), None)

    def add_replaces_what_has_expired(self) -> None:
        self.store.put(KEY, A, SHORT)
        self.wait(AFTER)
        same([self.store.add(KEY, B, LONG), self.store.add(KEY, C, LONG)], [True, False])
        same(self.store.get(KEY), B)

    def a_refused_add_does_not_prolong(self) -> None:
        self.store.put(KEY, A, SHORT)
        self.store.add(KEY, B, LONG)
        self.wait(AFTER)
        same(self.store.get(KEY), None)

    def a_refused_add_does_not_shorten(self) -> None:
        self.store.put(KEY, A, LONG)
        self.store.add(KEY, B, SHORT)
        self.wait(AFTER)
        same(self.store.get(KEY), A)

    def add_after_remove_is_the_first(self) -> None:
        self.store.add(KEY, A, LONG)
        self.store.remove(KEY)
        same(self.store.add(KEY, B, LONG), True)
        same(self.store.get(KEY), B)

    def add_with_a_ttl_of_zero_or_below_is_refused(self) -> None:
        for ttl in (0, 0.0, -1, -math.inf):
            same(self.store.add(KEY, A, ttl), False)
            same(self.store.get(KEY), None)
        same(self.store.add(KEY, A, LONG), True)

    def add_with_a_ttl_of_zero_or_below_leaves_the_old_value(self) -> None:
        self.store.put(KEY, A, LONG)
        for ttl in (0, -1):
            same(self.store.add(KEY, B, ttl), False)
            same(self.store.get(KEY), A)

    def add_does_not_see_the_stack(self) -> None:
        self.store.push(KEY, A, LONG, 1)
        same(self.store.add(KEY, B, LONG), True)
        same([self.store.take(KEY), self.store.get(KEY)], [A, B])

    # The stack

    def an_empty_store_has_no_stack(self) -> None:
        same(self.store.take(KEY), None)

    def a_pushed_entry_is_taken_once(self) -> None:
        same(self.store.push(KEY, A, LONG, 8), None)  # type: ignore[func-returns-value]
        same([self.store.take(KEY), self.store.take(KEY)], [A, None])

    def the_newest_is_taken_first(self) -> None:
        for value in (A, B, C):
            self.store.push(KEY, value, LONG, 8)
        same(drained(self.store), [C, B, A])

    def the_newest_to_be_kept_stay(self) -> None:
        for number in numbered(20):
            self.store.push(KEY, number, LONG, 8)
        same(drained(self.store), numbered(20)[:11:-1])

    def a_stack_of_one_keeps_the_newest(self) -> None:
        self.store.push(KEY, A, LONG, 1)
        self.store.push(KEY, B, LONG, 1)
        same(drained(self.store), [B])

    def a_later_smaller_limit_drops_more(self) -> None:
        for number in numbered(5):
            self.store.push(KEY, number, LONG, 8)
        self.store.push(KEY, A, LONG, 2)
        same(drained(self.store), [A, b"4"])

    def a_later_larger_limit_keeps_more(self) -> None:
        self.store.push(KEY, A, LONG, 1)
        self.store.push(KEY, B, LONG, 2)
        same(drained(self.store), [B, A])

    def a_stack_may_be_high(self) -> None:
        for number in numbered(200):
            self.store.push(KEY, number, LONG, 10**9)
        same(drained(self.store), numbered(200)[::-1])

    def pushing_goes_on_after_taking(self) -> None:
        self.store.push(KEY, A, LONG, 8)
        self.store.push(KEY, B, LONG, 8)
        same(self.store.take(KEY), B)
        self.store.push(KEY, C, LONG, 8)
        same(drained(self.store), [C, A])

    def equal_entries_are_two(self) -> None:
        self.store.push(KEY, A, LONG, 8)
        self.store.push(KEY, A, LONG, 8)
        same(drained(self.store), [A, A])

    def the_empty_entry_is_an_entry(self) -> None:
        self.store.push(KEY, b"", LONG, 8)
        same([self.store.take(KEY), self.store.take(KEY)], [b"", None])

    def entries_may_be_any_bytes(self) -> None:
        values = [bytes(range(256)), b"\0" * 100, b"\r\n", b"\xff" * 7, b"None"]
        for value in values:
            self.store.push(KEY, value, LONG, 8)
        same(drained(self.store), values[::-1])

    def the_largest_entries_come_back(self) -> None:
        values = [os.urandom(LARGEST) for _ in range(8)]
        for value in values:
            self.store.push(KEY, value, LONG, 8)
        same(drained(self.store), values[::-1])

    def stacks_of_other_keys_are_apart(self) -> None:
        self.store.push(KEY, A, LONG, 1)
        self.store.push(OTHER_KEY, B, LONG, 1)
        same([drained(self.store, OTHER_KEY), drained(self.store)], [[B], [A]])

    def an_expired_top_is_removed_and_answered_with_none(self) -> None:
        self.store.push(KEY, A, LONG, 8)
        self.store.push(KEY, B, SHORT, 8)
        self.wait(AFTER)
        same([self.store.take(KEY), self.store.take(KEY), self.store.take(KEY)], [None, A, None])

    def an_entry_below_the_top_expires(self) -> None:
        self.store.push(KEY, A, SHORT, 8)
        self.store.push(KEY, B, LONG, 8)
        self.wait(AFTER)
        same([self.store.take(KEY), self.store.take(KEY)], [B, None])

    def a_whole_stack_expires(self) -> None:
        for value in (A, B, C):
            self.store.push(KEY, value, SHORT, 8)
        self.wait(AFTER)
        same([self.store.take(KEY) for _ in range(4)], [None] * 4)

    def an_expired_stack_can_be_begun_again(self) -> None:
        self.store.push(KEY, A, SHORT, 1)
        self.wait(AFTER)
        self.store.push(KEY, B, LONG, 1)
        same([self.store.take(KEY), self.store.take(KEY)], [B, None])

    def a_push_with_a_ttl_of_zero_or_below_changes_nothing(self) -> None:
        self.store.push(KEY, A, LONG, 8)
        self.store.push(KEY, B, LONG, 8)
        for ttl in (0, 0.0, -1, -math.inf):
            self.store.push(KEY, C, ttl, 1)
        same(drained(self.store), [B, A])

    # Value and stack under one key

    def a_value_is_not_taken(self) -> None:
        self.store.put(KEY, A, LONG)
        same([self.store.take(KEY), self.store.get(KEY)], [None, A])

    def a_pushed_entry_is_not_read(self) -> None:
        self.store.push(KEY, A, LONG, 8)
        same([self.store.get(KEY), self.store.take(KEY)], [None, A])

    def put_leaves_the_stack(self) -> None:
        self.store.push(KEY, A, LONG, 8)
        self.store.put(KEY, B, LONG)
        self.store.put(KEY, C, 0)
        same(drained(self.store), [A])

    def push_and_take_leave_the_value(self) -> None:
        self.store.put(KEY, A, LONG)
        self.store.push(KEY, B, LONG, 1)
        self.store.push(KEY, C, LONG, 1)
        same([self.store.take(KEY), self.store.get(KEY)], [C, A])

    def a_value_expires_and_its_stack_stays(self) -> None:
        self.store.put(KEY, A, SHORT)
        self.store.push(KEY, B, LONG, 8)
        self.wait(AFTER)
        same([self.store.get(KEY), self.store.take(KEY)], [None, B])

    def a_stack_expires_and_its_value_stays(self) -> None:
        self.store.put(KEY, A, LONG)
        self.store.push(KEY, B, SHORT, 8)
        self.wait(AFTER)
        same([self.store.take(KEY), self.store.get(KEY)], [None, A])

    # remove

    def remove_forgets_the_value(self) -> None:
        self.store.put(KEY, A, LONG)
        same(self.store.remove(KEY), None)  # type: ignore[func-returns-value]
        same(self.store.get(KEY), None)

    def remove_forgets_the_whole_stack(self) -> None:
        self.store.push(KEY, A, LONG, 8)
        self.store.push(KEY, B, LONG, 8)
        self.store.remove(KEY)
        same([self.store.take(KEY), self.store.take(KEY)], [None, None])

    def remove_forgets_value_and_stack_at_once(self) -> None:
        self.store.put(KEY, A, LONG)
        self.store.push(KEY, B, LONG, 8)
        self.store.remove(KEY)
        same([self.store.get(KEY), self.store.take(KEY)], [None, None])

    def remove_of_nothing_is_no_error(self) -> None:
        self.store.remove(KEY)
        self.store.put(KEY, A, LONG)
        self.store.remove(KEY)
        self.store.remove(KEY)
        same(self.store.get(KEY), None)

    def remove_leaves_other_keys(self) -> None:
        for key in (OTHER_KEY, b"key\0", b"ke", b"Key"):
            self.store.put(key, A, LONG)
            self.store.push(key, B, LONG, 8)
            self.store.remove(KEY)
            same([self.store.get(key), self.store.take(key)], [A, B])

    def what_was_removed_does_not_return(self) -> None:
        self.store.put(KEY, A, LONG)
        self.store.push(KEY, A, LONG, 8)
        self.store.remove(KEY)
        self.store.push(KEY, B, LONG, 8)
        same([self.store.get(KEY), *drained(self.store)], [None, B])
        self.store.put(KEY, C, LONG)
        same([self.store.get(KEY), self.store.take(KEY)], [C, None])

    # Arguments

    def get_takes_keys_of_bytes_only(self) -> None:
        for bad in NO_BYTES:
            refused(TypeError, "key", self.store.get, bad)

    def put_takes_keys_and_values_of_bytes_only(self) -> None:
        for bad in NO_BYTES:
            refused(TypeError, "key", self.store.put, bad, A, LONG)
            refused(TypeError, "value", self.store.put, KEY, bad, LONG)

    def add_takes_keys_and_values_of_bytes_only(self) -> None:
        for bad in NO_BYTES:
            refused(TypeError, "key", self.store.add, bad, A, LONG)
            refused(TypeError, "value", self.store.add, KEY, bad, LONG)

    def push_takes_keys_and_values_of_bytes_only(self) -> None:
        for bad in NO_BYTES:
            refused(TypeError, "key", self.store.push, bad, A, LONG, 8)
            refused(TypeError, "value", self.store.push, KEY, bad, LONG, 8)

    def take_takes_keys_of_bytes_only(self) -> None:
        for bad in NO_BYTES:
            refused(TypeError, "key", self.store.take, bad)

    def remove_takes_keys_of_bytes_only(self) -> None:
        for bad in NO_BYTES:
            refused(TypeError, "key", self.store.remove, bad)

    def a_ttl_is_a_number(self) -> None:
        for bad in NO_NUMBERS:
            refused(TypeError, "ttl", self.store.put, KEY, A, bad)
            refused(TypeError, "ttl", self.store.add, KEY, A, bad)
            refused(TypeError, "ttl", self.store.push, KEY, A, bad, 8)

    def a_ttl_that_is_not_a_number_or_too_long_is_refused(self) -> None:
        for bad in (math.nan, math.inf, LONGEST + 1, 10**400):
            refused(ValueError, "ttl", self.store.put, KEY, A, bad)
            refused(ValueError, "ttl", self.store.add, KEY, A, bad)
            refused(ValueError, "ttl", self.store.push, KEY, A, bad, 8)

    def keep_is_a_whole_number(self) -> None:
        for bad in (*NO_NUMBERS, 1.0):
            refused(TypeError, "keep", self.store.push, KEY, A, LONG, bad)

    def keep_is_at_least_one(self) -> None:
        for bad in (0, -1):
            refused(ValueError, "keep", self.store.push, KEY, A, LONG, bad)

    def a_refused_call_changes_nothing(self) -> None:
        self.store.put(KEY, A, LONG)
        self.store.push(KEY, B, LONG, 8)
        refused(ValueError, "ttl", self.store.put, KEY, C, math.nan)
        refused(TypeError, "value", self.store.put, KEY, None, 0)
        refused(ValueError, "ttl", self.store.push, KEY, C, math.nan, 1)
        refused(ValueError, "keep", self.store.push, KEY, C, LONG, 0)
        same([self.store.get(KEY), *drained(self.store)], [A, B])

    # Secrecy, and what the store says of itself

    def it_says_who_can_read_it(self) -> None:
        same([type(self.store.exposed), type(self.store.private)], [bool, bool])
        if self.store.exposed and self.store.private:
            raise AssertionError("a store cannot be both exposed and private")

    def neither_repr_nor_pickle_shows_what_it_holds(self) -> None:
        key, value, entry = b"SECRET-key", b"SECRET-value", b"SECRET-entry"
        self.store.put(key, value, LONG)
        self.store.push(key, entry, LONG, 8)
        shown = (repr(self.store) + str(self.store)).encode()
        with suppress(Exception):  # whatever it is, nothing was pickled
            shown += pickle.dumps(self.store)
        if b"SECRET" in shown:
            raise AssertionError("a key or a value stands in repr, str or pickle")

    def errors_do_not_show_values(self) -> None:
        wrong: Any = "SECRET"
        for call in (
            partial(self.store.put, wrong, A, LONG),
            partial(self.store.put, KEY, wrong, LONG),
            partial(self.store.add, KEY, wrong, LONG),
            partial(self.store.push, KEY, wrong, LONG, 8),
        ):
            try:
                call()
            except TypeError as error:
                if "SECRET" in str(error):
                    raise AssertionError("a key or a value stands in an error") from error

    # Threads

    def no_entry_is_taken_by_two_threads(self) -> None:
        for number in numbered(500):
            self.store.push(KEY, number, LONG, 500)
        taken = in_threads([partial(drained, self.store)] * THREADS)
        same(sorted(joined(taken)), sorted(numbered(500)))

    def threads_that_push_and_take_lose_and_double_nothing(self) -> None:
        def push_and_take(entries: list[bytes]) -> list[bytes]:
            taken = []
            for one, other in zip(entries[::2], entries[1::2], strict=True):
                self.store.push(KEY, one, LONG, 10_000)
                self.store.push(KEY, other, LONG, 10_000)
                taken += self._taken()
                taken += self._taken()
            return taken

        entries = numbered(40 * THREADS)
        calls = [partial(push_and_take, entries[start::THREADS]) for start in range(THREADS)]
        taken = joined(in_threads(calls))
        same(sorted(taken + drained(self.store)), sorted(entries))

    def one_thread_wins_each_add(self) -> None:
        keys = numbered(50)

        def add(value: bytes) -> list[tuple[bytes, bytes | None]]:
            return [(key, value) for key in keys if self.store.add(key, value, LONG)]

        won = joined(in_threads([partial(add, value) for value in numbered(THREADS)]))
        same(sorted(won), sorted((key, self.store.get(key)) for key in keys))

    def one_thread_wins_each_add_over_an_expired_value(self) -> None:
        keys = numbered(20)
        for key in keys:
            self.store.put(key, A, SHORT)
        self.wait(AFTER)
        won = joined(in_threads([partial(self._added, keys)] * THREADS))
        same(sorted(won), sorted(keys))

    def threads_read_only_whole_values(self) -> None:
        values = [bytes([byte]) * 5000 for byte in range(THREADS)]

        def put_and_get(value: bytes) -> list[bytes | None]:
            seen = []
            for _ in range(30):
                self.store.put(KEY, value, LONG)
                seen.append(self.store.get(KEY))
            return seen

        seen = joined(in_threads([partial(put_and_get, value) for value in values]))
        same(set(seen) - set(values), set())

    def threads_may_do_everything_at_once(self) -> None:
        keys = numbered(5)

        def do_everything() -> None:
            for key in keys * 4:
                self.store.push(key, A, LONG, 3)
                self.store.put(key, B, LONG)
                self.store.add(key, C, LONG)
                self.store.get(key)
                self.store.take(key)
                self.store.remove(key)

        in_threads([do_everything] * THREADS)
        for key in keys:
            same([self.store.get(key), self.store.take(key)], [None, None])

    # Forks

    def a_forked_child_may_call(self) -> None:
        self.store.put(KEY, A, LONG)

        def call() -> list[bytes | None]:
            self.store.put(OTHER_KEY, B, LONG)
            self.store.push(OTHER_KEY, C, LONG, 8)
            return [self.store.get(OTHER_KEY), self.store.take(OTHER_KEY)]

        same(in_children([call]), [[B, C]])
        same(self.store.get(KEY), A)

    def a_forked_child_finds_what_is_not_private(self) -> None:
        self.store.put(KEY, A, LONG)
        self.store.push(KEY, B, LONG, 8)
        [found] = in_children([lambda: [self.store.get(KEY), self.store.take(KEY)]])
        left = [self.store.get(KEY), self.store.take(KEY)]
        if self.store.private:
            same([found, left], [[None, None], [A, B]])
        else:
            same([found, left], [[A, B], [A, None]])

    def a_fork_beside_calling_threads_does_not_hang(self) -> None:
        ended = threading.Event()

        def call() -> None:
            self.store.put(KEY, A, LONG)
            self.store.push(KEY, B, LONG, 8)
            self.store.get(KEY)
            self.store.take(KEY)

        def call_until_ended() -> None:
            while not ended.is_set():
                call()

        def fork() -> None:
            try:
                for _ in range(20):
                    in_children([call])
            finally:
                ended.set()

        in_threads([fork, *[call_until_ended] * CHILDREN])

    def no_entry_is_taken_by_two_processes(self) -> None:
        for number in numbered(200):
            self.store.push(KEY, number, LONG, 200)
        taken = joined(in_children([partial(drained, self.store)] * CHILDREN))
        same(sorted(taken + drained(self.store)), sorted(numbered(200)))

    def one_process_wins_each_add_to_what_is_not_private(self) -> None:
        keys = numbered(50)
        won = in_children([partial(self._added, keys)] * CHILDREN)
        if self.store.private:
            same(won, [keys] * CHILDREN)
        else:
            same(sorted(joined(won)), sorted(keys))

    # Calls in the middle of a call, in children, so that one that hangs can be ended

    def a_signal_handler_may_call_in_the_middle_of_a_call(self) -> None:
        taken: list[bytes] = []
        signals = 0

        def use() -> None:
            self._put_and_add()
            taken.extend(self._taken())

        def handle(*_: object) -> None:
            nonlocal signals
            use()
            signals += 1
            # Not earlier: a store that is slower than the timer would never leave its handlers.
            signal.setitimer(signal.ITIMER_REAL, 0.0002)

        def call() -> list[bytes]:
            signal.signal(signal.SIGALRM, handle)
            signal.setitimer(signal.ITIMER_REAL, 0.0002)
            try:
                for number in count():
                    self.store.push(KEY, b"%d" % number, LONG, 8)
                    use()
                    if signals >= SIGNALS:
                        break
            finally:
                signal.signal(signal.SIGALRM, signal.SIG_IGN)
            return sorted(taken)

        [result] = in_children([call])
        same(result, sorted(set(result)))

    def a_finaliser_may_call_in_the_middle_of_a_call(self) -> None:
        taken: list[bytes] = []

        def finalise() -> None:
            self._put_and_add()
            taken.extend(self._taken())

        def call() -> list[bytes]:
            for place in range(PLACES):
                self.store.push(KEY, b"%d" % place, LONG, 8)
                with after_call(place, finalise):
                    finalise()
                    self.store.push(KEY, b"%d again" % place, LONG, 8)
            return sorted(taken)

        [result] = in_children([call])
        same(result, sorted(set(result)))

    def what_a_finaliser_removes_does_not_return(self) -> None:
        def call() -> list[tuple[bytes | None, list[bytes]]]:
            left = []
            for place in range(PLACES):
                self.store.remove(KEY)
                self.store.put(KEY, A, LONG)
                self.store.push(KEY, B, LONG, 8)
                with after_call(place, partial(self.store.remove, KEY)) as removed:
                    self.store.push(KEY, C, LONG, 8)
                if removed:
                    left.append((self.store.get(KEY), drained(self.store)))
            return left

        [left] = in_children([call])
        same([found for found in left if found not in [(None, []), (None, [C])]], [])

    # What several cases do

    def _taken(self) -> list[bytes]:
        """The top of the stack, if there is one."""
        entry = self.store.take(KEY)
        return [] if entry is None else [entry]

    def _put_and_add(self) -> None:
        self.store.put(KEY, A, LONG)
        self.store.add(KEY, B, LONG)

    def _added(self, keys: list[bytes]) -> list[bytes]:
        """Those of the keys that could be added."""
        return [key for key in keys if self.store.add(key, A, LONG)]


STORE_CASES = tuple(name for name in vars(Cases) if not name.startswith("_"))
"""The names of the cases, in the order in which they are run."""


def same(actual: object, expected: object) -> None:
    """Fail unless both are equal and of one type: 1 is not True."""
    if type(actual) is not type(expected) or actual != expected:
        raise AssertionError(f"expected {shortened(expected)}, got {shortened(actual)}")


def shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def refused(error: type[Exception], name: str, call: Callable[..., object], *args: object) -> None:
    """Fail unless the call raises just this error, with the argument's name in its text."""
    try:
        result = call(*args)
    except (TypeError, ValueError) as raised:
        same(type(raised), error)
        if name not in str(raised):
            raise AssertionError(f"the error does not name {name}: {raised}") from raised
        return
    raise AssertionError(f"expected {error.__name__} for {shortened(args)}, got {result!r}")


def drained(store: Store, key: bytes = KEY) -> list[bytes]:
    """What a stack yields until the first None."""
    return list(iter(partial(store.take, key), None))


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def joined(lists: Iterable[list[T]]) -> list[T]:
    return list(chain.from_iterable(lists))


def in_threads(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make all calls at the same time, each in a thread, and return their results."""
    barrier = threading.Barrier(len(calls))
    results: list[T] = []
    errors: list[Exception] = []

    def run(call: Callable[[], T]) -> None:
        try:
            barrier.wait(PATIENCE)
            results.append(call())
        except Exception as error:  # noqa: BLE001 - raised below, in the caller's thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=[call], daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    end = time.monotonic() + PATIENCE
    for thread in threads:
        thread.join(max(0, end - time.monotonic()))
    if errors:
        raise errors[0]
    if len(results) < len(calls):
        raise AssertionError(f"a call in a thread hung for {PATIENCE} seconds")
    return results


@contextmanager
def after_call(place: int, finalise: Callable[[], object]) -> Iterator[list[bool]]:
    """Call `finalise` in the middle of what is done here, as Python may call a finaliser: after
    the first call of a function that returns, or the second, or whichever is at `place`. The
    list is empty if there is none.
    """
    returned = 0
    done: list[bool] = []

    def profile(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal returned
        if event.endswith("return"):
            if returned == place:
                finalise()
                done.append(True)
            returned += 1

    sys.setprofile(profile)
    try:
        yield done
    finally:
        sys.setprofile(None)


def in_children(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make each call in a forked child, and return their results."""
    children = [Child(call) for call in calls]
    try:
        answers = [child.answer() for child in children]
    finally:
        for child in children:
            child.end()
    for error, _ in answers:
        if error:
            raise AssertionError(f"a call in a forked child failed:\n{error}")
    return [result for _, result in answers]


class Child:
    """A forked child that makes a call."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._reader, writer = os.pipe()
        with warnings.catch_warnings():
            # Python 3.12 warns of forks beside threads; this child calls the store and ends.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if self._pid == 0:
            self._call_and_exit(call, writer)
        os.close(writer)

    def answer(self) -> tuple[str, Any]:
        """What the call raised, as text, and what it returned."""
        answer = b""
        while select.select([self._reader], [], [], PATIENCE)[0]:
            piece = os.read(self._reader, 65536)
            if not piece and not answer:
                raise AssertionError("a forked child died in a call")
            if not piece:
                error, result = pickle.loads(answer)  # noqa: S301 - of our own child
                return error, result
            answer += piece
        raise AssertionError(f"a call in a forked child hung for {PATIENCE} seconds")

    def end(self) -> None:
        os.close(self._reader)
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    @staticmethod
    def _call_and_exit(call: Callable[[], object], writer: int) -> None:
        try:
            try:
                answer = "", call()
            except BaseException:  # noqa: BLE001 - raised in the parent
                answer = traceback.format_exc(), None
            with os.fdopen(writer, "wb") as stream:
                pickle.dump(answer, stream)
        finally:
            os._exit(0)  # without the parent's buffers, exit functions and test runner
