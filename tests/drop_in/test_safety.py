"""What must never be: a session accepted that a full handshake would not give, a server out of
reach because of one, a client let in by one.

The servers here are bare sessions that resume whatever ticket of theirs is brought, and entries
are forged by one who has the sealing key: so the client's own check after a resumption is reached.
"""

import contextlib
import datetime as dt
import itertools
import random
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import certify
import pytest
from certify import DAY, Issued
from conftest import HOST
from pair import in_thread
from wrapped import (
    PRE_SHARED_KEY,
    PRIORITIES,
    PSK_KEY_EXCHANGE_MODES,
    TLS12,
    TLS13,
    Wire,
    bare_server,
    connect,
    each_version,
    lax_context,
)

from gnutls_resume import (
    HandshakeKind,
    MemoryStore,
    MissReason,
    SealingKey,
    SSLContext,
    SSLSession,
)
from gnutls_resume.binding import CertificateRequest, Credentials, Sealing, Session, TicketKey
from gnutls_resume.binding._ffi import ffi
from gnutls_resume.binding.envelope import Kind, seal, store_key, unwrapped
from gnutls_resume.errors import AlertError
from gnutls_resume.resumption.client_cache import NOTHING, TICKETS_ONLY
from gnutls_resume.resumption.ticket_keys import TicketKeyRing

OTHER_HOST = "other.example"
SHORT = 3  # seconds; the life of a certificate that expires while the tests run


@dataclass
class World:
    folder: Path
    root: Issued
    other_root: Issued
    good: Issued
    impostor: Issued
    misnamed: Issued
    revoked: Issued
    of_other_root: Issued
    key: TicketKey

    @property
    def server_credentials(self) -> Credentials:
        return Credentials(certificate=self.good.pem, key=self.good.key_pem)

    def server(self, one: Issued, version: ssl.TLSVersion, more: str = "") -> Session:
        credentials = Credentials(certificate=one.pem, key=one.key_pem)
        return bare_server(credentials, self.key, version, more)

    def client(self, *anchors: Issued, **own: Any) -> SSLContext:
        context = SSLContext(ssl.PROTOCOL_TLS_CLIENT, **own)
        context.load_verify_locations(cadata=b"".join(one.der for one in anchors or [self.root]))
        return context

    def serving(self, *chain: Issued, **own: Any) -> SSLContext:
        context = SSLContext(ssl.PROTOCOL_TLS_SERVER, **own)
        context.load_cert_chain(self.file(*chain))
        return context

    def file(self, *chain: Issued) -> Path:
        path = self.folder / f"{chain[0].certificate.serial_number}.pem"
        path.write_bytes(b"".join(one.pem for one in chain) + chain[0].key_pem)
        return path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root, other_root = certify.issue("root", ca=True), certify.issue("other root", ca=True)
    return World(
        folder=tmp_path_factory.mktemp("world"),
        root=root,
        other_root=other_root,
        good=certify.issue("good", root, names=[HOST]),
        impostor=certify.issue("impostor", names=[HOST]),
        misnamed=certify.issue("misnamed", root, names=[OTHER_HOST]),
        revoked=certify.issue("revoked", root, names=[HOST]),
        of_other_root=certify.issue("of other root", other_root, names=[HOST]),
        key=TicketKey.generate(),
    )


@dataclass
class ShortLived:
    """A server's and a client's certificate, and what was learnt while they were valid."""

    server: Issued
    client: Issued
    root: Issued
    sessions: dict[ssl.TLSVersion, bytes]
    ring: TicketKeyRing
    sessions_of_client: dict[ssl.TLSVersion, bytes]
    sealing: Sealing

    def wait(self) -> None:
        """Until both have expired, by everybody's clock."""
        ends = [x.certificate.not_valid_after_utc.timestamp() for x in (self.server, self.client)]
        while time.time() < max(ends) + 1.1:
            time.sleep(0.05)


@pytest.fixture(scope="module")
def short_lived(world: World) -> ShortLived:
    life = dt.timedelta(seconds=SHORT)
    server = certify.issue("short", world.root, names=[HOST], end=life)
    client = certify.issue("short client", world.root, end=life)
    made = ShortLived(server, client, world.root, {}, TicketKeyRing(), {}, Sealing(None, b""))
    for version in (TLS12, TLS13):
        learnt = connect(world.client(sessions=None), world.server(server, version))
        made.sessions[version] = bytes(learnt.client.session)
        learnt = connect(
            bare_client(version, certificate=client),
            requiring(world, version, ticket_keys=made.ring),
        )
        made.sessions_of_client[version] = learnt.client.session.get_data()
    return made


# -- a session learnt otherwise, and a strict client ------------------------------------------


def digest_of(end: Any) -> bytes:
    return bytes(end._sslobj._digest)


def moved(data: bytes, source: Sealing, target: Sealing) -> bytes:
    """The same session under another policy, and valid for an hour from now."""
    opened = unwrapped(data, b"", source)
    now = int(time.time())
    return seal(
        ffi.new("gnutls_datum_t *", (opened.pointer, opened.size)),
        kind=Kind(opened.header.kind),
        protocol_version=opened.header.protocol_version,
        created=now,
        expires=now + 3600,
        server_name=HOST,
        store_key=b"",
        sealing=target,
    )


@dataclass(frozen=True)
class Case:
    """How a session was learnt, from which server, and by which client it is offered now."""

    name: str
    server: Callable[[World], Issued]
    learner: Callable[[World], SSLContext]
    host: str = HOST
    strict: Callable[[World, SSLContext], object] = lambda world, context: None


def lax(world: World) -> SSLContext:
    return lax_context(sessions=MemoryStore())


def with_crl(world: World, context: SSLContext) -> None:
    path = world.folder / "revoked.pem"
    path.write_bytes(certify.crl(world.root, world.revoked))
    context.load_verify_locations(path)
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


