"""Networks of their own for programs: a middle, and machines that are connected to it alone.

Each is a network namespace of Linux. Whoever is in one sees no other network, this host's neither.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pytest
from interop.programs import find, run

NET = "192.0.2"  # RFC 5737: addresses that nobody has


@dataclass(frozen=True)
class Machine:
    """A network namespace, its address and that of the middle as it is seen from there."""

    name: str
    address: str
    middle: str


@dataclass(frozen=True)
class Network:
    """The middle, and the machines around it."""

    name: str
    machines: list[Machine]


def within(name: str, *command: str | os.PathLike[str]) -> tuple[str | os.PathLike[str], ...]:
    """The command that runs another one in a namespace, with the same process ID."""
    return (find("ip"), "netns", "exec", name, *command)


@contextmanager
def network(machines: int) -> Iterator[Network]:
    """Make them, and take them away with all that still runs there."""
    find("ip")
    if os.geteuid() != 0:
        pytest.fail("network namespaces are root's to make: run this test as root", pytrace=False)
    middle = f"resume-{os.getpid()}"
    made = Network(middle, [])
    try:
        ip("netns", "add", middle)
        ip("-n", middle, "link", "set", "lo", "up")
        for number in range(machines):
            made.machines.append(connected(middle, number))
        yield made
    finally:
        for name in [middle, *(f"{middle}-{number}" for number in range(machines))]:
            with suppress(AssertionError):  # it was not made
                for process in ip("netns", "pids", name).split():
                    with suppress(ProcessLookupError):
                        os.kill(int(process), signal.SIGKILL)
                ip("netns", "delete", name)


def connected(middle: str, number: int) -> Machine:
    """A new machine with a cable to the middle."""
    name, cable = f"{middle}-{number}", f"cable{number}"
    ours, theirs = (f"{NET}.{4 * number + host}" for host in (1, 2))
    ip("netns", "add", name)
    ip("-n", name, "link", "set", "lo", "up")
    ip("-n", middle, "link", "add", cable, "type", "veth", "peer", "name", cable, "netns", name)
    for end, address in ((middle, ours), (name, theirs)):
        ip("-n", end, "address", "add", f"{address}/30", "dev", cable)
        ip("-n", end, "link", "set", cable, "up")
    return Machine(name, theirs, ours)


def ip(*words: str) -> str:
    done = run(find("ip"), *words)
    assert done.returncode == 0, done.stderr
    return done.stdout
