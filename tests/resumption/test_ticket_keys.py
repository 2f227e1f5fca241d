"""The ring: what it makes of a record as time goes by, who shares it, and that it does not show.

The ring's clock is the test's, but not GnuTLS's: where a ticket's own age matters, the test runs in
a process whose whole clock is its own.
"""

import copy
import gc
import logging
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Self

import pytest
from conftest import Certificates
from hypothesis import given
from hypothesis import strategies as st
from pair import TLS12, TLS13, Setting
from rings import (
    CHAIN,
    EPOCH,
    OTHER_CHAIN,
    PERIOD,
    Clock,
    bytes_in,
    fingerprint,
    ratchet,
    record_of,
    secrets,
    setting,
)
from shifted import ShiftedClock, Work, run_shifted

from gnutls_resume.binding import TicketSecret, _callbacks
from gnutls_resume.binding.ticket import MAX_STEPS
from gnutls_resume.errors import InvalidSessionError, WantReadError
from gnutls_resume.resumption import ticket_key_ratchets, ticket_keys
from gnutls_resume.resumption.ticket_key_record import TicketKeyRecord
from gnutls_resume.resumption.ticket_keys import TicketKeyRing, process_ring

KNOWN = "0576bfdaa9a398b8a1b76582ad1d84a5784e6348642c749b1c57a41bfc0c758d"  # by openssl dgst -hmac
each_version = pytest.mark.parametrize("priority", [TLS12, TLS13], ids=["tls12", "tls13"])
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

# Forks before the ring is used, or after. A child that resumed a ticket of its parent says so.
WORKERS = """
import hashlib, os, sys
from gnutls_resume.binding._ffi import ffi
from gnutls_resume.resumption import ticket_keys
assert ticket_keys.rings == [], "importing has made a ring"

def seen():
    secret = ticket_keys.process_ring().table().secrets[0]
    return hashlib.sha256(ffi.buffer(secret._memory, 32)).hexdigest()

if sys.argv[1] == "used":
    seen()
reader, writer = os.pipe()
for _ in range(3):
    if os.fork() == 0:
        os.write(writer, (seen() + "\\n").encode())
        os._exit(0)
    assert os.wait()[1] == 0
os.close(writer)
print(seen())
print(os.read(reader, 4096).decode())
"""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def warnings_of(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[str]]:
    """The warnings so far, of which none counts as logged before."""
    monkeypatch.setattr(_callbacks, "last_warning", {})
    texts: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            texts.append(record.getMessage())

    handler = Handler(logging.WARNING)
    logging.getLogger("gnutls_resume").addHandler(handler)
    yield texts
    logging.getLogger("gnutls_resume").removeHandler(handler)


# -- the process's ring -----------------------------------------------------------------------


