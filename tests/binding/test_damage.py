"""Damaged sessions never reach GnuTLS, which would crash.

Eight kinds of real sessions, each with a checksum and sealed, and every way to damage them:
cut off at each byte, each bit flipped, and random changes. A client must refuse them, and a
server whose database returns them must make a full handshake. The failure that is hunted is the
death of the process: faulthandler then names the test. A sample runs always, all of it with
``./dev matrix``.
"""

import random
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import pytest
from conftest import Certificates
from pair import TLS12, TLS13, Setting

from gnutls_resume.binding import (
    CertificateRequest,
    InitFlag,
    Sealing,
    SealingKey,
    Session,
    TicketKey,
    session,
)
from gnutls_resume.errors import InvalidSessionError

HEADER_SIZE, CHECKSUM_SIZE = 106, 32  # bytes, of an envelope with a checksum
RANDOM_DAMAGES = 12_500  # a kind; with eight kinds 100,000
CLIENT_DAMAGES = 10_000  # of the client's kinds, in handshakes; over kinds and protections
REFUSALS = 2_000  # by one session, which must then make a full handshake

CLIENT_KINDS = [
    "client 1.2 by ID",
    "client 1.2 by ticket",
    "client 1.3",
    "client 1.2 by ID, certificate",
    "client 1.2 by ticket, certificate",
    "client 1.3, certificate",
]
SERVER_KINDS = ["server 1.2", "server 1.2, certificate"]
KINDS = CLIENT_KINDS + SERVER_KINDS
PROTECTIONS = {"checksum": Sealing(), "sealed": Sealing(SealingKey.generate())}


# -- ways to damage ---------------------------------------------------------------------------


def changed(rng: random.Random, data: bytearray, _other: bytes) -> bytearray:
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return data


BOUNDARIES = (0, 1, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF,
              0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)  # fmt: skip


def bounded(rng: random.Random, data: bytearray, _other: bytes) -> bytearray:
    where = rng.randrange(len(data) - 3)
    data[where : where + 4] = rng.choice(BOUNDARIES).to_bytes(4)
    return data


def spliced(rng: random.Random, data: bytearray, other: bytes) -> bytearray:
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


def extended(rng: random.Random, data: bytearray, _other: bytes) -> bytearray:
    return data + rng.randbytes(rng.randint(1, 64))


def garbage(rng: random.Random, data: bytearray, _other: bytes) -> bytearray:
    return bytearray(rng.randbytes(rng.randint(1, len(data))))


WAYS = (changed, bounded, spliced, extended, garbage)


class Damages(Sequence[bytes]):
    """All that is made of one session, by number: truncations, flipped bits, random damage."""

    def __init__(self, data: bytes, intact: Sequence[bytes]) -> None:
        self.data = data
        self.intact = intact
        size = len(data)
        self.truncations = range(size)
        self.flips = range(size, size + 8 * size)
        self.randoms = range(self.flips.stop, self.flips.stop + RANDOM_DAMAGES)

    def __len__(self) -> int:
        return self.randoms.stop

    def __getitem__(self, number: int) -> bytes:
        if number in self.truncations:
            return self.data[:number]
        if number in self.flips:
            byte, bit = divmod(number - self.flips.start, 8)
            flipped = self.data[byte] ^ 1 << bit
            return self.data[:byte] + bytes([flipped]) + self.data[byte + 1 :]
        rng = random.Random(number)  # noqa: S311 - to be found again, not to be secret
        while True:
            way, other = rng.choice(WAYS), rng.choice(self.intact)
            damaged = bytes(way(rng, bytearray(self.data), other))
            if damaged and damaged not in self.intact:
                return damaged

    def sample(self, size: int) -> list[int]:
        return random.Random(size).sample(range(len(self)), size)  # noqa: S311


# -- real sessions ----------------------------------------------------------------------------


class Database(dict[bytes, bytes]):
    """Keeps what it is given first, and answers with whatever it is told to."""

    answer: bytes | None = None

    def __setitem__(self, key: bytes, value: bytes) -> None:
        if not self:
            super().__setitem__(key, value)

    def get(self, _key: bytes) -> bytes | None:
        return self.answer


@dataclass
class Real:
    """A real session: how it was made, what is damaged, and what the client then offers."""

    setting: Setting
    damages: Damages
    offer: bytes

    @property
    def intact(self) -> bytes:
        return self.damages.data


Reals = dict[tuple[str, str], Real]


def settings_for(certificates: Certificates, sealing: Sealing) -> Iterator[Setting]:
    """By ID, by ticket and 1.3, without and with a client certificate."""

    def require(_client: Session, server: Session) -> None:
        server.certificate_server_set_request(CertificateRequest.REQUIRE)

    without = Setting(
        certificates,
        TLS12,
        client_sealing=sealing,
        server_sealing=sealing,
        client_credentials=certificates.client(),
        server_credentials=certificates.server(),
    )
    credentials = certificates.client_with_certificate()
    with_one = replace(without, client_credentials=credentials, prepare=require)
    for setting in (without, with_one):
        yield replace(setting, client_flags=InitFlag.NO_TICKETS, database=Database())
        by_ticket = replace(setting, ticket_key=TicketKey.generate())
        yield by_ticket
        yield replace(by_ticket, priority=TLS13)


