"""Nothing of ``ssl`` is silently ignored: each public name of its classes, each option and flag
of the running Python stands in a list here, and is what the list says.

A new Python with a new name fails here. Decide: inherited if it works without us, translated if a
connection must know of it, refused if GnuTLS cannot; then say so in docs/defaults.md.
"""

import _ssl
import inspect
import re
import socket
import ssl
import warnings
from pathlib import Path
from types import GetSetDescriptorType
from typing import Any

import pytest

from gnutls_resume import SSLContext, SSLObject, SSLSocket
from gnutls_resume.drop_in import context as module
from gnutls_resume.drop_in import options
from gnutls_resume.drop_in.engine import Engine

DOCS = Path(__file__).parents[2] / "docs" / "defaults.md"

INHERITED = {"load_default_certs", "protocol", "set_servername_callback", "wrap_bio", "wrap_socket"}
READ = {  # the standard library keeps them, each connection looks at them
    "check_hostname",
    "hostname_checks_common_name",
    "keylog_filename",
    "maximum_version",
    "minimum_version",
    "num_tickets",
    "options",
    "post_handshake_auth",
    "sni_callback",
    "verify_flags",
    "verify_mode",
}
OVERRIDDEN = {
    "cert_store_stats",
    "get_ca_certs",
    "get_ciphers",
    "load_cert_chain",
    "load_verify_locations",
    "session_stats",
    "set_alpn_protocols",
    "set_ciphers",
    "set_default_verify_paths",
    "sslobject_class",
    "sslsocket_class",
}
REFUSED: dict[str, tuple[Any, ...]] = {  # with arguments
    "load_dh_params": ("dh.pem",),
    "set_ecdh_curve": ("prime256v1",),
    "set_npn_protocols": (["spdy"],),
    "security_level": (),
}
NEWER_REFUSED: dict[str, tuple[Any, ...]] = {  # not in all Pythons
    "set_psk_client_callback": (print,),  # 3.13
    "set_psk_server_callback": (print,),
    "get_groups": (),  # 3.15, these too
    "set_groups": ("P-256",),
    "set_ciphersuites": ("TLS_AES_128_GCM_SHA256",),
    "set_client_sigalgs": ("ed25519",),
    "set_server_sigalgs": ("ed25519",),
}
OURS = {"sealing_key", "stats"}

# The standard library's own code, over 21 names of the engine and what came later.
SOCKET = {
    "accept", "cipher", "compression", "connect", "connect_ex", "context", "do_handshake", "dup",
    "get_channel_binding", "getpeercert", "pending", "read", "recv", "recv_into", "recvfrom",
    "recvfrom_into", "recvmsg", "recvmsg_into", "selected_alpn_protocol",
    "selected_npn_protocol", "send", "sendall", "sendfile", "sendmsg", "sendto", "session",
    "session_reused", "shared_ciphers", "shutdown", "unwrap", "verify_client_post_handshake",
    "version", "write",
}  # fmt: skip
OBJECT = {
    "cipher", "compression", "context", "do_handshake", "get_channel_binding", "getpeercert",
    "pending", "read", "selected_alpn_protocol", "selected_npn_protocol", "server_hostname",
    "server_side", "session", "session_reused", "shared_ciphers", "unwrap",
    "verify_client_post_handshake", "version", "write",
}  # fmt: skip
NEWER = {
    "get_unverified_chain", "get_verified_chain",  # 3.13
    "client_sigalg", "group", "server_sigalg",  # 3.15
}  # fmt: skip
ENGINE = {
    "cipher", "compression", "context", "do_handshake", "get_channel_binding",
    "get_unverified_chain", "get_verified_chain", "getpeercert", "owner", "pending", "read",
    "selected_alpn_protocol", "server_hostname", "server_side", "session", "session_reused",
    "shared_ciphers", "shutdown", "verify_client_post_handshake", "version", "write",
    "client_sigalg", "group", "server_sigalg",
}  # fmt: skip
OWN_OF_CONNECTIONS = {"handshake_kind", "miss_reason", "outcome"}

