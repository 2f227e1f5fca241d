"""Writes what is derived from the code: the stub of the compiled module, and the function table.

``./dev generate`` after a change to ``binding/cdef/`` or to a docstring of the binding;
``test_surface.py`` fails while either is old.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from _cffi_backend import CType

from gnutls_resume import binding
from gnutls_resume.binding._ffi import ffi, lib

ROOT = Path(__file__).parent.parent
STUB = ROOT / "gnutls_resume/_gnutls.pyi"
README = ROOT / "README.md"
FUNCTIONS = ROOT / "docs/functions.md"
START, END = "<!-- generated: {} -->", "<!-- end -->"

# Declared, and not wrapped by a name of its own.
USED_WITHIN: dict[str, str] = {
    "gnutls_aead_cipher_decryptv2": "`SealingKey`",
    "gnutls_aead_cipher_deinit": "`SealingKey`",
    "gnutls_aead_cipher_encryptv2": "`SealingKey`",
    "gnutls_aead_cipher_init": "`SealingKey`",
    "gnutls_alert_get_name": "`AlertError.alert_name`",
    "gnutls_anti_replay_deinit": "`AntiReplay`",
    "gnutls_anti_replay_init": "`AntiReplay`",
    "gnutls_anti_replay_set_add_function": "`AntiReplay`",
    "gnutls_anti_replay_set_ptr": "`AntiReplay`",
    "gnutls_anti_replay_set_window": "`AntiReplay`",
    "gnutls_certificate_allocate_credentials": "`Credentials`",
    "gnutls_certificate_free_credentials": "`Credentials`",
    "gnutls_certificate_set_x509_crl_mem": "`Credentials`",
    "gnutls_certificate_set_x509_trust_mem": "`Credentials`",
    "gnutls_check_version": "`GNUTLS_VERSION`",
    "gnutls_cipher_suite_info": "`SSLContext.get_ciphers`",
    "gnutls_error_is_fatal": "`GnuTLSError.fatal`",
    "gnutls_hkdf_expand": "`SealingKey`, `TicketSecret.ratchet`",
    "gnutls_hkdf_extract": "`SealingKey`",
    "gnutls_load_file": "`Credentials`",
    "gnutls_memset": "`TicketKey.wipe`, `TicketSecret.wipe`, `SealingKey.wipe`",
    "gnutls_pk_algorithm_get_name": "`Certificate.public_key_algorithm`",
    "gnutls_priority_deinit": "`Session`",
    "gnutls_priority_get_cipher_suite_index": "`SSLContext.get_ciphers`",
    "gnutls_session_get_ptr": "callbacks",
    "gnutls_session_get_verify_cert_status": "`VerificationError.status`",
    "gnutls_strerror": "`GnuTLSError.text`",
    "gnutls_strerror_name": "`GnuTLSError.name`",
    "gnutls_subject_alt_names_deinit": "`Certificate.subject_alt_names`",
    "gnutls_subject_alt_names_init": "`Certificate.subject_alt_names`",
    "gnutls_x509_aia_deinit": "`Certificate.authority_info_access`",
    "gnutls_x509_aia_init": "`Certificate.authority_info_access`",
    "gnutls_x509_crl_deinit": "`TrustList`",
    "gnutls_x509_crl_dist_points_deinit": "`Certificate.crl_distribution_points`",
    "gnutls_x509_crl_dist_points_init": "`Certificate.crl_distribution_points`",
    "gnutls_x509_crl_get_raw_issuer_dn": "`TrustList`",
    "gnutls_x509_crl_init": "`TrustList`",
    "gnutls_x509_crl_verify": "`TrustList`",
    "gnutls_x509_crt_check_revocation": "`TrustList`",
    "gnutls_x509_crt_deinit": "`Certificate`",
    "gnutls_x509_crt_get_extension_by_oid2": "`Certificate`",
    "gnutls_x509_crt_init": "`Certificate`",
    "gnutls_x509_dn_deinit": "`rdn_sequence`",
    "gnutls_x509_dn_init": "`rdn_sequence`",
    "gnutls_x509_ext_import_aia": "`Certificate.authority_info_access`",
    "gnutls_x509_ext_import_crl_dist_points": "`Certificate.crl_distribution_points`",
    "gnutls_x509_ext_import_subject_alt_names": "`Certificate.subject_alt_names`",
    "gnutls_x509_trust_list_add_cas": "`TrustList`",
    "gnutls_x509_trust_list_deinit": "`TrustList`",
    "gnutls_x509_trust_list_init": "`TrustList`",
}

# Reached through a macro or a helper of ours, so not in the compiled module by that name.
THROUGH_HELPERS = {
    "gnutls_db_set_ptr",
    "gnutls_db_set_remove_function",
    "gnutls_db_set_retrieve_function",
    "gnutls_db_set_store_function",
    "gnutls_deinit",
    "gnutls_init",
    "gnutls_handshake_set_hook_function",
    "gnutls_record_recv",
    "gnutls_record_send",
    "gnutls_session_ticket_send",
    "gnutls_handshake_set_post_client_hello_function",
    "gnutls_transport_set_ptr",
}


# -- the stub ---------------------------------------------------------------------------------


def stub() -> str:
    lines = [
        "# Written by tests/generate.py from the compiled module; do not edit.",
        "",
        "from _cffi_backend import FFI, _CDataBase",
        "",
        "_Pointer = _CDataBase | bytes",
        "",
        "class _Lib:",
        *sorted(f"    {line}" for name in dir(lib) for line in declaration(name)),
        "",
        "ffi: FFI",
        "lib: _Lib",
    ]
    return "\n".join(lines) + "\n"


def declaration(name: str) -> Iterator[str]:
    value = getattr(lib, name)
    if isinstance(value, int):
        yield f"{name}: int"
        return
    if not inspect.isbuiltin(value):  # a variable, or a function that Python answers
        yield f"{name}: _CDataBase"
        return
    kind: CType = ffi.typeof(value)  # type: ignore[arg-type] # it takes a function too
    arguments = [f"_{i}: {python_type(argument)}" for i, argument in enumerate(kind.args)]
    result = python_type(kind.result, result=True)
    yield f"def {name}({', '.join(['self', *arguments, '/'])}) -> {result}: ..."


def python_type(kind: CType, *, result: bool = False) -> str:
    if kind.kind == "void":
        return "None"
    if kind.kind in {"primitive", "enum"}:
        return "float" if kind.cname == "double" else "int"
    return "_CDataBase" if result or kind.kind == "struct" else "_Pointer"


# -- the function table -----------------------------------------------------------------------


def wrapped() -> dict[str, list[str]]:
    """C function -> the Python names whose docstrings name it."""
    found: dict[str, list[str]] = {}
    for name, docstring in docstrings():
        for function in re.findall(r"``(gnutls_\w+(?<!_t))``", docstring):
            names = found.setdefault(function, [])
            if name not in names:
                names.append(name)
    return found


def docstrings() -> Iterator[tuple[str, str]]:
    for name in binding.__all__:
        value = getattr(binding, name)
        if inspect.isfunction(value):
            yield name, inspect.getdoc(value) or ""
        elif inspect.isclass(value):
            yield name, inspect.getdoc(value) or ""
            for member, inner in vars(value).items():
                function = inner.__func__ if isinstance(inner, classmethod) else inner
                function = function.fget if isinstance(function, property) else function
                if inspect.isfunction(function) and not member.startswith("_"):
                    yield f"{name}.{member}", inspect.getdoc(function) or ""


def functions() -> list[str]:
    names = {name for name in dir(lib) if name.startswith("gnutls_")}
    return sorted(names | THROUGH_HELPERS)


def table(pattern: str = "") -> str:
    lines = ["| C function | Python |", "|---|---|"]
    names = wrapped()
    for function in functions():
        if re.match(pattern, function):
            python = ", ".join(f"`{name}`" for name in names.get(function, []))
            lines.append(f"| `{function}` | {python or USED_WITHIN.get(function, '?')} |")
    return "\n".join(lines)


RESUMPTION = (
    r"gnutls_(session_(get_data2|set_data|get_id2|is_resumed|resumption_requested|ticket_\w+)"
    r"|db_\w+|anti_replay_enable|record_\w+_early_data\w*|\w*max_early_data_size)$"
)


def with_table(text: str, name: str, content: str) -> str:
    start = START.format(name)
    before, rest = text.split(start, 1)
    _, after = rest.split(END, 1)
    return f"{before}{start}\n{content}\n{END}{after}"


def generated() -> dict[Path, str]:
    return {
        STUB: stub(),
        README: with_table(README.read_text(), "resumption", table(RESUMPTION)),
        FUNCTIONS: with_table(FUNCTIONS.read_text(), "functions", table()),
    }


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text)
