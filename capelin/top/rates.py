"""How many jobs come, end and fail each second, told from the counts of the last looks."""

from collections import deque
from dataclasses import dataclass
from typing import Final

from capelin.admin import Overview

WINDOW: Final = 10.0
"""Seconds over which rates are taken: shorter ones jump, longer ones tell old news."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How a queue moves.

    Attributes:
        came: Jobs a second that were enqueued, or replayed.
        ended: Jobs a second that completed, died or were cancelled.
        failed: Starts a second that failed.
    """

    came: float
    ended: float
    failed: float


@dataclass(frozen=True, slots=True)
class _Counts:
    at: int
    enqueued: int
    ended: int
    failed: int


class History:
    """Remembers the counts of the last looks."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[_Counts]] = {}

    def saw(self, overview: Overview) -> None:
        """Take a look in; queues that are gone are forgotten, and one that was emptied begins anew."""
        seen: dict[str, deque[_Counts]] = {}
        for queue in overview.queues:
            counts = _Counts(overview.now, queue.enqueued, queue.ended, queue.failed)
            known = self._seen.get(queue.queue, deque[_Counts]())
            if known and (counts.enqueued < known[-1].enqueued or counts.at < known[-1].at):
                known = deque[_Counts]()
            known.append(counts)
            # The newest that is as old as the window stays: it is what the present is held against.
            while len(known) > 2 and counts.at - known[1].at >= WINDOW * 1000:  # noqa: PLR2004 -- first, last
                known.popleft()
            seen[queue.queue] = known
        self._seen = seen

    def rates(self, queue: str) -> Rates | None:
        """Return how a queue moves; None until it was seen twice."""
        known = self._seen.get(queue)
        if not known or known[-1].at <= known[0].at:
            return None
        first, last = known[0], known[-1]
        seconds = (last.at - first.at) / 1000
        return Rates(
            came=max(0, last.enqueued - first.enqueued) / seconds,
            ended=max(0, last.ended - first.ended) / seconds,
            failed=max(0, last.failed - first.failed) / seconds,
        )
