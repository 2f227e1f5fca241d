"""Temporary."""

import ssl
import tempfile
from typing import Any


def decode(der: bytes) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as f:
        f.write(ssl.DER_cert_to_PEM_cert(der))
        f.flush()
        return ssl._ssl._test_decode_cert(f.name)
