"""As much of IMAP (RFC 3501) and POP3 (RFC 1939) as fetches one message."""

import socket

from libraries.peers import Server

MESSAGE = b"Subject: test\r\n\r\n" + 1000 * (b"line " + 60 * b"x" + b"\r\n")


def imap(server: Server, sock: socket.socket) -> None:
    with server.wrap(sock) as tls, tls.makefile("rwb") as file:
        file.write(b"* OK ready\r\n")
        imap_session(file)


def imap_starttls(server: Server, sock: socket.socket) -> None:
    with sock.makefile("rwb") as file:
        file.write(b"* OK ready\r\n")
        imap_session(file)
    with server.wrap(sock) as tls, tls.makefile("rwb") as file:
        imap_session(file)


def imap_session(file) -> None:
    """Until LOGOUT or STARTTLS."""
    file.flush()
    for line in file:
        tag, command, *_ = line.split()
        command = command.upper()
        if command == b"CAPABILITY":
            file.write(b"* CAPABILITY IMAP4rev1 STARTTLS\r\n")
        elif command in {b"SELECT", b"EXAMINE"}:
            file.write(b"* 1 EXISTS\r\n* OK [UIDVALIDITY 1]\r\n")
        elif command in {b"FETCH", b"UID"}:
            file.write(b"* 1 FETCH (UID 1 BODY[] {%d}\r\n%s)\r\n" % (len(MESSAGE), MESSAGE))
        elif command == b"LOGOUT":
            file.write(b"* BYE\r\n")
        file.write(tag + b" OK done\r\n")
        file.flush()
        if command in {b"LOGOUT", b"STARTTLS"}:
            return


def pop3(server: Server, sock: socket.socket) -> None:
    with server.wrap(sock) as tls, tls.makefile("rwb") as file:
        file.write(b"+OK ready\r\n")
        pop3_session(file)


def pop3_starttls(server: Server, sock: socket.socket) -> None:
    with sock.makefile("rwb") as file:
        file.write(b"+OK ready\r\n")
        pop3_session(file)
    with server.wrap(sock) as tls, tls.makefile("rwb") as file:
        pop3_session(file)


def pop3_session(file) -> None:
    """Until QUIT or STLS."""
    file.flush()
    for line in file:
        command = line.split()[0].upper()
        file.write(b"+OK\r\n")
        if command == b"CAPA":
            file.write(b"STLS\r\n.\r\n")
        elif command == b"RETR":
            file.write(MESSAGE + b".\r\n")
        file.flush()
        if command in {b"QUIT", b"STLS"}:
            return
