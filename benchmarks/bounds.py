"""What the ratios of a run have to be.

A missed bound is told, and fails nothing: a busy machine is no bug.
"""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.figures import Figure
from benchmarks.outcome import Medians, divide

_RECORD_KEEPERS = ("arq", "SAQ", "streaQ", "docket", "BullMQ", "dramatiq", "RQ")
"""Peers that keep a record of each waiting job under its id; the others keep a message."""
_ASYNCIO_PEERS = ("arq", "SAQ", "streaQ", "taskiq", "docket", "BullMQ")


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What a ratio of two figures of one run has to be.

    Attributes:
        text: The bound in words.
        ratio: Takes medians by system; None when what it compares was not measured.
        limit: The bound itself.
        at_least: Whether the ratio must reach the limit, or stay within it.
    """

    text: str
    ratio: Callable[[Medians], float | None]
    limit: float
    at_least: bool

    def judge(self, medians: Medians) -> "Verdict | None":
        """Return whether a run kept the bound, or None when it did not measure it."""
        ratio = self.ratio(medians)
        if ratio is None:
            return None
        kept = ratio >= self.limit if self.at_least else ratio <= self.limit
        return Verdict(text=self.text, ratio=ratio, limit=self.limit, at_least=self.at_least, kept=kept)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a run kept a bound."""

    text: str
    ratio: float
    limit: float
    at_least: bool
    kept: bool


def _over(figure: Figure, other: str) -> Callable[[Medians], float | None]:
    return lambda medians: medians.ratio("capelin", figure, other)


def _over_best(figure: Figure, among: tuple[str, ...] | None = None) -> Callable[[Medians], float | None]:
    return lambda medians: divide(medians.of("capelin", figure), medians.best_peer(figure, among))


def _over_own(above: Figure, below: Figure) -> Callable[[Medians], float | None]:
    return lambda medians: divide(medians.of("capelin", above), medians.of("capelin", below))


def _scripts(medians: Medians) -> float | None:
    return medians.ratio("capelin", Figure.SCRIPTS, "bare loop")


def _at_least(text: str, limit: float, ratio: Callable[[Medians], float | None]) -> Bound:
    return Bound(text=text, ratio=ratio, limit=limit, at_least=True)


def _at_most(text: str, limit: float, ratio: Callable[[Medians], float | None]) -> Bound:
    return Bound(text=text, ratio=ratio, limit=limit, at_least=False)


def _own(figure: Figure) -> Callable[[Medians], float | None]:
    return lambda medians: medians.of("capelin", figure)


BOUNDS = (
    _at_least("drain: capelin / fastest peer", 5, _over_best(Figure.DRAIN)),
    _at_least("drain: capelin / arq", 10, _over(Figure.DRAIN, "arq")),
    _at_least("drain: capelin / bare loop", 0.6, _over(Figure.DRAIN, "bare loop")),
    _at_least("drain: two workers / one", 1.6, _over_own(Figure.DRAIN_TWO, Figure.DRAIN)),
    _at_least("enqueue many: capelin / fastest peer", 2.5, _over_best(Figure.ENQUEUE_MANY)),
    _at_least("enqueue one: capelin / bare script, in turns", 0.85, _own(Figure.ENQUEUE_SHARE)),
    _at_least(
        "enqueue one: capelin / fastest asyncio peer", 1, _over_best(Figure.ENQUEUE_ONE, _ASYNCIO_PEERS)
    ),
    _at_most(
        "median idle latency in bare round trips (redis-py PING, paced)",
        2.5,
        _own(Figure.LATENCY_TRIPS_P50),
    ),
    _at_most("p99 of idle latency in p99s of bare round trips", 3, _own(Figure.LATENCY_TRIPS_P99)),
    _at_most("median idle latency: capelin / best peer", 1, _over_best(Figure.LATENCY_P50)),
    _at_most("p99 of idle latency: capelin / best peer", 1, _over_best(Figure.LATENCY_P99)),
    _at_most("p99 at 70 % load: capelin / best peer", 1, _over_best(Figure.LOAD_P99)),
    _at_most(
        "p99 at 2,000 jobs/s: capelin / best peer at its own 70 % load, which is less",
        1,
        lambda medians: divide(
            medians.of("capelin", Figure.LOAD_FIXED_P99), medians.best_peer(Figure.LOAD_P99)
        ),
    ),
    _at_most("result after the start, in bare round trips", 2, _own(Figure.RESULT_TRIPS)),
    _at_most("time in scripts a job: capelin / bare loop", 2, _scripts),
    _at_least(
        "drain: backlog of 1 million / 1 thousand", 0.9, _over_own(Figure.BACKLOG_1M, Figure.BACKLOG_1K)
    ),
    _at_least(
        "drain: 1 million delayed / none delayed", 0.95, _over_own(Figure.DELAYED_1M, Figure.DELAYED_NONE)
    ),
    _at_most("Redis CPU of 50 idle workers, share of a core", 0.03, _own(Figure.FLEET_CPU)),
    _at_most(
        "bytes a waiting no-op job: capelin / best peer that keeps a record of each",
        1,
        _over_best(Figure.MEMORY, _RECORD_KEEPERS),
    ),
)
