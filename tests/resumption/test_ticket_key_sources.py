"""Where rings get their keys from, and all that may be wrong with it: files, functions, stores.

Rings are told to look at their source by ``expire()``, as their thread does once a second; the
thread itself is tested in ``test_ticket_keys.py``.
"""

import logging
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha3_512
from pathlib import Path
from typing import Any

import pytest
from conftest import Certificates
from memory import memory_of
from pair import TLS12, TLS13
from rings import (
    CHAIN,
    EPOCH,
    OTHER_CHAIN,
    PERIOD,
    POLICY,
    Clock,
    Processes,
    SharedClock,
    bytes_in,
    expand,
    in_processes,
    ratchet,
    record_of,
    secrets,
    setting,
)

from gnutls_resume.binding import TicketSecret, _callbacks
from gnutls_resume.binding.ticket import MAX_SECRETS
from gnutls_resume.resumption import ticket_key_ratchets, ticket_key_sources, ticket_keys
from gnutls_resume.resumption.ticket_key_record import SIZE, TicketKeyRecord
from gnutls_resume.resumption.ticket_key_sources import lock_of, read_key_file, write_key_file
from gnutls_resume.resumption.ticket_keys import TicketKeyRing

each_version = pytest.mark.parametrize("priority", [TLS12, TLS13], ids=["tls12", "tls13"])
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
NOBODY = 65534
watch = ticket_keys.watch
GENERATION = EPOCH * PERIOD - 10  # Unix seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SharedClock:
    return SharedClock(monkeypatch)


