"""aiosmtpd's server, with STARTTLS or TLS from the first byte."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiosmtpd.controller import Controller
from interop.programs import free_port
from libraries.peers import SECONDS

MESSAGE = "Subject: test\r\n\r\n" + 1000 * ("line " + 60 * "x" + "\r\n")


@dataclass
class Mailbox:
    """What has arrived, and whether its connection was resumed."""

    port: int
    messages: list[bytes] = field(default_factory=list)
    reused: list[bool] = field(default_factory=list)

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        self.messages.append(envelope.content)
        tls = server.transport.get_extra_info("ssl_object")
        self.reused.append(bool(tls.session_reused))
        return "250 OK"


@contextmanager
def mailbox(context: ssl.SSLContext, *, starttls: bool) -> Iterator[Mailbox]:
    box = Mailbox(free_port())
    tls = {"tls_context" if starttls else "ssl_context": context}
    controller = Controller(box, "127.0.0.1", box.port, ready_timeout=SECONDS, **tls)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()
