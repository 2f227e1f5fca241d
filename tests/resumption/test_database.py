"""A server's sessions in a store: found by their ID, under the policy they were made under, and
by nobody else; intact, or not at all.
"""

import contextlib
import datetime as dt
import random
import socket
import ssl
import struct
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import certify
import pytest
from conftest import HOST, Certificates
from drop_in.peers import connected, wanting_certificates, with_certificate
from interop.programs import REQUEST, SECONDS, WAYS, find, run, running
from redis_server import RedisServer, redis_server
from wrapped import (
    PRIORITIES,
    TLS12,
    TLS13,
    Wire,
    client_context,
    connect,
    server_context,
    unchanged,
)

from gnutls_resume import (
    HandshakeKind,
    MemoryStore,
    MissReason,
    SealingKey,
    SSLContext,
    TicketKeyRing,
)
from gnutls_resume.binding import AlertLevel, Credentials, Sealing, Session, envelope
from gnutls_resume.binding import session as session_module
from gnutls_resume.binding._ffi import ffi
from gnutls_resume.binding.envelope import Kind

BY_ID, FULL = HandshakeKind.RESUMED_SESSION_ID, HandshakeKind.FULL
DAMAGED, NONE_STORED = MissReason.DAMAGED, MissReason.NONE_STORED
NO_TICKETS = ":%NO_TICKETS"


class Shelf:
    """A store that a test can reach into. It forgets nothing by itself."""

    private = False
    timeout = 10  # seconds: on a busy computer the guard is to wait

    def __init__(self, *, exposed: bool = False) -> None:
        self.exposed = exposed
        self.values: dict[bytes, bytes] = {}
        self.asked: list[bytes] = []

    def get(self, key: bytes) -> bytes | None:
        self.asked.append(key)
        return self.values.get(key)

    def put(self, key: bytes, value: bytes, ttl: float) -> None:
        self.values[key] = value

    def remove(self, key: bytes) -> None:
        self.values.pop(key, None)

    def add(self, key: bytes, value: bytes, ttl: float) -> bool:
        return self.values.setdefault(key, value) is value

    def push(self, *_: object) -> None:
        raise AssertionError("a server has no stacks")

    take = push

    @property
    def entry(self) -> tuple[bytes, bytes]:
        """The only one."""
        ((name, value),) = self.values.items()
        return name, value


def without_tickets(certificates: Certificates, **own: Any) -> SSLContext:
    context = client_context(certificates, sessions=MemoryStore(), **own)
    context.options |= ssl.OP_NO_TICKET
    context.maximum_version = TLS12  # with TLS 1.3 on, a client sends a random ID
    return context


def server(certificates: Certificates, store: Any, **own: Any) -> SSLContext:
    own.setdefault("ticket_keys", None)
    return server_context(certificates, TLS12, sessions=store, **own)


def bare_client(data: bytes | None = None, credentials: Credentials | None = None) -> Session:
    """One that offers the same session again, whatever has become of it."""
    session = Session(
        "client", credentials or Credentials(), priority=PRIORITIES[TLS12] + NO_TICKETS
    )
    session.server_name_set(HOST)
    if data is not None:
        session.set_data(data)
    return session


def kinds(wire: Wire) -> tuple[HandshakeKind, HandshakeKind]:
    return wire.client.handshake_kind, wire.server.handshake_kind


def db_failures(wire: Wire) -> int:
    return int(wire.server._sslobj._session.db_failures)


@pytest.fixture(autouse=True)
def _nothing_is_poisoned() -> Iterator[None]:
    yield
    assert session_module.poisoned == 0


# -- found by its ID --------------------------------------------------------------------------


def test_session_resumes_by_its_id_on_another_server_of_the_store(
    certificates: Certificates,
) -> None:
    store, client = MemoryStore(), without_tickets(certificates)
    servers = [server(certificates, store) for _ in "ab"]
    assert kinds(connect(client, servers[0])) == (FULL, FULL)
    for one in reversed(servers):
        wire = connect(client, one)
        assert kinds(wire) == (BY_ID, BY_ID)
        assert wire.server.miss_reason is None
        assert db_failures(wire) == 0
    assert store.key_count == 1, "what resumed is not stored again"
    assert kinds(connect(client, server(certificates, MemoryStore()))) == (FULL, FULL)


def test_miss_has_a_reason(certificates: Certificates) -> None:
    client, one = without_tickets(certificates), server(certificates, MemoryStore())
    assert connect(client, one).server.miss_reason is MissReason.NONE_OFFERED
    other = server(certificates, MemoryStore())
    assert connect(client, other).server.miss_reason is NONE_STORED
    assert other.stats["store_misses"] == 1


def test_known_ticket_costs_no_question_to_the_store(certificates: Certificates) -> None:
    store = MemoryStore()
    one = server(certificates, store, ticket_keys=TicketKeyRing())
    client = client_context(certificates, sessions=MemoryStore())
    client.minimum_version = client.maximum_version = TLS12
    connect(client, one)
    asked = one.stats.get("store_misses", 0)
    wire = connect(client, one)
    assert kinds(wire) == (HandshakeKind.RESUMED_TICKET,) * 2
    assert one.stats.get("store_misses", 0) == asked
    assert store.key_count == 0


