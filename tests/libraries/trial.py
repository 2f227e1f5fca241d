"""What every case of this folder does: connect twice by one context, and compare the outcomes.

A case names its library and its recipe with `@case`, and calls `trial.check`. From these two and
from what was seen, conftest.py writes docs/libraries.md.
"""

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from gnutls_resume import HandshakeKind, MemoryStore, Outcome, create_default_context

case = pytest.mark.case
"""@case(distribution, what connects, recipe); direction="server" where our context serves."""

VERSIONS = {"TLSv1.3": ssl.TLSVersion.TLSv1_3, "TLSv1.2": ssl.TLSVersion.TLSv1_2}

Record = Callable[[str, Sequence[HandshakeKind], Sequence[HandshakeKind]], None]
"""Takes the version of TLS and how the first and the second connection came about."""


@dataclass
class Trial:
    """A client context of ours, all that it has told so far, and a foreign context for a peer."""

    version: str
    trust: str
    foreign: ssl.SSLContext
    record: Record
    outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context = create_default_context(
            cafile=self.trust, sessions=MemoryStore(), on_handshake=self.outcomes.append
        )

    def restrict(self) -> None:
        """Where the server has no option for one version only, the client has it."""
        self.context.minimum_version = self.context.maximum_version = VERSIONS[self.version]

    def check(self, connect: Callable[[], object], reused: list[bool] | None = None) -> None:
        """Call `connect` twice: its first connection is new, and all of the second call resume.

        `connect` transfers something, and asserts that it has arrived. `reused` is what the
        server says of each of its connections, where it can tell.
        """
        connect()
        first = [outcome.kind for outcome in self.outcomes]
        connect()
        kinds = [outcome.kind for outcome in self.outcomes]
        second = kinds[len(first) :]
        assert first[0] == HandshakeKind.FULL
        assert second
        assert HandshakeKind.FULL not in second, self.outcomes
        assert {outcome.protocol for outcome in self.outcomes} == {self.version}
        assert not any(outcome.server_side for outcome in self.outcomes)
        if reused is not None:
            assert reused == [kind != HandshakeKind.FULL for kind in kinds]
        self.record(self.version, first[:1], second)
