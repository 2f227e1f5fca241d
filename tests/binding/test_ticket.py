"""The ticket key in use. As an object it is tested beside the sealing key, in test_envelope.py."""

import copy
import gc
import hashlib
import os
import time
import warnings
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from conftest import HOST, Certificates
from deriving import (
    FULL,
    KNOWN,
    NONE,
    OTHER_POLICY,
    POLICY,
    RESUMED,
    RETRY,
    UNKNOWN,
    deriving,
    meet,
    ticket,
)
from pair import TLS12, TLS13, Setting

from gnutls_resume.binding import (
    CertificateRequest,
    HandshakeType,
    HookTime,
    InitFlag,
    Protocol,
    SealingKey,
    Session,
    TicketKey,
    TicketSecret,
    _datum,
    db_get_default_cache_expiration,
)
from gnutls_resume.binding._ffi import CData, ffi, lib
from gnutls_resume.errors import AlertError, GnuTLSError, MisuseError

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


# -- a key derived for each connection --------------------------------------------------------


@each_version
def test_derived_key_resumes_its_tickets(priority: str, certificates: Certificates) -> None:
    setting = deriving(certificates, TicketSecret.generate(), priority=priority)
    data: bytes | None = None
    for expected in ((FULL, NONE), (RESUMED, KNOWN), (RESUMED, KNOWN)):
        assert meet(setting, data) == expected
        data = data or ticket(setting)


def test_session_made_under_one_context_resumes_under_no_other(certificates: Certificates) -> None:
    """All pairs of policy, version, protocol and name (R-34): none fails."""
    secret = TicketSecret.generate()
    settings = [
        deriving(certificates, secret, policy, alpn=alpn, priority=priority, server_name=name)
        for policy, alpn, priority, name in product(
            (POLICY, OTHER_POLICY), (None, b"h2"), (TLS12, TLS13), (HOST, None)
        )
    ]
    sessions = [ticket(setting) for setting in settings]
    for i, setting in enumerate(settings):
        for j, data in enumerate(sessions):
            if setting.priority != settings[j].priority:
                setting = copy.copy(setting)  # noqa: PLW2901
                # A client that can do both offers it; else GnuTLS would not even try.
                setting.client_priority, setting.server_priority = "NORMAL", setting.priority
            resumed, _ = meet(setting, data)
            assert resumed == (RESUMED if i == j else FULL), (i, j)


def test_parts_of_a_context_do_not_run_together(certificates: Certificates) -> None:
    secret = TicketSecret.generate()
    one = deriving(certificates, secret, alpn=b"h2a", server_name=None)
    other = deriving(certificates, secret, alpn=b"h2", server_name="a")
    other.client_credentials = certificates.client()
    data = ticket(one)
    prepare = other.prepare
    assert prepare is not None

    def without_verification(client: Session, server: Session) -> None:
        client.set_verify_cert(None)
        prepare(client, server)

    other.prepare = without_verification
    assert meet(other, data) == (FULL, UNKNOWN)


@pytest.mark.parametrize("derived", [True, False])
def test_tls12_ticket_does_not_break_tls13(*, derived: bool, certificates: Certificates) -> None:
    """R-65: a server learns TLS 1.3, and its clients hold TLS 1.2 tickets under the same key."""
    secret, key = TicketSecret.generate(), TicketKey.generate()

    def prepare(_: Session, server: Session) -> None:
        if derived:
            server.ticket_derive(secret, POLICY)
        else:
            server.ticket_enable_server(key)

    data = ticket(Setting(certificates, TLS12, prepare=prepare))
    setting = Setting(certificates, "NORMAL", prepare=prepare)
    if derived:
        assert meet(setting, data) == (FULL, UNKNOWN)
        with setting.pair(data) as pair:
            pair.handshake()
            assert pair.server.protocol_get_version() is Protocol.TLS1_3
    else:
        with setting.pair(data) as pair:  # what GnuTLS does by itself
            client, server = pair.outcomes()
            assert isinstance(client, GnuTLSError)
            assert isinstance(server, AlertError)


def test_tls13_ticket_does_not_break_tls12(certificates: Certificates) -> None:
    setting = deriving(certificates, TicketSecret.generate(), priority="NORMAL")
    data = ticket(setting)
    setting.server_priority = TLS12
    assert meet(setting, data) == (FULL, UNKNOWN)


@each_version
def test_cve_2025_23419_ticket_without_a_certificate_does_not_reach_a_host_that_requires_one(
    priority: str, certificates: Certificates
) -> None:
    """F9. The two hosts share the secret and even the name; their policies differ."""
    secret = TicketSecret.generate()

    def require(server: Session) -> None:
        server.certificate_server_set_request(CertificateRequest.REQUIRE)
        server.set_verify_cert(None)

    data = ticket(deriving(certificates, secret, priority=priority))
    same = deriving(certificates, secret, priority=priority, set_up=require)
    strict = deriving(certificates, secret, OTHER_POLICY, priority=priority, set_up=require)
    assert meet(same, data) == (RESUMED, KNOWN), "GnuTLS does not ask again"
    with strict.pair(data) as pair:
        _, server = pair.outcomes()
        assert isinstance(server, GnuTLSError)
        assert not pair.server.is_resumed()
        assert pair.server.ticket_offered() is UNKNOWN
    strict.client_credentials = certificates.client_with_certificate()
    assert meet(strict, data) == (FULL, UNKNOWN)


