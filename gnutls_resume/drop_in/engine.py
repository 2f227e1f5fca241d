"""GnuTLS where the standard library has ``_ssl._SSLSocket``: the ``_sslobj`` of its sockets.

``ssl.SSLSocket`` and ``ssl.SSLObject`` call 21 names of an object that the context makes. This
is that object; what stands above it is the standard library's own code. Rules:

- The socket is held weakly: it owns this object, and must be freed without a cycle collector.
- Nothing that GnuTLS's session holds may hold this object.
- On a BIO a write is complete, and the first ``do_handshake`` raises nothing but ``ssl.SSLError``
  (asyncio waits for a minute otherwise).
- One thread reads while another writes; a second reader or writer waits for the first.

One class in one file, a little over the usual size, since the standard library wants all of these
names of one object; what needs none of its state stands beside it (hooks.py, chain.py).
"""

import contextlib
import copy
import os
import select
import ssl
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from gnutls_resume.binding import (
    AlertLevel,
    CertificateRequest,
    ChannelBinding,
    HandshakeType,
    HookTime,
    InitFlag,
    MemoryTransport,
    Session,
    Shutdown,
)
from gnutls_resume.binding import Protocol as Version
from gnutls_resume.binding._check import alert_for
from gnutls_resume.binding.envelope import Kind
from gnutls_resume.binding.ticket import TicketOffer
from gnutls_resume.binding.transport import SocketTransport, timeout_of
from gnutls_resume.drop_in.chain import Certificate
from gnutls_resume.drop_in.cipher import cipher_of
from gnutls_resume.drop_in.exceptions import (
    client_error,
    eof_error,
    refused,
    ssl_error,
    timed_out,
    translated,
    verification_error,
    zero_return_error,
)
from gnutls_resume.drop_in.hooks import RefusedByCallbackError, keylog_for, sni_hook
from gnutls_resume.drop_in.options import Settings, is_ip_address
from gnutls_resume.drop_in.peercert import decode
from gnutls_resume.drop_in.resuming import Resuming
from gnutls_resume.drop_in.session import VERSION_NAMES, SSLSession
from gnutls_resume.errors import (
    GnuTLSError,
    MisuseError,
    PrematureTerminationError,
    VerificationError,
    WantReadError,
    WantWriteError,
)
from gnutls_resume.resumption.client_cache import Attempt
from gnutls_resume.resumption.database import Visit
from gnutls_resume.resumption.outcome import HandshakeKind, MissReason, Outcome, report
from gnutls_resume.resumption.policy import ClientPolicy, ServerPolicy
from gnutls_resume.resumption.reverify import PeerCheck

if TYPE_CHECKING:
    from gnutls_resume.drop_in.context import SSLContext


REQUESTS = {
    ssl.CERT_NONE: CertificateRequest.IGNORE,
    ssl.CERT_OPTIONAL: CertificateRequest.REQUEST,
    ssl.CERT_REQUIRED: CertificateRequest.REQUIRE,
}
ALPN_SERVER_PRECEDENCE = 2  # as the standard library's servers choose
ASKED_FOR_MORE = {"GNUTLS_E_REAUTH_REQUEST", "GNUTLS_E_REHANDSHAKE"}
WARNING = "GNUTLS_E_WARNING_ALERT_RECEIVED"  # not an error: RFC 5246 §7.2.2
MAX_READ = 65_536  # bytes; four records
LATE_RECORDS = 8  # that are read away at a close
NO_RENEGOTIATION = 100  # an alert, RFC 5246 §7.2.2
HAS_FAILED = "SSL_HANDSHAKE_FAILURE", "the handshake has failed before"
AUTOMATIC_TICKETS = 2  # GnuTLS's own number


class BIO(Protocol):
    """What is used of an ``ssl.MemoryBIO``."""

    @property
    def pending(self) -> int: ...
    @property
    def eof(self) -> bool: ...
    def read(self, size: int = -1, /) -> bytes: ...
    def write(self, data: bytes, /) -> int: ...


class EnoughError(Exception):
    """No more tickets are waited for."""


