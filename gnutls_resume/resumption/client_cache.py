"""A client's sessions: offered, learnt and forgotten by themselves.

The store's key is the policy's digest, so that a session is found only by its equal. Rules:

- A session is learnt only when the handshake and the verification have both succeeded.
- A TLS 1.3 ticket is pushed, and taken once, the freshest first; a TLS 1.2 session is put, and
  read until it expires.
- After a failed handshake that offered a session, a mark stands as the value under the key:
  nothing is offered, or tickets only. So the value is read first, and a live mark is not written
  over.
- Whatever a store does, the handshake goes on.
"""

import time
import weakref
from collections.abc import Container
from contextlib import suppress

from gnutls_resume.binding import Protocol, Sealing, Session
from gnutls_resume.binding.envelope import read_header
from gnutls_resume.errors import GnuTLSError, InvalidReason, InvalidSessionError, MisuseError
from gnutls_resume.resumption.outcome import REASONS, MissReason
from gnutls_resume.resumption.store_view import StoreView

KEEP = 8  # tickets a key
NOTHING, TICKETS_ONLY = b"offer nothing", b"offer tickets only"
MARKS = frozenset({NOTHING, TICKETS_ONLY})
NOTHING_FOR, TICKETS_ONLY_FOR = 600, 86_400  # seconds


class ClientSessionCache(StoreView):
    """One context's view of a store, for its clients."""

    def sealing(self, digest: bytes) -> Sealing:
        return Sealing(self.key, digest)

    def keep_ticket(self, digest: bytes, value: bytes, ttl: float) -> None:
        self.push(digest, value, ttl, KEEP)


