"""The wheel: what is in it, that it works alone, and what a failed build says."""

import email
import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def copy_of_the_sources(folder: Path) -> Path:
    """So that builds side by side do not meet, and nothing built before is taken along."""
    copy = folder / "source"
    wanted = ["pyproject.toml", "build_ffi.py", "README.md", "LICENSE", "gnutls_resume"]
    copy.mkdir(parents=True)
    subprocess.run(["cp", "-R", *(ROOT / name for name in wanted), copy], check=True)
    for leftover in copy.glob("gnutls_resume/*.so"):
        leftover.unlink()
    return copy


def build(source: Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-v", "--no-deps", "-w", folder, source],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("wheel")
    done = build(copy_of_the_sources(folder), folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel, done.stdout + done.stderr


def test_one_wheel_serves_every_python(built: tuple[Path, str]) -> None:
    wheel, _ = built
    assert "-cp311-abi3-" in wheel.name


def test_the_compiler_has_nothing_to_warn_of(built: tuple[Path, str]) -> None:
    _, output = built
    assert "-Wall" in output
    assert not re.search(r"\.[ch]:\d+:.*warning:", output)


def test_the_wheel_holds_the_package_and_nothing_else(built: tuple[Path, str]) -> None:
    wheel, _ = built
    names = zipfile.ZipFile(wheel).namelist()
    assert {"gnutls_resume/py.typed", "gnutls_resume/_gnutls.pyi"} <= set(names)
    kinds = {Path(name).suffix for name in names if name.startswith("gnutls_resume/")}
    assert kinds == {".py", ".pyi", ".typed", ".so"}
    tops = {name.split("/")[0].partition("-")[0] for name in names}
    assert tops == {"gnutls_resume"}


def test_cffi_is_all_it_needs(built: tuple[Path, str]) -> None:
    wheel, _ = built
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith("METADATA"))
    metadata = email.message_from_bytes(archive.read(name))
    needed = metadata.get_all("Requires-Dist") or []
    always = {line for line in needed if "extra ==" not in line}
    assert {line.split(">")[0] for line in always} == {"cffi"}
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"


def test_the_wheel_works_in_an_empty_environment(built: tuple[Path, str], tmp_path: Path) -> None:
    wheel, _ = built
    venv.create(tmp_path / "empty", with_pip=True)
    python = tmp_path / "empty/bin/python"
    subprocess.run([python, "-m", "pip", "install", "-q", wheel], check=True, timeout=300)
    code = (
        "import gnutls_resume; print(gnutls_resume.__file__);"
        "gnutls_resume.binding.Session('client', gnutls_resume.Credentials()).close()"
    )
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    where = subprocess.check_output([python, "-c", code], cwd=tmp_path, env=outside, text=True)
    assert Path(where.strip()).is_relative_to(tmp_path / "empty")


def test_the_source_archive_holds_all_that_a_build_needs(tmp_path: Path) -> None:
    source = copy_of_the_sources(tmp_path)
    command = [sys.executable, "-m", "build", "--sdist", "--outdir", tmp_path, source]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    (archive,) = tmp_path.glob("*.tar.gz")
    done = build(archive, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.glob("*.whl"))


def test_missing_headers_are_told_with_the_packages_to_install(tmp_path: Path) -> None:
    done = build(
        copy_of_the_sources(tmp_path),
        tmp_path,
        PKG_CONFIG_LIBDIR=str(tmp_path),
        PKG_CONFIG_PATH=str(tmp_path),
    )
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "libgnutls28-dev" in said
    assert "gnutls-devel" in said
    assert "Homebrew" in said


def test_a_missing_compiler_is_told_with_the_packages_to_install(tmp_path: Path) -> None:
    done = build(copy_of_the_sources(tmp_path), tmp_path, CC=str(tmp_path / "no-such-compiler"))
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "python3-dev" in said
    assert "xcode-select" in said


def test_the_tests_run_on_a_standard_build() -> None:
    assert not sysconfig.get_config_var("Py_GIL_DISABLED"), "the abi3 wheel is not for this build"


def test_headers_without_an_optional_function_build_too(tmp_path: Path) -> None:
    """The headers of 3.7.3, as far as it matters: without gnutls_ciphersuite_get."""
    flags = ["pkg-config", "--variable=includedir", "gnutls"]
    folder = Path(subprocess.check_output(flags, text=True).strip() or "/usr/include")
    (header,) = {path for path in folder.rglob("gnutls.h") if path.parent.name == "gnutls"}
    older = tmp_path / "include/gnutls"
    subprocess.run(["mkdir", "-p", older.parent], check=True)
    subprocess.run(["cp", "-R", header.parent, older], check=True)
    text = re.sub(r"(GNUTLS_VERSION_NUMBER) 0x\w+", r"\1 0x030703", header.read_text())
    text = re.sub(r"const char \*\s*gnutls_ciphersuite_get\([^;]*;", "", text)
    (older / "gnutls.h").write_text(text)

    done = build(copy_of_the_sources(tmp_path), tmp_path, CFLAGS=f"-I{older.parent}")
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "unpacked")
    code = "from gnutls_resume.binding import _ffi; print(_ffi.missing)"
    said = subprocess.check_output(
        [sys.executable, "-c", code], cwd=tmp_path / "unpacked", text=True
    )
    assert said == "{'gnutls_ciphersuite_get': '3.7.4'}\n"
