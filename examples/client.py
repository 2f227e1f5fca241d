"""Fetch a page over HTTP/1.0 and TLS, and resume the session of an earlier run.

Sessions are kept in an SQLite database that only its owner can read: they are secret. Any number
of runs may share it. A TLS 1.3 ticket is used once, so that nobody can link two connections by it
(RFC 8446 C.4).
"""

import argparse
import contextlib
import socket
import ssl
import sys

import gnutls_resume


def make_context(options: argparse.Namespace) -> gnutls_resume.SSLContext:
    sessions = gnutls_resume.SQLiteStore(options.sessions, timeout=1) if options.sessions else None
    context = gnutls_resume.create_default_context(cafile=options.trust, sessions=sessions)
    if options.tls:
        version = ssl.TLSVersion["TLSv" + options.tls.replace(".", "_")]
        context.minimum_version = context.maximum_version = version
    if options.no_tickets:
        context.options |= ssl.OP_NO_TICKET
    return context


def fetch(tls: ssl.SSLSocket, host: str, path: str) -> bytes:
    tls.sendall(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
    page = b""
    while data := tls.recv(16384):
        page += data
    with contextlib.suppress(OSError):  # the server may be gone
        tls.unwrap()
    return page


def describe(handshake: gnutls_resume.Outcome | None) -> str:
    assert handshake
    reason = f" ({handshake.miss_reason.value})" if handshake.miss_reason else ""
    return f"{handshake.kind.value}{reason}, {handshake.protocol}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("path", nargs="?", default="/")
    parser.add_argument("--trust", help="PEM file of authorities (default: the system's)")
    parser.add_argument("--sessions", metavar="FILE", help="keeps sessions from run to run")
    parser.add_argument("--name", help="the name in the certificate (default: the host)")
    parser.add_argument("--tls", choices=["1.2", "1.3"], help="this version of TLS only")
    parser.add_argument("--no-tickets", action="store_true", help="resume by session ID only")
    options = parser.parse_args()
    name = options.name or options.host

    context = make_context(options)
    with (
        socket.create_connection((options.host, options.port), timeout=10) as sock,
        # A page that ends without a close_notify may have been cut.
        context.wrap_socket(sock, server_hostname=name, suppress_ragged_eofs=False) as tls,
    ):
        sys.stdout.buffer.write(fetch(tls, name, options.path))
        print(describe(gnutls_resume.outcome(tls)), file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, gnutls_resume.StoreError) as error:
        sys.exit(f"failed: {error}")
