"""The account of a run: what was enqueued, recorded, started more than once and why, and lost.

It rests on what the processes noted and on what was done to them. Redis is asked at the end where each job
stands, and for nothing else. A second start is explained only by a disturbance of the very worker that had
the first, while it had it; by a failover, only in the window in which Redis may forget.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

from tests.chaos.journal import Journal, Life, Start
from tests.chaos.pods import Pod
from tests.chaos.scene import OF_REDIS, Disturbance, Kind
from tests.support.census import Census

BEFORE = 1.0
"""Seconds before a failover in which a write may not have reached the replica yet."""
AFTER = 1.0
"""Seconds after it in which one who did not know of it may still have written to the old master."""
_READS_WITHIN = 5.0
"""Seconds after a disturbance within which a worker has begun what had been delivered to it."""
TAKES_STAKES = frozenset({Kind.KILLED, Kind.PAUSED, Kind.STARVED, Kind.HUNGRY, Kind.CUT_OFF})
"""Those that may end a living worker's stake. A blocked event loop must not, nor an outage of Redis."""


class Other(StrEnum):
    """Reasons for a second start that are no disturbance of a worker."""

    ASKED = "its task failed, and its policy asked for it"
    HANDED_BACK = "it was handed back at a shutdown"
    FORGOTTEN = "Redis forgot its take or its end in a failover"
    STOOD_STILL = "the machine let its worker stand still"


@dataclass(kw_only=True)
class Window:
    """The enqueues that were confirmed around a failover, in its shards, and so may be gone.

    Attributes:
        confirmed: How many there were.
        before: Of those that are gone, the seconds from their confirmation to its beginning.
        after: The seconds since its beginning of those that a master confirmed which was no longer one.
    """

    confirmed: int = 0
    before: list[float] = field(default_factory=list[float])
    after: list[float] = field(default_factory=list[float])

    @property
    def gone(self) -> int:
        """How many are gone."""
        return len(self.before) + len(self.after)


@dataclass(kw_only=True)
class Account:
    """What came of a run.

    Attributes:
        enqueued: Jobs whose enqueue was confirmed.
        once: Those of which one outcome was recorded.
        twice: Jobs that were started more than once.
        reasons: Why, for each start beyond the first.
        lost: Jobs that are gone although their enqueue was confirmed, outside of any window.
        failovers: What became of the enqueues that were confirmed around each.
        problems: What must not be, each a sentence.
        recovery: Seconds, by what was recovered from.
        recovery_beside: The same where Redis was away, too.
    """

    enqueued: int = 0
    unconfirmed: int = 0
    once: int = 0
    starts: int = 0
    twice: int = 0
    reasons: Counter[str] = field(default_factory=Counter[str])
    lost: list[str] = field(default_factory=list[str])
    failovers: dict[Disturbance, Window] = field(default_factory=dict[Disturbance, Window])
    recorded_twice_in_failover: int = 0
    merged: int = 0
    refused: Counter[str] = field(default_factory=Counter[str])
    ticks: int = 0
    saves: int = 0
    problems: list[str] = field(default_factory=list[str])
    recovery: dict[Kind, list[float]] = field(default_factory=dict[Kind, list[float]])
    recovery_beside: dict[Kind, list[float]] = field(default_factory=dict[Kind, list[float]])

    @property
    def good(self) -> bool:
        """Nothing was lost that may not be, and all is explained."""
        return not (self.lost or self.problems)

    @property
    def gone(self) -> int:
        """Confirmed enqueues that went with failovers."""
        return sum(window.gone for window in self.failovers.values())


