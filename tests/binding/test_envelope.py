"""The stored form of a session, through the sessions that make and use it, and directly.

What an envelope looks like is written here a second time, from the docstring of ``envelope.py``
and with other libraries (struct, hashlib, cryptography): a test that asked the package for its
own layout would agree with anything. The file is long because the envelope is the one guard in
front of code that crashes: each of its refusals is tried on a client, on a server and directly.
"""

import copy
import gc
import hashlib
import pickle
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import HOST, Certificates
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from hypothesis import given, settings
from hypothesis import strategies as st
from pair import TLS12, TLS13, Setting

from gnutls_resume.binding import (
    GNUTLS_VERSION,
    Credentials,
    InitFlag,
    Kind,
    Sealing,
    SealingKey,
    Session,
    TicketKey,
    TicketSecret,
    _datum,
    db_check_entry_expire_time,
    db_check_entry_time,
    envelope,
)
from gnutls_resume.binding import session as session_module
from gnutls_resume.binding._datum import Secret, datum_of
from gnutls_resume.binding._ffi import ffi
from gnutls_resume.errors import InvalidReason, InvalidSessionError, MisuseError

LAYOUT = ">4s BBB I B H QQ 32s 8s 32s I"
FIELDS = (
    "magic", "format", "protection", "kind", "gnutls_version", "transport", "protocol_version",
    "created", "expires", "policy", "key_id", "salt", "length",
)  # fmt: skip
HEADER_SIZE = 106
CHECK_SIZES = {1: 32, 2: 16}  # by protection: SHA-256, the tag of AES-256-GCM
LARGEST = 65_536  # bytes
WEEK = 604_800  # seconds; RFC 8446 §4.6.1
VERSION = int.from_bytes(bytes(int(part) for part in GNUTLS_VERSION.split("-")[0].split(".")))

RAW_KEY = bytes(range(32))
KEY, OTHER_KEY = SealingKey(RAW_KEY), SealingKey(bytes(range(100, 132)))
CHECKSUM, SEALED = Sealing(), Sealing(KEY)
WAYS = ["session-id", "ticket-1.2", "ticket-1.3"]


@dataclass
class Envelope:
    """An envelope taken apart as the docstring says."""

    header: dict[str, Any]
    body: bytes
    check: bytes

    @property
    def server_name(self) -> bytes:
        return self.body[1 : 1 + self.body[0]]

    @property
    def data(self) -> bytes:
        return self.body[1 + self.body[0] :]


def pack(header: dict[str, Any]) -> bytes:
    return struct.pack(LAYOUT, *(header[name] for name in FIELDS))


def parse(raw: bytes) -> Envelope:
    header = dict(zip(FIELDS, struct.unpack(LAYOUT, raw[:HEADER_SIZE]), strict=True))
    end = HEADER_SIZE + header["length"]
    return Envelope(header, raw[HEADER_SIZE:end], raw[end:])


def covered(header: bytes, store_key: bytes) -> bytes:
    return header + struct.pack(">I", len(store_key)) + store_key


def checksum(header: bytes, body: bytes, store_key: bytes = b"") -> bytes:
    return hashlib.sha256(covered(header, store_key) + body).digest()


def cipher(salt: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, salt, b"gnutls_resume session").derive(RAW_KEY))


def patch(raw: bytes, *, store_key: bytes = b"", **fields: int | bytes) -> bytes:
    """Another header, with a checksum that is right: what a writer with intent can make."""
    parsed = parse(raw)
    header = pack(parsed.header | fields)
    return header + parsed.body + checksum(header, parsed.body, store_key)


def seal(data: bytes = b"a session", sealing: Sealing = CHECKSUM, **fields: Any) -> bytes:
    datum, _memory = datum_of(data)
    now = int(time.time())
    default = {"kind": Kind.CLIENT_TICKET, "protocol_version": 0x0304, "created": now}
    default |= {"expires": now + 100, "server_name": HOST, "store_key": b""}
    return envelope.seal(datum, sealing=sealing, **default | fields)


def opened(raw: bytes, sealing: Sealing = CHECKSUM, **fields: Any) -> tuple[bytes, str]:
    default = {"kinds": (Kind.CLIENT_TICKET,), "store_key": b""}
    session = envelope.open(raw, sealing=sealing, **default | fields)
    assert session.header._asdict() == parse(raw).header
    try:
        return bytes(ffi.buffer(session.pointer, session.size)), session.server_name
    finally:
        session.wipe()


def reason_of(raw: bytes, sealing: Sealing = CHECKSUM, **fields: Any) -> InvalidReason:
    with pytest.raises(InvalidSessionError) as caught:
        opened(raw, sealing, **fields)
    return caught.value.reason


@contextmanager
def clock(seconds: float) -> Iterator[None]:
    """Another time for the envelope; GnuTLS keeps its own."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(envelope, "time", SimpleNamespace(time=lambda: seconds))
        yield


# -- sessions of each kind --------------------------------------------------------------------


@dataclass
class Made:
    """What the two ends were set to, and the session that the client got."""

    setting: Setting
    kind: Kind
    data: bytes

    def sealed(self, client: Sealing, server: Sealing) -> Setting:
        return replace(self.setting, client_sealing=client, server_sealing=server)

    @property
    def database(self) -> dict[bytes, bytes]:
        assert self.setting.database is not None
        return self.setting.database

    @property
    def entry(self) -> tuple[bytes, bytes]:
        """The one entry of the server's database: session ID and envelope."""
        (item,) = self.database.items()
        return item


