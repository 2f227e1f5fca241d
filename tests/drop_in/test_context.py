"""The context: what it loads, what it makes of its settings and when it looks at them again."""

import copy
import gc
import os
import pickle
import ssl
import sys
import threading
import time
import tracemalloc
import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import certify
import pytest
from certify import Issued
from conftest import HOST
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from interop.programs import find, run
from wrapped import TLS12, TLS13, Wire, connect, lax_context

from gnutls_resume import MemoryStore, SealingKey, SSLContext, create_default_context
from gnutls_resume.binding.envelope import MAX_LIFETIME
from gnutls_resume.drop_in import resuming
from gnutls_resume.resumption import ticket_keys, trust
from gnutls_resume.resumption.ticket_keys import TicketKeyRing

BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
PHA, SUPPORTED_VERSIONS, SESSION_TICKET, ALPN = 49, 43, 35, 16  # extensions


@dataclass(frozen=True)
class World:
    """An authority, a chain of three and some files."""

    folder: Path
    root: Issued
    middle: Issued
    leaf: Issued
    stranger: Issued

    def file(self, name: str, *pieces: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(b"".join(pieces))
        return path

    def pair_file(self, *chain: Issued) -> Path:
        """A chain and its key, with a name of its own."""
        name = f"{chain[0].certificate.serial_number:x}"
        return self.file(name, *(one.pem for one in chain), chain[0].key_pem)

    def stdlib_server(self, *chain: Issued) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pair_file(*(chain or (self.leaf, self.middle))))
        return context

    def client(self, kind: type[ssl.SSLContext] = SSLContext) -> Any:
        context = kind(ssl.PROTOCOL_TLS_CLIENT)
        if isinstance(context, SSLContext):
            context = SSLContext(ssl.PROTOCOL_TLS_CLIENT, sessions=MemoryStore())
        context.load_verify_locations(cadata=self.root.pem.decode())
        return context

    def server(self) -> SSLContext:
        context = SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pair_file(self.leaf, self.middle))
        return context


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = certify.issue("root", ca=True)
    middle = certify.issue("middle", root, ca=True)
    return World(
        folder=tmp_path_factory.mktemp("world"),
        root=root,
        middle=middle,
        leaf=certify.issue("leaf", middle, names=[HOST]),
        stranger=certify.issue("stranger", names=[HOST]),
    )


def works(client: ssl.SSLContext, server: ssl.SSLContext, name: str | None = HOST) -> bool:
    """Whether both ends come through."""
    made = Wire(client, server, name)
    errors = made.outcomes()
    if errors == (None, None):
        made.exchange()
        return True
    assert isinstance(errors[0], ssl.SSLError) or isinstance(errors[1], ssl.SSLError), errors
    return False


def told(call: Callable[[], object]) -> tuple[type[BaseException] | None, object]:
    """What came out: nothing, or the exception's kind and library."""
    try:
        call()
    except Exception as error:
        return type(error), getattr(error, "library", None)
    return None, None


# -- settings are read anew after a change --------------------------------------------------------

Probe = Callable[[World, Any], Any]


def offers(extension: int) -> Probe:
    return lambda world, context: extension in probed(world, context).extensions


def offers_tls_1_2(world: World, context: Any) -> bool:
    return b"\3\3" in probed(world, context).extensions[SUPPORTED_VERSIONS]


def probed(world: World, context: ssl.SSLContext) -> Wire:
    made = Wire(context, world.stdlib_server())
    made.outcomes()
    return made


def accepts(*chain: str, name: str = HOST) -> Probe:
    def probe(world: World, context: Any) -> bool:
        shown = [getattr(world, one) for one in chain] or [world.leaf, world.middle]
        return works(context, world.stdlib_server(*shown), name)

    return probe


def accepts_common_name(world: World, context: Any) -> bool:
    return works(context, world.stdlib_server(certify.issue(HOST, world.root)))


def logs(world: World, context: Any) -> bool:
    probed(world, context)
    path = world.folder / "keys"
    return path.exists() and len(path.read_text().splitlines()) > 1


def serves(world: World, context: Any) -> bool:
    return works(world.client(ssl.SSLContext), context)


def chooses(world: World, context: Any) -> str:
    client = world.client(ssl.SSLContext)
    client.maximum_version = TLS12
    client.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256")
    return str(connect(client, context).server.cipher()[0])


def ticket_count(world: World, context: Any) -> int:
    seen: list[int] = []
    client = world.client(ssl.SSLContext)
    client._msg_callback = lambda *about: seen.append(about[4])
    connect(client, context)
    return seen.count(4)


def refuse(*_: object) -> int:
    return int(ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)


def without_ticket(context: ssl.SSLContext) -> int:
    return context.options | ssl.OP_NO_TICKET


SETTINGS: dict[str, tuple[str, Any, Probe, Any, Any]] = {
    # the setting, its new value, how it shows, before, after
    "minimum_version": ("minimum_version", TLS13, offers_tls_1_2, True, False),
    "maximum_version": ("maximum_version", TLS12, offers(SUPPORTED_VERSIONS), True, False),
    "options": ("options", without_ticket, offers(SESSION_TICKET), True, False),
    "post_handshake_auth": ("post_handshake_auth", True, offers(PHA), False, True),
    "check_hostname": ("check_hostname", False, accepts(name="other.example"), False, True),
    "verify_flags": (
        "verify_flags",
        lambda context: context.verify_flags | ssl.VERIFY_CRL_CHECK_LEAF,
        accepts(),
        True,
        False,
    ),
    "hostname_checks_common_name": (
        "hostname_checks_common_name",
        False,
        accepts_common_name,
        True,
        False,
    ),
    "keylog_filename": ("keylog_filename", "keys", logs, False, True),
    "num_tickets": ("num_tickets", 3, ticket_count, 2, 3),
    "verify_mode": ("verify_mode", ssl.CERT_REQUIRED, serves, True, False),
    "sni_callback": ("sni_callback", refuse, serves, True, False),
    "server's options": (
        "options",
        lambda context: context.options & ~ssl.OP_CIPHER_SERVER_PREFERENCE,
        chooses,
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    ),
}
SERVERS = {"num_tickets", "verify_mode", "sni_callback", "server's options"}


