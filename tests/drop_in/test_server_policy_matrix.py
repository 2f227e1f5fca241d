"""Made at one server, offered to another, by ticket and by session ID: who resumes, and as whom.

All servers have one store and one ring. The client is a bare session that offers what it has to
whomever: the drop-in's would not cross.
"""

import itertools
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import certify
import pytest
from certify import Issued
from wrapped import TLS12, TLS13, Wire, each_version

from gnutls_resume import HandshakeKind, MemoryStore, MissReason, SSLContext, TicketKeyRing
from gnutls_resume.binding import (
    Credentials,
    HandshakeType,
    HookTime,
    InitFlag,
    Sealing,
    Session,
)
from gnutls_resume.binding import session as session_module
from gnutls_resume.binding._ffi import ffi
from gnutls_resume.binding.envelope import Kind, seal, unwrapped

BOTH = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"
HOSTS = "a.example", "b.example"
PROTOCOLS = "h2", "http/1.1"
TICKET, SESSION_ID = "ticket", "session ID"
each_way = pytest.mark.parametrize("way", [TICKET, SESSION_ID])
RESUMED = {TICKET: HandshakeKind.RESUMED_TICKET, SESSION_ID: HandshakeKind.RESUMED_SESSION_ID}
# Why a server does not know what was made elsewhere.
UNKNOWN = {MissReason.NONE_OFFERED, MissReason.KEY_UNKNOWN, MissReason.NONE_STORED}


@dataclass(frozen=True)
class Rule:
    """Whom a server lets in: the names in its certificate, what it asks of clients, and who has to
    have signed them; and its partition.
    """

    names: tuple[str, ...] = HOSTS
    mode: ssl.VerifyMode = ssl.CERT_NONE
    authority: int = 0
    partition: bytes = b""


RULES = [
    Rule(),
    Rule(names=HOSTS[:1]),
    Rule(partition=b"tenant"),
    Rule(mode=ssl.CERT_OPTIONAL),
    Rule(mode=ssl.CERT_OPTIONAL, authority=1),
    Rule(mode=ssl.CERT_REQUIRED),
    Rule(mode=ssl.CERT_REQUIRED, authority=1),
    Rule(mode=ssl.CERT_REQUIRED, partition=b"tenant"),
]


@dataclass(frozen=True)
class Place:
    """A server, and under which name and for which protocol it is visited."""

    version: ssl.TLSVersion
    rule: Rule
    host: str = HOSTS[0]
    alpn: str = PROTOCOLS[0]


VERSIONS = TLS12, TLS13
PLACES = [Place(*parts) for parts in itertools.product(VERSIONS, RULES, HOSTS, PROTOCOLS)]
# Each differs from another one in one thing.
FEW = [
    place
    for place in PLACES
    if (place.host, place.alpn) == (HOSTS[0], PROTOCOLS[0])
    if place.rule not in {RULES[4], RULES[7]}
] + [
    place
    for place in PLACES
    if place.rule == RULES[0]
    if (place.host, place.alpn) in {(HOSTS[1], PROTOCOLS[0]), (HOSTS[0], PROTOCOLS[1])}
]


class World:
    """The servers of one store and one ring, made when they are first visited."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authorities = [certify.issue(f"authority {i}", ca=True) for i in range(2)]
        self.clients = [certify.issue(f"client {i}", one) for i, one in enumerate(self.authorities)]
        self.stranger = certify.issue("stranger")
        self.ring = TicketKeyRing()
        self.store = MemoryStore(max_keys=100_000, max_bytes=1 << 30)
        self._servers: dict[tuple[ssl.TLSVersion, Rule, str], SSLContext] = {}
        self._files: dict[tuple[str, ...], Path] = {}

    def server(self, version: ssl.TLSVersion, rule: Rule, *alpn: str, **own: Any) -> SSLContext:
        """A new one; keywords are SSLContext's."""
        own = {"sessions": self.store, "ticket_keys": self.ring, **own}
        context = SSLContext(ssl.PROTOCOL_TLS_SERVER, partition=rule.partition, **own)
        context.load_cert_chain(self._file(rule.names))
        context.minimum_version = context.maximum_version = version
        context.set_alpn_protocols(alpn)
        context.verify_mode = rule.mode
        context.load_verify_locations(cadata=self.authorities[rule.authority].der)
        return context

    def _file(self, names: tuple[str, ...]) -> Path:
        if names not in self._files:
            made = certify.issue("server", names=names)
            self._files[names] = self.folder / f"server{len(self._files)}.pem"
            self._files[names].write_bytes(made.pem + made.key_pem)
        return self._files[names]

    def at(self, place: Place) -> SSLContext:
        key = place.version, place.rule, place.alpn
        if key not in self._servers:
            self._servers[key] = self.server(*key)
        return self._servers[key]

    def visit(self, place: Place, way: str, data: bytes | None = None, **how: Any) -> Wire:
        """As one who has what the place asks for."""
        how.setdefault("certificate", self.clients[place.rule.authority])
        how.setdefault("host", place.host)
        return Wire(client(way, data, **how), self.at(place))

    def learn(self, place: Place, way: str) -> bytes:
        """The session of a guest."""
        made = self.visit(place, way).handshake()
        made.exchange()
        assert made.resumed == (False, False)
        data = made.client.session.get_data()
        assert isinstance(data, bytes), "there is something to offer"
        return data


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def _nothing_is_poisoned() -> Iterator[None]:
    yield
    assert session_module.poisoned == 0