CASES = [
    Case("learnt without verification", lambda world: world.impostor, lax),
    Case("from the wrong host, unverified", lambda world: world.misnamed, lax),
    Case(
        "from the wrong host",
        lambda world: world.misnamed,
        lambda world: world.client(sessions=MemoryStore()),
        host=OTHER_HOST,
    ),
    Case(
        "before the authority was withdrawn",
        lambda world: world.of_other_root,
        lambda world: world.client(world.root, world.other_root, sessions=MemoryStore()),
    ),
    Case(
        "before it was revoked",
        lambda world: world.revoked,
        lambda world: world.client(sessions=MemoryStore()),
        strict=with_crl,
    ),
]
each_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def refusal(made: Wire) -> tuple[ssl.SSLCertVerificationError, int]:
    """The client's error, and the alert that the server got, in or right after the handshake."""
    error, server_error = made.outcomes()
    assert isinstance(error, ssl.SSLCertVerificationError), error
    if server_error is None:
        with pytest.raises(AlertError) as caught:
            made.server.read(1)
        server_error = caught.value
    assert isinstance(server_error, AlertError)
    return error, server_error.alert


def assert_same(one: ssl.SSLCertVerificationError, other: ssl.SSLCertVerificationError) -> None:
    for name in ("args", "reason", "library", "verify_code", "verify_message", "strerror"):
        assert getattr(one, name) == getattr(other, name)


@each_version
@each_case
def test_session_is_not_found_by_a_strict_client(
    world: World, case: Case, version: ssl.TLSVersion
) -> None:
    """And the full handshake fails as it should."""
    learner, server = case.learner(world), case.server(world)
    learnt = connect(learner, world.server(server, version), case.host)
    assert connect(learner, world.server(server, version), case.host).resumed == (True, True)
    strict = world.client(sessions=learner._resuming.cache.store)
    case.strict(world, strict)
    for session in (None, learnt.client.session):
        made = Wire(strict, world.server(server, version), session=session)
        error, _ = refusal(made)
        assert not made.server.session_reused
        assert error.session_offered is False  # type: ignore[attr-defined]
        assert PRE_SHARED_KEY not in made.extensions


@each_version
@each_case
@pytest.mark.parametrize("by", ["store", "hand"])
def test_session_forged_into_the_policy_of_a_strict_client_is_refused_as_a_full_handshake(
    world: World, case: Case, version: ssl.TLSVersion, by: str
) -> None:
    key, store, server = SealingKey.generate(), MemoryStore(), case.server(world)
    learnt = connect(case.learner(world), world.server(server, version), case.host)
    data = bytes(learnt.client.session)
    strict = world.client(sessions=store, sealing_key=key)
    case.strict(world, strict)
    full = Wire(strict, world.server(server, version))
    expected, expected_alert = refusal(full)

    digest = digest_of(full.client)
    forged = moved(data, Sealing(None, digest_of(learnt.client)), Sealing(key, digest))
    if version is TLS12:
        store.put(store_key(digest, key), forged, 3600)
    else:
        for _ in range(3):
            store.push(store_key(digest, key), forged, 3600, 8)
    session = SSLSession.from_bytes(forged, sealing_key=key) if by == "hand" else None
    made = Wire(strict, world.server(server, version), session=session)
    error, alert = refusal(made)
    # In TLS 1.2 GnuTLS's servers look at the name themselves.
    reached = made.server.session_reused or (version is TLS12 and case.host != HOST)
    assert reached, "the check after a resumption"
    assert error.session_offered is True  # type: ignore[attr-defined]
    assert_same(error, expected)
    assert alert == expected_alert
    assert made.client.outcome is None
    for use in (made.client.read, made.client.do_handshake):
        with pytest.raises(ssl.SSLCertVerificationError):
            use()
    with pytest.raises(ssl.SSLCertVerificationError):
        made.client.write(b"secret")
    assert store.key_count == 0, "all that was learnt under this key is gone"
    made.client._sslobj.end()
    made.client._sslobj._attempt.ended()
    assert store.key_count == 0, "also when the connection is"

    again, _ = refusal(Wire(strict, world.server(server, version)))
    assert_same(again, expected)
    assert again.session_offered is False  # type: ignore[attr-defined]
    assert store.key_count == 0


@each_version
def test_session_forged_under_a_checksum_is_refused_too(
    world: World, version: ssl.TLSVersion
) -> None:
    """Anyone can make one; it is read where the store is another's file."""

    class Clear(MemoryStore):
        private = False

    store = Clear()
    learnt = connect(lax(world), world.server(world.impostor, version))
    strict = world.client(sessions=store)
    digest = digest_of(Wire(strict, world.server(world.impostor, version)).client)
    source = Sealing(None, digest_of(learnt.client))
    forged = moved(bytes(learnt.client.session), source, Sealing(None, digest))
    store.put(digest, forged, 100)
    store.push(digest, forged, 100, 8)
    made = Wire(strict, world.server(world.impostor, version))
    refusal(made)
    assert made.server.session_reused
    assert store.key_count == 0


@each_version
def test_store_that_cannot_forget_does_not_hide_the_refusal(
    world: World, version: ssl.TLSVersion
) -> None:
    class Keeping(MemoryStore):
        def remove(self, key: bytes) -> None:
            raise OSError(5, "Input/output error")

    key, store = SealingKey.generate(), Keeping()
    learnt = connect(lax(world), world.server(world.impostor, version))
    strict = world.client(sessions=store, sealing_key=key)
    digest = digest_of(Wire(strict, world.server(world.impostor, version)).client)
    source = Sealing(None, digest_of(learnt.client))
    forged = moved(bytes(learnt.client.session), source, Sealing(key, digest))
    store.put(store_key(digest, key), forged, 100)
    store.push(store_key(digest, key), forged, 100, 8)
    made = Wire(strict, world.server(world.impostor, version))
    refusal(made)
    assert made.server.session_reused
    assert strict.stats["store_write_errors"] == 1


