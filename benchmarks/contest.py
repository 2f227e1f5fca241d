"""Small batches of several peers in turn, and the table of what they took.

Each ratio is one batch over the first peer's batch of the same turn, so that a slow moment of
the machine hits both. Ratios are of times or sizes: the smaller, the better.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Section(NamedTuple):
    """A table: the unit of its costs, and what is done at that cost, for a column of rates."""

    name: str
    unit: str = "ms"
    rate: str = "a second"
    amount: float = 1


class Contest(NamedTuple):
    """What several peers do in turn: each measures a batch of its own and returns its cost."""

    name: str
    peers: Mapping[str, Callable[[], float]]  # the first is the one the others are compared with
    ratio_goal: float | None = None  # the largest ratio of the last peer that is good enough
    goal: float | None = None  # the same for its cost
    in_order: bool = False  # the first is always first


class Row(NamedTuple):
    """What one peer took: medians over all repeats, and the quartiles of the ratio."""

    section: str
    unit: str
    name: str
    peer: str
    cost: float
    ratio: float
    quartiles: tuple[float, float]
    goal: str | None
    met: bool | None


Costs = dict[tuple[str, str], list[float]]  # by contest and peer, in the order of the repeats


def compete(section: Section, contests: Sequence[Contest], repeats: int) -> list[Row]:
    """Let all contests take place so many times, and print their rows."""
    costs: Costs = {(contest.name, peer): [] for contest in contests for peer in contest.peers}
    for repeat in range(repeats):
        for contest in contests:
            peers = list(contest.peers.items())
            first = 0 if contest.in_order else repeat % len(peers)
            for peer, batch in [*peers[first:], *peers[:first]]:
                try:
                    costs[contest.name, peer].append(batch())
                except Exception as error:
                    error.add_note(f"in {section.name}: {contest.name}, {peer}")
                    raise
    rows = [
        make_row(section, contest, peer, costs) for contest in contests for peer in contest.peers
    ]
    print_rows(section, rows)
    return rows


def make_row(section: Section, contest: Contest, peer: str, costs: Costs) -> Row:
    base, *_, last = contest.peers
    own = costs[contest.name, peer]
    cost = statistics.median(own)
    ratios = [a / b for a, b in zip(own, costs[contest.name, base], strict=True)]
    lower, ratio, upper = statistics.quantiles(ratios, n=4, method="inclusive")
    goal, met = None, None
    if peer == last and contest.ratio_goal is not None:
        goal, met = f"ratio {contest.ratio_goal:.2f}", ratio <= contest.ratio_goal
    elif peer == last and contest.goal is not None:
        goal, met = f"{contest.goal:g} {section.unit}", cost <= contest.goal
    return Row(
        section.name, section.unit, contest.name, peer, cost, ratio, (lower, upper), goal, met
    )


def print_rows(section: Section, rows: Sequence[Row]) -> None:
    head = f"{section.name:30} {'peer':14} {section.unit:>8} {section.rate:>9}"
    print(f"\n{head}  ratio  (quartiles)    goal        met")
    for row in rows:
        rate = f"{section.amount * 1000 / row.cost:9.1f}" if section.rate else " " * 9
        line = f"{row.name:30} {row.peer:14} {row.cost:8.3f} {rate}"
        if row.peer != rows[0].peer:
            line += f"  {row.ratio:5.3f}  ({row.quartiles[0]:.3f}-{row.quartiles[1]:.3f})"
        if row.goal is not None:
            line += f"  {row.goal:11} {'yes' if row.met else 'NO'}"
        print(line, flush=True)
