"""The store in Redis: what it sends, and what becomes of it when Redis fails. The rest of what it
does is in test_conformance.py.
"""

import copy
import math
import os
import pickle
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import fault_proxy as faults
import pytest
import redis
from conftest import Certificates
from fault_proxy import FaultProxy, fault_proxy
from interop.programs import free_port
from redis_server import RedisServer, redis_server

from gnutls_resume.errors import StoreError
from gnutls_resume.stores.protocol import StoredEntry
from gnutls_resume.stores.redis import MAX_CONNECTIONS, RedisStore
from gnutls_resume.testing import in_children, in_threads

TTL = 3600  # seconds
PATIENT = 20  # seconds that what should work may take, on a machine that does other things too
TIMEOUT = 0.2  # seconds that a store waits for what does not work
MUCH = 15  # times TIMEOUT: what lasts so long was not bounded by it
KEY, OTHER_KEY = b"key", b"other key"
A, B, C = b"value A", b"value B", b"value C"
SECRET = "s3cr3t/w0rd"

# Each operation, and what it sends at least: its first command.
CALLS: dict[str, Callable[[RedisStore], object]] = {
    "GET": lambda store: store.get(KEY),
    "SET": lambda store: store.put(KEY, A, TTL),
    "NX": lambda store: store.add(KEY, A, TTL),
    "LPUSH": lambda store: store.push(KEY, A, TTL, 8),
    "LPOP": lambda store: store.take(KEY),
    "UNLINK": lambda store: store.remove(KEY),
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis"), "--enable-debug-command", "yes") as server:
        yield server


@pytest.fixture
def server(shared: RedisServer) -> RedisServer:
    """Empty, and with the statistics of this test alone."""
    shared.command("FLUSHALL")
    shared.command("CONFIG", "RESETSTAT")
    return shared


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[FaultProxy]:
    with fault_proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def store(server: RedisServer) -> RedisStore:
    return RedisStore(server.url, timeout=PATIENT)


@contextmanager
def fails_in_time(store: RedisStore, match: str = "Redis: ") -> Iterator[None]:
    """With a StoreError, while the store's timeout is TIMEOUT."""
    with hurried(store), pytest.raises(StoreError, match=match):
        yield


@contextmanager
def hurried(store: RedisStore) -> Iterator[None]:
    store._timeout = TIMEOUT
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < MUCH * TIMEOUT
    store._timeout = PATIENT


def works(store: RedisStore) -> None:
    """Each operation, at the first try."""
    store.put(KEY, A, TTL)
    store.push(KEY, B, TTL, 8)
    assert store.get(KEY) == A
    assert store.take(KEY) == B
    assert not store.add(KEY, C, TTL)
    store.remove(KEY)
    assert store.get(KEY) is None
    assert store.add(KEY, C, TTL)


def calls_of(server: RedisServer) -> dict[str, int]:
    """How often the server was asked for what."""
    with redis.Redis.from_url(server.url, protocol=2) as client:
        stats = client.info("commandstats")
    return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}


# What is sent


@each_call
def test_an_operation_is_one_round_trip(
    proxy: FaultProxy, call: Callable[[RedisStore], object]
) -> None:
    store = RedisStore(proxy.url, timeout=PATIENT)
    call(store)
    assert len(proxy.requests) == 1
    call(store)
    assert len(proxy.requests) == 2
    assert proxy.connections == 1


def test_nothing_is_sent_before_the_first_question(proxy: FaultProxy) -> None:
    store = RedisStore(proxy.url, timeout=PATIENT)
    assert proxy.connections == 0
    store.get(KEY)
    assert proxy.requests == [b"*2\r\n$3\r\nGET\r\n$23\r\ngnutls_resume:v{6b6579}\r\n"]


def test_the_names_and_times_are_those_of_the_documentation(
    store: RedisStore, server: RedisServer
) -> None:
    store.put(KEY, A, 100)
    before = time.time()
    store.push(KEY, B, 100.5, 8)
    after = time.time()
    value, stack = "gnutls_resume:v{6b6579}", "gnutls_resume:s{6b6579}"
    assert server.command("GET", value) == A
    [entry] = server.command("LRANGE", stack, 0, -1)
    assert entry[8:] == B
    assert before * 1000 - 1 < int.from_bytes(entry[:8], "big") - 100_500 < after * 1000 + 1
    assert 90_000 < server.command("PTTL", value) <= 100_000
    assert 90_000 < server.command("PTTL", stack) <= 100_500


def test_a_list_lives_as_long_as_the_longest_of_its_entries(
    store: RedisStore, server: RedisServer
) -> None:
    stack = "gnutls_resume:s{6b6579}"
    for ttl, left in [(50, 50_000), (100, 100_000), (20, 100_000)]:
        store.push(KEY, A, ttl, 8)
        assert left - 5_000 < server.command("PTTL", stack) <= left


