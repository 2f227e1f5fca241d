"""What a ring of ticket keys costs: TLS 1.2 resumed by ticket, in memory, both ends.

One server has one ticket key for all its connections, as GnuTLS's manual has it; the other makes
each connection's key from a ring of three secrets, for its policy. Batches take turns.

    ./dev bench ring
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from certificates import HOST, make_certificates
from contest import Contest, Section, compete

from gnutls_resume import TicketKeyRecord, TicketKeyRing
from gnutls_resume.binding import Credentials, MemoryTransport, Session, TicketKey
from gnutls_resume.errors import WantReadError

REPEATS, BATCH = 2000, 5  # so short that a slow moment of the machine hits both
MOST = 1.02  # of what the handshake takes without a ring
PERIOD = 21_600  # seconds
PRIORITY = "NORMAL:-VERS-ALL:+VERS-TLS1.2"
POLICY = bytes(range(32))

Prepare = Callable[[Session], None]


def shake_hands(client: Session, server: Session) -> None:
    near, far = MemoryTransport(), MemoryTransport()
    client.attach(near)
    server.attach(far)
    waiting = [(client, near, far), (server, far, near)]
    while waiting:
        session, own, other = waiting.pop(0)
        try:
            session.handshake()
        except WantReadError:
            waiting.append((session, own, other))
        other.feed(own.drain())


def batch_of(client: Credentials, server: Credentials, prepare: Prepare) -> Callable[[], float]:
    """A batch of resumptions; it returns milliseconds each."""

    def connect(data: bytes | None) -> Session:
        near = Session("client", client, priority=PRIORITY)
        near.server_name_set(HOST)
        if data is not None:
            near.set_data(data)
        with Session("server", server, priority=PRIORITY) as far:
            prepare(far)
            shake_hands(near, far)
        return near

    with connect(None) as first:
        data = first.get_data()

    def batch() -> float:
        began = time.perf_counter()
        for _ in range(BATCH):
            with connect(data) as one:
                assert one.is_resumed()
        return (time.perf_counter() - began) * 1000 / BATCH

    return batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    key = TicketKey.generate()
    # From the epoch before, so that all three secrets are there.
    before = int(time.time()) // PERIOD - 1
    ring = TicketKeyRing(TicketKeyRecord.generate(PERIOD, start=before))
    assert len(ring.accepted) == 3  # noqa: PLR2004
    with tempfile.TemporaryDirectory() as name:
        (files,) = make_certificates(Path(name), 1)
        server = Credentials(certificate=files.certificate, key=files.key)
        client = Credentials(trust=files.trust)
        peers = {
            "one key": batch_of(client, server, lambda far: far.ticket_enable_server(key)),
            "ring": batch_of(client, server, lambda far: far.ticket_derive(ring.table(), POLICY)),
        }
        contests = [Contest("TLS 1.2", peers, ratio_goal=MOST)]
        rows = compete(Section("resumed by ticket, both ends"), contests, REPEATS)
    if options.json:
        options.json.write_text(json.dumps([row._asdict() for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
