"""From enqueueing to starting while jobs keep coming, at 70 % of what the system can do in just that way.

A drain has the machine to itself. Here a producer shares it with the worker, so what the system can do is
measured anew: its producer sends as fast as either of them alone can go, then no faster than the worker has
just kept up with, and so on until the worker keeps up. (Jobs that come faster come in longer lists, which may
cost less a job: what a system does of more than it can do is not what it can do of less.) That is done anew
before each of three measurements.

So each system has a load of its own, and who does more in a second has less time for a job. One whose 70 % is
more than 2,000 a second, which no peer's was so far, is measured at these as well: beside the fastest peer.
"""

from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.child import Child
from benchmarks.figures import Figure, percentile
from benchmarks.scenarios.scenario import ALL, Scenario
from benchmarks.turn import PATIENCE, Turn, latencies
from benchmarks.work import Work

_SHARE = 0.7
_SECONDS = 1.5
_SECONDS_FULL = 10.0
_TIMES = 3
_FIXED = 2_000
_WARM = 100
_AT_LEAST = 200
_TRIAL_SECONDS = 0.7
_MOST_TRIALS = 10
_KEPT_UP = 0.97
_MORE = 1.2  # than it just kept up with: the machine may have been slow


@dataclass(kw_only=True)
class _Flow:
    """Jobs from a producer to a worker, at some rate.

    Attributes:
        turn, producer, worker: Whose.
        next_number: The next job's.
    """

    turn: Turn
    producer: Child
    worker: Child
    next_number: int

    def sustained(self, rate: float) -> float:
        """Find the rate at which the worker keeps up, at most this one; 0 if nothing starts."""
        kept = 0.0
        for _ in range(_MOST_TRIALS):
            kept = self.pass_on(rate, _TRIAL_SECONDS).kept
            if kept >= _KEPT_UP * rate or not kept:
                break
            rate = kept
        return kept

    def pass_on(self, rate: float, seconds: float) -> "_Passed":
        """Enqueue ``rate`` jobs a second, and wait until they have started."""
        first, count = self.next_number, max(_AT_LEAST, round(rate * seconds))
        self.next_number += count
        self.worker.ask("expect", first=first, count=count)
        sent: list[int] = self.producer.ask("stream", first=first, count=count, rate=rate)["sent"]
        begun = self.worker.ask("begun", timeout=PATIENCE)
        self.turn.account(count, begun)
        last = max(begun["moments"], default=None)
        return _Passed(
            sent=count / ((sent[-1] - sent[0]) / 1e9),
            kept=0.0 if last is None else begun["started"] / ((last - sent[0]) / 1e9),
            waits=latencies(sent, begun, first),
        )


@dataclass(frozen=True, kw_only=True)
class _Passed:
    """What became of jobs that came at some rate.

    Attributes:
        sent: At which rate they were really sent, jobs a second.
        kept: At which rate they started, until the last had; 0 if none did.
        waits: The seconds from sending to starting, of those that started.
    """

    sent: float
    kept: float
    waits: list[float]


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
        flow = _Flow(turn=turn, producer=producer, worker=worker, next_number=_WARM)
        most = min(drain, enqueue)
        for _ in range(_TIMES):  # a shared machine is not the same from second to second
            most = flow.sustained(most)
            if not most:
                return
            passed = flow.pass_on(_SHARE * most, seconds)
            if passed.waits:
                turn.note(Figure.LOAD_RATE, passed.sent)
                turn.note(Figure.LOAD_P50, percentile(passed.waits, 0.5))
                turn.note(Figure.LOAD_P99, percentile(passed.waits, 0.99))
                turn.note(Figure.LOAD_P999, percentile(passed.waits, 0.999))
            if _SHARE * most > _FIXED and (waits := flow.pass_on(_FIXED, seconds).waits):
                turn.note(Figure.LOAD_FIXED_P99, percentile(waits, 0.99))
            most *= _MORE


LOAD = Scenario(
    name="load",
    text="enqueue to start at 70 % of what producer and worker together keep up with, measured right before",
    measure=_measure,
    roles=ALL,
)
