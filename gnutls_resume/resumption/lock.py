"""Locks that are held for a moment, and never for ever.

A signal handler or a finaliser may run in the thread that holds one, and come for it again; what
it raises must not come between the taking and the with-statement, so a lock is C's own; and a
process may fork while another thread holds one, which the child does not have.
"""

import _thread
import os
import weakref


class Lock(_thread.RLock):  # type: ignore[misc] # final in typeshed alone
    """Taken again by the thread that holds it, and free in a forked child unless the thread that
    forked holds it.
    """

    def __init__(self) -> None:
        super().__init__()
        locks.add(self)

    @property
    def mine(self) -> bool:
        """Whether this thread holds it."""
        return bool(self._is_owned())  # type: ignore[attr-defined]

    def start_again(self) -> None:
        """In a forked child: whoever else held it will never let go of it."""
        if self.acquire(blocking=False):
            self.release()
        else:
            self._at_fork_reinit()  # type: ignore[attr-defined]


locks: weakref.WeakSet[Lock] = weakref.WeakSet()


def start_again() -> None:
    for lock in locks:
        lock.start_again()


os.register_at_fork(after_in_child=start_again)