def setting_for(way: str, certificates: Certificates, sealing: Sealing) -> Setting:
    priority = TLS13 if way == "ticket-1.3" else TLS12
    setting = Setting(certificates, priority, client_sealing=sealing, server_sealing=sealing)
    if way == "session-id":
        return replace(setting, client_flags=InitFlag.NO_TICKETS, database={})
    return replace(setting, ticket_key=TicketKey.generate())


def make(way: str, certificates: Certificates, sealing: Sealing = CHECKSUM) -> Made:
    setting = setting_for(way, certificates, sealing)
    data, resumed = setting.connect()
    assert data is not None
    assert resumed == (False, False)
    kind = Kind.CLIENT_SESSION_ID if way == "session-id" else Kind.CLIENT_TICKET
    return Made(setting, kind, data)


@pytest.fixture(params=[CHECKSUM, SEALED], ids=["checksum", "sealed"])
def sealing(request: pytest.FixtureRequest) -> Sealing:
    return request.param


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def made(way: str, certificates: Certificates, sealing: Sealing) -> Made:
    return make(way, certificates, sealing)


@pytest.fixture
def by_id(certificates: Certificates, sealing: Sealing) -> Made:
    return make("session-id", certificates, sealing)


@pytest.fixture
def clear(way: str, certificates: Certificates) -> Made:
    """With a checksum, so that a test can `patch` it."""
    return make(way, certificates)


@pytest.fixture
def clear_by_id(certificates: Certificates) -> Made:
    return make("session-id", certificates)


@pytest.fixture
def client() -> Session:
    """For what is refused; a pair costs more."""
    return Session("client", Credentials())


@pytest.fixture(autouse=True)
def nothing_poisoned() -> Iterator[None]:
    before = session_module.poisoned
    yield
    assert session_module.poisoned == before


def assert_resumes(setting: Setting, data: bytes) -> None:
    assert setting.connect(data)[1] == (True, True)


def assert_refused(setting: Setting, data: bytes, reason: InvalidReason) -> None:
    """set_data says why, and the same session then makes a full handshake."""
    with setting.pair() as pair:
        with pytest.raises(InvalidSessionError) as caught:
            pair.client.set_data(data)
        assert caught.value.reason is reason
        pair.handshake()
        pair.exchange()
        assert pair.resumed == (False, False)


def assert_missed(setting: Setting, data: bytes, reason: InvalidReason) -> None:
    """The server's database returned what it must not use: a full handshake, counted."""
    with setting.pair(data) as pair:
        pair.handshake()
        pair.exchange()
        assert pair.resumed == (False, False)
        assert pair.server.db_failures == 1
        assert isinstance(pair.server.db_error, InvalidSessionError)
        assert pair.server.db_error.reason is reason


# -- round trips ------------------------------------------------------------------------------


def test_session_resumes(made: Made) -> None:
    assert_resumes(made.setting, made.data)


def test_session_of_a_resumed_connection_resumes(made: Made) -> None:
    again, resumed = made.setting.connect(made.data)
    assert resumed == (True, True)
    assert again is not None
    assert_resumes(made.setting, again)


def test_tickets_of_the_ticket_function_resume(
    certificates: Certificates, sealing: Sealing
) -> None:
    setting = setting_for("ticket-1.3", certificates, sealing)
    with setting.pair() as pair:
        pair.handshake()
        pair.exchange()
        tickets = [data for data, _lifetime in pair.tickets]
    assert len(tickets) == len(set(tickets)) == 2
    for data in tickets:
        assert_resumes(setting, data)


@pytest.mark.parametrize("like", [bytearray, memoryview])
def test_any_bytes_like_object_is_taken(like: Callable[[bytes], Any], clear: Made) -> None:
    assert_resumes(clear.setting, like(clear.data))


def test_session_that_refused_can_be_given_a_good_one(made: Made) -> None:
    with made.setting.pair() as pair:
        with pytest.raises(InvalidSessionError):
            pair.client.set_data(made.data[:-1])
        pair.client.set_data(made.data)
        pair.handshake()
        assert pair.resumed == (True, True)


# -- the format -------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [*WAYS, "server-entry"])
def test_header_means_what_the_docstring_says(
    way: str, certificates: Certificates, sealing: Sealing
) -> None:
    setting = setting_for(
        "session-id" if way == "server-entry" else way,
        certificates,
        replace(sealing, context=b"the context"),
    )
    setting.prepare = lambda *ends: [end.db_set_cache_expiration(1234) for end in ends]
    before = int(time.time())
    data, _ = setting.connect()
    after = int(time.time())
    if way == "server-entry":
        (data,) = setting.database.values()

    header = parse(data).header
    sealed = sealing.key is not None
    kinds = {"session-id": 1, "ticket-1.2": 2, "ticket-1.3": 2, "server-entry": 3}
    assert header["magic"] == b"GTLS"
    assert header["format"] == 1
    assert header["protection"] == (2 if sealed else 1)
    assert header["kind"] == kinds[way]
    assert header["gnutls_version"] == VERSION
    assert header["transport"] == 1
    assert header["protocol_version"] == (0x0304 if way == "ticket-1.3" else 0x0303)
    assert before - 1 <= header["created"] <= after + 1, "C's clock may differ a little"
    assert header["expires"] == header["created"] + 1234
    assert header["policy"] == hashlib.sha256(b"the context").digest()
    assert (header["key_id"] == bytes(8)) is not sealed
    assert (header["salt"] == bytes(32)) is not sealed
    assert len(parse(data).check) == CHECK_SIZES[header["protection"]]
    assert db_check_entry_time(data) == header["created"]
    assert db_check_entry_expire_time(data) == header["expires"]


