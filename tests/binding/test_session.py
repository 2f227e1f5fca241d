"""Who may call which method of a session, when and with what; and the session's own life.

The file is long because two tables in it name every method, and every argument that is refused.
"""

import gc
import resource
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from conftest import HOST, Certificates
from pair import TLS12, TLS13, Pair, Setting

from gnutls_resume.binding import (
    GNUTLS_VERSION,
    AlertLevel,
    AntiReplay,
    CertificateRequest,
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
    _ffi,
)
from gnutls_resume.binding import session as session_module
from gnutls_resume.binding.constants import FLAG_VERSIONS
from gnutls_resume.errors import (
    AlertError,
    FeatureMissingError,
    GnuTLSError,
    MisuseError,
    WantReadError,
)

HANDSHAKE_FAILURE, USER_CANCELED, UNRECOGNIZED_NAME = 40, 90, 112  # RFC 8446 §6
ALPN = [b"h2", b"http/1.1"]

Role = Literal["client", "server"]
State = Literal["new", "started", "done", "closed"]


@pytest.fixture
def client() -> Iterator[Session]:
    with Session("client", Credentials()) as session:
        yield session


@pytest.fixture(params=["client", "server"])
def role(request: pytest.FixtureRequest) -> Role:
    role: Role = request.param
    return role


# -- who may call what, and when --------------------------------------------------------------


@dataclass(frozen=True)
class Given:
    """Valid arguments."""

    certificates: Certificates
    data: bytes
    entry: bytes
    key: TicketKey
    secret: TicketSecret
    anti_replay: AntiReplay


@pytest.fixture(scope="session")
def given(certificates: Certificates) -> Given:
    database: dict[bytes, bytes] = {}
    setting = Setting(certificates, TLS12, client_flags=InitFlag.NO_TICKETS, database=database)
    data, _ = setting.connect()
    (entry,) = database.values()
    assert data is not None
    anti_replay = AntiReplay(lambda *_: True)
    key, secret = TicketKey.generate(), TicketSecret.generate()
    return Given(certificates, data, entry, key, secret, anti_replay)


def ignore(*_: object) -> None:
    pass


NEW, STARTED, DONE = {"new"}, {"started"}, {"done"}
OPEN = NEW | STARTED | DONE
CLIENT, SERVER = {"client"}, {"server"}
BOTH = CLIENT | SERVER


@dataclass(frozen=True)
class Method:
    """Who may call it and when, and how."""

    name: str
    who: set[str]
    when: set[str]
    call: Callable[[Session, Given], object]


