"""Every metric, as data: what is exported, checked and documented is this list.

Figures of a process are to be summed over processes. Figures of the fleet are read from Redis, and exported
by the leader alone, so that a sum over all workers is right for them, too.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

PREFIX: Final = "capelin_"
OTHER: Final = "other"
"""The label of whatever is not known by name, so that labels stay few."""
BOUNDS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    1800.0,
    7200.0,
)
"""Upper bounds of the histograms' buckets, seconds."""


class Kind(StrEnum):
    """What a metric is to Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Scope(StrEnum):
    """Whose figure it is."""

    PROCESS = "process"
    """One worker process's."""
    FLEET = "fleet"
    """Everybody's, read from Redis by the leader."""


class Over(StrEnum):
    """How the figures of several processes behind one port become one."""

    SUM = "sum"
    MOST = "most"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric.

    Attributes:
        name: Its name without the prefix, and without ``_total``.
        kind: What it is.
        help: One sentence.
        labels: Names of its labels, in order.
        scope: Whose figure it is.
        over: How several processes' figures become one.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    scope: Scope = Scope.PROCESS
    over: Over = Over.SUM

    @property
    def exported(self) -> str:
        """The name that Prometheus sees, and that queries use (a histogram's without its suffix)."""
        return f"{PREFIX}{self.name}{'_total' if self.kind is Kind.COUNTER else ''}"


def _counter(name: str, labels: str, text: str, scope: Scope = Scope.PROCESS) -> Metric:
    # Two that lead for a moment read the same Redis: neither is to be counted twice.
    over = Over.MOST if scope is Scope.FLEET else Over.SUM
    return Metric(
        name=name, kind=Kind.COUNTER, help=text, labels=tuple(labels.split()), scope=scope, over=over
    )


def _histogram(name: str, labels: str, text: str) -> Metric:
    return Metric(name=name, kind=Kind.HISTOGRAM, help=text, labels=tuple(labels.split()))


def _gauge(name: str, labels: str, text: str, over: Over = Over.SUM) -> Metric:
    return Metric(name=name, kind=Kind.GAUGE, help=text, labels=tuple(labels.split()), over=over)


def _of_fleet(name: str, labels: str, text: str) -> Metric:
    return Metric(
        name=name,
        kind=Kind.GAUGE,
        help=text,
        labels=tuple(labels.split()),
        scope=Scope.FLEET,
        over=Over.MOST,
    )


STARTED: Final = _counter("jobs_started", "queue task priority", "Starts of jobs.")
COMPLETED: Final = _counter("jobs_completed", "queue task", "Jobs that completed.")
FAILED: Final = _counter(
    "jobs_failed",
    "queue task outcome",
    "Attempts that failed, by what became of the job: retried, dead, cancelled.",
)
RETRIED: Final = _counter("jobs_retried", "queue task", "Jobs that are tried again after a failed attempt.")
DEAD: Final = _counter("jobs_dead", "queue task reason", "Jobs that ended in the DLQ, by reason.")
PARKED: Final = _counter("jobs_parked", "queue task", "Jobs that were parked: this worker cannot run them.")
SNOOZED: Final = _counter("jobs_snoozed", "queue task", "Jobs that put themselves off.")
RETURNED: Final = _counter("jobs_returned", "queue task", "Jobs that a worker that stops handed back.")
STOLEN: Final = _counter("jobs_stolen", "queue", "Jobs that were taken from a shard of another worker.")
REAPED: Final = _counter(
    "jobs_reaped", "queue outcome", "Jobs of dead workers, by what became of them: returned, dead, cancelled."
)
ADOPTED: Final = _counter("jobs_adopted", "queue", "Starts whose delivery was lost, found again.")
REFUSED: Final = _counter(
    "outcomes_refused", "queue reason", "Outcomes that were not recorded: stale (another start counts), torn."
)
ENQUEUED: Final = _counter("jobs_enqueued", "queue", "Jobs that were enqueued, by whomever.", Scope.FLEET)
DUPLICATES: Final = _counter(
    "jobs_duplicate", "queue", "Requests that found a live job with their dedupe key.", Scope.FLEET
)
CANCELLED: Final = _counter("jobs_cancelled", "queue", "Jobs that ended cancelled or expired.", Scope.FLEET)
TICKS: Final = _counter(
    "schedule_ticks", "schedule outcome", "Ticks: fired, or skipped as stale, missed or overlap.", Scope.FLEET
)
SINGLETON_RUNS: Final = _counter(
    "singleton_runs", "singleton outcome", "Runs of singletons: completed, failed.", Scope.FLEET
)

WAIT: Final = _histogram(
    "job_wait_seconds", "queue priority", "From a job's enqueueing, or due moment, to its first start."
)
RUN: Final = _histogram("job_run_seconds", "queue task", "How long a start ran.")
END_TO_END: Final = _histogram(
    "job_end_to_end_seconds",
    "queue task",
    "From a job's enqueueing to its completion; with a delay and without a retry, from its due moment.",
)

LEASES: Final = _gauge("shard_leases", "", "Shards that the worker owns.")
LEADER: Final = _gauge("leader", "", "Whether the worker leads the scheduler.")
LAG: Final = _gauge(
    "event_loop_lag_seconds",
    "",
    "The longest that the event loop kept a callback waiting in the last 15 seconds.",
    Over.MOST,
)
SLOTS: Final = _gauge("slots", "pool", "Jobs that the worker can run at a time.")
SLOTS_USED: Final = _gauge("slots_used", "pool", "Jobs that the worker runs.")

DEPTH: Final = _of_fleet(
    "queue_depth", "queue priority", "Jobs that wait for a worker; those that came back as priority returned."
)
OLDEST: Final = _of_fleet(
    "queue_oldest_age_seconds",
    "queue",
    "How long the job that waits longest has waited since it was ready or due.",
)
SCHEDULED: Final = _of_fleet("queue_scheduled", "queue", "Jobs that wait for their time, or for another job.")
RUNNING: Final = _of_fleet("queue_running", "queue", "Jobs that run.")
WAITING_PARKED: Final = _of_fleet("queue_parked", "queue", "Jobs that no worker can run so far.")
DLQ: Final = _of_fleet("queue_dlq", "queue", "Jobs in the DLQ.")
PAUSED: Final = _of_fleet("queue_paused", "queue", "Whether the queue is paused.")
ORPHANED: Final = _of_fleet("queue_shards_without_owner", "queue", "Shards on which no worker waits.")
WORKERS: Final = _of_fleet("queue_workers", "queue", "Workers that serve the queue.")
SCHEDULE_HEALTHY: Final = _of_fleet(
    "schedule_healthy", "schedule", "Whether a run completed within twice the interval."
)
SCHEDULE_RAN: Final = _of_fleet(
    "schedule_last_run_timestamp_seconds", "schedule", "When a run of the schedule completed last."
)
SINGLETON_HEALTHY: Final = _of_fleet(
    "singleton_healthy", "singleton", "Whether it gave a sign of life within twice its interval."
)
SINGLETON_RAN: Final = _of_fleet(
    "singleton_last_run_timestamp_seconds",
    "singleton",
    "When the singleton last gave a sign of life: a run, a save, a heartbeat.",
)

CATALOG: Final = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
"""All of them."""