class Engine:
    """One connection, under the settings that its context had when it was made."""

    _failure: ssl.SSLError | None = None  # of the handshake
    _end: ssl.SSLError | None = None  # of what can be read
    _chooses = False  # the sni_callback, which context
    _said_goodbye = False  # by a shutdown that has begun, beside no reader
    _shaken = False  # hands, with GnuTLS; tickets may still have to leave
    _resumed = False
    _version: Version | None = None
    _started: float | None = None
    outcome: Outcome | None = None
    """Of the handshake, once it is complete."""

    def __init__(
        self,
        context: "SSLContext",
        settings: Settings,
        resuming: Resuming,
        *,
        server_side: bool,
        server_hostname: str | None,
        owner: object,
        sock: Any = None,  # noqa: ANN401
        bios: tuple[BIO, BIO] | None = None,
    ) -> None:
        self._context = context
        self._settings = settings
        self._resuming = resuming
        self._owner = None if owner is None else weakref.ref(owner)
        self.server_side = server_side
        self.server_hostname = server_hostname
        self._bios = bios
        self._sock = None if sock is None else weakref.ref(sock)
        self._process = os.getpid()
        self._reading, self._writing = threading.RLock(), threading.RLock()
        self._attempt: Attempt | None = None
        self._visit: Visit | None = None
        self._given: SSLSession | None = None
        self._has_read = False
        automatic = not settings.flags & InitFlag.NO_AUTO_SEND_TICKET
        self._automatic_tickets = AUTOMATIC_TICKETS if automatic else 0
        sealing = None
        if not server_side:
            assert isinstance(settings.policy, ClientPolicy)
            self._digest = settings.policy.digest(server_hostname)
            sealing = resuming.cache.sealing(self._digest)
        self._session = Session(
            "server" if server_side else "client",
            settings.credentials,
            priority=settings.priority,
            flags=settings.flags,
            sealing=sealing,
        )
        self._session.attach(MemoryTransport() if sock is None else sock)
        hostname = server_hostname if settings.check_hostname else None
        self._check = PeerCheck(settings.verifier, hostname, settings.rules)
        if server_side:
            self._prepare_server()
        else:
            self._prepare_client()
        if settings.keylog:
            self._session.set_keylog_function(keylog_for(self._session, settings.keylog))

    # -- before the handshake -----------------------------------------------------------------

    def _prepare_client(self) -> None:
        session, settings = self._session, self._settings
        if self.server_hostname:
            session.server_name = self.server_hostname
            if not is_ip_address(self.server_hostname):  # RFC 6066 §3
                session.server_name_set(self.server_hostname)
        if settings.alpn:
            session.alpn_set_protocols(settings.alpn)
        if settings.verifier is not None:
            session.set_verify_function(self._check)
        self._attempt = Attempt(
            self._resuming.cache,
            session,
            self._digest,
            settings.versions,
            self._resuming.session_lifetime,
        )
        if not settings.flags & InitFlag.NO_TICKETS:
            session.set_ticket_function(self._attempt.keep_ticket)

    def _prepare_server(self) -> None:
        callback = self._settings.sni_callback
        self._chooses = callback is not None
        if callback is not None:
            self._session.handshake_set_hook_function(
                HandshakeType.CLIENT_HELLO, HookTime.PRE, sni_hook(weakref.ref(self), callback)
            )

    def _configure_server(self) -> None:
        """Once, when it is certain which context it is: GnuTLS would add a second list of ALPN
        protocols to the first.
        """
        session, settings, ring = self._session, self._settings, self._resuming.ring
        assert isinstance(settings.policy, ServerPolicy)
        if settings.alpn:
            session.alpn_set_protocols(settings.alpn, ALPN_SERVER_PRECEDENCE)
        session.certificate_server_set_request(REQUESTS[settings.verify_mode])
        if settings.verifier is not None:
            session.set_verify_function(self._check)
        policy, resuming = settings.policy.digest(), self._resuming
        lifetime = resuming.session_lifetime
        if settings.tickets and ring is not None:
            session.ticket_derive(ring.table(), policy)
            lifetime = ring.ticket_lifetime
        session.db_set_cache_expiration(lifetime)
        if resuming.database is not None:
            self._visit = resuming.database.serve(session, policy)

    def _switch(self, context: "SSLContext") -> None:
        """Go on under another context: its certificates, ALPN and rules for clients."""
        settings, resuming = context._connection(server_side=True)  # noqa: SLF001
        self._session.credentials_set(settings.credentials)  # raises where it is too late
        self._settings, self._resuming = settings, resuming
        self._check = PeerCheck(settings.verifier, None, settings.rules)

    @property
    def context(self) -> "SSLContext":
        """The context; a server's may be replaced in its sni_callback."""
        return self._context

    @context.setter
    def context(self, context: "SSLContext") -> None:
        if not hasattr(context, "_connection"):
            raise TypeError("The value must be a gnutls_resume.SSLContext")
        if self.server_side and self.outcome is None:
            self._switch(context)
        self._context = context

    @property
    def owner(self) -> object:
        """The socket or object that holds this one."""
        return None if self._owner is None else self._owner()

    # -- sessions -----------------------------------------------------------------------------

    @property
    def session(self) -> SSLSession | None:
        """The freshest session of this connection; None on a server."""
        if self._attempt is None or self.outcome is None:
            return self._given
        if self._given is not None and self.session_reused and self.outcome.protocol != "TLSv1.3":
            return self._given
        data = self._attempt.latest
        if data is None and self.outcome.protocol != "TLSv1.3":
            with contextlib.suppress(GnuTLSError):
                # Without it a resumption would be refused (RFC 7627 §5.3).
                if self._session.ext_master_secret_status():
                    data = self._attempt.latest = self._session.get_data()
        if data is None:
            return None
        resuming = self._resuming
        return SSLSession(data, resuming.cache.sealing(self._digest), resuming.sealing_key)

    @session.setter
    def session(self, session: SSLSession) -> None:
        if not isinstance(session, SSLSession):
            raise TypeError("Value is not a SSLSession.")
        if self.server_side:
            raise ValueError("Cannot set session for server-side SSLSocket.")
        if self._started is not None:
            raise ValueError("Cannot set session after handshake.")
        self._given = session

    @property
    def session_reused(self) -> bool:
        """Whether the handshake was a resumption."""
        return self.outcome is not None and self.outcome.kind is not HandshakeKind.FULL

    # -- the handshake ------------------------------------------------------------------------

    def do_handshake(self) -> None:
        """Perform the handshake; does nothing when it is complete."""
        if self.outcome is not None:
            return
        with self._reading, self._writing:
            if self.outcome is not None:  # another thread was first
                return
            if self._failure is not None:
                raise copy.copy(self._failure)
            try:
                if self._started is None:
                    self._started = time.monotonic()
                    self._begin()
                self._moving(self._handshake)
            except (WantReadError, WantWriteError) as error:
                raise translated(error) from None
            except Exception as error:  # noqa: BLE001
                if self._sock is not None and isinstance(error, GnuTLSError):
                    read_away(self._sock())
                raise self._failed(error)  # noqa: B904 - it says from what itself

    def _begin(self) -> None:
        self._resuming.counters.count("server_started" if self.server_side else "client_started")
        if self._attempt is None:
            if not self._chooses:
                self._configure_server()
        elif self._given is None:
            self._attempt.offer()
        else:
            self._attempt.offer_given(*self._given.envelope_for(self._digest))

    def _handshake(self) -> None:
        session = self._session
        if not self._shaken:
            session.handshake()
            self._version = session.protocol_get_version()
            self._resumed = session.is_resumed()
            if self._resumed and self._visit is not None:
                self._visit.resumed()
            if self._resumed or not self._check.chain:
                self._check_again()
            self._shaken = True
        if self.server_side:
            self._send_tickets()
        else:
            assert self._attempt is not None
            self._attempt.accepted(self._check.not_after, self._version, resumed=self._resumed)
        self.outcome = self._found()
        owner = self.owner
        if hasattr(owner, "outcome"):
            owner.outcome = self.outcome
        report(self.outcome, self._resuming.counters, self._resuming.on_handshake)

    def _check_again(self) -> None:
        """What GnuTLS does not look at when it resumes; in a full handshake without a
        verification, only fetch the chain.
        """
        session = self._session
        try:
            self._check(session)
            if self._resumed:
                if self._version is Version.TLS1_3:
                    if not session.group_get():
                        raise refused("the server resumed without a key exchange", 47)
                elif not session.ext_master_secret_status():  # RFC 7627 §5.3
                    raise refused("the session was resumed without extended master secret", 40)
        except GnuTLSError as error:
            with contextlib.suppress(GnuTLSError, OSError):
                session.alert_send(AlertLevel.FATAL, alert_for(error) or 40)
            raise

    def _send_tickets(self) -> None:
        """Those that GnuTLS does not send by itself."""
        missing = self._settings.tickets - self._automatic_tickets
        if missing > 0 and self._version is Version.TLS1_3:
            self._session.ticket_send(missing)

    def _found(self) -> Outcome:
        session = self._session
        assert self._version is not None
        assert self._started is not None
        miss = None
        if self._resumed:
            kind = (
                HandshakeKind.RESUMED_SESSION_ID if self._by_id() else HandshakeKind.RESUMED_TICKET
            )
        else:
            kind, miss = HandshakeKind.FULL, self._miss()
        # Read now, for later another thread may have the session to itself.
        self._suite = session.cipher_suite_get_name()
        self._alpn = session.alpn_get_selected_protocol()
        name = session.client_hello_server_name() if self.server_side else self.server_hostname
        seconds = time.monotonic() - self._started
        return Outcome(kind, miss, name, VERSION_NAMES[self._version], self.server_side, seconds)

    def _by_id(self) -> bool:
        """Whether a session ID has led to the session that was resumed."""
        if self._visit is not None:
            return self._visit.found
        offered = self._session.offered
        return offered is not None and offered.kind == Kind.CLIENT_SESSION_ID

    def _miss(self) -> MissReason:
        if self._attempt is not None:
            return self._attempt.miss_reason or MissReason.DECLINED
        issues = self._settings.tickets and self._resuming.ring is not None
        offer = self._session.ticket_offered() if issues else TicketOffer.NONE
        if self._visit is not None and self._version is not Version.TLS1_3:  # which has no IDs
            self._visit.not_resumed()
            if offer is TicketOffer.NONE and self._visit.miss_reason is not None:
                return self._visit.miss_reason
        elif not issues:
            return MissReason.DISABLED
        return SERVER_MISSES[offer]

    def _failed(self, error: Exception) -> Exception:
        """What is raised for a handshake that has broken off; the store forgets the session."""
        session, attempt = self._session, self._attempt
        offered = session.offered is not None
        transport = session.transport
        assert transport is not None
        self._resuming.counters.count("failed_handshakes")
        if self._visit is not None:
            if session.is_resumed():
                self._visit.resumed()
            self._visit.broken()
        if attempt is not None and offered:
            if isinstance(error, VerificationError):
                attempt.refused()
            elif transport.received or (transport.sent and not isinstance(error, TimeoutError)):
                attempt.failed()
        # On a BIO nothing times out but what a callback does.
        late = self._bios is None and isinstance(error, TimeoutError) and error.errno is None
        made = TimeoutError("The handshake operation timed out") if late else self._told(error)
        made.session_offered = offered  # type: ignore[attr-defined]
        if made is not error and made.__cause__ is None:
            made.__suppress_context__ = True  # GnuTLS's words are in it
        if not late:
            # A copy, for what is raised will hold the frames of those who wait for it, and so us.
            again = made if isinstance(made, ssl.SSLError) else ssl_error(*HAS_FAILED)
            self._failure = copy.copy(again)
            self._failure.session_offered = offered  # type: ignore[attr-defined]
        return made

    def _told(self, error: Exception) -> Exception:
        """An error of the handshake as the standard library would tell it."""
        if isinstance(error, VerificationError):
            check = self._check
            trust = None if check.verifier is None else check.verifier.trust_list
            return verification_error(error, check.chain, trust, check.hostname)
        if isinstance(error, RefusedByCallbackError):
            made = ssl_error("CALLBACK_FAILED", "callback failed")
            made.__cause__ = error.__cause__  # what the callback has raised
            return made
        if isinstance(error, GnuTLSError):
            transport = self._session.transport
            assert transport is not None
            header = transport.record_header
            return client_error(error, header) if self.server_side else translated(error)
        if self._bios is not None and not isinstance(error, ssl.SSLError):
            made = ssl_error("CALLBACK_FAILED", f"callback failed: {type(error).__name__}")
            made.__cause__ = error
            return made
        return error

    # -- data ---------------------------------------------------------------------------------

    def read(self, n: int = 1024, buffer: Any = None) -> Any:  # noqa: ANN401 - bytes or int
        """Up to `n` bytes, or their number if they go into `buffer`; nothing at the peer's
        close_notify.
        """
        if buffer is None and n < 0:
            raise ValueError("size should not be negative")
        if buffer is None and n == 0:
            return b""
        self.do_handshake()
        if buffer is None:
            return bytes(self._receive(self._session.record_recv, min(n, MAX_READ)))
        with memoryview(buffer) as view, view.cast("B") as octets:
            if octets.readonly:
                raise TypeError("read() argument 2 must be a writable bytes-like object")
            size = n if 0 < n <= len(octets) else len(octets)
            return int(self._receive(self._session.record_recv_into, octets[:size]) if size else 0)

    def _receive(self, call: Callable[[Any], Any], argument: object) -> Any:  # noqa: ANN401
        with self._reading:
            began = time.monotonic()
            while True:
                try:
                    received = self._moving(call, argument)
                except GnuTLSError as error:
                    if error.name in ASKED_FOR_MORE:
                        self._answer(error.name)
                    elif error.name != WARNING:
                        raise self._broken(error) from None
                    self._look_at_the_clock(began)
                except OSError as error:
                    raise self._lost(error) from None
                else:
                    self._has_read = True
                    if not received:
                        self._give_back()
                        if self._said_goodbye:
                            raise zero_return_error()
                    return received

    def _broken(self, error: GnuTLSError) -> ssl.SSLError:
        """The error of an operation; of a later one too, where GnuTLS only says that it is over."""
        if error.name == "GNUTLS_E_INVALID_SESSION":
            return eof_error() if self._end is None else copy.copy(self._end)
        made = translated(error)
        if error.fatal:
            self._end = copy.copy(made)
            # One that was cut off may be resumed, one that an alert has ended must not be.
            if not isinstance(error, PrematureTerminationError):
                for record in (self._attempt, self._visit):
                    if record is not None:
                        record.broken()
        return made

    def _lost(self, error: OSError) -> OSError:
        """The system's error, behind which there is only the end; or what a timeout says."""
        found = timed_out(error, "read") if isinstance(error, TimeoutError) else error
        if found.errno is not None and not isinstance(found, ssl.SSLError):
            self._end = eof_error()
        return found

    def _look_at_the_clock(self, began: float) -> None:
        """A peer that warns and asks, and never sends data, must not put off the timeout."""
        sock = None if self._sock is None else self._sock()
        timeout = None if sock is None else timeout_of(sock)
        if timeout and time.monotonic() >= began + timeout:
            raise TimeoutError("The read operation timed out") from None

    def _answer(self, request: str) -> None:
        """To a request for the certificate or for another handshake, beside no writer."""
        session = self._session
        with self._writing:
            if request == "GNUTLS_E_REAUTH_REQUEST":
                self._run("read", session.reauth)
            else:
                self._run("read", session.alert_send, AlertLevel.WARNING, NO_RENEGOTIATION)

    def write(self, data: Any) -> int:  # noqa: ANN401
        """Send data; all of them on a BIO and on a socket that waits. How many were sent."""
        self.do_handshake()
        if type(data) is bytes:
            return self._send(data)
        with memoryview(data) as view, view.cast("B") as octets:
            return self._send(octets)

    def _send(self, data: bytes | memoryview) -> int:
        if self._said_goodbye:
            raise ssl_error("PROTOCOL_IS_SHUTDOWN", "protocol is shutdown")
        with self._writing:
            return int(self._run("write", self._session.record_send, data))

    def pending(self) -> int:
        """Bytes that a read returns without waiting."""
        if self.outcome is None:
            return 0
        transport = self._session.transport
        # uvloop reads as long as there is something here or in the BIO, which we have emptied.
        waiting = transport.waiting if isinstance(transport, MemoryTransport) else 0
        try:
            return self._session.record_check_pending() + waiting
        except MisuseError:  # another thread waits in shutdown, and drops what comes
            return 0

    def shutdown(self) -> Any:  # noqa: ANN401
        """Send a close_notify and wait for the peer's; returns the socket, None for a BIO."""
        if self.outcome is None:
            raise ssl_error("SHUTDOWN_WHILE_IN_INIT", "shutdown while in init")
        with self._writing:
            # Beside a reader, who will see the peer's, only say it.
            alone = self._reading.acquire(blocking=False)
            self._said_goodbye = alone
            try:
                self._run("read", self._session.bye, Shutdown.RDWR if alone else Shutdown.WR)
            finally:
                if alone:
                    self._reading.release()
        self.end()
        if self._bios is None:
            return None if self._sock is None else self._sock()
        self._give_back()
        return None

    def _give_back(self) -> None:
        """Data in clear that follow the close_notify belong to the BIO that they came from."""
        transport = self._session.transport
        if self._bios is not None and not self._bios[0].eof:
            assert isinstance(transport, MemoryTransport)
            rest = transport.unread()
            if rest:
                self._bios[0].write(rest)

    def end(self) -> None:
        """The connection is closed, or about to be, or nobody holds it any longer. That may be
        in the middle of a handshake: an event loop's time was over. In a forked child it is the
        parent's.
        """
        attempt, transport = self._attempt, self._session.transport
        if attempt is None or self._process != os.getpid():
            return
        if self._shaken:
            attempt.ended()
        elif transport is not None and transport.received:
            attempt.failed()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.end()

    def wait_for_tickets(self) -> None:
        """Before a close: read the TLS 1.3 tickets that are on their way, waiting at most
        ``close_wait``. Unread, they would be lost, and the reset that answers them could cost
        the peer the end of what was sent to it.
        """
        transport = self._session.transport
        patience = self._resuming.close_wait
        if (
            self.server_side
            or self._sock is None
            or not patience
            or self._settings.flags & InitFlag.NO_TICKETS
            or self.outcome is None
            or self.outcome.protocol != "TLSv1.3"
            or self._has_read
            or self._end is not None
            or self._session.own.tickets
            or self._process != os.getpid()
            or not isinstance(transport, SocketTransport)
            or not self._reading.acquire(blocking=False)
        ):
            return
        try:
            until = time.monotonic() + patience
            transport.patience = patience
            self._read_tickets(1 if self._resumed else 2)  # as servers send by custom
            for _ in range(LATE_RECORDS):
                # A call that does not wait has no end while a peer goes on sending tickets.
                transport.patience = until - time.monotonic()
                if transport.patience <= 0 or not is_readable(self._sock()):
                    break
                self._read_tickets(1)
        except (GnuTLSError, OSError, ValueError):
            pass  # there is nothing more
        finally:
            self._reading.release()

    def _read_tickets(self, expected: int) -> None:
        """Read until so many are there, or anything else has come."""
        session, attempt = self._session, self._attempt
        assert attempt is not None

        def keep(data: bytes, lifetime: int) -> None:
            attempt.keep_ticket(data, lifetime)
            if session.own.tickets >= expected:
                raise EnoughError

        session.ticket_function = keep
        try:
            session.record_recv()
        except EnoughError:
            pass
        finally:
            session.ticket_function = attempt.keep_ticket  # which does not hold the session

    # -- how an operation runs ----------------------------------------------------------------

    def _run(self, word: str, call: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401
        try:
            return self._moving(call, *args)
        except GnuTLSError as error:
            raise self._broken(error) from None
        except TimeoutError as error:
            raise timed_out(error, word) from None

    def _moving(self, call: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401
        """Call, and on a BIO carry the bytes before and after."""
        if self._bios is None:
            return call(*args)
        incoming, outgoing = self._bios
        transport = self._session.transport
        assert isinstance(transport, MemoryTransport)
        if incoming.pending:
            transport.feed(incoming.read())
        if incoming.eof:
            transport.eof()
        try:
            return call(*args)
        finally:
            if transport.pending:
                outgoing.write(transport.drain())

    # -- facts --------------------------------------------------------------------------------

    def getpeercert(self, binary: bool = False) -> bytes | dict[str, Any] | None:  # noqa: FBT001, FBT002
        """The peer's certificate, in DER or as the standard library's dictionary, which is
        empty if nobody has verified it; None if it showed none.
        """
        if self.outcome is None:
            raise ValueError("handshake not done yet")
        chain = self._check.chain
        if not chain:
            return None
        if binary:
            return chain[0]
        return {} if self._settings.verify_mode == ssl.CERT_NONE else decode(chain[0])

    def get_unverified_chain(self) -> "list[Certificate] | None":
        """The chain as the peer sent it, on a resumed session that of the first handshake."""
        chain = self._check.chain
        return [Certificate(der) for der in chain] if chain else None

    def get_verified_chain(self) -> "list[Certificate] | None":
        """The chain up to the authority that it leads to."""
        chain, verifier = self._check.chain, self._settings.verifier
        if not chain:
            return None
        found = chain if verifier is None else verifier.path(chain)
        return [Certificate(der) for der in found]

    def cipher(self) -> tuple[str, str, int] | None:
        """Cipher suite in OpenSSL's words, protocol and secret bits."""
        if self.outcome is None:
            return None
        return cipher_of(self._suite)

    def shared_ciphers(self) -> None:
        """Not told by GnuTLS."""

    def compression(self) -> None:
        """There is none."""

    def version(self) -> str | None:
        """``'TLSv1.3'`` and the like; None before the handshake."""
        return None if self.outcome is None else self.outcome.protocol

    def selected_alpn_protocol(self) -> str | None:
        """The protocol agreed on."""
        return None if self.outcome is None or self._alpn is None else self._alpn.decode()

    def get_channel_binding(self, cb_type: str = "tls-unique") -> bytes | None:
        """``tls-unique`` (RFC 5929), which TLS 1.3 does not have: None."""
        if cb_type != "tls-unique":
            raise ValueError(f"{cb_type!r} channel binding type not implemented")
        if self.outcome is None or self.outcome.protocol == "TLSv1.3":
            return None
        with self._reading, self._writing:
            return self._session.channel_binding(ChannelBinding.TLS_UNIQUE)

    def verify_client_post_handshake(self) -> None:
        """Not offered: set ``verify_mode``, and clients show their certificates at once."""
        raise NotImplementedError(
            "verify_client_post_handshake: use SSLContext.verify_mode, which asks in the handshake"
        )

    # Python 3.15 asks for these.

    def group(self) -> str | None:
        """Not told, as by ``ssl`` over an older OpenSSL."""
        raise NotImplementedError("group: SSLContext(priority=...) says which are taken")

    def client_sigalg(self) -> str | None:
        """Not told, as by ``ssl`` over an older OpenSSL."""
        raise NotImplementedError("client_sigalg: SSLContext(priority=...) says which are taken")

    def server_sigalg(self) -> str | None:
        """Not told, as by ``ssl`` over an older OpenSSL."""
        raise NotImplementedError("server_sigalg: SSLContext(priority=...) says which are taken")


SERVER_MISSES = {
    TicketOffer.NONE: MissReason.NONE_OFFERED,
    TicketOffer.UNKNOWN_KEY: MissReason.KEY_UNKNOWN,
    TicketOffer.KNOWN_KEY: MissReason.REFUSED,
}


def is_readable(sock: Any) -> bool:  # noqa: ANN401
    """Whether a read would not wait. Raises OSError or ValueError for a socket that is closed."""
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(0))


def read_away(sock: Any) -> None:  # noqa: ANN401
    """What a peer has sent after that which ends the handshake: a close over unread data is a
    reset, and could cost it the alert that says why.
    """
    if sock is None:
        return
    with contextlib.suppress(OSError, ValueError):
        for _ in range(LATE_RECORDS):
            if not is_readable(sock) or not os.read(sock.fileno(), MAX_READ):
                break
