"""aiosmtpd, with TLS from the start or after STARTTLS; it prints the digest of each message."""

import hashlib
import signal

from aiosmtpd.controller import Controller
from server_context import make_context, port, words


class Handler:
    async def handle_DATA(self, server, session, envelope):
        print("message", hashlib.sha256(envelope.content).hexdigest())
        return "250 OK"


if words[0] == "smtps":
    options = {"ssl_context": make_context()}
else:
    options = {"tls_context": make_context(), "require_starttls": True}
controller = Controller(Handler(), hostname="127.0.0.1", port=port, **options)
controller.start()
print("listening")
signal.pause()
