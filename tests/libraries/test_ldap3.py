import socket

import ldap3
from conftest import HOST
from libraries.peers import Server, read_exactly, serving
from libraries.trial import Trial, case

BIND_REQUEST, UNBIND_REQUEST = 0x60, 0x42
SUCCESS = b"\x0a\x01\x00\x04\x00\x04\x00"
PASSWORD = 1000 * "x"


class ResumingTls(ldap3.Tls):
    """`Server(host, use_ssl=True, tls=ResumingTls(context, host))`"""

    def __init__(self, context, host):
        super().__init__()
        self.context = context
        self.host = host

    def wrap_socket(self, connection, do_handshake=False):  # noqa: FBT002
        connection.socket = self.context.wrap_socket(
            connection.socket, server_hostname=self.host, do_handshake_on_connect=do_handshake
        )


def ldap(server: Server, sock: socket.socket) -> None:
    """As much of RFC 4511 as lets anybody in who knows the password."""
    with server.wrap(sock) as tls:
        while head := read_exactly(tls, 2):
            assert head[0] == 0x30
            size = head[1]
            if size & 0x80:
                size = int.from_bytes(read_exactly(tls, size & 0x7F))
            message = read_exactly(tls, size)
            identifier, operation = message[: 2 + message[1]], message[2 + message[1]]
            if operation == UNBIND_REQUEST:
                return
            assert operation == BIND_REQUEST
            assert message.endswith(PASSWORD.encode())
            body = identifier + b"\x61" + bytes([len(SUCCESS)]) + SUCCESS
            tls.sendall(b"\x30" + bytes([len(body)]) + body)


@case("ldap3", "`Connection`, to a minimal server", "a `Tls` whose `wrap_socket` uses `ctx`")
def test_ldap3(trial: Trial) -> None:
    with serving(trial.foreign, ldap) as server:

        def bind() -> None:
            tls = ResumingTls(trial.context, HOST)
            ldap_server = ldap3.Server(
                HOST, server.port, use_ssl=True, tls=tls, get_info=ldap3.NONE
            )
            with ldap3.Connection(ldap_server, "cn=user", PASSWORD) as connection:
                assert connection.bound

        trial.check(bind, server.reused)