def test_policy_without_a_context_is_zeros() -> None:
    assert parse(seal()).header["policy"] == bytes(32)
    assert parse(seal(sealing=Sealing(context=b""))).header["policy"] != bytes(32)


def test_checksum_covers_header_store_key_and_body(clear_by_id: Made) -> None:
    for store_key, raw in ((b"", clear_by_id.data), clear_by_id.entry):
        parsed = parse(raw)
        assert parsed.server_name == HOST.encode()
        assert parsed.check == checksum(raw[:HEADER_SIZE], parsed.body, store_key)


def test_another_library_opens_what_is_sealed(certificates: Certificates) -> None:
    made = make("session-id", certificates, SEALED)
    key_id = HKDFExpand(SHA256(), 8, b"key id").derive(HKDF.extract(SHA256(), None, RAW_KEY))
    for store_key, raw in ((b"", made.data), made.entry):
        parsed = parse(raw)
        assert parsed.header["key_id"] == key_id
        body = cipher(parsed.header["salt"]).decrypt(
            bytes(12), parsed.body + parsed.check, covered(raw[:HEADER_SIZE], store_key)
        )
        assert Envelope({}, body, b"").server_name == HOST.encode()


def test_two_seals_of_the_same_session_differ(certificates: Certificates) -> None:
    with setting_for("ticket-1.3", certificates, SEALED).pair() as pair:
        pair.handshake()
        pair.exchange()
        one, other = (parse(pair.client.get_data()) for _ in range(2))
    assert one.header["salt"] != other.header["salt"]
    assert one.header | {"salt": b""} == other.header | {"salt": b""}
    assert one.body != other.body
    assert one.check != other.check


def assert_hidden(packed: bytes, sealed: bytes) -> None:
    """No eight bytes in a row of what GnuTLS packed, the secrets among them, are to be seen."""
    inside, outside = (
        {data[i : i + 8] for i in range(len(data) - 7)} for data in (packed, sealed[HEADER_SIZE:])
    )
    assert not inside & outside


def test_sealed_session_holds_nothing_in_clear(way: str, certificates: Certificates) -> None:
    clear, sealed = make(way, certificates, CHECKSUM), make(way, certificates, SEALED)
    with clear.setting.pair() as pair:
        pair.handshake()
        chain = pair.client.certificate_get_peers()
    assert len(chain) == 2
    for known in (HOST.encode(), *chain):
        assert known in clear.data
        assert known not in sealed.data
    packed, _name = opened(sealed.data, SEALED, kinds=(sealed.kind,))
    assert all(certificate in packed for certificate in chain)
    assert_hidden(packed, sealed.data)


def test_sealed_entry_holds_nothing_in_clear(certificates: Certificates) -> None:
    _key, clear = make("session-id", certificates, CHECKSUM).entry
    key, sealed = make("session-id", certificates, SEALED).entry
    assert HOST.encode() in clear
    assert HOST.encode() not in sealed
    assert key not in sealed
    packed, _name = opened(sealed, SEALED, kinds=(Kind.SERVER_ENTRY,), store_key=key)
    assert_hidden(packed, sealed)


def test_refusal_says_nothing_about_the_session(made: Made) -> None:
    damaged = made.data[:-1] + bytes([made.data[-1] ^ 1])
    with made.setting.pair() as pair, pytest.raises(InvalidSessionError) as caught:
        pair.client.set_data(damaged)
    error = caught.value
    assert error.__context__ is None
    for text in (str(error), repr(error), repr(vars(error)), repr(error.args)):
        assert HOST not in text
        assert len(text) < 300, "there is room for a secret"


# -- keys -------------------------------------------------------------------------------------


def test_previous_sealing_key_opens(way: str, certificates: Certificates) -> None:
    made = make(way, certificates, SEALED)
    new = SealingKey.generate(previous=KEY)
    again, resumed = made.sealed(Sealing(new), Sealing(new)).connect(made.data)
    assert resumed == (True, True)
    assert again is not None
    assert parse(again).header["key_id"] == new.key_id != KEY.key_id


OTHER_KEYS = pytest.mark.parametrize(
    ("sealing", "other"),
    [
        pytest.param(SEALED, Sealing(OTHER_KEY), id="another-key"),
        pytest.param(SEALED, CHECKSUM, id="missing-key"),
        pytest.param(CHECKSUM, SEALED, id="checksum-where-a-key-is-required"),
        pytest.param(Sealing(SealingKey.generate(previous=KEY)), SEALED, id="next-key"),
    ],
)


@OTHER_KEYS
def test_session_sealed_otherwise_is_refused(made: Made, other: Sealing) -> None:
    assert_refused(made.sealed(other, other), made.data, InvalidReason.OTHER_KEY)


@OTHER_KEYS
def test_entry_sealed_otherwise_does_not_resume(by_id: Made, other: Sealing) -> None:
    setting = replace(by_id.setting, server_sealing=other)
    assert_missed(setting, by_id.data, InvalidReason.OTHER_KEY)


def test_key_id_alone_opens_nothing() -> None:
    raw = seal(sealing=Sealing(OTHER_KEY))
    assert reason_of(raw.replace(OTHER_KEY.key_id, KEY.key_id), SEALED) is InvalidReason.DAMAGED


