"""The stored form of a session: what leaves the process or enters a store.

``gnutls_session_set_data`` crashes the process on one damaged record in seven, so every session
travels in an envelope, and only what an intact envelope holds reaches GnuTLS. In the
presentation language of RFC 8446 §3, all numbers in network byte order::

    enum { checksum(1), sealed(2) } Protection;
    enum { client_session_id(1), client_ticket(2), server_entry(3), ticket_keys(4) } Kind;
    enum { tls(1), dtls(2) } Transport;

    struct {
        opaque magic[4] = "GTLS";
        uint8 format = 1;
        Protection protection;
        Kind kind;
        uint32 gnutls_version;      /* GNUTLS_VERSION_NUMBER of the library that wrote it */
        Transport transport;
        uint16 protocol_version;    /* 0x0303 for TLS 1.2, 0x0304 for TLS 1.3; 0: ticket keys */
        uint64 created;             /* Unix seconds */
        uint64 expires;             /* Unix seconds; at most created + 604,800 */
        opaque policy[32];          /* SHA-256 of the sealing's context, zeros without one */
        opaque key_id[8];           /* zeros with a checksum */
        opaque salt[32];            /* zeros with a checksum */
        uint32 length;              /* of the body */
    } Header;

    struct {
        opaque server_name<0..255>;
        opaque data[length - 1 - Header.server_name.length];
    } Body;

    struct {
        Header header;
        Body body;                  /* in clear, or encrypted */
        opaque check[32 or 16];     /* SHA-256, or the tag of AES-256-GCM */
    } Envelope;                     /* at most 65,536 bytes */

The check covers the header, the length of the store key and the store key (the session ID on a
server, empty on a client, the epoch of ticket keys), and the body. The key of a sealed body is
HKDF-SHA256 of the sealing key with the header's salt, so no two envelopes share one.

To extend it: a new value of ``format``, and old envelopes are misses. A checksum notices damage;
it does not stop a writer with intent, who can make one too.
"""

import hashlib
import os
import stat
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from gnutls_resume.binding import crypto
from gnutls_resume.binding._arguments import BytesLike, check_bytes, check_instance
from gnutls_resume.binding._check import check
from gnutls_resume.binding._datum import CHARS, Secret, uncleared, wiped_memory
from gnutls_resume.binding._ffi import GNUTLS_VERSION_NUMBER, CData, ffi, lib
from gnutls_resume.errors import InvalidReason, InvalidSessionError

KEY_SIZE = 32  # bytes
MAX_KEY_FILE = 68  # bytes; digits and the end of a line
MAX_SIZE = 65_536  # bytes; a TLS ticket holds at most 65,535 (RFC 8446 §4.6.1)
MAX_LIFETIME = 604_800  # seconds; RFC 8446 §4.6.1
SMALLEST = 5  # bytes of data: GnuTLS takes four zero bytes for "no session"

MAGIC = b"GTLS"
FORMAT = 1
TLS = 1
HEADER = struct.Struct(">4sBBBIBHQQ32s8s32sI")
CHECKSUM_SIZE: int = lib.GR_CHECKSUM_SIZE
NO_POLICY, NO_KEY_ID, NO_SALT = bytes(32), bytes(8), bytes(32)


class Protection(IntEnum):
    """What notices damage."""

    CHECKSUM = 1
    SEALED = 2


CHECK_SIZES: dict[int, int] = {
    Protection.CHECKSUM: CHECKSUM_SIZE,
    Protection.SEALED: lib.GR_TAG_SIZE,
}


class Kind(IntEnum):
    """What a stored session is, and so where it may be used."""

    CLIENT_SESSION_ID = 1
    CLIENT_TICKET = 2
    SERVER_ENTRY = 3
    TICKET_KEYS = 4
    """No session: what ``TicketKeyRing.from_store`` keeps in a store."""


CLIENT_KINDS = (Kind.CLIENT_SESSION_ID, Kind.CLIENT_TICKET)


