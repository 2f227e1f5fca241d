"""CPython's own tests of TLS, run over our context.

Of the running Python: all of test_ssl, and the cases of its asyncio, ftplib, imaplib and so on
that have to do with TLS. They run in a process of their own, where the name ``ssl`` of the test
modules, and of the standard library's clients that they test, stands for a module in which
SSLContext and what makes one are ours. The real module stays as it is: its own code looks up
``SSLContext`` by name to find the base class.

``python tests/libraries/cpython_ssl.py`` writes docs/test_ssl.md anew for this Python.
"""

import faulthandler
import functools
import gc
import importlib
import importlib.util
import json
import os
import platform
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import types
import unittest
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import gnutls_resume
from gnutls_resume.drop_in import engine, resuming

DOCS = Path(__file__).parents[2] / "docs" / "test_ssl.md"
WAIT = 15  # seconds that a case may take; what waits longer waits for ever
HANG = 60  # seconds until the process is given up
# Those whose name has "ssl" whole, of the others the cases that have one of WORDS in theirs.
MODULES = (
    "test_ssl",
    "test_asyncio.test_ssl",
    "test_asyncio.test_sslproto",
    "test_asyncio.test_events",
    "test_asyncio.test_sendfile",
    "test_asyncio.test_server",
    "test_asyncio.test_streams",
    "test_ftplib",
    "test_httplib",
    "test_httpservers",
    "test_imaplib",
    "test_logging",
    "test_nntplib",
    "test_poplib",
    "test_urllib2_localnet",
    "test_xmlrpc",
)
WORDS = re.compile("ssl|tls|https(?!erver)|HTTPHandler", re.IGNORECASE)


@dataclass(frozen=True)
class Case:
    """One case of CPython's, and what became of it."""

    name: str
    outcome: str
    """passed, failed or skipped."""
    text: str = ""
    """The traceback, or why it was skipped."""
    contexts: int = 0
    """How many of our contexts it made."""
    connections: int = 0


@dataclass(frozen=True)
class Reason:
    """Why some cases do not pass."""

    why: str
    cases: tuple[str, ...]
    """Patterns; a case that this Python does not have is none."""
    since: tuple[int, int] = (3, 11)
    error: str = ""
    """What has to stand in the last line of the traceback."""

    def holds(self, name: str) -> bool:
        return sys.version_info >= self.since and any(
            fnmatchcase(name, pattern) for pattern in self.cases
        )


