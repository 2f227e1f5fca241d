"""What is in another process's memory."""

import mmap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO


def memory_of(process: int) -> Iterator[bytes]:
    """All that it can write, region by region."""
    maps = Path(f"/proc/{process}/maps").read_text()
    with Path(f"/proc/{process}/mem").open("rb", buffering=0) as file:
        for line in maps.splitlines():
            places, rights, *_ = line.split()
            first, end = (int(place, 16) for place in places.split("-"))
            if rights.startswith("rw"):
                yield region(file, first, end)


def region(file: IO[bytes], first: int, end: int) -> bytes:
    file.seek(first)
    with suppress(OSError):
        return file.read(end - first)
    # The guard pages of a thread's stack cannot be read.
    found = b""
    for place in range(first, end, mmap.PAGESIZE):
        file.seek(place)
        with suppress(OSError):
            found += file.read(mmap.PAGESIZE)
    return found
