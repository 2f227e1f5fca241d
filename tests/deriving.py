"""Servers that derive their ticket keys, for the pump in pair.py."""

from collections.abc import Callable
from typing import Any

from conftest import Certificates
from pair import TLS13, Setting

from gnutls_resume.binding import InitFlag, Session, TicketKeyTable, TicketOffer, TicketSecret

POLICY, OTHER_POLICY = bytes(32), bytes(31) + b"x"
FULL, RESUMED = (False, False), (True, True)
NONE, UNKNOWN, KNOWN = TicketOffer
RETRY: dict[str, Any] = {  # the server dislikes the client's only key share
    "client_priority": TLS13 + ":-GROUP-ALL:+GROUP-SECP256R1:+GROUP-SECP384R1",
    "server_priority": TLS13 + ":-GROUP-ALL:+GROUP-SECP384R1",
    "client_flags": InitFlag.KEY_SHARE_TOP,
}


def deriving(
    certificates: Certificates,
    secret: TicketSecret | TicketKeyTable,
    policy: bytes = POLICY,
    *,
    alpn: bytes | None = None,
    set_up: Callable[[Session], object] = lambda _: None,
    **fields: Any,
) -> Setting:
    """A setting whose server derives its ticket key; `set_up` does more with it."""

    def prepare(client: Session, server: Session) -> None:
        if alpn is not None:
            client.alpn_set_protocols([alpn])
            server.alpn_set_protocols([alpn])
        server.ticket_derive(secret, policy)
        set_up(server)

    return Setting(certificates, prepare=prepare, **fields)


def meet(setting: Setting, data: bytes | None = None) -> tuple[tuple[bool, bool], TicketOffer]:
    """Who resumed, and what the server says of the offer; nothing fails."""
    with setting.pair(data) as pair:
        pair.handshake()
        pair.exchange()
        assert pair.server.ticket_failures == 0
        return pair.resumed, pair.server.ticket_offered()


def ticket(setting: Setting) -> bytes:
    data, resumed = setting.connect()
    assert resumed == FULL
    assert data is not None
    return data