@pytest.mark.parametrize("name", FIELDS)
def test_no_field_of_a_sealed_header_can_be_changed(name: str) -> None:
    parsed = parse(seal(sealing=SEALED))
    value = parsed.header[name]
    other = bytes(byte ^ 1 for byte in value) if isinstance(value, bytes) else value ^ 1
    reason_of(pack(parsed.header | {name: other}) + parsed.body + parsed.check, SEALED)


# -- context ----------------------------------------------------------------------------------


@pytest.mark.parametrize("context", [None, b"", b"other", lambda: b"other"])
def test_session_of_another_context_is_refused(
    context: bytes | Callable[[], bytes] | None,
    way: str,
    certificates: Certificates,
    sealing: Sealing,
) -> None:
    made = make(way, certificates, replace(sealing, context=b"one"))
    other = replace(sealing, context=context)
    assert_refused(made.sealed(other, other), made.data, InvalidReason.OTHER_POLICY)


def test_entry_of_another_context_does_not_resume(by_id: Made, sealing: Sealing) -> None:
    setting = replace(by_id.setting, server_sealing=replace(sealing, context=b"other"))
    assert_missed(setting, by_id.data, InvalidReason.OTHER_POLICY)


def test_context_is_asked_at_each_sealing_and_opening(
    certificates: Certificates, sealing: Sealing
) -> None:
    asked: list[str] = []

    def sealing_of(end: str) -> Sealing:
        return replace(sealing, context=lambda: asked.append(end) or end.encode())

    setting = setting_for("session-id", certificates, sealing)
    setting.client_sealing, setting.server_sealing = sealing_of("client"), sealing_of("server")
    with setting.pair() as pair:
        pair.handshake()
        assert asked == ["server"], "the entry was sealed"
        data = pair.client.get_data()
        assert asked == ["server", "client"], "the session was sealed"
    asked.clear()
    with setting.pair(data) as pair:
        assert asked == ["client"], "the session was opened"
        pair.handshake()
        assert asked == ["client", "server"], "the entry was opened"
        assert pair.resumed == (True, True)


def test_context_of_a_server_can_read_the_connection(certificates: Certificates) -> None:
    servers: list[Session] = []
    seen: list[tuple[str | None, int]] = []

    def context() -> bytes:
        server = servers[-1]
        seen.append((server.server_name_get(), server.protocol_get_version().wire))
        return repr(seen[-1]).encode()

    setting = setting_for("session-id", certificates, CHECKSUM)
    setting.server_sealing = Sealing(context=context)
    setting.prepare = lambda _client, server: servers.append(server)
    data, _ = setting.connect()
    assert_resumes(setting, data)
    assert seen == [(HOST, 0x0303)] * 2


class ContextLostError(Exception):
    pass


def lost() -> bytes:
    raise ContextLostError


BAD_CONTEXTS = pytest.mark.parametrize(
    ("context", "error"),
    [(lost, ContextLostError), (lambda: "text", TypeError), (lambda: None, TypeError)],
    ids=["raises", "text", "none"],
)


@BAD_CONTEXTS
def test_failing_context_comes_out_of_the_client(
    context: Any, error: type[Exception], certificates: Certificates, sealing: Sealing
) -> None:
    made = make("ticket-1.2", certificates, sealing)
    with made.sealed(replace(sealing, context=context), sealing).pair() as pair:
        with pytest.raises(error):
            pair.client.set_data(made.data)
        pair.handshake()
        with pytest.raises(error):
            pair.client.get_data()
        pair.exchange()
        assert pair.resumed == (False, False)


@BAD_CONTEXTS
def test_failing_context_costs_a_server_a_full_handshake(
    context: Any, error: type[Exception], by_id: Made, sealing: Sealing
) -> None:
    before = dict(by_id.database)
    with by_id.sealed(sealing, replace(sealing, context=context)).pair(by_id.data) as pair:
        pair.handshake()
        pair.exchange()
        assert pair.resumed == (False, False)
        assert pair.server.db_failures == 2, "retrieve, and store of the new session"
        assert isinstance(pair.server.db_error, error)
    assert by_id.database == before, "nothing was stored"


# -- kinds and places -------------------------------------------------------------------------


def test_client_session_in_the_servers_database_does_not_resume(
    by_id: Made, sealing: Sealing
) -> None:
    key, _entry = by_id.entry
    by_id.database[key] = by_id.data
    assert_missed(by_id.setting, by_id.data, InvalidReason.DAMAGED)
    # Even where somebody has sealed it for this very place.
    packed, _name = opened(by_id.data, sealing, kinds=(by_id.kind,))
    by_id.database[key] = seal(packed, sealing, kind=by_id.kind, store_key=key)
    assert_missed(by_id.setting, by_id.data, InvalidReason.OTHER_KIND)


def test_server_entry_is_refused_by_a_client(by_id: Made, sealing: Sealing) -> None:
    key, entry = by_id.entry
    assert_refused(by_id.setting, entry, InvalidReason.DAMAGED)
    packed, _name = opened(entry, sealing, kinds=(Kind.SERVER_ENTRY,), store_key=key)
    moved = seal(packed, sealing, kind=Kind.SERVER_ENTRY)
    assert_refused(by_id.setting, moved, InvalidReason.OTHER_KIND)


@pytest.mark.parametrize("kind", [0, 4, 255])
def test_session_of_an_unknown_kind_is_refused(kind: int, clear: Made) -> None:
    raw = patch(clear.data, kind=kind)
    assert_refused(clear.setting, raw, InvalidReason.OTHER_KIND)