class Accountant:
    """Makes the account.

    Args:
        ttl: Seconds that stakes hold.
        ended: When the run was over.
        copied: Whether each confirmed enqueue was on a replica, so that none may go with a failover.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        pods: Sequence[Pod],
        happened: Sequence[Disturbance],
        ttl: float,
        ended: float,
        copied: bool = False,
    ) -> None:
        self._copied = copied
        self._journal, self._happened, self._ttl, self._ended = journal, happened, ttl, ended
        self._pods: Mapping[str, Pod] = {pod.id: pod for pod in pods if pod.id}
        self._forgetful = [one for one in happened if one.may_lose]

    def make(self, census: Census) -> Account:
        """Count, explain, and compare with where every job stands."""
        journal = self._journal
        accepted = journal.accepted
        account = Account(
            enqueued=len(accepted),
            unconfirmed=sum(bool(life.starts) for life in journal.lives.values())
            - sum(bool(life.starts) for life in accepted.values()),
            starts=sum(len(life.starts) for life in journal.lives.values()),
            merged=journal.merged,
            refused=journal.refused,
        )
        for job, life in journal.lives.items():
            self._look_at_starts(account, job, life)
            self._look_at_end(account, job, life, census)
        self._look_at_ticks(account)
        self._look_at_saves(account)
        self._measure_returns(account)
        return account

    # Starts.

    def _look_at_starts(self, account: Account, job: str, life: Life) -> None:
        reasons: list[Kind | Other] = []
        for before, again in pairwise(life.starts):
            found = self._why(job, before, again)
            if found is None:
                account.problems.append(
                    f"nothing explains that {job} ({life.task}) was started again: {before}, then {again}"
                )
                continue
            reason, since = found
            reasons.append(reason)
            if isinstance(reason, Kind):
                both = self._redis_was_away(min(since, again.at), again.at)
                recovery = account.recovery_beside if both else account.recovery
                recovery.setdefault(reason, []).append(max(0.0, again.at - since))
        account.reasons.update(reasons)
        account.twice += len(life.starts) > 1

    def _why(self, job: str, before: Start, again: Start) -> tuple[Kind | Other, float] | None:
        forgot = self._forgets(job, (before.at, before.end, before.failed, before.done))
        if before.done is not None or before.token == again.token:
            # Only a Redis that forgot starts anew what is recorded, or gives a token twice.
            return (Other.FORGOTTEN, before.at) if forgot else None
        if before.failed is not None:
            return Other.ASKED, before.failed
        for one in self._happened:
            if one.kind in TAKES_STAKES and before.worker in one.workers and _between(before, one, again):
                return one.kind, one.at if again.at < before.at else max(one.at, before.at)
        pod = self._pods.get(before.worker)
        if pod is not None and pod.told is not None and pod.told <= again.at:
            return Other.HANDED_BACK, pod.told
        if forgot:
            return Other.FORGOTTEN, before.at
        stood_still = self._stood_still(pod, before, again)
        return None if stood_still is None else (Other.STOOD_STILL, stood_still)

    def _redis_was_away(self, since: float, until: float) -> bool:
        """Whether it was, or has just been, in a span: then all renewals must first be on time again."""
        return any(
            one.kind in OF_REDIS and one.at < until and (one.until or self._ended) > since - 2 * self._ttl
            for one in self._happened
        )

    def _stood_still(self, pod: Pod | None, before: Start, again: Start) -> float | None:
        """Since when a worker stood still long enough to lose its stake, between two starts of a job."""
        for since, until in self._journal.still.get(pod.child.pid, []) if pod is not None else []:
            if until - since > self._ttl / 3 and since < again.at and until > min(before.at, again.at):
                return since
        return None

    def _forgets(self, job: str, moments: Iterable[float | None]) -> bool:
        return any(self._window(job, moment) is not None for moment in moments if moment is not None)

    def _window(self, job: str, moment: float) -> Disturbance | None:
        """The failover that may have lost a write of this moment in the job's shard."""
        shard = job.rpartition(".")[0]
        for one in self._forgetful:
            until = (one.until or self._ended) + AFTER
            if one.at - BEFORE <= moment <= until and (one.shards is None or shard in one.shards):
                return one
        return None

    # Ends.

    def _look_at_end(self, account: Account, job: str, life: Life, census: Census) -> None:
        standing = census.jobs.get(job)
        if standing is not None and standing.status not in ("completed", "none"):
            if life.tick is None:
                account.problems.append(f"{job} ({life.task}) is left {standing.status}: {standing.record}")
            return
        if life.recorded > 1:
            # It was recorded between its end and the moment when its worker, which may have slept, knew it.
            if self._forgets(job, [when for start in life.starts for when in (start.end, start.done)]):
                account.recorded_twice_in_failover += 1
            else:
                account.problems.append(f"{life.recorded} ends of {job} were recorded: {life.starts}")
        if life.accepted is None:
            return
        account.once += life.ended
        failover = self._window(job, life.accepted)
        if failover is not None:
            window = account.failovers.setdefault(failover, Window())
            window.confirmed += 1
            if not life.ended and self._copied:
                account.lost.append(job)
            elif not life.ended:
                early = failover.at - life.accepted
                (window.before if early > 0 else window.after).append(abs(early))
        elif not life.ended:
            account.lost.append(job)

    # Schedules and singletons.

    def _look_at_ticks(self, account: Account) -> None:
        jobs: dict[int, list[str]] = {}
        for job, life in self._journal.lives.items():
            if life.tick is not None:
                jobs.setdefault(life.tick, []).append(job)
        account.ticks = len(jobs)
        for tick, ids in jobs.items():
            if len(ids) > 1 and not self._any_forgot(float(tick)):
                account.problems.append(f"the tick {tick} has {len(ids)} jobs: {ids}")

    def _look_at_saves(self, account: Account) -> None:
        account.saves = len(self._journal.saved)
        ordered = sorted(self._journal.saved, key=lambda saved: (saved.n, saved.at))
        for one, other in pairwise(ordered):
            if (one.n == other.n or other.fence < one.fence) and not (
                self._any_forgot(one.at) or self._any_forgot(other.at)
            ):
                account.problems.append(f"two saves do not build on each other: {one}, {other}")

    def _any_forgot(self, moment: float) -> bool:
        """Whether a failover may have lost a write of this moment in whatever slot, or what it built on."""
        return any(
            one.at - self._ttl - BEFORE <= moment <= (one.until or self._ended) + AFTER + self._ttl
            for one in self._forgetful
        )

    # Recovery.

    def _measure_returns(self, account: Account) -> None:
        starts = sorted(self._journal.start_times)
        for one in self._happened:
            if one.returned is None:
                continue
            first = next(
                (
                    at
                    for at, job in starts
                    if at > one.returned and (one.shards is None or job.rpartition(".")[0] in one.shards)
                ),
                None,
            )
            if first is not None:
                account.recovery.setdefault(one.kind, []).append(first - one.returned)


def _between(before: Start, one: Disturbance, again: Start) -> bool:
    """Whether a disturbance may have taken the job of one start, and given it to another.

    That the task had returned does not count: what was not recorded died with its worker. Nor how long ago
    the disturbance was over: that a stake has ended is seen somewhat later.
    """
    over = again.at if one.until is None else one.until
    if again.at < before.at:
        # The job was taken and not yet begun: its worker read the delivery when it could, and was too late.
        return one.at < again.at and before.at < over + _READS_WITHIN
    return one.at < again.at and before.at <= over
