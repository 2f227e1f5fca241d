"""What the package shows to the outside: nothing undocumented, nothing forgotten, nothing stale."""

import inspect
import re
import subprocess
from enum import IntEnum, IntFlag
from pathlib import Path

import generate
import pytest

import gnutls_resume
from gnutls_resume import binding, errors
from gnutls_resume.binding import _ffi, constants

SESSION_METHODS = [
    name
    for name, member in vars(binding.Session).items()
    if inspect.isfunction(member) and not name.startswith("_")
]
# Without a C function of their own; each says so in its docstring.
FOR_CALLBACKS = {
    "hand_over_ticket",
    "store_entry",
    "retrieve_entry",
    "remove_entry",
    "note_db_failure",
}


@pytest.mark.parametrize("path", list(generate.generated()), ids=lambda path: path.name)
def test_generated_text_is_current(path: Path) -> None:
    assert path.read_text() == generate.generated()[path], "run ./dev generate"


def test_every_c_function_is_wrapped_or_listed_with_its_user() -> None:
    lost = set(generate.functions()) - set(generate.wrapped()) - set(generate.USED_WITHIN)
    assert lost == set()


def test_no_listed_function_is_wrapped_or_gone() -> None:
    listed = set(generate.USED_WITHIN)
    assert listed & set(generate.wrapped()) == set()
    assert listed - set(generate.functions()) == set()


def test_no_docstring_names_a_function_that_is_not_bound() -> None:
    assert set(generate.wrapped()) - set(generate.functions()) == set()


@pytest.mark.parametrize("name", SESSION_METHODS)
def test_every_method_of_a_session_names_its_c_function(name: str) -> None:
    docstring = inspect.getdoc(getattr(binding.Session, name)) or ""
    if name in FOR_CALLBACKS:
        assert docstring.startswith("For _callbacks")
    else:
        assert re.search(r"``gnutls_\w+``", docstring), docstring


@pytest.mark.parametrize("module", [gnutls_resume, binding, errors])
def test_every_public_name_exists_and_has_a_docstring(module: object) -> None:
    names: list[str] = module.__all__  # type: ignore[attr-defined]
    assert names == sorted(names, key=str_order)
    for name in names:
        value = getattr(module, name)
        assert isinstance(value, str) or inspect.getdoc(value), name


def str_order(name: str) -> tuple[int, str]:
    """As ruff sorts ``__all__``: constants, classes, the rest."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def test_the_front_has_all_exceptions() -> None:
    assert set(errors.__all__) <= set(gnutls_resume.__all__)


def test_only_one_file_imports_the_compiled_module() -> None:
    """The import linter cannot see it: it is no Python source."""
    package = generate.ROOT / "gnutls_resume"
    found = [path for path in package.rglob("*.py") if "gnutls_resume._gnutls" in path.read_text()]
    assert [path.name for path in found] == ["_ffi.py"]


def test_the_loaded_version_is_told() -> None:
    assert re.fullmatch(r"3\.\d+\.\d+.*", gnutls_resume.GNUTLS_VERSION)
    assert _ffi.at_least("3.7.2")
    assert not _ffi.at_least("99.0.0")


def test_a_build_of_other_sources_is_refused() -> None:
    assert not _ffi.stale_build()


def test_numbers_of_our_own_are_those_of_the_header(tmp_path: Path) -> None:
    """Flags that older headers lack are numbers here, and so are whole groups of bits."""
    groups: dict[str, type[IntEnum | IntFlag]] = {
        "GNUTLS_": constants.InitFlag,
        "GNUTLS_SFLAGS_": constants.SessionFlag,
        "GNUTLS_HANDSHAKE_": constants.HandshakeType,
        "GNUTLS_CERT_": constants.CertificateStatus,
        "GNUTLS_CB_": constants.ChannelBinding,
        "GNUTLS_HOOK_": constants.HookTime,
    }
    renamed = {
        "GNUTLS_HANDSHAKE_CERTIFICATE": "GNUTLS_HANDSHAKE_CERTIFICATE_PKT",
        "GNUTLS_CERT_UNKNOWN_CRITICAL_EXTENSIONS": "GNUTLS_CERT_UNKNOWN_CRIT_EXTENSIONS",
        "GNUTLS_NO_DEFAULT_EXTENSIONS": "GNUTLS_NO_EXTENSIONS",
    }
    lines = []
    for prefix, group in groups.items():
        for member in group:
            first = constants.FLAG_VERSIONS.get(member) if prefix == "GNUTLS_" else None  # type: ignore[call-overload]
            if member is constants.InitFlag.NONE or (first and not _ffi.at_least(first)):
                continue
            name = prefix + str(member.name)
            name = renamed.get(name, name)
            lines.append(f'_Static_assert({name} == {int(member)}, "{name}");')
    source = tmp_path / "numbers.c"
    source.write_text("#include <gnutls/gnutls.h>\n#include <gnutls/x509.h>\n" + "\n".join(lines))
    flags = subprocess.check_output(["pkg-config", "--cflags", "gnutls"], text=True).split()
    done = subprocess.run(
        ["cc", "-fsyntax-only", *flags, source], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert len(lines) > 50
