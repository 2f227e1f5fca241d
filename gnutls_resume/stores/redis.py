"""Sessions in Redis, for many machines.

Rules of this file:

1. One round trip an operation, and nothing is ever sent twice. When a reply is lost nobody knows
   whether its command was carried out: a second ``LPOP`` would take one more entry, a second
   ``SET NX`` be refused by what the first has kept.
2. An operation has one deadline, for all that it waits for: a free connection, the new one's
   greeting, each byte of the reply. redis-py's own limits are for each wait, so that a server
   which sends a byte now and then could hold a handshake for ever.
3. After any fault no idle connection is kept. If the server was restarted all of them are dead,
   and each would cost a miss.
4. A finaliser or a signal handler may run after any call here and use the store, in the thread
   that is in the middle of a call. So a lock is held by whoever uses its connection, and nobody
   waits for one beyond the deadline. (SimpleQueue.get forgets its timeout under contention.)
5. redis-py is known to this file only, and imported when the first store is made. So what makes
   its connections keep rule 2 is here too, and the file is over 500 lines.
"""

import functools
import math
import os
import random
import re
import sys
import threading
import time
import weakref
from binascii import hexlify
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, SupportsIndex

from gnutls_resume.errors import StoreError
from gnutls_resume.stores._arguments import check_bytes, check_count, check_ttl
from gnutls_resume.stores.protocol import StoredEntry

MAX_CONNECTIONS = 32  # of a process; ?max_connections= in the URL is another number
PATIENCE = 5.0  # seconds that one step of an operator's command may take
STEP = 100  # keys that such a step asks for
HIGHEST = 2**31 - 1  # entries on a stack; LTRIM takes no more than 2**63

Check = Callable[[Any], bool]  # whether a reply is what it should be


