"""A stored session, as people hold one."""

import hashlib
import time
from typing import NoReturn, SupportsIndex

from gnutls_resume.binding import Protocol, Sealing, SealingKey
from gnutls_resume.binding._arguments import BytesLike, check_bytes, check_instance
from gnutls_resume.binding.envelope import (
    CLIENT_KINDS,
    MAX_SIZE,
    Kind,
    read_header,
    reseal,
    server_name_of,
)
from gnutls_resume.errors import InvalidSessionError

VERSION_NAMES = {
    Protocol.TLS1_0: "TLSv1",
    Protocol.TLS1_1: "TLSv1.1",
    Protocol.TLS1_2: "TLSv1.2",
    Protocol.TLS1_3: "TLSv1.3",
}
PROTOCOLS = {version.wire: name for version, name in VERSION_NAMES.items()}  # in an envelope


class SSLSession:
    """A client's session: ``bytes(session)`` is its envelope, to be kept in a file or a cache
    and read with ``from_bytes``. It is secret: whoever has it can resume as you; without a
    sealing key it is in clear, and carries a checksum only.

    Comes from ``SSLSocket.session`` or ``from_bytes``; offered with ``session=`` of
    ``wrap_socket`` and ``wrap_bio`` it may be used more than once.
    """

    def __init__(self, data: bytes, held: Sealing, given: SealingKey | None) -> None:
        self._data = data
        self._held = held  # how `data` is sealed
        self._given = given  # how bytes() has to be
        self._header = read_header(data)

    @classmethod
    def from_bytes(cls, data: BytesLike, *, sealing_key: SealingKey | None = None) -> "SSLSession":
        """The session that ``bytes(session)`` gave. Whether it is intact, still valid and of
        this policy shows when it is offered: a full handshake then, with the reason.

        Raises TypeError for what is not bytes or a SealingKey, ValueError for what is no
        client's envelope or exceeds 65,536 bytes.
        """
        raw = bytes(check_bytes("data", data))
        if sealing_key is not None:
            check_instance("sealing_key", sealing_key, SealingKey)
        if not 0 < len(raw) <= MAX_SIZE:
            raise ValueError(f"data must be 1 to {MAX_SIZE} bytes, not {len(raw)}")
        try:
            session = cls(raw, Sealing(sealing_key), sealing_key)
        except InvalidSessionError as error:
            raise ValueError(f"data is no stored session: {error}") from None
        header = session._header
        if header.kind not in CLIENT_KINDS or header.protocol_version not in PROTOCOLS:
            raise ValueError("data is no client's session")
        return session

    def __bytes__(self) -> bytes:
        if self._held.key is self._given:
            return self._data
        return reseal(self._data, self._held, Sealing(self._given, self._held.context))

    def envelope_for(self, digest: bytes) -> tuple[bytes, Sealing]:
        """The envelope and how to open it for a connection of this policy."""
        return self._data, Sealing(self._held.key, digest)

    @property
    def created(self) -> float:
        """When the full handshake was, in Unix seconds."""
        return float(self._header.created)

    @property
    def expires(self) -> float:
        """When it can no longer be resumed, in Unix seconds."""
        return float(self._header.expires)

    @property
    def protocol(self) -> str:
        """``'TLSv1.2'`` or ``'TLSv1.3'``."""
        return PROTOCOLS[self._header.protocol_version]

    @property
    def server_name(self) -> str | None:
        """The server it was made with; None while it is sealed, and for one without a name."""
        return server_name_of(self._data, self._held) or None

    # -- the standard library's fields --------------------------------------------------------

    @property
    def id(self) -> bytes:
        """32 bytes that tell this session from others; not the session ID of the protocol."""
        return hashlib.sha256(self._data).digest()

    @property
    def time(self) -> int:
        """``created``, as an int."""
        return self._header.created

    @property
    def timeout(self) -> int:
        """How many seconds it is valid."""
        return self._header.expires - self._header.created

    @property
    def ticket_lifetime_hint(self) -> int:
        """``timeout`` for a session by ticket, else 0."""
        return self.timeout if self.has_ticket else 0

    @property
    def has_ticket(self) -> bool:
        """Whether the client holds it in a ticket, and the server need not."""
        return self._header.kind == Kind.CLIENT_TICKET

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SSLSession) and self._data == other._data

    def __hash__(self) -> int:
        return hash(self._data)

    def __repr__(self) -> str:
        left = self._header.expires - int(time.time())
        sealed = ", sealed" if self._given else ""
        return f"<SSLSession {self.protocol}, {max(left, 0)} s left{sealed}>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("an SSLSession cannot be pickled or copied: take bytes(session)")
