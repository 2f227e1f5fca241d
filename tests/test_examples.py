"""The examples as a user runs them: what they promise, and what they do when it goes wrong."""

import re
import shutil
import socket
import stat
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import HOST, Certificates
from interop.programs import (
    EXAMPLES,
    REQUEST,
    SECONDS,
    WAYS,
    Done,
    Way,
    each_ticket,
    each_way,
    find,
    found,
    our_client,
    our_server,
    outcome,
    run,
)
from pair import in_thread

from gnutls_resume import TicketKeyRecord, TicketKeyRing
from gnutls_resume.binding import AlertLevel, Session
from gnutls_resume.resumption.ticket_key_sources import write_key_file

INTERNAL_ERROR = 80  # RFC 8446 §6


def options(way: Way, sessions: Path) -> list[str | Path]:
    return ["--sessions", sessions, *way.client]


def fails_in_one_line(done: Done) -> str:
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(r"failed: .+\n", done.stderr)
    return done.stderr


@pytest.mark.parametrize("name", ["client.py", "server.py"])
def test_example_is_short_and_explains_itself(name: str) -> None:
    script = EXAMPLES / name
    assert len(script.read_text().splitlines()) <= 120
    done = run(sys.executable, script, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: ")
    assert "--no-tickets" in done.stdout


def test_demo_prints_a_new_and_a_reused_connection_for_each_way() -> None:
    find("openssl")
    done = run(sys.executable, EXAMPLES / "demo.py")
    assert done.returncode == 0, done.stderr
    row = r"^(TLS 1.+?) +(TLS1\.[23]) +(New|Reused) +(-|session ID|ticket) +[\d.]+ +\d+$"
    assert re.findall(row, done.stdout, re.MULTILINE) == [
        ("TLS 1.2 by session ID", "TLS1.2", "New", "-"),
        ("TLS 1.2 by session ID", "TLS1.2", "Reused", "session ID"),
        ("TLS 1.2 by ticket", "TLS1.2", "New", "-"),
        ("TLS 1.2 by ticket", "TLS1.2", "Reused", "ticket"),
        ("TLS 1.3 by ticket", "TLS1.3", "New", "-"),
        ("TLS 1.3 by ticket", "TLS1.3", "Reused", "ticket"),
    ]


# -- resumption -------------------------------------------------------------------------------


@each_way
def test_second_run_of_the_client_resumes(
    certificates: Certificates, tmp_path: Path, way: Way
) -> None:
    chosen = options(way, tmp_path / "sessions")
    with our_server(certificates) as (server, port):
        outcomes = []
        for _ in range(3):
            done = our_client(certificates, port, *chosen)
            assert found(done.stdout) == [outcome(done)]
            outcomes.append(outcome(done))
        assert outcomes == [("New", way.version)] + 2 * [("Reused", way.version)]
        assert server.wait_for_outcomes(3) == sorted(outcomes)
        server.wait_for(f"^worker .*: {way.resumed}$", 2)


@each_ticket
def test_rotated_keys_lead_to_a_full_handshake_and_a_new_ticket(
    certificates: Certificates, tmp_path: Path, way: Way
) -> None:
    keys, chosen = tmp_path / "keys", options(way, tmp_path / "sessions")
    write_key_file(keys, TicketKeyRecord.generate(), replace=False)
    for _ in range(2):
        with our_server(certificates, "--ticket-keys", keys) as (_, port):
            outcomes = [outcome(our_client(certificates, port, *chosen)) for _ in range(2)]
        assert outcomes == [("New", way.version), ("Reused", way.version)]
        TicketKeyRing.from_file(keys).rotate()


def test_tls13_without_tickets_never_resumes(certificates: Certificates, tmp_path: Path) -> None:
    with our_server(certificates, "--no-tickets") as (_, port):
        for _ in range(2):
            done = our_client(certificates, port, "--sessions", tmp_path / "sessions")
            assert outcome(done) == ("New", "TLS1.3")


# -- the client's sessions --------------------------------------------------------------------


@each_way
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_sessions_can_be_read_by_their_owner_only(
    certificates: Certificates, tmp_path: Path, way: Way, umask: int
) -> None:
    chosen = options(way, tmp_path / "sessions")
    with our_server(certificates) as (_, port):
        for _ in range(2):
            outcome(our_client(certificates, port, *chosen, umask=umask))
            assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}


