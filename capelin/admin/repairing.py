"""Doing one thing to many jobs: batch by batch, no faster than wanted; what became of each is counted."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from capelin import inbox, lua
from capelin.admin.access import Access
from capelin.durations import milliseconds
from capelin.errors import CapelinError, JobConflict, JobNotFound, RedisRefused, Unreachable
from capelin.ids import JobId
from capelin.lua import CancelVerdict, Replayed

T = TypeVar("T")

_BATCHES_A_SECOND = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What became of jobs to which something was to be done.

    Attributes:
        done: To how many it was done.
        refused: Why it was not done to others, by job id.
    """

    done: int = 0
    refused: Mapping[str, str] = field(default_factory=dict[str, str])

    def __add__(self, other: "Repaired") -> "Repaired":
        return Repaired(done=self.done + other.done, refused={**self.refused, **other.refused})

    @property
    def total(self) -> int:
        """How many jobs it was about."""
        return self.done + len(self.refused)


class Pace:
    """Lets so many jobs a second pass.

    Args:
        rate: Jobs a second; None for no limit.
    """

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._next = time.monotonic()

    @property
    def most(self) -> int | None:
        """How many may pass at a time."""
        return None if self._rate is None else max(1, int(self._rate / _BATCHES_A_SECOND))

    async def passed(self, jobs: int) -> None:
        """So many are about to pass: wait until they may."""
        if self._rate is None:
            return
        now = time.monotonic()
        begin = max(now, self._next)
        self._next = begin + jobs / self._rate
        if begin > now:
            await asyncio.sleep(begin - now)


async def repair_all(
    batches: AsyncIterable[Sequence[T]],
    repair: Callable[[Sequence[T]], Awaitable[Repaired]],
    *,
    rate: float | None = None,
    tell: Callable[[Repaired], None] = lambda _: None,
) -> Repaired:
    """Do something to all of these jobs.

    Args:
        batches: The jobs.
        repair: Does it to some of them.
        rate: To so many a second at most.
        tell: Told after each step what has become of all so far.

    Raises:
        Unreachable, RedisRefused: It was done to some, and to others not.
    """
    pace = Pace(rate)
    so_far = Repaired()
    async for batch in batches:
        step = pace.most or len(batch)
        for begin in range(0, len(batch), step):
            part = batch[begin : begin + step]
            await pace.passed(len(part))
            so_far += await repair(part)
            tell(so_far)
    return so_far


async def cancel_jobs(access: Access, jobs: Sequence[JobId], *, only_waiting: bool = False) -> Repaired:
    """Cancel jobs; workers are told to stop those that run.

    Args:
        access: Where.
        jobs: Which.
        only_waiting: Those that run by now are left alone.

    Raises:
        Unreachable: Some may be cancelled, and some not.
    """
    verdicts = await access.ask_each(
        [
            lua.cancel(
                access.keys.shard(job.queue, job.shard),
                uid=job.uid,
                resend_window=milliseconds(access.settings.resend_window),
                default_retention=milliseconds(access.settings.retention),
                only_waiting=only_waiting,
            )
            for job in jobs
        ]
    )
    done = 0
    refused: dict[str, str] = {}
    for job, reply in zip(jobs, verdicts, strict=True):
        if isinstance(reply, RedisRefused):
            refused[str(job)] = f"job {job}: {reply}"
            continue
        verdict, detail = reply
        if verdict is CancelVerdict.FLAGGED:
            # The message only hurries what the worker's next renewal tells it.
            with contextlib.suppress(Unreachable, RedisRefused):
                await inbox.post(access.connection, access.keys, detail, inbox.Kind.CANCEL, {"job": str(job)})
        try:
            check_cancelled(str(job), verdict, detail)
        except CapelinError as error:
            refused[str(job)] = str(error)
        else:
            done += 1
    return Repaired(done=done, refused=refused)


def check_cancelled(job_id: str, verdict: CancelVerdict, detail: str) -> None:
    """Raise what a cancel's verdict means for whoever asked for it, if it changed nothing.

    Raises:
        JobNotFound, JobConflict: See ``cancel_job``.
    """
    if verdict is CancelVerdict.MISSING:
        raise JobNotFound(job_id=job_id)
    if verdict is CancelVerdict.RUNS:
        raise JobConflict(job_id=job_id, status="running", wanted="it has started since, and goes on")
    if verdict is CancelVerdict.ENDED:
        raise JobConflict(
            job_id=job_id, status=detail, wanted="only a job that has not ended can be cancelled"
        )


async def retry_jobs(access: Access, jobs: Sequence[tuple[JobId, str | None]]) -> Repaired:
    """Run dead jobs again, and those at once that wait for their time.

    Args:
        access: Where.
        jobs: Which; each with its entry in the DLQ, if it was picked there: then only this death is undone.

    Raises:
        Unreachable: Some may run again, and some not.
    """
    replaying = access.replaying
    verdicts = await access.ask_each([replaying.first(job, picked=picked) for job, picked in jobs])
    done = 0
    refused: dict[str, str] = {}
    for (job, picked), first in zip(jobs, verdicts, strict=True):
        if isinstance(first, RedisRefused):
            refused[str(job)] = f"job {job}: {first}"
            continue
        verdict, detail = await replaying.go_on(job, *first, picked=picked)
        try:
            check_replayed(str(job), verdict, detail, picked=picked is not None)
        except CapelinError as error:
            refused[str(job)] = str(error)
        else:
            done += 1
    return Repaired(done=done, refused=refused)


def check_replayed(job_id: str, verdict: Replayed, detail: str, *, picked: bool = False) -> None:
    """Raise what a replay's verdict means for whoever asked for it, if it changed nothing.

    Args:
        job_id: The job.
        verdict: The verdict.
        detail: What came with it.
        picked: It was about one death of the job.

    Raises:
        JobNotFound, JobConflict: See ``retry_job``.
    """
    if verdict is Replayed.MISSING:
        raise JobNotFound(job_id=job_id)
    if verdict is Replayed.REFUSED and picked:
        raise JobConflict(job_id=job_id, status=detail, wanted="somebody else has replayed it meanwhile")
    if verdict is Replayed.REFUSED:
        raise JobConflict(
            job_id=job_id,
            status=detail,
            wanted="only a dead job, or one that waits for its time, can be retried",
        )
    if verdict is Replayed.DUPLICATE:
        raise JobConflict(
            job_id=job_id, status="failed", wanted=f"its dedupe key is held by {detail}, which is live"
        )