@pytest.mark.parametrize("way", ["attribute", "ssl.SSLContext", "_ssl._SSLContext"])
@pytest.mark.parametrize("case", SETTINGS)
def test_a_setting_counts_from_the_next_connection(
    world: World, case: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever way it is changed: a stale one would go on accepting whom it must not."""
    name, value, probe, before, after = SETTINGS[case]
    monkeypatch.chdir(world.folder)
    (world.folder / "keys").unlink(missing_ok=True)
    context = world.server() if case in SERVERS else world.client()
    if name == "verify_mode":
        context.load_verify_locations(cadata=world.root.pem.decode())
    for _ in range(2):
        assert probe(world, context) == before
    old = getattr(context, name)
    new = value(context) if callable(value) and name != "sni_callback" else value

    def change(to: Any) -> None:
        if way == "attribute":
            setattr(context, name, to)
        elif way == "ssl.SSLContext" or name == "hostname_checks_common_name":
            getattr(ssl.SSLContext, name).__set__(context, to)
        else:
            getattr(ssl.SSLContext.__base__, name).__set__(context, to)

    change(new)
    for _ in range(2):
        assert probe(world, context) == after
    if name != "keylog_filename":
        change(old)
        assert probe(world, context) == before


def test_a_client_that_gets_strict_accepts_nobody_it_accepted_before(world: World) -> None:
    """Nor does it resume with him."""
    server = world.server()
    server.load_cert_chain(world.pair_file(world.stranger))
    client = lax_context(sessions=MemoryStore())
    client.load_verify_locations(cadata=world.root.pem.decode())
    connect(client, server)
    assert connect(client, server).resumed == (True, True)
    client.verify_mode = ssl.CERT_REQUIRED
    error, _ = Wire(client, server).outcomes()
    assert isinstance(error, ssl.SSLCertVerificationError)
    assert error.session_offered is False  # type: ignore[attr-defined]


def shows(world: World, context: ssl.SSLContext) -> bool:
    """Whether the client has a certificate for a server that asks."""
    server = world.stdlib_server()
    server.load_verify_locations(cadata=world.root.pem.decode())
    server.verify_mode = ssl.CERT_OPTIONAL
    return connect(context, server).server.getpeercert(binary_form=True) is not None


METHODS: dict[str, tuple[Callable[[World, Any], object], Probe, Any, Any]] = {
    "load_verify_locations": (
        lambda world, context: context.load_verify_locations(cadata=world.stranger.pem.decode()),
        accepts("stranger"),
        False,
        True,
    ),
    "load_default_certs": (
        lambda _, context: context.load_default_certs(),
        accepts("stranger"),
        False,
        True,
    ),
    "set_default_verify_paths": (
        lambda _, context: context.set_default_verify_paths(),
        accepts("stranger"),
        False,
        True,
    ),
    "set_alpn_protocols": (
        lambda _, context: context.set_alpn_protocols(["h2"]),
        offers(ALPN),
        False,
        True,
    ),
    "load_cert_chain": (
        lambda world, context: context.load_cert_chain(world.pair_file(world.leaf, world.middle)),
        shows,
        False,
        True,
    ),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_counts_from_the_next_connection(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, probe, before, after = METHODS[name]
    monkeypatch.setenv("SSL_CERT_FILE", str(world.file("stranger", world.stranger.pem)))
    context = world.client()
    for _ in range(2):
        assert probe(world, context) == before
    change(world, context)
    for _ in range(2):
        assert probe(world, context) == after


def test_nothing_is_read_again_without_a_change(world: World) -> None:
    context = world.client()
    first, _ = context._connection(server_side=False)
    again, _ = context._connection(server_side=False)
    assert again is first


def test_settings_hold_while_other_threads_connect(world: World) -> None:
    """What a thread has set, it gets, however many others read the settings meanwhile."""
    context = lax_context()
    context.load_verify_locations(cadata=world.root.pem.decode())
    stop = threading.Event()
    seen: set[ssl.VerifyMode] = set()

    def read() -> None:
        while not stop.is_set():
            seen.add(context._connection(server_side=False)[0].verify_mode)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=read) for _ in range(3)]
    try:
        for thread in threads:
            thread.start()
        for number in range(400):
            mode = ssl.CERT_REQUIRED if number % 2 else ssl.CERT_NONE
            if number % 3:
                context.verify_mode = mode
            else:
                ssl.SSLContext.verify_mode.__set__(context, mode)  # type: ignore[attr-defined]
            assert context._connection(server_side=False)[0].verify_mode == mode
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    assert seen == {ssl.CERT_NONE, ssl.CERT_REQUIRED}


def test_threads_that_load_lose_nothing_of_each_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither begins with what the other is about to replace."""
    context = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    both, join = threading.Barrier(2), trust.Trust.__or__

    def joined(one: trust.Trust, other: trust.Trust) -> trust.Trust:
        if one is context._trust:
            with suppress(threading.BrokenBarrierError):  # the second waits outside
                both.wait(0.2)
        return join(one, other)

    monkeypatch.setattr(trust.Trust, "__or__", joined)
    threads = [
        threading.Thread(target=context.load_verify_locations, kwargs={"cadata": one.der})
        for one in (world.root, world.stranger)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert context.cert_store_stats()["x509"] == 2


# -- load_cert_chain ------------------------------------------------------------------------------


def encrypted(one: Issued, password: bytes, form: str = "PKCS8") -> bytes:
    return bytes(
        one.key.private_bytes(
            serialization.Encoding.PEM,
            getattr(serialization.PrivateFormat, form),
            serialization.BestAvailableEncryption(password),
        )
    )


def both_chains(world: World, *arguments: Any) -> list[tuple[Any, object]]:
    """What loading does in a context of ours, and in the standard library's."""
    return [
        told(lambda kind=kind: kind(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*arguments))
        for kind in (SSLContext, ssl.SSLContext)
    ]


@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
@pytest.mark.parametrize(
    "password",
    [
        "sécret",
        "sécret".encode(),
        bytearray("sécret".encode()),
        lambda: "sécret",
        "sécret".encode,
        lambda: bytearray("sécret".encode()),
    ],
    ids=["str", "bytes", "bytearray", "str()", "bytes()", "bytearray()"],
)
def test_an_encrypted_key_is_served(world: World, password: Any, form: str) -> None:
    key = world.file("key", encrypted(world.leaf, "sécret".encode(), form))
    certificate = world.file("certificate", world.leaf.pem, world.middle.pem)
    server = SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key, password)
    assert works(world.client(ssl.SSLContext), server)


def fail() -> str:
    raise LookupError("no password today")


@pytest.mark.parametrize(
    "password",
    [
        "wrong",
        "",
        b"wrong",
        3,
        memoryview(b"secret"),
        "x" * 1025,
        fail,
        lambda: "wrong",
        lambda: None,
        lambda: 3,
        lambda: "x" * 1025,
        lambda _: "secret",
    ],
    ids=repr,
)
def test_a_password_that_does_not_fit_is_the_standard_library_s_error(
    world: World, password: Any
) -> None:
    key = world.file("key", encrypted(world.leaf, b"secret"))
    certificate = world.file("certificate", world.leaf.pem)
    ours, theirs = both_chains(world, certificate, key, password)
    assert ours == theirs
    assert ours[0] is not None


def test_a_password_is_asked_for_once_and_only_where_it_is_needed(world: World) -> None:
    asked: list[int] = []

    def password() -> str:
        asked.append(1)
        return "secret"

    certificate = world.file("certificate", world.leaf.pem)
    context = SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, world.file("plain", world.leaf.key_pem), password)
    assert asked == []
    key = world.file("key", encrypted(world.leaf, b"secret"))
    context.load_cert_chain(certificate, key, password)
    assert asked == [1]


