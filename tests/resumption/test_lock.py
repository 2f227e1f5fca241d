"""Locks that a signal handler, a finaliser or a forked child must not wait for."""

import os
import threading

import pytest

from gnutls_resume.drop_in import context, hooks
from gnutls_resume.resumption import reverify, trust
from gnutls_resume.resumption.lock import Lock
from gnutls_resume.resumption.outcome import Counters

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

LOCKS = {
    "counters": Counters()._lock,
    "verifier": reverify.Verifier(trust.NOTHING)._lock,
    "building": reverify.building,
    "reading": trust.reading,
    "loading": context.loading,
    "writing_keys": hooks.writing_keys,
}
each_lock = pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS.keys())


@each_lock
def test_thread_that_holds_a_lock_may_come_for_it_again(lock: Lock) -> None:
    with lock, lock:
        assert not free(lock)
    assert free(lock)


def free(lock: Lock) -> bool:
    """Whether another thread gets it within a moment."""
    got = threading.Event()

    def take() -> None:
        with lock:
            got.set()

    threading.Thread(target=take, daemon=True).start()
    return got.wait(0.2)


@each_lock
def test_forked_child_finds_a_lock_free_that_another_thread_holds(lock: Lock) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    child = os.fork()
    if child == 0:
        # In the thread that forked: a new one may be called like the one that held it.
        os._exit(not lock.acquire(blocking=False))
    _, status = os.waitpid(child, 0)
    assert not free(lock), "in the parent it is held"
    done.set()
    thread.join()
    assert status == 0


def test_forked_child_keeps_the_lock_that_its_thread_holds() -> None:
    lock = Lock()
    with lock:
        child = os.fork()
        if child == 0:
            os._exit(free(lock))
        _, status = os.waitpid(child, 0)
        assert status == 0
    assert free(lock)