@pytest.fixture(scope="session")
def reals(certificates: Certificates) -> Reals:
    """One real session of each kind and protection."""
    found = {}
    for protection, sealing in PROTECTIONS.items():
        settings = dict(zip(CLIENT_KINDS, settings_for(certificates, sealing), strict=True))
        data = {kind: setting.connect()[0] for kind, setting in settings.items()}
        offers = dict(data)
        for kind, by_id in zip(SERVER_KINDS, (CLIENT_KINDS[0], CLIENT_KINDS[3]), strict=True):
            settings[kind], offers[kind] = settings[by_id], data[by_id]
            (data[kind],) = settings[kind].database.values()
        intact = tuple(data.values())
        for kind, setting in settings.items():
            damages = Damages(data[kind], intact)
            found[protection, kind] = Real(setting, damages, offers[kind])
    return found


@pytest.fixture(params=PROTECTIONS)
def protection(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def real(kind: str, protection: str, reals: Reals) -> Real:
    return reals[protection, kind]


@pytest.fixture(autouse=True)
def nothing_poisoned() -> Iterator[None]:
    before = session.poisoned
    yield
    assert session.poisoned == before


def assert_refused(real: Real, numbers: Sequence[int]) -> None:
    """A client refuses each, and the session that did makes a full handshake."""
    for start in range(0, len(numbers), REFUSALS):
        with real.setting.pair() as pair:
            for number in numbers[start : start + REFUSALS]:
                refuse(pair.client, real.damages[number])
            assert pair.outcomes() == (None, None)
            assert pair.resumed == (False, False)


def refuse(client: Session, damaged: bytes) -> None:
    try:
        client.set_data(damaged)
    except (InvalidSessionError, ValueError):
        return
    pytest.fail(f"accepted: {damaged.hex()}")


def assert_missed(server: Real, damages: Iterable[bytes]) -> None:
    """The server's database returns each, and both ends make a full handshake."""
    database = server.setting.database
    assert isinstance(database, Database)
    for damaged in damages:
        database.answer = damaged
        with server.setting.pair(server.offer) as pair:
            result = pair.outcomes(), pair.resumed, pair.server.db_failures
        assert result == ((None, None), (False, False), 1), damaged.hex()


# -- the tests --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_undamaged_session_resumes(kind: str, real: Real) -> None:
    """Or the other tests would show nothing."""
    if isinstance(real.setting.database, Database):
        (real.setting.database.answer,) = real.setting.database.values()
    data = real.offer if kind in SERVER_KINDS else real.intact
    with real.setting.pair(data) as pair:
        pair.handshake()
        assert pair.resumed == (True, True)
        assert pair.server.db_failures == 0


@pytest.mark.parametrize("kind", KINDS)
def test_some_damaged_sessions_are_refused(real: Real) -> None:
    assert_refused(real, real.damages.sample(300))


@pytest.mark.parametrize("kind", SERVER_KINDS)
def test_some_damaged_entries_do_not_resume(real: Real) -> None:
    assert_missed(real, (real.damages[number] for number in real.damages.sample(100)))


@pytest.mark.matrix
@pytest.mark.parametrize("kind", KINDS)
def test_every_damaged_session_is_refused(real: Real) -> None:
    assert_refused(real, range(len(real.damages)))


@pytest.mark.matrix
@pytest.mark.parametrize("part", ["truncations", "flips", "randoms"])
@pytest.mark.parametrize("kind", SERVER_KINDS)
def test_every_damaged_entry_does_not_resume(part: str, real: Real) -> None:
    assert_missed(real, (real.damages[number] for number in getattr(real.damages, part)))


@pytest.mark.matrix
@pytest.mark.parametrize("kind", CLIENT_KINDS)
def test_damaged_client_session_in_a_database_does_not_resume(
    kind: str, real: Real, protection: str, reals: Reals
) -> None:
    server = reals[protection, SERVER_KINDS["certificate" in kind]]
    share = -(-CLIENT_DAMAGES // (len(CLIENT_KINDS) * len(PROTECTIONS)))
    assert_missed(server, (real.damages[number] for number in real.damages.sample(share)))


# -- why there is an envelope -----------------------------------------------------------------

BARE = """
import sys
from gnutls_resume.binding import Credentials, Session
from gnutls_resume.binding._ffi import lib

data = sys.stdin.buffer.read()
session = Session("client", Credentials())
print(lib.gnutls_session_set_data(session._c, data, len(data)), flush=True)
session.close()  # gnutls_deinit
"""


def give_gnutls(data: bytes) -> tuple[int, bytes]:
    """Hand a bare session to GnuTLS in another process: its exit status, and what set_data
    returned there.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", BARE], input=data, capture_output=True, timeout=60, check=False
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("kind", CLIENT_KINDS[:3])
def test_gnutls_crashes_on_a_truncated_session(kind: str, reals: Reals) -> None:
    real = reals["checksum", kind]
    body = real.intact[HEADER_SIZE:-CHECKSUM_SIZE]
    bare = body[1 + body[0] :]
    with real.setting.pair() as pair:
        pair.handshake()
        _leaf, intermediate = pair.client.certificate_get_peers()
    assert give_gnutls(bare) == (0, b"0\n")

    inside_the_chain = bare.index(intermediate) + len(intermediate) // 2
    status, output = give_gnutls(bare[:inside_the_chain])
    assert status in (-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT), (
        f"this GnuTLS survives a truncated certificate chain (exit status {status}, set_data "
        f"printed {output!r}): the crash that the envelope guards against is fixed here; the "
        "envelope stays for older versions and for the damage that GnuTLS accepts"
    )
    assert output.startswith(b"-"), "set_data itself returned an error; gnutls_deinit crashed"
