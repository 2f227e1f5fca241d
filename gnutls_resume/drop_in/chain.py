"""The certificates of a chain, as ``get_verified_chain()`` and the like show them."""

import ssl
from typing import Any

from gnutls_resume.drop_in.peercert import decode

SHORT_NAMES = {  # RFC 4514 §3
    "commonName": "CN",
    "countryName": "C",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
}


class Certificate:
    """What ``ssl`` asks of a certificate in a chain."""

    def __init__(self, der: bytes) -> None:
        self._der = der

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Certificate) and self._der == other._der

    def __hash__(self) -> int:
        return hash(self._der)

    def __repr__(self) -> str:
        pairs = (pair for pairs in self.get_info()["subject"] for pair in pairs)
        names = (f"{SHORT_NAMES.get(kind, kind)}={value}" for kind, value in pairs)
        return f"<Certificate {', '.join(names)}>"

    def public_bytes(self, encoding: int = 1) -> bytes | str:
        """In PEM (1, a str) or DER (2)."""
        return self._der if encoding == 2 else ssl.DER_cert_to_PEM_cert(self._der)  # noqa: PLR2004

    def get_info(self) -> dict[str, Any]:
        """As ``getpeercert()`` tells it."""
        return decode(self._der)
