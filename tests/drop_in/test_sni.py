"""The sni_callback of a server in all its shapes (trap 18), beside the standard library's."""

import contextlib
import ssl
import sys
import threading
from typing import Any

import pytest
import trustme
from conftest import HOST, Certificates
from drop_in.peers import (
    Library,
    client_context,
    connected,
    resumed,
    server_context,
    told,
    wanting_certificates,
    with_certificate,
)
from wrapped import End, Wire, each_version

from gnutls_resume import MissReason, MisuseError, SSLContext


@pytest.fixture(autouse=True)
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the standard library says of an exception in a callback."""
    found: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", found.append)
    return found


@each_version
def test_callback_is_given_the_object_the_name_and_the_first_context(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    def steps(library: Library, hostname: str | None) -> list[object]:
        server = server_context(certificates, library, version)
        calls: list[Any] = []

        def callback(one: Any, name: Any, context: Any) -> None:
            calls.append((one, name, context is server, one.context is server, one.version()))
            calls.append((one.server_side, one.session_reused, one.cipher(), one.pending()))

        server.sni_callback = callback
        assert server.sni_callback is callback
        client = client_context(certificates, ssl.SSLContext, version)
        client.check_hostname = False
        pair = Wire(client, server, hostname=hostname).handshake()
        pair.say()
        assert calls[0][0] is pair.server
        del calls[0:2]
        return [len(calls), *calls]

    for hostname in (HOST, None):
        assert steps(SSLContext, hostname) == steps(ssl.SSLContext, hostname)


@each_version
@pytest.mark.parametrize("answer", [112, 49, 80, 40])
def test_a_number_is_the_alert_that_ends_the_handshake(
    certificates: Certificates, version: ssl.TLSVersion, answer: int
) -> None:
    def steps(library: Library) -> list[object]:
        server = server_context(certificates, library, version)
        server.sni_callback = lambda *_: answer
        client = client_context(certificates, ssl.SSLContext, version)
        return [told(error) for error in Wire(client, server).outcomes() if error]

    assert steps(SSLContext) == steps(ssl.SSLContext)


@each_version
@pytest.mark.parametrize("answer", [0, -1, 256, 300, 1 << 40, "text", 1.5, object()])
def test_a_wrong_answer_ends_the_handshake(
    certificates: Certificates, version: ssl.TLSVersion, answer: object
) -> None:
    server = server_context(certificates, version=version)
    server.sni_callback = lambda *_: answer
    client = client_context(certificates, ssl.SSLContext, version)
    ours, theirs = Wire(client, server).outcomes()
    assert isinstance(ours, ssl.SSLError)
    assert isinstance(theirs, ssl.SSLError)
    assert theirs.reason == "CALLBACK_FAILED"


@each_version
def test_a_callback_that_raises_ends_the_handshake_on_both_ends(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    def steps(library: Library) -> list[object]:
        server = server_context(certificates, library, version)
        server.sni_callback = lambda *_: 1 / 0
        client = client_context(certificates, ssl.SSLContext, version)
        ours, theirs = Wire(client, server).outcomes()
        assert isinstance(ours, ssl.SSLError)  # ssl sends handshake_failure, we internal_error
        return [told(theirs)]  # type: ignore[arg-type]

    assert steps(SSLContext) == steps(ssl.SSLContext)


def test_what_a_callback_must_not_do_raises_and_harms_nothing(certificates: Certificates) -> None:
    server = server_context(certificates)
    errors: list[BaseException] = []

    def callback(one: Any, *_: object) -> None:
        for call in (one.do_handshake, lambda: one.read(1), lambda: one.write(b"x"), one.unwrap):
            try:
                call()
            except (ssl.SSLError, ValueError) as error:
                errors.append(error)

    server.sni_callback = callback
    Wire(client_context(certificates), server).outcomes()
    assert len(errors) == 4
    assert all(isinstance(error, ssl.SSLError) for error in errors)


def test_no_callback_is_like_none_and_others_are_refused() -> None:
    for library in (SSLContext, ssl.SSLContext):
        context = library(ssl.PROTOCOL_TLS_SERVER)
        context.sni_callback = None
        assert context.sni_callback is None
        with pytest.raises(TypeError):
            context.sni_callback = 4
        with pytest.raises(TypeError):
            context.sni_callback = "text"


def test_set_servername_callback_is_the_older_name(certificates: Certificates) -> None:
    server = server_context(certificates)
    names: list[str] = []
    server.set_servername_callback(lambda _, name, __: names.append(name))
    Wire(client_context(certificates), server).handshake()
    assert names == [HOST]


@each_version
def test_names_of_bytes_that_are_no_text_end_no_process(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    """A client may send anything as a name."""
    client = client_context(certificates, ssl.SSLContext, version)
    end = End(client, server_hostname="aaaaaaaa.example")
    with pytest.raises(ssl.SSLWantReadError):
        end.object.do_handshake()
    hello = end.outgoing.read()
    assert hello.count(b"aaaaaaaa.example") == 1
    for name in (b"\xff\xfe\xfd\x80aaaa.example", b"a\0b\0aaaa.example", b"b\xc3\xbccher..example"):
        names: list[object] = []
        server = server_context(certificates, version=version)
        server.sni_callback = lambda _, name, __, names=names: names.append(name)
        victim = End(server, server_side=True)
        victim.incoming.write(hello.replace(b"aaaaaaaa.example", name[:16].ljust(16, b"x")))
        with contextlib.suppress(ssl.SSLError):
            victim.object.do_handshake()
        assert len(names) <= 1
        assert all(one is None or isinstance(one, str) for one in names)


# -- another context --------------------------------------------------------------------------


class Hosts:
    """A server with a context for each of two names, each with its own certificate."""

    def __init__(self, certificates: Certificates, version: Any = None, **second: Any) -> None:
        authority = trustme.CA()
        self.trust = authority.cert_pem
        self.first = server_context(certificates, version=version)
        self.second = SSLContext(ssl.PROTOCOL_TLS_SERVER, **second)
        authority.issue_cert("second.example").configure_cert(self.second)
        self.called: list[str | None] = []
        self.first.sni_callback = self.choose

    def choose(self, one: Any, name: str | None, _: object) -> None:
        self.called.append(name)
        if name == "second.example":
            one.context = self.second

    def client(self, certificates: Certificates, library: Any = SSLContext, **options: Any) -> Any:
        context = client_context(certificates, library, **options)
        context.load_verify_locations(cadata=self.trust.bytes().decode())
        return context


@each_version
def test_another_context_shows_its_certificate_and_the_callback_runs_at_resumptions(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    hosts = Hosts(certificates, version)
    client = hosts.client(certificates)
    names = [HOST, "second.example", "second.example", HOST]
    kinds = []
    for name in names:
        with connected(client, hosts.first, hostname=name) as pair:
            assert pair.server.context is (hosts.second if "second" in name else hosts.first)
            alternatives = pair.client.getpeercert()["subjectAltName"]
            assert ("DNS", name) in alternatives
            pair.server.sendall(b"data")
            assert pair.client.recv(4) == b"data"
            kinds.append(pair.client.session_reused)
            assert pair.server.session_reused == pair.client.session_reused
    assert kinds == [False, False, True, True]
    assert hosts.called == names
    assert hosts.first.stats["server_full"] == 1
    assert hosts.second.stats["server_full"] == 1
    assert hosts.second.stats["server_resumed_ticket"] == 1


@each_version
def test_the_chosen_context_decides_the_ticket_key(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    """The same name, but from the second connection on another context: its tickets are not
    those of the first.
    """
    chosen = [server_context(certificates, version=version, partition=b"a")]
    first = server_context(certificates, version=version, partition=b"b")

    def choose(one: Any, *_: object) -> None:
        one.context = chosen[0]

    first.sni_callback = choose
    client = client_context(certificates)
    assert not resumed(client, first)
    assert resumed(client, first)
    chosen[0] = server_context(certificates, version=version, partition=b"c")
    with connected(client, first) as pair:
        assert not pair.client.session_reused
        assert pair.client.miss_reason is MissReason.DECLINED
        assert pair.server.miss_reason is MissReason.KEY_UNKNOWN
        pair.server.sendall(b"data")
        assert pair.client.recv(4) == b"data"
    assert resumed(client, first)


@each_version
def test_the_chosen_context_decides_whether_there_are_tickets(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    for first, second in ((True, False), (False, True)):
        hosts = Hosts(certificates, version, **({} if second else {"ticket_keys": None}))
        if not first:
            hosts.first = server_context(certificates, version=version, ticket_keys=None)
            hosts.first.sni_callback = hosts.choose
        client = hosts.client(certificates)
        for name, tickets in ((HOST, first), ("second.example", second)):
            found = [resumed(client, hosts.first, hostname=name) for _ in range(2)]
            assert found == [False, tickets]


@pytest.mark.parametrize("tickets", [(2, 5), (5, 2), (0, 2), (3, 1)])
def test_the_chosen_context_decides_how_many_tickets(
    certificates: Certificates, tickets: tuple[int, int]
) -> None:
    hosts = Hosts(certificates)
    hosts.first.num_tickets, hosts.second.num_tickets = tickets
    client = hosts.client(certificates)
    pair = Wire(client, hosts.first, hostname="second.example").handshake()
    pair.say()
    assert pair.client._sslobj._session.own.tickets == tickets[1]


@each_version
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (["a", "b"], ["b"]),
        (["a"], []),
        ([], ["b"]),
        (["a"] * 8, ["b"] * 8),
        (["b", "a"], ["a", "b"]),
    ],
)
def test_the_chosen_context_decides_the_alpn_protocol(
    certificates: Certificates, version: ssl.TLSVersion, first: list[str], second: list[str]
) -> None:
    hosts = Hosts(certificates, version)
    hosts.first.set_alpn_protocols(first)
    hosts.second.set_alpn_protocols(second)
    client = hosts.client(certificates)
    client.set_alpn_protocols(["a", "b"])
    for name, protocols in ((HOST, first), ("second.example", second)):
        wanted = next((one for one in protocols if one in {"a", "b"}), None)
        for _ in range(2):
            pair = Wire(client, hosts.first, hostname=name).handshake()
            pair.say()
            assert pair.client.selected_alpn_protocol() == wanted
            assert pair.server.selected_alpn_protocol() == wanted


@each_version
@pytest.mark.parametrize("shows", [True, False])
def test_the_chosen_context_decides_whether_clients_need_a_certificate(
    certificates: Certificates, version: ssl.TLSVersion, *, shows: bool
) -> None:
    hosts = Hosts(certificates, version)
    wanting_certificates(hosts.second, certificates)
    client = hosts.client(certificates)
    if shows:
        with_certificate(client, certificates)
    Wire(client, hosts.first).handshake()
    pair = Wire(client, hosts.first, hostname="second.example")
    _, theirs = pair.outcomes()
    assert (theirs is None) == shows
    if shows:
        assert pair.server.getpeercert()["subjectAltName"] == (("email", "client@example.org"),)


@each_version
def test_the_chosen_context_decides_whose_certificates_are_good(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    """One way the first context asks for none, the other way it trusts whom the second does not."""
    for first_asks in (False, True):
        hosts = Hosts(certificates, version)
        if first_asks:
            wanting_certificates(hosts.first, certificates)
        hosts.second.load_verify_locations(cadata=certificates.other_trust.decode())
        hosts.second.verify_mode = ssl.CERT_REQUIRED
        client = with_certificate(hosts.client(certificates), certificates)
        Wire(client, hosts.first).handshake()
        ours, theirs = Wire(client, hosts.first, hostname="second.example").outcomes()
        assert isinstance(theirs, ssl.SSLCertVerificationError)
        assert theirs.verify_code == 20
        assert ours is None or isinstance(ours, ssl.SSLError)


def test_a_second_list_of_protocols_is_refused_before_gnutls_counts_it(
    certificates: Certificates,
) -> None:
    """It adds its length to the first's, and reads beyond its array."""
    end = End(server_context(certificates), server_side=True)
    end.object._sslobj._session.alpn_set_protocols([b"a"] * 8)
    with pytest.raises(MisuseError, match="once"):
        end.object._sslobj._session.alpn_set_protocols([b"b"] * 8)


