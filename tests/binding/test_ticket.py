"""The ticket key in use. As an object it is tested beside the sealing key, in test_envelope.py."""

import gc
import hashlib
import os
import time
import warnings
from typing import Any

import pytest
from conftest import Certificates
from pair import TLS12, TLS13, Setting

from gnutls_resume.binding import (
    HandshakeType,
    HookTime,
    SealingKey,
    Session,
    TicketKey,
    _datum,
    db_get_default_cache_expiration,
)
from gnutls_resume.binding._ffi import CData, ffi, lib

RAW = bytes(range(64))
NAME = 16  # bytes; the first of a ticket tell its key
each_version = pytest.mark.parametrize("priority", [TLS12, TLS13])


def seen(key: TicketKey) -> bytes:
    """What stands in the key's memory."""
    return bytes(ffi.buffer(key._memory, 64))


# -- the key ----------------------------------------------------------------------------------


def test_slice_of_a_larger_buffer_is_a_key() -> None:
    assert seen(TicketKey(memoryview(b"x" * 8 + RAW + b"y" * 8)[8:72])) == RAW


def test_keys_are_equal_to_themselves_alone() -> None:
    """A comparison of the bytes would tell, by its time, how many are right."""
    one, other = TicketKey(RAW), TicketKey(RAW)
    assert one != other
    assert one == one  # noqa: PLR0124
    assert len({one, other}) == 2


def test_key_of_another_kind_is_refused(certificates: Certificates) -> None:
    with Setting(certificates).pair() as pair:
        with pytest.raises(TypeError, match="key must be TicketKey, not SealingKey"):
            pair.server.ticket_enable_server(SealingKey.generate())  # type: ignore[arg-type]
        pair.handshake()


def test_collected_key_is_wiped_by_gnutls_memset(monkeypatch: pytest.MonkeyPatch) -> None:
    wiped: list[tuple[bytes, int]] = []

    class Watched:
        """The library, but for one function."""

        def __getattr__(self, name: str) -> Any:
            return getattr(lib, name)

        def gnutls_memset(self, memory: CData, value: int, size: int) -> None:
            before = bytes(ffi.buffer(memory, size))
            lib.gnutls_memset(memory, value, size)
            assert bytes(ffi.buffer(memory, size)) == bytes(size)
            wiped.append((before, size))

    monkeypatch.setattr(_datum, "lib", Watched())
    key = TicketKey(RAW)
    gc.disable()
    try:
        del key
        assert wiped == [(RAW, 64)], "at once, not at some later collection"
    finally:
        gc.enable()


def test_refusal_does_not_show_the_key() -> None:
    raw = b"ab" * 32
    with pytest.raises(ValueError, match="distinct") as caught:
        TicketKey(raw)
    assert raw.decode() not in str(caught.value)


@each_version
def test_session_has_its_own_copy_of_the_key(priority: str, certificates: Certificates) -> None:
    setting = Setting(certificates, priority)
    data: bytes | None = None
    for expected in ((False, False), (True, True)):
        key = TicketKey(RAW)
        setting.prepare = lambda _, server, key=key: server.ticket_enable_server(key)
        with setting.pair(data) as pair:
            key.wipe()
            pair.handshake()
            pair.exchange()
            assert pair.resumed == expected
            data = pair.client.get_data()


def test_fork_has_a_key_of_its_own(certificates: Certificates) -> None:
    """What the child issues resumes at the parent; what it wipes is still whole there."""
    key = TicketKey.generate()
    raw = seen(key)
    setting = Setting(certificates, ticket_key=key)
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads
        child = os.fork()
    if child == 0:
        try:
            data, _ = setting.connect()
            key.wipe()
            os.write(writer, data or b"")
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        data = file.read()
    assert os.waitpid(child, 0)[1] == 0
    assert seen(key) == raw
    assert setting.connect(data)[1] == (True, True)


# -- in use -----------------------------------------------------------------------------------


def ticket_name(certificates: Certificates, priority: str, key: TicketKey | None) -> bytes | None:
    """The key's name in the first ticket that a server sends, as it stands on the wire."""
    tickets: list[bytes] = []

    def note(_session: Session, _kind: int, _when: int, _in: object, message: bytes) -> None:
        tickets.append(message[6:] if priority == TLS12 else message[8 + 1 + message[8] + 2 :])

    def prepare(client: Session, _: Session) -> None:
        kind = HandshakeType.NEW_SESSION_TICKET
        client.handshake_set_hook_function(kind, HookTime.PRE, note)

    with Setting(certificates, priority, ticket_key=key, prepare=prepare).pair() as pair:
        pair.handshake()
        pair.exchange()
    return tickets[0][:NAME] if tickets else None


def name_under(raw: bytes) -> list[bytes]:
    """What GnuTLS derives from a key now, and in the period before (stek.c)."""
    period = int(time.time()) // (3 * db_get_default_cache_expiration())
    return [hashlib.sha3_512((period - back).to_bytes(8) + raw).digest()[:NAME] for back in (0, 1)]


@each_version
def test_cve_2020_13777_tickets_are_sealed_under_the_key_that_was_given(
    priority: str, certificates: Certificates
) -> None:
    """GnuTLS before 3.6.14 sealed them under zeros at first, so anyone could open them."""
    name = ticket_name(certificates, priority, TicketKey(RAW))
    assert name in name_under(RAW)
    assert name not in name_under(bytes(64))


@each_version
def test_cve_2020_13777_servers_with_different_keys_do_not_resume_each_others_tickets(
    priority: str, certificates: Certificates
) -> None:
    settings = [Setting(certificates, priority, ticket_key=TicketKey.generate()) for _ in range(2)]
    sessions = [setting.connect()[0] for setting in settings]
    names = {ticket_name(certificates, priority, setting.ticket_key) for setting in settings}
    assert len(names) == 2
    for i, setting in enumerate(settings):
        for j, data in enumerate(sessions):
            assert setting.connect(data)[1] == ((True, True) if i == j else (False, False))


@each_version
def test_server_without_a_key_issues_no_ticket(priority: str, certificates: Certificates) -> None:
    assert ticket_name(certificates, priority, None) is None


def test_second_key_before_the_handshake_replaces_the_first(certificates: Certificates) -> None:
    first, second = TicketKey.generate(), TicketKey.generate()

    def prepare(_: Session, server: Session) -> None:
        server.ticket_enable_server(first)
        server.ticket_enable_server(second)

    data, _ = Setting(certificates, prepare=prepare).connect()
    assert Setting(certificates, ticket_key=first).connect(data)[1] == (False, False)
    assert Setting(certificates, ticket_key=second).connect(data)[1] == (True, True)
