"""Locks that are held for a moment, and never for ever.

A signal handler or a finaliser may run in the thread that holds one, and come for it again; and
a process may fork while another thread holds one, which the child does not have.
"""

import os
import threading
import weakref


class Lock:
    """Taken again by the thread that holds it, and free in a forked child unless the thread that
    forked holds it.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        locks.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def start_again(self) -> None:
        """In a forked child: whoever else held it will never let go of it."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
        else:
            self._lock = threading.RLock()


locks: weakref.WeakSet[Lock] = weakref.WeakSet()


def start_again() -> None:
    for lock in locks:
        lock.start_again()


os.register_at_fork(after_in_child=start_again)