def test_tls13_costs_no_question_to_the_store(certificates: Certificates) -> None:
    shelf = Shelf()
    one = server_context(certificates, TLS13, sessions=shelf)
    client = client_context(certificates, sessions=MemoryStore())
    for _ in range(2):
        wire = connect(client, one)
    assert kinds(wire) == (HandshakeKind.RESUMED_TICKET,) * 2
    assert "store_misses" not in one.stats
    assert "store_hits" not in one.stats
    assert shelf.asked == []
    assert shelf.values == {}


def test_tls13_without_tickets_says_that_resumption_is_off(certificates: Certificates) -> None:
    """A session database is of no use to it."""
    one = server_context(certificates, sessions=Shelf(), ticket_keys=None)
    wire = connect(client_context(certificates, sessions=MemoryStore()), one)
    assert wire.server.version() == "TLSv1.3"
    assert wire.server.miss_reason is MissReason.DISABLED
    wire = connect(without_tickets(certificates), one)
    assert wire.server.miss_reason is MissReason.NONE_OFFERED


def test_random_id_of_a_client_that_can_do_tls13_costs_one_question(
    certificates: Certificates,
) -> None:
    shelf = Shelf()
    client = client_context(certificates, sessions=MemoryStore())
    assert connect(client, server(certificates, shelf)).server.miss_reason is NONE_STORED
    assert len(shelf.asked) == 1


def test_virtual_hosts_share_a_store_and_no_sessions(certificates: Certificates) -> None:
    store = MemoryStore()
    client = without_tickets(certificates)
    hosts = [server(certificates, store, partition=name) for name in (b"a", b"b")]
    connect(client, hosts[0])
    assert kinds(connect(client, hosts[1])) == (FULL, FULL)


def test_sni_callback_chooses_the_database(certificates: Certificates) -> None:
    stores = MemoryStore(), MemoryStore()
    front, behind = (server(certificates, store) for store in stores)
    front.sni_callback = lambda sock, name, _: setattr(sock, "context", behind)
    client = without_tickets(certificates)
    assert kinds(connect(client, front)) == (FULL, FULL)
    assert [store.key_count for store in stores] == [0, 1]
    assert kinds(connect(client, front)) == (BY_ID, BY_ID)
    assert kinds(connect(client, behind)) == (BY_ID, BY_ID)


@pytest.mark.filterwarnings("ignore:ssl.PROTOCOL_TLS ")
def test_context_for_both_sides_has_a_database_too(certificates: Certificates) -> None:
    store = MemoryStore()
    both = SSLContext(ssl.PROTOCOL_TLS, sessions=store, ticket_keys=None)
    both.load_cert_chain(certificates.certificate_file, certificates.key_file)
    client = without_tickets(certificates)
    assert kinds(connect(client, both)) == (FULL, FULL)
    assert kinds(connect(client, both)) == (BY_ID, BY_ID)
    assert store.key_count == 1
    assert "ring_epoch" not in both.stats, "it has none"
    assert "ring_epoch" in SSLContext(ssl.PROTOCOL_TLS).stats


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
def test_id_in_a_hello_of_another_version_is_another(certificates: Certificates) -> None:
    """GnuTLS would go back to the version of the session."""
    shelf = Shelf()
    one = server(certificates, shelf)
    one.minimum_version = ssl.TLSVersion.TLSv1_1
    data = connect(bare_client(), one).client.session.get_data()
    (name,) = shelf.values
    for version, known in ((b"\3\2", False), (b"\3\3", True)):
        wire = Wire(bare_client(data), one)
        with pytest.raises(ssl.SSLWantReadError):
            wire.client.do_handshake()
        hello = wire.ends[0].outgoing.read()
        assert hello[9:11] == b"\3\3"
        wire.ends[1].incoming.write(hello[:9] + version + hello[11:])
        with pytest.raises(ssl.SSLWantReadError):
            wire.server.do_handshake()
        assert (shelf.asked[-1] == name) is known


def test_entry_lives_as_long_as_a_ticket_would(certificates: Certificates) -> None:
    """And so in the store."""
    ttls: list[float] = []

    class Noting(Shelf):
        def put(self, key: bytes, value: bytes, ttl: float) -> None:
            super().put(key, value, ttl)
            ttls.append(ttl)

    ring = TicketKeyRing(period=500)
    for own, lifetime in (
        ({}, 86_400),
        ({"session_lifetime": 100}, 100),
        ({"session_lifetime": 100, "ticket_keys": ring}, 500),
    ):
        shelf = Noting()
        connect(bare_client(), server(certificates, shelf, **own))
        header = envelope.read_header(shelf.entry[1])
        assert header.expires - header.created == lifetime
        assert lifetime - 2 < ttls[-1] <= lifetime


def test_session_without_extended_master_secret_is_not_kept(certificates: Certificates) -> None:
    shelf = Shelf()
    session = Session(
        "client", Credentials(), priority=PRIORITIES[TLS12] + NO_TICKETS + ":%NO_SESSION_HASH"
    )
    wire = connect(session, server(certificates, shelf))
    assert not wire.server.session_reused
    assert shelf.values == {}


# -- across processes -------------------------------------------------------------------------

