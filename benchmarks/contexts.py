"""The contexts that drop_in.py compares: of the standard library, and ours in its place."""

import contextlib
import ssl
from collections.abc import Callable

from certificates import Files

import gnutls_resume

# Of a role, PROTOCOL_TLS_CLIENT or PROTOCOL_TLS_SERVER.
MakeContext = Callable[[int, ssl.TLSVersion, Files], ssl.SSLContext]


def standard(role: int, version: ssl.TLSVersion, files: Files) -> ssl.SSLContext:
    return prepare(ssl.SSLContext(role), role, version, files)


def standard_x25519(role: int, version: ssl.TLSVersion, files: Files) -> ssl.SSLContext:
    """The same with one group: OpenSSL 3.5 and later send a large post-quantum key by default.

    Not in TLS 1.2, where the certificate's P-256 must be among the groups too.
    """
    context = standard(role, version, files)
    # Python 3.11.2 cannot set it, but has an OpenSSL that sends a key of this group alone.
    if version == ssl.TLSVersion.TLSv1_3:
        with contextlib.suppress(ssl.SSLError):
            context.set_ecdh_curve("X25519")
    return context


def drop_in(role: int, version: ssl.TLSVersion, files: Files) -> ssl.SSLContext:
    """Ours, with a store of its own."""
    return with_store(role, version, files, gnutls_resume.MemoryStore())


def drop_in_forgetful(role: int, version: ssl.TLSVersion, files: Files) -> ssl.SSLContext:
    """Ours, never with a session to offer, but with all the work of learning one."""
    return with_store(role, version, files, ForgetfulStore())


def with_store(
    role: int, version: ssl.TLSVersion, files: Files, store: gnutls_resume.Store
) -> ssl.SSLContext:
    sessions = None if role == ssl.PROTOCOL_TLS_SERVER else store
    return prepare(gnutls_resume.SSLContext(role, sessions=sessions), role, version, files)


class ForgetfulStore(gnutls_resume.MemoryStore):
    """Finds nothing, as a store may that loses its entries."""

    def get(self, key: bytes) -> bytes | None:
        super().get(key)
        return None

    def take(self, key: bytes) -> bytes | None:
        super().get(key)  # not take, or what is learnt would never be more than it holds
        return None


def prepare(
    context: ssl.SSLContext, role: int, version: ssl.TLSVersion, files: Files
) -> ssl.SSLContext:
    context.minimum_version = context.maximum_version = version
    if role == ssl.PROTOCOL_TLS_SERVER:
        context.load_cert_chain(files.certificate, files.key)
    else:
        context.load_verify_locations(files.trust)
    return context
