"""Made under A, offered under B: a client's session is found by its equal alone.

The server is a bare session that resumes every ticket of its key, whoever brings it: what was
offered would be resumed.
"""

import itertools
import ssl
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import certify
import pytest
from certify import Issued
from conftest import HOST
from wrapped import TLS12, TLS13, Wire, bare_server, connect, each_version

from gnutls_resume import HandshakeKind, MemoryStore, MissReason, SealingKey, SSLContext
from gnutls_resume.binding import CertificateRequest, Credentials, TicketKey

OTHER_HOST = "other.example"


@dataclass
class World:
    """An authority whose server everybody accepts, and others that few trust."""

    folder: Path
    root: Issued
    others: list[Issued]
    client: Issued
    renewed: Issued
    second: Issued
    servers: dict[str, Credentials]
    key: TicketKey = field(default_factory=TicketKey.generate)

    def file(self, name: str, *pieces: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(b"".join(pieces))
        return path

    def server(self, version: ssl.TLSVersion, issuer: str) -> Any:
        session = bare_server(self.servers[issuer], self.key, version)
        session.certificate_server_set_request(CertificateRequest.REQUEST)
        session.alpn_set_protocols([b"h2", b"http/1.1", b"ab", b"a"])
        return session


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root, *others = (certify.issue(f"root {i}", ca=True) for i in range(4))
    names = [HOST, OTHER_HOST, "*.example.org", "127.0.0.1", "::1"]
    leaves = {
        issuer: certify.issue("server", one, names=names)
        for issuer, one in (("root", root), ("other", others[0]))
    }
    client = certify.issue("client", root)
    return World(
        folder=tmp_path_factory.mktemp("world"),
        root=root,
        others=others,
        client=client,
        renewed=certify.issue("client", root, key=client.key),
        second=certify.issue("client", root),
        servers={
            issuer: Credentials(certificate=leaf.pem, key=leaf.key_pem)
            for issuer, leaf in leaves.items()
        },
    )


@dataclass(frozen=True)
class Configuration:
    """How a client differs from the plain one: its name, what is done to its context before it
    is used, keywords of the context, the host it asks for, and who signed that server.
    """

    name: str
    prepare: Callable[[SSLContext, World], object] = lambda context, world: None
    own: dict[str, Any] = field(default_factory=dict)
    host: str = HOST
    server: str = "root"

    def context(self, world: World, store: Any, **own: Any) -> SSLContext:
        context = SSLContext(ssl.PROTOCOL_TLS_CLIENT, sessions=store, **{**self.own, **own})
        if self.server == "root":
            trust(context, world.root)
        self.prepare(context, world)
        return context

    def connect(self, world: World, store: Any, version: ssl.TLSVersion, **own: Any) -> Wire:
        context = self.context(world, store, **own)
        return connect(context, world.server(version, self.server), self.host)


def trust(context: SSLContext, *anchors: Issued) -> None:
    context.load_verify_locations(cadata="".join(one.pem.decode() for one in anchors))


def trusting(*numbers: int) -> Callable[[SSLContext, World], object]:
    return lambda context, world: trust(context, *(world.others[i] for i in numbers))


def revoking(end: int, flags: ssl.VerifyFlags | int) -> Callable[[SSLContext, World], object]:
    """With revocation lists of the root, which ends after so many days, and of others."""

    def prepare(context: SSLContext, world: World) -> None:
        lists = [certify.crl(world.root, end=end * certify.DAY)]
        path = world.folder / f"revoked-{end}.pem"
        if not path.exists():  # a second list made from the same is another one
            path.write_bytes(b"".join(lists))
        context.load_verify_locations(path)
        context.verify_flags |= flags

    return prepare


def setting(**attributes: Any) -> Callable[[SSLContext, World], object]:
    def prepare(context: SSLContext, world: World) -> None:
        for name, value in attributes.items():
            setattr(context, name, value)

    return prepare


def from_version_1_1(context: SSLContext, world: World) -> None:
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version = ssl.TLSVersion.TLSv1_1


def flagged(flags: int, *, off: int = 0) -> Callable[[SSLContext, World], object]:
    def prepare(context: SSLContext, world: World) -> None:
        context.verify_flags = context.verify_flags & ~off | flags

    return prepare


def speaking(*protocols: str) -> Callable[[SSLContext, World], object]:
    return lambda context, world: context.set_alpn_protocols(protocols)


def showing(*which: str) -> Callable[[SSLContext, World], object]:
    """With certificates of its own."""

    def prepare(context: SSLContext, world: World) -> None:
        for name in which:
            one = getattr(world, name)
            context.load_cert_chain(world.file(f"{name}.pem", one.pem, one.key_pem))

    return prepare


def one_after_another(
    *steps: Callable[[SSLContext, World], object],
) -> Callable[[SSLContext, World], object]:
    def prepare(context: SSLContext, world: World) -> None:
        for step in steps:
            step(context, world)

    return prepare


no_names = setting(check_hostname=False)
nothing_verified = one_after_another(no_names, setting(verify_mode=ssl.CERT_NONE))
AES_256 = "NORMAL:-CIPHER-ALL:+AES-256-GCM"
CONFIGURATIONS = [
    Configuration("plain"),
    Configuration("other host", host=OTHER_HOST),
    Configuration("host in capitals", host=HOST.upper()),
    Configuration("host by address", host="127.0.0.1"),
    Configuration("host by IPv6 address", host="::1"),
    Configuration("host under a wildcard", host="a.example.org"),
    Configuration("other host under the wildcard", host="b.example.org"),
    Configuration("no names checked", no_names),
    Configuration("nothing verified", nothing_verified),
    Configuration("nothing verified, no trust", nothing_verified, server="other"),
    Configuration(
        "verified if shown", one_after_another(no_names, setting(verify_mode=ssl.CERT_OPTIONAL))
    ),
    Configuration("no common names", setting(hostname_checks_common_name=False)),
    Configuration("strict", flagged(ssl.VERIFY_X509_STRICT)),
    Configuration("partial chains", flagged(ssl.VERIFY_X509_PARTIAL_CHAIN)),
    Configuration("trusted not first", flagged(0, off=ssl.VERIFY_X509_TRUSTED_FIRST)),
    Configuration("leaf's list", revoking(1, ssl.VERIFY_CRL_CHECK_LEAF)),
    Configuration("chain's lists", revoking(1, ssl.VERIFY_CRL_CHECK_CHAIN)),
    Configuration("list not looked at", revoking(1, 0)),
    Configuration("other list", revoking(2, ssl.VERIFY_CRL_CHECK_LEAF)),
    Configuration(
        "both lists",
        one_after_another(revoking(1, 0), revoking(2, ssl.VERIFY_CRL_CHECK_LEAF)),
    ),
    Configuration("anchor added", trusting(1)),
    Configuration("other anchor added", trusting(2)),
    Configuration("two anchors added", trusting(1, 2)),
    Configuration("other anchors alone", trusting(0), server="other"),
    Configuration("other anchors and one", trusting(0, 1), server="other"),
    Configuration("client certificate", showing("client")),
    Configuration("renewed client certificate", showing("renewed")),
    Configuration("other client key", showing("second")),
    Configuration(
        "client certificate, unverified", one_after_another(nothing_verified, showing("client"))
    ),
    Configuration("priority", own={"priority": AES_256}),
    Configuration("other priority", own={"priority": AES_256 + ":-GROUP-ALL:+GROUP-SECP256R1"}),
    Configuration("h2", speaking("h2")),
    Configuration("http/1.1", speaking("http/1.1")),
    Configuration("h2, http/1.1", speaking("h2", "http/1.1")),
    Configuration("http/1.1, h2", speaking("http/1.1", "h2")),
    Configuration("ab, c", speaking("ab", "c")),
    Configuration("a, bc", speaking("a", "bc")),
    Configuration("version 1.1 too", from_version_1_1),
    Configuration("partition", own={"partition": b"a"}),
    Configuration("other partition", own={"partition": b"b"}),
    Configuration("longer partition", own={"partition": b"ab"}),
    Configuration("partition like a host", own={"partition": OTHER_HOST.encode()}),
    Configuration("other host in a partition", host=OTHER_HOST, own={"partition": b"a"}),
]
BY_VERSION = {
    TLS12: [
        *CONFIGURATIONS,
        Configuration("1.2 only", setting(maximum_version=TLS12)),
        Configuration(
            "1.1 and 1.2", one_after_another(from_version_1_1, setting(maximum_version=TLS12))
        ),
    ],
    TLS13: [*CONFIGURATIONS, Configuration("1.3 only", setting(minimum_version=TLS13))],
}


def test_there_are_forty_configurations_and_more() -> None:
    assert len({one.name for one in CONFIGURATIONS}) == len(CONFIGURATIONS) >= 40


def assert_full(made: Wire, names: object) -> None:
    assert made.resumed == (False, False), names
    assert made.client.miss_reason is MissReason.NONE_STORED, names


def assert_resumed(made: Wire, names: object) -> None:
    assert made.resumed == (True, True), names
    assert made.client.handshake_kind is HandshakeKind.RESUMED_TICKET, names


@each_version
@pytest.mark.parametrize("order", [1, -1])
def test_who_comes_later_finds_only_what_its_equal_has_learnt(
    world: World, version: ssl.TLSVersion, order: int
) -> None:
    """Each meets a store with the sessions of all who came before: with both orders, all pairs."""
    store = MemoryStore()
    ordered = BY_VERSION[version][::order]
    for one in ordered:
        assert_full(one.connect(world, store, version), one.name)
    for one in ordered:
        assert_resumed(one.connect(world, store, version), one.name)


@pytest.mark.matrix
@each_version
def test_pair_by_pair_a_session_resumes_on_the_diagonal_only(
    world: World, version: ssl.TLSVersion
) -> None:
    resumed = 0
    for made, offered in itertools.product(BY_VERSION[version], repeat=2):
        store = MemoryStore()
        made.connect(world, store, version)
        later = offered.connect(world, store, version)
        if made is offered:
            assert_resumed(later, made.name)
            resumed += 1
        else:
            assert_full(later, (made.name, offered.name))
    assert resumed == len(BY_VERSION[version])


@each_version
def test_session_handed_in_by_hand_resumes_on_the_diagonal_only(
    world: World, version: ssl.TLSVersion
) -> None:
    configurations = BY_VERSION[version][::3]
    for made in configurations:
        session = made.connect(world, None, version).client.session
        for offered in configurations:
            context = offered.context(world, None)
            server = world.server(version, offered.server)
            later = Wire(context, server, offered.host, session=session)
            later.handshake()
            names = made.name, offered.name
            if made is offered:
                assert_resumed(later, names)
            else:
                assert later.resumed == (False, False), names
                assert later.client.miss_reason is MissReason.POLICY_CHANGED, names


@each_version
def test_sealing_keys_keep_the_same_configurations_apart(
    world: World, version: ssl.TLSVersion
) -> None:
    store, plain = MemoryStore(), CONFIGURATIONS[0]
    old = SealingKey.generate()
    keys = [None, old, SealingKey.generate(), SealingKey.generate()]
    for key in keys:
        assert_full(plain.connect(world, store, version, sealing_key=key), key)
    for key in keys:
        assert_resumed(plain.connect(world, store, version, sealing_key=key), key)
    new = SealingKey.generate(previous=old)
    assert_resumed(plain.connect(world, store, version, sealing_key=new), "previous key")


# -- loading the same trust -------------------------------------------------------------------


def hashed_folder(world: World) -> Path:
    """As ``openssl rehash`` makes it."""
    folder = world.folder / "hashed"
    folder.mkdir(exist_ok=True)
    (folder / "01234567.0").write_bytes(world.others[1].pem)
    (folder / "89abcdef.0").write_bytes(world.root.pem)
    return folder


def both_twice(context: SSLContext, world: World) -> None:
    trust(context, world.root, world.others[1])
    trust(context, world.root, world.others[1])


def other_order(context: SSLContext, world: World) -> None:
    trust(context, world.others[1], world.root)


def one_by_one(context: SSLContext, world: World) -> None:
    trust(context, world.others[1])
    trust(context, world.root)


def in_der(context: SSLContext, world: World) -> None:
    context.load_verify_locations(cadata=world.root.der + world.others[1].der)


def by_path(context: SSLContext, world: World) -> None:
    context.load_verify_locations(
        world.file("both.pem", b"a comment\n", world.others[1].pem, world.root.pem)
    )


def by_two_paths(context: SSLContext, world: World) -> None:
    for name, one in (("one.pem", world.root), ("two.pem", world.others[1])):
        context.load_verify_locations(world.file(name, one.pem))


def by_folder(context: SSLContext, world: World) -> None:
    context.load_verify_locations(capath=hashed_folder(world))


def by_all(context: SSLContext, world: World) -> None:
    context.load_verify_locations(
        world.file("one.pem", world.root.pem), hashed_folder(world), world.others[1].der
    )


SAME_TRUST = [both_twice, other_order, one_by_one, in_der, by_path, by_two_paths, by_folder, by_all]


@each_version
def test_same_trust_however_it_was_loaded_is_the_same(
    world: World, version: ssl.TLSVersion
) -> None:
    store = MemoryStore()
    server = world.server(version, "root")
    context = SSLContext(ssl.PROTOCOL_TLS_CLIENT, sessions=store)
    trust(context, world.root, world.others[1])
    assert_full(connect(context, server), "first")
    for load in SAME_TRUST:
        context = SSLContext(ssl.PROTOCOL_TLS_CLIENT, sessions=store)
        load(context, world)
        assert_resumed(connect(context, world.server(version, "root")), load.__name__)


@each_version
def test_trust_loaded_again_on_a_context_in_use_changes_nothing(
    world: World, version: ssl.TLSVersion
) -> None:
    context = CONFIGURATIONS[0].context(world, MemoryStore())
    assert_full(connect(context, world.server(version, "root")), "first")
    for _ in range(3):  # as libraries do it for every connection
        trust(context, world.root)
        context.verify_mode = ssl.CERT_REQUIRED
        context.check_hostname = True
        assert_resumed(connect(context, world.server(version, "root")), "again")


@each_version
def test_setting_that_is_put_back_finds_the_sessions_again(
    world: World, version: ssl.TLSVersion
) -> None:
    context = CONFIGURATIONS[0].context(world, MemoryStore())
    assert_full(connect(context, world.server(version, "root")), "first")
    context.check_hostname = False
    assert_full(connect(context, world.server(version, "root")), "names not checked")
    context.check_hostname = True
    assert_resumed(connect(context, world.server(version, "root")), "put back")