WORKER = """
import socket, ssl, sys
from gnutls_resume import RedisStore, SealingKey, SQLiteStore, SSLContext

number, certificate, key, url, secret = sys.argv[1:]
sealing_key = SealingKey(bytes.fromhex(secret))
store = RedisStore(url, timeout=1) if url.startswith("redis:") else SQLiteStore(url, timeout=1)
context = SSLContext(ssl.PROTOCOL_TLS_SERVER, sessions=store, sealing_key=sealing_key)
context.load_cert_chain(certificate, key)
with socket.socket(fileno=int(number)) as listener:
    sock, _ = listener.accept()
    with context.wrap_socket(sock, server_side=True) as tls:
        tls.recv(1000)
        tls.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n")
        print(tls.version(), tls.handshake_kind.value, end="")
        try:
            tls.unwrap()
        except OSError:
            pass
"""


class Workers:
    """Processes of which each serves one connection, at one port."""

    def __init__(self, certificates: Certificates, url: str, listener: socket.socket) -> None:
        self.certificates = certificates
        self.listener = listener
        self.port = str(listener.getsockname()[1])
        self._url, self._secret = url, random.randbytes(32).hex()  # noqa: S311

    @contextlib.contextmanager
    def serving(self, *expected: str) -> Iterator[None]:
        """So many of them, one after the other as far as the kernel goes; what they say."""
        command = [
            sys.executable, "-P", "-c", WORKER, str(self.listener.fileno()),
            self.certificates.certificate_file, self.certificates.key_file,
            self._url, self._secret,
        ]  # fmt: skip
        workers = [
            subprocess.Popen(
                command,
                pass_fds=[self.listener.fileno()],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in expected
        ]
        try:
            yield
            said = [worker.communicate(timeout=SECONDS) for worker in workers]
        finally:
            for worker in workers:
                worker.kill()
                worker.communicate()
        assert [error for _, error in said if error] == []
        assert sorted(words for words, _ in said) == sorted(expected)


NEW, REUSED = f"TLSv1.2 {FULL.value}", f"TLSv1.2 {BY_ID.value}"


def by_s_client(workers: Workers, folder: Path) -> None:
    session = folder / "session.pem"
    command = (
        *(find("openssl"), "s_client", "-connect", f"127.0.0.1:{workers.port}", "-ign_eof"),
        *("-no_ticket", "-tls1_2", "-servername", HOST, "-verify_return_error"),
        *("-CAfile", workers.certificates.trust_file),
    )
    for option, expected, word in (("-sess_out", NEW, "New"), ("-sess_in", REUSED, "Reused")):
        with workers.serving(expected):
            done = run(*command, option, session, text=REQUEST)
        assert done.returncode == 0, done.stderr
        assert f"\n{word}, TLSv1.2" in done.stdout


def by_gnutls_cli(workers: Workers, folder: Path) -> None:
    priority = WAYS["tls12-by-id"].priority
    with (
        workers.serving(NEW, REUSED),
        running(
            *(find("gnutls-cli"), "--resume", f"--port={workers.port}", "127.0.0.1"),
            *(f"--x509cafile={workers.certificates.trust_file}", f"--priority={priority}"),
            *(f"--sni-hostname={HOST}", f"--verify-hostname={HOST}"),
        ) as client,
    ):
        client.write(REQUEST)
        assert "This is a resumed session" in client.join()


def by_ssl(workers: Workers, folder: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    by_context(workers, context)


def by_our_client(workers: Workers, folder: Path) -> None:
    by_context(workers, SSLContext(ssl.PROTOCOL_TLS_CLIENT, sessions=MemoryStore()))


def by_context(workers: Workers, context: ssl.SSLContext) -> None:
    context.load_verify_locations(workers.certificates.trust_file)
    context.maximum_version = TLS12
    context.options |= ssl.OP_NO_TICKET
    session = None
    for expected in (NEW, REUSED):
        with (
            workers.serving(expected),
            socket.create_connection(("127.0.0.1", int(workers.port)), SECONDS) as sock,
            context.wrap_socket(sock, server_hostname=HOST, session=session) as tls,
        ):
            tls.sendall(REQUEST.encode())
            assert tls.recv(1000)
            assert tls.session_reused is (expected is REUSED)
            session = tls.session


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
@pytest.mark.parametrize("visit", [by_s_client, by_gnutls_cli, by_ssl, by_our_client])
def test_session_of_one_process_resumes_in_another(
    certificates: Certificates,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    kind: str,
    visit: Callable[[Workers, Path], None],
) -> None:
    in_a_file = str(tmp_path / "sessions")
    url = request.getfixturevalue("redis").url if kind == "redis" else in_a_file
    with socket.create_server(("127.0.0.1", 0)) as listener:
        visit(Workers(certificates, url, listener), tmp_path)


# -- sealed, or with a checksum ---------------------------------------------------------------


def resumed_with(
    certificates: Certificates, store: Any, client: SSLContext, key: SealingKey | None
) -> bool:
    wire = connect(client, server(certificates, store, sealing_key=key))
    assert kinds(wire) in {(BY_ID, BY_ID), (FULL, FULL)}
    assert db_failures(wire) == 0, "it was not found, or is good"
    return bool(wire.server.session_reused)


def test_sealing_key_is_needed_to_find_a_session(certificates: Certificates) -> None:
    """R-5."""
    store, client = MemoryStore(), without_tickets(certificates)
    old = SealingKey.generate()
    assert not resumed_with(certificates, store, client, old)
    assert resumed_with(certificates, store, client, old)
    assert resumed_with(certificates, store, client, SealingKey.generate(previous=old))
    for other in (None, SealingKey.generate(), SealingKey.generate(previous=SealingKey.generate())):
        stranger = without_tickets(certificates)  # each full handshake makes another session
        assert not resumed_with(certificates, store, stranger, old)
        assert resumed_with(certificates, store, stranger, old)
        assert not resumed_with(certificates, store, stranger, other)


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "checksum"])
def test_previous_key_loses_nothing_and_is_gone_when_it_goes(
    certificates: Certificates, *, sealed: bool
) -> None:
    shelf = Shelf(exposed=sealed)
    old = SealingKey.generate() if sealed else None
    new = SealingKey.generate(previous=old)
    clients = [without_tickets(certificates) for _ in range(10)]
    for client in clients:
        assert not resumed_with(certificates, shelf, client, old)
    for client in clients:
        # A checksum anyone can make: with a key, only what it sealed is believed.
        assert resumed_with(certificates, shelf, client, new) is sealed
    if sealed:
        alone = SealingKey.generate()
        assert not any(resumed_with(certificates, shelf, client, alone) for client in clients)


