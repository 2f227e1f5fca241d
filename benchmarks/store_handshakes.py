"""What a store costs inside a handshake: TLS 1.2 resumed by session ID, in memory, both ends.

Each peer is a server with another store; the client is the same. "bare" has its sessions in this
process's memory, and besides asks Redis through redis-py for a value of the same size: what
``RedisStore`` takes more than that is its own.

    ./dev bench store_handshakes
"""

import argparse
import contextlib
import json
import ssl
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import redis
from certificates import HOST, Files, make_certificates
from contest import Contest, Section, compete

import gnutls_resume
from gnutls_resume import HandshakeKind, MemoryStore, RedisStore, SealingKey, SQLiteStore, Store

REPEATS, BATCH = 40, 50
MOST = 60e-3  # milliseconds that a handshake through Redis may take above bare calls
ENTRY = 1500  # bytes, about those of a sealed session

Times = list[float]


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> bool:
    """A handshake in memory; whether it was resumed by session ID."""
    one_way, other_way = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(one_way, other_way, server_hostname=HOST)
    far = server.wrap_bio(other_way, one_way, server_side=True)
    waiting = [near, far]
    while waiting:
        one = waiting.pop(0)
        try:
            one.do_handshake()
        except ssl.SSLWantReadError:
            waiting.append(one)
    found = gnutls_resume.outcome(far)
    return found is not None and found.kind is HandshakeKind.RESUMED_SESSION_ID


def make_client(files: Files) -> ssl.SSLContext:
    context = gnutls_resume.SSLContext(ssl.PROTOCOL_TLS_CLIENT, sessions=MemoryStore())
    context.load_verify_locations(files.trust)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET
    return context


def make_server(files: Files, store: Store, key: SealingKey) -> ssl.SSLContext:
    context = gnutls_resume.SSLContext(
        ssl.PROTOCOL_TLS_SERVER, sessions=store, sealing_key=key, ticket_keys=None
    )
    context.load_cert_chain(files.certificate, files.key)
    return context


def peer(
    files: Files, store: Store, times: Times, extra: Callable[[], object]
) -> Callable[[], float]:
    """A batch of handshakes with this store, which returns milliseconds a handshake."""
    client, server = make_client(files), make_server(files, store, SealingKey.generate())
    shake_hands(client, server)

    def batch() -> float:
        taken = []
        for _ in range(BATCH):
            began = time.perf_counter()
            extra()
            resumed = shake_hands(client, server)
            taken.append((time.perf_counter() - began) * 1000)
            assert resumed
        times.extend(taken)
        return statistics.median(taken)

    return batch


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """A server on a socket in the folder; yields its URL."""
    path = folder / "redis.sock"
    command = ("redis-server", "--port", "0", "--unixsocket", str(path), "--save", "")
    with subprocess.Popen([*command, "--dir", str(folder)], stdout=subprocess.DEVNULL) as process:
        url = f"unix://{path}"
        try:
            client = redis.Redis.from_url(url)
            for _ in range(1000):
                with contextlib.suppress(redis.ConnectionError):
                    client.ping()
                    break
                time.sleep(0.01)
            yield url
        finally:
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (files,) = make_certificates(folder, 1)
        with redis_server(folder) as url:
            bare = redis.Redis.from_url(url)
            bare.set("entry", bytes(ENTRY))
            stores: dict[str, tuple[Store, Callable[[], object]]] = {
                "memory": (MemoryStore(), int),
                "SQLite": (SQLiteStore(folder / "sessions.db"), int),
                "bare": (MemoryStore(), lambda: bare.get("entry")),
                "Redis": (RedisStore(url), int),
            }
            times: dict[str, Times] = {name: [] for name in stores}
            peers = {
                name: peer(files, store, times[name], extra)
                for name, (store, extra) in stores.items()
            }
            section = Section("resumed by ID, both ends")
            rows = compete(section, [Contest("TLS 1.2", peers)], REPEATS)
    cost = {row.peer: row.cost for row in rows}
    for name, taken in times.items():
        print(f"{name:10} p99 {statistics.quantiles(taken, n=100)[98]:.3f} ms")
    above = cost["Redis"] - cost["bare"]
    print(f"Redis above bare calls: {above * 1000:.0f} us (goal {MOST * 1000:.0f})")
    if options.json:
        options.json.write_text(json.dumps([row._asdict() for row in rows], indent=1))


if __name__ == "__main__":
    main()