METHODS = [
    # A pair's sessions have a transport already, and get no second one.
    Method("attach", BOTH, set(), lambda s, _: s.attach(MemoryTransport())),
    Method("close", BOTH, OPEN | {"closed"}, lambda s, _: s.close()),
    Method("credentials_set", BOTH, NEW, lambda s, g: s.credentials_set(g.certificates.server())),
    Method("priority_set", BOTH, NEW, lambda s, _: s.priority_set("NORMAL")),
    Method("server_name_set", CLIENT, NEW, lambda s, _: s.server_name_set("example.org")),
    Method("alpn_set_protocols", BOTH, NEW, lambda s, _: s.alpn_set_protocols(ALPN)),
    Method("set_verify_cert", BOTH, NEW, lambda s, _: s.set_verify_cert(None)),
    Method("set_verify_function", BOTH, NEW, lambda s, _: s.set_verify_function(lambda _: True)),
    Method("set_keylog_function", BOTH, NEW, lambda s, _: s.set_keylog_function(ignore)),
    Method("cipher_suite_get_name", BOTH, DONE, lambda s, _: s.cipher_suite_get_name()),
    Method("get_random", BOTH, OPEN, lambda s, _: s.get_random()),
    Method(
        "certificate_server_set_request",
        SERVER,
        NEW,
        lambda s, _: s.certificate_server_set_request(CertificateRequest.REQUEST),
    ),
    Method(
        "handshake_set_hook_function",
        BOTH,
        NEW,
        lambda s, _: s.handshake_set_hook_function(HandshakeType.FINISHED, HookTime.PRE, ignore),
    ),
    Method(
        "handshake_set_post_client_hello_function",
        SERVER,
        NEW,
        lambda s, _: s.handshake_set_post_client_hello_function(ignore),
    ),
    Method("handshake", BOTH, NEW | STARTED, lambda s, _: s.handshake()),
    Method("reauth", CLIENT, DONE, lambda s, _: s.reauth()),
    Method("bye", BOTH, DONE, lambda s, _: s.bye()),
    Method(
        "alert_send",
        BOTH,
        STARTED | DONE,
        lambda s, _: s.alert_send(AlertLevel.WARNING, USER_CANCELED),
    ),
    Method("alert_get", BOTH, OPEN, lambda s, _: s.alert_get()),
    Method("protocol_get_version", BOTH, OPEN, lambda s, _: s.protocol_get_version()),
    Method("get_desc", BOTH, DONE, lambda s, _: s.get_desc()),
    Method("ciphersuite_get", BOTH, DONE, lambda s, _: s.ciphersuite_get()),
    Method("group_get", BOTH, DONE, lambda s, _: s.group_get()),
    Method("get_flags", BOTH, OPEN, lambda s, _: s.get_flags()),
    Method("ext_master_secret_status", BOTH, DONE, lambda s, _: s.ext_master_secret_status()),
    Method("channel_binding", BOTH, DONE, lambda s, _: s.channel_binding(ChannelBinding(2))),
    Method("server_name_get", BOTH, OPEN, lambda s, _: s.server_name_get()),
    Method("client_hello_server_name", SERVER, OPEN, lambda s, _: s.client_hello_server_name()),
    Method("alpn_get_selected_protocol", BOTH, OPEN, lambda s, _: s.alpn_get_selected_protocol()),
    Method("certificate_get_peers", BOTH, OPEN, lambda s, _: s.certificate_get_peers()),
    Method("certificate_get_ours", BOTH, OPEN, lambda s, _: s.certificate_get_ours()),
    Method("certificate_verify_peers", BOTH, OPEN, lambda s, _: s.certificate_verify_peers(HOST)),
    Method("get_data", CLIENT, DONE, lambda s, _: s.get_data()),
    Method("set_data", CLIENT, NEW, lambda s, g: s.set_data(g.data)),
    Method("get_id", BOTH, OPEN, lambda s, _: s.get_id()),
    Method("is_resumed", BOTH, OPEN, lambda s, _: s.is_resumed()),
    Method("resumption_requested", SERVER, OPEN, lambda s, _: s.resumption_requested()),
    Method("ticket_enable_server", SERVER, NEW, lambda s, g: s.ticket_enable_server(g.key)),
    Method("ticket_derive", SERVER, NEW, lambda s, g: s.ticket_derive(g.secret, bytes(32))),
    Method("ticket_offered", SERVER, OPEN, lambda s, _: s.ticket_offered()),
    Method("ticket_enable_client", CLIENT, NEW, lambda s, _: s.ticket_enable_client()),
    Method("ticket_send", SERVER, DONE, lambda s, _: s.ticket_send(1)),
    Method("set_ticket_function", CLIENT, NEW, lambda s, _: s.set_ticket_function(ignore)),
    Method(
        "db_set_functions",
        SERVER,
        NEW,
        lambda s, _: s.db_set_functions(store=ignore, retrieve=ignore, remove=ignore),
    ),
    Method("db_set_cache_expiration", BOTH, NEW, lambda s, _: s.db_set_cache_expiration(60)),
    Method("db_check_entry", SERVER, OPEN, lambda s, g: s.db_check_entry(g.entry)),
    Method("db_remove_session", SERVER, STARTED | DONE, lambda s, _: s.db_remove_session()),
    Method("record_send", BOTH, DONE, lambda s, _: s.record_send(b"data")),
    Method("record_recv", BOTH, DONE, lambda s, _: s.record_recv()),
    Method("record_recv_into", BOTH, DONE, lambda s, _: s.record_recv_into(bytearray(9))),
    Method("record_check_pending", BOTH, OPEN, lambda s, _: s.record_check_pending()),
    Method("record_get_max_size", BOTH, OPEN, lambda s, _: s.record_get_max_size()),
    Method("record_send_early_data", CLIENT, NEW, lambda s, _: s.record_send_early_data(b"")),
    Method("record_recv_early_data", SERVER, OPEN, lambda s, _: s.record_recv_early_data()),
    Method(
        "record_get_max_early_data_size",
        BOTH,
        OPEN,
        lambda s, _: s.record_get_max_early_data_size(),
    ),
    Method("early_cipher_get", BOTH, OPEN, lambda s, _: s.early_cipher_get()),
    Method("early_prf_hash_get", BOTH, OPEN, lambda s, _: s.early_prf_hash_get()),
    Method(
        "record_set_max_early_data_size",
        SERVER,
        NEW,
        lambda s, _: s.record_set_max_early_data_size(1),
    ),
    Method("anti_replay_enable", SERVER, NEW, lambda s, g: s.anti_replay_enable(g.anti_replay)),
]


