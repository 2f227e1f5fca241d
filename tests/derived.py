"""What is made of a ticket secret, computed once more without the package."""

import hashlib
import sys
import time

from conftest import HOST
from rings import expand

from gnutls_resume.binding import Protocol, db_get_default_cache_expiration

NAME = 16  # bytes; the name of a key, which stands in every ticket
WORD = 8  # bytes


def ticket_key(
    secret: bytes, policy: bytes, version: Protocol, *, alpn: bytes = b"", name: str = HOST
) -> bytes:
    """The 64 bytes that client_hello.c makes of a secret."""
    parts = (b"ticket key", policy, bytes([version]), alpn, name.encode(), b"\0")
    return expand(secret, b"".join(bytes([len(part)]) + part for part in parts), 64)


def derived(key: bytes, period: int = 0, lifetime: int | None = None) -> bytes:
    """The 64 bytes that GnuTLS makes of a ticket key (its stek.c) in so many periods from now:
    a name, and 48 that are secret.
    """
    seconds = 3 * (lifetime or db_get_default_cache_expiration())
    return hashlib.sha3_512((int(time.time()) // seconds + period).to_bytes(8) + key).digest()


def secrets_of(secret: bytes, policies: list[bytes]) -> dict[str, bytes]:
    """A ticket secret and all that is made of it, also in the forms that give it away."""
    found = {"secret": secret}
    for number, policy in enumerate(policies):
        for version in (Protocol.TLS1_2, Protocol.TLS1_3):
            key = ticket_key(secret, policy, version)
            found[f"key {version.name} {number}"] = key
            for back in (0, 1):
                found[f"derived {back} {version.name} {number}"] = derived(key, -back)[NAME:]
    forms = dict(found)
    for name, it in found.items():
        forms[f"{name}, swapped"] = swapped(it)
        for pad in (0x36, 0x5C):  # of HMAC, RFC 2104 §2
            padded = bytes(byte ^ pad for byte in it)
            name_of_it = f"{name}, padded with {pad:x}"
            forms |= {name_of_it: padded, f"{name_of_it}, swapped": swapped(padded)}
    return forms


def swapped(data: bytes) -> bytes:
    """As SHA-256 reads it on most machines."""
    return b"".join(data[i : i + 4][::-1] for i in range(0, len(data), 4))


def words_of(secrets: dict[str, bytes]) -> dict[int, str]:
    """All words of 8 bytes in them. Whatever 15 bytes of a secret stand together in memory, there
    is a whole word among them.
    """
    return {
        int.from_bytes(secret[at : at + WORD], sys.byteorder): name
        for name, secret in secrets.items()
        for at in range(len(secret) - WORD + 1)
    }
