"""Our server and openssl s_client, which keeps its session in a file."""

import re
from pathlib import Path

from conftest import HOST, Certificates
from interop.programs import REQUEST, Outcome, Way, each_way, find, found, our_server, run


def visit(certificates: Certificates, port: str, *options: str | Path) -> Outcome:
    """The outcome, on which both ends agree.

    A TLS 1.3 ticket follows the handshake: the client finds it on its way to the answer.
    """
    done = run(
        *(find("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-servername", HOST),
        *("-CAfile", certificates.trust_file, "-verify_return_error", "-verify_hostname", HOST),
        *("-ign_eof", *options),
        text=REQUEST,
    )
    assert done.returncode == 0, done.stderr
    match = re.search(r"^(New|Reused), (TLS)v(1\.\d)", done.stdout, re.MULTILINE)
    assert match is not None, done.stdout
    how, version = match[1], match[2] + match[3]
    assert found(done.stdout) == [(how, version)]  # our server's answer
    return how, version


@each_way
def test_s_client_resumes_from_its_session_file(
    certificates: Certificates, tmp_path: Path, way: Way
) -> None:
    session = tmp_path / "session.pem"
    with our_server(certificates) as (server, port):
        first = visit(certificates, port, "-sess_out", session, *way.openssl)
        second = visit(certificates, port, "-sess_in", session, *way.openssl)
        assert [first, second] == [("New", way.version), ("Reused", way.version)]
        assert server.wait_for_outcomes(2) == sorted([first, second])


def test_server_without_tickets_resumes_by_session_id(
    certificates: Certificates, tmp_path: Path
) -> None:
    session = tmp_path / "session.pem"
    with our_server(certificates, "--no-tickets") as (_, port):
        assert visit(certificates, port, "-tls1_2", "-sess_out", session) == ("New", "TLS1.2")
        assert visit(certificates, port, "-tls1_2", "-sess_in", session) == ("Reused", "TLS1.2")


def test_ticket_of_a_resumed_session_resumes_again(
    certificates: Certificates, tmp_path: Path
) -> None:
    first, second = tmp_path / "first.pem", tmp_path / "second.pem"
    with our_server(certificates) as (_, port):
        visit(certificates, port, "-tls1_3", "-sess_out", first)
        visit(certificates, port, "-tls1_3", "-sess_in", first, "-sess_out", second)
        assert first.read_bytes() != second.read_bytes()
        assert visit(certificates, port, "-tls1_3", "-sess_in", second) == ("Reused", "TLS1.3")


def test_resumption_survives_a_hello_retry_request(
    certificates: Certificates, tmp_path: Path
) -> None:
    session = tmp_path / "session.pem"
    groups = ["-tls1_3", "-groups", "P-256:P-384"]  # a key share for the first only
    priority = "NORMAL:-GROUP-ALL:+GROUP-SECP384R1"
    with our_server(certificates, "--priority", priority) as (_, port):
        assert visit(certificates, port, *groups, "-sess_out", session) == ("New", "TLS1.3")
        assert visit(certificates, port, *groups, "-sess_in", session) == ("Reused", "TLS1.3")


@each_way
def test_restarted_server_makes_a_full_handshake(
    certificates: Certificates, tmp_path: Path, way: Way
) -> None:
    session = tmp_path / "session.pem"
    with our_server(certificates) as (_, port):
        visit(certificates, port, "-sess_out", session, *way.openssl)
    with our_server(certificates) as (_, port):
        done = visit(certificates, port, "-sess_in", session, *way.openssl)
        assert done == ("New", way.version)
