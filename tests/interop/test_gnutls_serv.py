"""Our client and gnutls-serv."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import Certificates
from interop.programs import (
    WAYS,
    Outcome,
    Program,
    Way,
    each_way,
    find,
    free_port,
    our_client,
    outcome,
    running,
)

RESUMED = "This is a resumed session"


@contextmanager
def gnutls_serv(certificates: Certificates, *options: str) -> Iterator[tuple[Program, str]]:
    port = str(free_port())
    files = [
        f"--x509certfile={certificates.certificate_file}",
        f"--x509keyfile={certificates.key_file}",
    ]
    program = find("gnutls-serv")
    with running(program, "--http", f"--port={port}", *files, *options) as server:
        server.wait_for("IPv4.*done")
        yield server, port


def only(way: Way) -> str:
    """The option of gnutls-serv that leaves it no other way."""
    return "--nodb" if way.tickets else "--noticket"


def visit(certificates: Certificates, port: str, way: Way, sessions: Path) -> Outcome:
    return outcome(our_client(certificates, port, "--sessions", sessions, *way.client))


@each_way
def test_session_in_a_file_resumes_in_other_processes(
    certificates: Certificates, tmp_path: Path, way: Way
) -> None:
    sessions = tmp_path / "sessions"
    with gnutls_serv(certificates, only(way)) as (server, port):
        assert visit(certificates, port, way, sessions) == ("New", way.version)
        assert RESUMED not in server.output
        assert visit(certificates, port, way, sessions) == ("Reused", way.version)
        server.wait_for(RESUMED, 1)
        assert visit(certificates, port, way, sessions) == ("Reused", way.version)
        server.wait_for(RESUMED, 2)


@each_way
def test_restarted_server_gives_a_new_session_that_resumes(
    certificates: Certificates, tmp_path: Path, way: Way
) -> None:
    sessions = tmp_path / "sessions"
    with gnutls_serv(certificates) as (_, port):
        assert visit(certificates, port, way, sessions) == ("New", way.version)
        assert visit(certificates, port, way, sessions) == ("Reused", way.version)
    with gnutls_serv(certificates) as (_, port):
        assert visit(certificates, port, way, sessions) == ("New", way.version)
        assert visit(certificates, port, way, sessions) == ("Reused", way.version)


@each_way
def test_server_with_neither_tickets_nor_a_database_never_resumes(
    certificates: Certificates, tmp_path: Path, way: Way
) -> None:
    sessions = tmp_path / "sessions"
    with gnutls_serv(certificates, "--noticket", "--nodb") as (_, port):
        for _ in range(2):
            assert visit(certificates, port, way, sessions) == ("New", way.version)


def test_tls12_session_is_offered_to_a_server_that_has_learned_tls13(
    certificates: Certificates, tmp_path: Path
) -> None:
    options = ("--sessions", tmp_path / "sessions")
    priority = WAYS["tls12-by-id"].priority
    with gnutls_serv(certificates, "--priority", priority) as (_, port):
        assert outcome(our_client(certificates, port, *options)) == ("New", "TLS1.2")
        assert outcome(our_client(certificates, port, *options)) == ("Reused", "TLS1.2")
    with gnutls_serv(certificates) as (_, port):
        done = our_client(certificates, port, *options)
        assert outcome(done) == ("New", "TLS1.3")
        assert "declined" in done.stderr
