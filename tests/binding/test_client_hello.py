"""What a server reads in a ClientHello before GnuTLS does: a parser that meets strangers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import pytest
from conftest import HOST, Certificates
from derived import NAME, derived, ticket_key
from deriving import RETRY
from hellos import (
    PRE_SHARED_KEY,
    SERVER_NAME,
    SESSION_TICKET,
    Hello,
    first_flight,
    framed,
    names,
    offering,
    psk,
    vector,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pair import TLS12, TLS13, Setting

from gnutls_resume.binding import (
    HandshakeType,
    HookTime,
    MemoryTransport,
    Protocol,
    Session,
    TicketOffer,
    TicketSecret,
)
from gnutls_resume.errors import GnuTLSError, WantReadError

RAW = bytes(range(100, 132))
SECRET = TicketSecret(RAW)
POLICY = bytes(range(32))
each_version = pytest.mark.parametrize("priority", [TLS12, TLS13])
# The certificates are made once, and nothing in them changes.
many = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def hello(certificates: Certificates, priority: str = TLS13, name: str | None = HOST) -> Hello:
    return Hello.parse(first_flight(Setting(certificates, priority, server_name=name)))


@dataclass
class Seen:
    """What a server made of a ClientHello."""

    error: GnuTLSError | None
    in_hook: list[str | None]
    by_gnutls: list[str | None]  # when it had read the hello
    name: str | None
    offer: TicketOffer
    resumed: bool


def show(certificates: Certificates, body: bytes, priority: str = TLS13) -> Seen:
    """Feed a hello to a server, which answers or refuses it."""
    in_hook: list[str | None] = []
    by_gnutls: list[str | None] = []

    def look(session: Session, *_: object) -> None:
        in_hook.append(session.client_hello_server_name())

    def prepare(_: Session, server: Session) -> None:
        server.ticket_derive(SECRET, POLICY)
        server.handshake_set_hook_function(HandshakeType.CLIENT_HELLO, HookTime.PRE, look)
        server.handshake_set_post_client_hello_function(
            lambda session: by_gnutls.append(session.server_name_get())
        )

    with Setting(certificates, priority, prepare=prepare).pair() as pair:
        assert isinstance(pair.server.transport, MemoryTransport)
        pair.server.transport.feed(framed(body))
        error: GnuTLSError | None = None
        try:
            pair.server.handshake()
        except WantReadError:
            pass
        except GnuTLSError as raised:
            error = raised
        server = pair.server
        name, offer = server.client_hello_server_name(), server.ticket_offered()
        return Seen(error, in_hook, by_gnutls, name, offer, server.is_resumed())


# -- the server's name ------------------------------------------------------------------------


@each_version
@pytest.mark.parametrize("name", [HOST, "a", "a" * 255, "Under-Score.Example.org", None])
def test_name_is_known_in_the_client_hello_hook(
    name: str | None, priority: str, certificates: Certificates
) -> None:
    """Where GnuTLS knows nothing yet; afterwards both say the same."""
    early: list[str | None] = []

    def look(session: Session, *_: object) -> None:
        early.extend((session.server_name_get(), session.client_hello_server_name()))

    def prepare(client: Session, server: Session) -> None:
        if name is not None:
            client.server_name_set(name)
        server.handshake_set_hook_function(HandshakeType.CLIENT_HELLO, HookTime.PRE, look)

    setting = Setting(certificates, priority, server_name=None, prepare=prepare)
    with setting.pair() as pair:
        assert pair.server.client_hello_server_name() is None
        pair.handshake()
        assert early == [None, name]
        assert pair.server.client_hello_server_name() == pair.server.server_name_get() == name


@pytest.mark.parametrize(
    ("extension", "name"),
    [
        (names((0, b"one"), (0, b"two")), "one"),
        (names((7, b"strange"), (0, b"host")), "host"),
        (names((7, b"strange")), None),
    ],
    ids=["two-hosts", "another-kind-first", "another-kind-alone"],
)
def test_first_name_of_a_host_counts_as_with_gnutls(
    extension: bytes, name: str | None, certificates: Certificates
) -> None:
    seen = show(certificates, hello(certificates).with_extension(SERVER_NAME, extension).body)
    assert seen.error is None
    assert seen.in_hook == seen.by_gnutls == [name]


@pytest.mark.parametrize(
    "extension",
    [
        b"",
        b"\0",
        names((0, b"")),
        names((0, b"x\0y")),
        names((0, b"a b")),
        names((0, "ä".encode())),
        names((0, b"x" * 256)),
        names((0, b"cut off"))[:-1],
        vector(b"\0\0"),
        vector(b"\0\0\xff" + b"x"),
        b"\xff\xff" + b"\0\0\1x",
    ],
    ids=repr,
)
def test_name_that_is_none_is_not_found(extension: bytes, certificates: Certificates) -> None:
    seen = show(certificates, hello(certificates).with_extension(SERVER_NAME, extension).body)
    assert seen.in_hook == [None]
    assert seen.by_gnutls in ([], [None], ["x" * 256])


@pytest.mark.parametrize("rest", [b"\0", b"\0" * 4])
def test_hello_with_something_behind_it_says_nothing(
    rest: bytes, certificates: Certificates
) -> None:
    seen = show(certificates, hello(certificates).body + rest)
    assert seen.error is not None
    assert (seen.in_hook, seen.name) == ([None], None)


def test_hello_without_extensions_has_no_name(certificates: Certificates) -> None:
    body = replace(hello(certificates, TLS12), extensions={}).body[:-2]
    seen = show(certificates, body, TLS12)
    assert seen.error is None
    assert seen.in_hook == seen.by_gnutls == [None]
    assert seen.offer is TicketOffer.NONE


@many
@given(st.data())
def test_cut_or_changed_hello_is_read_as_gnutls_reads_it(
    certificates: Certificates, data: st.DataObject
) -> None:
    """No crash, and where GnuTLS goes on, both have found the same name."""
    priority = data.draw(st.sampled_from([TLS12, TLS13]))
    body = bytearray(template(certificates, priority))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        piece = data.draw(st.binary(max_size=4))
        size = data.draw(st.sampled_from([0, len(piece)]))
        body[at : at + size] = piece
    if data.draw(st.booleans()):
        del body[data.draw(st.integers(0, len(body))) :]
    changed = bytes(body)
    seen = show(certificates, changed, priority)
    if seen.by_gnutls:
        assert seen.in_hook == seen.by_gnutls == [seen.name]
    if changed != template(certificates, priority) and priority == TLS13:
        assert not seen.resumed, "a binder is over the whole hello"


@lru_cache
def template(certificates: Certificates, priority: str) -> bytes:
    """A hello that resumes."""
    setting = Setting(certificates, priority)
    setting.prepare = lambda _, server: server.ticket_derive(SECRET, POLICY)
    data, _ = setting.connect()
    body = first_flight(setting, data)
    seen = show(certificates, body, priority)
    assert (seen.error, seen.resumed, seen.offer) == (None, True, TicketOffer.KNOWN_KEY)
    return body


@many
@given(st.binary(max_size=300))
def test_any_bytes_are_a_hello_that_says_nothing(certificates: Certificates, body: bytes) -> None:
    seen = show(certificates, body)
    assert seen.error is not None
    assert (seen.in_hook, seen.name, seen.offer) == ([None], None, TicketOffer.NONE)


def test_longest_hello_is_read(certificates: Certificates) -> None:
    """Of several records; GnuTLS takes messages of 128 KiB."""
    padding = bytes(60000)
    seen = show(certificates, hello(certificates).with_extension(0xFAFA, padding).body)
    assert seen.in_hook == [HOST]
    assert seen.error is None


# -- a second hello ---------------------------------------------------------------------------


HOST_EXTENSION = bytes(2) + vector(names((0, HOST.encode())))


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        (lambda sent: sent, False),
        (lambda sent: sent.replace(HOST.encode(), b"localhors"), True),
        (lambda sent: sent.replace(HOST_EXTENSION, b"\xfa\xfa" + HOST_EXTENSION[2:]), True),
    ],
    ids=["unchanged", "another-name", "no-name"],
)
def test_second_hello_for_another_host_is_refused(
    *, change: Callable[[bytes], bytes], refused: bool, certificates: Certificates
) -> None:
    """RFC 8446 §4.1.2. Settings were chosen by the first; the name would be the second's."""
    with Setting(certificates, TLS13, **RETRY).pair() as pair:
        client, server = pair.client.transport, pair.server.transport
        assert isinstance(client, MemoryTransport)
        assert isinstance(server, MemoryTransport)
        for session in (pair.client, pair.server):  # a hello, a HelloRetryRequest
            with pytest.raises(WantReadError):
                session.handshake()
            pair.move()
        with pytest.raises(WantReadError):
            pair.client.handshake()
        server.feed(change(client.drain()))
        with pytest.raises(GnuTLSError) as caught:
            pair.server.handshake()
        if refused:
            assert caught.value.name == "GNUTLS_E_RECEIVED_ILLEGAL_PARAMETER"
        else:
            assert isinstance(caught.value, WantReadError)


