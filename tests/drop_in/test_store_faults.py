"""A store that fails, hangs, lies or is gone costs no handshake, on servers and on clients: what
was to be resumed is full, the reason says why, the counters add up, and the log tells no secret.
"""

import copy
import gc
import logging
import pickle
import random
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import HOST, Certificates
from redis_server import RedisServer, redis_server
from wrapped import (
    PRIORITIES,
    TLS12,
    Wire,
    client_context,
    connect,
    each_version,
    server_context,
)

from gnutls_resume import (
    DEFAULT,
    HandshakeKind,
    MemoryStore,
    MissReason,
    RedisStore,
    SealingKey,
    SSLContext,
    TicketKeyRing,
)
from gnutls_resume.binding import Credentials, Session, _callbacks
from gnutls_resume.binding import session as session_module
from gnutls_resume.resumption import lock
from gnutls_resume.stores import guard
from gnutls_resume.stores.guard import HANGING, Guard

BY_ID, FULL = HandshakeKind.RESUMED_SESSION_ID, HandshakeKind.FULL
LOOKUPS = "store_hits", "store_misses", "store_errors"
SECONDS = 20  # that anything may take
VERBS = "get", "put", "add", "push", "take", "remove"

heard: set[bytes] = set()  # by stores, and IDs of sessions: not to be found in the log


class Faulty:
    """Keeps what it is told, unless it is told to do something else."""

    private = exposed = False
    timeout = 10.0  # seconds: on a busy computer the guard is to wait

    def __init__(self, fault: Callable[[str, bytes], Any] | None = None, *verbs: str) -> None:
        self.inner = MemoryStore()
        self.fault = fault
        self.verbs = verbs or VERBS
        self.asked: list[str] = []

    def _do(self, verb: str, key: bytes, *rest: Any) -> Any:
        self.asked.append(verb)
        heard.update((key, *(one for one in rest if isinstance(one, bytes))))
        if self.fault is not None and verb in self.verbs:
            return self.fault(verb, key)
        return getattr(self.inner, verb)(key, *rest)

    def get(self, key: bytes) -> Any:
        return self._do("get", key)

    def put(self, key: bytes, value: bytes, ttl: float) -> Any:
        return self._do("put", key, value, ttl)

    def add(self, key: bytes, value: bytes, ttl: float) -> Any:
        return self._do("add", key, value, ttl)

    def push(self, key: bytes, value: bytes, ttl: float, keep: int) -> Any:
        return self._do("push", key, value, ttl, keep)

    def take(self, key: bytes) -> Any:
        return self._do("take", key)

    def remove(self, key: bytes) -> Any:
        return self._do("remove", key)


def server(certificates: Certificates, store: Any, **own: Any) -> SSLContext:
    """One that resumes by session ID alone."""
    return server_context(certificates, TLS12, sessions=store, ticket_keys=None, **own)


def bare_client(data: bytes | None = None) -> Session:
    session = Session("client", Credentials(), priority=PRIORITIES[TLS12] + ":%NO_TICKETS")
    session.server_name_set(HOST)
    if data is not None:
        session.set_data(data)
    return session


def learn(context: SSLContext) -> bytes:
    """A session to offer, which the store has, if it keeps anything."""
    made = connect(bare_client(), context)
    assert made.resumed == (False, False)
    heard.add(made.client.session.get_id())
    data = made.client.session.get_data()
    assert data is not None
    return data


def visit(context: SSLContext, data: bytes) -> Wire:
    """One connection that offers it: it succeeds, and both ends say the same."""
    made = connect(bare_client(data), context)
    heard.add(made.client.session.get_id())
    assert made.resumed in {(True, True), (False, False)}
    return made


def lookups(context: SSLContext) -> int:
    return int(sum(context.stats.get(name, 0) for name in LOOKUPS))


