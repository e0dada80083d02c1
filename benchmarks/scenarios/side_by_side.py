"""Enqueue one at a time, capelin and the bare loop in short turns: the share of the bare loop's rate.

In the throughput scenario the two have their turns a minute apart, and a shared machine is not the same then.
Here both producers are alive on the same Redis. A slice takes a twentieth of a second, and what slows one
down slows down the other one of its pair as well.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from statistics import median

from benchmarks.child import Child
from benchmarks.figures import Figure
from benchmarks.scenarios.scenario import SUBJECT, Scenario
from benchmarks.turn import Turn
from benchmarks.work import Work

TIMES = 3
"""How often that is measured, by new processes each time: one may be unlucky with its core all its life."""
PAIRS = 8
"""How often each has a slice then; even, so that each goes first as often as the other."""
SLICE = 200
"""Jobs in a slice."""


def _measure(turn: Turn) -> None:
    if turn.limit is None:
        return  # there is nothing to have a share of
    # Both write the same keys, and the bare loop makes its jobs' ids of their numbers: none comes twice.
    # Nobody drains them, so they are in nobody's accounts.
    firsts = count(step=SLICE)
    for _ in range(TIMES):
        with ExitStack() as stack:
            producer = stack.enter_context(turn.process())
            bare = stack.enter_context(turn.process(of=turn.limit))
            turn.note(Figure.ENQUEUE_SHARE, _share(turn, producer, bare, firsts))


def _share(turn: Turn, producer: Child, bare: Child, firsts: Iterator[int]) -> float:
    """Return the median of pairs of slices."""

    def seconds(side: Child) -> float:
        return turn.enqueue(side, Work.NOOP, next(firsts), SLICE, together=False)

    seconds(producer)  # warms up
    seconds(bare)
    shares: list[float] = []
    for pair in range(PAIRS):
        if pair % 2 == 0:
            ours = seconds(producer)
            theirs = seconds(bare)
        else:
            theirs = seconds(bare)
            ours = seconds(producer)
        shares.append(theirs / ours)
    return median(shares)


SIDE_BY_SIDE = Scenario(
    name="side-by-side",
    text="enqueue one at a time, in short turns with the bare loop: nothing if that is not measured",
    measure=_measure,
    roles=SUBJECT,
    every_round=True,
)