# -- what is offered --------------------------------------------------------------------------

FULL = (None, False)  # no error, not resumed


def name_of_key(priority: str, period: int) -> bytes:
    """The name of the derived key, so many periods from now."""
    version = Protocol.TLS1_2 if priority == TLS12 else Protocol.TLS1_3
    return derived(ticket_key(RAW, POLICY, version), period)[:NAME]


@each_version
def test_hello_without_a_ticket_offers_none(priority: str, certificates: Certificates) -> None:
    seen = show(certificates, hello(certificates, priority).body, priority)
    assert (seen.error, seen.resumed) == FULL
    assert seen.offer is TicketOffer.NONE


@each_version
@pytest.mark.parametrize(
    ("period", "offer"),
    [
        (1, TicketOffer.UNKNOWN_KEY),
        (0, TicketOffer.KNOWN_KEY),
        (-1, TicketOffer.KNOWN_KEY),
        (-2, TicketOffer.UNKNOWN_KEY),
    ],
)
def test_ticket_is_known_by_its_key_of_this_period_and_the_one_before(
    period: int, offer: TicketOffer, priority: str, certificates: Certificates
) -> None:
    ticket = name_of_key(priority, period) + bytes(100)
    seen = show(certificates, offering(hello(certificates, priority), priority, ticket), priority)
    assert (seen.error, seen.resumed) == FULL
    assert seen.offer is offer


