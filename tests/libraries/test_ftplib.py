import io
from pathlib import Path

from conftest import HOST, Certificates
from ftplib_client import login
from libraries.ftp import PASSWORD, USER, ftp_server
from libraries.peers import DATA
from libraries.trial import Trial, case


@case("ftplib", "`FTP_TLS`, control and data", "`FTP_TLS(context=ctx)`, ftplib_client.py")
def test_ftplib(trial: Trial, certificates: Certificates, tmp_path: Path) -> None:
    with ftp_server(certificates, trial.version, tmp_path) as port:

        def transfer() -> None:
            before = len(trial.outcomes)
            received = io.BytesIO()
            with login(trial.context, HOST, port, USER, PASSWORD) as ftp:
                ftp.storbinary("STOR file", io.BytesIO(DATA))
                ftp.retrbinary("RETR file", received.write)
                assert ftp.nlst() == ["file"]
            assert received.getvalue() == DATA
            assert (tmp_path / "file").read_bytes() == DATA
            assert len(trial.outcomes) - before == 4

        trial.check(transfer)
