"""What is told of every connection: on the object, by on_handshake, in the counters, in the log."""

import logging
import ssl
import time
from typing import Any

import pytest
from conftest import HOST, Certificates
from drop_in.peers import client_context, connected, failure, server_context, told
from wrapped import Wire, each_version

from gnutls_resume import (
    HandshakeKind,
    MemoryStore,
    MissReason,
    Outcome,
    SSLContext,
    SSLSession,
    outcome,
)

KINDS = HandshakeKind


def told_by(context: Any) -> list[Outcome]:
    return context._resuming.on_handshake.__self__


def listening(make: Any, certificates: Certificates, **options: Any) -> Any:
    """A context whose outcomes are appended to a list."""
    outcomes: list[Outcome] = []
    return make(certificates, on_handshake=outcomes.append, **options)


def connect(client: Any, server: Any, **how: Any) -> Wire:
    pair = Wire(client, server, **how).handshake()
    pair.say()
    return pair


@each_version
def test_every_connection_tells_how_it_began(
    certificates: Certificates, version: ssl.TLSVersion, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "gnutls_resume")
    client = listening(client_context, certificates, version=version)
    server = listening(server_context, certificates, version=version)
    name = version.name.replace("v1_", "v1.")
    before = time.monotonic()
    for kind, miss, server_miss in [
        (KINDS.FULL, MissReason.NONE_STORED, MissReason.NONE_OFFERED),
        (KINDS.RESUMED_TICKET, None, None),
    ]:
        caplog.clear()
        pair = Wire(client, server)
        for one in (pair.client, pair.server):
            assert outcome(one) is None
            assert one.handshake_kind is None
            assert one.miss_reason is None
        pair.handshake().say()
        for one, reason, side in ((pair.client, miss, False), (pair.server, server_miss, True)):
            found = outcome(one)
            assert isinstance(found, Outcome)
            assert found is one.outcome is one._sslobj.outcome
            assert (one.handshake_kind, one.miss_reason) == (kind, reason)
            assert (found.kind, found.miss_reason) == (kind, reason)
            assert (found.server_name, found.protocol, found.server_side) == (HOST, name, side)
            assert 0 < found.seconds <= time.monotonic() - before
        assert told_by(client)[-1] is outcome(pair.client)
        assert told_by(server)[-1] is outcome(pair.server)
        records = [one for one in caplog.records if one.name == "gnutls_resume"]
        assert [one.levelno for one in records] == [logging.DEBUG] * 2
        for side, reason in (("client", miss), ("server", server_miss)):
            (record,) = [one for one in records if one.getMessage().startswith(side)]
            text = record.getMessage()
            assert HOST in text
            assert name in text
            assert kind.value in text
            assert reason is None or reason.value in text
    for context, side in ((client, "client"), (server, "server")):
        counted = context.stats
        assert counted[f"{side}_handshakes"] == 2
        assert counted[f"{side}_full"] == counted[f"{side}_resumed_ticket"] == 1
        assert context.session_stats()["hits"] == 1
        with pytest.raises(TypeError):
            counted["hits"] = 5