def test_without_a_password_the_terminal_is_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[str] = []

    def answer(prompt: str) -> str:
        prompts.append(prompt)
        return "secret"

    monkeypatch.setattr("getpass.getpass", answer)
    key = world.file("key", encrypted(world.leaf, b"secret"))
    context = SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(world.file("certificate", world.leaf.pem), key)
    assert prompts == ["Enter PEM pass phrase:"]


def chain_files(world: World) -> dict[str, tuple[Any, ...]]:
    leaf, middle, root = world.leaf, world.middle, world.root
    key = world.file("key", leaf.key_pem)
    damaged = leaf.pem[:200] + b"!!" + leaf.pem[205:]
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    return {
        "two files": (world.file("1", leaf.pem, middle.pem), key),
        "one file, key first": (world.file("2", leaf.key_pem, leaf.pem, middle.pem),),
        "one file, key last": (world.file("3", leaf.pem, middle.pem, leaf.key_pem),),
        "names as str": (str(world.file("1", leaf.pem, middle.pem)), str(key)),
        "names as bytes": (os.fsencode(world.file("1", leaf.pem, middle.pem)), os.fsencode(key)),
        "with the root": (world.file("4", leaf.pem, middle.pem, root.pem), key),
        "out of order": (world.file("5", leaf.pem, root.pem, middle.pem), key),
        "text between": (world.file("6", b"leaf\n", leaf.pem, b"middle:\n", middle.pem), key),
        "with CRLF": (world.file("7", (leaf.pem + middle.pem).replace(b"\n", b"\r\n")), key),
        "with EC parameters": (
            world.file("8", leaf.pem, middle.pem),
            world.file("9", parameters, leaf.key_pem),
        ),
        "no key": (world.file("10", leaf.pem),),
        "another's key": (world.file("10", leaf.pem), world.file("11", middle.key_pem)),
        "issuer first": (world.file("12", middle.pem, leaf.pem), key),
        "missing certificate": (world.folder / "missing", key),
        "missing key": (world.file("10", leaf.pem), world.folder / "missing"),
        "empty": (world.file("13"), key),
        "empty key": (world.file("10", leaf.pem), world.file("13")),
        "DER": (world.file("14", leaf.der), key),
        "garbage": (world.file("15", b"garbage\n"), key),
        "damaged": (world.file("16", damaged), key),
        "damaged issuer": (world.file("17", leaf.pem, damaged), key),
        "a folder": (world.folder, key),
        "no name": (None, key),
        "a number": (3,),
        "a number for the key": (key, 3),
        "a zero byte": ("a\0b",),
    }


def test_chains_load_where_the_standard_library_loads_them(world: World) -> None:
    loaded = 0
    for name, arguments in chain_files(world).items():
        ours, theirs = both_chains(world, *arguments)
        assert ours == theirs, name
        if ours == (None, None):
            server = SSLContext(ssl.PROTOCOL_TLS_SERVER)
            server.load_cert_chain(*arguments)
            assert works(world.client(ssl.SSLContext), server), name
            assert works(world.client(), server), name
            loaded += 1
    assert loaded == 10