def test_fatal_alert_removes_what_was_found_under_the_previous_key(
    certificates: Certificates,
) -> None:
    shelf, client, old = Shelf(), without_tickets(certificates), SealingKey.generate()
    assert not resumed_with(certificates, shelf, client, old)
    new = server(certificates, shelf, sealing_key=SealingKey.generate(previous=old))
    wire = connect(client, new)
    assert kinds(wire) == (BY_ID, BY_ID)
    break_record(wire)
    assert shelf.values == {}


def test_nothing_of_a_session_stands_in_a_sealed_store(certificates: Certificates) -> None:
    """R-8. And each entry is another, also of the same client."""
    shelf, key = Shelf(exposed=True), SealingKey.generate()
    one = server(certificates, shelf, sealing_key=key)
    wire = connect(bare_client(), one)
    session_id = wire.client.session.get_id()
    connect(bare_client(), one)
    assert len(shelf.values) == len(set(shelf.values.values())) == 2
    for word in (HOST.encode(), session_id):
        assert not any(word in part for item in shelf.values.items() for part in item)
    clear = Shelf()
    connect(bare_client(), server(certificates, clear))
    assert HOST.encode() in clear.entry[1], "the words are looked for where they would stand"


# -- entries that are another's, or older, or something else ----------------------------------


def each_protection(function: Any) -> Any:
    return pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "checksum"])(function)


def assert_full(wire: Wire, reason: MissReason, *, noticed: int = 1) -> None:
    """And the entry that was found is gone, and the session that was made instead is there."""
    assert wire.resumed == (False, False)
    assert wire.server.miss_reason is reason
    assert db_failures(wire) == noticed


@each_protection
def test_swapped_entries_do_not_resume(certificates: Certificates, *, sealed: bool) -> None:
    """R-4."""
    shelf = Shelf()
    one = server(certificates, shelf, sealing_key=SealingKey.generate() if sealed else None)
    clients = [without_tickets(certificates) for _ in "ab"]
    for client in clients:
        connect(client, one)
    names = list(shelf.values)
    shelf.values = dict(zip(names, reversed(shelf.values.values()), strict=True))
    for client, name in zip(clients, names, strict=True):
        assert_full(connect(client, one), DAMAGED)
        assert name not in shelf.values, "it is removed"
        assert kinds(connect(client, one)) == (BY_ID, BY_ID), "and the one made instead is not"
    assert len(shelf.values) == 2


@each_protection
def test_entry_of_another_context_does_not_resume_under_the_same_id(
    certificates: Certificates, *, sealed: bool
) -> None:
    shelf, key = Shelf(), SealingKey.generate() if sealed else None
    made, offered = (
        server(certificates, shelf, sealing_key=key, partition=name) for name in (b"a", b"b")
    )
    data = connect(bare_client(), made).client.session.get_data()
    _, entry = shelf.entry
    assert_full(connect(bare_client(data), offered), NONE_STORED, noticed=0)
    shelf.values[shelf.asked[-1]] = entry
    assert_full(connect(bare_client(data), offered), DAMAGED)
    assert connect(bare_client(data), made).resumed == (True, True), "where it was made it is good"


@each_protection
def test_older_copy_with_another_end_does_not_resume(
    certificates: Certificates, *, sealed: bool
) -> None:
    """Whoever writes to the store may put back what was removed, and no later end."""
    shelf = Shelf()
    one = server(certificates, shelf, sealing_key=SealingKey.generate() if sealed else None)
    data = connect(bare_client(), one).client.session.get_data()
    name, entry = shelf.entry
    header = envelope.read_header(entry)
    for created, expires in (
        (header.created, header.expires + 1),
        (header.created + 1, header.expires),
        (header.created - 1, header.expires - 1),
        (header.created + 86_400, header.expires + 86_400),
    ):
        changed = header._replace(created=created, expires=expires)
        shelf.values = {name: envelope.HEADER.pack(*changed) + entry[envelope.HEADER.size :]}
        assert_full(connect(bare_client(data), one), DAMAGED)
    shelf.values = {name: entry}
    assert connect(bare_client(data), one).resumed == (True, True)


