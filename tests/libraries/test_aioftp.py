import asyncio
from pathlib import Path

import aioftp
from conftest import HOST, Certificates
from libraries.ftp import PASSWORD, USER, ftp_server
from libraries.peers import DATA
from libraries.trial import Trial, case


@case("aioftp", "explicit TLS, control and data", "`await client.upgrade_to_tls(ctx)`")
def test_aioftp(trial: Trial, certificates: Certificates, tmp_path: Path) -> None:
    with ftp_server(certificates, trial.version, tmp_path) as port:

        async def transfer() -> None:
            client = aioftp.Client(socket_timeout=10)
            await client.connect(HOST, port)
            await client.upgrade_to_tls(trial.context)
            await client.login(USER, PASSWORD)
            async with client.upload_stream("file") as stream:
                await stream.write(DATA)
            async with client.download_stream("file") as stream:
                assert await stream.read() == DATA
            await client.quit()
            assert (tmp_path / "file").read_bytes() == DATA

        trial.check(lambda: asyncio.run(transfer()))