def test_table_names_every_public_method() -> None:
    public = {
        name
        for name, member in vars(Session).items()
        if callable(member)
        and not name.startswith("_")
        and not (member.__doc__ or "").startswith("For _callbacks")
    }
    assert {method.name for method in METHODS} == public
    assert len(METHODS) == len(public)


def bring(pair: Pair, state: State) -> None:
    if state == "started":
        for session in (pair.client, pair.server):
            with pytest.raises(WantReadError):
                session.handshake()
    elif state != "new":
        pair.handshake()


def assert_goes_on(pair: Pair, state: State) -> None:
    if state != "done":
        pair.handshake()
    pair.exchange()


@pytest.mark.parametrize("state", ["new", "started", "done", "closed"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_method_is_for_its_side_and_time(
    method: Method, state: State, role: Role, given: Given
) -> None:
    with Setting(given.certificates).pair() as pair:
        session: Session = getattr(pair, role)
        bring(pair, state)
        if state == "closed":
            session.close()
        if state in method.when and role in method.who:
            try:
                method.call(session, given)
            except MisuseError:
                raise
            except GnuTLSError:
                pass  # GnuTLS was asked, and said no
            return
        with pytest.raises(MisuseError):
            method.call(session, given)
        if state == "closed":
            assert session.closed
        else:
            assert_goes_on(pair, state)


@pytest.mark.parametrize(
    "method",
    [method for method in METHODS if method.name != "close"],
    ids=lambda method: method.name,
)
def test_refusal_names_the_method_and_the_reason(method: Method, given: Given) -> None:
    with Session("client", Credentials()) as session:
        pass
    with pytest.raises(MisuseError) as caught:
        method.call(session, given)
    assert str(caught.value) == f"{method.name} cannot be called after close()"


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_refusal_of_the_wrong_side_names_both(method: Method, role: Role, given: Given) -> None:
    if role in method.who or "new" not in method.when:
        return
    (wanted,) = method.who
    with pytest.raises(MisuseError) as caught:
        method.call(Session(role, Credentials()), given)
    assert str(caught.value) == f"{method.name} is for a {wanted}, this is a {role}"


def test_handshake_without_a_transport_can_be_repeated_with_one(
    certificates: Certificates,
) -> None:
    with Setting(certificates).pair() as pair:
        for role in ("client", "server"):
            bare = Session(role, getattr(certificates, role)(), priority=TLS13)
            with pytest.raises(MisuseError, match="attach a transport first"):
                bare.handshake()
            bare.attach(MemoryTransport())
            setattr(pair, role, bare)
        pair.handshake()
        pair.exchange()


def test_session_has_one_transport_and_a_transport_one_session(client: Session) -> None:
    transport = MemoryTransport()
    client.attach(transport)
    assert client.transport is transport
    with pytest.raises(MisuseError, match="one transport"):
        client.attach(MemoryTransport())
    with pytest.raises(MisuseError, match="one session"):
        Session("server", Credentials()).attach(transport)


def test_set_data_is_taken_once(certificates: Certificates) -> None:
    setting = Setting(certificates, ticket_key=TicketKey.generate())
    data, _ = setting.connect()
    assert data is not None
    with setting.pair(data) as pair:
        with pytest.raises(MisuseError, match="once"):
            pair.client.set_data(data)
        pair.handshake()
        assert pair.resumed == (True, True)


# -- bad arguments ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Bad:
    """A call that must be refused, by which exception and with what in its message."""

    name: str
    argument: Any
    error: type[Exception]
    says: str = "."
    role: Role = "client"
    state: State = "new"

    @property
    def id(self) -> str:
        value = self.argument if isinstance(self.argument, tuple) else (self.argument,)
        return f"{self.name}-{','.join(repr(item)[:12] for item in value)}"


def numbers(name: str, argument: str, low: int, high: int, **where: Any) -> list[Bad]:
    limit = f"^{argument} must be {low} to {high}, not"
    kind = f"^{argument} must be int, not"
    return [
        *(
            Bad(name, value, ValueError, limit, **where)
            for value in (low - 1, -1, high + 1, 1 << 70)
        ),
        *(Bad(name, value, TypeError, kind, **where) for value in (True, "60", 2.5, None, b"1")),
    ]


NOT_CALLABLE = [None, "text", 1]
BAD = [
    *numbers("db_set_cache_expiration", "seconds", 1, 604_800),
    *numbers("ticket_send", "n", 1, 255, role="server", state="done"),
    *numbers("record_set_max_early_data_size", "size", 1, (1 << 32) - 1, role="server"),
    *numbers("record_recv", "size", 1, 1 << 30, state="done"),
    *numbers("record_recv_early_data", "size", 1, 1 << 30, role="server"),
    *(
        Bad(name, value, ValueError, "a host name must be 1 to 255 bytes without NUL")
        for name in ("server_name_set", "set_verify_cert", "certificate_verify_peers")
        for value in ("", "a" * 256, "é" * 128, "a\0b", "\0")
    ),
    *(
        Bad(name, value, TypeError, "a host name must be str, not")
        for name in ("server_name_set", "set_verify_cert", "certificate_verify_peers")
        for value in (b"host", 1, ["host"])
    ),
    Bad("server_name_set", None, TypeError, "a host name must be str, not NoneType"),
    *(
        Bad("alpn_set_protocols", [b"h2", value], ValueError, "ALPN protocol must be 1 to")
        for value in (b"", b"a" * 256)
    ),
    *(
        Bad("alpn_set_protocols", value, TypeError)
        for value in ("h2", b"h2", ["h2"], [None], 5, None)
    ),
    Bad("alpn_set_protocols", [b"%d" % i for i in range(9)], ValueError, "0 to 8"),
    *(
        Bad("priority_set", value, ValueError, "^priority '.*' is wrong at")
        for value in ("", "WRONG", "NORMAL:+WRONG", "NORMAL::", "%NO_TICKETS")
    ),
    *(Bad("priority_set", value, TypeError, "priority") for value in (b"x", 5, ["x"])),
    Bad("priority_set", "NORMAL\0:-VERS-ALL", ValueError, "priority"),
    *(
        Bad("credentials_set", value, TypeError, "credentials must be Credentials, not")
        for value in (None, b"pem", Credentials)
    ),
    *(
        Bad("ticket_enable_server", value, TypeError, "key must be TicketKey, not", role="server")
        for value in (None, bytes(64), SealingKey.generate())
    ),
    *(
        Bad("anti_replay_enable", value, TypeError, "anti_replay must be", role="server")
        for value in (None, print)
    ),
    *(
        Bad(name, value, TypeError, f"^{argument} must be callable, not")
        for name, argument in (
            ("set_verify_function", "verify"),
            ("set_keylog_function", "keylog"),
            ("set_ticket_function", "function"),
        )
        for value in NOT_CALLABLE
    ),
    *(
        Bad(
            "handshake_set_post_client_hello_function",
            value,
            TypeError,
            "^function must be callable, not",
            role="server",
        )
        for value in NOT_CALLABLE
    ),
    *(
        Bad("handshake_set_hook_function", (1, 0, value), TypeError, "^hook must be callable, not")
        for value in NOT_CALLABLE
    ),
    Bad("handshake_set_hook_function", (99, 0, print), ValueError, "99"),
    Bad("handshake_set_hook_function", (-1, 0, print), ValueError, "-1"),
    Bad("handshake_set_hook_function", (1, 2, print), ValueError, "2"),
    Bad("handshake_set_hook_function", ("hello", 0, print), ValueError, "hello"),
    Bad("certificate_server_set_request", 3, ValueError, "3", role="server"),
    Bad("certificate_server_set_request", None, ValueError, "None", role="server"),
    *(Bad("attach", value, TypeError, "attach takes") for value in (None, 5, "host", b"")),
    *(Bad("record_send_early_data", value, TypeError, "data must be") for value in ("x", None, 1)),
    *(Bad("record_send", value, TypeError, "data", state="done") for value in ("x", None, 1)),
    *(Bad("record_recv_into", value, TypeError, state="done") for value in ("x", None, 1)),
    Bad("record_recv_into", b"read-only", BufferError, state="done"),
    Bad("record_recv_into", bytearray(), ValueError, "at least 1 byte", state="done"),
    Bad("channel_binding", 3, ValueError, "3", state="done"),
    Bad("bye", 2, ValueError, "2", state="done"),
    Bad("bye", None, ValueError, "None", state="done"),
    Bad("alert_send", (3, HANDSHAKE_FAILURE), ValueError, "3", state="done"),
    Bad("alert_send", (AlertLevel.WARNING, "x"), TypeError, state="done"),
    *(
        Bad("alert_send", (AlertLevel.WARNING, value), ValueError, "description", state="done")
        for value in (-1, 256, 1 << 40)
    ),
    *(
        Bad(name, (value, flags), ValueError, "flags")
        for name, value in (("set_verify_cert", HOST), ("alpn_set_protocols", ALPN))
        for flags in (-1, 1 << 32)
    ),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.id)
def test_bad_argument_is_refused_and_harmless(bad: Bad, certificates: Certificates) -> None:
    with Setting(certificates).pair() as pair:
        bring(pair, bad.state)
        arguments = bad.argument if isinstance(bad.argument, tuple) else (bad.argument,)
        with pytest.raises(bad.error, match=bad.says):
            getattr(getattr(pair, bad.role), bad.name)(*arguments)
        assert_goes_on(pair, bad.state)


@pytest.mark.parametrize("missing", ["store", "retrieve", "remove"])
def test_database_needs_three_callables(missing: str) -> None:
    functions: dict[str, Any] = dict.fromkeys(("store", "retrieve", "remove"), ignore)
    server = Session("server", Credentials())
    for value in NOT_CALLABLE:
        with pytest.raises(TypeError, match=f"^{missing} must be callable"):
            server.db_set_functions(**functions | {missing: value})
    del functions[missing]
    with pytest.raises(TypeError, match=missing):
        server.db_set_functions(**functions)
    assert server.database is None


def default_arguments() -> dict[str, Any]:
    return {"role": "client", "credentials": Credentials()}


DATAGRAM, NONBLOCK = 1 << 2, 1 << 3  # gnutls.h


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        *(({"role": role}, ValueError, "'client' or 'server'") for role in ("Client", "", None, 1)),
        ({"credentials": None}, TypeError, "credentials must be Credentials, not NoneType"),
        ({"credentials": b"pem"}, TypeError, "credentials must be Credentials, not bytes"),
        ({"flags": None}, TypeError, "."),
        *(
            ({"flags": flags}, ValueError, "mean nothing here")
            for flags in (1, 2, DATAGRAM, NONBLOCK, -1)
        ),
        *(({"priority": text}, ValueError, "wrong at") for text in ("", "WRONG", "NORMAL:+X")),
    ],
    ids=str,
)
def test_session_is_not_made_from(
    arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        Session(**default_arguments() | arguments)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        *(({"flags": flags}, ValueError) for flags in (1 << 25, 1 << 31, 1 << 40)),
        *(({"flags": flags}, TypeError) for flags in ("16", 16.9)),
        ({"priority": "NORMAL\0:-VERS-ALL"}, ValueError),
        *(({"priority": text}, TypeError) for text in (b"NORMAL", 5, ["NORMAL"])),
        *(({"sealing": value}, TypeError) for value in (b"key", SealingKey.generate())),
    ],
    ids=str,
)
def test_session_should_not_be_made_from(arguments: dict[str, Any], error: type[Exception]) -> None:
    (name,) = arguments
    with pytest.raises(error, match=name):
        Session(**default_arguments() | arguments)