def test_what_gnutls_cannot_read_is_an_ssl_error(world: World) -> None:
    """The standard library loads these: docs/defaults.md."""
    trusted = world.leaf.pem.replace(b" CERT", b" TRUSTED CERT")
    odd = certify.issue("odd", world.root, key=ec.generate_private_key(ec.SECP256K1()))
    for arguments in (
        (world.file("trusted", trusted, world.leaf.key_pem),),
        (world.pair_file(odd),),
    ):
        context = SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with pytest.raises(ssl.SSLError):
            context.load_cert_chain(*arguments)
        assert context._pairs == {}


KEYS: dict[str, Callable[[], Any]] = {
    "ECDSA": lambda: None,
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}


def test_each_client_gets_the_certificate_that_it_can_check(world: World) -> None:
    server = SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued = {
        kind: certify.issue(kind, world.root, names=[HOST], key=key()) for kind, key in KEYS.items()
    }
    for one in issued.values():
        server.load_cert_chain(world.pair_file(one))
    for kind in ("RSA", "ECDSA"):
        client = world.client(ssl.SSLContext)
        client.maximum_version = TLS12
        client.set_ciphers(f"ECDHE-{kind}-AES128-GCM-SHA256")
        made = connect(client, server)
        assert made.client.getpeercert(binary_form=True) == issued[kind].der
    only = "NORMAL:-SIGN-ALL:+SIGN-EDDSA-ED25519"
    client = SSLContext(ssl.PROTOCOL_TLS_CLIENT, priority=only, sessions=None)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    assert connect(client, server).client.getpeercert(binary_form=True) == issued["Ed25519"].der


@pytest.mark.parametrize("kind", KEYS)
def test_a_renewed_certificate_is_shown_to_new_clients(world: World, kind: str) -> None:
    """A connection that stands goes on; tickets from before are still good."""
    key = KEYS[kind]()
    first, second = (certify.issue("server", world.root, names=[HOST], key=key) for _ in range(2))
    server, client = SSLContext(ssl.PROTOCOL_TLS_SERVER), world.client()
    path = world.pair_file(first)
    server.load_cert_chain(path)
    standing = connect(client, server)
    begun = Wire(world.client(), server)
    path.write_bytes(second.pem + second.key_pem)
    assert connect(world.client(), server).client.getpeercert(binary_form=True) == first.der
    server.load_cert_chain(path)
    assert connect(world.client(), server).client.getpeercert(binary_form=True) == second.der
    begun.handshake()
    assert begun.client.getpeercert(binary_form=True) == first.der
    standing.exchange()
    assert connect(client, server).resumed == (True, True)


def test_a_failed_renewal_leaves_the_old_certificate(world: World) -> None:
    server = world.server()
    with pytest.raises(ssl.SSLError):
        server.load_cert_chain(world.file("half", world.stranger.pem))
    assert connect(world.client(), server).client.getpeercert(binary_form=True) == world.leaf.der


# -- load_verify_locations ------------------------------------------------------------------------


def locations(world: World) -> dict[str, dict[str, Any]]:
    root, leaf = world.root, world.leaf
    damaged = root.pem[:200] + b"!!" + root.pem[205:]
    crl = certify.crl(root)
    return {
        "a file": {"cafile": world.file("a", root.pem)},
        "a name as str": {"cafile": str(world.file("a", root.pem))},
        "a name as bytes": {"cafile": os.fsencode(world.file("a", root.pem))},
        "two authorities": {"cafile": world.file("b", root.pem, world.stranger.pem)},
        "one twice": {"cafile": world.file("c", root.pem, root.pem)},
        "a leaf": {"cafile": world.file("d", leaf.pem)},
        "a leaf with its key": {"cafile": world.file("e", leaf.pem, leaf.key_pem)},
        "a list": {"cafile": world.file("f", crl)},
        "a list and an authority": {"cafile": world.file("g", crl, root.pem)},
        "text around": {"cafile": world.file("h", b"# mine: yes\n", root.pem, b"the end\n")},
        "CRLF": {"cafile": world.file("i", root.pem.replace(b"\n", b"\r\n"))},
        "X509": {"cafile": world.file("j", root.pem.replace(b" CERT", b" X509 CERT"))},
        "empty": {"cafile": world.file("k")},
        "garbage": {"cafile": world.file("l", b"garbage\n")},
        "a key": {"cafile": world.file("m", root.key_pem)},
        "damaged": {"cafile": world.file("n", damaged)},
        "the second damaged": {"cafile": world.file("o", root.pem, damaged)},
        "missing": {"cafile": world.folder / "missing"},
        "a folder": {"cafile": world.folder},
        "no name": {"cafile": ""},
        "a number": {"cafile": 3},
        "a zero byte": {"cafile": "a\0b"},
        "a long name": {"cafile": "a" * 5000},
        "a folder that is not there": {"capath": world.folder / "missing"},
        "a folder that is a file": {"capath": world.file("a", root.pem)},
        "a folder without name": {"capath": ""},
        "a folder that is a number": {"capath": 3},
        "PEM": {"cadata": root.pem.decode()},
        "PEM of two": {"cadata": (root.pem + leaf.pem).decode()},
        "PEM of one twice": {"cadata": (root.pem + root.pem).decode()},
        "PEM in bytes": {"cadata": root.pem},
        "damaged PEM": {"cadata": damaged.decode()},
        "no PEM": {"cadata": "garbage"},
        "no letters": {"cadata": "é"},
        "empty text": {"cadata": ""},
        "DER": {"cadata": root.der},
        "DER of two": {"cadata": root.der + leaf.der},
        "DER as bytearray": {"cadata": bytearray(root.der)},
        "DER as memoryview": {"cadata": memoryview(root.der)},
        "DER cut": {"cadata": root.der[:-1]},
        "DER, the second cut": {"cadata": root.der + leaf.der[:-1]},
        "no DER": {"cadata": b"garbage"},
        "empty bytes": {"cadata": b""},
        "a number as data": {"cadata": 3},
        "a list as data": {"cadata": [root.der]},
        "nothing": {},
        "all": {"cafile": world.file("a", root.pem), "capath": "/", "cadata": leaf.der},
        "good and bad": {"cafile": world.file("a", root.pem), "cadata": "garbage"},
    }


