"""gevent's pywsgi or StreamServer; the standard library is patched before anything else."""

from gevent import monkey

monkey.patch_all()

import gevent.pywsgi
import gevent.server
from server_context import make_context, port, words
from server_echo import SIZE, wsgi


def echo(sock, _):
    with sock, sock.makefile("rb") as reader:
        sock.sendall(reader.read(SIZE))


address = ("127.0.0.1", port)
if words[0] == "pywsgi":
    server = gevent.pywsgi.WSGIServer(address, wsgi, ssl_context=make_context())
else:
    server = gevent.server.StreamServer(address, echo, ssl_context=make_context())
server.start()
print("listening")
server.serve_forever()
