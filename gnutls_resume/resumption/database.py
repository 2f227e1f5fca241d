"""A server's sessions of TLS 1.2 clients that take no tickets, in a store that others may share.

An entry is bound to all that decides whether it may be resumed: the server's policy, the server
name, the version and the ALPN protocol of the connection. They are part of its name in the store
and of its seal, so that a session ID that was given elsewhere is simply unknown.

Whatever a store does, the handshake goes on.
"""

import hashlib
import time
import weakref
from contextlib import suppress

from gnutls_resume.binding import Sealing, Session, SessionFlag
from gnutls_resume.binding.envelope import read_header
from gnutls_resume.errors import InvalidSessionError
from gnutls_resume.resumption.outcome import REASONS, MissReason
from gnutls_resume.resumption.policy import encode
from gnutls_resume.resumption.store_view import StoreView

NO_EARLY_DATA = 0


class SessionDatabase(StoreView):
    """One context's view of a store, for its servers."""

    def serve(self, session: Session, policy: bytes) -> "Visit":
        """Let a connection find its session here, and leave it here; `policy` is a digest."""
        visit = Visit(self, session, policy)
        session.db_set_functions(
            store=visit.store,
            retrieve=visit.retrieve,
            remove=visit.remove,
            sealing=Sealing(self.key, visit.context),
        )
        return visit


class Visit:
    """One connection's dealings with the database."""

    def __init__(self, database: SessionDatabase, session: Session, policy: bytes) -> None:
        self._database = database
        self._session: Session = weakref.proxy(session)  # which holds our methods
        self._policy = policy
        self._offered: bytes | None = None  # the name of what was found
        self._entry: bytes | None = None  # the name of this connection's session
        self.miss_reason: MissReason | None = None
        """Why the client's session ID, if it has sent one, led to no session."""

    @property
    def found(self) -> bool:
        """There was an entry of the client's session ID."""
        return self._offered is not None

    def context(self) -> bytes:
        """What the entry is bound to."""
        session = self._session
        version = session.protocol_get_version()
        alpn = session.alpn_get_selected_protocol() or b""
        name = session.client_hello_server_name() or ""
        return encode((self._policy, int(version or 0), alpn, name, NO_EARLY_DATA))

    def _name(self, session_id: bytes) -> bytes:
        return hashlib.sha256(encode((self.context(), session_id))).digest()

    def retrieve(self, session_id: bytes) -> bytes | None:
        """The envelope of a session ID that a client has sent."""
        name = self._name(session_id)
        try:
            found = self._database.get(name)
        except Exception:  # noqa: BLE001 - any fault of a store is a miss
            self.miss_reason = MissReason.STORE_ERROR
            return None
        if found is None:
            self.miss_reason = MissReason.NONE_STORED
            return None
        self._offered = name
        return found

    def store(self, session_id: bytes, data: bytes) -> None:
        """Keep the session of a full handshake, unless a resumption would have to be refused
        (RFC 7627 §5.3).
        """
        if SessionFlag.EXT_MASTER_SECRET not in self._session.get_flags():
            return
        self._entry = self._name(session_id)  # a store that fails may have kept it all the same
        with suppress(Exception):
            self._database.put(self._entry, data, read_header(data).expires - time.time())

    def remove(self, session_id: bytes) -> None:
        """Forget a session ID."""
        self._remove(self._name(session_id))

    def resumed(self) -> None:
        """What was found is this connection's session; until then anybody may have named it."""
        self._entry = self._offered

    def not_resumed(self) -> None:
        """The handshake was full: say why, and forget an entry that nobody can resume."""
        if not self.found:
            return
        error = self._session.db_error
        if error is None:
            self.miss_reason = MissReason.REFUSED
            return
        self.miss_reason = MissReason.DAMAGED
        if isinstance(error, InvalidSessionError):
            self.miss_reason = REASONS.get(error.reason, MissReason.DAMAGED)
        if self.miss_reason is MissReason.POLICY_CHANGED:  # another's, under our name
            self.miss_reason = MissReason.DAMAGED
        assert self._offered is not None
        self._remove(self._offered)

    def broken(self) -> None:
        """The connection has ended in a fatal alert: its session is not used again
        (RFC 5246 §7.2.2). GnuTLS is not asked: another thread may have the session to itself.
        """
        if self._entry is not None:
            self._remove(self._entry)

    def _remove(self, name: bytes) -> None:
        with suppress(Exception):
            self._database.remove(name)
