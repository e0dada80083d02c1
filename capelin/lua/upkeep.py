"""Transitions that keep a shard in order: pause and resume, purge, retention."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from capelin.keys import ShardKeys
from capelin.lua.call import Call
from capelin.lua.replies import Retained
from capelin.lua.typed import Transition, checked

_PAUSE = Transition("pause")
_RESUME = Transition("resume")
_PURGE = Transition("purge")
_RETAIN = Transition("retain")


@checked(_PAUSE)
def pause(shard: ShardKeys, *, since: int) -> Call[bool]:
    """Stop taking from a shard. ``since``: ms, for display. False: it was paused already."""
    return _PAUSE(shard, bool, since=since)


@checked(_RESUME)
def resume(shard: ShardKeys) -> Call[bool]:
    """End a pause. False: there was none."""
    return _RESUME(shard, bool)


class DeadRow(NamedTuple):
    """A job in the DLQ and its entry there."""

    uid: str
    entry: str


def _count(raw: Any) -> int:
    return int(raw)


@checked(_PURGE, rows=DeadRow)
def purge(shard: ShardKeys, *, dead: Sequence[DeadRow]) -> Call[int]:
    """Remove dead jobs for good; returns how many went."""
    return _PURGE(shard, _count, dead)


@checked(_RETAIN)
def retain(
    shard: ShardKeys,
    *,
    limit: int,
    resend_window: int,
    default_retention: int,
    most_finished: int,
    dlq_age: int,
    most_dead: int,
    parked_age: int,
) -> Call[Retained]:
    """Remove what has had its time, at most about ``limit`` of each. Ages and windows in ms; counts per
    shard.
    """
    return _RETAIN(
        shard,
        Retained.read,
        limit=limit,
        resend_window=resend_window,
        default_retention=default_retention,
        most_finished=most_finished,
        dlq_age=dlq_age,
        most_dead=most_dead,
        parked_age=parked_age,
    )
