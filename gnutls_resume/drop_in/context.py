"""The drop-in for ``ssl.SSLContext``: the same settings, and sessions that resume.

A real subclass, which overrides only the two methods that make a connection (``_wrap_socket``,
``_wrap_bio``) and the settings that GnuTLS has to know. The values themselves stay where the
standard library keeps them, and so do its checks of them; they are read when a connection is
made, and remembered until a setter is called. ``_wrap_socket``, ``_wrap_bio`` and ``_sslobj``
are private names of ``ssl``, unchanged since Python 3.7.
"""

import getpass
import hashlib
import os
import ssl
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, cast

from gnutls_resume.binding import Credentials, KeyPair, SealingKey
from gnutls_resume.binding._arguments import check_bytes
from gnutls_resume.binding.session import MAX_PROTOCOL_NAME, MAX_PROTOCOLS, priority_for
from gnutls_resume.binding.x509 import Certificate, certificates_of
from gnutls_resume.drop_in import options
from gnutls_resume.drop_in.authorities import (
    Path,
    is_authority,
    path_of,
    pem_error,
    trust_in,
    trust_in_file,
    trust_in_folders,
)
from gnutls_resume.drop_in.cipher import ciphers_of
from gnutls_resume.drop_in.engine import BIO, Engine
from gnutls_resume.drop_in.exceptions import ssl_error, translated
from gnutls_resume.drop_in.options import Settings, SNICallback
from gnutls_resume.drop_in.peercert import decode
from gnutls_resume.drop_in.refusals import Refusing
from gnutls_resume.drop_in.resuming import (
    DEFAULT,
    DEFAULT_LIFETIME,
    Default,
    Resuming,
    resuming_for,
)
from gnutls_resume.drop_in.session import SSLSession
from gnutls_resume.drop_in.sockets import SSLObject, SSLSocket
from gnutls_resume.errors import GnuTLSError
from gnutls_resume.resumption import trust
from gnutls_resume.resumption.lock import Lock
from gnutls_resume.resumption.outcome import MissReason, OnHandshake
from gnutls_resume.resumption.policy import ClientPolicy, ServerPolicy
from gnutls_resume.resumption.reverify import Rules, verifier_for
from gnutls_resume.resumption.ticket_keys import TicketKeyRing
from gnutls_resume.stores.protocol import Store

Password = str | bytes | bytearray | Callable[[], str | bytes | bytearray] | None


# set_ciphers with these changes nothing.
DEFAULT_CIPHERS = {"DEFAULT", getattr(ssl, "_DEFAULT_CIPHERS", "DEFAULT")}
# For which value of server_side a context is no good.
WRONG_SIDES = {ssl.PROTOCOL_TLS_CLIENT: True, ssl.PROTOCOL_TLS_SERVER: False}
BASE = ssl.SSLContext
# The standard library's own settings, read without its enumerations: what decides whether those
# that were read for the last connection still hold, whichever way they may have been changed.
INHERITED = [
    getattr(ssl._SSLContext, name).__get__  # type: ignore[attr-defined] # noqa: SLF001
    for name in (
        "options",
        "verify_mode",
        "verify_flags",
        "check_hostname",
        "_host_flags",
        "minimum_version",
        "maximum_version",
        "num_tickets",
        "post_handshake_auth",
        "sni_callback",
        "keylog_filename",
    )
]

# Why a server did not resume what a client had offered.
OFFERED_IN_VAIN = set(MissReason) - {
    MissReason.NONE_OFFERED,
    MissReason.DISABLED,
    MissReason.EXPIRED,
}
loading = Lock()  # held for a moment, when certificates are added to a context


