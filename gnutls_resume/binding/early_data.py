"""Protection of early data against replay (RFC 8446 §8)."""

import weakref
from collections.abc import Callable

from gnutls_resume.binding import _callbacks
from gnutls_resume.binding._check import check
from gnutls_resume.binding._ffi import ffi, lib

SHORTEST, LONGEST = 0.001, 604_800  # seconds: GnuTLS's unit, and the life of a ticket

Add = Callable[[bytes, bytes, int], bool]


class AntiReplay:
    """What a server asks before it accepts early data (``gnutls_anti_replay_t``).

    ``add(key, data, expires)`` must put `key` into a store, atomically, and return True only if
    it was not there; anything else, and any exception, refuses the early data, and the handshake
    goes on without. `expires` is in Unix seconds. One AntiReplay serves all sessions of a
    server, and processes that share the store.

    `window` (seconds, up to 604,800) is how far a client's clock may be off, and how long keys
    are kept. GnuTLS accepts early data only for tickets issued since the window was last
    renewed: make it as long as tickets live.

    Two faults of GnuTLS are mended here: its key begins with the time at which this object was
    made or renewed, so that two processes would both accept the same early data (those 12 bytes
    are left out); and it rounds `expires` down (2 seconds are added).
    """

    def __init__(self, add: Add, *, window: float = 10.0) -> None:
        if not callable(add):
            raise TypeError("add must be callable")
        if isinstance(window, bool) or not isinstance(window, int | float):
            raise TypeError(f"window must be a number, not {type(window).__name__}")
        if not SHORTEST <= window <= LONGEST:
            raise ValueError(f"window must be {SHORTEST} to {LONGEST} seconds, not {window}")
        self.add = add
        self.failures = 0
        """How many calls of ``add`` raised, or returned what is no bool."""
        pointer = ffi.new("gnutls_anti_replay_t *")
        check(lib.gnutls_anti_replay_init(pointer))
        self.c = ffi.gc(pointer[0], lib.gnutls_anti_replay_deinit)
        self._handle = ffi.new_handle(weakref.ref(self))
        lib.gnutls_anti_replay_set_window(self.c, round(window * 1000))
        lib.gnutls_anti_replay_set_ptr(self.c, self._handle)
        lib.gnutls_anti_replay_set_add_function(self.c, _callbacks.ANTI_REPLAY_ADD)
