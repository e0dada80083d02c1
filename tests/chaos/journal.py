"""What the processes wrote down, put together job by job. Nothing in it comes from Redis."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

DONE = "complete"
RECORDED = ("recorded", "repeated")


@dataclass(slots=True, kw_only=True)
class Start:
    """One start of a job.

    Attributes:
        end: When its task returned.
        failed: When its task raised.
        done: When its worker read that its completion was recorded.
        verdict: What Redis said to its outcome; empty when its worker never read it.
    """

    token: int
    worker: str
    at: float
    end: float | None = None
    failed: float | None = None
    done: float | None = None
    verdict: str = ""


@dataclass(slots=True, kw_only=True)
class Life:
    """A job, as far as it was noted.

    Attributes:
        accepted: When its enqueue was confirmed; None if it never was.
        starts: In the order of their tokens.
    """

    accepted: float | None = None
    task: str = ""
    tick: int | None = None
    starts: list[Start] = field(default_factory=list[Start])

    @property
    def ended(self) -> bool:
        """Whether some start of it returned."""
        return any(start.end is not None for start in self.starts)

    @property
    def recorded(self) -> int:
        """How many starts were told that their completion is recorded."""
        return sum(start.done is not None for start in self.starts)


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A save of the singleton's state that was confirmed."""

    n: int
    fence: int
    at: float


@dataclass(kw_only=True)
class Journal:
    """A whole ledger.

    Attributes:
        still: Spans in which a process stood still, by pid.
        merged: Enqueues that were answered with a job that exists.
        refused: Jobs whose enqueue raised, by error.
    """

    lives: dict[str, Life] = field(default_factory=lambda: defaultdict(Life))
    still: dict[int, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    saved: list[Saved] = field(default_factory=list[Saved])
    merged: int = 0
    refused: Counter[str] = field(default_factory=Counter[str])

    @property
    def accepted(self) -> dict[str, Life]:
        """The jobs whose enqueue was confirmed."""
        return {job: life for job, life in self.lives.items() if life.accepted is not None}

    @property
    def start_times(self) -> Iterator[tuple[float, str]]:
        """When anything started, and which job."""
        return ((start.at, job) for job, life in self.lives.items() for start in life.starts)


def read_journal(path: Path) -> Journal:
    """Read a ledger."""
    with path.open() as lines:
        return journal_of(lines)


def journal_of(lines: Iterable[str]) -> Journal:  # noqa: C901, PLR0912 -- one kind of line after the other
    """Put lines together."""
    journal = Journal()
    for line in lines:
        match line.split():
            case ["accepted", job, at]:
                journal.lives[job].accepted = float(at)
            case ["start", job, token, worker, at, task, tick]:
                life = journal.lives[job]
                life.task, life.tick = task, None if tick == "-" else int(tick)
                life.starts.append(Start(token=int(token), worker=worker, at=float(at)))
            case ["end", job, token, worker, at]:
                _start(journal, job, token, worker).end = float(at)
            case ["failed", job, token, worker, at]:
                _start(journal, job, token, worker).failed = float(at)
            case ["recorded", job, token, worker, kind, verdict, at]:
                # One that ended before its task began (it was parked, or cancelled) has no start.
                for start in _starts(journal, job, token, worker):
                    start.verdict = verdict
                    if kind == DONE and verdict in RECORDED:
                        start.done = float(at)
            case ["still", pid, since, until]:
                journal.still[int(pid)].append((float(since), float(until)))
            case ["saved", n, fence, _, at]:
                journal.saved.append(Saved(n=int(n), fence=int(fence), at=float(at)))
            case ["tasks", *_]:
                continue  # for those who soak
            case ["merged", *_]:
                journal.merged += 1
            case ["refused", count, _, error]:
                journal.refused[error] += int(count)
            case _:
                raise ValueError(f"the ledger has a line that nobody writes: {line!r}")
    for life in journal.lives.values():
        # A take whose reply was read late begins after those that followed it.
        life.starts.sort(key=lambda start: (start.token, start.at))
    return journal


def _starts(journal: Journal, job: str, token: str, worker: str) -> list[Start]:
    life = journal.lives.get(job)
    found = life.starts if life is not None else []
    return [start for start in found if start.token == int(token) and start.worker == worker][-1:]


def _start(journal: Journal, job: str, token: str, worker: str) -> Start:
    found = _starts(journal, job, token, worker)
    if not found:
        raise ValueError(f"start {token} of {job} at {worker} ended, and was never noted")
    return found[0]
