"""Outcomes on their way into Redis: collected while a round trip is in flight, sent together by shard.

An outcome stays here until Redis answered for it. One whose reply was lost is sent again: `finish`
recognises a repeat. When Redis refuses a batch, its outcomes are sent one by one from then on, so that a
bad one holds up no other.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from capelin import lua
from capelin.errors import Unreachable
from capelin.keys import ShardKeys
from capelin.lua import Call, OutcomeKind, OutcomeRow, Verdict
from capelin.metrics.meter import NO_METER, Meter
from capelin.workers.limits import Limits
from capelin.workers.ready import MOST_A_CALL
from capelin.workers.running import Running, Stage, Start

log = structlog.get_logger("capelin.worker")

_ALONE_A_TURN = 20

Outcome = tuple[Start, OutcomeRow]


@dataclass(frozen=True, slots=True)
class Batch:
    """Outcomes of one shard that are sent in one call."""

    shard: ShardKeys
    outcomes: Sequence[Outcome]


class Recorder:
    """Records the outcomes of one worker.

    Args:
        worker: Its id.
        layouts: The number by which limits for a whole queue are divided, by queue; it may change.
        running: The table, which a start leaves when its outcome is recorded.
        on_parked: Told of a start that was parked, and of the digest that refused its arguments.
        on_recorded: Told of each recorded outcome.
        meter: Counts what ends.
    """

    def __init__(
        self,
        *,
        worker: str,
        limits: Limits,
        layouts: Mapping[str, int],
        running: Running,
        on_parked: Callable[[Start, str], None] | None = None,
        on_recorded: Callable[[Start, OutcomeRow, Verdict], None] | None = None,
        meter: Meter = NO_METER,
    ) -> None:
        self._worker = worker
        self._limits = limits
        self._layouts = layouts
        self._running = running
        self._on_parked = on_parked
        self._on_recorded = on_recorded
        self._meter = meter
        self._waiting: dict[ShardKeys, list[Outcome]] = {}
        self._alone: list[Batch] = []
        self._in_flight = 0
        self._flushed = asyncio.Event()
        self._flushed.set()

    def add(self, start: Start, row: OutcomeRow) -> None:
        """A start ended; the first outcome of a start counts."""
        if start.stage is Stage.RUNNING:
            start.stage = Stage.ENDING
            self._meter.ended(start)
            self._waiting.setdefault(start.shard, []).append((start, row))
            self._flushed.clear()

    @property
    def idle(self) -> bool:
        """Nothing waits to be sent."""
        return not (self._waiting or self._alone)

    async def flushed(self) -> None:
        """Wait until every outcome is recorded."""
        await self._flushed.wait()

    def next_batches(self) -> list[Batch]:
        """Take out what is to be sent now; ``read`` or ``unanswered`` must follow."""
        if self.idle:
            return []
        waiting, self._waiting = self._waiting, {}
        batches = [
            Batch(shard, outcomes[begin : begin + MOST_A_CALL])
            for shard, outcomes in waiting.items()
            for begin in range(0, len(outcomes), MOST_A_CALL)
        ]
        batches += self._alone[:_ALONE_A_TURN]
        del self._alone[:_ALONE_A_TURN]
        self._in_flight += len(batches)
        return batches

    def call(self, batch: Batch) -> Call[list[Verdict]]:
        """The call that records a batch."""
        limits = self._limits
        return lua.finish(
            batch.shard,
            worker=self._worker,
            resend_window=limits.resend_window,
            default_retention=limits.default_retention,
            most_finished=limits.most_finished(self._layouts.get(batch.shard.queue, 1)),
            outcomes=[row for _, row in batch.outcomes],
        )

    def unanswered(self, batches: Sequence[Batch]) -> None:
        """No reply was read: send them again."""
        self._in_flight -= len(batches)
        for batch in batches:
            self._again(batch)

    def read(self, batches: Sequence[Batch], replies: Sequence[Any]) -> bool:
        """Read the replies to batches; True when some must be sent again."""
        self._in_flight -= len(batches)
        again = False
        for batch, reply in zip(batches, replies, strict=True):
            if isinstance(reply, Exception):
                again = True
                self._refused(batch, reply)
            else:
                for (start, row), verdict in zip(batch.outcomes, reply, strict=True):
                    self._recorded(start, row, verdict)
                self._meter.recorded(batch.shard, batch.outcomes, reply)
        if self.idle and not self._in_flight:
            self._flushed.set()
        return again

    def _refused(self, batch: Batch, error: Exception) -> None:
        if isinstance(error, Unreachable):
            self._again(batch)
            return
        log.error(
            "redis refused to record outcomes; trying again",
            shard=str(batch.shard),
            outcomes=len(batch.outcomes),
            error=str(error),
        )
        self._alone += [Batch(batch.shard, [outcome]) for outcome in batch.outcomes]

    def _again(self, batch: Batch) -> None:
        waiting = self._waiting.setdefault(batch.shard, [])
        waiting[:0] = batch.outcomes

    def _recorded(self, start: Start, row: OutcomeRow, verdict: Verdict) -> None:
        self._running.remove(start)
        if verdict is Verdict.STALE or verdict is Verdict.TORN:
            log.warning(
                "outcome refused",
                job=start.job_id,
                token=start.token,
                outcome=row.kind,
                verdict=str(verdict),
            )
        elif self._on_recorded is not None:
            self._on_recorded(start, row, verdict)
        if row.kind == OutcomeKind.PARK and verdict is Verdict.RECORDED and self._on_parked is not None:
            self._on_parked(start, str(row.body))
