"""The README's code, run as it is written (but for the port)."""

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
DROP_IN_SERVER, DROP_IN_CLIENT, SHARING, SERVER, CLIENT, FAILURE = (
    text for language, text in BLOCKS if language == "python"
)
(CERTIFICATE,) = (text for language, text in BLOCKS if language == "sh")


def make_certificate(folder: Path) -> None:
    subprocess.run(["sh", "-ec", CERTIFICATE], cwd=folder, check=True, capture_output=True)


@contextmanager
def serving(folder: Path, code: str) -> Iterator[str]:
    """The README's server; yields its port."""
    with socket.create_server(("localhost", 0)) as listener:
        number = str(listener.getsockname()[1])
    server = subprocess.Popen(
        [sys.executable, "-c", code.replace("5556", number)],
        cwd=folder,
        stderr=subprocess.PIPE,
    )
    try:
        wait_for(int(number), server)
        yield number
    finally:
        server.terminate()
        server.communicate()


@pytest.fixture(params=[SERVER], ids=["binding"])
def port(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the README's server listens, with the README's certificate."""
    make_certificate(tmp_path)
    with serving(tmp_path, request.param) as number:
        yield number


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while server.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("localhost", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.02)  # there is no event for a port that begins to listen
        else:
            return
    raise AssertionError(f"the README's server did not start: {server.stderr}")


def run_client(folder: Path, port: str, client: str = CLIENT) -> str:
    code = client.replace("5556", port)
    return subprocess.check_output(
        [sys.executable, "-c", code], cwd=folder, text=True, stderr=subprocess.STDOUT, timeout=60
    )


def test_client_and_server_resume_in_the_second_run(tmp_path: Path, port: str) -> None:
    assert run_client(tmp_path, port) == "b'HELLO' resumed: False\n"
    assert run_client(tmp_path, port) == "b'HELLO' resumed: True\n"
    stored = tmp_path / "session"
    assert stored.stat().st_mode & 0o077 == 0
    data = bytearray(stored.read_bytes())
    data[len(data) // 2] ^= 1
    stored.write_bytes(data)
    assert run_client(tmp_path, port) == "b'HELLO' resumed: False\n"
    assert run_client(tmp_path, port) == "b'HELLO' resumed: True\n"


@pytest.mark.parametrize("port", [DROP_IN_SERVER], indirect=True, ids=["drop-in"])
def test_drop_in_client_and_server_resume_in_the_second_connection(
    tmp_path: Path, port: str
) -> None:
    printed = run_client(tmp_path, port, DROP_IN_CLIENT)
    assert printed == "b'HELLO' full\nb'HELLO' resumed by ticket\n"


def test_sharing_server_resumes_after_a_restart(tmp_path: Path) -> None:
    make_certificate(tmp_path)
    command = re.findall(r"python (-m gnutls_resume keys new [\w.]+)", README)[0]
    subprocess.run([sys.executable, *command.split()], cwd=tmp_path, check=True, timeout=60)
    plain = next(line for line in DROP_IN_SERVER.splitlines() if line.startswith("context ="))
    server = DROP_IN_SERVER.replace(plain, SHARING)
    client = DROP_IN_CLIENT.replace("range(2)", "range(1)").replace(
        'cafile="certificate.pem"',
        'cafile="certificate.pem", sessions=gnutls_resume.SQLiteStore("client.db")',
    )
    how = []
    for _ in range(2):
        with serving(tmp_path, server) as number:
            how.append(run_client(tmp_path, number, client))
    assert how == ["b'HELLO' full\n", "b'HELLO' resumed by ticket\n"]


def test_the_failure_is_the_one_that_is_shown() -> None:
    from gnutls_resume.binding import Credentials, Session

    statement, *_, last = FAILURE.removeprefix(">>> ").strip().splitlines()
    with Session("client", Credentials()) as session, pytest.raises(Exception) as raised:
        exec(statement, {"session": session})
    name = f"{type(raised.value).__module__}.{type(raised.value).__qualname__}"
    assert f"{name}: {raised.value}" == last


def test_examples_are_as_short_as_promised() -> None:
    for block in (DROP_IN_SERVER, DROP_IN_CLIENT, SHARING, SERVER, CLIENT):
        code = [line for line in block.splitlines() if line and not re.match(r"import|from", line)]
        assert len(code) <= 15, code


def test_every_word_of_dev_is_real() -> None:
    script = (Path(__file__).parent.parent / "dev").read_text()
    for word in set(re.findall(r"\./dev (\w+)", README)):
        assert re.search(rf"^  {word}\b", script, re.MULTILINE), word
