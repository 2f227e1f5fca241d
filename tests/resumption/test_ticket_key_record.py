"""The record of ticket keys and its stored form, which is written here a second time."""

import copy
import hashlib
import hmac
import pickle
import re
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnutls_resume.binding import TicketSecret
from gnutls_resume.binding._ffi import ffi
from gnutls_resume.errors import MisuseError
from gnutls_resume.resumption.ticket_key_record import SIZE, TicketKeyRecord
from gnutls_resume.resumption.ticket_keys import TicketKeyRing

LAYOUT = ">4s B I I Q Q 32s"
CHAIN = bytes(range(32))
HOURS_6 = 21_600
DAY, WEEK, YEAR = 86_400, 604_800, 31_536_000
LARGEST = 2**63 - 1

periods = st.integers(1, YEAR)
numbers = st.integers(0, LARGEST)


def stored(record: TicketKeyRecord) -> bytes:
    return bytes(ffi.buffer(record.pack(), SIZE))


def made(*fields: Any) -> bytes:
    """A stored form whose check is right, whatever stands in it."""
    body = struct.pack(LAYOUT, *fields)
    return body + hashlib.sha256(body).digest()


def unpack(data: bytes) -> TicketKeyRecord:
    return TicketKeyRecord.unpack(memoryview(data))


# -- the stored form --------------------------------------------------------------------------


@given(periods, numbers, numbers, st.integers(0), st.binary(min_size=32, max_size=32))
def test_stored_form_is_the_one_described(
    period: int, start: int, generation: int, lifetime: int, chain: bytes
) -> None:
    lifetime = 1 + lifetime % min(period, WEEK)
    chain = hashlib.sha256(chain).digest()
    record = TicketKeyRecord(period, start, chain, ticket_lifetime=lifetime, generation=generation)
    assert stored(record) == made(b"GTKR", 1, period, lifetime, generation, start, chain)


@given(periods, numbers, numbers, st.integers(0))
def test_stored_record_comes_back(period: int, start: int, generation: int, lifetime: int) -> None:
    lifetime = 1 + lifetime % min(period, WEEK)
    data = made(b"GTKR", 1, period, lifetime, generation, start, CHAIN)
    found = unpack(data)
    assert (found.period, found.start, found.generation) == (period, start, generation)
    assert found.ticket_lifetime == lifetime
    assert stored(found) == data


def test_every_truncation_is_refused() -> None:
    data = stored(TicketKeyRecord.generate())
    assert SIZE == len(data) == 93
    for size in range(len(data)):
        with pytest.raises(ValueError, match=f"has 93 bytes, not {size}"):
            unpack(data[:size])
    with pytest.raises(ValueError, match="has 93 bytes, not 94"):
        unpack(data + b"x")


