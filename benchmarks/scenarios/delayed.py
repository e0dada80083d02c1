"""Whether a million jobs that are not due yet are in the way of those that are."""

from contextlib import ExitStack

from benchmarks.figures import Figure
from benchmarks.scenarios.scenario import NOBODY, SUBJECT, Scenario
from benchmarks.turn import Turn
from benchmarks.work import Work

_DELAYED = 1_000_000
_A_CALL = 50_000
_DUE = 6 * 3600.0


def _measure(turn: Turn) -> None:
    for delayed, figure in ((0, Figure.DELAYED_NONE), (_DELAYED, Figure.DELAYED_1M)):
        turn.server.empty()
        count = turn.jobs
        with ExitStack() as stack:
            producer = stack.enter_context(turn.process())
            for first in range(count, count + delayed, _A_CALL):
                producer.ask("delay", first=first, count=_A_CALL, seconds=_DUE)
            turn.enqueue(producer, Work.NOOP, 0, count, together=True)
            worker = stack.enter_context(turn.process())
            drained = turn.drain(worker, Work.NOOP, count)
        turn.note_rate(figure, drained)


DELAYED = Scenario(
    name="delayed",
    text="drain beside 1 million jobs that are due in six hours",
    measure=_measure,
    roles=NOBODY,
    full_roles=SUBJECT,
)
