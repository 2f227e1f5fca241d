"""What of CPython's own tests of TLS passes over our context: all but the cases with a reason."""

import pytest
from libraries.cpython_ssl import DOCS, REASONS, Case, failed, passed, reason_for, reasons, run

pytestmark = pytest.mark.timeout(900)  # each of the two runs takes minutes


@pytest.fixture(scope="module")
def ours() -> list[Case]:
    return run()


@pytest.fixture(scope="module")
def theirs() -> dict[str, Case]:
    """The same cases over the standard library's context, on this machine."""
    return {case.name: case for case in run("ssl")}


def test_only_the_cases_with_a_reason_do_not_pass(
    ours: list[Case], theirs: dict[str, Case]
) -> None:
    new = [case for case in failed(ours) if reason_for(case.name) is None]
    # Nor is it ours if the standard library's context does not pass here, either.
    unexplained = {c.name: c.text for c in new if theirs[c.name].outcome == "passed"}
    assert unexplained == {}


def test_the_cases_with_a_reason_still_do_not_pass_and_for_that_reason(ours: list[Case]) -> None:
    assert [case.name for case in passed(ours) if reason_for(case.name)] == []
    for case in failed(ours):
        reason = reason_for(case.name)
        if reason is not None:
            assert reason.error in case.text.splitlines()[-1], case.text


def test_the_same_cases_run_over_both_contexts(ours: list[Case], theirs: dict[str, Case]) -> None:
    assert [case.name for case in ours] == list(theirs)
    skipped = {case.name for case in ours if case.outcome == "skipped"}
    assert skipped == {case.name for case in theirs.values() if case.outcome == "skipped"}
    assert sum(case.connections > 0 for case in passed(ours)) > 200
    assert not any(case.connections for case in theirs.values())


def test_the_page_holds_every_reason() -> None:
    assert DOCS.read_text(encoding="utf-8").endswith(reasons())
    patterns = [pattern for reason in REASONS for pattern in reason.cases]
    assert len(patterns) == len(set(patterns))
