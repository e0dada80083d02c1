"""From the start of a worker's process, its imports included, to the first line of a job that waits."""

import time

from benchmarks.figures import Figure
from benchmarks.scenarios.scenario import TASK_SYSTEMS, Scenario
from benchmarks.turn import PATIENCE, Turn
from benchmarks.work import Work


def _measure(turn: Turn) -> None:
    with turn.process() as producer:
        turn.enqueue(producer, Work.NOOP, 0, 1, together=False)
        begin = time.monotonic_ns()
        with turn.process() as worker:
            if turn.system.program:  # that is the worker's process: this one only starts it
                begin = time.monotonic_ns()
            worker.ask("work", work=Work.NOOP.value, expect=1)
            begun = worker.ask("begun", timeout=PATIENCE)
            turn.account(1, begun)
    if begun["moments"]:
        turn.note(Figure.STARTUP, (begun["moments"][0] - begin) / 1e9)


STARTUP = Scenario(
    name="startup",
    text="from the start of a worker's process to the first job",
    measure=_measure,
    roles=TASK_SYSTEMS,
)