@each_version
def test_two_secrets_never_resume_each_others_tickets(
    priority: str, certificates: Certificates
) -> None:
    settings = [deriving(certificates, TicketSecret.generate(), priority=priority) for _ in "ab"]
    sessions = [ticket(setting) for setting in settings]
    for i, setting in enumerate(settings):
        for j, data in enumerate(sessions):
            assert meet(setting, data) == ((RESUMED, KNOWN) if i == j else (FULL, UNKNOWN))


def test_two_secrets_of_one_value_are_one(certificates: Certificates) -> None:
    raw = bytes(range(32))
    data = ticket(deriving(certificates, TicketSecret(raw)))
    assert meet(deriving(certificates, TicketSecret(raw)), data) == (RESUMED, KNOWN)


@each_version
def test_key_follows_the_lifetime_whenever_it_is_set(
    priority: str, certificates: Certificates
) -> None:
    """GnuTLS derives from it, and so does what tells whether it knows a ticket."""
    secret = TicketSecret.generate()

    def setting(seconds: int) -> Setting:
        return deriving(
            certificates,
            secret,
            priority=priority,
            set_up=lambda server: server.db_set_cache_expiration(seconds),
        )

    data = ticket(setting(1234))
    assert meet(setting(1234), data) == (RESUMED, KNOWN)
    assert meet(setting(4321), data) == (FULL, UNKNOWN)


def counting_hellos(seen: list[Session]) -> Callable[[Session], None]:
    def set_up(server: Session) -> None:
        server.handshake_set_hook_function(
            HandshakeType.CLIENT_HELLO, HookTime.PRE, lambda session, *_: seen.append(session)
        )

    return set_up


def test_hello_retry_request_harms_neither_known_nor_unknown_tickets(
    certificates: Certificates,
) -> None:
    """The post-client-hello function runs twice; a second key would end the handshake."""
    secret = TicketSecret.generate()
    hellos: list[Session] = []
    set_up = counting_hellos(hellos)
    setting = deriving(certificates, secret, set_up=set_up, **RETRY)
    other = deriving(certificates, secret, OTHER_POLICY, set_up=set_up, **RETRY)
    data = ticket(setting)
    for _ in range(10):
        assert meet(setting, data) == (RESUMED, KNOWN)
        assert meet(other, data) == (FULL, UNKNOWN)
        assert meet(setting) == (FULL, NONE)
    assert len(hellos) == 2 * 31


# -- beside Python's functions ----------------------------------------------------------------


@pytest.mark.parametrize("place", ["hook", "function"])
@each_version
def test_key_can_be_chosen_when_the_hello_is_seen(
    place: str, priority: str, certificates: Certificates
) -> None:
    """The last call counts: here the one that knows the server's name."""
    secret = TicketSecret.generate()
    policies: dict[str | None, bytes] = {HOST: POLICY, None: OTHER_POLICY}

    def choose(session: Session, *_: object) -> None:
        session.ticket_derive(secret, policies[session.client_hello_server_name()])

    def set_up(server: Session) -> None:
        if place == "hook":
            server.handshake_set_hook_function(HandshakeType.CLIENT_HELLO, HookTime.PRE, choose)
        else:
            server.handshake_set_post_client_hello_function(choose)

    choosing = deriving(certificates, TicketSecret.generate(), set_up=set_up, priority=priority)
    plain = deriving(certificates, secret, priority=priority)
    assert meet(plain, ticket(choosing)) == (RESUMED, KNOWN)
    assert meet(choosing, ticket(plain)) == (RESUMED, KNOWN)


@pytest.mark.parametrize("order", ["derive-first", "function-first"])
@pytest.mark.parametrize("way", ["tls12", "tls13", "retry"])
def test_key_is_derived_beside_a_post_client_hello_function(
    order: str, way: str, certificates: Certificates
) -> None:
    secret = TicketSecret.generate()
    fields = RETRY if way == "retry" else {"priority": TLS12 if way == "tls12" else TLS13}
    calls: list[str | None] = []

    def prepare(_: Session, server: Session) -> None:
        def set_function() -> None:
            server.handshake_set_post_client_hello_function(
                lambda session: calls.append(session.server_name_get())
            )

        if order == "function-first":
            set_function()
        server.ticket_derive(secret, POLICY)
        if order == "derive-first":
            set_function()

    setting = Setting(certificates, prepare=prepare, **fields)
    assert meet(setting, ticket(setting)) == (RESUMED, KNOWN)
    assert calls == [HOST] * (4 if way == "retry" else 2)


