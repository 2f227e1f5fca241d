"""SSLSession: a stored session that a person carries by hand."""

import copy
import datetime as dt
import pickle
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import HOST, Certificates
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from drop_in.peers import (
    Library,
    client_context,
    connected,
    fact,
    failure,
    resumed,
    server_context,
    told,
    with_certificate,
)
from pair import TOO_LONG, in_thread
from wrapped import Wire, each_version

from gnutls_resume import (
    HandshakeKind,
    MemoryStore,
    MissReason,
    SealingKey,
    SSLContext,
    SSLSession,
)
from gnutls_resume.binding import Sealing, envelope
from gnutls_resume.binding.envelope import Kind


def made(client: Any, server: Any, hostname: str = HOST) -> SSLSession:
    """The session of one connection."""
    pair = Wire(client, server, hostname=hostname).handshake()
    pair.say()
    session = pair.client.session
    assert isinstance(session, SSLSession)
    return session


def outcome_of(client: Any, server: Any, session: Any, hostname: str = HOST) -> tuple[Any, ...]:
    """How a connection that offers the session goes; data flow both ways."""
    pair = Wire(client, server, session=session, hostname=hostname).handshake()
    pair.say()
    pair.say(from_server=False)
    assert pair.client.session_reused == pair.server.session_reused
    assert (pair.client.handshake_kind is HandshakeKind.FULL) != pair.client.session_reused
    return pair.client.session_reused, pair.client.miss_reason


def by_hand(certificates: Certificates, **options: Any) -> Any:
    """A client that remembers nothing itself."""
    return client_context(certificates, **{"sessions": None, **options})


# -- resuming by hand -------------------------------------------------------------------------


@each_version
@pytest.mark.parametrize("server_library", [SSLContext, ssl.SSLContext], ids=["ours", "ssl"])
def test_a_session_by_hand_resumes_again_and_again(
    certificates: Certificates, server_library: Library, version: ssl.TLSVersion
) -> None:
    client = by_hand(certificates, version=version)
    server = server_context(certificates, server_library, version)
    session = made(client, server)
    for _ in range(3):
        assert outcome_of(client, server, session) == (True, None)
    for _ in range(2):  # and the one of each connection for the next
        pair = Wire(client, server, session=session).handshake()
        pair.say()
        assert pair.client.session_reused
        session = pair.client.session
    assert outcome_of(client, server, None)[0] is False
    assert outcome_of(client, server, None)[1] is MissReason.DISABLED


@each_version
@pytest.mark.parametrize("sealed", [False, True])
def test_bytes_of_a_session_resume_another_context_of_the_same_settings(
    certificates: Certificates, version: ssl.TLSVersion, *, sealed: bool
) -> None:
    key = SealingKey.generate() if sealed else None
    server = server_context(certificates, ssl.SSLContext, version)
    session = made(by_hand(certificates, version=version, sealing_key=key), server)
    data = bytes(session)
    assert data == bytes(SSLSession.from_bytes(data, sealing_key=key))
    again = SSLSession.from_bytes(bytearray(data), sealing_key=key)
    assert (again.created, again.expires, again.protocol) == (
        session.created,
        session.expires,
        session.protocol,
    )
    for sealing_key in (key, None, SealingKey.generate()):
        client = by_hand(certificates, version=version, sealing_key=sealing_key)
        assert outcome_of(client, server, again) == (True, None)
        pair = Wire(client, server, session=again).handshake()
        if version == ssl.TLSVersion.TLSv1_2:  # it stays the same session
            assert bytes(pair.client.session) == data
    # In the memory of the process another key is used.
    remembering = client_context(certificates, version=version)
    assert outcome_of(remembering, server, again) == (True, None)


@each_version
def test_a_session_of_a_store_can_be_taken_away_by_hand(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    client = client_context(certificates, version=version)
    server = server_context(certificates, version=version)
    data = bytes(made(client, server))
    other = by_hand(certificates, version=version)
    assert outcome_of(other, server, SSLSession.from_bytes(data)) == (True, None)


@each_version
def test_another_process_resumes(certificates: Certificates, version: ssl.TLSVersion) -> None:
    program = """
import socket, ssl, sys
from gnutls_resume import SSLContext, SSLSession
port, trust, version, data = sys.argv[1:]
context = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.load_verify_locations(trust)
context.minimum_version = context.maximum_version = ssl.TLSVersion(int(version))
sock = socket.create_connection(("127.0.0.1", int(port)), timeout=30)
session = SSLSession.from_bytes(bytes.fromhex(data))
with context.wrap_socket(sock, server_hostname="localhost", session=session) as tls:
    print(tls.session_reused, tls.handshake_kind.name, tls.recv(4))
"""
    import socket

    server = server_context(certificates, ssl.SSLContext, version)
    data = bytes(made(by_hand(certificates, version=version), server))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TOO_LONG)

        def serve() -> None:
            sock, _ = listener.accept()
            sock.settimeout(TOO_LONG)
            with sock, server.wrap_socket(sock, server_side=True) as tls:
                assert tls.session_reused
                tls.sendall(b"data")
                assert tls.recv(1) == b""

        port = str(listener.getsockname()[1])
        trust = str(certificates.trust_file)
        with in_thread(serve) as errors:
            done = subprocess.run(
                [sys.executable, "-P", "-c", program, port, trust, str(int(version)), data.hex()],
                capture_output=True,
                text=True,
                timeout=TOO_LONG,
                check=True,
            )
    assert errors == []
    assert done.stdout == "True RESUMED_TICKET b'data'\n"