CIPHERS = "NotImplementedError: set_ciphers takes OpenSSL's words"
REASONS = (
    # -- refused with NotImplementedError, which names what there is instead
    Reason(
        "`set_ciphers` takes no OpenSSL cipher string: `SSLContext(priority=...)` takes GnuTLS's.",
        (
            "test_ssl.*.test_ciphers",
            "test_ssl.ContextTests.test_get_ciphers",
            "test_ssl.ThreadedTests.test_no_shared_ciphers",
            "test_ssl.ThreadedTests.test_shared_ciphers",
        ),
        error=CIPHERS,
    ),
    Reason(
        "`set_ciphers` is asked for something else than what the case is about; without that line "
        "it passes.",
        (
            "test_ssl.ThreadedTests.test_PROTOCOL_TLS",
            "test_ssl.ThreadedTests.test_dual_rsa_ecc",
            "test_ssl.ThreadedTests.test_ecc_cert",
            "test_ssl.ThreadedTests.test_protocol_tlsv1_2",
        ),
        error=CIPHERS,
    ),
    Reason(
        "External pre-shared keys are not offered; the case sets a cipher string first.",
        ("test_ssl.ThreadedTests.test_psk", "test_ssl.ThreadedTests.test_psk_tls1_3"),
        error=CIPHERS,
    ),
    Reason(
        "`load_dh_params`: GnuTLS uses the groups of RFC 7919, which both sides can check.",
        (
            "test_ssl.ContextTests.test_load_dh_params",
            "test_ssl.SSLErrorTests.test_lib_reason",
            "test_ssl.ThreadedTests.test_dh_params",
        ),
        error="NotImplementedError: load_dh_params",
    ),
    Reason(
        "`set_ecdh_curve`: `SSLContext(priority=...)` chooses the groups.",
        ("test_ssl.ContextTests.test_set_ecdh_curve", "test_ssl.ThreadedTests.test_ecdh_curve"),
        error="NotImplementedError: set_ecdh_curve",
    ),
    Reason(
        "`security_level`: GnuTLS has profiles, `SSLContext(priority=...)` sets them.",
        ("test_ssl.ContextTests.test_security_level",),
        error="NotImplementedError: security_level",
    ),
    Reason(
        "`VERIFY_ALLOW_PROXY_CERTS`: GnuTLS takes no proxy certificates.",
        ("test_ssl.ContextTests.test_verify_flags",),
        error="NotImplementedError: GnuTLS has nothing like <VerifyFlags",
    ),
    Reason(
        "`OP_ENABLE_KTLS`, from Python 3.12 in this case: TLS is not handed to the kernel.",
        ("test_ssl.ContextTests.test_options",),
        since=(3, 12),
        error="NotImplementedError: GnuTLS has nothing like <Options",
    ),
    Reason(
        "`verify_client_post_handshake`: a server asks in the handshake, by `verify_mode`. (A "
        "client does answer a request after it.)",
        (
            "test_ssl.TestPostHandshakeAuth.test_bpo37428_pha_cert_none",
            "test_ssl.TestPostHandshakeAuth.test_pha_no_pha_client",
            "test_ssl.TestPostHandshakeAuth.test_pha_no_pha_server",
            "test_ssl.TestPostHandshakeAuth.test_pha_not_tls13",
            "test_ssl.TestPostHandshakeAuth.test_pha_optional",
            "test_ssl.TestPostHandshakeAuth.test_pha_optional_nocert",
            "test_ssl.TestPostHandshakeAuth.test_pha_required",
        ),
    ),
    Reason(
        "`_msg_callback`, by which OpenSSL shows its messages, is not called by GnuTLS.",
        (
            "test_ssl.TestPostHandshakeAuth.test_pha_required_nocert",
            "test_ssl.TestSSLDebug.test_msg_callback*",
        ),
        error="NotImplementedError: _msg_callback",
    ),
    Reason(
        "An unknown keyword of `SSLContext` is a TypeError; the standard library's takes any, and "
        "ignores it.",
        ("test_httplib.HTTPSTest.test_tls13_pha",),
        since=(3, 12),
        error="TypeError: SSLContext.__init__() got an unexpected keyword argument 'cert_file'",
    ),
    # -- otherwise, on purpose
    Reason(
        "A client resumes by itself; the case wants a full handshake where no session was handed "
        "in, and a new object for the same session.",
        ("test_ssl.ThreadedTests.test_session",),
    ),
    Reason(
        "A session is not bound to the context it came from, but to what decides whether it may "
        "be used; one that does not fit is a full handshake, no error.",
        ("test_ssl.ThreadedTests.test_session_handling",),
    ),
    Reason(
        "An exception in `sni_callback` is the `__cause__` of the `ssl.SSLError`, is logged, and "
        "does not go to `sys.unraisablehook`; both ends see the alerts that the case wants.",
        (
            "test_ssl.ThreadedTests.test_sni_callback_raising",
            "test_ssl.ThreadedTests.test_sni_callback_wrong_return_type",
        ),
    ),
    Reason(
        "`capath` is read at once and not when a certificate is needed, so that what it holds is "
        "counted and listed from the start.",
        (
            "test_ssl.ContextTests.test_load_default_certs_env",
            "test_ssl.SimpleBackgroundTests.test_get_ca_certs_capath",
        ),
    ),
    Reason(
        "Server, client and a handler of the root logger at level DEBUG are one process: the "
        "server's handshake is logged by the very handler that waits for it.",
        ("test_logging.HTTPHandlerTest.test_output",),
        error="WaitedTooLongError",
    ),
    # -- otherwise, because GnuTLS is
    Reason(
        "TLS 1.3 has no `tls-unique` (RFC 8446 appendix C.5): it is None. OpenSSL gives something.",
        (
            "test_ssl.SimpleBackgroundTests.test_bio_handshake",
            "test_ssl.ThreadedTests.test_tls_unique_channel_binding",
        ),
    ),
    Reason(
        "GnuTLS sends the certificates of the file, and does not complete the chain by those that "
        "the context trusts.",
        ("test_ssl.TestPostHandshakeAuth.test_internal_chain_server",),
    ),
    Reason(
        "`VERIFY_X509_STRICT` changes nothing: GnuTLS does not insist on an authority key "
        "identifier.",
        ("test_ssl.ThreadedTests.test_verify_strict",),
    ),
)


def reason_for(name: str) -> Reason | None:
    return next((reason for reason in REASONS if reason.holds(name)), None)


