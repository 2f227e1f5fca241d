"""Checks of what callers pass: a clear exception, naming the argument and the limit."""

from typing import TypeVar

BytesLike = bytes | bytearray | memoryview

MAX_NAME = 255  # bytes; RFC 1035 §2.3.4
T = TypeVar("T")


def check_bytes(name: str, value: object, *, length: int | None = None) -> BytesLike:
    """Return `value` if it is bytes-like and, where given, `length` bytes long."""
    if type(value) is bytes:
        size = len(value)
    elif isinstance(value, bytearray | memoryview | bytes):
        size = memoryview(value).nbytes
    else:
        raise TypeError(f"{name} must be bytes, not {type(value).__name__}")
    if length is not None and size != length:
        raise ValueError(f"{name} must be {length} bytes, not {size}")
    return value


def check_callable(name: str, value: T) -> T:
    """Return `value` if it can be called."""
    if not callable(value):
        raise TypeError(f"{name} must be callable, not {type(value).__name__}")
    return value


def check_instance(name: str, value: object, kind: type[T]) -> T:
    """Return `value` if it is a `kind`."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be {kind.__name__}, not {type(value).__name__}")
    return value


def check_name(name: str) -> bytes:
    """Return a host name as the bytes that GnuTLS takes."""
    raw = check_instance("a host name", name, str).encode()
    if not 1 <= len(raw) <= MAX_NAME or b"\0" in raw:
        raise ValueError(f"a host name must be 1 to {MAX_NAME} bytes without NUL: {name!r}")
    return raw


def check_number(name: str, value: int, low: int, high: int) -> int:
    """Return `value` if it is an int from `low` to `high`."""
    if isinstance(value, bool):
        raise TypeError(f"{name} must be int, not bool")
    if not low <= check_instance(name, value, int) <= high:
        raise ValueError(f"{name} must be {low} to {high}, not {value}")
    return value
