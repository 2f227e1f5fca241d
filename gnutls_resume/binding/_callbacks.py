"""Every function that C calls, and the life of a callback.

1. Python calls a C function through a ``Session`` (``handshake``, ``record_recv``, …). cffi
   releases the GIL.
2. GnuTLS calls one of the static functions below, on the same thread. cffi takes the GIL.
3. The function finds its owner: a ``Session`` (or ``AntiReplay``) behind a handle, which holds
   it weakly. The owner is alive: it is executing step 1.
4. The owner is marked as being inside a callback, so that its methods refuse what must not
   happen there (``_rule.py``), and the caller's Python function runs.
5. Its exception never goes through C. Where the handshake can go on without the answer (store,
   retrieve, remove, add), it is counted and logged, and the answer is the one that fails closed:
   nothing stored, nothing found, early data refused. Elsewhere it is kept in the session and
   aborts the handshake; KeyboardInterrupt and its like are kept always.
6. C returns to step 1, which raises what was kept (``take_raised``).

What strikes before step 4 or after step 5 (a signal) arrives in ``onerror``: kept too, and C gets
the ``error=`` value, which fails closed as well. cffi's own default, 0, would mean "not a replay"
and "verified".
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gnutls_resume.binding._datum import bytes_of
from gnutls_resume.binding._ffi import CData, c_string, ffi, lib
from gnutls_resume.binding._rule import IN_CALLBACK, IN_HELLO
from gnutls_resume.binding.constants import HandshakeType, HookTime

if TYPE_CHECKING:
    from gnutls_resume.binding.early_data import AntiReplay
    from gnutls_resume.binding.session import Session

logger = logging.getLogger("gnutls_resume")

ABORT = lib.GNUTLS_E_APPLICATION_ERROR_MIN  # ends the handshake; the exception says why
REFUSED = lib.GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR
LOG_INTERVAL = 60.0  # seconds between two warnings of one kind


class Stray(threading.local):
    """What struck outside of a callback's own code; the C call on this thread raises it."""

    error: BaseException | None = None


stray = Stray()
last_warning: dict[str, float] = {}


def owes(session: "Session") -> bool:
    """Whether the C call that has just returned left an exception to be raised."""
    return stray.error is not None or threading.get_ident() in session.raised


def take_raised(session: "Session") -> BaseException:
    """That exception; the first of several."""
    error = session.raised.pop(threading.get_ident(), None) or stray.error
    stray.error = None
    assert error is not None
    return error


def keep(session: "Session", error: BaseException) -> None:
    session.raised.setdefault(threading.get_ident(), error)


def onerror(_kind: object, error: Any, _traceback: object) -> None:  # noqa: ANN401
    stray.error = stray.error or error


def is_due(kind: str) -> bool:
    """Whether a warning of this kind may be logged; then it counts as logged."""
    now = time.monotonic()
    if now - last_warning.get(kind, -LOG_INTERVAL) < LOG_INTERVAL:
        return False
    last_warning[kind] = now
    return True


def warn(kind: str, error: Exception) -> None:
    """Log a failure that the handshake survives, once a minute a kind."""
    if is_due(kind):
        try:
            logger.warning("%s failed: %s: %s", kind, type(error).__name__, error)
        except Exception as broken:  # noqa: BLE001 - a handler's fault is not the handshake's
            error.__context__ = broken


def session_of(c: CData) -> "Session":
    return owner_of(lib.gnutls_session_get_ptr(c))


def owner_of(pointer: CData) -> "Session":
    own: CData = ffi.cast("gr_session *", pointer)
    session: Session = ffi.from_handle(own.handle)()
    return session


def run(session: "Session", place: int, call: Callable[..., Any], *args: object) -> bool:
    """Call a hook that may end the handshake; False if it raised."""
    before = 0
    try:
        before = lib.gr_callback(session.own, place)
        call(*args)
    except BaseException as error:  # noqa: BLE001 - nothing may go through C
        keep(session, error)
        return False
    finally:
        lib.gr_callback(session.own, before)
    return True