def test_damaged_file_of_sessions_is_reported_and_replaced(
    certificates: Certificates, tmp_path: Path
) -> None:
    sessions = tmp_path / "sessions"
    with our_server(certificates) as (_, port):
        our_client(certificates, port, "--sessions", sessions)
        sessions.write_bytes(bytes(8192))
        first = our_client(certificates, port, "--sessions", sessions)
        second = our_client(certificates, port, "--sessions", sessions)
    assert "damaged" in first.stderr
    assert outcome(first) == ("New", "TLS1.3")
    assert outcome(second) == ("Reused", "TLS1.3")


def test_file_that_never_held_sessions_is_refused(
    certificates: Certificates, tmp_path: Path
) -> None:
    sessions = tmp_path / "sessions"
    sessions.write_bytes(b"-----BEGIN SSL SESSION PARAMETERS-----\n")
    sessions.chmod(0o600)
    with our_server(certificates) as (_, port):
        done = our_client(certificates, port, "--sessions", sessions)
    assert done.returncode != 0
    assert "is no SQLite database" in done.stderr
    assert sessions.read_bytes().startswith(b"-----BEGIN")


# -- a TLS 1.2 session in the server's database ------------------------------------------------


@contextmanager
def by_id(
    certificates: Certificates, port: str, data: bytes | None = None
) -> Iterator[tuple[socket.socket, Session]]:
    way = WAYS["tls12-by-id"]
    with (
        socket.create_connection(("127.0.0.1", int(port)), timeout=SECONDS) as sock,
        Session("client", certificates.client(), priority=way.priority) as session,
    ):
        session.attach(sock)
        session.set_verify_cert(HOST)
        if data is not None:
            session.set_data(data)
        session.handshake()
        yield sock, session