def test_every_argument_can_be_given_by_keyword(certificates: Certificates) -> None:
    client = Session(
        role="client",
        credentials=certificates.client(),
        priority=None,
        flags=InitFlag.NONE,
        sealing=Sealing(key=None, context=None),
    )
    client.attach(carrier=MemoryTransport())
    client.priority_set(priority="NORMAL")
    client.credentials_set(credentials=certificates.client())
    client.server_name_set(name=HOST)
    client.alpn_set_protocols(protocols=iter(ALPN), flags=0)
    client.set_verify_cert(hostname=HOST, flags=0)
    client.handshake_set_hook_function(kind=1, when=0, hook=ignore)
    client.db_set_cache_expiration(seconds=60)
    with Setting(certificates).pair() as pair:
        pair.client = client
        pair.handshake()
        pair.exchange()
        client.channel_binding(kind=ChannelBinding.TLS_EXPORTER)
        client.certificate_verify_peers(hostname=HOST)
        client.alert_send(level=AlertLevel.WARNING, description=USER_CANCELED)
        client.bye(how=Shutdown.WR)


# -- life -------------------------------------------------------------------------------------


def test_with_statement_closes() -> None:
    with Session("client", Credentials()) as session:
        assert not session.closed
    assert session.closed
    session.close()
    session.close()
    with session:
        assert session.closed


