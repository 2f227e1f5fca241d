"""eventlet's wsgi server; the standard library is patched before anything else."""

import os

# Its resolver imports dnspython, which imports trio, which it cannot patch.
os.environ["EVENTLET_NO_GREENDNS"] = "yes"

import eventlet

eventlet.monkey_patch()

import eventlet.wsgi
from server_context import make_context, port
from server_echo import wsgi

# Not in accept(): the handshake is the greenlet's that reads first.
listener = make_context().wrap_socket(
    eventlet.listen(("127.0.0.1", port)), server_side=True, do_handshake_on_connect=False
)
print("listening")
eventlet.wsgi.server(listener, wsgi)
