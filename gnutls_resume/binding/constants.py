"""GnuTLS's constants as Python enumerations.

Numbers that a header of 3.7.2 does not know stand here as numbers; all others come from the
compiler.
"""

from enum import IntEnum, IntFlag

from gnutls_resume.binding._ffi import lib


class Protocol(IntEnum):
    """``gnutls_protocol_t``."""

    TLS1_0 = lib.GNUTLS_TLS1
    TLS1_1 = lib.GNUTLS_TLS1_1
    TLS1_2 = lib.GNUTLS_TLS1_2
    TLS1_3 = lib.GNUTLS_TLS1_3

    @property
    def wire(self) -> int:
        """The version as TLS writes it: 0x0303 for TLS 1.2, 0x0304 for TLS 1.3."""
        return 0x0301 + self - Protocol.TLS1_0


class InitFlag(IntFlag):
    """Flags of ``gnutls_init`` that mean something for a session over a stream."""

    NONE = 0
    NO_DEFAULT_EXTENSIONS = 1 << 4
    """No extended master secret: TLS 1.2 sessions made with it do not resume."""
    ALLOW_ID_CHANGE = 1 << 7
    NO_TICKETS = 1 << 10
    """A client neither asks for TLS 1.2 tickets nor resumes by TLS 1.3 ticket."""
    FORCE_CLIENT_CERT = 1 << 9
    """A client shows its certificate whatever authorities the server names."""
    KEY_SHARE_TOP = 1 << 11
    """A TLS 1.3 client sends one key share, that of its first group."""
    KEY_SHARE_TOP2 = 1 << 12
    """Up to two, of different kinds: GnuTLS's default."""
    KEY_SHARE_TOP3 = 1 << 13
    POST_HANDSHAKE_AUTH = 1 << 14
    NO_AUTO_REKEY = 1 << 15
    SAFE_PADDING_CHECK = 1 << 16
    ENABLE_EARLY_START = 1 << 17
    ENABLE_EARLY_DATA = 1 << 20
    NO_AUTO_SEND_TICKET = 1 << 21
    """A TLS 1.3 server sends tickets only through ``ticket_send``."""
    NO_TICKETS_TLS12 = 1 << 23
    """Needs GnuTLS 3.7.5."""
    NO_STATUS_REQUEST = 1 << 24
    """Needs GnuTLS 3.8.0."""


FLAG_VERSIONS = {InitFlag.NO_TICKETS_TLS12: "3.7.5", InitFlag.NO_STATUS_REQUEST: "3.8.0"}
"""Older libraries ignore these bits without a word."""


class SessionFlag(IntFlag):
    """What ``gnutls_session_get_flags`` tells."""

    SAFE_RENEGOTIATION = 1 << 0
    EXT_MASTER_SECRET = 1 << 1
    ETM = 1 << 2
    HB_LOCAL_SEND = 1 << 3
    HB_PEER_SEND = 1 << 4
    FALSE_START = 1 << 5
    RFC7919 = 1 << 6
    SESSION_TICKET = 1 << 7
    """A client received a ticket in this connection; no sign that it can be resumed."""
    POST_HANDSHAKE_AUTH = 1 << 8
    EARLY_START = 1 << 9
    EARLY_DATA = 1 << 10
    """The early data were accepted; without it they have to be sent again."""
    CLI_REQUESTED_OCSP = 1 << 11
    SERV_REQUESTED_OCSP = 1 << 12


class HandshakeType(IntEnum):
    """``gnutls_handshake_description_t`` (RFC 8446 §4)."""

    HELLO_REQUEST = 0
    CLIENT_HELLO = 1
    SERVER_HELLO = 2
    NEW_SESSION_TICKET = 4
    END_OF_EARLY_DATA = 5
    ENCRYPTED_EXTENSIONS = 8
    CERTIFICATE = 11
    SERVER_KEY_EXCHANGE = 12
    CERTIFICATE_REQUEST = 13
    SERVER_HELLO_DONE = 14
    CERTIFICATE_VERIFY = 15
    CLIENT_KEY_EXCHANGE = 16
    FINISHED = 20
    CERTIFICATE_STATUS = 22
    KEY_UPDATE = 24


class HookTime(IntEnum):
    """When a hook runs: before the message is parsed or sent, or after."""

    PRE = 0
    POST = 1


class CertificateRequest(IntEnum):
    """``gnutls_certificate_request_t``: a server's wish for a client certificate."""

    IGNORE = lib.GNUTLS_CERT_IGNORE
    REQUEST = lib.GNUTLS_CERT_REQUEST
    REQUIRE = lib.GNUTLS_CERT_REQUIRE


class CertificateStatus(IntFlag):
    """``gnutls_certificate_status_t``: why a certificate is refused; 0 is valid."""

    INVALID = 1 << 1
    REVOKED = 1 << 5
    SIGNER_NOT_FOUND = 1 << 6
    SIGNER_NOT_CA = 1 << 7
    INSECURE_ALGORITHM = 1 << 8
    NOT_ACTIVATED = 1 << 9
    EXPIRED = 1 << 10
    SIGNATURE_FAILURE = 1 << 11
    REVOCATION_DATA_SUPERSEDED = 1 << 12
    UNEXPECTED_OWNER = 1 << 14
    REVOCATION_DATA_ISSUED_IN_FUTURE = 1 << 15
    SIGNER_CONSTRAINTS_FAILURE = 1 << 16
    MISMATCH = 1 << 17
    PURPOSE_MISMATCH = 1 << 18
    MISSING_OCSP_STATUS = 1 << 19
    INVALID_OCSP_STATUS = 1 << 20
    UNKNOWN_CRITICAL_EXTENSIONS = 1 << 21


class Shutdown(IntEnum):
    """``gnutls_close_request_t``: send a close_notify, and wait for the peer's or not."""

    RDWR = lib.GNUTLS_SHUT_RDWR
    WR = lib.GNUTLS_SHUT_WR


class AlertLevel(IntEnum):
    """``gnutls_alert_level_t``."""

    WARNING = lib.GNUTLS_AL_WARNING
    FATAL = lib.GNUTLS_AL_FATAL


class ChannelBinding(IntEnum):
    """``gnutls_channel_binding_t`` (RFC 5929, RFC 9266)."""

    TLS_UNIQUE = lib.GNUTLS_CB_TLS_UNIQUE
    TLS_SERVER_END_POINT = lib.GNUTLS_CB_TLS_SERVER_END_POINT
    TLS_EXPORTER = lib.GNUTLS_CB_TLS_EXPORTER