def test_entry_moved_to_another_key_does_not_resume(by_id: Made) -> None:
    first, entry = by_id.entry
    data, _ = by_id.setting.connect()
    assert data is not None
    (second,) = by_id.database.keys() - {first}
    assert_resumes(by_id.setting, data)
    by_id.database[second] = entry
    assert_missed(by_id.setting, data, InvalidReason.DAMAGED)


# -- versions, sizes and garbage --------------------------------------------------------------


@pytest.mark.parametrize("step", [-1, 1, 1 << 8, -(1 << 16)])
def test_session_of_another_gnutls_is_refused(step: int, clear: Made) -> None:
    raw = patch(clear.data, gnutls_version=VERSION + step)
    assert_refused(clear.setting, raw, InvalidReason.OTHER_VERSION)


def test_entry_of_another_gnutls_does_not_resume(clear_by_id: Made) -> None:
    key, entry = clear_by_id.entry
    raw = patch(entry, store_key=key, gnutls_version=VERSION + 1)
    clear_by_id.database[key] = raw
    assert_missed(clear_by_id.setting, clear_by_id.data, InvalidReason.OTHER_VERSION)


def test_library_refuses_what_it_wrote_before_its_upgrade(
    sealing: Sealing, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = seal(sealing=sealing)
    assert opened(raw, sealing)
    monkeypatch.setattr(envelope, "GNUTLS_VERSION_NUMBER", VERSION + 1)
    assert reason_of(raw, sealing) is InvalidReason.OTHER_VERSION


@pytest.mark.parametrize("number", [0, 2, 255])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("format", InvalidReason.OTHER_VERSION),
        ("transport", InvalidReason.OTHER_VERSION),
        ("protection", InvalidReason.DAMAGED),
    ],
)
def test_session_of_another_format_or_transport_is_refused(
    name: str, number: int, reason: InvalidReason, clear: Made
) -> None:
    assert_refused(clear.setting, patch(clear.data, **{name: number}), reason)


@pytest.mark.parametrize("step", [-33, -32, -1, 1, 32, 1 << 31])
def test_length_that_does_not_fit_is_refused(step: int, clear: Made) -> None:
    header = parse(clear.data).header
    header["length"] = (header["length"] + step) % (1 << 32)
    raw = pack(header) + clear.data[HEADER_SIZE:]
    assert_refused(clear.setting, raw, InvalidReason.DAMAGED)


def test_server_name_longer_than_the_body_is_refused() -> None:
    header, body = seal(server_name="")[:HEADER_SIZE], b"\xff" + b"a session"
    assert reason_of(header + body + checksum(header, body)) is InvalidReason.DAMAGED


def test_empty_body_is_refused(sealing: Sealing) -> None:
    fields = parse(seal(sealing=sealing)).header | {"length": 0}
    header = pack(fields)
    if sealing.key is None:
        check = checksum(header, b"")
    else:
        check = cipher(fields["salt"]).encrypt(bytes(12), b"", covered(header, b""))
    assert reason_of(header + check, sealing) is InvalidReason.DAMAGED


def test_unknown_protection_has_no_length_that_fits() -> None:
    raw = seal()
    for check_size in range(-1, 40):
        header = parse(raw).header | {"protection": 3}
        header["length"] = len(raw) - HEADER_SIZE - check_size
        with pytest.raises(InvalidSessionError) as caught:
            db_check_entry_time(pack(header) + raw[HEADER_SIZE:])
        assert caught.value.reason is InvalidReason.DAMAGED


READERS = [Session.set_data, db_check_entry_time, db_check_entry_expire_time]


def read(reader: Callable[..., Any], client: Session, data: Any) -> None:
    reader(client, data) if reader is Session.set_data else reader(data)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("size", [0, LARGEST + 1, 1 << 20])
def test_size_out_of_range_is_a_value_error(
    reader: Callable[..., Any], client: Session, size: int
) -> None:
    for fill in (b"\0", b"G"):
        with pytest.raises(ValueError, match=f"1 to 65536 bytes, not {size}"):
            read(reader, client, fill * size)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("value", [None, "GTLS", 1, [1]])
def test_what_is_not_bytes_is_a_type_error(
    reader: Callable[..., Any], client: Session, value: Any
) -> None:
    with pytest.raises(TypeError, match="session data must be bytes"):
        read(reader, client, value)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\0", InvalidReason.DAMAGED),
        (b"GTLS", InvalidReason.DAMAGED),
        (bytes(HEADER_SIZE + 40), InvalidReason.DAMAGED),
        (bytes(LARGEST), InvalidReason.DAMAGED),
        (b"GTLS\1" + bytes(HEADER_SIZE - 6), InvalidReason.DAMAGED),
        (b"GTLS\1" + bytes(LARGEST - 5), InvalidReason.DAMAGED),
        (b"GTLS" * 27, InvalidReason.OTHER_VERSION),
    ],
    ids=range(7),
)
def test_garbage_is_refused(
    reader: Callable[..., Any], client: Session, data: bytes, reason: InvalidReason
) -> None:
    with pytest.raises(InvalidSessionError) as caught:
        read(reader, client, data)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", ValueError),
        (bytes(LARGEST + 1), ValueError),
        (b"garbage", InvalidSessionError),
        ("text", TypeError),
        (1, TypeError),
    ],
    ids=["empty", "too-large", "garbage", "text", "number"],
)
def test_store_that_returns_nonsense_makes_a_full_handshake(
    answer: Any, error: type[Exception], by_id: Made
) -> None:
    by_id.database[by_id.entry[0]] = answer
    with by_id.setting.pair(by_id.data) as pair:
        pair.handshake()
        pair.exchange()
        assert pair.resumed == (False, False)
        assert pair.server.db_failures == 1
        assert isinstance(pair.server.db_error, error)


