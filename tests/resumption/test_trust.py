"""What is trusted: a set, whatever the files, and read again when they change."""

import os
import random
import threading
from pathlib import Path

import certify
import pytest
from certify import Issued
from hypothesis import given
from hypothesis import strategies as st

from gnutls_resume.resumption import trust
from gnutls_resume.resumption.trust import NOTHING, Trust, from_file, from_folder, from_text


@pytest.fixture(scope="module")
def roots() -> list[Issued]:
    return [certify.issue(f"root {i}", ca=True) for i in range(3)]


# -- the set ----------------------------------------------------------------------------------


@given(st.lists(st.binary(min_size=1, max_size=4), max_size=6), st.randoms())
def test_order_and_repetition_do_not_count(ders: list[bytes], chance: random.Random) -> None:
    mixed = ders + chance.sample(ders, len(ders) // 2)
    chance.shuffle(mixed)
    assert Trust.of(mixed).digest == Trust.of(ders).digest
    assert Trust.of([], mixed).digest == Trust.of([], ders).digest


@given(*[st.sets(st.binary(min_size=1, max_size=2), max_size=4)] * 4)
def test_other_sets_have_other_digests(
    anchors: set[bytes], crls: set[bytes], other_anchors: set[bytes], other_crls: set[bytes]
) -> None:
    same = (anchors, crls) == (other_anchors, other_crls)
    digests = Trust.of(anchors, crls).digest, Trust.of(other_anchors, other_crls).digest
    assert (digests[0] == digests[1]) is same


def test_authority_is_no_revocation_list() -> None:
    """The same bytes, trusted or a list, are two different things."""
    assert Trust.of([b"x"]).digest != Trust.of([], [b"x"]).digest
    assert Trust.of([b"x"], [b"y"]).digest != Trust.of([b"y"], [b"x"]).digest


def test_union_has_the_authorities_and_the_lists_of_both() -> None:
    both = Trust.of([b"a"], [b"x"]) | Trust.of([b"b"], [b"y"])
    assert both.digest == Trust.of([b"b", b"a"], [b"y", b"x"]).digest
    assert Trust.of([b"a"]) | Trust.of([], [b"x"])


def test_union_with_what_is_there_already_is_the_same_object() -> None:
    """Libraries load the same file for every connection: that must cost nothing."""
    held = Trust.of([b"a", b"b"], [b"x"])
    assert held | Trust.of([b"b"]) is held
    assert held | Trust.of([], [b"x"]) is held
    assert held | NOTHING is held
    assert held | Trust.of([], [b"y"]) is not held


def test_union_changes_neither() -> None:
    one, other = Trust.of([b"a"]), Trust.of([b"b"])
    before = one.digest
    assert (one | other).digest != before
    assert (len(one.anchors), len(other.anchors), one.digest) == (1, 1, before)


def test_repr_says_nothing() -> None:
    assert repr(Trust.of([b"anchor"], [b"list"])) == "Trust()"


# -- files ------------------------------------------------------------------------------------


def test_pem_and_der_are_the_same_trust(roots: list[Issued]) -> None:
    one, other, _ = roots
    assert from_text(one.pem + other.pem).digest == from_text(other.der + one.der).digest


def test_file_holds_authorities_and_lists(tmp_path: Path, roots: list[Issued]) -> None:
    path = tmp_path / "trust.pem"
    path.write_bytes(certify.crl(roots[0]) + roots[0].pem)
    found = from_file(str(path))
    assert (len(found.anchors), len(found.crls)) == (1, 1)


def test_file_is_read_once(tmp_path: Path, roots: list[Issued]) -> None:
    path = tmp_path / "trust.pem"
    path.write_bytes(roots[0].pem)
    assert from_file(str(path)) is from_file(str(path))


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        from_file(str(tmp_path / "missing.pem"))


def replace_by_rename(path: Path, data: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(data)
    new.replace(path)


def write_in_place(path: Path, data: bytes) -> None:
    """The same inode, size and time of change: only the kernel's own stamp is another."""
    before = path.stat()
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # its clock ticks in milliseconds
        with path.open("r+b") as file:
            file.write(data)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


each_change = pytest.mark.parametrize("change", [replace_by_rename, write_in_place])


def padded(one: Issued) -> bytes:
    return one.pem.ljust(1000, b"\n")


@each_change
def test_file_that_has_changed_is_read_again(
    tmp_path: Path, roots: list[Issued], change: object
) -> None:
    assert callable(change)
    path = tmp_path / "trust.pem"
    for one in roots:
        if path.exists():
            change(path, padded(one))
        else:
            path.write_bytes(padded(one))
        assert list(from_file(str(path)).anchors.values()) == [one.der]


@each_change
def test_folder_that_has_changed_is_read_again(
    tmp_path: Path, roots: list[Issued], change: object
) -> None:
    assert callable(change)
    path = tmp_path / "01234567.0"
    for one in roots:
        if path.exists():
            change(path, padded(one))
        else:
            path.write_bytes(padded(one))
        assert list(from_folder(str(tmp_path)).anchors.values()) == [one.der]


def test_same_name_from_another_folder_is_another_file(
    tmp_path: Path, roots: list[Issued], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path leads elsewhere after a chdir."""
    for i in range(2):
        (tmp_path / str(i) / "certs").mkdir(parents=True)
        (tmp_path / str(i) / "trust.pem").write_bytes(roots[i].pem)
        (tmp_path / str(i) / "certs" / "01234567.0").write_bytes(roots[i].pem)
    for i in range(2):
        monkeypatch.chdir(tmp_path / str(i))
        assert list(from_file("trust.pem").anchors.values()) == [roots[i].der]
        assert list(from_folder("certs").anchors.values()) == [roots[i].der]


# -- folders ----------------------------------------------------------------------------------


def test_folder_takes_the_names_of_openssl_rehash_only(tmp_path: Path, roots: list[Issued]) -> None:
    (tmp_path / "01234567.0").write_bytes(roots[0].pem)
    (tmp_path / "01234567.r0").write_bytes(certify.crl(roots[0]))
    for name in ("root.pem", "0123456.0", "01234567.0.bak", "01234567", "0123456G.0"):
        (tmp_path / name).write_bytes(roots[1].pem)
    found = from_folder(str(tmp_path))
    assert list(found.anchors.values()) == [roots[0].der]
    assert len(found.crls) == 1


def test_file_taken_out_of_a_folder_is_trusted_no_longer(
    tmp_path: Path, roots: list[Issued]
) -> None:
    for i in range(2):
        (tmp_path / f"0123456{i}.0").write_bytes(roots[i].pem)
    assert len(from_folder(str(tmp_path)).anchors) == 2
    (tmp_path / "01234561.0").unlink()
    assert list(from_folder(str(tmp_path)).anchors.values()) == [roots[0].der]


def test_folder_with_rubbish_gives_what_is_good(tmp_path: Path, roots: list[Issued]) -> None:
    (tmp_path / "01234567.0").write_bytes(roots[0].pem)
    (tmp_path / "01234567.1").write_bytes(b"-----BEGIN CERTIFICATE-----\nbroken")
    (tmp_path / "01234567.2").write_bytes(bytes(range(256)))
    (tmp_path / "01234567.3").symlink_to(tmp_path / "nowhere")
    (tmp_path / "01234567.4").mkdir()
    assert list(from_folder(str(tmp_path)).anchors.values()) == [roots[0].der]


def test_folder_that_is_missing_is_nothing(tmp_path: Path) -> None:
    assert from_folder(str(tmp_path / "missing")) == NOTHING
    assert not from_folder(str(tmp_path / "missing"))


def test_many_threads_read_a_file_once(
    tmp_path: Path, roots: list[Issued], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "trust.pem"
    path.write_bytes(roots[0].pem)
    read: list[Path] = []
    original = Path.read_bytes

    def counted(self: Path) -> bytes:
        read.append(self)
        return original(self)

    monkeypatch.setattr(trust.Path, "read_bytes", counted)
    found: list[Trust] = []
    together = threading.Barrier(8)

    def work() -> None:
        together.wait()
        found.append(from_file(str(path)))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert {id(one) for one in found} == {id(found[0])}
    assert read == [path]
