"""What an entry of the server's session database tells about itself."""

from gnutls_resume.binding import envelope
from gnutls_resume.binding._arguments import BytesLike
from gnutls_resume.binding._ffi import lib

__all__ = [
    "db_check_entry_expire_time",
    "db_check_entry_time",
    "db_get_default_cache_expiration",
]


def db_check_entry_time(data: BytesLike) -> int:
    """When the session in `data` was made, in Unix seconds
    (``gnutls_db_check_entry_time``, kept in the envelope's header).

    Raises TypeError, ValueError or InvalidSessionError for what is no envelope; whether it is
    intact only its use shows.
    """
    return envelope.read_header(data).created


def db_check_entry_expire_time(data: BytesLike) -> int:
    """When the session in `data` expires, in Unix seconds
    (``gnutls_db_check_entry_expire_time``, kept in the envelope's header).

    Raises as ``db_check_entry_time`` does.
    """
    return envelope.read_header(data).expires


def db_get_default_cache_expiration() -> int:
    """Seconds that a session may be resumed where nobody said otherwise: 21,600
    (``gnutls_db_get_default_cache_expiration``).
    """
    return lib.gnutls_db_get_default_cache_expiration()
