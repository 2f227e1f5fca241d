"""Handshakes through gnutls_resume, measured against GnuTLS in C.

    python benchmarks/handshake.py [--rounds N] [--repeats N] [--json FILE]
    python benchmarks/handshake.py --memory [N] [--json FILE]

A round makes a client and a server, connects them through memory, takes the client's session
and ends both. The C program beside this file does the same rounds on GnuTLS alone; the
standard library's ssl and pyOpenSSL do them on OpenSSL, with their own defaults. Small batches
of all four take turns, and each ratio is one batch over C's batch of the same turn: a slow
moment of the machine hits both. A goal is met when the median ratio is within it both by the
clock and by processor time.

Needs cc and pkg-config.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import ssl
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from certificates import HOST, Files, make_certificates
from OpenSSL import SSL
from peers import (
    KINDS,
    Cost,
    CPeer,
    Kind,
    Peer,
    PyOpenSSLPeer,
    ResumePeer,
    StdlibPeer,
)

WARM_UP = 2_000  # rounds
MEMORY_GOAL = 2_048  # KiB


# By names of kind and peer, in the order of the repeats.
Costs = dict[tuple[str, str], list[Cost]]


class Row(NamedTuple):
    """What one peer took for one kind: medians over all repeats, in microseconds a round."""

    kind: str
    peer: str
    wall: float
    cpu: float
    wall_ratio: float
    cpu_ratio: float
    goal: float | None
    met: bool | None


def main() -> None:
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        [files] = make_certificates(folder, 1)
        if arguments.memory is not None:
            results = measure_memory(ResumePeer(files), arguments.memory)
        else:
            results = measure_time(files, folder, arguments.rounds, arguments.repeats)
    names = versions()
    print(", ".join(f"{name} {version}" for name, version in names.items()))
    if arguments.json is not None:
        results = {"versions": names, **results}
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare handshakes with GnuTLS in C.")
    parser.add_argument("--rounds", type=int, default=50, help="rounds in a batch")
    parser.add_argument("--repeats", type=int, default=40, help="batches of each kind and peer")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the results")
    parser.add_argument(
        "--memory",
        type=int,
        nargs="?",
        const=100_000,
        metavar="N",
        help="measure memory over this many handshakes (100000) instead of time",
    )
    return parser.parse_args()


def output(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def versions() -> dict[str, str]:
    openssl = SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode()
    return {
        "Python": platform.python_version(),
        "gnutls_resume": importlib.metadata.version("gnutls_resume"),
        "GnuTLS": output("pkg-config", "--modversion", "gnutls").strip(),
        "cffi": importlib.metadata.version("cffi"),
        "OpenSSL of ssl": ssl.OPENSSL_VERSION.removeprefix("OpenSSL "),
        "pyOpenSSL": importlib.metadata.version("pyOpenSSL"),
        "OpenSSL of pyOpenSSL": openssl.removeprefix("OpenSSL "),
    }


def measure_time(files: Files, folder: Path, rounds: int, repeats: int) -> dict[str, object]:
    program = folder / "handshake"
    flags = output("pkg-config", "--cflags", "--libs", "gnutls").split()
    source = Path(__file__).with_suffix(".c")
    subprocess.run(["cc", "-O2", source, "-o", program, *flags], check=True)
    with subprocess.Popen(
        [program, *files, HOST], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        c_peer = CPeer(process.stdin, process.stdout)
        peers: list[Peer] = [
            c_peer,
            ResumePeer(files),
            StdlibPeer(files),
            PyOpenSSLPeer(files),
        ]
        costs = interleave(peers, rounds, repeats)

    rows = [make_row(kind, peer.name, costs, rounds) for kind in KINDS for peer in peers]
    print_rows(rows)
    return {
        "rounds": rounds,
        "repeats": repeats,
        "microseconds": [row._asdict() for row in rows],
    }


def interleave(peers: Sequence[Peer], rounds: int, repeats: int) -> Costs:
    costs: Costs = {(kind.name, peer.name): [] for kind in KINDS for peer in peers}
    for repeat in range(repeats):
        first = repeat % len(peers)
        for kind in KINDS:
            for peer in [*peers[first:], *peers[:first]]:
                costs[kind.name, peer.name].append(peer.batch(kind, rounds))
    return costs


def make_row(kind: Kind, peer: str, costs: Costs, rounds: int) -> Row:
    ours = costs[kind.name, peer]
    pairs = list(zip(ours, costs[kind.name, "C"], strict=True))
    wall_ratio = statistics.median(cost.wall / c.wall for cost, c in pairs)
    cpu_ratio = statistics.median(cost.cpu / c.cpu for cost, c in pairs)
    goal = kind.goal if peer == ResumePeer.name else None
    return Row(
        kind.name,
        peer,
        wall=statistics.median(cost.wall for cost in ours) / rounds / 1000,
        cpu=statistics.median(cost.cpu for cost in ours) / rounds / 1000,
        wall_ratio=wall_ratio,
        cpu_ratio=cpu_ratio,
        goal=goal,
        met=None if goal is None else max(wall_ratio, cpu_ratio) <= goal,
    )


def print_rows(rows: list[Row]) -> None:
    print("microseconds a round, and ratio to C, by the clock and by processor time")
    print("kind            peer            clock    cpu   clock/C  cpu/C   goal  met")
    for row in rows:
        line = f"{row.kind:15} {row.peer:13} {row.wall:7.1f} {row.cpu:6.1f}"
        line += f"   {row.wall_ratio:7.3f} {row.cpu_ratio:6.3f}"
        if row.goal is not None:
            line += f"   {row.goal:4}  {'yes' if row.met else 'no'}"
        print(line)


def measure_memory(peer: ResumePeer, handshakes: int) -> dict[str, object]:
    """Do all kinds in turn, as one process that lives long, and see what it grows by."""
    saved: dict[str, bytes] = {}

    def work(rounds: int) -> None:
        for i in range(rounds):
            kind = KINDS[i % len(KINDS)]
            data = peer.round(kind, saved.get(kind.name))
            if kind.resumed:
                saved[kind.name] = data

    work(WARM_UP)
    before = resident_size()
    work(handshakes)
    after = resident_size()
    growth = after - before
    met = growth <= MEMORY_GOAL
    print(f"resident KiB after {WARM_UP} handshakes {before}, after {handshakes} more {after}")
    print(f"growth {growth}, goal {MEMORY_GOAL}: {'met' if met else 'not met'}")
    return {
        "handshakes": handshakes,
        "KiB": {"before": before, "after": after, "growth": growth, "goal": MEMORY_GOAL},
        "met": met,
    }


def resident_size() -> int:
    """KiB of this process that are in memory (proc(5), statm)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


if __name__ == "__main__":
    main()
