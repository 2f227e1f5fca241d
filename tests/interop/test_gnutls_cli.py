"""Our server and gnutls-cli, which with --resume closes its connection and makes another."""

from contextlib import ExitStack

import pytest
from conftest import HOST, Certificates
from interop.programs import REQUEST, WAYS, Program, Way, each_way, find, our_server, running

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
        assert f"Reused, ({way.version}" in page
        server.wait_for(rf"^Reused \({way.version}")


def test_server_without_tickets_resumes_by_session_id(certificates: Certificates) -> None:
    priority = WAYS["tls12-by-ticket"].priority
    with our_server(certificates, "--no-tickets") as (server, port):
        with running(*gnutls_cli(certificates, port, priority)) as client:
            page = talk(client)
        assert RESUMED in page
        server.wait_for(r"^Reused \(TLS1\.2")


@pytest.mark.parametrize(
    ("option", "priority"),
    [
        pytest.param("--no-tickets", WAYS["tls13-by-ticket"].priority, id="server-has-none"),
        pytest.param("--rotate=1e-9", WAYS["tls12-by-ticket"].priority, id="tls12-key-changed"),
        pytest.param("--rotate=1e-9", WAYS["tls13-by-ticket"].priority, id="tls13-key-changed"),
    ],
)
def test_without_a_usable_ticket_the_second_handshake_is_full(
    certificates: Certificates, option: str, priority: str
) -> None:
    with our_server(certificates, option) as (_, port):
        with running(*gnutls_cli(certificates, port, priority)) as client:
            page = talk(client)
        assert RESUMED not in page
        assert "New, (TLS1." in page


@each_way
def test_ten_clients_at_once_all_resume(certificates: Certificates, way: Way) -> None:
    with our_server(certificates) as (_, port), ExitStack() as stack:
        command = gnutls_cli(certificates, port, way.priority)
        clients = [stack.enter_context(running(*command)) for _ in range(10)]
        for client in clients:
            client.write(REQUEST)
        assert [RESUMED in client.join() for client in clients] == [True] * 10