def run(*arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-P", "-c", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.split()


@pytest.mark.parametrize("when", ["used", "unused"])
def test_forked_workers_share_the_ring_of_the_process(when: str) -> None:
    shown = run(WORKERS, when)
    assert len(shown) == 4
    assert len(set(shown)) == 1


def test_every_process_has_a_ring_of_its_own() -> None:
    assert run(WORKERS, "unused")[0] != run(WORKERS, "unused")[0]


def test_process_has_one_ring() -> None:
    assert process_ring() is process_ring()


def test_threads_that_make_it_at_once_get_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 8
    start = threading.Barrier(count)
    got: list[TicketKeyRing] = []

    @dataclass
    class Slow:
        """All threads stand in here together: each has found that there is no ring."""

        def __post_init__(self) -> None:
            start.wait(30)

    monkeypatch.setattr(ticket_keys, "rings", [])
    monkeypatch.setattr(ticket_keys, "TicketKeyRing", Slow)
    threads = [
        threading.Thread(target=lambda: got.append(ticket_keys.process_ring()))
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(got) == count
    assert len({id(ring) for ring in got}) == 1


# -- the ratchet ------------------------------------------------------------------------------


def test_keys_are_those_computed_by_others(clock: Clock) -> None:
    ring = TicketKeyRing(record_of())
    for steps in (0, 1, 2, 3, 10, 500):
        clock.go_to(EPOCH + steps)
        assert secrets(ring)[0] == ratchet(CHAIN, steps)
    assert ratchet(CHAIN).hex() == KNOWN


def test_accepted_are_the_epoch_of_now_the_one_before_and_the_next(clock: Clock) -> None:
    ring = TicketKeyRing(record_of())
    assert [epoch.number for epoch in ring.accepted] == [EPOCH, EPOCH + 1], "nothing was before"
    clock.go_to(EPOCH + 7.5)
    numbers = EPOCH + 7, EPOCH + 6, EPOCH + 8
    expected = [ratchet(CHAIN, number - EPOCH) for number in numbers]
    assert secrets(ring) == expected
    for epoch, number, chain in zip(ring.accepted, numbers, expected, strict=True):
        assert (epoch.number, epoch.fingerprint) == (number, fingerprint(chain))
        assert (epoch.begins, epoch.ends) == (number * PERIOD, (number + 1) * PERIOD)
    assert ring.current == ring.accepted[0]


def test_epoch_turns_at_its_first_moment(clock: Clock) -> None:
    ring = TicketKeyRing(record_of())
    clock.seconds = (EPOCH + 1) * PERIOD - 0.001
    table = ring.table()
    assert bytes_in(table.secrets[0]) == CHAIN
    assert ring.table() is table, "made once an epoch"
    clock.seconds = (EPOCH + 1) * PERIOD
    assert secrets(ring)[0] == ratchet(CHAIN)


def test_table_of_an_epoch_is_had_without_a_lock(clock: Clock) -> None:
    ring = TicketKeyRing(record_of())
    table = ring.table()
    with ring._lock, ThreadOf(ring.table) as other:
        assert other.result is table


def test_rings_of_one_record_agree_for_a_thousand_epochs(clock: Clock) -> None:
    one, other = TicketKeyRing(record_of()), TicketKeyRing(record_of())
    chain = CHAIN
    for steps in range(1, 1001):
        clock.go_to(EPOCH + steps)
        chain = ratchet(chain)
        assert secrets(one)[0] == chain
        if steps % 97 == 0:  # this one slept meanwhile
            assert secrets(other) == secrets(one)


def test_copied_record_leads_to_later_keys_and_a_later_record_to_no_earlier(clock: Clock) -> None:
    clock.go_to(EPOCH + 5)
    ring = TicketKeyRing(record_of())
    later = TicketKeyRing(ring.record(EPOCH + 5))
    assert secrets(later) == [ratchet(CHAIN, 5), ratchet(CHAIN, 6)]
    clock.go_to(EPOCH + 6)
    assert secrets(later) == secrets(ring)


def test_ended_secrets_are_wiped_by_the_first_who_asks(clock: Clock) -> None:
    ring = TicketKeyRing(record_of())
    before = ring.table()
    clock.go_to(EPOCH + 1)
    assert bytes_in(before.secrets[0]) == CHAIN
    middle = ring.table()
    assert bytes_in(before.secrets[0]) == CHAIN, "still accepted"
    clock.go_to(EPOCH + 2)
    assert bytes_in(before.secrets[0]) == CHAIN, "nobody has asked"
    ring.table()
    assert bytes_in(before.secrets[0]) == bytes(32)
    assert [bytes_in(secret) for secret in middle.secrets] == [
        ratchet(CHAIN), bytes(32), ratchet(CHAIN, 2),
    ]  # fmt: skip
    clock.go_to(EPOCH + 9)
    ring.expire()
    for table in (before, middle):
        assert all(bytes_in(secret) == bytes(32) for secret in table.secrets)
    assert secrets(ring)[0] == ratchet(CHAIN, 9)


def test_ratchet_that_forgets_can_go_on(clock: Clock) -> None:
    ratchet_at_work = ticket_key_ratchets.Ratchet(record_of())
    ratchet_at_work.forget(EPOCH + 3)
    assert bytes_in(ratchet_at_work.secret(EPOCH + 5)) == ratchet(CHAIN, 5)
    assert bytes_in(ratchet_at_work.secret(EPOCH + 4)) == ratchet(CHAIN, 4)
    ratchet_at_work.forget(EPOCH)
    assert ratchet_at_work.oldest == EPOCH + 3, "it has none of earlier"


def test_record_stays_its_owners(clock: Clock) -> None:
    """The ring wipes what is its own."""
    record = record_of()
    ring = TicketKeyRing(record)
    clock.go_to(EPOCH + 2)
    ring.table()
    assert bytes_in(record.chain) == CHAIN
    record.chain.wipe()
    assert secrets(ring)[0] == ratchet(CHAIN, 2)


def test_idle_ring_goes_on_over_many_epochs_at_once(clock: Clock) -> None:
    ring = TicketKeyRing(record_of())
    clock.go_to(EPOCH + 5000)
    expected = ratchet(CHAIN, 4999)
    assert secrets(ring) == [
        ratchet(expected, 1), expected, ratchet(expected, 2),
    ]  # fmt: skip
    assert ring.stats == {
        "ring_epoch": EPOCH + 5000,
        "ring_accepted": 3,
        "ring_rotations": 1,
        "ring_source_errors": 0,
    }


def test_limit_of_steps_is_a_million() -> None:
    assert ticket_key_ratchets.MAX_STEPS == MAX_STEPS == 1_000_000


def test_record_that_is_too_old_is_refused_at_start(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticket_key_ratchets, "MAX_STEPS", 1000)
    assert secrets(TicketKeyRing(record_of(start=EPOCH - 1000)))[0] == ratchet(CHAIN, 1000)
    with pytest.raises(ValueError, match="more than 1000 periods old: begin with new ones") as info:
        TicketKeyRing(record_of(start=EPOCH - 1001))
    assert "python -m gnutls_resume keys rotate" in str(info.value)


def test_clock_too_far_ahead_leaves_a_running_ring_as_it_is(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, warnings_of: list[str]
) -> None:
    monkeypatch.setattr(ticket_key_ratchets, "MAX_STEPS", 1000)
    ring = TicketKeyRing(record_of())
    table = ring.table()
    clock.go_to(EPOCH + 1 + 1001)  # the next one's key is made beforehand
    for _ in range(3):
        assert ring.table() is table
        assert bytes_in(table.secrets[0]) == CHAIN
        assert ring.current.number == ring.stats["ring_epoch"] == EPOCH
    ring.expire()
    assert warnings_of == ["the clock is too far ahead of the ticket keys"]
    clock.go_to(EPOCH + 1000)
    assert secrets(ring)[0] == ratchet(CHAIN, 1000)


def test_host_whose_clock_is_behind_begins_with_the_first_epoch_that_it_has(
    clock: Clock, warnings_of: list[str]
) -> None:
    ring = TicketKeyRing(record_of(start=EPOCH + 1))
    assert (ring.current.number, secrets(ring)[0]) == (EPOCH + 1, CHAIN)
    assert not warnings_of, "clocks may differ"
    ring = TicketKeyRing(record_of(start=EPOCH + 10_000))
    assert (ring.current.number, secrets(ring)[0]) == (EPOCH + 10_000, CHAIN)
    assert warnings_of == ["the ticket keys are ahead of the clock, and wait for it"]


def test_clock_set_back_turns_nothing_back(clock: Clock, warnings_of: list[str]) -> None:
    ring = TicketKeyRing(record_of())
    clock.go_to(EPOCH + 4)  # a day
    ahead = ring.table()
    for back in (EPOCH + 3, EPOCH, EPOCH - 28):
        clock.go_to(back)
        assert ring.table() is ahead
        assert ring.current.number == EPOCH + 4
    clock.go_to(EPOCH + 5)
    assert secrets(ring)[0] == ratchet(CHAIN, 5)
    assert warnings_of == ["the ticket keys are ahead of the clock, and wait for it"]


@given(st.lists(st.integers(-28, 28), max_size=30))
def test_epochs_never_go_back_whatever_the_clock_does(steps: list[int]) -> None:
    """Steps of up to seven days either way."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        clock = Clock(monkeypatch)
        ring = TicketKeyRing(record_of())
        epoch = latest = EPOCH
        for step in steps:
            epoch += step
            clock.go_to(epoch + 0.5)
            latest = max(latest, epoch)
            assert ring.current.number == latest
            assert secrets(ring)[0] == ratchet(CHAIN, latest - EPOCH)


# -- handshakes -------------------------------------------------------------------------------


@each_version
def test_ticket_resumes_from_the_epoch_before_to_the_next_one_and_no_further(
    priority: str, clock: Clock, certificates: Certificates
) -> None:
    """A server whose clock is behind does it, too: to it the ticket is from the next epoch."""
    record = record_of(start=EPOCH - 10)
    issuer = setting(certificates, TicketKeyRing(record).table, priority)
    data, _ = issuer.connect()
    for distance in (-3, -2, -1, 0, 1, 2, 3):
        clock.go_to(EPOCH + distance + 0.5)
        other = setting(certificates, TicketKeyRing(record).table, priority)
        expected = -1 <= distance <= 1
        assert other.connect(data)[1] == (expected, expected), distance


@each_version
def test_new_tickets_are_made_under_the_current_key(
    priority: str, clock: Clock, certificates: Certificates
) -> None:
    """Those of a full handshake after a turn outlive those from before it."""
    ring = TicketKeyRing(record_of())
    server = setting(certificates, ring.table, priority)
    old, _ = server.connect()
    clock.go_to(EPOCH + 1)
    new, _ = server.connect()
    clock.go_to(EPOCH + 2)
    assert server.connect(old)[1] == (False, False)
    assert server.connect(new)[1] == (True, True)


@each_version
def test_clocks_may_differ_by_less_than_a_period(
    priority: str, clock: Clock, certificates: Certificates
) -> None:
    one, other = (
        TicketKeyRing(record_of(start=EPOCH - 2)),
        TicketKeyRing(record_of(start=EPOCH - 2)),
    )

    def at(seconds: float, ring: TicketKeyRing) -> Any:
        clock.seconds = seconds
        return ring.table()

    for moment in (0.001, 0.5, 0.999):
        begin = (EPOCH + 5 + moment) * PERIOD
        early = setting(certificates, lambda b=begin: at(b, one), priority)
        late = setting(certificates, lambda b=begin: at(b + 0.999 * PERIOD, other), priority)
        for issuer, resumer in ((early, late), (late, early)):
            data, _ = issuer.connect()
            assert resumer.connect(data)[1] == (True, True)


@each_version
def test_ring_resumes_its_own_tickets_and_no_others(
    priority: str, certificates: Certificates
) -> None:
    """So does a restarted server without a key file: CVE-2020-13777 is of keys that all shared."""
    rings = [TicketKeyRing(), TicketKeyRing()]
    sessions = [setting(certificates, ring.table, priority).connect()[0] for ring in rings]
    for i, ring in enumerate(rings):
        for j, data in enumerate(sessions):
            server = setting(certificates, ring.table, priority)
            assert server.connect(data)[1] == (i == j, i == j)


@each_version
def test_session_of_an_epoch_may_be_finished_in_the_next(
    priority: str, clock: Clock, certificates: Certificates
) -> None:
    ring = TicketKeyRing(record_of())
    server = setting(certificates, ring.table, priority)
    old, _ = server.connect()
    for offered in (None, old):
        clock.go_to(EPOCH)
        ring = TicketKeyRing(record_of())
        with server.pair(offered) as pair:
            clock.go_to(EPOCH + 1)
            ring.table()
            pair.handshake()
            pair.exchange()
            assert pair.resumed == (offered is not None,) * 2
            assert pair.server.ticket_failures == 0
            data = pair.client.get_data()
        assert setting(certificates, ring.table, priority).connect(data)[1] == (True, True)


@each_version
def test_session_that_outlives_its_keys_has_no_tickets_and_no_failure(
    priority: str, clock: Clock, certificates: Certificates
) -> None:
    ring = TicketKeyRing(record_of())
    server = setting(certificates, ring.table, priority)
    old, _ = server.connect()
    with server.pair(old) as pair:
        clock.go_to(EPOCH + 2)
        ring.table()
        pair.handshake()
        pair.exchange()
        assert pair.resumed == (False, False)
        assert pair.server.ticket_failures == 1
        assert not pair.tickets


def test_rotation_under_load_loses_no_ticket_that_is_young_enough(
    clock: Clock, certificates: Certificates
) -> None:
    """A thousand epochs by the clock, four threads at full rate."""
    ring = TicketKeyRing(record_of())
    last = EPOCH + 1000
    lost: list[tuple[int, int]] = []
    count = [0, 0]  # resumed, full
    errors: list[BaseException] = []
    ticking = threading.Lock()

    def work(priority: str) -> None:
        seen = [0]

        def table() -> Any:
            seen[0] = int(clock.seconds) // PERIOD  # at the latest
            return ring.table()

        server = setting(certificates, table, priority)
        data, issued = None, 0
        try:
            while clock.seconds < last * PERIOD:
                data, resumed = server.connect(data)
                with ticking:
                    young = issued and int(clock.seconds) // PERIOD <= issued + 1
                    clock.seconds += PERIOD / 4
                    count[resumed != (True, True)] += 1
                if young and resumed != (True, True):
                    lost.append((issued, seen[0]))
                if resumed != (True, True):
                    issued = seen[0]
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(p,)) for p in (TLS12, TLS12, TLS12, TLS13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert not errors
    assert not lost
    assert ring.stats["ring_rotations"] >= 900
    assert count[0] > 500


# -- the clock of the whole process -----------------------------------------------------------

START = 1_800_000_000  # Unix seconds, a multiple of 30


def begin_at(clock: ShiftedClock, seconds: float) -> None:
    clock.shift = seconds - (time.time() - clock.shift)


def offer_late(
    server: Setting, data: bytes | None, clock: ShiftedClock, seconds: float
) -> tuple[bytes | None, tuple[bool, bool]]:
    """A client that offers a ticket at once, to a server that reads it so much later."""
    with server.pair(data) as pair:
        with suppress(WantReadError):
            pair.client.handshake()
        pair.move()
        begin_at(clock, time.time() + seconds)
        pair.handshake()
        pair.exchange()
        return pair.client.get_data(), pair.resumed


def ticket_lives_its_life_and_no_longer(
    certificates: Certificates, clock: ShiftedClock, _: Path
) -> None:
    """Wherever in an epoch it was made, or in one of GnuTLS's periods of three lifetimes."""
    lifetime = 10
    for priority in (TLS12, TLS13):
        for period in (lifetime, 25):
            for second in range(3 * lifetime):
                begin_at(clock, START + second)
                record = TicketKeyRecord.generate(period, ticket_lifetime=lifetime)
                server = setting(certificates, TicketKeyRing(record).table, priority, lifetime)
                data, _resumed = server.connect()
                for age, expected in ((lifetime - 1, True), (lifetime + 1.5, False)):
                    begin_at(clock, START + second + 1)
                    _, resumed = offer_late(server, data, clock, age - 1)
                    assert resumed == (expected, expected), (priority, second, age)


def reissued_ticket_ends_with_the_first(
    certificates: Certificates, clock: ShiftedClock, _: Path
) -> None:
    lifetime = 100
    for priority in (TLS12, TLS13):
        begin_at(clock, START + 30)  # in the middle of the ring's epoch
        ring = TicketKeyRing(period=lifetime, ticket_lifetime=lifetime)
        server = setting(certificates, ring.table, priority, lifetime)
        data, _resumed = server.connect()
        for age in (40, 80, 98):  # turns the epoch on the way
            begin_at(clock, START + 30 + age)
            data, resumed = server.connect(data)
            assert resumed == (True, True), (priority, age)
        _, resumed = offer_late(server, data, clock, 4)
        assert resumed == (False, False), priority


def clock_that_jumps_fails_no_handshake(
    certificates: Certificates, clock: ShiftedClock, _: Path
) -> None:
    """By up to seven days either way, while threads connect; R-48 of our threats."""
    lifetime, day = 3600, 86_400
    ring = TicketKeyRing(period=lifetime)
    over = threading.Event()
    errors: list[BaseException] = []
    resumptions: list[float] = []

    def connect(priority: str) -> None:
        server = setting(certificates, ring.table, priority, lifetime)
        data, issued = None, 0.0
        while not over.is_set():
            began = time.time()
            with suppress(InvalidSessionError):  # a client looks at the clock, too
                data, resumed = server.connect(data)
                if resumed == (False, False):
                    issued = time.time()
                elif 0 <= time.time() - began < 60:
                    resumptions.append(began - issued)
                continue
            data = None

    def work(priority: str) -> None:
        try:
            connect(priority)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(it,)) for it in (TLS12, TLS13)]
    for thread in threads:
        thread.start()
    epochs = [ring.current.number]
    steps = random.Random(48)  # noqa: S311 - no secret
    for _count in range(300):
        clock.shift += steps.choice((1, 600, day, -day, 7 * day, -7 * day, 0))
        time.sleep(0.005)  # for some handshakes
        epochs.append(ring.current.number)
    over.set()
    for thread in threads:
        thread.join(30)
    assert not errors, errors
    assert epochs == sorted(epochs)
    assert len(resumptions) > 50
    assert max(resumptions) < lifetime + 60


