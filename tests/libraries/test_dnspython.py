import socket

import dns.message
import dns.query
import dns.rrset
from conftest import HOST
from libraries.peers import Server, http2, read_exactly, serving
from libraries.trial import Trial, case

NAME = "host.example."
TEXTS = [f'"{index} {200 * "x"}"' for index in range(100)]


def answer(question: bytes) -> bytes:
    response = dns.message.make_response(dns.message.from_wire(question))
    response.answer.append(dns.rrset.from_text(NAME, 60, "IN", "TXT", *TEXTS))
    return response.to_wire()


def dns_over_tls(server: Server, sock: socket.socket) -> None:
    """RFC 7858."""
    with server.wrap(sock) as tls:
        while size := read_exactly(tls, 2):
            reply = answer(read_exactly(tls, int.from_bytes(size)))
            tls.sendall(len(reply).to_bytes(2) + reply)


def is_answered(message: dns.message.Message) -> bool:
    (answers,) = message.answer
    return sorted(map(str, answers)) == sorted(TEXTS)


@case("dnspython", "DNS over TLS", "`dns.query.tls(ssl_context=ctx, server_hostname=host)`")
def test_dns_over_tls(trial: Trial) -> None:
    with serving(trial.foreign, dns_over_tls) as server:

        def ask() -> None:
            question = dns.message.make_query(NAME, "TXT")
            reply = dns.query.tls(
                question,
                "127.0.0.1",
                10,
                server.port,
                server_hostname=HOST,
                ssl_context=trial.context,
            )
            assert is_answered(reply)

        trial.check(ask, server.reused)


@case("dnspython", "DNS over HTTPS", "`dns.query.https(verify=ctx)`")
def test_dns_over_https(trial: Trial) -> None:
    """RFC 8484, over HTTP/2."""
    trial.foreign.set_alpn_protocols(["h2"])
    with serving(trial.foreign, http2(answer, "application/dns-message")) as server:

        def ask() -> None:
            question = dns.message.make_query(NAME, "TXT")
            reply = dns.query.https(
                question,
                server.url,
                10,
                post=True,
                verify=trial.context,
                bootstrap_address="127.0.0.1",
            )
            assert is_answered(reply)

        trial.check(ask, server.reused)
