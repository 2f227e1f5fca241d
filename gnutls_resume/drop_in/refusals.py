"""What a context refuses, for GnuTLS has nothing like it: each says what to use instead.

Part of ``SSLContext``, in a file of its own. tests/drop_in/test_guard.py knows which names must be
here, docs/defaults.md lists them.
"""

import os
import ssl
from collections.abc import Iterable

from gnutls_resume.drop_in.authorities import Path


class Refusing(ssl.SSLContext):
    """``ssl.SSLContext`` with settings that raise NotImplementedError."""

    def set_ecdh_curve(self, curve_name: str) -> None:
        """Not taken: see `priority`, with ``-GROUP-ALL:+GROUP-…``."""
        raise NotImplementedError(
            f"set_ecdh_curve: use SSLContext(priority=...) for {curve_name!r}"
        )

    def set_groups(self, groups: str) -> None:
        """Not taken: see `priority`, with ``-GROUP-ALL:+GROUP-…``."""
        raise NotImplementedError(f"set_groups: use SSLContext(priority=...) for {groups!r}")

    def get_groups(self, *, include_aliases: bool = False) -> list[str]:
        """Not told: see `priority`."""
        raise NotImplementedError("get_groups: SSLContext(priority=...) says which")

    def set_ciphersuites(self, ciphersuites: str, /) -> None:
        """Not taken: see `priority`, with ``-CIPHER-ALL:+AES-…``."""
        raise NotImplementedError(
            f"set_ciphersuites: use SSLContext(priority=...) for {ciphersuites!r}"
        )

    def set_client_sigalgs(self, sigalgs: str, /) -> None:
        """Not taken: see `priority`, with ``-SIGN-ALL:+SIGN-…``."""
        raise NotImplementedError(
            f"set_client_sigalgs: use SSLContext(priority=...) for {sigalgs!r}"
        )

    def set_server_sigalgs(self, sigalgs: str, /) -> None:
        """Not taken: see `priority`, with ``-SIGN-ALL:+SIGN-…``."""
        raise NotImplementedError(
            f"set_server_sigalgs: use SSLContext(priority=...) for {sigalgs!r}"
        )

    def load_dh_params(self, path: Path) -> None:
        """Not taken: GnuTLS uses the groups of RFC 7919; see `priority`."""
        raise NotImplementedError(
            f"load_dh_params: GnuTLS uses RFC 7919's groups, not {os.fsdecode(path)!r}; "
            "SSLContext(priority=...) chooses them"
        )

    def set_npn_protocols(self, npn_protocols: Iterable[str]) -> None:
        """Not taken: NPN is gone. Use ``set_alpn_protocols``."""
        raise NotImplementedError(f"NPN is gone: use set_alpn_protocols({list(npn_protocols)!r})")

    def set_psk_client_callback(self, callback: object) -> None:
        """Not taken: external keys are not offered."""
        if callback is not None:
            raise NotImplementedError("set_psk_client_callback: external PSKs are not offered")

    def set_psk_server_callback(self, callback: object, identity_hint: object = None) -> None:
        """Not taken: external keys are not offered."""
        if callback is not None or identity_hint is not None:
            raise NotImplementedError("set_psk_server_callback: external PSKs are not offered")

    @property
    def security_level(self) -> int:  # type: ignore[override] # typeshed lets it be written
        """Not told: GnuTLS has profiles, set by ``SSLContext(priority="...:%PROFILE_HIGH")``."""
        raise NotImplementedError("security_level: use SSLContext(priority=...) with %PROFILE_…")

    @property
    def _msg_callback(self) -> None:
        """Not taken: GnuTLS shows handshake messages to ``binding.Session`` only."""

    @_msg_callback.setter
    def _msg_callback(self, callback: object) -> None:
        if callback is not None:
            raise NotImplementedError(
                "_msg_callback: use binding.Session.handshake_set_hook_function"
            )


# What the ssl of this Python lacks is missing here too, so that hasattr tells the truth.
for newer in (
    "get_groups",
    "set_ciphersuites",
    "set_client_sigalgs",
    "set_groups",
    "set_psk_client_callback",
    "set_psk_server_callback",
    "set_server_sigalgs",
):
    if not hasattr(ssl.SSLContext, newer):
        delattr(Refusing, newer)
