"""The servers of the matrix, each a program of its own, and the foreign client that comes back.

The client is the standard library's ssl, told by hand which session to offer. Both ends say how
each connection came about: the client by `session_reused`, the server by the Outcome that its
context prints (`on_handshake=print`). Nothing here waits longer than SECONDS.
"""

import http.client
import re
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import HOST, Certificates
from interop.programs import EXAMPLES, SECONDS, Program, find, free_port, run, running

HERE = Path(__file__).parent
BODY = bytes(range(256)) * 1024
"""256 KiB: many records, and more than fits into one reading of asyncio's."""

VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
each_version = pytest.mark.parametrize("version", VERSIONS)


def server_case(library: str, serves: str, recipe: str) -> list[pytest.MarkDecorator]:
    """The marks of a module whose tests make one row of docs/libraries.md."""
    return [
        pytest.mark.libraries,
        pytest.mark.case(library, serves, recipe, direction="server"),
        pytest.mark.usefixtures("server_row"),
    ]


OUTCOME = r"Outcome\(kind=<HandshakeKind\.(\w+).*protocol='(TLSv1\.\d)'.*server_side=True"
REQUEST = f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"


class ClientSocket(ssl.SSLSocket):
    """Leaves its session to its context when TLS ends: by then it has read the tickets."""

    left = False

    def leave(self) -> None:
        """To be called earlier if the server ends without close_notify: OpenSSL forgets then."""
        if not self.left and (version := self.version()):
            self.context.outcomes.append((self.session_reused, version))
            self.context.offer = self.session
            self.left = True

    def shutdown(self, how: int) -> None:
        self.leave()
        super().shutdown(how)

    def _real_close(self) -> None:
        self.leave()
        super()._real_close()


class Client(ssl.SSLContext):
    """The standard library's context, which offers the session of its last connection."""

    sslsocket_class = ClientSocket

    def __init__(self, _: int) -> None:
        self.offer: ssl.SSLSession | None = None
        self.outcomes: list[tuple[bool, str]] = []

    def wrap_socket(self, sock: socket.socket, **options: object) -> ssl.SSLSocket:
        return super().wrap_socket(sock, session=self.offer, **options)


