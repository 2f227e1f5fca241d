"""Each setting does what it says: seen on the wire, at the standard library's end or beside its
answer to the same setting.
"""

import itertools
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import certify
import pytest
from certify import Issued
from conftest import HOST, Certificates
from wrapped import (
    TLS12,
    TLS13,
    Wire,
    bare_server,
    client_context,
    connect,
    lax_context,
    server_context,
)

from gnutls_resume import MemoryStore, MissReason, SSLContext
from gnutls_resume.drop_in import options

VERSIONS = list(options.VERSIONS)  # the oldest first
NAMES = dict(zip(VERSIONS, ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"], strict=True))
RANGES = [(low, high) for low in VERSIONS for high in VERSIONS if low <= high]
SESSION_TICKET = 35  # an extension, RFC 5077 §3.2
NEW_SESSION_TICKET = 4  # a message, RFC 8446 §4
# For old versions: test_guard.py looks at them.
pytestmark = pytest.mark.filterwarnings("ignore:ssl:DeprecationWarning")
Prepare = Callable[[ssl.SSLContext], None]


def stdlib_client(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificates.trust_file)
    return context


def stdlib_server(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate_file, certificates.key_file)
    return context


@pytest.fixture(params=["our-client", "our-server"])
def ends(
    request: pytest.FixtureRequest, certificates: Certificates
) -> tuple[SSLContext, ssl.SSLContext, Callable[[], Wire]]:
    """Ours, the standard library's, and what connects them."""
    if request.param == "our-client":
        ours, theirs = client_context(certificates, sessions=None), stdlib_server(certificates)
        return ours, theirs, lambda: Wire(ours, theirs)
    ours, theirs = server_context(certificates), stdlib_client(certificates)
    return ours, theirs, lambda: Wire(theirs, ours)


Ends = tuple[SSLContext, ssl.SSLContext, Callable[[], Wire]]


def version_with(made: Wire) -> str | None:
    """The protocol that both ends tell, None if both fail."""
    errors = made.outcomes()
    told = {made.client.version(), made.server.version()}
    if errors == (None, None):
        (version,) = told
        return str(version)
    assert all(isinstance(error, ssl.SSLError) for error in errors), errors
    return None


# -- versions -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high"), RANGES, ids=[f"{NAMES[low]}-{NAMES[high]}" for low, high in RANGES]
)
def test_both_limits_hold_against_every_version(
    ends: Ends, low: ssl.TLSVersion, high: ssl.TLSVersion
) -> None:
    ours, theirs, made = ends
    theirs.set_ciphers("DEFAULT:@SECLEVEL=0")  # or it has no TLS 1.0
    ours.minimum_version = low
    ours.maximum_version = high
    for version in VERSIONS:
        theirs.minimum_version = ssl.TLSVersion.TLSv1
        theirs.maximum_version = version
        theirs.minimum_version = version
        expected = NAMES[version] if low <= version <= high else None
        assert version_with(made()) == expected, version
    theirs.minimum_version = ssl.TLSVersion.TLSv1
    theirs.maximum_version = ssl.TLSVersion.TLSv1_3
    assert version_with(made()) == NAMES[high]


def test_without_limits_tls_1_2_and_1_3_are_spoken(ends: Ends) -> None:
    ours, theirs, made = ends
    theirs.set_ciphers("DEFAULT:@SECLEVEL=0")
    theirs.minimum_version = ssl.TLSVersion.TLSv1
    for lowest in (None, ssl.TLSVersion.MINIMUM_SUPPORTED):
        if lowest is not None:  # nor does OpenSSL go lower at its default security level
            ours.minimum_version = lowest
        for version in VERSIONS:
            theirs.maximum_version = version
            assert version_with(made()) == (NAMES[version] if version >= TLS12 else None)


def test_maximum_as_minimum_is_the_newest(ends: Ends) -> None:
    ours, theirs, made = ends
    ours.minimum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED
    assert version_with(made()) == "TLSv1.3"
    theirs.maximum_version = TLS12
    assert version_with(made()) is None


@pytest.mark.parametrize("forbidden", list(itertools.product([False, True], repeat=2)))
def test_options_forbid_versions(ends: Ends, forbidden: tuple[bool, bool]) -> None:
    ours, theirs, made = ends
    flags = (ssl.OP_NO_TLSv1_2, ssl.OP_NO_TLSv1_3)
    for flag, wanted in zip(flags, forbidden, strict=True):
        if wanted:
            ours.options |= flag
    if all(forbidden):
        with pytest.raises(ssl.SSLError, match="NO_PROTOCOLS_AVAILABLE"):
            made()
        with pytest.raises(ssl.SSLError, match="NO_PROTOCOLS_AVAILABLE"):
            ours.get_ciphers()
        return
    for version, unwanted in ((TLS12, forbidden[0]), (TLS13, forbidden[1])):
        theirs.minimum_version = ssl.TLSVersion.TLSv1_2
        theirs.maximum_version = version
        theirs.minimum_version = version
        assert version_with(made()) == (None if unwanted else NAMES[version])


def test_below_a_hole_the_older_version_is_spoken(ends: Ends) -> None:
    """As by OpenSSL's clients; by its servers not, which choose TLS 1.3."""
    ours, theirs, made = ends
    theirs.set_ciphers("DEFAULT:@SECLEVEL=0")
    for context in (ours, theirs):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    ours.options |= ssl.OP_NO_TLSv1_2
    assert version_with(made()) == "TLSv1.1"
    theirs.minimum_version = TLS12
    theirs.maximum_version = TLS12
    assert version_with(made()) is None


@pytest.mark.parametrize("name", ["PROTOCOL_TLSv1", "PROTOCOL_TLSv1_1", "PROTOCOL_TLSv1_2"])
def test_protocols_of_one_version_speak_that_one(certificates: Certificates, name: str) -> None:
    ours = SSLContext(getattr(ssl, name), sessions=None)
    theirs = stdlib_server(certificates)
    theirs.set_ciphers("DEFAULT:@SECLEVEL=0")
    theirs.minimum_version = ssl.TLSVersion.TLSv1
    version = ssl.TLSVersion[name.removeprefix("PROTOCOL_")]
    assert version_with(Wire(ours, theirs)) == NAMES[version]
    theirs.minimum_version = TLS13
    assert version_with(Wire(ours, theirs)) is None
    ours.load_cert_chain(certificates.certificate_file, certificates.key_file)
    assert version_with(Wire(ours, ours)) == NAMES[version]


# -- options --------------------------------------------------------------------------------------


def test_a_server_prefers_its_own_ciphers_if_told_to(certificates: Certificates) -> None:
    ours, theirs = server_context(certificates, TLS12), stdlib_client(certificates)
    names = ["ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-GCM-SHA256"]
    theirs.set_ciphers(":".join(names))
    assert ours.options & ssl.OP_CIPHER_SERVER_PREFERENCE  # as in the standard library
    for option, expected in ((0, names[0]), (ssl.OP_CIPHER_SERVER_PREFERENCE, names[1])):
        ours.options = (ours.options & ~ssl.OP_CIPHER_SERVER_PREFERENCE) | option
        made = connect(theirs, ours)
        assert made.client.cipher()[0] == made.server.cipher()[0] == expected


def tickets_sent_by(server: ssl.SSLContext, certificates: Certificates) -> int:
    """How many TLS 1.3 tickets the standard library's client sees."""
    client = stdlib_client(certificates)
    seen: list[int] = []
    client._msg_callback = lambda *about: seen.append(about[4])  # type: ignore[attr-defined]
    made = connect(client, server)
    assert made.client.version() == "TLSv1.3"
    return sum(kind == NEW_SESSION_TICKET for kind in seen)


@pytest.mark.parametrize("number", [0, 1, 2, 3, 8])
def test_a_server_sends_as_many_tickets_as_it_is_told(
    certificates: Certificates, number: int
) -> None:
    server = server_context(certificates)
    assert tickets_sent_by(server, certificates) == server.num_tickets == 2
    server.num_tickets = number
    assert tickets_sent_by(server, certificates) == number


@pytest.mark.parametrize(("number", "has_ticket"), [(0, False), (1, True)])
def test_no_tickets_are_none_in_tls_1_2_either(
    certificates: Certificates,
    number: int,
    has_ticket: bool,  # noqa: FBT001
) -> None:
    """Where the standard library's number is TLS 1.3's alone."""
    server = server_context(certificates, TLS12)
    server.num_tickets = number
    session = connect(stdlib_client(certificates), server).client.session
    assert session.has_ticket == has_ticket


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_server_without_tickets_sends_none(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    for server in (
        server_context(certificates, version),
        server_context(certificates, version, ticket_keys=None),
    ):
        server.options |= ssl.OP_NO_TICKET
        assert server.num_tickets == 2  # which says nothing here
        client = stdlib_client(certificates)
        first = connect(client, server)
        assert first.client.session is None or not first.client.session.has_ticket
        if version == TLS13:
            assert tickets_sent_by(server, certificates) == 0
        ours = client_context(certificates, sessions=MemoryStore())
        assert connect(ours, server).resumed == connect(ours, server).resumed == (False, False)
        assert server.stats["server_disabled"] >= 3


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_client_without_tickets_asks_for_none(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    server = server_context(certificates, version)
    client = client_context(certificates, sessions=MemoryStore())
    assert SESSION_TICKET in connect(client, server).extensions
    assert connect(client, server).resumed == (True, True)
    client.options |= ssl.OP_NO_TICKET
    for number in range(2):
        made = connect(client, server)
        assert made.resumed == (False, False)
        assert SESSION_TICKET not in made.extensions
        # In TLS 1.2 it learns a session ID then, and our servers keep no sessions.
        ids = version == TLS12 and number
        assert made.client.miss_reason is (MissReason.DECLINED if ids else MissReason.NONE_STORED)
    client.options &= ~ssl.OP_NO_TICKET
    assert connect(client, server).resumed == (True, True)  # nobody has taken the ticket


def test_options_of_openssl_s_own_configuration_are_left_alone(tmp_path: Path) -> None:
    """They are in ``options`` from the start, and nobody has asked this context for them."""
    (tmp_path / "openssl.cnf").write_text(
        "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\n"
        "Options = PrioritizeChaCha\nMaxProtocol = TLSv1.2\n"
    )
    text = (
        "import ssl, gnutls_resume\n"
        "context = gnutls_resume.create_default_context()\n"
        "assert context.options & 0x200000, context.options\n"
        "context.options |= ssl.OP_NO_TICKET\n"
        "wrapped = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname='a')\n"
        "assert [suite['protocol'] for suite in context.get_ciphers()] == ['TLSv1.2'] * 15\n"
        "try: context.options |= 0x1000000\n"
        "except NotImplementedError as error: print('refused:', error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", text],
        env={**os.environ, "OPENSSL_CONF": str(tmp_path / "openssl.cnf")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.startswith("refused: GnuTLS has nothing like")


def test_what_a_setting_s_own_descriptor_lets_through_is_refused_at_the_connection() -> None:
    for base in (ssl.SSLContext, ssl.SSLContext.__base__):
        for name, flag in (("options", 1 << 24), ("verify_flags", ssl.VERIFY_ALLOW_PROXY_CERTS)):
            context = lax_context()
            getattr(base, name).__set__(context, getattr(context, name) | flag)
            with pytest.raises(NotImplementedError, match="GnuTLS has nothing like"):
                context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())


@pytest.mark.parametrize(
    "name", [name for name in dir(ssl) if name.startswith("OP_")], ids=lambda name: name
)
def test_inert_options_change_nothing(certificates: Certificates, name: str) -> None:
    value = getattr(ssl, name)
    if int(value) & ~int(options.INERT_OPTIONS):
        return  # the others have their own tests
    for context in (client_context(certificates), server_context(certificates)):
        context.options &= ~options.INERT_OPTIONS
        server_side = context.protocol == ssl.PROTOCOL_TLS_SERVER
        without, _ = context._connection(server_side=server_side)
        context.options |= value
        settings, _ = context._connection(server_side=server_side)
        assert int(value) == 0 or settings is not without
        assert (settings.priority, settings.flags) == (without.priority, without.flags)
        assert settings.policy == without.policy


def test_tls_1_3_looks_like_tls_1_2_to_middleboxes(certificates: Certificates) -> None:
    """OP_ENABLE_MIDDLEBOX_COMPAT, set or not: a session ID to echo, RFC 8446 appendix D.4."""
    for option in (0, ssl.OP_ENABLE_MIDDLEBOX_COMPAT):
        client = client_context(certificates, sessions=None)
        client.options = (client.options & ~ssl.OP_ENABLE_MIDDLEBOX_COMPAT) | option
        made = connect(client, stdlib_server(certificates))
        assert made.client.version() == "TLSv1.3"
        assert made.sent[5 + 4 + 2 + 32] == 32


def test_a_cut_stream_is_an_error_whatever_the_options_say(certificates: Certificates) -> None:
    """OP_IGNORE_UNEXPECTED_EOF, which is on by default in Python 3.11 alone."""
    option = getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    for chosen in (0, option):
        client = client_context(certificates, sessions=None)
        client.options = (client.options & ~option) | chosen
        made = connect(client, stdlib_server(certificates))
        made.ends[0].incoming.write_eof()
        with pytest.raises(ssl.SSLEOFError):
            made.client.read(10)


def test_servers_without_secure_renegotiation_are_connected_to(
    certificates: Certificates,
) -> None:
    """OP_LEGACY_SERVER_CONNECT, set or not: harmless without renegotiation, RFC 5746 §4.1."""
    option = getattr(ssl, "OP_LEGACY_SERVER_CONNECT", 0x4)
    for kind, chosen, good in (
        (client_context, 0, True),
        (client_context, option, True),
        (stdlib_client, 0, False),
        (stdlib_client, option, True),
    ):
        client = kind(certificates)
        client.options = (client.options & ~option) | chosen
        server = bare_server(certificates.server(), None, TLS12, ":%DISABLE_SAFE_RENEGOTIATION")
        assert (Wire(client, server).outcomes()[0] is None) == good


# -- verify flags, each beside the standard library's answer --------------------------------------


@pytest.fixture(scope="module")
def chain() -> dict[str, Issued]:
    root = certify.issue("root", ca=True)
    middle = certify.issue("middle", root, ca=True)
    return {"root": root, "middle": middle, "leaf": certify.issue("leaf", middle, names=[HOST])}


def our_refusal(
    shown: list[Issued],
    anchors: list[Issued],
    hostname: str | None,
    folder: Path,
    *,
    crls: list[bytes] | None = None,
    prepare: Prepare | None = None,
) -> tuple[int, str] | None:
    """As ``certify.stdlib_refusal``: our client's, for a chain shown by the standard library."""
    client = SSLContext(ssl.PROTOCOL_TLS_CLIENT, sessions=None)
    if hostname is None:
        client.check_hostname = False
    client.load_verify_locations(
        cadata=b"".join([*(one.pem for one in anchors), *(crls or [])]).decode()
    )
    if prepare:
        prepare(client)
    client_error, server_error = Wire(
        client, certify.shower(folder, shown, server=True), hostname
    ).outcomes()
    assert (client_error is None) == (server_error is None)
    if client_error is None:
        return None
    assert isinstance(client_error, ssl.SSLCertVerificationError)
    return client_error.verify_code, client_error.verify_message


def lists(chain: dict[str, Issued]) -> Iterator[tuple[str, list[bytes]]]:
    root, middle, leaf = chain["root"], chain["middle"], chain["leaf"]
    old = {"start": -3 * certify.DAY, "end": -2 * certify.DAY}
    good = {"root": certify.crl(root), "middle": certify.crl(middle)}
    yield "none", []
    yield "both good", [good["root"], good["middle"]]
    yield "leaf's good", [good["middle"]]
    yield "middle's good", [good["root"]]
    yield "leaf revoked", [good["root"], certify.crl(middle, leaf)]
    yield "middle revoked", [certify.crl(root, middle), good["middle"]]
    yield "leaf's expired", [good["root"], certify.crl(middle, **old)]
    yield "middle's expired", [certify.crl(root, **old), good["middle"]]
    yield "leaf's forged", [good["root"], certify.crl(middle, key=leaf.key)]
    yield "another's", [good["root"], certify.crl(certify.issue("other", ca=True))]


@pytest.mark.parametrize("flag", ["", "VERIFY_CRL_CHECK_LEAF", "VERIFY_CRL_CHECK_CHAIN"])
def test_revocation_lists_are_asked_as_the_standard_library_asks(
    chain: dict[str, Issued], flag: str, tmp_path: Path
) -> None:
    def prepare(context: ssl.SSLContext) -> None:
        if flag:
            context.verify_flags |= getattr(ssl, flag)

    shown, anchors = [chain["leaf"], chain["middle"]], [chain["root"]]
    refused = set()
    for name, crls in lists(chain):
        theirs = certify.stdlib_refusal(shown, anchors, HOST, crls=crls, prepare=prepare)
        ours = our_refusal(shown, anchors, HOST, tmp_path, crls=crls, prepare=prepare)
        assert (ours is None) == (theirs is None), (name, ours, theirs)
        assert theirs is None or ours == theirs, name
        if theirs:
            refused.add(name)
    assert len(refused) == {"": 0, "VERIFY_CRL_CHECK_LEAF": 6, "VERIFY_CRL_CHECK_CHAIN": 9}[flag]


def test_a_list_that_comes_later_counts_for_the_next_connection(
    chain: dict[str, Issued], tmp_path: Path
) -> None:
    server = certify.shower(tmp_path, [chain["leaf"], chain["middle"]], server=True)
    client = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(cadata=chain["root"].pem.decode())
    client.load_verify_locations(cadata=certify.crl(chain["middle"]).decode())
    client.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    connect(client, server)
    client.load_verify_locations(cadata=certify.crl(chain["middle"], chain["leaf"]).decode())
    error, _ = Wire(client, server).outcomes()
    assert isinstance(error, ssl.SSLCertVerificationError)
    assert error.verify_code == 23
    assert error.session_offered is False  # type: ignore[attr-defined]


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("anchor", ["leaf", "middle", "root"])
def test_a_partial_chain_is_enough_if_it_is_said_so(
    chain: dict[str, Issued],
    anchor: str,
    partial: bool,  # noqa: FBT001
    tmp_path: Path,
) -> None:
    def prepare(context: ssl.SSLContext) -> None:
        context.verify_flags &= ~ssl.VERIFY_X509_PARTIAL_CHAIN
        if partial:
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN

    shown, anchors = [chain["leaf"], chain["middle"]], [chain[anchor]]
    theirs = certify.stdlib_refusal(shown, anchors, HOST, prepare=prepare)
    assert our_refusal(shown, anchors, HOST, tmp_path, prepare=prepare) == theirs
    assert (theirs is None) == (partial or anchor == "root")


def test_strict_and_trusted_first_change_nothing(chain: dict[str, Issued], tmp_path: Path) -> None:
    """GnuTLS looks for what is trusted first by itself, and has no such strictness: docs."""
    shown, anchors = [chain["leaf"], chain["middle"]], [chain["root"]]

    def prepare(context: ssl.SSLContext) -> None:
        context.verify_flags |= ssl.VERIFY_X509_STRICT

    assert our_refusal(shown, anchors, HOST, tmp_path, prepare=prepare) is None
    theirs = certify.stdlib_refusal(shown, anchors, HOST, prepare=prepare)
    assert theirs is not None  # no key identifiers, RFC 5280 §4.2.1.1
    for flags in (ssl.VERIFY_X509_TRUSTED_FIRST, ssl.VerifyFlags(0)):
        assert (
            our_refusal(
                shown,
                anchors,
                HOST,
                tmp_path,
                prepare=lambda context, flags=flags: setattr(context, "verify_flags", flags),
            )
            is None
        )


@pytest.mark.parametrize("names", [[], ["other.example"], [certify.x509.RFC822Name("a@b.c")]])
@pytest.mark.parametrize("checks", [True, False])
def test_the_common_name_counts_where_it_may(
    chain: dict[str, Issued],
    checks: bool,  # noqa: FBT001
    names: list[Any],
    tmp_path: Path,
) -> None:
    shown = [certify.issue(HOST, chain["middle"], names=names), chain["middle"]]

    def prepare(context: ssl.SSLContext) -> None:
        context.hostname_checks_common_name = checks

    assert SSLContext(ssl.PROTOCOL_TLS_CLIENT).hostname_checks_common_name
    theirs = certify.stdlib_refusal(shown, [chain["root"]], HOST, prepare=prepare)
    assert our_refusal(shown, [chain["root"]], HOST, tmp_path, prepare=prepare) == theirs
    assert (theirs is None) == (checks and names != ["other.example"])


# -- verify_mode ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", list(ssl.VerifyMode))
@pytest.mark.parametrize("shown", ["none", "good", "stranger"])
def test_a_server_asks_for_certificates_as_the_standard_library_does(
    certificates: Certificates, mode: ssl.VerifyMode, shown: str, tmp_path: Path
) -> None:
    answers = []
    for kind in (SSLContext, ssl.SSLContext):
        server, client = kind(ssl.PROTOCOL_TLS_SERVER), stdlib_client(certificates)
        server.load_cert_chain(certificates.certificate_file, certificates.key_file)
        server.load_verify_locations(certificates.trust_file)
        server.verify_mode = mode
        client.maximum_version = TLS12  # where the client's end tells the server's refusal
        if shown == "good":
            (tmp_path / "client").write_bytes(
                certificates.client_certificate + certificates.client_key
            )
            client.load_cert_chain(tmp_path / "client")
        elif shown == "stranger":
            one = certify.issue("stranger")
            (tmp_path / "client").write_bytes(one.pem + one.key_pem)
            client.load_cert_chain(tmp_path / "client")
        made = Wire(client, server)
        errors = made.outcomes()
        seen = made.server.getpeercert(binary_form=True) if errors == (None, None) else None
        answers.append((*(type(error) for error in errors), seen))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("mode", [ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED])
def test_a_server_s_certificate_is_never_optional(
    certificates: Certificates, mode: ssl.VerifyMode
) -> None:
    for make in (client_context, stdlib_client):
        client = make(certificates)
        client.check_hostname = False
        client.verify_mode = mode
        stranger = certify.shower(certificates.folder, [certify.issue("stranger")], server=True)
        error, _ = Wire(client, stranger).outcomes()
        assert isinstance(error, ssl.SSLCertVerificationError)


# -- other settings -------------------------------------------------------------------------------


@pytest.mark.parametrize("offered", [["h2", "http/1.1"], ["http/1.1", "h2"], ["x"], []])
@pytest.mark.parametrize("taken", [["h2", "http/1.1"], ["http/1.1"], []])
def test_the_protocol_agreed_on_is_the_standard_library_s(
    certificates: Certificates, offered: list[str], taken: list[str]
) -> None:
    agreed = []
    for kinds in ((0, 0), (0, 1), (1, 0), (1, 1)):
        client = (stdlib_client, client_context)[kinds[0]](certificates)
        server = (stdlib_server, server_context)[kinds[1]](certificates)
        if offered:
            client.set_alpn_protocols(offered)
        if taken:
            server.set_alpn_protocols(taken)
        made = connect(client, server)
        assert made.client.selected_alpn_protocol() == made.server.selected_alpn_protocol()
        agreed.append(made.client.selected_alpn_protocol())
    assert len(set(agreed)) == 1, agreed


def test_more_protocols_than_gnutls_takes_are_refused_at_once() -> None:
    context = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    for names in ([f"p{i}" for i in range(9)], ["a" * 32]):
        with pytest.raises(NotImplementedError, match="8 ALPN protocols of 31 bytes"):
            context.set_alpn_protocols(names)
        assert context._connection(server_side=False)[0].alpn == (b"h2",)
    context.set_alpn_protocols([f"{i}" * 31 for i in range(8)])


def secrets_in(path: Path) -> set[str]:
    return {line for line in path.read_text().splitlines() if not line.startswith("#")}


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("side", ["our-client", "our-server"])
def test_the_key_log_has_the_secrets_that_the_standard_library_logs(
    certificates: Certificates, version: ssl.TLSVersion, side: str, tmp_path: Path
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    if side == "our-client":
        client = client_context(certificates, sessions=None)
        server = stdlib_server(certificates)
        logged = {client: ours, server: theirs}
    else:
        client, server = stdlib_client(certificates), server_context(certificates)
        logged = {server: ours, client: theirs}
    client.maximum_version = version
    for context, path in logged.items():
        context.keylog_filename = str(path)
    connect(client, server)
    assert secrets_in(ours) == secrets_in(theirs)
    assert len(secrets_in(ours)) == (1 if version == TLS12 else 5)
    connect(client, server)
    assert len(secrets_in(ours)) >= (1 if version == TLS12 else 10)
    before = secrets_in(ours)
    for context in logged:
        context.keylog_filename = None
    connect(client, server)
    assert secrets_in(ours) == before


def test_the_key_log_stays_where_it_was_opened(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    client, server = client_context(certificates), server_context(certificates)
    monkeypatch.chdir(tmp_path)
    client.keylog_filename = "keys"
    assert client.keylog_filename == "keys"
    monkeypatch.chdir(tmp_path / "elsewhere")
    connect(client, server)
    assert secrets_in(tmp_path / "keys")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_key_log_that_cannot_be_written_fails_no_handshake(
    certificates: Certificates, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client, server = client_context(certificates), server_context(certificates)
    for path in (tmp_path / "gone" / "keys", Path("/dev/full")):
        path.parent.mkdir(exist_ok=True)
        client.keylog_filename = str(path)
        if path.parent != Path("/dev"):
            path.unlink()
            path.parent.rmdir()
        connect(client, server)
    assert "writing the key log failed" in caplog.text


def test_a_client_answers_a_request_after_the_handshake_if_told_to(
    certificates: Certificates, tmp_path: Path
) -> None:
    server = stdlib_server(certificates)
    server.load_verify_locations(certificates.trust_file)
    server.verify_mode, server.post_handshake_auth = ssl.CERT_REQUIRED, True
    (tmp_path / "client").write_bytes(certificates.client_certificate + certificates.client_key)
    for willing in (False, True):
        client = client_context(certificates, sessions=None)
        client.load_cert_chain(tmp_path / "client")
        assert client.post_handshake_auth is False
        client.post_handshake_auth = willing
        made = Wire(client, server)
        made.handshake()
        assert made.server.getpeercert(binary_form=True) is None
        if not willing:
            with pytest.raises(ssl.SSLError, match="extension not received"):
                made.server.verify_client_post_handshake()
            continue
        made.server.verify_client_post_handshake()
        made.server.write(b"who are you?")
        made.move()
        assert made.client.read(100) == b"who are you?"
        made.client.write(b"me")
        made.move()
        assert made.server.read(100) == b"me"
        assert made.server.getpeercert()["subjectAltName"] == (("email", "client@example.org"),)


def test_a_server_asks_in_the_handshake_only(certificates: Certificates, tmp_path: Path) -> None:
    """GnuTLS could ask later; `post_handshake_auth` of a server changes nothing, and the call
    that would ask says what to use.
    """
    server = server_context(certificates)
    server.load_verify_locations(certificates.trust_file)
    server.verify_mode, server.post_handshake_auth = ssl.CERT_REQUIRED, True
    client = client_context(certificates)
    client.maximum_version = TLS12
    errors = Wire(client, server).outcomes()
    assert all(isinstance(error, ssl.SSLError) for error in errors)
    (tmp_path / "client").write_bytes(certificates.client_certificate + certificates.client_key)
    client.load_cert_chain(tmp_path / "client")
    made = connect(client, server)
    with pytest.raises(NotImplementedError, match="verify_mode"):
        made.server.verify_client_post_handshake()


@pytest.mark.parametrize("how", ["sni_callback", "set_servername_callback"])
def test_the_server_name_callback_is_called_until_it_is_taken_away(
    certificates: Certificates, how: str
) -> None:
    seen: list[Any] = []
    server, client = server_context(certificates), stdlib_client(certificates)

    def set_to(callback: Any) -> None:
        if how == "sni_callback":
            server.sni_callback = callback
        else:
            server.set_servername_callback(callback)

    set_to(lambda *about: seen.append(about))
    assert server.sni_callback is not None
    made = connect(client, server)
    assert seen == [(made.server, HOST, server)]
    set_to(lambda *_: ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)
    error, _ = Wire(client, server).outcomes()
    assert isinstance(error, ssl.SSLError)
    assert error.reason == "TLSV1_UNRECOGNIZED_NAME"
    set_to(None)
    assert server.sni_callback is None
    connect(client, server)
    assert len(seen) == 1
    if how == "sni_callback":
        with pytest.raises(TypeError, match="not a callable"):
            set_to(3)


# -- ciphers --------------------------------------------------------------------------------------


def test_the_default_cipher_strings_change_nothing(certificates: Certificates) -> None:
    client = client_context(certificates)
    before = client.get_ciphers()
    for default in ("DEFAULT", ssl._DEFAULT_CIPHERS):  # type: ignore[attr-defined]
        client.set_ciphers(default)
    assert client.get_ciphers() == before


@pytest.mark.parametrize(
    "cipherlist",
    [
        "TLSv1",  # uvicorn's default, for contexts that it makes itself
        "HIGH:!MD5",
        "DEFAULT:@SECLEVEL=0",
        "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!MD5",
        "",
    ],
)
def test_other_cipher_strings_are_refused(cipherlist: str) -> None:
    with pytest.raises(NotImplementedError, match="priority="):
        SSLContext(ssl.PROTOCOL_TLS_CLIENT).set_ciphers(cipherlist)


@pytest.mark.parametrize("wrong", [None, 3, b"DEFAULT", ["DEFAULT"]])
def test_what_is_no_cipher_string_is_a_type_error(wrong: Any) -> None:
    for kind in (SSLContext, ssl.SSLContext):
        with pytest.raises(TypeError):
            kind(ssl.PROTOCOL_TLS_CLIENT).set_ciphers(wrong)


def test_a_priority_chooses_ciphers_and_groups_but_not_versions(
    certificates: Certificates,
) -> None:
    priority = "NORMAL:-CIPHER-ALL:+CHACHA20-POLY1305:-GROUP-ALL:+GROUP-SECP384R1:+GROUP-SECP256R1"
    client = client_context(certificates, priority=priority, sessions=None)
    server = stdlib_server(certificates)
    for version in (TLS12, TLS13):
        client.maximum_version = version
        made = connect(client, server)
        assert made.client.version() == NAMES[version]
        assert "CHACHA20" in made.server.cipher()[0]
    assert made.extensions[10] == b"\0\4\0\x18\0\x17"  # supported_groups, RFC 8446 §4.2.7


def test_a_resumption_is_counted_for_what_it_is(certificates: Certificates) -> None:
    """The standard library's numbers: its names, and those that it would have."""
    client = client_context(certificates, sessions=MemoryStore())
    server = server_context(certificates)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).session_stats()
    assert list(client.session_stats()) == list(theirs)
    assert set(client.session_stats().values()) == {0}
    connect(client, server)
    made = connect(client, server)
    assert made.resumed == (True, True)
    assert made.server.miss_reason is None
    lost = client_context(certificates, sessions=MemoryStore())
    lost.load_verify_locations(cadata=certificates.other_trust.decode())
    assert connect(lost, server).client.miss_reason is MissReason.NONE_STORED
    told = client.session_stats()
    assert (told["connect"], told["connect_good"], told["hits"], told["accept"]) == (2, 2, 1, 0)
    told = server.session_stats()
    assert (told["accept"], told["accept_good"], told["hits"], told["connect"]) == (3, 3, 1, 0)
