"""Transitions that clients ask for: enqueue, watch, cancel, replay."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from capelin.keys import Keys, ShardKeys
from capelin.lua.call import Call
from capelin.lua.replies import CancelVerdict, Layout, Replayed, Submitted, Watched, text
from capelin.lua.typed import Transition, checked


class NewJob(NamedTuple):
    """One job of an ``enqueue``.

    Attributes:
        args: JSON ``[[positional], {keyword}]``, empty for none.
        priority: Empty for ``normal``.
        due: Empty for now, ``+250`` for in 250 ms, or ms since the epoch.
        extra: JSON object of further record fields, and ``expires_in`` (ms from the due moment); empty for
            none.
        unique_key: The dedupe key, empty for none.
        unique_for: ms that the key holds, empty to hold it for the life of the job.
        on_duplicate: ``keep``, ``replace`` or ``follow``.
    """

    uid: str
    task: str
    digest: str = ""
    args: str = ""
    priority: str = ""
    due: str = ""
    extra: str = ""
    unique_key: str = ""
    unique_for: int | Literal[""] = ""
    on_duplicate: str = "keep"


_ENQUEUE = Transition("enqueue")
_WATCH = Transition("watch")
_CANCEL = Transition("cancel")
_REPLAY = Transition("replay")
_OPEN_QUEUE = Transition("open_queue")


_VERDICTS = {verdict.value.encode(): verdict for verdict in Submitted}


def _read_enqueued(raw: Any) -> list[tuple[Submitted, str]] | None:
    if raw == b"full":
        return None
    return [(_VERDICTS[verdict], uid.decode()) for verdict, uid in raw]


@checked(_ENQUEUE, rows=NewJob)
def enqueue(
    shard: ShardKeys, *, most: int | None, resend_window: int, touch: bool = False, jobs: Sequence[NewJob]
) -> Call[list[tuple[Submitted, str]] | None]:
    """Write jobs, all or none.

    Args:
        shard: Where.
        most: Jobs that may wait in the shard, or None for no limit.
        resend_window: ms for which a replaced request's id is remembered.
        touch: Write something also when every job is there already, for who asks for copies next.
        jobs: At most 500.

    Returns:
        For each job what became of it and the uid that now stands for it; None when the shard is full.
    """
    return _ENQUEUE(shard, _read_enqueued, jobs, most=most, resend_window=resend_window, touch=touch)


@checked(_WATCH)
def watch(shard: ShardKeys, *, uid: str) -> Call[Watched | None]:
    """Read a job's end, or mark the job so that its end is announced. None: no record."""
    return _WATCH(shard, Watched.read, uid=uid)


def _read_cancel(raw: Any) -> tuple[CancelVerdict, str]:
    return CancelVerdict(raw[0].decode()), text(raw[1])


@checked(_CANCEL)
def cancel(
    shard: ShardKeys, *, uid: str, resend_window: int, default_retention: int
) -> Call[tuple[CancelVerdict, str]]:
    """Cancel a job, or flag it when it runs.

    Returns:
        The verdict, and the worker that runs it (``flagged``) or the status it already ended with
        (``ended``).
    """
    return _CANCEL(
        shard, _read_cancel, uid=uid, resend_window=resend_window, default_retention=default_retention
    )


def _read_replay(raw: Any) -> tuple[Replayed, str]:
    return Replayed(raw[0].decode()), text(raw[1])


@checked(_REPLAY)
def replay(shard: ShardKeys, *, uid: str) -> Call[tuple[Replayed, str]]:
    """Run a dead job again, or a scheduled one at once."""
    return _REPLAY(shard, _read_replay, uid=uid)


@checked(_OPEN_QUEUE)
def open_queue(keys: Keys, queue: str, *, shards: int, schema: int) -> Call[Layout]:
    """Read a queue's layout, writing it if the queue is new."""
    return _OPEN_QUEUE((keys.queue_meta(queue),), Layout.read, shards=shards, schema=schema)