@each_version
def test_good_session_moved_the_same_way_is_resumed(world: World, version: ssl.TLSVersion) -> None:
    """The forger's work is good: what stops the others is the check."""
    key, store = SealingKey.generate(), MemoryStore()
    learnt = connect(lax(world), world.server(world.good, version))
    strict = world.client(sessions=store, sealing_key=key)
    digest = digest_of(Wire(strict, world.server(world.good, version)).client)
    source = Sealing(None, digest_of(learnt.client))
    forged = moved(bytes(learnt.client.session), source, Sealing(key, digest))
    store.put(store_key(digest, key), forged, 100)
    store.push(store_key(digest, key), forged, 100, 8)
    assert connect(strict, world.server(world.good, version)).resumed == (True, True)


@each_version
def test_trust_withdrawn_from_a_context_in_use_makes_the_next_connection_full(
    world: World, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    """With the same file, and contexts made for each connection, as libraries do."""
    store, path = MemoryStore(), tmp_path / "trust.pem"

    def context() -> SSLContext:
        made = SSLContext(ssl.PROTOCOL_TLS_CLIENT, sessions=store)
        made.load_verify_locations(path)
        return made

    path.write_bytes(world.root.pem + world.other_root.pem)
    for resumed in (False, True):
        made = connect(context(), world.server(world.of_other_root, version))
        assert made.resumed == (resumed, resumed)
    path.write_bytes(world.root.pem)
    made = Wire(context(), world.server(world.of_other_root, version))
    refusal(made)
    assert not made.server.session_reused
    path.write_bytes(world.root.pem + world.other_root.pem)
    assert connect(context(), world.server(world.of_other_root, version)).resumed == (True, True)


@each_version
def test_expired_certificate_beside_the_path_does_not_stop_resumption(
    world: World, version: ssl.TLSVersion
) -> None:
    """GnuTLS's servers leave it out; others send it."""
    old = certify.issue("old", world.other_root, ca=True, start=-9 * DAY, end=-3 * DAY)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(world.file(certify.issue("new", world.root, names=[HOST]), old))
    server.minimum_version = server.maximum_version = version
    client = world.client(sessions=MemoryStore())
    assert connect(client, server).resumed == (False, False)
    assert connect(client, server).resumed == (True, True)


# -- how a resumption exchanges keys ----------------------------------------------------------


def test_client_hello_offers_resumption_with_a_key_exchange_only(world: World) -> None:
    """RFC 8446 §4.2.9: psk_dhe_ke is mode 1, and nothing else is named."""
    client = world.client(sessions=MemoryStore())
    for offered in (False, True):
        made = connect(client, world.server(world.good, TLS13))
        assert made.extensions[PSK_KEY_EXCHANGE_MODES] == bytes([1, 1])
        assert (made.ticket is not None) is offered


def test_resumption_without_a_key_exchange_is_refused(world: World) -> None:
    """By a server that wants it so; the client is made to offer psk_ke."""
    store = MemoryStore()
    client = world.client(sessions=store)
    connect(client, world.server(world.good, TLS13))
    made = Wire(client, world.server(world.good, TLS13, ":+PSK"))
    made.client._sslobj._session.priority_set(PRIORITIES[TLS13])
    error, _ = made.outcomes()
    assert isinstance(error, ssl.SSLError)
    assert error.session_offered is True  # type: ignore[attr-defined]
    assert error.reason == "SSLV3_ALERT_ILLEGAL_PARAMETER"
    assert made.server.session_reused
    with pytest.raises(AlertError) as caught:
        made.server.read(1)
    assert caught.value.alert == 47
    assert store.get(digest_of(made.client)) == NOTHING
    assert connect(client, world.server(world.good, TLS13)).resumed == (False, False)


def test_session_resumed_without_extended_master_secret_is_refused(world: World) -> None:
    """RFC 7627 §5.3. Such a session is not learnt; here somebody has put it into the store."""
    key, store = SealingKey.generate(), MemoryStore()
    client = world.client(sessions=store, sealing_key=key)
    client.maximum_version = TLS12
    digest = digest_of(Wire(client, world.server(world.good, TLS12)).client)
    old = Session("client", Credentials(), priority=PRIORITIES[TLS12], sealing=Sealing(key, digest))
    old.server_name_set(HOST)
    server = world.server(world.good, TLS12, ":%NO_SESSION_HASH")
    learnt = connect(old, server).client.session
    assert not learnt.ext_master_secret_status()
    store.put(store_key(digest, key), learnt.get_data(), 100)
    made = Wire(client, world.server(world.good, TLS12, ":%NO_SESSION_HASH"))
    error, _ = made.outcomes()
    assert isinstance(error, ssl.SSLError)
    assert made.server.session_reused
    assert error.session_offered is True  # type: ignore[attr-defined]
    with pytest.raises(AlertError) as caught:
        made.server.read(1)
    assert caught.value.alert == 40
    assert store.get(store_key(digest, key)) == NOTHING


@pytest.mark.parametrize("kept", [True, False])
def test_session_without_extended_master_secret_is_not_handed_out(
    world: World, *, kept: bool
) -> None:
    """Offered by hand it would be resumed, and refused."""
    client = world.client(sessions=MemoryStore() if kept else None)
    client.maximum_version = TLS12
    assert connect(client, world.server(world.good, TLS12)).client.session is not None
    server = world.server(world.good, TLS12, ":%NO_SESSION_HASH")
    assert connect(client, server).client.session is None


# -- nothing is learnt too early --------------------------------------------------------------


def length_of_flights(world: World, version: ssl.TLSVersion) -> int:
    """How many bytes the server sends in a full handshake, tickets included."""
    seen = 0

    def count(data: bytes) -> bytes:
        nonlocal seen
        seen += len(data)
        return data

    made = Wire(world.client(sessions=None), world.server(world.good, version), to_client=count)
    made.handshake()
    return seen


def cut_after(size: int) -> Callable[[bytes], bytes]:
    left = size

    def cut(data: bytes) -> bytes:
        nonlocal left
        data = data[:left]
        left -= len(data)
        return data

    return cut


@each_version
def test_nothing_is_kept_of_a_handshake_that_is_cut_anywhere(
    world: World, version: ssl.TLSVersion
) -> None:
    whole = length_of_flights(world, version) - 32  # a signature is a few bytes longer or shorter
    completed = failed = 0
    for size in range(0, whole, 23):
        store = MemoryStore()
        made = Wire(
            world.client(sessions=store),
            world.server(world.good, version),
            to_client=cut_after(size),
        )
        error, _ = made.outcomes()
        if error is None:  # in TLS 1.3 the tickets alone are missing
            completed += 1
            assert version is TLS13
        else:
            failed += 1
            assert store.key_count == 0, size
    assert failed >= 20
    assert completed < failed


@each_version
def test_nothing_is_kept_of_a_handshake_in_which_a_byte_was_changed(
    world: World, version: ssl.TLSVersion
) -> None:
    whole = length_of_flights(world, version)
    for place in range(0, whole, 29):
        store, seen = MemoryStore(), 0

        def change(data: bytes, place: int = place) -> bytes:
            nonlocal seen
            start, seen = seen, seen + len(data)
            if not start <= place < seen:
                return data
            at = place - start
            return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

        made = Wire(
            world.client(sessions=store), world.server(world.good, version), to_client=change
        )
        error, _ = made.outcomes()
        assert error is None or store.key_count == 0, place


@each_version
@pytest.mark.parametrize("who", ["impostor", "misnamed", "of_other_root"])
def test_nothing_is_kept_of_a_server_that_is_refused(
    world: World, version: ssl.TLSVersion, who: str
) -> None:
    store = MemoryStore()
    made = Wire(world.client(sessions=store), world.server(getattr(world, who), version))
    refusal(made)
    made.move()
    with contextlib.suppress(ssl.SSLError):
        made.client.read()
    assert store.key_count == 0
    assert made.client.session is None


def test_nothing_is_kept_where_the_server_refuses_the_client_after_the_handshake(
    world: World,
) -> None:
    """In TLS 1.3 the client's handshake is over before its certificate has been looked at."""
    store = MemoryStore()
    made = Wire(world.client(sessions=store), requiring(world, TLS13))
    error, server_error = made.outcomes()
    assert (error, type(server_error)) == (None, ssl.SSLError)
    with pytest.raises(ssl.SSLError):
        made.client.read()
    assert store.key_count == 0


# -- servers that break off -------------------------------------------------------------------


def instead(answer: bytes) -> Callable[[bytes], bytes]:
    """The server says this, once, and no more."""
    answers = [answer]

    def change(data: bytes) -> bytes:
        return answers.pop() if data and answers else b""

    return change


def once(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """The server's first bytes are changed, the rest is lost."""
    done = False

    def changing(data: bytes) -> bytes:
        nonlocal done
        if not data or done:
            return b""
        done = True
        return change(data)

    return changing


def first_record(data: bytes) -> bytes:
    return data[: 5 + int.from_bytes(data[3:5])]


def old_version(data: bytes) -> bytes:
    """A ServerHello of TLS 1.0."""
    return data[:9] + b"\3\1" + data[11:]


def bad_end(data: bytes) -> bytes:
    """The last record is the server's Finished, in a resumption of either version."""
    return data[:-1] + bytes([data[-1] ^ 1])


BROKEN: dict[str, Callable[[], Callable[[bytes], bytes]]] = {
    "alert": lambda: instead(b"\x15\3\3\0\2\2\x28"),
    "alert of a version": lambda: instead(b"\x15\3\1\0\2\2\x46"),
    "close_notify": lambda: instead(b"\x15\3\3\0\2\1\0"),
    "end": lambda: instead(b""),
    "page in clear": lambda: instead(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "greeting in clear": lambda: instead(b"220 mail.example ESMTP\r\n"),
    "garbage": lambda: instead(bytes(range(200, 256)) * 5),
    "zeros": lambda: instead(bytes(500)),
    "record too large": lambda: instead(b"\x16\3\3\xff\xff" + bytes(70_000)),
    "other record": lambda: instead(b"\x17\3\3\0\1\0"),
    "other message": lambda: instead(b"\x16\3\3\0\4\x0e\0\0\0"),
    "old version": lambda: once(old_version),
    "bad Finished": lambda: once(bad_end),
    "first record only": lambda: once(first_record),
    "half a flight": lambda: once(lambda data: data[: len(data) // 2]),
    "one byte": lambda: once(lambda data: data[:1]),
    "all but a byte": lambda: once(lambda data: data[:-1]),
}


def assert_forgotten(client: SSLContext, server: Callable[[], Any], store: MemoryStore) -> None:
    """A mark stands, the next connection is full and good."""
    made = connect(client, server())
    assert made.resumed == (False, False)
    assert made.client.miss_reason is MissReason.AFTER_FAILURE
    assert store.get(digest_of(made.client)) in {NOTHING, TICKETS_ONLY}


@each_version
@pytest.mark.parametrize("only", [True, False], ids=["one version", "both versions"])
@pytest.mark.parametrize("kind", BROKEN)
def test_server_that_breaks_off_a_resumption_is_reached_at_the_next_connection(
    world: World, version: ssl.TLSVersion, kind: str, *, only: bool
) -> None:
    store = MemoryStore()
    client = world.client(sessions=store)
    if only:
        client.minimum_version = client.maximum_version = version
    learnt = connect(client, world.server(world.good, version))
    made = Wire(client, world.server(world.good, version), to_client=BROKEN[kind]())
    error, _ = made.outcomes()
    assert isinstance(error, ssl.SSLError)
    assert error.session_offered is True  # type: ignore[attr-defined]
    expected = TICKETS_ONLY if version is TLS12 and not only else NOTHING
    assert store.get(digest_of(learnt.client)) == expected
    assert_forgotten(client, lambda: world.server(world.good, version), store)


@each_version
@pytest.mark.parametrize("kind", BROKEN)
def test_server_that_breaks_off_a_full_handshake_leaves_no_mark(
    world: World, version: ssl.TLSVersion, kind: str
) -> None:
    store = MemoryStore()
    client = world.client(sessions=store)
    made = Wire(client, world.server(world.good, version), to_client=BROKEN[kind]())
    error, _ = made.outcomes()
    if error is None:  # the flights of a full handshake are others
        assert kind in {"first record only", "half a flight", "all but a byte", "bad Finished"}
        return
    assert isinstance(error, ssl.SSLError)
    assert error.session_offered is False  # type: ignore[attr-defined]
    assert store.key_count == 0


def test_tls12_ticket_that_breaks_a_tls13_server_costs_one_connection(world: World) -> None:
    """G11: a server that has learnt TLS 1.3 and kept its ticket key."""
    store = MemoryStore()
    client = world.client(sessions=store)
    connect(client, world.server(world.good, TLS12))
    made = Wire(client, world.server(world.good, TLS13))
    error, _ = made.outcomes()
    assert isinstance(error, ssl.SSLError)
    assert error.session_offered is True  # type: ignore[attr-defined]
    assert store.get(digest_of(made.client)) == TICKETS_ONLY
    assert_forgotten(client, lambda: world.server(world.good, TLS13), store)
    for _ in range(3):
        assert connect(client, world.server(world.good, TLS13)).resumed == (True, True)


def test_server_that_has_lost_the_hash_of_a_ticket_costs_one_connection(world: World) -> None:
    """G10: GnuTLS breaks off where RFC 8446 would go on without the ticket."""
    store = MemoryStore()
    client = world.client(sessions=store)
    connect(client, world.server(world.good, TLS13))
    other = ":-CIPHER-ALL:+AES-256-GCM"
    error, _ = Wire(client, world.server(world.good, TLS13, other)).outcomes()
    assert isinstance(error, ssl.SSLError)
    assert error.session_offered is True  # type: ignore[attr-defined]
    assert_forgotten(client, lambda: world.server(world.good, TLS13, other), store)


def test_hello_retry_request_costs_nothing(world: World) -> None:
    client = world.client(sessions=MemoryStore())
    groups = ":-GROUP-ALL:+GROUP-SECP384R1"
    for resumed in (False, True, True):
        made = connect(client, world.server(world.good, TLS13, groups))
        assert made.resumed == (resumed, resumed)
        assert made.sent.count(b"\x16\3") >= 2, "two hellos"


@each_version
def test_session_that_is_declined_costs_nothing(world: World, version: ssl.TLSVersion) -> None:
    store = MemoryStore()
    client = world.client(sessions=store)
    for _ in range(3):
        other = bare_server(world.server_credentials, TicketKey.generate(), version)
        assert connect(client, other).resumed == (False, False)
    assert client.stats["client_declined"] == 2
    assert "failed_handshakes" not in client.stats


@each_version
def test_handshake_that_is_given_up_on_a_bio_costs_the_session(
    world: World, version: ssl.TLSVersion
) -> None:
    """As asyncio does at ssl_handshake_timeout: it never calls again."""
    store = MemoryStore()
    client = world.client(sessions=store)
    connect(client, world.server(world.good, version))
    made = Wire(client, world.server(world.good, version), to_client=BROKEN["one byte"]())
    for _ in range(2):
        with pytest.raises(ssl.SSLWantReadError):
            made.client.do_handshake()
        made.move()
        with contextlib.suppress(ssl.SSLWantReadError):
            made.server.do_handshake()
        made.move()
    del made
    assert_forgotten(client, lambda: world.server(world.good, version), store)


@each_version
def test_session_by_hand_that_fails_is_not_offered_again_at_once(
    world: World, version: ssl.TLSVersion
) -> None:
    client = world.client(sessions=MemoryStore())
    session = connect(client, world.server(world.good, version)).client.session
    made = Wire(
        client, world.server(world.good, version), session=session, to_client=BROKEN["alert"]()
    )
    assert made.outcomes()[0].session_offered is True
    made = connect(client, world.server(world.good, version), session=session)
    assert made.client.miss_reason is MissReason.AFTER_FAILURE


def test_priority_of_ones_own_offers_no_resumption_without_a_key_exchange(world: World) -> None:
    client = world.client(sessions=MemoryStore(), priority="NORMAL")
    for _ in range(2):
        made = connect(client, world.server(world.good, TLS13, ":+PSK"))
        assert made.extensions[PSK_KEY_EXCHANGE_MODES] == bytes([1, 1])


# -- the same over sockets --------------------------------------------------------------------


Answer = Callable[[socket.socket, threading.Event], None]


def reset(sock: socket.socket, over: threading.Event) -> None:
    sock.recv(65_536)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def end(sock: socket.socket, over: threading.Event) -> None:
    sock.recv(65_536)


def hang_after_a_byte(sock: socket.socket, over: threading.Event) -> None:
    sock.recv(65_536)
    sock.sendall(b"\x16")
    over.wait(30)


def hang_after_a_record(sock: socket.socket, over: threading.Event) -> None:
    sock.recv(65_536)
    sock.sendall(b"\x16\3\3\0\4\x0e")
    over.wait(30)


def alert(sock: socket.socket, over: threading.Event) -> None:
    sock.recv(65_536)
    sock.sendall(b"\x15\3\3\0\2\2\x28")


def hang(sock: socket.socket, over: threading.Event) -> None:
    over.wait(30)


@contextlib.contextmanager
def answering(answer: Answer) -> Iterator[int]:
    """A server of one connection, and its port."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                answer(sock, over)

        with in_thread(serve) as errors:
            try:
                yield listener.getsockname()[1]
            finally:
                over.set()
        assert errors == []


def visit(client: SSLContext, port: int, timeout: float = 20) -> tuple[Any, bytes]:
    """One connection over a socket: its kind and reason, and what the server sent."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout) as sock,
        client.wrap_socket(sock, server_hostname=HOST) as end,
    ):
        return (end.handshake_kind, end.miss_reason), end.recv(100)


def greet(context: SSLContext) -> Answer:
    def answer(sock: socket.socket, over: threading.Event) -> None:
        with context.wrap_socket(sock, server_side=True) as end:
            end.sendall(b"hello")
            with contextlib.suppress(OSError):
                end.recv(1)

    return answer


def visit_good(client: SSLContext, server: SSLContext) -> tuple[HandshakeKind, Any]:
    with answering(greet(server)) as port:
        how, data = visit(client, port)
    assert data == b"hello"
    return how  # type: ignore[no-any-return]


SHORTLY = 0.3  # seconds
AFTER_FAILURE = (HandshakeKind.FULL, MissReason.AFTER_FAILURE)
RESUMED = (HandshakeKind.RESUMED_TICKET, None)


def serving(world: World, version: ssl.TLSVersion) -> SSLContext:
    server = world.serving(world.good)
    server.minimum_version = server.maximum_version = version
    return server


@each_version
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reset, ConnectionResetError),
        (end, ssl.SSLEOFError),
        (alert, ssl.SSLError),
        (hang_after_a_byte, TimeoutError),
        (hang_after_a_record, TimeoutError),
    ],
)
def test_socket_that_fails_after_the_hello_costs_the_session(
    world: World, version: ssl.TLSVersion, answer: Answer, kind: type[OSError]
) -> None:
    store, server = MemoryStore(), serving(world, version)
    client = world.client(sessions=store)
    visit_good(client, server)
    with answering(answer) as port, pytest.raises(kind) as caught:
        visit(client, port, SHORTLY if kind is TimeoutError else 20)
    assert caught.value.session_offered is True  # type: ignore[attr-defined]
    assert visit_good(client, server) == AFTER_FAILURE


@each_version
def test_timeout_before_the_first_byte_costs_no_session(
    world: World, version: ssl.TLSVersion
) -> None:
    """But a ticket that was offered is not offered again."""
    server = serving(world, version)
    client = world.client(sessions=MemoryStore())
    visit_good(client, server)
    with answering(hang) as port, pytest.raises(TimeoutError) as caught:
        visit(client, port, SHORTLY)
    assert caught.value.session_offered is True  # type: ignore[attr-defined]
    assert visit_good(client, server) == RESUMED


@each_version
def test_refused_connection_costs_no_session(world: World, version: ssl.TLSVersion) -> None:
    server = serving(world, version)
    client = world.client(sessions=MemoryStore())
    visit_good(client, server)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for _ in range(10):
        with pytest.raises(ConnectionRefusedError):
            visit(client, port)
        with (
            socket.socket() as sock,
            client.wrap_socket(sock, server_hostname=HOST) as wrapped,
            pytest.raises(ConnectionRefusedError),
        ):
            wrapped.connect(("127.0.0.1", port))
    assert visit_good(client, server) == RESUMED


# -- servers ----------------------------------------------------------------------------------


def bare_client(
    version: ssl.TLSVersion,
    *,
    certificate: Issued | None = None,
    name: str | None = HOST,
    data: bytes | None = None,
    alpn: tuple[bytes, ...] = (),
    more: str = "",
) -> Session:
    """A client that asks nothing, and offers what it is given."""
    credentials = Credentials()
    if certificate is not None:
        credentials = Credentials(certificate=certificate.pem, key=certificate.key_pem)
    session = Session("client", credentials, priority=PRIORITIES[version] + more)
    if name is not None:
        session.server_name_set(name)
    session.alpn_set_protocols(alpn)
    if data is not None:
        session.set_data(data)
    return session


def requiring(
    world: World, version: ssl.TLSVersion | None = None, *anchors: Issued, **own: Any
) -> SSLContext:
    """A server that lets in whom an authority has signed."""
    server = world.serving(world.good, **own)
    if version is not None:
        server.minimum_version = server.maximum_version = version
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(cadata=b"".join(one.der for one in anchors or [world.root]))
    return server


@dataclass(frozen=True)
class Host:
    """One way to serve, and what a client of it says."""

    name: str
    serve: Callable[[World, TicketKeyRing], SSLContext]
    server_name: str | None = HOST
    alpn: tuple[bytes, ...] = ()


def plain(world: World, ring: TicketKeyRing) -> SSLContext:
    return world.serving(world.good, ticket_keys=ring)


def named(*names: str) -> Callable[[World, TicketKeyRing], SSLContext]:
    return lambda world, ring: world.serving(
        certify.issue("named", world.root, names=names), ticket_keys=ring
    )


def tenant(partition: bytes) -> Callable[[World, TicketKeyRing], SSLContext]:
    return lambda world, ring: world.serving(world.good, ticket_keys=ring, partition=partition)


def demanding(
    mode: ssl.VerifyMode, flags: int = 0, *, both: bool = False
) -> Callable[[World, TicketKeyRing], SSLContext]:
    def serve(world: World, ring: TicketKeyRing) -> SSLContext:
        anchors = [world.root, world.other_root] if both else [world.root]
        server = requiring(world, None, *anchors, ticket_keys=ring)
        server.verify_mode = mode
        server.verify_flags |= flags
        return server

    return serve


def speaking(*protocols: str) -> Callable[[World, TicketKeyRing], SSLContext]:
    def serve(world: World, ring: TicketKeyRing) -> SSLContext:
        server = plain(world, ring)
        server.set_alpn_protocols(protocols)
        return server

    return serve


HOSTS = [
    Host("plain", plain),
    Host("other server name", plain, OTHER_HOST),
    Host("no server name", plain, None),
    Host("other name in the certificate", named(OTHER_HOST)),
    Host("one name more in the certificate", named(HOST, OTHER_HOST)),
    Host("h2", speaking("h2", "http/1.1"), alpn=(b"h2",)),
    Host("http/1.1", speaking("h2", "http/1.1"), alpn=(b"http/1.1",)),
    Host("tenant a", tenant(b"a")),
    Host("tenant b", tenant(b"b")),
    Host("client asked", demanding(ssl.CERT_OPTIONAL)),
    Host("client required", demanding(ssl.CERT_REQUIRED)),
    Host("client required, strictly", demanding(ssl.CERT_REQUIRED, ssl.VERIFY_X509_STRICT)),
    Host("client required, partial", demanding(ssl.CERT_REQUIRED, ssl.VERIFY_X509_PARTIAL_CHAIN)),
    Host("client required, of two", demanding(ssl.CERT_REQUIRED, both=True)),
    Host("client required, h2", demanding(ssl.CERT_REQUIRED), OTHER_HOST),
]


@pytest.fixture(scope="module")
def visitor(world: World) -> Issued:
    return certify.issue("visitor", world.root)


def test_ticket_of_another_server_policy_is_unknown_and_fails_nothing(
    world: World, visitor: Issued
) -> None:
    """All servers have one ring; the client offers what it has to whomever."""
    ring = TicketKeyRing()
    served = [(host, host.serve(world, ring)) for host in HOSTS]
    places = list(itertools.product(served, (TLS12, TLS13)))
    resumed = 0

    def arrive(place: Any, data: bytes | None) -> Wire:
        (host, context), version = place
        client = bare_client(
            version, certificate=visitor, name=host.server_name, data=data, alpn=host.alpn
        )
        return connect(client, context)

    for made in places:
        data = arrive(made, None).client.session.get_data()
        for offered in places:
            if made[1] is TLS12 and offered[1] is TLS13:
                continue  # GnuTLS's client drops it; see the next test
            later = arrive(offered, data)
            names = made[0][0].name, offered[0][0].name
            if made is offered:
                assert later.resumed == (True, True), names
                resumed += 1
            else:
                assert later.resumed == (False, False), names
                assert later.server.miss_reason in {
                    MissReason.KEY_UNKNOWN,
                    MissReason.NONE_OFFERED,
                }, names
    assert resumed == len(places)


def test_tls12_ticket_at_a_tls13_server_of_the_same_keys_is_a_full_handshake(
    world: World,
) -> None:
    """R-65, also from OpenSSL's client: a bare GnuTLS server breaks off here (G11)."""
    ring = TicketKeyRing()
    old, new = (world.serving(world.good, ticket_keys=ring) for _ in range(2))
    old.maximum_version = TLS12
    ours = lax_context(sessions=MemoryStore())
    foreign = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    foreign.load_verify_locations(cadata=world.root.der)
    for client in (ours, foreign):
        session = connect(client, old).client.session
        assert connect(client, old, session=session).resumed == (True, True)
        made = connect(client, new, session=session)
        assert made.resumed == (False, False)
        assert made.client.version() == "TLSv1.3"


@each_version
def test_renewed_certificate_for_the_same_names_ends_no_session(
    world: World, version: ssl.TLSVersion
) -> None:
    ring, store = TicketKeyRing(), MemoryStore()
    client = world.client(sessions=store)
    first = world.serving(world.good, ticket_keys=ring)
    renewed = world.serving(certify.issue("renewed", world.root, names=[HOST]), ticket_keys=ring)
    for server, resumed in ((first, False), (renewed, True)):
        server.minimum_version = server.maximum_version = version
        assert connect(client, server).resumed == (resumed, resumed)


def test_no_session_leads_to_a_host_that_requires_a_certificate(
    world: World, visitor: Issued
) -> None:
    """R-35. A stranger collects sessions where he is let in, and tries them where he is not."""
    chance = random.Random(20)  # noqa: S311 - the same in every run
    ring = TicketKeyRing()
    inner = requiring(world, ticket_keys=ring)
    outer = {
        "open": plain(world, ring),
        "asked": demanding(ssl.CERT_OPTIONAL)(world, ring),
        "tenant": tenant(b"a")(world, ring),
        "h2": speaking("h2")(world, ring),
    }
    front = world.serving(world.good, ticket_keys=ring)

    def choose(sock: Any, name: str | None, context: Any) -> None:
        sock.context = {"inner.example": inner, **outer}.get(name or "", front)

    front.sni_callback = choose
    stranger = certify.issue("stranger")
    foreign = certify.issue("foreign", world.other_root)
    groups = ["", ":-GROUP-ALL:+GROUP-SECP521R1:+GROUP-X25519"]
    kinds: set[object] = set()
    for _ in range(200):
        version = chance.choice([TLS12, TLS13])
        name = chance.choice([*outer, "elsewhere", None])
        alpn = chance.choice([(), (b"h2",)])
        shown = chance.choice([None, None, stranger, foreign])
        door = chance.choice([front, outer["open"], outer["tenant"], inner])
        data = None
        if door is not inner:
            learnt = connect(bare_client(version, name=name, alpn=alpn), door)
            data = learnt.client.session.get_data()
        made = Wire(
            bare_client(
                version,
                certificate=shown,
                name="inner.example",
                data=data,
                alpn=alpn,
                more=chance.choice(groups),
            ),
            chance.choice([front, inner]),
        )
        _, error = made.outcomes()
        assert isinstance(error, ssl.SSLError)
        assert made.server.outcome is None
        with pytest.raises(ssl.SSLError):
            made.server.read(1)
        kinds.add((type(error), error.reason))
    assert len(kinds) >= 2
    for door, version in itertools.product((front, inner), (TLS12, TLS13)):
        data = None
        for resumed in (False, True):
            client = bare_client(version, certificate=visitor, name="inner.example", data=data)
            made = connect(client, door)
            assert made.resumed == (resumed, resumed), "a guest is let in"
            assert made.server.getpeercert(True) == visitor.der
            data = made.client.session.get_data()


@each_version
def test_ticket_of_a_client_that_was_not_looked_at_is_refused_under_the_right_key_too(
    world: World, visitor: Issued, version: ssl.TLSVersion
) -> None:
    """One who has the secret makes tickets for the host that requires certificates, and asks for
    none: the host looks again.
    """
    ring = TicketKeyRing()
    host = requiring(world, version, ticket_keys=ring)
    policy = host._connection(server_side=True)[0].policy.digest()
    foreign = certify.issue("foreign", world.other_root)
    for shown in (None, foreign, visitor):
        careless = bare_server(world.server_credentials, None, version)
        careless.ticket_derive(ring.table(), policy)
        careless.certificate_server_set_request(CertificateRequest.REQUEST)
        data = connect(bare_client(version, certificate=shown), careless).client.session.get_data()
        made = Wire(bare_client(version, certificate=shown, data=data), host)
        _, error = made.outcomes()
        assert made.server._sslobj._session.is_resumed()
        if shown is visitor:
            assert error is None
            continue
        assert isinstance(error, ssl.SSLError)
        assert error.reason == (
            "CERTIFICATE_VERIFY_FAILED" if shown else "PEER_DID_NOT_RETURN_A_CERTIFICATE"
        )
        with pytest.raises(AlertError):
            made.client.read(1)
        with pytest.raises(ssl.SSLError):
            made.server.read(1)


@each_version
def test_client_whose_authority_was_removed_is_not_resumed(
    world: World, version: ssl.TLSVersion
) -> None:
    ring = TicketKeyRing()
    guest = certify.issue("guest", world.other_root)
    before = requiring(world, version, world.root, world.other_root, ticket_keys=ring)
    after = requiring(world, version, world.root, ticket_keys=ring)
    data = connect(bare_client(version, certificate=guest), before).client.session.get_data()
    again = connect(bare_client(version, certificate=guest, data=data), before)
    assert again.resumed == (True, True)
    for shown in (guest, None):
        made = Wire(bare_client(version, certificate=shown, data=data), after)
        _, error = made.outcomes()
        assert isinstance(error, ssl.SSLError)
        assert not made.server.session_reused
        assert made.server._sslobj._session.is_resumed() is False


@each_version
def test_switching_to_a_context_without_tickets_takes_those_of_the_first_away(
    world: World, version: ssl.TLSVersion
) -> None:
    ring = TicketKeyRing()
    front, other = (world.serving(world.good, ticket_keys=ring) for _ in range(2))
    inner = world.serving(world.good, ticket_keys=None, partition=b"inner")

    def choose(sock: Any, name: str | None, context: Any) -> None:
        sock.context = inner

    front.sni_callback = choose
    data = connect(bare_client(version), other).client.session.get_data()
    for _ in range(2):
        made = connect(bare_client(version, data=data), front)
        assert made.resumed == (False, False)
        assert made.server.miss_reason is MissReason.DISABLED
        assert made.client.session.own.tickets == 0


# -- what expires while the tests run: last, so that nobody waits long ------------------------


@each_version
def test_session_learnt_before_the_leaf_expired_is_refused(
    world: World, short_lived: ShortLived, version: ssl.TLSVersion
) -> None:
    """A writer with intent has given it another hour."""
    key, store = SealingKey.generate(), MemoryStore()
    client = world.client(sessions=store, sealing_key=key)
    data = short_lived.sessions[version]
    digest = digest_of(Wire(client, world.server(short_lived.server, version)).client)
    forged = moved(data, Sealing(None, digest), Sealing(key, digest))
    short_lived.wait()
    expected, expected_alert = refusal(Wire(client, world.server(short_lived.server, version)))

    store.put(store_key(digest, key), forged, 100)
    store.push(store_key(digest, key), forged, 100, 8)
    made = Wire(client, world.server(short_lived.server, version))
    error, alert = refusal(made)
    assert made.server.session_reused
    assert_same(error, expected)
    assert alert == expected_alert
    assert store.key_count == 0

    session = SSLSession.from_bytes(data)
    assert session.expires <= short_lived.server.certificate.not_valid_after_utc.timestamp()
    made = Wire(client, world.server(short_lived.server, version), session=session)
    refusal(made)
    assert not made.server.session_reused, "expired with the leaf: not even offered"


@each_version
def test_client_whose_certificate_has_expired_is_refused(
    world: World, short_lived: ShortLived, version: ssl.TLSVersion
) -> None:
    short_lived.wait()
    server = requiring(world, version, ticket_keys=short_lived.ring)
    data = short_lived.sessions_of_client[version]
    for shown in (short_lived.client, None):
        made = Wire(bare_client(version, certificate=shown, data=data), server)
        _, error = made.outcomes()
        assert made.server._sslobj._session.is_resumed(), "GnuTLS resumes it"
        assert isinstance(error, ssl.SSLCertVerificationError)
        assert made.server.outcome is None
        with pytest.raises(ssl.SSLCertVerificationError):
            made.server.read(1)
