"""The ring: who shares its secret, and that it does not come out."""

import copy
import pickle
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Any

import pytest
from conftest import Certificates
from pair import Setting

from gnutls_resume.binding import Session, TicketSecret
from gnutls_resume.binding._ffi import ffi
from gnutls_resume.resumption import ticket_keys
from gnutls_resume.resumption.ticket_keys import TicketKeyRing, process_ring

POLICY = bytes(32)

# Forks before the ring is used, or after. A child that resumed a ticket of its parent says so.
WORKERS = """
import hashlib, os, sys
from gnutls_resume.binding._ffi import ffi
from gnutls_resume.resumption import ticket_keys
assert ticket_keys.rings == [], "importing has made a ring"

def seen():
    secret = ticket_keys.process_ring().table().secrets[0]
    return hashlib.sha256(ffi.buffer(secret._memory, 32)).hexdigest()

if sys.argv[1] == "used":
    seen()
reader, writer = os.pipe()
for _ in range(3):
    if os.fork() == 0:
        os.write(writer, (seen() + "\\n").encode())
        os._exit(0)
    assert os.wait()[1] == 0
os.close(writer)
print(seen())
print(os.read(reader, 4096).decode())
"""


def seen(ring: TicketKeyRing) -> bytes:
    return bytes(ffi.buffer(ring.table().secrets[0]._memory, 32))


def setting(certificates: Certificates, ring: TicketKeyRing) -> Setting:
    def prepare(_: Session, server: Session) -> None:
        server.ticket_derive(ring.table(), POLICY)

    return Setting(certificates, prepare=prepare)


def run(*arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-P", "-c", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.split()


@pytest.mark.parametrize("when", ["used", "unused"])
def test_forked_workers_share_the_ring_of_the_process(when: str) -> None:
    shown = run(WORKERS, when)
    assert len(shown) == 4
    assert len(set(shown)) == 1


def test_every_process_has_a_ring_of_its_own() -> None:
    assert run(WORKERS, "unused")[0] != run(WORKERS, "unused")[0]


def test_process_has_one_ring() -> None:
    assert process_ring() is process_ring()


def test_threads_that_make_it_at_once_get_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 8
    start = threading.Barrier(count)
    got: list[TicketKeyRing] = []

    @dataclass
    class Slow:
        """All threads stand in here together: each has found that there is no ring."""

        def __post_init__(self) -> None:
            start.wait(30)

    monkeypatch.setattr(ticket_keys, "rings", [])
    monkeypatch.setattr(ticket_keys, "TicketKeyRing", Slow)
    threads = [
        threading.Thread(target=lambda: got.append(ticket_keys.process_ring()))
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(got) == count
    assert len({id(ring) for ring in got}) == 1


def test_ring_resumes_its_own_tickets_and_no_others(certificates: Certificates) -> None:
    rings = [TicketKeyRing(), TicketKeyRing()]
    sessions = [setting(certificates, ring).connect()[0] for ring in rings]
    for i, ring in enumerate(rings):
        for j, data in enumerate(sessions):
            assert setting(certificates, ring).connect(data)[1] == (i == j, i == j)


def test_ring_shows_nothing() -> None:
    ring = TicketKeyRing()
    assert repr(ring) == str(ring) == f"<TicketKeyRing: epoch {ring.current.number}, 2 secrets>"
    assert seen(ring).hex() not in repr(vars(ring))
    assert isinstance(ring.table().secrets[0], TicketSecret)


def test_ring_cannot_be_pickled_or_copied() -> None:
    ways: list[Any] = [copy.copy, copy.deepcopy]
    ways += [lambda ring, n=n: pickle.dumps(ring, n) for n in range(pickle.HIGHEST_PROTOCOL + 1)]
    for way in ways:
        with pytest.raises(TypeError, match="TicketKeyRing cannot be pickled or copied"):
            way(TicketKeyRing())
