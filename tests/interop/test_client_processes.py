"""Fifty client processes that keep their sessions in one file, against a real server."""

from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

import pytest
from conftest import Certificates
from interop.fleet import fetch
from interop.programs import SECONDS, WAYS, our_server
from wrapped import client_context

from gnutls_resume import SQLiteStore, testing
from gnutls_resume.stores.guard import Guard
from gnutls_resume.testing import in_children

PROCESSES = 50
MANY = 10**6  # tickets, that none is dropped for being the ninth


@dataclass
class Seen:
    """What the store has told one process, and how often its connections resumed."""

    pushed: list[bytes] = field(default_factory=list)
    taken: list[bytes] = field(default_factory=list)
    put: dict[bytes, bytes] = field(default_factory=dict)
    stacks: set[bytes] = field(default_factory=set)
    resumed: int = 0


class Recording(Guard):
    """A guarded store that notes what has returned."""

    def __init__(self, path: Path, seen: Seen) -> None:
        super().__init__(SQLiteStore(path))
        self.seen = seen

    def put(self, key: bytes, value: bytes, ttl: float) -> None:
        self.seen.put.pop(key, None)  # unknown if it fails
        super().put(key, value, ttl)
        self.seen.put[key] = value

    def push(self, key: bytes, value: bytes, ttl: float, keep: int) -> None:
        super().push(key, value, ttl, MANY)
        self.seen.pushed.append(value)
        self.seen.stacks.add(key)

    def take(self, key: bytes) -> bytes | None:
        ticket = super().take(key)
        if ticket is not None:
            self.seen.taken.append(ticket)
        return ticket


def work(certificates: Certificates, port: int, path: Path, name: bytes, visits: int) -> Seen:
    """Connect by tickets that all processes share, and by a session of this process's own."""
    seen = Seen()
    store = Recording(path, seen)
    shared = client_context(certificates, sessions=store)
    own = client_context(certificates, sessions=store, partition=name)
    contexts = [
        WAYS["tls13-by-ticket"].restrict(shared),
        WAYS["tls12-by-id"].restrict(own),
    ]
    for _ in range(visits):
        for context in contexts:
            resumed, _ = fetch(context, port)
            seen.resumed += resumed
    return seen


def check_processes(certificates: Certificates, folder: Path, visits: int) -> None:
    path = folder / "sessions.db"
    with our_server(certificates, "--workers", "2") as (server, port):
        calls = [
            partial(work, certificates, int(port), path, b"%d" % number, visits)
            for number in range(PROCESSES)
        ]
        processes = in_children(calls)
        assert "failed" not in server.output
    with closing(SQLiteStore(path, timeout=SECONDS)) as store:
        left = []
        for stack in set().union(*(seen.stacks for seen in processes)):
            left += iter(partial(store.take, stack), None)
        pushed = Counter(chain.from_iterable(seen.pushed for seen in processes))
        taken = Counter([*chain.from_iterable(seen.taken for seen in processes), *left])
        assert len(pushed) > PROCESSES
        assert pushed - taken == Counter()  # none is lost
        assert max(taken.values()) == 1
        for seen in processes:
            assert {key: store.get(key) for key in seen.put} == seen.put
    share = sum(seen.resumed for seen in processes) / (2 * visits * PROCESSES)
    # pytest -rP shows it
    print(f"{len(pushed)} tickets pushed, {len(taken) - len(left)} taken, {share:.0%} resumed")  # noqa: T201


def test_fifty_processes_lose_no_session_and_take_no_ticket_twice(
    certificates: Certificates, tmp_path: Path
) -> None:
    check_processes(certificates, tmp_path, 3)


@pytest.mark.matrix
def test_fifty_processes_lose_no_session_and_take_no_ticket_twice_in_many_connections(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(testing, "PATIENCE", 300)
    check_processes(certificates, tmp_path, 100)
