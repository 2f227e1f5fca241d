"""The sockets and objects that a context hands out: the standard library's, which also say how
their connection began.
"""

import ssl

from gnutls_resume.drop_in.engine import Engine
from gnutls_resume.resumption.outcome import HandshakeKind, MissReason, Outcome


class WithOutcome:
    """What both have beyond the standard library's."""

    outcome: Outcome | None = None
    """Of the handshake, once it is complete, also after ``unwrap`` and ``close``."""

    @property
    def handshake_kind(self) -> HandshakeKind | None:
        """How the connection began; None before the handshake."""
        return None if self.outcome is None else self.outcome.kind

    @property
    def miss_reason(self) -> MissReason | None:
        """Why the handshake was full; None if it was not."""
        return None if self.outcome is None else self.outcome.miss_reason


class SSLSocket(WithOutcome, ssl.SSLSocket):
    """``ssl.SSLSocket`` over GnuTLS. Made by ``SSLContext.wrap_socket``."""

    def _real_close(self) -> None:
        engine = self._sslobj  # type: ignore[attr-defined]
        try:
            if isinstance(engine, Engine):
                if self.gettimeout() != 0:
                    engine.wait_for_tickets()
                engine.end()
        finally:
            super()._real_close()  # type: ignore[misc] # typeshed does not tell


class SSLObject(WithOutcome, ssl.SSLObject):
    """``ssl.SSLObject`` over GnuTLS. Made by ``SSLContext.wrap_bio``."""


def outcome(sock: object) -> Outcome | None:
    """How the connection of any socket or object made by an ``SSLContext`` of this library
    began, gevent's and eventlet's own kinds too; None before the handshake.
    """
    found = getattr(sock, "outcome", None)
    if not isinstance(found, Outcome):
        found = getattr(getattr(sock, "_sslobj", None), "outcome", None)
    return found if isinstance(found, Outcome) else None
