"""The limit to hold against: capelin's own scripts, called with arguments that are ready, and nothing else.

No signatures, no validation, no task, no context, no outcome of a job's own. What remains is Redis running
the scripts and a process that moves their arguments and replies. As many jobs are in flight as in the worker:
two lanes, so that Redis and the process work at the same time, of half of 100 jobs each.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

from benchmarks import adapter
from benchmarks.adapter import Adapter
from benchmarks.serving import main
from benchmarks.work import Job, Work, began
from capelin.connection import Connection, connect
from capelin.keys import Keys, ShardKeys
from capelin.lua import Call, NewJob, enqueue, finish, take
from capelin.settings import Settings
from capelin.workers.limits import Limits

_LANES = 2
_CONCURRENCY = 100
_MOST_A_CALL = 500
_CALLS_A_ROUND = 32
_UID_LENGTH = 26
_DIGEST = "01234567"
_IDLE = 0.001


class BareLoop(Adapter):
    """Enqueues calls that were made beforehand; takes batches and finishes them straight away."""

    def __init__(self) -> None:
        settings = Settings()
        self._limits = Limits.of(settings)
        keys = Keys(settings.prefix)
        self._shards = [keys.shard("default", shard) for shard in range(settings.shards)]
        self._connection: Connection | None = None
        self._calls: deque[Call[Any]] = deque()
        self._unrecorded = 0

    async def open(self, url: str, settings: adapter.Settings) -> None:
        """As in ``Adapter``."""
        del settings
        self._connection = connect(url)

    def prepare(self, jobs: Sequence[Job], *, together: bool) -> None:
        """Make the calls, cut as capelin's client cuts them."""
        numbers = [job.number for job in jobs]
        size = min(_MOST_A_CALL, -(-len(numbers) // len(self._shards))) if together else 1
        self._calls = deque(
            self._enqueue(turn, numbers[begin : begin + size])
            for turn, begin in enumerate(range(0, len(numbers), size))
        )

    async def enqueue_one(self, job: Job) -> None:
        """As in ``Adapter``, with the next prepared call."""
        del job
        await self._opened.run(self._calls.popleft())

    async def enqueue_many(self, jobs: Sequence[Job]) -> None:
        """As in ``Adapter``, with the prepared calls."""
        del jobs
        while self._calls:
            calls = [self._calls.popleft() for _ in range(min(_CALLS_A_ROUND, len(self._calls)))]
            _raise_first(await self._opened.run_many(calls))

    async def work(self, url: str, work: Work) -> None:
        """As in ``Adapter``, with no-op jobs that are over as soon as they have started."""
        del url, work
        async with asyncio.TaskGroup() as lanes:
            for lane in range(_LANES):
                lanes.create_task(self._lane(self._shards[lane::_LANES]))

    async def settled(self) -> bool:
        """As in ``Adapter``."""
        return self._unrecorded == 0

    async def finished(self) -> int | None:
        """As in ``Adapter``."""
        counts = await self._opened.commands([("ZCARD", shard.finished) for shard in self._shards])
        return sum(map(int, counts))

    async def close(self) -> None:
        """As in ``Adapter``."""
        await self._opened.close()

    @property
    def _opened(self) -> Connection:
        if self._connection is None:
            raise RuntimeError("open() comes first")
        return self._connection

    def _enqueue(self, turn: int, numbers: Sequence[int]) -> Call[Any]:
        call = enqueue(
            self._shards[turn % len(self._shards)],
            most=None,
            resend_window=self._limits.resend_window,
            jobs=[
                NewJob(f"{number:0{_UID_LENGTH}}", "noop", _DIGEST, f"[[{number}],{{}}]")
                for number in numbers
            ],
        )
        return Call(call.script, call.keys, call.args, _as_it_is)

    async def _lane(self, shards: Sequence[ShardKeys]) -> None:
        """Turns of one pipeline each: finish what the last turn took, take more; shards one after another."""
        takes = [self._take(shard) for shard in shards]
        finishes = [self._finish(shard) for shard in shards]
        turn, idle = 0, 0
        calls: list[Call[Any]] = []
        while True:
            taken, *recorded = _raise_first(await self._opened.run_many([takes[turn], *calls]))
            self._unrecorded -= sum(len(verdicts) for verdicts in recorded)
            calls = []
            jobs = taken[0]
            if jobs:
                idle = 0
                rows: list[Any] = []
                for uid, _place, token, *_rest in jobs:
                    began(int(uid))
                    rows += (uid, token, "complete", "", "", "")
                self._unrecorded += len(jobs)
                fixed = finishes[turn]
                calls.append(Call(fixed.script, fixed.keys, [*fixed.args, *rows], _as_it_is))
            else:
                idle += 1
                if idle > len(shards):
                    await asyncio.sleep(_IDLE)
            turn = (turn + 1) % len(shards)

    def _take(self, shard: ShardKeys) -> Call[Any]:
        count = _CONCURRENCY // _LANES
        call = take(
            shard,
            worker="bare",
            count=count,
            ttl=self._limits.ttl,
            waits=False,
            older_than=None,
            resend_window=self._limits.resend_window,
            default_retention=self._limits.default_retention,
            critical=0,
            high=0,
            normal=count,
            low=0,
        )
        return Call(call.script, call.keys, call.args, _as_it_is)

    def _finish(self, shard: ShardKeys) -> Call[Any]:
        return finish(
            shard,
            worker="bare",
            resend_window=self._limits.resend_window,
            default_retention=self._limits.default_retention,
            most_finished=self._limits.most_finished(len(self._shards)),
            outcomes=[],
        )


def _as_it_is(raw: Any) -> Any:
    return raw


def _raise_first(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


if __name__ == "__main__":
    main(BareLoop())
