"""Cipher suites have OpenSSL's names: the standard library is asked, and each is negotiated."""

import ssl
from pathlib import Path
from typing import Any

import certify
import pytest
from conftest import HOST
from cryptography.hazmat.primitives.asymmetric import rsa
from interop.programs import find, run
from wrapped import TLS12, TLS13, connect

from gnutls_resume import SSLContext
from gnutls_resume.drop_in.cipher import bits_of, ciphers_of, openssl_name
from gnutls_resume.drop_in.options import PRIORITY

# Much that is off by default and that GnuTLS still has.
WIDE = "NORMAL:+KX-ALL:+CIPHER-ALL:+MAC-ALL:+VERS-ALL:+AES-128-CCM-8:+AES-256-CCM-8:+SHA1"
Kinds = tuple[type[ssl.SSLContext], type[ssl.SSLContext]]
FIELDS = [
    "id",
    "name",
    "protocol",
    "strength_bits",
    "alg_bits",
    "aead",
    "symmetric",
    "digest",
    "kea",
    "auth",
]


def known_to_openssl() -> dict[int, dict[str, Any]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    return {suite["id"]: dict(suite) for suite in context.get_ciphers()}


@pytest.mark.parametrize("priority", [PRIORITY, WIDE], ids=["default", "wide"])
def test_suites_are_described_as_openssl_describes_them(priority: str) -> None:
    known = known_to_openssl()
    ours = [suite for suite in ciphers_of(priority) if suite["id"] in known]
    assert len(ours) >= 18
    for suite in ours:
        assert suite == {
            **{field: known[suite["id"]][field] for field in FIELDS},
            "description": suite["description"],
        }


def test_all_suites_of_the_default_are_known_to_openssl() -> None:
    assert {suite["id"] for suite in ciphers_of(PRIORITY)} <= known_to_openssl().keys()


def test_suites_with_external_keys_are_not_told() -> None:
    assert not [suite["name"] for suite in ciphers_of(PRIORITY) if "PSK" in suite["name"]]


def test_what_is_not_known_keeps_its_name() -> None:
    assert openssl_name("TLS_ECDHE_RSA_NEW_512_XYZ") == "TLS_ECDHE_RSA_NEW_512_XYZ"
    assert bits_of("TLS_ECDHE_RSA_NEW_512_XYZ") == 0


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A certificate with its key by kind, and the authority."""
    folder, root = tmp_path_factory.mktemp("kinds"), certify.issue("root", ca=True)
    keys = {"RSA": rsa.generate_private_key(65537, 2048), "ECDSA": None}
    made = {"trust": folder / "trust"}
    made["trust"].write_bytes(root.pem)
    for kind, key in keys.items():
        one = certify.issue(kind, root, names=[HOST], key=key)
        made[kind] = folder / kind
        made[kind].write_bytes(one.pem + one.key_pem)
    made["DH"] = folder / "DH"
    group = ["-algorithm", "DH", "-pkeyopt", "group:ffdhe2048"]
    run(find("openssl"), "genpkey", "-genparam", *group, "-out", made["DH"])
    return made


def suites(version: str) -> list[str]:
    return [suite["name"] for suite in ciphers_of(PRIORITY) if suite["protocol"] == version]


def pair(files: dict[str, Path], kinds: Kinds) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    client, server = kinds[0](ssl.PROTOCOL_TLS_CLIENT), kinds[1](ssl.PROTOCOL_TLS_SERVER)
    client.load_verify_locations(files["trust"])
    for kind in ("RSA", "ECDSA"):
        server.load_cert_chain(files[kind])
    return client, server


DIRECTIONS = {
    "our-client": (SSLContext, ssl.SSLContext),
    "our-server": (ssl.SSLContext, SSLContext),
}


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        pytest.param(name, kinds, id=f"{name}-{direction}")
        for name in suites("TLSv1.2")
        for direction, kinds in DIRECTIONS.items()
        # For DHE, GnuTLS's servers want clients that know RFC 7919's groups in TLS 1.2.
        if not (name.startswith("DHE") and direction == "our-server")
    ],
)
def test_both_ends_tell_the_same_suite_of_tls_1_2(
    files: dict[str, Path], kinds: Kinds, name: str
) -> None:
    ends = pair(files, kinds)
    for context in ends:
        context.maximum_version = TLS12
        if not isinstance(context, SSLContext):
            context.set_ciphers(name)
    if kinds[1] is ssl.SSLContext:
        ends[1].load_dh_params(files["DH"])  # it has none by default
    wire = connect(*ends)
    assert wire.client.cipher() == wire.server.cipher()
    assert wire.client.cipher()[0] == name


@pytest.mark.parametrize("kinds", DIRECTIONS.values(), ids=DIRECTIONS)
@pytest.mark.parametrize("name", suites("TLSv1.3"))
def test_both_ends_tell_the_same_suite_of_tls_1_3(
    files: dict[str, Path], kinds: Kinds, name: str
) -> None:
    """The standard library cannot choose among these: here our priority does."""
    cipher = name.removeprefix("TLS_").rpartition("_")[0].replace("_", "-")

    class Chosen(SSLContext):
        def __init__(self, protocol: int) -> None:
            super().__init__(protocol, priority=f"{PRIORITY}:-CIPHER-ALL:+{cipher}")

    client, server = pair(files, tuple(Chosen if kind is SSLContext else kind for kind in kinds))
    client.minimum_version = TLS13
    wire = connect(client, server)
    assert wire.client.cipher() == wire.server.cipher()
    assert wire.client.cipher()[0] == name


def test_get_ciphers_is_what_a_client_offers(files: dict[str, Path]) -> None:
    """And nothing else, with the values that RFC 5746 and RFC 8446 put in the same list."""
    for priority in (None, "NORMAL:-CIPHER-ALL:+AES-256-GCM", "SECURE256"):
        for top in (TLS12, TLS13):
            context = SSLContext(ssl.PROTOCOL_TLS_CLIENT, priority=priority)
            context.maximum_version = top
            client = context.wrap_bio(ssl.MemoryBIO(), out := ssl.MemoryBIO(), server_hostname=HOST)
            with pytest.raises(ssl.SSLWantReadError):
                client.do_handshake()
            hello = out.read()[5 + 4 + 2 + 32 :]
            hello = hello[1 + hello[0] :]
            size = int.from_bytes(hello[:2])
            offered = [int.from_bytes(hello[i : i + 2]) for i in range(2, 2 + size, 2)]
            told = [suite["id"] & 0xFFFF for suite in context.get_ciphers()]
            assert [number for number in offered if number != 0x00FF] == told