def client(
    way: str,
    data: bytes | None = None,
    *,
    host: str | None = HOSTS[0],
    certificate: Issued | None = None,
    priority: str = BOTH,
    more: str = "",
) -> Session:
    """One that asks nothing, offers what it is given, and shows its certificate to whoever asks."""
    credentials = Credentials()
    if certificate is not None:
        credentials = Credentials(certificate=certificate.pem, key=certificate.key_pem)
    if way == SESSION_ID:
        more += ":%NO_TICKETS"
    session = Session(
        "client", credentials, priority=priority + more, flags=InitFlag.FORCE_CLIENT_CERT
    )
    if host is not None:
        session.server_name_set(host)
    session.alpn_set_protocols([one.encode() for one in PROTOCOLS])
    if data is not None:
        session.set_data(data)
    return session


def ways(place: Place) -> list[str]:
    """How a session made there can be taken along: TLS 1.3 has tickets alone."""
    return [TICKET] if place.version is TLS13 else [TICKET, SESSION_ID]


# -- all pairs --------------------------------------------------------------------------------


def check_pairs(world: World, places: list[Place]) -> tuple[int, int]:
    """How many resumed, and how many there were."""
    resumed = pairs = 0
    for made in places:
        for way in ways(made):
            data = world.learn(made, way)
            for offered in places:
                pairs += 1
                resumed += check_pair(world, made, offered, way, data)
    return resumed, pairs


def check_pair(world: World, made: Place, offered: Place, way: str, data: bytes) -> bool:
    wire = world.visit(offered, way, data).handshake()
    wire.exchange()
    pair = made, offered, way
    same = made == offered
    assert wire.resumed == (same, same), pair
    assert wire.server.version() == wire.client.session.protocol_get_version().name.replace(
        "TLS1_", "TLSv1."
    )
    assert wire.server.selected_alpn_protocol() == offered.alpn
    if same:
        assert wire.server.handshake_kind is RESUMED[way], pair
        assert wire.server.miss_reason is None, pair
    else:
        assert wire.server.handshake_kind is HandshakeKind.FULL, pair
        assert wire.server.miss_reason in UNKNOWN, pair
    asked = offered.rule.mode != ssl.CERT_NONE
    shown = world.clients[offered.rule.authority].der if asked else None
    assert wire.server.getpeercert(True) == shown, pair
    assert wire.server._sslobj._session.db_failures == 0, pair
    return same


def test_there_are_sixty_four_places() -> None:
    assert len(set(PLACES)) == len(PLACES) == 64
    assert len(set(FEW)) == len(FEW) == 16


def test_session_resumes_where_it_was_made_and_nowhere_else(world: World) -> None:
    """R-33, R-34."""
    resumed, pairs = check_pairs(world, FEW)
    assert (resumed, pairs) == (16 + 8, (16 + 8) * 16)


@pytest.mark.matrix
def test_session_resumes_where_it_was_made_and_nowhere_else_all_pairs(world: World) -> None:
    resumed, pairs = check_pairs(world, PLACES)
    assert (resumed, pairs) == (64 + 32, (64 + 32) * 64)


# -- a client without the certificate ---------------------------------------------------------


