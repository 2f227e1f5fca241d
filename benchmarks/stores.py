"""The stores: what an operation takes, how long the slowest take, and what an entry takes.

    python benchmarks/stores.py [--quick] [--json FILE] [SECTION ...]

Keys have 32 bytes and values 1,500, about what a stored session has. Of several processes on one
file each is at work at the same time, and waits for the others as long as it takes. RedisStore
talks to a redis-server of its own over a Unix socket, and is compared with redis-py sending the
same commands; without redis-py or redis-server it is left out. A goal is met when the median is
within it.
"""

import argparse
import importlib
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import platform
import random
import shutil
import sqlite3
import struct
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, NamedTuple

from contest import Contest, Row, Section, compete
from open_connections import resident_size

from gnutls_resume.stores import MemoryStore, memory
from gnutls_resume.stores.protocol import Store
from gnutls_resume.stores.sqlite import SQLiteStore

KEYS = 10_000  # different keys of an operation
VALUE = os.urandom(1500)
ENTRIES = 1_000_000  # where there are many
SMALL = 100  # bytes of a value there
TTL = 3600
KEEP = 8
WORKERS = 4
PREFIX = "bench:"

GET_RATE, TAKE_RATE = 100_000, 8_000  # a second, of four processes on one SQLite file
TAKE_P99 = 20.0  # milliseconds
LOOKUP_RATIO = 2.5
OVERHEAD = 300.0  # bytes of an entry beside key and value

DICT, MEMORY, SQLITE, BARE, REDIS = "dict", "MemoryStore", "SQLiteStore", "redis-py", "RedisStore"
ONE, SEVERAL = "1 process", f"{WORKERS} processes"

Keys = Sequence[bytes]
Operation = Callable[[Store, bytes], object]

OPERATIONS: dict[str, Operation] = {
    "get": lambda store, key: store.get(key),
    "put": lambda store, key: store.put(key, VALUE, TTL),
    "add": lambda store, key: store.add(key, VALUE, TTL),
    "push": lambda store, key: store.push(key, VALUE, TTL, KEEP),
    "take": lambda store, key: store.take(key),
}


class Run(NamedTuple):
    """What all sections share: how much is done, and where."""

    repeats: int  # batches of each peer
    number: int  # operations in a batch
    folder: Path
    redis: str | None  # the server's URL


class Times(NamedTuple):
    """Of a batch, in seconds."""

    begin: float
    end: float
    each: Sequence[float]


Batch = Callable[[], Times]


def main() -> None:
    arguments = parse_arguments()
    quick = arguments.quick
    rows: list[Row] = []
    with TemporaryDirectory() as folder, ExitStack() as servers:
        run = Run(
            repeats=3 if quick else 15,
            number=1_000 if quick else 5_000,
            folder=Path(folder),
            redis=servers.enter_context(redis_server(Path(folder))),
        )
        for name in arguments.sections or SECTIONS:
            rows += SECTIONS[name](run)
        names = versions(run)

    print("\n" + ", ".join(f"{name} {version}" for name, version in names.items()))
    goals = [row for row in rows if row.met is not None]
    print(f"{sum(row.met is True for row in goals)} of {len(goals)} goals met")
    if arguments.json is not None:
        results = {"versions": names, "rows": [row._asdict() for row in rows]}
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the stores.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--quick", action="store_true", help="few and small batches")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the results")
    arguments = parser.parse_args()
    for name in arguments.sections:
        if name not in SECTIONS:
            parser.error(f"{name} is none of {', '.join(SECTIONS)}")
    return arguments


def versions(run: Run) -> dict[str, str]:
    found = {
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "gnutls_resume": importlib.metadata.version("gnutls_resume"),
    }
    if run.redis is not None:
        found["redis-py"] = importlib.metadata.version("redis")
        found["Redis"] = str(redis_client(run.redis).info("server")["redis_version"])
    return found


# The sections of the table.


def measure_operations(run: Run) -> list[Row]:
    return measure_both(run, "an operation", {name: batches(run, name) for name in OPERATIONS})


def measure_processes(run: Run) -> list[Row]:
    """The time of one operation of any process: with several it is less, as they share it."""
    peers = {
        f"SQLiteStore.{name}": {
            peer: partial(batch_of_processes, run.folder / f"{name} {number}.db", name, number, run)
            for peer, number in ((ONE, 1), (SEVERAL, WORKERS))
        }
        for name in OPERATIONS
    }
    return measure_both(
        run,
        "processes",
        peers,
        goals={"SQLiteStore.get": 1e6 / GET_RATE, "SQLiteStore.take": 1e6 / TAKE_RATE},
        p99_goals={"SQLiteStore.take": TAKE_P99},
    )


