"""Builds ``gnutls_resume._gnutls``: declarations from ``binding/cdef``, helpers from ``binding``.

A new topic is a new header in ``cdef/``; nothing has to be listed here. ``types.h`` comes first
because the others use its names.
"""

import hashlib
import shutil
import subprocess
import sysconfig
from pathlib import Path

import cffi
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, PlatformError

BINDING = Path("gnutls_resume/binding")
CDEF = sorted(BINDING.glob("cdef/*.h"), key=lambda path: (path.name != "types.h", path.name))
HELPERS = [
    BINDING / name
    for name in (
        "compat.h",
        "transport.c",
        "client_hello.c",
        "session.c",
        "record.c",
        "envelope.c",
    )
]
OLDEST_GNUTLS = "3.7.2"

NO_GNUTLS = (
    "gnutls_resume needs the headers of GnuTLS {0} or newer: install libgnutls28-dev and "
    "pkg-config (Debian, Ubuntu), gnutls-devel and pkgconf (Fedora) or gnutls and pkgconf "
    "(Homebrew on macOS)."
)
NO_COMPILER = (
    "gnutls_resume needs a C compiler and Python's headers: install gcc, libc6-dev and "
    "python3-dev (Debian, Ubuntu), gcc and python3-devel (Fedora) or the Xcode command line "
    "tools with xcode-select --install (macOS)."
)


def fingerprint() -> str:
    """SHA-256 over the sources of the compiled module; ``_ffi.py`` compares it at import."""
    digest = hashlib.sha256()
    for path in sorted(BINDING.rglob("*.[ch]")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def make_ffi() -> cffi.FFI:
    ffi = cffi.FFI()
    for path in CDEF:
        ffi.cdef(path.read_text())
    source = "".join(f'#line 1 "{path.as_posix()}"\n{path.read_text()}' for path in HELPERS)
    source += f'\nstatic const char *const GR_FINGERPRINT = "{fingerprint()}";\n'
    ffi.set_source("gnutls_resume._gnutls", source)
    return ffi


def pkg_config(option: str) -> list[str]:
    command = shutil.which("pkg-config") or shutil.which("pkgconf")
    if command is None:
        raise PlatformError(NO_GNUTLS.format(OLDEST_GNUTLS))
    arguments = [command, option, f"gnutls >= {OLDEST_GNUTLS}"]
    found = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        raise PlatformError(NO_GNUTLS.format(OLDEST_GNUTLS))
    return found.stdout.split()


class BuildExt(build_ext):
    def run(self) -> None:
        (extension,) = self.extensions
        extension.extra_compile_args += pkg_config("--cflags")
        extension.extra_link_args += pkg_config("--libs")
        generated = Path(self.build_temp) / "_gnutls.c"
        generated.parent.mkdir(parents=True, exist_ok=True)
        make_ffi().emit_c_code(str(generated))
        extension.sources = [str(generated)]
        try:
            super().run()
        except CompileError as error:
            header = Path(sysconfig.get_path("include")) / "Python.h"
            if shutil.which(self.compiler.compiler_so[0]) and header.exists():
                raise
            raise PlatformError(NO_COMPILER) from error

    def get_source_files(self) -> list[str]:
        return ["build_ffi.py", *(path.as_posix() for path in [*CDEF, *HELPERS])]


class BuildWheel(bdist_wheel):
    """A wheel for every CPython from the oldest supported on, except free-threaded ones."""

    def initialize_options(self) -> None:
        super().initialize_options()
        if not sysconfig.get_config_var("Py_GIL_DISABLED"):
            self.py_limited_api = "cp311"