REFUSED_OPTIONS = {"OP_ENABLE_KTLS"}
REFUSED_FLAGS = {"VERIFY_ALLOW_PROXY_CERTS"}


def public(*names: type) -> set[str]:
    return {name for one in names for name in dir(one) if not name.startswith("_")}


def context_names() -> set[str]:
    # _ssl._SSLContext's, for what ssl.SSLContext does not show.
    return public(ssl.SSLContext, _ssl._SSLContext)


def test_each_name_of_a_context_is_listed() -> None:
    listed = INHERITED | READ | OVERRIDDEN | REFUSED.keys()
    assert context_names() - listed - NEWER_REFUSED.keys() == set()
    assert listed - context_names() == set()


def test_no_name_is_in_two_lists() -> None:
    lists = [INHERITED, READ, OVERRIDDEN, set(REFUSED), set(NEWER_REFUSED), OURS]
    assert len(set.union(*lists)) == sum(map(len, lists))


def test_a_context_has_no_other_names_of_its_own() -> None:
    assert public(SSLContext) - context_names() == OURS


def test_inherited_names_are_the_standard_library_s() -> None:
    for name in INHERITED | READ:
        assert name not in vars(SSLContext)
        assert getattr(SSLContext, name) is getattr(ssl.SSLContext, name)


def test_overridden_names_are_ours() -> None:
    for name in OVERRIDDEN | {"_wrap_socket", "_wrap_bio"}:
        assert name in vars(SSLContext)


def test_each_setting_is_looked_at_by_each_connection() -> None:
    """All that can be written to, in C or in Python, however it is written to."""
    watched = {read.__self__.__name__ for read in module.INHERITED}
    fixed = {"protocol", "security_level", "session_stats"}
    settings = {
        name
        for name, member in vars(_ssl._SSLContext).items()
        if isinstance(member, GetSetDescriptorType)
    }
    assert settings - fixed - {"_msg_callback"} == watched
    properties = {
        name for name, member in vars(ssl.SSLContext).items() if isinstance(member, property)
    }
    assert properties - watched == {"hostname_checks_common_name", "protocol", "_msg_callback"}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        (name, arguments)
        for name, arguments in {**REFUSED, **NEWER_REFUSED}.items()
        if hasattr(ssl.SSLContext, name)
    ],
)
def test_what_is_refused_says_what_to_use(name: str, arguments: tuple[Any, ...]) -> None:
    context = SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(NotImplementedError, match=r"priority=|ALPN|alpn|PSKs") as raised:
        getattr(context, name)(*arguments)
    assert str(raised.value).startswith((name, "NPN"))


@pytest.mark.parametrize("name", NEWER_REFUSED)
def test_hasattr_tells_what_this_python_has(name: str) -> None:
    assert hasattr(SSLContext, name) == hasattr(ssl.SSLContext, name)


def test_messages_are_not_shown() -> None:
    """A private name, and it would be silent."""
    context = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(NotImplementedError, match="handshake_set_hook_function"):
        context._msg_callback = print  # type: ignore[method-assign, assignment]
    context._msg_callback = None  # type: ignore[method-assign, assignment]
    assert context._msg_callback is None


def test_each_name_of_a_socket_is_listed() -> None:
    own = {name for name in vars(ssl.SSLSocket) if not name.startswith("_")}
    new = public(ssl.SSLSocket) - public(socket.socket)
    assert (own | new) - NEWER == SOCKET
    assert public(SSLSocket) - public(ssl.SSLSocket) == OWN_OF_CONNECTIONS


def test_each_name_of_an_object_is_listed() -> None:
    assert public(ssl.SSLObject) - NEWER == OBJECT
    assert public(SSLObject) - public(ssl.SSLObject) == OWN_OF_CONNECTIONS


def test_sockets_and_objects_override_nothing_public() -> None:
    for one, base in ((SSLSocket, ssl.SSLSocket), (SSLObject, ssl.SSLObject)):
        assert not {name for name in vars(one) if hasattr(base, name)} - {
            "__doc__",
            "__module__",
            "_real_close",
            "__annotations__",
            "__annotate_func__",
            "__static_attributes__",
            "__firstlineno__",
        }


