"""The standard library as the reference: of Debian 12 without a fault that was mended since."""

import ssl
import sys
from collections.abc import Callable
from typing import Any

import pytest

METHODS = [(ssl.SSLSocket, "read"), (ssl.SSLSocket, "do_handshake")]


@pytest.fixture(autouse=True, scope="session")
def _ragged_ends_are_told_as_such() -> Any:
    """Python 3.11.2 tells an end without close_notify by the general number of an SSLError, and
    so does not suppress it.
    """
    if sys.version_info >= (3, 11, 4):
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in METHODS:
            patch.setattr(owner, name, mended(getattr(owner, name)))
        yield


def mended(method: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: ssl.SSLSocket, *args: Any, **keywords: Any) -> Any:
        try:
            return method(self, *args, **keywords)
        except ssl.SSLError as error:
            if type(error) is not ssl.SSLError or error.reason != "UNEXPECTED_EOF_WHILE_READING":
                raise
            if method.__name__ == "read" and self.suppress_ragged_eofs:
                return b"" if len(args) < 2 or args[1] is None else 0
            made = ssl.SSLEOFError(ssl.SSL_ERROR_EOF, error.args[1])
            made.reason, made.library = error.reason, error.library
            raise made from None

    return call
