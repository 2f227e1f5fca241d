"""The 21 names of the engine, step by step beside the standard library's: before the handshake,
after it, after the close. The other end is the standard library's.
"""

import array
import ssl
from typing import Any

import pytest
from conftest import Certificates
from drop_in.peers import (
    Library,
    client_context,
    connected,
    each_library,
    fact,
    failure,
    server_context,
)
from wrapped import Wire, each_version

from gnutls_resume import SSLContext
from gnutls_resume.drop_in.engine import Engine

MAX_RECORD = 16_384
ASKED_BY_ASYNCIO = 262_144
NAMES = {
    name
    for name in dir(
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        .wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost")
        ._sslobj
    )
    if not name.startswith("_")
}


def bios(certificates: Certificates, library: Library, version: Any = None) -> Wire:
    """A client of this library, and a server of the standard library's."""
    return Wire(
        client_context(certificates, library, version),
        server_context(certificates, ssl.SSLContext, version),
    )


def server_bios(certificates: Certificates, library: Library, version: Any = None) -> Wire:
    return Wire(
        client_context(certificates, ssl.SSLContext, version),
        server_context(certificates, library, version),
    )


# -- names ------------------------------------------------------------------------------------


def test_engine_has_all_names_of_the_standard_librarys() -> None:
    assert set(dir(Engine)) | {"server_side", "server_hostname"} >= NAMES


def facts(one: ssl.SSLObject) -> dict[str, Any]:
    """What an object tells; every name that may be asked at any time."""
    engine: Any = one._sslobj
    return {
        "server_side": one.server_side,
        "server_hostname": one.server_hostname,
        "owner": engine.owner is one,
        "context": one.context is engine.context,
        "session_reused": fact(lambda: one.session_reused),
        "pending": one.pending(),
        "version": one.version(),
        "cipher": one.cipher(),
        "compression": one.compression(),
        "alpn": one.selected_alpn_protocol(),
        "certificate": fact(one.getpeercert),
        "der": fact(one.getpeercert, binary_form=True),
        "binding": fact(one.get_channel_binding),
        "no binding": fact(one.get_channel_binding, "tls-nothing"),
    }


@each_version
@pytest.mark.parametrize("side", [0, 1], ids=["client", "server"])
def test_before_the_handshake_all_is_told_as_by_ssl(
    certificates: Certificates, version: ssl.TLSVersion, side: int
) -> None:
    make = (bios, server_bios)[side]

    def steps(library: Library) -> list[object]:
        pair = make(certificates, library, version)
        one = pair.ends[side].object
        return [
            facts(one),
            fact(one.unwrap),
            fact(one.read, -1),
            fact(one.read, 0),
            fact(one.read, 10),
            fact(one.read, 10, bytearray(10)),
            fact(one.write, b"data"),
            fact(one.do_handshake),
            fact(one.do_handshake),
            facts(one),
        ]

    assert steps(SSLContext) == steps(ssl.SSLContext)


@each_version
@pytest.mark.parametrize("side", [0, 1], ids=["client", "server"])
def test_after_the_handshake_all_is_told_as_by_ssl(
    certificates: Certificates, version: ssl.TLSVersion, side: int
) -> None:
    make = (bios, server_bios)[side]

    def steps(library: Library) -> list[object]:
        pair = make(certificates, library, version)
        for end in pair.ends:
            end.object.context.set_alpn_protocols(["h2", "http/1.1"])
        pair = Wire(pair.client.context, pair.server.context).handshake()
        pair.say(b"pong")
        pair.say(b"ping", from_server=False)
        one, other = pair.ends[side].object, pair.ends[1 - side].object
        assert one.cipher() == other.cipher()
        assert one.version() == other.version() == version.name.replace("v1_", "v1.")
        assert one.get_channel_binding() == other.get_channel_binding() or version > 0x303
        told = facts(one)
        # These are different from connection to connection, or a choice of the library.
        for name in ("cipher", "binding"):
            told.pop(name)
        return [
            told,
            fact(one.do_handshake),
            fact(one.read, 0),
            fact(one.read, -1),
            fact(one.read, 10),
            fact(one.read, 10, bytearray(10)),
            fact(one.write, b""),
            fact(one.read, 10, b"not writable")[0],
            fact(one.read, 4, memoryview(bytearray(8))[::2])[0],
            fact(one.write, "text")[0],
            fact(one.write, memoryview(b"12345678")[::2])[0] in {TypeError, BufferError},
            one.pending(),
        ]

    assert steps(SSLContext) == steps(ssl.SSLContext)


