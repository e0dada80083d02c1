"""Whether a worker's memory grows while it runs a million jobs."""

from contextlib import ExitStack

from benchmarks.figures import Figure
from benchmarks.processes import resident_bytes
from benchmarks.scenarios.scenario import NOBODY, SUBJECT, Scenario
from benchmarks.turn import Turn
from benchmarks.work import Work

_JOBS = 1_000_000
_A_LOT = 50_000
_TO_SETTLE = 200_000  # so many until the allocator has what it needs
_PATIENCE = 120.0


def _measure(turn: Turn) -> None:
    with ExitStack() as stack:
        producer = stack.enter_context(turn.process())
        worker = stack.enter_context(turn.process())
        settled = 0
        for first in range(0, _TO_SETTLE + _JOBS, _A_LOT):
            if first == 0:
                worker.ask("work", work=Work.NOOP.value, expect=_A_LOT)
            else:
                worker.ask("expect", first=first, count=_A_LOT)
            turn.enqueue(producer, Work.NOOP, first, _A_LOT, together=True)
            turn.account(_A_LOT, worker.ask("begun", timeout=_PATIENCE))
            if first + _A_LOT == _TO_SETTLE:
                settled = resident_bytes(worker.pid)
        turn.note(Figure.GROWTH, resident_bytes(worker.pid) - settled)


GROWTH = Scenario(
    name="growth",
    text="a worker's memory after 1 million jobs, less that after the first 200 thousand",
    measure=_measure,
    roles=NOBODY,
    full_roles=SUBJECT,
)
