"""A TLS session: every method whose C function takes a ``gnutls_session_t``.

One class in one file, some sixty short methods under comment lines (life, before the handshake,
handshake, what was negotiated, resumption, tickets, database, records, early data), so that it
is plain who owns what. Rules:

- A method is named after its C function less the prefix, and its docstring names the function.
- ``@rule`` says which side may call it, when, and whether it reads, writes or needs the session
  for itself; nothing in a method's body checks that again.
- Only ``set_data`` and ``retrieve_entry`` hand session data to GnuTLS, and both take it out of
  an intact envelope.
"""

import errno
import os
import weakref
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import count
from typing import Self

from gnutls_resume.binding import _callbacks, envelope, transport
from gnutls_resume.binding._arguments import (
    MAX_NAME,
    BytesLike,
    check_bytes,
    check_callable,
    check_instance,
    check_name,
    check_number,
)
from gnutls_resume.binding._check import alert_for, check, error_for, session_error_for
from gnutls_resume.binding._datum import CHARS, Freed, bytes_of, uncleared
from gnutls_resume.binding._ffi import CData, c_string, ffi, lib, require, require_version
from gnutls_resume.binding._rule import (
    ALONE,
    CLIENT,
    CLOSED,
    DONE,
    IN_CALLBACK,
    IN_HELLO,
    LOOK,
    NEW,
    OPEN,
    READ,
    SERVER,
    STARTED,
    WORDS,
    WRITE,
    Role,
    rule,
)
from gnutls_resume.binding.constants import (
    FLAG_VERSIONS,
    AlertLevel,
    CertificateRequest,
    CertificateStatus,
    ChannelBinding,
    HandshakeType,
    HookTime,
    InitFlag,
    Protocol,
    SessionFlag,
    Shutdown,
)
from gnutls_resume.binding.credentials import Credentials
from gnutls_resume.binding.early_data import AntiReplay
from gnutls_resume.binding.envelope import Kind, Sealing
from gnutls_resume.binding.ticket import TicketKey, TicketKeyTable, TicketOffer, TicketSecret
from gnutls_resume.binding.transport import MemoryTransport, SocketTransport
from gnutls_resume.binding.x509 import certificate_verification_status_print
from gnutls_resume.errors import (
    AlertError,
    InvalidSessionError,
    MisuseError,
    VerificationError,
    WantReadError,
    WantWriteError,
)

# What store and remove return does not matter.
Store = Callable[[bytes, bytes], object]
Retrieve = Callable[[bytes], bytes | None]
Remove = Callable[[bytes], object]
TicketFunction = Callable[[bytes, int], None]
Hook = Callable[["Session", int, int, bool, bytes], None]
Keylog = Callable[[str, bytes], object]

# The dummy that GnuTLS hands out for "no ticket yet".
NO_DATA = bytes(4)
# After these, set_data has touched nothing; after any other error the session is poisoned.
CLEAN_REFUSALS = (lib.GNUTLS_E_INVALID_REQUEST, lib.GNUTLS_E_DB_ERROR)
PROTOCOLS = {int(protocol): protocol for protocol in Protocol}
CLIENT_KINDS = {int(kind): kind for kind in envelope.CLIENT_KINDS}
WIRE_VERSIONS = {int(protocol): protocol.wire for protocol in Protocol}
MAX_PROTOCOL_NAME = 31  # bytes; GnuTLS's limit, RFC 7301 §3.1 allows 255

POLICY_SIZE: int = lib.GR_POLICY_SIZE
MAX_PROTOCOLS = 8  # GnuTLS's limit
MAX_FLAGS = (1 << 32) - 1

MAX_READ = 1 << 30  # bytes a call; a record has at most 16,384

NO_SEALING = Sealing()
OWN, PROGRESS = ffi.typeof("gr_session *"), ffi.typeof("size_t[2]")
AGAIN, INTERRUPTED, WARNING = (
    lib.GNUTLS_E_AGAIN,
    lib.GNUTLS_E_INTERRUPTED,
    lib.GNUTLS_E_WARNING_ALERT_RECEIVED,  # not fatal: RFC 5246 §7.2.2
)
TICKET_PATIENCE = 60  # milliseconds; as GnuTLS's own, which would lose a part of a record
FULL = "the transport takes no more for now"
TIMED_OUT = "the operation timed out"

poisoned = 0
"""Sessions leaked because GnuTLS refused data from an intact envelope. Must stay 0."""