@pytest.mark.parametrize(
    "work",
    [
        ticket_lives_its_life_and_no_longer,
        reissued_ticket_ends_with_the_first,
        clock_that_jumps_fails_no_handshake,
    ],
    ids=lambda work: work.__name__,
)
def test_shifted(work: Work, certificates: Certificates, tmp_path: Path) -> None:
    run_shifted(work, certificates, tmp_path)


# -- threads, signals, forks ------------------------------------------------------------------


def check_state(ring: TicketKeyRing) -> None:
    """The table is the one of its epoch, and whole."""
    epoch = ring.current.number
    expected = [ratchet(CHAIN, number - EPOCH) for number in (epoch, epoch - 1, epoch + 1)]
    assert secrets(ring) == expected
    assert [shown.fingerprint for shown in ring.accepted] == [fingerprint(it) for it in expected]


def test_threads_turn_it_together(clock: Clock) -> None:
    ring = TicketKeyRing(record_of())
    errors: list[BaseException] = []

    def work() -> None:
        try:
            while clock.seconds < (EPOCH + 300) * PERIOD:
                table = ring.table()
                assert len(table.secrets) in {2, 3}
                assert ring.accepted[0].number >= EPOCH
                ring.knows(ring.epoch)
                assert ring.record(ring.epoch).period == PERIOD
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for steps in range(300):
        clock.go_to(EPOCH + steps)
        assert ring.current.number == EPOCH + steps
    clock.go_to(EPOCH + 300)
    for thread in threads:
        thread.join(30)
    assert not errors
    check_state(ring)


