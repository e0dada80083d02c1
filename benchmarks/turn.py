"""One system's turn at one scenario: its processes, its jobs, and where its figures go."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.catalog import ROUND_TRIP_MODULE, System
from benchmarks.child import Child, connected
from benchmarks.figures import Figure
from benchmarks.outcome import Outcome
from benchmarks.server import Server
from benchmarks.work import Work

PATIENCE = 20.0
"""Seconds that the last job may keep us waiting."""

_SLOWEST = 100  # jobs a second: a system that is slower counts as one that lost the rest


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A system, and the interpreter that has it."""

    system: System
    python: Path
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is measured.

    Attributes:
        jobs: How many are enqueued together and drained, by the fastest.
        paced: How many come alone.
        full: Whether the long scenarios are at their full length.
    """

    jobs: int
    paced: int
    full: bool


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One system's turn at one scenario.

    Attributes:
        limit: The bare loop, if it is among the systems of the run: what is to be held against it in the same
            seconds needs it.
    """

    server: Server
    measured: Measured
    outcome: Outcome
    scale: Scale
    limit: Measured | None = None

    @property
    def system(self) -> System:
        """Whose turn it is."""
        return self.measured.system

    @property
    def jobs(self) -> int:
        """How many jobs it drains: fewer of a slow system, which says as much in as many seconds."""
        return max(200, round(self.scale.jobs * self.system.share))

    def note(self, figure: Figure, value: float) -> None:
        """Add a figure."""
        self.outcome.note(self.system.name, figure, value)

    def note_rate(self, figure: Figure, drained: dict[str, Any], *, ideal: float = 1.0) -> None:
        """Add the jobs a second of a drain, if any job started in it.

        Args:
            figure: Which.
            drained: What the worker said.
            ideal: What the figure is a share of.
        """
        if drained["started"]:
            self.note(figure, drained["started"] / drained["seconds"] / ideal)

    def median(self, figure: Figure) -> float | None:
        """Return what this run has measured so far."""
        return self.outcome.median(self.system.name, figure)

    def lacks(self, figure: Figure) -> bool:
        """Whether the system cannot do what the figure measures."""
        return figure in self.system.lacks

    @contextmanager
    def process(self, *, of: Measured | None = None, **settings: Any) -> Generator[Child]:
        """Give a process of the system that is connected: a producer, or a worker to be.

        Args:
            of: Another system, whose process it is instead.
            settings: The system's own.
        """
        measured = of or self.measured
        with connected(measured.python, measured.system.module, self.server.url, **settings) as child:
            yield child

    @contextmanager
    def round_trips(self) -> Generator[Child]:
        """Give a process that measures bare round trips; the system's interpreter must have capelin."""
        with connected(self.measured.python, ROUND_TRIP_MODULE, self.server.url) as child:
            yield child

    def account(self, enqueued: int, answer: dict[str, Any]) -> None:
        """Enter jobs into the accounts.

        Args:
            enqueued: How many there were.
            answer: What the worker says of them.
        """
        account = self.outcome.account(self.system.name)
        account.enqueued += enqueued
        account.started += int(answer["started"])
        account.repeated += int(answer["repeated"])

    def drain(self, worker: Child, work: Work, waiting: int) -> dict[str, Any]:
        """Have a worker drain all jobs that wait, numbered from 0 on; returns what it says of it."""
        limit = PATIENCE + waiting / _SLOWEST
        worker.ask("work", work=work.value, expect=waiting)
        drained = worker.ask("drained", timeout=limit, within=limit)
        self.account(waiting, drained)
        return drained

    def enqueue(
        self, producer: Child, work: Work, first: int, count: int, *, together: bool, size: int = 0
    ) -> float:
        """Enqueue jobs; returns the seconds that it took."""
        limit = 60 + count / _SLOWEST
        answer = producer.ask(
            "enqueue",
            work=work.value,
            first=first,
            count=count,
            together=together,
            size=size,
            within=limit,
        )
        return float(answer["seconds"])


def latencies(sent: list[int], answer: dict[str, Any], first: int) -> list[float]:
    """Return the seconds from sending to starting, of the jobs that started.

    Args:
        sent: When each was sent, in their order.
        answer: What the worker says of their starts.
        first: The first job's number.
    """
    starts: dict[int, int] = {}
    for number, moment in zip(answer["numbers"], answer["moments"], strict=True):
        starts.setdefault(number, moment)
    return [(starts[first + at] - moment) / 1e9 for at, moment in enumerate(sent) if first + at in starts]
