"""Transitions that clients ask for: enqueue, watch, cancel, replay."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

from capelin.keys import ShardKeys
from capelin.lua.call import Call
from capelin.lua.replies import CancelVerdict, Replayed, Submitted, Watched, text
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


FIRST_LAYOUT = 1
"""The version of a queue's layout until it is cut anew."""

_ENQUEUE = Transition("enqueue")
_WATCH = Transition("watch")
_CANCEL = Transition("cancel")
_REPLAY = Transition("replay")


_VERDICTS = {verdict.value.encode(): verdict for verdict in Submitted}


Enqueued = Literal[Submitted.NEW] | list[tuple[Submitted, str]] | None
"""What became of jobs: all are new; or of each, and the uid that stands for it; None: the shard is full."""


def read_enqueued(raw: Any) -> Enqueued:
    """Read the reply of an ``enqueue``."""
    if raw == b"new":
        return Submitted.NEW
    if raw == b"full":
        return None
    return [(_VERDICTS[verdict], uid.decode()) for verdict, uid in raw]


def _read_each(jobs: Sequence[NewJob], raw: Any) -> list[tuple[Submitted, str]] | None:
    enqueued = read_enqueued(raw)
    return [(Submitted.NEW, job.uid) for job in jobs] if enqueued is Submitted.NEW else enqueued


@checked(_ENQUEUE, rows=NewJob)
def enqueue(
    shard: ShardKeys,
    *,
    most: int | None,
    resend_window: int,
    layout: int = FIRST_LAYOUT,
    question: bool = False,
    touch: bool = False,
    jobs: Sequence[NewJob],
) -> Call[list[tuple[Submitted, str]] | None]:
    """Write jobs, all or none.

    Args:
        shard: Where.
        most: Jobs that may wait in the shard, or None for no limit.
        resend_window: ms for which a replaced request's id is remembered.
        layout: The version of the layout by which they were placed.
        question: This is the home of their keys under an older layout: those whose keys are free here are
            not written.
        touch: Write something also when every job is there already, for who asks for copies next.
        jobs: At most 500.

    Returns:
        For each job what became of it and the uid that now stands for it (``moved``: the version to know;
        ``away``: the loan to ask about); None when the shard is full.
    """
    return _ENQUEUE(
        shard,
        partial(_read_each, jobs),
        jobs,
        most=most,
        resend_window=resend_window,
        layout=layout,
        question=question,
        touch=touch,
    )


@checked(_WATCH)
def watch(shard: ShardKeys, *, uid: str) -> Call[Watched | None]:
    """Read a job's end, or mark the job so that its end is announced. None: no record."""
    return _WATCH(shard, Watched.read, uid=uid)


def _read_cancel(raw: Any) -> tuple[CancelVerdict, str]:
    return CancelVerdict(raw[0].decode()), text(raw[1])


@checked(_CANCEL)
def cancel(
    shard: ShardKeys, *, uid: str, resend_window: int, default_retention: int, only_waiting: bool = False
) -> Call[tuple[CancelVerdict, str]]:
    """Cancel a job; one that runs is flagged, or left alone (``only_waiting``).

    Returns:
        The verdict, and the worker that runs it (``flagged``, ``runs``) or the status it already ended with
        (``ended``).
    """
    return _CANCEL(
        shard,
        _read_cancel,
        uid=uid,
        resend_window=resend_window,
        default_retention=default_retention,
        only_waiting=only_waiting,
    )


def _read_replay(raw: Any) -> tuple[Replayed, str]:
    return Replayed(raw[0].decode()), text(raw[1])


@checked(_REPLAY)
def replay(
    shard: ShardKeys,
    *,
    uid: str,
    picked: str | None = None,
    layout: int = FIRST_LAYOUT,
    home: str = "",
    past: str = "",
) -> Call[tuple[Replayed, str]]:
    """Run a dead job again, or a scheduled one at once. For a job with a key, in a queue that was cut anew,
    this is the last of several steps: see ``capelin.replaying``. With ``picked``, its entry in the DLQ as it
    was seen, only this death is undone.
    """
    return _REPLAY(shard, _read_replay, uid=uid, picked=picked, layout=layout, home=home, past=past)
