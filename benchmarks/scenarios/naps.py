"""Jobs that sleep 10 ms, 100 at a time: what a system adds to work that is all waiting."""

from contextlib import ExitStack

from benchmarks.adapter import AT_ONCE
from benchmarks.figures import Figure
from benchmarks.scenarios.scenario import TASK_SYSTEMS, Scenario
from benchmarks.turn import Turn
from benchmarks.work import NAP, Work

_IDEAL = AT_ONCE / NAP
_JOBS = 3000


def _measure(turn: Turn) -> None:
    if turn.lacks(Figure.NAPS):
        return
    count = round(_JOBS * turn.system.share)
    with ExitStack() as stack:
        producer = stack.enter_context(turn.process())
        turn.enqueue(producer, Work.NAP, 0, count, together=True)
        worker = stack.enter_context(turn.process())
        drained = turn.drain(worker, Work.NAP, count)
    turn.note_rate(Figure.NAPS, drained, ideal=_IDEAL)


NAPS = Scenario(
    name="naps",
    text="jobs that sleep 10 ms at concurrency 100: the ideal is 10,000 a second",
    measure=_measure,
    roles=TASK_SYSTEMS,
)
