"""Servers that take no context of ssl's: if one of them learns to, a case is due."""

import ast
import importlib.metadata
import ssl
from pathlib import Path

import pytest
from OpenSSL import SSL
from waitress.adjustments import Adjustments

pytestmark = pytest.mark.libraries


def parse(package: str, file: str) -> ast.Module:
    """Read, not imported: some install an event loop, or need settings."""
    path = importlib.metadata.distribution(package).locate_file(file)
    return ast.parse(Path(str(path)).read_text())


def test_waitress_has_no_tls() -> None:
    names = [name for name, _ in Adjustments._params]
    assert "url_scheme" in names  # they are what can be set
    assert not [name for name in names if "ssl" in name or "tls" in name]


def test_pyftpdlib_wraps_its_sockets_with_pyopenssl() -> None:
    calls = [
        ast.unparse(node.func)
        for node in ast.walk(parse("pyftpdlib", "pyftpdlib/handlers/ftps/ssl.py"))
        if isinstance(node, ast.Call)
    ]
    assert "SSL.Connection" in calls
    with pytest.raises(TypeError):
        SSL.Connection(ssl.create_default_context(), None)


def test_granian_has_no_parameter_for_a_context() -> None:
    arguments = [
        argument.arg
        for node in ast.walk(parse("granian", "granian/server/common.py"))
        if isinstance(node, ast.FunctionDef) and node.name == "__init__"
        for argument in (*node.args.args, *node.args.kwonlyargs)
    ]
    assert "ssl_cert" in arguments
    assert not [name for name in arguments if "context" in name]
