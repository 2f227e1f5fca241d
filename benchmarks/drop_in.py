"""gnutls_resume in place of the standard library's ssl, measured against it.

    python benchmarks/drop_in.py [--quick] [--json FILE] [SECTION ...]

Client and server are processes of their own on the loopback interface, with a P-256 certificate
signed by a root that the client trusts; chain and host name are verified. A goal is met when the
median is within it. The goals are for blocking sockets, and those of connections hold for one
client thread and for eight; they depend on the OpenSSL that the standard library has.

The standard library's sessions are handed on by hand. In asyncio there is no way to do that, so
its full handshake stands beside our resumed one, without a goal.
"""

import argparse
import asyncio
import importlib.metadata
import json
import os
import platform
import ssl
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import connections
import contexts
from certificates import Files, make_certificates
from connections import BULK, DOWNLOAD, THREADS, UPLOAD, Service, Target, running
from contest import Contest, Row, Section, compete
from open_connections import memory_of_a_connection

import gnutls_resume

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

# The largest ratios to the standard library that are good enough, with OpenSSL before 3.5 and
# from 3.5 on, whose own server and client are quicker, but send a large post-quantum key.
NEW_OPENSSL = ssl.OPENSSL_VERSION_INFO >= (3, 5)
GOALS = {
    "resumed 1.3": 0.70 if NEW_OPENSSL else 0.55,
    "resumed 1.2": 0.80 if NEW_OPENSSL else 0.45,
    "full 1.3": 0.95 if NEW_OPENSSL else 0.80,
    "full 1.2": 1.15 if NEW_OPENSSL else 0.95,
    "bulk": 1.35 if NEW_OPENSSL else 1.15,
    "memory": 0.5 if NEW_OPENSSL else 0.6,
}
NAGLE_GOAL = 3.0  # milliseconds
STORE_GOAL = 1 / 0.95  # the rate is at most 5 % lower
OTHER_SESSIONS = 100_000
SESSION_SIZE = 1_500  # bytes, about what a stored session has

STANDARD, X25519, OURS = "ssl", "ssl X25519", "gnutls_resume"
MAKERS = {
    STANDARD: contexts.standard,
    X25519: contexts.standard_x25519,
    OURS: contexts.drop_in,
}


class Run(NamedTuple):
    """What all sections share: how much is done, and with what."""

    certificates: Sequence[Files]
    repeats: int  # batches of each peer
    connections: int  # in a batch
    open_connections: int
    pool: ThreadPoolExecutor
    runner: asyncio.Runner
    servers: ExitStack


def main() -> None:
    arguments = parse_arguments()
    quick = arguments.quick
    rows: list[Row] = []
    with (
        TemporaryDirectory() as folder,
        ThreadPoolExecutor(THREADS) as pool,
        asyncio.Runner() as runner,
    ):
        certificates = make_certificates(Path(folder), 40 if quick else 240)
        for name in arguments.sections or SECTIONS:
            with ExitStack() as servers:
                run = Run(
                    certificates,
                    repeats=5 if quick else 50,
                    connections=10 if quick else 24,
                    open_connections=50 if quick else 200,
                    pool=pool,
                    runner=runner,
                    servers=servers,
                )
                rows += SECTIONS[name](run)

    names = versions()
    print("\n" + ", ".join(f"{name} {version}" for name, version in names.items()))
    goals = [row for row in rows if row.met is not None]
    print(f"{sum(row.met is True for row in goals)} of {len(goals)} goals met")
    if arguments.json is not None:
        results = {"versions": names, "rows": [row._asdict() for row in rows]}
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare with the standard library's ssl.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--quick", action="store_true", help="few and small batches")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the results")
    arguments = parser.parse_args()
    for name in arguments.sections:
        if name not in SECTIONS:
            parser.error(f"{name} is none of {', '.join(SECTIONS)}")
    return arguments


def versions() -> dict[str, str]:
    return {
        "Python": platform.python_version(),
        "OpenSSL": ssl.OPENSSL_VERSION.removeprefix("OpenSSL "),
        "GnuTLS": gnutls_resume.GNUTLS_VERSION,
        "gnutls_resume": importlib.metadata.version("gnutls_resume"),
    }


# The sections of the table.