@pytest.fixture(autouse=True)
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rings have no thread: they look when the test says so."""
    monkeypatch.setattr(ticket_keys, "watch", lambda _: None)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch, unwatched: None) -> None:
    """They do have one."""
    monkeypatch.setattr(ticket_keys, "watch", watch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return key_file(tmp_path / "keys")


@pytest.fixture
def warnings_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
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


def key_file(path: Path, record: TicketKeyRecord | None = None) -> Path:
    """One of this record, in place of what is there; by default that of all tests."""
    path.unlink(missing_ok=True)
    write_key_file(path, record or record_of(generation=GENERATION), replace=False)
    return path


def rewrite(path: Path, data: bytes) -> None:
    """As an editor or ``cp`` does: the file stays, its content is another."""
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()
    os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns + 1))  # a coarse clock's tick later


def record_in(path: Path) -> tuple[int, int, bytes]:
    """Its generation, its first epoch, its chain key."""
    record, _ = read_key_file(path)
    return record.generation, record.start, bytes_in(record.chain)


# -- writing a key file -----------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_new_key_file_is_its_owners_alone(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        path = key_file(tmp_path / "keys")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o7777 == 0o600
    assert path.stat().st_size == SIZE
    assert record_in(path) == (GENERATION, EPOCH, CHAIN)
    assert list(tmp_path.iterdir()) == [path]


def test_new_key_file_takes_no_name_that_is_taken(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        write_key_file(path, record_of(OTHER_CHAIN), replace=False)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_of_processes_that_make_a_file_at_once_one_does(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    torn = threading.Event()
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            try:
                read_key_file(path)
            except FileNotFoundError:
                pass
            except ValueError:
                torn.set()

    def make(_: int) -> bytes:
        try:
            write_key_file(path, TicketKeyRecord.generate(), replace=False)
        except FileExistsError:
            return b"0"
        return b"1"

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(10):
        path.unlink(missing_ok=True)
        assert in_processes(make, 8).count(b"1") == 1
        assert list(tmp_path.iterdir()) == [path]
    over.set()
    reader.join(20)
    assert not torn.is_set()


# -- reading a key file -----------------------------------------------------------------------


def test_missing_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    with pytest.raises(FileNotFoundError) as caught:
        TicketKeyRing.from_file(path)
    assert str(caught.value) == (
        f"there is no key file {path}: make one with python -m gnutls_resume keys new {path}"
    )


def damaged(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    rewrite(path, bytes(data))


def other(make: Any) -> Any:
    def replaced(path: Path) -> None:
        path.unlink()
        make(path)

    return replaced


def bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


WRONG_FILES: dict[str, tuple[Any, type[Exception], str]] = {
    "damaged": (damaged, ValueError, "the key file {}: the ticket key record is damaged"),
    "half": (lambda p: rewrite(p, p.read_bytes()[:46]), ValueError, "has 93 bytes, not 46"),
    "empty": (lambda p: rewrite(p, b""), ValueError, "the key file {}: a ticket key record has 93"),
    "longer": (lambda p: rewrite(p, p.read_bytes() + b"x"), ValueError, "93 bytes, not 94"),
    "huge": (lambda p: os.truncate(p, 2**40), ValueError, "93 bytes, not 94"),
    "text": (lambda p: rewrite(p, b"x" * SIZE), ValueError, "no ticket key record"),
    "directory": (other(Path.mkdir), ValueError, "the key file {} is no regular file"),
    "pipe": (other(os.mkfifo), ValueError, "the key file {} is no regular file"),
    "device": (other(lambda p: p.symlink_to("/dev/zero")), ValueError, "no regular file"),
    "socket": (other(bound), OSError, "{}"),
    "dangling": (other(lambda p: p.symlink_to("nowhere")), FileNotFoundError, "no key file {}"),
    "circle": (other(lambda p: p.symlink_to(p)), OSError, "{}"),
    "gone": (Path.unlink, FileNotFoundError, "{}"),
    "group": (lambda p: p.chmod(0o640), PermissionError, "others can read or write the key file"),
    "others": (lambda p: p.chmod(0o604), PermissionError, "chmod 600 {}, and rotate the keys"),
    "writable": (lambda p: p.chmod(0o620), PermissionError, "others can read or write"),
}
each_wrong_file = pytest.mark.parametrize(
    ("spoil", "error", "message"), WRONG_FILES.values(), ids=WRONG_FILES
)


@each_wrong_file
def test_wrong_file_is_refused_at_start(
    path: Path, spoil: Any, error: type[Exception], message: str
) -> None:
    spoil(path)
    with pytest.raises(error) as caught:
        TicketKeyRing.from_file(path)
    assert message.format(path) in str(caught.value)


@pytest.mark.parametrize("spoil", [spoil for spoil, *_ in WRONG_FILES.values()], ids=WRONG_FILES)
def test_wrong_file_leaves_a_running_ring_as_it_is(
    path: Path, spoil: Any, clock: Clock, warnings_of: list[str]
) -> None:
    ring = TicketKeyRing.from_file(path)
    spoil(path)
    for steps in range(3):
        clock.go_to(EPOCH + steps)
        ring.expire()
        assert secrets(ring)[0] == ratchet(CHAIN, steps)
    assert ring.stats["ring_source_errors"] == 3
    (warning,) = warnings_of
    assert warning.startswith("the source of the ticket keys failed: ")
    assert str(path) in warning
    if path.is_dir():
        path.rmdir()
    record = record_of(OTHER_CHAIN, EPOCH + 2, generation=GENERATION + 1)
    key_file(path, record)
    ring.expire()
    assert ring.stats["ring_source_errors"] == 3
    assert secrets(ring)[0] == OTHER_CHAIN


def test_path_of_another_type_is_refused() -> None:
    for path in (None, 7, b"keys"):
        with pytest.raises(TypeError):
            TicketKeyRing.from_file(path)  # type: ignore[arg-type]


def test_file_that_is_too_old_is_refused_at_start(tmp_path: Path, clock: Clock) -> None:
    path = key_file(tmp_path / "keys", record_of(period=1))
    clock.seconds = EPOCH + 1_000_002
    with pytest.raises(ValueError, match="more than 1000000 periods old: begin with new ones"):
        TicketKeyRing.from_file(path)


def test_file_of_the_past_is_the_same_ring(path: Path, clock: Clock) -> None:
    clock.go_to(EPOCH + 100)
    assert secrets(TicketKeyRing.from_file(path)) == [
        ratchet(CHAIN, steps) for steps in (100, 99, 101)
    ]


def test_file_of_another_owner_stays_his(path: Path, clock: Clock) -> None:
    """A service that is begun by root and goes on as somebody else."""
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    ring = TicketKeyRing.from_file(path)
    owner = path.stat().st_uid, path.stat().st_gid
    clock.go_to(EPOCH + 5)
    ring.expire()
    assert record_in(path)[1] == EPOCH + 4
    ring.rotate()
    assert (path.stat().st_uid, path.stat().st_gid) == owner
    assert path.stat().st_mode & 0o7777 == 0o600


# -- rewriting it, as keys end ----------------------------------------------------------------


def test_ended_keys_are_written_out_of_the_file(path: Path, clock: Clock) -> None:
    ring = TicketKeyRing.from_file(path)
    before = path.read_bytes()
    clock.go_to(EPOCH + 1)
    ring.expire()
    assert path.read_bytes() == before, "the epoch's before now are still accepted"
    for steps in (2, 3, 50):
        clock.go_to(EPOCH + steps)
        ring.expire()
        assert record_in(path) == (GENERATION, EPOCH + steps - 1, ratchet(CHAIN, steps - 1))
        assert secrets(TicketKeyRing.from_file(path)) == secrets(ring)
    assert ring.stats["ring_source_errors"] == 0
    assert list(path.parent.iterdir()) == [path]


def test_link_stays_a_link(path: Path, clock: Clock, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "link"
    link.parent.mkdir()
    link.symlink_to(path)
    ring = TicketKeyRing.from_file(link)
    clock.go_to(EPOCH + 2)
    ring.expire()
    assert record_in(path)[1] == EPOCH + 1
    ring.rotate()
    assert link.readlink() == path
    assert not path.is_symlink()
    assert list(link.parent.iterdir()) == [link]
    assert secrets(ring)[0] == record_in(path)[2]


def test_backup_of_the_same_keys_does_no_harm_and_is_written_anew(path: Path, clock: Clock) -> None:
    backup = path.read_bytes()
    ring = TicketKeyRing.from_file(path)
    clock.go_to(EPOCH + 5)
    ring.expire()
    expected = secrets(ring)
    rewrite(path, backup)
    ring.expire()
    assert secrets(ring) == expected
    assert record_in(path) == (GENERATION, EPOCH + 4, ratchet(CHAIN, 4))
    restarted = TicketKeyRing.from_file(path)
    rewrite(path, backup)
    restarted.expire()
    assert secrets(restarted) == expected
    assert record_in(path)[1] == EPOCH + 4
    assert ring.stats["ring_source_errors"] == restarted.stats["ring_source_errors"] == 0


@pytest.mark.parametrize("start", [EPOCH - 1, EPOCH, EPOCH + 3])
def test_backup_of_ended_keys_is_refused_and_left_alone(
    start: int, path: Path, clock: Clock, warnings_of: list[str]
) -> None:
    ring = TicketKeyRing.from_file(path)
    old = key_file(path, record_of(OTHER_CHAIN, start, generation=GENERATION - 1)).read_bytes()
    for steps in range(3):
        clock.go_to(EPOCH + steps)
        ring.expire()
        assert secrets(ring)[0] == ratchet(CHAIN, steps)
    assert ring.stats["ring_source_errors"] == 3, "at each look"
    assert warnings_of == [
        "the source of the ticket keys failed: it holds keys that are older than those in use"
    ]
    assert path.read_bytes() == old
    ring.rotate()
    assert record_in(path)[0] > GENERATION
    assert secrets(TicketKeyRing.from_file(path)) == secrets(ring)


@pytest.mark.parametrize(("period", "lifetime"), [(3600, 3600), (PERIOD, 60)])
def test_file_of_other_times_is_refused(
    period: int, lifetime: int, path: Path, clock: Clock, warnings_of: list[str]
) -> None:
    times = {"ticket_lifetime": 3600, "generation": GENERATION}
    ring = TicketKeyRing.from_file(key_file(path, TicketKeyRecord(PERIOD, EPOCH, CHAIN, **times)))
    times = {"ticket_lifetime": lifetime, "generation": GENERATION + 1}
    start = EPOCH * PERIOD // period
    key_file(path, TicketKeyRecord(period, start, OTHER_CHAIN, **times))
    ring.expire()
    assert secrets(ring)[0] == CHAIN
    (warning,) = warnings_of
    assert warning == (
        "the source of the ticket keys failed: all who share ticket keys need the same period and "
        f"ticket_lifetime: here they are 21600 and 3600 seconds, there {period} and {lifetime}"
    )


@each_version
def test_new_file_ends_the_old_keys_at_once(
    priority: str, path: Path, clock: Clock, certificates: Certificates
) -> None:
    ring = TicketKeyRing.from_file(path)
    server = setting(certificates, ring.table, priority)
    old, _ = server.connect()
    held = ring.table()
    key_file(path, record_of(OTHER_CHAIN, generation=GENERATION + 1))
    ring.expire()
    assert all(bytes_in(secret) == bytes(32) for secret in held.secrets)
    assert secrets(ring) == [OTHER_CHAIN, ratchet(OTHER_CHAIN)]
    new, resumed = server.connect(old)
    assert resumed == (False, False)
    assert server.connect(new)[1] == (True, True)


@each_version
def test_cve_2020_13777_restart_resumes_with_the_same_file_alone(
    priority: str, path: Path, certificates: Certificates
) -> None:
    """There, servers without keys of their own had all-zero ones until the first rotation."""
    record = TicketKeyRecord.generate()
    data, _ = setting(
        certificates, TicketKeyRing.from_file(key_file(path, record)).table, priority
    ).connect()

    def restarted(_: int) -> bytes:
        server = setting(certificates, TicketKeyRing.from_file(path).table, priority)
        return repr(server.connect(data)[1]).encode()

    assert in_processes(restarted, 1) == [b"(True, True)"]
    key_file(path, TicketKeyRecord.generate())
    assert in_processes(restarted, 1) == [b"(False, False)"]


def test_processes_that_rewrite_it_at_once_never_tear_it_nor_turn_it_back(
    path: Path, clock: SharedClock
) -> None:
    """Eight, at the turns of fifty epochs."""
    over = EPOCH + 51
    ring = TicketKeyRing.from_file(path)

    def turn(_: int) -> bytes:
        while clock.seconds < over * PERIOD:
            ring.expire()
        return f"{ring.stats['ring_source_errors']} {secrets(ring)[0].hex()}".encode()

    processes = Processes(turn, 8)
    starts = []
    for steps in range(1, 51):
        clock.go_to(EPOCH + steps)
        deadline = time.monotonic() + 20
        while not starts or starts[-1] < EPOCH + steps - 1:
            starts.append(record_in(path)[1])
            assert time.monotonic() < deadline
    clock.go_to(over)
    expected = f"0 {ratchet(CHAIN, 51).hex()}".encode()
    assert processes.join() == [expected] * 8
    assert starts == sorted(starts)
    assert list(path.parent.iterdir()) == [path]


def test_killed_writer_leaves_a_file_that_can_be_used(path: Path) -> None:
    def write(_: int) -> bytes:
        ring = TicketKeyRing.from_file(path)
        while True:
            ring.rotate()

    left = 0
    generation = 0
    for number in range(40):
        (child, reader), *_ = Processes(write, 1).children
        time.sleep(0.002 + number % 10 / 1000)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)
        names = {it.name for it in path.parent.iterdir()}
        assert names <= {"keys", "keys.new"}
        left += "keys.new" in names
        before, generation = generation, record_in(path)[0]
        assert generation >= before
        if number % 2:
            TicketKeyRing.from_file(path).rotate()
            assert list(path.parent.iterdir()) == [path], "the next writer tidies up"
    assert left, "none was killed while it wrote"


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """For this process, as on a full disk: fewer bytes are written than were given."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("size", [0, 50])
def test_file_that_cannot_be_rewritten_is_one_warning(
    size: int, path: Path, clock: Clock, warnings_of: list[str]
) -> None:
    ring = TicketKeyRing.from_file(path)
    before = path.read_bytes()
    with largest_file(size):
        for steps in range(5):
            clock.go_to(EPOCH + steps)
            ring.expire()
            assert secrets(ring)[0] == ratchet(CHAIN, steps)
        _callbacks.last_warning.clear()  # a minute later
        ring.expire()
    (warning,) = warnings_of
    assert warning.startswith("ended keys stay in the key file: ")
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    assert ring.stats["ring_source_errors"] == 0
    ring.expire()
    assert record_in(path)[1] == EPOCH + 3