def assert_refused(wire: Wire, what: object) -> None:
    """Also in TLS 1.3, where the client believes for a moment that it is in."""
    _, error = wire.outcomes()
    assert isinstance(error, ssl.SSLError), what
    assert error.reason in {
        "PEER_DID_NOT_RETURN_A_CERTIFICATE",
        "CERTIFICATE_VERIFY_FAILED",
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
    }, what
    assert wire.server.outcome is None, what
    assert not wire.server._sslobj._session.is_resumed(), what
    with pytest.raises(ssl.SSLError):
        wire.server.read(1)
    with pytest.raises(ssl.SSLError):
        wire.server.write(b"secret")


def strangers(world: World, place: Place) -> list[Issued | None]:
    """What is shown by those who are not let in."""
    return [None, world.stranger, world.clients[1 - place.rule.authority]]


def check_ways_in(world: World, learnt: list[Place], places: list[Place]) -> int:
    """Nobody comes in with a session that was made elsewhere; returns how many have tried."""
    tried = 0
    sessions = [(made, way, world.learn(made, way)) for made in learnt for way in ways(made)]
    for place, (made, way, data) in itertools.product(places, sessions):
        for host, shown in itertools.product(
            dict.fromkeys((place.host, made.host, None)), strangers(world, place)
        ):
            if shown is not None and host != place.host:
                continue
            if host == made.host and replace(place, host=host) == made:
                continue  # where it was made it is good
            wire = world.visit(place, way, data, host=host, certificate=shown)
            assert_refused(wire, (made, place, way, host))
            tried += 1
    return tried


def requiring(places: list[Place]) -> list[Place]:
    return [place for place in places if place.rule.mode == ssl.CERT_REQUIRED]


def test_no_session_leads_to_a_server_that_requires_a_certificate(world: World) -> None:
    """R-35."""
    assert check_ways_in(world, FEW, requiring(FEW)) > 300


@pytest.mark.matrix
def test_no_session_leads_to_a_server_that_requires_a_certificate_all_pairs(world: World) -> None:
    assert check_ways_in(world, PLACES, requiring(PLACES)) > 8000


INNER = "inner.example"


def choosing(world: World, version: ssl.TLSVersion, own: Rule, **behind: Rule) -> SSLContext:
    """A server that serves some names under other rules."""
    front = world.server(version, own, *PROTOCOLS)
    others = {
        f"{name}.example": world.server(version, rule, *PROTOCOLS) for name, rule in behind.items()
    }

    def choose(sock: Any, name: str | None, _: object) -> None:
        if name in others:
            sock.context = others[name]

    front.sni_callback = choose
    return front


DOORS: dict[str, Callable[[World, ssl.TLSVersion], SSLContext]] = {
    "open in front": lambda world, version: choosing(
        world, version, RULES[0], inner=RULES[5], asked=RULES[3], tenant=RULES[2]
    ),
    "asked in front": lambda world, version: choosing(world, version, RULES[3], inner=RULES[5]),
    "required in front": lambda world, version: choosing(
        world, version, RULES[5], elsewhere=RULES[0], asked=RULES[3]
    ),
}
NAMES = [INNER, "asked.example", "tenant.example", "elsewhere.example", HOSTS[0], None]


@each_version
@pytest.mark.parametrize("retry", [False, True], ids=["", "HelloRetryRequest"])
def test_no_name_leads_to_a_server_that_requires_a_certificate(
    world: World, version: ssl.TLSVersion, *, retry: bool
) -> None:
    """R-35. A session from wherever one is let in, under every name, at every door."""
    doors = {door: make(world, version) for door, make in DOORS.items()}
    own = {"more": ":-GROUP-ALL:+GROUP-FFDHE2048:+GROUP-X25519"} if retry else {}
    learnt: list[tuple[str, str, str | None, bytes]] = []
    closed: list[tuple[str, str | None]] = []
    for (door, server), name in itertools.product(doors.items(), NAMES):
        for way in [TICKET] if version is TLS13 else [TICKET, SESSION_ID]:
            wire = Wire(client(way, host=name, **own), server)
            if name == INNER or (door == "required in front" and name not in NAMES[1:4:2]):
                assert_refused(wire, (door, name))
                closed.append((door, name))
                continue
            wire.handshake().exchange()
            data = wire.client.session.get_data()
            assert data is not None
            learnt.append((door, way, name, data))
    assert len(learnt) > 10
    for (door, way, name, data), (closed_door, closed_name) in itertools.product(
        learnt, dict.fromkeys(closed)
    ):
        wire = Wire(client(way, data, host=closed_name, **own), doors[closed_door])
        assert_refused(wire, (door, name, closed_door, closed_name))
    for door, way, name, data in learnt:
        again = Wire(client(way, data, host=name, **own), doors[door]).handshake()
        assert again.resumed == (True, True), "where it was made it is good"