def python() -> str:
    return platform.python_version()


# -- in the process of the cases ------------------------------------------------------------------


class OurSSL(types.ModuleType):
    """The module ``ssl`` with our context; its functions make ours, too."""

    def __init__(self) -> None:
        super().__init__("ssl")
        ours = {
            name: getattr(gnutls_resume, name)
            for name in ("SSLContext", "SSLSocket", "SSLObject", "SSLSession")
        }
        names = {**vars(ssl), **ours}
        for name, value in vars(ssl).items():
            if isinstance(value, types.FunctionType) and value.__globals__ is vars(ssl):
                names[name] = again = types.FunctionType(
                    value.__code__, names, name, value.__defaults__, value.__closure__
                )
                again.__kwdefaults__ = value.__kwdefaults__
        names["create_default_context"] = gnutls_resume.create_default_context
        names["_create_default_https_context"] = gnutls_resume.create_default_context
        self.__dict__.update(names)


class WaitedTooLongError(Exception):
    """Raised into a case that takes longer than `WAIT`."""


class Result(unittest.TestResult):
    """Writes a line of JSON for each case."""

    def __init__(self, path: str, made: Counter[str]) -> None:
        super().__init__()
        self._file, self._made = Path(path).open("w", encoding="utf-8"), made  # noqa: SIM115
        self._outcome, self._text = "passed", ""
        self._begun: object = None

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().startTest(test)
        self._begun = test
        with warnings.catch_warnings():  # what an earlier case has left is not this one's
            warnings.simplefilter("ignore")
            gc.collect()
        resuming.stores[:] = [gnutls_resume.MemoryStore()]  # nor are its sessions
        self._made.clear()
        self._outcome, self._text = "passed", ""
        faulthandler.dump_traceback_later(HANG, exit=True)
        signal.setitimer(signal.ITIMER_REAL, WAIT, 5)

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        super().stopTest(test)
        self._begun = None
        name = test.id().removeprefix("test.")
        case = Case(name, self._outcome, self._text, self._made["context"], self._made["engine"])
        print(json.dumps(asdict(case)), file=self._file, flush=True)

    def _failed(self, error: Any, test: Any) -> None:
        if self._outcome != "failed":
            self._outcome, self._text = "failed", self._exc_info_to_string(error, test)  # type: ignore[attr-defined]

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        self._failed(err, test)

    def addError(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        self._failed(err, test)

    def addSubTest(self, test: unittest.TestCase, subtest: Any, err: Any) -> None:  # noqa: N802
        if err is not None:
            self._failed(err, subtest)

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        self._outcome, self._text = "failed", "unexpected success"

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:  # noqa: N802
        if self._begun is None:  # Python 3.12.1 does not begin what it skips
            self.startTest(test)
        if self._outcome != "failed":
            self._outcome, self._text = "skipped", reason


def perform(path: str, library: str, words: list[str]) -> None:
    """Run the cases, those with one of `words` in their names if there are any, into `path`."""
    from test import support  # not every Python has it

    support.use_resources = {"cpu", "walltime"}  # no network
    signal.signal(signal.SIGALRM, interrupt)
    suite = unittest.TestSuite()
    for module in MODULES:
        try:
            tests = unittest.defaultTestLoader.loadTestsFromModule(import_tests(module))
        except ModuleNotFoundError:
            continue
        suite.addTests(
            test
            for test in flat(tests)
            if "ssl" in module or WORDS.search(test.id().removeprefix(f"test.{module}"))
            if not words or any(word in test.id() for word in words)
        )
    made: Counter[str] = Counter()
    if library == "ours":
        replace_ssl()
        count_made(gnutls_resume.SSLContext, "context", made)
        count_made(engine.Engine, "engine", made)
    suite.run(Result(path, made))


def import_tests(module: str) -> types.ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of modules that are on their way out
        return importlib.import_module(f"test.{module}")


def flat(tests: Iterable[Any]) -> Iterator[unittest.TestCase]:
    for test in tests:
        if isinstance(test, unittest.TestSuite):
            yield from flat(test)
        else:
            yield test


def replace_ssl() -> None:
    """In all modules but our own and itself."""
    ours, real = OurSSL(), ssl
    sys.modules["ssl"] = ours  # unittest.mock.patch finds it there
    for name, module in list(sys.modules.items()):
        own = name.startswith(("gnutls_resume", "__m")) or module is real
        if not own and getattr(module, "ssl", None) is real:
            module.ssl = ours  # type: ignore[attr-defined]


def count_made(kind: type, name: str, made: Counter[str]) -> None:
    begin = kind.__init__  # type: ignore[misc]

    @functools.wraps(begin)
    def counted(self: object, *args: object, **kwargs: object) -> None:
        made[name] += 1
        begin(self, *args, **kwargs)

    kind.__init__ = counted  # type: ignore[misc]


def interrupt(*_: object) -> None:
    raise WaitedTooLongError


# -- in the process that asks ---------------------------------------------------------------------


def run(library: str = "ours", *words: str) -> list[Case]:
    """All cases, over ``"ours"`` or over the standard library's ``"ssl"``."""
    if not importlib.util.find_spec("test") or not importlib.util.find_spec("test.test_ssl"):
        version = "{}.{}".format(*sys.version_info)
        raise RuntimeError(f"this Python lacks its tests: Debian has libpython{version}-testsuite")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cases"
        command = [sys.executable, __file__, str(path), library, *words]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode:
            raise RuntimeError(f"{command} has ended with {done.returncode}: {done.stderr[-9000:]}")
        return [Case(**json.loads(line)) for line in path.read_text().splitlines()]


def passed(cases: Iterable[Case]) -> list[Case]:
    return [case for case in cases if case.outcome == "passed"]


def failed(cases: Iterable[Case]) -> list[Case]:
    return [case for case in cases if case.outcome == "failed"]


HEAD = """# CPython's own tests of TLS

Written by `python tests/libraries/cpython_ssl.py`, which runs the tests of the standard library
with `gnutls_resume.SSLContext` in the place of `ssl.SSLContext`: `test_ssl`, and the cases of
asyncio, ftplib, http.client, imaplib, logging, nntplib, poplib, urllib and xmlrpc that have to do
with TLS. `./dev libraries` runs them again, and fails if the cases that do not pass are others
than those below. Cases that need the Internet, Windows or another OpenSSL are skipped, as they are
with `ssl`.

## How many pass

A case that "connects" makes at least one TLS connection over our engine, most make several. Those
without a context (constants, `RAND_bytes`, the shape of `ssl`'s own classes) prove nothing about
us, and are counted apart.

"""
COLUMNS = (
    "Python",
    "tests",
    "pass: connect",
    "context only",
    "no context",
    "do not pass",
    "skipped",
)


def counts(cases: list[Case]) -> list[list[str]]:
    """The table's rows for this Python."""
    main = [case for case in cases if case.name.startswith("test_ssl.")]
    rows = []
    for title, some in (("test_ssl", main), ("the others", [c for c in cases if c not in main])):
        good = passed(some)
        numbers = (
            sum(bool(case.connections) for case in good),
            sum(bool(case.contexts) and not case.connections for case in good),
            sum(not case.contexts and not case.connections for case in good),
            len(failed(some)),
            sum(case.outcome == "skipped" for case in some),
        )
        rows.append([python(), title, *map(str, numbers)])
    return rows


def line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def reasons() -> str:
    """The part of the page that is the same for all Pythons."""
    text = "\n## Which do not, and why\n\n" + line(("why", "cases")) + line(("---", "---"))
    for reason in REASONS:
        since = "" if reason.since == (3, 11) else " (Python {}.{} and later)".format(*reason.since)
        text += line((reason.why, ", ".join(f"`{case}`" for case in reason.cases) + since))
    return text


def page(cases: list[Case], old: str) -> str:
    """The page with this Python's numbers, and the `old` page's for other Pythons."""
    rows = [
        [cell.strip() for cell in row.split("|")[1:-1]]
        for row in old.splitlines()
        if re.match(r"\| 3\.", row) and f"| {python()} |" not in row
    ]
    rows = sorted(rows + counts(cases), key=lambda row: [int(n) for n in row[0].split(".")])
    table = line(COLUMNS) + line("---" for _ in COLUMNS) + "".join(map(line, rows))
    return HEAD + table + reasons()


def main() -> None:
    if len(sys.argv) > 1:
        perform(sys.argv[1], sys.argv[2], sys.argv[3:])
        sys.stdout.flush()
        os._exit(0)  # threads of cases may still wait for something
    old = DOCS.read_text(encoding="utf-8") if DOCS.exists() else ""
    DOCS.write_text(page(run(), old), encoding="utf-8")


if __name__ == "__main__":
    main()
