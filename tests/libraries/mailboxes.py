"""As much of IMAP (RFC 3501) and POP3 (RFC 1939) as fetches one message."""

import socket
from collections.abc import Callable
from typing import BinaryIO

from libraries.peers import Serve, Server

MESSAGE = b"Subject: test\r\n\r\n" + 1000 * (b"line " + 60 * b"x" + b"\r\n")


Session = Callable[[BinaryIO], None]


def over_tls(greeting: bytes, session: Session) -> Serve:
    def serve(server: Server, sock: socket.socket) -> None:
        with server.wrap(sock) as tls, tls.makefile("rwb") as file:
            file.write(greeting)
            session(file)

    return serve


def with_starttls(greeting: bytes, session: Session) -> Serve:
    def serve(server: Server, sock: socket.socket) -> None:
        with sock.makefile("rwb") as file:
            file.write(greeting)
            session(file)
        with server.wrap(sock) as tls, tls.makefile("rwb") as file:
            session(file)

    return serve


def imap_session(file: BinaryIO) -> None:
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


def pop3_session(file: BinaryIO) -> None:
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


imap = over_tls(b"* OK ready\r\n", imap_session)
imap_starttls = with_starttls(b"* OK ready\r\n", imap_session)
pop3 = over_tls(b"+OK ready\r\n", pop3_session)
pop3_starttls = with_starttls(b"+OK ready\r\n", pop3_session)