class Interrupt(BaseException):
    """What a signal handler raises."""


@contextmanager
def alarms(handler: Any) -> Iterator[None]:
    """Call it a few thousand times a second, wherever the main thread is."""
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_signal_handler_may_come_for_the_table_in_the_middle_of_a_turn(clock: Clock) -> None:
    ring = TicketKeyRing(record_of())
    nested = [0]

    def handler(_number: int, _frame: FrameType | None) -> None:
        clock.seconds += PERIOD / 3
        nested[0] += ring._lock.mine
        assert len(ring.table().secrets) in {2, 3}
        assert ring.accepted[0].number >= EPOCH

    deadline = time.monotonic() + 20
    with alarms(handler):
        while nested[0] < 50 and time.monotonic() < deadline:
            clock.seconds += PERIOD
            ring.table()
    assert nested[0] >= 50
    check_state(ring)


def test_exception_in_the_middle_of_a_turn_does_no_harm(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)  # it may come in a finaliser
    ring = TicketKeyRing(record_of())
    middle = [0]

    def handler(_number: int, _frame: FrameType | None) -> None:
        if ring._lock.mine:
            middle[0] += 1
            raise Interrupt

    deadline = time.monotonic() + 20
    while middle[0] < 50 and time.monotonic() < deadline:
        try:
            with alarms(handler):
                while True:
                    clock.seconds += PERIOD
                    ring.table()
        except Interrupt:
            # Python 3.14 serves signals also when a with-statement has taken its lock and has
            # not begun: nothing gives it back then.
            while sys.version_info >= (3, 14) and ring._lock.mine:
                ring._lock.release()
            check_state(ring)
            assert ring.current.number == int(clock.seconds) // PERIOD
    assert middle[0] >= 50
    with ThreadOf(ring.table) as other:
        assert other.result is ring.table(), "the lock is free"


