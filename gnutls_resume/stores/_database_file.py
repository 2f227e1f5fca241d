"""The file of an ``SQLiteStore``: nobody else may read it, write it or put another in its place.

Rules of this file:

1. Nothing here opens a database that may be in use. Whoever closes a descriptor of a file gives
   up all locks (fcntl(2)) that his process holds on it, those of SQLite included.
2. Who creates a database or moves one aside holds ``locked``; who connects to one or closes it
   holds it too, shared. Else SQLite could open the database of one and the write-ahead log of
   another, and make one of both, or delete the log of another when it closes one.
"""

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# What SQLite has beside a database: the write-ahead log, its index, and a rollback journal while
# the database is made.
BESIDE = ("-wal", "-shm", "-journal")
LOCK = "-lock"
HEAD = b"SQLite format 3\0"
PAUSE = 0.001  # seconds
MODE = 0o600  # of all

Identity = tuple[int, int]  # device and inode


def full_path(path: str | os.PathLike[str]) -> str:
    """The path from the root, so that it stays the same file when the process changes its
    directory.
    """
    name = os.fspath(path)
    if not isinstance(name, str):
        raise TypeError(f"path must be str or os.PathLike, not {type(path).__name__}")
    if name == ":memory:" or name.startswith("file:") or "\0" in name:
        raise ValueError("path must name a file, not a database in memory or a URI")
    if name.endswith(("/", "/.", "/..")) or name in {"", ".", ".."}:
        raise ValueError(f"path must name a file, not {name!r}")
    return str(Path(name).parent.resolve() / Path(name).name)


def check_folder(path: str) -> None:
    """Raise PermissionError if others could replace the file at `path`."""
    folder = Path(path).parent
    status = folder.stat()
    if status.st_uid not in {os.geteuid(), 0}:
        raise PermissionError(
            f"{folder} belongs to another user (uid {status.st_uid}), who could replace {path}: "
            "choose a directory of your own"
        )
    if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
        raise PermissionError(
            f"{folder} can be written by others, who could replace {path}: chmod go-w {folder}, "
            "or choose another directory"
        )


def check_origin(path: str) -> None:
    """Raise ValueError for a file that never was a database: it would be taken for a damaged one,
    and moved away. Beside one of ours there is a lock, and then it is not read (rule 1).
    """
    if os.path.lexists(path + LOCK) or check_file(path) is None:
        return
    with Path(path).open("rb") as file:
        begins = file.read(len(HEAD))
    if begins and begins != HEAD:
        raise ValueError(f"{path} is no SQLite database: choose another path")


def check_files(path: str) -> Identity | None:
    """The database that is there, or None. Raise PermissionError if it, or what SQLite has
    beside it, is not this user's alone.
    """
    for suffix in BESIDE:
        check_file(path + suffix)
    return check_file(path)


def check_file(path: str) -> Identity | None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(status.st_mode):
        raise PermissionError(f"{path} is a symbolic link: give the path of the file itself")
    if not stat.S_ISREG(status.st_mode):
        raise PermissionError(f"{path} is not a regular file: choose another path")
    if status.st_uid != os.geteuid():
        raise PermissionError(
            f"{path} belongs to another user (uid {status.st_uid}), this process runs as "
            f"{os.geteuid()}: run it as that user, or choose another path"
        )
    mode = stat.S_IMODE(status.st_mode)
    # With less than that SQLite would only read, and make what is beside it as useless.
    if mode != MODE:
        raise PermissionError(
            f"{path} is not readable and writable for its owner alone, but has mode {mode:o}: "
            f"chmod {MODE:o} {path}"
        )
    if status.st_nlink > 1:
        raise PermissionError(f"{path} has a second name (hard link): remove one of the two")
    return status.st_dev, status.st_ino


def identity(path: str) -> Identity | None:
    """What is there now."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def beside(path: str) -> dict[str, Identity | None]:
    """What SQLite has beside a database, by suffix."""
    return {suffix: identity(path + suffix) for suffix in BESIDE}


def remove(path: str, those: dict[str, Identity | None]) -> None:
    """What is beside the database at `path`, if it is still those. Somebody must have them open:
    else their inodes could be used again.
    """
    for suffix, old in those.items():
        if old and identity(path + suffix) == old:
            Path(path + suffix).unlink(missing_ok=True)


@contextmanager
def locked(path: str, patience: float = 0, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of the database at `path`, perhaps with others. BlockingIOError if it is not
    to be had for so many seconds.
    """
    name = path + LOCK
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(name, flags, MODE)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise PermissionError(f"{name} is not a file of this user: choose another path")
        if stat.S_IMODE(status.st_mode) != MODE:
            os.fchmod(descriptor, MODE)  # whatever the umask is
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        end = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise
                time.sleep(PAUSE)
        try:
            yield
        finally:
            # By name: a child that is forked meanwhile has the descriptor, too.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def create(path: str) -> None:
    """An empty file for this user alone. FileExistsError if there is one."""
    for suffix in BESIDE:
        # Of a database that was removed without them. SQLite would take them for this one's.
        Path(path + suffix).unlink(missing_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, MODE)
    try:
        os.fchmod(descriptor, MODE)  # whatever the umask is
    finally:
        os.close(descriptor)


def move_aside(path: str) -> str:
    """Rename the database and what is beside it, and return its new path."""
    seconds = int(time.time())
    while os.path.lexists(f"{path}.damaged-{seconds}"):
        seconds += 1
    target = f"{path}.damaged-{seconds}"
    # The database first: what is left beside none is harmless (see create), but a database
    # without its log may look sound and not be.
    for suffix in ("", *BESIDE):
        with suppress(FileNotFoundError):
            Path(path + suffix).rename(target + suffix)
    return target
