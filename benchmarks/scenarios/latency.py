"""From before a job is enqueued to its first line, and to its result, while nothing else happens."""

from contextlib import ExitStack

from benchmarks.figures import Figure, percentile
from benchmarks.scenarios.scenario import TASK_SYSTEMS, Scenario
from benchmarks.turn import PATIENCE, Turn, latencies
from benchmarks.work import Work

GAP = (0.02, 0.04)
"""Pauses between jobs that come alone, the shortest and the longest, in seconds."""

_WARM = 100


def _measure(turn: Turn) -> None:
    with ExitStack() as stack:
        producer = stack.enter_context(turn.process())
        worker = stack.enter_context(turn.process())
        turn.enqueue(producer, Work.NOOP, 0, _WARM, together=True)
        turn.drain(worker, Work.NOOP, _WARM)
        count = turn.scale.paced
        worker.ask("expect", first=_WARM, count=count)
        sent = producer.ask("pace", first=_WARM, count=count, gap=GAP)["sent"]
        begun = worker.ask("begun", timeout=PATIENCE)
        turn.account(count, begun)
        seconds = latencies(sent, begun, _WARM)
        if seconds:
            turn.note(Figure.LATENCY_P50, percentile(seconds, 0.5))
            turn.note(Figure.LATENCY_P99, percentile(seconds, 0.99))
        if not turn.lacks(Figure.RESULT_P50):
            first, count = _WARM + count, count // 2
            worker.ask("expect", first=first, count=count)
            results = producer.ask("results", first=first, count=count, gap=GAP)["seconds"]
            turn.account(count, worker.ask("begun", timeout=PATIENCE))
            turn.note(Figure.RESULT_P50, percentile(results, 0.5))
            turn.note(Figure.RESULT_P99, percentile(results, 0.99))


LATENCY = Scenario(
    name="latency",
    text="enqueue to start, and to the result of a caller that waits, while nothing else happens",
    measure=_measure,
    roles=TASK_SYSTEMS,
    every_round=True,
)
