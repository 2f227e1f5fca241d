"""Ticket keys shared through a store, by rings that look when they are told to.

"Hosts" are rings of one process on one store in memory, or processes on a database file or on a
real redis-server.
"""

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from conftest import Certificates
from pair import TLS12, TLS13
from redis_server import redis_server
from rings import EPOCH, PERIOD, Clock, Processes, SharedClock, ratchet, secrets, setting

from gnutls_resume import MemoryStore, SealingKey, SQLiteStore
from gnutls_resume.binding import Kind, Sealing, _callbacks
from gnutls_resume.binding._datum import datum_of
from gnutls_resume.binding._ffi import ffi
from gnutls_resume.binding.envelope import seal
from gnutls_resume.resumption import ticket_keys
from gnutls_resume.resumption.ticket_key_record import SIZE, TicketKeyRecord
from gnutls_resume.resumption.ticket_key_sources import StoreSource, place_of
from gnutls_resume.resumption.ticket_keys import TicketKeyRing
from gnutls_resume.stores.redis import RedisStore

each_version = pytest.mark.parametrize("priority", [TLS12, TLS13], ids=["tls12", "tls13"])
KEY = SealingKey(bytes(range(32)))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SharedClock:
    return SharedClock(monkeypatch)


@pytest.fixture(autouse=True)
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rings have no thread: they look when the test says so."""
    monkeypatch.setattr(ticket_keys, "watch", lambda _: None)


@pytest.fixture
def warnings_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The warnings so far, of which none counts as logged before."""
    monkeypatch.setattr(_callbacks, "last_warning", {})
    texts: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            texts.append(record.getMessage())

    handler = Handler(logging.WARNING)
    logging.getLogger("gnutls_resume").addHandler(handler)
    yield texts
    logging.getLogger("gnutls_resume").removeHandler(handler)


class DeadError(Exception):
    """What a store raises that is not there; its words are not for the log."""


class Shared:
    """A store that the test can break, look into, and change."""

    exposed = True
    private = False

    def __init__(self) -> None:
        self.memory = MemoryStore()
        self.dead: set[str] = set()  # verbs
        self.calls: list[tuple[Any, ...]] = []
        self.answers: dict[str, Callable[[Any], Any]] = {}  # what becomes of a verb's answer

    def call(self, verb: str, *arguments: Any) -> Any:
        self.calls.append((verb, *arguments))
        if verb in self.dead:
            raise DeadError("redis://:password@host")
        answer = getattr(self.memory, verb)(*arguments)
        return self.answers.get(verb, lambda it: it)(answer)

    def get(self, key: bytes) -> bytes | None:
        return self.call("get", key)  # type: ignore[no-any-return]

    def put(self, key: bytes, value: bytes, ttl: float) -> None:
        self.call("put", key, value, ttl)

    def add(self, key: bytes, value: bytes, ttl: float) -> bool:
        return self.call("add", key, value, ttl)  # type: ignore[no-any-return]

    def push(self, key: bytes, value: bytes, ttl: float, keep: int) -> None:
        raise AssertionError("no stack is needed")

    def take(self, key: bytes) -> bytes | None:
        raise AssertionError("no stack is needed")

    def remove(self, key: bytes) -> None:
        self.call("remove", key)

    def die(self) -> None:
        self.dead = {"get", "put", "add", "remove"}

    def live(self) -> None:
        self.dead = set()

    def verbs(self) -> list[str]:
        """Those asked since the last time."""
        calls, self.calls = self.calls, []
        return [call[0] for call in calls]


def host(store: Any, key: SealingKey | None = KEY, **own: Any) -> TicketKeyRing:
    return TicketKeyRing.from_store(store, sealing_key=key, **own)


def name(epoch: int, key: SealingKey | None = KEY) -> bytes:
    """Under what the record of an epoch is kept."""
    return StoreSource(MemoryStore(), key)._name(epoch)


def stored(store: Shared, epoch: int, key: SealingKey | None = KEY) -> TicketKeyRecord | None:
    return StoreSource(store.memory, key).get(epoch)


def currents(rings: list[TicketKeyRing]) -> set[bytes]:
    return {secrets(ring)[0] for ring in rings}


