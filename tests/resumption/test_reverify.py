"""Verdicts: remembered for the same chain, name, rules and trust; never a bad one, never long."""

import itertools
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import certify
import pytest
from certify import DAY, Issued
from conftest import Certificates
from wrapped import TLS12, TLS13, bare_server, client_context, connect, server_context

from gnutls_resume import MemoryStore, SSLContext
from gnutls_resume.binding import CertificateStatus, Credentials, TicketKey
from gnutls_resume.binding.x509 import TrustList
from gnutls_resume.errors import VerificationError
from gnutls_resume.resumption import reverify
from gnutls_resume.resumption.reverify import (
    MAX_AGE,
    MAX_VERDICTS,
    PeerCheck,
    Rules,
    Verifier,
    verifier_for,
)
from gnutls_resume.resumption.trust import Trust

HOST = "host.example.org"
RULES = Rules(server=True)


@dataclass
class Chains:
    root: Issued
    other_root: Issued
    good: list[bytes]
    same_leaf_alone: list[bytes]
    other: list[bytes]
    expired: list[bytes]
    foreign: list[bytes]
    leaf: Issued

    @property
    def trust(self) -> Trust:
        return Trust.of([self.root.der])


@pytest.fixture(scope="module")
def chains() -> Chains:
    root, other_root = certify.issue("root", ca=True), certify.issue("other root", ca=True)
    inter = certify.issue("intermediate", root, ca=True)
    leaf = certify.issue("leaf", inter, names=["*.example.org"])
    other = certify.issue("leaf", inter, names=["*.example.org"])
    expired = certify.issue("leaf", inter, names=["*.example.org"], end=-DAY / 2)
    foreign = certify.issue("leaf", other_root, names=["*.example.org"])
    return Chains(
        root=root,
        other_root=other_root,
        good=[leaf.der, inter.der],
        same_leaf_alone=[leaf.der, inter.der, root.der],
        other=[other.der, inter.der],
        expired=[expired.der, inter.der],
        foreign=[foreign.der],
        leaf=leaf,
    )


class Asked:
    """How often GnuTLS was asked."""

    count = 0


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    seen, original = Asked(), TrustList.verify

    def verify(self: TrustList, *args: Any, **keywords: Any) -> CertificateStatus:
        seen.count += 1
        return original(self, *args, **keywords)

    monkeypatch.setattr(TrustList, "verify", verify)
    return seen


