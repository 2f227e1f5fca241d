"""Nothing of a ticket's keys stays on the stack of a thread, whatever it has just done.

Functions of the compiled module run on a stack of the tests' own, which is searched afterwards:
there, unlike on that of the interpreter, nothing has been written over it since.
"""

import ctypes
import mmap
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Certificates
from derived import secrets_of, words_of
from pair import TLS12, TLS13, Setting
from rings import ratchet

from gnutls_resume.binding import (
    InitFlag,
    MemoryTransport,
    Protocol,
    Session,
    SessionFlag,
    TicketKeyTable,
    TicketSecret,
    session,
)
from gnutls_resume.binding._ffi import CData, ffi, lib
from gnutls_resume.errors import GnuTLSError, WantReadError

FIRST = os.urandom(32)
RAWS = [ratchet(FIRST, epoch) for epoch in range(3)]
POLICY = os.urandom(32)
WORDS = words_of(
    {
        f"{name} of {number}": secret
        for number, raw in enumerate(RAWS)
        for name, secret in secrets_of(raw, [POLICY]).items()
    }
)
SIZE = 1 << 18  # bytes; of the stack
FEW = 256  # bytes; those of the frames that the function's own stands in

SOURCE = """
#include <pthread.h>
#include <stdint.h>
#include <string.h>

typedef intptr_t (*call_t)(intptr_t, intptr_t, intptr_t, intptr_t, intptr_t);

static void *run(void *call)
{
	intptr_t *it = call;

	it[0] = ((call_t)it[0])(it[1], it[2], it[3], it[4], it[5]);
	return NULL;
}

/* The function and its arguments are in `call`, in the place of the first its answer will be. */
int run_on(void *stack, size_t size, intptr_t call[6])
{
	pthread_attr_t attributes;
	pthread_t thread;
	int error;

	memset(stack, 0, size);
	pthread_attr_init(&attributes);
	error = pthread_attr_setstack(&attributes, stack, size);
	if (error == 0)
		error = pthread_create(&thread, &attributes, run, call);
	if (error == 0)
		error = pthread_join(thread, NULL);
	pthread_attr_destroy(&attributes);
	return error;
}

int nothing(void)
{
	return 0;
}

/* Leaves on the stack what it was given. */
int leave(const void *secret, size_t size)
{
	unsigned char copy[32];

	memcpy(copy, secret, size);
	return *(volatile unsigned char *)(copy + 1);
}
"""


class Stack:
    """Runs functions, and has what they left."""

    def __init__(self, folder: Path) -> None:
        source, library = folder / "stack.c", folder / "stack.so"
        source.write_text(SOURCE)
        subprocess.run(["cc", "-shared", "-fPIC", "-pthread", source, "-o", library], check=True)
        self.library = ctypes.CDLL(str(library))
        self.memory = mmap.mmap(-1, SIZE)
        self.place = ffi.from_buffer(self.memory)
        self.run(ctypes.cast(self.library.nothing, ctypes.c_void_p).value)
        self.least = self.written()  # by the thread itself

    def run(self, function: Any, *arguments: Any) -> int:
        """What the function returned."""
        numbers = [int(ffi.cast("intptr_t", argument)) for argument in (function, *arguments)]
        call = (ctypes.c_ssize_t * 6)(*numbers)
        stack = int(ffi.cast("intptr_t", self.place))
        assert self.library.run_on(ctypes.c_void_p(stack), ctypes.c_size_t(SIZE), call) == 0
        return ctypes.c_int(call[0]).value

    def call(self, name: str, *arguments: Any) -> int:
        """A function of the compiled module, which leaves next to nothing."""
        answer = self.run(ffi.addressof(lib, name), *arguments)
        assert self.found() == set()
        assert self.written() < self.least + FEW
        return answer

    def written(self) -> int:
        """How many bytes are no zeros."""
        return SIZE - self.memory[:].count(0)

    def found(self) -> set[str]:
        with memoryview(self.memory) as memory, memory.cast("Q") as words:
            return {WORDS[word] for word in WORDS.keys() & words}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    return Stack(tmp_path_factory.mktemp("stack"))


def test_what_is_left_is_found(stack: Stack) -> None:
    secret = ffi.new("unsigned char[]", RAWS[1])
    leave = ctypes.cast(stack.library.leave, ctypes.c_void_p).value
    assert stack.run(leave, secret, 32) == RAWS[1][1]
    assert stack.found() == {"secret of 1"}