def look(rings: list[TicketKeyRing]) -> None:
    for ring in rings:
        ring.expire()


def errors(rings: list[TicketKeyRing]) -> int:
    return sum(ring.stats["ring_source_errors"] for ring in rings)


def sealed(record: TicketKeyRecord, epoch: int, key: SealingKey | None, kind: Kind) -> bytes:
    """An entry as a writer with other intents makes it."""
    datum, _memory = datum_of(bytes(ffi.buffer(record.pack(), SIZE)))
    return seal(
        datum,
        kind=kind,
        protocol_version=0,
        created=1,
        expires=2,
        server_name="",
        store_key=place_of(epoch),
        sealing=Sealing(key),
    )


# -- arguments --------------------------------------------------------------------------------


def test_exposed_store_needs_a_sealing_key() -> None:
    with pytest.raises(ValueError, match="others can read this store; give a sealing_key="):
        host(Shared(), None)
    assert host(MemoryStore(), None).current


@pytest.mark.parametrize(
    ("store", "key", "own", "message"),
    [
        (None, KEY, {}, "store must be a Store, not NoneType"),
        (MemoryStore, KEY, {}, "store must be a Store"),
        (MemoryStore(), bytes(32), {}, "sealing_key must be SealingKey, not bytes"),
        (MemoryStore(), KEY, {"period": 0}, "period must be 1 to 31536000, not 0"),
        (MemoryStore(), KEY, {"period": None}, "period must be int, not NoneType"),
        (MemoryStore(), KEY, {"period": 5, "ticket_lifetime": 6}, "at most the period, 5 seconds"),
    ],
)
def test_wrong_argument_is_refused(store: Any, key: Any, own: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        host(store, key, **own)


def test_hosts_of_other_lifetimes_are_refused_at_start(clock: Clock) -> None:
    store = Shared()
    host(store)
    with pytest.raises(ValueError, match="need the same period and ticket_lifetime"):
        host(store, ticket_lifetime=60)
    assert host(store).ticket_lifetime == PERIOD


def test_host_that_learns_later_of_other_lifetimes_goes_on_alone(
    clock: Clock, warnings_of: list[str]
) -> None:
    store = Shared()
    store.die()
    alone = host(store, ticket_lifetime=60)
    store.live()
    host(store)
    before = secrets(alone)
    warnings_of.clear()
    _callbacks.last_warning.clear()
    alone.expire()
    assert secrets(alone) == before
    (warning,) = warnings_of
    assert "here they are 21600 and 60 seconds, there 21600 and 21600" in warning


def test_hosts_of_other_periods_do_not_meet(clock: Clock) -> None:
    store = Shared()
    one, other = host(store), host(store, period=3600)
    assert currents([one]) != currents([other])
    assert errors([one, other]) == 0


# -- agreement --------------------------------------------------------------------------------


@each_version
def test_ticket_of_any_host_resumes_at_any_other(
    priority: str, clock: Clock, certificates: Certificates
) -> None:
    store = Shared()
    rings = [host(store) for _ in range(4)]
    servers = [setting(certificates, ring.table, priority) for ring in rings]
    before: list[bytes | None] = []
    for half in range(6):
        clock.go_to(EPOCH + half / 2)
        look(rings)
        tickets = [server.connect()[0] for server in servers]
        for data in tickets + before:
            assert {server.connect(data)[1] for server in servers} == {(True, True)}
        before = tickets
    assert errors(rings) == 0


def test_each_epoch_has_random_keys_that_all_hosts_use(clock: Clock) -> None:
    store = Shared()
    rings = [host(store) for _ in range(8)]
    seen: list[bytes] = []
    for steps in range(20):
        clock.go_to(EPOCH + steps)
        (current,) = currents(rings)
        seen.append(current)
        assert all(secrets(ring)[1:2] == seen[-2:-1] for ring in rings[1:] if steps)
        look(rings[steps % 8 :])
        clock.go_to(EPOCH + steps + 0.5)
        look(rings)
        for ring in rings:
            assert secrets(ring)[-1] == secrets(rings[0])[-1], "known ahead"
    assert len(set(seen)) == 20
    assert errors(rings) == 0
    for one, following in pairwise(seen):
        assert ratchet(one) != following, "random, and not made from one another"


def test_keys_are_published_half_a_period_before_their_use(clock: Clock) -> None:
    store = Shared()
    ring = host(store)
    clock.go_to(EPOCH + 0.499)
    ring.expire()
    assert stored(store, EPOCH + 1) is None
    clock.go_to(EPOCH + 0.5)
    ring.expire()
    found = stored(store, EPOCH + 1)
    assert found is not None
    assert stored(store, EPOCH + 2) is None
    late = host(store)
    clock.go_to(EPOCH + 1)
    assert currents([ring, late]) == {bytes(ffi.buffer(found.chain.datum.data, 32))}


def test_entries_live_until_their_last_ticket_has_ended(clock: Clock) -> None:
    store = Shared()
    clock.go_to(EPOCH + 0.75)
    host(store)
    added = {call[1]: call[3] for call in store.calls if call[0] == "add"}
    assert added == {name(EPOCH): 1.25 * PERIOD, name(EPOCH + 1): 2.25 * PERIOD}


def test_look_costs_one_question_and_in_the_second_half_two(clock: Clock) -> None:
    store = Shared()
    ring = host(store)
    clock.go_to(EPOCH + 1)
    ring.expire()
    store.verbs()
    ring.expire()
    assert store.verbs() == ["get"]
    clock.go_to(EPOCH + 1.5)
    ring.expire()
    store.verbs()
    ring.expire()
    assert store.verbs() == ["get", "get"]


def test_host_that_has_missed_the_publication_follows_when_it_looks(clock: Clock) -> None:
    store = Shared()
    one, other = host(store), host(store)
    clock.go_to(EPOCH + 0.5)
    one.expire()
    clock.go_to(EPOCH + 1)
    assert len(currents([one, other])) == 2
    other.expire()
    assert len(currents([one, other])) == 1
    assert secrets(other)[1] == secrets(one)[1]


def test_late_host_knows_the_epoch_before(clock: Clock) -> None:
    store = Shared()
    one = host(store)
    clock.go_to(EPOCH + 0.5)
    one.expire()
    clock.go_to(EPOCH + 1)
    one.expire()
    assert secrets(host(store)) == secrets(one)


def test_host_that_began_alone_learns_the_epoch_before(clock: Clock) -> None:
    store = Shared()
    one = host(store)
    clock.go_to(EPOCH + 0.5)
    one.expire()
    clock.go_to(EPOCH + 1)
    store.die()
    other = host(store)
    store.live()
    other.expire()
    assert secrets(other)[0] == secrets(one)[0]
    assert secrets(one)[1] in secrets(other)
    assert errors([other]) == 1, "while the store was dead"


@pytest.mark.parametrize("moment", [0.1, 0.6])
def test_founders_at_once_agree(moment: float, clock: Clock) -> None:
    """Eight threads, each of which has found nothing before any has added."""
    store = Shared()
    clock.go_to(EPOCH + moment)
    start = threading.Barrier(8)
    asked = threading.local()

    def all_together(answer: Any) -> Any:
        if not hasattr(asked, "once"):
            asked.once = True
            start.wait(20)
        return answer

    store.answers["get"] = all_together
    rings: list[TicketKeyRing] = []
    threads = [threading.Thread(target=lambda: rings.append(host(store))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(rings) == 8
    assert len(currents(rings)) == 1
    clock.go_to(EPOCH + 1)
    if moment > 0.5:
        assert len(currents(rings)) == 1
    assert errors(rings) == 0


# -- faults -----------------------------------------------------------------------------------


def test_store_that_is_dead_from_the_start_stops_nobody(
    clock: Clock, certificates: Certificates, warnings_of: list[str]
) -> None:
    store = Shared()
    store.die()
    rings = [host(store) for _ in range(3)]
    assert errors(rings) == 3
    for steps in range(3):
        clock.go_to(EPOCH + steps + 0.5)
        look(rings)
        for ring in rings:
            server = setting(certificates, ring.table)
            data, _ = server.connect()
            assert server.connect(data)[1] == (True, True)
    assert len(currents(rings)) == 3, "nobody has invented shared keys"
    assert warnings_of == ["the source of the ticket keys failed: DeadError"]
    store.live()
    count = errors(rings)
    look(rings)
    assert len(currents(rings)) == 1
    assert errors(rings) == count
    clock.go_to(EPOCH + 4)
    assert len(currents(rings)) == 1


def test_while_the_store_is_silent_all_go_on_from_the_last_record(clock: Clock) -> None:
    store = Shared()
    rings = [host(store) for _ in range(3)]
    store.die()
    for steps in range(1, 5):
        clock.go_to(EPOCH + steps + 0.9)
        look(rings)
        assert len({tuple(secrets(ring)) for ring in rings}) == 1
    store.live()
    look(rings)
    before = secrets(rings[0])[0]
    clock.go_to(EPOCH + 5)
    (after,) = currents(rings)
    assert after != ratchet(before), "random keys again"


@pytest.mark.parametrize("moment", [0.1, 0.9])
def test_store_that_is_emptied_is_filled_again(moment: float, clock: Clock) -> None:
    store = Shared()
    rings = [host(store) for _ in range(3)]
    clock.go_to(EPOCH + moment)
    look(rings)
    before = [secrets(ring) for ring in rings]
    store.memory.clear()
    rings[1].expire()
    assert secrets(host(store)) == before[0]
    look(rings)
    assert [secrets(ring) for ring in rings] == before
    assert errors(rings) == 0


@pytest.mark.parametrize("moment", [0.1, 0.9])
@pytest.mark.parametrize("first", ["newcomer", "old"])
def test_host_that_has_begun_alone_and_the_others_agree_again(
    first: str, moment: float, clock: Clock
) -> None:
    """Whoever comes first to the store, which has lost everything."""
    store = Shared()
    old = [host(store) for _ in range(2)]
    clock.go_to(EPOCH + moment)
    look(old)
    store.memory.clear()
    store.die()
    new = host(store)
    store.live()
    rings = [new, *old] if first == "newcomer" else [*old, new]
    look(rings)
    look(rings)
    assert len(currents(rings)) == 1
    assert errors(rings) == 1, "while the store was dead"
    for epoch in (EPOCH + 1, EPOCH + 2):
        clock.go_to(epoch)
        look(rings)
        assert len(currents(rings)) == 1


def test_hosts_agree_with_the_store_however_often_it_changes_its_mind(clock: Clock) -> None:
    store = Shared()
    store.die()
    rings = [host(store) for _ in range(4)]
    store.live()
    entries = []
    for ring in rings:
        ring.expire()
        entries.append(store.memory.get(name(EPOCH)))
        store.memory.clear()
    for entry in entries * 2:
        assert entry is not None
        store.memory.put(name(EPOCH), entry, 100)
        look(rings)
        found = stored(store, EPOCH)
        assert found is not None
        assert currents(rings) == {bytes(ffi.buffer(found.chain.datum.data, 32))}
    assert all(len(set(secrets(ring))) == len(secrets(ring)) for ring in rings)


def test_half_of_the_hosts_miss_the_publication_before_the_store_is_emptied(clock: Clock) -> None:
    store = Shared()
    rings = [host(store) for _ in range(4)]
    clock.go_to(EPOCH + 0.5)
    look(rings[:2])
    store.memory.clear()
    store.die()
    clock.go_to(EPOCH + 1)
    assert len(currents(rings)) == 2
    store.live()
    look(rings[::-1])
    look(rings)
    assert len(currents(rings)) == 1
    assert errors(rings) == 0


ENTRIES: dict[str, Any] = {
    "nothing": b"",
    "short": b"x",
    "random": bytes(range(256)),
    "huge": bytes(10_000_000),
    "text": "text",
    "number": 7,
    "list": [b"x"],
}


@pytest.mark.parametrize("value", ENTRIES.values(), ids=ENTRIES)
def test_garbage_is_replaced_and_never_used(value: Any, clock: Clock) -> None:
    store = Shared()
    rings = [host(store) for _ in range(2)]
    (before,) = currents(rings)
    store.answers["get"] = lambda answer: answer and value
    look(rings)
    newcomer = host(store)
    assert currents(rings) == {before}
    store.answers.clear()
    look([*rings, newcomer])
    look([*rings, newcomer])
    assert len(currents([*rings, newcomer])) == 1
    assert errors([*rings, newcomer]) == 0


@pytest.mark.parametrize("moment", [0.2, 0.7])
@pytest.mark.parametrize("damage", ["flipped", "cut", "swapped", "unsealed", "session", "record"])
def test_damaged_entry_is_replaced_and_never_used(damage: str, moment: float, clock: Clock) -> None:
    store = Shared()
    rings = [host(store) for _ in range(2)]
    clock.go_to(EPOCH + moment)
    look(rings)
    before = [secrets(ring) for ring in rings]
    whole = store.memory.get(name(EPOCH))
    assert whole is not None
    for epoch, other in ((EPOCH, EPOCH + 1), (EPOCH + 1, EPOCH)):
        record, others = (TicketKeyRecord.generate(start=start) for start in (epoch, other))
        wrong = {
            "flipped": whole[:-30] + bytes([whole[-30] ^ 1]) + whole[-29:],
            "cut": whole[:-1],
            "swapped": sealed(others, other, KEY, Kind.TICKET_KEYS),
            "unsealed": sealed(record, epoch, None, Kind.TICKET_KEYS),
            "session": sealed(record, epoch, KEY, Kind.SERVER_ENTRY),
            "record": sealed(others, epoch, KEY, Kind.TICKET_KEYS),
        }
        store.memory.put(name(epoch), wrong[damage], 1000)
    rings[0].expire()
    assert secrets(rings[0]) == before[0]
    assert secrets(host(store)) == before[0]
    look(rings)
    assert [secrets(ring) for ring in rings] == before
    assert errors(rings) == 0


def test_entries_swapped_between_epochs_are_not_used(clock: Clock) -> None:
    store = Shared()
    ring = host(store)
    clock.go_to(EPOCH + 0.5)
    ring.expire()
    before = secrets(ring)
    entries = [store.memory.get(name(epoch)) for epoch in (EPOCH + 1, EPOCH)]
    for epoch, entry in zip((EPOCH, EPOCH + 1), entries, strict=True):
        assert entry is not None
        store.memory.put(name(epoch), entry, 1000)
    newcomer = host(store)
    look([ring, newcomer])
    look([ring, newcomer])
    assert len(currents([ring, newcomer])) == 1
    assert secrets(ring)[0] in {before[0], secrets(newcomer)[0]}
    assert before[1] != secrets(ring)[0]


def test_entry_of_a_later_version_is_left_alone(clock: Clock, warnings_of: list[str]) -> None:
    store = Shared()
    ring = host(store)
    entry = store.memory.get(name(EPOCH))
    assert entry is not None
    later = entry[:4] + bytes([entry[4] + 1]) + entry[5:]
    store.memory.put(name(EPOCH), later, 1000)
    before = secrets(ring)
    newcomer = host(store)
    look([ring, newcomer])
    assert secrets(ring) == before
    assert store.memory.get(name(EPOCH)) == later
    assert errors([ring, newcomer]) == 3
    assert warnings_of == ["the source of the ticket keys failed: InvalidSessionError"]


@pytest.mark.parametrize("answer", [None, 0, "yes", True])
def test_store_that_says_it_has_kept_and_has_not_stops_nobody(answer: Any, clock: Clock) -> None:
    store = Shared()
    store.answers["add"] = lambda _: answer
    store.answers["get"] = lambda _: None
    rings = [host(store) for _ in range(2)]
    clock.go_to(EPOCH + 0.5)
    look(rings)
    store.answers.clear()
    look(rings)
    look(rings)
    assert len(currents(rings)) == 1
    assert errors(rings) == 0


def test_full_store_stops_nobody(clock: Clock) -> None:
    """``add`` says no, and keeps nothing."""
    store = Shared()
    store.memory = MemoryStore(max_bytes=100)
    rings = [host(store) for _ in range(2)]
    for steps in range(3):
        clock.go_to(EPOCH + steps + 0.5)
        look(rings)
        assert len(secrets(rings[0])) >= 2
    assert errors(rings) == 0


@pytest.mark.parametrize("verb", ["get", "put", "add", "remove"])
def test_verb_that_fails_alone_stops_nobody(verb: str, clock: Clock) -> None:
    store = Shared()
    store.dead = {verb}
    rings = [host(store) for _ in range(2)]
    for steps in range(4):
        clock.go_to(EPOCH + steps / 2)
        look(rings)
        assert len(secrets(rings[0])) >= 2
    store.live()
    look(rings)
    look(rings)
    assert len(currents(rings)) == 1


def test_no_handshake_waits_for_the_store(
    clock: Clock, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Shared()
    ring = host(store)
    asked, go_on = threading.Event(), threading.Event()

    def hang(answer: Any) -> Any:
        asked.set()
        go_on.wait(60)
        return answer

    store.answers["get"] = hang
    threads = [threading.Thread(target=it, daemon=True) for it in (ring.expire, suppressed(ring))]
    try:
        for thread in threads:
            thread.start()
        assert asked.wait(20)
        server = setting(certificates, ring.table)
        for steps in range(4):
            clock.go_to(EPOCH + steps)
            data, _ = server.connect()
            assert server.connect(data)[1] == (True, True)
            assert ring.current.number == EPOCH + steps
    finally:
        go_on.set()
        for thread in threads:
            thread.join(20)


def suppressed(ring: TicketKeyRing) -> Callable[[], None]:
    def rotate() -> None:
        with suppress(Exception):
            ring.rotate()

    return rotate


# -- the sealing key --------------------------------------------------------------------------


def test_store_shows_neither_secrets_nor_epochs(clock: Clock) -> None:
    store = Shared()
    ring = host(store)
    (kept,) = [call for call in store.calls if call[0] == "add"]
    for shown in kept[1:3]:
        assert secrets(ring)[0] not in shown
        assert EPOCH.to_bytes(8) not in shown
    assert name(EPOCH) != name(EPOCH, None)


def test_other_sealing_key_is_another_ring(clock: Clock) -> None:
    store = Shared()
    rings = [host(store, key) for key in (KEY, SealingKey.generate())]
    look(rings)
    assert len(currents(rings)) == 2
    assert errors(rings) == 0


def test_sealing_key_is_changed_without_a_break(clock: Clock, certificates: Certificates) -> None:
    """First all can open what the new one seals, then all seal with it; the old one goes when no
    ticket is alive of a record that it has sealed.
    """
    store = Shared()
    new = SealingKey.generate()
    raw = bytes(range(32))
    second = SealingKey(bytes(ffi.buffer(new.datum.data, 32)), previous=KEY)
    steps = [SealingKey(raw, previous=new), second, second, new]
    rings = [host(store) for _ in range(3)]
    before = None
    for number, key in enumerate(steps):
        for place in range(3):  # host after host
            clock.go_to(EPOCH + number + 0.2 + place / 10)
            rings[place] = host(store, key)
            look(rings)
            assert len(currents(rings)) == 1, (number, place)
        servers = [setting(certificates, ring.table) for ring in rings]
        if before is not None:
            assert {server.connect(before)[1] for server in servers} == {(True, True)}
        clock.go_to(EPOCH + number + 0.9)
        look(rings)
        before, _ = servers[0].connect()
    assert errors(rings) == 0


# -- rotating on demand -----------------------------------------------------------------------


@pytest.mark.parametrize("moment", [0.2, 0.8])
def test_rotation_is_followed_by_all_hosts(
    moment: float, clock: Clock, certificates: Certificates
) -> None:
    store = Shared()
    rings = [host(store) for _ in range(4)]
    clock.go_to(EPOCH + 1 + moment)
    look(rings)
    servers = [setting(certificates, ring.table) for ring in rings]
    data, _ = servers[0].connect()
    old = {secret for ring in rings for secret in secrets(ring)}
    rings[1].rotate()
    assert servers[1].connect(data)[1] == (False, False)
    assert not old & set(secrets(rings[1]))
    look(rings)
    assert len(currents(rings)) == 1
    newcomer = host(store)
    for ring in (*rings, newcomer):
        assert not old & set(secrets(ring))
    assert servers[3].connect(data)[1] == (False, False)
    for steps in (2, 3):
        clock.go_to(EPOCH + steps)
        assert len(currents([*rings, newcomer])) == 1
        look([*rings, newcomer])
        assert len(currents([*rings, newcomer])) == 1
        assert not old & {secret for ring in rings for secret in secrets(ring)}
    assert errors(rings) == 0


@pytest.mark.parametrize("seconds", [-600, -1, 1, 600])
@pytest.mark.parametrize("moment", [0.0, 0.3])
def test_rotation_at_a_host_whose_clock_is_another_is_followed_soon(
    moment: float, seconds: int, clock: Clock
) -> None:
    store = Shared()
    rings = [host(store) for _ in range(2)]

    def at(skewed: int, work: Callable[[], None], begin: float) -> None:
        clock.seconds = begin + (seconds if skewed else 0)
        work()

    begin = (EPOCH + 1 + moment) * PERIOD - (seconds / 2 if moment == 0 else 0)
    for skewed in (0, 1, 0):
        at(skewed, rings[skewed].expire, begin)
    at(1, rings[1].rotate, begin)
    for second in (1, 2, 3):
        for skewed in (0, 1):
            at(skewed, rings[skewed].expire, begin + second)
    assert rings[0].generation == rings[1].generation
    clock.go_to(EPOCH + 2.1)
    look(rings)
    look(rings)
    assert len(currents(rings)) == 1


def test_rotations_at_once_end_in_one_key(clock: Clock) -> None:
    store = Shared()
    rings = [host(store) for _ in range(4)]
    threads = [threading.Thread(target=ring.rotate) for ring in rings for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    look(rings)
    look(rings)
    look(rings)
    assert len(currents(rings)) == 1
    assert len({ring.generation for ring in rings}) == 1
    found = stored(store, EPOCH)
    assert found is not None
    assert currents(rings) == {bytes(ffi.buffer(found.chain.datum.data, 32))}
    assert errors(rings) == 0


def test_rotation_has_a_later_generation_than_any_in_the_store(clock: Clock) -> None:
    store = Shared()
    one, other = host(store), host(store)
    for _ in range(3):
        one.rotate()
    other.rotate()
    assert other.generation == one.generation + 1
    one.expire()
    assert len(currents([one, other])) == 1


@pytest.mark.parametrize("verb", ["get", "put"])
def test_rotation_that_fails_changes_nothing(verb: str, clock: Clock) -> None:
    store = Shared()
    rings = [host(store) for _ in range(2)]
    clock.go_to(EPOCH + 0.5)
    look(rings)
    tables = [ring.table() for ring in rings]
    before = {epoch: store.memory.get(name(epoch)) for epoch in (EPOCH, EPOCH + 1)}
    store.dead = {verb}
    with pytest.raises(DeadError):
        rings[0].rotate()
    store.live()
    assert [ring.table() for ring in rings] == tables
    assert before == {epoch: store.memory.get(name(epoch)) for epoch in (EPOCH, EPOCH + 1)}
    look(rings)
    assert [ring.table() for ring in rings] == tables


def test_rotation_counts_although_old_records_cannot_be_removed(clock: Clock) -> None:
    """Nor does a newcomer take them for the newest."""
    store = Shared()
    rings = [host(store) for _ in range(2)]
    clock.go_to(EPOCH + 0.5)
    look(rings)
    old = {secret for ring in rings for secret in secrets(ring)}
    store.dead = {"remove"}
    rings[0].rotate()
    clock.go_to(EPOCH + 1)
    newcomer = host(store)
    assert newcomer.generation == rings[0].generation
    look(rings)
    assert len(currents([*rings, newcomer])) == 1
    assert not old & {secret for ring in [*rings, newcomer] for secret in secrets(ring)}


def test_backup_of_the_store_brings_no_old_keys_back(clock: Clock) -> None:
    store = Shared()
    rings = [host(store) for _ in range(2)]
    backup = store.memory.get(name(EPOCH))
    assert backup is not None
    rings[0].rotate()
    look(rings)
    before = currents(rings)
    store.memory.put(name(EPOCH), backup, 1000)
    look(rings)
    assert currents(rings) == before
    found = stored(store, EPOCH)
    assert found is not None
    assert found.generation == rings[0].generation


# -- processes --------------------------------------------------------------------------------


class Hosts:
    """Processes with a ring each, which do what they are told, all at once."""

    def __init__(self, store: Callable[[], Any], count: int) -> None:
        pairs = [socket.socketpair() for _ in range(count)]
        self._sockets = [ours for ours, _ in pairs]

        def serve(number: int) -> bytes:
            ring = host(store())
            _, theirs = pairs[number]
            while order := theirs.recv(1):
                if order == b"l":
                    ring.expire()
                elif order == b"r":
                    ring.rotate()
                theirs.send(secrets(ring)[0] + b"%d" % ring.stats["ring_source_errors"])
            return b""

        self._processes = Processes(serve, count)
        for _, theirs in pairs:
            theirs.close()

    def tell(self, order: bytes, hosts: slice = slice(None)) -> list[bytes]:
        """Each one's current secret afterwards."""
        for sock in self._sockets[hosts]:
            sock.send(order)
        answers = [sock.recv(100) for sock in self._sockets[hosts]]
        self.errors = sum(int(answer[32:]) for answer in answers)
        return [answer[:32] for answer in answers]

    def stop(self) -> None:
        for sock in self._sockets:
            sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self._processes.join()


@contextmanager
def hosts(store: Callable[[], Any], count: int = 8) -> Iterator[Hosts]:
    made = Hosts(store, count)
    try:
        yield made
    finally:
        made.stop()


def agree(made: Hosts, clock: Clock) -> set[bytes]:
    """For five epochs, each key known before it is used; returns the keys."""
    seen = set()
    for _ in range(5):
        epoch = int(clock.seconds) // PERIOD
        (current,) = set(made.tell(b"s"))
        seen.add(current)
        made.tell(b"l")
        clock.go_to(epoch + 0.6)
        made.tell(b"l")
        made.tell(b"l")
        clock.go_to(epoch + 1)
    assert len(seen) == 5
    return seen


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_processes_agree_through_a_store(kind: str, tmp_path: Path, clock: SharedClock) -> None:
    path = tmp_path / "store"
    if kind == "sqlite":
        with hosts(lambda: SQLiteStore(path, timeout=5)) as made:
            agree(made, clock)
            assert made.errors == 0
        return
    with redis_server(tmp_path) as server, hosts(lambda: RedisStore(server.url, timeout=5)) as made:
        agree(made, clock)
        assert made.errors == 0


def test_processes_agree_again_after_redis_has_lost_everything(
    tmp_path: Path, clock: SharedClock
) -> None:
    with redis_server(tmp_path) as server, hosts(lambda: RedisStore(server.url, timeout=5)) as made:
        agree(made, clock)
        for moment in (0.1, 0.7):
            epoch = int(clock.seconds) // PERIOD
            clock.go_to(epoch + moment)
            made.tell(b"l")
            server.kill()
            assert len(set(made.tell(b"l"))) == 1
            assert made.errors > 0
            clock.go_to(epoch + 1)
            assert len(set(made.tell(b"l"))) == 1, "all go on from the same record"
            server.start()
            made.tell(b"l")
            assert len(set(made.tell(b"l"))) == 1
            agree(made, clock)


def test_processes_follow_a_rotation_through_redis(tmp_path: Path, clock: SharedClock) -> None:
    with redis_server(tmp_path) as server, hosts(lambda: RedisStore(server.url, timeout=5)) as made:
        before = set(made.tell(b"s"))
        assert len(before) == 1
        (after,) = made.tell(b"r", slice(1))
        assert set(made.tell(b"l")) == {after} != before
        made.tell(b"r")  # all at once
        made.tell(b"l")
        made.tell(b"l")
        assert len(set(made.tell(b"l"))) == 1
        assert made.errors == 0


def test_sqlite_file_is_its_owners(tmp_path: Path, clock: Clock) -> None:
    """A store that is not exposed may do without a sealing key."""
    path = tmp_path / "store"
    rings = [host(SQLiteStore(path), None) for _ in range(2)]
    assert len(currents(rings)) == 1
    assert path.stat().st_mode & 0o777 == 0o600