@each_version
def test_reasons_of_a_client(certificates: Certificates, version: ssl.TLSVersion) -> None:
    server = server_context(certificates, ssl.SSLContext, version)
    seen: set[MissReason] = set()

    def reason(client: Any, server: Any = server, **how: Any) -> MissReason | None:
        found = connect(client, server, **how).client.miss_reason
        word = f"client_{found.name.lower()}" if found else "client_resumed_ticket"
        assert client.stats[word] >= 1
        if found:
            seen.add(found)
        return found  # type: ignore[no-any-return]

    remembering = client_context(certificates, version=version)
    assert reason(remembering) is MissReason.NONE_STORED
    assert reason(remembering) is None
    # The server has forgotten its key.
    assert reason(remembering, server_context(certificates, ssl.SSLContext, version)) is (
        MissReason.DECLINED
    )
    assert reason(client_context(certificates, version=version, sessions=None)) is (
        MissReason.DISABLED
    )
    nameless = client_context(certificates, version=version)
    nameless.check_hostname = False
    for _ in range(2):
        assert reason(nameless, hostname=None) is MissReason.DISABLED
    damaged = bytearray(bytes(connect(remembering, server).client.session))
    damaged[-1] ^= 1
    found = reason(remembering, session=SSLSession.from_bytes(damaged))
    assert found is MissReason.DAMAGED
    other = client_context(certificates, version=version, partition=b"x")
    found = reason(other, session=connect(remembering, server).client.session)
    assert found is MissReason.POLICY_CHANGED

    class Broken(MemoryStore):
        def get(self, key: bytes) -> bytes | None:
            raise OSError("broken")

    broken = client_context(certificates, version=version, sessions=Broken())
    assert reason(broken) is MissReason.STORE_ERROR
    assert seen == {
        MissReason.NONE_STORED,
        MissReason.DECLINED,
        MissReason.DISABLED,
        MissReason.DAMAGED,
        MissReason.POLICY_CHANGED,
        MissReason.STORE_ERROR,
    }


def test_resumption_by_session_id_is_told_as_such(certificates: Certificates) -> None:
    version = ssl.TLSVersion.TLSv1_2
    server = server_context(certificates, ssl.SSLContext, version)
    client = client_context(certificates, version=version)
    for context in (server, client):
        context.options |= ssl.OP_NO_TICKET
    kinds = (HandshakeKind.FULL, *[HandshakeKind.RESUMED_SESSION_ID] * 2)
    for kind in kinds:
        pair = connect(client, server)
        # OpenSSL forgets a session whose connection has not said its end.
        assert told(failure(pair.server.unwrap))[0] is ssl.SSLWantReadError
        assert pair.client.handshake_kind is kind
        if kind is HandshakeKind.FULL:
            continue
        assert pair.server.session_reused
        assert pair.client.session.has_ticket is False
        assert pair.client.session.ticket_lifetime_hint == 0
    assert client.stats["client_resumed_session_id"] == client.session_stats()["hits"] == 2


class Rubbish(MemoryStore):
    """Returns whatever it was told to."""

    answer: Any = b""

    def get(self, key: bytes) -> bytes | None:
        return self.answer  # type: ignore[no-any-return]

    take = get


@each_version
@pytest.mark.parametrize(
    "answer", [b"", b"x", bytes(70_000), "text", 5, object(), [], bytearray(b"GTLS"), True]
)
def test_a_store_may_return_anything(
    certificates: Certificates, version: ssl.TLSVersion, answer: object
) -> None:
    store = Rubbish()
    store.answer = answer
    client = client_context(certificates, version=version, sessions=store)
    pair = connect(client, server_context(certificates, version=version))
    assert pair.client.miss_reason in {
        MissReason.DAMAGED,
        MissReason.STORE_ERROR,
        MissReason.NONE_STORED,
        MissReason.OTHER_VERSION,
    }


@each_version
def test_reasons_of_a_server(certificates: Certificates, version: ssl.TLSVersion) -> None:
    client = client_context(certificates, version=version)
    server = server_context(certificates, version=version)

    def reason(server: Any) -> MissReason | None:
        found = connect(client, server).server.miss_reason
        if found:
            assert server.stats[f"server_{found.name.lower()}"] >= 1
        return found  # type: ignore[no-any-return]

    assert reason(server) is MissReason.NONE_OFFERED
    assert reason(server) is None
    other = server_context(certificates, version=version, partition=b"x")
    assert reason(other) is MissReason.KEY_UNKNOWN
    assert other.session_stats()["misses"] == 1
    assert reason(server_context(certificates, version=version, ticket_keys=None)) is (
        MissReason.DISABLED
    )
    without = server_context(certificates, version=version)
    without.options |= ssl.OP_NO_TICKET
    assert reason(without) is MissReason.DISABLED