class ThreadOf:
    """A function's result in another thread."""

    def __init__(self, function: Any) -> None:
        self.result: Any = None
        self.done = threading.Event()

        def run() -> None:
            self.result = function()
            self.done.set()

        threading.Thread(target=run, daemon=True).start()

    def __enter__(self) -> Self:
        assert self.done.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_finaliser_may_come_for_the_table(clock: Clock) -> None:
    ring = TicketKeyRing(record_of())
    called = [0]

    class Finalised:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            called[0] += 1
            ring.table()
            ring.expire()

    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for steps in range(200):
            Finalised()
            clock.go_to(EPOCH + steps)
            assert ring.current.number == EPOCH + steps
    finally:
        gc.set_threshold(*threshold)
    assert called[0] > 100
    check_state(ring)


def test_child_forked_at_any_moment_has_a_whole_ring(clock: Clock) -> None:
    ring = TicketKeyRing(record_of())
    over = threading.Event()

    def turn() -> None:
        while not over.is_set():
            clock.seconds += PERIOD
            ring.table()

    threads = [threading.Thread(target=turn) for _ in range(2)]
    for thread in threads:
        thread.start()
    failed = []
    moments = random.Random(5)  # noqa: S311 - no secret
    try:
        for _ in range(60):
            time.sleep(moments.random() / 300)
            ratchet(CHAIN, ring.current.number - EPOCH)
            child = os.fork()
            if child == 0:
                try:
                    signal.alarm(20)
                    check_state(ring)
                    assert ring.current.number == int(clock.seconds) // PERIOD
                    clock.seconds += PERIOD
                    check_state(ring)
                except BaseException:
                    os._exit(1)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            if status:
                failed.append(status)
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
    assert not failed


