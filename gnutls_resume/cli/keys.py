"""``keys new``, ``keys show``, ``keys rotate``: the ticket keys that servers share."""

import argparse
import time
from pathlib import Path
from typing import Any

from gnutls_resume import RedisStore, SealingKey, SQLiteStore, TicketKeyRecord, TicketKeyRing
from gnutls_resume.binding._arguments import check_number
from gnutls_resume.cli.arguments import (
    add_sealing_key,
    in_words,
    sealing_key_of,
    store_of,
    table,
)
from gnutls_resume.resumption.ticket_key_record import HOURS_6, MAX_PERIOD
from gnutls_resume.resumption.ticket_key_sources import FileSource, StoreSource, write_key_file


def add(commands: Any) -> None:  # noqa: ANN401 - argparse has no public name for it
    group = commands.add_parser("keys", help="ticket keys").add_subparsers(required=True)

    new = group.add_parser("new", help="make a key file")
    new.add_argument("path", type=Path)
    add_times(new)
    new.set_defaults(run=run_new)

    show = group.add_parser("show", help="show which keys are accepted, and until when")
    add_keys(show)
    show.add_argument(
        "--reveal-secret",
        action="store_true",
        help="also print a key file's content, in hexadecimal digits",
    )
    show.set_defaults(run=run_show)

    rotate = group.add_parser("rotate", help="make new keys, and refuse the old ones at once")
    add_keys(rotate)
    rotate.set_defaults(run=run_rotate)


def add_keys(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("keys", help="a key file; with --store, a store")
    parser.add_argument(
        "--store", action="store_true", help="the keys are in an SQLite store or at a Redis URL"
    )
    add_sealing_key(parser)
    parser.add_argument(
        "--period",
        type=int,
        metavar="SECONDS",
        help=f"of keys in a store, default {HOURS_6}; a key file says its own",
    )


def add_times(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--period", type=int, default=HOURS_6, metavar="SECONDS", help=f"default {HOURS_6}"
    )
    parser.add_argument(
        "--ticket-lifetime", type=int, metavar="SECONDS", help="default, and at most: the period"
    )


def run_new(chosen: argparse.Namespace) -> None:
    record = TicketKeyRecord.generate(
        chosen.period, ticket_lifetime=chosen.ticket_lifetime, generation=int(time.time())
    )
    try:
        write_key_file(chosen.path, record, replace=False)
    except FileExistsError:
        raise FileExistsError(
            f"{chosen.path} is there already: keys rotate {chosen.path} makes new keys in it"
        ) from None
    print_ring(TicketKeyRing.from_file(chosen.path))


def run_show(chosen: argparse.Namespace) -> None:
    if chosen.store:
        show_store(chosen)
        return
    print_ring(ring_of_file(chosen))
    if chosen.reveal_secret:
        print(Path(chosen.keys).read_bytes().hex())


def ring_of_file(chosen: argparse.Namespace) -> TicketKeyRing:
    check_no_period(chosen)
    return TicketKeyRing.from_file(chosen.keys)


def check_no_period(chosen: argparse.Namespace) -> None:
    if chosen.period is not None:
        raise ValueError("--period is for --store: a key file says its own")


def records_in(
    store: SQLiteStore | RedisStore, sealing_key: SealingKey | None, period: int | None
) -> list[TicketKeyRecord]:
    """The records of the current epoch and its neighbours. Raises ValueError if there are none."""
    period = check_number("--period", HOURS_6 if period is None else period, 1, MAX_PERIOD)
    source = StoreSource(store, sealing_key)
    now = int(time.time()) // period
    found = [record for number in (now, now - 1, now + 1) if (record := source.get(number))]
    if not found:
        raise ValueError(
            f"no ticket keys of period {period} s and of this sealing key are in the store: "
            "--period and --sealing-key must be those of the servers"
        )
    return found


def show_store(chosen: argparse.Namespace) -> None:
    """What a store has; to join those who share it would be to put something there."""
    if chosen.reveal_secret:
        raise ValueError("--reveal-secret is for key files")
    store, sealing_key = store_of(chosen.keys), sealing_key_of(chosen.sealing_key)
    records = records_in(store, sealing_key, chosen.period)
    period = records[0].period
    print_head(records[0])
    known = [(record.start, record.fingerprint) for record in records]
    print_epochs(int(time.time()) // period, known, period)


def run_rotate(chosen: argparse.Namespace) -> None:
    if chosen.store:
        ring = ring_of_store(chosen)
        ring.rotate()
        print_ring(ring)
    else:
        rotate_file(chosen)


def rotate_file(chosen: argparse.Namespace) -> None:
    """Also where the old keys are too old to begin with, so without a ring of them."""
    check_no_period(chosen)
    source = FileSource(chosen.keys)
    old = source.read()
    source.replace(
        TicketKeyRecord.generate(
            old.period, ticket_lifetime=old.ticket_lifetime, generation=int(time.time())
        )
    )
    print_ring(TicketKeyRing.from_file(chosen.keys))


def ring_of_store(chosen: argparse.Namespace) -> TicketKeyRing:
    """Only of keys that are there: new ones, of another period or under another sealing key, would
    end no ticket of anybody's.
    """
    store, sealing_key = store_of(chosen.keys), sealing_key_of(chosen.sealing_key)
    record = records_in(store, sealing_key, chosen.period)[0]
    return TicketKeyRing.from_store(
        store,
        sealing_key=sealing_key,
        period=record.period,
        ticket_lifetime=record.ticket_lifetime,
    )


def print_ring(ring: TicketKeyRing) -> None:
    print_head(ring)
    known = [(key.number, key.fingerprint) for key in ring.accepted]
    print_epochs(ring.current.number, known, ring.period)


def print_head(of: TicketKeyRing | TicketKeyRecord) -> None:
    print(f"period {of.period} s, ticket lifetime {of.ticket_lifetime} s")
    if of.generation:
        print(f"begun {in_words(of.generation)}")


def print_epochs(current: int, known: list[tuple[int, str]], period: int) -> None:
    words = {current: "current", current - 1: "previous", current + 1: "next"}
    rows = [("", "epoch", "begins", "ends", "fingerprint")]
    for number, fingerprint in known:
        begins, ends = in_words(number * period), in_words((number + 1) * period)
        rows.append((words[number], str(number), begins, ends, fingerprint))
    table(rows)