def test_an_entry_expires_by_its_own_time_though_the_list_lives(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value, ttl in [(A, 100), (B, 50)]:
        store.push(KEY, value, ttl, 8)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 60)
    assert store.take(KEY) is None
    assert store.take(KEY) == A


def test_what_would_live_less_than_a_millisecond_is_not_kept(
    store: RedisStore, server: RedisServer
) -> None:
    store.put(KEY, A, TTL)
    store.put(KEY, B, 0.0009)
    store.push(KEY, B, 0.0009, 8)
    assert not store.add(KEY, B, 0.0009)
    assert server.command("DBSIZE") == 0


def test_the_url_may_name_user_password_and_database(server: RedisServer) -> None:
    password = "p@ss/w%rd"
    server.command("ACL", "SETUSER", "bob", "on", ">" + password, "~*", "+@all")
    url = f"redis://bob:p%40ss%2Fw%25rd@127.0.0.1:{server.port}/3"
    with fault_proxy(server.port) as proxy:
        store = RedisStore(url.replace(str(server.port), str(proxy.port)), timeout=PATIENT)
        works(store)
        store.put(KEY, A, TTL)
        # AUTH and SELECT once, then the questions.
        assert b"AUTH" in proxy.requests[0]
        assert b"SELECT" in proxy.requests[1]
        assert all(b"gnutls_resume:" in request for request in proxy.requests[2:])
        assert proxy.connections == 1
    with redis.Redis(port=server.port, db=3, protocol=2) as client:
        assert client.get("gnutls_resume:v{6b6579}") == A
    wrong = RedisStore(f"redis://bob:wrong@127.0.0.1:{server.port}/3", timeout=PATIENT)
    with pytest.raises(StoreError, match="AuthenticationError"):
        wrong.get(KEY)


def test_a_unix_socket_works(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--unixsocket", tmp_path / "s"):
        store = RedisStore(f"unix://{tmp_path}/s?db=2", timeout=PATIENT)
        works(store)
    with fails_in_time(store):
        store.get(KEY)


def test_tls_works_and_verifies(tmp_path: Path, certificates: Certificates) -> None:
    port = free_port()
    arguments = ("--tls-port", str(port), "--tls-auth-clients", "no", "--tls-cert-file")
    arguments += (certificates.certificate_file, "--tls-key-file", certificates.key_file)
    with redis_server(tmp_path, *arguments):
        # Each new connection loads the trust of the system first, and a busy machine is slow.
        store = RedisStore(
            f"rediss://localhost:{port}?ssl_ca_certs={certificates.trust_file}", timeout=PATIENT
        )
        works(store)
        works(store)
        [slot] = [slot for slot in store._slots if slot.connection]
        assert slot.connection._sock.version().startswith("TLS")
        trust = f"ssl_ca_certs={certificates.trust_file}"
        for other in (f"localhost:{port}", f"127.1:{port}?{trust}"):  # no trust; another name
            with pytest.raises(StoreError, match="SSLCertVerificationError") as raised:
                RedisStore(f"rediss://{other}", timeout=PATIENT).get(KEY)
            assert type(raised.value.__cause__).__name__ == "SSLCertVerificationError"
        works(
            RedisStore(f"rediss://127.1:{port}?{trust}&ssl_check_hostname=false", timeout=PATIENT)
        )
        works(RedisStore(f"rediss://127.1:{port}?ssl_cert_reqs=none", timeout=PATIENT))


def test_options_of_the_url_neither_decode_nor_wait_nor_ask_again(proxy: FaultProxy) -> None:
    options = "decode_responses=true&socket_timeout=60&socket_connect_timeout=60&timeout=60"
    options += "&retry_on_timeout=true&health_check_interval=1&protocol=3"
    store = RedisStore(f"{proxy.url}?{options}&db=1", timeout=PATIENT)
    store.put(KEY, b"\xff\xfe", TTL)
    assert store.get(KEY) == b"\xff\xfe"
    assert len(proxy.requests) == 3  # the first is SELECT
    proxy.fault = faults.swallow
    with fails_in_time(store):
        store.get(KEY)
    assert (len(proxy.requests), proxy.connections) == (4, 1)
    proxy.fault = faults.end
    with fails_in_time(store):
        store.get(KEY)
    assert (len(proxy.requests), proxy.connections) == (5, 2)


def test_redis_py_s_own_limits_are_what_is_left_of_the_operation() -> None:
    connection = RedisStore("redis://127.0.0.1")._make()
    connection.deadline.end = time.monotonic() + 50
    for _ in range(2):  # it asks for each address of a name, and before TLS
        limits = (connection.socket_connect_timeout, connection.socket_timeout)
        assert all(40 < limit < connection.deadline.end - time.monotonic() + 1 for limit in limits)
        connection.deadline.end -= 5
    connection.deadline.end = time.monotonic()
    with pytest.raises(TimeoutError):
        _ = connection.socket_connect_timeout


def test_nagle_s_algorithm_is_off(store: RedisStore) -> None:
    store.get(KEY)
    sock = store._slots[0].connection._sock
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


# What is refused at once


@pytest.mark.parametrize(
    "url",
    [
        "",
        "redis",
        "localhost:6379",
        f"http://:{SECRET}@127.0.0.1",
        f"redis://:{SECRET}@127.0.0.1:6379",  # its slash ends the host
        "redis://:s3cr3t@127.0.0.1:port",
        "redis://:s3cr3t@127.0.0.1:65536",
        "redis://:s3cr3t@[127.0.0.1:6379",
        "redis://:s3cr3t@127.0.0.1?db=one",
        "redis://:s3cr3t@127.0.0.1?pass=s3cr3t",
        "rediss://:s3cr3t@127.0.0.1?ssl_cert_reqs=s3cr3t",
        "redis+sentinel://:s3cr3t@127.0.0.1",
    ],
)
def test_what_is_no_redis_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"^url ") as raised:
        RedisStore(url)
    text = "".join(traceback.format_exception(raised.value))
    assert "s3cr3t" not in text.replace(repr(url), "")
    assert "s3cr3t" not in str(raised.value.__context__)


