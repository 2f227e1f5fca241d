"""The secret behind a server's ticket keys, and who shares it.

Keys live as long as the process: there is no rotation yet. Importing this makes no secret.
"""

import os
from typing import NoReturn, SupportsIndex

from gnutls_resume.binding import TicketSecret


class TicketKeyRing:
    """A random secret in C memory, from which each connection's ticket key is derived
    (``Session.ticket_derive``). Servers resume each other's tickets if they share the ring;
    processes share it if it was made before they were forked.

    Whoever has the secret can open every ticket made under it, and read every TLS 1.2 connection
    that a ticket belongs to (RFC 5077 §5.5). It lives until the process ends.
    """

    def __init__(self) -> None:
        self.secret = TicketSecret.generate()

    def __repr__(self) -> str:
        return "<TicketKeyRing>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a TicketKeyRing cannot be pickled or copied: it is secret")


rings: list[TicketKeyRing] = []  # the first is the process's


def process_ring() -> TicketKeyRing:
    """The ring that the process's servers share by default: made when it is first asked for, or
    right before the process forks, so that its workers have the same.
    """
    if not rings:
        rings.append(TicketKeyRing())  # two threads may both come here: the first one counts
    return rings[0]


os.register_at_fork(before=process_ring)