class Attempt:
    """One connection's dealings with the cache, in this order: ``offer`` or ``offer_given``,
    then ``accepted`` and at last ``ended``, or ``failed`` or ``refused``. It is the session's
    ticket function too.
    """

    def __init__(
        self,
        cache: ClientSessionCache,
        session: Session,
        digest: bytes,
        versions: Container[Protocol],
        lifetime: int,
    ) -> None:
        self._cache = cache if cache.store is not None and session.server_name else None
        self._session: Session = weakref.proxy(session)  # which holds us, as its ticket function
        self._digest = digest
        self._versions = versions
        self._lifetime = lifetime
        self._verified = False
        self._resumed = False
        self._mark: bytes | None = None
        self._data: bytes | None = None  # what was offered
        self._taken = False  # from the store, which no longer has it
        self._over = False
        self.miss_reason: MissReason | None = None
        """Why nothing could be offered."""
        self.latest: bytes | None = None
        """The freshest session of this connection, in an envelope."""

    # -- before the handshake -----------------------------------------------------------------

    def offer(self) -> None:
        """Offer what the store has, if anything; else `miss_reason` says why not."""
        if self._cache is None:
            self.miss_reason = MissReason.DISABLED
            return
        try:
            data = self._find(self._cache)
        except Exception:  # noqa: BLE001 - any fault of a store is a miss
            self.miss_reason = MissReason.STORE_ERROR
            return
        if data is None:
            marked = self._mark is not None
            self.miss_reason = MissReason.AFTER_FAILURE if marked else MissReason.NONE_STORED
        else:
            self._offer_this(data, None)
            if self.miss_reason is MissReason.POLICY_CHANGED:  # another's, under our key
                self.miss_reason = MissReason.DAMAGED

    def _find(self, cache: ClientSessionCache) -> bytes | None:
        value = self._note_mark(cache.get(self._digest))
        if self._mark == NOTHING:
            return None
        ticket = cache.take(self._digest) if Protocol.TLS1_3 in self._versions else None
        self._taken = ticket is not None
        return ticket or (value if Protocol.TLS1_2 in self._versions else None)

    def offer_given(self, data: bytes, sealing: Sealing) -> None:
        """Offer a session that was handed in, unless such a one has failed a short while ago."""
        tls13 = read_header(data).protocol_version == Protocol.TLS1_3.wire
        if self._cache is not None:
            with suppress(Exception):  # nor was it asked for a session
                self._note_mark(self._cache.get(self._digest))
        if self._mark == NOTHING or (self._mark == TICKETS_ONLY and not tls13):
            self.miss_reason = MissReason.AFTER_FAILURE
        else:
            self._offer_this(data, sealing)

    def _note_mark(self, value: bytes | None) -> bytes | None:
        """Note what the value says if it is a mark; the session if it is one."""
        if value in MARKS:
            self._mark, value = value, None
        return value

    def _offer_this(self, data: bytes, sealing: Sealing | None) -> None:
        self._data = data
        try:
            if read_header(data).created + self._lifetime <= time.time():
                raise InvalidSessionError(InvalidReason.EXPIRED)  # for us: others may wait longer
            self._session.set_data(data, sealing=sealing)
        except InvalidSessionError as error:
            self.miss_reason = REASONS.get(error.reason, MissReason.DAMAGED)
        except (TypeError, ValueError, MisuseError):  # a store may return anything; a wiped key
            self.miss_reason = MissReason.DAMAGED

    # -- after it -----------------------------------------------------------------------------

    def accepted(self, not_after: int | None, version: Protocol | None, *, resumed: bool) -> None:
        """The handshake and the verification have succeeded: learn from now on."""
        self._verified = True
        self._resumed = resumed
        if self._over:  # only a timeout, after which it went on
            self._forget()
        session = self._session
        now = int(time.time())
        # From one resumption to the next a session grows no younger.
        born = session.offered.created if session.offered and resumed else now
        ends = [born + self._lifetime, *([] if not_after is None else [not_after])]
        session.not_after = max(min(ends), now)
        if version is Protocol.TLS1_3:
            return
        if resumed:
            self.latest = self._data
            return
        if self._cache is None or not session.ext_master_secret_status():
            return
        try:
            data = session.get_data()
        except GnuTLSError:  # too large for an envelope, or the sealing key was wiped
            self._cache.count("not_sealed")
            return
        if data is not None:
            self.latest = data
            self._keep(data)

    @property
    def _offered_ticket(self) -> bool:
        offered = self._session.offered
        return offered is not None and offered.protocol_version == Protocol.TLS1_3.wire

    def keep_ticket(self, data: bytes, _lifetime: int) -> None:
        """The session's ticket function."""
        self.latest = data
        if self._verified and self._cache is not None:
            self._keep(data)

    def _keep(self, data: bytes) -> None:
        assert self._cache is not None
        header = read_header(data)
        ttl = header.expires - time.time()
        with suppress(Exception):
            if header.protocol_version == Protocol.TLS1_3.wire:
                self._cache.keep_ticket(self._digest, data, ttl)
            elif self._mark is None and self._cache.get(self._digest) not in MARKS:
                if self._offered_ticket:  # the server no longer does TLS 1.3
                    self._cache.remove(self._digest)
                self._cache.put(self._digest, data, ttl)

    def ended(self) -> None:
        """The connection ends. If it was resumed and has brought no new ticket, the server does
        not renew them (ProFTPD: not for uploads), and the one that was used goes back.
        """
        # The session is not asked: another thread may have it to itself, in a shutdown.
        if not self._taken or self.latest is not None or not self._resumed:
            return
        self._taken = False
        assert self._data is not None
        self._keep(self._data)

    def failed(self) -> None:
        """The handshake broke off after a session was offered: offer none for a while."""
        offered = self._session.offered
        if offered is None or self._cache is None or self._over:
            return
        self._over = True
        tls12 = offered.protocol_version == Protocol.TLS1_2.wire
        mark, seconds = NOTHING, NOTHING_FOR
        if tls12 and Protocol.TLS1_3 in self._versions:
            mark, seconds = TICKETS_ONLY, TICKETS_ONLY_FOR
        with suppress(Exception):
            self._cache.put(self._digest, mark, seconds)

    def broken(self) -> None:
        """The connection has ended in a fatal alert: its sessions are not used again
        (RFC 5246 §7.2.2, RFC 8446 §6.2).
        """
        self._taken = False
        if self.latest is not None or self._session.offered is not None:
            self._forget()

    def refused(self) -> None:
        """The peer's certificate was refused: forget all sessions of this key."""
        self._over = True
        self._forget()

    def _forget(self) -> None:
        if self._cache is None:
            return
        with suppress(Exception):
            self._cache.remove(self._digest)
