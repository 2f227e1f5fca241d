"""Our ends and those of the standard library's ssl.

Its server sends TLS 1.3 tickets right after the handshake, so before all data; for the other
order our server stands on the other side.
"""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from conftest import HOST, Certificates
from interop.programs import (
    REQUEST,
    SECONDS,
    WAYS,
    Outcome,
    Way,
    each_way,
    found,
    our_client,
    our_server,
    outcome,
)
from pair import in_thread

from gnutls_resume.binding import Credentials, InitFlag, Session, TicketKey

TLS13 = WAYS["tls13-by-ticket"]
ANSWER = b"HTTP/1.0 200 OK\r\n\r\n"

Talk = Callable[[ssl.SSLSocket], None]


def client_context(certificates: Certificates, way: Way) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificates.trust_file)
    return way.restrict(context)


def server_context(certificates: Certificates, way: Way) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate_file, certificates.key_file)
    return way.restrict(context)


@contextmanager
def tls_client(
    context: ssl.SSLContext, port: str | int, session: ssl.SSLSession | None = None
) -> Iterator[ssl.SSLSocket]:
    address = ("127.0.0.1", int(port))
    with (
        socket.create_connection(address, timeout=SECONDS) as sock,
        context.wrap_socket(sock, server_hostname=HOST, session=session) as tls,
    ):
        yield tls


@contextmanager
def listening(count: int, serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A thread that serves `count` connections; its port. Its failure is the test's."""

    def work() -> None:
        for _ in range(count):
            sock, _ = listener.accept()
            sock.settimeout(SECONDS)
            with sock:
                serve(sock)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)
        try:
            with in_thread(work) as errors:
                yield listener.getsockname()[1]
        finally:
            assert errors == []


# -- an ssl client and our server -------------------------------------------------------------


def visit(
    context: ssl.SSLContext, port: str, session: ssl.SSLSession | None = None
) -> tuple[Outcome, ssl.SSLSession]:
    """The outcome, on which both ends agree, and the session for the next time."""
    with tls_client(context, port, session) as tls:
        tls.sendall(REQUEST.encode())
        page = b"".join(iter(partial(tls.recv, 16384), b"")).decode()
        how = "Reused" if tls.session_reused else "New"
        version = (tls.version() or "").replace("v", "")
        assert found(page) == [(how, version)]
        assert tls.session is not None
        return (how, version), tls.session


@each_way
def test_ssl_client_resumes(certificates: Certificates, way: Way) -> None:
    context = client_context(certificates, way)
    with our_server(certificates) as (server, port):
        first, session = visit(context, port)
        assert session.has_ticket == way.tickets
        second, session = visit(context, port, session)
        third, _ = visit(context, port, session)
        assert first == ("New", way.version)
        assert second == third == ("Reused", way.version)
        assert server.wait_for_outcomes(3) == sorted([first, second, third])


@each_way
def test_restarted_server_makes_a_full_handshake_with_an_ssl_client(
    certificates: Certificates, way: Way
) -> None:
    context = client_context(certificates, way)
    with our_server(certificates) as (_, port):
        _, session = visit(context, port)
    with our_server(certificates) as (_, port):
        again, session = visit(context, port, session)
        assert again == ("New", way.version)
        again, _ = visit(context, port, session)
        assert again == ("Reused", way.version)


def test_ssl_client_resumes_by_session_id_where_the_server_has_no_tickets(
    certificates: Certificates,
) -> None:
    context = client_context(certificates, WAYS["tls12-by-ticket"])
    with our_server(certificates, "--no-tickets") as (_, port):
        _, session = visit(context, port)
        assert not session.has_ticket
        again, _ = visit(context, port, session)
        assert again == ("Reused", "TLS1.2")


def test_ssl_client_finds_a_ticket_between_data(certificates: Certificates) -> None:
    context = client_context(certificates, TLS13)
    credentials, key = certificates.server(), TicketKey.generate()

    def serve(sock: socket.socket) -> None:
        with Session("server", credentials, flags=InitFlag.NO_AUTO_SEND_TICKET) as session:
            session.attach(sock)
            session.ticket_enable_server(key)
            session.handshake()
            session.record_send(b"before")
            assert session.record_recv() == b"read"
            session.ticket_send(1)
            session.record_send(b"after")
            assert session.record_recv() == b"read"

    def talk(session: ssl.SSLSession | None = None) -> tuple[ssl.SSLSession | None, bool]:
        with tls_client(context, port, session) as tls:
            for text in (b"before", b"after"):
                assert tls.session is None or not tls.session.has_ticket or session is not None
                assert tls.recv(16384) == text
                tls.sendall(b"read")
            return tls.session, bool(tls.session_reused)

    with listening(2, serve) as port:
        session, reused = talk()
        assert not reused
        _, reused = talk(session)
        assert reused