# -- whose certificate it is ------------------------------------------------------------------


def aged(session: Session, priority: str) -> Callable[[], bytes]:
    """The session that a TLS 1.3 client will have, with another idea of its ticket's age."""
    secrets: list[bytes] = []
    session.handshake_set_hook_function(
        HandshakeType.NEW_SESSION_TICKET,
        HookTime.PRE,
        lambda _s, _k, _w, _i, message: secrets.append(message[4:8]),
    )

    def make() -> bytes:
        data = session.get_data()
        assert data is not None
        opened = unwrapped(data, b"", Sealing())
        raw = bytearray(ffi.buffer(opened.pointer, opened.size))
        (place,) = [place for one in secrets if (place := raw.find(one)) >= 0]
        raw[place] ^= 0x40  # its highest byte: months
        return seal(
            ffi.new("gnutls_datum_t *", (ffi.from_buffer("unsigned char[]", raw), len(raw))),
            kind=Kind.CLIENT_TICKET,
            protocol_version=opened.header.protocol_version,
            created=opened.header.created,
            expires=opened.header.expires,
            server_name=opened.server_name,
            store_key=b"",
            sealing=Sealing(),
        )

    return make


NOT_BOUND = ":%NO_SESSION_HASH"  # a hello without extended master secret


@pytest.mark.parametrize(
    ("version", "way"), [(TLS12, TICKET), (TLS12, SESSION_ID), (TLS13, TICKET)]
)
@pytest.mark.parametrize("mode", [ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED])
def test_session_that_is_found_and_not_resumed_makes_nobody_somebody_else(
    world: World, version: ssl.TLSVersion, way: str, mode: ssl.VerifyMode
) -> None:
    """A ticket or session ID is seen on the wire. GnuTLS keeps the certificate that it finds in
    there, also where it does not resume, and a client that shows none would have it.
    """
    place = Place(version, Rule(mode=mode))
    guest = client(way, certificate=world.clients[0])
    make = aged(guest, BOTH) if version is TLS13 else guest.get_data
    wire = Wire(guest, world.at(place)).handshake()
    wire.exchange()
    good = guest.get_data()
    stolen = make()
    assert stolen is not None
    more = "" if version is TLS13 else NOT_BOUND

    for shown in (None, certify.issue("other", world.authorities[0])):
        wire = world.visit(place, way, stolen, certificate=shown, more=more)
        if shown is None and mode == ssl.CERT_REQUIRED:
            assert_refused(wire, place)
            continue
        wire.handshake().exchange()
        expected = shown.der if shown else None
        assert wire.resumed == (False, False)
        by_ticket_of_tls12 = (version, way) == (TLS12, TICKET)  # which is not even looked at
        reason = MissReason.KEY_UNKNOWN if by_ticket_of_tls12 else MissReason.REFUSED
        assert wire.server.miss_reason is reason
        assert wire.server.getpeercert(True) == expected
        assert wire.server.getpeercert() == (None if shown is None else wire.server.getpeercert())
        assert wire.server._sslobj._session.certificate_get_peers() == ([expected] if shown else [])
        data = wire.client.session.get_data()
        if version is TLS12:
            continue  # nothing without extended master secret is resumed
        wire = world.visit(place, way, data, certificate=shown).handshake()
        assert wire.resumed == (True, True)
        assert wire.server.getpeercert(True) == expected, "nor at the next connection"

    wire = world.visit(place, way, good).handshake()
    assert wire.resumed == (True, True)
    assert wire.server.getpeercert(True) == world.clients[0].der, "the guest is himself"


@each_way
def test_client_without_extended_master_secret_is_never_refused_for_a_session(
    world: World, way: str
) -> None:
    """It is given none: a resumption without would have to be refused (RFC 7627 §5.3), each time
    that it comes with the same ticket.
    """
    place = Place(TLS12, RULES[0])
    before = world.store.key_count
    data = None
    for _ in range(3):
        wire = world.visit(place, way, data, more=NOT_BOUND).handshake()
        wire.exchange()
        assert wire.resumed == (False, False)
        assert wire.client.session.own.tickets == 0
        data = wire.client.session.get_data()
    assert world.store.key_count == before
    wire = world.visit(place, way, data).handshake()  # it has learnt it meanwhile
    assert wire.resumed == (False, False)
