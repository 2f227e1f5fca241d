"""Callers' functions that GnuTLS calls: what they may do, what they are told, what their
exceptions and wrong answers lead to.

The file is long because every kind of exception is tried in every kind of callback.
"""

import asyncio
import faulthandler
import gc
import logging
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from conftest import HOST, Certificates
from pair import TLS12, TLS13, Pair, Setting, in_thread

from gnutls_resume.binding import (
    AlertLevel,
    AntiReplay,
    CertificateRequest,
    CertificateStatus,
    ChannelBinding,
    Credentials,
    HandshakeType,
    HookTime,
    InitFlag,
    MemoryTransport,
    Protocol,
    Sealing,
    SealingKey,
    Session,
    SessionFlag,
    Shutdown,
    TicketKey,
    TicketSecret,
    _callbacks,
)
from gnutls_resume.binding._ffi import lib
from gnutls_resume.errors import (
    AlertError,
    GnuTLSError,
    InvalidReason,
    InvalidSessionError,
    MisuseError,
    PrematureTerminationError,
    VerificationError,
    WantReadError,
    WantWriteError,
)

BAD_CERTIFICATE, INTERNAL_ERROR = 42, 80  # RFC 8446 §6
LOGGER = "gnutls_resume"

Role = Literal["client", "server"]
Function = Callable[..., Any]


class CustomError(Exception):
    pass


class CustomBaseError(BaseException):
    pass


EXCEPTIONS = [
    CustomError("custom"),
    ValueError("value"),
    TypeError("type"),
    KeyError("key"),
    AttributeError("attribute"),
    AssertionError("assertion"),
    MemoryError(),
    RecursionError("recursion"),
    StopIteration("stop"),
    StopAsyncIteration("stop"),
    RuntimeError("runtime"),
    ZeroDivisionError("zero"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "start byte"),
    ExceptionGroup("group", [CustomError("one"), KeyError("two")]),
    GnuTLSError("gnutls"),
    MisuseError("misuse"),
    InvalidSessionError(InvalidReason.EXPIRED),
    PrematureTerminationError("premature"),
    VerificationError("verification"),
]
# What the socket or the peer of this very session raises as well: not to be mixed up with it.
ALIKE = [
    OSError(5, "i/o"),
    FileNotFoundError(2, "no file"),
    ConnectionResetError(104, "reset"),
    TimeoutError("time"),
    AlertError("alert"),
    WantReadError("read"),
    WantWriteError("write"),
]
BASE_EXCEPTIONS = [
    CustomBaseError("base"),
    KeyboardInterrupt("interrupt"),
    SystemExit(3),
    GeneratorExit("exit"),
    asyncio.CancelledError("cancelled"),
    BaseExceptionGroup("group", [KeyboardInterrupt()]),
]


def name_of(value: object) -> str:
    plain = isinstance(value, BaseException) or type(value) is object
    return type(value).__name__ if plain else str(value)


any_exception = pytest.mark.parametrize("exception", EXCEPTIONS + ALIKE, ids=name_of)
any_base_exception = pytest.mark.parametrize("exception", BASE_EXCEPTIONS, ids=name_of)


def raising(exception: BaseException) -> Function:
    def function(*_: object) -> None:
        raise exception

    return function


def ignore(*_: object) -> None:
    pass