def test_every_flipped_bit_is_refused() -> None:
    data = stored(TicketKeyRecord.generate())
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match=r"damaged|no ticket key record of a known format"):
            unpack(bytes(flipped))


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="ticket key record"):
        unpack(data)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((b"GTKr", 1, 10, 10, 0, 0, CHAIN), "no ticket key record of a known format"),
        ((b"GTKR", 2, 10, 10, 0, 0, CHAIN), "no ticket key record of a known format"),
        ((b"GTKR", 1, 0, 1, 0, 0, CHAIN), "period must be 1 to"),
        ((b"GTKR", 1, YEAR + 1, 10, 0, 0, CHAIN), "period must be 1 to"),
        ((b"GTKR", 1, 10, 0, 0, 0, CHAIN), "ticket_lifetime must be 1 to"),
        ((b"GTKR", 1, 10, 11, 0, 0, CHAIN), "ticket_lifetime must be at most the period"),
        ((b"GTKR", 1, YEAR, WEEK + 1, 0, 0, CHAIN), "ticket_lifetime must be 1 to 604800"),
        ((b"GTKR", 1, 10, 10, LARGEST + 1, 0, CHAIN), "generation must be 0 to"),
        ((b"GTKR", 1, 10, 10, 0, LARGEST + 1, CHAIN), "start must be 0 to"),
        ((b"GTKR", 1, 10, 10, 0, 0, bytes(32)), "no random key"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nonsense_with_a_right_check_is_refused(fields: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unpack(made(*fields))


def test_wiped_record_is_not_stored() -> None:
    record = TicketKeyRecord.generate()
    record.chain.wipe()
    with pytest.raises(MisuseError, match="wiped"):
        record.pack()


# -- arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("period", 1, YEAR),
        ("start", 0, LARGEST),
        ("generation", 0, LARGEST),
        ("ticket_lifetime", 1, WEEK),
    ],
)
def test_number_has_limits_and_its_name_is_told(name: str, low: int, high: int) -> None:
    def record(value: Any) -> TicketKeyRecord:
        given = {"period": YEAR, "start": 0, "chain": CHAIN} | {name: value}
        return TicketKeyRecord(**given)

    for value in (low, high):
        assert getattr(record(value), name) == value
    for value in (low - 1, high + 1):
        with pytest.raises(ValueError, match=f"^{name} must be {low} to {high}, not {value}$"):
            record(value)
    wrong: list[tuple[Any, str]] = [(True, "bool"), (1.0, "float"), ("1", "str"), (b"1", "bytes")]
    if name != "ticket_lifetime":
        wrong.append((None, "NoneType"))
    for value, kind in wrong:
        with pytest.raises(TypeError, match=f"^{name} must be int, not {kind}$"):
            record(value)


@pytest.mark.parametrize("way", [TicketKeyRecord.generate, TicketKeyRing, None])
@pytest.mark.parametrize(
    ("period", "lifetime", "message"),
    [
        (HOURS_6, HOURS_6 + 1, "ticket_lifetime must be at most the period, 21600 seconds"),
        (2 * WEEK, WEEK + 1, "ticket_lifetime must be 1 to 604800, not 604801"),
        (HOURS_6, 0, "ticket_lifetime must be 1 to 604800, not 0"),
        (0, None, "period must be 1 to 31536000, not 0"),
    ],
)
def test_tickets_do_not_outlive_their_keys(
    way: Any, period: int, lifetime: int | None, message: str
) -> None:
    """RFC 9325 §3.4, and RFC 8446 §4.6.1 for the week."""
    way = way or (lambda **given: TicketKeyRecord(start=0, chain=CHAIN, **given))
    with pytest.raises(ValueError, match=message):
        way(period=period, ticket_lifetime=lifetime)


@pytest.mark.parametrize(
    ("period", "lifetime"), [(1, 1), (HOURS_6, HOURS_6), (WEEK, WEEK), (YEAR, WEEK)]
)
def test_tickets_live_for_a_period_and_a_week_at_most(period: int, lifetime: int) -> None:
    assert TicketKeyRecord(period, 0, CHAIN).ticket_lifetime == lifetime
    assert TicketKeyRecord.generate(period).ticket_lifetime == lifetime
    assert TicketKeyRing(period=period).ticket_lifetime == lifetime


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        (bytes(32), "distinct byte values: that is no random key"),
        (b"ab" * 16, "distinct byte values"),
        (bytes(range(15)) + bytes(17), "distinct byte values"),
        (CHAIN[:-1], "32 bytes, not 31"),
        (CHAIN + b"x", "32 bytes, not 33"),
        (b"", "32 bytes, not 0"),
    ],
)
def test_weak_chain_is_refused(chain: bytes, message: str) -> None:
    """Hebrok et al. 2023: servers whose ticket key was all zeros."""
    with pytest.raises(ValueError, match=message) as caught:
        TicketKeyRecord(HOURS_6, 0, chain)
    assert chain.hex() == "" or chain.hex() not in str(caught.value)


@pytest.mark.parametrize("chain", [None, "x" * 32, 7, [1] * 32])
def test_chain_of_another_type_is_refused(chain: Any) -> None:
    with pytest.raises(TypeError, match="the ticket secret must be bytes"):
        TicketKeyRecord(HOURS_6, 0, chain)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, TicketSecret])