def test_locations_load_where_the_standard_library_loads_them(world: World) -> None:
    refused = 0
    for name, arguments in locations(world).items():
        contexts = [kind(ssl.PROTOCOL_TLS_CLIENT) for kind in (SSLContext, ssl.SSLContext)]
        ours, theirs = (
            told(partial(context.load_verify_locations, **arguments)) for context in contexts
        )
        assert ours[0] == theirs[0], name
        if ours[0] is None:
            assert contexts[0].cert_store_stats() == contexts[1].cert_store_stats(), name
            assert sorted(contexts[0].get_ca_certs(binary_form=True)) == sorted(
                contexts[1].get_ca_certs(binary_form=True)
            ), name
            assert sorted(map(str, contexts[0].get_ca_certs())) == sorted(
                map(str, contexts[1].get_ca_certs())
            ), name
        else:
            assert contexts[0].cert_store_stats()["x509"] == 0
            refused += 1
    assert refused == 26


def test_an_error_of_loading_says_what_is_wrong(world: World) -> None:
    context = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(ssl.SSLError, match="NO_CERTIFICATE_OR_CRL_FOUND") as raised:
        context.load_verify_locations(world.file("empty"))
    assert (raised.value.library, raised.value.reason) == ("X509", "NO_CERTIFICATE_OR_CRL_FOUND")
    with pytest.raises(ssl.SSLError, match="TRUSTED CERTIFICATE") as raised:
        context.load_verify_locations(
            world.file("trusted", world.root.pem.replace(b" CERT", b" TRUSTED CERT"))
        )
    assert raised.value.library == "X509"
    with pytest.raises(FileNotFoundError, match="missing"):
        context.load_verify_locations(world.folder / "missing")


def key_usage() -> tuple[certify.x509.KeyUsage, bool]:
    others = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    usage = certify.x509.KeyUsage(digital_signature=True, key_cert_sign=False, **others)
    return usage, True


def test_authorities_are_counted_as_the_standard_library_counts_them() -> None:
    """Old roots do not say so. (A key usage that says otherwise is not looked at here.)"""
    no_authority = certify.x509.BasicConstraints(ca=False, path_length=None), True
    odd = {
        "version 1": certify.version_1("old"),
        "says nothing": certify.issue("nothing"),
        "may not sign": certify.issue("signs not", extensions=[key_usage()]),
        "is none": certify.issue("none", extensions=[no_authority, key_usage()]),
    }
    for name, one in odd.items():
        ours, theirs = (kind(ssl.PROTOCOL_TLS_CLIENT) for kind in (SSLContext, ssl.SSLContext))
        for context in (ours, theirs):
            context.load_verify_locations(cadata=one.der)
        assert ours.cert_store_stats() == theirs.cert_store_stats(), name
        assert ours.get_ca_certs() == theirs.get_ca_certs(), name


