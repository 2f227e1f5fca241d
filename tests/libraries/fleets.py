"""Servers whose workers share ticket keys and sessions, asserted in one way for all."""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from conftest import Certificates
from interop.fleet import CLIENTS, TIMES, Case, assert_workers_resume
from libraries.servers import Server
from libraries.trial import Record

from gnutls_resume import HandshakeKind

SERVED = r"^served by (\d+)"  # server_echo.py
PATIENT = ", timeout=5)"
"""What a store is given: a busy machine may not give a process its turn for more than 0.05 s."""


def assert_workers_resume_also_after_a_restart_of_all(
    start: Callable[[], AbstractContextManager[Server]],
    certificates: Certificates,
    folder: Path,
    case: Case,
    record: Record,
) -> None:
    way, _ = case
    kind = HandshakeKind.RESUMED_TICKET if way.tickets else HandshakeKind.RESUMED_SESSION_ID
    version = way.version.replace("TLS", "TLSv")
    clients = [make(certificates, way, folder) for make in CLIENTS]
    for full in (len(clients), 0):
        with start() as server:
            assert_workers_resume(
                clients, server.program, server.port, before=not full, served=SERVED
            )
            told = server.new_outcomes(full + TIMES * len(clients))
            expected = {(kind.name, version): TIMES * len(clients), ("FULL", version): full}
            assert Counter(told) == Counter(expected)
    if way.tickets:
        record(version, [HandshakeKind.FULL], [kind])
