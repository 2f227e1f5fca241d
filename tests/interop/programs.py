"""The programs that tests run on loopback: found, started, waited for and ended.

Programs are waited for by what they print, and ended by their process ID. Nothing here waits
longer than SECONDS. A program that is missing is a failure, not a skipped test.
"""

import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import HOST, Certificates

EXAMPLES = Path(__file__).parents[2] / "examples"
PACKAGES = {
    "gnutls-cli": "gnutls-bin",
    "gnutls-serv": "gnutls-bin",
    "ip": "iproute2",
    "mosquitto": "mosquitto",
    "nats-server": "nats-server",
    "openssl": "openssl",
    "redis-server": "redis-server",
}
STAND_INS = {"redis-server": "valkey-server"}
SECONDS = 30
REQUEST = "GET / HTTP/1.0\r\n\r\n"
SAID = r"^(?:worker \d+: )?(full|resumed by (?:ticket|session ID)).*, (TLS)v(1\.\d)$"

Done = subprocess.CompletedProcess[str]
Outcome = tuple[str, str]
"""How a connection came about: New or Reused, and the protocol version."""


@dataclass(frozen=True)
class Way:
    """A way to resume, in the words of each program."""

    version: str
    tickets: bool = True

    @property
    def priority(self) -> str:
        """For GnuTLS."""
        no_tickets = "" if self.tickets else ":%NO_TICKETS"
        return f"NORMAL:-VERS-ALL:+VERS-{self.version}{no_tickets}"

    @property
    def openssl(self) -> tuple[str, ...]:
        """Options of s_client and s_server."""
        version = "-" + self.version.lower().replace(".", "_")
        return (version,) if self.tickets else (version, "-no_ticket")

    @property
    def client(self) -> tuple[str, ...]:
        """Options of our client."""
        version = ("--tls", self.version.removeprefix("TLS"))
        return version if self.tickets else (*version, "--no-tickets")

    def restrict(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """The context, which knows no other way."""
        version = ssl.TLSVersion[self.version.replace("TLS", "TLSv").replace(".", "_")]
        context.minimum_version = context.maximum_version = version
        if not self.tickets:
            context.options |= ssl.OP_NO_TICKET
        return context

    @property
    def resumed(self) -> str:
        """What our programs say."""
        means = "ticket" if self.tickets else "session ID"
        return f"resumed by {means}, {self.version.replace('TLS', 'TLSv')}"


WAYS = {
    "tls12-by-id": Way("TLS1.2", tickets=False),
    "tls12-by-ticket": Way("TLS1.2"),
    "tls13-by-ticket": Way("TLS1.3"),
}
each_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
BY_TICKET = [way for way in WAYS.values() if way.tickets]
each_ticket = pytest.mark.parametrize("way", BY_TICKET, ids=lambda way: way.version)


def find(name: str) -> str:
    """The path of a foreign program."""
    path = None
    for candidate in filter(None, (name, STAND_INS.get(name))):
        path = path or shutil.which(candidate) or shutil.which(candidate, path="/usr/sbin")
    if path is None:
        package = PACKAGES[name]
        pytest.fail(f"{name} is missing: install the Debian package {package}.", pytrace=False)
    return path


def free_port() -> int:
    """For programs that cannot choose one by themselves."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def run(*command: str | Path, umask: int = -1, text: str = "") -> Done:
    """Run a program to its end, with `text` on its standard input."""
    return subprocess.run(
        command,
        input=text,
        capture_output=True,
        check=False,
        errors="replace",
        text=True,
        timeout=SECONDS,
        umask=umask,
    )


class Program:
    """A program that is running, and all the lines that it has printed so far."""

    def __init__(self, *command: str | Path) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            errors="replace",
            text=True,
        )
        self.lines: list[str] = []
        self.ended = False
        self.news = threading.Condition()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self.news:
                self.lines.append(line.rstrip("\n"))
                self.news.notify_all()
        with self.news:
            self.ended = True
            self.news.notify_all()

    def write(self, text: str) -> None:
        """Put text on its standard input, which stays open."""
        assert self.process.stdin is not None
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def wait_for(self, pattern: str, count: int = 1) -> re.Match[str]:
        """Wait until `count` lines match, and return the last of these matches."""

        def matches() -> list[re.Match[str]]:
            return [match for line in self.lines if (match := re.search(pattern, line))]

        with self.news:
            self.news.wait_for(lambda: self.ended or len(matches()) >= count, SECONDS)
            found = matches()
            assert len(found) >= count, f"not {count} times {pattern!r} in " + self.output
            return found[count - 1]

    def wait_for_outcomes(self, count: int) -> list[Outcome]:
        """Of so many connections of our server, sorted: its threads print in any order."""
        self.wait_for(SAID, count)
        return sorted(found(self.output))

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def join(self) -> str:
        """Wait until it ends by itself; returns all its output."""
        self.reader.join(SECONDS)
        assert self.ended, self.output
        return self.output

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.reader.join(SECONDS)
        with self.process:  # closes the pipes
            pass


@contextmanager
def running(*command: str | Path) -> Iterator[Program]:
    program = Program(*command)
    try:
        yield program
    finally:
        program.stop()


@contextmanager
def our_server(certificates: Certificates, *options: str | Path) -> Iterator[tuple[Program, str]]:
    """examples/server.py, and the port that it listens on."""
    chain, key = certificates.certificate_file, certificates.key_file
    command = (sys.executable, EXAMPLES / "server.py", "--certificate", chain, "--key", key)
    with running(*command, "--port", "0", *options) as server:
        yield server, server.wait_for(r"^listening on .* port (\d+)")[1]


def our_client(
    certificates: Certificates, port: str, *options: str | Path, umask: int = -1
) -> Done:
    """examples/client.py; a later option overrides the name and the trust given here."""
    command = (sys.executable, EXAMPLES / "client.py", "127.0.0.1", port)
    defaults = ("--name", HOST, "--trust", certificates.trust_file)
    return run(*command, *defaults, *options, umask=umask)


def found(text: str) -> list[Outcome]:
    """What our programs say of connections in a text."""
    matches = re.finditer(SAID, text.replace("\r\n", "\n"), re.MULTILINE)
    return [("New" if match[1] == "full" else "Reused", match[2] + match[3]) for match in matches]


def outcome(done: Done) -> Outcome:
    """What our client says of a connection that has succeeded."""
    assert done.returncode == 0, done.stderr
    (said,) = found(done.stderr)
    return said
