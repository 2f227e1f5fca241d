"""Certificates, keys and trust for sessions."""

import os
from pathlib import Path

from gnutls_resume.binding._arguments import check_bytes
from gnutls_resume.binding._check import check
from gnutls_resume.binding._datum import Freed, datum_of, wiped_memory
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
            self.add(KeyPair(certificate, key))
        if trust is not None:
            text, pem = Text("trust", trust), lib.GNUTLS_X509_FMT_PEM
            if check(lib.gnutls_certificate_set_x509_trust_mem(self.c, text.datum, pem)) == 0:
                raise ValueError("trust holds no certificate")
        if crl is not None:
            text, pem = Text("crl", crl), lib.GNUTLS_X509_FMT_PEM
            check(lib.gnutls_certificate_set_x509_crl_mem(self.c, text.datum, pem))

    def add(self, pair: "KeyPair") -> None:
        """Show this certificate too, before the first session uses the credentials
        (``gnutls_certificate_set_x509_key_mem2``).
        """
        check(
            lib.gnutls_certificate_set_x509_key_mem2(
                self.c,
                pair.certificate.datum,
                pair.key.datum,
                lib.GNUTLS_X509_FMT_PEM,
                pair.password,
                0,
            )
        )

    def set_x509_system_trust(self) -> int:
        """Trust the system's authorities as well; returns how many were loaded
        (``gnutls_certificate_set_x509_system_trust``).
        """
        return check(lib.gnutls_certificate_set_x509_system_trust(self.c))

    def __repr__(self) -> str:
        return "<Credentials>"


class KeyPair:
    """A certificate chain and its private key, read and not yet parsed. The key and its
    `password` (bytes, for an encrypted key) stay in C memory that is wiped.

    Raises TypeError or ValueError for a wrong argument, OSError for a file.
    """

    def __init__(self, certificate: Pem, key: Pem, password: bytes | None = None) -> None:
        self.certificate, self.key = Text("certificate", certificate), Text("key", key)
        self.password: CData = ffi.NULL
        if password is not None:
            if b"\0" in bytes(check_bytes("password", password)):
                raise ValueError("password must not contain NUL")
            self._memory = wiped_memory(len(password) + 1)
            ffi.memmove(self._memory, password, len(password))
            self.password = ffi.cast("char *", self._memory)

    def __repr__(self) -> str:
        return "<KeyPair>"


class Text:
    """PEM text as a datum, in C memory that is wiped if it was read from a file."""

    def __init__(self, name: str, source: Pem) -> None:
        if isinstance(source, bytes):
            self.datum, self._memory = datum_of(source)
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
            self._memory = wiped_memory(datum.size)
            ffi.memmove(self._memory, datum.data, datum.size)
            self.datum = ffi.new("gnutls_datum_t *", (self._memory, datum.size))
