"""``rotate`` where the keys are in a store, and the epoch ends meanwhile."""

import pytest
from rings import EPOCH, PERIOD, Clock

from gnutls_resume import MemoryStore, TicketKeyRing


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def ring_of(store: MemoryStore) -> TicketKeyRing:
    return TicketKeyRing.from_store(store, sealing_key=None, period=PERIOD)


def fingerprints(ring: TicketKeyRing) -> set[str]:
    return {epoch.fingerprint for epoch in ring.accepted}


@pytest.mark.parametrize("rotated", [0.5, 0.6, 0.9999])
@pytest.mark.parametrize("seen", [0.99991, 1.0001, 1.6])
def test_rotation_is_seen_by_those_who_look_after_the_epochs_end(
    clock: Clock, rotated: float, seen: float
) -> None:
    store = MemoryStore()
    clock.go_to(EPOCH)
    servers = [ring_of(store), ring_of(store)]
    clock.go_to(EPOCH + rotated)
    for server in servers:
        server.expire()
    old = fingerprints(servers[0])
    ring_of(store).rotate()  # as the command does, whose ring ends with it
    clock.go_to(EPOCH + seen)
    for server in servers:
        server.expire()
        assert not old & fingerprints(server)
    for server in servers:
        server.expire()
        assert server.accepted == servers[0].accepted


def test_next_epochs_keys_cannot_be_computed_from_those_of_a_rotation(clock: Clock) -> None:
    store = MemoryStore()
    clock.go_to(EPOCH)
    ring = ring_of(store)
    ring.rotate()
    computed = {epoch.number: epoch.fingerprint for epoch in ring.accepted}[EPOCH + 1]
    clock.go_to(EPOCH + 0.6)
    ring.expire()
    assert computed not in fingerprints(ring)