class Session:
    """A client's or a server's end of one TLS connection (``gnutls_session_t``).

    `role` is ``"client"`` or ``"server"``. `priority` is a GnuTLS priority string (None: the
    system's default), `flags` goes to ``gnutls_init``, `sealing` says how stored sessions are
    protected and what they are bound to (default: a checksum, nothing).

    Used by one thread at a time, or after the handshake by one reader and one writer; anything
    else raises MisuseError. Attach a transport, make settings, call ``handshake``.

    Raises TypeError or ValueError for a wrong argument, FeatureMissingError for a flag that the
    loaded GnuTLS would ignore (``gnutls_init``).
    """

    # -- life ---------------------------------------------------------------------------------

    # What most sessions never change stands here once; the callables are for _callbacks.py.
    own: CData = None
    hooks: dict[tuple[int, int], Hook] | None = None
    post_client_hello: Callable[["Session"], None] | None = None
    verifier: Callable[["Session"], bool] | None = None
    keylog: Keylog | None = None
    database: tuple[Store, Retrieve, Remove] | None = None
    ticket_function: TicketFunction | None = None
    db_failures = 0
    """How many calls of the session database failed, or returned what cannot be resumed."""
    db_error: Exception | None = None
    """The last of these failures."""
    server_name = ""
    """What the envelopes of this session are to say; ``server_name_set`` sets it too."""
    not_after: int | None = None
    """Unix seconds after which no session stored from now on may be resumed."""
    offered: envelope.Header | None = None
    """The header of the session that ``set_data`` has offered."""
    _transport: MemoryTransport | SocketTransport | None = None
    _owed: tuple[Callable[..., int], int] | None = None  # see _write
    _table: TicketKeyTable | None = None  # what C looks at
    _has_alpn = False
    _put_off = b""  # what record_send has taken and not sent yet

    def __init__(
        self,
        role: Role,
        credentials: Credentials,
        *,
        priority: str | None = None,
        flags: InitFlag | int = InitFlag.NONE,
        sealing: Sealing | None = None,
    ) -> None:
        bits = init_flags(role, check_instance("flags", flags, int))
        check_instance("credentials", credentials, Credentials)
        if sealing is not None:
            check_instance("sealing", sealing, Sealing)
        self.role: Role = role
        self.raised: dict[int, BaseException] = {}  # by callbacks: their thread, what it owes
        self._sealing = NO_SEALING if sealing is None else sealing
        self._kept: list[object] = [credentials]  # what C points to until the session ends
        self._handle = ffi.new_handle(weakref.ref(self))
        self.own = ffi.new(OWN)
        self.own.handle = self._handle
        check(lib.gr_init(self.own, bits, priority_for(priority), credentials.c))
        self._c = self.own.c

    @rule(ALONE, NEW)
    def attach(self, carrier: MemoryTransport | transport.Socket) -> None:
        """Use a connected socket, or a MemoryTransport, for this session
        (``gnutls_transport_set_ptr`` and its push and pull functions).

        The socket is held weakly: keep it. Its timeout bounds each operation as a whole.
        """
        if not transport.fits(carrier):
            kind = type(carrier).__name__
            raise TypeError(f"attach takes a socket or a MemoryTransport, not {kind}")
        used = carrier if isinstance(carrier, MemoryTransport) else SocketTransport(carrier)
        if self._transport is not None or used.attached:
            raise MisuseError("a session has one transport, and a transport one session")
        used.attached = True
        self._transport = used
        lib.gr_transport_attach(used.c, self._c)

    @property
    def transport(self) -> MemoryTransport | SocketTransport | None:
        """What was attached."""
        return self._transport

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return not self.own.state & OPEN

    def close(self) -> None:
        """Free the session (``gnutls_deinit``); doing it twice does no harm. The socket stays
        open, and no close_notify is sent: that is ``bye``.
        """
        if self.own.state & OPEN:
            self._close()

    @rule(ALONE)
    def _close(self) -> None:
        lib.gr_deinit(self.own)
        # Only now: the library may look at these until the end.
        self._kept.clear()
        self._table = None
        self.hooks = self.database = self.ticket_function = None
        self.post_client_hello = self.verifier = self.keylog = None

    def __del__(self) -> None:
        if self.own is not None and self.own.state & OPEN:
            lib.gr_deinit(self.own)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Session {self.role}, {WORDS[self.own.state]}>"

    # -- before the handshake -----------------------------------------------------------------

    @rule(ALONE, NEW, where=IN_HELLO)
    def credentials_set(self, credentials: Credentials) -> None:
        """Use other credentials, also from a ClientHello hook (``gnutls_credentials_set``)."""
        check_instance("credentials", credentials, Credentials)
        code = lib.gnutls_credentials_set(self._c, lib.GNUTLS_CRD_CERTIFICATE, credentials.c)
        check(code)
        self._kept.append(credentials)

    @rule(ALONE, NEW, where=IN_HELLO)
    def priority_set(self, priority: str | None) -> None:
        """Set the priority string; ValueError for a wrong one (``gnutls_priority_init2``,
        ``gnutls_priority_set``).

        ``%NO_TICKETS`` before ``ticket_enable_server`` is undone by it, after it wins.
        """
        check(lib.gnutls_priority_set(self._c, priority_for(priority)))
        self.own.reprioritized = 1

    @rule(ALONE, NEW, CLIENT)
    def server_name_set(self, name: str) -> None:
        """The server's host name for SNI, at most 255 bytes (``gnutls_server_name_set``)."""
        raw = check_name(name)
        check(lib.gnutls_server_name_set(self._c, lib.GNUTLS_NAME_DNS, raw, len(raw)))
        self.server_name = name

    @rule(ALONE, NEW, where=IN_HELLO)
    def alpn_set_protocols(self, protocols: Iterable[bytes], flags: int = 0) -> None:
        """Up to 8 protocol names in order of preference, 1 to 31 bytes each
        (``gnutls_alpn_set_protocols``). Negotiated anew in each handshake, resumed or not. Once
        a session: GnuTLS would keep the first list, and count beyond its end.
        """
        if self._has_alpn:
            raise MisuseError("alpn_set_protocols can be called once")
        names = [bytes(check_bytes("an ALPN protocol", name)) for name in protocols]
        for name in names:
            check_number("the length of an ALPN protocol", len(name), 1, MAX_PROTOCOL_NAME)
        check_number("the number of ALPN protocols", len(names), 0, MAX_PROTOCOLS)
        check_number("flags", flags, 0, MAX_FLAGS)
        views = [ffi.from_buffer("unsigned char[]", name) for name in names]
        data = [(view, len(view)) for view in views]
        datums = ffi.new("gnutls_datum_t[]", data)
        check(lib.gnutls_alpn_set_protocols(self._c, datums, len(names), flags))
        self._has_alpn = True

    @rule(ALONE, NEW, where=IN_HELLO)
    def set_verify_cert(self, hostname: str | None, flags: int = 0) -> None:
        """Verify the peer's chain in the handshake, and its name if given
        (``gnutls_session_set_verify_cert``). GnuTLS does not run it on a resumed session.
        """
        name = ffi.NULL if hostname is None else ffi.new("char[]", check_name(hostname))
        check_number("flags", flags, 0, MAX_FLAGS)
        lib.gnutls_session_set_verify_cert(self._c, name, flags)
        self.verifier = None
        self._kept.append(name)

    @rule(ALONE, NEW, where=IN_HELLO)
    def set_verify_function(self, verify: Callable[["Session"], bool]) -> None:
        """Let ``verify(session)`` decide on the peer's certificate; only True accepts it
        (``gnutls_session_set_verify_function``). GnuTLS does not call it on a resumed session.
        """
        self.verifier = check_callable("verify", verify)
        lib.gnutls_session_set_verify_function(self._c, _callbacks.VERIFY)

    @rule(ALONE, NEW)
    def set_keylog_function(self, keylog: Keylog) -> None:
        """Call ``keylog(label, secret)`` for each secret of the connection, for a file as
        Wireshark reads it (``gnutls_session_set_keylog_function``). Its exception comes out of
        the call that ran it.
        """
        self.keylog = check_callable("keylog", keylog)
        lib.gnutls_session_set_keylog_function(self._c, _callbacks.KEYLOG)

    @rule(ALONE, NEW, SERVER, where=IN_HELLO)
    def certificate_server_set_request(self, request: CertificateRequest) -> None:
        """Whether the client is asked for a certificate
        (``gnutls_certificate_server_set_request``). GnuTLS does not ask on a resumed session.
        """
        lib.gnutls_certificate_server_set_request(self._c, CertificateRequest(request))

    @rule(ALONE, NEW)
    def handshake_set_hook_function(
        self, kind: HandshakeType | int, when: HookTime | int, hook: Hook
    ) -> None:
        """Call ``hook(session, kind, when, incoming, message)`` for each message of that kind,
        also on resumption (``gnutls_handshake_set_hook_function``). Its exception ends the
        handshake. Hooks of several kinds may stand side by side.
        """
        kind, when = HandshakeType(kind), HookTime(when)
        self.hooks = {**(self.hooks or {}), (kind, when): check_callable("hook", hook)}
        self._call_python(kind, when)

    @rule(ALONE, NEW, SERVER)
    def handshake_set_post_client_hello_function(
        self, function: Callable[["Session"], None]
    ) -> None:
        """Call ``function(session)`` when the ClientHello has been read: server name, version
        and ALPN are known, a ticket is not looked at yet; a session ID was already resolved.
        After a HelloRetryRequest it is called again
        (``gnutls_handshake_set_post_client_hello_function``). Its exception ends the handshake.
        """
        self.post_client_hello = check_callable("function", function)
        lib.gr_set_post_client_hello(self.own)

    def _call_python(self, kind: HandshakeType, when: HookTime) -> None:
        mask = "before" if when is HookTime.PRE else "after"
        setattr(self.own, mask, getattr(self.own, mask) | 1 << kind)
        lib.gr_set_hook(self.own)

    # -- handshake ----------------------------------------------------------------------------

    @rule(ALONE, NEW | STARTED)
    def handshake(self) -> None:
        """Perform the handshake, full or resumed, and send all of it (``gnutls_handshake``).

        Raises WantReadError or WantWriteError where the transport does not wait (call again),
        TimeoutError at the socket's timeout, VerificationError, AlertError,
        PrematureTerminationError, another GnuTLSError, OSError from the socket, and what a
        callback raised. When it fails the peer is told (``gnutls_alert_send_appropriate``).
        """
        carrier = self._attached()
        self.own.state = STARTED
        self._write(ALONE, lib.gr_handshake)
        self.own.state = DONE
        lib.gr_hurry(carrier.c, self.role == "server")

    @rule(ALONE, DONE, CLIENT)
    def reauth(self) -> None:
        """Show the certificate after the handshake, when ``record_recv`` has raised
        ``GNUTLS_E_REAUTH_REQUEST`` (``gnutls_reauth``, RFC 8446 §4.6.2). The session needs
        ``InitFlag.POST_HANDSHAKE_AUTH``. Raises as ``handshake`` does.
        """
        self._write(ALONE, lib.gnutls_reauth, 0)

    def bye(self, how: Shutdown = Shutdown.WR) -> None:
        """Send a close_notify, and with ``Shutdown.RDWR`` wait for the peer's
        (``gnutls_bye``). Raises as ``record_send`` does.
        """
        if Shutdown(how) is Shutdown.WR:
            self._bye_write()
        else:
            self._bye_both()

    @rule(WRITE, DONE)
    def _bye_write(self) -> None:
        self._write(WRITE, lib.gnutls_bye, Shutdown.WR)

    @rule(ALONE, DONE)
    def _bye_both(self) -> None:
        self._write(ALONE, lib.gnutls_bye, Shutdown.RDWR)

    @rule(WRITE, STARTED | DONE)
    def alert_send(self, level: AlertLevel, description: int) -> None:
        """Send an alert (``gnutls_alert_send``; numbers of RFC 8446 §6)."""
        check_number("description", description, 0, 255)
        self._write(WRITE, lib.gnutls_alert_send, AlertLevel(level), description)

    @rule(LOOK)
    def alert_get(self) -> int:
        """The last alert received (``gnutls_alert_get``)."""
        return lib.gnutls_alert_get(self._c)

    # -- what was negotiated ------------------------------------------------------------------

    @rule(LOOK)
    def protocol_get_version(self) -> Protocol | None:
        """The protocol version, None before it is known (``gnutls_protocol_get_version``)."""
        return None if self.own.state == NEW else PROTOCOLS.get(self._version())

    def _version(self) -> int:
        return lib.gnutls_protocol_get_version(self._c)

    @rule(LOOK, DONE)
    def get_desc(self) -> str:
        """Version, key exchange and ciphers in one line (``gnutls_session_get_desc``)."""
        text = lib.gnutls_session_get_desc(self._c)
        try:
            return c_string(text)
        finally:
            lib.gr_free(text)

    @rule(LOOK, DONE)
    def ciphersuite_get(self) -> str:
        """The cipher suite's registered name (``gnutls_ciphersuite_get``). FeatureMissingError
        before GnuTLS 3.7.4.
        """
        require("gnutls_ciphersuite_get")
        return c_string(lib.gnutls_ciphersuite_get(self._c))

    @rule(LOOK, DONE)
    def cipher_suite_get_name(self) -> str:
        """GnuTLS's own name of the cipher suite, known to every version
        (``gnutls_cipher_suite_get_name`` of ``gnutls_kx_get``, ``gnutls_cipher_get`` and
        ``gnutls_mac_get``).
        """
        # The suites of TLS 1.3 say nothing of the key exchange.
        exchange = 0 if self._version() >= Protocol.TLS1_3 else lib.gnutls_kx_get(self._c)
        cipher, mac = lib.gnutls_cipher_get(self._c), lib.gnutls_mac_get(self._c)
        return "TLS_" + c_string(lib.gnutls_cipher_suite_get_name(exchange, cipher, mac))

    @rule(LOOK, DONE)
    def group_get(self) -> int:
        """The key exchange's group, 0 without one, as in TLS 1.3 resumption by ``psk_ke`` alone
        (``gnutls_group_get``).
        """
        return lib.gnutls_group_get(self._c)

    @rule(LOOK)
    def get_flags(self) -> SessionFlag:
        """Facts about the connection (``gnutls_session_get_flags``)."""
        return SessionFlag(lib.gnutls_session_get_flags(self._c))

    @rule(LOOK, DONE)
    def ext_master_secret_status(self) -> bool:
        """Whether a TLS 1.2 session has the extended master secret (RFC 7627; in TLS 1.3 True on
        a server, False on a client: ``gnutls_session_ext_master_secret_status``).
        """
        return bool(lib.gnutls_session_ext_master_secret_status(self._c))

    @rule(LOOK, DONE)
    def channel_binding(self, kind: ChannelBinding) -> bytes:
        """Channel binding data (``gnutls_session_channel_binding``). Raises GnuTLSError where
        the connection has none of that kind.
        """
        with Freed(wipe=True) as datum:
            check(lib.gnutls_session_channel_binding(self._c, ChannelBinding(kind), datum))
            return bytes_of(datum)

    @rule(LOOK)
    def get_random(self) -> tuple[bytes, bytes]:
        """The random values of client and server; empty before they are known
        (``gnutls_session_get_random``).
        """
        client, server = ffi.new("gnutls_datum_t *"), ffi.new("gnutls_datum_t *")
        lib.gnutls_session_get_random(self._c, client, server)
        return bytes_of(client), bytes_of(server)

    @rule(LOOK)
    def server_name_get(self) -> str | None:
        """On a server the name in this ClientHello, on a client the one that was set; None
        without one (``gnutls_server_name_get``).
        """
        if self.role == "client":
            return self.server_name or None
        return self._client_hello_name() or None

    def _client_hello_name(self) -> str:
        size, kind = ffi.new("size_t *", MAX_NAME + 1), ffi.new("unsigned int *")
        name = ffi.new("char[]", MAX_NAME + 1)
        code = lib.gnutls_server_name_get(self._c, name, size, kind, 0)
        return bytes(ffi.buffer(name, size[0])).decode(errors="replace") if code == 0 else ""

    @rule(LOOK, who=SERVER)
    def client_hello_server_name(self) -> str | None:
        """The server name in the ClientHello, also inside its hook, where
        ``gnutls_server_name_get`` does not know it yet; None without one.
        """
        return c_string(lib.gr_client_hello_name(self.own)) or None

    @rule(LOOK)
    def alpn_get_selected_protocol(self) -> bytes | None:
        """The protocol of this handshake, None without one
        (``gnutls_alpn_get_selected_protocol``).
        """
        datum = ffi.new("gnutls_datum_t *")
        code = lib.gnutls_alpn_get_selected_protocol(self._c, datum)
        return bytes_of(datum) if code == 0 else None

    @rule(LOOK)
    def certificate_get_peers(self) -> list[bytes]:
        """The peer's chain in DER, leaf first; on a resumed session that of the first handshake
        (``gnutls_certificate_get_peers``).
        """
        count = ffi.new("unsigned int *")
        chain = lib.gnutls_certificate_get_peers(self._c, count)
        return [bytes_of(chain[i]) for i in range(count[0])] if chain != ffi.NULL else []

    @rule(LOOK)
    def certificate_get_ours(self) -> bytes | None:
        """The certificate shown in this handshake, in DER; None on a resumed server session
        (``gnutls_certificate_get_ours``).
        """
        datum = lib.gnutls_certificate_get_ours(self._c)
        return bytes_of(datum) if datum != ffi.NULL else None

    @rule(LOOK)
    def certificate_verify_peers(self, hostname: str | None = None) -> CertificateStatus:
        """Verify the peer's chain now, and its name if given, also after a resumption; 0 is
        valid. Raises GnuTLSError if it showed none (``gnutls_certificate_verify_peers3``).
        """
        status = ffi.new("unsigned int *")
        name = ffi.NULL if hostname is None else check_name(hostname)
        check(lib.gnutls_certificate_verify_peers3(self._c, name, status))
        return CertificateStatus(status[0])

    # -- resumption ---------------------------------------------------------------------------

    @rule(READ, DONE, CLIENT)
    def get_data(self) -> bytes | None:
        """The session in an envelope, for ``set_data`` of a later one; None if the server has
        given no ticket (``gnutls_session_get_data2``). Holds secrets.

        In TLS 1.3 it is the last ticket received. If none has come yet, one record is waited for,
        up to 60 ms, and read, where the transport waits at all. Raises InvalidSessionError if
        the connection has failed, or the session is too large; as ``set_data`` for the sealing.
        """
        if self._version() >= Protocol.TLS1_3 and not self.own.tickets:
            return self._wait_for_ticket()
        with Freed(wipe=True) as datum:
            code = lib.gnutls_session_get_data2(self._c, datum)
            if code < 0:
                raise session_error_for(code)
            return self._seal_client(datum)

    def _wait_for_ticket(self) -> bytes | None:
        carrier = self._attached()
        carrier.begin(READ)
        if not lib.gr_record_comes(carrier.c, TICKET_PATIENCE):
            return None
        with Freed(wipe=True) as datum:
            self._exchange(READ, lib.gnutls_session_get_data2, datum)
            return self._seal_client(datum)

    def _seal_client(self, datum: CData) -> bytes | None:
        """None for GnuTLS's dummy and for a TLS 1.3 ticket that must not be kept."""
        if datum.size == len(NO_DATA) and bytes_of(datum) == NO_DATA:
            return None
        own, version = self.own, self._version()
        kind = Kind.CLIENT_TICKET
        lifetime = self._lifetime()
        # From one resumption to the next a session grows no younger.
        before = self.offered if self.offered is not None and self._resumed() else None
        if version >= Protocol.TLS1_3 and own.tickets:
            if own.ticket_lifetime == 0:  # RFC 8446 §4.6.1: discard it at once
                return None
            created = before.created if before else own.ticket_arrival
            expires = own.ticket_arrival + own.ticket_lifetime
        elif before:
            # GnuTLS returns the bytes that were offered: nor do they live longer.
            kind, created, expires = CLIENT_KINDS[before.kind], before.created, before.expires
        elif own.tickets:
            created = own.ticket_arrival
            expires = created + (own.ticket_lifetime or lifetime)  # RFC 5077 §3.3: 0 says nothing
        else:
            kind, created = Kind.CLIENT_SESSION_ID, lib.gnutls_db_check_entry_time(datum)
            expires = created + lifetime
        return envelope.seal(
            datum,
            kind=kind,
            protocol_version=WIRE_VERSIONS[version],
            created=created,
            expires=expires if self.not_after is None else min(expires, self.not_after),
            server_name=self.server_name,
            store_key=b"",
            sealing=self._sealing,
        )

    def _lifetime(self) -> int:
        return self.own.cache_expiration or lib.gnutls_db_get_default_cache_expiration()

    @rule(ALONE, NEW, CLIENT)
    def set_data(self, data: BytesLike, *, sealing: Sealing | None = None) -> None:
        """Offer a session that ``get_data`` or the ticket function handed out
        (``gnutls_session_set_data``). Once a session. `sealing` says how it was sealed, if
        otherwise than this one's.

        Raises TypeError; ValueError for an empty value or one over 65,536 bytes;
        InvalidSessionError for one that is damaged, expired, sealed otherwise, of another
        context or library version, or a server's: nothing has happened then. MisuseError for a
        sealing key that was wiped; what a callable context raises comes out.
        """
        if self.offered is not None:
            raise MisuseError("set_data can be called once; make another Session")
        kinds = envelope.CLIENT_KINDS
        sealing = self._sealing if sealing is None else sealing
        opened = envelope.open(data, kinds=kinds, store_key=b"", sealing=sealing)
        try:
            code = lib.gnutls_session_set_data(self._c, opened.pointer, opened.size)
        finally:
            opened.wipe()
        if code < 0:
            if code not in CLEAN_REFUSALS:
                self._leak()
            raise session_error_for(code)
        self.offered = opened.header

    def _leak(self) -> None:
        """Never touch the C session again, not even to free it: that would crash."""
        global poisoned  # noqa: PLW0603 - one number a process, for a test to look at
        poisoned += 1
        self.own.state = CLOSED

    @rule(LOOK)
    def get_id(self) -> bytes:
        """The session ID, on a server the same after each resumption
        (``gnutls_session_get_id2``).
        """
        datum = ffi.new("gnutls_datum_t *")
        check(lib.gnutls_session_get_id2(self._c, datum))
        return bytes_of(datum)

    @rule(LOOK)
    def is_resumed(self) -> bool:
        """Whether the handshake was a resumption (``gnutls_session_is_resumed``)."""
        return self._resumed()

    def _resumed(self) -> bool:
        return bool(lib.gnutls_session_is_resumed(self._c))

    @rule(LOOK, who=SERVER)
    def resumption_requested(self) -> bool:
        """Whether the client seems to have asked for it
        (``gnutls_session_resumption_requested``).

        In TLS 1.2 any session ID counts, also the random one of a client that can do 1.3; in
        1.3 only a ticket that could be decrypted.
        """
        return bool(lib.gnutls_session_resumption_requested(self._c))

    # -- tickets ------------------------------------------------------------------------------

    @rule(ALONE, NEW, SERVER, where=IN_HELLO)
    def ticket_enable_server(self, key: TicketKey) -> None:
        """Issue and accept tickets under `key` (``gnutls_session_ticket_enable_server``). The
        session keeps a copy until it is closed.
        """
        check_instance("key", key, TicketKey)
        check(lib.gnutls_session_ticket_enable_server(self._c, key.datum))

    @rule(ALONE, NEW, SERVER, where=IN_HELLO)
    def ticket_derive(self, secret: TicketSecret | TicketKeyTable, policy: BytesLike) -> None:
        """Issue and accept tickets under a key made from `secret` for this connection alone: for
        `policy` (32 bytes, a digest of all that decides whether a peer is acceptable), protocol
        version, ALPN protocol and server name. A ticket made under any other key is unknown, and
        the handshake full (``gnutls_session_ticket_enable_server``). Of a table's secrets it is
        the one whose ticket the client offers, or else the first.

        The key is made when the ClientHello has been read, after the function of
        ``handshake_set_post_client_hello_function``; until then, as in a ClientHello hook, another
        call replaces this one. It stands in for ``ticket_enable_server`` and, like it, undoes
        ``%NO_TICKETS``. Where it cannot be made (the secret has been wiped, that function has set
        a priority) there are no tickets, and ``ticket_failures`` counts. Nor are there any for a
        TLS 1.2 client without extended master secret, whose resumption would have to be refused
        (RFC 7627 §5.3).
        """
        table = secret if isinstance(secret, TicketKeyTable) else TicketKeyTable(secret)
        if type(policy) is not bytes or len(policy) != POLICY_SIZE:
            policy = bytes(check_bytes("policy", policy, length=POLICY_SIZE))
        if self._table is not None:
            self._kept.append(self._table)  # for C may still look at it
        self._table = table
        lib.gr_ticket_derive(self.own, table.c, policy)

    @property
    def ticket_failures(self) -> int:
        """How often ``ticket_derive`` could make no key: this connection has no tickets."""
        return lib.gr_ticket_failures(self.own)

    @rule(LOOK, who=SERVER)
    def ticket_offered(self) -> TicketOffer:
        """What the client offered, known after the handshake, whether it was resumed or not
        (unlike ``gnutls_session_resumption_requested``).
        """
        return TicketOffer(lib.gr_ticket_offered(self.own))

    @rule(ALONE, NEW, CLIENT)
    def ticket_enable_client(self) -> None:
        """Ask for tickets, the default (``gnutls_session_ticket_enable_client``)."""
        check(lib.gnutls_session_ticket_enable_client(self._c))

    @rule(WRITE, DONE, SERVER)
    def ticket_send(self, n: int) -> None:
        """Send `n` more TLS 1.3 tickets, 1 to 255 (``gnutls_session_ticket_send``).

        GnuTLS sends none, and says nothing, without a ticket key or to a client that takes
        none. Raises GnuTLSError in TLS 1.2, else as ``record_send`` does.
        """
        check_number("n", n, 1, 255)
        # One at a time: GnuTLS puts all into one record, and fails where they do not fit.
        for _ in range(n - 1 if self._owed is None else 0):
            self._exchange(WRITE, lib.gr_ticket_send, 1, 0)
        self._write(WRITE, lib.gr_ticket_send, 1, 0)

    @rule(ALONE, NEW, CLIENT)
    def set_ticket_function(self, function: TicketFunction) -> None:
        """Call ``function(data, lifetime)`` for each TLS 1.3 ticket as it arrives: an envelope
        for ``set_data``, and the server's seconds, at most 604,800 (the NEW_SESSION_TICKET hook
        and ``gnutls_session_get_data2``). Its exception comes out of the call that read the
        ticket; the connection goes on.
        """
        self.ticket_function = check_callable("function", function)
        self._call_python(HandshakeType.NEW_SESSION_TICKET, HookTime.POST)

    def hand_over_ticket(self) -> None:
        """For _callbacks: the ticket that has just been read. In TLS 1.2 it is part of the
        handshake, and of ``get_data`` after it.
        """
        function = self.ticket_function
        if function is None or self._version() < Protocol.TLS1_3:
            return
        with Freed(wipe=True) as datum:
            check(lib.gnutls_session_get_data2(self._c, datum))
            try:
                data = self._seal_client(datum)
            except (InvalidSessionError, MisuseError):  # too large, or the key was wiped
                return
        if data is not None:
            function(data, min(self.own.ticket_lifetime, envelope.MAX_LIFETIME))

    # -- the server's session database --------------------------------------------------------

    @rule(ALONE, NEW, SERVER, where=IN_HELLO)
    def db_set_functions(
        self,
        *,
        store: Store,
        retrieve: Retrieve,
        remove: Remove,
        sealing: Sealing | None = None,
    ) -> None:
        """Keep sessions of TLS 1.2 clients that take no ticket in a database
        (``gnutls_db_set_store_function``, ``gnutls_db_set_retrieve_function``,
        ``gnutls_db_set_remove_function``, ``gnutls_db_set_ptr``).

        ``store(key, data)`` gets the session ID and an envelope, ``retrieve(key)`` returns that
        envelope or None, ``remove(key)`` forgets it. Keys of ``retrieve`` are 1 to 32 bytes of
        the client's choice; it is not asked where the client also offers a ticket that
        ``ticket_derive`` knows. What they raise is counted in ``db_failures``, logged, and makes a
        full handshake. `sealing` replaces the session's.
        """
        check_callable("store", store)
        check_callable("retrieve", retrieve)
        check_callable("remove", remove)
        if sealing is not None:
            self._sealing = check_instance("sealing", sealing, Sealing)
        self.database = (store, retrieve, remove)
        lib.gr_db_set_functions(self.own)

    def store_entry(self, key: bytes, datum: CData) -> None:
        """For _callbacks: seal what GnuTLS wants stored."""
        entry = ffi.new("gnutls_datum_t *", datum)
        data = envelope.seal(
            entry,
            kind=Kind.SERVER_ENTRY,
            protocol_version=WIRE_VERSIONS[self._version()],
            created=lib.gnutls_db_check_entry_time(entry),
            expires=lib.gnutls_db_check_entry_expire_time(entry),
            server_name=self._client_hello_name(),
            store_key=key,
            sealing=self._sealing,
        )
        assert self.database is not None
        self.database[0](key, data)

    def retrieve_entry(self, key: bytes) -> CData | None:
        """For _callbacks: an intact entry, in memory that GnuTLS frees."""
        assert self.database is not None
        data = self.database[1](key)
        if data is None:
            return None
        kinds = (Kind.SERVER_ENTRY,)
        opened = envelope.open(data, kinds=kinds, store_key=key, sealing=self._sealing)
        try:
            memory = lib.gr_malloc(opened.size)
            if memory == ffi.NULL:
                raise MemoryError
            ffi.memmove(memory, opened.pointer, opened.size)
        finally:
            opened.wipe()
        return ffi.new("gnutls_datum_t *", (memory, opened.size))[0]

    def remove_entry(self, key: bytes) -> None:
        """For _callbacks."""
        assert self.database is not None
        self.database[2](key)

    def note_db_failure(self, error: Exception) -> None:
        """For _callbacks."""
        self.db_failures += 1
        self.db_error = error

    @rule(ALONE, NEW, where=IN_HELLO)
    def db_set_cache_expiration(self, seconds: int) -> None:
        """How long sessions and tickets made here may be resumed, 1 to 604,800 seconds
        (``gnutls_db_set_cache_expiration``). Servers that share a ticket key must agree on it:
        GnuTLS derives from both.
        """
        check_number("seconds", seconds, 1, envelope.MAX_LIFETIME)
        lib.gnutls_db_set_cache_expiration(self._c, seconds)
        self.own.cache_expiration = seconds

    @rule(LOOK, who=SERVER)
    def db_check_entry(self, data: BytesLike, key: bytes | None = None) -> bool:
        """Whether this server would resume the entry; damage is noticed if its `key`, the
        session ID, is given. (``gnutls_db_check_entry`` itself has become a function that does
        nothing.) TypeError or ValueError for what cannot be an entry.
        """
        kinds = (Kind.SERVER_ENTRY,)
        try:
            if key is None:
                envelope.accept_unverified(data, kinds=kinds, sealing=self._sealing)
            else:
                check_bytes("key", key)
                opened = envelope.open(data, kinds=kinds, store_key=key, sealing=self._sealing)
                opened.wipe()
        except InvalidSessionError:
            return False
        return True

    @rule(ALONE, STARTED | DONE, SERVER)
    def db_remove_session(self) -> None:
        """Remove this session's entry from the database, for example after a fatal alert
        (``gnutls_db_remove_session``): GnuTLS never does it by itself.
        """
        lib.gnutls_db_remove_session(self._c)
        if _callbacks.owes(self):
            raise _callbacks.take_raised(self)

    # -- records ------------------------------------------------------------------------------

    @rule(WRITE, DONE)
    def record_send(self, data: BytesLike) -> int:
        """Send data; returns how many bytes have left: all, or fewer where the transport does
        not wait or the time was over (``gnutls_record_send``).

        Raises WantWriteError where none could leave (repeat the call with the same data),
        TimeoutError at the socket's timeout, OSError from the socket, GnuTLSError.
        """
        check_bytes("data", data)
        carrier = self._attached()
        with ffi.from_buffer(data) as view:
            if len(view) == 0:
                return 0
            encrypted = len(self._put_off)
            if encrypted and self._put_off != ffi.buffer(view)[:encrypted]:
                raise MisuseError("after WantWriteError the same data must be sent")
            progress = ffi.new(PROGRESS, (0, encrypted))
            carrier.begin(WRITE)
            try:
                send, c = lib.gr_record_send, self._c
                while (code := send(c, view, len(view), progress)) == errno.EINTR:
                    carrier.renew(WRITE)  # after Python has served its signals
            finally:
                sent, encrypted = progress
                self._put_off = ffi.buffer(view)[sent : sent + encrypted] if encrypted else b""
        if code in {0, errno.EAGAIN, lib.GR_DEADLINE} and sent:
            return int(sent)
        raise self._send_error(code)

    def _send_error(self, code: int) -> Exception:
        if code == lib.GR_DEADLINE:
            return TimeoutError(TIMED_OUT)
        if code == errno.EAGAIN:
            return WantWriteError(FULL)
        self._put_off = b""  # the connection is lost, and says so ever after
        return self._error(WRITE, code) if code < 0 else OSError(code, os.strerror(code))

    @rule(READ, DONE)
    def record_recv(self, size: int = 16384) -> bytes:
        """Receive up to `size` bytes, of one record, and after a full one of those that are
        there already; the empty bytes when the peer has sent its close_notify
        (``gnutls_record_recv``).

        Raises WantReadError where the transport does not wait, TimeoutError at the socket's
        timeout, PrematureTerminationError for an end without close_notify, AlertError, OSError
        from the socket, another GnuTLSError.
        """
        check_number("size", size, 1, MAX_READ)
        buffer = uncleared(CHARS, size)
        received = self._exchange(READ, lib.gr_record_recv, buffer, size)
        return bytes(ffi.buffer(buffer, received))

    @rule(READ, DONE)
    def record_recv_into(self, buffer: bytearray | memoryview) -> int:
        """As ``record_recv``, into a writable buffer; returns the number of bytes
        (``gnutls_record_recv``).
        """
        with ffi.from_buffer(buffer, require_writable=True) as view:
            if len(view) == 0:
                raise ValueError("buffer must have room for at least 1 byte")
            return self._exchange(READ, lib.gr_record_recv, view, len(view))

    @rule(LOOK)
    def record_check_pending(self) -> int:
        """Bytes that ``record_recv`` returns without reading (``gnutls_record_check_pending``)."""
        return lib.gnutls_record_check_pending(self._c)

    @rule(LOOK)
    def record_get_max_size(self) -> int:
        """The most bytes of one record (``gnutls_record_get_max_size``)."""
        return lib.gnutls_record_get_max_size(self._c)

    # -- early data ---------------------------------------------------------------------------

    @rule(ALONE, NEW, CLIENT)
    def record_send_early_data(self, data: BytesLike) -> None:
        """Send data with the first flight, after ``set_data``
        (``gnutls_record_send_early_data``). They can be replayed by an attacker (RFC 8446 §8).

        Raises GnuTLSError if they exceed ``record_get_max_early_data_size``. If ``get_flags``
        lacks ``EARLY_DATA`` after the handshake they were not taken, and must be sent again.
        """
        limit = self._max_early_data()
        with ffi.from_buffer(check_bytes("data", data)) as view:
            if len(view) > limit:
                error = error_for(lib.GNUTLS_E_RECORD_LIMIT_REACHED)
                error.args = (f"the session allows {limit} bytes of early data",)
                raise error
            check(lib.gnutls_record_send_early_data(self._c, view, len(view)))

    @rule(READ, who=SERVER, where=IN_HELLO | IN_CALLBACK)
    def record_recv_early_data(self, size: int = 16384) -> bytes:
        """The client's early data, up to `size` bytes a call; the empty bytes when there are no
        more (``gnutls_record_recv_early_data``).
        """
        check_number("size", size, 1, MAX_READ)
        buffer = ffi.new("unsigned char[]", size)
        code = lib.gnutls_record_recv_early_data(self._c, buffer, size)
        if code == lib.GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE:
            return b""
        return bytes(ffi.buffer(buffer, check(code)))

    @rule(LOOK)
    def record_get_max_early_data_size(self) -> int:
        """How many bytes of early data may be sent, or are taken; on a client 0 before
        ``set_data`` (``gnutls_record_get_max_early_data_size``).
        """
        return self._max_early_data()

    def _max_early_data(self) -> int:
        size = lib.gnutls_record_get_max_early_data_size(self._c)
        # Before 3.8.9 a client that may send none is told 4 GiB, and what it sends is dropped.
        return 0 if self.role == "client" and size == (1 << 32) - 1 else size

    @rule(LOOK)
    def early_cipher_get(self) -> int:
        """The cipher of the early data, known only inside a handshake callback, else 0
        (``gnutls_early_cipher_get``, ``gnutls_cipher_algorithm_t``).
        """
        return lib.gnutls_early_cipher_get(self._c)

    @rule(LOOK)
    def early_prf_hash_get(self) -> int:
        """The hash of the early data's keys, known only inside a handshake callback, else 0
        (``gnutls_early_prf_hash_get``, ``gnutls_digest_algorithm_t``).
        """
        return lib.gnutls_early_prf_hash_get(self._c)

    @rule(ALONE, NEW, SERVER)
    def record_set_max_early_data_size(self, size: int) -> None:
        """How many bytes of early data are taken, 1 to 4,294,967,295
        (``gnutls_record_set_max_early_data_size``).
        """
        check_number("size", size, 1, (1 << 32) - 1)
        check(lib.gnutls_record_set_max_early_data_size(self._c, size))

    @rule(ALONE, NEW, SERVER)
    def anti_replay_enable(self, anti_replay: AntiReplay) -> None:
        """Accept early data, if `anti_replay` has not seen them
        (``gnutls_anti_replay_enable``). The session also needs ``InitFlag.ENABLE_EARLY_DATA``.
        """
        check_instance("anti_replay", anti_replay, AntiReplay)
        lib.gnutls_anti_replay_enable(self._c, anti_replay.c)
        self._kept.append(anti_replay)

    # -- how an operation runs ----------------------------------------------------------------

    def _attached(self) -> MemoryTransport | SocketTransport:
        if self._transport is None:
            raise MisuseError("attach a transport first")
        return self._transport

    def _exchange(self, direction: int, call: Callable[..., int], *args: object) -> int:
        """Run a C call that may read or write until it has an answer that is not an error."""
        carrier = self._attached()
        carrier.begin(direction)
        while True:
            code = call(self._c, *args)
            if _callbacks.owes(self):
                code = lib.GNUTLS_E_INTERNAL_ERROR
                raise self._given_up(direction, call, code, _callbacks.take_raised(self))
            if code >= 0:
                return code
            if code == AGAIN and (blocked := lib.gr_blocked(carrier.c)):
                raise self._blocked(direction, blocked)
            if code in {AGAIN, INTERRUPTED}:
                # A wait is over, or something else than data was read: a ticket, a key update.
                carrier.renew(direction)
            elif code != WARNING or direction != ALONE:
                raise self._given_up(direction, call, code, self._error(direction, code))

    def _blocked(self, direction: int, number: int) -> Exception:
        if number == lib.GR_DEADLINE:
            return TimeoutError(TIMED_OUT)
        carrier = self._attached()
        # Who only reads waits for the peer, whatever else is still to be sent.
        if direction & WRITE and carrier.is_socket and lib.gr_pending(carrier.c):
            return WantWriteError(FULL)
        return WantReadError("the transport has nothing to read for now")

    def _error(self, direction: int, code: int) -> Exception:
        carrier = self._attached().c
        if direction & READ and (number := lib.gr_read_error(carrier)):
            return OSError(number, os.strerror(number))
        if code == lib.GNUTLS_E_UNEXPECTED_PACKET_LENGTH and lib.gr_ended(carrier):
            code = lib.GNUTLS_E_PREMATURE_TERMINATION  # inside a record
        error = error_for(code)
        if isinstance(error, AlertError):
            error.alert = lib.gnutls_alert_get(self._c)
            error.alert_name = c_string(lib.gnutls_alert_get_name(error.alert))
        if isinstance(error, VerificationError) and self.verifier is None:
            error.status = lib.gnutls_session_get_verify_cert_status(self._c)
            error.reasons = certificate_verification_status_print(error.status)
        return error

    def _given_up(
        self, direction: int, call: Callable[..., int], code: int, error: BaseException
    ) -> BaseException:
        """The error, after telling the peer that the handshake has failed, unless it was he who
        ended it, and sending what is left. Never waits: a peer that does not read must not hold
        up an error. The caller has no name for it: an exception holds the frames it went through,
        and one that holds it too would keep the session until a cycle collection.
        """
        if call is lib.gr_handshake and code != lib.GNUTLS_E_FATAL_ALERT_RECEIVED:
            alert = alert_for(error)
            if alert is None:
                lib.gnutls_alert_send_appropriate(self._c, code)
            else:
                lib.gnutls_alert_send(self._c, lib.GNUTLS_AL_FATAL, alert)
        lib.gr_flush(self._attached().c, direction, 0)
        return error

    def _write(self, direction: int, call: Callable[..., int], *args: object) -> int:
        """Run a C call that writes, send all that it has written, and return what it returned.

        Where the socket takes no more, that answer stays owed until the call is repeated.
        """
        carrier = self._attached()
        if self._put_off:
            raise MisuseError("after WantWriteError the same call must be repeated")
        if self._owed is None:
            self._owed = call, self._exchange(direction, call, *args)
        else:
            carrier.begin(direction)
        owed_by, answer = self._owed
        if owed_by is not call:
            raise MisuseError("after WantWriteError the same call must be repeated")
        while (number := lib.gr_flush(carrier.c, direction, 1)) == errno.EINTR:
            carrier.renew(direction)  # after Python has served its signals
        if number == errno.EAGAIN:
            raise WantWriteError(FULL)
        if number == lib.GR_DEADLINE:
            raise TimeoutError(TIMED_OUT)
        self._owed = None
        # A handshake that is complete stays so: the next call finds the connection broken.
        if number and call is not lib.gr_handshake:
            raise OSError(number, os.strerror(number))
        return answer


