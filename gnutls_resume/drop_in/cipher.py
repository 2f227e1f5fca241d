"""Cipher suites in OpenSSL's words, which is what ``ssl`` tells.

A suite's name is ``TLS_`` key exchange ``_`` cipher ``_`` MAC, in TLS 1.3 without the first;
where the cipher authenticates, the MAC is the hash of the handshake, or is not said. GnuTLS tells
a connection's suite by its registered name (``_WITH_`` before the cipher, ``SHA``), those of a
priority string by its own (``SHA1``).
"""

import re
import ssl
from typing import Any

from gnutls_resume.binding.session import cipher_suites

SUITE = re.compile(
    "TLS_(?:(?P<exchange>(?:EC)?DHE?_(?:ECDSA|RSA|DSS|ANON|PSK)|RSA_PSK|RSA|PSK)_(?:WITH_)?)?"
    "(?P<cipher>.*?)(?:_(?P<mac>SHA[0-9]*|MD5))?"
)
# OpenSSL 3.2 counts the bits of a tag of 8 bytes, older ones those of the key.
SHORT_TAG = 64 if ssl.OPENSSL_VERSION_INFO >= (3, 2) else 0
# OpenSSL's name of the cipher within a suite's, its name by itself, its strength and its bits.
CIPHERS = {
    "AES_128_GCM": ("AES128-GCM", "aes-128-gcm", 128, 128),
    "AES_256_GCM": ("AES256-GCM", "aes-256-gcm", 256, 256),
    "AES_128_CCM": ("AES128-CCM", "aes-128-ccm", 128, 128),
    "AES_256_CCM": ("AES256-CCM", "aes-256-ccm", 256, 256),
    "AES_128_CCM_8": ("AES128-CCM8", "aes-128-ccm", SHORT_TAG or 128, 128),
    "AES_256_CCM_8": ("AES256-CCM8", "aes-256-ccm", SHORT_TAG or 256, 256),
    "CHACHA20_POLY1305": ("CHACHA20-POLY1305", "chacha20-poly1305", 256, 256),
    "AES_128_CBC": ("AES128", "aes-128-cbc", 128, 128),
    "AES_256_CBC": ("AES256", "aes-256-cbc", 256, 256),
    "CAMELLIA_128_GCM": ("CAMELLIA128-GCM", "camellia-128-gcm", 128, 128),
    "CAMELLIA_256_GCM": ("CAMELLIA256-GCM", "camellia-256-gcm", 256, 256),
    "CAMELLIA_128_CBC": ("CAMELLIA128", "camellia-128-cbc", 128, 128),
    "CAMELLIA_256_CBC": ("CAMELLIA256", "camellia-256-cbc", 256, 256),
    "3DES_EDE_CBC": ("DES-CBC3", "des-ede3-cbc", 112, 168),
    "ARCFOUR_128": ("RC4", "rc4", 128, 128),
}
EXCHANGES = {"RSA": "", "DH_ANON": "ADH-", "ECDH_ANON": "AECDH-"}


def parts_of(name: str) -> tuple[str, str, str]:
    """Key exchange, cipher and MAC; empty where the suite's name has none."""
    found = SUITE.fullmatch(name)
    return ("", name, "") if found is None else (found[1] or "", found[2], found[3] or "")


def openssl_name(name: str) -> str:
    """``TLS_ECDHE_RSA_AES_128_CBC_SHA1`` -> ``ECDHE-RSA-AES128-SHA``.

    The suites of TLS 1.3 are called the same everywhere.
    """
    exchange, cipher, mac = parts_of(name)
    if not exchange or cipher not in CIPHERS:
        return name
    first = EXCHANGES.get(exchange, exchange.replace("_", "-") + "-")
    last = "" if not mac or "POLY1305" in cipher else "-" + mac
    return first + CIPHERS[cipher][0] + last.replace("SHA1", "SHA")


def bits_of(name: str) -> int:
    """The secret bits of a suite's cipher."""
    cipher = parts_of(name)[1]
    return CIPHERS[cipher][2] if cipher in CIPHERS else 0


def first_version(name: str) -> str:
    """The protocol that a suite came with."""
    exchange, cipher, mac = parts_of(name)
    if not exchange:
        return "TLSv1.3"
    if is_aead(cipher) or mac not in {"SHA", "SHA1", "MD5"}:
        return "TLSv1.2"
    return "TLSv1.0" if exchange.startswith("ECDH") else "SSLv3"


def is_aead(cipher: str) -> bool:
    return any(mode in cipher for mode in ("GCM", "CCM", "POLY1305"))


def cipher_of(name: str) -> tuple[str, str, int]:
    """What ``SSLSocket.cipher()`` returns."""
    return openssl_name(name), first_version(name), bits_of(name)


def ciphers_of(priority: str) -> list[dict[str, Any]]:
    """What ``SSLContext.get_ciphers()`` returns for a GnuTLS priority string: the suites that a
    connection can have, so none with an external key.
    """
    return [
        described(number, name)
        for number, name in cipher_suites(priority)
        if "PSK" not in parts_of(name)[0]
    ]


def described(number: int, name: str) -> dict[str, Any]:
    exchange, cipher, mac = parts_of(name)
    _, symmetric, strength, bits = CIPHERS.get(cipher, ("", "", 0, 0))
    kind, _, signature = exchange.partition("_")
    return {
        "id": 0x03000000 | number,
        "name": openssl_name(name),
        "protocol": first_version(name),
        "description": name,
        "strength_bits": strength,
        "alg_bits": bits,
        "aead": is_aead(cipher),
        "symmetric": symmetric,
        "digest": None if is_aead(cipher) else mac.lower(),
        "kea": f"kx-{kind.lower() or 'any'}",
        "auth": f"auth-{(signature or kind).lower() or 'any'}",
    }