class SSLContext(Refusing):
    """``ssl.SSLContext`` over GnuTLS, whose connections resume.

    A client remembers sessions by itself, in `sessions`: by default one store of the process,
    None keeps nothing. They are found only under the policy they were made under: server name,
    verification settings, trust, client certificate, ALPN, versions, priority and `partition`
    (bytes; a tenant, a login, a proxy). `sealing_key` encrypts what leaves the process, and is
    required by stores that others can read. A session is used for `session_lifetime` seconds at
    most (1 to 604,800). Before a close that has read nothing, TLS 1.3 tickets are waited for
    `close_wait` seconds at most; 0 does not.

    A server issues tickets under `ticket_keys`: by default the keys of the process, None issues
    none. Its `sessions`, by default none, are for TLS 1.2 clients that take no tickets, and may be
    shared with other servers, as a ``TicketKeyRing`` may.

    `priority` is a GnuTLS priority string for key exchanges, ciphers and groups; versions are those
    of ``minimum_version`` and ``maximum_version``. ``on_handshake(outcome)`` is called for each
    completed handshake.

    Raises TypeError or ValueError for a wrong argument, as ``ssl.SSLContext`` does.
    """

    sslsocket_class = SSLSocket
    sslobject_class = SSLObject

    _keylog_folder = ""  # the working folder when keylog_filename was set

    def __init__(
        self,
        protocol: int | None = None,  # noqa: ARG002 - ssl.SSLContext.__new__ has taken it
        *,
        sessions: Store | Default | None = DEFAULT,
        sealing_key: SealingKey | None = None,
        ticket_keys: TicketKeyRing | Default | None = DEFAULT,
        partition: bytes = b"",
        priority: str | None = None,
        session_lifetime: int = DEFAULT_LIFETIME,
        close_wait: float = 0.02,
        on_handshake: OnHandshake | None = None,
    ) -> None:
        check_base()
        self._wrong_side = WRONG_SIDES.get(self.protocol)
        self._given_options = int(self.options)
        self._partition = bytes(check_bytes("partition", partition))
        priority_for(priority)
        self._priority = priority
        self._alpn: tuple[bytes, ...] = ()
        self._trust = trust.NOTHING
        self._pairs: dict[str, tuple[KeyPair, list[bytes]]] = {}
        self._resuming = resuming_for(
            sessions=sessions,
            sealing_key=sealing_key,
            ticket_keys=ticket_keys,
            session_lifetime=session_lifetime,
            close_wait=close_wait,
            on_handshake=on_handshake,
            server=self.protocol != ssl.PROTOCOL_TLS_CLIENT,
        )

    def __setattr__(self, name: str, value: object) -> None:
        """Set it, and read the settings anew for the next connection."""
        if name == "options" and isinstance(value, int):
            options.check_options(value, self._given_options)
        elif name == "verify_flags" and isinstance(value, int):
            options.check_verify_flags(value)
        super().__setattr__(name, value)
        if name == "keylog_filename" and value is not None:
            self.__dict__["_keylog_folder"] = os.getcwd()  # noqa: PTH109
        self.__dict__["_settings"] = {}

    # -- connections --------------------------------------------------------------------------

    def _wrap_socket(
        self,
        sock: Any,  # noqa: ANN401
        server_side: bool,  # noqa: FBT001
        server_hostname: str | None = None,
        *,
        owner: object = None,
        session: SSLSession | None = None,
    ) -> Engine:
        return self._engine(server_side, server_hostname, owner, session, sock=sock)

    def _wrap_bio(
        self,
        incoming: BIO,
        outgoing: BIO,
        server_side: bool,  # noqa: FBT001
        server_hostname: str | None = None,
        *,
        owner: object = None,
        session: SSLSession | None = None,
    ) -> Engine:
        bios = incoming, outgoing
        return self._engine(server_side, server_hostname, owner, session, bios=bios)

    def _engine(
        self,
        server_side: bool,  # noqa: FBT001
        server_hostname: str | None,
        owner: object,
        session: SSLSession | None,
        **carrier: Any,  # noqa: ANN401
    ) -> Engine:
        if self._wrong_side is bool(server_side):
            side = "server" if server_side else "client"
            name = self.protocol.name
            raise ssl_error(
                "INTERNAL_ERROR", f"Cannot create a {side} socket with a {name} context"
            )
        if server_hostname is not None:
            check_hostname(server_hostname)
        elif self.check_hostname and not server_side:
            raise ValueError("check_hostname requires server_hostname")
        settings, resuming = self._connection(server_side=bool(server_side))
        engine = Engine(
            self,
            settings,
            resuming,
            server_side=bool(server_side),
            server_hostname=server_hostname,
            owner=owner,
            **carrier,
        )
        if session is not None:
            engine.session = session
        return engine

    def _connection(self, *, server_side: bool) -> tuple[Settings, Resuming]:
        """What a connection needs to know, read once."""
        # First of all what the settings are remembered under: changes from here on are noticed.
        known: dict[bool, tuple[list[Any], Settings]] = self.__dict__["_settings"]
        inherited = [read(self) for read in INHERITED]
        then, settings = known.get(server_side, (None, None))
        if settings is None or then != inherited:
            settings = self._read_settings(server_side=server_side)
            known[server_side] = inherited, settings
        return settings, self._resuming

    def _read_settings(self, *, server_side: bool) -> Settings:
        check_base()
        options.check_options(self.options, self._given_options)
        options.check_verify_flags(self.verify_flags)
        versions = options.versions_of(self)
        priority = options.priority_for(self, self._priority, versions, server_side=server_side)
        flags = self.verify_flags
        verify = self.verify_mode != ssl.CERT_NONE
        keylog = self.keylog_filename
        rules = Rules(
            server=not server_side,
            required=self.verify_mode == ssl.CERT_REQUIRED or not server_side,
            need_crl=options.need_crl(flags),
            partial_chain=bool(flags & ssl.VERIFY_X509_PARTIAL_CHAIN),
            common_name=self.hostname_checks_common_name,
        )
        tickets = self._tickets(server_side=server_side)
        return Settings(
            priority=priority,
            flags=options.flags_for(self, server_side=server_side, tickets=tickets),
            versions=frozenset(options.VERSIONS[version][0] for version in versions),
            credentials=self._credentials(),
            alpn=self._alpn,
            verify_mode=self.verify_mode,
            check_hostname=self.check_hostname,
            verifier=verifier_for(self._trust) if verify else None,
            rules=rules,
            policy=self._policy(priority, server_side=server_side),
            tickets=tickets,
            sni_callback=cast("SNICallback | None", self.sni_callback if server_side else None),
            keylog=keylog and os.path.join(self._keylog_folder, os.fsdecode(keylog)),  # noqa: PTH118
        )

    def _policy(self, priority: str, *, server_side: bool) -> ClientPolicy | ServerPolicy:
        chains = [chain for _, chain in self._pairs.values()]
        if server_side:
            names = {name for chain in chains for name in Certificate(chain[0]).names}
            return ServerPolicy(
                names=tuple(sorted(names)),
                verify_mode=self.verify_mode,
                verify_flags=self.verify_flags,
                trust=self._trust.digest if self.verify_mode != ssl.CERT_NONE else b"",
                partition=self._partition,
                priority=self._priority or "",
            )
        identity = sorted(hashlib.sha256(b"".join(chain)).digest() for chain in chains)
        return ClientPolicy(
            verify_mode=self.verify_mode,
            check_hostname=self.check_hostname,
            verify_flags=self.verify_flags,
            common_name=self.hostname_checks_common_name,
            trust=self._trust.digest,
            identity=b"".join(identity),
            priority=priority,
            alpn=self._alpn,
            partition=self._partition,
            tickets=not self.options & ssl.OP_NO_TICKET,
        )

    def _tickets(self, *, server_side: bool) -> int:
        if not server_side or self.options & ssl.OP_NO_TICKET or self._resuming.ring is None:
            return 0
        return self.num_tickets

    def _credentials(self) -> Credentials:
        credentials = Credentials()
        for pair, _ in self._pairs.values():
            credentials.add(pair)
        return credentials

    # -- certificates -------------------------------------------------------------------------

    def load_cert_chain(
        self, certfile: Path, keyfile: Path | None = None, password: Password = None
    ) -> None:
        """As ``ssl.SSLContext.load_cert_chain``; a second chain with a key of the same kind
        replaces the first.
        """
        given: list[bytes] = []

        def ask() -> bytes:
            if password is None:
                answer: object = getpass.getpass("Enter PEM pass phrase:")
            else:
                answer = password() if callable(password) else password
            if not isinstance(answer, str | bytes | bytearray):
                raise TypeError("password callback must return a string")
            given.append(answer.encode() if isinstance(answer, str) else bytes(answer))
            return given[-1]

        # OpenSSL's checks and messages; and it says whether the password is needed.
        wrong = password is not None and not isinstance(password, str | bytes | bytearray)
        asked = password if wrong and not callable(password) else ask
        super().load_cert_chain(certfile, keyfile, asked)
        source = os.fsdecode(certfile)
        key = source if keyfile is None else os.fsdecode(keyfile)
        pair = KeyPair(source, key, given[-1] if given else None)
        try:
            with open(certfile, "rb") as file:  # noqa: PTH123 - bytes too
                chain = certificates_of(file.read())
            kind = Certificate(chain[0]).public_key_algorithm
        except ValueError as error:
            raise pem_error(str(error)) from error
        try:
            Credentials().add(pair)
        except GnuTLSError as error:
            raise translated(error) from error
        with loading:
            self._pairs = {**self._pairs, kind: (pair, chain)}

    def load_verify_locations(  # type: ignore[override] # typeshed takes any buffer
        self,
        cafile: Path | None = None,
        capath: Path | None = None,
        cadata: str | bytes | bytearray | memoryview | None = None,
    ) -> None:
        """As ``ssl.SSLContext.load_verify_locations``. Files are read once, until they change."""
        if cafile is None and capath is None and cadata is None:
            raise TypeError("cafile, capath and cadata cannot be all omitted")
        found = trust.NOTHING
        if cadata is not None:
            found |= trust_in(cadata)
        if cafile is not None:
            found |= trust_in_file(path_of("cafile", cafile))
        if capath is not None:
            found |= trust_in_folders(path_of("capath", capath))
        self._add_trust(found)

    def set_default_verify_paths(self) -> None:
        """Trust the system's authorities, where the standard library finds them
        (``ssl.get_default_verify_paths``, ``SSL_CERT_FILE``, ``SSL_CERT_DIR``).
        """
        paths = ssl.get_default_verify_paths()
        found = trust.NOTHING
        if paths.cafile is not None:
            with suppress(ssl.SSLError):
                found |= trust_in_file(paths.cafile)
        # Not `capath`: that is None for a list of folders.
        folders = os.environ.get(paths.openssl_capath_env) or paths.openssl_capath
        self._add_trust(found | trust_in_folders(folders))

    def _add_trust(self, found: trust.Trust) -> None:
        with loading:  # of two threads that load, none may lose what the other has loaded
            self._trust |= found

    def get_ca_certs(self, binary_form: bool = False) -> list[Any]:  # noqa: FBT001, FBT002
        """The authorities that were loaded, as dictionaries or in DER."""
        ders = [der for der in self._trust.anchors.values() if is_authority(der)]
        return list(ders) if binary_form else [decode(der) for der in ders]

    def cert_store_stats(self) -> dict[str, int]:
        """How many certificates, authorities among them, and revocation lists were loaded."""
        anchors = self._trust.anchors.values()
        authorities = sum(is_authority(der) for der in anchors)
        return {"x509": len(anchors), "crl": len(self._trust.crls), "x509_ca": authorities}

    # -- protocols and ciphers ----------------------------------------------------------------

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        """As ``ssl.SSLContext.set_alpn_protocols``; GnuTLS takes 8 names of 31 bytes."""
        names = list(alpn_protocols)
        super().set_alpn_protocols(names)
        if len(names) > MAX_PROTOCOLS or any(len(name) > MAX_PROTOCOL_NAME for name in names):
            raise NotImplementedError(
                f"GnuTLS takes at most {MAX_PROTOCOLS} ALPN protocols of {MAX_PROTOCOL_NAME} bytes"
            )
        self._alpn = tuple(name.encode("ascii") for name in names)

    def get_ciphers(self) -> list[Any]:
        """The cipher suites that a connection may use, in OpenSSL's words."""
        versions = options.versions_of(self)
        server_side = self.protocol == ssl.PROTOCOL_TLS_SERVER
        return ciphers_of(
            options.priority_for(self, self._priority, versions, server_side=server_side)
        )

    def set_ciphers(self, cipherlist: str) -> None:
        """Nothing for the default; else NotImplementedError: see `priority`."""
        if not isinstance(cipherlist, str):
            raise TypeError(f"cipherlist must be str, not {type(cipherlist).__name__}")
        if cipherlist not in DEFAULT_CIPHERS:
            raise NotImplementedError(
                "set_ciphers takes OpenSSL's words; use SSLContext(priority=...) with GnuTLS's"
            )

    # -- what was counted ---------------------------------------------------------------------

    @property
    def stats(self) -> Mapping[str, int | float]:
        """How often what has happened on this context, how long its store has taken in all
        (``store_seconds``), and the state of its ticket keys (``ring_…``): a read-only mapping.
        """
        ring = self._resuming.ring if self.protocol != ssl.PROTOCOL_TLS_CLIENT else None
        return MappingProxyType(self._resuming.counters.read() | (ring.stats if ring else {}))

    def session_stats(self) -> dict[str, int]:
        """The standard library's numbers; ``stats`` has more."""
        number = self._resuming.counters.number
        resumed = {
            side: number(f"{side}_resumed_ticket") + number(f"{side}_resumed_session_id")
            for side in ("client", "server")
        }
        return {
            "number": 0,
            "connect": number("client_started"),
            "connect_good": number("client_handshakes"),
            "connect_renegotiate": 0,
            "accept": number("server_started"),
            "accept_good": number("server_handshakes"),
            "accept_renegotiate": 0,
            "hits": resumed["client"] + resumed["server"],
            "misses": sum(number(f"server_{reason.name.lower()}") for reason in OFFERED_IN_VAIN),
            "timeouts": number("client_expired") + number("server_expired"),
            "cache_full": 0,
        }

    @property
    def sealing_key(self) -> SealingKey | None:
        """What sessions of this context are sealed under, outside of this process's memory."""
        return self._resuming.sealing_key


