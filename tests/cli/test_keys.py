"""``python -m gnutls_resume keys``."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from gnutls_resume import SealingKey, TicketKeyRecord, TicketKeyRing
from gnutls_resume.cli import main
from gnutls_resume.resumption.ticket_key_sources import write_key_file
from gnutls_resume.stores.sqlite import SQLiteStore

Captured = pytest.CaptureFixture[str]


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_new_makes_a_key_file_that_only_its_owner_can_read(
    tmp_path: Path, capsys: Captured
) -> None:
    path = tmp_path / "keys"
    assert run("keys", "new", path) == 0
    assert path.stat().st_mode & 0o777 == 0o600
    ring = TicketKeyRing.from_file(path)
    assert (ring.period, ring.ticket_lifetime) == (21_600, 21_600)
    assert ring.current.fingerprint in capsys.readouterr().out


def test_new_takes_period_and_lifetime(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    assert run("keys", "new", path, "--period", 3600, "--ticket-lifetime", 60) == 0
    ring = TicketKeyRing.from_file(path)
    assert (ring.period, ring.ticket_lifetime) == (3600, 60)


def test_new_refuses_a_name_that_is_taken(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "keys"
    path.write_text("precious")
    assert run("keys", "new", path) == 1
    assert f"{path} is there already" in capsys.readouterr().err
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--period", 0, "period must be 1 to"),
        ("--ticket-lifetime", 21_601, "ticket_lifetime must be at most the period"),
    ],
)
def test_new_refuses_wrong_times(
    tmp_path: Path, capsys: Captured, option: str, value: int, says: str
) -> None:
    assert run("keys", "new", tmp_path / "keys", option, value) == 1
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_show_tells_no_secret_unless_asked(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "keys"
    run("keys", "new", path)
    secret = path.read_bytes()[-64:-32].hex()
    capsys.readouterr()
    assert run("keys", "show", path) == 0
    shown = capsys.readouterr().out
    assert secret not in shown
    assert TicketKeyRing.from_file(path).current.fingerprint in shown
    assert run("keys", "show", path, "--reveal-secret") == 0
    assert secret in capsys.readouterr().out


def test_show_names_what_is_missing(tmp_path: Path, capsys: Captured) -> None:
    assert run("keys", "show", tmp_path / "none") == 1
    assert "keys new" in capsys.readouterr().err


def test_rotate_ends_the_old_keys_in_a_running_server(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    run("keys", "new", path)
    ring = TicketKeyRing.from_file(path)
    before = ring.current.fingerprint
    assert run("keys", "rotate", path) == 0
    ring.expire()
    assert ring.current.fingerprint != before
    assert ring.current == TicketKeyRing.from_file(path).current
    assert before not in [key.fingerprint for key in ring.accepted]


def test_rotate_takes_a_file_that_is_too_old_for_a_server(tmp_path: Path, capsys: Captured) -> None:
    """It is what the refusal says to do."""
    path = tmp_path / "keys"
    record = TicketKeyRecord.generate(10, ticket_lifetime=5, start=0, generation=7)
    write_key_file(path, record, replace=False)
    assert run("keys", "show", path) == 1
    assert "begin with new ones (python -m gnutls_resume keys rotate)" in capsys.readouterr().err
    assert run("keys", "rotate", path) == 0
    ring = TicketKeyRing.from_file(path)
    assert (ring.period, ring.ticket_lifetime) == (10, 5)
    assert ring.generation > 7


def test_keys_in_a_store_are_shown_and_rotated(tmp_path: Path, capsys: Captured) -> None:
    path, sealing = tmp_path / "store", tmp_path / "sealing"
    sealing.write_bytes(bytes(range(32)))
    sealing.chmod(0o600)
    where = ("--store", path, "--sealing-key", sealing, "--period", 3600)
    assert run("keys", "show", *where) == 1
    store = SQLiteStore(path)
    assert run("keys", "show", *where) == 1
    assert not list(store.entries()), "to look puts nothing there"
    key = SealingKey(bytes(range(32)))
    ring = TicketKeyRing.from_store(store, sealing_key=key, period=3600)
    capsys.readouterr()
    assert run("keys", "show", *where) == 0
    assert ring.current.fingerprint in capsys.readouterr().out
    assert run("keys", "rotate", *where) == 0
    ring.expire()
    assert ring.current.fingerprint in capsys.readouterr().out
    assert run("keys", "show", *where, "--reveal-secret") == 1


def test_rotate_keeps_the_ticket_lifetime_of_a_store(tmp_path: Path) -> None:
    path, sealing = tmp_path / "store", tmp_path / "sealing"
    sealing.write_bytes(bytes(range(32)))
    sealing.chmod(0o600)
    ring = TicketKeyRing.from_store(
        SQLiteStore(path), sealing_key=SealingKey(bytes(range(32))), period=3600, ticket_lifetime=60
    )
    before = ring.current.fingerprint
    where = ("--store", path, "--sealing-key", sealing, "--period", 3600)
    assert run("keys", "rotate", *where) == 0
    ring.expire()
    assert ring.current.fingerprint != before


def test_period_of_a_key_file_is_not_asked_for(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "keys"
    run("keys", "new", path)
    content = path.read_bytes()
    for command in ("show", "rotate"):
        assert run("keys", command, path, "--period", 3600) == 1
        assert "--period is for --store" in capsys.readouterr().err
    assert path.read_bytes() == content


def test_keys_of_a_later_release_are_one_sentence(tmp_path: Path, capsys: Captured) -> None:
    store = SQLiteStore(tmp_path / "store")
    TicketKeyRing.from_store(store, sealing_key=None)
    for entry in store.entries():
        value = store.get(entry.key)
        assert value is not None
        store.put(entry.key, value[:4] + b"\xff" + value[5:], 60)
    for verb in ("show", "rotate"):
        assert run("keys", verb, "--store", tmp_path / "store") == 1
        assert "made by another version" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", ["period", "sealing key"])
def test_rotate_in_a_store_fails_where_no_server_would_notice(
    tmp_path: Path, capsys: Captured, wrong: str
) -> None:
    path, sealing = tmp_path / "store", tmp_path / "sealing"
    other = wrong == "sealing key"
    sealing.write_bytes(bytes(range(other, 32 + other)))
    sealing.chmod(0o600)
    store = SQLiteStore(path)
    key = SealingKey(bytes(range(32)))
    ring = TicketKeyRing.from_store(store, sealing_key=key, period=3600)
    entries = list(store.entries())
    period = 3600 if other else 21_600
    where = ("--store", path, "--sealing-key", sealing, "--period", period)
    assert run("keys", "rotate", *where) == 1
    said = capsys.readouterr()
    assert f"no ticket keys of period {period} s" in said.err
    assert "--period and --sealing-key must be those of the servers" in said.err
    assert not said.out
    assert list(store.entries()) == entries
    before = ring.current
    ring.expire()
    assert ring.current == before


def test_sealing_key_that_others_can_read_is_refused(tmp_path: Path, capsys: Captured) -> None:
    sealing = tmp_path / "sealing"
    sealing.write_text(bytes(range(32)).hex() + "\n")
    sealing.chmod(0o644)
    SQLiteStore(tmp_path / "store").close()
    where = ("--store", tmp_path / "store", "--sealing-key", sealing)
    assert run("keys", "show", *where) == 1
    assert "others can read the sealing key" in capsys.readouterr().err
    sealing.chmod(0o600)
    assert run("keys", "show", *where) == 1
    assert "no ticket keys" in capsys.readouterr().err


def test_it_runs_as_a_module(tmp_path: Path) -> None:
    command = (sys.executable, "-P", "-m", "gnutls_resume", "keys", "new", str(tmp_path / "keys"))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert f"begun {time.strftime('%Y-', time.gmtime())}" in done.stdout
    again = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
