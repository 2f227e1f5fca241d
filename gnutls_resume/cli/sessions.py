"""``sessions list``, ``show``, ``remove``, ``clear``: what is in a store."""

import argparse
from typing import Any

from gnutls_resume import RedisStore, SQLiteStore
from gnutls_resume.binding.envelope import Kind, Protection, Sealing, read_header, server_name_of
from gnutls_resume.cli.arguments import add_store, in_words, sealing_key_of, store_of, table
from gnutls_resume.errors import InvalidSessionError

WORDS: dict[int, str] = {
    Kind.CLIENT_SESSION_ID: "a client's session, by session ID",
    Kind.CLIENT_TICKET: "a client's session, by ticket",
    Kind.SERVER_ENTRY: "a server's session",
    Kind.TICKET_KEYS: "ticket keys",
}
VERSIONS = {0x0303: "TLS 1.2", 0x0304: "TLS 1.3"}


def add(commands: Any) -> None:  # noqa: ANN401 - argparse has no public name for it
    group = commands.add_parser("sessions", help="stored sessions").add_subparsers(required=True)

    listed = group.add_parser("list", help="all entries: key, kind, size, expiry")
    add_store(listed)
    listed.set_defaults(run=run_list)

    show = group.add_parser("show", help="what may be known of one")
    add_store(show)
    show.add_argument("key", help="its first hexadecimal digits")
    show.set_defaults(run=run_show)

    remove = group.add_parser("remove", help="forget some")
    add_store(remove)
    remove.add_argument("keys", nargs="+", metavar="key", help="first hexadecimal digits")
    remove.set_defaults(run=run_remove)

    clear = group.add_parser("clear", help="forget all")
    add_store(clear)
    clear.set_defaults(run=run_clear)


def run_list(chosen: argparse.Namespace) -> None:
    store = store_of(chosen.store)
    rows = [("key", "kind", "bytes", "expires")]
    for entry in store.entries():
        kind = (
            f"{entry.stacked} tickets of a client" if entry.stacked else kind_of(store, entry.key)
        )
        rows.append((entry.key.hex(), kind, str(entry.size), in_words(entry.expires)))
    table(rows)


def kind_of(store: SQLiteStore | RedisStore, key: bytes) -> str:
    """What a key's value is, in words."""
    try:
        return WORDS[read_header(store.get(key) or b"").kind]
    except (InvalidSessionError, ValueError, KeyError):
        return "no session"


def find(store: SQLiteStore | RedisStore, digits: str) -> bytes:
    """The one key that begins so. Raises ValueError if there is none, or more than one."""
    found = {entry.key for entry in store.entries() if entry.key.hex().startswith(digits.lower())}
    if len(found) != 1:
        count = len(found) or "no"
        raise ValueError(f"{count} keys begin with {digits}")
    return found.pop()


def run_show(chosen: argparse.Namespace) -> None:
    store = store_of(chosen.store)
    key = find(store, chosen.key)
    print(f"key          {key.hex()}")
    for entry in store.entries():
        if entry.key == key and entry.stacked:
            print(f"tickets      {entry.stacked}, the last until {in_words(entry.expires)}")
    value = store.get(key)
    if value is None:
        return
    try:
        header = read_header(value)
    except (InvalidSessionError, ValueError):
        print(f"value        no session; {len(value)} bytes")
        return
    print(f"kind         {kind_of(store, key)}")
    print(f"protocol     {VERSIONS.get(header.protocol_version, 'none')}")
    print(f"created      {in_words(header.created)}")
    print(f"expires      {in_words(header.expires)}")
    print(f"size         {len(value)} bytes")
    if header.protection == Protection.SEALED:
        print(f"sealed under {header.key_id.hex()}")
    else:
        print("sealed       no: a checksum only")
    name = server_name_of(value, Sealing(sealing_key_of(chosen.sealing_key)))
    if name:
        # Who writes to the store may have put anything there, commands to a terminal too.
        print(f"server name  {name.encode('unicode_escape').decode()}")


def run_remove(chosen: argparse.Namespace) -> None:
    store = store_of(chosen.store)
    for key in [find(store, digits) for digits in chosen.keys]:
        store.remove(key)


def run_clear(chosen: argparse.Namespace) -> None:
    store_of(chosen.store).clear()
