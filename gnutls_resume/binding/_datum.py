"""Datum <-> bytes, and secrets in C memory that are wiped."""

from typing import NoReturn, SupportsIndex

from gnutls_resume.binding._arguments import BytesLike, check_bytes
from gnutls_resume.binding._ffi import CData, ffi, lib
from gnutls_resume.errors import MisuseError

# Random bytes have far more distinct values than this; passwords and patterns have not.
# 32 random bytes stay below 16 with a probability under 2**-50.
FEWEST_DISTINCT = 16

DATUM = ffi.typeof("gnutls_datum_t *")
CHARS = ffi.typeof("unsigned char[]")

uncleared = ffi.new_allocator(should_clear_after_alloc=False)


def bytes_of(datum: CData) -> bytes:
    """A copy of what a ``gnutls_datum_t`` points to."""
    return bytes(ffi.buffer(datum.data, datum.size)) if datum.size else b""


def datum_of(data: BytesLike) -> tuple[CData, CData]:
    """A ``gnutls_datum_t *`` on the caller's own memory, and what keeps that alive."""
    view = ffi.from_buffer("unsigned char[]", data)
    return ffi.new("gnutls_datum_t *", (view, len(view))), view


class Freed:
    """An empty datum for the library to fill, in a with-statement; afterwards it is freed, and
    wiped before if it is secret.
    """

    def __init__(self, *, wipe: bool = False) -> None:
        self._datum: CData = ffi.new(DATUM)
        self._wipe = wipe

    def __enter__(self) -> CData:
        return self._datum

    def __exit__(self, *_: object) -> None:
        lib.gr_wipe_free(self._datum.data, self._datum.size if self._wipe else 0)


class Secret:
    """Bytes in C memory, overwritten with ``gnutls_memset`` when wiped, closed or collected.

    They never stand in ``repr`` and cannot be pickled or copied.
    """

    def __init__(self, name: str, raw: BytesLike, length: int) -> None:
        # Released at once: an error that lives on must not keep the caller's buffer locked.
        with memoryview(check_bytes(name, raw, length=length)).cast("B") as view:
            if len(set(view)) < FEWEST_DISTINCT:
                raise ValueError(
                    f"{name} has fewer than {FEWEST_DISTINCT} distinct byte values: that is no "
                    "random key; make one with generate()"
                )
            self._memory = wiped_memory(length)
            ffi.memmove(self._memory, view, length)
        self._datum: CData = ffi.new("gnutls_datum_t *", (self._memory, length))

    @property
    def datum(self) -> CData:
        """``const gnutls_datum_t *`` for the library. Raises MisuseError once wiped."""
        if self._datum.size == 0:
            raise MisuseError(f"this {type(self).__name__} has been wiped")
        return self._datum

    def wipe(self) -> None:
        """Overwrite the bytes now (``gnutls_memset``). Doing it twice does no harm."""
        size, self._datum.size = self._datum.size, 0
        if size:  # after its size, by which a thread in C sees that it is too late
            lib.gnutls_memset(self._memory, 0, size)

    close = wipe

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{'' if self._datum.size else ' (wiped)'}>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be pickled or copied: it is secret")


def wiped_memory(size: int) -> CData:
    """`size` bytes of C memory that are wiped when Python lets go of them."""
    memset = lib.gnutls_memset  # at the interpreter's end the module's names may be gone

    def wipe(memory: CData) -> None:
        memset(memory, 0, size)

    return ffi.gc(ffi.new("unsigned char[]", size), wipe)
