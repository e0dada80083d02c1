"""What happened in a simulation, as the tasks, the clients and the server saw it.

It stands outside of every process: what a pod writes down here survives it, and nobody forgets it when Redis
does.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


def tag_of(job: str) -> bytes:
    """The hash tag of a job's keys: `default.1.…` lies under `{default:1}`."""
    queue, shard, _ = job.split(".", 2)
    return b"{%b:%b}" % (queue.encode(), shard.encode())


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A start, as its task saw it."""

    at: float
    job: str
    token: int
    task: str
    pod: str
    n: int


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """An outcome that a script wrote into a record, and the newest start that had been seen by then."""

    at: float
    job: str
    token: int
    kind: str
    pod: str
    newest: int
    status: str


@dataclass(kw_only=True)
class Submitted:
    """What a client asked for, and what it was told."""

    at: float
    n: int
    task: str
    pod: str
    key: str | None = None
    mode: str | None = None
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    job: str | None = None
    duplicate: bool = False
    error: str | None = None
    confirmed_at: float | None = None
    cancelled: str | None = None
    result: str | None = None
    waits: bool = False


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A state that a singleton's leader was told is saved."""

    at: float
    pod: str
    fence: int
    value: int


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """Something that befell the fleet.

    Attributes:
        pod: Whom; `redis` or `all` for what befell everybody.
        ends: When it was over, s.
        fatal: Whether the jobs in flight of that pod were lost to it.
    """

    at: float
    ends: float
    pod: str
    kind: str
    fatal: bool = False


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A server forgot what it had acknowledged.

    Attributes:
        since: The first moment of which it forgot something, s.
        until: The last, s; what is served until then may be forgotten yet.
        hits: Whether a key was among what it held.
        spares_copies: Whether what a replica had confirmed is still there.
    """

    since: float
    until: float
    hits: Callable[[bytes], bool]
    spares_copies: bool


@dataclass(frozen=True, kw_only=True)
class Wait:
    """How long a job was ready before somebody took it."""

    job: str
    task: str
    ready: float
    taken: float


@dataclass(kw_only=True)
class Stop:
    """A worker that was told to end.

    Attributes:
        hurry: Whether it was told twice.
        ended: When it had, s.
    """

    at: float
    pod: str
    hurry: bool
    ended: float | None = None


@dataclass(kw_only=True)
class Cut:
    """A queue that somebody cut anew.

    Attributes:
        pod: Who.
        shards: Into how many.
        called, returned: When, s; nothing returned where it failed for good.
    """

    pod: str
    shards: int
    called: float
    returned: float | None = None


@dataclass(kw_only=True)
class Change:
    """What a client did to a schedule.

    Attributes:
        kind: `put`, `pause`, `resume`, `remove` or `trigger`.
        called, returned: When, s; nothing returned where it failed.
        every: Seconds between its ticks, of a `put`.
    """

    name: str
    kind: str
    called: float
    every: float = 0.0
    returned: float | None = None


@dataclass(kw_only=True)
class History:
    """Everything that happened.

    Args:
        clock: Seconds since the beginning.
    """

    clock: Callable[[], float]
    trace: list[str] = field(default_factory=list[str])
    begun: list[Begun] = field(default_factory=list[Begun])
    ended: dict[tuple[str, int], float] = field(default_factory=dict[tuple[str, int], float])
    recorded: list[Recorded] = field(default_factory=list[Recorded])
    submitted: list[Submitted] = field(default_factory=list[Submitted])
    saved: list[Saved] = field(default_factory=list[Saved])
    disturbances: list[Disturbance] = field(default_factory=list[Disturbance])
    problems: list[str] = field(default_factory=list[str])
    losses: list[Loss] = field(default_factory=list[Loss])
    waits: list[Wait] = field(default_factory=list[Wait])
    stops: list[Stop] = field(default_factory=list[Stop])
    changes: list[Change] = field(default_factory=list[Change])
    cuts: list[Cut] = field(default_factory=list[Cut])
    halts: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    replayed: set[str] = field(default_factory=set[str])
    torn: set[str] = field(default_factory=set[str])
    strangers: int = 0
    _starts: set[tuple[str, int, int]] = field(default_factory=set[tuple[str, int, int]])
    newest: dict[str, int] = field(default_factory=lambda: defaultdict[str, int](int))
    coverage: dict[str, int] = field(default_factory=lambda: defaultdict[str, int](int))
    held: dict[int, int] = field(default_factory=lambda: defaultdict[int, int](int))
    closed: bool = False

    def note(self, pod: str, event: str) -> None:
        """One line of the trace."""
        if not self.closed:
            self.trace.append(f"{self.clock():10.4f}  {pod:<8} {event}")

    def problem(self, text: str) -> None:
        """Something that must not be."""
        if not self.closed:
            self.note("CHECK", text)
            self.problems.append(f"at {self.clock():.3f} s: {text}")

    def holds(self, guarantee: int, times: int = 1) -> None:
        """A guarantee was looked at where it might have been broken."""
        self.held[guarantee] += times

    def lose(
        self, since: float, until: float, hits: Callable[[bytes], bool], *, spares_copies: bool = False
    ) -> None:
        """A server forgot."""
        self.losses.append(Loss(since=since, until=until, hits=hits, spares_copies=spares_copies))
        self.coverage["writes lost"] += 1
        for job in [job for job in self.newest if hits(tag_of(job))]:
            del self.newest[job]

    def forgot(self, tag: bytes) -> list[Loss]:
        """When what lies under a hash tag was forgotten."""
        return [loss for loss in self.losses if loss.hits(tag)]

    def forgot_job(self, job: str) -> list[Loss]:
        """When the shard of a job was forgotten."""
        return self.forgot(tag_of(job)) if self.losses else []

    def begin(self, pod: str, job: Any, n: int) -> None:
        """A task begins."""
        if self.closed:
            return
        losses = self.forgot_job(job.id)
        identity = (job.id, job.token, len(losses))
        if identity in self._starts and not any(loss.until > self.clock() for loss in losses):
            self.problem(f"token {job.token} of {job.id} began twice, now in {pod}")
        self._starts.add(identity)
        if n and job.headers.get("n", str(n)) != str(n):  # who is told of a death has those of the dead
            self.problem(f"{job.id} is of {n} and has the headers of {job.headers['n']}")
        start = Begun(at=self.clock(), job=job.id, token=job.token, task=job.task, pod=pod, n=n)
        self.begun.append(start)
        self.newest[job.id] = max(self.newest[job.id], job.token)
        self.note(pod, f"begins {job.id} token {job.token} attempt {job.attempt}: {job.task}({n})")

    def end(self, pod: str, job: Any, how: str) -> None:
        """A task ends."""
        if self.closed:
            return
        self.ended[job.id, job.token] = self.clock()
        self.note(pod, f"ends {job.id} token {job.token}: {how}")

    def under_way(self, pod: str) -> bool:
        """Whether something befalls a pod right now, or may yet: its requests may be on their way."""
        return any(one.pod == pod and one.ends > self.clock() for one in self.disturbances)

    def disturb(self, pod: str, kind: str, *, seconds: float = 0.0, fatal: bool = False) -> None:
        """Something befalls the fleet."""
        now = self.clock()
        self.disturbances.append(Disturbance(at=now, ends=now + seconds, pod=pod, kind=kind, fatal=fatal))
        self.coverage[kind] += 1
        self.note(pod, f"=== {kind}{f' for {seconds:g} s' if seconds else ''}")
