"""What became of a handshake: counted, logged and told."""

import dataclasses
import logging
import ssl
import threading
from typing import Any

import pytest
from conftest import HOST, Certificates
from wrapped import Wire, client_context, connect, each_version, server_context

from gnutls_resume import (
    HandshakeKind,
    MemoryStore,
    MissReason,
    Outcome,
    SealingKey,
    SSLSession,
)
from gnutls_resume.resumption.outcome import Counters, report
from gnutls_resume.resumption.ticket_keys import TicketKeyRing

FULL = Outcome(HandshakeKind.FULL, MissReason.EXPIRED, "localhost", "TLSv1.3", False, 0.25)
RESUMED = Outcome(HandshakeKind.RESUMED_TICKET, None, None, "TLSv1.2", True, 0.5)


def test_each_handshake_is_counted_by_side_kind_and_reason() -> None:
    counters = Counters()
    for outcome in (FULL, FULL, RESUMED):
        report(outcome, counters, None)
    assert dict(counters.read()) == {
        "client_handshakes": 2,
        "client_full": 2,
        "client_expired": 2,
        "server_handshakes": 1,
        "server_resumed_ticket": 1,
    }


def test_what_was_read_stays_as_it_was() -> None:
    counters = Counters()
    counters.count("one")
    seen = counters.read()
    counters.count("one", "two")
    assert dict(seen) == {"one": 1}
    assert (counters.number("one"), counters.number("two"), counters.number("three")) == (2, 1, 0)


def test_threads_lose_no_count() -> None:
    counters = Counters()
    threads = [
        threading.Thread(target=lambda: [counters.count("a", "b") for _ in range(5000)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert dict(counters.read()) == {"a": 40_000, "b": 40_000}


def test_outcome_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FULL.kind = HandshakeKind.RESUMED_TICKET  # type: ignore[misc]


def test_handshake_is_one_debug_record(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "gnutls_resume"):
        report(FULL, Counters(), None)
        report(RESUMED, Counters(), None)
    assert [record.getMessage() for record in caplog.records] == [
        "client handshake, localhost, TLSv1.3: full (the stored session has expired), 250.0 ms",
        "server handshake, no server name, TLSv1.2: resumed by ticket, 500.0 ms",
    ]


def test_callback_gets_the_outcome_itself() -> None:
    seen: list[Outcome] = []
    report(FULL, Counters(), seen.append)
    assert seen == [FULL]


def test_callback_that_raises_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    counters = Counters()

    def fail(outcome: Outcome) -> None:
        raise RuntimeError("of the caller")

    report(FULL, counters, fail)
    assert counters.number("on_handshake_errors") == 1
    assert counters.number("client_handshakes") == 1
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "of the caller" in caplog.text


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_interrupt_in_the_callback_comes_out(error: type[BaseException]) -> None:
    def interrupt(outcome: Outcome) -> None:
        raise error

    with pytest.raises(error):
        report(FULL, Counters(), interrupt)


# -- in connections ---------------------------------------------------------------------------


@each_version
def test_both_ends_tell_how_the_connection_began(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    seen: list[Outcome] = []
    server = server_context(certificates, version, on_handshake=seen.append)
    client = client_context(certificates, sessions=MemoryStore(), on_handshake=seen.append)
    for _ in range(2):
        connect(client, server)
    sides = {
        side: [
            (one.kind, one.miss_reason, one.server_name) for one in seen if one.server_side is side
        ]
        for side in (False, True)
    }
    resumed = (HandshakeKind.RESUMED_TICKET, None, HOST)
    assert sides[False] == [(HandshakeKind.FULL, MissReason.NONE_STORED, HOST), resumed]
    assert sides[True] == [(HandshakeKind.FULL, MissReason.NONE_OFFERED, HOST), resumed]
    assert {one.protocol for one in seen} == {version.name.replace("_", ".")}
    assert all(0 < one.seconds < 30 for one in seen)


@each_version
def test_callback_that_raises_costs_no_handshake(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    def fail(outcome: Outcome) -> None:
        raise ssl.SSLError("of the caller")

    client = client_context(certificates, sessions=MemoryStore(), on_handshake=fail)
    server = server_context(certificates, version, on_handshake=fail)
    assert connect(client, server).resumed == (False, False)
    assert connect(client, server).resumed == (True, True)
    assert client.stats["on_handshake_errors"] == server.stats["on_handshake_errors"] == 2


@each_version
def test_numbers_add_up(certificates: Certificates, version: ssl.TLSVersion) -> None:
    """Each handshake is resumed, or full for one reason (R-21)."""
    ring = TicketKeyRing()
    client = client_context(certificates, sessions=MemoryStore())
    server = server_context(certificates, version, ticket_keys=ring)
    other = server_context(certificates, version, ticket_keys=TicketKeyRing())
    for which in (server, server, other, other, server, server):
        connect(client, which)
    for side, context in (("client", client), ("server", server)):
        numbers: dict[str, Any] = dict(context.stats)
        handshakes = numbers[f"{side}_handshakes"]
        full = numbers[f"{side}_full"]
        reasons = sum(
            number
            for name, number in numbers.items()
            if name in {f"{side}_{reason.name.lower()}" for reason in MissReason}
        )
        assert handshakes == full + numbers.get(f"{side}_resumed_ticket", 0)
        assert full == reasons


@each_version
def test_server_says_why_it_was_full(certificates: Certificates, version: ssl.TLSVersion) -> None:
    store = MemoryStore()
    reasons = []
    for keys in (TicketKeyRing(), TicketKeyRing(), None):
        server = server_context(certificates, version, ticket_keys=keys)
        made = connect(client_context(certificates, sessions=store), server)
        assert made.resumed == (False, False)
        reasons.append((made.client.miss_reason, made.server.miss_reason))
    assert reasons == [
        (MissReason.NONE_STORED, MissReason.NONE_OFFERED),
        (MissReason.DECLINED, MissReason.KEY_UNKNOWN),
        (MissReason.DECLINED, MissReason.DISABLED),
    ]


@each_version
def test_changed_sealing_key_is_told(certificates: Certificates, version: ssl.TLSVersion) -> None:
    """A session by hand, sealed under a key that this reader does not have."""
    key, server = SealingKey.generate(), server_context(certificates, version)
    client = client_context(certificates, sessions=None, sealing_key=key)
    data = bytes(connect(client, server).client.session)
    for other, reason in ((key, None), (SealingKey.generate(), MissReason.DAMAGED)):
        session = SSLSession.from_bytes(data, sealing_key=other)
        made = Wire(client, server, session=session)
        made.handshake()
        assert made.client.miss_reason is reason