def test_channel_binding_is_equal_on_both_ends_in_tls12(certificates: Certificates) -> None:
    for make in (bios, server_bios):
        pair = make(certificates, SSLContext, ssl.TLSVersion.TLSv1_2).handshake()
        binding = pair.client.get_channel_binding()
        assert binding == pair.server.get_channel_binding()
        assert isinstance(binding, bytes)
        assert len(binding) == 12


def test_channel_binding_of_a_resumed_session_is_equal_on_both_ends(
    certificates: Certificates,
) -> None:
    pair = bios(certificates, SSLContext, ssl.TLSVersion.TLSv1_2).handshake()
    pair.say()
    pair = Wire(pair.client.context, pair.server.context).handshake()
    assert pair.client.session_reused
    assert pair.client.get_channel_binding() == pair.server.get_channel_binding() is not None


@each_version
def test_after_the_close_a_socket_tells_as_in_ssl(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    def steps(library: Library) -> list[object]:
        client = client_context(certificates, library, version)
        with connected(client, server_context(certificates, ssl.SSLContext, version)) as pair:
            one = pair.client
            one.close()
            calls = [one.recv, one.read, one.recv_into, one.send, one.sendall, one.write]
            arguments: list[Any] = [10, 10, bytearray(10), b"data", b"data", b"data"]
            return [
                *(fact(call, argument) for call, argument in zip(calls, arguments, strict=True)),
                fact(one.unwrap)[0],
                fact(one.do_handshake),
                fact(one.getpeercert),
                fact(one.cipher),
                fact(one.version),
                fact(one.selected_alpn_protocol),
                fact(one.compression),
                fact(one.shared_ciphers),
                fact(one.get_channel_binding),
                fact(one.pending),
                fact(lambda: one.session),
                fact(lambda: one.session_reused),
                one.fileno(),
            ]

    assert steps(SSLContext) == steps(ssl.SSLContext)


def test_the_owner_is_held_weakly(certificates: Certificates) -> None:
    pair = bios(certificates, SSLContext)
    engine = pair.client._sslobj
    pair.ends[0].object = None
    assert engine.owner is None


# -- reading ----------------------------------------------------------------------------------


def read_steps(certificates: Certificates, library: Library, size: int) -> list[object]:
    """The same data read in all shapes, from a server of the standard library's."""
    data = bytes(range(256)) * (size // 256)
    pair = bios(certificates, library).handshake()

    def again() -> ssl.SSLObject:
        with pytest.raises(ssl.SSLWantReadError):
            pair.client.read(1)
        assert pair.server.write(data) == len(data)
        pair.move()
        one: ssl.SSLObject = pair.client
        return one

    def rest(one: ssl.SSLObject) -> bytes:
        got = b""
        while True:
            try:
                got += one.read(ASKED_BY_ASYNCIO)
            except ssl.SSLWantReadError:
                return got

    found: list[object] = []
    one = again()
    start = one.read(100)
    found += [start, one.pending() > 0, rest(one) == data[100:], one.pending()]
    for n, room in [(50, 100), (100, 50), (0, 40), (-1, 40), (40, 40)]:
        one = again()
        buffer = bytearray(b"\xee" * room)
        count = one.read(n, buffer)
        found += [count, bytes(buffer)]
        assert bytes(buffer[:count]) + rest(one) == data
    one = again()
    numbers = array.array("I", [0] * 25)
    count = one.read(100, numbers)
    found += [count, numbers.tobytes()]
    rest(one)
    one = again()
    large = bytearray(b"\xee" * 64)
    count = one.read(16, memoryview(large)[24:40])
    found += [count, bytes(large)]
    rest(one)
    one = again()
    square = memoryview(bytearray(16)).cast("B", (4, 4))
    count = one.read(16, square)
    found += [count, square.tobytes()]
    rest(one)
    found.append(one.read(10, bytearray()))
    return found


def test_reads_into_any_buffer_as_ssl(certificates: Certificates) -> None:
    ours = read_steps(certificates, SSLContext, 1024)
    assert ours == read_steps(certificates, ssl.SSLContext, 1024)


def test_read_never_touches_a_buffer_beyond_n(certificates: Certificates) -> None:
    pair = bios(certificates, SSLContext).handshake()
    pair.server.write(b"x" * 100)
    pair.move()
    buffer = bytearray(b"." * 100)
    assert pair.client.read(30, buffer) == 30
    assert buffer == b"x" * 30 + b"." * 70
    assert pair.client.pending() == 70
    assert pair.client.read(70) == b"x" * 70


@each_version
@pytest.mark.parametrize("size", [1, MAX_RECORD - 1, MAX_RECORD, MAX_RECORD + 1, 100_000])
def test_reads_of_asyncios_size_get_all(
    certificates: Certificates, version: ssl.TLSVersion, size: int
) -> None:
    pair = bios(certificates, SSLContext, version).handshake()
    data = bytes(i * 7 & 255 for i in range(size))
    for into in (False, True):
        assert pair.server.write(data) == size
        pair.move()
        got = b""
        while len(got) < size:
            buffer = bytearray(ASKED_BY_ASYNCIO)
            count = pair.client.read(ASKED_BY_ASYNCIO, buffer) if into else 0
            got += bytes(buffer[:count]) if into else pair.client.read(ASKED_BY_ASYNCIO)
        assert got == data
        with pytest.raises(ssl.SSLWantReadError):
            pair.client.read(ASKED_BY_ASYNCIO)
        assert pair.client.pending() == 0


def test_data_behind_a_late_ticket_are_read_at_once(certificates: Certificates) -> None:
    """A full record is read, and what follows is looked for; then a ticket and data come in
    one piece: an event loop gets no other chance to read them.
    """
    pair = Wire(client_context(certificates), server_context(certificates)).handshake()
    pair.say(bytes(MAX_RECORD))
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.read(ASKED_BY_ASYNCIO)
    pair.server.write(bytes(MAX_RECORD))
    pair.move()
    assert pair.client.read(ASKED_BY_ASYNCIO) == bytes(MAX_RECORD)
    pair.server._sslobj._session.ticket_send(1)
    pair.server.write(b"behind it")
    pair.move()
    assert pair.client.read(ASKED_BY_ASYNCIO) == b"behind it"


def test_more_may_be_asked_for_than_there_will_ever_be(certificates: Certificates) -> None:
    pair = bios(certificates, SSLContext).handshake()
    for n in (1 << 31, 1 << 40):
        pair.server.write(b"little")
        pair.move()
        assert pair.client.read(n) == b"little"


def test_bytes_fed_one_at_a_time_come_out(certificates: Certificates) -> None:
    pair = bios(certificates, SSLContext).handshake()
    pair.say()
    pair.server.write(b"slowly")
    incoming = pair.ends[0].incoming
    for octet in pair.ends[1].outgoing.read():
        with pytest.raises(ssl.SSLWantReadError):
            pair.client.read(10)
        incoming.write(bytes([octet]))
    assert pair.client.read(10) == b"slowly"


def test_read_and_write_make_the_handshake_if_nobody_has(certificates: Certificates) -> None:
    """Trap 19."""
    pair = bios(certificates, SSLContext)
    for _ in range(3):
        with pytest.raises(ssl.SSLWantReadError):
            pair.client.read(10)
        pair.move()
        with pytest.raises(ssl.SSLWantReadError):
            pair.server.read(10)
        pair.move()
    assert pair.client.version() == "TLSv1.3"
    assert pair.client.write(b"data") == 4
    pair.move()
    assert pair.server.read(10) == b"data"


# -- writing ----------------------------------------------------------------------------------


@each_version
@each_library
def test_writes_of_any_buffer_arrive(
    certificates: Certificates, library: Library, version: ssl.TLSVersion
) -> None:
    pair = bios(certificates, library, version).handshake()
    cube = memoryview(bytes(range(24))).cast("B", (2, 3, 4))
    numbers = array.array("d", [1.5, 2.5])
    for data in (b"bytes", bytearray(b"bytearray"), memoryview(b"a view")[2:], numbers, cube):
        raw = bytes(memoryview(data).cast("B"))
        assert pair.client.write(data) == len(raw)  # type: ignore[arg-type]
        pair.move()
        assert pair.server.read(100) == raw
    assert pair.client.write(b"") == 0
    pair.move()
    with pytest.raises(ssl.SSLWantReadError):
        pair.server.read(100)


@each_version
@each_library
def test_a_large_write_into_a_bio_is_complete(
    certificates: Certificates, library: Library, version: ssl.TLSVersion
) -> None:
    """Trap 1: trio and anyio do not look at the number."""
    pair = bios(certificates, library, version).handshake()
    data = bytes(range(250)) * 20_000
    assert pair.client.write(data) == len(data) == 5_000_000
    pair.move()
    got = bytearray()
    while len(got) < len(data):
        got += pair.server.read(ASKED_BY_ASYNCIO)
    assert got == data


def test_objects_cannot_be_pickled_or_copied(certificates: Certificates) -> None:
    import copy
    import pickle

    pair = bios(certificates, SSLContext).handshake()
    pair.say()
    for one in (pair.client.context, pair.server.context):
        for call in (pickle.dumps, copy.copy, copy.deepcopy):
            assert isinstance(failure(call, one), TypeError)
    for call in (pickle.dumps, copy.copy, copy.deepcopy):
        assert isinstance(failure(call, pair.client.session), TypeError)
    assert isinstance(failure(pickle.dumps, pair.client), TypeError)


# -- chains -----------------------------------------------------------------------------------


def chain_of(certificates: Certificates) -> list[bytes]:
    pems = certificates.certificate.decode().split("-----END CERTIFICATE-----\n")
    end = "-----END CERTIFICATE-----\n"
    return [ssl.PEM_cert_to_DER_cert(pem + end) for pem in pems if pem.strip()]


@each_version
def test_chains_are_those_of_the_peer_also_when_resumed(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    sent = chain_of(certificates)
    anchor = ssl.PEM_cert_to_DER_cert(certificates.trust.decode())
    client = client_context(certificates, version=version)
    server = server_context(certificates, ssl.SSLContext, version)
    for number in range(2):
        pair = Wire(client, server).handshake()
        pair.say()
        assert pair.client.session_reused == bool(number)
        engine = pair.client._sslobj
        unverified, verified = engine.get_unverified_chain(), engine.get_verified_chain()
        assert [one.public_bytes(2) for one in unverified] == sent
        assert [one.public_bytes(2) for one in verified] == [*sent, anchor]
        assert verified[0].public_bytes() == ssl.DER_cert_to_PEM_cert(sent[0])
        assert (
            verified[0].get_info()["subjectAltName"] == pair.client.getpeercert()["subjectAltName"]
        )
        assert pair.client.getpeercert(binary_form=True) == sent[0]


# -- key log ----------------------------------------------------------------------------------


@each_version
@pytest.mark.parametrize("side", [0, 1], ids=["client", "server"])
def test_key_log_holds_the_secrets_that_the_other_end_has(
    certificates: Certificates, version: ssl.TLSVersion, side: int
) -> None:
    def lines(name: str) -> set[str]:
        text = (certificates.folder / f"{name}-{side}-{version.name}").read_text()
        return {line for line in text.splitlines() if line and not line.startswith("#")}

    contexts = [client_context(certificates, version=version), server_context(certificates)]
    contexts[1 - side] = (client_context, server_context)[1 - side](
        certificates, ssl.SSLContext, version
    )
    contexts[side].keylog_filename = str(certificates.folder / f"ours-{side}-{version.name}")
    contexts[1 - side].keylog_filename = str(certificates.folder / f"ssl-{side}-{version.name}")
    pair = Wire(*contexts).handshake()
    pair.say()
    ours, theirs = lines("ours"), lines("ssl")
    words = {line.split()[0] for line in ours}
    if version == ssl.TLSVersion.TLSv1_2:
        assert words == {"CLIENT_RANDOM"}
    else:
        assert words >= {
            "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
            "SERVER_HANDSHAKE_TRAFFIC_SECRET",
            "CLIENT_TRAFFIC_SECRET_0",
            "SERVER_TRAFFIC_SECRET_0",
        }
    shared = {line for line in theirs if line.split()[0] in words}
    assert {line.lower() for line in shared} == {
        line.lower() for line in ours if line.split()[0] in {word.split()[0] for word in theirs}
    }
    assert {line.split()[0] for line in shared} >= words - {"EARLY_EXPORTER_MASTER_SECRET"}
