"""Randomness and HKDF, from GnuTLS. Keys stay in C memory; AES-256-GCM is in envelope.c."""

from gnutls_resume.binding._check import check
from gnutls_resume.binding._datum import datum_of, wiped_memory
from gnutls_resume.binding._ffi import CData, ffi, lib


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
