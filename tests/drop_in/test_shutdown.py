"""How connections end: close_notify both ways, in clear afterwards, or a ragged end."""

import errno
import fcntl
import select
import socket
import ssl
import struct
import termios
import threading
from typing import Any

import pytest
from conftest import Certificates
from drop_in.peers import (
    Library,
    client_context,
    connected,
    each_library,
    fact,
    server_context,
    wrap_pair,
)
from pair import TOO_LONG, in_thread, tcp_pair
from wrapped import Wire, each_version

from gnutls_resume import SSLContext

SIDES = pytest.mark.parametrize("side", [0, 1], ids=["client", "server"])
IN_CLEAR = b"220 in clear\r\n"


def pair_of(
    certificates: Certificates, library: Library, version: ssl.TLSVersion, side: int
) -> Wire:
    """The end of this side is the library's, the other the standard library's."""
    libraries = [ssl.SSLContext, ssl.SSLContext]
    libraries[side] = library
    pair = Wire(
        client_context(certificates, libraries[0], version),
        server_context(certificates, libraries[1], version),
    ).handshake()
    pair.say()
    return pair


# -- over BIOs --------------------------------------------------------------------------------


@each_version
@SIDES
def test_unwrap_of_a_bio_goes_step_by_step_as_in_ssl(
    certificates: Certificates, version: ssl.TLSVersion, side: int
) -> None:
    def steps(library: Library) -> list[object]:
        pair = pair_of(certificates, library, version, side)
        one, other = pair.ends[side].object, pair.ends[1 - side].object
        found = [fact(one.unwrap), fact(one.unwrap)]
        pair.move()
        found += [fact(other.read, 10), fact(other.unwrap)]
        pair.move()
        found += [fact(one.unwrap), fact(one.unwrap), one.pending()]
        found += [fact(one.write, b"late"), fact(one.read, 10), fact(one.read, 10, bytearray(10))]
        return found

    assert steps(SSLContext) == steps(ssl.SSLContext)


@each_version
@SIDES
def test_unwrap_after_the_peers_close_notify_as_in_ssl(
    certificates: Certificates, version: ssl.TLSVersion, side: int
) -> None:
    def steps(library: Library) -> list[object]:
        pair = pair_of(certificates, library, version, side)
        one, other = pair.ends[side].object, pair.ends[1 - side].object
        found = [fact(other.unwrap)]
        pair.move()
        found += [fact(one.read, 10), fact(one.read, 10), fact(one.read, 10, bytearray(4))]
        found += [fact(one.write, b"still"), fact(one.unwrap)]
        pair.move()
        # What was written after the peer's close_notify is still his to read.
        return [*found, fact(other.read, 10)[:1], fact(one.unwrap)]

    assert steps(SSLContext) == steps(ssl.SSLContext)


@each_version
@SIDES
@each_library
def test_bytes_in_clear_behind_the_close_notify_come_back_to_the_bio(
    certificates: Certificates, library: Library, version: ssl.TLSVersion, side: int
) -> None:
    pair = pair_of(certificates, library, version, side)
    one, other = pair.ends[side], pair.ends[1 - side]
    with pytest.raises(ssl.SSLWantReadError):
        one.object.unwrap()
    pair.move()
    other.object.unwrap()
    other.outgoing.write(IN_CLEAR)
    pair.move()
    one.object.unwrap()
    assert one.incoming.read() == IN_CLEAR
    assert one.outgoing.read() == b""


@each_version
@each_library
def test_bytes_in_clear_come_back_also_when_only_read_saw_the_close_notify(
    certificates: Certificates, library: Library, version: ssl.TLSVersion
) -> None:
    pair = pair_of(certificates, library, version, 0)
    with pytest.raises(ssl.SSLWantReadError):
        pair.server.unwrap()
    pair.ends[1].outgoing.write(IN_CLEAR)
    pair.move()
    assert pair.client.read(100) == b""
    assert pair.ends[0].incoming.read() == IN_CLEAR
    assert pair.client.read(100) == b""
    pair.client.unwrap()