def test_with_statement_lets_exceptions_through() -> None:
    session = Session("client", Credentials())
    with pytest.raises(KeyError), session:
        raise KeyError
    assert session.closed


def test_repr_says_role_and_state_and_no_more(certificates: Certificates, role: Role) -> None:
    key = SealingKey.generate()
    setting = Setting(
        certificates,
        client_sealing=Sealing(key, b"the context"),
        server_sealing=Sealing(key, b"the context"),
    )
    with setting.pair() as pair:
        session: Session = getattr(pair, role)
        assert repr(session) == f"<Session {role}, before the handshake>"
        pair.handshake()
        assert repr(session) == f"<Session {role}, after the handshake>"
    assert repr(session) == f"<Session {role}, after close()>"


@pytest.mark.parametrize("state", ["new", "started", "closed"])
def test_session_is_freed_as_soon_as_nobody_holds_it(
    state: State, role: Role, certificates: Certificates
) -> None:
    """By reference counts alone: a cycle would keep its secrets until some later collection."""
    session = Session(role, certificates.server())
    session.attach(MemoryTransport())
    if role == "server":
        session.db_set_functions(store=ignore, retrieve=ignore, remove=ignore)
        session.ticket_enable_server(TicketKey.generate())
    else:
        session.set_ticket_function(ignore)
        session.set_verify_cert(HOST)
    session.handshake_set_hook_function(HandshakeType.CLIENT_HELLO, HookTime.PRE, ignore)
    if state == "started":
        with pytest.raises(WantReadError):
            session.handshake()
    if state == "closed":
        session.close()
    dies, handle = weakref.ref(session), weakref.ref(session._handle)
    gc.disable()
    try:
        del session
        assert dies() is None
        assert handle() is None
    finally:
        gc.enable()


