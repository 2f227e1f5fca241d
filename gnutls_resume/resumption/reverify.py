"""The peer's chain, name and time, checked in full and in resumed handshakes by the same code.

GnuTLS verifies nobody when it resumes. A verdict is remembered, so that asking again costs
microseconds; only a good one is, and until the first certificate of the chain expires, at most
for an hour: an anchor's or a list's own end is not looked at meanwhile.
"""

import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Literal, NamedTuple

from gnutls_resume.binding import CertificateStatus, Session
from gnutls_resume.binding.x509 import Certificate, TrustList, chain_not_after
from gnutls_resume.errors import VerificationError
from gnutls_resume.resumption.lock import Lock
from gnutls_resume.resumption.trust import Trust

MAX_VERDICTS = 1024  # of some 2 KB, the chain included
MAX_AGE = 3600  # seconds
DAY = 86_400  # seconds


class Rules(NamedTuple):
    """What is asked of a chain besides trust. `required`: a peer without one is refused."""

    server: bool
    required: bool = True
    need_crl: Literal["none", "leaf", "chain"] = "none"
    partial_chain: bool = False
    common_name: bool = True


class Verdict(NamedTuple):
    """A good one: when it was passed, and when the chain ends (Unix seconds)."""

    passed: float
    not_after: int


class Verifier:
    """Verifies chains against one Trust; shared by all contexts that trust the same."""

    def __init__(self, trust: Trust) -> None:
        self.trust_list = TrustList(trust.anchors.values(), trust.crls.values())
        self._verdicts: OrderedDict[tuple[tuple[bytes, ...], str | None, Rules], Verdict] = (
            OrderedDict()
        )
        self._lock = Lock()

    def verify(self, chain: Sequence[bytes], hostname: str | None, rules: Rules) -> int:
        """When the chain ends, in Unix seconds. Raises VerificationError with the status."""
        key = tuple(chain), hostname, rules
        now = time.time()
        with self._lock:
            verdict = self._verdicts.get(key)
            if verdict is not None:
                self._verdicts.move_to_end(key)
        if verdict is not None and verdict.passed <= now < min(
            verdict.not_after, verdict.passed + MAX_AGE
        ):
            return verdict.not_after
        status = self.trust_list.verify(
            chain,
            hostname=hostname,
            server=rules.server,
            need_crl=rules.need_crl,
            partial_chain=rules.partial_chain,
            common_name=rules.common_name,
        )
        if status:
            raise refusal(status)
        verdict = Verdict(now, end_of(chain, now))
        with self._lock:
            self._verdicts[key] = verdict
            while len(self._verdicts) > MAX_VERDICTS:
                self._verdicts.popitem(last=False)
        return verdict.not_after

    def path(self, chain: Sequence[bytes]) -> list[bytes]:
        """From the leaf to the authority that it leads to."""
        return [certificate.der for certificate in self.trust_list.path(chain)]


def end_of(chain: Sequence[bytes], now: float) -> int:
    """When the first certificate of a good chain ends, in Unix seconds. What ended before
    yesterday is no part of the path that was found good: servers go on sending old cross-signed
    authorities. A day, since GnuTLS's clock may differ from Python's.
    """
    ends = [Certificate(chain[0]).not_after]
    for der in chain[1:]:
        with suppress(ValueError):  # nor is what cannot be read
            ends.append(Certificate(der).not_after)
    return min([ends[0], *(end for end in ends if end > now - DAY)])


def refusal(status: CertificateStatus) -> VerificationError:
    error = VerificationError("the peer's certificate was refused")
    error.status = status
    return error


# Loading the system's authorities takes 10 ms and 4 MB; libraries make contexts by the dozen.
building = Lock()


def verifier_for(trust: Trust) -> Verifier:
    """The verifier of this trust; equal ones share it."""
    with building:
        return made(trust)


@lru_cache(maxsize=8)
def made(trust: Trust) -> Verifier:
    return Verifier(trust)


@lru_cache(maxsize=MAX_VERDICTS)
def shared(chain: tuple[bytes, ...]) -> list[bytes]:
    """One list for all connections whose peers show this chain. Nobody changes it. For good ones
    only: strangers could fill it with 100 MB of theirs.
    """
    return list(chain)


class PeerCheck:
    """One connection's check of its peer, in the handshake or after a resumption.

    It is the session's verify function, and keeps what it found: `chain` (DER, leaf first) and
    `not_after`. Why the peer was refused it does not keep: an exception holds its frames.
    """

    def __init__(self, verifier: Verifier | None, hostname: str | None, rules: Rules) -> None:
        self.verifier = verifier
        self.hostname = hostname
        self.rules = rules
        self.chain: list[bytes] = []
        self.not_after: int | None = None

    def __call__(self, session: Session) -> bool:
        """Raises VerificationError, or returns True. Without a verifier anyone is accepted."""
        self.chain = session.certificate_get_peers()
        if self.chain and self.verifier is not None:
            self.not_after = self.verifier.verify(self.chain, self.hostname, self.rules)
            self.chain = shared(tuple(self.chain))
        elif self.chain:
            self.not_after = chain_not_after(self.chain)
        elif self.rules.required and self.verifier is not None:
            raise refusal(CertificateStatus.INVALID | CertificateStatus.SIGNER_NOT_FOUND)
        return True
