"""The memory of open connections, in a client and a server that were started for it."""

import multiprocessing
import os
import ssl
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from connections import KEEP, Server, Service, Target, ask, connect, expect, running
from contexts import MakeContext


class Growth(NamedTuple):
    """KiB that an open connection takes of each process."""

    client: float
    server: float


def memory_of_a_connection(make_client: MakeContext, service: Service, number: int) -> Growth:
    """Open so many connections, each idle after one exchange."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    with running(service) as server:
        process = spawn.Process(
            target=hold_connections, args=(make_client, service, server, number, theirs)
        )
        process.start()
        theirs.close()
        growth: Growth = ours.recv()
        process.join()
    return growth


def hold_connections(
    make_client: MakeContext,
    service: Service,
    server: Server,
    number: int,
    pipe: "Connection[Growth, None]",
) -> None:
    context = make_client(ssl.PROTOCOL_TLS_CLIENT, service.version, service.certificates[0])
    target = Target(server.port, context)
    held = []

    def hold() -> None:
        tls = connect(target)
        expect(ask(tls, KEEP), expected=False)
        held.append(tls)

    # The first ones also fill what a process makes once. They stay, so as to free no room.
    for _ in range(number // 4):
        hold()
    client, of_server = resident_size(os.getpid()), resident_size(server.pid)
    for _ in range(number):
        hold()
    client, of_server = resident_size(os.getpid()) - client, resident_size(server.pid) - of_server
    pipe.send(Growth(client / number, of_server / number))


def resident_size(pid: int) -> int:
    """KiB of a process that are in memory (proc(5), statm)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024
