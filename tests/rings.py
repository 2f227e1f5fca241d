"""What the tests of ticket key rings share: a clock of their own, and the ratchet once more.

Keys are computed here with Python's own hmac: a test that asked the package would agree with
anything.
"""

import hmac
import mmap
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable

import pytest
from conftest import Certificates
from pair import TLS13, Setting

from gnutls_resume.binding import Session, TicketSecret
from gnutls_resume.binding._ffi import ffi
from gnutls_resume.resumption import ticket_key_record
from gnutls_resume.resumption.ticket_key_record import TicketKeyRecord
from gnutls_resume.resumption.ticket_keys import TicketKeyRing

CHAIN = bytes(range(32))
OTHER_CHAIN = bytes(range(100, 132))
POLICY = bytes(32)
PERIOD = 21_600  # seconds
EPOCH = 80_000  # of that period: the year 2024


class Clock:
    """Stands for the clock of all rings."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = float(EPOCH * PERIOD)
        monkeypatch.setattr(ticket_key_record, "now", lambda: self.seconds)

    def go_to(self, epoch: float, period: int = PERIOD) -> None:
        """To that epoch's first moment; 7.5 is the middle of number 7."""
        self.seconds = float(epoch * period)


class SharedClock(Clock):
    """One for this process and those that are forked from it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._memory = memoryview(mmap.mmap(-1, 8)).cast("d")  # read and written whole
        super().__init__(monkeypatch)

    @property
    def seconds(self) -> float:
        return self._memory[0]

    @seconds.setter
    def seconds(self, seconds: float) -> None:
        self._memory[0] = seconds


class Processes:
    """A function in forked processes, called with each one's number; what it returns, as bytes."""

    def __init__(self, work: Callable[[int], bytes], count: int) -> None:
        self.children: list[tuple[int, int]] = []
        for number in range(count):
            reader, writer = os.pipe()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads
                child = os.fork()
            if child == 0:
                try:
                    signal.alarm(60)
                    os.write(writer, work(number))
                    os._exit(0)
                except BaseException:
                    traceback.print_exc(file=sys.__stderr__)
                    sys.__stderr__.flush()
                finally:
                    os._exit(1)
            os.close(writer)
            self.children.append((child, reader))

    def join(self) -> list[bytes]:
        results = []
        for child, reader in self.children:
            with os.fdopen(reader, "rb") as file:
                results.append(file.read())
            assert os.waitpid(child, 0)[1] == 0
        return results


def in_processes(work: Callable[[int], bytes], count: int) -> list[bytes]:
    return Processes(work, count).join()


def expand(secret: bytes, info: bytes, size: int = 32) -> bytes:
    """HKDF-Expand of SHA-256, RFC 5869 §2.3."""
    made, block = b"", b""
    while len(made) < size:
        block = hmac.digest(secret, block + info + bytes([len(made) // 32 + 1]), "sha256")
        made += block
    return made[:size]


def ratchet(chain: bytes, steps: int = 1) -> bytes:
    """The chain key so many epochs later."""
    chains = known.setdefault(chain, [chain])
    while len(chains) <= steps:
        chains.append(expand(chains[-1], b"\7ratchet"))
    return chains[steps]


known: dict[bytes, list[bytes]] = {}  # computed so far


def fingerprint(chain: bytes) -> str:
    return expand(hmac.digest(bytes(32), chain, "sha256"), b"fingerprint", 8).hex()


def bytes_in(secret: TicketSecret) -> bytes:
    """What stands in its memory, wiped or not."""
    return bytes(ffi.buffer(secret._memory, 32))


def secrets(ring: TicketKeyRing) -> list[bytes]:
    """Those of now, the current one first."""
    return [bytes_in(secret) for secret in ring.table().secrets]


def record_of(
    chain: bytes = CHAIN, start: int = EPOCH, *, period: int = PERIOD, generation: int = 0
) -> TicketKeyRecord:
    return TicketKeyRecord(period, start, chain, generation=generation)


def setting(
    certificates: Certificates,
    table: Callable[[], object],
    priority: str = TLS13,
    lifetime: int | None = None,
) -> Setting:
    """A server whose tickets are those of `table`, asked for each connection."""

    def prepare(_: Session, server: Session) -> None:
        server.ticket_derive(table(), POLICY)  # type: ignore[arg-type]
        if lifetime is not None:
            server.db_set_cache_expiration(lifetime)

    return Setting(
        certificates,
        priority,
        client_credentials=certificates.client(),
        server_credentials=certificates.server(),
        prepare=prepare,
    )