def test_largest_session_is_65536_bytes(sealing: Sealing) -> None:
    data = bytes(LARGEST - HEADER_SIZE - 1 - len(HOST) - 32)
    raw = seal(data, sealing)
    assert len(raw) == (LARGEST - 16 if sealing.key else LARGEST)
    assert opened(raw, sealing) == (data, HOST)
    with pytest.raises(InvalidSessionError) as caught:
        seal(data + b"\0", sealing)
    assert caught.value.reason is InvalidReason.TOO_LARGE


def test_session_without_its_envelope_is_refused(clear: Made) -> None:
    packed = parse(clear.data).data
    assert len(packed) > HEADER_SIZE
    assert_refused(clear.setting, packed, InvalidReason.DAMAGED)


def test_entry_without_its_envelope_does_not_resume(clear_by_id: Made) -> None:
    key, entry = clear_by_id.entry
    clear_by_id.database[key] = parse(entry).data
    assert_missed(clear_by_id.setting, clear_by_id.data, InvalidReason.DAMAGED)


# -- time -------------------------------------------------------------------------------------


def test_session_expires_at_the_second_that_it_says(made: Made) -> None:
    expires = parse(made.data).header["expires"]
    with clock(expires):
        assert_refused(made.setting, made.data, InvalidReason.EXPIRED)
    with clock(expires - 0.001):
        assert_resumes(made.setting, made.data)


def test_entry_expires_at_the_second_that_it_says(by_id: Made) -> None:
    expires = parse(by_id.entry[1]).header["expires"]
    # The client has opened its own session by then.
    with by_id.setting.pair(by_id.data) as pair, clock(expires):
        pair.handshake()
        assert pair.resumed == (False, False)
        assert pair.server.db_failures == 1
        assert pair.server.db_error.reason is InvalidReason.EXPIRED
    with by_id.setting.pair(by_id.data) as pair, clock(expires - 0.001):
        pair.handshake()
        assert pair.resumed == (True, True)


@pytest.mark.parametrize("ago", [0, 1, 1 << 30])
def test_session_whose_end_is_past_is_refused(ago: int, clear: Made) -> None:
    raw = patch(clear.data, expires=int(time.time()) - ago)
    assert_refused(clear.setting, raw, InvalidReason.EXPIRED)


def test_entry_whose_end_is_past_does_not_resume(clear_by_id: Made) -> None:
    key, entry = clear_by_id.entry
    clear_by_id.database[key] = patch(entry, store_key=key, expires=int(time.time()))
    assert_missed(clear_by_id.setting, clear_by_id.data, InvalidReason.EXPIRED)


@pytest.mark.parametrize("lifetime", [WEEK - 1, WEEK, WEEK + 1, 1 << 40])
def test_no_session_lives_longer_than_a_week(lifetime: int, sealing: Sealing) -> None:
    raw = seal(sealing=sealing, created=1000, expires=1000 + lifetime)
    assert db_check_entry_expire_time(raw) == 1000 + min(lifetime, WEEK)


def test_session_of_a_resumed_connection_lives_no_longer(by_id: Made) -> None:
    with by_id.setting.pair(by_id.data) as pair:
        pair.client.db_set_cache_expiration(WEEK)
        pair.handshake()
        again = pair.client.get_data()
    for ask in (db_check_entry_time, db_check_entry_expire_time):
        assert ask(again) == ask(by_id.data)


# -- memory -----------------------------------------------------------------------------------


def address(pointer: Any) -> int:
    return int(ffi.cast("uintptr_t", pointer))


@dataclass
class Watched:
    """The library, with a record of the memory that is wiped."""

    library: Any
    wiped: list[tuple[int, int]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.library, name)

    def gr_wipe_free(self, pointer: Any, size: int) -> None:
        self.wiped.append((address(pointer), size))
        self.library.gr_wipe_free(pointer, size)

    def gnutls_memset(self, pointer: Any, value: int, size: int) -> None:
        assert value == 0
        self.wiped.append((address(pointer), size))
        self.library.gnutls_memset(pointer, value, size)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    watched = Watched(envelope.lib)
    monkeypatch.setattr(envelope, "lib", watched)
    monkeypatch.setattr(_datum, "lib", watched)
    return watched


BODY_SIZE = 1 + len(HOST) + len(b"a session")


def test_opened_body_is_wiped_by_who_opened_it(watched: Watched) -> None:
    raw = seal(sealing=SEALED)
    session = envelope.open(raw, kinds=(Kind.CLIENT_TICKET,), store_key=b"", sealing=SEALED)
    body = (address(session.pointer) - 1 - len(HOST), BODY_SIZE)
    assert body not in watched.wiped
    session.wipe()
    assert watched.wiped.count(body) == 1


def test_session_wipes_once_what_it_has_opened(
    certificates: Certificates, watched: Watched
) -> None:
    made = make("session-id", certificates, SEALED)
    lengths = [parse(raw).header["length"] for raw in (made.data, made.entry[1])]
    watched.wiped.clear()
    with made.setting.pair(made.data) as pair:
        pair.handshake()
        assert pair.resumed == (True, True)
    sizes = [size for _address, size in watched.wiped]
    assert [sizes.count(length) for length in lengths] == [1, 1]


def test_sealed_body_is_wiped_once_when_it_is_refused(watched: Watched) -> None:
    """What is damaged is wiped in C, and never comes so far."""
    assert reason_of(seal(sealing=SEALED, expires=0), SEALED) is InvalidReason.EXPIRED
    assert [size for _address, size in watched.wiped].count(BODY_SIZE) == 1