def ask(session: "Session", kind: str, call: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401
    """Call into the caller's database; None if it raised, which is counted and logged."""
    before = 0
    try:
        before = lib.gr_callback(session.own, IN_CALLBACK)
        return call(*args)
    except Exception as error:  # noqa: BLE001 - any fault of a store is a miss
        session.note_db_failure(error)
        warn(f"the session database's {kind}", error)
    except BaseException as error:  # noqa: BLE001
        keep(session, error)
    finally:
        lib.gr_callback(session.own, before)
    return None


# -- the handshake ----------------------------------------------------------------------------


@ffi.def_extern(error=ABORT, onerror=onerror)
def gr_py_hook(c: CData, kind: int, when: int, incoming: int, message: CData) -> int:
    session = session_of(c)
    if kind == HandshakeType.NEW_SESSION_TICKET and when == HookTime.POST and incoming:
        # The ticket is in the library's hands already: a failure here costs the caller this
        # ticket, not the connection.
        run(session, IN_CALLBACK, session.hand_over_ticket)
    hook = (session.hooks or {}).get((kind, when))
    if hook is None:
        return 0
    place = IN_HELLO if kind == HandshakeType.CLIENT_HELLO and incoming else IN_CALLBACK
    done = run(session, place, hook, session, kind, when, bool(incoming), bytes_of(message))
    # GnuTLS frees an outgoing ticket twice when a hook refuses it: let it go, and raise after.
    goes_on = kind == HandshakeType.NEW_SESSION_TICKET and not incoming
    return 0 if done or goes_on else ABORT


@ffi.def_extern(error=ABORT, onerror=onerror)
def gr_py_post_client_hello(c: CData) -> int:
    session = session_of(c)
    assert session.post_client_hello is not None
    return 0 if run(session, IN_HELLO, session.post_client_hello, session) else ABORT


@ffi.def_extern(error=REFUSED, onerror=onerror)
def gr_py_verify(c: CData) -> int:
    session = session_of(c)
    accepted: list[object] = []
    assert session.verifier is not None
    verifier = session.verifier
    run(session, IN_CALLBACK, lambda: accepted.append(verifier(session)))
    return 0 if accepted and accepted[0] is True else REFUSED


@ffi.def_extern(error=0, onerror=onerror)
def gr_py_keylog(c: CData, label: CData, secret: CData) -> int:
    session = session_of(c)
    assert session.keylog is not None
    run(session, IN_CALLBACK, session.keylog, c_string(label), bytes_of(secret))
    return 0


# -- the session database ---------------------------------------------------------------------


@ffi.def_extern(error=-1, onerror=onerror)
def gr_py_db_store(pointer: CData, key: CData, data: CData) -> int:
    session = owner_of(pointer)
    ask(session, "store", session.store_entry, bytes_of(key), data)
    return 0


@ffi.def_extern(onerror=onerror)  # zeros: no data, a miss
def gr_py_db_retrieve(pointer: CData, key: CData) -> CData:
    session = owner_of(pointer)
    found = ask(session, "retrieve", session.retrieve_entry, bytes_of(key))
    return ffi.new("gnutls_datum_t *")[0] if found is None else found


@ffi.def_extern(error=-1, onerror=onerror)
def gr_py_db_remove(pointer: CData, key: CData) -> int:
    session = owner_of(pointer)
    ask(session, "remove", session.remove_entry, bytes_of(key))
    return 0


# -- early data -------------------------------------------------------------------------------

WINDOW_START_SIZE = 12  # bytes before the binder in GnuTLS's key; see AntiReplay
ROUNDING = 2  # seconds that an entry must outlive GnuTLS's own idea of its end


@ffi.def_extern(error=-1, onerror=onerror)
def gr_py_anti_replay_add(pointer: CData, expires: int, key: CData, data: CData) -> int:
    anti_replay: AntiReplay = ffi.from_handle(pointer)()
    binder = bytes_of(key)[WINDOW_START_SIZE:]
    try:
        answer = anti_replay.add(binder, bytes_of(data), expires + ROUNDING)
        if not isinstance(answer, bool):
            raise TypeError(f"add must return a bool, not {type(answer).__name__}")
    except Exception as error:  # noqa: BLE001 - any doubt refuses the early data
        anti_replay.failures += 1
        warn("the anti-replay store's add", error)
        return -1
    return 0 if answer else lib.GNUTLS_E_DB_ENTRY_EXISTS


VERIFY = lib.gr_py_verify
KEYLOG = lib.gr_py_keylog
ANTI_REPLAY_ADD = lib.gr_py_anti_replay_add