def test_no_outcome_of_what_failed(
    certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "gnutls_resume")
    client = listening(client_context, certificates)
    server = listening(server_context, certificates)
    pair = Wire(client, server, hostname="other.example")
    assert None not in pair.outcomes()
    assert told_by(client) == told_by(server) == []
    assert outcome(pair.client) is outcome(pair.server) is None
    assert client.stats["failed_handshakes"] == server.stats["failed_handshakes"] == 1
    assert "client_handshakes" not in client.stats
    assert not [one for one in caplog.records if one.name == "gnutls_resume"]


def test_the_outcome_stays_after_the_end(certificates: Certificates) -> None:
    with connected(client_context(certificates), server_context(certificates)) as pair:
        found = outcome(pair.client)
    assert pair.client.outcome is outcome(pair.client) is found is not None
    assert pair.client.handshake_kind is HandshakeKind.FULL
    assert pair.client.session_reused is None  # as in ssl, once it is closed


def test_outcome_of_anything_else_is_none() -> None:
    for other in (None, 5, object(), ssl.MemoryBIO(), type("X", (), {"outcome": 5})()):
        assert outcome(other) is None


@each_version
def test_snapshots_a_setting_changed_later_changes_no_connection(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    """Trap 8: libraries set them on shared contexts for every connection."""
    client = client_context(certificates)
    client.maximum_version = client.minimum_version = version
    client.set_alpn_protocols(["a"])
    server = server_context(certificates)
    server.set_alpn_protocols(["a", "b"])
    pair = Wire(client, server)
    client.minimum_version, client.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    client.set_alpn_protocols(["b"])
    server.set_alpn_protocols(["b"])
    server.sni_callback = lambda *_: 112
    pair.handshake().say()
    assert pair.client.version() == version.name.replace("v1_", "v1.")
    assert pair.client.selected_alpn_protocol() == "a"
    assert pair.client.getpeercert()["subjectAltName"]  # still verified
    server.sni_callback = None
    later = connect(client, server)
    assert later.client.version() == "TLSv1.2"
    assert later.client.selected_alpn_protocol() == "b"
    assert later.client.getpeercert() == {}


def test_contexts_are_hashed_by_identity(certificates: Certificates) -> None:
    """Trap 22: they are the keys of connection pools."""
    one, other = client_context(certificates), client_context(certificates)
    assert one != other
    assert len({one, other, one}) == 2
    before = hash(one)
    one.set_alpn_protocols(["a"])
    one.check_hostname = False
    assert hash(one) == before
    assert isinstance(one, ssl.SSLContext)
    assert issubclass(SSLContext, ssl.SSLContext)


@each_version
@pytest.mark.parametrize("side", [0, 1], ids=["client", "server"])
def test_ciphers_are_named_alike_on_both_ends(
    certificates: Certificates, version: ssl.TLSVersion, side: int
) -> None:
    suites = {
        ssl.TLSVersion.TLSv1_3: ["AES-128-GCM", "AES-256-GCM", "CHACHA20-POLY1305"],
        ssl.TLSVersion.TLSv1_2: [
            "AES-128-GCM",
            "AES-256-GCM",
            "CHACHA20-POLY1305",
            "AES-128-CBC:-MAC-ALL:+SHA256",
            "AES-256-CBC:-MAC-ALL:+SHA384",
            "AES-128-CCM",
            "AES-256-CCM",
            "AES-128-CCM-8",
            "AES-256-CCM-8",
        ],
    }
    names = set()
    for suite in suites[version]:
        priority = f"NORMAL:-CIPHER-ALL:+{suite}"
        makers = [client_context, server_context]
        contexts: list[Any] = [None, None]
        contexts[side] = makers[side](certificates, version=version, priority=priority)
        contexts[1 - side] = makers[1 - side](certificates, ssl.SSLContext, version)
        if version == ssl.TLSVersion.TLSv1_2:
            contexts[1 - side].set_ciphers("ALL:@SECLEVEL=0")
        errors = Wire(*contexts).outcomes()
        assert errors == (None, None), (suite, [told(error) for error in errors if error])
        pair = Wire(*contexts).handshake()
        assert pair.client.cipher() == pair.server.cipher()
        names.add(pair.client.cipher())
    assert len(names) == len(suites[version])
