"""Four forked workers behind one port, and what share of the clients that come back resume.

    python benchmarks/fleet.py [--quick] [--json FILE]

Workers have ticket keys of their own, which they make after the fork, or one ring for all; or
their clients take no tickets, and all sessions are in one SQLite database or in Redis. Clients are
six processes: each connects, says and hears a word, closes, and comes back to whichever worker
accepts it. Rates are of all clients together; a ratio is a rate over that with own keys of the
same turn, so above 1 is better. Everything runs on one machine: the processors are shared.
"""

import argparse
import importlib.metadata
import json
import multiprocessing
import os
import platform
import signal
import socket
import ssl
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, partial
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from certificates import Files, make_certificates
from connections import FULL, LOOPBACK, RESUMED, SIZE, Target, ask, connect
from store_handshakes import redis_server

import gnutls_resume
from gnutls_resume import MemoryStore, RedisStore, SealingKey, SQLiteStore, Store, TicketKeyRing

WORKERS = 4
CLIENTS = 6  # more than workers: else each would find again the one that it has just left

spawn = multiprocessing.get_context("spawn")


class Sharing(NamedTuple):
    """A way to resume, and what the workers have in common for it."""

    name: str
    version: ssl.TLSVersion
    tickets: bool = True
    ring: bool = False  # one for all
    store: str = ""  # a path or a URL


class Fleet(NamedTuple):
    """Running workers."""

    sharing: Sharing
    files: Files
    port: int


class Turn(NamedTuple):
    """What all clients together have done in one turn."""

    connections: int
    resumed: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.connections / self.seconds


class Row(NamedTuple):
    """Over all turns: the share that resumed, and medians and quartiles of the rest."""

    version: str
    name: str
    resumed: float
    rate: float  # connections a second
    ratio: float
    quartiles: tuple[float, float]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure workers that share, or do not.")
    parser.add_argument("--quick", action="store_true", help="few and short turns")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the results")
    arguments = parser.parse_args()
    turns, number = (3, 50) if arguments.quick else (15, 200)

    rows = []
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        (files,) = make_certificates(folder, 1)
        redis = stack.enter_context(redis_server(folder))
        clients = [stack.enter_context(ProcessPoolExecutor(1, spawn)) for _ in range(CLIENTS)]
        for version, ways in ways_to_share(str(folder / "sessions.db"), redis).items():
            fleets = [stack.enter_context(running(sharing, files)) for sharing in ways]
            visit = partial(visit_all, clients, number=number)
            rows += measure(version, fleets, visit, turns)

    names = versions()
    print("\n" + ", ".join(f"{name} {version}" for name, version in names.items()))
    if arguments.json is not None:
        results = {"versions": names, "rows": [row._asdict() for row in rows]}
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def ways_to_share(sqlite: str, redis: str) -> dict[str, list[Sharing]]:
    tls12, tls13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
    return {
        "TLS 1.3": [Sharing("own keys", tls13), Sharing("shared ring", tls13, ring=True)],
        "TLS 1.2": [
            Sharing("own keys", tls12),
            Sharing("shared ring", tls12, ring=True),
            Sharing("shared SQLite, IDs", tls12, tickets=False, store=sqlite),
            Sharing("shared Redis, IDs", tls12, tickets=False, store=redis),
        ],
    }


def versions() -> dict[str, str]:
    return {
        "Python": platform.python_version(),
        "GnuTLS": gnutls_resume.GNUTLS_VERSION,
        "gnutls_resume": importlib.metadata.version("gnutls_resume"),
        "redis-py": importlib.metadata.version("redis"),
    }