STATM = Path("/proc/self/statm")


def resident() -> int:
    """Bytes of memory that this process uses."""
    return int(STATM.read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(not STATM.exists(), reason="needs Linux")
def test_sessions_that_nobody_closes_leave_no_memory(certificates: Certificates) -> None:
    def make(count: int) -> None:
        credentials = certificates.client()
        for _ in range(count):
            session = Session("client", credentials, priority=TLS13)
            session.attach(MemoryTransport())
            with pytest.raises(WantReadError):
                session.handshake()

    make(200)
    before = resident()
    make(1000)
    assert resident() - before < 4 << 20, "some 30 KiB each would be 30 MiB"


def test_session_holds_what_c_points_to_until_it_is_closed() -> None:
    credentials, others = Credentials(), Credentials()
    anti_replay = AntiReplay(lambda *_: True)
    transport = MemoryTransport()
    session = Session("server", credentials)
    session.credentials_set(others)
    session.anti_replay_enable(anti_replay)
    session.attach(transport)
    held = [weakref.ref(one) for one in (credentials, others, anti_replay)]
    alive = weakref.ref(transport)
    del credentials, others, anti_replay, transport
    gc.collect()
    assert all(one() for one in held)
    assert alive()
    session.close()
    assert not any(one() for one in held)


# -- flags and features -----------------------------------------------------------------------


def test_flags_tell_a_ticket(certificates: Certificates) -> None:
    with Setting(certificates, ticket_key=TicketKey.generate()).pair() as pair:
        pair.handshake()
        assert not pair.client.get_flags() & SessionFlag.SESSION_TICKET
        pair.exchange()
        assert pair.client.get_flags() & SessionFlag.SESSION_TICKET


@pytest.mark.parametrize("text", ["", ":%NO_SESSION_HASH"])
def test_flags_tell_the_extended_master_secret(text: str, certificates: Certificates) -> None:
    secure = not text
    with Setting(certificates, TLS12 + text).pair() as pair:
        pair.handshake()
        for session in (pair.client, pair.server):
            assert bool(session.get_flags() & SessionFlag.EXT_MASTER_SECRET) is secure
            assert session.ext_master_secret_status() is secure


def test_missing_function_says_which_version_has_it(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_ffi.missing, "gnutls_ciphersuite_get", "99.0")
    with Setting(certificates).pair() as pair:
        pair.handshake()
        with pytest.raises(FeatureMissingError) as caught:
            pair.client.ciphersuite_get()
        pair.exchange()
    for word in ("gnutls_ciphersuite_get", "99.0", GNUTLS_VERSION):
        assert word in str(caught.value)
    assert isinstance(caught.value, NotImplementedError)


def test_missing_flag_says_which_version_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FLAG_VERSIONS, InitFlag.NO_AUTO_REKEY, "99.0")
    session_module.init_flags.cache_clear()
    with pytest.raises(FeatureMissingError) as caught:
        Session("client", Credentials(), flags=InitFlag.NO_AUTO_REKEY | InitFlag.NO_TICKETS)
    for word in ("NO_AUTO_REKEY", "99.0", GNUTLS_VERSION):
        assert word in str(caught.value)
    Session("client", Credentials(), flags=InitFlag.NO_TICKETS)


@pytest.mark.parametrize("flag", list(InitFlag), ids=lambda flag: flag.name)
def test_every_flag_is_taken_or_said_to_be_missing(flag: InitFlag, role: Role) -> None:
    first = FLAG_VERSIONS.get(flag)
    if first is None or _ffi.at_least(first):
        Session(role, Credentials(), flags=flag)
    else:
        with pytest.raises(FeatureMissingError, match=first):
            Session(role, Credentials(), flags=flag)


