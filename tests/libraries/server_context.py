"""What every server script here needs: the command line, and the context made of it.

Scripts that patch the standard library import this afterwards.
"""

import ssl
import sys

from gnutls_resume import SSLContext, create_default_context

certificate, key, number, *words = sys.argv[1:]
port = int(number)


def make_context() -> SSLContext:
    context = create_default_context(ssl.Purpose.CLIENT_AUTH, on_handshake=print)
    context.load_cert_chain(certificate, key)
    return context
