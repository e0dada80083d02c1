"""The figures: what they are, and how several rounds of one become a median with its spread."""

import statistics
from collections.abc import Sequence
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


def _rate(title: str) -> Meaning:
    return Meaning(title=title, form="{:,.0f}", more_is_better=True)


def _milliseconds(title: str) -> Meaning:
    return Meaning(title=f"{title} ms", form="{:.2f}", more_is_better=False, scale=1e3)


def _microseconds(title: str) -> Meaning:
    return Meaning(title=f"{title} µs/job", form="{:.1f}", more_is_better=False, scale=1e6)


def _cost(title: str, form: str = "{:,.0f}", scale: float = 1.0) -> Meaning:
    return Meaning(title=title, form=form, more_is_better=False, scale=scale)


class Figure(Enum):
    """Everything that is measured of a system. Times: seconds; sizes: bytes; rates: jobs a second."""

    ENQUEUE_ONE = _rate("enqueue one/s")
    ENQUEUE_SHARE = Meaning(
        title="enqueue one, % of bare loop's rate", form="{:.1f}", more_is_better=True, scale=100
    )
    ENQUEUE_MANY = _rate("enqueue many/s")
    ENQUEUE_SPREAD = _rate("100 callers/s")
    DRAIN = _rate("drain/s")
    DRAIN_TWO = _rate("drain/s, 2 workers")
    CORES_TWO = _cost("cores they and Redis use", "{:.2f}")
    REDIS_TWO = _cost("of them Redis", "{:.2f}")
    NAPS = Meaning(title="10 ms sleeps, % of ideal", form="{:.0f}", more_is_better=True, scale=100)
    SPINS = _rate("5 ms CPU jobs/s")
    LATENCY_P50 = _milliseconds("idle p50")
    LATENCY_P99 = _milliseconds("idle p99")
    LOAD_RATE = _rate("load, jobs/s")
    LOAD_P50 = _milliseconds("load p50")
    LOAD_P99 = _milliseconds("load p99")
    LOAD_P999 = _milliseconds("load p99.9")
    LOAD_FIXED_P99 = _milliseconds("p99 at 2,000/s")
    RESULT_P50 = _milliseconds("result p50")
    RESULT_P99 = _milliseconds("result p99")
    LATENCY_TRIPS_P50 = _cost("idle p50, bare round trips", "{:.2f}")
    LATENCY_TRIPS_P99 = _cost("idle p99, p99s of them", "{:.2f}")
    RESULT_TRIPS = _cost("result after start, round trips", "{:.2f}")
    CARRY_100B_ENQUEUE = _rate("100 B enqueue/s")
    CARRY_100B_DRAIN = _rate("100 B drain/s")
    CARRY_10K_ENQUEUE = _rate("10 KiB enqueue/s")
    CARRY_10K_DRAIN = _rate("10 KiB drain/s")
    CARRY_256K_ENQUEUE = _rate("256 KiB enqueue/s")
    CARRY_256K_DRAIN = _rate("256 KiB drain/s")
    BACKLOG_1K = _rate("drain/s of 1 thousand")
    BACKLOG_100K = _rate("of 100 thousand")
    BACKLOG_1M = _rate("of 1 million")
    DELAYED_NONE = _rate("drain/s, none delayed")
    DELAYED_1M = _rate("drain/s, 1 million delayed")
    SHARDS_8 = _rate("drain/s, 8 shards")
    SHARDS_64 = _rate("drain/s, 64 shards")
    FLEET_CPU = _cost("Redis CPU of 50 idle workers, % of a core", "{:.2f}", 100)
    FLEET_COMMANDS = _cost("their commands/s")
    STARTUP = _cost("start-up s", "{:.2f}")
    WORKER_MEMORY = _cost("worker MiB", "{:.0f}", 1 / 1024**2)
    GROWTH = _cost("growth over 1 million jobs, MiB", "{:.1f}", 1 / 1024**2)
    MEMORY = _cost("bytes/waiting job")
    FINISHED_MEMORY = _cost("bytes/finished job")
    WORKER_CPU = _microseconds("worker CPU")
    REDIS_CPU = _microseconds("Redis CPU")
    SCRIPTS = _microseconds("scripts")
    SCRIPT_CALLS = _cost("script calls/job", "{:.2f}")
    OTHER_CALLS = _cost("other calls/job", "{:.1f}")


TABLES: tuple[tuple[str, tuple[Figure, ...]], ...] = (
    ("throughput", (Figure.ENQUEUE_ONE, Figure.ENQUEUE_MANY, Figure.ENQUEUE_SPREAD, Figure.DRAIN)),
    ("beside its limits", (
        Figure.ENQUEUE_SHARE, Figure.LATENCY_TRIPS_P50, Figure.LATENCY_TRIPS_P99, Figure.RESULT_TRIPS,
    )),
    ("work", (Figure.DRAIN_TWO, Figure.CORES_TWO, Figure.REDIS_TWO, Figure.NAPS, Figure.SPINS)),
    ("latency", (Figure.LATENCY_P50, Figure.LATENCY_P99, Figure.RESULT_P50, Figure.RESULT_P99)),
    ("latency at 70 % load", (
        Figure.LOAD_RATE, Figure.LOAD_P50, Figure.LOAD_P99, Figure.LOAD_P999, Figure.LOAD_FIXED_P99,
    )),
    ("arguments of 100 B and 10 KiB", (
        Figure.CARRY_100B_ENQUEUE, Figure.CARRY_100B_DRAIN, Figure.CARRY_10K_ENQUEUE, Figure.CARRY_10K_DRAIN,
    )),
    ("arguments of 256 KiB", (Figure.CARRY_256K_ENQUEUE, Figure.CARRY_256K_DRAIN)),
    ("backlog", (Figure.BACKLOG_1K, Figure.BACKLOG_100K, Figure.BACKLOG_1M)),
    ("delayed jobs, shards", (Figure.DELAYED_NONE, Figure.DELAYED_1M, Figure.SHARDS_8, Figure.SHARDS_64)),
    ("a fleet that idles", (Figure.FLEET_CPU, Figure.FLEET_COMMANDS)),
    ("memory", (Figure.MEMORY, Figure.FINISHED_MEMORY, Figure.WORKER_MEMORY, Figure.GROWTH)),
    ("CPU", (Figure.WORKER_CPU, Figure.REDIS_CPU, Figure.SCRIPTS, Figure.STARTUP)),
    ("Redis commands in a drain", (Figure.SCRIPT_CALLS, Figure.OTHER_CALLS)),
)  # fmt: skip
"""What is printed together."""


class Unit(Enum):
    """Bare round trips, in seconds: what latencies are multiples of.

    The raw ones, which bounds are about, are measured between capelin's idle jobs; the others when a round
    begins.
    """

    RAW_PACED = "redis-py PING, paced"
    RAW_PACED_P99 = "its p99"
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


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed.

    >>> percentile([3.0, 1.0, 2.0, 4.0], 0.5)
    2.0
    """
    ranked = sorted(values)
    return ranked[max(0, -(-len(ranked) * round(share * 1000) // 1000) - 1)]
