"""A store as one context sees it, on the client's side and on the server's.

- Names: with a sealing key they are made from it and tell nothing; what is not found is asked for
  once more under the previous key's name.
- Every question is counted and timed: each ``get`` and ``take`` here is a hit, a miss or an error,
  and a failure of what writes is a write error. A store that fails or hangs is asked nothing for a
  while (``stores/guard.py``), but for the one in this process's memory, which does neither.
- What a store raises comes out, and what it returns is bytes.
"""

import time
from collections.abc import Callable

from gnutls_resume.binding import SealingKey
from gnutls_resume.binding.envelope import store_key
from gnutls_resume.resumption.outcome import Counters, warn
from gnutls_resume.stores.guard import guard_for
from gnutls_resume.stores.memory import MemoryStore
from gnutls_resume.stores.protocol import Store

keys: list[SealingKey] = []  # the first is the process's


def process_key() -> SealingKey:
    """The key for what stays in this process's memory, so that no secret stands in Python's."""
    if not keys:
        keys.append(SealingKey.generate())  # two threads may both come here: the first one counts
    return keys[0]


class StoreView:
    """One context's view of a store, which others may share."""

    def __init__(
        self, store: Store | None, sealing_key: SealingKey | None, counters: Counters
    ) -> None:
        self.store = store
        if store is not None and type(store) is not MemoryStore:
            self.store = guard_for(store)
        self._sealing_key = sealing_key
        self._counters = counters

    @property
    def key(self) -> SealingKey | None:
        """What this context's sessions are sealed under, None for a checksum."""
        if self._sealing_key is None and (self.store is None or self.store.private):
            return process_key()
        return self._sealing_key

    def get(self, digest: bytes) -> bytes | None:
        """The value under the digest's name. Raises what the store raises."""
        return self._find("get", digest)

    def take(self, digest: bytes) -> bytes | None:
        """The newest entry of its stack. Raises what the store raises."""
        return self._find("take", digest)

    def _find(self, verb: str, digest: bytes) -> bytes | None:
        key, end = self._sealing_key, "store_errors"
        began = time.perf_counter()
        try:
            call: Callable[[bytes], bytes | None] = getattr(self.store, verb)
            found = call(store_key(digest, key))
            if found is None and key is not None and key.previous is not None:
                found = call(store_key(digest, key.previous))
            if found is not None and not isinstance(found, bytes):
                raise wrong_answer(verb, found)
            end = "store_misses" if found is None else "store_hits"
        finally:
            self._counters.count_timed(end, "store_seconds", time.perf_counter() - began)
        return found

    def put(self, digest: bytes, value: bytes, ttl: float) -> None:
        self._write("put", digest, self._sealing_key, value, ttl)

    def push(self, digest: bytes, value: bytes, ttl: float, keep: int) -> None:
        self._write("push", digest, self._sealing_key, value, ttl, keep)

    def remove(self, digest: bytes) -> None:
        """Under both keys, or what was sealed under the previous one would be found again."""
        key = self._sealing_key
        try:
            self._write("remove", digest, key)
        finally:
            if key is not None and key.previous is not None:
                self._write("remove", digest, key.previous)

    def _write(self, verb: str, digest: bytes, key: SealingKey | None, *rest: object) -> None:
        end = "store_write_errors"
        began = time.perf_counter()
        try:
            getattr(self.store, verb)(store_key(digest, key), *rest)
            end = "store_writes"
        finally:
            self._counters.count_timed(end, "store_seconds", time.perf_counter() - began)

    def count(self, name: str) -> None:
        self._counters.count(name)


def wrong_answer(verb: str, answer: object) -> TypeError:
    """The error for what no store may return, which is logged."""
    kind = type(answer).__name__
    warn("the session store's answer", "the session store's %s returned %s", verb, kind)
    return TypeError(f"{verb} must return bytes or None, not {kind}")
