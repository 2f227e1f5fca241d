"""What a session reads from and writes to: a socket's descriptor, or memory.

Both move their bytes in C (``transport.c``); Python is not called for a record.
"""

import _socket
import errno
import os
import weakref
from collections.abc import Callable
from typing import Protocol

from gnutls_resume.binding._arguments import BytesLike, check_bytes, check_number
from gnutls_resume.binding._datum import CHARS, uncleared
from gnutls_resume.binding._ffi import ffi, lib

READ: int = lib.GR_READ
WRITE: int = lib.GR_WRITE

MAX_DRAIN = 1 << 40  # bytes; more than there will ever be


class Socket(Protocol):
    """What a transport asks of a socket, at every operation."""

    def fileno(self) -> int: ...
    def gettimeout(self) -> float | None: ...


def timeout_of(sock: Socket) -> float | None:
    """What the descriptor does. eventlet's sockets say None, and never block."""
    if isinstance(sock, _socket.socket):
        return _socket.socket.gettimeout(sock)
    return sock.gettimeout()


def fits(carrier: object) -> bool:
    """Whether it can be attached. isinstance() with a protocol would take 10 us."""
    if isinstance(carrier, MemoryTransport):
        return True
    fileno, gettimeout = getattr(carrier, "fileno", None), getattr(carrier, "gettimeout", None)
    return callable(fileno) and callable(gettimeout)


class Transport:
    """The C side, and how many bytes went through it."""

    is_socket = False

    def __init__(self) -> None:
        c = lib.gr_transport_new(not self.is_socket)
        if c == ffi.NULL:
            raise MemoryError
        self.c = ffi.gc(c, lib.gr_transport_free)
        self.attached = False

    def begin(self, direction: int) -> None:
        """Get ready for one operation."""

    def renew(self, direction: int) -> None:
        """Go on with it after a wait or a signal."""

    @property
    def record_header(self) -> bytes:
        """The header of the last record that came; of a peer that speaks no TLS, what it said."""
        return bytes(ffi.buffer(lib.gr_header(self.c), lib.GR_HEADER))

    @property
    def received(self) -> int:
        """Bytes read from the peer since the transport was made."""
        return lib.gr_received(self.c)

    @property
    def sent(self) -> int:
        """Bytes written towards the peer since the transport was made."""
        return lib.gr_sent(self.c)


class MemoryTransport(Transport):
    """Bytes in, bytes out: for event loops, tests and other carriers than sockets.

    ``feed`` what came from the peer, send what ``drain`` returns; a session that lacks input
    raises WantReadError. Serves one session.
    """

    def feed(self, data: BytesLike) -> None:
        """Hand over bytes from the peer."""
        with ffi.from_buffer(check_bytes("data", data)) as view:
            if lib.gr_feed(self.c, view, len(view)) != 0:
                raise MemoryError

    def drain(self, size: int | None = None) -> bytes:
        """Take the bytes for the peer, at most `size` of them."""
        waiting = lib.gr_pending(self.c)
        size = waiting if size is None else min(check_number("size", size, 0, MAX_DRAIN), waiting)
        buffer = uncleared(CHARS, size)
        return bytes(ffi.buffer(buffer, lib.gr_drain(self.c, buffer, size)))

    @property
    def pending(self) -> int:
        """How many bytes wait for ``drain``."""
        return lib.gr_pending(self.c)

    @property
    def waiting(self) -> int:
        """How many bytes were fed and not read yet."""
        return lib.gr_unread(self.c, ffi.NULL, 0)

    def unread(self) -> bytes:
        """Take back what was fed and belongs to no record that was read: data in clear after
        the close_notify.
        """
        size = self.waiting
        buffer = uncleared(CHARS, size)
        return bytes(ffi.buffer(buffer, lib.gr_unread(self.c, buffer, size)))

    def eof(self) -> None:
        """Say that the peer has closed its side: nothing will be fed any more."""
        lib.gr_eof(self.c)


class SocketTransport(Transport):
    """A socket that is connected and that its owner keeps alive.

    Its descriptor and timeout are asked for at every operation and never kept: after a close
    the number may belong to somebody else.
    """

    is_socket = True
    patience: float | None = None
    """Seconds for an operation, in place of the socket's timeout where that is longer."""

    def __init__(self, sock: Socket) -> None:
        super().__init__()
        self._socket: Callable[[], Socket | None] = weakref.ref(sock)

    def begin(self, direction: int) -> None:
        sock, descriptor = self._alive()
        timeout = timeout_of(sock)
        if self.patience is not None:
            timeout = self.patience if timeout is None else min(timeout, self.patience)
        lib.gr_begin(self.c, direction, descriptor, -1.0 if timeout is None else timeout)

    def renew(self, direction: int) -> None:
        lib.gr_renew(self.c, direction, self._alive()[1])

    def _alive(self) -> tuple[Socket, int]:
        sock = self._socket()
        descriptor = -1 if sock is None else sock.fileno()
        if sock is None or descriptor < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return sock, descriptor
