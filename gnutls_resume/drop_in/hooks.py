"""What a context's owner has called in a handshake: his sni_callback, and his keylog file."""

import logging
import os
import traceback
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from gnutls_resume.binding import Session
from gnutls_resume.binding._callbacks import warn
from gnutls_resume.drop_in.options import SNICallback
from gnutls_resume.errors import AlertError
from gnutls_resume.resumption.lock import Lock
from gnutls_resume.resumption.outcome import log

if TYPE_CHECKING:
    from gnutls_resume.drop_in.engine import Engine

HANDSHAKE_FAILURE, INTERNAL_ERROR = 40, 80  # alerts, RFC 8446 §6


class RefusedByCallbackError(AlertError):
    """The sni_callback has returned an alert's number, or has failed. A server that waits for
    connections survives an OSError, which this becomes, and not whatever a callback raises.
    """


def sni_hook(engine: "weakref.ref[Engine]", callback: SNICallback) -> Callable[..., None]:
    """The hook that runs a context's sni_callback, once a connection."""
    called = False

    def hook(session: Session, *_: object) -> None:
        nonlocal called
        one = engine()
        if called or one is None:
            return
        called = True
        try:
            answer = callback(one.owner, session.client_hello_server_name(), one.context)
        except Exception as error:  # perhaps of nothing but the name that a client has sent
            # In words: a record that holds the exception would hold its frames, and the socket.
            log(logging.ERROR, "sni_callback failed: %s", traceback.format_exc())
            raise refused_by_callback(HANDSHAKE_FAILURE) from error
        if answer is None:
            one._configure_server()  # noqa: SLF001
        elif isinstance(answer, int):
            raise refused_by_callback(answer)
        else:
            kind = type(answer).__name__
            log(logging.ERROR, "sni_callback must return None or an int, not %s", kind)
            raise refused_by_callback(INTERNAL_ERROR)

    return hook


def refused_by_callback(alert: int) -> RefusedByCallbackError:
    error = RefusedByCallbackError("the sni_callback has refused the server name")
    error.alert = alert
    return error


writing_keys = Lock()


def keylog_for(session: Session, path: str | os.PathLike[str]) -> Callable[[str, bytes], None]:
    """What appends a connection's secrets to a file in the format of NSS."""
    reference = weakref.ref(session)

    def keylog(label: str, secret: bytes) -> None:
        one = reference()
        if one is not None:
            line = f"{label} {one.get_random()[0].hex()} {secret.hex()}\n"
            try:
                with writing_keys, open(path, "a", encoding="ascii") as file:  # noqa: PTH123
                    file.write(line)
            except OSError as error:
                warn("writing the key log", error)

    return keylog
