"""cheroot, CherryPy's server."""

from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Server
from server_context import certificate, key, make_context, port
from server_echo import wsgi

server = Server(("127.0.0.1", port), wsgi)
server.ssl_adapter = BuiltinSSLAdapter(certificate, key)
server.ssl_adapter.context = make_context()
server.prepare()
print("listening")
server.serve()
