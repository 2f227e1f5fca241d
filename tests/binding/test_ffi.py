"""What stands between the package and a library, or a build, that does not fit."""

import subprocess
import sys

import pytest

from gnutls_resume.binding import _ffi
from gnutls_resume.errors import FeatureMissingError, GnuTLSError

# Imports the package over a compiled module that says something else of itself.
PRETEND = """
import sys, types, importlib.machinery, importlib.util
name = "gnutls_resume._gnutls"
folder = importlib.util.find_spec("gnutls_resume").submodule_search_locations
spec = importlib.machinery.PathFinder.find_spec(name, folder)
real = importlib.util.module_from_spec(spec)
spec.loader.exec_module(real)
class Lib:
    def __getattr__(self, name):
        return getattr(real.lib, name)
text = real.ffi.new("char[]", {version!r})
Lib.gnutls_check_version = lambda self, wanted: (
    text if wanted == real.ffi.NULL or {new_enough} else real.ffi.NULL)
{more}
fake = types.ModuleType(name)
fake.ffi, fake.lib = real.ffi, Lib()
sys.modules[name] = fake
import gnutls_resume
"""


def complaint(version: bytes = b"3.8.0", *, new_enough: bool = True, more: str = "") -> str:
    code = PRETEND.format(version=version, new_enough=new_enough, more=more)
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    return done.stderr.strip().rpartition("\n")[2]


def test_the_pretence_itself_imports() -> None:
    assert complaint() == ""


def test_an_older_library_is_refused_in_one_sentence() -> None:
    assert complaint(b"3.6.16", new_enough=False) == (
        "ImportError: gnutls_resume needs GnuTLS 3.7.2 or newer; 3.6.16 is loaded"
    )


def test_a_build_of_other_sources_is_refused_where_the_sources_are() -> None:
    said = complaint(more='Lib.GR_FINGERPRINT = real.ffi.new("char[]", b"other")')
    if (_ffi.Path(_ffi.__file__).parent / "cdef").exists():
        assert said.startswith("ImportError: gnutls_resume._gnutls was built from older sources")
    else:
        assert said == "", "a wheel has no sources to compare with"


def test_a_missing_module_says_how_to_build_it() -> None:
    code = "import sys; sys.modules['gnutls_resume._gnutls'] = None; import gnutls_resume"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert "pip install ." in done.stderr.strip().rpartition("\n")[2]


def test_versions_are_numbers_as_gnutls_counts_them() -> None:
    assert _ffi.version_number("3.8.9") == 0x030809
    assert _ffi.version_number("3.7.9-2+deb12u7") == 0x030709
    assert _ffi.version_number(_ffi.GNUTLS_VERSION) >= 0x030702


def test_a_missing_function_names_itself_its_version_and_the_loaded_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(_ffi.missing, "gnutls_of_tomorrow", "9.1.0")
    with pytest.raises(FeatureMissingError) as raised:
        _ffi.require("gnutls_of_tomorrow")
    assert isinstance(raised.value, NotImplementedError | GnuTLSError)
    for part in ("gnutls_of_tomorrow", "9.1.0", _ffi.GNUTLS_VERSION):
        assert part in str(raised.value)
    _ffi.require("gnutls_handshake")
    with pytest.raises(FeatureMissingError, match="99"):
        _ffi.require_version("something", "99.0.0")