@each_version
@pytest.mark.parametrize("size", [1, 15, 16, 17])
def test_short_ticket_is_known_by_a_whole_name_only(
    size: int, priority: str, certificates: Certificates
) -> None:
    ticket = (name_of_key(priority, 0) + bytes(1))[:size]
    seen = show(certificates, offering(hello(certificates, priority), priority, ticket), priority)
    assert (seen.error, seen.resumed) == FULL
    assert seen.offer is (TicketOffer.KNOWN_KEY if size >= 16 else TicketOffer.UNKNOWN_KEY)


@many
@given(
    priority=st.sampled_from([TLS12, TLS13]),
    known=st.booleans(),
    rest=st.binary(min_size=1, max_size=1000),
)
def test_garbage_ticket_makes_a_full_handshake(
    *, priority: str, known: bool, rest: bytes, certificates: Certificates
) -> None:
    ticket = (name_of_key(priority, 0) if known else b"") + rest
    seen = show(certificates, offering(fresh(certificates, priority), priority, ticket), priority)
    assert (seen.error, seen.resumed) == FULL
    assert seen.offer is (TicketOffer.KNOWN_KEY if known else TicketOffer.UNKNOWN_KEY)


@many
@given(data=st.data(), priority=st.sampled_from([TLS12, TLS13]))
def test_changed_ticket_does_not_resume(
    data: st.DataObject, priority: str, certificates: Certificates
) -> None:
    body = template(certificates, priority)
    good = Hello.parse(body)
    kind = SESSION_TICKET if priority == TLS12 else PRE_SHARED_KEY
    ticket = bytearray(good.extensions[kind])
    if priority == TLS13:
        ticket = ticket[4 : 4 + int.from_bytes(ticket[2:4])]
    at = data.draw(st.integers(0, len(ticket) - 1))
    ticket[at] ^= data.draw(st.integers(1, 255))
    seen = show(certificates, offering(good, priority, bytes(ticket)), priority)
    assert (seen.error, seen.resumed) == FULL
    assert seen.offer is (TicketOffer.UNKNOWN_KEY if at < 16 else TicketOffer.KNOWN_KEY)


@lru_cache
def fresh(certificates: Certificates, priority: str) -> Hello:
    return hello(certificates, priority)


@pytest.mark.parametrize(
    "extension",
    [b"", b"\0\0", b"\0\2\0\0", b"\0\6\0\0" + bytes(4), b"\0\5\0\4x", psk(b"x" * 20)[:20]],
    ids=repr,
)
def test_malformed_psk_offers_nothing(extension: bytes, certificates: Certificates) -> None:
    """Nor does it hide the name: in TLS 1.2 GnuTLS goes on."""
    for priority in (TLS12, TLS13):
        body = hello(certificates, priority).with_extension(PRE_SHARED_KEY, extension).body
        seen = show(certificates, body, priority)
        assert (seen.offer, seen.resumed) == (TicketOffer.NONE, False)
        assert seen.in_hook == seen.by_gnutls == [HOST]
        assert seen.error is None or priority == TLS13


@each_version
def test_server_without_a_derived_key_knows_no_ticket(
    priority: str, certificates: Certificates
) -> None:
    setting = Setting(certificates, priority)
    setting.prepare = lambda _, server: server.ticket_derive(SECRET, POLICY)
    data, _ = setting.connect()
    setting.prepare = None
    with setting.pair(data) as pair:
        pair.handshake()
        assert pair.resumed == (False, False)
        assert pair.server.ticket_offered() is TicketOffer.UNKNOWN_KEY