@pytest.mark.parametrize("size", [0, 50])
def test_rotation_that_cannot_be_written_changes_nothing(
    size: int, path: Path, clock: Clock
) -> None:
    ring = TicketKeyRing.from_file(path)
    table, before = ring.table(), path.read_bytes()
    with largest_file(size), pytest.raises(OSError, match=r"no room|too large"):
        ring.rotate()
    assert ring.table() is table
    assert secrets(ring)[0] == CHAIN
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    ring.rotate()
    assert record_in(path)[2] == secrets(ring)[0] != CHAIN


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")
def test_full_disk_changes_nothing(tmp_path: Path, clock: Clock, warnings_of: list[str]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", disk], check=True)
    try:
        path = disk / "keys"
        rewrite_new(path, key_file(tmp_path / "keys").read_bytes())
        ring = TicketKeyRing.from_file(path)
        clock.go_to(EPOCH + 2)
        ring.expire()
        (warning,) = warnings_of
        assert "No space left on device" in warning
        with pytest.raises(OSError, match="No space left on device"):
            ring.rotate()
        assert record_in(path) == (GENERATION, EPOCH, CHAIN)
        assert list(disk.iterdir()) == [path]
        assert secrets(ring)[0] == ratchet(CHAIN, 2)
    finally:
        subprocess.run(["umount", disk], check=True)


def rewrite_new(path: Path, data: bytes) -> None:
    """Written by hand."""
    path.touch(0o600)
    path.write_bytes(data)


@pytest.mark.parametrize(("folder_mode", "mode"), [(0o755, 0o600), (0o777, 0o400)])
def test_what_cannot_be_written_is_one_warning(
    folder_mode: int, mode: int, clock: Clock, warnings_of: list[str]
) -> None:
    """A service without rights, and keys that root has put there for it, only to be read."""
    with tempfile.TemporaryDirectory() as folder:
        path = key_file(Path(folder) / "keys")
        before = path.read_bytes()
        path.chmod(mode)
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
            Path(folder).chmod(folder_mode)
        else:
            Path(folder).chmod(folder_mode & 0o555)

        def serve(_: int) -> bytes:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            ring = TicketKeyRing.from_file(path)
            for steps in range(4):
                clock.go_to(EPOCH + steps)
                ring.expire()
                assert secrets(ring)[0] == ratchet(CHAIN, steps)
            table = ring.table()
            with pytest.raises(PermissionError):
                ring.rotate()
            assert ring.table() is table
            assert ring.stats["ring_source_errors"] == 0
            (warning,) = warnings_of
            assert "Permission denied" in warning
            return b"over"

        assert in_processes(serve, 1) == [b"over"]
        Path(folder).chmod(0o755)
        assert path.read_bytes() == before


# -- rotating on demand -----------------------------------------------------------------------


@pytest.mark.usefixtures("watched")
@each_version
def test_rotate_refuses_old_tickets_at_once_here_and_soon_elsewhere(
    priority: str, path: Path, certificates: Certificates
) -> None:
    key_file(path, TicketKeyRecord.generate())
    one, other = TicketKeyRing.from_file(path), TicketKeyRing.from_file(path)
    here, there = (setting(certificates, ring.table, priority) for ring in (one, other))
    old, _ = here.connect()
    assert there.connect(old)[1] == (True, True)
    before = one.table()
    one.rotate()
    assert all(bytes_in(secret) == bytes(32) for secret in before.secrets)
    new, resumed = here.connect(old)
    assert resumed == (False, False)
    rotated = time.monotonic()
    while there.connect(old)[1] != (False, False):
        assert time.monotonic() - rotated < 2
    assert there.connect(new)[1] == (True, True)


def test_session_that_waits_while_keys_are_rotated_is_not_resumed(
    path: Path, clock: Clock, certificates: Certificates
) -> None:
    ring = TicketKeyRing.from_file(path)
    server = setting(certificates, ring.table)
    old, _ = server.connect()
    with server.pair(old) as pair:
        ring.rotate()
        pair.handshake()
        pair.exchange()
        assert pair.resumed == (False, False)
        assert not pair.tickets


def test_rotate_needs_a_file_or_a_store() -> None:
    record = TicketKeyRecord.generate()
    for ring in (
        TicketKeyRing(),
        TicketKeyRing(record),
        TicketKeyRing.from_provider(lambda: [record]),
    ):
        table = ring.table()
        with pytest.raises(RuntimeError, match=r"through a file or a store: .* or from_store"):
            ring.rotate()
        assert ring.table() is table


def test_each_rotation_has_a_later_generation(path: Path, clock: Clock) -> None:
    """Several in one second, and while the clock is set back."""
    one, other = TicketKeyRing.from_file(path), TicketKeyRing.from_file(path)
    seen = [GENERATION]
    for ring in (one, one, other, one, other, other):
        ring.rotate()  # the other has not looked at the file since
        seen.append(record_in(path)[0])
        clock.seconds -= 0.1
    assert seen == sorted(set(seen))
    assert seen[1] == EPOCH * PERIOD, "the time"
    one.expire()
    other.expire()
    assert secrets(one) == secrets(other) == secrets(TicketKeyRing.from_file(path))


def test_rotation_has_a_later_generation_than_the_ring_also_if_the_file_has_an_earlier(
    path: Path, clock: Clock
) -> None:
    ring = TicketKeyRing.from_file(key_file(path, record_of(generation=2**40)))
    key_file(path, record_of(OTHER_CHAIN, generation=5))
    ring.rotate()
    assert ring.generation == record_in(path)[0] == 2**40 + 1


def test_looks_and_rotations_of_threads_are_one_after_the_other(path: Path) -> None:
    """Or one would read what the other is about to end, and take it for a rollback."""
    ring = TicketKeyRing.from_file(key_file(path, TicketKeyRecord.generate()))
    over = threading.Event()

    def expire() -> None:
        while not over.is_set():
            ring.expire()

    threads = [threading.Thread(target=expire) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        ring.rotate()
    over.set()
    for thread in threads:
        thread.join(20)
    assert ring.stats["ring_source_errors"] == 0
    assert secrets(ring)[0] == record_in(path)[2]


def test_rotation_begins_with_the_epoch_of_the_clock(path: Path, clock: Clock) -> None:
    """Also where the clock was wrong once: epochs of a later generation are its own."""
    ring = TicketKeyRing.from_file(path)
    clock.go_to(EPOCH + 1000)
    ring.expire()
    clock.go_to(EPOCH + 3)
    ring.expire()
    assert (ring.current.number, record_in(path)[1]) == (EPOCH + 1000, EPOCH + 999)
    ring.rotate()
    assert ring.current.number == record_in(path)[1] == EPOCH + 3
    assert [shown.number for shown in ring.accepted] == [EPOCH + 3, EPOCH + 4]


def test_processes_that_rotate_at_once_agree_in_the_end(path: Path) -> None:
    key_file(path, TicketKeyRecord.generate())
    ring = TicketKeyRing.from_file(path)
    reader, writer = os.pipe()
    go_on, begin = os.pipe()

    def rotate(_: int) -> bytes:
        for _ in range(25):
            ring.rotate()
        os.write(writer, b"x")
        os.read(go_on, 1)
        ring.expire()
        return b"%d " % ring.stats["ring_source_errors"] + secrets(ring)[0]

    processes = Processes(rotate, 8)
    generations = []
    for _ in range(8):
        generations.append(record_in(path)[0])
        os.read(reader, 1)
    os.write(begin, b"x" * 8)
    expected = b"0 " + record_in(path)[2]
    assert processes.join() == [expected] * 8
    assert generations == sorted(generations)
    assert list(path.parent.iterdir()) == [path]
    ring.expire()
    assert secrets(ring)[0] == record_in(path)[2]


def test_rotation_is_not_missed_that_comes_between_look_and_write(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = TicketKeyRing.from_file(path), TicketKeyRing.from_file(path)
    clock.go_to(EPOCH + 2)
    lock = ticket_key_sources.lock_of

    def late(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.undo()
        Clock(monkeypatch).go_to(EPOCH + 2)
        other.rotate()
        return lock(*args, **kwargs)

    monkeypatch.setattr(ticket_key_sources, "lock_of", late)
    one.expire()
    one.expire()
    assert secrets(one) == secrets(other)
    assert record_in(path)[2] == secrets(one)[0]


def test_rotation_is_not_missed_that_comes_right_after_a_write(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = TicketKeyRing.from_file(path), TicketKeyRing.from_file(path)
    clock.go_to(EPOCH + 2)
    rename = Path.rename

    def then(self: Path, target: Path) -> Path:
        done = rename(self, target)
        monkeypatch.setattr(Path, "rename", rename)
        other.rotate()
        return done

    monkeypatch.setattr(Path, "rename", then)
    one.expire()
    one.expire()
    assert secrets(one) == secrets(other)
    assert record_in(path)[2] == secrets(one)[0]
    assert list(path.parent.iterdir()) == [path]


def test_handler_that_rotates_in_the_middle_of_a_rotation_does_not_wait_for_it(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = TicketKeyRing.from_file(path)
    before = secrets(ring)
    fsync = os.fsync
    refused: list[BaseException] = []

    def handler(*_: object) -> None:
        try:
            ring.rotate()
        except RuntimeError as error:
            refused.append(error)

    def interrupted(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        signal.raise_signal(signal.SIGUSR1)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", interrupted)
    previous = signal.signal(signal.SIGUSR1, handler)
    try:
        ring.rotate()
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert [str(error) for error in refused] == [
        "a signal handler has come in the middle of a change of keys"
    ]
    assert not set(before) & set(secrets(ring))
    assert secrets(TicketKeyRing.from_file(path))[0] == secrets(ring)[0]


def test_handshakes_go_on_while_a_rotation_waits(path: Path, clock: Clock) -> None:
    """For another process, which has stopped in the middle of its own."""
    ring = TicketKeyRing.from_file(path)
    waiting, over = os.pipe(), os.pipe()

    def hold(_: int) -> bytes:
        with lock_of(path, wait=True):
            os.write(waiting[1], b"x")
            os.read(over[0], 1)
        return b"over"

    processes = Processes(hold, 1)
    os.read(waiting[0], 1)
    rotation = threading.Thread(target=ring.rotate)
    rotation.start()
    wait_for(lambda: is_waited_for(path))
    for steps in range(5):
        clock.go_to(EPOCH + steps)
        assert secrets(ring)[0] == ratchet(CHAIN, steps)
        assert ring.current.number == ring.stats["ring_epoch"] == EPOCH + steps
    assert rotation.is_alive()
    os.write(over[1], b"x")
    rotation.join(20)
    assert processes.join() == [b"over"]
    assert secrets(ring)[0] != ratchet(CHAIN, 4)
    assert secrets(ring) == secrets(TicketKeyRing.from_file(path))


def test_ended_keys_are_not_waited_for_to_be_written_out(path: Path, clock: Clock) -> None:
    ring = TicketKeyRing.from_file(path)
    with lock_of(path, wait=False):
        clock.go_to(EPOCH + 2)
        ring.expire()
        assert record_in(path)[1] == EPOCH
        with pytest.raises(BlockingIOError), lock_of(path, wait=False):
            pass
    ring.expire()
    assert record_in(path)[1] == EPOCH + 1
    assert ring.stats["ring_source_errors"] == 0


def test_child_forked_in_the_middle_of_a_write_does_not_keep_the_lock(path: Path) -> None:
    end = os.pipe()

    def wait(_: int) -> bytes:
        os.read(end[0], 1)
        return b""

    with lock_of(path, wait=False):
        processes = Processes(wait, 1)
    with lock_of(path, wait=False):
        pass
    os.write(end[1], b"x")
    processes.join()


def test_writer_that_has_waited_locks_the_file_that_is_there_now(path: Path) -> None:
    with lock_of(path, wait=True):
        thread = threading.Thread(target=TicketKeyRing.from_file(path).rotate)
        thread.start()
        wait_for(lambda: is_waited_for(path))
        later = record_of(OTHER_CHAIN, generation=2**40)
        key_file(path.with_name("later"), later).replace(path)
    thread.join(20)
    assert record_in(path)[0] == 2**40 + 1, "it has seen the new one"


def is_waited_for(path: Path) -> bool:
    """Whether somebody waits for the lock of a file."""
    waiting = [it for it in Path("/proc/locks").read_text().splitlines() if "->" in it]
    return any(f":{path.stat().st_ino} " in line for line in waiting)


def wait_for(fact: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.001)


# -- memory -----------------------------------------------------------------------------------

SERVER = """
import sys
from conftest import Certificates
from contextlib import ExitStack
from pair import TLS12, TLS13
from pathlib import Path
from rings import EPOCH, PERIOD, setting
from gnutls_resume.resumption import ticket_key_record
from gnutls_resume.resumption.ticket_keys import TicketKeyRing

path, folder = sys.argv[1:]
trust, certificate, key = (
    (Path(folder) / f"{name}.pem").read_bytes() for name in ("trust", "certificate", "key")
)
certificates = Certificates(trust, certificate, key, b"", b"", b"", Path(folder))
seconds = EPOCH * PERIOD
ticket_key_record.now = lambda: seconds
ring = TicketKeyRing.from_file(path)
servers = [setting(certificates, ring.table, priority) for priority in (TLS12, TLS13)]
data = [None, None]
print("begun", flush=True)
while line := sys.stdin.readline():
    seconds = float(line)
    with ExitStack() as stack:
        for number, server in enumerate(servers):
            pair = stack.enter_context(server.pair(data[number]))
            pair.handshake()
            pair.exchange()
            data[number] = pair.client.get_data()
        print("open", flush=True)
        sys.stdin.readline()
    print("closed", flush=True)
"""


def test_ended_secrets_are_nowhere_in_memory(path: Path, certificates: Certificates) -> None:
    """Nor the 64 bytes of a ticket key, nor the 48 secret ones that GnuTLS makes of them."""
    tests = Path(__file__).parents[1]
    begin = os.urandom(32)
    key_file(path, record_of(begin))
    server = subprocess.Popen(
        [sys.executable, "-P", "-c", SERVER, path, certificates.folder],
        env=os.environ | {"PYTHONPATH": str(tests)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    versions = {TLS12: 4, TLS13: 5}  # gnutls_protocol_t

    def secrets_of(epoch: int) -> dict[str, bytes]:
        found = {"chain": ratchet(begin, epoch - EPOCH)}
        for name, version in versions.items():
            parts = [b"ticket key", POLICY, bytes([version]), b"", b"localhost", b"\0"]
            info = b"".join(bytes([len(part)]) + part for part in parts)
            key = found[f"key {name[-3:]}"] = expand(found["chain"], info, 64)
            for back in (0, 1):
                period = int(time.time()) // (3 * 21_600) - back
                derived = sha3_512(struct.pack(">Q", period) + key).digest()
                found[f"derived {name[-3:]} {back}"] = derived[16:]
        return found

    def present(epoch: int) -> set[str]:
        regions = list(memory_of(server.pid))
        return {
            name
            for name, secret in secrets_of(epoch).items()
            if any(secret in region for region in regions)
        }

    def go_on(line: object) -> str:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(f"{line}\n")
        server.stdin.flush()
        return server.stdout.readline()

    with server:
        try:
            assert server.stdout.readline() == "begun\n"
            for steps in range(4):
                assert go_on((EPOCH + steps + 0.5) * PERIOD) == "open\n"
                used = present(EPOCH + steps - steps % 2)  # under which the ticket was made
                assert used >= {"chain", "key 1.2", "key 1.3", "derived 1.2 0", "derived 1.3 0"}
                assert go_on("") == "closed\n"
                if steps >= 2:
                    assert present(EPOCH + steps - 2) == set()
        finally:
            server.kill()


# -- a function that returns them -------------------------------------------------------------


def raising(error: BaseException) -> Any:
    def provider() -> list[TicketKeyRecord]:
        raise error

    return provider


def generator() -> Iterator[TicketKeyRecord]:
    yield record_of()


WRONG_ANSWERS: dict[str, tuple[Any, type[Exception], str]] = {
    "none": (lambda: None, TypeError, "a sequence of TicketKeyRecord, not NoneType"),
    "generator": (generator, TypeError, "a sequence of TicketKeyRecord, not generator"),
    "set": (lambda: {record_of()}, TypeError, "a sequence of TicketKeyRecord, not set"),
    "record": (record_of, TypeError, "a sequence of TicketKeyRecord, not TicketKeyRecord"),
    "bytes": (lambda: bytes(93), TypeError, "a sequence of TicketKeyRecord, not bytes"),
    "text": (lambda: "x", TypeError, "a sequence of TicketKeyRecord, not str"),
    "empty": (list, ValueError, "provider must return at least one TicketKeyRecord"),
    "chains": (lambda: [CHAIN], TypeError, "bytes alone do not say when they began"),
    "nones": (lambda: [None], TypeError, "what provider returns must be TicketKeyRecord"),
    "mixed": (lambda: [record_of(), 7], TypeError, "TicketKeyRecord, not int"),
    "periods": (
        lambda: [record_of(), record_of(OTHER_CHAIN, 1, period=1)],
        ValueError,
        "need the same period",
    ),
    "error": (raising(KeyError("a secret")), KeyError, "a secret"),
    "os": (raising(OSError("a secret")), OSError, "a secret"),
    "value": (raising(ValueError("a secret")), ValueError, "a secret"),
}


@pytest.mark.parametrize(
    ("provider", "error", "message"), WRONG_ANSWERS.values(), ids=WRONG_ANSWERS
)
def test_wrong_answer_of_a_provider_is_refused_at_start(
    provider: Any, error: type[Exception], message: str, clock: Clock
) -> None:
    with pytest.raises(error, match=message):
        TicketKeyRing.from_provider(provider)


@pytest.mark.parametrize("provider", [it[0] for it in WRONG_ANSWERS.values()], ids=WRONG_ANSWERS)
def test_wrong_answer_of_a_provider_leaves_a_running_ring_as_it_is(
    provider: Any, clock: Clock, warnings_of: list[str]
) -> None:
    """What it raises may hold secrets, and is not logged."""
    answers = [lambda: [record_of()], *[provider] * 3, lambda: [record_of()]]

    def next_answer() -> Any:
        return answers.pop(0)()

    ring = TicketKeyRing.from_provider(next_answer)
    for steps in range(3):
        clock.go_to(EPOCH + steps)
        ring.expire()
        assert secrets(ring)[0] == ratchet(CHAIN, steps)
    assert ring.stats["ring_source_errors"] == 3
    assert len(warnings_of) == 1
    assert "a secret" not in warnings_of[0]
    ring.expire()
    assert ring.stats["ring_source_errors"] == 3


def test_provider_must_be_callable() -> None:
    with pytest.raises(TypeError, match="provider must be callable, not list"):
        TicketKeyRing.from_provider([record_of()])  # type: ignore[arg-type]


class Records:
    """A provider whose answer the test changes."""

    def __init__(self, *records: TicketKeyRecord) -> None:
        self.records = list(records)

    def __call__(self) -> list[TicketKeyRecord]:
        return self.records


@each_version
def test_new_record_is_known_ahead_and_used_in_its_time(
    priority: str, clock: Clock, certificates: Certificates
) -> None:
    """Hosts hear of it at different times, and resume each other's tickets all along."""
    old, new = record_of(), record_of(OTHER_CHAIN, EPOCH + 2)
    providers = Records(old), Records(old)
    rings = [TicketKeyRing.from_provider(provider) for provider in providers]
    servers = [setting(certificates, ring.table, priority) for ring in rings]
    providers[0].records = [new, old]
    before = None
    for half in range(8):
        clock.go_to(EPOCH + half / 2)
        if half == 3:  # half an epoch before it is used
            providers[1].records = [new, old]
        if half == 6:  # the old one is accepted no longer
            providers[0].records = [new]
        for ring in rings:
            ring.expire()
        expected = ratchet(CHAIN, half // 2) if half < 4 else ratchet(OTHER_CHAIN, half // 2 - 2)
        assert [secrets(ring)[0] for ring in rings] == [expected] * 2
        data = [server.connect()[0] for server in servers]
        assert servers[0].connect(data[1])[1] == (True, True)
        assert servers[1].connect(data[0])[1] == (True, True)
        if before is not None:
            assert servers[0].connect(before)[1] == (True, True)
        before = data[1]
    assert all(ring.stats["ring_source_errors"] == 0 for ring in rings)
    assert rings[0].stats["ring_rotations"] == 3


def test_removed_record_is_accepted_until_its_tickets_have_ended(clock: Clock) -> None:
    provider = Records(record_of())
    ring = TicketKeyRing.from_provider(provider)
    clock.go_to(EPOCH + 3)
    held = ring.table()
    provider.records = [record_of(OTHER_CHAIN, EPOCH + 3)]
    ring.expire()
    assert secrets(ring) == [OTHER_CHAIN, ratchet(CHAIN, 2), ratchet(OTHER_CHAIN)]
    assert bytes_in(held.secrets[0]) == ratchet(CHAIN, 3), "for sessions that hold it"
    clock.go_to(EPOCH + 4)
    assert secrets(ring) == [ratchet(OTHER_CHAIN), OTHER_CHAIN, ratchet(OTHER_CHAIN, 2)]
    assert bytes_in(held.secrets[0]) == bytes(32)


def test_older_record_alone_is_refused(clock: Clock, warnings_of: list[str]) -> None:
    provider = Records(record_of(OTHER_CHAIN, EPOCH), record_of(CHAIN, EPOCH - 5))
    ring = TicketKeyRing.from_provider(provider)
    provider.records = [record_of(CHAIN, EPOCH - 5)]
    clock.go_to(EPOCH + 1)
    ring.expire()
    assert secrets(ring) == [ratchet(OTHER_CHAIN), OTHER_CHAIN, ratchet(OTHER_CHAIN, 2)]
    assert warnings_of == [
        "the source of the ticket keys failed: it holds keys that are older than those in use"
    ]


def test_same_keys_under_an_earlier_generation_are_refused(clock: Clock) -> None:
    provider = Records(record_of(generation=1))
    ring = TicketKeyRing.from_provider(provider)
    provider.records = [record_of()]
    ring.expire()
    assert ring.stats["ring_source_errors"] == 1
    assert ring.generation == 1


def test_record_of_the_same_keys_at_another_epoch_changes_nothing(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.go_to(EPOCH + 5)
    provider = Records(record_of(ratchet(CHAIN, 5), EPOCH + 5))
    ring = TicketKeyRing.from_provider(provider)
    table = ring.table()
    for steps in (0, 3, 5, 8):
        provider.records = [record_of(ratchet(CHAIN, steps), EPOCH + steps)]
        ring.expire()
        assert ring.table() is table
        with monkeypatch.context() as patch:
            patch.setattr(TicketSecret, "ratchet", None)  # known by now, and computed once
            ring.expire()
    assert ring.stats["ring_source_errors"] == 0


def test_later_generation_ends_all_others_wherever_it_stands(clock: Clock) -> None:
    later = record_of(OTHER_CHAIN, EPOCH - 3, generation=1)
    for records in ([later, record_of()], [record_of(), later]):
        provider = Records(record_of())
        ring = TicketKeyRing.from_provider(provider)
        held = ring.table()
        provider.records = records
        ring.expire()
        expected = [ratchet(OTHER_CHAIN, steps) for steps in (3, 2, 4)]
        assert secrets(ring) == expected
        assert all(bytes_in(secret) == bytes(32) for secret in held.secrets)
        assert secrets(TicketKeyRing.from_provider(provider)) == expected


def test_later_generation_that_is_too_old_is_refused_and_changes_nothing(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, warnings_of: list[str]
) -> None:
    monkeypatch.setattr(ticket_key_ratchets, "MAX_STEPS", 1000)
    provider = Records(record_of())
    ring = TicketKeyRing.from_provider(provider)
    table = ring.table()
    provider.records = [record_of(OTHER_CHAIN, EPOCH - 1001, generation=1)]
    ring.expire()
    assert ring.table() is table
    assert secrets(ring) == [CHAIN, ratchet(CHAIN)]
    assert "more than 1000 periods old" in warnings_of[0]
    assert ring.generation == 0
    clock.go_to(EPOCH + 1)
    assert secrets(ring)[0] == ratchet(CHAIN)


def test_provider_may_return_its_first_record_for_ever(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when that is further away than anybody goes at once, and at no cost."""
    monkeypatch.setattr(ticket_key_ratchets, "MAX_STEPS", 1000)
    ring = TicketKeyRing.from_provider(lambda: [record_of()])
    for steps in range(0, 5000, 500):
        clock.go_to(EPOCH + steps)
        ring.expire()
        table = ring.table()
        with monkeypatch.context() as patch:
            patch.setattr(TicketSecret, "ratchet", None)
            ring.expire()
        assert ring.table() is table
        assert bytes_in(table.secrets[0]) == ratchet(CHAIN, steps)
    assert ring.stats["ring_source_errors"] == 0


def test_provider_that_invents_records_costs_no_memory(clock: Clock) -> None:
    """A likely mistake: its tickets live from look to look, but nothing grows."""
    ring = TicketKeyRing.from_provider(lambda: [TicketKeyRecord.generate()])
    for _ in range(50):
        ring.expire()
    assert len(ring.table().secrets) == MAX_SECRETS
    assert len(ring._ratchets) == MAX_SECRETS
    assert ring.stats["ring_source_errors"] == 0
    clock.go_to(EPOCH + 2)
    ring.expire()
    assert len(ring._ratchets) == 2


def test_records_that_begin_together_are_both_accepted_until_their_tickets_have_ended(
    clock: Clock,
) -> None:
    """Where hosts could not agree at first."""
    provider = Records(record_of())
    ring = TicketKeyRing.from_provider(provider)
    held = ring.table()
    provider.records = [record_of(OTHER_CHAIN)]
    ring.expire()
    assert secrets(ring)[:2] == [OTHER_CHAIN, CHAIN]
    provider.records = [record_of()]
    ring.expire()
    assert secrets(ring)[:2] == [CHAIN, OTHER_CHAIN], "it has changed its mind"
    provider.records = [record_of(OTHER_CHAIN)]
    ring.expire()
    assert secrets(ring)[:2] == [OTHER_CHAIN, CHAIN]
    assert len(ring._ratchets) == 2
    clock.go_to(EPOCH + 1)
    assert secrets(ring)[0] == ratchet(OTHER_CHAIN)
    assert secrets(ring)[2:4] == [OTHER_CHAIN, CHAIN]
    clock.go_to(EPOCH + 2)
    assert secrets(ring) == [ratchet(OTHER_CHAIN, steps) for steps in (2, 1, 3)]
    assert bytes_in(held.secrets[0]) == bytes(32)
    assert ring.stats["ring_source_errors"] == 0


def test_record_of_the_far_future_changes_nothing_yet(clock: Clock) -> None:
    provider = Records(record_of())
    ring = TicketKeyRing.from_provider(provider)
    provider.records = [record_of(OTHER_CHAIN, EPOCH + 2_000_000), record_of()]
    ring.expire()
    for steps in range(3):
        clock.go_to(EPOCH + steps)
        ring.expire()
        assert secrets(ring)[0] == ratchet(CHAIN, steps)
    provider.records = [record_of(OTHER_CHAIN, EPOCH + 3), record_of()]
    ring.expire()
    clock.go_to(EPOCH + 3)
    assert secrets(ring)[:2] == [OTHER_CHAIN, ratchet(CHAIN, 2)]
    assert ring.stats["ring_source_errors"] == 0


def test_clock_that_jumps_far_ahead_of_a_record_known_ahead_fails_nothing(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, warnings_of: list[str]
) -> None:
    monkeypatch.setattr(ticket_key_ratchets, "MAX_STEPS", 1000)
    later = record_of(OTHER_CHAIN, EPOCH + 3000)
    ring = TicketKeyRing.from_provider(lambda: [later, record_of()])
    table = ring.table()
    clock.go_to(EPOCH + 2500)
    assert ring.table() is table
    assert warnings_of == ["the clock is too far ahead of the ticket keys"]
    clock.go_to(EPOCH + 3001)
    assert secrets(ring)[:2] == [ratchet(OTHER_CHAIN), OTHER_CHAIN]