# -- our client and an ssl server -------------------------------------------------------------


@contextmanager
def ssl_server(context: ssl.SSLContext, count: int, talk: Talk) -> Iterator[int]:
    def serve(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as tls:
            talk(tls)

    with listening(count, serve) as port:
        yield port


def answer(tls: ssl.SSLSocket, outcomes: list[Outcome]) -> None:
    request = b""
    while b"\r\n\r\n" not in request:
        request += tls.recv(16384)
    how = "Reused" if tls.session_reused else "New"
    outcomes.append((how, (tls.version() or "").replace("v", "")))
    tls.sendall(ANSWER)
    tls.unwrap().close()


@each_way
def test_our_client_resumes_in_other_processes(
    certificates: Certificates, tmp_path: Path, way: Way
) -> None:
    context, seen = server_context(certificates, way), list[Outcome]()
    with ssl_server(context, 3, partial(answer, outcomes=seen)) as port:
        options = (certificates, str(port), "--sessions", tmp_path / "sessions")
        outcomes = [outcome(our_client(*options)) for _ in range(3)]
    assert outcomes == [("New", way.version)] + 2 * [("Reused", way.version)]
    assert seen == outcomes


@each_way
def test_other_server_context_makes_a_full_handshake_with_our_client(
    certificates: Certificates, tmp_path: Path, way: Way
) -> None:
    seen = list[Outcome]()
    for _ in range(2):
        context = server_context(certificates, way)
        with ssl_server(context, 1, partial(answer, outcomes=seen)) as port:
            done = our_client(certificates, str(port), "--sessions", tmp_path / "sessions")
            assert outcome(done) == ("New", way.version)
    assert seen == 2 * [("New", way.version)]


@contextmanager
def our_session(credentials: Credentials, port: int, data: bytes | None) -> Iterator[Session]:
    """A connected TLS 1.3 client over a socket that blocks."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as sock,
        Session("client", credentials, priority=TLS13.priority) as session,
    ):
        session.attach(sock)
        session.set_verify_cert(HOST)
        if data is not None:
            session.set_data(data)
        session.handshake()
        yield session


def send_at_once(tls: ssl.SSLSocket) -> None:
    tls.sendall(b"hello")
    assert tls.recv(16384) == b"bye"


def send_when_asked(tls: ssl.SSLSocket) -> None:
    assert tls.recv(16384) == b"hello?"
    send_at_once(tls)


@pytest.mark.parametrize("data_first", [True, False], ids=["data-first", "get-data-first"])
@pytest.mark.parametrize("tickets", [1, 2, 4])
def test_tickets_and_data_are_read_in_either_order(
    certificates: Certificates, tickets: int, *, data_first: bool
) -> None:
    context, credentials = server_context(certificates, TLS13), certificates.client()
    context.num_tickets = tickets
    with ssl_server(context, 2, send_at_once) as port:
        data, resumed = None, []
        for _ in range(2):
            with our_session(credentials, port, data) as session:
                if not data_first:
                    data = session.get_data()
                assert session.record_recv() == b"hello"
                if data_first:
                    data = session.get_data()
                assert data is not None
                session.record_send(b"bye")
                resumed.append(session.is_resumed())
    assert resumed == [False, True]


def test_read_waits_for_data_when_only_tickets_come(certificates: Certificates) -> None:
    context, credentials = server_context(certificates, TLS13), certificates.client()
    tickets: list[bytes] = []
    with (
        ssl_server(context, 1, send_when_asked) as port,
        our_session(credentials, port, None) as session,
    ):
        data = session.get_data()
        assert data is not None
        session.record_send(b"hello?")
        assert session.record_recv() == b"hello"
        tickets.extend(filter(None, [data, session.get_data()]))
        session.record_send(b"bye")
    assert len(set(tickets)) == 2  # get_data has read one of the two, record_recv the other


def test_server_without_tickets_gives_no_session_and_its_data_are_read(
    certificates: Certificates,
) -> None:
    context, credentials = server_context(certificates, TLS13), certificates.client()
    context.num_tickets = 0
    with (
        ssl_server(context, 1, send_at_once) as port,
        our_session(credentials, port, None) as session,
    ):
        assert session.get_data() is None
        assert session.record_recv() == b"hello"
        assert session.get_data() is None
        session.record_send(b"bye")