def make_client(trust: Path, version: str) -> Client:
    client = Client(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(trust)
    client.minimum_version = client.maximum_version = VERSIONS[version]
    return client


class Server:
    """A running server, and what it says of its connections."""

    def __init__(self, program: Program, certificates: Certificates, port: int) -> None:
        self.program, self.certificates, self.port = program, certificates, port
        # One that probes itself at its start has shown an outcome already.
        self.seen = len(re.findall(OUTCOME, program.output))

    def client(self, version: str) -> Client:
        return make_client(self.certificates.trust_file, version)

    def new_outcomes(self, count: int) -> list[tuple[str, str]]:
        """The kinds and versions of the next `count` handshakes, waited for."""
        self.program.wait_for(OUTCOME, self.seen + count)
        found = re.findall(OUTCOME, self.program.output)[self.seen :]
        self.seen += len(found)
        return found


@contextmanager
def serving(
    certificates: Certificates,
    script: str,
    *arguments: str | Path,
    ready: str = "^listening",
) -> Iterator[Server]:
    """Run a script of this folder, or of examples/, with certificate, key, port and arguments."""
    port = free_port()
    folder = HERE if (HERE / script).exists() else EXAMPLES
    files = (certificates.certificate_file, certificates.key_file)
    command = (sys.executable, folder / script, *files, str(port), *arguments)
    with serving_by(certificates, port, *command, ready=ready) as server:
        yield server


@contextmanager
def serving_by(
    certificates: Certificates, port: int, *command: str | Path, ready: str
) -> Iterator[Server]:
    """Run a command until the end of the with-statement; it may not have shown any traceback."""
    settings = (f"PYTHONPATH={HERE}", "PYTHONUNBUFFERED=1", "PYTHONWARNINGS=default")
    with running("env", *settings, *command) as program:
        program.wait_for(ready)
        yield Server(program, certificates, port)
    # Not a listener that a server leaves to the end of its process.
    faults = r"Traceback|Exception ignored|unclosed transport|unclosed <\S*SSLSocket"
    assert re.search(faults, program.output) is None, program.output


# -- what the client does with a connection ---------------------------------------------------


def post(port: int, client: Client) -> None:
    """An HTTP request whose body the server returns."""
    connection = http.client.HTTPSConnection(HOST, port, context=client, timeout=SECONDS)
    try:
        connection.request("POST", "/", BODY)
        response = connection.getresponse()
        assert response.status == 200
        assert response.read() == BODY
    finally:
        connection.close()


@contextmanager
def connected(
    port: int, client: Client, before: bytes = b"", name: str = HOST
) -> Iterator[ssl.SSLSocket]:
    """A TLS connection to the host of that name; `before` is sent in clear, and its answer read."""
    with socket.create_connection((HOST, port), timeout=SECONDS) as plain:
        if before:
            plain.sendall(before)
            assert plain.recv(100).endswith(b"\n")
        with client.wrap_socket(plain, server_hostname=name) as sock:
            yield sock


def receive(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (part := sock.recv(size - len(data))):
        data += part
    return bytes(data)


def echo(port: int, client: Client, before: bytes = b"", name: str = HOST) -> None:
    """Bytes that the server returns once it has them all."""
    with connected(port, client, before, name) as sock:
        sock.sendall(BODY)
        assert receive(sock, len(BODY)) == BODY


# -- what is asserted -------------------------------------------------------------------------


def assert_resumes(
    server: Server, version: str, transfer: Callable[[int, Client], None] = post
) -> None:
    """Connect, transfer, and reconnect twice: all but the first time resume, say both ends."""
    assert_client_resumes(server, server.client(version), version, transfer)


def assert_client_resumes(
    server: Server, client: Client, version: str, transfer: Callable[[int, Client], None]
) -> None:
    for _ in range(3):
        transfer(server.port, client)
    assert_both_say(server, client, version, [False, True, True])


def assert_both_say(server: Server, client: Client, version: str, resumed: list[bool]) -> None:
    """Whether each connection of a client has been resumed."""
    kinds = ["RESUMED_TICKET" if again else "FULL" for again in resumed]
    told = server.new_outcomes(len(resumed))
    assert client.outcomes == [(again, version) for again in resumed], client.outcomes
    assert told == [(kind, version) for kind in kinds], told


def assert_slow_client_holds_up_nobody(
    server: Server, slow: socket.socket, transfer: Callable[[int, Client], None] = post
) -> None:
    """`slow` begins a handshake and goes no further; it is closed after the server has ended."""
    slow.connect(("127.0.0.1", server.port))
    slow.sendall(b"\x16\x03\x01\x02\x00\x01")
    assert_resumes(server, "TLSv1.3", transfer)


def assert_s_client_resumes(server: Server, version: str, folder: Path) -> None:
    """As above, by OpenSSL's program with its session in a file."""
    session = folder / "session.pem"
    option = "-" + version.lower().replace("v", "").replace(".", "_")
    command = (find("openssl"), "s_client", "-connect", f"127.0.0.1:{server.port}", option)
    trust = ("-servername", HOST, "-CAfile", server.certificates.trust_file)
    quiet = ("-verify_return_error", "-verify_hostname", HOST, "-ign_eof")
    for how, files in (("New", ("-sess_out", session)), ("Reused", ("-sess_in", session))):
        done = run(*command, *trust, *quiet, *files, text=REQUEST)
        # Not the return code: many servers end a connection without close_notify.
        found = re.findall(r"^(New|Reused), (TLSv1\.\d)|^(HTTP/1)", done.stdout, re.MULTILINE)
        assert found == [(how, version, ""), ("", "", "HTTP/1")], done.stderr
    assert server.new_outcomes(2) == [("FULL", version), ("RESUMED_TICKET", version)]
