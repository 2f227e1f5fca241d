"""A server's sessions in a store: found by their ID, under the policy they were made under."""

import ssl
from typing import Any

import pytest
from conftest import Certificates
from wrapped import TLS12, TLS13, Wire, client_context, connect, server_context

from gnutls_resume import HandshakeKind, MemoryStore, MissReason, SSLContext
from gnutls_resume.resumption.ticket_keys import TicketKeyRing

BY_ID, FULL = HandshakeKind.RESUMED_SESSION_ID, HandshakeKind.FULL


def without_tickets(certificates: Certificates, **own: Any) -> SSLContext:
    context = client_context(certificates, sessions=MemoryStore(), **own)
    context.options |= ssl.OP_NO_TICKET
    context.maximum_version = TLS12  # with TLS 1.3 on, a client sends a random ID
    return context


def server(certificates: Certificates, store: MemoryStore, **own: Any) -> SSLContext:
    own.setdefault("ticket_keys", None)
    return server_context(certificates, TLS12, sessions=store, **own)


def kinds(wire: Wire) -> tuple[HandshakeKind, HandshakeKind]:
    return wire.client.handshake_kind, wire.server.handshake_kind


def test_session_resumes_by_its_id_on_another_server_of_the_store(
    certificates: Certificates,
) -> None:
    store, client = MemoryStore(), without_tickets(certificates)
    servers = [server(certificates, store) for _ in "ab"]
    assert kinds(connect(client, servers[0])) == (FULL, FULL)
    for one in reversed(servers):
        assert kinds(connect(client, one)) == (BY_ID, BY_ID)
    assert kinds(connect(client, server(certificates, MemoryStore()))) == (FULL, FULL)


def test_miss_has_a_reason(certificates: Certificates) -> None:
    client, one = without_tickets(certificates), server(certificates, MemoryStore())
    assert connect(client, one).server.miss_reason is MissReason.NONE_OFFERED
    other = server(certificates, MemoryStore())
    assert connect(client, other).server.miss_reason is MissReason.NONE_STORED
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
    one = server_context(certificates, TLS13, sessions=MemoryStore())
    client = client_context(certificates, sessions=MemoryStore())
    for _ in range(2):
        wire = connect(client, one)
    assert kinds(wire) == (HandshakeKind.RESUMED_TICKET,) * 2
    assert "store_misses" not in one.stats
    assert "store_hits" not in one.stats


def test_virtual_hosts_share_a_store_and_no_sessions(certificates: Certificates) -> None:
    store = MemoryStore()
    client = without_tickets(certificates)
    hosts = [server(certificates, store, partition=name) for name in (b"a", b"b")]
    connect(client, hosts[0])
    assert kinds(connect(client, hosts[1])) == (FULL, FULL)


def test_session_is_forgotten_after_a_fatal_alert(certificates: Certificates) -> None:
    store, client = MemoryStore(), without_tickets(certificates)
    one = server(certificates, store)
    wire = connect(client, one)
    assert store.key_count == 1
    wire.ends[1].incoming.write(b"\x17\3\3\0\5wrong")
    with pytest.raises(ssl.SSLError):
        wire.server.read(1)
    assert store.key_count == 0
    assert kinds(connect(client, one)) == (FULL, FULL)


def test_sni_callback_chooses_the_database(certificates: Certificates) -> None:
    stores = MemoryStore(), MemoryStore()
    front, behind = (server(certificates, store) for store in stores)
    front.sni_callback = lambda sock, name, _: setattr(sock, "context", behind)
    client = without_tickets(certificates)
    assert kinds(connect(client, front)) == (FULL, FULL)
    assert [store.key_count for store in stores] == [0, 1]
    assert kinds(connect(client, front)) == (BY_ID, BY_ID)
    assert kinds(connect(client, behind)) == (BY_ID, BY_ID)
