"""Arguments of 100 B, 10 KiB and 256 KiB."""

from contextlib import ExitStack

from benchmarks.figures import Figure
from benchmarks.scenarios.scenario import TASK_SYSTEMS, Scenario
from benchmarks.turn import Turn
from benchmarks.work import Work

_KIB = 1024
_SIZES = (
    (100, 2000, Figure.CARRY_100B_ENQUEUE, Figure.CARRY_100B_DRAIN),
    (10 * _KIB, 1000, Figure.CARRY_10K_ENQUEUE, Figure.CARRY_10K_DRAIN),
    (256 * _KIB, 100, Figure.CARRY_256K_ENQUEUE, Figure.CARRY_256K_DRAIN),
)


def _measure(turn: Turn) -> None:
    for size, jobs, enqueued, drained in _SIZES:
        turn.server.empty()
        count = max(100, round(jobs * turn.system.share))
        with ExitStack() as stack:
            producer = stack.enter_context(turn.process())
            turn.note(
                enqueued, count / turn.enqueue(producer, Work.CARRY, 0, count, together=True, size=size)
            )
            worker = stack.enter_context(turn.process())
            answer = turn.drain(worker, Work.CARRY, count)
            turn.note_rate(drained, answer)


PAYLOADS = Scenario(
    name="payloads",
    text="enqueue together and drain jobs with arguments of 100 B, 10 KiB and 256 KiB",
    measure=_measure,
    roles=TASK_SYSTEMS,
)
