"""What binds a session: it is resumed only under the policy it was made under.

GnuTLS checks almost nothing when it resumes. So everything that decides whether a peer is
acceptable goes into a digest, which a client's store is keyed by and a server's ticket key is
derived from: what was made under another policy is simply not found, or unknown.

To add a field: add it. It enters the digest by itself, under its name.
"""

import hashlib
from dataclasses import dataclass, fields
from functools import cached_property

FORMAT = b"gnutls_resume policy 1"

MAX_DIGESTS = 256  # that a policy remembers; a digest takes 3 us

Part = bytes | str | int | tuple["Part", ...]


def encode(part: Part) -> bytes:
    """The part with its type and length, so that no two lists of parts look alike."""
    if isinstance(part, tuple):
        kind, raw = b"t", b"".join(encode(inner) for inner in part)
    elif isinstance(part, bytes):
        kind, raw = b"b", part
    elif isinstance(part, str):
        kind, raw = b"s", part.encode()
    else:
        kind, raw = b"i", str(int(part)).encode()
    return kind + len(raw).to_bytes(8) + raw


class Policy:
    """The base of both sides' policies, which are frozen dataclasses."""

    @cached_property
    def _start(self) -> "hashlib._Hash":
        names = sorted(field.name for field in fields(self))  # type: ignore[arg-type]
        parts = tuple((name, getattr(self, name)) for name in names)
        return hashlib.sha256(encode((FORMAT, type(self).__name__, parts)))

    @cached_property
    def _digests(self) -> dict[str, bytes]:
        return {}

    def digest(self, server_name: str | None = None) -> bytes:
        """SHA-256 over all parts and the server name."""
        name = server_name or ""
        known = self._digests.get(name)
        if known is not None:
            return known
        digest = self._start.copy()
        digest.update(encode(name))
        if len(self._digests) < MAX_DIGESTS:
            self._digests[name] = digest.digest()
        return digest.digest()


@dataclass(frozen=True)
class ClientPolicy(Policy):
    """When a client accepts a server; `trust` and `identity` are digests of what is trusted and
    of the client's own certificates.
    """

    verify_mode: int
    check_hostname: bool
    verify_flags: int
    common_name: bool
    trust: bytes
    identity: bytes
    priority: str
    alpn: tuple[bytes, ...]
    partition: bytes
    tickets: bool = True
    early_data: bool = False


@dataclass(frozen=True)
class ServerPolicy(Policy):
    """When a server accepts a client. The names in its certificates, not their bytes: a renewal
    ends no sessions. The priority is the one that was asked for: a resumed session keeps its
    cipher suite, which it may rule out. Server name, version and ALPN of a connection are added
    in C.
    """

    names: tuple[str, ...]
    verify_mode: int
    verify_flags: int
    trust: bytes
    partition: bytes
    priority: str = ""