# -- what was negotiated ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("priority", "protocol", "wire"),
    [
        ("NORMAL:-VERS-ALL:+VERS-TLS1.2", Protocol.TLS1_2, 0x0303),
        ("NORMAL:-VERS-ALL:+VERS-TLS1.3", Protocol.TLS1_3, 0x0304),
        ("NORMAL:-VERS-TLS1.3", Protocol.TLS1_2, 0x0303),
        ("NORMAL", Protocol.TLS1_3, 0x0304),
    ],
)
def test_both_ends_tell_the_same_of_a_connection(
    priority: str, protocol: Protocol, wire: int, certificates: Certificates
) -> None:
    with Setting(certificates, priority).pair() as pair:
        assert pair.client.alpn_get_selected_protocol() is None
        pair.handshake()
        for session in (pair.client, pair.server):
            assert session.protocol_get_version() is protocol
            assert protocol.wire == wire
            assert f"TLS1.{protocol.wire - 0x0301}" in session.get_desc()
            assert session.group_get() == pair.server.group_get() != 0
            assert session.record_get_max_size() == 16384
            assert session.alpn_get_selected_protocol() is None
            assert session.server_name_get() == HOST
            assert len(session.get_id()) == 32
        ours = pair.server.certificate_get_ours()
        assert [ours, *pair.client.certificate_get_peers()[1:]] == (
            pair.client.certificate_get_peers()
        )
        assert pair.client.certificate_get_ours() is None
        assert pair.server.certificate_get_peers() == []


def test_no_version_is_known_before_the_handshake(role: Role) -> None:
    assert Session(role, Credentials()).protocol_get_version() is None


def test_application_protocol_has_at_most_31_bytes(client: Session) -> None:
    for size in (32, 255):
        with pytest.raises(ValueError, match="1 to 31, not"):
            client.alpn_set_protocols([b"x" * size])


