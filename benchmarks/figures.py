"""The figures, how several rounds of one become a median with its spread, and what issue of a run is good."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """What a figure is.

    Attributes:
        title: Column head.
        form: How a value is printed.
        more_is_better: Whether a larger value is a better one.
        scale: What a value is multiplied by before it is printed.
    """

    title: str
    form: str
    more_is_better: bool
    scale: float = 1.0

    def show(self, value: float) -> str:
        """Return a value as it is printed."""
        return self.form.format(value * self.scale)


class Figure(Enum):
    """Everything that is measured of a system. Times are in seconds, sizes in bytes, a job each."""

    ENQUEUE_ONE = Meaning(title="enqueue one/s", form="{:,.0f}", more_is_better=True)
    ENQUEUE_MANY = Meaning(title="enqueue many/s", form="{:,.0f}", more_is_better=True)
    DRAIN = Meaning(title="drain/s", form="{:,.0f}", more_is_better=True)
    LATENCY_P50 = Meaning(title="idle p50 ms", form="{:.2f}", more_is_better=False, scale=1e3)
    LATENCY_P99 = Meaning(title="idle p99 ms", form="{:.2f}", more_is_better=False, scale=1e3)
    WORKER_CPU = Meaning(title="worker CPU µs/job", form="{:.1f}", more_is_better=False, scale=1e6)
    REDIS_CPU = Meaning(title="Redis CPU µs/job", form="{:.1f}", more_is_better=False, scale=1e6)
    SCRIPTS = Meaning(title="EVALSHA µs/job", form="{:.1f}", more_is_better=False, scale=1e6)
    MEMORY = Meaning(title="bytes/waiting job", form="{:,.0f}", more_is_better=False)


class Unit(Enum):
    """Bare round trips, in seconds: what latencies are multiples of."""

    RAW_PACED = "redis-py PING, paced"
    PING_PACED = "PING, paced"
    EVALSHA_PACED = "EVALSHA, paced"
    PING_HOT = "PING, one behind the other"
    EVALSHA_HOT = "EVALSHA, one behind the other"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One figure of several rounds."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """The smallest."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The largest."""
        return max(self.values)

    @property
    def spread(self) -> float:
        """How far apart the smallest and the largest are, as a share of the median."""
        return (self.high - self.low) / self.median if self.median else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed.

    >>> percentile([3.0, 1.0, 2.0, 4.0], 0.5)
    2.0
    """
    ranked = sorted(values)
    return ranked[max(0, -(-len(ranked) * round(share * 1000) // 1000) - 1)]


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What a ratio of two figures of one run has to be.

    Attributes:
        text: The bound in words.
        ratio: Takes medians by system and units; None when what it compares was not measured.
        limit: The bound itself.
        at_least: Whether the ratio must reach the limit, or stay within it.
    """

    text: str
    ratio: Callable[["Medians"], float | None]
    limit: float
    at_least: bool

    def judge(self, medians: "Medians") -> "Verdict | None":
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


@dataclass(frozen=True, kw_only=True)
class Medians:
    """Medians of a run."""

    systems: Mapping[str, Mapping[Figure, float]]
    units: Mapping[Unit, float]

    def of(self, system: str, figure: Figure) -> float | None:
        """Return one, or None when it was not measured."""
        return self.systems.get(system, {}).get(figure)

    def ratio(self, above: str, figure: Figure, below: str) -> float | None:
        """Return how many times ``below``'s figure ``above``'s is."""
        return _divide(self.of(above, figure), self.of(below, figure))

    def latency(self, system: str, unit: Unit) -> float | None:
        """Return a system's median idle latency in bare round trips."""
        return _divide(self.of(system, Figure.LATENCY_P50), self.units.get(unit))


def _divide(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


BOUNDS = (
    Bound(
        text="drain: capelin / bare loop",
        ratio=lambda medians: medians.ratio("capelin", Figure.DRAIN, "bare loop"),
        limit=0.5,
        at_least=True,
    ),
    Bound(
        text="drain: capelin / arq",
        ratio=lambda medians: medians.ratio("capelin", Figure.DRAIN, "arq"),
        limit=10,
        at_least=True,
    ),
    Bound(
        text="median idle latency in bare round trips (redis-py PING, paced)",
        ratio=lambda medians: medians.latency("capelin", Unit.RAW_PACED),
        limit=3,
        at_least=False,
    ),
    Bound(
        text="bytes a waiting no-op job",
        ratio=lambda medians: medians.of("capelin", Figure.MEMORY),
        limit=300,
        at_least=False,
    ),
)