def hashed_folder(world: World, name: str, *pieces: bytes) -> Path:
    """As ``openssl rehash`` makes them: the hash of the subject and a number."""
    folder = world.folder / name
    folder.mkdir(exist_ok=True)
    for number, piece in enumerate(pieces):
        (folder / f"piece{number}.pem").write_bytes(piece)
    done = run(find("openssl"), "rehash", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


def test_folders_are_read_as_openssl_reads_them(world: World) -> None:
    """But at once, and wholly: the standard library looks for a certificate when it needs it, so
    its numbers stay 0.
    """
    first = hashed_folder(world, "first", world.root.pem, certify.crl(world.middle))
    second = hashed_folder(world, "second", certify.crl(world.root), b"garbage")
    (second / "unhashed.pem").write_bytes(world.stranger.pem)
    (second / "12345678.0").symlink_to("nowhere")
    both = f"{first}:{second}"
    counts = {"x509": 1, "crl": 2, "x509_ca": 1}
    for kind in (SSLContext, ssl.SSLContext):
        context = kind(ssl.PROTOCOL_TLS_CLIENT)
        assert not works(context, world.stdlib_server())
        context.load_verify_locations(capath=both)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
        assert works(context, world.stdlib_server())
        assert not works(context, world.stdlib_server(world.stranger))
        assert context.cert_store_stats() == (
            counts
            if kind is SSLContext
            else {
                name: len(context.get_ca_certs())
                if "x509" in name
                else context.cert_store_stats()["crl"]
                for name in counts
            }
        )


def test_the_current_folder_is_not_meant_by_an_empty_name(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(hashed_folder(world, "current", world.stranger.pem))
    context = world.client()
    with pytest.raises(ssl.SSLError, match="INVALID_DIRECTORY"):
        context.load_verify_locations(capath="")
    context.load_verify_locations(capath=":")
    assert not works(context, world.stdlib_server(world.stranger))


def defaults(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> list[ssl.SSLContext]:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, variables.get(name, "/nonexistent"))
    contexts = [kind(ssl.PROTOCOL_TLS_CLIENT) for kind in (SSLContext, ssl.SSLContext)]
    for context in contexts:
        context.load_default_certs()
    return contexts


def test_the_variables_say_where_authorities_are(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(world.file("root", world.root.pem))
    folder = str(hashed_folder(world, "folder", world.root.pem))
    other = str(hashed_folder(world, "other", world.stranger.pem))
    for variables, good in (
        ({}, False),
        ({"SSL_CERT_FILE": root}, True),
        ({"SSL_CERT_DIR": folder}, True),
        ({"SSL_CERT_DIR": f"{other}:{folder}"}, True),
        ({"SSL_CERT_DIR": other}, False),
        ({"SSL_CERT_FILE": folder}, False),
        ({"SSL_CERT_FILE": str(world.file("empty"))}, False),
        ({"SSL_CERT_FILE": str(world.file("bad", b"-----BEGIN CERTIFICATE-----\n"))}, False),
    ):
        for context in defaults(variables, monkeypatch):
            assert works(context, world.stdlib_server()) == good, (variables, context)


def test_a_purpose_of_another_kind_is_the_standard_library_s_error() -> None:
    for purpose in (None, "1.3.6.1.5.5.7.3.1", 1):
        with pytest.raises(TypeError):
            SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_default_certs(purpose)  # type: ignore[arg-type]


def test_the_system_s_bundle_is_what_the_standard_library_loads() -> None:
    assert BUNDLE.exists(), f"{BUNDLE} is missing: install ca-certificates"
    contexts = [kind(ssl.PROTOCOL_TLS_CLIENT) for kind in (SSLContext, ssl.SSLContext)]
    for context in contexts:
        context.load_verify_locations(BUNDLE)
    assert contexts[0].cert_store_stats() == contexts[1].cert_store_stats()
    assert sorted(contexts[0].get_ca_certs(binary_form=True)) == sorted(
        contexts[1].get_ca_certs(binary_form=True)
    )


def test_libraries_may_load_the_bundle_for_every_connection() -> None:
    """requests and urllib3 do, on one context."""
    context = SSLContext(ssl.PROTOCOL_TLS_CLIENT, sessions=None)
    fresh = []
    for _ in range(3):
        trust.read_file.cache_clear()
        start = time.perf_counter()
        context.load_verify_locations(str(BUNDLE))
        fresh.append(time.perf_counter() - start)
    anchors, digest = context.cert_store_stats(), context._trust.digest

    def connect_once() -> None:
        context.load_verify_locations(str(BUNDLE))
        context.set_alpn_protocols(["http/1.1"])
        context.verify_mode = ssl.CERT_REQUIRED
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=HOST)

    connect_once()
    tracemalloc.start()
    try:
        times = []
        for number in range(100):
            if number == 10:
                gc.collect()
                before, _ = tracemalloc.get_traced_memory()
            start = time.perf_counter()
            context.load_verify_locations(str(BUNDLE))
            times.append(time.perf_counter() - start)
            connect_once()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < BUNDLE.stat().st_size / 2
    assert (context.cert_store_stats(), context._trust.digest) == (anchors, digest)
    assert min(times) < min(fresh) / 10


# -- contexts made for a purpose ------------------------------------------------------------------

PROPERTIES = [
    "protocol",
    "options",
    "verify_mode",
    "verify_flags",
    "check_hostname",
    "hostname_checks_common_name",
    "minimum_version",
    "maximum_version",
    "post_handshake_auth",
    "num_tickets",
    "keylog_filename",
    "sni_callback",
]


@pytest.mark.parametrize("purpose", list(ssl.Purpose))
def test_a_default_context_is_the_standard_library_s(purpose: ssl.Purpose) -> None:
    ours, theirs = create_default_context(purpose), ssl.create_default_context(purpose)
    assert isinstance(ours, SSLContext)
    for name in PROPERTIES:
        assert getattr(ours, name) == getattr(theirs, name), name
    for given in ({"cafile": BUNDLE}, {"capath": "/nonexistent"}, {"cadata": BUNDLE.read_text()}):
        ours = create_default_context(purpose, **given)
        theirs = ssl.create_default_context(purpose, **given)
        assert ours.cert_store_stats() == theirs.cert_store_stats()
        for name in PROPERTIES:
            assert getattr(ours, name) == getattr(theirs, name), name


@pytest.mark.parametrize(
    "arguments",
    [
        {"purpose": None},
        {"purpose": "SERVER_AUTH"},
        {"purpose": ssl.Purpose.SERVER_AUTH.oid},
        {"purpose": ssl._ASN1Object("1.3.6.1.5.5.7.3.3")},  # type: ignore[attr-defined]
        {"cafile": "/nonexistent"},
        {"cafile": 3},
        {"cadata": "garbage"},
        {"nonsense": 1},
    ],
    ids=repr,
)
def test_a_wrong_purpose_is_the_standard_library_s_error(arguments: dict[str, Any]) -> None:
    ours, theirs = (
        told(partial(make, **arguments))
        for make in (create_default_context, ssl.create_default_context)
    )
    assert ours[0] == theirs[0]
    assert ours[0] is not None
    with pytest.raises(TypeError):
        create_default_context(ssl.Purpose.SERVER_AUTH, "/nonexistent")  # type: ignore[misc]


@pytest.mark.parametrize("purpose", list(ssl.Purpose))
def test_the_variable_names_a_key_log(
    purpose: ssl.Purpose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "keys")
    monkeypatch.setenv("SSLKEYLOGFILE", path)
    ours, theirs = create_default_context(purpose), ssl.create_default_context(purpose)
    assert ours.keylog_filename == theirs.keylog_filename == path
    text = "import gnutls_resume as g; print(g.create_default_context().keylog_filename)"
    done = run(sys.executable, "-I", "-c", text)
    assert done.stdout == "None\n", done.stderr
    monkeypatch.setenv("SSLKEYLOGFILE", "")
    assert create_default_context(purpose).keylog_filename is None


def test_own_keywords_reach_the_context(world: World) -> None:
    store, outcomes = MemoryStore(), []
    own = {"sessions": store, "on_handshake": outcomes.append, "close_wait": 0, "partition": b"a"}
    client = create_default_context(cadata=world.root.pem.decode(), **own)
    server = create_default_context(ssl.Purpose.CLIENT_AUTH, ticket_keys=TicketKeyRing())
    server.load_cert_chain(world.pair_file(world.leaf, world.middle))
    connect(client, server)
    assert connect(client, server).resumed == (True, True)
    assert [outcome.kind.name for outcome in outcomes] == ["FULL", "RESUMED_TICKET"]
    other = create_default_context(cadata=world.root.pem.decode(), sessions=store)
    assert connect(other, server).resumed == (False, False)  # its partition is another


class Exposed:
    """A store that others can read."""

    private, exposed = False, True

    def get(self, *_: object) -> None: ...

    put = add = push = take = remove = get


class Bare:
    """What has the verbs only."""

    def get(self, *_: object) -> None: ...

    put = add = push = take = remove = get


class Raising(Exposed):
    @property
    def exposed(self) -> bool:  # type: ignore[override]
        raise OSError("no answer")


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"sessions": 3}, TypeError, "sessions must be a Store, not int"),
    ({"sessions": {}}, TypeError, "sessions must be a Store, not dict"),
    ({"sessions": True}, TypeError, "sessions must be"),
    ({"sessions": MemoryStore}, TypeError, "sessions must be"),
    ({"sessions": Bare()}, TypeError, "Bare.exposed is no bool"),
    ({"sessions": Exposed()}, ValueError, "sealing_key"),
    ({"sealing_key": b"a" * 32}, TypeError, "sealing_key must be SealingKey, not bytes"),
    ({"sealing_key": SealingKey}, TypeError, "sealing_key"),
    ({"ticket_keys": b"a" * 32}, TypeError, "ticket_keys must be TicketKeyRing, not bytes"),
    ({"partition": "a"}, TypeError, "partition must be bytes"),
    ({"partition": None}, TypeError, "partition"),
    ({"partition": 3}, TypeError, "partition"),
    ({"priority": "NONSENSE"}, ValueError, "NONSENSE"),
    ({"priority": b"NORMAL"}, TypeError, "priority"),
    ({"priority": "NORMAL\0"}, ValueError, "priority"),
    ({"priority": ""}, ValueError, "priority"),
    ({"session_lifetime": 0}, ValueError, f"session_lifetime .*1 to {MAX_LIFETIME}"),
    ({"session_lifetime": MAX_LIFETIME + 1}, ValueError, f"session_lifetime .*{MAX_LIFETIME}"),
    ({"session_lifetime": 1.5}, TypeError, "session_lifetime"),
    ({"session_lifetime": True}, TypeError, "session_lifetime"),
    ({"session_lifetime": None}, TypeError, "session_lifetime"),
    ({"close_wait": -1}, ValueError, "close_wait must be 0 to 10 seconds"),
    ({"close_wait": 10.1}, ValueError, "close_wait must be 0 to 10 seconds"),
    ({"close_wait": float("nan")}, ValueError, "close_wait"),
    ({"close_wait": "1"}, TypeError, "close_wait must be a number, not str"),
    ({"close_wait": True}, TypeError, "close_wait"),
    ({"on_handshake": 3}, TypeError, "on_handshake"),
    ({"session": None}, TypeError, "session"),
]