@pytest.fixture(autouse=True)
def nothing_is_left(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """No exception for the next call, nothing on the terminal; warnings begin afresh."""
    monkeypatch.setattr(_callbacks, "last_warning", {})
    yield
    assert _callbacks.stray.error is None
    assert capfd.readouterr().err == ""


# -- the session database ---------------------------------------------------------------------


@dataclass
class Database:
    """A server's database of which one function may be broken; keeps what it was asked."""

    broken: str = ""
    function: Function = ignore
    watch: Callable[[str], object] = ignore
    entries: dict[bytes, bytes] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def _called(self, name: str, working: Function) -> Function:
        def function(*arguments: bytes) -> object:
            self.calls.append(name)
            self.watch(name)
            return (self.function if name == self.broken else working)(*arguments)

        return function

    def setting(self, certificates: Certificates) -> Setting:
        functions = {
            "store": self._called("store", self.entries.__setitem__),
            "retrieve": self._called("retrieve", self.entries.get),
            "remove": self._called("remove", lambda key: self.entries.pop(key, None)),
        }
        return Setting(
            certificates,
            TLS12,
            client_flags=InitFlag.NO_TICKETS,
            prepare=lambda _, server: server.db_set_functions(**functions),
        )


DATABASE = ["store", "retrieve", "remove"]


@any_exception
@pytest.mark.parametrize("name", DATABASE)
def test_failing_database_costs_no_connection(
    name: str,
    exception: Exception,
    certificates: Certificates,
    caplog: pytest.LogCaptureFixture,
) -> None:
    database = Database()
    setting = database.setting(certificates)
    data, _ = setting.connect()
    database.broken, database.function = name, raising(exception)
    with setting.pair(None if name == "store" else data) as pair:
        pair.handshake()
        pair.exchange()
        assert pair.resumed == ((True, True) if name == "remove" else (False, False))
        if name == "remove":
            pair.server.db_remove_session()
            pair.exchange()
        assert pair.server.db_failures == 1
        assert pair.server.db_error is exception
    assert database.calls.count(name) == (2 if name == "store" else 1)
    (record,) = caplog.records
    assert (record.name, record.levelno) == (LOGGER, logging.WARNING)
    message = f"the session database's {name} failed: {type(exception).__name__}: {exception}"
    assert record.getMessage() == message


@any_base_exception
def test_base_exception_of_retrieve_comes_out(
    exception: BaseException, certificates: Certificates
) -> None:
    database = Database()
    setting = database.setting(certificates)
    data, _ = setting.connect()
    database.broken, database.function = "retrieve", raising(exception)
    with setting.pair(data) as pair:
        client, server = pair.outcomes()
        assert server is exception
        assert isinstance(client, AlertError)
        assert client.alert == INTERNAL_ERROR
        assert pair.server.db_failures == 0


@any_base_exception
def test_base_exception_of_store_comes_out(
    exception: BaseException, certificates: Certificates
) -> None:
    setting = Database("store", raising(exception)).setting(certificates)
    with setting.pair() as pair:
        client, server = pair.outcomes()
        assert client is None, "it was complete before the server stored it"
        assert server is exception
        with pytest.raises(AlertError):
            pair.client.record_recv()
        assert pair.server.db_failures == 0


@any_base_exception
def test_base_exception_of_remove_comes_out(
    exception: BaseException, certificates: Certificates
) -> None:
    setting = Database("remove", raising(exception)).setting(certificates)
    with setting.pair() as pair:
        pair.handshake()
        with pytest.raises(type(exception)) as caught:
            pair.server.db_remove_session()
        assert caught.value is exception
        assert pair.server.db_failures == 0
        pair.exchange()


def test_failures_are_logged_once_a_minute_and_kind(
    certificates: Certificates,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 5.0
    monkeypatch.setattr(_callbacks, "time", SimpleNamespace(monotonic=lambda: now))
    database = Database()
    setting = database.setting(certificates)
    data, _ = setting.connect()

    def fail(name: str) -> int:
        database.broken, database.function = name, raising(CustomError(name))
        caplog.clear()
        with setting.pair(data if name == "retrieve" else None) as pair:
            pair.handshake()
            assert pair.server.db_failures == 1
        return len(caplog.records)

    for now, logged in ((5.0, 1), (5.0, 0), (64.9, 0), (65.0, 1), (124.9, 0), (125.0, 1)):
        assert fail("retrieve") == logged, now
    assert [fail("store"), fail("store"), fail("retrieve")] == [1, 0, 0]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("text", TypeError),
        (5, TypeError),
        (True, TypeError),
        (["data"], TypeError),
        (b"", ValueError),
        (b"G" * 65_537, ValueError),
        (bytes(1 << 24), ValueError),
        (b"garbage", InvalidSessionError),
        (bytearray(b"GTLS"), InvalidSessionError),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_wrong_answer_of_retrieve_is_a_miss(
    answer: object,
    error: type[Exception],
    certificates: Certificates,
    caplog: pytest.LogCaptureFixture,
) -> None:
    database = Database()
    setting = database.setting(certificates)
    data, _ = setting.connect()
    database.broken, database.function = "retrieve", lambda _: answer
    with setting.pair(data) as pair:
        pair.handshake()
        pair.exchange()
        assert pair.resumed == (False, False)
        assert pair.server.db_failures == 1
        assert type(pair.server.db_error) is error
    assert len(caplog.records) == 1


def test_entry_may_come_back_in_any_bytes_like_object(certificates: Certificates) -> None:
    database = Database()
    setting = database.setting(certificates)
    data, _ = setting.connect()
    database.broken = "retrieve"
    for kind in (bytes, bytearray, memoryview):
        database.function = lambda key, kind=kind: kind(database.entries[key])
        _, resumed = setting.connect(data)
        assert resumed == (True, True)


@pytest.mark.parametrize("name", ["store", "remove"])
@pytest.mark.parametrize("answer", [None, "junk", -1, 5, b"junk", object()], ids=name_of)
def test_what_store_and_remove_return_means_nothing(
    name: str, answer: object, certificates: Certificates
) -> None:
    setting = Database(name, lambda *_: answer).setting(certificates)
    with setting.pair() as pair:
        pair.handshake()
        pair.server.db_remove_session()
        pair.exchange()
        assert pair.server.db_failures == 0


# -- hooks, and what else may end a handshake -------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where a caller's function runs."""

    id: str
    role: Role
    set: Callable[[Session, Function], None]
    priority: str = TLS12


def hook(role: Role, kind: HandshakeType, when: HookTime, priority: str = TLS12) -> Place:
    def set_it(session: Session, function: Function) -> None:
        session.handshake_set_hook_function(kind, when, function)

    return Place(f"{role}-{kind.name}-{when.name}-{priority[-3:]}", role, set_it, priority)


POST_CLIENT_HELLO = Place(
    "post_client_hello", "server", Session.handshake_set_post_client_hello_function
)
VERIFY = Place("verify", "client", Session.set_verify_function)
ENDING = [
    *(
        hook("server", HandshakeType.CLIENT_HELLO, when, priority=priority)
        for when in HookTime
        for priority in (TLS12, TLS13)
    ),
    *(hook("client", HandshakeType.CLIENT_HELLO, when) for when in HookTime),
    *(
        hook("server", kind, when)
        for kind in (HandshakeType.SERVER_HELLO, HandshakeType.FINISHED)
        for when in HookTime
    ),
    hook("server", HandshakeType.SERVER_HELLO, HookTime.PRE, priority=TLS13),
    hook("client", HandshakeType.SERVER_HELLO, HookTime.PRE),
    hook("client", HandshakeType.CERTIFICATE, HookTime.POST, priority=TLS13),
    hook("client", HandshakeType.FINISHED, HookTime.PRE, priority=TLS13),
    POST_CLIENT_HELLO,
    replace(POST_CLIENT_HELLO, id="post_client_hello-1.3", priority=TLS13),
    VERIFY,
    replace(VERIFY, id="verify-1.3", priority=TLS13),
]
each_place = pytest.mark.parametrize("place", ENDING, ids=lambda place: place.id)


def outcomes(
    certificates: Certificates, place: Place, function: Function
) -> tuple[BaseException | None, BaseException | None]:
    """What comes out of the handshake where `function` runs, and what the peer gets."""
    setting = Setting(certificates, place.priority, server_name=None)

    def prepare(client: Session, server: Session) -> None:
        place.set(client if place.role == "client" else server, function)

    setting.prepare = prepare
    with setting.pair() as pair:
        client, server = pair.outcomes()
    return (client, server) if place.role == "client" else (server, client)


def assert_told(error: BaseException | None, alert: int = INTERNAL_ERROR) -> None:
    """The peer knows that it is over, and need not guess from the end of the connection."""
    assert isinstance(error, AlertError)
    assert error.alert == alert


@each_place
@pytest.mark.parametrize("exception", [*EXCEPTIONS, *BASE_EXCEPTIONS], ids=name_of)
def test_exception_of_a_hook_ends_the_handshake_at_both_ends(
    place: Place, exception: BaseException, certificates: Certificates
) -> None:
    ours, peers = outcomes(certificates, place, raising(exception))
    assert ours is exception
    assert_told(peers)


@pytest.mark.parametrize("place", [POST_CLIENT_HELLO, VERIFY], ids=lambda place: place.id)
@pytest.mark.parametrize(
    "exception", [one for one in ALIKE if not isinstance(one, WantReadError)], ids=name_of
)
def test_exception_that_a_socket_may_raise_too_is_told_to_the_peer(
    place: Place, exception: BaseException, certificates: Certificates
) -> None:
    ours, peers = outcomes(certificates, place, raising(exception))
    assert ours is exception
    assert_told(peers)


def test_hook_that_would_block_ends_the_handshake(certificates: Certificates) -> None:
    setting = Setting(certificates)
    setting.prepare = lambda _, server: server.handshake_set_post_client_hello_function(
        raising(WantReadError("of another session"))
    )
    with setting.pair() as pair:
        with pytest.raises(WantReadError):
            pair.client.handshake()
        pair.move()
        with pytest.raises(GnuTLSError):
            pair.server.handshake()
        pair.move()
        with pytest.raises(AlertError):
            pair.client.handshake()


@each_place
@pytest.mark.parametrize("answer", [None, False, -1, 5, "junk", object()], ids=name_of)
def test_what_a_hook_returns_means_nothing_but_to_verify(
    place: Place, answer: object, certificates: Certificates
) -> None:
    ours, peers = outcomes(certificates, place, lambda *_: answer)
    if place.id.startswith("verify"):
        assert isinstance(ours, VerificationError)
        assert_told(peers, BAD_CERTIFICATE)
    else:
        assert (ours, peers) == (None, None)


@pytest.mark.parametrize("priority", [TLS12, TLS13])
@pytest.mark.parametrize("answer", [1, "True", [True], CertificateStatus(1 << 1)], ids=repr)
def test_only_true_accepts_a_certificate(
    answer: object, priority: str, certificates: Certificates
) -> None:
    place = replace(VERIFY, priority=priority)
    ours, peers = outcomes(certificates, place, lambda _: answer)
    assert isinstance(ours, VerificationError)
    assert_told(peers, BAD_CERTIFICATE)
    assert outcomes(certificates, place, lambda _: True) == (None, None)


def test_verify_function_of_a_server_decides_on_the_client(certificates: Certificates) -> None:
    setting = Setting(certificates, client_credentials=certificates.client_with_certificate())
    chains: list[list[bytes]] = []

    def prepare(_: Session, server: Session) -> None:
        server.certificate_server_set_request(CertificateRequest.REQUIRE)
        server.set_verify_function(verify)

    def verify(session: Session) -> bool:
        chains.append(session.certificate_get_peers())
        return verdict

    setting.prepare = prepare
    verdict = True
    with setting.pair() as pair:
        assert pair.outcomes() == (None, None)
    verdict = False
    with setting.pair() as pair:
        _, server = pair.outcomes()
        assert isinstance(server, VerificationError)
        with pytest.raises(AlertError):
            pair.client.record_recv()
    assert [len(chain) for chain in chains] == [2, 2]


@pytest.mark.parametrize("priority", [TLS12, TLS13])
def test_hook_is_told_of_a_message_before_and_after(
    priority: str, certificates: Certificates
) -> None:
    told: list[tuple[str, int, int, bool]] = []
    messages: dict[str, bytes] = {}

    def prepare(*sessions: Session) -> None:
        for session in sessions:
            for kind in (HandshakeType.CLIENT_HELLO, HandshakeType.SERVER_HELLO):
                for when in HookTime:
                    session.handshake_set_hook_function(kind, when, note)

    def note(session: Session, kind: int, when: int, incoming: bool, message: bytes) -> None:  # noqa: FBT001
        told.append((session.role, kind, when, incoming))
        if when == HookTime.PRE:
            messages[f"{session.role} {HandshakeType(kind).name}"] = message
        assert type(message) is bytes

    with Setting(certificates, priority, prepare=prepare).pair() as pair:
        pair.handshake()
    assert told == [
        (role, kind, when, incoming)
        for kind, sender in ((1, "client"), (2, "server"))
        for role, incoming in sorted(
            {("client", sender == "server"), ("server", sender == "client")},
            key=lambda one: one[1],
        )
        for when in (0, 1)
    ]
    for kind in ("CLIENT_HELLO", "SERVER_HELLO"):
        assert messages[f"client {kind}"] == messages[f"server {kind}"] != b""
    assert HOST.encode() in messages["server CLIENT_HELLO"]
    assert messages["client SERVER_HELLO"][:2] == b"\x03\x03"


def test_later_hook_for_the_same_message_replaces_the_earlier(
    certificates: Certificates,
) -> None:
    calls: list[str] = []

    def prepare(_: Session, server: Session) -> None:
        for name in ("one", "two"):
            server.handshake_set_hook_function(1, 0, lambda *_, name=name: calls.append(name))
        server.handshake_set_hook_function(20, 0, lambda *_: calls.append("finished"))

    with Setting(certificates, prepare=prepare).pair() as pair:
        pair.handshake()
    assert calls == ["two", "finished", "finished"], "one of them is the server's own"


def test_post_client_hello_function_sees_the_connection(certificates: Certificates) -> None:
    seen: list[tuple[str | None, Protocol | None, bytes | None]] = []

    def prepare(client: Session, server: Session) -> None:
        client.alpn_set_protocols([b"h2"])
        server.alpn_set_protocols([b"http/1.1", b"h2"])
        server.handshake_set_post_client_hello_function(
            lambda s: seen.append(
                (s.server_name_get(), s.protocol_get_version(), s.alpn_get_selected_protocol())
            )
        )

    setting = Setting(certificates, prepare=prepare)
    for setting.client_priority in ("NORMAL", TLS12):
        setting.server_priority = "NORMAL"
        with setting.pair() as pair:
            pair.handshake()
    assert seen == [(HOST, Protocol.TLS1_3, b"h2"), (HOST, Protocol.TLS1_2, b"h2")]


# -- settings made in a ClientHello hook ------------------------------------------------------

IN_HELLO = {
    "pre": lambda server, function: server.handshake_set_hook_function(
        1, 0, lambda s, *_: function(s)
    ),
    "post_client_hello": Session.handshake_set_post_client_hello_function,
}


@dataclass(frozen=True)
class Change:
    """A setting that a server makes when it has seen the ClientHello, and its effect."""

    id: str
    make: Callable[[Session, Certificates], object]
    shows: Callable[[Pair, Certificates], object]
    where: tuple[str, ...] = ("pre", "post_client_hello")


KEY, SECRET = TicketKey.generate(), TicketSecret.generate()
STORED: list[bytes] = []
CHANGES = [
    Change(
        "credentials_set",
        lambda s, c: s.credentials_set(c.client_with_certificate()),
        lambda p, c: p.client.certificate_get_peers()[0] != leaf(c),
        ("pre",),
    ),
    Change(
        "priority_set",
        lambda s, _: s.priority_set(TLS12),
        lambda p, _: p.client.protocol_get_version() is Protocol.TLS1_2,
        ("pre",),
    ),
    Change(
        "alpn_set_protocols",
        lambda s, _: s.alpn_set_protocols([b"h2"]),
        lambda p, _: p.client.alpn_get_selected_protocol() == b"h2",
        ("pre",),
    ),
    Change(
        "ticket_enable_server",
        lambda s, _: s.ticket_enable_server(KEY),
        lambda p, _: len(p.tickets) == 2,
    ),
    Change(
        "ticket_derive",
        lambda s, _: s.ticket_derive(SECRET, bytes(32)),
        lambda p, _: len(p.tickets) == 2,
    ),
    Change(
        "db_set_cache_expiration",
        lambda s, _: (s.db_set_cache_expiration(1234), s.ticket_enable_server(KEY)),
        lambda p, _: [lifetime for _, lifetime in p.tickets] == [1234, 1234],
    ),
    Change(
        "db_set_functions",
        lambda s, _: (
            s.priority_set(TLS12),
            s.db_set_functions(
                store=lambda _, data: STORED.append(data), retrieve=ignore, remove=ignore
            ),
        ),
        lambda p, _: STORED,
        ("pre",),
    ),
    Change(
        "certificate_server_set_request",
        lambda s, _: s.certificate_server_set_request(CertificateRequest.REQUIRE),
        lambda p, _: len(p.server.certificate_get_peers()) == 2,
    ),
    Change(
        "set_verify_function",
        lambda s, _: (
            s.certificate_server_set_request(CertificateRequest.REQUIRE),
            s.set_verify_function(lambda _: True),
        ),
        lambda p, _: len(p.server.certificate_get_peers()) == 2,
    ),
]


def leaf(certificates: Certificates) -> bytes:
    """The certificate that the server shows by default, in DER."""
    with Setting(certificates).pair() as pair:
        pair.handshake()
        return pair.client.certificate_get_peers()[0]


@pytest.mark.parametrize(
    ("change", "where"),
    [(change, where) for change in CHANGES for where in change.where],
    ids=lambda value: value if isinstance(value, str) else value.id,
)
def test_server_can_be_set_up_by_its_client_hello(
    change: Change, where: str, certificates: Certificates
) -> None:
    setting = Setting(
        certificates,
        "NORMAL",
        server_name=None,
        client_credentials=certificates.client_with_certificate(),
    )

    def prepare(client: Session, server: Session) -> None:
        client.alpn_set_protocols([b"h2"])
        IN_HELLO[where](server, lambda s: change.make(s, certificates) if changing else None)

    setting.prepare = prepare
    for changing in (False, True):
        with setting.pair() as pair:
            pair.handshake()
            pair.exchange()
            assert bool(change.shows(pair, certificates)) is changing


# -- what callbacks may do --------------------------------------------------------------------

TICKET = "ticket"
CONTEXT = "context"
PLACE_OF = {place.id: place for place in ENDING}
PLACES = [*DATABASE, TICKET, CONTEXT, *PLACE_OF]


@dataclass
class Visit:
    """Connections in which `function(session)` runs in the callback `name`."""

    name: str
    function: Callable[[Session], object]
    visits: int = 0
    failures: list[BaseException] = field(default_factory=list)
    server: Session | None = None

    def setting(self, certificates: Certificates) -> Setting:
        if self.name in (*DATABASE, CONTEXT):
            setting = Database(watch=self.watch).setting(certificates)
            if self.name == CONTEXT:
                setting.server_sealing = Sealing(context=self.context)
            set_database = setting.prepare
            assert set_database is not None

            def prepare(client: Session, server: Session) -> None:
                self.server = server
                set_database(client, server)

            setting.prepare = prepare
            return setting
        place = PLACE_OF.get(self.name)
        priority = place.priority if place else TLS13
        return Setting(certificates, priority, ticket_key=KEY, prepare=self.prepare)

    def prepare(self, client: Session, server: Session) -> None:
        place = PLACE_OF.get(self.name)
        session = server if place and place.role == "server" else client

        def function(*_: object) -> bool:
            self.call(session)
            return True

        set_it: Function = place.set if place else Session.set_ticket_function
        set_it(session, function)

    def context(self) -> bytes:
        self.watch(CONTEXT)
        return b""

    def watch(self, name: str) -> None:
        if name == self.name:
            assert self.server is not None
            self.call(self.server)

    def call(self, session: Session) -> None:
        self.visits += 1
        try:
            self.function(session)
        except BaseException as error:
            self.failures.append(error)


def visit(name: str, certificates: Certificates, function: Callable[[Session], object]) -> None:
    """A full and a resumed connection with `function(session)` in that callback; it must have
    run, and both connections must have come to a good end.
    """
    made = Visit(name, function)
    setting = made.setting(certificates)
    data: bytes | None = None
    for _ in range(2):
        with setting.pair(data) as pair:
            pair.handshake()
            pair.exchange()
            assert pair.resumed == (data is not None,) * 2
            data = pair.client.get_data()
            if name == "remove":
                pair.server.db_remove_session()
                data = None
            assert pair.server.db_failures == 0
    if made.failures:
        raise made.failures[0]
    assert made.visits


every_place = pytest.mark.parametrize("place", PLACES)


@every_place
def test_callback_may_read_its_session(place: str, certificates: Certificates) -> None:
    names = (
        "protocol_get_version",
        "server_name_get",
        "alpn_get_selected_protocol",
        "get_flags",
        "get_id",
        "is_resumed",
        "certificate_get_peers",
        "certificate_get_ours",
        "alert_get",
        "record_check_pending",
        "record_get_max_size",
        "record_get_max_early_data_size",
        "early_cipher_get",
        "early_prf_hash_get",
    )
    unknown_yet = (
        "get_desc",
        "ciphersuite_get",
        "group_get",
        "ext_master_secret_status",
        "certificate_verify_peers",
    )

    def read(session: Session) -> None:
        assert not session.closed
        assert repr(session)
        for name in names:
            getattr(session, name)()
        for name in unknown_yet:
            with suppress(GnuTLSError):
                getattr(session, name)()
        for kind in ChannelBinding:
            with suppress(GnuTLSError):
                session.channel_binding(kind)
        if session.role == "server":
            session.resumption_requested()
            session.record_recv_early_data()
        else:
            with pytest.raises(MisuseError, match="for a server"):
                session.resumption_requested()

    visit(place, certificates, read)


REFUSED: list[tuple[str, Callable[[Session], object]]] = [
    ("handshake", lambda s: s.handshake()),
    ("record_send", lambda s: s.record_send(b"data")),
    ("record_recv", lambda s: s.record_recv()),
    ("record_recv_into", lambda s: s.record_recv_into(bytearray(9))),
    ("alert_send", lambda s: s.alert_send(AlertLevel.FATAL, INTERNAL_ERROR)),
    ("bye", lambda s: s.bye()),
    ("bye", lambda s: s.bye(Shutdown.RDWR)),
    ("close", lambda s: s.close()),
    ("close", lambda s: s.__exit__()),
    ("attach", lambda s: s.attach(MemoryTransport())),
    ("handshake_set_hook_function", lambda s: s.handshake_set_hook_function(1, 0, ignore)),
]
REFUSED_TO_SERVERS: list[tuple[str, Callable[[Session], object]]] = [
    ("ticket_send", lambda s: s.ticket_send(1)),
    ("db_remove_session", lambda s: s.db_remove_session()),
    ("record_set_max_early_data_size", lambda s: s.record_set_max_early_data_size(1)),
]
REFUSED_TO_CLIENTS: list[tuple[str, Callable[[Session], object]]] = [
    ("get_data", lambda s: s.get_data()),
    ("set_data", lambda s: s.set_data(b"data")),
    ("server_name_set", lambda s: s.server_name_set(HOST)),
    ("set_ticket_function", lambda s: s.set_ticket_function(ignore)),
    ("record_send_early_data", lambda s: s.record_send_early_data(b"data")),
    ("priority_set", lambda s: s.priority_set("NORMAL")),
    ("credentials_set", lambda s: s.credentials_set(Credentials())),
]


@every_place
def test_callback_may_not_use_or_end_its_session(place: str, certificates: Certificates) -> None:
    def use(session: Session) -> None:
        server = session.role == "server"
        for name, call in [*REFUSED, *(REFUSED_TO_SERVERS if server else REFUSED_TO_CLIENTS)]:
            with pytest.raises(MisuseError, match=f"{name}.* cannot be called in a callback"):
                call(session)

    visit(place, certificates, use)


@every_place
def test_another_session_may_be_used_in_a_callback(place: str, certificates: Certificates) -> None:
    visit(place, certificates, lambda _: Setting(certificates, database={}).connect())


@every_place
def test_other_thread_may_not_use_the_session_of_a_callback(
    place: str, certificates: Certificates
) -> None:
    def use(session: Session) -> None:
        with in_thread(session.close) as errors:
            pass
        (error,) = errors
        assert isinstance(error, MisuseError)
        assert "another thread" in str(error)

    visit(place, certificates, use)


@every_place
def test_collection_in_a_callback_does_no_harm(place: str, certificates: Certificates) -> None:
    visit(place, certificates, lambda _: gc.collect())


@pytest.mark.parametrize("where", IN_HELLO)
def test_session_may_lose_its_last_name_in_a_callback(
    where: str, certificates: Certificates
) -> None:
    with Setting(certificates).pair() as pair:
        with pytest.raises(WantReadError):
            pair.client.handshake()
        assert isinstance(pair.client.transport, MemoryTransport)
        flight = pair.client.transport.drain()
    transport = MemoryTransport()
    transport.feed(flight)
    names = [Session("server", certificates.server(), priority=TLS13)]
    alive = weakref.ref(names[0])
    states: list[bool] = []

    def forget(_: Session) -> None:
        names.clear()
        gc.collect()
        states.append(alive() is not None)

    names[0].attach(transport)
    IN_HELLO[where](names[0], forget)
    with pytest.raises(WantReadError):
        names[0].handshake()
    assert states == [True], "the call in progress holds it"
    gc.collect()
    assert alive() is None


def test_exception_is_raised_by_the_call_that_owes_it(certificates: Certificates) -> None:
    """What one callback left behind is not raised by another session, used in the next one."""
    setting = Setting(certificates, TLS12, client_priority="NORMAL")
    nested: list[object] = []

    def use_another(_: Session) -> None:
        try:
            nested.append(Setting(certificates).connect()[1])
        except BaseException as error:
            nested.append(error)

    def prepare(_: Session, server: Session) -> None:
        exception = KeyboardInterrupt("of retrieve")
        server.db_set_functions(store=ignore, retrieve=raising(exception), remove=ignore)
        server.handshake_set_post_client_hello_function(use_another)

    setting.prepare = prepare
    with setting.pair() as pair:
        _, server = pair.outcomes()
    assert isinstance(server, KeyboardInterrupt)
    assert nested == [(False, False)]


def test_callbacks_of_a_reader_and_a_writer_do_not_mix(certificates: Certificates) -> None:
    """The reader's begins first and ends first: afterwards nobody is inside a callback."""
    reading, writing, read = (threading.Event() for _ in range(3))
    active = False

    def in_reader(*_: object) -> None:
        if active:
            reading.set()
            assert writing.wait(5)

    def in_writer(*_: object) -> None:
        if active:
            writing.set()
            read.wait(5)

    def prepare(_: Session, server: Session) -> None:
        server.handshake_set_hook_function(HandshakeType.KEY_UPDATE, HookTime.PRE, in_reader)
        server.handshake_set_hook_function(
            HandshakeType.NEW_SESSION_TICKET, HookTime.PRE, in_writer
        )

    setting = Setting(certificates, ticket_key=TicketKey.generate(), prepare=prepare)
    with setting.pair() as pair:
        pair.handshake()
        active = True
        assert lib.gnutls_handshake(pair.client.own.c) == 0, "in TLS 1.3 it sends a KeyUpdate"
        pair.client.record_send(b"data")
        pair.move()

        def read_one() -> None:
            assert pair.server.record_recv() == b"data"
            read.set()

        with in_thread(read_one) as errors:
            assert reading.wait(5)
            pair.server.ticket_send(1)
        assert errors == []
        active = False
        with pytest.raises(WantReadError):
            pair.server.record_recv()
        assert pair.server.record_send(b"answer") == len(b"answer")


def survives(work: Callable[[], object]) -> bool:
    """Whether a child process that does `work` ends well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads
        child = os.fork()
    if child == 0:
        try:
            faulthandler.disable()
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            work()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("when", HookTime)
def test_exception_of_a_hook_for_an_outgoing_ticket_is_no_crash(
    when: HookTime, certificates: Certificates
) -> None:
    exception = CustomError("ticket")

    def prepare(_: Session, server: Session) -> None:
        kind = HandshakeType.NEW_SESSION_TICKET
        server.handshake_set_hook_function(kind, when, raising(exception))

    def work() -> BaseException | None:
        server: BaseException | None = None
        for _ in range(8):
            with Setting(certificates, ticket_key=KEY, prepare=prepare).pair() as pair:
                _, server = pair.outcomes()
        return server

    assert survives(work)
    assert work() is exception


# -- tickets ----------------------------------------------------------------------------------


@dataclass
class Tickets:
    """A client whose ticket function, or hook for tickets, fails at the first."""

    pair: Pair
    exception: BaseException
    got: list[bytes] = field(default_factory=list)
    failed: bool = False

    def take(self, data: bytes, _lifetime: int) -> None:
        if not self.failed:
            self.failed = True
            raise self.exception
        self.got.append(data)


@contextmanager
def failing_tickets(certificates: Certificates, exception: BaseException) -> Iterator[Tickets]:
    """Two tickets and some data wait for a client that has done its handshake."""
    with Setting(certificates, ticket_key=KEY).pair() as pair:
        tickets = Tickets(pair, exception)
        pair.client.set_ticket_function(tickets.take)
        pair.handshake()
        pair.server.record_send(b"data")
        pair.move()
        yield tickets


@pytest.mark.parametrize("exception", [*EXCEPTIONS, *ALIKE, *BASE_EXCEPTIONS], ids=name_of)
def test_exception_of_the_ticket_function_comes_out_and_the_connection_goes_on(
    exception: BaseException, certificates: Certificates
) -> None:
    with failing_tickets(certificates, exception) as tickets:
        client = tickets.pair.client
        with pytest.raises(type(exception)) as caught:
            client.record_recv()
        assert caught.value is exception
        assert tickets.got == []
        assert client.record_recv() == b"data"
        tickets.pair.exchange()
    (data,) = tickets.got
    assert Setting(certificates, ticket_key=KEY).connect(data)[1] == (True, True)


@pytest.mark.parametrize("call", [Session.get_data, lambda s: s.bye(Shutdown.RDWR)])
def test_exception_of_the_ticket_function_comes_out_of_any_call_that_reads(
    call: Callable[[Session], object], certificates: Certificates
) -> None:
    exception = CustomError("ticket")
    with failing_tickets(certificates, exception) as tickets:
        tickets.pair.server.bye()
        tickets.pair.move()
        with pytest.raises(CustomError) as caught:
            call(tickets.pair.client)
        assert caught.value is exception
        assert tickets.pair.client.get_data() is not None, "the ticket is there all the same"


@pytest.mark.parametrize("answer", [False, -1, "junk", object()], ids=name_of)
def test_what_the_ticket_function_returns_means_nothing(
    answer: object, certificates: Certificates
) -> None:
    function: Function = lambda *_: answer  # noqa: E731 - typed as anything

    def prepare(client: Session, _: Session) -> None:
        client.set_ticket_function(function)

    Setting(certificates, ticket_key=KEY, prepare=prepare).connect()


@pytest.mark.parametrize("when", HookTime)
@pytest.mark.parametrize(
    "exception", [CustomError("custom"), OSError(5, "i/o"), KeyboardInterrupt()], ids=name_of
)
def test_exception_of_a_hook_for_tickets_does_not_end_the_connection(
    when: HookTime, exception: BaseException, certificates: Certificates
) -> None:
    def prepare(client: Session, _: Session) -> None:
        kind = HandshakeType.NEW_SESSION_TICKET
        client.handshake_set_hook_function(kind, when, raising(exception))

    with Setting(certificates, ticket_key=KEY, prepare=prepare).pair() as pair:
        pair.handshake()
        pair.server.record_send(b"data")
        pair.move()
        for _ in range(2):
            with pytest.raises(type(exception)) as caught:
                pair.client.record_recv()
            assert caught.value is exception
        assert pair.client.record_recv() == b"data"
        pair.exchange()


@pytest.mark.parametrize("exception", [CustomError("custom"), *BASE_EXCEPTIONS], ids=name_of)
def test_exception_of_a_sealing_context_costs_a_client_its_ticket_alone(
    exception: BaseException, certificates: Certificates
) -> None:
    setting = Setting(certificates, ticket_key=KEY)
    setting.client_sealing = Sealing(SealingKey.generate(), context=raising(exception))
    with setting.pair() as pair:
        pair.handshake()
        pair.server.record_send(b"data")
        pair.move()
        for _ in range(2):
            with pytest.raises(type(exception)) as caught:
                pair.client.record_recv()
            assert caught.value is exception
        assert pair.client.record_recv() == b"data"
        pair.exchange()
        assert pair.tickets == []


@any_base_exception
def test_base_exception_of_a_servers_sealing_context_comes_out(
    exception: BaseException, certificates: Certificates
) -> None:
    setting = Database().setting(certificates)
    setting.server_sealing = Sealing(context=raising(exception))
    with setting.pair() as pair:
        assert pair.outcomes() == (None, exception)
        assert pair.server.db_failures == 0


# -- early data -------------------------------------------------------------------------------


@dataclass
class Early:
    """A server that asks `add` before it takes early data, and a session for its client."""

    setting: Setting
    anti_replay: AntiReplay
    data: bytes

    @contextmanager
    def pair(self) -> Iterator[Pair]:
        with self.setting.pair(self.data) as pair:
            pair.client.record_send_early_data(b"early")
            yield pair


def early(certificates: Certificates, add: Function) -> Early:
    anti_replay = AntiReplay(add)
    setting = Setting(certificates, ticket_key=KEY, server_flags=InitFlag.ENABLE_EARLY_DATA)
    setting.prepare = lambda _, server: server.anti_replay_enable(anti_replay)
    data, _ = setting.connect()
    assert data is not None
    return Early(setting, anti_replay, data)


def assert_early_data_refused(made: Early, failures: int) -> None:
    with made.pair() as pair:
        pair.handshake()
        assert pair.resumed == (True, True), "the handshake goes on"
        for session in (pair.client, pair.server):
            assert not session.get_flags() & SessionFlag.EARLY_DATA
        assert pair.server.record_recv_early_data() == b""
        pair.exchange()
    assert made.anti_replay.failures == failures


@any_exception
def test_failing_add_refuses_early_data(
    exception: Exception, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    assert_early_data_refused(early(certificates, raising(exception)), failures=1)
    (record,) = caplog.records
    assert (record.name, record.levelno) == (LOGGER, logging.WARNING)
    message = f"the anti-replay store's add failed: {type(exception).__name__}: {exception}"
    assert record.getMessage() == message


@any_base_exception
def test_base_exception_of_add_comes_out(
    exception: BaseException, certificates: Certificates
) -> None:
    made = early(certificates, raising(exception))
    with made.pair() as pair:
        _, server = pair.outcomes()
        assert server is exception
        assert not pair.server.get_flags() & SessionFlag.EARLY_DATA
        assert pair.server.record_recv_early_data() == b""


@pytest.mark.parametrize("answer", [1, 0, None, "True", b"", [True], object()], ids=name_of)
def test_only_a_bool_of_add_is_an_answer(
    answer: object, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    assert_early_data_refused(early(certificates, lambda *_: answer), failures=1)
    assert "add must return a bool" in caplog.text


def test_false_of_add_is_no_failure(
    certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    assert_early_data_refused(early(certificates, lambda *_: False), failures=0)
    assert caplog.records == []