def check_base() -> None:
    """``ssl`` finds its own class by the name that gevent and eventlet give to theirs. While it
    wraps, eventlet puts the original back.
    """
    if not issubclass(BASE, ssl.SSLContext):
        raise RuntimeError(  # noqa: TRY004 - no argument is of a wrong type
            "ssl.SSLContext was replaced after gnutls_resume was imported: let gevent or eventlet "
            "patch first, then import gnutls_resume"
        )


def check_hostname(name: str) -> None:
    """The standard library's rules for ``server_hostname``."""
    if not isinstance(name, str):
        raise TypeError(f"server_hostname must be str, not {type(name).__name__}")
    if not name or name.startswith("."):
        raise ValueError("server_hostname cannot be an empty string or start with a leading dot.")
    if "\0" in name:
        raise TypeError("argument must be encoded string without null bytes, not str")


def create_default_context(
    purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH,
    *,
    cafile: Path | None = None,
    capath: Path | None = None,
    cadata: str | bytes | None = None,
    **own: Any,  # noqa: ANN401
) -> SSLContext:
    """As ``ssl.create_default_context``; further keywords are those of `SSLContext`."""
    if not isinstance(purpose, ssl._ASN1Object):  # noqa: SLF001
        raise TypeError(purpose)
    if purpose == ssl.Purpose.SERVER_AUTH:
        context = SSLContext(ssl.PROTOCOL_TLS_CLIENT, **own)
        context.verify_mode = ssl.CERT_REQUIRED
        context.check_hostname = True
    elif purpose == ssl.Purpose.CLIENT_AUTH:
        context = SSLContext(ssl.PROTOCOL_TLS_SERVER, **own)
    else:
        raise ValueError(purpose)
    if sys.version_info >= (3, 13):
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    if cafile or capath or cadata:
        context.load_verify_locations(cafile, capath, cadata)
    elif context.verify_mode != ssl.CERT_NONE:
        context.load_default_certs(purpose)
    keylog = os.environ.get("SSLKEYLOGFILE")
    if keylog and not sys.flags.ignore_environment:
        context.keylog_filename = keylog
    return context
