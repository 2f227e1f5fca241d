"""The standard library's ssl on a server: what its sockets can do, names, client certificates."""

from pathlib import Path

import pytest
import trustme
from conftest import Certificates
from libraries.servers import (
    BODY,
    HOST,
    Client,
    assert_both_say,
    assert_client_resumes,
    assert_resumes,
    connected,
    each_version,
    echo,
    receive,
    server_case,
    serving,
)

pytestmark = server_case(
    "ssl",
    "blocking sockets, `makefile`, `sendfile`, `sni_callback`, client certificates",
    "`ctx.wrap_socket(sock, server_side=True)`",
)
OTHER = "other.example"
CLIENTS = [("server_ssl.py",), ("server_asyncio.py", "asyncio"), ("server_asyncio.py", "uvloop")]


@each_version
def test_blocking_sockets_resume(certificates: Certificates, version: str) -> None:
    with serving(certificates, "server_ssl.py", "echo") as server:
        assert_resumes(server, version, echo)


@each_version
def test_files_of_a_socket_outlive_its_close(certificates: Certificates, version: str) -> None:
    with serving(certificates, "server_ssl.py", "files") as server:
        assert_resumes(server, version, echo)


def download(port: int, client: Client) -> None:
    with connected(port, client) as sock:
        sock.sendall(b"please\n")
        assert receive(sock, len(BODY)) == BODY


@pytest.mark.parametrize("script", CLIENTS[:2], ids=["blocking", "asyncio"])
@each_version
def test_sendfile_resumes(
    certificates: Certificates, tmp_path: Path, script: tuple[str, ...], version: str
) -> None:
    file = tmp_path / "file"
    file.write_bytes(BODY)
    with serving(certificates, *script, "sendfile", file) as server:
        assert_resumes(server, version, download)


# -- names ------------------------------------------------------------------------------------


@each_version
def test_session_of_one_name_is_not_resumed_at_another(
    certificates: Certificates, tmp_path: Path, version: str
) -> None:
    other = trustme.CA()
    other.issue_cert(OTHER).private_key_and_cert_chain_pem.write_to_path(tmp_path / "other.pem")
    with serving(certificates, "server_ssl.py", "names", tmp_path / "other.pem") as server:
        client = server.client(version)
        other.configure_trust(client)
        for name in (HOST, HOST, OTHER, OTHER):
            echo(server.port, client, name=name)
        assert_both_say(server, client, version, [False, True, False, True])
        for name in (HOST, OTHER):
            server.program.wait_for(f"^asked for {name}$", 2)


# -- client certificates ----------------------------------------------------------------------


@pytest.mark.parametrize("script", CLIENTS, ids=["blocking", "asyncio", "uvloop"])
@each_version
def test_resumed_session_knows_its_client_s_certificate(
    certificates: Certificates, tmp_path: Path, script: tuple[str, ...], version: str
) -> None:
    file = tmp_path / "client.pem"
    file.write_bytes(certificates.client_key + certificates.client_certificate)
    with serving(certificates, *script, "clients", certificates.trust_file) as server:
        client = server.client(version)
        client.load_cert_chain(file)
        assert_client_resumes(server, client, version, echo)
        server.program.wait_for("^client client@example.org$", 3)