def measure_sockets(run: Run) -> list[Row]:
    contests = []
    for version in VERSIONS:
        ports = {peer: start(run, peer, version) for peer in MAKERS}
        for resumed in (False, True):
            name = f"{'resumed' if resumed else 'full'} {version}"
            targets = {
                peer: make_target(run, peer, ports[peer], version, resumed=resumed)
                for peer in MAKERS
            }
            contests += [
                Contest(
                    f"{name}, {clients(threads)}",
                    {
                        peer: partial(time_visits, run, target, threads, resumed=resumed)
                        for peer, target in targets.items()
                    },
                    ratio_goal=GOALS[name],
                )
                for threads in (1, THREADS)
            ]
    return compete(Section("blocking sockets"), contests, run.repeats)


def measure_asyncio(run: Run) -> list[Row]:
    contests = []
    peers = STANDARD, OURS
    for version in VERSIONS:
        ports = {peer: start(run, peer, version, asynchronous=True) for peer in peers}
        for resumed in (False, True):
            name = f"resumed {version} to full" if resumed else f"full {version}"
            targets = {
                peer: make_target(run, peer, ports[peer], version, resumed=resumed)
                for peer in peers
            }
            contests += [
                Contest(
                    f"{name}, {clients(tasks)}",
                    {
                        peer: partial(
                            time_async_visits, run, target, tasks, resumed=resumed and peer == OURS
                        )
                        for peer, target in targets.items()
                    },
                )
                for tasks in (1, THREADS)
            ]
    return compete(Section("asyncio"), contests, run.repeats)


def measure_bulk(run: Run) -> list[Row]:
    contests = []
    for api, asynchronous in ("sockets", False), ("asyncio", True):
        targets = {}
        for peer in (STANDARD, OURS):
            port = start(run, peer, "1.3", asynchronous=asynchronous)
            targets[peer] = make_target(run, peer, port, "1.3", resumed=False)
        for word, request in ("upload", UPLOAD), ("download", DOWNLOAD):
            time_one = partial(time_async_bulk, run.runner) if asynchronous else time_bulk
            peers = {peer: partial(time_one, target, request) for peer, target in targets.items()}
            goal = None if asynchronous else GOALS["bulk"]
            contests.append(Contest(f"{api}, {word}", peers, ratio_goal=goal))
    section = Section(f"{BULK >> 20} MiB in TLS 1.3", rate="MiB/s", amount=BULK >> 20)
    return compete(section, contests, run.repeats)


def measure_memory(run: Run) -> list[Row]:
    contests = []
    for name, version in VERSIONS.items():
        peers: dict[str, Callable[[], float]] = {}
        for peer in (STANDARD, OURS):
            service = Service(MAKERS[peer], version, run.certificates[:1], threads=1)
            maker = contexts.drop_in_forgetful if peer == OURS else MAKERS[peer]
            peers[peer] = partial(memory_of_both_ends, maker, service, run.open_connections)
        contests.append(Contest(f"full {name}", peers, ratio_goal=GOALS["memory"]))
    return compete(Section("memory of both ends", "KiB", rate=""), contests, repeats=3)


