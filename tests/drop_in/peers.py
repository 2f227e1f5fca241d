"""Two ends of one connection: our context and the standard library's on either side.

Over BIOs they meet in `wrapped.Wire`. Over sockets the server's part runs in a thread; every
socket has a timeout, so that nothing waits for ever.
"""

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from conftest import HOST, Certificates
from pair import TOO_LONG, in_thread, tcp_pair

from gnutls_resume import MemoryStore, SSLContext

# One end is tested; the other is the standard library's, and so is the reference.
each_library = pytest.mark.parametrize("library", [SSLContext, ssl.SSLContext], ids=["ours", "ssl"])
Library = type[ssl.SSLContext]


def restricted(context: Any, version: ssl.TLSVersion | None) -> Any:
    if version is not None:
        context.minimum_version = context.maximum_version = version
    # From Python 3.12 on it is off: an end without close_notify is told.
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    return context


def client_context(
    certificates: Certificates,
    library: Library = SSLContext,
    version: ssl.TLSVersion | None = None,
    **options: Any,
) -> Any:
    """Trusts the authority of the tests. Ours remembers in a store of its own."""
    if issubclass(library, SSLContext):
        options.setdefault("sessions", MemoryStore())
    context = library(ssl.PROTOCOL_TLS_CLIENT, **options)
    context.load_verify_locations(certificates.trust_file)
    return restricted(context, version)


def server_context(
    certificates: Certificates,
    library: Library = SSLContext,
    version: ssl.TLSVersion | None = None,
    **options: Any,
) -> Any:
    context = library(ssl.PROTOCOL_TLS_SERVER, **options)
    context.load_cert_chain(certificates.certificate_file, certificates.key_file)
    return restricted(context, version)


def wanting_certificates(
    context: Any, certificates: Certificates, mode: ssl.VerifyMode = ssl.CERT_REQUIRED
) -> Any:
    context.load_verify_locations(certificates.trust_file)
    context.verify_mode = mode
    return context


def with_certificate(context: Any, certificates: Certificates) -> Any:
    """The context with the client's certificate."""
    file = certificates.folder / "client.pem"
    file.write_bytes(certificates.client_key + certificates.client_certificate)
    context.load_cert_chain(file)
    return context


# -- what a call did --------------------------------------------------------------------------


def told(error: BaseException) -> tuple[object, ...]:
    """What programs look at in an exception."""
    if isinstance(error, ssl.SSLError):
        return type(error), int(error.args[0]), error.reason, error.library
    if isinstance(error, OSError) and error.errno is not None:
        return type(error), error.errno
    text = str(error)
    return type(error), text.rpartition(": ")[2] if text.startswith("_ssl.c:") else text


def fact(call: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    """What a call returned, or what is told of its exception."""
    try:
        return call(*args, **keywords)
    except Exception as error:
        return told(error)


def failure(call: Callable[..., Any], *args: Any, **keywords: Any) -> BaseException:
    """The exception of a call that must fail."""
    with pytest.raises(Exception) as caught:
        call(*args, **keywords)
    return caught.value


# -- over sockets -----------------------------------------------------------------------------


@dataclass
class Sockets:
    client: Any
    server: Any


def wrap_pair(
    client: Any,
    server: Any,
    *,
    hostname: str | None = HOST,
    session: Any = None,
    timeout: float | None = TOO_LONG,
    **how: Any,
) -> tuple[Any, Any]:
    """Both ends, before their handshakes."""
    one, other = tcp_pair()
    for sock in (one, other):
        sock.settimeout(timeout)
    wrapped = client.wrap_socket(
        one, server_hostname=hostname, session=session, do_handshake_on_connect=False, **how
    )
    return wrapped, server.wrap_socket(other, server_side=True, do_handshake_on_connect=False)


@contextmanager
def connected(client: Any, server: Any, **how: Any) -> Iterator[Sockets]:
    """Both ends after their handshakes."""
    one, other = wrap_pair(client, server, **how)
    with one, other:
        with in_thread(other.do_handshake) as errors:
            one.do_handshake()
        assert errors == []
        yield Sockets(one, other)


def socket_outcomes(
    client: Any, server: Any, **how: Any
) -> tuple[BaseException | None, BaseException | None]:
    """The error, or None, of both handshakes; one read tells a TLS 1.3 client of a refusal."""
    one, other = wrap_pair(client, server, **how)

    def shake(sock: Any, errors: list[BaseException]) -> None:
        try:
            sock.do_handshake()
            if not errors and sock is one:
                sock.settimeout(0.2)
                with contextlib.suppress(TimeoutError):
                    sock.read(1)
        except Exception as error:
            errors.append(error)

    theirs: list[BaseException] = []
    mine: list[BaseException] = []
    with one, other:
        thread = threading.Thread(target=shake, args=(other, theirs))
        thread.start()
        shake(one, mine)
        thread.join(TOO_LONG)
        assert not thread.is_alive()
    return (mine or [None])[0], (theirs or [None])[0]


def resumed(client: Any, server: Any, **how: Any) -> bool:
    """One connection with data; whether both say that it was resumed."""
    with connected(client, server, **how) as pair:
        pair.client.sendall(b"ping")
        assert pair.server.recv(4) == b"ping"
        pair.server.sendall(b"pong")
        assert pair.client.recv(4) == b"pong"
        assert pair.client.session_reused == pair.server.session_reused
        return bool(pair.client.session_reused)
