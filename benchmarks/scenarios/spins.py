"""Jobs that use 5 ms of CPU time, each in the way that its system documents for such jobs."""

from contextlib import ExitStack

from benchmarks.figures import Figure
from benchmarks.scenarios.scenario import TASK_SYSTEMS, Scenario
from benchmarks.turn import Turn
from benchmarks.work import Work

_JOBS = 400


def _measure(turn: Turn) -> None:
    with ExitStack() as stack:
        producer = stack.enter_context(turn.process())
        turn.enqueue(producer, Work.SPIN, 0, _JOBS, together=True)
        worker = stack.enter_context(turn.process())
        drained = turn.drain(worker, Work.SPIN, _JOBS)
    turn.note_rate(Figure.SPINS, drained)


SPINS = Scenario(
    name="spins",
    text="jobs that use 5 ms of CPU time: one core could do 200 a second",
    measure=_measure,
    roles=TASK_SYSTEMS,
)
