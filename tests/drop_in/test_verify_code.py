"""What a refused certificate is called: number and sentence as in the standard library."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from certify import DAY, Issued, crl, issue, stdlib_refusal
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from gnutls_resume.binding import CertificateStatus, TrustList, crls_of
from gnutls_resume.drop_in.verify_code import verify_code

HOST = "www.example.org"
ROOT = issue("root", ca=True)
MIDDLE = issue("middle", ROOT, ca=True)
LEAF = issue("leaf", MIDDLE, names=[HOST, "127.0.0.1"])
OLD = {"start": -3 * DAY, "end": -DAY}
EARLY = {"start": DAY, "end": 3 * DAY}
WEAK = rsa.generate_private_key(65537, 1024)  # noqa: S505
LONE = issue("lone", names=[HOST])
CLIENT_ONLY = [(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)]
UNKNOWN = [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"), True)]
LEAF_CHECK, CHAIN_CHECK = ssl.VERIFY_CRL_CHECK_LEAF, ssl.VERIFY_CRL_CHECK_CHAIN


@dataclass
class Case:
    code: int
    chain: Sequence[Issued]
    anchors: Sequence[Issued] = (ROOT,)
    hostname: str | None = HOST
    crls: Sequence[bytes] = ()
    check: ssl.VerifyFlags | None = None
    server: bool = True
    more: dict[str, Any] = field(default_factory=dict)

    def theirs(self) -> tuple[int, str] | None:
        def prepare(context: ssl.SSLContext) -> None:
            if self.check is not None:
                context.verify_flags |= self.check

        return stdlib_refusal(
            self.chain,
            self.anchors,
            self.hostname,
            crls=self.crls,
            server=self.server,
            prepare=prepare,
        )

    def ours(self) -> tuple[int, str]:
        lists = [der for pem in self.crls for der in crls_of(pem)]
        trust = TrustList([anchor.der for anchor in self.anchors], lists)
        chain = [one.der for one in self.chain]
        need = {None: "none", LEAF_CHECK: "leaf", CHAIN_CHECK: "chain"}[self.check]
        status = trust.verify(chain, hostname=self.hostname, server=self.server, need_crl=need)  # type: ignore[arg-type]
        assert status
        return verify_code(status, chain, trust, self.hostname)


def leaf(issuer: Issued = MIDDLE, **more: Any) -> list[Issued]:
    return [issue("x", issuer, names=[HOST], **more), issuer]


CASES = {
    "expired": Case(10, leaf(**OLD)),
    "expired middle": Case(10, leaf(issue("past", ROOT, ca=True, **OLD))),
    "expired root": Case(10, leaf(past := issue("past", ca=True, **OLD)), [past]),
    "not yet valid": Case(9, leaf(**EARLY)),
    "not yet valid root": Case(9, leaf(early := issue("early", ca=True, **EARLY)), [early]),
    "self-signed": Case(18, [LONE]),
    "self-signed without anchors": Case(18, [LONE], []),
    "self-signed and expired": Case(18, [issue("x", names=[HOST], **OLD)]),
    "self-signed, expired, trusted": Case(10, [own := issue("x", names=[HOST], **OLD)], [own]),
    "self-signed in the chain": Case(19, [LEAF, MIDDLE, ROOT], [LONE]),
    "self-signed beside the leaf": Case(19, [issue("y", ROOT, names=[HOST]), ROOT], []),
    "no issuer": Case(20, [LEAF, MIDDLE], [LONE]),
    "no middle": Case(20, [LEAF]),
    "no anchors": Case(20, [LEAF, MIDDLE], []),
    "no root": Case(2, [LEAF], [MIDDLE]),
    "no issuer and expired": Case(20, leaf(**OLD), [LONE]),
    "another root of that name": Case(7, [LEAF, MIDDLE], [issue("root", ca=True)]),
    "no authority": Case(79, [issue("x", LONE, names=[HOST]), LONE], [LONE]),
    "no authority in the middle": Case(79, leaf(issue("no", ROOT))),
    "purpose": Case(26, leaf(extensions=CLIENT_ONLY)),
    "purpose of the middle": Case(26, leaf(issue("m", ROOT, ca=True, extensions=CLIENT_ONLY))),
    "purpose and host": Case(26, leaf(extensions=CLIENT_ONLY), hostname="other.example.org"),
    "unknown extension": Case(34, leaf(extensions=UNKNOWN)),
    "host": Case(62, [LEAF, MIDDLE], hostname="other.example.org"),
    "host and expired": Case(62, leaf(**OLD), hostname="other.example.org"),
    "address": Case(64, [LEAF, MIDDLE], hostname="127.0.0.2"),
    "IPv6 address": Case(64, [LEAF, MIDDLE], hostname="::1"),
    "weak leaf": Case(66, leaf(key=WEAK)),
    "weak middle": Case(67, leaf(issue("weak", ROOT, ca=True, key=WEAK))),
    "no CRL": Case(3, [LEAF, MIDDLE], check=LEAF_CHECK),
    "no CRL of the middle": Case(3, [LEAF, MIDDLE], crls=[crl(MIDDLE)], check=CHAIN_CHECK),
    "no CRL and expired": Case(3, leaf(**OLD), check=LEAF_CHECK),
    "no CRL and host": Case(62, [LEAF, MIDDLE], hostname="other.example.org", check=LEAF_CHECK),
    "expired CRL": Case(12, [LEAF, MIDDLE], crls=[crl(MIDDLE, **OLD)], check=LEAF_CHECK),
    "early CRL": Case(11, [LEAF, MIDDLE], crls=[crl(MIDDLE, **EARLY)], check=LEAF_CHECK),
    "forged CRL": Case(8, [LEAF, MIDDLE], crls=[crl(MIDDLE, key=ROOT.key)], check=LEAF_CHECK),
    "revoked": Case(23, [LEAF, MIDDLE], crls=[crl(MIDDLE, LEAF)], check=LEAF_CHECK),
    "revoked and expired": Case(
        23, chain := leaf(**OLD), crls=[crl(MIDDLE, chain[0])], check=LEAF_CHECK
    ),
    "revoked middle": Case(
        23, [LEAF, MIDDLE], crls=[crl(MIDDLE), crl(ROOT, MIDDLE)], check=CHAIN_CHECK
    ),
    "client": Case(20, [LEAF, MIDDLE], [LONE], None, server=False),
    "client's purpose": Case(
        26,
        leaf(extensions=[(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)]),
        hostname=None,
        server=False,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_number_and_sentence_are_those_of_the_standard_library(case: Case) -> None:
    assert case.ours() == case.theirs()
    assert case.ours()[0] == case.code


def test_chain_too_long_is_said() -> None:
    trust = TrustList([ROOT.der])
    chain = [LEAF.der] * 101
    status = trust.verify(chain, hostname=HOST)
    assert verify_code(status, chain, trust, HOST) == (22, "certificate chain too long")


def test_what_has_no_number_of_its_own_is_1() -> None:
    """GnuTLS has one bit for a path too long and a name out of bounds, OpenSSL 25, 47 and more."""
    short = issue("short", ca=True, path_length=0)
    below = issue("below", short, ca=True)
    bounds = x509.NameConstraints([x509.DNSName("example.com")], None)
    narrow = issue("narrow", ca=True, extensions=[(bounds, True)])
    for anchor, chain in ((short, leaf(below)), (narrow, leaf(narrow))):
        case = Case(1, chain, [anchor])
        assert case.ours() == (1, "unspecified certificate verification error")
        theirs = case.theirs()
        assert theirs is not None
        assert theirs[0] in {25, 47}


def test_damaged_chain_is_1() -> None:
    trust = TrustList([ROOT.der])
    chain = [LEAF.der[:-1]]
    status = trust.verify(chain, hostname=HOST)
    assert status == CertificateStatus.INVALID
    assert verify_code(status, chain, trust, HOST)[0] == 1
