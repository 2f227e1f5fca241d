"""What a store promises to those who keep sessions in it."""

from typing import NamedTuple, Protocol


class Store(Protocol):
    """A place for sessions: any object with these two attributes and six methods.

    Under a key there is at most one *value*, and beside it a *stack* of values. They share
    nothing but the key: ``get``, ``put`` and ``add`` see the value, ``push`` and ``take`` the
    stack, ``remove`` both. Keys, and what is kept, are ``bytes`` of any length, empty ones too,
    and of any content.

    **Time.** `ttl` is in seconds, a fraction allowed, at most 2**32 - 1 (what RFC 8446 §4.6.1
    can say in a ticket). From the moment it has passed the entry is gone; in this process's
    memory also if the clock is set back meanwhile. With a `ttl` of 0 or below nothing is kept.

    **Losses are allowed, revivals are not.** A store may lose any entry at any time: because it
    is full, was restarted or cannot hold so much. It must never return an entry after its ttl,
    after ``remove``, after a later ``put`` of the key, or, from a stack, to a second caller.

    **Threads and processes.** Any thread may call at any time, several at once, and so may a
    process forked from the one that made the store. Each call is atomic: others see all of it
    or nothing. A finaliser or a signal handler may call in the middle of another call of the
    same thread, and must not wait for ever.

    **Faults.** A method may raise anything: callers of this library treat that as a miss, count
    it and go on with a full handshake. It should return or raise within 50 milliseconds,
    because a handshake waits for it: no retries. Arguments of a wrong type are a TypeError, and
    values that make no sense a ValueError, at once and naming the argument.

    **Secrecy.** Values are secret, and keys may tell host names. Neither belongs in a log, a
    ``repr``, an exception or a pickle. A store does not encrypt: who fills it does, with
    ``SealingKey``.

    ``gnutls_resume.testing.check_store`` is this text as a test.
    """

    @property
    def exposed(self) -> bool:
        """Others than this program's user can read or write it, as in a database across a
        network: sessions go there only under a sealing key.
        """

    @property
    def private(self) -> bool:
        """It is only in this process's memory, so nothing outlives the process: sessions are
        sealed under a key that does not either.
        """

    def get(self, key: bytes) -> bytes | None:
        """The value, which stays; None if there is none, or it has expired."""

    def put(self, key: bytes, value: bytes, ttl: float) -> None:
        """Make this the value, whatever it was before.

        If it cannot be kept (`ttl` of 0 or below, too large), the old value is gone all the same.
        """

    def add(self, key: bytes, value: bytes, ttl: float) -> bool:
        """Make this the value if there is none. True only if it has been kept.

        Of callers that add the same key at once, in whatever threads and processes share the
        store, at most one is told True, and no other until the value has expired or was removed.
        A value that has expired is none. In doubt it is False: a caller may rely on True to be
        the only one. It is never tried twice within one call.
        """

    def push(self, key: bytes, value: bytes, ttl: float, keep: int) -> None:
        """Put this on top of the stack, and drop from its bottom all but the newest `keep`.

        Each entry has its own ttl. `keep` is at least 1. With a `ttl` of 0 or below the stack
        stays as it is.
        """

    def take(self, key: bytes) -> bytes | None:
        """Remove the top of the stack, the entry pushed last, and return it.

        Each pushed entry is returned to at most one caller, in whatever threads and processes
        share the store: better lost than taken twice. If the top has expired it is removed and
        the answer is None, although one below may be alive: the next call takes that.
        """

    def remove(self, key: bytes) -> None:
        """Forget the value and the stack. No error if there is neither."""


class StoredEntry(NamedTuple):
    """What an operator may see of an entry: its key, when it expires (Unix seconds), how large
    it is (bytes), and how many entries are on the stack; 0: it is a value.
    """

    key: bytes
    expires: float
    size: int
    stacked: int


VERBS = ("get", "put", "add", "push", "take", "remove")


def check_store(name: str, store: Store, *, sealed: bool) -> Store:
    """Return `store` if it looks like one. Raises TypeError, and ValueError for one that others
    can read if what goes there is not sealed.
    """
    verbs = [getattr(store, verb, None) for verb in VERBS]
    if isinstance(store, type) or not all(map(callable, verbs)):
        raise TypeError(f"{name} must be a Store, not {type(store).__name__}")
    for fact in ("exposed", "private"):
        if not isinstance(getattr(store, fact, None), bool):
            raise TypeError(f"{name} must be a Store: {type(store).__name__}.{fact} is no bool")
    if store.exposed and not sealed:
        raise ValueError(f"{name}: others can read this store; give a sealing_key=")
    return store
