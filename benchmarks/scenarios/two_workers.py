"""Drain with two worker processes, and how much of the machine they and Redis use for it."""

import time
from contextlib import ExitStack

from benchmarks.child import Child
from benchmarks.figures import Figure
from benchmarks.scenarios.scenario import TASK_SYSTEMS, Scenario
from benchmarks.turn import PATIENCE, Turn
from benchmarks.work import Work

_LOOK = 0.02
_SLOWEST = 100


def _measure(turn: Turn) -> None:
    count = 2 * turn.jobs
    with ExitStack() as stack:
        producer = stack.enter_context(turn.process())
        workers = [stack.enter_context(turn.process()) for _ in range(2)]
        turn.enqueue(producer, Work.NOOP, 0, count, together=True)
        redis_cpu = turn.server.cpu_seconds()
        for worker in workers:
            worker.ask("work", work=Work.NOOP.value, expect=count)
        _wait(workers, count)
        settled = [worker.ask("settle") for worker in workers]
        redis_cpu = turn.server.cpu_seconds() - redis_cpu
    numbers = [number for each in settled for number in each["numbers"]]
    moments = [moment for each in settled for moment in each["moments"]]
    different = len(set(numbers))
    turn.account(count, {"started": different, "repeated": len(numbers) - different})
    if different > 1:
        turn.note(Figure.DRAIN_TWO, different / ((max(moments) - min(moments)) / 1e9))
        seconds = (max(each["end"] for each in settled) - min(moments)) / 1e9
        cpu = redis_cpu + sum(each["worked"] for each in settled if each["moments"])
        turn.note(Figure.CORES_TWO, cpu / seconds)
        turn.note(Figure.REDIS_TWO, redis_cpu / seconds)


def _wait(workers: list[Child], count: int) -> None:
    """Look until all have started somewhere: no worker alone knows."""
    deadline = time.monotonic() + PATIENCE + count / _SLOWEST
    while time.monotonic() < deadline:
        if sum(worker.ask("tally")["started"] for worker in workers) >= count:
            return
        time.sleep(_LOOK)


TWO_WORKERS = Scenario(
    name="two-workers",
    text="drain no-op jobs with two worker processes, from the first start to the last",
    measure=_measure,
    roles=TASK_SYSTEMS,
)
