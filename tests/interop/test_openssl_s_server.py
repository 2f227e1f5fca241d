"""Our client and openssl s_server.

The server is bound to a version and the client is not: it offers TLS 1.2 sessions in hellos
that allow TLS 1.3.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Certificates
from interop.programs import (
    WAYS,
    Outcome,
    Way,
    each_way,
    find,
    our_client,
    outcome,
    running,
)

BEGIN = b"-----BEGIN CERTIFICATE-----"


@contextmanager
def s_server(certificates: Certificates, *options: str) -> Iterator[str]:
    """A server that tells in a page how the connection came about, and its port."""
    chain = certificates.folder / "intermediate.pem"
    chain.write_bytes(BEGIN + certificates.certificate.split(BEGIN)[-1])
    files = ("-cert", certificates.certificate_file, "-key", certificates.key_file)
    command = (find("openssl"), "s_server", "-www", "-accept", "127.0.0.1:0", *files)
    with running(*command, "-cert_chain", chain, *options) as server:
        yield server.wait_for(r"^ACCEPT 127\.0\.0\.1:(\d+)")[1]


def visit(certificates: Certificates, port: str, sessions: Path, *options: str) -> Outcome:
    """The outcome, on which both ends agree."""
    done = our_client(certificates, port, "--sessions", sessions, *options)
    how, version = outcome(done)
    assert f"\n{how}, {version.replace('TLS', 'TLSv')}, Cipher is " in done.stdout
    return how, version


@each_way
def test_session_in_a_file_resumes_in_other_processes(
    certificates: Certificates, tmp_path: Path, way: Way
) -> None:
    sessions = tmp_path / "sessions"
    with s_server(certificates, *way.openssl) as port:
        assert visit(certificates, port, sessions) == ("New", way.version)
        assert visit(certificates, port, sessions) == ("Reused", way.version)
        assert visit(certificates, port, sessions) == ("Reused", way.version)


def test_client_without_tickets_resumes_by_session_id(
    certificates: Certificates, tmp_path: Path
) -> None:
    sessions = tmp_path / "sessions"
    with s_server(certificates, "-tls1_2") as port:
        assert visit(certificates, port, sessions, "--no-tickets") == ("New", "TLS1.2")
        assert visit(certificates, port, sessions, "--no-tickets") == ("Reused", "TLS1.2")


def test_tls13_ticket_that_is_a_key_of_the_servers_cache_resumes(
    certificates: Certificates, tmp_path: Path
) -> None:
    sessions = tmp_path / "sessions"
    with s_server(certificates, "-tls1_3", "-no_ticket") as port:
        assert visit(certificates, port, sessions) == ("New", "TLS1.3")
        assert visit(certificates, port, sessions) == ("Reused", "TLS1.3")


def test_resumption_survives_a_hello_retry_request(
    certificates: Certificates, tmp_path: Path
) -> None:
    sessions = tmp_path / "sessions"
    with s_server(certificates, "-tls1_3", "-groups", "P-384") as port:
        assert visit(certificates, port, sessions) == ("New", "TLS1.3")
        assert visit(certificates, port, sessions) == ("Reused", "TLS1.3")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(*2 * (WAYS["tls12-by-id"],), id="tls12-by-id"),
        pytest.param(*2 * (WAYS["tls12-by-ticket"],), id="tls12-by-ticket"),
        pytest.param(*2 * (WAYS["tls13-by-ticket"],), id="tls13-by-ticket"),
        pytest.param(WAYS["tls13-by-ticket"], WAYS["tls12-by-ticket"], id="older"),
        pytest.param(WAYS["tls12-by-id"], WAYS["tls13-by-ticket"], id="newer"),
    ],
)
def test_restarted_server_gives_a_new_session_that_resumes(
    certificates: Certificates, tmp_path: Path, first: Way, second: Way
) -> None:
    sessions = tmp_path / "sessions"
    with s_server(certificates, *first.openssl) as port:
        assert visit(certificates, port, sessions) == ("New", first.version)
    with s_server(certificates, *second.openssl) as port:
        assert visit(certificates, port, sessions) == ("New", second.version)
        assert visit(certificates, port, sessions) == ("Reused", second.version)