SetClock = Callable[[float], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Move the clock of reverify.py by so many seconds from where it is. GnuTLS has its own."""
    start = time.time()

    def move(seconds: float) -> None:
        monkeypatch.setattr(reverify, "time", SimpleNamespace(time=lambda: start + seconds))

    return move


# -- remembered -------------------------------------------------------------------------------


def test_gnutls_is_asked_once(chains: Chains, asked: Asked) -> None:
    verifier = Verifier(chains.trust)
    ends = {
        verifier.verify(list(chains.good), HOST, RULES._replace(server=True)) for _ in range(100)
    }
    assert asked.count == 1
    assert ends == {int(chains.leaf.certificate.not_valid_after_utc.timestamp())}


@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["tls12", "tls13"])
@pytest.mark.parametrize("remembers", [True, False])
def test_gnutls_is_asked_once_for_many_connections_and_contexts(
    asked: Asked, version: Any, *, remembers: bool
) -> None:
    """Full handshakes profit too, as where a server has no tickets."""
    root = certify.issue("root", ca=True)
    leaf = certify.issue("leaf", root, names=["localhost"])
    credentials, key = Credentials(certificate=leaf.pem, key=leaf.key_pem), TicketKey.generate()
    store = MemoryStore() if remembers else None
    for number in range(10):
        client = SSLContext(ssl.PROTOCOL_TLS_CLIENT, sessions=store)
        client.load_verify_locations(cadata=root.der)
        made = connect(client, bare_server(credentials, key, version))
        assert made.resumed == (remembers and number > 0,) * 2
    assert asked.count == 1


def test_another_chain_name_or_rule_is_asked_about_anew(chains: Chains, asked: Asked) -> None:
    verifier = Verifier(chains.trust)
    rules = [
        RULES,
        Rules(server=False),
        Rules(server=True, required=False),
        Rules(server=True, partial_chain=True),
        Rules(server=True, common_name=False),
    ]
    cases = list(
        itertools.product(
            (chains.good, chains.other, chains.same_leaf_alone),
            (HOST, "other.example.org", None),
            rules,
        )
    )
    for _ in range(2):
        for chain, host, rule in cases:
            verifier.verify(chain, host, rule)
    assert asked.count == len(cases) == 45


def test_list_that_is_asked_for_is_asked_about_anew(chains: Chains, asked: Asked) -> None:
    verifier = Verifier(chains.trust)
    verifier.verify(chains.good, HOST, RULES)
    for need in ("leaf", "chain"):
        for _ in range(2):
            with pytest.raises(VerificationError):
                verifier.verify(chains.good, HOST, Rules(server=True, need_crl=need))
    assert asked.count == 5


def test_pieces_of_a_chain_cut_otherwise_are_another_chain(chains: Chains) -> None:
    """Else bytes that follow a good leaf could stand in for it."""
    verifier = Verifier(chains.trust)
    verifier.verify(chains.good, HOST, RULES)
    for chain in ([b"".join(chains.good)], chains.good[::-1]):
        with pytest.raises(VerificationError):
            verifier.verify(chain, HOST, RULES)


def test_another_trust_has_other_verdicts(chains: Chains) -> None:
    verifier_for(chains.trust).verify(chains.good, HOST, RULES)
    with pytest.raises(VerificationError):
        verifier_for(Trust.of([chains.other_root.der])).verify(chains.good, HOST, RULES)
    with pytest.raises(VerificationError):
        verifier_for(Trust.of([])).verify(chains.good, HOST, RULES)


# -- not remembered ---------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["expired", "foreign"])
def test_refusal_is_not_remembered(chains: Chains, asked: Asked, what: str) -> None:
    verifier = Verifier(chains.trust)
    for _ in range(5):
        with pytest.raises(VerificationError) as caught:
            verifier.verify(getattr(chains, what), HOST, RULES)
        assert caught.value.status & CertificateStatus.INVALID
    assert asked.count == 5
    assert not verifier._verdicts


def test_wrong_name_is_refused_after_the_right_one(chains: Chains) -> None:
    verifier = Verifier(chains.trust)
    verifier.verify(chains.good, HOST, RULES)
    verifier.verify(chains.good, None, RULES)
    with pytest.raises(VerificationError) as caught:
        verifier.verify(chains.good, "host.example.com", RULES)
    assert caught.value.status & CertificateStatus.UNEXPECTED_OWNER


# -- for how long -----------------------------------------------------------------------------


def test_verdict_holds_for_an_hour(chains: Chains, asked: Asked, set_clock: SetClock) -> None:
    verifier = Verifier(chains.trust)
    for seconds, count in ((0, 1), (1, 1), (MAX_AGE - 1, 1), (MAX_AGE, 2), (2 * MAX_AGE - 1, 2)):
        set_clock(seconds)
        verifier.verify(chains.good, HOST, RULES)
        assert asked.count == count
    assert MAX_AGE == 3600


def test_verdict_does_not_hold_before_it_was_passed(
    chains: Chains, asked: Asked, set_clock: SetClock
) -> None:
    """A clock that is set back leads to before the certificates, or their lists."""
    verifier = Verifier(chains.trust)
    set_clock(0)
    verifier.verify(chains.good, HOST, RULES)
    set_clock(-1)
    verifier.verify(chains.good, HOST, RULES)
    assert asked.count == 2


@pytest.mark.parametrize("first", ["leaf", "intermediate"])
def test_verdict_ends_with_the_first_certificate(
    chains: Chains, asked: Asked, set_clock: SetClock, first: str
) -> None:
    short, long = DAY / 48, DAY
    inter = certify.issue(
        "intermediate", chains.root, ca=True, end=short if first == "intermediate" else long
    )
    leaf = certify.issue("leaf", inter, names=[HOST], end=short if first == "leaf" else long)
    verifier, chain = Verifier(chains.trust), [leaf.der, inter.der]
    ends = verifier.verify(chain, HOST, RULES)
    assert ends - time.time() == pytest.approx(1800, abs=5)
    left = ends - time.time()
    for seconds, count in ((left - 10, 1), (left + 1, 2), (left + 2, 3)):
        set_clock(seconds)
        verifier.verify(chain, HOST, RULES)  # GnuTLS's own clock has not moved
        assert asked.count == count


def test_old_certificate_beside_the_path_ends_nothing(chains: Chains, asked: Asked) -> None:
    """As many servers sent the expired DST Root CA X3 for years."""
    old = certify.issue(
        "old cross-signed root", chains.other_root, ca=True, end=-3 * DAY, start=-9 * DAY
    )
    verifier, chain = Verifier(chains.trust), [*chains.good, old.der]
    ends = {verifier.verify(chain, HOST, RULES) for _ in range(3)}
    assert ends == {verifier.verify(chains.good, HOST, RULES)}
    assert asked.count == 2


def test_certificate_that_has_just_ended_ends_the_verdict(chains: Chains, asked: Asked) -> None:
    """It may have been on the path, by a clock that is a second behind."""
    old = certify.issue("intermediate", chains.root, ca=True, end=-DAY / 86_400)
    verifier, chain = Verifier(chains.trust), [*chains.good, old.der]
    for count in (1, 2):
        assert verifier.verify(chain, HOST, RULES) < time.time()
        assert asked.count == count


# -- many -------------------------------------------------------------------------------------


def test_verdicts_are_bounded_and_those_in_use_stay(
    chains: Chains, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_VERDICTS == 1024
    monkeypatch.setattr(reverify, "MAX_VERDICTS", 8)
    verifier = Verifier(chains.trust)
    for number in range(50):
        verifier.verify(chains.good, "hot.example.org", RULES)
        verifier.verify(chains.good, f"h{number}.example.org", RULES)
        assert len(verifier._verdicts) <= 8
    assert asked.count == 51


def test_threads_get_the_verdict_of_their_own_question(chains: Chains) -> None:
    verifier = Verifier(chains.trust)
    questions = [
        (chains.good, HOST, True),
        (chains.other, HOST, True),
        (chains.good, "host.example.com", False),
        (chains.expired, HOST, False),
        (chains.foreign, HOST, False),
        (chains.good, None, True),
    ]
    wrong: list[object] = []
    together = threading.Barrier(8)

    def work(number: int) -> None:
        together.wait()
        for i in range(120):
            chain, host, good = questions[(i + number) % len(questions)]
            try:
                verifier.verify(chain, host, RULES)
                answer = True
            except VerificationError:
                answer = False
            except BaseException as error:
                wrong.append(error)
                return
            if answer is not good:
                wrong.append((host, answer))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_equal_trusts_share_a_verifier(chains: Chains) -> None:
    """Loading the system's authorities takes 10 ms and 4 MB."""
    one, other = Trust.of([chains.root.der]), Trust.of([chains.root.der, chains.root.der])
    assert one is not other
    assert verifier_for(one) is verifier_for(other)
    assert verifier_for(Trust.of([chains.other_root.der])) is not verifier_for(one)
    assert verifier_for(Trust.of([chains.root.der], [])) is verifier_for(one)


def test_threads_that_begin_at_once_make_one_verifier(monkeypatch: pytest.MonkeyPatch) -> None:
    root = certify.issue("root", ca=True)
    found: list[Verifier] = []
    together = threading.Barrier(8)

    def work() -> None:
        together.wait()
        found.append(verifier_for(Trust.of([root.der])))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({id(one) for one in found}) == 1


def test_remembered_verdict_costs_a_small_part_of_a_verification(chains: Chains) -> None:
    def best(call: Callable[[], object], rounds: int) -> float:
        times = []
        for _ in range(rounds):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        return min(times)

    verifier = Verifier(chains.trust)

    def anew() -> None:
        verifier._verdicts.clear()
        verifier.verify(chains.good, HOST, RULES)

    fresh = best(anew, 30)
    known = best(lambda: verifier.verify(chains.good, HOST, RULES), 300)
    assert known < fresh / 10


# -- one connection's check -------------------------------------------------------------------


class Peer:
    """All that a PeerCheck asks of a session."""

    def __init__(self, chain: list[bytes]) -> None:
        self.chain = chain

    def certificate_get_peers(self) -> list[bytes]:
        return self.chain


def check(verifier: Verifier | None, chain: list[bytes], rules: Rules) -> PeerCheck:
    made = PeerCheck(verifier, None, rules)
    assert made(Peer(chain)) is True  # type: ignore[arg-type]
    return made


def test_peer_without_a_certificate_is_refused_where_one_is_required(chains: Chains) -> None:
    check(Verifier(chains.trust), [], Rules(server=False, required=False))
    made = PeerCheck(Verifier(chains.trust), None, Rules(server=False))
    with pytest.raises(VerificationError) as caught:
        made(Peer([]))  # type: ignore[arg-type]
    assert caught.value.status & CertificateStatus.INVALID


def test_good_chains_are_held_once_and_others_not_at_all(chains: Chains) -> None:
    """A thousand strangers may show a hundred kilobytes each."""
    reverify.shared.cache_clear()
    verifier = Verifier(chains.trust)
    one, other = (check(verifier, list(chains.good), RULES) for _ in range(2))
    assert one.chain is other.chain
    assert one.chain == chains.good
    for chain in (chains.expired, chains.foreign):
        made = PeerCheck(verifier, None, RULES)
        with pytest.raises(VerificationError):
            made(Peer(chain))  # type: ignore[arg-type]
        assert made.chain == chain
    check(None, chains.foreign, RULES)
    assert reverify.shared.cache_info().currsize == 1


def test_optional_certificate_that_is_shown_must_be_good(chains: Chains) -> None:
    rules = Rules(server=False, required=False)
    for chain in (chains.expired, chains.foreign):
        made = PeerCheck(Verifier(chains.trust), None, rules)
        with pytest.raises(VerificationError):
            made(Peer(chain))  # type: ignore[arg-type]


def test_without_a_verifier_anyone_is_accepted_until_his_chain_ends(chains: Chains) -> None:
    made = check(None, chains.expired, RULES)
    assert made.not_after is not None
    assert made.not_after < time.time()
    assert made.chain == chains.expired
    assert check(None, [], RULES).not_after is None


@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["tls12", "tls13"])
def test_chain_is_the_same_after_a_resumption(certificates: Certificates, version: Any) -> None:
    client = client_context(certificates, sessions=MemoryStore())
    server = server_context(certificates, version)
    chains = [connect(client, server).client._sslobj._check.chain for _ in range(2)]
    assert len(chains[0]) == 2
    assert chains[0] == chains[1]