class RedisStore:
    """A ``Store`` in Redis 7.0 or later, or in Valkey, through redis-py 5 or later.

    `url` is redis-py's: ``redis://user:password@host:6379/0``, ``rediss://`` for TLS, or
    ``unix:///path?db=0``, with redis-py's options after a question mark, such as
    ``ssl_ca_certs``. Those that would wait longer or ask again have no effect. At most 32
    connections are open at once, ``max_connections`` of the URL if it is there.

    An operation lasts at most `timeout` seconds and is never repeated; what goes wrong is a
    ``StoreError``. Only the name's resolution cannot be cut short: give an address, or have a
    resolver on the machine. An idle connection that the server has closed is replaced without
    a miss.

    The value of a key is a string under ``<prefix>v{<key in hexadecimal>}``, its stack a list
    under ``<prefix>s{…}``. An entry of the stack begins with its expiry, in milliseconds since
    1970 as 8 bytes: Redis drops the list when the last of them expires, and for those that
    expire earlier the clocks of the machines must agree.

    It speaks to one server. A replica that cannot be written to, or a node of a cluster that
    does not hold the key, answers with errors, and each is a ``StoreError``; it does not ask
    Sentinel. Redis 6 has no ``PEXPIRE NX``: there, each ``push`` is a ``StoreError`` that says so.

    A forked child opens connections of its own.
    """

    exposed = True
    private = False

    def __init__(self, url: str, *, prefix: str = "gnutls_resume:", timeout: float = 0.05) -> None:
        """Open no connection yet.

        ImportError without redis-py; ValueError if `url` is none of its URLs, if `prefix` has
        braces, or if `timeout` is not above 0 and at most 60 seconds.
        """
        self._make, self._limit = prepare(url)
        self._prefix = check_prefix(prefix)
        self._timeout = check_timeout(timeout)
        self._start()
        _stores.add(self)

    @property
    def timeout(self) -> float:
        """How long an operation may last, in seconds."""
        return self._timeout

    def get(self, key: bytes) -> bytes | None:
        """The value, which stays; None if there is none, or it has expired."""
        check_bytes("key", key)
        [value] = self._ask(pack(b"GET", self._name(b"v", key)), is_value)
        return value  # type: ignore[no-any-return]

    def put(self, key: bytes, value: bytes, ttl: float) -> None:
        """Make this the value for `ttl` seconds, whatever it was before."""
        check_bytes("key", key)
        check_bytes("value", value)
        check_ttl(ttl)
        name, lifetime = self._name(b"v", key), milliseconds(ttl)
        if lifetime:
            self._ask(pack(b"SET", name, value, b"PX", b"%d" % lifetime), is_ok)
        else:
            self._ask(pack(b"UNLINK", name), is_number)

    def add(self, key: bytes, value: bytes, ttl: float) -> bool:
        """Make this the value if there is none. True only if Redis has said that it is kept."""
        check_bytes("key", key)
        check_bytes("value", value)
        check_ttl(ttl)
        lifetime = milliseconds(ttl)
        if not lifetime:
            return False
        request = pack(b"SET", self._name(b"v", key), value, b"PX", b"%d" % lifetime, b"NX")
        [answer] = self._ask(request, is_ok_or_none)
        return answer is not None

    def push(self, key: bytes, value: bytes, ttl: float, keep: int) -> None:
        """Put this on top of the stack for `ttl` seconds; its newest `keep` entries stay."""
        check_bytes("key", key)
        check_bytes("value", value)
        check_ttl(ttl)
        check_count("keep", keep)
        lifetime = milliseconds(ttl)
        if not lifetime:
            return
        name, ms = self._name(b"s", key), b"%d" % lifetime
        expires = (now() + lifetime).to_bytes(8, "big")
        request = (
            pack(b"MULTI")
            + pack(b"LPUSH", name, expires + value)
            + pack(b"LTRIM", name, b"0", b"%d" % (min(keep, HIGHEST) - 1))
            # The list lives as long as the longest of its entries: the first expiry is set, a
            # later one only prolongs.
            + pack(b"PEXPIRE", name, ms, b"NX")
            + pack(b"PEXPIRE", name, ms, b"GT")
            + pack(b"EXEC")
        )
        self._ask(request, is_ok, is_queued, is_queued, is_queued, is_queued, is_list)

    def take(self, key: bytes) -> bytes | None:
        """Remove the top of the stack and return it; None if it has expired, or there is none."""
        check_bytes("key", key)
        [entry] = self._ask(pack(b"LPOP", self._name(b"s", key)), is_value)
        return entry[8:] if entry is not None and lives(entry) else None

    def remove(self, key: bytes) -> None:
        """Forget the value and the stack."""
        check_bytes("key", key)
        self._ask(pack(b"UNLINK", self._name(b"v", key), self._name(b"s", key)), is_number)

    def entries(self) -> Iterator[StoredEntry]:
        """What is there under this prefix, for operators. Redis goes on meanwhile.

        What comes, goes or moves while this runs may be missing or come twice (as with ``SCAN``).
        Each step may take 5 seconds.
        """
        for found in self._scan():
            request = b""
            checks: list[Check] = []
            for name, match in found:
                request += pack(b"PTTL", name)
                if match[1] == b"v":
                    request += pack(b"STRLEN", name)
                    checks += [is_number, is_number]
                else:
                    request += pack(b"LRANGE", name, b"0", b"-1")
                    checks += [is_number, is_list]
            replies = iter(self._ask(request, *checks, timeout=PATIENCE))
            for (_, match), left, content in zip(found, replies, replies, strict=True):
                entry = described(bytes.fromhex(match[2].decode()), left, content)
                if entry is not None:
                    yield entry

    def clear(self) -> None:
        """Forget everything under this prefix, for operators. Each step may take 5 seconds."""
        for found in self._scan():
            request = pack(b"UNLINK", *(name for name, _ in found))
            self._ask(request, is_number, timeout=PATIENCE)

    def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        slots = self._slots
        self._start()
        disconnect(slots)

    def __repr__(self) -> str:
        return f"<RedisStore: {self._prefix.decode()}>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a RedisStore cannot be pickled or copied: its URL is secret")

    def _name(self, kind: bytes, key: bytes) -> bytes:
        # A cluster looks at what stands in braces only: both names are in the same slot.
        return b"%b%b{%b}" % (self._prefix, kind, hexlify(key))

    def _scan(self) -> Iterator[list[tuple[bytes, re.Match[bytes]]]]:
        """The names under this prefix, some at a time, each with its kind and key."""
        pattern = re.sub(rb"([][*?^\\-])", rb"\\\1", self._prefix) + b"[vs]{*}"
        ours = re.compile(re.escape(self._prefix) + rb"([vs])\{((?:[0-9a-f]{2})*)\}")
        cursor = b"0"
        while True:
            request = pack(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", b"%d" % STEP)
            match self._ask(request, is_list, timeout=PATIENCE):
                case [[bytes(cursor), list(names)]]:
                    matches = ((name, ours.fullmatch(name)) for name in names)
                    if found := [(name, match) for name, match in matches if match]:
                        yield found
                case _:
                    raise StoreError("Redis answered SCAN with something else")
            if cursor == b"0":
                return

    def _ask(self, request: bytes, *checks: Check, timeout: float | None = None) -> list[Any]:
        """Send packed commands, and return the reply to each, which has passed its check."""
        end = time.monotonic() + (self._timeout if timeout is None else timeout)
        handled = sys.exception()  # the caller's: what has gone wrong here does not follow from it
        slots = self._slots
        slot = free(slots, end)
        done = False
        try:
            connection = slot.connected(self._make, end)
            connection.send_packed_command([request], check_health=False)
            replies = [read(connection, check) for check in checks]
            done = True
        except Exception as error:  # noqa: BLE001 - a parser raises anything at what it is sent
            fault = explained(error, handled)
        else:
            return replies
        finally:
            # Also after Ctrl-C: the next caller would get this one's reply.
            slot.leave(keep=done and slots is self._slots)
            if not done:
                disconnect(slots)
        raise fault  # out of reach of the error, which may repeat what was sent

    def _start(self) -> None:
        self._slots = [Slot() for _ in range(self._limit)]


class Slot:
    """A place for one connection, and the lock that its user holds."""

    __slots__ = ("connection", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connection: Any = None

    def connected(self, make: Callable[[], Any], end: float) -> Any:  # noqa: ANN401
        """The connection, a new one if there is none that is open, to be used until `end`."""
        if self.connection is not None:
            self.connection.deadline.end = end
            if not self._is_fresh():
                self.connection.disconnect()
                self.connection = None
        if self.connection is None:
            self.connection = make()
            self.connection.deadline.end = end
            self.connection.connect()
        return self.connection

    def _is_fresh(self) -> bool:
        """Whether nothing has come that nobody asked for, such as the connection's end."""
        try:
            return not self.connection.can_read(timeout=0)
        except Exception:  # noqa: BLE001 - redis-py has several ways to say so
            return False

    def leave(self, *, keep: bool) -> None:
        """Let others have this place, with its connection or without."""
        connection = self.connection
        if not keep:
            self.connection = None
        self.lock.release()
        if not keep and connection is not None:
            connection.disconnect()


def free(slots: list[Slot], end: float) -> Slot:
    """One that nobody uses, now locked: the first, so that no more are opened than are needed."""
    for slot in slots:
        if slot.lock.acquire(blocking=False):
            return slot
    slot = random.choice(slots)  # noqa: S311 - no secret; they are in use for equally long
    if not slot.lock.acquire(timeout=max(0, end - time.monotonic())):
        raise StoreError(f"Redis: all {len(slots)} connections are in use")
    return slot


def disconnect(slots: list[Slot]) -> None:
    """Close all that nobody uses."""
    for slot in slots:
        if slot.lock.acquire(blocking=False):
            slot.leave(keep=False)


class Deadline:
    """When the operation that uses a connection must end."""

    __slots__ = ("end",)

    def __init__(self) -> None:
        self.end = 0.0

    def left(self) -> float:
        """Seconds that a wait may still take: above 0, for a 0 means to socket not to wait."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the store's time is over")
        return left


class BoundedSocket:
    """A socket whose waits all end at one time, however many there are."""

    def __init__(self, sock: Any, deadline: Deadline) -> None:  # noqa: ANN401 - plain or TLS
        self._sock = sock
        self._deadline = deadline
        self._waits = True

    def recv(self, size: int, flags: int = 0) -> bytes:
        self._arm()
        return self._sock.recv(size, flags)  # type: ignore[no-any-return]

    def recv_into(self, buffer: bytearray) -> int:
        self._arm()
        return self._sock.recv_into(buffer)  # type: ignore[no-any-return]

    def sendall(self, data: bytes) -> None:
        self._arm()
        self._sock.sendall(data)

    def settimeout(self, timeout: float | None) -> None:
        """Of redis-py's own limits only 0 counts, with which it looks whether there is news."""
        self._waits = timeout != 0

    def _arm(self) -> None:
        self._sock.settimeout(self._deadline.left() if self._waits else 0)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._sock, name)


class Bounded:
    """What stands before a class of redis-py's connections, so that each has one deadline."""

    def __init__(self, **options: object) -> None:
        self.deadline = Deadline()
        self.socket: BoundedSocket | None = None
        super().__init__(**options)

    def abandon(self) -> None:
        """Close this process's copy of the socket, and nothing else."""
        if self.socket is not None:
            self.socket.close()

    @property
    def socket_timeout(self) -> float:
        return self.deadline.left()

    @socket_timeout.setter
    def socket_timeout(self, timeout: object) -> None:
        pass

    socket_connect_timeout = socket_timeout  # asked anew for each of a name's addresses

    def _connect(self) -> BoundedSocket:
        self.socket = BoundedSocket(super()._connect(), self.deadline)  # type: ignore[misc]
        return self.socket


@functools.cache
def bounded(kind: Any) -> Any:  # noqa: ANN401
    return type(f"Bounded{kind.__name__}", (Bounded, kind), {})


def prepare(url: str) -> tuple[Callable[[], Any], int]:
    """What makes connections to this URL, and how many there may be."""
    if not isinstance(url, str):
        raise TypeError(f"url must be str, not {type(url).__name__}")
    needed = "RedisStore needs redis-py 5 or later: pip install 'gnutls_resume[redis]'"
    try:
        import redis.connection  # noqa: PLC0415 - rule 5
    except ImportError as error:
        raise ImportError(needed) from error
    if int(redis.__version__.partition(".")[0]) < 5:  # noqa: PLR2004
        raise ImportError(needed)

    made = None
    # The error's text may be a piece of the password; so ours does not follow from it.
    try:
        options = redis.connection.parse_url(url)
        options.pop("timeout", None)  # what a pool of redis-py's would wait
        limit = options.pop("max_connections", MAX_CONNECTIONS)
        kind = options.pop("connection_class", redis.connection.Connection)
        options |= {"protocol": 2, "decode_responses": False, "health_check_interval": 0}
        options |= {"retry": None, "retry_on_timeout": False, "retry_on_error": []}
        if kind is redis.connection.SSLConnection and options.get("ssl_cert_reqs") != "none":
            options.setdefault("ssl_check_hostname", True)  # redis-py 5 does not check by itself
        make = functools.partial(new_connection, bounded(kind), options)
        made = make()
    except Exception:  # noqa: BLE001, S110
        pass
    if made is None:
        raise ValueError("url is no redis://, rediss:// or unix:// URL that redis-py understands")
    check_count("max_connections", limit)
    return make, limit


def new_connection(kind: Any, options: dict[str, Any]) -> Any:  # noqa: ANN401
    made = kind(**options)
    # Two round trips that tell the server of redis-py. How to refuse them differs between its
    # versions, and the parameters of one are unknown to, or deprecated in, another.
    made.lib_name = made.lib_version = made.driver_info = None
    return made


def pack(*words: bytes) -> bytes:
    """A command as Redis reads it."""
    packed = [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"*%d\r\n%b" % (len(words), b"".join(packed))


def read(connection: Any, check: Check) -> Any:  # noqa: ANN401
    """The next reply. Errors are raised, those in a transaction's reply too."""
    reply = connection.read_response()
    if not check(reply):
        raise ValueError("another reply than Redis gives to this command")
    if isinstance(reply, list):
        for part in reply:
            if isinstance(part, Exception):
                raise part
    return reply


def is_value(reply: object) -> bool:
    return reply is None or isinstance(reply, bytes)


def is_ok(reply: object) -> bool:
    return reply == b"OK"


def is_ok_or_none(reply: object) -> bool:
    return reply is None or reply == b"OK"


def is_queued(reply: object) -> bool:
    return reply == b"QUEUED"


def is_number(reply: object) -> bool:
    return isinstance(reply, int)


def is_list(reply: object) -> bool:
    return isinstance(reply, list)


def explained(error: Exception, handled: BaseException | None) -> StoreError:
    """What has happened, without the server's text: it may repeat commands, and so values.

    redis-py raises errors of its own while it handles those of the socket, which say more.
    """
    text = str(error)
    if "'pexpire'" in text.lower():
        return StoreError("Redis: RedisStore needs Redis 7.0 or later, or Valkey")
    what = [type(error).__name__]
    if code := re.match("[A-Z]{2,}(?= )", text):
        what.append(code[0])
    cause = error if isinstance(error, OSError) else error.__context__
    fault = StoreError()
    if isinstance(cause, OSError) and cause is not handled:
        fault.__cause__ = cause
        if cause is not error:
            what.append(f"({type(cause).__name__})")
    fault.args = ("Redis: " + " ".join(what),)
    return fault


def described(key: bytes, left: int, content: int | list[bytes]) -> StoredEntry | None:
    """An entry for operators; None if it is gone. `left`: milliseconds, -1 endless, -2 gone."""
    if isinstance(content, list):
        living = [entry for entry in content if lives(entry)]
        if not living:
            return None
        expires = max(expiry(entry) for entry in living) / 1000
        return StoredEntry(key, expires, sum(len(entry) - 8 for entry in living), len(living))
    if left < -1:
        return None
    return StoredEntry(key, math.inf if left < 0 else time.time() + left / 1000, content, 0)


def lives(entry: bytes) -> bool:
    return expiry(entry) > now()


def expiry(entry: bytes) -> int:
    return int.from_bytes(entry[:8], "big")


def now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


def milliseconds(ttl: float) -> int:
    """Never longer than `ttl`; 0: nothing is kept."""
    return int(ttl * 1000) if ttl > 0 else 0


def check_prefix(prefix: object) -> bytes:
    if not isinstance(prefix, str):
        raise TypeError(f"prefix must be str, not {type(prefix).__name__}")
    if "{" in prefix or "}" in prefix:
        raise ValueError("prefix must have no braces: they decide about the slot in a cluster")
    return prefix.encode()


def check_timeout(timeout: object) -> float:
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout must be a number of seconds, not {type(timeout).__name__}")
    if not 0 < timeout <= 60:  # noqa: PLR2004 - a handshake waits for it
        raise ValueError(f"timeout must be above 0 and at most 60 seconds, not {timeout}")
    return timeout


# Weak, so that stores are collected; one hook for all, since no hook can be taken back.
_stores: weakref.WeakSet[RedisStore] = weakref.WeakSet()


def _start_again() -> None:
    """In a forked child: the connections are the parent's, and its threads hold the locks.

    The sockets are closed even if this thread is in the middle of a call, in a signal handler:
    it would read what the parent waits for.
    """
    for store in _stores:
        slots = store._slots  # noqa: SLF001 - the same file
        store._start()  # noqa: SLF001
        for slot in slots:
            if slot.connection is not None:
                slot.connection.abandon()


os.register_at_fork(after_in_child=_start_again)
