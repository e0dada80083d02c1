"""Transitions that workers ask for: take (and peek), finish, renew, adopt, reap, unpark, leave, progress."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from capelin.keys import ShardKeys
from capelin.lua.call import Call
from capelin.lua.replies import Adopted, Delivery, Reaped, Renewed, Taken, Verdict, deliveries
from capelin.lua.typed import Transition, checked

_TAKE = Transition("take")
_PEEK = Transition("peek")
_FINISH = Transition("finish")
_RENEW = Transition("renew")
_ADOPT = Transition("adopt")
_REAP = Transition("reap")
_UNPARK = Transition("unpark")
_LEAVE = Transition("leave")
_PROGRESS = Transition("progress")


@checked(_TAKE)
def take(
    shard: ShardKeys,
    *,
    worker: str,
    count: int,
    ttl: int,
    waits: bool,
    older_than: int | None,
    resend_window: int,
    default_retention: int,
    critical: int,
    high: int,
    normal: int,
    low: int,
) -> Call[Taken]:
    """Take up to ``count`` jobs.

    Args:
        shard: From where.
        worker: Who takes.
        count: Free slots, at most 500.
        ttl: ms that the worker's stake holds.
        waits: The worker owns the shard and will wait for its wake list when it got fewer than asked.
        older_than: Only jobs that waited longer than this, ms: stealing. None: all.
        resend_window: ms for which records stay findable.
        default_retention: ms that a record is kept which says nothing itself (a job may end here: expired).
        critical: How many critical jobs to take first; what is left of ``count`` goes to whoever has work.
        high: The same for high ones.
        normal: The same for normal ones.
        low: The same for low ones.
    """
    return _TAKE(
        shard,
        Taken.read,
        worker=worker,
        count=count,
        ttl=ttl,
        waits=waits,
        older_than=older_than,
        resend_window=resend_window,
        default_retention=default_retention,
        critical=critical,
        high=high,
        normal=normal,
        low=low,
    )


@checked(_PEEK)
def peek(shard: ShardKeys, *, older_than: int) -> Call[bool]:
    """Look whether a ``take`` with this ``older_than`` may find anything; writes nothing."""
    return _PEEK(shard, bool, older_than=older_than)


class OutcomeKind(StrEnum):
    """How a start ended, in the words of ``finish``."""

    COMPLETE = "complete"
    RETRY = "retry"
    DEAD = "dead"
    SNOOZE = "snooze"
    RETURN = "return"
    PARK = "park"
    CANCEL = "cancel"


class OutcomeRow(NamedTuple):
    """One outcome of a ``finish``.

    Attributes:
        token: Of the start, as text.
        body: ``complete``: the result as JSON; ``dead``: the reason; ``park``: the digest that refused the
            arguments.
        due: ``retry`` and ``snooze``: empty for now, ``+250``, or ms since the epoch.
        failure: ``retry``, ``dead`` and ``cancel``: the error as JSON ``{"type", "message", "traceback"}``.
    """

    uid: str
    token: int
    kind: str
    body: str | bytes = ""
    due: str = ""
    failure: str = ""


def _read_verdicts(raw: Sequence[bytes]) -> list[Verdict]:
    return [Verdict(verdict.decode()) for verdict in raw]


@checked(_FINISH, rows=OutcomeRow)
def finish(
    shard: ShardKeys,
    *,
    worker: str,
    resend_window: int,
    default_retention: int,
    most_finished: int,
    outcomes: Sequence[OutcomeRow],
) -> Call[list[Verdict]]:
    """Record outcomes, at most 500."""
    return _FINISH(
        shard,
        _read_verdicts,
        outcomes,
        worker=worker,
        resend_window=resend_window,
        default_retention=default_retention,
        most_finished=most_finished,
    )


class RunningRow(NamedTuple):
    """A start that a worker knows of."""

    uid: str
    token: int


@checked(_RENEW, rows=RunningRow)
def renew(
    shard: ShardKeys, *, worker: str, ttl: int, epoch: int | None, staked: bool, running: Sequence[RunningRow]
) -> Call[Renewed]:
    """Keep the worker's stake and lease, and compare its list of running jobs with Redis's."""
    return _RENEW(shard, Renewed.read, running, worker=worker, ttl=ttl, epoch=epoch, staked=staked)


@checked(_ADOPT, rows=RunningRow)
def adopt(shard: ShardKeys, *, worker: str, running: Sequence[RunningRow]) -> Call[Adopted]:
    """Fetch jobs that Redis holds running for the worker and that it does not know."""
    return _ADOPT(shard, Adopted.read, running, worker=worker)


@checked(_REAP)
def reap(
    shard: ShardKeys,
    *,
    reaper: str,
    limit: int,
    max_crashes: int,
    no_crash_before: int,
    resend_window: int,
    default_retention: int,
    judge_until: int | None = None,
) -> Call[Reaped]:
    """Give back the jobs of workers whose stake ended.

    Args:
        shard: Where.
        reaper: Who judges.
        limit: Jobs at most.
        max_crashes: A job whose worker died this often is dead-lettered.
        no_crash_before: A stake that ended before this moment, ms, counts no crash.
        resend_window: ms for which records stay findable.
        default_retention: ms that a record is kept which says nothing itself.
        judge_until: Do nothing after this moment by Redis's clock, ms: the call was held up, and so may the
            renewals of others have been. None: whenever it comes.
    """
    return _REAP(
        shard,
        Reaped.read,
        reaper=reaper,
        limit=limit,
        max_crashes=max_crashes,
        no_crash_before=no_crash_before,
        judge_until=judge_until,
        resend_window=resend_window,
        default_retention=default_retention,
    )


class KnownTask(NamedTuple):
    """A task that a worker can run, and its signature's digest there."""

    name: str
    digest: str


@checked(_UNPARK, rows=KnownTask)
def unpark(
    shard: ShardKeys, *, worker: str, count: int, ttl: int, keys: str = "", tasks: Sequence[KnownTask]
) -> Call[list[Delivery]]:
    """Take parked jobs that this worker may be able to run, straight into its hands.

    ``keys``: the names of the keys with which it decrypts, with a space between.
    """
    return _UNPARK(shard, deliveries, tasks, worker=worker, count=count, ttl=ttl, keys=keys)


@checked(_LEAVE)
def leave(shard: ShardKeys, *, worker: str) -> Call[bool]:
    """Take the worker's stake and consumers off a shard, if it has nothing pending there."""
    return _LEAVE(shard, bool, worker=worker)


@checked(_PROGRESS)
def progress(shard: ShardKeys, *, uid: str, worker: str, token: int, progress: str) -> Call[bool]:
    """Note how far a running start is: JSON ``[fraction, message]``."""
    return _PROGRESS(shard, bool, uid=uid, worker=worker, token=token, progress=progress)
