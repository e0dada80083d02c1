"""From enqueueing to starting while jobs keep coming, at 70 % of what the system was just measured to do."""

from contextlib import ExitStack

from benchmarks.figures import Figure, percentile
from benchmarks.scenarios.scenario import TASK_SYSTEMS, Scenario
from benchmarks.turn import PATIENCE, Turn, latencies
from benchmarks.work import Work

_SHARE = 0.7
_SECONDS = 3.0
_SECONDS_FULL = 10.0
_WARM = 100


def _measure(turn: Turn) -> None:
    drain = turn.median(Figure.DRAIN)
    handed = turn.median(Figure.ENQUEUE_MANY) or turn.median(Figure.ENQUEUE_SPREAD)
    enqueue = handed or turn.median(Figure.ENQUEUE_ONE)
    if drain is None or enqueue is None:
        return  # the throughput was not measured: there is nothing to be 70 % of
    rate = _SHARE * min(drain, enqueue)
    count = round(rate * (_SECONDS_FULL if turn.scale.full else _SECONDS))
    with ExitStack() as stack:
        producer = stack.enter_context(turn.process())
        worker = stack.enter_context(turn.process())
        turn.enqueue(producer, Work.NOOP, 0, _WARM, together=True)
        turn.drain(worker, Work.NOOP, _WARM)
        worker.ask("expect", first=_WARM, count=count)
        sent: list[int] = producer.ask("stream", first=_WARM, count=count, rate=rate)["sent"]
        begun = worker.ask("begun", timeout=PATIENCE)
        turn.account(count, begun)
    seconds = latencies(sent, begun, _WARM)
    if not seconds:
        return
    turn.note(Figure.LOAD_RATE, count / ((sent[-1] - sent[0]) / 1e9))
    for figure, share in ((Figure.LOAD_P50, 0.5), (Figure.LOAD_P99, 0.99), (Figure.LOAD_P999, 0.999)):
        turn.note(figure, percentile(seconds, share))


LOAD = Scenario(
    name="load",
    text="enqueue to start at 70 % of the lesser of drain and enqueue many, as this run measured them",
    measure=_measure,
    roles=TASK_SYSTEMS,
)