@each_version
def test_sessions_on_sockets_before_connect_and_by_attribute(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    client = by_hand(certificates, version=version)
    server = server_context(certificates, ssl.SSLContext, version)
    session = made(client, server)
    with connected(client, server, session=session) as pair:
        assert pair.client.session_reused
    pair = Wire(client, server)
    assert pair.client.session is None
    pair.client.session = session
    assert pair.client.session is session
    pair.handshake().say()
    assert pair.client.session_reused


# -- misses -----------------------------------------------------------------------------------


@each_version
@pytest.mark.parametrize("at", [70, 100, 120, -1])
def test_a_damaged_session_is_a_full_handshake(
    certificates: Certificates, version: ssl.TLSVersion, at: int
) -> None:
    client = by_hand(certificates, version=version)
    server = server_context(certificates, version=version)
    data = bytearray(bytes(made(client, server)))
    data[at] ^= 1
    session = SSLSession.from_bytes(data)
    assert outcome_of(client, server, session) == (False, MissReason.DAMAGED)
    assert client.stats["client_damaged"] == 1


@each_version
def test_no_damaged_byte_does_more_than_a_miss(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    client = by_hand(certificates, version=version)
    server = server_context(certificates, version=version)
    data = bytes(made(client, server))
    refused = 0
    for at in [*range(110), *range(110, len(data), 97), len(data) - 1]:
        broken = data[:at] + bytes([data[at] ^ 0x81]) + data[at + 1 :]
        try:
            session = SSLSession.from_bytes(broken)
        except ValueError:
            refused += 1
            continue
        for name in ("created", "expires", "protocol", "id", "time", "timeout"):
            getattr(session, name)
        assert session.server_name is None
        assert isinstance(repr(session), str)
        pair = Wire(client, server, session=session).handshake()
        assert not pair.client.session_reused
        assert pair.client.miss_reason in {
            MissReason.DAMAGED,
            MissReason.EXPIRED,
            MissReason.OTHER_VERSION,
            MissReason.POLICY_CHANGED,
        }
    assert 0 < refused < 40
    for size in (0, 1, 50, len(data) // 2, len(data) - 1):
        with pytest.raises(ValueError):
            SSLSession.from_bytes(data[:size])


@each_version
def test_misses_say_why(
    certificates: Certificates, version: ssl.TLSVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, other_key = SealingKey.generate(), SealingKey.generate()
    server = server_context(certificates, version=version)
    client = by_hand(certificates, version=version, sealing_key=key)
    session = made(client, server)
    sealed = bytes(session)
    wrong_key = SSLSession.from_bytes(sealed, sealing_key=other_key)
    assert outcome_of(client, server, wrong_key) == (False, MissReason.DAMAGED)
    no_key = SSLSession.from_bytes(sealed)
    assert outcome_of(client, server, no_key) == (False, MissReason.DAMAGED)
    rotated = SealingKey(bytes(range(32)), previous=key)
    right_key = SSLSession.from_bytes(sealed, sealing_key=rotated)
    assert outcome_of(client, server, right_key) == (True, None)
    wiped = SealingKey.generate()
    wrong_key = SSLSession.from_bytes(sealed, sealing_key=wiped)
    wiped.wipe()
    assert outcome_of(client, server, wrong_key) == (False, MissReason.DAMAGED)
    other_server = server_context(certificates, version=version, partition=b"another")
    assert outcome_of(client, other_server, session) == (False, MissReason.DECLINED)
    # As after an upgrade of the library.
    monkeypatch.setattr(envelope, "GNUTLS_VERSION_NUMBER", envelope.GNUTLS_VERSION_NUMBER + 1)
    assert outcome_of(client, server, session) == (False, MissReason.OTHER_VERSION)


@each_version
def test_an_expired_session_is_a_full_handshake(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    client = by_hand(certificates, version=version, session_lifetime=1)
    server = server_context(certificates, version=version)
    session = made(client, server)
    assert session.timeout <= 1
    while time.time() < session.expires + 1:
        time.sleep(0.05)  # there is nothing to wait for but the clock
    assert outcome_of(client, server, session) == (False, MissReason.EXPIRED)
    assert isinstance(bytes(session), bytes)
    assert session.server_name == HOST
    assert "0 s left" in repr(session)
    expired = SSLSession.from_bytes(bytes(session))
    assert outcome_of(client, server, expired) == (False, MissReason.EXPIRED)


@each_version
def test_a_session_of_another_policy_is_a_full_handshake(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    server = server_context(certificates, ssl.SSLContext, version)
    server.set_alpn_protocols(["a"])
    session = made(by_hand(certificates, version=version), server)

    def other(**options: Any) -> Any:
        return by_hand(certificates, version=version, **options)

    careless = other()
    careless.check_hostname = False
    unverified = other()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    with_alpn = other()
    with_alpn.set_alpn_protocols(["a"])
    more_trust = other()
    more_trust.load_verify_locations(cadata=certificates.other_trust.decode())
    for client in (
        careless,
        unverified,
        with_alpn,
        more_trust,
        with_certificate(other(), certificates),
        other(partition=b"a"),
        other(priority="NORMAL"),
    ):
        assert outcome_of(client, server, session) == (False, MissReason.POLICY_CHANGED)
    # Made for another name.
    client = other()
    found = outcome_of(client, server, session, "127.0.0.1")
    assert found == (False, MissReason.POLICY_CHANGED)
    # And the other way round: what was learnt without verification serves no strict context.
    learnt = made(unverified, server)
    assert outcome_of(other(), server, learnt) == (False, MissReason.POLICY_CHANGED)
    assert outcome_of(unverified, server, learnt) == (True, None)


# -- from_bytes -------------------------------------------------------------------------------


def server_entry() -> bytes:
    from gnutls_resume.binding._ffi import ffi

    data = b"x" * 100
    pointer = ffi.new("unsigned char[]", data)
    datum = ffi.new("gnutls_datum_t *", (pointer, len(data)))
    now = int(time.time())
    return bytes(
        envelope.seal(
            datum,
            kind=Kind.SERVER_ENTRY,
            protocol_version=0x0303,
            created=now,
            expires=now + 100,
            server_name="",
            store_key=b"id",
            sealing=Sealing(),
        )
    )


def test_from_bytes_refuses_what_is_no_session() -> None:
    for wrong in (None, "text", 5, [1, 2], object()):
        with pytest.raises(TypeError):
            SSLSession.from_bytes(wrong)  # type: ignore[arg-type]
    for wrong in (b"", b"x", bytes(100), bytes(65_536), bytes(65_537), b"GTLS" + bytes(200)):
        with pytest.raises(ValueError):
            SSLSession.from_bytes(wrong)
    with pytest.raises(ValueError, match="client"):
        SSLSession.from_bytes(server_entry())
    for wrong in (b"k" * 32, "key", 1):
        with pytest.raises(TypeError):
            SSLSession.from_bytes(b"x" * 200, sealing_key=wrong)  # type: ignore[arg-type]


def test_from_bytes_takes_any_bytes(certificates: Certificates) -> None:
    session = made(by_hand(certificates), server_context(certificates))
    data = bytes(session)
    assert len(data) <= 65_536
    for one in (data, bytearray(data), memoryview(data), memoryview(b"xx" + data)[2:]):
        assert bytes(SSLSession.from_bytes(one)) == data
    kept = bytearray(data)
    session = SSLSession.from_bytes(kept)
    kept[:] = bytes(len(kept))  # the caller's own
    assert bytes(session) == data


# -- what it tells ----------------------------------------------------------------------------


@each_version
def test_fields_are_those_of_the_standard_library(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    server = server_context(certificates, ssl.SSLContext, version)
    before = int(time.time())
    session = made(by_hand(certificates, version=version), server)
    theirs = Wire(client_context(certificates, ssl.SSLContext, version), server).handshake()
    theirs.say()
    reference = theirs.client.session
    assert {name for name in dir(reference) if not name.startswith("_")} <= set(dir(session))
    for name in ("id", "time", "timeout", "ticket_lifetime_hint", "has_ticket"):
        assert type(getattr(session, name)) is type(getattr(reference, name))
    assert session.has_ticket == reference.has_ticket is True
    # GnuTLS's clock may differ from Python's by a second.
    assert before - 1 <= session.created == session.time <= time.time() + 1
    assert session.expires == session.time + session.timeout
    assert session.timeout == session.ticket_lifetime_hint == reference.ticket_lifetime_hint
    assert type(session.created) is type(session.expires) is float
    assert session.protocol == version.name.replace("v1_", "v1.")
    assert len(session.id) == 32
    assert session.server_name == HOST


@each_version
def test_lifetime_is_the_least_of_all(certificates: Certificates, version: ssl.TLSVersion) -> None:
    for ours in (100, 604_800):
        client = by_hand(certificates, version=version, session_lifetime=ours)
        server = server_context(certificates, ssl.SSLContext, version)
        assert made(client, server).timeout == min(ours, 7200)  # OpenSSL's


def test_a_sealed_session_tells_no_name(certificates: Certificates) -> None:
    key = SealingKey.generate()
    session = made(by_hand(certificates, sealing_key=key), server_context(certificates))
    data = bytes(session)
    assert HOST.encode() not in data
    assert SSLSession.from_bytes(data).server_name is None
    assert SSLSession.from_bytes(data, sealing_key=SealingKey.generate()).server_name is None
    plain = made(by_hand(certificates), server_context(certificates))
    assert HOST.encode() in bytes(plain)
    assert SSLSession.from_bytes(bytes(plain)).server_name == HOST


def test_sessions_are_values(certificates: Certificates) -> None:
    client, server = by_hand(certificates), server_context(certificates)
    one, other = made(client, server), made(client, server)
    data = bytes(one)
    same = [SSLSession.from_bytes(data) for _ in range(2)]
    assert same[0] == same[1]
    assert hash(same[0]) == hash(same[1])
    assert len({*same, SSLSession.from_bytes(bytes(other))}) == 2
    assert one != other
    assert one != data
    assert one.id != other.id


def test_secrets_stay_out_of_sight(certificates: Certificates) -> None:
    session = made(by_hand(certificates), server_context(certificates))
    assert repr(session).startswith("<SSLSession TLSv1.3, ")
    assert len(repr(session)) < 60
    for call in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            call(session)


# -- wrong uses, as in ssl --------------------------------------------------------------------


@each_version
def test_wrong_sessions_are_refused_as_by_ssl(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    def steps(library: Library) -> list[object]:
        options = {"sessions": None} if library is SSLContext else {}
        client = client_context(certificates, library, version, **options)
        server = server_context(certificates, library, version)
        wrong_ones = (b"bytes", "text", 5, object())
        found = [fact(Wire, client, server, session=wrong) for wrong in wrong_ones]
        pair = Wire(client, server)
        found += [fact(setattr, pair.client, "session", wrong) for wrong in (*wrong_ones, None)]
        pair.handshake().say()
        session = pair.client.session
        found.append(fact(setattr, pair.client, "session", session))
        found.append(fact(setattr, pair.server, "session", session)[0])
        found.append(
            fact(
                server.wrap_bio,
                ssl.MemoryBIO(),
                ssl.MemoryBIO(),
                server_side=True,
                session=session,
            )[0]
        )
        return found

    assert steps(SSLContext) == steps(ssl.SSLContext)


def test_a_session_of_the_standard_library_is_refused(certificates: Certificates) -> None:
    pair = Wire(
        client_context(certificates, ssl.SSLContext), server_context(certificates)
    ).handshake()
    pair.say()
    error = failure(Wire, by_hand(certificates), pair.server.context, session=pair.client.session)
    assert told(error) == (TypeError, "Value is not a SSLSession.")


def test_servers_have_no_session_and_clients_none_before_a_ticket(
    certificates: Certificates,
) -> None:
    pair = Wire(client_context(certificates), server_context(certificates)).handshake()
    assert pair.client.session is None
    assert pair.server.session is None
    pair.say()
    assert pair.client.session is not None
    assert pair.server.session is None


@each_version
def test_a_session_by_hand_stands_beside_the_store(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    """It is offered in place of the store's, and what comes of it is remembered."""
    store = MemoryStore()
    client = client_context(certificates, version=version, sessions=store)
    server = server_context(certificates, version=version)
    session = made(by_hand(certificates, version=version), server)
    assert outcome_of(client, server, session) == (True, None)
    if version == ssl.TLSVersion.TLSv1_3:
        assert resumed(client, server)
    other = server_context(certificates, version=version, partition=b"x")
    assert outcome_of(client, other, session) == (False, MissReason.DECLINED)
    assert resumed(client, other)


@each_version
def test_a_session_too_large_to_be_stored_costs_no_connection(
    version: ssl.TLSVersion, tmp_path: Path
) -> None:
    """Its certificates alone exceed an envelope."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = dt.datetime.now(dt.UTC)
    large = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), bytes(66_000))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(large, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    file = tmp_path / "large.pem"
    kind = serialization.PrivateFormat.PKCS8
    file.write_bytes(
        key.private_bytes(pem, kind, serialization.NoEncryption()) + certificate.public_bytes(pem)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    client = SSLContext(ssl.PROTOCOL_TLS_CLIENT, sessions=MemoryStore())
    client.load_verify_locations(file)
    client.minimum_version = client.maximum_version = version
    for _ in range(2):
        pair = Wire(client, server).handshake()
        pair.say()
        assert pair.client.miss_reason is MissReason.NONE_STORED
        assert pair.client.session is None
