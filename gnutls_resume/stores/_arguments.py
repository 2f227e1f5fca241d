"""Checks of what callers pass to a store, the same for all stores."""

LONGEST = 2**32 - 1  # seconds; the most RFC 8446 §4.6.1 can say in a ticket


def check_bytes(name: str, value: object) -> None:
    # No subclass: one could bring an __eq__ and a __hash__ of its own into a locked dictionary.
    if type(value) is not bytes:
        raise TypeError(f"{name} must be bytes, not {type(value).__name__}")


def check_ttl(ttl: object) -> None:
    if isinstance(ttl, bool) or not isinstance(ttl, int | float):
        raise TypeError(f"ttl must be a number of seconds, not {type(ttl).__name__}")
    if not ttl <= LONGEST:  # also for what is not a number
        raise ValueError(f"ttl must be at most {LONGEST} seconds, not {ttl}")


def check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be int, not {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")


def check_timeout(timeout: object) -> None:
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout must be a number of seconds, not {type(timeout).__name__}")
    if not 0 <= timeout <= LONGEST:  # also for what is not a number
        raise ValueError(f"timeout must be from 0 to {LONGEST} seconds, not {timeout}")
