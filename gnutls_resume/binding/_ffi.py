"""The only import of the compiled module.

Checks, once, that the loaded library is new enough and that the module was built from the
sources beside it, and knows what the loaded version lacks.
"""

import hashlib
from pathlib import Path
from typing import Any, TypeAlias

from gnutls_resume.errors import FeatureMissingError

try:
    from gnutls_resume._gnutls import ffi, lib
except ImportError as error:
    raise ImportError(
        "gnutls_resume could not load its compiled module: build it with "
        f"'pip install .', with GnuTLS 3.7.2 or newer installed ({error})"
    ) from error

__all__ = ["GNUTLS_VERSION", "CData", "ffi", "lib", "missing", "require", "require_version"]

CData: TypeAlias = Any
"""A C value or pointer: its fields are C's, which no checker of Python knows."""

OLDEST = "3.7.2"

# C function -> (was it in the headers?, the first version that has it). Its stand-in is in
# compat.h.
OPTIONAL = {"gnutls_ciphersuite_get": (lib.GR_HAS_CIPHERSUITE_GET, "3.7.4")}


def c_string(pointer: CData) -> str:
    """A C string as str; the empty string for NULL."""
    text = ffi.string(pointer) if pointer else b""
    return text.decode(errors="replace") if isinstance(text, bytes) else text


def at_least(version: str) -> bool:
    """Whether the loaded library is that version or newer (``gnutls_check_version``)."""
    return bool(lib.gnutls_check_version(version.encode()) != ffi.NULL)


def loaded_version() -> str:
    return c_string(lib.gnutls_check_version(ffi.NULL))


def version_number(version: str) -> int:
    """``'3.8.9'`` -> ``0x030809``, as ``GNUTLS_VERSION_NUMBER`` counts."""
    major, minor, patch = (int(part) for part in version.split("-", maxsplit=1)[0].split(".")[:3])
    return major << 16 | minor << 8 | patch


def stale_build() -> bool:
    """Whether the sources have changed since the build. A wheel has no sources to compare."""
    sources = sorted(Path(__file__).parent.rglob("*.[ch]"))  # as fingerprint() in build_ffi.py
    if not sources:
        return False
    digest = hashlib.sha256()
    for path in sources:
        digest.update(path.read_bytes())
    return digest.hexdigest() != c_string(lib.GR_FINGERPRINT)


GNUTLS_VERSION = loaded_version()
"""The version of the loaded library, such as ``'3.8.9'``."""

GNUTLS_VERSION_NUMBER = version_number(GNUTLS_VERSION)

if not at_least(OLDEST):
    raise ImportError(f"gnutls_resume needs GnuTLS {OLDEST} or newer; {GNUTLS_VERSION} is loaded")
if stale_build():
    raise ImportError(
        "gnutls_resume._gnutls was built from older sources: build it again with 'pip install -e .'"
    )

missing = {
    name: first for name, (present, first) in OPTIONAL.items() if not present or not at_least(first)
}
"""C functions that the loaded library or the headers of the build lack -> first version."""


def require(name: str) -> None:
    """Raise FeatureMissingError if the C function `name` is missing."""
    if name in missing:
        raise FeatureMissingError(
            f"{name} needs GnuTLS {missing[name]} or newer, at build and run time; "
            f"{GNUTLS_VERSION} is loaded"
        )


def require_version(what: str, first: str) -> None:
    """Raise FeatureMissingError if the loaded library is older than `first`."""
    if not at_least(first):
        raise FeatureMissingError(
            f"{what} needs GnuTLS {first} or newer; {GNUTLS_VERSION} is loaded"
        )