def test_arguments_of_a_wrong_type_are_refused() -> None:
    with pytest.raises(TypeError, match="url must be str, not bytes"):
        RedisStore(b"redis://127.0.0.1")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="prefix must be str, not bytes"):
        RedisStore("redis://127.0.0.1", prefix=b"a")  # type: ignore[arg-type]
    for timeout in ("1", None, True):
        with pytest.raises(TypeError, match="timeout must be a number"):
            RedisStore("redis://127.0.0.1", timeout=timeout)  # type: ignore[arg-type]


def test_values_that_make_no_sense_are_refused() -> None:
    for timeout in (0, -1, 60.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="timeout"):
            RedisStore("redis://127.0.0.1", timeout=timeout)
    for prefix in ("a{", "}a", "{a}"):
        with pytest.raises(ValueError, match="braces"):
            RedisStore("redis://127.0.0.1", prefix=prefix)
    with pytest.raises(ValueError, match="max_connections"):
        RedisStore("redis://127.0.0.1?max_connections=0")


def test_the_constructor_connects_to_nothing() -> None:
    store = RedisStore(f"redis://127.0.0.1:{free_port()}", timeout=PATIENT)
    with fails_in_time(store):
        store.get(KEY)


def test_the_module_can_be_imported_without_redis_py() -> None:
    program = (
        "import sys\n"
        "sys.modules['redis'] = None\n"
        "from gnutls_resume.stores.redis import RedisStore\n"
        "try:\n"
        "    RedisStore('redis://127.0.0.1')\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    needed = "RedisStore needs redis-py 5 or later: pip install 'gnutls_resume[redis]'\n"
    assert done.stdout == needed


def test_an_older_redis_py_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis, "__version__", "4.3.4")  # Debian 12's
    with pytest.raises(ImportError, match="redis-py 5 or later"):
        RedisStore("redis://127.0.0.1")


# Faults of the server


def test_a_killed_server_is_an_error_and_its_return_needs_no_help(
    tmp_path: Path,
) -> None:
    with redis_server(tmp_path) as server:
        store = RedisStore(server.url, timeout=PATIENT)
        works(store)
        server.kill()
        for call in CALLS.values():
            with fails_in_time(store):
                call(store)
        server.start()
        works(store)


