"""Certificates and revocation lists that are loaded, with the standard library's errors."""

import errno
import os
import ssl

from gnutls_resume.binding.x509 import Certificate
from gnutls_resume.drop_in.exceptions import dressed, ssl_error
from gnutls_resume.resumption import trust

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]

DER_SEQUENCE = b"\x30"  # what a certificate begins with


def is_authority(der: bytes) -> bool:
    """Whether it may sign certificates: it says so, or is so old that it cannot say."""
    certificate = Certificate(der)
    old = certificate.version == 1 and certificate.issued_by(certificate)
    return certificate.is_ca or old


def path_of(name: str, value: Path) -> str:
    try:
        return os.fsdecode(value)
    except TypeError:
        raise TypeError(f"{name} should be a valid filesystem path") from None


def pem_error(text: str) -> ssl.SSLError:
    """For a file that cannot be read, as OpenSSL's ``PEM lib``."""
    return dressed(ssl.SSLError(ssl.SSL_ERROR_SSL, f"[X509] PEM lib: {text}"), "PEM_LIB", "X509")


def trust_in_file(path: str) -> trust.Trust:
    """What stands in a file, as OpenSSL takes it: all or nothing, and not nothing."""
    if not path:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    if "\0" in path:
        raise ValueError("embedded null byte")
    try:
        found = trust.from_file(path)
    except ValueError as error:
        raise pem_error(str(error)) from error
    if not found:
        text = "no certificate or crl found"
        raise ssl_error("NO_CERTIFICATE_OR_CRL_FOUND", text, library="X509")
    return found


def trust_in_folders(paths: str) -> trust.Trust:
    """What stands in a folder, or in several separated by colons as OpenSSL takes them."""
    if not paths:
        raise ssl_error("INVALID_DIRECTORY", "invalid directory", library="X509")
    found = trust.NOTHING
    for path in filter(None, paths.split(os.pathsep)):
        found |= trust.from_folder(path)
    return found


def trust_in(cadata: str | bytes | bytearray | memoryview) -> trust.Trust:
    """What stands in `cadata`: PEM as str, DER as bytes."""
    if isinstance(cadata, str):
        try:
            data = cadata.encode("ascii")
        except UnicodeEncodeError:
            raise TypeError("cadata should be an ASCII string or a bytes-like object") from None
    elif isinstance(cadata, bytes | bytearray | memoryview):
        data = bytes(cadata)
    else:
        raise TypeError("cadata should be an ASCII string or a bytes-like object")
    if not data:
        raise ValueError("Empty certificate data")
    try:
        # As OpenSSL: bytes are no PEM, whatever stands in them.
        is_der = data.startswith(DER_SEQUENCE)
        found = trust.from_text(data) if is_der or isinstance(cadata, str) else trust.NOTHING
    except ValueError:
        found = trust.NOTHING
    if not found:
        fault = "no start line" if isinstance(cadata, str) else "not enough data"
        text = f"{fault}: cadata does not contain a certificate"
        raise dressed(ssl.SSLError(ssl.SSL_ERROR_SSL, text), fault.upper().replace(" ", "_"))
    return found
