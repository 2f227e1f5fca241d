"""The settings of an ``ssl.SSLContext`` in GnuTLS's terms, or a refusal.

Nothing is silently ignored: what stands neither in `INERT_OPTIONS` nor in the code below raises
NotImplementedError, and docs/defaults.md says what each inert one means here.
"""

import functools
import ipaddress
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gnutls_resume.binding import Credentials, InitFlag, Protocol
from gnutls_resume.binding._ffi import at_least
from gnutls_resume.drop_in.exceptions import ssl_error
from gnutls_resume.resumption.policy import ClientPolicy, ServerPolicy
from gnutls_resume.resumption.reverify import Rules, Verifier

# What the standard library offers by default: forward secrecy and authenticated encryption,
# CBC as a last resort. AES-128 comes first, it costs a third less than AES-256; X25519 first,
# with the one key share that a client sends.
PRIORITY = (
    "NORMAL:-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA:+DHE-RSA"
    ":-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:+AES-128-CBC:+AES-256-CBC"
    ":-MAC-ALL:+AEAD:+SHA256:+SHA384"
    ":-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1:+GROUP-X448:+GROUP-SECP521R1"
    ":+GROUP-FFDHE2048:+GROUP-FFDHE3072:+GROUP-FFDHE4096:+GROUP-FFDHE6144:+GROUP-FFDHE8192"
)

VERSIONS = {
    ssl.TLSVersion.TLSv1: (Protocol.TLS1_0, "VERS-TLS1.0", ssl.OP_NO_TLSv1),
    ssl.TLSVersion.TLSv1_1: (Protocol.TLS1_1, "VERS-TLS1.1", ssl.OP_NO_TLSv1_1),
    ssl.TLSVersion.TLSv1_2: (Protocol.TLS1_2, "VERS-TLS1.2", ssl.OP_NO_TLSv1_2),
    ssl.TLSVersion.TLSv1_3: (Protocol.TLS1_3, "VERS-TLS1.3", ssl.OP_NO_TLSv1_3),
}
# The deprecated protocols that stand for one version.
ONE_VERSION = {
    getattr(ssl, f"PROTOCOL_{version.name}", None): version
    for version in VERSIONS
    if version is not ssl.TLSVersion.TLSv1_3
}

TRANSLATED_OPTIONS = (
    ssl.OP_NO_TLSv1
    | ssl.OP_NO_TLSv1_1
    | ssl.OP_NO_TLSv1_2
    | ssl.OP_NO_TLSv1_3
    | ssl.OP_NO_TICKET
    | ssl.OP_CIPHER_SERVER_PREFERENCE
)
# GnuTLS has no such fault, no such feature, or does it always.
INERT_OPTIONS = (
    ssl.OP_ALL
    | ssl.OP_NO_SSLv2
    | ssl.OP_NO_SSLv3
    | ssl.OP_NO_COMPRESSION
    | ssl.OP_NO_RENEGOTIATION
    | ssl.OP_SINGLE_DH_USE
    | ssl.OP_SINGLE_ECDH_USE
    | ssl.OP_ENABLE_MIDDLEBOX_COMPAT
    | getattr(ssl, "OP_LEGACY_SERVER_CONNECT", 0x4)
    | getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
)

VERIFY_FLAGS = (
    ssl.VERIFY_CRL_CHECK_LEAF
    | ssl.VERIFY_CRL_CHECK_CHAIN
    | ssl.VERIFY_X509_STRICT
    | ssl.VERIFY_X509_TRUSTED_FIRST
    | ssl.VERIFY_X509_PARTIAL_CHAIN
)

SNICallback = Callable[[object, str | None, object], int | None]


@dataclass(frozen=True, slots=True)
class Settings:
    """All that a connection takes from its context, read once and shared until a setter runs."""

    priority: str
    flags: InitFlag
    versions: frozenset[Protocol]
    credentials: Credentials
    alpn: tuple[bytes, ...]
    verify_mode: ssl.VerifyMode
    check_hostname: bool
    verifier: Verifier | None
    rules: Rules
    policy: ClientPolicy | ServerPolicy
    tickets: int
    """How many TLS 1.3 tickets a server sends; 0: none, nor any in TLS 1.2."""
    sni_callback: SNICallback | None
    keylog: str | os.PathLike[str] | None