@pytest.fixture(autouse=True)
def log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], list[str]]]:
    """The warnings so far. After each test all that was logged is searched for secrets."""
    monkeypatch.setattr(_callbacks, "last_warning", {})
    heard.clear()
    caplog.set_level(logging.DEBUG, "gnutls_resume")
    yield lambda: [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    formatter = logging.Formatter("%(message)s")
    for record in caplog.get_records("call"):
        text = formatter.format(record)
        for secret in heard:
            assert len(secret) < 4 or not any(
                form in text
                for form in (secret.hex(), repr(secret)[2:-1], secret.decode("latin-1"))
            ), text
        assert record.levelno == logging.DEBUG or HOST not in text
    assert session_module.poisoned == 0


def wait_for(log: Callable[[], list[str]], count: int) -> list[str]:
    """The warnings, of which a thread logs some."""
    until = time.monotonic() + SECONDS
    while len(log()) < count and time.monotonic() < until:
        time.sleep(0.01)
    return log()


# -- stores that raise ------------------------------------------------------------------------


class Odd(Exception):  # noqa: N818
    """Whose text is a fault of its own."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


FAULTS: list[Callable[[bytes], Exception]] = [
    KeyError,  # with the key that was asked for: a usual way to fail
    lambda key: ValueError(f"no such key: {key!r}"),
    lambda key: OSError(5, f"cannot read {key.hex()}"),
    TypeError,
    AttributeError,
    RuntimeError,
    NotImplementedError,
    AssertionError,
    MemoryError,
    RecursionError,
    StopIteration,
    StopAsyncIteration,
    BufferError,
    EOFError,
    ZeroDivisionError,
    TimeoutError,
    ConnectionResetError,
    BlockingIOError,
    ssl.SSLError,
    ssl.SSLWantReadError,
    ssl.SSLCertVerificationError,
    UserWarning,
    Odd,
    lambda key: ExceptionGroup(repr(key), [ValueError(key)]),
]


def raising(fault: Callable[[bytes], BaseException]) -> Callable[[str, bytes], Any]:
    def fail(verb: str, key: bytes) -> None:
        raise fault(key)

    return fail


@pytest.mark.parametrize("fault", FAULTS, ids=[type(fault(b"")).__name__ for fault in FAULTS])
def test_store_that_raises_costs_a_server_no_handshake(
    certificates: Certificates, fault: Callable[[bytes], Exception], log: Callable[[], list[str]]
) -> None:
    """R-11."""
    data = learn(server(certificates, MemoryStore()))
    context = server(certificates, Faulty(raising(fault)))
    for _ in range(4):
        made = visit(context, data)
        assert made.server.handshake_kind is FULL
        assert made.server.miss_reason is MissReason.STORE_ERROR
        assert made.server._sslobj._session.db_failures == 0
    made.ends[1].incoming.write(b"\x17\3\3\0\5wrong")
    with pytest.raises(ssl.SSLError):  # its own error, not the store's
        made.server.read(1)
    stats = context.stats
    assert [stats.get(name, 0) for name in LOOKUPS] == [0, 0, 4]
    assert (stats.get("store_writes", 0), stats["store_write_errors"]) == (0, 5)
    assert stats["server_store_error"] == stats["server_full"] == stats["server_handshakes"] == 4
    assert "failed_handshakes" not in stats
    (warning,) = wait_for(log, 1)
    assert type(fault(b"")).__name__ in warning


@pytest.mark.parametrize("verb", ["get", "put", "remove"])
def test_store_of_which_one_method_raises_costs_a_server_no_handshake(
    certificates: Certificates, verb: str
) -> None:
    store = Faulty(raising(OSError), verb)
    context = server(certificates, store)
    data = learn(context)
    expected = {
        "get": (FULL, MissReason.STORE_ERROR),
        "put": (FULL, MissReason.NONE_STORED),
        "remove": (BY_ID, None),
    }[verb]
    for _ in range(3):
        made = visit(context, data)
        assert (made.server.handshake_kind, made.server.miss_reason) == expected
    assert lookups(context) == 3
    count = "store_errors" if verb == "get" else "store_write_errors"
    assert context.stats.get(count, 0) == {"get": 3, "put": 4, "remove": 0}[verb]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("verb", ["get", "put", "remove"])
def test_interrupt_in_a_servers_store_comes_out(
    certificates: Certificates, error: type[BaseException], verb: str
) -> None:
    """Ctrl-C is no fault of a store: the program is to end, not the handshake to go on."""
    store = Faulty()
    context = server(certificates, store)
    data = learn(context)
    store.fault, store.verbs = raising(error), (verb,)
    wire = Wire(bare_client(data if verb == "get" else None), context)
    call: Callable[[], Any] = wire.outcomes
    if verb == "remove":
        wire.handshake()
        wire.ends[1].incoming.write(b"\x17\3\3\0\5wrong")
        call = wire.server.read
    with pytest.raises(error):
        call()
    store.fault = None
    assert visit(context, data).resumed == (True, True), "and the next one goes on"


# -- stores that hang -------------------------------------------------------------------------


def test_store_that_hangs_delays_only_the_handshakes_that_wait_for_it(
    certificates: Certificates, log: Callable[[], list[str]]
) -> None:
    entered, go_on = threading.Event(), threading.Event()
    store = Faulty()
    store.timeout = 0.3
    context = server(certificates, store)
    data = learn(context)

    def hang(verb: str, key: bytes) -> Any:
        entered.set()
        assert go_on.wait(SECONDS)
        return store.inner.get(key)

    store.fault, store.verbs = hang, ("get",)
    waiting: list[Wire] = []
    thread = threading.Thread(target=lambda: waiting.append(visit(context, data)))
    thread.start()
    try:
        assert entered.wait(SECONDS)
        found = context._resuming.database
        assert found is not None
        assert isinstance(found.store, Guard)
        time.sleep(found.store.deadline * (HANGING + 1))  # by then it counts as hanging
        for _ in range(10):
            assert visit(context, data).server.miss_reason is MissReason.STORE_ERROR
        assert waiting == [], "they have not waited for it"
        assert context.stats["store_errors"] == 10
    finally:
        go_on.set()
        thread.join(SECONDS)
    (first,) = waiting
    assert first.resumed == (True, True), "its answer still counts"
    assert len(wait_for(log, 1)) == 1
    store.fault = None
    until = time.monotonic() + SECONDS
    while not visit(context, data).server.session_reused:  # it is asked again by and by
        assert time.monotonic() < until


# -- stores that lie --------------------------------------------------------------------------

ANSWERS: list[Any] = [
    "text", 0, 5, True, False, 1.5, (), [b"x"], {}, object, bytearray(100), memoryview(bytes(100)),
    b"", b"x", bytes(100), bytes(65_536), bytes(65_537), bytes(10_000_000),
]  # fmt: skip


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: repr(answer)[:12])
def test_server_takes_whatever_a_store_returns_for_a_miss(
    certificates: Certificates, answer: Any, log: Callable[[], list[str]]
) -> None:
    store = Faulty(lambda verb, key: answer)  # of put and remove, too
    context = server(certificates, store)
    data = learn(context)
    for _ in range(3):
        made = visit(context, data)
        assert made.server.handshake_kind is FULL
        reason = MissReason.DAMAGED if isinstance(answer, bytes) else MissReason.STORE_ERROR
        assert made.server.miss_reason is reason
    count = "store_hits" if isinstance(answer, bytes) else "store_errors"
    assert context.stats[count] == lookups(context) == 3
    assert "store_write_errors" not in context.stats
    assert len(log()) == 1, "once a minute"


@each_version
@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: repr(answer)[:12])
def test_client_takes_whatever_a_store_returns_for_a_miss(
    certificates: Certificates, answer: Any, version: ssl.TLSVersion
) -> None:
    store = Faulty(lambda verb, key: answer, "get", "take")
    client = client_context(certificates, sessions=store)
    other = server_context(certificates, version)
    for _ in range(3):
        made = connect(client, other)
        assert made.resumed == (False, False)
        assert made.client.miss_reason in {MissReason.DAMAGED, MissReason.STORE_ERROR}
    asked = sum(verb in {"get", "take"} for verb in store.asked)
    assert lookups(client) == asked
    count = "store_hits" if isinstance(answer, bytes) else "store_errors"
    assert client.stats[count] == asked


@pytest.mark.parametrize("side", ["client", "server"])
def test_counters_and_reasons_add_up_whatever_happens(
    certificates: Certificates, side: str
) -> None:
    """R-21. At each connection the store does something else."""
    chance = random.Random(12)  # noqa: S311 - the same in every run
    store = Faulty()
    context = server(certificates, store if side == "server" else MemoryStore())
    client = client_context(certificates, sessions=MemoryStore())
    client.options |= ssl.OP_NO_TICKET
    client.maximum_version = TLS12
    view: Any = context._resuming.database if side == "server" else client._resuming.cache
    view.store = store  # no guard: it is asked each time
    expected: dict[MissReason | None, int] = {}
    own = context if side == "server" else client

    behaviours: list[tuple[Callable[[str, bytes], Any], MissReason | None]] = [
        (lambda verb, key: store.inner.get(key), None),
        (lambda verb, key: None, MissReason.NONE_STORED),
        (raising(OSError), MissReason.STORE_ERROR),
        (lambda verb, key: 5, MissReason.STORE_ERROR),
        (lambda verb, key: b"rubbish", MissReason.DAMAGED),
        (lambda verb, key: store.inner.get(key)[:-1], MissReason.DAMAGED),
    ]
    connect(client, context)
    told = dict(own.stats)
    store.asked.clear()
    for _ in range(120):
        store.fault, reason = chance.choice(behaviours)
        store.verbs = ("get",)
        if side == "client":
            fault = store.fault
            answers = iter([True])  # to the search; what is kept afterwards is kept

            def once(verb: str, key: bytes, fault: Any = fault, answers: Any = answers) -> Any:
                return fault(verb, key) if next(answers, False) else store.inner.get(key)

            store.fault = once
        made = connect(client, context)
        assert made.resumed == ((reason is None),) * 2
        end = made.server if side == "server" else made.client
        assert end.miss_reason is reason
        expected[reason] = expected.get(reason, 0) + 1
        store.fault = None
    assert min(expected.values()) > 10
    now = own.stats
    for reason, count in expected.items():
        name = f"{side}_{'resumed_session_id' if reason is None else reason.name.lower()}"
        assert now[name] - told.get(name, 0) == count
    asked = sum(verb in {"get", "take"} for verb in store.asked)
    assert lookups(own) - sum(told.get(name, 0) for name in LOOKUPS) == asked
    assert now["store_errors"] == expected[MissReason.STORE_ERROR]


# -- a store that is gone ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as one:
        yield one


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_redis_that_is_gone_costs_no_handshake_and_is_used_again(
    certificates: Certificates, redis: RedisServer, how: str, log: Callable[[], list[str]]
) -> None:
    """R-12, R-13. Client and server keep their sessions there."""
    key, timeout = SealingKey.generate(), 0.1
    stores = [RedisStore(redis.url, prefix=f"{how} {end}", timeout=timeout) for end in "ab"]
    context = server(certificates, stores[0], sealing_key=key)
    client = client_context(certificates, sessions=stores[1], sealing_key=key)
    client.options |= ssl.OP_NO_TICKET
    client.maximum_version = TLS12

    def resumes() -> bool:
        made = connect(client, context)
        assert made.resumed in {(True, True), (False, False)}
        return bool(made.server.session_reused)

    def wait_until_it_resumes() -> None:
        until = time.monotonic() + SECONDS
        while not resumes():
            assert time.monotonic() < until

    wait_until_it_resumes()
    redis.kill() if how == "killed" else redis.stop()
    before = context.stats["store_seconds"] + client.stats["store_seconds"]
    for _ in range(20):
        made = connect(client, context)
        assert made.resumed == (False, False)
        assert made.client.miss_reason is MissReason.STORE_ERROR
        assert made.server.miss_reason is MissReason.NONE_OFFERED
    waited = context.stats["store_seconds"] + client.stats["store_seconds"] - before
    assert waited < 8 * timeout, "and not 60 times, nor 20"
    data = learn(server(certificates, MemoryStore()))
    assert visit(context, data).server.miss_reason is MissReason.STORE_ERROR
    redis.start() if how == "killed" else redis.cont()
    wait_until_it_resumes()
    assert "failed_handshakes" not in client.stats
    assert "failed_handshakes" not in context.stats
    assert lookups(context) == sum(context.stats.get(name, 0) for name in LOOKUPS)
    assert 1 <= len(log()) <= 2, "one line a store"


# -- what the counters say --------------------------------------------------------------------

STANDARD = {
    "number", "connect", "connect_good", "connect_renegotiate", "accept", "accept_good",
    "accept_renegotiate", "hits", "misses", "timeouts", "cache_full",
}  # fmt: skip
RING = {"ring_epoch", "ring_accepted", "ring_rotations", "ring_source_errors"}


def test_numbers_of_a_server_and_of_its_client(certificates: Certificates) -> None:
    context = server(certificates, Faulty())
    assert dict(context.stats) == {}
    client = client_context(certificates, sessions=Faulty())
    client.options |= ssl.OP_NO_TICKET
    client.maximum_version = TLS12
    for _ in range(3):
        connect(client, context)
    visit(context, learn(server(certificates, MemoryStore())))  # of another store
    counted = dict(context.stats)
    assert counted.pop("store_seconds") > 0
    assert counted == {
        "server_started": 4,
        "server_handshakes": 4,
        "server_full": 2,
        "server_resumed_session_id": 2,
        "server_none_offered": 1,
        "server_none_stored": 1,
        "store_hits": 2,
        "store_misses": 1,
        "store_writes": 2,
    }
    counted = dict(client.stats)
    assert counted.pop("store_seconds") > 0
    assert counted == {
        "client_started": 3,
        "client_handshakes": 3,
        "client_full": 1,
        "client_resumed_session_id": 2,
        "client_none_stored": 1,
        "store_hits": 2,
        "store_misses": 2,  # the second before it was kept: is there a mark?
        "store_writes": 1,
    }
    assert context.session_stats() == {
        **dict.fromkeys(STANDARD, 0), "accept": 4, "accept_good": 4, "hits": 2, "misses": 1,
    }  # fmt: skip
    assert client.session_stats() == {
        **dict.fromkeys(STANDARD, 0), "connect": 3, "connect_good": 3, "hits": 2,
    }  # fmt: skip
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).session_stats()
    assert theirs.keys() == context.session_stats().keys() == STANDARD


def test_numbers_are_read_only_and_of_their_moment(certificates: Certificates) -> None:
    context = server(certificates, Faulty())
    before = context.stats
    learn(context)
    assert before == {}
    with pytest.raises(TypeError):
        before["store_hits"] = 5  # type: ignore[index]
    context.session_stats()["hits"] = 5
    assert context.session_stats()["hits"] == 0


def test_ring_is_told_of_servers_alone() -> None:
    assert SSLContext(ssl.PROTOCOL_TLS_SERVER).stats.keys() >= RING
    assert not RING & SSLContext(ssl.PROTOCOL_TLS_SERVER, ticket_keys=None).stats.keys()
    assert not RING & SSLContext(ssl.PROTOCOL_TLS_CLIENT).stats.keys()
    ring = TicketKeyRing()
    context = SSLContext(ssl.PROTOCOL_TLS_SERVER, ticket_keys=ring)
    assert {name: context.stats[name] for name in RING} == ring.stats


# -- what a server is given -------------------------------------------------------------------


class Exposed(Faulty):
    exposed = True


class Without:
    """It cannot take."""

    exposed = private = False

    def get(self, *_: object) -> None: ...

    put = add = push = remove = get


WRONG: list[tuple[Any, type[Exception], str]] = [
    (Exposed(), ValueError, "sessions: others can read this store; give a sealing_key="),
    (MemoryStore, TypeError, "sessions must be a Store, not type"),
    (Faulty, TypeError, "sessions must be a Store, not type"),
    (Without(), TypeError, "sessions must be a Store, not Without"),
    ({}, TypeError, "sessions must be a Store, not dict"),
    ("sessions.db", TypeError, "sessions must be a Store, not str"),
    (True, TypeError, "sessions must be a Store, not bool"),
]


@pytest.mark.parametrize(("sessions", "kind", "text"), WRONG, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("protocol", [ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT])
def test_what_is_no_store_is_refused(
    protocol: int, sessions: Any, kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind) as caught:
        SSLContext(protocol, sessions=sessions)
    assert str(caught.value) == text
    assert type(caught.value) is kind


def test_exposed_store_is_taken_with_a_sealing_key(certificates: Certificates) -> None:
    store = Exposed()
    context = server(certificates, store, sealing_key=SealingKey.generate())
    assert visit(context, learn(context)).resumed == (True, True)


@pytest.mark.parametrize("sessions", [DEFAULT, None], ids=["DEFAULT", "None"])
def test_server_without_a_store_keeps_nothing(certificates: Certificates, sessions: Any) -> None:
    """The process's own store is for its clients."""
    context = server(certificates, sessions, sealing_key=SealingKey.generate())
    data = learn(context)
    made = visit(context, data)
    assert made.server.miss_reason is MissReason.DISABLED
    assert not {name for name in context.stats if name.startswith("store_")}


def test_sealing_key_that_was_wiped_costs_no_handshake(certificates: Certificates) -> None:
    key = SealingKey.generate()
    context = server(certificates, Exposed(), sealing_key=key)
    data = learn(context)
    key.wipe()
    for _ in range(2):
        made = visit(context, data)
        assert made.server.miss_reason is MissReason.STORE_ERROR
    assert context.stats["store_errors"] == 2


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_context_cannot_be_copied(duplicate: Callable[[Any], Any]) -> None:
    """R-37. As the standard library's: no copy goes on with keys of another policy."""
    for context in (
        SSLContext(ssl.PROTOCOL_TLS_SERVER, sessions=MemoryStore()),
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
    ):
        with pytest.raises(TypeError, match="cannot pickle 'SSLContext' object"):
            duplicate(context)


def test_contexts_that_are_made_and_dropped_leave_nothing(certificates: Certificates) -> None:
    """Libraries make one for every connection."""
    store = Faulty()
    context = server(certificates, store)
    data = learn(context)
    assert visit(context, data).resumed == (True, True)

    def held() -> tuple[int, ...]:
        gc.collect()
        return len(guard._all_circuits), len(guard._circuits_of), len(lock.locks)

    before = held()
    dropped: list[weakref.ref[SSLContext]] = []
    for number in range(1000):
        one = SSLContext(ssl.PROTOCOL_TLS_SERVER, sessions=store, ticket_keys=None)
        if number % 100 == 0:
            one = server(certificates, store)
            assert visit(one, data).resumed == (True, True)
        dropped.append(weakref.ref(one))
    del one
    assert held() == before
    assert [one for one in dropped if one() is not None] == []
    assert visit(context, data).resumed == (True, True)
