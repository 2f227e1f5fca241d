"""ftplib and aioftp, as they are, against servers that insist on resumed data connections."""

import asyncio
import ftplib
import os
import re
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import pytest
from conftest import HOST, Certificates
from interop.ftp_servers import PASSWORD, SERVERS, USER, Server
from interop.programs import SECONDS

from gnutls_resume import HandshakeKind, MemoryStore, Outcome, create_default_context

pytestmark = pytest.mark.libraries

FILES = 20
LARGE = os.urandom(5_000_000)


@pytest.fixture(scope="module", params=SERVERS.values(), ids=SERVERS.keys())
def server(
    request: pytest.FixtureRequest,
    certificates: Certificates,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    with request.param(certificates, tmp_path_factory.mktemp("ftp")) as server:
        yield server


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda v: v.name)
def version(request: pytest.FixtureRequest) -> ssl.TLSVersion:
    return request.param


@dataclass
class Client:
    """A context with a store of its own, and the outcomes of its connections."""

    certificates: Certificates
    version: ssl.TLSVersion
    outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context = create_default_context(
            cafile=self.certificates.trust_file,
            sessions=MemoryStore(),
            on_handshake=self.outcomes.append,
        )
        self.context.minimum_version = self.context.maximum_version = self.version

    def login(self, server: Server) -> ftplib.FTP_TLS:
        return login(server, self.context)

    def resumed(self) -> list[bool]:
        return [outcome.kind is not HandshakeKind.FULL for outcome in self.outcomes]


@pytest.fixture
def client(certificates: Certificates, version: ssl.TLSVersion) -> Client:
    return Client(certificates, version)


def login(server: Server, context: ssl.SSLContext) -> ftplib.FTP_TLS:
    ftp = ftplib.FTP_TLS(context=context, timeout=SECONDS)  # noqa: S321 - over TLS
    ftp.connect(HOST, server.port)
    ftp.login(USER, PASSWORD)
    ftp.prot_p()
    return ftp


def upload(ftp: ftplib.FTP_TLS, name: str, content: bytes) -> None:
    assert ftp.storbinary(f"STOR {name}", BytesIO(content)).startswith("226")


def download(ftp: ftplib.FTP_TLS, name: str) -> bytes:
    received = BytesIO()
    assert ftp.retrbinary(f"RETR {name}", received.write).startswith("226")
    return received.getvalue()


def some_files(prefix: str) -> dict[str, bytes]:
    """Of many sizes, the first of them empty."""
    return {f"{prefix}-{number:02}": os.urandom(3000 * number) for number in range(FILES)}


def test_the_standard_library_alone_is_refused(
    server: Server, certificates: Certificates, version: ssl.TLSVersion
) -> None:
    """It would need a subclass of FTP_TLS that hands on the control connection's session."""
    context = ssl.create_default_context(cafile=certificates.trust_file)
    context.minimum_version = context.maximum_version = version
    with login(server, context) as ftp:
        with pytest.raises((ftplib.Error, OSError)) as caught:
            upload(ftp, "refused", b"data")
        # The data connection may be seen to break before the reply is read.
        broken = isinstance(caught.value, OSError)
        assert re.match(server.refusal, ftp.getmultiline() if broken else str(caught.value))


def test_ftplib_uploads_lists_and_downloads_in_a_row(server: Server, client: Client) -> None:
    """Twenty of a kind in a row: ProFTPD gives no new ticket for an upload in TLS 1.3."""
    files = some_files(client.version.name)
    already = server.count_resumed()
    with client.login(server) as ftp:
        for name, content in files.items():
            upload(ftp, name, content)
            assert (server.folder / name).read_bytes() == content
        for name in files:
            assert name in ftp.nlst()
        for name, content in files.items():
            assert download(ftp, name) == content
    assert client.resumed() == [False] + [True] * 3 * FILES
    protocol = client.version.name.replace("_", ".")
    assert {outcome.protocol for outcome in client.outcomes} == {protocol}
    assert server.count_resumed() - already == 3 * FILES