def measure_both(
    run: Run,
    section: str,
    peers: Mapping[str, Mapping[str, Batch]],
    goals: Mapping[str, float] = MappingProxyType({}),
    p99_goals: Mapping[str, float] = MappingProxyType({}),
) -> list[Row]:
    """Two tables of the same batches: the mean, and what 1 operation in 100 exceeds."""
    slowest: dict[tuple[str, str], list[float]] = defaultdict(list)

    def mean(name: str, peer: str) -> float:
        times = peers[name][peer]()
        slowest[name, peer].append(p99(times.each) * 1e3)
        return microseconds(times)

    means = [
        Contest(name, {peer: partial(mean, name, peer) for peer in those}, goal=goals.get(name))
        for name, those in peers.items()
    ]
    rows = compete(Section(section, unit="µs", amount=1000), means, run.repeats)
    told = [
        Contest(
            name,
            {peer: partial(slowest[name, peer].pop, 0) for peer in those},
            goal=p99_goals.get(name),
        )
        for name, those in peers.items()
    ]
    return rows + compete(Section(f"{section}: 99th percentile", rate=""), told, run.repeats)


def measure_redis(run: Run) -> list[Row]:
    if run.redis is None:
        print("\nredis: left out, since redis-py or redis-server is missing")
        return []
    client, store = redis_client(run.redis), redis_store(run.redis)
    contests = {
        name: {
            BARE: partial(one_batch, store, name, run.number, partial(send, client, command)),
            REDIS: partial(one_batch, store, name, run.number),
        }
        for name, command in BARE_COMMANDS.items()
    }
    return measure_both(run, "through Redis", contests)


def measure_lookup(run: Run) -> list[Row]:
    store, keys = big_store(ENTRIES)
    plain = {key: (time.time() + TTL, bytes(SMALL)) for key in keys}
    now = memory.now

    def get(key: bytes) -> bytes | None:
        entry = plain.get(key)
        return entry[1] if entry is not None and entry[0] > now() else None

    def batch(look_up: Callable[[bytes], object]) -> float:
        asked = random.sample(keys, run.number * 4)
        begin = time.perf_counter()
        for key in asked:
            look_up(key)
        return (time.perf_counter() - begin) / len(asked) * 1e6

    contest = Contest(
        f"get, {ENTRIES:,} entries",
        {DICT: partial(batch, get), MEMORY: partial(batch, store.get)},
        ratio_goal=LOOKUP_RATIO,
    )
    return compete(Section("a look-up", unit="µs", amount=1000), [contest], run.repeats)


def measure_memory(run: Run) -> list[Row]:
    peers = {peer: partial(overhead, fill, ENTRIES) for peer, fill in FILLERS.items()}
    contest = Contest(f"{ENTRIES:,} entries", peers, goal=OVERHEAD)
    return compete(
        Section("beside key and value", unit="bytes", rate=""), [contest], min(run.repeats, 3)
    )


SECTIONS: dict[str, Callable[[Run], list[Row]]] = {
    "operations": measure_operations,
    "processes": measure_processes,
    "redis": measure_redis,
    "lookup": measure_lookup,
    "memory": measure_memory,
}


# Batches


def batches(run: Run, name: str) -> dict[str, Batch]:
    """The same operation of one process on each store."""
    stores: dict[str, Store] = {
        MEMORY: MemoryStore(max_keys=100_000, max_bytes=2**40),
        SQLITE: SQLiteStore(run.folder / f"{name}.db", timeout=10),
    }
    if run.redis is not None:
        stores[REDIS] = redis_store(run.redis)
    return {peer: partial(one_batch, store, name, run.number) for peer, store in stores.items()}


def one_batch(store: Store, name: str, number: int, operation: Operation | None = None) -> Times:
    keys = prepare(store, name, number)
    return timed(store, operation or OPERATIONS[name], keys)


def prepare(store: Store, name: str, number: int) -> Keys:
    """The keys of a batch, with what the operation needs to find under them."""
    if name == "add":
        return [os.urandom(32) for _ in range(number)]
    keys = [random.randrange(KEYS).to_bytes(32) for _ in range(number)]  # noqa: S311 - no secret
    for key in keys:
        if name == "get":
            store.put(key, VALUE, TTL)
        if name == "take":
            store.push(key, VALUE, TTL, KEEP)
    return keys


def timed(store: Store, operation: Operation, keys: Keys) -> Times:
    each = []
    begin = time.perf_counter()
    last = begin
    for key in keys:
        operation(store, key)
        now = time.perf_counter()
        each.append(now - last)
        last = now
    return Times(begin, last, each)


def microseconds(times: Times) -> float:
    """The mean of an operation."""
    return (times.end - times.begin) / len(times.each) * 1e6