@each_version
def test_an_end_behind_the_close_notify_does_no_harm(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    pair = pair_of(certificates, SSLContext, version, 0)
    with pytest.raises(ssl.SSLWantReadError):
        pair.server.unwrap()
    pair.ends[1].outgoing.write(IN_CLEAR)  # has nowhere to go back to
    pair.move()
    pair.ends[0].incoming.write_eof()
    assert pair.client.read(10) == b""
    pair.client.unwrap()


@each_library
def test_data_on_the_way_are_dropped_or_told_by_unwrap(
    certificates: Certificates, library: Library
) -> None:
    """OpenSSL tells an error, GnuTLS reads on to the close_notify; both end."""
    pair = pair_of(certificates, library, ssl.TLSVersion.TLSv1_3, 0)
    pair.server.write(b"unread")
    with pytest.raises(ssl.SSLWantReadError):
        pair.server.unwrap()
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.unwrap()
    pair.move()
    assert fact(pair.client.unwrap) in (
        None,
        (ssl.SSLError, 1, "APPLICATION_DATA_AFTER_CLOSE_NOTIFY", "SSL"),
    )


# -- over sockets -----------------------------------------------------------------------------


@each_version
@each_library
def test_starttls_and_back_and_again(
    certificates: Certificates, library: Library, version: ssl.TLSVersion
) -> None:
    """As a CCC of FTP: the peer goes on in clear right behind its close_notify."""
    client = client_context(certificates, library, version)
    server = server_context(certificates, ssl.SSLContext, version)
    one, other = wrap_pair(client, server)

    def serve() -> None:
        other.do_handshake()
        assert other.recv(4) == b"quit"
        raw = other.unwrap()
        raw.sendall(IN_CLEAR)
        assert raw.recv(100) == b"AUTH TLS"
        again = server.wrap_socket(raw, server_side=True)
        again.sendall(b"again")
        again.unwrap().close()

    with in_thread(serve) as errors:
        one.do_handshake()
        one.sendall(b"quit")
        raw = one.unwrap()
        assert raw is one
        assert one._sslobj is None
        assert raw.recv(100) == IN_CLEAR
        raw.sendall(b"AUTH TLS")
        again = client.wrap_socket(raw, server_hostname="localhost")
        assert again.recv(100) == b"again"
        assert again.recv(100) == b""
        again.unwrap().close()
    assert errors == []


@each_version
def test_our_server_goes_back_to_clear(certificates: Certificates, version: ssl.TLSVersion) -> None:
    client = client_context(certificates, ssl.SSLContext, version)
    with connected(client, server_context(certificates, version=version)) as pair:

        def serve() -> None:
            assert pair.server.recv(10) == b""
            raw = pair.server.unwrap()
            raw.sendall(IN_CLEAR)

        with in_thread(serve) as errors:
            raw = pair.client.unwrap()
            assert raw.recv(100) == IN_CLEAR
        assert errors == []


@each_version
def test_unwrap_twice_on_a_socket_as_in_ssl(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    def steps(library: Library) -> list[object]:
        client = client_context(certificates, library, version)
        server = server_context(certificates, ssl.SSLContext, version)
        with connected(client, server) as pair, in_thread(pair.server.unwrap) as errors:
            first = pair.client.unwrap() is pair.client
            found = [first, fact(pair.client.unwrap)[0], pair.client.version()]
        return [*found, errors]

    assert steps(SSLContext) == steps(ssl.SSLContext)


@each_version
@pytest.mark.parametrize("how", [socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR])
def test_shutdown_of_the_socket_drops_tls_as_in_ssl(
    certificates: Certificates, version: ssl.TLSVersion, how: int
) -> None:
    """Trap 16: no close_notify is sent, and the socket is a plain one afterwards."""

    def steps(library: Library) -> list[object]:
        client = client_context(certificates, library, version)
        server = server_context(certificates, ssl.SSLContext, version)
        with connected(client, server) as pair:
            pair.server.sendall(b"data")
            assert pair.client.recv(4) == b"data"
            pair.client.shutdown(how)
            found = [pair.client._sslobj is None, pair.client.version(), pair.client.cipher()]
            pair.client.close()
            pair.server.suppress_ragged_eofs = False
            return [*found, fact(pair.server.recv, 10)]

    assert steps(SSLContext) == steps(ssl.SSLContext)


@each_version
def test_shutdown_with_how_keeps_the_ticket_that_was_read(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    client = client_context(certificates, version=version)
    server = server_context(certificates, ssl.SSLContext, version)
    for number in range(2):
        with connected(client, server) as pair:
            assert pair.client.session_reused == bool(number)
            pair.server.sendall(b"data")
            assert pair.client.recv(4) == b"data"
            pair.client.shutdown(socket.SHUT_RDWR)
            assert pair.client.handshake_kind is not None


@each_version
@SIDES
@pytest.mark.parametrize("suppress", [True, False])
def test_ragged_end_is_told_as_in_ssl(
    certificates: Certificates, version: ssl.TLSVersion, side: int, *, suppress: bool
) -> None:
    """Trap 23, with the behaviour of Python 3.12 and later."""

    def steps(library: Library) -> list[object]:
        libraries = [ssl.SSLContext, ssl.SSLContext]
        libraries[side] = library
        client = client_context(certificates, libraries[0], version)
        server = server_context(certificates, libraries[1], version)
        with connected(client, server) as pair:
            one, other = [pair.client, pair.server][:: -1 if side else 1]
            one.suppress_ragged_eofs = suppress
            other.sendall(b"some")
            assert one.recv(100) == b"some"
            other.shutdown(socket.SHUT_WR)
            calls = [fact(one.recv, 10), fact(one.recv, 10), fact(one.recv_into, bytearray(10))]
            calls.append(fact(one.makefile("rb").read))
            # The standard library gives a reason at the first time only.
            return [call[:2] if isinstance(call, tuple) else call for call in calls]

    assert steps(SSLContext) == steps(ssl.SSLContext)


def test_end_of_a_bio_without_close_notify_is_an_eof_error(certificates: Certificates) -> None:
    pair = pair_of(certificates, SSLContext, ssl.TLSVersion.TLSv1_3, 0)
    pair.server.write(b"some")
    pair.move()
    pair.ends[0].incoming.write_eof()
    assert pair.client.read(10) == b"some"
    for _ in range(2):
        with pytest.raises(ssl.SSLEOFError) as caught:
            pair.client.read(10)
        assert caught.value.args[0] == ssl.SSL_ERROR_EOF
        assert "UNEXPECTED_EOF_WHILE_READING" in caught.value.strerror
        assert caught.value.reason == "UNEXPECTED_EOF_WHILE_READING"
        assert caught.value.library == "SSL"


@each_version
@SIDES
def test_stream_cut_at_every_byte_of_two_records_never_ends_cleanly(
    certificates: Certificates, version: ssl.TLSVersion, side: int
) -> None:
    """Behind a whole record its data are read; then, and inside of one, an SSLEOFError."""
    lengths = [len(b"first"), len(b"second!")]
    pair = pair_of(certificates, SSLContext, version, side)
    pair.ends[1 - side].object.write(b"first")
    end = len(pair.ends[1 - side].outgoing.read())
    whole = 2 * end + lengths[1] - lengths[0]
    for cut in range(whole + 1):
        if end < cut < end + 4 or cut in {0, 1, 4, 5, 6, end - 1, end, whole - 1, whole}:
            pair = pair_of(certificates, SSLContext, version, side)
            one, other = pair.ends[side], pair.ends[1 - side]
            other.object.write(b"first")
            other.object.write(b"second!")
            data = other.outgoing.read()
            assert len(data) == whole
            one.incoming.write(data[:cut])
            one.incoming.write_eof()
            got = b""
            for _ in range(3):
                found = fact(one.object.read, 100)
                if not isinstance(found, bytes):
                    break
                assert found
                got += found
            assert got == b"first" * (cut >= end) + b"second!" * (cut == whole)
            assert found == (ssl.SSLEOFError, 8, "UNEXPECTED_EOF_WHILE_READING", "SSL")


@each_version
@SIDES
def test_reset_comes_out_as_the_systems_error(
    certificates: Certificates, version: ssl.TLSVersion, side: int
) -> None:
    """(The standard library of Python 3.11 takes a reset for an end.)"""
    libraries = [ssl.SSLContext, ssl.SSLContext]
    libraries[side] = SSLContext
    client = client_context(certificates, libraries[0], version)
    server = server_context(certificates, libraries[1], version)
    for reads in (True, False):
        with connected(client, server) as pair:
            one, other = [pair.client, pair.server][:: -1 if side else 1]
            other.sendall(b"some")
            assert one.recv(100) == b"some"
            reset(other)
            if reads:
                assert fact(one.recv, 10) == (ConnectionResetError, errno.ECONNRESET)
                assert fact(one.recv, 10) == b""
                assert issubclass(fact(one.sendall, b"late")[0], OSError)
            else:
                with pytest.raises((ConnectionResetError, BrokenPipeError)):
                    one.sendall(bytes(1_000_000))


@each_version
def test_reset_behind_a_full_record_comes_out_as_the_systems_error(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    """It is found while the record is read, and told by the next call."""
    client = client_context(certificates, version=version)
    server = server_context(certificates, ssl.SSLContext, version)
    with connected(client, server) as pair:
        pair.server.sendall(bytes(16_384))
        while any(fcntl.ioctl(pair.server, termios.TIOCOUTQ, bytes(4))):
            pass  # a reset would drop what has not arrived
        reset(pair.server)
        hangup = select.poll()
        hangup.register(pair.client, 0)
        assert hangup.poll(10_000)
        assert len(pair.client.recv(65_536)) == 16_384
        assert fact(pair.client.recv, 10) == (ConnectionResetError, errno.ECONNRESET)
        assert fact(pair.client.recv, 10) == b""


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.parametrize("end", ["reset", "closed"])
@SIDES
def test_end_in_the_handshake_is_told_as_in_ssl(
    certificates: Certificates, side: int, end: str
) -> None:
    """The peer goes away after it has sent nothing, a part, or has read the first flight."""

    def steps(library: Library, stage: int) -> object:
        context = (client_context, server_context)[side](certificates, library)
        how: dict[str, Any] = {"server_side": True} if side else {"server_hostname": "localhost"}
        one, other = tcp_pair()
        one.settimeout(TOO_LONG)
        wrapped = context.wrap_socket(one, do_handshake_on_connect=False, **how)
        with wrapped, other:
            if stage == 1:
                other.sendall(b"\x16\x03\x03\x00\x7a\x02")
            if side == 0:
                started = threading.Thread(target=lambda: other.recv(10_000))
                started.start()
            else:
                started = threading.Thread(target=lambda: None)
                started.start()

            def leave() -> None:
                started.join(TOO_LONG)
                if end == "reset":
                    reset(other)
                else:
                    other.close()

            with in_thread(leave) as errors:
                found = fact(wrapped.do_handshake)
            assert errors == []
            return found

    for stage in (0, 1):
        assert steps(SSLContext, stage)[:2] == steps(ssl.SSLContext, stage)[:2]  # type: ignore[index]