def test_exception_of_a_post_client_hello_function_still_comes_out(
    certificates: Certificates,
) -> None:
    def fail(_: Session) -> None:
        raise LookupError

    setting = deriving(
        certificates,
        TicketSecret.generate(),
        set_up=lambda server: server.handshake_set_post_client_hello_function(fail),
    )
    with setting.pair() as pair:
        _, server = pair.outcomes()
        assert isinstance(server, LookupError)


# -- what goes wrong --------------------------------------------------------------------------


def test_ticket_of_a_server_lowered_to_tls12_by_its_function_does_not_exist(
    certificates: Certificates,
) -> None:
    """GnuTLS negotiates after the function, so the key would be that of TLS 1.3 tickets: its
    TLS 1.2 ticket would break the next handshake in TLS 1.3.
    """
    secret = TicketSecret.generate()

    def set_up(server: Session) -> None:
        server.handshake_set_post_client_hello_function(lambda s: s.priority_set(TLS12))

    lowered = deriving(certificates, secret, set_up=set_up, server_priority="NORMAL")
    lowered.client_priority = "NORMAL"
    with lowered.pair() as pair:
        pair.handshake()
        pair.exchange()
        assert pair.server.protocol_get_version() is Protocol.TLS1_2
        assert pair.server.ticket_failures == 1
        assert not pair.client.own.tickets
        data = pair.client.get_data()
    assert meet(deriving(certificates, secret, priority="NORMAL"), data) == (FULL, NONE)


@each_version
def test_priority_set_in_the_client_hello_hook_comes_early_enough(
    priority: str, certificates: Certificates
) -> None:
    def lower(session: Session, *_: object) -> None:
        session.priority_set(priority)

    def set_up(server: Session) -> None:
        server.handshake_set_hook_function(HandshakeType.CLIENT_HELLO, HookTime.PRE, lower)

    secret = TicketSecret.generate()
    setting = deriving(certificates, secret, set_up=set_up, priority="NORMAL")
    assert meet(setting, ticket(setting)) == (RESUMED, KNOWN)
    assert meet(deriving(certificates, secret, priority=priority), ticket(setting))[0] == RESUMED


@each_version
def test_secret_wiped_before_the_handshake_means_no_tickets(
    priority: str, certificates: Certificates
) -> None:
    """Above all no tickets under a key made from zeros."""
    good = deriving(certificates, TicketSecret(bytes(range(32))), priority=priority)
    data = ticket(good)
    secret = TicketSecret(bytes(range(32)))
    setting = deriving(certificates, secret, priority=priority)
    with setting.pair(data) as pair:
        secret.wipe()
        pair.handshake()
        pair.exchange()
        assert pair.resumed == FULL
        assert pair.server.ticket_offered() is UNKNOWN
        assert pair.server.ticket_failures == 1
        assert pair.client.own.tickets == 0
    with pytest.raises(MisuseError, match="TicketSecret has been wiped"):
        setting.connect()


def test_session_resumed_by_its_id_needs_no_key(certificates: Certificates) -> None:
    secret, database = TicketSecret.generate(), dict[bytes, bytes]()
    flags = InitFlag.NO_TICKETS
    setting = deriving(certificates, secret, priority=TLS12, client_flags=flags, database=database)
    assert meet(setting, ticket(setting)) == (RESUMED, NONE)
    assert len(database) == 1


def test_session_keeps_the_secret(certificates: Certificates) -> None:
    raw = bytes(range(32))
    data = ticket(deriving(certificates, TicketSecret(raw)))
    setting = deriving(certificates, TicketSecret(raw))
    with setting.pair(data) as pair:
        setting.prepare = None
        gc.collect()
        pair.handshake()
        assert pair.resumed == RESUMED


def test_secret_wiped_by_another_thread_never_leaves_a_key_made_of_less(
    certificates: Certificates,
) -> None:
    """Its size goes to 0 before its bytes do, and is looked at after they were read."""
    sizes: list[int] = []

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(lib, name)

        def gnutls_memset(self, memory: CData, value: int, size: int) -> None:
            sizes.append(secret._datum.size)
            lib.gnutls_memset(memory, value, size)

    secret = TicketSecret.generate()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_datum, "lib", Watched())
        secret.wipe()
    assert sizes == [0]


@pytest.mark.parametrize("size", [0, 31, 33])
def test_policy_of_another_size_is_refused(size: int, certificates: Certificates) -> None:
    with Setting(certificates).pair() as pair:
        with pytest.raises(ValueError, match=f"policy must be 32 bytes, not {size}"):
            pair.server.ticket_derive(TicketSecret.generate(), bytes(size))
        with pytest.raises(TypeError, match="secret must be TicketSecret, not TicketKey"):
            pair.server.ticket_derive(TicketKey(RAW), POLICY)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="policy must be bytes, not str"):
            pair.server.ticket_derive(TicketSecret.generate(), "x" * 32)  # type: ignore[arg-type]
        pair.handshake()