def test_ratchet_leaves_nothing(stack: Stack) -> None:
    later = ffi.new("unsigned char[]", 32)
    assert stack.call("gr_ratchet", TicketSecret(RAWS[0]).datum, 2, later) == 0
    assert bytes(ffi.buffer(later)) == RAWS[2]


# -- a server ---------------------------------------------------------------------------------

CALLS = ("gr_handshake", "gr_record_recv", "gr_ticket_send")


@pytest.fixture
def servers_on_it(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often a server has done so far, on the stack, what may use its ticket keys."""
    calls = dict.fromkeys(CALLS, 0)

    def watched(name: str) -> Callable[..., int]:
        def call(session: CData, *arguments: Any) -> int:
            own: CData = ffi.cast("gr_session *", lib.gnutls_session_get_ptr(session))
            early = lib.gnutls_session_get_flags(session) & SessionFlag.EARLY_START
            if own.role != lib.GR_SERVER or (name == "gr_record_recv" and not early):
                return int(getattr(lib, name)(session, *arguments))
            calls[name] += 1
            return stack.call(name, session, *arguments)

        return call

    class Watched:
        """The library, but for those functions."""

        def __getattr__(self, name: str) -> Any:
            return getattr(lib, name)

    for name in CALLS:
        setattr(Watched, name, staticmethod(watched(name)))
    monkeypatch.setattr(session, "lib", Watched())
    return calls


def deriving(certificates: Certificates, *secrets: int, **fields: Any) -> Setting:
    table = TicketKeyTable(*(TicketSecret(RAWS[number]) for number in secrets))

    def prepare(_: Session, server: Session) -> None:
        server.ticket_derive(table, POLICY)

    return Setting(certificates, prepare=prepare, **fields)


def meet(setting: Setting, data: bytes | None = None) -> tuple[bytes | None, bool]:
    """A connection with all that a server does: the client's session, and whether it resumed."""
    with setting.pair(data) as pair:
        pair.handshake()
        pair.exchange()
        if pair.server.protocol_get_version() is Protocol.TLS1_3:
            pair.server.ticket_send(1)
            pair.move()
            pair.exchange()
        return pair.client.get_data(), pair.server.is_resumed()


RETRY = {
    "client_priority": TLS13 + ":-GROUP-ALL:+GROUP-SECP256R1:+GROUP-SECP384R1",
    "server_priority": TLS13 + ":-GROUP-ALL:+GROUP-SECP384R1",
    "client_flags": InitFlag.KEY_SHARE_TOP,
}
WAYS: dict[str, dict[str, Any]] = {
    "tls12": {"priority": TLS12},
    "tls13": {"priority": TLS13},
    "retry": RETRY,
    "early-start": {"priority": TLS13, "server_flags": InitFlag.ENABLE_EARLY_START},
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_connection_leaves_nothing(
    way: dict[str, Any], servers_on_it: dict[str, int], certificates: Certificates
) -> None:
    """Full and resumed, under each secret of a table and under none."""
    ring = deriving(certificates, 0, 1, 2, **way)
    for number in range(3):
        data, resumed = meet(deriving(certificates, number, **way))
        assert not resumed
        assert meet(ring, data)[1]
        assert not meet(deriving(certificates, (number + 1) % 3, **way), data)[1]
    assert servers_on_it["gr_handshake"] >= 2 * 9
    assert servers_on_it["gr_record_recv"] == (12 if "server_flags" in way else 0)
    assert servers_on_it["gr_ticket_send"] == (0 if way.get("priority") == TLS12 else 9)


@pytest.mark.parametrize("priority", [TLS12, TLS13])
def test_refused_hello_leaves_nothing(
    priority: str, servers_on_it: dict[str, int], certificates: Certificates
) -> None:
    """Wherever it is wrong: the key may have been made, and nothing else done since."""
    ring = deriving(certificates, 0, 1, 2, priority=priority)
    data, _ = meet(deriving(certificates, 1, priority=priority))
    with ring.pair(data) as pair, pytest.raises(WantReadError):
        pair.client.handshake()
    assert isinstance(pair.client.transport, MemoryTransport)
    hello = pair.client.transport.drain()
    refused = 0
    for at in range(9, len(hello), 5):
        changed = bytearray(hello)
        changed[at] ^= 0xFF
        with ring.pair() as pair:
            assert isinstance(pair.server.transport, MemoryTransport)
            pair.server.transport.feed(changed)
            try:
                pair.server.handshake()
            except WantReadError:
                pass
            except GnuTLSError:
                refused += 1
    assert refused >= 5
