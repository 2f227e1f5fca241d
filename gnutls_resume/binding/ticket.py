"""The key under which a server seals its session tickets."""

from gnutls_resume.binding._arguments import BytesLike
from gnutls_resume.binding._check import check
from gnutls_resume.binding._datum import Freed, Secret
from gnutls_resume.binding._ffi import ffi, lib

SIZE = 64  # bytes; GnuTLS derives the keys of each period from them


class TicketKey(Secret):
    """A ticket key: 64 bytes in C memory, wiped when ``wipe()`` or ``close()`` is called, or
    when it is collected.

    Whoever knows it can read every connection resumed under it, also past TLS 1.2 ones: change
    it every few hours (RFC 9325 §3.4). Raises TypeError or ValueError for `raw` that is not 64
    random bytes.
    """

    def __init__(self, raw: BytesLike) -> None:
        super().__init__("the ticket key", raw, SIZE)

    @classmethod
    def generate(cls) -> "TicketKey":
        """A new random key (``gnutls_session_ticket_key_generate``)."""
        with Freed(wipe=True) as datum:
            check(lib.gnutls_session_ticket_key_generate(datum))
            return cls(memoryview(ffi.buffer(datum.data, datum.size)))