def measure(
    version: str, fleets: Sequence[Fleet], visit: Callable[[Fleet], Turn], turns: int
) -> list[Row]:
    """Let the clients of each fleet visit it in turn, and print its rows."""
    for fleet in fleets:
        visit(fleet)  # to warm up
    results: list[list[Turn]] = [[] for _ in fleets]
    for turn in range(turns):
        order = list(zip(fleets, results, strict=True))
        first = turn % len(order)
        for fleet, turns_of_it in [*order[first:], *order[:first]]:
            turns_of_it.append(visit(fleet))
    print(f"\n{version:22} {'resumed':>8} {'connections/s':>14}  ratio  (quartiles)")
    rows = []
    for fleet, taken in zip(fleets, results, strict=True):
        ratios = [ours.rate / own.rate for ours, own in zip(taken, results[0], strict=True)]
        lower, ratio, upper = statistics.quantiles(ratios, n=4, method="inclusive")
        share = sum(turn.resumed for turn in taken) / sum(turn.connections for turn in taken)
        rate = statistics.median(turn.rate for turn in taken)
        rows.append(Row(version, fleet.sharing.name, share, rate, ratio, (lower, upper)))
        line = f"{fleet.sharing.name:22} {share:8.1%} {rate:14.0f}"
        if fleet is not fleets[0]:
            line += f"  {ratio:5.3f}  ({lower:.3f}-{upper:.3f})"
        print(line, flush=True)
    return rows


def visit_all(clients: Sequence[ProcessPoolExecutor], fleet: Fleet, *, number: int) -> Turn:
    """One turn of a fleet: all clients at once, each so many times."""
    began = time.perf_counter()
    futures = [client.submit(come_back, fleet, number) for client in clients]
    resumed = sum(future.result() for future in futures)
    return Turn(number * len(futures), resumed, time.perf_counter() - began)


# In a client's process.


def come_back(fleet: Fleet, number: int) -> int:
    """So many times; returns how often it has resumed, as both ends say."""
    target = target_of(fleet)
    return sum(visit(target) for _ in range(number))


def visit(target: Target) -> bool:
    with connect(target) as tls:
        return ask(tls)


@cache
def target_of(fleet: Fleet) -> Target:
    """What remembers the client's sessions from turn to turn."""
    context = gnutls_resume.SSLContext(ssl.PROTOCOL_TLS_CLIENT, sessions=MemoryStore())
    context.load_verify_locations(fleet.files.trust)
    context.minimum_version = context.maximum_version = fleet.sharing.version
    if not fleet.sharing.tickets:
        context.options |= ssl.OP_NO_TICKET
    target = Target(fleet.port, context)
    visit(target)  # the first, which is not counted
    return target


# Servers: a process that forks the workers.


@contextmanager
def running(sharing: Sharing, files: Files) -> Iterator[Fleet]:
    ours, theirs = spawn.Pipe()
    parent = spawn.Process(target=serve, args=(sharing, files, theirs))
    parent.start()
    theirs.close()
    try:
        yield Fleet(sharing, files, ours.recv())
    finally:
        ours.close()
        parent.join()


def serve(sharing: Sharing, files: Files, pipe: "Connection[int, None]") -> None:
    """Fork the workers, and end them when the other end of the pipe is closed."""
    # What is made before the fork is shared.
    make = partial(make_context, sharing, files)
    shared = make() if sharing.ring or sharing.store else None
    with socket.create_server((LOOPBACK, 0)) as listener:
        workers = [fork(partial(work, listener, shared, make)) for _ in range(WORKERS)]
        pipe.send(listener.getsockname()[1])
    with suppress(EOFError, KeyboardInterrupt):
        pipe.recv()
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)


def fork(call: Callable[[], object]) -> int:
    """Make a call in a forked child, which ends with it; its process ID."""
    child = os.fork()
    if child == 0:
        try:
            call()
        finally:
            os._exit(1)
    return child


def work(
    listener: socket.socket, shared: ssl.SSLContext | None, make: Callable[[], ssl.SSLContext]
) -> None:
    """Serve one client after the other."""
    context = make() if shared is None else shared
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(sock, server_side=True) as tls:
            tls.recv(SIZE)
            tls.sendall(RESUMED if tls.session_reused else FULL)
            tls.recv(1)  # until the client closes


def make_context(sharing: Sharing, files: Files) -> ssl.SSLContext:
    context = gnutls_resume.SSLContext(
        ssl.PROTOCOL_TLS_SERVER,
        ticket_keys=TicketKeyRing() if sharing.tickets else None,
        sessions=store_at(sharing.store) if sharing.store else None,
        sealing_key=SealingKey.generate(),
    )
    context.load_cert_chain(files.certificate, files.key)
    return context


def store_at(place: str) -> Store:
    return RedisStore(place) if "://" in place else SQLiteStore(place)


if __name__ == "__main__":
    main()
