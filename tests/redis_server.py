"""A real redis-server for tests: in a folder of its own, on a free port.

It keeps nothing on disk unless it is told to (``save``), and is ended by its process ID.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from interop.programs import SECONDS, Program, find, free_port

READY = "Ready to accept connections"


class RedisServer:
    """A redis-server and how to reach it; ``process`` is the one that runs now."""

    def __init__(self, folder: Path, *arguments: str | Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.arguments = arguments
        self.start()

    def start(self, ready: str = READY) -> None:
        self.program = Program(
            find("redis-server"), "--dir", self.folder,
            "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", *self.arguments,
        )  # fmt: skip
        self.process = self.program.process
        try:
            self.program.wait_for(ready)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End it at once, in the middle of whatever it does."""
        self.process.kill()
        self.process.wait(SECONDS)
        self.program.stop()

    def stop(self) -> None:
        """Freeze it: the kernel goes on accepting connections, and nobody answers."""
        self.process.send_signal(signal.SIGSTOP)

    def cont(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def restart(self, *, empty: bool = True, ready: str = READY) -> None:
        """Begin anew, on the same port, with nothing or with what was there."""
        if not empty:
            self.command("SAVE")
        self.kill()
        if empty:
            (self.folder / "dump.rdb").unlink(missing_ok=True)
        self.start(ready)

    def command(self, *words: str | int | bytes) -> object:
        """What the server answers to a command, by redis-py."""
        import redis

        with redis.Redis.from_url(self.url, protocol=2) as client:
            return client.execute_command(*words)


@contextmanager
def redis_server(folder: Path, *arguments: str | Path) -> Iterator[RedisServer]:
    """Start one; `arguments` are redis-server's, such as ``"--maxmemory", "1mb"``."""
    server = RedisServer(folder, *arguments)
    try:
        yield server
    finally:
        server.cont()
        server.kill()