def measure_nagle(run: Run) -> list[Row]:
    contests = []
    few = run._replace(connections=4)
    for version in VERSIONS:
        peers = {}
        for peer in (STANDARD, OURS):
            port = start(run, peer, version, nodelay=False)
            target = make_target(run, peer, port, version, resumed=True)._replace(nodelay=False)
            peers[peer] = partial(time_visits, few, target, 1, resumed=True)
        contests.append(Contest(f"resumed {version}", peers, goal=NAGLE_GOAL))
    return compete(Section("Nagle's algorithm on"), contests, (run.repeats + 1) // 2)


def measure_store(run: Run) -> list[Row]:
    full = gnutls_resume.MemoryStore(max_keys=2 * OTHER_SESSIONS, max_bytes=1 << 30)
    for _ in range(OTHER_SESSIONS // 2):
        full.put(os.urandom(32), os.urandom(SESSION_SIZE), 86400)
        full.push(os.urandom(32), os.urandom(SESSION_SIZE), 86400, keep=8)
    stores = {"empty": gnutls_resume.MemoryStore(), f"{OTHER_SESSIONS:,} others": full}
    contests = []
    for name, version in VERSIONS.items():
        port = start(run, OURS, name)
        targets = {}
        for peer, store in stores.items():
            context = contexts.with_store(
                ssl.PROTOCOL_TLS_CLIENT, version, run.certificates[0], store
            )
            targets[peer] = Target(port, context)
        contests += [
            Contest(
                f"resumed {name}, {clients(threads)}",
                {
                    peer: partial(time_visits, run, target, threads, resumed=True)
                    for peer, target in targets.items()
                },
                ratio_goal=STORE_GOAL,
            )
            for threads in (1, THREADS)
        ]
    return compete(Section("sessions in the store"), contests, run.repeats)


def measure_verdicts(run: Run) -> list[Row]:
    number = 20
    certificates: list[Files] = []
    for i in range(0, len(run.certificates), number):
        certificates += [*run.certificates[i : i + number]] * 2
    contests = []
    for peer in (STANDARD, OURS):
        service = Service(MAKERS[peer], VERSIONS["1.3"], certificates, threads=1)
        port = run.servers.enter_context(running(service)).port
        target = make_target(run, peer, port, "1.3", resumed=False)
        batch = partial(time_cold_visits, target, number)
        contests.append(Contest(peer, {"first": batch, "again": batch}, in_order=True))
    return compete(Section("chains in full 1.3"), contests, len(run.certificates) // number)


SECTIONS: dict[str, Callable[[Run], list[Row]]] = {
    "sockets": measure_sockets,
    "asyncio": measure_asyncio,
    "bulk": measure_bulk,
    "memory": measure_memory,
    "nagle": measure_nagle,
    "store": measure_store,
    "verdicts": measure_verdicts,
}


def clients(number: int) -> str:
    return "1 client" if number == 1 else f"{number} clients"


# Servers and targets.


def start(
    run: Run, peer: str, version: str, *, asynchronous: bool = False, nodelay: bool = True
) -> int:
    """Start a server for this section and return its port."""
    service = Service(
        MAKERS[peer],
        VERSIONS[version],
        run.certificates[:1],
        asynchronous=asynchronous,
        nodelay=nodelay,
    )
    return run.servers.enter_context(running(service)).port


def make_target(run: Run, peer: str, port: int, version: str, *, resumed: bool) -> Target:
    maker = contexts.drop_in_forgetful if peer == OURS and not resumed else MAKERS[peer]
    context = maker(ssl.PROTOCOL_TLS_CLIENT, VERSIONS[version], run.certificates[0])
    return Target(port, context, by_hand=resumed and peer != OURS)


# Batches: each returns its cost, in the unit of its section.


def time_visits(run: Run, target: Target, threads: int, *, resumed: bool) -> float:
    saved = connections.warm(target, threads)
    number = each(run, threads)
    visits = partial(connections.visits_in_threads, run.pool, target, saved, number)
    return milliseconds(partial(visits, resumed=resumed)) / (number * threads)


def time_async_visits(run: Run, target: Target, tasks: int, *, resumed: bool) -> float:
    run.runner.run(connections.warm_async(target, tasks))
    number = each(run, tasks)
    visits = connections.visits_in_tasks(target, tasks, number, resumed=resumed)
    return milliseconds(lambda: run.runner.run(visits)) / (number * tasks)


def each(run: Run, clients: int) -> int:
    """Visits of each client; with eight, some wait for others at both ends of a batch."""
    return run.connections if clients == 1 else run.connections // 4


def time_cold_visits(target: Target, number: int) -> float:
    # No warming up: the server would show the next certificate.
    return milliseconds(partial(connections.visits, target, None, number, resumed=False)) / number


def time_bulk(target: Target, request: bytes) -> float:
    with connections.connect(target) as tls:
        return milliseconds(partial(connections.ask, tls, request))


def time_async_bulk(runner: asyncio.Runner, target: Target, request: bytes) -> float:
    streams = runner.run(connections.connect_async(target))
    asking = connections.ask_async(streams, request)
    took = milliseconds(lambda: runner.run(asking))
    runner.run(connections.close_async(streams))
    return took


def memory_of_both_ends(maker: contexts.MakeContext, service: Service, number: int) -> float:
    return sum(memory_of_a_connection(maker, service, number))


def milliseconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - begin) / 1e6


if __name__ == "__main__":
    main()
