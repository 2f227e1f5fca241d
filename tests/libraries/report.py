"""docs/libraries.md: what the last whole run has seen, and what cannot be reached, with the reason.

The rows of UNREACHABLE are written by hand; all others come from the cases.
"""

import importlib.metadata
import platform
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from libraries.trial import VERSIONS

from gnutls_resume import GNUTLS_VERSION, HandshakeKind

PAGE = Path(__file__).parents[2] / "docs" / "libraries.md"

HEAD = """\
# Libraries

Give a library the context in place of the one of `ssl`, and its connections resume. Every row is
a test of `tests/libraries/`, which `./dev libraries` runs: the library connects to a server on
loopback, transfers data, and connects again. *First* and *second* tell how these two connections
came about, over TLS 1.3 and TLS 1.2 alike unless it says otherwise. In the recipes `ctx` is
`gnutls_resume.create_default_context()`; a file name is one of `examples/`.

This page is written by `./dev libraries --write`, this time with {python} and GnuTLS {gnutls}
against {openssl}.
"""

UNREACHABLE = {
    "psycopg": "libpq does TLS in C; there is no place for a context",
    "stomp.py": "makes its context inside `attempt_connection`, for every connection",
    "grpcio": "TLS of its own (BoringSSL), in C++",
    "pycurl, curl_cffi": "TLS is libcurl's, in C",
    "aioquic": "TLS 1.3 of its own, for QUIC",
    "granian": "TLS is rustls, in Rust",
    "daphne": "takes Twisted's endpoint strings, which name files",
    "waitress, Django's runserver": "have no TLS",
    "pyftpdlib, mitmproxy": "take a `Context` of pyOpenSSL; not tried with an adapter as Twisted's",
}


@dataclass
class Report:
    """What was seen, by library, direction, what connects and recipe; then by version of TLS."""

    rows: dict[tuple[str, ...], dict[str, list[str]]] = field(default_factory=dict)

    def add(
        self,
        case: pytest.Mark,
        version: str,
        first: Sequence[HandshakeKind],
        second: Sequence[HandshakeKind],
    ) -> None:
        library, connects, recipe = case.args
        direction = case.kwargs.get("direction", "client")
        seen = self.rows.setdefault((library, direction, connects, recipe), {})
        seen[version] = [words(first), words(second)]

    def write(self) -> None:
        python = f"{platform.python_implementation()} {platform.python_version()}"
        openssl = " ".join(ssl.OPENSSL_VERSION.split()[:2])
        lines = [HEAD.format(python=python, gnutls=GNUTLS_VERSION, openssl=openssl)]
        lines += table(
            "library", "version", "direction", "what connects", "first", "second", "recipe"
        )
        for (library, direction, connects, recipe), seen in sorted(
            self.rows.items(), key=lambda item: item[0][0].casefold()
        ):
            first, second = (both(seen, index) for index in (0, 1))
            version = installed(library)
            lines.append(row(library, version, direction, connects, first, second, recipe))
        lines += ["", "Not reachable through a context:", "", *table("library", "reason")]
        lines += [row(*pair) for pair in UNREACHABLE.items()]
        PAGE.write_text("\n".join(lines) + "\n")


def words(kinds: Sequence[HandshakeKind]) -> str:
    words = {
        HandshakeKind.FULL: "new",
        HandshakeKind.RESUMED_TICKET: "reused by ticket",
        HandshakeKind.RESUMED_SESSION_ID: "reused by session ID",
    }
    return " and ".join(sorted({words[kind] for kind in kinds}))


def both(seen: dict[str, list[str]], index: int) -> str:
    """What both versions of TLS say, or what each says."""
    said = {version: words[index] for version, words in seen.items()}
    if said.keys() == VERSIONS.keys() and len(set(said.values())) == 1:
        return next(iter(said.values()))
    return ", ".join(f"{word} ({version})" for version, word in said.items())


def installed(library: str) -> str:
    """The version, or that of Python for a module of the standard library."""
    try:
        return importlib.metadata.version(
            library.split("[", maxsplit=1)[0].split(",", maxsplit=1)[0]
        )
    except importlib.metadata.PackageNotFoundError:
        return f"Python {platform.python_version()}"


def table(*columns: str) -> list[str]:
    return [row(*columns), "|" + "---|" * len(columns)]


def row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