def test_a_restart_costs_no_miss_however_many_connections_were_idle(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        store = RedisStore(server.url, timeout=PATIENT)
        open_connections(store, 4)
        store.put(KEY, A, TTL)
        server.restart(empty=False)
        assert store.get(KEY) == A
        assert in_threads([lambda: store.get(KEY)] * 4) == [A] * 4
        server.restart(empty=True)
        assert in_threads([lambda: store.get(KEY)] * 4) == [None] * 4
        works(store)


def test_after_a_fault_no_idle_connection_is_kept(proxy: FaultProxy) -> None:
    store = RedisStore(proxy.url, timeout=PATIENT)
    open_connections(store, 4)
    before = proxy.connections
    assert len(connected(store)) == before >= 2
    proxy.fault = faults.swallow
    with fails_in_time(store):
        store.get(KEY)
    assert connected(store) == []
    proxy.fault = faults.relay
    works(store)
    assert proxy.connections == before + 1


def test_a_frozen_server_costs_its_timeout_and_no_more(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        store = RedisStore(server.url, timeout=PATIENT)
        works(store)
        server.stop()
        for call in CALLS.values():
            with fails_in_time(store):
                call(store)
        # One is waiting on an old connection, others on new ones.
        with hurried(store):
            assert in_threads([partial(error_of, store)] * 16) == [StoreError] * 16
        server.cont()
        works(store)


def test_a_full_server_is_an_error_for_who_writes(store: RedisStore, server: RedisServer) -> None:
    store.put(KEY, A, TTL)
    store.push(KEY, B, TTL, 8)
    server.command("CONFIG", "SET", "maxmemory", 1)
    try:
        for name in ("SET", "NX"):
            with pytest.raises(StoreError, match="OutOfMemoryError"):
                CALLS[name](store)
        # Its transaction was given up as a whole.
        with pytest.raises(StoreError, match=r"OutOfMemoryError|ExecAbortError"):
            store.push(KEY, C, TTL, 8)
        assert store.get(KEY) == A
        assert store.take(KEY) == B
        assert store.take(KEY) is None
        store.remove(KEY)
    finally:
        server.command("CONFIG", "SET", "maxmemory", 0)
    works(store)


def test_a_replica_is_an_error_for_who_writes(store: RedisStore, server: RedisServer) -> None:
    store.put(KEY, A, TTL)
    server.command("REPLICAOF", "127.0.0.1", free_port())
    try:
        for name in ("SET", "NX", "LPOP", "UNLINK"):
            with pytest.raises(StoreError, match="ReadOnlyError"):
                CALLS[name](store)
        with pytest.raises(StoreError, match=r"ReadOnlyError|ExecAbortError"):
            store.push(KEY, C, TTL, 8)
        assert store.get(KEY) == A
        server.command("CONFIG", "SET", "replica-serve-stale-data", "no")
        with pytest.raises(StoreError, match=r"(?i)masterdown"):
            store.get(KEY)
    finally:
        server.command("CONFIG", "SET", "replica-serve-stale-data", "yes")
        server.command("REPLICAOF", "NO", "ONE")
    works(store)


def test_a_loading_server_is_an_error(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--enable-debug-command", "yes") as server:
        store = RedisStore(server.url, timeout=PATIENT)
        store.put(KEY, A, TTL)
        server.command("DEBUG", "POPULATE", 1000, "key", 1000)
        server.arguments += ("--key-load-delay", "50000")
        server.arguments += ("--loading-process-events-interval-bytes", "1024")
        server.restart(empty=False, ready="Loading RDB")
        for call in CALLS.values():
            with pytest.raises(StoreError):
                call(store)
        with pytest.raises(StoreError, match="BusyLoadingError"):
            RedisStore(server.url, timeout=PATIENT).get(KEY)
        server.kill()
        server.arguments = ()
        server.start()
        assert store.get(KEY) == A


def test_a_password_that_the_store_does_not_know_is_an_error(
    store: RedisStore, server: RedisServer
) -> None:
    works(store)
    client = redis.Redis(port=server.port, password=SECRET, protocol=2)
    server.command("CONFIG", "SET", "requirepass", SECRET)
    try:
        works(store)  # Redis asks only who comes anew
        client.execute_command("CLIENT", "KILL", "TYPE", "normal")
        for call in CALLS.values():
            with pytest.raises(StoreError, match="AuthenticationError"):
                call(store)
    finally:
        client.execute_command("CONFIG", "SET", "requirepass", "")
        client.close()
    works(store)


def test_a_server_with_too_many_clients_is_an_error(store: RedisStore, server: RedisServer) -> None:
    with redis.Redis(port=server.port, protocol=2, single_connection_client=True) as client:
        client.execute_command("CONFIG", "SET", "maxclients", 1)
        try:
            with fails_in_time(store):
                store.get(KEY)
        finally:
            client.execute_command("CONFIG", "SET", "maxclients", 1000)
    works(store)


def test_a_node_of_a_cluster_without_the_key_is_an_error(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--cluster-enabled", "yes") as server:
        store = RedisStore(server.url, timeout=PATIENT)
        for call in CALLS.values():
            with pytest.raises(StoreError, match=r"(?i)cluster|ExecAbort"):
                call(store)
        server.command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        while b"cluster_state:ok" not in bytes(server.command("CLUSTER", "INFO")):
            time.sleep(0.01)
        # Both names of a key are in one slot, or this would be a CROSSSLOT error.
        for key in (KEY, OTHER_KEY):
            store.remove(key)
        works(store)


def test_something_else_under_our_names_is_an_error(store: RedisStore, server: RedisServer) -> None:
    value, stack = "gnutls_resume:v{6b6579}", "gnutls_resume:s{6b6579}"
    server.command("RPUSH", value, "x")
    server.command("SET", stack, "x")
    for name in ("GET", "LPUSH", "LPOP"):
        with pytest.raises(StoreError, match="WRONGTYPE"):
            CALLS[name](store)
    assert not store.add(KEY, A, TTL)
    store.remove(KEY)
    works(store)


def test_an_entry_that_is_not_ours_is_none(store: RedisStore, server: RedisServer) -> None:
    for entry in ("", "x", b"\0" * 8):
        server.command("LPUSH", "gnutls_resume:s{6b6579}", entry)
    assert [store.take(KEY) for _ in range(4)] == [None] * 4


def test_an_older_redis_is_told_by_name(proxy: FaultProxy) -> None:
    store = RedisStore(proxy.url, timeout=PATIENT)
    proxy.fault = faults.answer(
        b"+OK\r\n+QUEUED\r\n+QUEUED\r\n"
        b"-ERR wrong number of arguments for 'pexpire' command\r\n"
        b"-ERR wrong number of arguments for 'pexpire' command\r\n"
        b"-EXECABORT Transaction discarded because of previous errors.\r\n"
    )
    with pytest.raises(StoreError, match=r"needs Redis 7\.0 or later, or Valkey"):
        store.push(KEY, A, TTL, 8)


# Faults on the way

LOSSES = {
    "swallow": faults.swallow,
    "cut": faults.cut,
    "end": faults.end,
    "reset": faults.reset,
}
LIES = {
    "drip": faults.drip,
    "late": faults.delay(MUCH * TIMEOUT),
    "nothing": faults.answer(b"\r\n"),
    "text": faults.answer(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "zeros": faults.answer(b"\0" * 100),
    "no number": faults.answer(b"$one\r\n"),
    "endless": faults.answer(b"*1\r\n" * 10_000),
    "huge": faults.answer(b"$99999999999999999999\r\n"),
    "many": faults.answer(b"*9999\r\n"),
    "a number": faults.answer(b":1\r\n"),
    "a list": faults.answer(b"*1\r\n$1\r\nx\r\n"),
    "an error": faults.answer(b"-ERR something\r\n"),
    "no error": faults.answer(b"-\r\n"),
    "no text": faults.answer(b"-\xff\xfe\r\n"),
}
CASES = [(LOSSES[fault], call) for fault in LOSSES for call in CALLS.values()]
CASES += [(LIES[fault], CALLS[name]) for fault in LIES for name in ("GET", "LPUSH")]
NAMES = [f"{fault}-{name}" for fault in LOSSES for name in CALLS]
NAMES += [f"{fault}-{name}" for fault in LIES for name in ("GET", "LPUSH")]


@pytest.mark.parametrize(("fault", "call"), CASES, ids=NAMES)
def test_a_fault_on_the_way_is_an_error_in_time_and_nothing_is_sent_again(
    proxy: FaultProxy, fault: faults.Fault, call: Callable[[RedisStore], object]
) -> None:
    store = RedisStore(proxy.url, timeout=PATIENT)
    works(store)
    sent = len(proxy.requests)
    proxy.fault = fault
    with fails_in_time(store):
        call(store)
    assert len(proxy.requests) == sent + 1
    proxy.fault = faults.relay
    works(store)


@pytest.mark.parametrize("reply", [b":1\r\n", b"+QUEUED\r\n", b"$2\r\nOK", b"$1\r\n1\r\n"])
def test_nothing_counts_as_kept_unless_redis_says_so(proxy: FaultProxy, reply: bytes) -> None:
    store = RedisStore(proxy.url, timeout=PATIENT)
    proxy.fault = faults.answer(reply)
    for call in (store.add, store.put):
        with fails_in_time(store):
            call(KEY, A, TTL)


def test_a_push_or_remove_is_done_only_if_redis_says_so(proxy: FaultProxy) -> None:
    store = RedisStore(proxy.url, timeout=PATIENT)
    replies = [b"+OK\r\n", *[b"+QUEUED\r\n"] * 4, b"*1\r\n:1\r\n"]
    proxy.fault = faults.answer(b"".join(replies))
    store.push(KEY, A, TTL, 8)
    for place in range(6):
        wrong = [*replies[:place], b"$-1\r\n", *replies[place + 1 :]]
        proxy.fault = faults.answer(b"".join(wrong))
        with fails_in_time(store):
            store.push(KEY, A, TTL, 8)
    proxy.fault = faults.answer(b"+OK\r\n")
    with fails_in_time(store):
        store.remove(KEY)


def test_an_add_whose_reply_is_lost_is_an_error_and_the_next_is_refused(
    proxy: FaultProxy, server: RedisServer
) -> None:
    store = RedisStore(proxy.url, timeout=PATIENT)
    proxy.fault = faults.swallow
    with fails_in_time(store):
        store.add(KEY, A, TTL)
    assert server.command("GET", "gnutls_resume:v{6b6579}") == A
    assert calls_of(server)["set"] == 1
    proxy.fault = faults.relay
    assert store.add(KEY, B, TTL) is False


def test_a_greeting_that_drips_is_bounded_too(proxy: FaultProxy) -> None:
    store = RedisStore(proxy.url.replace("/0", "/1"), timeout=PATIENT)
    proxy.fault = faults.drip
    with fails_in_time(store):
        store.get(KEY)
    assert b"SELECT" in proxy.requests[0]
    proxy.fault = faults.relay
    works(store)


def test_steps_that_are_slow_one_by_one_are_bounded_together(proxy: FaultProxy) -> None:
    # Connecting costs two replies, and each alone would be in time.
    store = RedisStore(proxy.url.replace("//", "//default:x@").replace("/0", "/1"), timeout=PATIENT)
    proxy.fault = faults.delay(TIMEOUT * 0.7)
    with fails_in_time(store):
        store.get(KEY)
    assert not any(b"GET" in request for request in proxy.requests)


def test_a_refused_connection_is_an_error(proxy: FaultProxy) -> None:
    store = RedisStore(proxy.url, timeout=PATIENT)
    proxy.refuse()
    with pytest.raises(StoreError, match="ConnectionRefusedError") as raised:
        store.get(KEY)
    assert isinstance(raised.value.__cause__, ConnectionRefusedError)
    proxy.listen()
    works(store)


def test_what_the_caller_is_handling_is_not_told_as_a_cause(proxy: FaultProxy) -> None:
    store = RedisStore(proxy.url, timeout=PATIENT)
    proxy.fault = faults.end
    try:
        raise FileNotFoundError
    except FileNotFoundError:
        with pytest.raises(StoreError) as raised:
            store.get(KEY)
    assert raised.value.__cause__ is None
    assert "FileNotFound" not in str(raised.value)


def test_a_name_that_has_no_address_is_an_error() -> None:
    with pytest.raises(StoreError, match="gaierror"):
        RedisStore("redis://no-such-name.invalid", timeout=PATIENT).get(KEY)


def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next(proxy: FaultProxy) -> None:
    store = RedisStore(proxy.url, timeout=PATIENT)
    proxy.fault = faults.answer(b"$-1\r\n+OK\r\n")
    assert store.get(KEY) is None
    proxy.fault = faults.relay
    store.put(KEY, A, TTL)
    assert store.add(KEY, B, TTL) is False
    assert store.get(KEY) == A
    assert proxy.connections == 2


def test_an_interrupted_call_leaves_no_answer_to_the_next(proxy: FaultProxy) -> None:
    class InterruptError(BaseException):
        pass

    def interrupt(*_: object) -> None:
        raise InterruptError

    store = RedisStore(proxy.url, timeout=PATIENT)
    store.put(KEY, A, TTL)
    store.put(OTHER_KEY, B, TTL)
    proxy.fault = faults.delay(0.2)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(InterruptError):
            store.get(KEY)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert store.get(OTHER_KEY) == B
    assert len(connected(store)) == 1
    assert not any(slot.lock.locked() for slot in store._slots)


# Secrets


def test_an_error_does_not_repeat_what_the_server_repeats(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--rename-command", "SET", "") as server:
        with pytest.raises(redis.ResponseError, match="value A"):  # so it does repeat
            server.command("SET", KEY, A)
        store = RedisStore(server.url, timeout=PATIENT)
        with pytest.raises(StoreError) as raised:
            store.put(KEY, A, TTL)
        with fault_proxy(server.port) as proxy:
            store = RedisStore(proxy.url, timeout=PATIENT)
            proxy.fault = faults.answer(b"-CODE value A\r\n")
            with pytest.raises(StoreError, match=r"^Redis: ResponseError CODE$"):
                store.get(KEY)
        seen = {raised.value, raised.value.__cause__, raised.value.__context__}
        assert not any("value A" in str(error) or "6b6579" in str(error) for error in seen)


def test_neither_repr_nor_pickle_shows_the_password() -> None:
    store = RedisStore(f"redis://:s3cr3t@127.0.0.1:{free_port()}", prefix="app:", timeout=PATIENT)
    assert repr(store) == "<RedisStore: app:>"
    for call in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            call(store)
    with pytest.raises(StoreError) as raised:
        store.get(KEY)
    assert "s3cr3t" not in "".join(traceback.format_exception(raised.value))


# Connections


def connected(store: RedisStore) -> list[int]:
    """The places of the connections that are open."""
    return [place for place, slot in enumerate(store._slots) if slot.connection is not None]


def open_connections(store: RedisStore, count: int) -> None:
    """Have so many calls at the same time."""
    taken = [slot.lock for slot in store._slots[: count - 1]]
    for lock in taken:
        store.get(KEY)  # on the first that is free
        lock.acquire()
    store.get(KEY)
    for lock in taken:
        lock.release()
    assert len(connected(store)) == count


def error_of(store: RedisStore) -> type[Exception] | None:
    try:
        store.get(KEY)
    except Exception as error:
        return type(error)
    return None


def test_one_thread_needs_one_connection(proxy: FaultProxy) -> None:
    store = RedisStore(proxy.url, timeout=PATIENT)
    for _ in range(100):
        store.get(KEY)
    assert proxy.connections == 1


def test_many_threads_share_a_bounded_number_of_connections(proxy: FaultProxy) -> None:
    store = RedisStore(f"{proxy.url}?max_connections=3", timeout=PATIENT)
    store.put(KEY, A, TTL)

    def read() -> list[bytes | None]:
        return [store.get(KEY) for _ in range(50)]

    assert in_threads([read] * 12) == [[A] * 50] * 12
    assert proxy.connections <= 3
    assert len(RedisStore(proxy.url)._slots) == MAX_CONNECTIONS


def test_who_finds_all_connections_in_use_waits_no_longer_than_for_redis(
    proxy: FaultProxy,
) -> None:
    store = RedisStore(f"{proxy.url}?max_connections=1", timeout=PATIENT)
    [slot] = store._slots
    with slot.lock, fails_in_time(store, "all 1 connections are in use"):
        store.get(KEY)
    store.get(KEY)
    slot.lock.acquire()
    waiting = threading.Timer(TIMEOUT / 5, slot.lock.release)
    waiting.start()
    store.get(KEY)  # waits, and gets it
    waiting.join()


def test_close_closes_and_a_later_call_opens_again(store: RedisStore, server: RedisServer) -> None:
    open_connections(store, 3)
    sockets = [slot.connection._sock for slot in store._slots[:3]]
    store.close()
    assert [sock.fileno() for sock in sockets] == [-1] * 3
    works(store)
    store.close()
    store.close()


def test_a_connection_in_use_is_closed_when_the_call_ends(proxy: FaultProxy) -> None:
    store = RedisStore(proxy.url, timeout=PATIENT)
    store.get(KEY)
    [old] = [slot for slot in store._slots if slot.connection]
    proxy.fault = closing_the_store(store)
    assert store.get(KEY) is None
    assert old.connection is None
    assert connected(store) == []


def closing_the_store(store: RedisStore) -> faults.Fault:
    def fault(proxy: FaultProxy, client: socket.socket, data: bytes) -> None:
        store.close()
        client.sendall(data)

    return fault


def test_a_forgotten_store_closes_its_connections(server: RedisServer) -> None:
    store = RedisStore(server.url, timeout=PATIENT)
    store.get(KEY)
    sock = store._slots[0].connection._sock._sock
    del store
    assert sock.fileno() == -1


# Fork


def ports(store: RedisStore) -> set[int]:
    return {store._slots[place].connection._sock.getsockname()[1] for place in connected(store)}


def test_parent_and_child_never_share_a_connection(store: RedisStore, server: RedisServer) -> None:
    open_connections(store, 3)
    store.put(KEY, A, TTL)
    before = ports(store)

    def call() -> tuple[bytes | None, set[int]]:
        return store.get(KEY), ports(store)

    answers = in_children([call] * 3)
    assert [answer for answer, _ in answers] == [A] * 3
    assert len(before.union(*(found for _, found in answers))) == 3 + 3
    # What the children did to their copies has closed nothing here.
    assert ports(store) == before
    assert all(store._slots[place]._is_fresh() for place in range(3))
    works(store)


def test_a_child_forked_in_the_middle_of_a_call_leaves_the_answer_to_its_parent(
    proxy: FaultProxy,
) -> None:
    store = RedisStore(proxy.url, timeout=PATIENT)
    store.put(KEY, A, TTL)
    children: list[int] = []

    def fork(*_: object) -> None:
        children.append(os.fork())

    proxy.fault = faults.delay(0.3)
    before = signal.signal(signal.SIGALRM, fork)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        answer: object = store.get(KEY)
    except StoreError as error:
        answer = error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if children == [0]:  # the child: the exit status tells whether it has raised
        os._exit(0 if isinstance(answer, StoreError) else 1)
    [child] = children
    assert os.waitpid(child, 0)[1] == 0
    assert answer == A
    proxy.fault = faults.relay
    works(store)


# Several processes

PROGRAM = """
import sys, threading
from gnutls_resume.stores.redis import RedisStore
store = RedisStore(sys.argv[1], timeout=20)
lines = []
def run():
    for number in range(100):
        if store.add(b"add %d" % number, b"x", 3600):
            lines.append("added %d" % number)
        entry = store.take(b"stack")
        if entry is not None:
            lines.append("took " + entry.decode())
threads = [threading.Thread(target=run) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("\\n".join(lines))
"""


def test_two_processes_of_eight_threads_take_and_add_nothing_twice(server: RedisServer) -> None:
    store = RedisStore(server.url, timeout=PATIENT)
    for number in range(1200):
        store.push(b"stack", b"%d" % number, TTL, 2000)
    command = [sys.executable, "-P", "-c", PROGRAM, server.url]
    programs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    lines = []
    for program in programs:
        out, err = program.communicate(timeout=100)
        assert err == ""
        lines += out.splitlines()
    assert len(set(lines)) == len(lines)
    assert sum(line.startswith("added") for line in lines) == 100
    assert sum(line.startswith("took") for line in lines) == 1200


# For operators


def test_entries_tells_values_and_stacks(store: RedisStore) -> None:
    assert list(store.entries()) == []
    store.put(KEY, A, 100)
    store.push(KEY, A, 100, 8)
    store.push(KEY, B + B, 50, 8)
    store.put(b"", b"", TTL)
    store.put(b"\xff{}*", C, TTL)
    now = time.time()
    found = {(entry.key, entry.stacked): entry for entry in store.entries()}
    assert set(found) == {(KEY, 0), (KEY, 2), (b"", 0), (b"\xff{}*", 0)}
    assert all(type(entry) is StoredEntry for entry in found.values())
    sizes = [found[KEY, 0].size, found[KEY, 2].size, found[b"", 0].size]
    assert sizes == [len(A), 3 * len(A), 0]
    assert found[KEY, 0].expires == pytest.approx(now + 100, abs=5)
    assert found[KEY, 2].expires == pytest.approx(now + 100, abs=5)
    assert found[b"", 0].expires == pytest.approx(now + TTL, abs=5)


def test_entries_leaves_out_what_has_expired(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, ttls in {KEY: (100, 20), OTHER_KEY: (20, 20, 100)}.items():
        for ttl in ttls:
            store.push(key, A, ttl, 8)
    assert store.take(OTHER_KEY) == A
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 50)
    [entry] = store.entries()
    assert (entry.key, entry.size, entry.stacked) == (KEY, len(A), 1)


def test_many_entries_are_told_and_cleared_in_steps_and_never_by_keys(
    store: RedisStore, server: RedisServer
) -> None:
    count = 1000
    for number in range(count):
        store.put(b"%d" % number, A, TTL)
    assert {entry.key for entry in store.entries()} == {b"%d" % n for n in range(count)}
    store.clear()
    assert server.command("DBSIZE") == 0
    calls = calls_of(server)
    assert calls["scan"] >= 2 * 5
    assert calls["unlink"] >= 5
    assert not {"keys", "flushdb", "del"} & set(calls)


@pytest.mark.parametrize("prefix", ["a:", "", "a*", "a?", "[ab]", "\\a", "a:v", "ä "])
def test_clear_and_entries_keep_to_their_prefix(server: RedisServer, prefix: str) -> None:
    store = RedisStore(server.url, prefix=prefix, timeout=PATIENT)
    store.put(KEY, A, TTL)
    store.push(KEY, A, TTL, 8)
    others = ["a:b:v{00}", "ab:v{00}", "b:s{00}", "other", "v", "a:v{", "a:v{0}", "a:x{00}", "[ab"]
    others += [f"{prefix}v{{{end}" for end in ("", "zz}", "000}", "00}x", "AA}")]
    for other in others:
        server.command("SET", other, "x")
    assert [entry.key for entry in store.entries()] == [KEY, KEY]
    store.clear()
    assert list(store.entries()) == []
    assert server.command("EXISTS", *others) == len(others)


def test_an_operator_s_command_may_take_longer(proxy: FaultProxy) -> None:
    store = RedisStore(proxy.url, timeout=PATIENT)
    store.put(KEY, A, TTL)
    proxy.fault = faults.delay(1.2 * TIMEOUT)
    assert [entry.key for entry in store.entries()] == [KEY]
    store.clear()
    with fails_in_time(store):
        store.get(KEY)


@pytest.mark.parametrize(
    "reply", [b"*0\r\n", b"*2\r\n:1\r\n*0\r\n", b"*2\r\n$1\r\n0\r\n$1\r\nx\r\n"]
)
def test_a_wrong_answer_to_an_operator_is_an_error(proxy: FaultProxy, reply: bytes) -> None:
    store = RedisStore(proxy.url, timeout=PATIENT)
    proxy.fault = faults.answer(reply)
    with pytest.raises(StoreError):
        list(store.entries())
    with pytest.raises(StoreError):
        store.clear()


def test_what_has_no_expiry_is_told_as_endless(store: RedisStore, server: RedisServer) -> None:
    server.command("SET", "gnutls_resume:v{00}", "x")
    assert list(store.entries()) == [StoredEntry(b"\0", math.inf, 1, 0)]


def test_the_prefix_keeps_programs_apart(server: RedisServer) -> None:
    one, other = (RedisStore(server.url, prefix=secrets.token_hex(4)) for _ in range(2))
    one.put(KEY, A, TTL)
    assert other.get(KEY) is None