def resealed(
    entry: bytes, wire: Wire, session_id: bytes, behind: bytes = b"", **changes: Any
) -> bytes:
    """The entry as one makes it who has the key; with something behind it."""
    sealing = wire.server._sslobj._session._sealing
    opened = envelope.unwrapped(entry, session_id, sealing)
    header = opened.header
    fields = {
        "kind": Kind(header.kind),
        "protocol_version": header.protocol_version,
        "created": header.created,
        "expires": header.expires,
        "server_name": HOST,
        "store_key": session_id,
        "sealing": sealing,
    }
    raw = ffi.from_buffer(bytes(ffi.buffer(opened.pointer, opened.size)) + behind)
    datum = ffi.new("gnutls_datum_t *", (ffi.cast("unsigned char *", raw), len(raw)))
    return envelope.seal(datum, **{**fields, **changes})


@each_protection
def test_what_is_no_servers_entry_does_not_resume(
    certificates: Certificates, *, sealed: bool
) -> None:
    """Also if it was made by one who has the key: a client's session, or ticket keys."""
    shelf, key = Shelf(), SealingKey.generate() if sealed else None
    one = server(certificates, shelf, sealing_key=key)
    first = connect(bare_client(), one)
    data, session_id = first.client.session.get_data(), first.client.session.get_id()
    name, entry = shelf.entry
    client = without_tickets(certificates, sealing_key=key)
    other = Shelf()
    client._resuming.cache.store = other
    connect(client, one)
    keys = Shelf()
    TicketKeyRing.from_store(keys, sealing_key=key)
    strange = {
        "a client's session": other.entry[1],
        "of a client's kind": resealed(entry, first, session_id, kind=Kind.CLIENT_SESSION_ID),
        "of a ticket's kind": resealed(entry, first, session_id, kind=Kind.CLIENT_TICKET),
        "of ticket keys' kind": resealed(entry, first, session_id, kind=Kind.TICKET_KEYS),
        "ticket keys": next(iter(keys.values.values())),
        "without a seal" if sealed else "with a seal": resealed(
            entry, first, session_id,
            sealing=Sealing(None if sealed else SealingKey.generate(), first_context(first)),
        ),
        "under another ID": resealed(entry, first, session_id, store_key=session_id[::-1]),
        "without a context": resealed(entry, first, session_id, sealing=Sealing(key)),
    }  # fmt: skip
    for what, value in strange.items():
        shelf.values = {name: value}
        wire = connect(bare_client(data), one)
        assert wire.resumed == (False, False), what
        assert wire.server.miss_reason is DAMAGED, what
        assert db_failures(wire) == 1, what
        assert name not in shelf.values, what
    shelf.values = {name: resealed(entry, first, session_id)}
    assert connect(bare_client(data), one).resumed == (True, True), "made the same way it is good"


def first_context(wire: Wire) -> bytes:
    context = wire.server._sslobj._session._sealing.context
    assert callable(context)
    return bytes(context())