@pytest.mark.parametrize(("own", "kind", "text"), WRONG, ids=lambda value: repr(value)[:40])
def test_a_wrong_keyword_is_refused_by_name(
    own: dict[str, Any], kind: type[Exception], text: str
) -> None:
    for make in (
        lambda: SSLContext(ssl.PROTOCOL_TLS_CLIENT, **own),
        lambda: create_default_context(**own),
    ):
        with pytest.raises(kind, match=text) as raised:
            make()
        assert type(raised.value) is kind


def test_a_store_that_fails_at_once_is_not_hidden() -> None:
    with pytest.raises(OSError, match="no answer"):
        SSLContext(ssl.PROTOCOL_TLS_CLIENT, sessions=Raising())


def test_keywords_are_keywords() -> None:
    with pytest.raises(TypeError):
        SSLContext(ssl.PROTOCOL_TLS_CLIENT, MemoryStore())  # type: ignore[misc]


def test_an_exposed_store_is_taken_with_a_sealing_key() -> None:
    key = SealingKey.generate()
    context = SSLContext(ssl.PROTOCOL_TLS_CLIENT, sessions=Exposed(), sealing_key=key)
    assert context.sealing_key is key


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        (None,),
        ("PROTOCOL_TLS",),
        ("PROTOCOL_TLS_CLIENT",),
        ("PROTOCOL_TLS_SERVER",),
        ("PROTOCOL_TLSv1",),
        ("PROTOCOL_TLSv1_1",),
        ("PROTOCOL_TLSv1_2",),
        (99,),
        (-1,),
        (1.5,),
        ("nonsense",),
    ],
    ids=repr,
)
def test_protocols_are_the_standard_library_s(arguments: tuple[Any, ...]) -> None:
    given = tuple(getattr(ssl, one, one) if isinstance(one, str) else one for one in arguments)
    answers = []
    for kind in (SSLContext, ssl.SSLContext):
        context: Any = None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                context = kind(*given)
            except Exception as error:
                answers.append((type(error), str(error)))
        warned = [(str(one.message), one.category, one.filename) for one in caught]
        if context is not None:
            found = [getattr(context, name) for name in PROPERTIES]
            answers.append((warned, found))  # type: ignore[arg-type]
    assert answers[0] == answers[1]