def p99(each: Sequence[float]) -> float:
    return sorted(each)[len(each) * 99 // 100]


def batch_of_processes(path: Path, name: str, processes: int, run: Run) -> Times:
    fork = multiprocessing.get_context("fork")
    pipes = []
    workers = []
    for _ in range(processes):
        ours, theirs = fork.Pipe()
        worker = fork.Process(target=work, args=(path, name, run.number, theirs))
        worker.start()
        pipes.append(ours)
        workers.append(worker)
    for pipe in pipes:
        pipe.recv()
    for pipe in pipes:
        pipe.send(None)
    results: list[Times] = [pipe.recv() for pipe in pipes]
    for worker in workers:
        worker.join()
    return Times(
        min(times.begin for times in results),
        max(times.end for times in results),
        [took for times in results for took in times.each],
    )


def work(path: Path, name: str, number: int, pipe: "Connection[Any, Any]") -> None:
    """In a process of its own: prepare, wait until all are ready, do it and tell the times."""
    random.seed()
    store = SQLiteStore(path, timeout=10)
    keys = prepare(store, name, number)
    pipe.send(None)
    pipe.recv()
    pipe.send(timed(store, OPERATIONS[name], keys))
    store.close()


# A million entries


def big_store(entries: int) -> tuple[MemoryStore, list[bytes]]:
    store = MemoryStore(max_keys=2 * entries, max_bytes=2**40)
    keys = [os.urandom(32) for _ in range(entries)]
    for key in keys:
        store.put(key, bytes(SMALL), TTL)
    return store, keys


def fill_dict(entries: int) -> object:
    return {os.urandom(32): (time.time() + TTL, os.urandom(SMALL)) for _ in range(entries)}


def fill_store(entries: int) -> object:
    store = MemoryStore(max_keys=2 * entries, max_bytes=2**40)
    for _ in range(entries):
        store.put(os.urandom(32), os.urandom(SMALL), TTL)
    return store


FILLERS: dict[str, Callable[[int], object]] = {DICT: fill_dict, MEMORY: fill_store}


def overhead(fill: Callable[[int], object], entries: int) -> float:
    """The bytes of an entry beside key and value, measured in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    worker = spawn.Process(target=tell_growth, args=(fill, entries, theirs))
    worker.start()
    grown: int = ours.recv()
    worker.join()
    return grown / entries - 32 - SMALL


def tell_growth(fill: Callable[[int], object], entries: int, pipe: "Connection[Any, Any]") -> None:
    before = resident_size(os.getpid())
    kept = fill(entries)
    pipe.send((resident_size(os.getpid()) - before) * 1024)
    del kept


# Redis


@contextmanager
def redis_server(folder: Path) -> Iterator[str | None]:
    """The URL of a server that ends afterwards, or None."""
    program = shutil.which("redis-server")
    found = all(importlib.util.find_spec(name) for name in ("redis", "gnutls_resume.stores.redis"))
    if program is None or not found:
        yield None
        return
    socket = folder / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no"]
    with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL, cwd=folder) as server:
        url = f"unix://{socket}"
        try:
            wait_for(url)
            yield url
        finally:
            server.terminate()


def wait_for(url: str) -> None:
    redis = importlib.import_module("redis")
    end = time.monotonic() + 10
    while True:
        try:
            redis_client(url).ping()
        except redis.ConnectionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return


def redis_client(url: str) -> Any:  # noqa: ANN401 - redis-py may be missing
    return importlib.import_module("redis").Redis.from_url(url)


def redis_store(url: str) -> Store:
    store: Store = importlib.import_module("gnutls_resume.stores.redis").RedisStore(
        url, prefix=PREFIX, timeout=10
    )
    return store


def send(client: Any, command: Callable[[Any, bytes], object], _: Store, key: bytes) -> object:  # noqa: ANN401
    return command(client, key)


def single(key: bytes) -> str:
    return f"{PREFIX}v{{{key.hex()}}}"


def stack(key: bytes) -> str:
    return f"{PREFIX}s{{{key.hex()}}}"


def bare_push(client: Any, key: bytes) -> None:  # noqa: ANN401
    expires = int((time.time() + TTL) * 1000)
    pipeline = client.pipeline(transaction=True)
    pipeline.lpush(stack(key), struct.pack(">Q", expires) + VALUE)
    pipeline.ltrim(stack(key), 0, KEEP - 1)
    pipeline.pexpire(stack(key), TTL * 1000, nx=True)
    pipeline.pexpire(stack(key), TTL * 1000, gt=True)
    pipeline.execute()


BARE_COMMANDS: dict[str, Callable[[Any, bytes], object]] = {
    "get": lambda client, key: client.get(single(key)),
    "put": lambda client, key: client.set(single(key), VALUE, px=TTL * 1000),
    "add": lambda client, key: client.set(single(key), VALUE, px=TTL * 1000, nx=True),
    "push": bare_push,
    "take": lambda client, key: client.lpop(stack(key)),
}


if __name__ == "__main__":
    main()
