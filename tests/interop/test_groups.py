"""Two groups of servers on networks of their own, which have a Redis in common, and nothing else.

In it are the sessions of TLS 1.2 clients without tickets, and the ticket keys. It is killed and
restarted while clients come back 20 times a second, each time to the other group.
"""

import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from conftest import Certificates
from interop.groups import EACH, PAUSE, Visit
from interop.namespaces import Network, network, within
from interop.programs import EXAMPLES, SECONDS, WAYS, Program, find, running

GROUPS = 2
REDIS_PORT = 6379
DOWN = (0, 2, 12, 3, 0, 5, 1, 12, 4, 1)  # seconds of each outage; two outlast a key's period
EVERY = 17  # seconds from one outage's begin to the next's
AFTER = 2  # seconds for which an outage goes on once Redis answers again
ALLOWED = 0.02  # of the handshakes outside of outages may be full

Outage = tuple[float, float]


class Redis:
    """A redis-server in the middle, that keeps its data in a file."""

    def __init__(self, net: Network, folder: Path) -> None:
        self.folder = folder
        addresses = [machine.middle for machine in net.machines]
        self.command = within(
            net.name, find("redis-server"), "--dir", folder, "--port", str(REDIS_PORT),
            "--bind", *addresses, "--protected-mode", "no",
            "--save", "", "--appendonly", "yes", "--appendfsync", "no",
        )  # fmt: skip

    def start(self, *, empty: bool) -> None:
        if empty:
            shutil.rmtree(self.folder)
            self.folder.mkdir()
        self.program = Program(*self.command)
        self.program.wait_for("Ready to accept connections")

    def kill(self) -> None:
        self.program.process.kill()
        self.program.process.wait(SECONDS)
        self.program.stop()


@contextmanager
def redis_in(net: Network, folder: Path) -> Iterator[Redis]:
    folder.mkdir()
    redis = Redis(net, folder)
    redis.start(empty=True)
    try:
        yield redis
    finally:
        redis.kill()


def groups(name: str, *arguments: str | Path) -> tuple[str | Path, ...]:
    """The command of one of the programs in groups.py, in a namespace."""
    here = Path(__file__).parent
    path = os.pathsep.join(map(str, (here.parent, EXAMPLES)))
    return within(name, "env", f"PYTHONPATH={path}", sys.executable, here / "groups.py", *arguments)


def break_down(redis: Redis, begin: float) -> list[Outage]:
    """Kill and restart it so often; every second time it has lost everything."""
    outages = []
    for number, seconds in enumerate(DOWN):
        time.sleep(max(0, begin + (number + 0.5) * EVERY - time.time()))
        killed = time.time()
        redis.kill()
        time.sleep(seconds)
        redis.start(empty=number % 2 == 0)
        outages.append((killed, time.time() + AFTER))
    return outages


@pytest.mark.matrix
def test_groups_of_servers_resume_each_other_while_their_redis_comes_and_goes(
    certificates: Certificates, tmp_path: Path
) -> None:
    sealing_key, results = tmp_path / "sealing.key", tmp_path / "visits.json"
    sealing_key.write_bytes(os.urandom(32))
    files = (certificates.certificate_file, certificates.key_file)
    seconds = (len(DOWN) + 1) * EVERY
    with ExitStack() as stack:
        net = stack.enter_context(network(GROUPS))
        redis = stack.enter_context(redis_in(net, tmp_path / "redis"))
        for machine in net.machines:
            url = f"redis://{machine.middle}:{REDIS_PORT}/0"
            command = groups(machine.name, "serve", machine.address, url, sealing_key, *files)
            stack.enter_context(running(*command)).wait_for("^listening")
        addresses = [machine.address for machine in net.machines]
        visiting = ("visit", str(seconds), results, certificates.trust_file, *addresses)
        clients = stack.enter_context(running(*groups(net.name, *visiting)))
        outages = break_down(redis, time.time())
        clients.process.wait(SECONDS + EVERY)
        assert clients.join() == ""
    check([Visit(*visit) for visit in json.loads(results.read_text())], outages, seconds)


def check(visits: list[Visit], outages: list[Outage], seconds: float) -> None:
    def in_outage(visit: Visit) -> bool:
        return any(begin <= visit.ended and visit.began <= end for begin, end in outages)

    began = Counter[tuple[str, int]]()
    later = []  # all but each client's first
    for visit in visits:
        began[visit.way, visit.number] += 1
        later += [visit] * (began[visit.way, visit.number] > 1)
    groups = {True: [], False: []}
    for visit in later:
        groups[in_outage(visit)].append(visit)
    figures = [f"{len(visits)} connections"]
    for inside, those in groups.items():
        said = Counter((visit.way, visit.said) for visit in those)
        figures.append(f"{len(those)} {'in outages' if inside else 'outside of outages'}:")
        figures += [f"  {number:6} {way}: {text}" for (way, text), number in sorted(said.items())]
    print("\n".join(figures))  # noqa: T201 - pytest -rP shows it

    failed = [visit for visit in visits if visit.said.startswith("failed")]
    assert failed == []
    full = [visit for visit in groups[False] if visit.said.startswith("full")]
    assert len(full) <= ALLOWED * len(groups[False])
    # And it was what it claims to be: so many connections, in all ways alike.
    assert set(began) == {(way, number) for way in WAYS for number in range(EACH)}
    assert min(began.values()) > 0.9 * seconds / PAUSE