def test_a_context_of_the_standard_library_is_refused(
    certificates: Certificates, unraisable: list[Any]
) -> None:
    server = server_context(certificates)
    plain = server_context(certificates, ssl.SSLContext)

    def choose(one: Any, *_: object) -> None:
        one.context = plain

    server.sni_callback = choose
    _, theirs = Wire(client_context(certificates), server).outcomes()
    assert isinstance(theirs, ssl.SSLError)
    assert isinstance(theirs.__cause__, TypeError)
    pair = Wire(client_context(certificates), server_context(certificates)).handshake()
    with pytest.raises(TypeError, match="SSLContext"):
        pair.server.context = plain
    with pytest.raises(TypeError):
        pair.server.context = None


@each_version
def test_a_context_set_before_the_handshake_counts(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    hosts = Hosts(certificates, version)
    plain = server_context(certificates, version=version)
    plain.set_alpn_protocols(["a"])
    hosts.second.set_alpn_protocols(["b"])
    client = hosts.client(certificates)
    client.set_alpn_protocols(["a", "b"])
    for _ in range(2):
        pair = Wire(client, plain, hostname="second.example")
        pair.server.context = hosts.second
        pair.handshake().say()
        assert pair.client.selected_alpn_protocol() == "b"
    assert pair.client.session_reused


@each_version
def test_a_hello_retry_request_calls_back_once(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    calls: list[object] = []
    server = server_context(
        certificates, version=version, priority="NORMAL:-GROUP-ALL:+GROUP-SECP384R1"
    )
    server.sni_callback = lambda *_: calls.append(1)
    server.set_alpn_protocols(["a"] * 8)
    client = client_context(certificates)
    client.set_alpn_protocols(["a"])
    for number in range(2):
        pair = Wire(client, server).handshake()
        pair.say()
        assert pair.client.session_reused == bool(number)
        assert pair.client.selected_alpn_protocol() == "a"
    assert len(calls) == 2


def test_callbacks_of_many_threads_get_their_own_names(certificates: Certificates) -> None:
    hosts = Hosts(certificates)
    client = hosts.client(certificates)
    errors: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for _ in range(10):
                pair = Wire(client, hosts.first, hostname=name).handshake()
                pair.say()
                wanted = hosts.second if "second" in name else hosts.first
                assert pair.server.context is wanted
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in (HOST, "second.example") * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert errors == []


def test_a_context_set_in_the_middle_of_the_handshake_changes_nothing(
    certificates: Certificates,
) -> None:
    """Half of it would: its rules for clients, under the first one's ticket key."""
    first, second = server_context(certificates), server_context(certificates)
    made = Wire(client_context(certificates), first)
    for one in (made.client, made.server):
        with contextlib.suppress(ssl.SSLWantReadError):
            one.do_handshake()
        made.move()
    engine = made.server._sslobj
    before = engine._settings, engine._resuming, engine._check, engine.context
    with pytest.raises(MisuseError):
        made.server.context = second
    assert (engine._settings, engine._resuming, engine._check, engine.context) == before
    made.handshake()


@pytest.mark.parametrize("with_callback", [False, True])
def test_hello_in_the_format_of_ssl_2_gets_past_no_callback(
    certificates: Certificates, *, with_callback: bool
) -> None:
    server = server_context(certificates, SSLContext, None)
    server.verify_mode = ssl.CERT_REQUIRED
    if with_callback:
        server.sni_callback = lambda *_: ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
    suites = b"\0\xc0\x2f\0\xc0\x2b\0\x00\x9c\0\x00\xff"
    # RFC 5246 appendix E.2: type, version, three lengths, the suites, the challenge
    hello = bytes([1, 3, 3, 0, len(suites), 0, 0, 0, 32]) + suites + bytes(range(32))
    end = End(server, server_side=True)
    end.incoming.write((0x8000 | len(hello)).to_bytes(2) + hello)
    with pytest.raises(ssl.SSLError, match="WRONG_VERSION_NUMBER"):
        end.object.do_handshake()
    answer = end.outgoing.read()
    assert (answer[0], answer[5:]) == (21, bytes([2, 70])), "an alert, protocol_version"
