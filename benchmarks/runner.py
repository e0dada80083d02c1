"""A run: every system measured on one Redis, in turns, so that whatever else the machine does meets all."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.catalog import ROUND_TRIP_MODULE, System
from benchmarks.child import Child
from benchmarks.figures import Figure, Medians, Sample, Unit, percentile
from benchmarks.server import Server

_WARM_ONE = 50
_WARM_MANY = 200
_ONE_AT_MOST = 2000
_PACED = 100
_GAP = (0.02, 0.04)
_HOT = 1000
_SLOWEST = 100  # jobs a second: a system that is slower counts as one that lost the rest
_PATIENCE = 20.0

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A system, and the interpreter that has it."""

    system: System
    python: Path
    versions: dict[str, str]


@dataclass(kw_only=True)
class Accounts:
    """Whether every job ran once: over all rounds of one system.

    Attributes:
        enqueued: Jobs that the system had confirmed.
        started: Different jobs of these that started.
        repeated: Starts beyond a job's first.
        finished: Jobs that the system's own records call finished.
    """

    enqueued: int = 0
    started: int = 0
    repeated: int = 0
    finished: int = 0

    @property
    def lost(self) -> int:
        """Jobs that never started."""
        return self.enqueued - self.started


@dataclass(kw_only=True)
class Outcome:
    """All that a run measured."""

    figures: dict[str, dict[Figure, list[float]]] = field(
        default_factory=dict[str, dict[Figure, list[float]]]
    )
    units: dict[Unit, list[float]] = field(default_factory=dict[Unit, list[float]])
    accounts: dict[str, Accounts] = field(default_factory=dict[str, Accounts])

    def note(self, system: str, figure: Figure, value: float) -> None:
        """Add a round's figure."""
        self.figures.setdefault(system, {}).setdefault(figure, []).append(value)

    def sample(self, system: str, figure: Figure) -> Sample | None:
        """Return a figure over all rounds, or None when it was not measured."""
        values = self.figures.get(system, {}).get(figure)
        return Sample(values=tuple(values)) if values else None

    def medians(self) -> Medians:
        """Return what bounds are judged by."""
        return Medians(
            systems={
                system: {figure: Sample(values=tuple(values)).median for figure, values in figures.items()}
                for system, figures in self.figures.items()
            },
            units={unit: Sample(values=tuple(values)).median for unit, values in self.units.items()},
        )


def run(server: Server, systems: list[Measured], *, jobs: int, rounds: int, home: Path, say: Say) -> Outcome:
    """Measure.

    Args:
        server: Where.
        systems: Whom, in the order of their turns.
        jobs: How many are enqueued together and drained.
        rounds: How often it is each one's turn.
        home: The interpreter that has capelin, for the round trips.
        say: Told what is going on.
    """
    outcome = Outcome()
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}: round trips")
        _round_trips(server, home, outcome)
        for measured in systems:
            say(f"round {number + 1} of {rounds}: {measured.system.name}")
            _turn(server, measured, jobs, outcome)
    return outcome


def _round_trips(server: Server, home: Path, outcome: Outcome) -> None:
    server.empty()
    with Child(home, ROUND_TRIP_MODULE) as child:
        child.ask("open", url=server.url)
        for unit, what, count, gap in (
            (Unit.RAW_PACED, "redis-py", _PACED, _GAP),
            (Unit.PING_PACED, "ping", _PACED, _GAP),
            (Unit.EVALSHA_PACED, "evalsha", _PACED, _GAP),
            (Unit.PING_HOT, "ping", _HOT, None),
            (Unit.EVALSHA_HOT, "evalsha", _HOT, None),
        ):
            seconds = child.ask("measure", what=what, count=count, gap=gap)["seconds"]
            outcome.units.setdefault(unit, []).append(percentile(seconds, 0.5))


def _turn(server: Server, measured: Measured, jobs: int, outcome: Outcome) -> None:
    """One system's turn: enqueue into an empty Redis, drain it all, then meet jobs that come alone."""
    system = measured.system
    server.empty()
    with ExitStack() as stack:
        producer = stack.enter_context(Child(measured.python, system.module))
        producer.ask("open", url=server.url)
        ones = min(jobs, _ONE_AT_MOST)
        waiting = 0
        for count, together in ((_WARM_ONE, False), (_WARM_MANY, True)):
            producer.ask("enqueue", first=waiting, count=count, together=together)
            waiting += count
        for count, figure in ((ones, Figure.ENQUEUE_ONE), (jobs, Figure.ENQUEUE_MANY)):
            before = server.memory()
            together = figure is Figure.ENQUEUE_MANY
            seconds = producer.ask("enqueue", first=waiting, count=count, together=together)["seconds"]
            waiting += count
            outcome.note(system.name, figure, count / seconds)
            if together:
                outcome.note(system.name, Figure.MEMORY, (server.memory() - before) / count)
        worker = stack.enter_context(Child(measured.python, system.module))
        worker.ask("open", url=server.url)
        _drain(server, system, worker, waiting, outcome)
        account = outcome.accounts[system.name]
        if system.idle_latency:
            _latency(system, producer, worker, waiting, outcome)
        account.finished += producer.ask("finished")["finished"]


def _drain(server: Server, system: System, worker: Child, waiting: int, outcome: Outcome) -> None:
    server.reset_statistics()
    cpu = server.cpu_seconds()
    worker.ask("work", expect=waiting)
    limit = _PATIENCE + waiting / _SLOWEST
    drained = worker.ask("drained", timeout=limit, within=limit)
    cpu = server.cpu_seconds() - cpu
    started = drained["started"]
    account = outcome.accounts.setdefault(system.name, Accounts())
    account.enqueued += waiting
    account.started += started
    account.repeated += drained["repeated"]
    if not started:
        return
    outcome.note(system.name, Figure.DRAIN, started / drained["seconds"])
    outcome.note(system.name, Figure.WORKER_CPU, drained["worked"] / started)
    outcome.note(system.name, Figure.REDIS_CPU, cpu / started)
    if not system.requirements:
        outcome.note(system.name, Figure.SCRIPTS, server.scripts_microseconds() / 1e6 / started)


def _latency(system: System, producer: Child, worker: Child, first: int, outcome: Outcome) -> None:
    worker.ask("expect", first=first, count=_PACED)
    sent = producer.ask("pace", first=first, count=_PACED, gap=_GAP)["sent"]
    begun = worker.ask("begun", timeout=_PATIENCE)
    account = outcome.accounts[system.name]
    account.enqueued += _PACED
    account.started += begun["started"]
    account.repeated += begun["repeated"]
    starts: dict[int, int] = {}
    for number, moment in zip(begun["numbers"], begun["moments"], strict=True):
        starts.setdefault(number, moment)
    seconds = [(starts[first + at] - moment) / 1e9 for at, moment in enumerate(sent) if first + at in starts]
    if seconds:
        outcome.note(system.name, Figure.LATENCY_P50, percentile(seconds, 0.5))
        outcome.note(system.name, Figure.LATENCY_P99, percentile(seconds, 0.99))