def test_chain_may_be_bytes_of_any_kind_or_a_secret(kind: Any) -> None:
    record = TicketKeyRecord(HOURS_6, 7, kind(CHAIN))
    assert bytes(ffi.buffer(record.chain.datum.data, 32)) == CHAIN


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bare_bytes_are_no_record(kind: Any) -> None:
    """Their first epoch would be 1970."""
    sentence = (
        f"record must be a TicketKeyRecord, not {kind.__name__}: bytes alone do not say when they "
        "began, and so cannot be rotated"
    )
    for raw in (CHAIN, CHAIN * 2, b""):
        with pytest.raises(TypeError, match=f"^{sentence}$"):
            TicketKeyRing(kind(raw))


@pytest.mark.parametrize("given", ["x", 7, TicketSecret(CHAIN), TicketKeyRecord])
def test_ring_of_anything_else_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match="record must be TicketKeyRecord, not"):
        TicketKeyRing(given)


@pytest.mark.parametrize("period", [HOURS_6 + 1, "x", 0])
def test_period_of_a_ring_is_that_of_its_record(period: Any) -> None:
    record = TicketKeyRecord.generate()
    with pytest.raises(ValueError, match="period must be that of the record, 21600, not"):
        TicketKeyRing(record, period=period)
    assert TicketKeyRing(record, period=HOURS_6).period == HOURS_6


def test_lifetime_of_a_ring_may_be_less_than_that_of_its_record() -> None:
    record = TicketKeyRecord.generate(ticket_lifetime=3600)
    assert TicketKeyRing(record).ticket_lifetime == 3600
    assert TicketKeyRing(record, ticket_lifetime=60).ticket_lifetime == 60
    with pytest.raises(ValueError, match="ticket_lifetime must be at most the period"):
        TicketKeyRing(record, ticket_lifetime=HOURS_6 + 1)


def test_generated_records_are_different_and_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gnutls_resume.resumption.ticket_key_record.now", lambda: 7.9 * DAY)
    one, other = TicketKeyRecord.generate(DAY), TicketKeyRecord.generate(DAY)
    assert (one.start, one.period, one.generation) == (7, DAY, 0)
    assert stored(one) != stored(other)
    assert TicketKeyRecord.generate(DAY, start=3, generation=9).start == 3
    assert TicketKeyRecord.generate(DAY, start=3, generation=9).generation == 9


# -- secrecy ----------------------------------------------------------------------------------


def test_record_shows_no_secret() -> None:
    record = TicketKeyRecord(HOURS_6, 7, CHAIN, generation=9)
    shown = "<TicketKeyRecord: period 21600 s, from epoch 7, generation 9>"
    assert repr(record) == str(record) == f"{record}" == shown
    assert CHAIN.hex() not in repr(vars(record))
    assert repr(CHAIN)[2:-1] not in repr(vars(record))


def test_fingerprint_is_one_way_and_that_of_the_first_epoch() -> None:
    """HKDF (RFC 5869) with a label of its own."""
    record = TicketKeyRecord(HOURS_6, 7, CHAIN)
    extracted = hmac.digest(bytes(32), CHAIN, "sha256")
    expected = hmac.digest(extracted, b"fingerprint\1", "sha256")[:8].hex()
    assert record.fingerprint == record.chain.fingerprint == expected
    assert re.fullmatch("[0-9a-f]{16}", record.fingerprint)


def test_record_cannot_be_pickled_or_copied() -> None:
    record = TicketKeyRecord.generate()
    ways: list[Any] = [copy.copy, copy.deepcopy]
    ways += [lambda it, n=n: pickle.dumps(it, n) for n in range(pickle.HIGHEST_PROTOCOL + 1)]
    for way in ways:
        with pytest.raises(TypeError, match="a TicketKeyRecord cannot be pickled or copied"):
            way(record)
