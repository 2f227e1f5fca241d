"""Certificates, keys and trust for sessions."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gnutls_resume.binding._check import check
from gnutls_resume.binding._datum import Freed, datum_of
from gnutls_resume.binding._ffi import CData, ffi, lib

Pem = str | os.PathLike[str] | bytes
"""A file's path, or the PEM text itself as bytes."""


class Credentials:
    """What a side shows and whom it trusts (``gnutls_certificate_credentials_t``).

    `certificate` is the chain, leaf first, `key` its private key, `trust` the certificates of
    the authorities that the peer's chain must lead to, `crl` their revocation lists; each a path
    or PEM bytes. Sessions on any thread may share one, as long as nobody changes it.

    Raises TypeError or ValueError for a wrong argument, FileNotFoundError, PermissionError or
    another OSError for a file, GnuTLSError for what GnuTLS cannot read and for a key that does
    not match its certificate.
    """

    def __init__(
        self,
        *,
        certificate: Pem | None = None,
        key: Pem | None = None,
        trust: Pem | None = None,
        crl: Pem | None = None,
    ) -> None:
        if (certificate is None) != (key is None):
            raise ValueError("certificate and key come together: give both or neither")
        pointer = ffi.new("gnutls_certificate_credentials_t *")
        check(lib.gnutls_certificate_allocate_credentials(pointer))
        self.c = ffi.gc(pointer[0], lib.gnutls_certificate_free_credentials)
        if certificate is not None and key is not None:
            self._set_key(certificate, key)
        if trust is not None:
            with pem("trust", trust) as datum:
                pem_format = lib.GNUTLS_X509_FMT_PEM
                code = lib.gnutls_certificate_set_x509_trust_mem(self.c, datum, pem_format)
            if check(code) == 0:
                raise ValueError("trust holds no certificate")
        if crl is not None:
            with pem("crl", crl) as datum:
                pem_format = lib.GNUTLS_X509_FMT_PEM
                check(lib.gnutls_certificate_set_x509_crl_mem(self.c, datum, pem_format))

    def _set_key(self, certificate: Pem, key: Pem) -> None:
        with pem("certificate", certificate) as chain, pem("key", key) as private:
            check(
                lib.gnutls_certificate_set_x509_key_mem2(
                    self.c, chain, private, lib.GNUTLS_X509_FMT_PEM, ffi.NULL, 0
                )
            )

    def set_x509_system_trust(self) -> int:
        """Trust the system's authorities as well; returns how many were loaded
        (``gnutls_certificate_set_x509_system_trust``).
        """
        return check(lib.gnutls_certificate_set_x509_system_trust(self.c))

    def __repr__(self) -> str:
        return "<Credentials>"


@contextmanager
def pem(name: str, source: Pem) -> Iterator[CData]:
    """The PEM text as a datum. What was read from a file is wiped afterwards."""
    if isinstance(source, bytes):
        datum, _memory = datum_of(source)
        yield datum
        return
    try:
        path = os.fspath(source)
    except TypeError:
        kind = type(source).__name__
        raise TypeError(f"{name} must be a path or PEM bytes, not {kind}") from None
    if "-----BEGIN" in os.fsdecode(path):
        raise TypeError(f"{name} must be a path or PEM bytes, not PEM text in a str")
    if "\0" in os.fsdecode(path):
        raise ValueError(f"{name} must be a path without null characters")
    with Freed(wipe=True) as datum:
        code = lib.gnutls_load_file(os.fsencode(path), datum)
        if code == lib.GNUTLS_E_FILE_ERROR:
            Path(path).open("rb").close()  # says which OSError it is
        check(code)
        yield datum
