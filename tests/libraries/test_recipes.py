"""The recipes of examples/ as programs. What their functions do is tested with each library."""

import re
import sys
from pathlib import Path

import pytest
from conftest import HOST, Certificates
from interop.programs import EXAMPLES, run
from libraries.daemons import mosquitto, redis_server
from libraries.ftp import PASSWORD, USER, ftp_server
from libraries.peers import Server, serving
from libraries.smtp import MESSAGE, mailbox
from libraries.test_pymongo import mongo
from libraries.trial import Trial


def resumes(trial: Trial, name: str, *arguments: str, text: str = "") -> None:
    """All connections of the program but the first; it prints their outcomes."""
    done = run(sys.executable, EXAMPLES / name, *arguments, trial.trust, text=text)
    assert done.returncode == 0, done.stderr
    first, *others = re.findall(r"^Outcome\(kind=<HandshakeKind\.(\w+)", done.stdout, re.MULTILINE)
    assert first == "FULL"
    assert set(others) == {"RESUMED_TICKET"}


@pytest.mark.parametrize(
    "name",
    ["aiohttp_client", "httpx_client", "requests_adapter", "twisted_adapter", "urllib3_client"],
)
def test_http(trial: Trial, http: Server, name: str) -> None:
    resumes(trial, f"{name}.py", http.url)


def test_asyncio(trial: Trial, http: Server) -> None:
    resumes(trial, "asyncio_client.py", HOST, str(http.port))


def test_ftplib(trial: Trial, certificates: Certificates, tmp_path: Path) -> None:
    with ftp_server(certificates, trial.version, tmp_path) as port:
        resumes(trial, "ftplib_client.py", HOST, str(port), USER, PASSWORD)


def test_smtplib(trial: Trial) -> None:
    with mailbox(trial.foreign, starttls=True) as box:
        people = ("a@example.org", "b@example.org")
        resumes(trial, "smtplib_client.py", HOST, str(box.port), *people, text=MESSAGE)
        assert len(box.messages) == 2


def test_paho_mqtt(trial: Trial, certificates: Certificates, tmp_path: Path) -> None:
    with mosquitto(certificates, tmp_path) as port:
        resumes(trial, "paho_mqtt_client.py", HOST, str(port), "topic", "message")


def test_redis(trial: Trial, certificates: Certificates) -> None:
    with redis_server(certificates) as port:
        resumes(trial, "redis_client.py", HOST, str(port))


def test_pymongo(trial: Trial) -> None:
    with serving(trial.foreign, mongo) as server:
        resumes(trial, "pymongo_client.py", f"mongodb://{HOST}:{server.port}/")