class SealingKey(Secret):
    """The key under which stored sessions are encrypted and authenticated (AES-256-GCM).

    `raw` is 32 random bytes; ``generate()`` makes a new key. Sessions sealed under `previous`
    can still be opened while keys are changed. Never use a ticket key here, and never keep it
    beside the sessions. Raises TypeError or ValueError for what is no such key.
    """

    def __init__(self, raw: BytesLike, *, previous: "SealingKey | None" = None) -> None:
        super().__init__("the sealing key", raw, KEY_SIZE)
        self.previous = previous
        self.key_id = bytes(ffi.buffer(crypto.hkdf(self.datum, b"", b"key id", 8), 8))

    @classmethod
    def generate(cls, *, previous: "SealingKey | None" = None) -> "SealingKey":
        """A new random key (``gnutls_rnd``)."""
        memory = wiped_memory(32)
        check(lib.gnutls_rnd(lib.GNUTLS_RND_KEY, memory, 32))
        return cls(memoryview(ffi.buffer(memory, 32)), previous=previous)

    @classmethod
    def from_file(
        cls, path: str | os.PathLike[str], *, previous: "SealingKey | None" = None
    ) -> "SealingKey":
        """The key in a file that only its owner can read: 32 random bytes, or 64 hexadecimal
        digits.

        Raises OSError, PermissionError if others can read it, ValueError for anything else.
        """
        with Path(path).open("rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise PermissionError(f"others can read the sealing key {path}: chmod 600 {path}")
            raw = file.read(MAX_KEY_FILE) or b""
        try:
            digits = raw if len(raw) == KEY_SIZE else bytes.fromhex(raw.decode("ascii"))
            return cls(digits, previous=previous)
        except ValueError:  # whose words may be the key's
            raise ValueError(f"{path} holds no sealing key: make one of 32 random bytes") from None

    def with_id(self, key_id: bytes) -> "SealingKey | None":
        for key in (self, self.previous):
            if key is not None and key.key_id == key_id:
                return key
        return None


def store_key(digest: bytes, key: SealingKey | None) -> bytes:
    """Under what a session of this digest is kept: with a key, a name that tells nothing."""
    if key is None:
        return digest
    return bytes(ffi.buffer(crypto.hkdf(key.datum, b"", b"store key" + digest, 32), 32))


@dataclass(frozen=True, slots=True)
class Sealing:
    """With what sessions are sealed: a key, or None for a checksum; and the context they are
    bound to, bytes or a callable that is asked at each sealing and opening.
    """

    key: SealingKey | None = None
    context: bytes | Callable[[], bytes] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.key is not None:
            check_instance("the key of a sealing", self.key, SealingKey)

    def policy(self) -> bytes:
        if self.context is None:
            return NO_POLICY
        context = self.context() if callable(self.context) else self.context
        return hashlib.sha256(check_bytes("the context of a sealing", context)).digest()


class Header(NamedTuple):
    """The clear part of an envelope, in the order of its fields."""

    magic: bytes
    format: int
    protection: int
    kind: int
    gnutls_version: int
    transport: int
    protocol_version: int
    created: int
    expires: int
    policy: bytes
    key_id: bytes
    salt: bytes
    length: int


class Opened:
    """An intact session, where GnuTLS may read it: `pointer` and `size` (bytes) of its data,
    its header and server name. To be wiped by whoever opened it.
    """

    __slots__ = ("_body", "_memory", "header", "pointer", "size")

    def __init__(self, header: Header, memory: CData, start: int) -> None:
        self.header = header
        self._memory = memory
        self._body = memory + start
        prefix = 1 + self._body[0]
        self.pointer = self._body + prefix
        self.size = header.length - prefix

    @property
    def server_name(self) -> str:
        return bytes(ffi.buffer(self._body + 1, self._body[0])).decode(errors="replace")

    def wipe(self) -> None:
        """Overwrite and free what was decrypted; a checksummed session is the caller's bytes."""
        if self.header.protection == Protection.SEALED:
            lib.gr_wipe_free(self._memory, self.header.length)


def seal(
    data: CData,
    *,
    kind: Kind,
    protocol_version: int,
    created: int,
    expires: int,
    server_name: str,
    store_key: bytes,
    sealing: Sealing,
) -> bytes:
    """Put the session in a ``gnutls_datum_t`` into an envelope.

    Raises InvalidSessionError if that would be larger than 65,536 bytes.
    """
    name = server_name.encode()[:255]
    prefix = bytes((len(name),)) + name
    length = len(prefix) + data.size
    if HEADER.size + length + CHECKSUM_SIZE > MAX_SIZE:
        raise InvalidSessionError(InvalidReason.TOO_LARGE)
    key = sealing.key
    protection = Protection.SEALED if key else Protection.CHECKSUM
    salt = crypto.random_bytes(32) if key else NO_SALT
    header = HEADER.pack(
        MAGIC,
        FORMAT,
        protection,
        kind,
        GNUTLS_VERSION_NUMBER,
        TLS,
        protocol_version,
        created,
        min(expires, created + MAX_LIFETIME),
        sealing.policy(),
        key.key_id if key else NO_KEY_ID,
        salt,
        length,
    )
    total = HEADER.size + length + CHECK_SIZES[protection]
    output = uncleared(CHARS, total)
    check(
        lib.gr_close(
            output, header, len(header), store_key, len(store_key),
            key.datum if key else ffi.NULL, salt, prefix, len(prefix), data,
        )
    )  # fmt: skip
    return bytes(ffi.buffer(output, total))


def open(  # noqa: A001 - what is sealed is opened
    envelope: BytesLike, *, kinds: tuple[Kind, ...], store_key: bytes, sealing: Sealing
) -> Opened:
    """The session in an envelope; the caller must ``wipe`` it.

    Raises TypeError for what is not bytes, ValueError for an empty or oversized value and
    InvalidSessionError, with the reason, for any other doubt.
    """
    opened = unwrapped(envelope, store_key, sealing)
    try:
        accept(opened.header, kinds, sealing)
        if opened.size < SMALLEST:
            raise InvalidSessionError(InvalidReason.DAMAGED)
    except BaseException:
        opened.wipe()
        raise
    return opened


def reseal(data: BytesLike, source: Sealing, target: Sealing) -> bytes:
    """A client's session as it is, expired or not, from one protection into another.

    Raises as `open` does. Both sealings have the session's context.
    """
    opened = unwrapped(data, b"", source)
    header = opened.header
    try:
        datum = ffi.new("gnutls_datum_t *", (opened.pointer, opened.size))
        return seal(
            datum,
            kind=Kind(header.kind),
            protocol_version=header.protocol_version,
            created=header.created,
            expires=header.expires,
            server_name=opened.server_name,
            store_key=b"",
            sealing=target,
        )
    finally:
        opened.wipe()


def server_name_of(data: BytesLike, sealing: Sealing) -> str | None:
    """The name in a client's envelope, expired or not; None if it cannot be read."""
    try:
        opened = unwrapped(data, b"", sealing)
    except InvalidSessionError:
        return None
    name = opened.server_name
    opened.wipe()
    return name


def unwrapped(envelope: BytesLike, store_key: bytes, sealing: Sealing) -> Opened:
    """What an intact envelope holds, whatever it is."""
    raw = checked_size(envelope)
    header = parse(raw)
    key = opening_key(header, sealing)
    return decrypt(raw, header, store_key, key) if key else verify(raw, header, store_key)


def read_header(envelope: BytesLike) -> Header:
    """The header of an envelope, unverified. Raises as `open` does."""
    return parse(checked_size(envelope))


def accept_unverified(envelope: BytesLike, *, kinds: tuple[Kind, ...], sealing: Sealing) -> None:
    """All that `open` checks but the check itself, without the store key. Raises as it does."""
    header = read_header(envelope)
    opening_key(header, sealing)
    accept(header, kinds, sealing)


def parse(raw: bytes) -> Header:
    if len(raw) < HEADER.size:
        raise InvalidSessionError(InvalidReason.DAMAGED)
    header = Header._make(HEADER.unpack_from(raw))
    if header.magic != MAGIC:
        raise InvalidSessionError(InvalidReason.DAMAGED)
    if header.format != FORMAT:
        raise InvalidSessionError(InvalidReason.OTHER_VERSION)
    tail = CHECK_SIZES.get(header.protection)
    if tail is None or not 0 < header.length == len(raw) - HEADER.size - tail:
        raise InvalidSessionError(InvalidReason.DAMAGED)
    return header


def checked_size(envelope: BytesLike) -> bytes:
    raw = bytes(check_bytes("session data", envelope))
    if not 0 < len(raw) <= MAX_SIZE:
        raise ValueError(f"session data must be 1 to {MAX_SIZE} bytes, not {len(raw)}")
    return raw


def accept(header: Header, kinds: tuple[Kind, ...], sealing: Sealing) -> None:
    """Raise InvalidSessionError if an intact session may not be used here and now."""
    if header.gnutls_version != GNUTLS_VERSION_NUMBER or header.transport != TLS:
        raise InvalidSessionError(InvalidReason.OTHER_VERSION)
    if header.kind not in kinds:
        raise InvalidSessionError(InvalidReason.OTHER_KIND)
    if header.policy != sealing.policy():
        raise InvalidSessionError(InvalidReason.OTHER_POLICY)
    if header.expires > header.created + MAX_LIFETIME:
        raise InvalidSessionError(InvalidReason.DAMAGED)
    if header.expires <= time.time():
        raise InvalidSessionError(InvalidReason.EXPIRED)


def opening_key(header: Header, sealing: Sealing) -> SealingKey | None:
    """The key that opens it, None for a checksum; InvalidSessionError if it is not at hand."""
    if header.protection == Protection.CHECKSUM and sealing.key is None:
        return None
    # Anyone can make a checksum: with a key, only what it sealed is believed.
    sealed = header.protection == Protection.SEALED
    key = sealing.key.with_id(header.key_id) if sealed and sealing.key else None
    if key is None:
        raise InvalidSessionError(InvalidReason.OTHER_KEY)
    return key


def verify(raw: bytes, header: Header, store_key: bytes) -> Opened:
    if not lib.gr_verify(raw, HEADER.size, header.length, store_key, len(store_key)):
        raise InvalidSessionError(InvalidReason.DAMAGED)
    return Opened(header, ffi.from_buffer(CHARS, raw), HEADER.size)


def decrypt(raw: bytes, header: Header, store_key: bytes, key: SealingKey) -> Opened:
    body = lib.gr_decrypt(
        raw, HEADER.size, header.length, store_key, len(store_key), key.datum, header.salt
    )
    if body == ffi.NULL:
        raise InvalidSessionError(InvalidReason.DAMAGED)
    return Opened(header, body, 0)
