"""What a context has beyond ``ssl.SSLContext``: its own keywords, checked."""

from dataclasses import dataclass

from gnutls_resume.binding import SealingKey
from gnutls_resume.binding._arguments import check_callable, check_instance, check_number
from gnutls_resume.binding.envelope import MAX_LIFETIME
from gnutls_resume.resumption.client_cache import ClientSessionCache
from gnutls_resume.resumption.database import SessionDatabase
from gnutls_resume.resumption.outcome import Counters, OnHandshake
from gnutls_resume.resumption.ticket_keys import TicketKeyRing, process_ring
from gnutls_resume.stores.memory import MemoryStore
from gnutls_resume.stores.protocol import Store, check_store


class Default:
    """What stands for the process's own: its memory store, its ticket keys."""

    def __repr__(self) -> str:
        return "DEFAULT"


DEFAULT = Default()
DEFAULT_LIFETIME = 86_400  # seconds
LONGEST_WAIT = 10  # seconds

stores: list[MemoryStore] = []  # the first is the process's


def process_store() -> MemoryStore:
    """Where clients remember their sessions by default: libraries make a context for every
    connection, so it belongs to the process.
    """
    if not stores:
        stores.append(MemoryStore())  # two threads may both come here: the first one counts
    return stores[0]


@dataclass(frozen=True, slots=True)
class Resuming:
    """What the keywords have become."""

    cache: ClientSessionCache
    database: SessionDatabase | None
    """None: a server keeps no sessions."""
    counters: Counters
    sealing_key: SealingKey | None
    ring: TicketKeyRing | None
    """None: a server issues no tickets."""
    session_lifetime: int
    close_wait: float
    on_handshake: OnHandshake | None


def resuming_for(
    *,
    sessions: Store | Default | None,
    sealing_key: SealingKey | None,
    ticket_keys: TicketKeyRing | Default | None,
    session_lifetime: int,
    close_wait: float,
    on_handshake: OnHandshake | None,
    server: bool,
) -> Resuming:
    """Raises TypeError or ValueError for a wrong argument."""
    if sealing_key is not None:
        check_instance("sealing_key", sealing_key, SealingKey)
    ring = process_ring() if isinstance(ticket_keys, Default) else ticket_keys
    if ring is not None:
        check_instance("ticket_keys", ring, TicketKeyRing)
    if on_handshake is not None:
        check_callable("on_handshake", on_handshake)
    counters = Counters()
    store = store_for(sessions, sealing_key)
    kept = store if server and not isinstance(sessions, Default) else None
    return Resuming(
        cache=ClientSessionCache(store, sealing_key, counters),
        database=None if kept is None else SessionDatabase(kept, sealing_key, counters),
        counters=counters,
        sealing_key=sealing_key,
        ring=ring,
        session_lifetime=check_number("session_lifetime", session_lifetime, 1, MAX_LIFETIME),
        close_wait=check_seconds("close_wait", close_wait, LONGEST_WAIT),
        on_handshake=on_handshake,
    )


def store_for(sessions: Store | Default | None, sealing_key: SealingKey | None) -> Store | None:
    if isinstance(sessions, Default):
        return process_store()
    if sessions is None:
        return None
    return check_store("sessions", sessions, sealed=sealing_key is not None)


def check_seconds(name: str, value: float, longest: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if not 0 <= value <= longest:
        raise ValueError(f"{name} must be 0 to {longest} seconds, not {value}")
    return value