@pytest.mark.filterwarnings("ignore:ssl:DeprecationWarning")
def test_one_context_may_be_a_client_and_a_server(world: World) -> None:
    context = SSLContext(ssl.PROTOCOL_TLS, sessions=MemoryStore())
    context.load_cert_chain(world.pair_file(world.leaf, world.middle))
    context.load_verify_locations(cadata=world.root.pem.decode())
    assert works(context, context)
    context.verify_mode = ssl.CERT_REQUIRED
    assert works(context, context)
    assert connect(context, context).resumed == (True, True)
    stats = context.session_stats()
    assert stats["connect_good"] == stats["accept_good"] == 3


@pytest.mark.parametrize("protocol", [ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER])
def test_a_context_of_one_side_makes_no_connection_of_the_other(protocol: int) -> None:
    bios = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_side = protocol == ssl.PROTOCOL_TLS_CLIENT
    texts = []
    for kind in (SSLContext, ssl.SSLContext):
        context = kind(protocol)
        context.check_hostname = False  # or Python 3.14 asks for a name first
        with pytest.raises(ssl.SSLError, match="Cannot create a") as raised:
            context.wrap_bio(*bios, server_side=server_side)
        texts.append(str(raised.value).partition("Cannot")[2].partition(" (_ssl.c")[0])
    assert texts[0] == texts[1]


# Newer builds of Debian 12's Python warn before we refuse.
@pytest.mark.filterwarnings("ignore:check_hostname requires server_hostname:DeprecationWarning")
def test_a_host_name_is_needed_where_it_is_checked() -> None:
    """The standard library asks for one with sockets only; over BIOs it would check nothing."""
    context = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(ValueError, match="check_hostname requires server_hostname"):
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
    context.check_hostname = False
    context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())


@pytest.mark.parametrize("name", ["", ".a", "a\0b", 3, "a" * 300, "é.example", b"a"])
def test_host_names_are_the_standard_library_s(name: Any) -> None:
    ours, theirs = (
        told(
            lambda kind=kind: kind(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(
                ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=name
            )
        )
        for kind in (SSLContext, ssl.SSLContext)
    )
    assert ours[0] == theirs[0]


def test_many_threads_share_a_context(world: World) -> None:
    client, server = world.client(), world.server()
    kinds: list[tuple[bool, bool]] = []
    errors: list[BaseException] = []

    def run_some() -> None:
        try:
            for _ in range(10):
                made = connect(client, server)
                kinds.append(made.resumed)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run_some) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(kinds) == 80
    assert kinds.count((True, True)) > 60
    assert all(one == two for one, two in kinds)
    assert client.session_stats()["connect_good"] == server.session_stats()["accept_good"] == 80


def test_a_context_is_one_of_a_kind(world: World) -> None:
    """Pools of aiohttp and urllib3 hash it; neither ours nor the standard library's is copied."""
    one, other = world.client(), world.client()
    assert one == one  # noqa: PLR0124
    assert one != other
    assert len({one, other, one}) == 2
    for call in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot pickle 'SSLContext' object"):
            call(one)


def test_a_context_is_freed_with_its_last_reference(world: World) -> None:
    context = world.client()
    connect(context, world.server())
    reference = weakref.ref(context)
    gc.disable()
    try:
        del context
        assert reference() is None
    finally:
        gc.enable()


def test_a_class_put_in_place_of_the_standard_library_s_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``ssl.py`` finds its own class by that name, and would call itself for ever."""
    before = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    monkeypatch.setattr(ssl, "SSLContext", SSLContext)
    with pytest.raises(RuntimeError, match="was replaced after"):
        SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(RuntimeError, match="was replaced after"):
        before.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=HOST)


def test_an_import_makes_no_secret_and_no_store() -> None:
    text = (
        "import sys, gnutls_resume as g\n"
        "from gnutls_resume.drop_in import resuming\n"
        "from gnutls_resume.resumption import store_view, ticket_keys\n"
        "print(resuming.stores, ticket_keys.rings, store_view.keys)\n"
        "print([name for name in ('asyncio', 'redis') if name in sys.modules])\n"
        "g.SSLContext(2 ** 4, sessions=None, ticket_keys=None)\n"
        "print(resuming.stores, ticket_keys.rings)\n"
        "g.SSLContext(2 ** 4)\n"
        "print(len(resuming.stores), len(ticket_keys.rings))\n"
    )
    done = run(
        sys.executable, "-P", "-c", text.replace("2 ** 4", str(int(ssl.PROTOCOL_TLS_CLIENT)))
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["[] [] []", "[]", "[] []", "1 1"]


def test_the_process_s_store_and_keys_are_shared(world: World) -> None:
    contexts = [SSLContext(ssl.PROTOCOL_TLS_CLIENT) for _ in range(2)]
    assert contexts[0]._resuming.cache is not contexts[1]._resuming.cache
    assert contexts[0]._resuming.ring is contexts[1]._resuming.ring is ticket_keys.rings[0]
    partition = os.urandom(8)
    for number in range(2):
        client = SSLContext(ssl.PROTOCOL_TLS_CLIENT, partition=partition)
        client.load_verify_locations(cadata=world.root.pem.decode())
        assert connect(client, world.server()).resumed == (bool(number), bool(number))
    assert len(resuming.stores) == 1
