"""What became of a handshake, decided where the fact is known and carried up."""

import inspect
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from gnutls_resume.binding._callbacks import is_due
from gnutls_resume.errors import InvalidReason
from gnutls_resume.resumption.lock import Lock

logger = logging.getLogger("gnutls_resume")


class HandshakeKind(Enum):
    """How a connection began."""

    FULL = "full"
    RESUMED_SESSION_ID = "resumed by session ID"
    RESUMED_TICKET = "resumed by ticket"


class MissReason(Enum):
    """Why a handshake was full. The last three are a server's, and of the others it has
    NONE_STORED, EXPIRED, OTHER_VERSION, DAMAGED, STORE_ERROR and DISABLED too.
    """

    NONE_STORED = "no session was stored"
    EXPIRED = "the stored session has expired"
    OTHER_VERSION = "the stored session was made by another version of GnuTLS"
    DAMAGED = "the stored session is damaged, or sealed under another key"
    DECLINED = "the server declined it"
    AFTER_FAILURE = "a handshake that offered one has failed a short while ago"
    STORE_ERROR = "the store failed"
    DISABLED = "resumption is off for this connection"
    POLICY_CHANGED = "the session handed in was made under another policy"
    NONE_OFFERED = "the client offered none"
    KEY_UNKNOWN = "the client's ticket is under a key unknown here"
    REFUSED = "GnuTLS refused it"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A completed handshake: its kind, and why it was full if it was; the server name, the
    protocol (``'TLSv1.3'``), the side and how long it took in seconds, waiting included.
    """

    kind: HandshakeKind
    miss_reason: MissReason | None
    server_name: str | None
    protocol: str
    server_side: bool
    seconds: float


OnHandshake = Callable[[Outcome], object]


REASONS = {
    InvalidReason.EXPIRED: MissReason.EXPIRED,
    InvalidReason.OTHER_VERSION: MissReason.OTHER_VERSION,
    InvalidReason.OTHER_POLICY: MissReason.POLICY_CHANGED,
}


class Counters:
    """Numbers of one context, counted from any thread."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._seconds: dict[str, float] = {}
        self._lock = Lock()

    def count(self, *names: str) -> None:
        with self._lock:
            for name in names:
                self._numbers[name] = self._numbers.get(name, 0) + 1

    def count_timed(self, name: str, total: str, seconds: float) -> None:
        """Count it, and add what it took to a total."""
        with self._lock:
            self._numbers[name] = self._numbers.get(name, 0) + 1
            self._seconds[total] = self._seconds.get(total, 0.0) + seconds

    def number(self, name: str) -> int:
        return self._numbers.get(name, 0)

    def read(self) -> dict[str, int | float]:
        """The numbers of now."""
        with self._lock:
            return {**self._numbers, **self._seconds}


def report(outcome: Outcome, counters: Counters, on_handshake: OnHandshake | None) -> None:
    """Count a completed handshake, log it, and tell whoever asked. Never raises an Exception."""
    side = "server" if outcome.server_side else "client"
    names = [f"{side}_handshakes", f"{side}_{outcome.kind.name.lower()}"]
    if outcome.miss_reason is not None:
        names.append(f"{side}_{outcome.miss_reason.name.lower()}")
    counters.count(*names)
    if logger.isEnabledFor(logging.DEBUG):
        log(
            logging.DEBUG,
            "%s handshake, %s, %s: %s%s, %.1f ms",
            side,
            outcome.server_name or "no server name",
            outcome.protocol,
            outcome.kind.value,
            f" ({outcome.miss_reason.value})" if outcome.miss_reason else "",
            outcome.seconds * 1000,
        )
    if on_handshake is not None:
        try:
            on_handshake(outcome)
        except Exception:  # noqa: BLE001 - whatever it is
            counters.count("on_handshake_errors")
            log(logging.ERROR, "on_handshake failed", exc_info=True)


def warn(kind: str, text: str, *args: object) -> None:
    """Log a failure that handshakes survive, once a minute a kind."""
    if is_due(kind):
        log(logging.WARNING, text, *args)


def log(level: int, text: str, *args: object, exc_info: bool = False) -> None:
    """A handler's fault is not the handshake's: it is dropped. A handler that makes this very
    connection, to send what is logged over it, would wait for itself: nothing is logged then.
    """
    with suppress(Exception):
        if not in_handler():
            logger.log(level, text, *args, exc_info=exc_info)


def in_handler() -> bool:
    """Whether a logging handler is at work in this thread."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code is not logging.Handler.handle.__code__:
        frame = frame.f_back
    return frame is not None
