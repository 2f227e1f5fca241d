"""Cipher suites in OpenSSL's words, which is what ``ssl`` tells."""

import re
from typing import Any

from gnutls_resume.binding.session import cipher_suites

BITS = {"3DES": 112, "AES_128": 128, "CHACHA20": 256, "AES_256": 256}


def openssl_name(name: str) -> str:
    """``TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`` -> ``ECDHE-RSA-AES128-GCM-SHA256``.

    The suites of TLS 1.3 are called the same everywhere.
    """
    if "_WITH_" not in name:
        return name
    name = name.removeprefix("TLS_").replace("_WITH_", "_")
    name = re.sub(r"AES_(\d+)", r"AES\1", name).replace("_CBC", "")
    name = name.replace("CHACHA20_POLY1305_SHA256", "CHACHA20_POLY1305").replace("CCM_8", "CCM8")
    return name.replace("_", "-")


def bits_of(name: str) -> int:
    """The secret bits of a suite's cipher."""
    return next((bits for cipher, bits in BITS.items() if cipher in name), 0)


def cipher_of(name: str, protocol: str) -> tuple[str, str, int]:
    """What ``SSLSocket.cipher()`` returns."""
    return openssl_name(name), protocol, bits_of(name)


def ciphers_of(priority: str) -> list[dict[str, Any]]:
    """What ``SSLContext.get_ciphers()`` returns for a GnuTLS priority string."""
    return [
        {
            "id": 0x03000000 | number,
            "name": openssl_name(name),
            "protocol": "TLSv1.2" if "_WITH_" in name else "TLSv1.3",
            "description": name,
            "strength_bits": bits_of(name),
            "alg_bits": bits_of(name),
            "aead": any(mode in name for mode in ("GCM", "CCM", "POLY1305")),
        }
        for number, name in cipher_suites(priority)
        if "_PSK_" not in name  # there for a side effect, see options.py
    ]