def check_options(value: int, given: int) -> None:
    """Raise NotImplementedError for an option that would be ignored. Those of `given` come from
    OpenSSL's own configuration file, and nobody has asked this context for them.
    """
    unknown = value & ~(TRANSLATED_OPTIONS | INERT_OPTIONS | given)
    if unknown:
        raise NotImplementedError(
            f"GnuTLS has nothing like {ssl.Options(unknown)!r}; SSLContext(priority=...) sets "
            "what it has"
        )


def check_verify_flags(value: int) -> None:
    """Raise NotImplementedError for a flag that would be ignored."""
    unknown = value & ~VERIFY_FLAGS
    if unknown:
        raise NotImplementedError(f"GnuTLS has nothing like {ssl.VerifyFlags(unknown)!r}")


def need_crl(flags: int) -> Literal["none", "leaf", "chain"]:
    if flags & ssl.VERIFY_CRL_CHECK_CHAIN & ~ssl.VERIFY_CRL_CHECK_LEAF:
        return "chain"
    return "leaf" if flags & ssl.VERIFY_CRL_CHECK_LEAF else "none"


def versions_of(context: ssl.SSLContext) -> list[ssl.TLSVersion]:
    """The versions that the context allows, TLS 1.2 and newer where it does not say which."""
    only = ONE_VERSION.get(context.protocol)
    low, high = context.minimum_version, context.maximum_version
    if high == ssl.TLSVersion.MAXIMUM_SUPPORTED:
        high = ssl.TLSVersion.TLSv1_3
    if low == ssl.TLSVersion.MINIMUM_SUPPORTED:
        low = min(only or ssl.TLSVersion.TLSv1_2, high)
    if low == ssl.TLSVersion.MAXIMUM_SUPPORTED:
        low = ssl.TLSVersion.TLSv1_3
    allowed = [
        version
        for version, (_, _, forbidden) in VERSIONS.items()
        if low <= version <= high and not context.options & forbidden and only in {None, version}
    ]
    if not allowed:
        raise ssl_error("NO_PROTOCOLS_AVAILABLE", "no protocols available")
    return allowed


def priority_for(
    context: ssl.SSLContext, base: str | None, versions: list[ssl.TLSVersion], *, server_side: bool
) -> str:
    """GnuTLS's priority string."""
    parts = [base or PRIORITY, "-VERS-ALL"]
    parts += [f"+{VERSIONS[version][1]}" for version in reversed(versions)]
    if versions[0] < ssl.TLSVersion.TLSv1_2:
        parts.append("+SHA1")  # they have no other
    if not server_side:
        # There are no credentials for it, but it makes GnuTLS offer resumption with a key
        # exchange only (psk_dhe_ke, RFC 8446 §4.2.9).
        parts.append("+ECDHE-PSK")
    elif context.options & ssl.OP_CIPHER_SERVER_PREFERENCE:
        parts.append("%SERVER_PRECEDENCE")
    return ":".join(parts)


def flags_for(context: ssl.SSLContext, *, server_side: bool, tickets: int) -> InitFlag:
    """GnuTLS's flags of ``gnutls_init``."""
    if server_side:
        return InitFlag.NONE if tickets in {0, 2} else InitFlag.NO_AUTO_SEND_TICKET
    flags = InitFlag.KEY_SHARE_TOP | InitFlag.FORCE_CLIENT_CERT
    if context.options & ssl.OP_NO_TICKET:
        flags |= InitFlag.NO_TICKETS
    if context.post_handshake_auth:
        flags |= InitFlag.POST_HANDSHAKE_AUTH
    if at_least("3.8.0"):
        flags |= InitFlag.NO_STATUS_REQUEST  # nobody looks at what is stapled, as in ssl
    return flags


@functools.lru_cache(maxsize=256)
def is_ip_address(text: str) -> bool:
    """Whether a host is named by its address: that is no name for SNI (RFC 6066 §3)."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
