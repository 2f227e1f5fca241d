"""What a side trusts: a set of authorities' certificates and revocation lists, and its digest.

The set counts, not the order or the files: loading the same certificates twice changes nothing.
Files are read once and remembered until they change, since libraries load them for every
connection.
"""

import hashlib
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from gnutls_resume.binding.x509 import Certificate, certificates_of, crls_of
from gnutls_resume.resumption.lock import Lock

Stamp = tuple[int, ...]

HASHED_NAME = re.compile(r"[0-9a-f]{8}\.r?[0-9]+")  # as OpenSSL looks for them in a folder


@dataclass(frozen=True, eq=False)
class Trust:
    """Certificates and revocation lists in DER, by their SHA-256."""

    anchors: dict[bytes, bytes] = field(default_factory=dict, repr=False)
    crls: dict[bytes, bytes] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, anchors: Iterable[bytes], crls: Iterable[bytes] = ()) -> "Trust":
        return cls(
            {hashlib.sha256(der).digest(): der for der in anchors},
            {hashlib.sha256(der).digest(): der for der in crls},
        )

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over the sorted hashes of both."""
        parts = [b"anchors", *sorted(self.anchors), b"crls", *sorted(self.crls)]
        return hashlib.sha256(b"".join(parts)).digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trust) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __or__(self, other: "Trust") -> "Trust":
        if other.anchors.keys() <= self.anchors.keys() and other.crls.keys() <= self.crls.keys():
            return self
        return Trust({**self.anchors, **other.anchors}, {**self.crls, **other.crls})

    def __bool__(self) -> bool:
        return bool(self.anchors or self.crls)


NOTHING = Trust()


def from_text(data: bytes) -> Trust:
    """What stands in PEM text, or in DER."""
    return Trust.of(anchors_in(data), crls_of(data))


def anchors_in(data: bytes) -> list[bytes]:
    """The certificates in it that GnuTLS can read: nothing leads to the others."""
    readable: list[bytes] = []
    for der in certificates_of(data):
        with suppress(ValueError):
            readable.append(Certificate(der).der)
    return readable


def from_file(path: str) -> Trust:
    """What stands in a file of PEM text. Raises OSError."""
    stamp = stamp_of(Path(path))
    with reading:
        return read_file(path, stamp)


def from_folder(path: str) -> Trust:
    """What stands in a folder under the names that ``openssl rehash`` makes. Raises nothing for
    a folder that is not there, nor for files that hold something else, as OpenSSL.
    """
    stamps = []
    try:
        files = sorted(file for file in Path(path).iterdir() if HASHED_NAME.fullmatch(file.name))
    except OSError:
        return NOTHING
    for file in files:
        with suppress(OSError):  # a link that leads nowhere
            stamps.append((file.name, stamp_of(file)))
    with reading:
        return read_folder(path, tuple(stamps))


def stamp_of(file: Path) -> Stamp:
    """What changes with the file. Only its ctime cannot be set back by who writes it."""
    status = file.stat()
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size


# Many threads begin at once: one of them reads.
reading = Lock()


@lru_cache(maxsize=16)
def read_file(path: str, _stamp: Stamp) -> Trust:
    return from_text(Path(path).read_bytes())


@lru_cache(maxsize=4)
def read_folder(path: str, stamps: tuple[tuple[str, Stamp], ...]) -> Trust:
    anchors: list[bytes] = []
    crls: list[bytes] = []
    for name, _ in stamps:
        try:
            data = Path(path, name).read_bytes()
            anchors += anchors_in(data)
            crls += crls_of(data)
        except (OSError, ValueError):
            continue
    return Trust.of(anchors, crls)