@pytest.mark.skipif("gnutls_ciphersuite_get" in _ffi.missing, reason="GnuTLS before 3.7.4")
@pytest.mark.parametrize(
    ("priority", "name"),
    [
        (TLS13 + ":-CIPHER-ALL:+AES-128-GCM", "TLS_AES_128_GCM_SHA256"),
        (TLS13 + ":-CIPHER-ALL:+AES-256-GCM", "TLS_AES_256_GCM_SHA384"),
        (TLS12 + ":-CIPHER-ALL:+AES-128-GCM", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ],
)
def test_cipher_suite_has_its_registered_name(
    priority: str, name: str, certificates: Certificates
) -> None:
    with Setting(certificates, priority).pair() as pair:
        pair.handshake()
        assert pair.client.ciphersuite_get() == pair.server.ciphersuite_get() == name


@pytest.mark.parametrize(
    ("kind", "priority"),
    [
        (ChannelBinding.TLS_UNIQUE, TLS12),
        (ChannelBinding.TLS_SERVER_END_POINT, TLS12),
        (ChannelBinding.TLS_EXPORTER, TLS12),
        (ChannelBinding.TLS_SERVER_END_POINT, TLS13),
        (ChannelBinding.TLS_EXPORTER, TLS13),
    ],
)
def test_channel_binding_is_the_same_at_both_ends(
    kind: ChannelBinding, priority: str, certificates: Certificates
) -> None:
    bindings: set[bytes] = set()
    for _ in range(2):
        with Setting(certificates, priority).pair() as pair:
            pair.handshake()
            bound = pair.client.channel_binding(kind)
            assert bound == pair.server.channel_binding(kind)
            assert len(bound) >= 12
            bindings.add(bound)
    of_the_server = kind is ChannelBinding.TLS_SERVER_END_POINT
    assert len(bindings) == (1 if of_the_server else 2)


def test_channel_binding_that_the_connection_lacks_is_an_error(
    certificates: Certificates,
) -> None:
    with Setting(certificates, TLS13).pair() as pair:
        pair.handshake()
        for session in (pair.client, pair.server):
            with pytest.raises(GnuTLSError) as caught:
                session.channel_binding(ChannelBinding.TLS_UNIQUE)
            assert caught.value.name == "GNUTLS_E_CHANNEL_BINDING_NOT_AVAILABLE"
        pair.exchange()


@pytest.mark.parametrize("name", [HOST, "a" * 63 + ".example", None])
def test_server_reads_the_name_that_the_client_sent(
    name: str | None, certificates: Certificates
) -> None:
    with Setting(certificates, server_name=None).pair() as pair:
        if name is not None:
            pair.client.server_name_set(name)
        assert pair.client.server_name_get() == name
        assert pair.server.server_name_get() is None
        pair.handshake()
        assert pair.client.server_name_get() == pair.server.server_name_get() == name


@pytest.mark.parametrize("priority", [TLS12, TLS13])
@pytest.mark.parametrize(
    ("client", "server", "chosen"),
    [
        ([b"h2", b"http/1.1"], [b"http/1.1", b"h2"], b"h2"),
        ([b"http/1.1"], [b"h2", b"http/1.1"], b"http/1.1"),
        ([b"x" * 31], [b"x" * 31], b"x" * 31),
        ([b"\0\xff"], [bytearray(b"\0\xff")], b"\0\xff"),
        ([b"a"], [b"b"], None),
        ([], [b"b"], None),
    ],
    ids=["first", "only", "longest", "bytes", "none-in-common", "none-offered"],
)
def test_both_ends_know_the_application_protocol(
    client: list[bytes],
    server: list[bytes],
    chosen: bytes | None,
    priority: str,
    certificates: Certificates,
) -> None:
    def prepare(one: Session, other: Session) -> None:
        one.alpn_set_protocols(client)
        other.alpn_set_protocols(server)

    with Setting(certificates, priority, prepare=prepare).pair() as pair:
        pair.handshake()
        for session in (pair.client, pair.server):
            assert session.alpn_get_selected_protocol() == chosen


# -- the end ----------------------------------------------------------------------------------


@pytest.mark.parametrize("priority", [TLS12, TLS13])
def test_close_notify_reads_as_the_end(
    priority: str, role: Role, certificates: Certificates
) -> None:
    with Setting(certificates, priority).pair() as pair:
        pair.handshake()
        pair.exchange()
        one: Session = getattr(pair, role)
        other = pair.server if one is pair.client else pair.client
        one.bye()
        pair.move()
        for _ in range(2):
            assert other.record_recv() == b""
            assert other.record_recv_into(bytearray(9)) == 0
        with pytest.raises(GnuTLSError):
            one.record_send(b"after the end")


@pytest.mark.parametrize("priority", [TLS12, TLS13])
def test_bye_both_ways_waits_for_the_peer(priority: str, certificates: Certificates) -> None:
    with Setting(certificates, priority, ticket_key=TicketKey.generate()).pair() as pair:
        pair.handshake()
        with pytest.raises(WantReadError):
            pair.client.bye(Shutdown.RDWR)
        pair.move()
        assert pair.server.record_recv() == b""
        with pytest.raises(WantReadError):
            pair.client.bye(Shutdown.RDWR)
        pair.server.bye()
        pair.move()
        pair.client.bye(Shutdown.RDWR)
        assert len(pair.tickets) == (2 if priority == TLS13 else 0), "read on the way"


@pytest.mark.parametrize("priority", [TLS12, TLS13])
def test_fatal_alert_is_an_error_with_its_name(
    priority: str, role: Role, certificates: Certificates
) -> None:
    with Setting(certificates, priority).pair() as pair:
        pair.handshake()
        one: Session = getattr(pair, role)
        other = pair.server if one is pair.client else pair.client
        one.alert_send(AlertLevel.FATAL, HANDSHAKE_FAILURE)
        pair.move()
        with pytest.raises(AlertError) as caught:
            other.record_recv()
        assert caught.value.alert == other.alert_get() == HANDSHAKE_FAILURE
        assert caught.value.alert_name == "Handshake failed"
        assert caught.value.fatal
        assert "Handshake failed" in str(caught.value)
        with pytest.raises(GnuTLSError):
            other.record_send(b"data")


def test_warning_alert_does_not_end_the_connection(certificates: Certificates) -> None:
    with Setting(certificates, TLS12).pair() as pair:
        pair.handshake()
        pair.server.alert_send(AlertLevel.WARNING, USER_CANCELED)
        pair.move()
        with pytest.raises(GnuTLSError) as caught:
            pair.client.record_recv()
        assert caught.value.name == "GNUTLS_E_WARNING_ALERT_RECEIVED"
        assert not caught.value.fatal
        assert pair.client.alert_get() == USER_CANCELED
        pair.exchange()


def test_alert_in_the_handshake_ends_it_for_the_peer(certificates: Certificates) -> None:
    with Setting(certificates, TLS12).pair() as pair:
        bring(pair, "started")
        pair.client.alert_send(AlertLevel.FATAL, USER_CANCELED)
        pair.move()
        with pytest.raises(AlertError) as caught:
            pair.server.handshake()
        assert caught.value.alert == USER_CANCELED


def test_warning_alert_does_not_end_the_handshake(certificates: Certificates) -> None:
    """RFC 5246 §7.2.2; a server may say so that it does not know the name (RFC 6066 §3)."""
    with Setting(certificates, TLS12).pair() as pair:
        bring(pair, "started")
        pair.server.alert_send(AlertLevel.WARNING, UNRECOGNIZED_NAME)
        pair.handshake()
        pair.exchange()
        assert pair.client.alert_get() == UNRECOGNIZED_NAME
