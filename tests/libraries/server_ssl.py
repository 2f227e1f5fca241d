"""Blocking connections of the standard library's ssl, a thread each, in the way asked for.

echo       sendall and recv
files      makefile: the socket is closed while its files are in use
sendfile   socket.sendfile, after the client has sent a line
names      an SNI callback that chooses between two contexts
clients    the client's certificate is asked for, and its address printed
"""

import socket
import ssl
import threading
from pathlib import Path

from server_context import make_context, port, words
from server_echo import SIZE

way, *files = words
context = make_context()


def serve(plain):
    with context.wrap_socket(plain, server_side=True) as sock:
        if way == "files":
            reader, writer = sock.makefile("rb"), sock.makefile("wb")
            sock.close()
            with reader, writer:
                writer.write(reader.read(SIZE))
        elif way == "sendfile":
            sock.recv(100)
            with Path(files[0]).open("rb") as file:
                sock.sendfile(file)
        else:
            if way == "clients":
                print("client", dict(sock.getpeercert()["subjectAltName"])["email"])
            data = b""
            while len(data) < SIZE:
                data += sock.recv(SIZE)
            sock.sendall(data)


if way == "names":
    other = make_context()
    other.load_cert_chain(*files)

    def choose(sock, name, _):
        print("asked for", name)
        if name == "other.example":
            sock.context = other

    context.sni_callback = choose
elif way == "clients":
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(files[0])

with socket.create_server(("127.0.0.1", port)) as listener:
    print("listening")
    while True:
        threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()
