"""Fetch a page over HTTP/1.0 and TLS, and resume the session of the last run.

The session is kept in a file that only its owner can read: it holds secrets. A TLS 1.3 ticket is
used once, so that nobody can link two connections by it (RFC 8446 C.4).
"""

import argparse
import os
import socket
import sys
from pathlib import Path

from gnutls_resume.binding import Credentials, InitFlag, Session
from gnutls_resume.errors import GnuTLSError, InvalidSessionError, VerificationError


def load(path: Path, session: Session) -> None:
    """Offer what the last run has left, if it is of any use, and use it up."""
    try:
        session.set_data(path.read_bytes())
    except FileNotFoundError:
        return
    except (InvalidSessionError, ValueError) as error:
        print(f"the stored session is of no use: {error}", file=sys.stderr)
    path.unlink()


def save(path: Path, data: bytes | None) -> None:
    """Replace the file in one step, so that no reader ever finds half a session."""
    if data is None:
        return
    part = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    part.rename(path)


def fetch(session: Session, host: str, path: str) -> bytes:
    request = f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode()
    session.record_send(request)
    page = b""
    while data := session.record_recv():
        page += data
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("path", nargs="?", default="/")
    parser.add_argument("--trust", help="PEM file of authorities (default: the system's)")
    parser.add_argument("--session", type=Path, help="file that keeps the session between runs")
    parser.add_argument("--name", help="the name in the certificate (default: the host)")
    parser.add_argument("--priority", help="a GnuTLS priority string")
    parser.add_argument("--no-tickets", action="store_true", help="resume by session ID only")
    options = parser.parse_args()
    name = options.name or options.host

    credentials = Credentials(trust=options.trust)
    if options.trust is None:
        credentials.set_x509_system_trust()
    flags = InitFlag.NO_TICKETS if options.no_tickets else InitFlag.NONE
    with (
        socket.create_connection((options.host, options.port), timeout=10) as sock,
        Session("client", credentials, priority=options.priority, flags=flags) as session,
    ):
        session.attach(sock)
        session.server_name_set(name)
        session.set_verify_cert(name)
        if options.session:
            load(options.session, session)
        session.handshake()
        # GnuTLS verifies nothing on a resumed session: the chain may have expired meanwhile.
        if status := session.certificate_verify_peers(name):
            raise VerificationError(f"the certificate is not valid any more: {status!r}")
        sys.stdout.buffer.write(fetch(session, name, options.path))
        how = "Reused" if session.is_resumed() else "New"
        print(how, session.get_desc(), file=sys.stderr)
        if options.session:
            save(options.session, session.get_data())
        session.bye()


if __name__ == "__main__":
    try:
        main()
    except (GnuTLSError, OSError, ValueError) as error:
        sys.exit(f"failed: {error}")