def test_connection_that_is_lost_after_the_handshake_does_not_end_the_session(
    certificates: Certificates,
) -> None:
    with our_server(certificates) as (server, port):
        with by_id(certificates, port) as (sock, session):
            data = session.get_data()
            now = struct.pack("ii", 1, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
            sock.close()
        server.wait_for("^failed: ")
        with by_id(certificates, port, data) as (_, session):
            assert session.is_resumed()  # RFC 5246 §7.2.1


def test_fatal_alert_ends_the_session(certificates: Certificates) -> None:
    with our_server(certificates) as (server, port):
        with by_id(certificates, port) as (_, session):
            data = session.get_data()
            session.alert_send(AlertLevel.FATAL, INTERNAL_ERROR)
        server.wait_for("^failed: ")
        with by_id(certificates, port, data) as (_, session):
            assert not session.is_resumed()  # RFC 5246 §7.2.2


# -- failures of the client -------------------------------------------------------------------


def test_wrong_host_name_fails_in_one_line(certificates: Certificates) -> None:
    with our_server(certificates) as (_, port):
        done = our_client(certificates, port, "--name", "other.example")
        assert "name" in fails_in_one_line(done)


def test_untrusted_certificate_fails_in_one_line(
    certificates: Certificates, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(certificates.other_trust)
    with our_server(certificates) as (server, port):
        done = our_client(certificates, port, "--trust", other)
        assert "certificate" in fails_in_one_line(done)
        server.wait_for("^failed: ")  # it was told


@each_way
def test_session_does_not_resume_under_a_name_that_is_not_in_its_certificate(
    certificates: Certificates, tmp_path: Path, way: Way
) -> None:
    chosen = options(way, tmp_path / "sessions")
    with our_server(certificates) as (_, port):
        assert outcome(our_client(certificates, port, *chosen)) == ("New", way.version)
        done = our_client(certificates, port, *chosen, "--name", "other.example")
        fails_in_one_line(done)


@each_way
def test_session_does_not_resume_when_its_certificate_is_not_trusted_any_more(
    certificates: Certificates, tmp_path: Path, way: Way
) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(certificates.other_trust)
    chosen = options(way, tmp_path / "sessions")
    with our_server(certificates) as (_, port):
        assert outcome(our_client(certificates, port, *chosen)) == ("New", way.version)
        fails_in_one_line(our_client(certificates, port, *chosen, "--trust", other))


@contextmanager
def listener_that(serve: Callable[[socket.socket], object]) -> Iterator[str]:
    """A plain TCP server for one connection, which `serve` gets; its port."""

    def work() -> None:
        sock, _ = listener.accept()
        with sock:
            serve(sock)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)
        with in_thread(work):
            yield str(listener.getsockname()[1])


SERVERS: dict[str, Callable[[socket.socket], object]] = {
    "closes-at-once": lambda _: None,
    "closes-after-the-hello": lambda sock: sock.recv(16384),
    "speaks-http": lambda sock: sock.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n"),
    "sends-half-a-record": lambda sock: sock.sendall(b"\x16\x03\x03\x00\x50\x02"),
}


@pytest.mark.parametrize("serve", SERVERS.values(), ids=SERVERS.keys())
def test_server_that_breaks_off_the_handshake_fails_in_one_line(
    certificates: Certificates, serve: Callable[[socket.socket], object]
) -> None:
    with listener_that(serve) as port:
        fails_in_one_line(our_client(certificates, port))


def test_server_that_is_not_there_fails_in_one_line(certificates: Certificates) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    fails_in_one_line(our_client(certificates, port))


# -- the server as a whole --------------------------------------------------------------------


def server_that_fails(certificates: Certificates, *options: str | Path) -> str:
    files = ("--certificate", certificates.certificate_file, "--key", certificates.key_file)
    return fails_in_one_line(run(sys.executable, EXAMPLES / "server.py", *files, *options))


def test_missing_key_file_is_refused_in_one_line(
    certificates: Certificates, tmp_path: Path
) -> None:
    said = server_that_fails(certificates, "--ticket-keys", tmp_path / "keys")
    assert "python -m gnutls_resume keys new" in said


def test_redis_without_a_sealing_key_is_refused_in_one_line(certificates: Certificates) -> None:
    said = server_that_fails(certificates, "--sessions", "redis://127.0.0.1/")
    assert "sealing_key" in said


def wait_until_refused(port: str) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", int(port)), timeout=SECONDS).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.01)  # there is no event for a port that is closed
    raise AssertionError("the server still listens")


def test_terminated_workers_serve_their_connections_to_the_end(
    certificates: Certificates,
) -> None:
    with our_server(certificates, "--workers", "3") as (server, port):
        with by_id(certificates, port) as (_, session):
            server.process.terminate()
            wait_until_refused(port)
            session.record_send(REQUEST.encode())
            assert b"full" in b"".join(iter(session.record_recv, b""))
        assert server.process.wait(SECONDS) == 0
        assert "Traceback" not in server.join()


# -- failures that the server survives --------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [b"", REQUEST.encode(), b"\x16\x03\x01\x02\x00\x01", bytes(range(256)) * 4],
    ids=["nothing", "plain-http", "half-a-record", "noise"],
)
def test_server_serves_the_next_client_after_garbage(
    certificates: Certificates, garbage: bytes
) -> None:
    with our_server(certificates) as (server, port):
        for count in (1, 2):
            with socket.create_connection(("127.0.0.1", int(port)), timeout=SECONDS) as sock:
                sock.sendall(garbage)
            server.wait_for("^failed: ", count)
        assert outcome(our_client(certificates, port)) == ("New", "TLS1.3")
        assert "Traceback" not in server.output


def test_client_that_says_nothing_holds_up_nobody(certificates: Certificates) -> None:
    with (
        our_server(certificates) as (server, port),
        socket.create_connection(("127.0.0.1", int(port)), timeout=SECONDS),
    ):
        assert outcome(our_client(certificates, port)) == ("New", "TLS1.3")
        assert "failed" not in server.output  # it has not waited for a timeout


def test_another_program_can_fetch_the_page(certificates: Certificates) -> None:
    with our_server(certificates) as (_, port):
        trust = certificates.trust_file
        if curl := shutil.which("curl"):
            address = ("--resolve", f"{HOST}:{port}:127.0.0.1", "--noproxy", "*")
            quiet = ("--silent", "--show-error")
            done = run(curl, *quiet, *address, "--cacert", trust, f"https://{HOST}:{port}/")
        else:
            command = (find("openssl"), "s_client", "-quiet", "-connect", f"127.0.0.1:{port}")
            done = run(*command, "-CAfile", trust, "-verify_return_error", text=REQUEST)
        assert done.returncode == 0, done.stderr
        assert found(done.stdout) == [("New", "TLS1.3")]