@lru_cache(maxsize=64)
def init_flags(role: Role, flags: int) -> int:
    if role not in ("client", "server"):
        raise ValueError(f"role must be 'client' or 'server', not {role!r}")
    known = sum(int(flag) for flag in InitFlag)
    if flags & ~known:
        raise ValueError(f"flags has bits that mean nothing here: {flags & ~known:#x}")
    for flag, version in FLAG_VERSIONS.items():
        if flags & flag:
            require_version(f"InitFlag.{flag.name}", version)
    return flags | (lib.GNUTLS_SERVER if role == "server" else lib.GNUTLS_CLIENT)


def priority_for(text: str | None) -> CData:
    if text is not None and "\0" in check_instance("priority", text, str):
        raise ValueError("priority must not contain NUL")
    return parse_priority(text)


@lru_cache(maxsize=64)
def parse_priority(text: str | None) -> CData:
    """A parsed priority string; sessions share it (``gnutls_priority_init2``)."""
    pointer, where = ffi.new("gnutls_priority_t *"), ffi.new("const char **")
    raw = ffi.NULL if text is None else ffi.new("char[]", text.encode())
    code = lib.gnutls_priority_init2(pointer, raw, where, 0)
    if code < 0:
        rest = c_string(where[0]) if text is not None else ""
        raise ValueError(f"priority {text!r} is wrong at {rest!r}: {error_for(code)}")
    return ffi.gc(pointer[0], lib.gnutls_priority_deinit)


def cipher_suites(priority: str) -> list[tuple[int, str]]:
    """The suites of a priority string in its order: their numbers and registered names
    (``gnutls_priority_get_cipher_suite_index``, ``gnutls_cipher_suite_info``).
    """
    cache, index, number = priority_for(priority), ffi.new("unsigned int *"), ffi.new(CHARS, 2)
    found: list[tuple[int, str]] = []
    for i in count():
        code = lib.gnutls_priority_get_cipher_suite_index(cache, i, index)
        if code == lib.GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE:
            break
        if code < 0:  # a suite without the algorithms that the string allows
            continue
        null = ffi.NULL
        name = lib.gnutls_cipher_suite_info(index[0], number, null, null, null, null)
        found.append((number[0] << 8 | number[1], c_string(name)))
    return found