def test_entry_of_another_version_of_gnutls_does_not_resume(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf()
    one = server(certificates, shelf)
    with monkeypatch.context() as patch:
        patch.setattr(envelope, "GNUTLS_VERSION_NUMBER", 0x030900)
        made = connect(bare_client(), one)
    data = made.client.session.get_data()
    assert_full(connect(bare_client(data), one), MissReason.OTHER_VERSION)
    assert len(shelf.values) == 1


# -- damage -----------------------------------------------------------------------------------


def damaged(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """In one of many ways."""
    where = rng.randrange(len(data))
    some = bytearray(data)
    way = rng.randrange(7)
    if way == 0:
        return data[:where]
    if way in {1, 2}:
        some[where] ^= 1 << rng.randrange(8)
    elif way == 3:
        for _ in range(rng.randint(2, 8)):
            some[rng.randrange(len(data))] = rng.randrange(256)
    elif way == 4:
        number = rng.choice((0, 1, 0x7F, 0x80, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF))
        some[where : where + 4] = number.to_bytes(4)
    elif way == 5:
        some = some[:where] + bytearray(other[rng.randrange(len(other)) :])
    else:
        some += rng.randbytes(rng.randint(1, 64))
    return bytes(some)


def check_damages(certificates: Certificates, count: int, part: int) -> None:
    """Half of the entries have a client's chain of two, half of them are sealed."""
    for number, (sealed, shown) in enumerate(
        (sealed, shown) for sealed in (False, True) for shown in (False, True)
    ):
        shelf = Shelf()
        one = server(certificates, shelf, sealing_key=SealingKey.generate() if sealed else None)
        credentials = Credentials()
        if shown:
            wanting_certificates(one, certificates)
            credentials = certificates.client_with_certificate()
        data = connect(bare_client(None, credentials), one).client.session.get_data()
        name, entry = shelf.entry
        connect(bare_client(None, credentials), one)
        other = next(value for value in shelf.values.values() if value != entry)
        rng = random.Random(4 * part + number)  # noqa: S311 - the same in every run
        for turn in range(count // 4):
            value = damaged(rng, entry, other)
            if value == entry:
                continue
            shelf.values = {name: value}
            wire = Wire(bare_client(data, credentials), one).handshake()
            assert wire.resumed == (False, False), (number, turn)
            assert wire.server.miss_reason in {DAMAGED, MissReason.OTHER_VERSION}, (number, turn)
            assert db_failures(wire) == 1
            assert name not in shelf.values
            assert len(shelf.values) == 1
            assert bool(wire.server.getpeercert()) is shown
        shelf.values = {name: entry}
        assert connect(bare_client(data, credentials), one).resumed == (True, True)


def test_damaged_entries_are_full_handshakes(certificates: Certificates) -> None:
    """R-3: none resumes, none fails, none brings the process down."""
    check_damages(certificates, 2_000, part=0)


@pytest.mark.matrix
@pytest.mark.parametrize("part", range(1, 11))
def test_hundred_thousand_damaged_entries_are_full_handshakes(
    certificates: Certificates, part: int
) -> None:
    check_damages(certificates, 10_000, part)


@pytest.mark.parametrize("size", [0, 65_537, 1 << 20, 10_000_000])
def test_entry_of_a_strange_size_is_refused_before_it_is_copied(
    certificates: Certificates, size: int
) -> None:
    """R-6. The first bytes are good."""
    shelf = Shelf()
    one = server(certificates, shelf)
    data = connect(bare_client(), one).client.session.get_data()
    name, entry = shelf.entry
    value = entry + bytes(size - len(entry)) if size else b""
    shelf.values = {name: value}
    wire = Wire(bare_client(data), one)
    tracemalloc.start()
    try:
        wire.handshake()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20
    assert_full(wire, DAMAGED)
    assert name not in shelf.values


def test_entry_that_is_too_large_is_refused_though_it_is_intact(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GnuTLS would read zeros behind a session, and resume it."""
    shelf = Shelf()
    one = server(certificates, shelf)
    first = connect(bare_client(), one)
    data, session_id = first.client.session.get_data(), first.client.session.get_id()
    name, entry = shelf.entry
    for zeros, resumes in ((100, True), (envelope.MAX_SIZE, False)):
        with monkeypatch.context() as patch:
            patch.setattr(envelope, "MAX_SIZE", 1 << 20)
            shelf.values = {name: resealed(entry, first, session_id, behind=bytes(zeros))}
        wire = connect(bare_client(data), one)
        assert wire.resumed == (resumes, resumes)
    assert_full(wire, DAMAGED)


# -- connections that end badly ---------------------------------------------------------------

RUBBISH = b"\x17\3\3\0\5wrong"  # a record that nobody can have encrypted


def break_record(wire: Wire) -> None:
    """What the client sends is changed on its way: the server's alert ends the connection."""
    wire.ends[1].incoming.write(RUBBISH)
    with pytest.raises(ssl.SSLError):
        wire.server.read(1)


class Bent(Wire):
    """Changes what the client has sent, too."""

    to_server = staticmethod(unchanged)

    def move(self) -> int:
        client, server = self.ends
        data = client.outgoing.read()
        moved = len(data)
        if data and not server.incoming.eof:
            server.incoming.write(self.to_server(data))
        return moved + super().move()


def last_byte_flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


each_kind = pytest.mark.parametrize("resumed", [False, True], ids=["full", "resumed"])
each_side = pytest.mark.parametrize("side", [0, 1], ids=["client", "server"])


@each_kind
@each_side
def test_record_that_cannot_be_read_ends_the_session(
    certificates: Certificates, side: int, *, resumed: bool
) -> None:
    """On the side that notices it."""
    store, client = MemoryStore(), without_tickets(certificates)
    one = server(certificates, store)
    for _ in range(1 + resumed):
        wire = connect(client, one)
    assert wire.resumed == (resumed, resumed)
    stores = client._resuming.cache.store, store
    assert [one.key_count for one in stores] == [1, 1]
    wire.ends[side].incoming.write(RUBBISH)
    with pytest.raises(ssl.SSLError) as caught:
        wire.ends[side].object.read(1)
    assert type(caught.value) is ssl.SSLError, "not one that waits"
    assert stores[side].key_count == 0
    assert kinds(connect(client, one)) == (FULL, FULL)


@each_kind
@each_side
def test_fatal_alert_from_the_peer_ends_the_session(
    certificates: Certificates, side: int, *, resumed: bool
) -> None:
    """R-19, RFC 5246 §7.2.2."""
    store, client = MemoryStore(), without_tickets(certificates)
    one = server(certificates, store)
    for _ in range(1 + resumed):
        wire = connect(client, one)
    stores = client._resuming.cache.store, store
    wire.ends[1 - side].object._sslobj._run(
        "write", wire.ends[1 - side].object._sslobj._session.alert_send, AlertLevel.FATAL, 20
    )
    wire.move()
    with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
        wire.ends[side].object.read(1)
    assert stores[side].key_count == 0
    assert kinds(connect(client, one)) == (FULL, FULL)


def test_warning_does_not_end_the_session(certificates: Certificates) -> None:
    store, client = MemoryStore(), without_tickets(certificates)
    one = server(certificates, store)
    wire = connect(client, one)
    session = wire.client._sslobj._session
    wire.client._sslobj._run("write", session.alert_send, AlertLevel.WARNING, 90)
    wire.move()
    with pytest.raises(ssl.SSLWantReadError):
        wire.server.read(1)
    assert store.key_count == 1
    assert kinds(connect(client, one)) == (BY_ID, BY_ID)


@pytest.mark.parametrize("whose", ["server", "client"])
def test_fatal_alert_in_a_resumption_ends_the_session_on_both_sides(
    certificates: Certificates, whose: str
) -> None:
    """The Finished of one side is changed on its way."""
    store, client = MemoryStore(), without_tickets(certificates)
    one = server(certificates, store)
    connect(client, one)
    wire = Bent(client, one)
    flights = 0

    def bend(data: bytes) -> bytes:
        nonlocal flights
        flights += bool(data)
        # The client's hello goes first, and by itself.
        return (
            last_byte_flipped(data) if data and flights == (2 if whose == "client" else 1) else data
        )

    if whose == "client":
        wire.to_server = bend  # type: ignore[method-assign]
    else:
        wire.to_client = bend
    errors = wire.outcomes()
    assert isinstance(errors[1], ssl.SSLError)
    assert wire.server._sslobj._session.is_resumed()
    with pytest.raises(ssl.SSLError):
        wire.client.read(1)
    assert store.key_count == 0
    later = connect(client, one)
    assert kinds(later) == (FULL, FULL)
    assert later.server.miss_reason is MissReason.NONE_OFFERED, "the client has forgotten it too"


@pytest.mark.parametrize("end", [True, False], ids=["end", "garbage"])
def test_resumption_that_is_broken_off_ends_the_session(
    certificates: Certificates, *, end: bool
) -> None:
    store, client = MemoryStore(), without_tickets(certificates)
    one = server(certificates, store)
    connect(client, one)
    wire = Wire(client, one)
    with pytest.raises(ssl.SSLWantReadError):
        wire.client.do_handshake()
    wire.move()
    with pytest.raises(ssl.SSLWantReadError):
        wire.server.do_handshake()
    incoming = wire.ends[1].incoming
    incoming.write_eof() if end else incoming.write(RUBBISH)
    with pytest.raises(ssl.SSLError):
        wire.server.do_handshake()
    assert store.key_count == 0


def test_end_without_close_notify_does_not_end_the_session(certificates: Certificates) -> None:
    store, client = MemoryStore(), without_tickets(certificates)
    one = server(certificates, store)
    for expected in (FULL, BY_ID, BY_ID):
        wire = connect(client, one)
        assert kinds(wire) == (expected, expected)
        wire.ends[1].incoming.write_eof()
        with pytest.raises(ssl.SSLEOFError):
            wire.server.read(1)
    assert store.key_count == 1


def test_reset_does_not_end_the_session(certificates: Certificates) -> None:
    store, client = MemoryStore(), without_tickets(certificates)
    one = server(certificates, store)
    for resumed in (False, True, True):
        with connected(client, one) as pair:
            assert pair.server.session_reused is pair.client.session_reused is resumed
            linger = struct.pack("ii", 1, 0)
            pair.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            pair.client.close()
            with pytest.raises(OSError, match="reset"):
                pair.server.recv(1)
    assert store.key_count == 1


def test_close_notify_does_not_end_the_session(certificates: Certificates) -> None:
    store, client = MemoryStore(), without_tickets(certificates)
    one = server(certificates, store)
    for resumed in (False, True):
        with connected(client, one) as pair:
            assert pair.server.session_reused is resumed
            pair.client.close()
            assert pair.server.recv(1) == b""
    assert store.key_count == 1


def test_who_only_names_a_session_does_not_end_it(certificates: Certificates) -> None:
    """It is found, not resumed, and the full handshake fails: it was another's."""
    shelf = Shelf()
    one = wanting_certificates(server(certificates, shelf), certificates)
    credentials = certificates.client_with_certificate()
    data = connect(bare_client(None, credentials), one).client.session.get_data()
    stranger = Session(
        "client", Credentials(), priority=PRIORITIES[TLS12] + NO_TICKETS + ":%NO_SESSION_HASH"
    )
    stranger.server_name_set(HOST)
    stranger.set_data(data)
    wire = Wire(stranger, one)
    assert isinstance(wire.outcomes()[1], ssl.SSLError)
    assert one.stats["store_hits"] == 1
    assert connect(bare_client(data, credentials), one).resumed == (True, True)


def test_store_that_failed_after_keeping_the_session_is_told_to_forget_it(
    certificates: Certificates,
) -> None:
    class Unsure(Shelf):
        def put(self, key: bytes, value: bytes, ttl: float) -> None:
            super().put(key, value, ttl)
            raise TimeoutError("no answer, but it was kept")

    shelf = Unsure()
    wire = connect(bare_client(), server(certificates, shelf))
    name = next(iter(shelf.values))
    break_record(wire)
    assert name not in shelf.values  # a probe of the guard may be


# -- clients' certificates --------------------------------------------------------------------


def test_identity_of_the_first_handshake_is_that_of_the_resumed_one(
    certificates: Certificates,
) -> None:
    one = wanting_certificates(server(certificates, MemoryStore()), certificates)
    client = with_certificate(without_tickets(certificates), certificates)
    shown = []
    for expected in (FULL, BY_ID, BY_ID):
        wire = connect(client, one)
        assert kinds(wire) == (expected, expected)
        shown.append((wire.server.getpeercert(True), wire.server.getpeercert()))
    assert shown[0][0]
    assert shown[0] == shown[1] == shown[2]


def test_other_authority_means_a_full_handshake(certificates: Certificates) -> None:
    """R-36: what the context trusts since."""
    store = MemoryStore()
    client = with_certificate(without_tickets(certificates), certificates)
    connect(client, wanting_certificates(server(certificates, store), certificates))
    other = server(certificates, store)
    other.verify_mode = ssl.CERT_REQUIRED
    other.load_verify_locations(cadata=certificates.other_trust.decode())
    wire = Wire(client, other)
    _, error = wire.outcomes()
    assert isinstance(error, ssl.SSLCertVerificationError)
    assert not wire.server._sslobj._session.is_resumed()
    assert other.stats["store_misses"] == 1
    both = wanting_certificates(server(certificates, store), certificates)
    both.load_verify_locations(cadata=certificates.other_trust.decode())
    wire = connect(with_certificate(without_tickets(certificates), certificates), both)
    assert kinds(wire) == (FULL, FULL)


# -- time: last, so that nobody waits long ----------------------------------------------------

SHORT = 4  # seconds


def wait_until(moment: float) -> None:
    while time.time() < moment:
        time.sleep(0.02)


def test_session_resumes_until_its_end_and_not_after(certificates: Certificates) -> None:
    """R-18, R-36. By the store's clock, by the envelope's where the store has none, and the
    client's certificate's: all in one wait.
    """
    root = certify.issue("root", ca=True)
    guest = certify.issue("guest", root, end=dt.timedelta(seconds=SHORT))
    shown = Credentials(certificate=guest.pem, key=guest.key_pem)
    stores: list[Any] = [MemoryStore(), Shelf(), Shelf(exposed=True)]
    servers = [
        server(certificates, store, session_lifetime=SHORT, sealing_key=SealingKey.generate())
        for store in stores
    ]
    asking = server(certificates, Shelf())
    asking.verify_mode = ssl.CERT_REQUIRED
    asking.load_verify_locations(cadata=root.der)
    made = time.time()
    data = [connect(bare_client(), one).client.session.get_data() for one in servers]
    by_guest = connect(bare_client(None, shown), asking).client.session.get_data()
    shelf = stores[1]
    header = envelope.read_header(shelf.entry[1])
    assert header.expires == header.created + SHORT
    assert header.created <= made + 1

    wait_until(made + SHORT - 2)  # a busy computer is slow
    for one, offered in zip(servers, data, strict=True):
        assert Wire(bare_client(offered), one).handshake().resumed == (True, True)
    assert connect(bare_client(by_guest, shown), asking).resumed == (True, True)

    wait_until(header.expires + 1)
    reasons = [NONE_STORED, MissReason.EXPIRED, MissReason.EXPIRED]
    for one, offered, reason, store in zip(servers, data, reasons, stores, strict=True):
        client = bare_client()
        client.set_data(prolonged(offered))
        wire = connect(client, one)
        assert wire.resumed == (False, False)
        assert wire.server.miss_reason is reason
        if isinstance(store, Shelf):
            assert len(store.values) == 1, "the old one is removed, the new one kept"
    assert servers[1].session_stats()["timeouts"] == 1

    # GnuTLS resumes it, and what a full handshake would say is said.
    client = bare_client(None, shown)
    client.set_data(by_guest)
    wire = Wire(client, asking)
    _, error = wire.outcomes()
    assert wire.server._sslobj._session.is_resumed()
    assert isinstance(error, ssl.SSLCertVerificationError)
    assert "expired" in error.verify_message
    assert asking._resuming.database.store.store.values == {}, "removed"


def prolonged(data: bytes) -> bytes:
    """A client's session whose end it does not know."""
    opened = envelope.unwrapped(data, b"", Sealing())
    return envelope.seal(
        ffi.new("gnutls_datum_t *", (opened.pointer, opened.size)),
        kind=Kind(opened.header.kind),
        protocol_version=opened.header.protocol_version,
        created=opened.header.created,
        expires=opened.header.created + 3600,
        server_name=HOST,
        store_key=b"",
        sealing=Sealing(),
    )


@pytest.mark.parametrize("tickets", [True, False], ids=["ticket", "session ID"])
def test_session_with_a_cipher_that_is_no_longer_wanted_does_not_resume(
    certificates: Certificates, *, tickets: bool
) -> None:
    store, ring = MemoryStore(), TicketKeyRing() if tickets else None
    before = server(certificates, store, ticket_keys=ring)
    client = client_context(certificates, sessions=MemoryStore(), priority="NORMAL:-AES-256-GCM")
    client.maximum_version = TLS12
    if not tickets:
        client.options |= ssl.OP_NO_TICKET
    connect(client, before)
    assert connect(client, before).resumed == (True, True)
    stricter = server(certificates, store, ticket_keys=ring, priority="NORMAL:-AES-128-GCM")
    made = connect(client, stricter)
    assert made.resumed == (False, False)
    assert "AES128-GCM" not in made.server.cipher()[0]
