"""Care of the shards a worker owns: reaping the jobs of the dead at the moment their stake ends, and
retention.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import structlog

from capelin import lua
from capelin.connection import Connection
from capelin.errors import CapelinError
from capelin.keys import ShardKeys
from capelin.lua import ParkedRow, Reaped, Retained
from capelin.metrics.meter import NO_METER, Meter
from capelin.workers.limits import Limits
from capelin.workers.sweep import Sweep
from capelin.workers.torn import report_torn
from capelin.workers.trust import Trust

log = structlog.get_logger("capelin.worker")

_A_CALL = 200
_RETAIN_EVERY = 10.0


class Upkeep:
    """What is due in each owned shard.

    Args:
        limits: Settings in scripts' units.
        layouts: Number of shards by queue.
        worker: This worker's id.
        found_parked: Told what is parked in a shard.
        sweep: Says which shards of others to look at, since a member is gone.
        meter: Counts what comes back, and what goes to the DLQ.
    """

    def __init__(
        self,
        limits: Limits,
        layouts: Mapping[str, int],
        *,
        worker: str,
        found_parked: Callable[[ShardKeys, list[ParkedRow]], None],
        sweep: Sweep,
        meter: Meter = NO_METER,
    ) -> None:
        self._limits = limits
        self._sweep = sweep
        self._layouts = layouts
        self._worker = worker
        self._found_parked = found_parked
        self._meter = meter
        self._reap_at: dict[ShardKeys, float] = {}
        self._retain_at: dict[ShardKeys, float] = {}

    def gained(self, shard: ShardKeys) -> None:
        """A new owner looks at once for what the last one left."""
        self._reap_at[shard] = 0.0
        self._retain_at.setdefault(shard, time.monotonic() + _RETAIN_EVERY)

    def saw_stake(self, shard: ShardKeys, ends_in: int | None) -> None:
        """A renewal said when the next stake of another worker ends (ms), or that there is none."""
        if ends_in is None or self._reap_at.get(shard) == 0.0:
            return
        self._reap_at[shard] = 0.0 if ends_in == 0 else time.monotonic() + ends_in / 1000 + 0.002

    async def run(self, connection: Connection, owned: Sequence[ShardKeys], trust: Trust) -> float | None:
        """Do what is due; return when the next is (``time.monotonic``), or None."""
        now = time.monotonic()
        for known in (self._reap_at, self._retain_at):
            for shard in [shard for shard in known if shard not in owned]:
                del known[shard]
        due = [shard for shard in owned if self._reap_at.get(shard, now + 1) <= now and trust.fit_for(shard)]
        await self._reap(due, connection, trust)
        await self._sweep_up(connection, owned, trust)
        await self._retain([shard for shard in owned if self._retain_at.get(shard, 0.0) <= now], connection)
        now = time.monotonic()
        moments = [max(at, now + trust.fit_for_in(shard)) for shard, at in self._reap_at.items()]
        if self._sweep.next_at is not None:
            moments.append(self._sweep.next_at)
        return min(moments, default=None)

    async def _sweep_up(self, connection: Connection, owned: Sequence[ShardKeys], trust: Trust) -> None:
        shards = self._sweep.due(owned) if trust.fit else []
        if not shards:
            return
        # By the clock of its own Redis a call is known to have come in time; those of others were not heard.
        replies = await asyncio.gather(
            *(connection.command("TIME", key=shard.meta) for shard in shards), return_exceptions=True
        )
        for shard, reply in zip(shards, replies, strict=True):
            if isinstance(reply, CapelinError):
                trust.failed_in(shard)
            elif isinstance(reply, BaseException):
                raise reply
            else:
                trust.renewed_in(shard, int(reply[0]) * 1000 + int(reply[1]) // 1000)
        await self._reap([shard for shard in shards if trust.fit_for(shard)], connection, trust)

    async def _reap(self, shards: list[ShardKeys], connection: Connection, trust: Trust) -> None:
        limits = self._limits
        replies = await connection.run_many(
            [
                lua.reap(
                    shard,
                    reaper=self._worker,
                    limit=_A_CALL,
                    max_crashes=limits.max_crashes,
                    no_crash_before=trust.no_crash_before(shard),
                    judge_until=trust.judge_until_in(shard),
                    resend_window=limits.resend_window,
                    default_retention=limits.default_retention,
                )
                for shard in shards
            ]
        )
        for shard, reply in zip(shards, replies, strict=True):
            if isinstance(reply, Exception):
                trust.failed_in(shard)
                log.warning("reaping failed; it is tried again", shard=str(shard), error=str(reply))
                continue
            reaped: Reaped = reply
            self._meter.reaped(shard, reaped)
            if not reaped.more:
                self._reap_at.pop(shard, None)
            if reaped.returned or reaped.buried or reaped.cancelled:
                log.warning(
                    "jobs of dead workers came back",
                    shard=str(shard),
                    dead=reaped.dead,
                    returned=len(reaped.returned),
                    dead_lettered=len(reaped.buried),
                    cancelled=reaped.cancelled,
                )

    async def _retain(self, shards: list[ShardKeys], connection: Connection) -> None:
        limits = self._limits
        replies = await connection.run_many(
            [
                lua.retain(
                    shard,
                    limit=_A_CALL,
                    resend_window=limits.resend_window,
                    default_retention=limits.default_retention,
                    most_finished=limits.most_finished(self._layouts.get(shard.queue, 1)),
                    dlq_age=limits.dlq_age,
                    most_dead=limits.most_dead(self._layouts.get(shard.queue, 1)),
                    parked_age=limits.parked_age,
                )
                for shard in shards
            ]
        )
        for shard, reply in zip(shards, replies, strict=True):
            if isinstance(reply, Exception):
                self._retain_at[shard] = time.monotonic() + _RETAIN_EVERY
                log.warning("retention failed; it is tried again", shard=str(shard), error=str(reply))
                continue
            retained: Retained = reply
            self._retain_at[shard] = time.monotonic() + (0.0 if retained.more else _RETAIN_EVERY)
            if retained.parked:
                self._found_parked(shard, retained.parked)
            if retained.torn:
                report_torn(shard, retained.torn, self._meter)
            if retained.buried:
                self._meter.buried(shard, retained.buried)
                log.warning(
                    "parked jobs that no worker could run were dead-lettered",
                    shard=str(shard),
                    jobs=retained.buried,
                )
