"""Our server and gnutls-cli, which with --resume closes its connection and makes another."""

import socket
from contextlib import ExitStack

from conftest import HOST, Certificates
from interop.programs import (
    REQUEST,
    SECONDS,
    WAYS,
    Program,
    Way,
    each_ticket,
    each_way,
    find,
    found,
    our_server,
    running,
)
from pair import in_thread
from wrapped import server_context

from gnutls_resume import MissReason, TicketKeyRing

RESUMED = "This is a resumed session"


def gnutls_cli(certificates: Certificates, port: str, priority: str) -> list[str]:
    return [
        find("gnutls-cli"),
        "--resume",
        f"--x509cafile={certificates.trust_file}",
        f"--sni-hostname={HOST}",
        f"--verify-hostname={HOST}",
        f"--priority={priority}",
        f"--port={port}",
        "127.0.0.1",
    ]


def talk(client: Program) -> str:
    """Send a request on the second connection; returns all that the client printed."""
    client.write(REQUEST)  # the end of the input would be the end of the connection
    return client.join()


@each_way
def test_gnutls_cli_resumes(certificates: Certificates, way: Way) -> None:
    with our_server(certificates) as (server, port):
        with running(*gnutls_cli(certificates, port, way.priority)) as client:
            page = talk(client)
        assert RESUMED in page
        assert way.resumed in page
        server.wait_for(f"^worker .*: {way.resumed}$")


def test_server_without_tickets_resumes_by_session_id(certificates: Certificates) -> None:
    priority = WAYS["tls12-by-ticket"].priority
    with our_server(certificates, "--no-tickets") as (server, port):
        with running(*gnutls_cli(certificates, port, priority)) as client:
            page = talk(client)
        assert RESUMED in page
        server.wait_for("^worker .*: resumed by session ID, TLSv1.2$")


def test_without_tickets_the_second_tls13_handshake_is_full(certificates: Certificates) -> None:
    priority = WAYS["tls13-by-ticket"].priority
    with our_server(certificates, "--no-tickets") as (_, port):
        with running(*gnutls_cli(certificates, port, priority)) as client:
            page = talk(client)
        assert RESUMED not in page
        assert found(page) == [("New", "TLS1.3")]


@each_ticket
def test_ticket_of_another_server_leads_to_a_full_handshake(
    certificates: Certificates, way: Way
) -> None:
    reasons = []

    def serve() -> None:
        for _ in range(2):  # each with ticket keys of its own
            context = server_context(certificates, ticket_keys=TicketKeyRing())
            sock, _ = listener.accept()
            sock.settimeout(SECONDS)
            with context.wrap_socket(sock, server_side=True) as tls:
                reasons.append(tls.miss_reason)
                if tls.recv(16384):  # the client says nothing the first time
                    tls.sendall(b"page")
                    tls.unwrap()

    with socket.create_server(("127.0.0.1", 0)) as listener, in_thread(serve) as errors:
        port = str(listener.getsockname()[1])
        with running(*gnutls_cli(certificates, port, way.priority)) as client:
            assert RESUMED not in talk(client)
    assert not errors
    assert reasons == [MissReason.NONE_OFFERED, MissReason.KEY_UNKNOWN]


@each_way
def test_ten_clients_at_once_all_resume(certificates: Certificates, way: Way) -> None:
    with our_server(certificates) as (_, port), ExitStack() as stack:
        command = gnutls_cli(certificates, port, way.priority)
        clients = [stack.enter_context(running(*command)) for _ in range(10)]
        for client in clients:
            client.write(REQUEST)
        assert [RESUMED in client.join() for client in clients] == [True] * 10
