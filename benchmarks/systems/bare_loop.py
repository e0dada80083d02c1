"""The limit to hold against: capelin's own scripts, called with arguments that are ready, and nothing else.

No signatures, no validation, no task, no context, no outcome of a job's own. What remains is Redis running
the scripts and a process that moves their arguments and replies. As many jobs are in flight as in the worker:
two lanes, so that Redis and the process work at the same time, of half of 100 jobs each. A lane that has
nothing to do waits for a token, as capelin's owner does, and asks in the callback that reads it.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from benchmarks import adapter
from benchmarks.adapter import Adapter
from benchmarks.serving import main
from benchmarks.work import Job, Work, began
from capelin.connection import Connection, Pipeline, connect
from capelin.keys import Keys, ShardKeys
from capelin.lua import Call, NewJob, enqueue, finish, take
from capelin.settings import Settings
from capelin.workers.limits import Limits

_LANES = 2
_CONCURRENCY = 100
_MOST_A_CALL = 500
_FEWEST_A_CALL = 50  # of list after list
_CALLS_A_ROUND = 32
_LONGEST_WAIT = 2.0
_UID_LENGTH = 26
_DIGEST = "01234567"


@dataclass
class _Lane:
    """What a lane has to do.

    Attributes:
        ready: Its shards that have jobs, or may have.
        sent: A take that was sent ahead of it, and to which shard.
        idle: Whether it waits to be told.
        told: That there is something for it.
    """

    ready: deque[int]
    sent: tuple[int, Pipeline] | None = None
    idle: bool = False
    told: asyncio.Event = field(default_factory=asyncio.Event)


class BareLoop(Adapter):
    """Enqueues calls that were made beforehand; takes batches and finishes them straight away."""

    def __init__(self) -> None:
        settings = Settings()
        self._limits = Limits.of(settings)
        keys = Keys(settings.prefix)
        self._shards = [keys.shard("default", shard) for shard in range(settings.shards)]
        self._connection: Connection | None = None
        self._calls: deque[Call[Any]] = deque()
        self._dealt = count()
        self._lanes: list[_Lane] = []
        self._takes = [self._take(shard) for shard in self._shards]
        self._finishes = [self._finish(shard) for shard in self._shards]
        self._unrecorded = 0

    async def open(self, url: str, settings: adapter.Settings) -> None:
        """As in ``Adapter``."""
        del settings
        self._connection = connect(url)

    def prepare(self, jobs: Sequence[Job], *, together: bool) -> None:
        """Make the calls, cut as capelin's client cuts them."""
        numbers = [job.number for job in jobs]
        even = -(-len(numbers) // len(self._shards))
        size = min(_MOST_A_CALL, max(even, _FEWEST_A_CALL)) if together else 1
        self._calls = deque(
            self._enqueue(numbers[begin : begin + size]) for begin in range(0, len(numbers), size)
        )

    async def enqueue_one(self, job: Job) -> None:
        """As in ``Adapter``, with the next prepared call."""
        if not self._calls:
            self.prepare([job], together=False)
        await self._opened.run(self._calls.popleft())

    async def enqueue_many(self, jobs: Sequence[Job]) -> None:
        """As in ``Adapter``, with the prepared calls."""
        if not self._calls:  # a list of whatever has become due
            self.prepare(jobs, together=True)
        while self._calls:
            calls = [self._calls.popleft() for _ in range(min(_CALLS_A_ROUND, len(self._calls)))]
            _raise_first(await self._opened.run_many(calls))

    async def work(self, url: str, work: Work) -> None:
        """As in ``Adapter``, with no-op jobs that are over as soon as they have started."""
        del url, work
        shards = range(len(self._shards))
        self._lanes = [_Lane(deque(shards[lane::_LANES])) for lane in range(_LANES)]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._wait())
            for lane in self._lanes:
                tasks.create_task(self._turn(lane))

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

    def _enqueue(self, numbers: Sequence[int]) -> Call[Any]:
        call = enqueue(
            self._shards[next(self._dealt) % len(self._shards)],
            most=None,
            resend_window=self._limits.resend_window,
            jobs=[
                NewJob(f"{number:0{_UID_LENGTH}}", "noop", _DIGEST, f"[[{number}],{{}}]")
                for number in numbers
            ],
        )
        return Call(call.script, call.keys, call.args, _as_it_is)

    async def _turn(self, lane: _Lane) -> None:
        """Turns of one pipeline each: finish what the last one took, take more from a shard that is ready."""
        calls: list[Call[Any]] = []
        while True:
            if lane.sent is not None:
                shard, pipeline = lane.sent
                lane.sent = None
            elif lane.ready:
                shard = lane.ready.popleft()
                pipeline = self._opened.begin([self._takes[shard], *calls])
                calls = []
            elif calls:
                recorded = _raise_first(await self._opened.run_many(calls))
                self._unrecorded -= sum(map(len, recorded))
                calls = []
                continue
            else:
                lane.told.clear()
                lane.idle = True
                await lane.told.wait()
                continue
            taken, *recorded = _raise_first(await pipeline.replies())
            self._unrecorded -= sum(map(len, recorded))
            jobs, more = taken[0], taken[1]
            if more:
                lane.ready.append(shard)
            if jobs:
                rows: list[Any] = []
                for uid, _place, token, *_rest in jobs:
                    began(int(uid))
                    rows += (uid, token, "complete", "", "", "")
                self._unrecorded += len(jobs)
                fixed = self._finishes[shard]
                calls.append(Call(fixed.script, fixed.keys, [*fixed.args, *rows], _as_it_is))

    async def _wait(self) -> None:
        """Wait for tokens; what a token says is asked for in the callback that reads it."""
        shards = {shard.wake: number for number, shard in enumerate(self._shards)}
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)

        def handle(key: str) -> asyncio.Future[None]:
            number = shards[key]
            lane = self._lanes[number % _LANES]
            if lane.idle:
                lane.idle = False
                lane.sent = number, self._opened.begin([self._takes[number]])
                lane.told.set()
            elif number not in lane.ready:
                lane.ready.append(number)
            return done

        while True:
            await self._opened.pop(list(shards), _LONGEST_WAIT, handle=handle)

    def _take(self, shard: ShardKeys) -> Call[Any]:
        at_most = _CONCURRENCY // _LANES
        call = take(
            shard,
            worker="bare",
            count=at_most,
            ttl=self._limits.ttl,
            waits=True,
            older_than=None,
            resend_window=self._limits.resend_window,
            default_retention=self._limits.default_retention,
            critical=0,
            high=0,
            normal=at_most,
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