# -- the thread that looks at the source ------------------------------------------------------


@dataclass
class Provider:
    """Returns a record, and notes who has asked, and when."""

    record: TicketKeyRecord

    def __post_init__(self) -> None:
        self.calls: list[tuple[int, int, float]] = []
        self.news = threading.Condition()

    def __call__(self) -> list[TicketKeyRecord]:
        with self.news:
            self.calls.append((os.getpid(), threading.get_ident(), time.monotonic()))
            self.news.notify_all()
        return [self.record]

    def wait_for(self, count: int) -> list[tuple[int, int, float]]:
        with self.news:
            assert self.news.wait_for(lambda: len(self.calls) >= count, 20)
            return self.calls[:count]


def ended(ident: int) -> bool:
    """Whether that thread ends within a moment."""
    deadline = time.monotonic() + 10
    while ident in sys._current_frames() and time.monotonic() < deadline:
        time.sleep(0.01)
    return ident not in sys._current_frames()


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources are looked at more often."""
    monkeypatch.setattr(ticket_keys, "LOOK_INTERVAL", 0.02)


def test_source_is_looked_at_once_a_second_by_a_thread_of_its_own() -> None:
    assert ticket_keys.LOOK_INTERVAL == 1
    provider = Provider(TicketKeyRecord.generate())
    ring = TicketKeyRing.from_provider(provider)
    assert len(provider.wait_for(1)) == 1
    ring.table()
    _, *looks = provider.wait_for(3)
    assert len({ident for _, ident, _ in looks}) == 1
    assert threading.get_ident() not in {ident for _, ident, _ in looks}
    assert looks[1][2] - looks[0][2] >= 0.99


@pytest.mark.usefixtures("often")
def test_there_is_one_such_thread_however_many_ask() -> None:
    provider = Provider(TicketKeyRecord.generate())
    ring = TicketKeyRing.from_provider(provider)
    start = threading.Barrier(8)

    def ask() -> None:
        start.wait(20)
        for _ in range(100):
            ring.table()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    _, *looks = provider.wait_for(6)
    assert len({ident for _, ident, _ in looks}) == 1


def test_ring_without_a_source_has_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr("_thread.start_new_thread", lambda *how: started.append(how))
    ring = TicketKeyRing()
    ring.table()
    ring.expire()
    assert not started


@pytest.mark.usefixtures("often")
def test_forked_child_looks_by_itself() -> None:
    provider = Provider(TicketKeyRecord.generate())
    ring = TicketKeyRing.from_provider(provider)
    ring.table()
    provider.wait_for(3)
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(20)
            provider.news = threading.Condition()  # the parent's thread may have held it
            provider.calls.clear()
            ring.table()
            assert {pid for pid, _, _ in provider.wait_for(3)} == {os.getpid()}
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0


@pytest.mark.usefixtures("often")
def test_thread_ends_with_its_ring() -> None:
    provider = Provider(TicketKeyRecord.generate())
    ring = TicketKeyRing.from_provider(provider)
    ring.table()
    ident = provider.wait_for(3)[-1][1]
    gone = weakref.ref(ring)
    del ring
    assert ended(ident)
    assert gone() is None


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, MemoryError, GeneratorExit])
def test_thread_outlives_whatever_a_provider_raises(
    error: type[BaseException], warnings_of: list[str]
) -> None:
    provider = Provider(TicketKeyRecord.generate())
    answers: list[Any] = [None]

    def raising() -> list[TicketKeyRecord]:
        found = provider()
        if answers:
            answers.pop()
            return found
        raise error("a secret")

    ring = TicketKeyRing.from_provider(raising)
    ring.table()
    provider.wait_for(5)
    assert ring.stats["ring_source_errors"] >= 3
    assert warnings_of == [f"the source of the ticket keys failed: {error.__name__}"]


def test_thread_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = Provider(TicketKeyRecord.generate())
    ring = TicketKeyRing.from_provider(provider)

    def start(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr("_thread.start_new_thread", start)
        assert ring.table() is ring.table()
    ring.table()
    provider.wait_for(2)


def test_no_handshake_waits_for_a_source(clock: Clock, certificates: Certificates) -> None:
    asked, go_on = threading.Event(), threading.Event()
    first = [True]

    def provider() -> list[TicketKeyRecord]:
        if not first:
            asked.set()
            go_on.wait(60)
        first.clear()
        return [record_of()]

    ring = TicketKeyRing.from_provider(provider)
    try:
        server = setting(certificates, ring.table)
        data = None
        for steps in range(20):
            clock.go_to(EPOCH + steps)
            data, resumed = server.connect(data)
            assert resumed == (steps % 2 == 1,) * 2, "each ticket lives for two epochs"
            assert asked.wait(20)
            assert ring.current.number == EPOCH + steps
    finally:
        go_on.set()


def test_blocked_source_does_not_keep_the_process_alive() -> None:
    program = """
