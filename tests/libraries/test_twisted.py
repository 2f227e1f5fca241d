import io
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
from conftest import HOST, Certificates
from libraries.peers import DATA, SECONDS, Server, echo, read_exactly, serving
from libraries.trial import VERSIONS, Record, Trial, case
from twisted.internet import defer, endpoints, protocol, reactor
from twisted.internet.threads import blockingCallFromThread
from twisted.web.client import Agent, FileBodyProducer, readBody
from twisted_adapter import Resuming, ResumingPolicy

from gnutls_resume import HandshakeKind, Outcome, SSLContext


@pytest.fixture(scope="session", autouse=True)
def reactor_thread() -> Iterator[None]:
    """Twisted's reactor runs once a process."""
    thread = threading.Thread(target=reactor.run, kwargs={"installSignalHandlers": False})
    thread.start()
    yield
    reactor.callFromThread(reactor.stop)
    thread.join(SECONDS)


def run(coroutine, *arguments):
    def start():
        return defer.ensureDeferred(coroutine(*arguments)).addTimeout(SECONDS, reactor)

    return blockingCallFromThread(reactor, start)


@case("twisted", "`web.client.Agent`", "`Agent(reactor, ResumingPolicy(ctx))`, twisted_adapter.py")
def test_agent(trial: Trial, http: Server) -> None:
    async def post() -> None:
        agent = Agent(reactor, ResumingPolicy(trial.context))
        body = FileBodyProducer(io.BytesIO(DATA))
        response = await agent.request(b"POST", http.url.encode(), bodyProducer=body)
        assert await readBody(response) == DATA

    trial.check(lambda: run(post), http.reused)


class Collector(protocol.Protocol):
    """Sends DATA, and closes when as much has come back."""

    def __init__(self) -> None:
        self.received = b""
        self.done = defer.Deferred()

    def connectionMade(self):  # noqa: N802
        self.transport.write(DATA)

    def dataReceived(self, data):  # noqa: N802
        self.received += data
        if len(self.received) == len(DATA):
            self.transport.loseConnection()

    def connectionLost(self, reason):  # noqa: N802
        self.done.callback(None)


@case(
    "twisted",
    "`wrapClientTLS`",
    "`wrapClientTLS(Resuming(ctx, host), endpoint)`, twisted_adapter.py",
)
def test_endpoint(trial: Trial) -> None:
    with serving(trial.foreign, echo) as server:

        async def connect() -> None:
            tcp = endpoints.HostnameEndpoint(reactor, HOST, server.port)
            tls = endpoints.wrapClientTLS(Resuming(trial.context, HOST), tcp)
            client = await tls.connect(protocol.Factory.forProtocol(Collector))
            await client.done
            assert client.received == DATA

        trial.check(lambda: run(connect), server.reused)


class Echo(protocol.Protocol):
    def dataReceived(self, data):  # noqa: N802
        self.transport.write(data)


@pytest.mark.parametrize("version", VERSIONS)
@case(
    "twisted",
    "`listenSSL`",
    "`listenSSL(port, factory, Resuming(ctx))`, twisted_adapter.py",
    direction="server",
)
def test_server(certificates: Certificates, version: str, record: Record) -> None:
    outcomes = list[Outcome]()
    context = SSLContext(ssl.PROTOCOL_TLS_SERVER, on_handshake=outcomes.append)
    context.load_cert_chain(certificates.certificate_file, certificates.key_file)
    foreign = ssl.create_default_context(cafile=str(certificates.trust_file))
    foreign.minimum_version = foreign.maximum_version = VERSIONS[version]

    def visit(port: int, session: ssl.SSLSession | None = None) -> tuple[bool, ssl.SSLSession]:
        address = ("127.0.0.1", port)
        with (
            socket.create_connection(address, SECONDS) as sock,
            foreign.wrap_socket(sock, server_hostname=HOST, session=session) as tls,
        ):
            tls.sendall(DATA)
            assert read_exactly(tls, len(DATA)) == DATA
            return bool(tls.session_reused), tls.session

    async def listen():
        factory = protocol.Factory.forProtocol(Echo)
        return reactor.listenSSL(0, factory, Resuming(context), interface="127.0.0.1")

    async def stop() -> None:
        await defer.maybeDeferred(listener.stopListening)

    listener = run(listen)
    try:
        port = listener.getHost().port
        reused, session = visit(port)
        assert not reused
        reused, _ = visit(port, session)
        assert reused
    finally:
        run(stop)
    first, second = (outcome.kind for outcome in outcomes)
    assert (first, second) == (HandshakeKind.FULL, HandshakeKind.RESUMED_TICKET)
    assert all(outcome.server_side for outcome in outcomes)
    record(version, [first], [second])
