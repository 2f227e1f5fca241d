"""An HTTP/1.0 server whose clients resume their TLS sessions: by ticket, or, where a TLS 1.2
client takes no tickets, by session ID. Its workers share both, and so can servers elsewhere: the
ticket keys in a file (python -m gnutls_resume keys new FILE), the sessions in a database.
"""

import argparse
import contextlib
import multiprocessing
import os
import signal
import socket
import ssl
import sys
import threading

import gnutls_resume

ENDS = {signal.SIGTERM, signal.SIGINT}


def open_store(place: str | None, timeout: float) -> gnutls_resume.Store:
    if place is None:
        return gnutls_resume.MemoryStore()
    kind = gnutls_resume.RedisStore if "://" in place else gnutls_resume.SQLiteStore
    return kind(place, timeout=timeout)


def describe(handshake: gnutls_resume.Outcome | None) -> str:
    assert handshake
    reason = f" ({handshake.miss_reason.value})" if handshake.miss_reason else ""
    return f"{handshake.kind.value}{reason}, {handshake.protocol}"


def serve(sock: socket.socket, context: gnutls_resume.SSLContext) -> None:
    """Read a request's head, and answer how its connection came about."""
    sock.settimeout(10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or the end would wait for an ACK
    try:
        with context.wrap_socket(sock, server_side=True) as tls:
            request, how = b"", describe(gnutls_resume.outcome(tls))
            while b"\r\n\r\n" not in request and (data := tls.recv(16384)):
                request = request[-3:] + data
            tls.sendall(f"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n{how}\n".encode())
            print(f"worker {os.getpid()}: {how}\n", end="", flush=True)
            with contextlib.suppress(OSError):  # a client may go without a word
                tls.unwrap()
    except OSError as error:
        print(f"failed: {error}\n", end="", flush=True)


def work(listener: socket.socket, context: gnutls_resume.SSLContext) -> None:
    """Until SIGTERM, and then until all who are connected have been served."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with listener:
        while True:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
            sock, _ = listener.accept()
            # A thread that took the signal would not wake this one.
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            threading.Thread(target=serve, args=(sock, context)).start()


def run(address: tuple[str, int], context: gnutls_resume.SSLContext, number: int) -> None:
    """Fork so many workers, and end them on SIGTERM."""
    fork = multiprocessing.get_context("fork")
    with socket.create_server(address) as listener:
        workers = [fork.Process(target=work, args=(listener, context)) for _ in range(number)]
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)  # or one would come too early for a worker
        for worker in workers:
            worker.start()
        print("listening on {} port {}".format(*listener.getsockname()), flush=True)
        signal.sigwait(ENDS)
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--certificate", required=True, help="PEM file, the chain, leaf first")
    parser.add_argument("--key", required=True, help="PEM file, the private key")
    parser.add_argument("--port", type=int, default=5556, help="0 chooses one (default 5556)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--ticket-keys", metavar="FILE", help="default: keys of these processes")
    parser.add_argument("--no-tickets", action="store_true", help="sessions in the store only")
    parser.add_argument("--sessions", metavar="STORE", help="an SQLite file, or a redis:// URL")
    parser.add_argument("--sealing-key", metavar="FILE", help="for the sessions; Redis needs it")
    parser.add_argument("--store-timeout", type=float, default=0.05, help="seconds (default 0.05)")
    parser.add_argument("--priority", help="a GnuTLS priority string, without versions")
    options = parser.parse_args()

    keys = (
        gnutls_resume.TicketKeyRing.from_file(options.ticket_keys)
        if options.ticket_keys
        else gnutls_resume.DEFAULT
    )
    sealing_key = (
        gnutls_resume.SealingKey.from_file(options.sealing_key) if options.sealing_key else None
    )
    context = gnutls_resume.create_default_context(
        ssl.Purpose.CLIENT_AUTH,
        sessions=open_store(options.sessions, options.store_timeout),
        sealing_key=sealing_key,
        ticket_keys=None if options.no_tickets else keys,
        priority=options.priority,
    )
    context.load_cert_chain(options.certificate, options.key)
    run(("127.0.0.1", options.port), context, options.workers)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, gnutls_resume.StoreError) as error:
        sys.exit(f"failed: {error}")
