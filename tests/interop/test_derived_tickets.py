"""A server of ours that derives its ticket keys, and clients that are not ours."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import HOST, Certificates
from interop.programs import REQUEST, SECONDS, find, run, running
from pair import TLS12, TLS13, in_thread

from gnutls_resume.binding import Session, TicketOffer, TicketSecret

POLICY, OTHER_POLICY = bytes(32), bytes(31) + b"x"
P384 = TLS13 + ":-GROUP-ALL:+GROUP-SECP384R1"
NONE, UNKNOWN, KNOWN = TicketOffer


@dataclass
class Server:
    """Serves connections one after the other, under what its fields are then."""

    certificates: Certificates
    listener: socket.socket
    secret: TicketSecret = field(default_factory=TicketSecret.generate)
    policy: bytes = POLICY
    priority: str = "NORMAL"
    served: list[tuple[bool, TicketOffer]] = field(default_factory=list)

    @property
    def port(self) -> str:
        return str(self.listener.getsockname()[1])

    def serve(self) -> None:
        while True:
            sock, _ = self.listener.accept()
            with sock:
                if not self.answer(sock):
                    return

    def answer(self, sock: socket.socket) -> bool:
        """False for who says nothing: the test, when it is over."""
        sock.settimeout(SECONDS)
        if not sock.recv(1, socket.MSG_PEEK):
            return False
        credentials = self.certificates.server()
        with Session("server", credentials, priority=self.priority) as session:
            session.attach(sock)
            session.ticket_derive(self.secret, self.policy)
            session.handshake()
            assert session.ticket_failures == 0
            self.served.append((session.is_resumed(), session.ticket_offered()))
            if session.record_recv():
                session.record_send(b"HTTP/1.0 200 OK\r\n\r\n")
                session.bye()
        return True


@contextmanager
def serving(certificates: Certificates) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(certificates, listener)
        with in_thread(server.serve) as errors:
            try:
                yield server
            finally:
                socket.create_connection(listener.getsockname()).close()
        assert not errors, errors


def visit(server: Server, *options: str | Path) -> str:
    """How openssl s_client says that the connection came about: New or Reused, and the version."""
    done = run(
        *(find("openssl"), "s_client", "-connect", f"127.0.0.1:{server.port}", "-ign_eof"),
        *("-CAfile", server.certificates.trust_file, "-verify_return_error"),
        *("-servername", HOST, *options),
        text=REQUEST,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    match = re.search(r"^(New|Reused), (TLSv1\.\d)", done.stdout, re.MULTILINE)
    assert match is not None, done.stdout
    return f"{match[1]} {match[2]}"


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_s_client_resumes_under_the_same_policy_alone(
    version: str, certificates: Certificates, tmp_path: Path
) -> None:
    session = tmp_path / "session.pem"
    option = "-" + version.lower().replace("v", "").replace(".", "_")
    with serving(certificates) as server:
        assert visit(server, option, "-sess_out", session) == f"New {version}"
        assert visit(server, option, "-sess_in", session) == f"Reused {version}"
        assert visit(server, option, "-sess_in", session, "-servername", "other") == (
            f"New {version}"
        )
        server.policy = OTHER_POLICY
        assert visit(server, option, "-sess_in", session) == f"New {version}"
        server.policy, server.secret = POLICY, TicketSecret.generate()
        assert visit(server, option, "-sess_in", session) == f"New {version}"
        outcomes = [(False, NONE), (True, KNOWN), *[(False, UNKNOWN)] * 3]
        assert server.served == outcomes


def test_tls12_ticket_of_s_client_does_not_break_tls13(
    certificates: Certificates, tmp_path: Path
) -> None:
    """R-65: the server learns TLS 1.3 between two visits, and keeps its secret."""
    session = tmp_path / "session.pem"
    with serving(certificates) as server:
        server.priority = TLS12
        assert visit(server, "-sess_out", session) == "New TLSv1.2"
        assert visit(server, "-sess_in", session) == "Reused TLSv1.2"
        server.priority = "NORMAL"
        assert visit(server, "-sess_in", session) == "New TLSv1.3"
        assert server.served[-1] == (False, UNKNOWN)


def test_s_client_resumes_after_a_hello_retry_request(
    certificates: Certificates, tmp_path: Path
) -> None:
    session = tmp_path / "session.pem"
    groups = ("-groups", "P-256:P-384")  # a key share for the first only
    with serving(certificates) as server:
        server.priority = P384
        assert visit(server, *groups, "-sess_out", session) == "New TLSv1.3"
        assert visit(server, *groups, "-sess_in", session) == "Reused TLSv1.3"
        server.policy = OTHER_POLICY
        assert visit(server, *groups, "-sess_in", session) == "New TLSv1.3"
        assert server.served == [(False, NONE), (True, KNOWN), (False, UNKNOWN)]


@pytest.mark.parametrize("priority", [TLS12, TLS13, P384])
def test_gnutls_cli_resumes(priority: str, certificates: Certificates) -> None:
    """With P-384 alone on the server, after a HelloRetryRequest."""
    client_priority = priority.replace("-GROUP-ALL", "-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1")
    with serving(certificates) as server:
        server.priority = priority
        with running(
            *(find("gnutls-cli"), "--resume", f"--x509cafile={certificates.trust_file}"),
            *(f"--sni-hostname={HOST}", f"--verify-hostname={HOST}"),
            *(f"--priority={client_priority}", f"--port={server.port}", "127.0.0.1"),
        ) as client:
            client.write(REQUEST)
            assert "This is a resumed session" in client.join()
        assert server.served == [(False, NONE), (True, KNOWN)]