# -- keys as objects --------------------------------------------------------------------------

SECRETS = pytest.mark.parametrize(
    ("kind", "size"), [(SealingKey, 32), (TicketKey, 64), (TicketSecret, 32)]
)


def memory_of(key: Secret, size: int) -> bytes:
    return bytes(ffi.buffer(key._memory, size))


@SECRETS
@pytest.mark.parametrize("step", [-32, -1, 1, 32])
def test_key_of_another_length_is_refused(kind: Any, size: int, step: int) -> None:
    with pytest.raises(ValueError, match=f"must be {size} bytes, not {size + step}"):
        kind(bytes(range(size + step)))


@SECRETS
@pytest.mark.parametrize("pattern", [b"\0", b"\xff", b"k", b"ab", bytes(range(15))])
def test_key_that_is_not_random_is_refused(kind: Any, size: int, pattern: bytes) -> None:
    with pytest.raises(ValueError, match=r"fewer than 16 distinct .* generate\(\)"):
        kind((pattern * size)[:size])


@SECRETS
def test_key_of_sixteen_distinct_bytes_is_taken(kind: Any, size: int) -> None:
    raw = (bytes(range(16)) * 4)[:size]
    assert memory_of(kind(raw), size) == raw


@SECRETS
@pytest.mark.parametrize("value", [None, "text", 32, [1] * 32])
def test_key_that_is_not_bytes_is_a_type_error(kind: Any, size: int, value: Any) -> None:
    del size
    with pytest.raises(TypeError, match=r"(key|secret) must be bytes, not"):
        kind(value)


@SECRETS
@pytest.mark.parametrize("like", [bytearray, memoryview])
def test_key_does_not_follow_its_source(kind: Any, size: int, like: Any) -> None:
    source = bytearray(range(size))
    key = kind(like(source))
    source[:] = bytes(size)
    assert memory_of(key, size) == bytes(range(size))


@SECRETS
def test_generated_keys_differ(kind: Any, size: int) -> None:
    assert len({memory_of(kind.generate(), size) for _ in range(10)}) == 10


@SECRETS
def test_key_cannot_be_pickled_or_copied(kind: Any, size: int) -> None:
    key = kind(bytes(range(size)))
    ways = [copy.copy, copy.deepcopy]
    ways += [lambda key, n=n: pickle.dumps(key, n) for n in range(pickle.HIGHEST_PROTOCOL + 1)]
    for way in ways:
        with pytest.raises(TypeError, match=f"{kind.__name__} cannot be pickled or copied"):
            way(key)


def test_sealing_with_a_key_cannot_be_pickled() -> None:
    for way in (copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="SealingKey cannot be pickled or copied"):
            way(SEALED)


@SECRETS
def test_key_shows_nothing(kind: Any, size: int) -> None:
    key = kind(bytes(range(size)))
    assert repr(key) == str(key) == f"{key}" == f"<{kind.__name__}>"
    key.wipe()
    assert repr(key) == f"<{kind.__name__} (wiped)>"


def test_sealing_shows_neither_key_nor_context() -> None:
    assert repr(Sealing(KEY, b"the context")) == "Sealing(key=<SealingKey>)"


@SECRETS
@pytest.mark.parametrize("word", ["wipe", "close"])
def test_wiped_key_is_zeros_in_memory(kind: Any, size: int, word: str) -> None:
    key = kind(bytes(range(size)))
    for _twice in range(2):
        getattr(key, word)()
        assert memory_of(key, size) == bytes(size)


@SECRETS
def test_collected_key_is_wiped(kind: Any, size: int, watched: Watched) -> None:
    key = kind(bytes(range(size)))
    place = (address(key._memory), size)
    assert place not in watched.wiped
    del key
    gc.collect()
    assert place in watched.wiped


@SECRETS
def test_wiped_key_cannot_be_used(kind: Any, size: int) -> None:
    key = kind(bytes(range(size)))
    key.wipe()
    with pytest.raises(MisuseError, match=f"{kind.__name__} has been wiped"):
        _ = key.datum


def test_wiped_ticket_key_is_refused_by_a_server(certificates: Certificates) -> None:
    key = TicketKey.generate()
    key.wipe()
    with Setting(certificates).pair() as pair:
        with pytest.raises(MisuseError, match="TicketKey has been wiped"):
            pair.server.ticket_enable_server(key)
        pair.handshake()


def test_wiped_sealing_key_neither_seals_nor_opens(certificates: Certificates) -> None:
    key = SealingKey.generate()
    made = make("session-id", certificates, Sealing(key))
    before = dict(made.database)
    key.wipe()
    with made.setting.pair() as pair:
        with pytest.raises(MisuseError, match="SealingKey has been wiped"):
            pair.client.set_data(made.data)
        pair.handshake()
        with pytest.raises(MisuseError, match="SealingKey has been wiped"):
            pair.client.get_data()
        pair.exchange()
        assert pair.resumed == (False, False)
        assert pair.server.db_failures == 1
        assert isinstance(pair.server.db_error, MisuseError)
    assert made.database == before, "nothing was stored"


# -- properties -------------------------------------------------------------------------------