def test_the_engine_has_each_name_of_what_it_stands_for() -> None:
    assert public(_ssl._SSLSocket) - ENGINE == set()
    client = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    engine = client.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="a")._sslobj
    assert isinstance(engine, Engine)
    for name in ENGINE:
        assert hasattr(engine, name), name


def test_the_standard_library_calls_no_other_name_of_the_engine() -> None:
    """ssl.py is read: also private code paths of a new Python must find what they call."""
    source = inspect.getsource(ssl)
    assert set(re.findall(r"_sslobj\.(\w+)", source)) - ENGINE == set()


def test_each_option_is_translated_inert_or_refused() -> None:
    known = options.TRANSLATED_OPTIONS | options.INERT_OPTIONS
    assert not options.TRANSLATED_OPTIONS & options.INERT_OPTIONS
    for name in [name for name in dir(ssl) if name.startswith("OP_")]:
        value = int(getattr(ssl, name))
        assert (value & ~known == 0) == (name not in REFUSED_OPTIONS), name


def test_each_verify_flag_is_translated_or_refused() -> None:
    for name in [name for name in dir(ssl) if name.startswith("VERIFY_")]:
        value = int(getattr(ssl, name))
        assert (value & ~options.VERIFY_FLAGS == 0) == (name not in REFUSED_FLAGS), name


@pytest.mark.parametrize("name", sorted(REFUSED_OPTIONS))
def test_refused_options_are_refused_at_once(name: str) -> None:
    if not hasattr(ssl, name):
        return
    context = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    before = context.options
    with pytest.raises(NotImplementedError, match=name):
        context.options |= getattr(ssl, name)
    assert context.options == before


@pytest.mark.parametrize("name", sorted(REFUSED_FLAGS))
def test_refused_flags_are_refused_at_once(name: str) -> None:
    context = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    before = context.verify_flags
    with pytest.raises(NotImplementedError, match=name):
        context.verify_flags |= getattr(ssl, name)
    assert context.verify_flags == before


def test_each_version_and_protocol_is_known() -> None:
    limits = {ssl.TLSVersion.MINIMUM_SUPPORTED, ssl.TLSVersion.MAXIMUM_SUPPORTED}
    assert set(ssl.TLSVersion) - limits - {ssl.TLSVersion.SSLv3} == options.VERSIONS.keys()
    both = {ssl.PROTOCOL_TLS, ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER}
    old = {protocol for protocol in ssl._SSLMethod if protocol not in both}  # type: ignore[attr-defined]
    names = {protocol.name for protocol in old} - {"PROTOCOL_SSLv2", "PROTOCOL_SSLv3"}
    assert names == {"PROTOCOL_TLSv1", "PROTOCOL_TLSv1_1", "PROTOCOL_TLSv1_2"}
    assert {getattr(ssl, name) for name in names} == options.ONE_VERSION.keys() - {None}


def test_the_docs_name_all_that_is_refused_or_inert() -> None:
    text = DOCS.read_text()
    named = {*REFUSED, *NEWER_REFUSED, *REFUSED_OPTIONS, *REFUSED_FLAGS, "set_ciphers"}
    named |= {
        name
        for name in dir(ssl)
        if name.startswith("OP_") and int(getattr(ssl, name)) & options.INERT_OPTIONS
    }
    assert {name for name in named if f"`{name}`" not in text} == set()


def test_warnings_for_deprecated_settings_are_the_standard_library_s() -> None:
    def warned(kind: type[ssl.SSLContext], name: str, value: object) -> list[str]:
        context = kind(ssl.PROTOCOL_TLS_CLIENT)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            setattr(context, name, value)
        return [str(one.message) for one in caught]

    for name, value in (
        ("minimum_version", ssl.TLSVersion.TLSv1),
        ("minimum_version", ssl.TLSVersion.TLSv1_1),
        ("options", ssl.OP_NO_TLSv1),
        ("options", ssl.OP_NO_TLSv1_3 | ssl.OP_NO_SSLv3),
    ):
        theirs = warned(ssl.SSLContext, name, value)
        assert theirs
        assert warned(SSLContext, name, value) == theirs
