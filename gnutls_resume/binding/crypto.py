"""Randomness, HKDF and AES-256-GCM, from GnuTLS. Keys stay in C memory."""

from gnutls_resume.binding._check import check
from gnutls_resume.binding._datum import datum_of, wiped_memory
from gnutls_resume.binding._ffi import CData, ffi, lib

TAG_SIZE = 16  # bytes; RFC 5116 §5.2
NONCE = bytes(12)  # RFC 5116 §5.2; one message a key, so the nonce may be constant


def random_bytes(size: int) -> bytes:
    """`size` unpredictable bytes for salts and IDs, not for keys (``gnutls_rnd``)."""
    buffer = ffi.new("unsigned char[]", size)
    check(lib.gnutls_rnd(lib.GNUTLS_RND_NONCE, buffer, size))
    return bytes(ffi.buffer(buffer))


def hkdf(key: CData, salt: bytes, info: bytes, size: int) -> CData:
    """`size` bytes derived from a ``gnutls_datum_t *`` by HKDF-SHA256 (RFC 5869), in C memory
    that is wiped (``gnutls_hkdf_extract``, ``gnutls_hkdf_expand``).
    """
    salt_datum, _salt = datum_of(salt)
    info_datum, _info = datum_of(info)
    extracted = wiped_memory(32)
    output = wiped_memory(size)
    check(lib.gnutls_hkdf_extract(lib.GNUTLS_MAC_SHA256, key, salt_datum, extracted))
    extracted_datum = ffi.new("gnutls_datum_t *", (extracted, 32))
    check(lib.gnutls_hkdf_expand(lib.GNUTLS_MAC_SHA256, extracted_datum, info_datum, output, size))
    return output


def encrypt(key: CData, header: bytes, parts: list[tuple[CData, int]]) -> bytes:
    """AES-256-GCM over the joined parts, tag at the end; `header` is authenticated
    (``gnutls_aead_cipher_encryptv``). `key`: 32 bytes in C, used for this one message.
    """
    size = sum(length for _, length in parts) + TAG_SIZE
    output = ffi.new("unsigned char[]", size)
    written = ffi.new("size_t *", size)
    authenticated = ffi.from_buffer(header)
    header_iov = ffi.new("giovec_t *", (authenticated, len(header)))
    parts_iov = ffi.new("giovec_t[]", parts)
    with Cipher(key) as handle:
        check(
            lib.gnutls_aead_cipher_encryptv(
                handle, NONCE, len(NONCE), header_iov, 1, TAG_SIZE,
                parts_iov, len(parts), output, written,
            )
        )  # fmt: skip
    return bytes(ffi.buffer(output, written[0]))


def decrypt(key: CData, header: bytes, sealed: bytes | memoryview, output: CData) -> bool:
    """Open what `encrypt` made into `output` (``gnutls_aead_cipher_decrypt``), which has room
    for ``len(sealed) - TAG_SIZE`` bytes. False if it was not made with this key and header.
    """
    written = ffi.new("size_t *", len(sealed) - TAG_SIZE)
    with Cipher(key) as handle:
        code = lib.gnutls_aead_cipher_decrypt(
            handle, NONCE, len(NONCE), ffi.from_buffer(header), len(header), TAG_SIZE,
            ffi.from_buffer(sealed), len(sealed), output, written,
        )  # fmt: skip
    return code == 0 and written[0] == len(sealed) - TAG_SIZE


class Cipher:
    """An AES-256-GCM handle for a with-statement."""

    def __init__(self, key: CData) -> None:
        self._key = key
        self._handle = ffi.new("gnutls_aead_cipher_hd_t *")

    def __enter__(self) -> CData:
        key = ffi.new("gnutls_datum_t *", (self._key, 32))
        check(lib.gnutls_aead_cipher_init(self._handle, lib.GNUTLS_CIPHER_AES_256_GCM, key))
        return self._handle[0]

    def __exit__(self, *_: object) -> None:
        lib.gnutls_aead_cipher_deinit(self._handle[0])
