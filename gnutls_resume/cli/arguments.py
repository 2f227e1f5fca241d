"""What the commands have in common: stores and keys by their names, times in words."""

import argparse
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from gnutls_resume import RedisStore, SealingKey, SQLiteStore

URLS = ("redis://", "rediss://", "unix://")
OPERATORS_TIMEOUT = 5.0  # seconds; no handshake waits here


def add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("store", help="the path of an SQLite store, or a Redis URL")
    add_sealing_key(parser)


def add_sealing_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sealing-key",
        metavar="FILE",
        type=Path,
        help="the file of the sealing key: 32 random bytes, or 64 hexadecimal digits",
    )


def store_of(where: str) -> SQLiteStore | RedisStore:
    """The store of that name. Raises OSError or ValueError rather than begin a new one."""
    if where.startswith(URLS):
        return RedisStore(where, timeout=OPERATORS_TIMEOUT)
    if not os.path.exists(where):  # noqa: PTH110
        raise FileNotFoundError(f"there is no store {where}")
    return SQLiteStore(where, timeout=OPERATORS_TIMEOUT)


def sealing_key_of(path: Path | None) -> SealingKey | None:
    """The key in a file. Raises OSError, ValueError for one that others can read or is no key."""
    return None if path is None else SealingKey.from_file(path)


def in_words(seconds: float) -> str:
    """Unix seconds as a date and a time; a store may hold any number, and infinity."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return "never"


def table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows in columns; the first has their names."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