import threading
from gnutls_resume.resumption.ticket_key_record import TicketKeyRecord
from gnutls_resume.resumption.ticket_keys import TicketKeyRing

first, asked = [TicketKeyRecord.generate()], threading.Event()

def provider():
    if first:
        return [first.pop()]
    asked.set()
    threading.Event().wait()

ring = TicketKeyRing.from_provider(provider)
ring.table()
assert asked.wait(20)
print("over")
"""
    command = [sys.executable, "-P", "-c", program]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "over\n", "")


# -- secrecy ----------------------------------------------------------------------------------


def test_ring_shows_nothing() -> None:
    ring = TicketKeyRing(record_of(OTHER_CHAIN, start=TicketKeyRecord.generate().start))
    assert repr(ring) == str(ring) == f"<TicketKeyRing: epoch {ring.current.number}, 2 secrets>"
    for shown in (
        repr(vars(ring)),
        repr(ring.table()),
        repr(ring.table().secrets),
        repr(ring.stats),
    ):
        assert OTHER_CHAIN.hex() not in shown
        assert repr(OTHER_CHAIN)[2:-1] not in shown
    assert isinstance(ring.table().secrets[0], TicketSecret)


def test_ring_cannot_be_pickled_or_copied() -> None:
    ways: list[Any] = [copy.copy, copy.deepcopy]
    ways += [lambda ring, n=n: pickle.dumps(ring, n) for n in range(pickle.HIGHEST_PROTOCOL + 1)]
    for way in ways:
        with pytest.raises(TypeError, match="TicketKeyRing cannot be pickled or copied"):
            way(TicketKeyRing())
