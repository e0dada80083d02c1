"""From before a job is enqueued to its first line, and to its result, while nothing else happens.

The jobs come in chunks. Between those of capelin the bare round trips are measured that its latency is a
multiple of, after the same pauses: a minute earlier or later, a shared machine is not the same. While jobs
come nobody asks anything else, and while round trips are measured no jobs come.
"""

from contextlib import ExitStack

from benchmarks.catalog import Role
from benchmarks.child import Child
from benchmarks.figures import Figure, Unit, percentile
from benchmarks.scenarios.scenario import ALL, Scenario
from benchmarks.turn import PATIENCE, Turn, latencies
from benchmarks.work import Work

GAP = (0.02, 0.04)
"""Pauses between jobs that come alone, the shortest and the longest, in seconds."""
CHUNK = 20
"""Jobs, or round trips, that come before it is the others' turn."""

_WARM = 100


def _measure(turn: Turn) -> None:
    with ExitStack() as stack:
        trips = stack.enter_context(turn.round_trips()) if turn.system.role is Role.SUBJECT else None
        producer = stack.enter_context(turn.process())
        worker = stack.enter_context(turn.process())
        if trips is not None:
            _round_trips(trips, _WARM, gap=None)  # to connect is no part of a round trip
        turn.enqueue(producer, Work.NOOP, 0, _WARM, together=True)
        turn.drain(worker, Work.NOOP, _WARM)
        last = _WARM + turn.scale.paced
        waits: list[float] = []
        asked: list[float] = []
        for first in range(_WARM, last, CHUNK):
            count = min(CHUNK, last - first)
            waits += _starts(turn, producer, worker, first, count)
            if trips is not None:
                asked += _round_trips(trips, count, gap=GAP)
        if waits:
            turn.note(Figure.LATENCY_P50, percentile(waits, 0.5))
            turn.note(Figure.LATENCY_P99, percentile(waits, 0.99))
        results: list[float] = []
        if not turn.lacks(Figure.RESULT_P50):
            results = _results(turn, producer, worker, last, turn.scale.paced // 2)
            turn.note(Figure.RESULT_P50, percentile(results, 0.5))
            turn.note(Figure.RESULT_P99, percentile(results, 0.99))
    if asked:
        _note_round_trips(turn, asked, waits, results)


def _starts(turn: Turn, producer: Child, worker: Child, first: int, count: int) -> list[float]:
    """Enqueue jobs that come alone; returns the seconds until each of them started."""
    worker.ask("expect", first=first, count=count)
    sent = producer.ask("pace", first=first, count=count, gap=GAP)["sent"]
    begun = worker.ask("begun", timeout=PATIENCE)
    turn.account(count, begun)
    return latencies(sent, begun, first)


def _round_trips(trips: Child, count: int, *, gap: tuple[float, float] | None) -> list[float]:
    """Return the seconds of bare round trips, through redis-py."""
    seconds: list[float] = trips.ask("measure", what="redis-py", count=count, gap=gap)["seconds"]
    return seconds


def _results(turn: Turn, producer: Child, worker: Child, first: int, count: int) -> list[float]:
    """Call for results; returns the seconds until each of them was there."""
    worker.ask("expect", first=first, count=count)
    seconds: list[float] = producer.ask("results", first=first, count=count, gap=GAP)["seconds"]
    turn.account(count, worker.ask("begun", timeout=PATIENCE))
    return seconds


def _note_round_trips(turn: Turn, asked: list[float], waits: list[float], results: list[float]) -> None:
    """Note the bare round trips of this turn, and how many of them its own times are."""
    median, p99 = percentile(asked, 0.5), percentile(asked, 0.99)
    turn.outcome.note_unit(Unit.RAW_PACED, median)
    turn.outcome.note_unit(Unit.RAW_PACED_P99, p99)
    if waits:
        turn.note(Figure.LATENCY_TRIPS_P50, percentile(waits, 0.5) / median)
        turn.note(Figure.LATENCY_TRIPS_P99, percentile(waits, 0.99) / p99)
        if results:
            turn.note(Figure.RESULT_TRIPS, (percentile(results, 0.5) - percentile(waits, 0.5)) / median)


LATENCY = Scenario(
    name="latency",
    text="enqueue to start, and to the result of a caller that waits, while nothing else happens",
    measure=_measure,
    roles=ALL,
    every_round=True,
)
