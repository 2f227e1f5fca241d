"""The cases of this folder are marked "libraries".

With `--write`, docs/libraries.md is made of what they have seen, if none has failed.
"""

import ssl
from collections.abc import Iterator
from functools import partial

import pytest
from conftest import Certificates
from libraries.peers import Server, http_echo, serving
from libraries.report import Report
from libraries.trial import VERSIONS, Record, Trial

from gnutls_resume import HandshakeKind

REPORT = pytest.StashKey[Report]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write", action="store_true", help="write docs/libraries.md")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "case(library, connects, recipe, direction='client')")
    # What a library uses of others is its own affair.
    config.addinivalue_line("filterwarnings", "ignore::DeprecationWarning")
    config.stash[REPORT] = Report()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker("libraries")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if session.config.option.write and exitstatus == pytest.ExitCode.OK:
        session.config.stash[REPORT].write()


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """What a case has seen goes into the row of its marker."""
    return partial(request.config.stash[REPORT].add, request.node.get_closest_marker("case"))


@pytest.fixture
def server_row(request: pytest.FixtureRequest, record: Record) -> None:
    """What a case of a server asserts: a new connection, and others that resume."""
    if "version" in request.fixturenames:
        version = request.getfixturevalue("version")
        record(version, [HandshakeKind.FULL], [HandshakeKind.RESUMED_TICKET])


@pytest.fixture(params=VERSIONS)
def trial(request: pytest.FixtureRequest, certificates: Certificates, record: Record) -> Trial:
    foreign = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    foreign.load_cert_chain(certificates.certificate_file, certificates.key_file)
    foreign.minimum_version = foreign.maximum_version = VERSIONS[request.param]
    return Trial(request.param, str(certificates.trust_file), foreign, record)


@pytest.fixture
def http(trial: Trial) -> Iterator[Server]:
    """An HTTP/1.1 server that sends back what is posted."""
    with serving(trial.foreign, http_echo) as server:
        yield server
