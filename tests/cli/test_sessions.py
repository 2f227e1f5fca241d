"""``python -m gnutls_resume sessions``."""

import sqlite3
import ssl
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from conftest import HOST, Certificates
from redis_server import redis_server
from wrapped import TLS12, TLS13, client_context, connect, server_context

from gnutls_resume import MemoryStore, RedisStore, SealingKey, Store
from gnutls_resume.binding._datum import datum_of
from gnutls_resume.binding.envelope import Kind, Sealing, seal
from gnutls_resume.cli import main
from gnutls_resume.stores.sqlite import SQLiteStore

RAW = bytes(range(32))
Captured = pytest.CaptureFixture[str]
Stores = tuple[SQLiteStore | RedisStore, str]


@pytest.fixture(params=["sqlite", "redis"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stores]:
    """A store, and how the commands are told of it."""
    if request.param == "sqlite":
        yield SQLiteStore(tmp_path / "store"), str(tmp_path / "store")
        return
    with redis_server(tmp_path) as server:
        yield RedisStore(server.url, timeout=5), server.url


def fill(certificates: Certificates, store: Store) -> None:
    """A client's tickets and its TLS 1.2 session, a server's session."""
    key = SealingKey(RAW)
    client = client_context(certificates, sessions=store, sealing_key=key)
    connect(client, server_context(certificates, TLS12))
    connect(client, server_context(certificates, TLS13))
    other = client_context(certificates, sessions=MemoryStore())
    other.options |= ssl.OP_NO_TICKET
    connect(other, server_context(certificates, TLS12, sessions=store, sealing_key=key))


def run(*arguments: str) -> int:
    return main(["sessions", *arguments])


def lines(capsys: Captured) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_list_shows_what_there_is(
    certificates: Certificates, stored: Stores, capsys: Captured
) -> None:
    store, where = stored
    fill(certificates, store)
    assert run("list", where) == 0
    head, *rows = lines(capsys)
    assert head.split() == ["key", "kind", "bytes", "expires"]
    kinds = sorted(row.split("  ")[1].strip() for row in rows)
    assert kinds == ["2 tickets of a client", "a client's session, by ticket", "a server's session"]
    assert all(row.endswith("UTC") for row in rows)


def test_show_tells_facts_and_no_secret(
    certificates: Certificates, stored: Stores, capsys: Captured, tmp_path: Path
) -> None:
    store, where = stored
    fill(certificates, store)
    (client,) = {entry.key for entry in store.entries() if entry.stacked}
    value = store.get(client)
    assert value is not None
    assert run("show", where, client.hex()[:8]) == 0
    shown = "\n".join(lines(capsys))
    assert "tickets      2" in shown
    assert "protocol     TLS 1.2" in shown
    assert HOST not in shown
    assert value[-64:].hex() not in shown
    sealing = tmp_path / "sealing"
    sealing.write_bytes(RAW)
    sealing.chmod(0o600)
    assert run("show", where, client.hex(), "--sealing-key", str(sealing)) == 0
    assert f"server name  {HOST}" in lines(capsys)


def test_remove_forgets_one_and_clear_all(certificates: Certificates, stored: Stores) -> None:
    store, where = stored
    fill(certificates, store)
    keys = {entry.key for entry in store.entries()}
    assert len(keys) == 2
    gone, kept = keys
    assert run("remove", where, gone.hex()) == 0
    assert {entry.key for entry in store.entries()} == {kept}
    assert run("clear", where) == 0
    assert not list(store.entries())


def test_unknown_key_is_an_error(
    certificates: Certificates, stored: Stores, capsys: Captured
) -> None:
    store, where = stored
    fill(certificates, store)
    for verb in ("show", "remove"):
        assert run(verb, where, "00ff00ff00") == 1
        assert "no keys begin with 00ff00ff00" in capsys.readouterr().err
        assert run(verb, where, "") == 1
        assert "2 keys begin with" in capsys.readouterr().err


@pytest.mark.parametrize("expires", [1e17, 1e300, float("inf")])
def test_entry_of_any_expiry_is_shown(tmp_path: Path, capsys: Captured, expires: float) -> None:
    path = tmp_path / "store"
    store = SQLiteStore(path)
    store.put(b"key", b"value", 60)
    store.push(b"stack", b"value", 60, 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE single SET expires = ?", (expires,))
        connection.execute("UPDATE stack SET expires = ?", (expires,))
    assert run("list", str(path)) == 0
    assert [line.split()[-1] for line in lines(capsys)[1:]] == ["never", "never"]
    assert run("show", str(path), b"stack".hex()) == 0
    assert "tickets      1, the last until never" in lines(capsys)


def test_server_name_commands_no_terminal(tmp_path: Path, capsys: Captured) -> None:
    store = SQLiteStore(tmp_path / "store")
    datum, kept = datum_of(bytes(100))
    now = int(time.time())
    envelope = seal(
        datum,
        kind=Kind.CLIENT_TICKET,
        protocol_version=0x0304,
        created=now,
        expires=now + 60,
        server_name="\x1b[2J\nsealed",
        store_key=b"",
        sealing=Sealing(None),
    )
    assert len(kept) == 100
    store.put(b"key", envelope, 60)
    assert run("show", str(tmp_path / "store"), b"key".hex()) == 0
    assert lines(capsys)[-1] == r"server name  \x1b[2J\nsealed"


def test_store_that_is_not_there_is_not_made(tmp_path: Path, capsys: Captured) -> None:
    assert run("list", str(tmp_path / "none")) == 1
    assert "there is no store" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_file_that_is_no_database_is_left_alone(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "key.pem"
    path.write_text("precious")
    path.chmod(0o600)
    for command in ("list", "clear"):
        assert run(command, str(path)) == 1
        assert "is no SQLite database" in capsys.readouterr().err
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]
