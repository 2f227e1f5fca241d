"""Who may call a session's method, and when: misuse raises, and never corrupts.

GnuTLS checks little of this itself: some functions dereference NULL before the handshake, and
two threads in one session corrupt it. The conditions are bits, tested and taken in C in one step
(``gr_enter`` in session.c) under a number of the call's own; nothing waits.
"""

import itertools
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, Literal, NoReturn, ParamSpec, TypeVar

from gnutls_resume.binding._ffi import lib
from gnutls_resume.errors import MisuseError

if TYPE_CHECKING:
    from gnutls_resume.binding.session import Session

Role = Literal["client", "server"]

next_call = itertools.count(1).__next__

P = ParamSpec("P")
R = TypeVar("R")

# A method's turn: what it does with the session, and so with whom it shares it.
LOOK: int = lib.GR_LOOK
READ: int = lib.GR_READ
WRITE: int = lib.GR_WRITE
ALONE: int = READ | WRITE

# How far the session has come.
NEW: int = lib.GR_NEW
STARTED: int = lib.GR_STARTED
DONE: int = lib.GR_DONE
CLOSED: int = lib.GR_CLOSED
OPEN = NEW | STARTED | DONE

CLIENT: int = lib.GR_CLIENT
SERVER: int = lib.GR_SERVER

# Where a callback is, and where methods may be called that do more than look.
IN_HELLO: int = lib.GR_IN_HELLO
IN_CALLBACK: int = lib.GR_IN_CALLBACK

WORDS = {
    NEW: "before the handshake",
    STARTED: "during the handshake",
    DONE: "after the handshake",
    CLOSED: "after close()",
}
ROLES: dict[int, Role] = {CLIENT: "client", SERVER: "server"}


def rule(
    turn: int, when: int = OPEN, who: int = CLIENT | SERVER, where: int = 0
) -> Callable[[Callable[Concatenate["Session", P], R]], Callable[Concatenate["Session", P], R]]:
    """The conditions of a method, checked before GnuTLS is asked: misuse raises MisuseError.

    Inside a callback of the session only methods that look may be called, in a ClientHello hook
    those with IN_HELLO as well, and elsewhere those with IN_CALLBACK.
    """
    bits = turn | when | who | where
    enter, leave = lib.gr_enter, lib.gr_leave

    def decorate(
        method: Callable[Concatenate["Session", P], R],
    ) -> Callable[Concatenate["Session", P], R]:
        @wraps(method)
        def guarded(self: "Session", /, *args: P.args, **kwargs: P.kwargs) -> R:
            call = next_call()
            try:
                refusal = enter(self.own, bits, call)
                if refusal:
                    refuse(method.__name__, self, bits, refusal)
                return method(self, *args, **kwargs)
            finally:
                # By the call's number, not by what enter returned: a signal handler may raise
                # before that is noted.
                leave(self.own, call)

        return guarded

    return decorate


def refuse(name: str, session: "Session", bits: int, refusal: int) -> NoReturn:
    if name.startswith("_"):  # the second half of a public method: _bye_write
        name = name.split("_")[1]
    if refusal == lib.GR_BUSY:
        raise MisuseError(f"{name}: another thread is using this session")
    if refusal == lib.GR_WRONG_STATE:
        raise MisuseError(f"{name} cannot be called {WORDS[session.own.state]}")
    if refusal == lib.GR_WRONG_ROLE:
        wanted = ROLES[bits & (CLIENT | SERVER)]
        raise MisuseError(f"{name} is for a {wanted}, this is a {session.role}")
    raise MisuseError(f"{name} cannot be called in a callback of its session")
