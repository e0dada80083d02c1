"""From enqueueing to starting while jobs keep coming, at 70 % of what the system can do in just that way.

A drain has the machine to itself. Here a producer shares it with the worker, so what the system can do is
measured anew: its producer sends as fast as either of them alone can go, then no faster than the worker has
just kept up with, and so on until the worker keeps up. (Jobs that come faster come in longer lists, which may
cost less a job: what a system does of more than it can do is not what it can do of less.)

So each system has a load of its own, and who does more in a second has less time for a job. One whose 70 % is
more than 2,000 a second, which no peer's was so far, is measured at these as well: beside the fastest peer.
"""

from contextlib import ExitStack
from typing import Any

from benchmarks.child import Child
from benchmarks.figures import Figure, percentile
from benchmarks.scenarios.scenario import TASK_SYSTEMS, Scenario
from benchmarks.turn import PATIENCE, Turn, latencies
from benchmarks.work import Work

_SHARE = 0.7
_SECONDS = 3.0
_SECONDS_FULL = 10.0
_FIXED = 2_000
_WARM = 100
_AT_LEAST = 200
_TRIAL_SECONDS = 1.0
_MOST_TRIALS = 10
_KEPT_UP = 0.97


def _measure(turn: Turn) -> None:
    drain = turn.median(Figure.DRAIN)
    handed = turn.median(Figure.ENQUEUE_MANY) or turn.median(Figure.ENQUEUE_SPREAD)
    enqueue = handed or turn.median(Figure.ENQUEUE_ONE)
    if drain is None or enqueue is None:
        return  # the throughput was not measured: there is nothing to be 70 % of
    seconds = _SECONDS_FULL if turn.scale.full else _SECONDS
    with ExitStack() as stack:
        producer = stack.enter_context(turn.process())
        worker = stack.enter_context(turn.process())
        turn.enqueue(producer, Work.NOOP, 0, _WARM, together=True)
        turn.drain(worker, Work.NOOP, _WARM)
        most, first = _sustained(turn, producer, worker, first=_WARM, rate=min(drain, enqueue))
        if not most:
            return
        rate = _SHARE * most
        count = max(_AT_LEAST, round(rate * seconds))
        sent, begun = _stream(turn, producer, worker, first=first, count=count, rate=rate)
        if rate > _FIXED:
            next_one, few = first + count, round(_FIXED * seconds)
            _note_fixed(
                turn, next_one, *_stream(turn, producer, worker, first=next_one, count=few, rate=_FIXED)
            )
    waits = latencies(sent, begun, first)
    if not waits:
        return
    turn.note(Figure.LOAD_RATE, count / ((sent[-1] - sent[0]) / 1e9))
    for figure, share in ((Figure.LOAD_P50, 0.5), (Figure.LOAD_P99, 0.99), (Figure.LOAD_P999, 0.999)):
        turn.note(figure, percentile(waits, share))


def _sustained(turn: Turn, producer: Child, worker: Child, *, first: int, rate: float) -> tuple[float, int]:
    """Find the rate at which producer and worker keep up, at most this one.

    Returns:
        It (jobs a second; 0 when none started), and the number of the next job.
    """
    kept = 0.0
    for _ in range(_MOST_TRIALS):
        count = max(_AT_LEAST, round(rate * _TRIAL_SECONDS))
        sent, begun = _stream(turn, producer, worker, first=first, count=count, rate=rate)
        first += count
        if not begun["moments"]:
            return 0.0, first
        kept = begun["started"] / ((max(begun["moments"]) - sent[0]) / 1e9)
        if kept >= _KEPT_UP * rate:
            break
        rate = kept
    return kept, first


def _note_fixed(turn: Turn, first: int, sent: list[int], begun: dict[str, Any]) -> None:
    if waits := latencies(sent, begun, first):
        turn.note(Figure.LOAD_FIXED_P99, percentile(waits, 0.99))


def _stream(
    turn: Turn, producer: Child, worker: Child, *, first: int, count: int, rate: float
) -> tuple[list[int], dict[str, Any]]:
    """Enqueue so many a second; returns when each was sent, and what the worker says of their starts."""
    worker.ask("expect", first=first, count=count)
    sent: list[int] = producer.ask("stream", first=first, count=count, rate=rate)["sent"]
    begun = worker.ask("begun", timeout=PATIENCE)
    turn.account(count, begun)
    return sent, begun


LOAD = Scenario(
    name="load",
    text="enqueue to start at 70 % of what producer and worker together can do, as this run measures it",
    measure=_measure,
    roles=TASK_SYSTEMS,
)