@st.composite
def forgeries(draw: st.DrawFn) -> bytes:
    """Envelopes with some fields right, and a check that is not: arbitrary bytes alone fail at
    the first of them.
    """
    byte = st.integers(0, 255)
    header = {
        "magic": draw(st.just(b"GTLS") | st.binary(min_size=4, max_size=4)),
        "format": draw(st.just(1) | byte),
        "protection": draw(st.sampled_from([1, 2]) | byte),
        "kind": draw(st.sampled_from([1, 2, 3]) | byte),
        "gnutls_version": draw(st.just(VERSION) | st.integers(0, (1 << 32) - 1)),
        "transport": draw(st.just(1) | byte),
        "protocol_version": draw(st.sampled_from([0x0303, 0x0304]) | st.integers(0, 65535)),
        "created": draw(st.integers(0, (1 << 64) - 1)),
        "expires": draw(st.integers(0, (1 << 64) - 1)),
        "policy": draw(st.just(bytes(32)) | st.binary(min_size=32, max_size=32)),
        "key_id": draw(st.just(KEY.key_id) | st.binary(min_size=8, max_size=8)),
        "salt": draw(st.just(bytes(32)) | st.binary(min_size=32, max_size=32)),
    }
    body = draw(st.binary(max_size=200))
    size = draw(st.just(CHECK_SIZES.get(header["protection"], 0)) | st.integers(0, 40))
    length = draw(st.just(len(body)) | st.integers(0, (1 << 32) - 1))
    return pack(header | {"length": length}) + body + draw(st.binary(min_size=size))


@given(data=st.binary(max_size=400) | forgeries(), sealing=st.sampled_from([CHECKSUM, SEALED]))
@settings(deadline=None, max_examples=400)
def test_arbitrary_bytes_are_always_refused(data: bytes, sealing: Sealing) -> None:
    with (
        Session("client", Credentials(), sealing=sealing) as client,
        pytest.raises((InvalidSessionError, ValueError)),
    ):
        client.set_data(data)


@given(
    data=st.binary(min_size=5, max_size=3000),
    fields=st.fixed_dictionaries(
        {
            "kind": st.sampled_from(Kind),
            "protocol_version": st.integers(0, 65535),
            "created": st.integers(0, 1 << 61),
            "expires": st.integers(0, 1 << 62),
            "server_name": st.text(st.characters(codec="utf-8"), max_size=63),
            "store_key": st.binary(max_size=64),
        }
    ),
    context=st.none() | st.binary(max_size=100),
    raw_key=st.none() | st.binary(min_size=32, max_size=32).filter(lambda raw: len(set(raw)) >= 16),
)
@settings(deadline=None, max_examples=300)
def test_what_is_sealed_comes_out_as_it_was(
    data: bytes, fields: dict[str, Any], context: bytes | None, raw_key: bytes | None
) -> None:
    def sealing() -> Sealing:
        # A new one for each use: nothing hangs on the object.
        return Sealing(None if raw_key is None else SealingKey(raw_key), context)

    raw = seal(data, sealing(), **fields)
    place = {"kinds": (fields["kind"],), "store_key": fields["store_key"]}
    with clock(-1):
        assert opened(raw, sealing(), **place) == (data, fields["server_name"])
    header = parse(raw).header
    for name in ("kind", "protocol_version", "created"):
        assert header[name] == fields[name]
    assert header["expires"] == min(fields["expires"], fields["created"] + WEEK)


@given(
    sealing=st.sampled_from([CHECKSUM, SEALED]),
    keys=st.tuples(*[st.binary(max_size=33)] * 2),
    contexts=st.tuples(*[st.none() | st.binary(max_size=20)] * 2),
)
@settings(deadline=None)
def test_session_opens_only_at_its_place_and_under_its_context(
    sealing: Sealing, keys: tuple[bytes, bytes], contexts: tuple[bytes | None, bytes | None]
) -> None:
    one, other = (replace(sealing, context=context) for context in contexts)
    raw = seal(b"a session", one, store_key=keys[0])
    if keys[0] != keys[1]:
        assert reason_of(raw, other, store_key=keys[1]) is InvalidReason.DAMAGED
    elif contexts[0] != contexts[1]:
        assert reason_of(raw, other, store_key=keys[1]) is InvalidReason.OTHER_POLICY
    else:
        assert opened(raw, other, store_key=keys[1]) == (b"a session", HOST)


@given(
    sealing=st.sampled_from([CHECKSUM, SEALED]),
    data=st.binary(max_size=300),
    where=st.integers(min_value=0),
    mask=st.integers(1, 255),
)
@settings(deadline=None)
def test_session_with_one_byte_changed_is_refused(
    sealing: Sealing, data: bytes, where: int, mask: int
) -> None:
    raw = bytearray(seal(data, sealing))
    raw[where % len(raw)] ^= mask
    reason_of(bytes(raw), sealing)


def test_sealing_key_is_read_from_a_file_of_its_owner(tmp_path: Path) -> None:
    path, raw = tmp_path / "sealing.key", bytes(range(32))
    path.touch(0o600)
    for content in (raw, raw.hex().encode(), raw.hex().encode() + b"\n"):
        path.write_bytes(content)
        assert SealingKey.from_file(path).key_id == SealingKey(raw).key_id
    old = SealingKey.generate()
    assert SealingKey.from_file(str(path), previous=old).previous is old
    path.chmod(0o640)
    with pytest.raises(PermissionError, match=r"others can read the sealing key .*: chmod 600"):
        SealingKey.from_file(path)


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33, b"00" * 31, b"g" * 64, bytes(32)])
def test_file_that_is_no_sealing_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "sealing.key"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="holds no sealing key: make one of 32") as raised:
        SealingKey.from_file(path)
    assert raised.value.__suppress_context__
    with pytest.raises(FileNotFoundError):
        SealingKey.from_file(tmp_path / "none")
