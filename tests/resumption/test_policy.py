"""What binds a session, as a digest: another policy is another digest, whatever differs."""

import itertools
import subprocess
import sys
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gnutls_resume.resumption.policy import ClientPolicy, Part, ServerPolicy, encode

CLIENT = ClientPolicy(
    verify_mode=2,
    check_hostname=True,
    verify_flags=0,
    common_name=True,
    trust=b"trust",
    identity=b"",
    priority="NORMAL",
    alpn=(b"h2", b"http/1.1"),
    partition=b"",
)
SERVER = ServerPolicy(names=("localhost",), verify_mode=0, verify_flags=0, trust=b"", partition=b"")
POLICIES: list[Any] = [CLIENT, SERVER]
each_side = pytest.mark.parametrize("policy", POLICIES, ids=["client", "server"])

leaves = st.binary(max_size=8) | st.text(max_size=8) | st.integers(0, 300)
parts = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4).map(tuple))


def typed(part: Part) -> Any:
    """The part so that values of different types are never equal."""
    if isinstance(part, tuple):
        return "t", tuple(typed(inner) for inner in part)
    return type(part).__name__, part


@given(parts, parts)
@example((b"ab", b"c"), (b"a", b"bc"))
@example((b"a", (b"b",)), ((b"a", b"b"),))
@example(("",), ())
@example(b"1", "1")
@example("1", 1)
def test_different_parts_never_look_alike(one: Part, other: Part) -> None:
    assert (encode(one) == encode(other)) is (typed(one) == typed(other))


@given(st.lists(parts, max_size=4), st.lists(parts, max_size=4))
def test_parts_that_follow_each_other_do_not_run_together(
    ones: list[Part], others: list[Part]
) -> None:
    same = [typed(one) for one in ones] == [typed(other) for other in others]
    assert (b"".join(map(encode, ones)) == b"".join(map(encode, others))) is same


def changed(value: Any) -> Any:
    """Something else of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return (*value, value[0])
    return value + (1 if isinstance(value, int) else b"x" if isinstance(value, bytes) else "x")


@each_side
def test_each_field_changes_the_digest(policy: Any) -> None:
    digests = {policy.digest("localhost")}
    for field in fields(policy):
        other = replace(policy, **{field.name: changed(getattr(policy, field.name))})
        digests.add(other.digest("localhost"))
    assert len(digests) == 1 + len(fields(policy))


@each_side
def test_order_within_a_list_counts(policy: Any) -> None:
    """A server's names are sorted by who makes the policy."""
    for field in fields(policy):
        if field.type is tuple or str(field.type).startswith("tuple"):
            ordered = {}
            for order in itertools.permutations(range(3)):
                values = tuple((b"%d" if field.name == "alpn" else "%d") % i for i in order)
                ordered[values] = replace(policy, **{field.name: values}).digest("localhost")
            assert len(set(ordered.values())) == len(ordered)


@each_side
def test_what_moves_from_one_field_to_the_next_changes_the_digest(policy: Any) -> None:
    names = [
        field.name for field in fields(policy) if isinstance(getattr(policy, field.name), bytes)
    ]
    nothing = dict.fromkeys(names, b"")
    digests = [replace(policy, **{**nothing, name: b"same"}).digest("localhost") for name in names]
    assert len(set(digests)) == len(names) > 1


@each_side
def test_server_name_changes_the_digest(policy: Any) -> None:
    names = ["localhost", "LOCALHOST", "localhost.", "localhos", "127.0.0.1", None]
    assert len({policy.digest(name) for name in names}) == len(names)


def test_server_and_client_never_share_a_digest() -> None:
    """Even if their fields were called the same."""

    class Impostor(ClientPolicy):
        pass

    values = {field.name: getattr(CLIENT, field.name) for field in fields(CLIENT)}
    assert Impostor(**values).digest("localhost") != CLIENT.digest("localhost")


@given(st.binary(max_size=40), st.text(max_size=10), st.lists(st.binary(max_size=9), max_size=4))
def test_equal_policies_have_equal_digests(trust: bytes, priority: str, alpn: list[bytes]) -> None:
    one, other = (
        replace(CLIENT, trust=trust, priority=priority, alpn=tuple(alpn)) for _ in range(2)
    )
    assert one is not other
    assert one.digest("localhost") == other.digest("localhost")
    assert one.digest("localhost") == one.digest("localhost")


def test_digest_is_the_same_in_every_process() -> None:
    """Hashes of str differ from process to process; a file of sessions outlives them."""
    program = (
        "from gnutls_resume.resumption.policy import ServerPolicy as P;"
        "print(P(('a', 'b'), 1, 2, b'trust', b'').digest('localhost').hex())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-P", "-c", program], capture_output=True, check=True
        ).stdout
        for _ in range(2)
    }
    mine = ServerPolicy(("a", "b"), 1, 2, b"trust", b"").digest("localhost")
    assert seen == {mine.hex().encode() + b"\n"}