def test_ftplib_transfers_large_files_unharmed(server: Server, client: Client) -> None:
    name = f"large-{client.version.name}"
    with client.login(server) as ftp:
        upload(ftp, name, LARGE)
        assert (server.folder / name).read_bytes() == LARGE
        assert download(ftp, name) == LARGE
    assert client.resumed() == [False, True, True]


def test_two_logins_at_once_each_with_a_context_of_its_own(
    server: Server, certificates: Certificates, version: ssl.TLSVersion
) -> None:
    clients = [Client(certificates, version), Client(certificates, version)]

    def transfer(number: int, ftp: ftplib.FTP_TLS) -> None:
        for name, content in some_files(f"at-once-{number}").items():
            upload(ftp, name, content)
            assert name in ftp.nlst()
            assert download(ftp, name) == content

    with (
        clients[0].login(server) as first,
        clients[1].login(server) as second,
        ThreadPoolExecutor(2) as pool,
    ):
        list(pool.map(transfer, (1, 2), (first, second)))
    for client in clients:
        assert client.resumed() == [False] + [True] * 3 * FILES


def test_a_later_login_uses_what_an_earlier_one_left(server: Server, client: Client) -> None:
    """Its data connections may not: ProFTPD refuses another login's ticket."""
    for _ in range(3):
        with client.login(server) as ftp:
            for name, content in some_files("later").items():
                upload(ftp, name, content)
            assert download(ftp, name) == content
    assert client.resumed() == [False] + [True] * (3 * (1 + FILES + 1) - 1)


async def aioftp_login(server: Server, context: ssl.SSLContext) -> Any:
    import aioftp

    class Client(aioftp.Client):
        """One that can talk to these servers.

        aioftp does the handshake of a data connection before it sends the command, and these
        servers do it after they have seen the command: both would wait for ever, whatever the
        TLS library (https://github.com/aio-libs/aioftp/issues/186).
        """

        async def _open_connection(self, host: str, port: int) -> Any:
            return await asyncio.open_connection(host, port)

        @aioftp.common.async_enterable
        async def get_stream(self, *arguments: Any, **options: Any) -> Any:
            stream = await super().get_stream(*arguments, **options)
            await stream.start_tls(context, self.server_host)
            return stream

    ftp = Client(socket_timeout=SECONDS)
    await ftp.connect(HOST, server.port)
    await ftp.upgrade_to_tls(context)
    await ftp.login(USER, PASSWORD)
    return ftp


async def aioftp_transfer(server: Server, ftp: Any, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        async with ftp.upload_stream(name) as stream:
            await stream.write(content)
        assert (server.folder / name).read_bytes() == content
    for name in files:
        # vsftpd has no MLSD, and aioftp leaves a socket open when it is refused.
        listed = await ftp.list(raw_command="LIST")
        assert name in [str(path) for path, _ in listed]
    for name, content in files.items():
        async with ftp.download_stream(name) as stream:
            assert await stream.read() == content


def test_aioftp_uploads_lists_and_downloads_in_a_row(server: Server, client: Client) -> None:
    files = some_files(f"aioftp-{client.version.name}") | {"aioftp-large": LARGE}

    async def main() -> None:
        ftp = await aioftp_login(server, client.context)
        await aioftp_transfer(server, ftp, files)
        await ftp.quit()

    already = server.count_resumed()
    asyncio.run(asyncio.wait_for(main(), 2 * SECONDS))
    assert client.resumed() == [False] + [True] * 3 * len(files)
    assert server.count_resumed() - already == 3 * len(files)


def test_two_aioftp_logins_at_once_each_with_a_context_of_its_own(
    server: Server, certificates: Certificates, version: ssl.TLSVersion
) -> None:
    clients = [Client(certificates, version), Client(certificates, version)]

    async def main() -> None:
        logins = [await aioftp_login(server, client.context) for client in clients]
        await asyncio.gather(
            aioftp_transfer(server, logins[0], some_files("aioftp-at-once-1")),
            aioftp_transfer(server, logins[1], some_files("aioftp-at-once-2")),
        )
        for ftp in logins:
            await ftp.quit()

    asyncio.run(asyncio.wait_for(main(), 2 * SECONDS))
    for client in clients:
        assert client.resumed() == [False] + [True] * 3 * FILES
