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

# cffi lets other threads run during every call. These take less time than that: a connection
# makes sixty, and with several threads each would wait sixty times for its turn. None waits for
# the peer, calls Python, or does public-key cryptography.
QUICK = """
    gr_begin gr_blocked gr_callback gr_close gr_decrypt gr_deinit gr_drain gr_ended gr_enter gr_feed
    gr_hurry gr_init gr_leave gr_pending gr_read_error gr_received gr_renew gr_sent gr_ticket_derive
    gr_ticket_offered gr_transport_attach gr_transport_free gr_transport_new gr_unread gr_verify
    gr_wipe_free
    gnutls_alert_get gnutls_alpn_get_selected_protocol gnutls_alpn_set_protocols
    gnutls_certificate_get_peers gnutls_certificate_server_set_request gnutls_cipher_get
    gnutls_cipher_suite_get_name gnutls_db_get_default_cache_expiration gnutls_group_get
    gnutls_kx_get gnutls_mac_get gnutls_memset gnutls_protocol_get_version
    gnutls_record_check_pending gnutls_rnd gnutls_server_name_get gnutls_server_name_set
    gnutls_session_ext_master_secret_status gnutls_session_get_flags gnutls_session_is_resumed
    gnutls_session_set_data gnutls_session_set_verify_function
""".split()  # noqa: SIM905

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


def hold_the_gil(source: str) -> str:
    """The C that cffi writes, without the release of the GIL around the QUICK functions."""
    for name in QUICK:
        head, start, rest = source.partition(f"\n_cffi_f_{name}(")
        body, end, tail = rest.partition("\n}\n")
        for macro in ("  Py_BEGIN_ALLOW_THREADS\n", "  Py_END_ALLOW_THREADS\n"):
            if body.count(macro) != 1:
                raise RuntimeError(f"cffi generates other code than it did: {name}")
            body = body.replace(macro, "")
        source = head + start + body + end + tail
    return source


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
        generated.write_text(hold_the_gil(generated.read_text()))
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
