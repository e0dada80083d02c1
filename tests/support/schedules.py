"""The scheduler moved by hand: a Redis whose clock the test sets, and leaders that do as told.

What runs is the real code. A leader here is what one process's leadership makes of its lease: an epoch, and
a `Firing` with the calls of which a test may do what a network does.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Self, TypeVar
from uuid import uuid4

from capelin import lua
from capelin.connection import Connection, clocks
from capelin.connection.urls import parse_url
from capelin.errors import Unreachable
from capelin.keys import LEADER, Keys
from capelin.lua import Call
from capelin.lua.scheduling import Changed, NewSchedule, schedule_put
from capelin.requests import JobRequest
from capelin.scheduler.clock import RedisClock
from capelin.scheduler.firing import Firing
from capelin.schedules import Schedule
from capelin.settings import Settings
from capelin.ticks import CatchUp, Overlap
from capelin.timetable import Entry, Timetable
from capelin.timing import Every, Timing
from tests.support.cluster import AnyServer
from tests.support.held_clock import AnyConnection, HeldClock
from tests.support.memory import SCHEME, MemoryConnection
from tests.support.records import spelled_out
from tests.support.resp import texts

T = TypeVar("T")

START = 1_900_000_000_000
"""When every test begins, ms: a multiple of 100 s."""
TTL = 6_000
APP = "shop"


def made(
    name: str = "tidy",
    timing: Timing | None = None,
    *,
    catch_up: CatchUp = CatchUp.ALL,
    stale_after: int | None = None,
    overlap: Overlap = Overlap.ALLOW,
    queue: str = "default",
    args: str = "",
    start: int | None = None,
    end: int | None = None,
    jitter: int = 0,
    retention: float | None = None,
) -> Schedule:
    """Return a schedule: every ten seconds, each tick, unless it is told otherwise."""
    return Schedule(
        name=name,
        timing=timing or Every(10_000),
        request=JobRequest(task="tidy", queue=queue, args=args, retention=retention),
        catch_up=catch_up,
        stale_after=stale_after,
        overlap=overlap,
        start=start,
        end=end,
        jitter=jitter,
    )


class Fate(Enum):
    """What becomes of a call."""

    ANSWERED = "answered"
    REPLY_LOST = "the reply is lost"
    REQUEST_LOST = "the request is lost"
    LATE = "the request is late"


@dataclass(kw_only=True, eq=False)
class Asked:
    """A call, or a pipeline of them, that waits for its fate: the names of its scripts, or commands."""

    names: list[str]
    fate: "asyncio.Future[Fate]"


class Timed(Connection):
    """A connection whose scripts take their time from the test.

    Args:
        clock: None where the server itself is in the test's hand.
    """

    def __init__(self, url: str, clock: HeldClock | None) -> None:
        super().__init__(parse_url(url), socket_timeout=5.0, connect_timeout=5.0, patience=0)
        self._clock = clock

    async def run(self, call: Call[T]) -> T:
        """As any other, by way of `run_many`."""
        [reply] = await self.run_many((call,))
        if isinstance(reply, Exception):
            raise reply
        answer: T = reply
        return answer

    async def run_many(self, calls: Sequence[Call[Any]]) -> list[Any]:
        clock = self._clock
        return await super().run_many(calls if clock is None else [clock.call(call) for call in calls])


class Gate(Timed):
    """A connection on which each call waits until the test decides about it; open, it is as any other.

    Attributes:
        shut: Whether calls wait.
        waiting: Those that do.
        late: Calls whose callers gave them up, and that still travel.
        passed: The scripts that ran, by name.
    """

    def __init__(self, url: str, clock: HeldClock | None = None, *, shut: bool) -> None:
        super().__init__(url, clock)
        self.shut = shut
        self.waiting: list[Asked] = []
        self.late: list[Sequence[Call[Any]]] = []
        self.passed: list[str] = []

    def asks(self, script: str) -> bool:
        """Whether a call of this script waits for its fate."""
        return any(script in asked.names for asked in self.waiting)

    async def run_many(self, calls: Sequence[Call[Any]]) -> list[Any]:
        fate = await self._fate([call.script.name for call in calls])
        if fate is Fate.LATE:
            self.late.append(list(calls))
        lost = [Unreachable(url=self.url, cause=fate.value) for _ in calls]
        if fate in {Fate.LATE, Fate.REQUEST_LOST}:
            return [*lost]
        self.passed += [call.script.name for call in calls]
        replies = await super().run_many(calls)
        return replies if fate is Fate.ANSWERED else [*lost]

    async def _plain(self, commands: Any, key: str | None) -> list[Any]:
        fate = await self._fate([str(words[0]) for words in commands])
        if fate is not Fate.ANSWERED:
            return [Unreachable(url=self.url, cause=fate.value) for _ in commands]
        return await super()._plain(commands, key)

    async def _fate(self, names: list[str]) -> Fate:
        if not self.shut:
            return Fate.ANSWERED
        asked = Asked(names=names, fate=asyncio.get_running_loop().create_future())
        self.waiting.append(asked)
        try:
            return await asked.fate
        finally:
            self.waiting.remove(asked)


@dataclass(kw_only=True)
class Leader:
    """A process that leads, or believes that it does."""

    owner: str
    epoch: int
    connection: Gate
    firing: Firing
    turning: "asyncio.Task[float | None] | None" = field(default=None)

    async def turn(self) -> float | None:
        """Do what a leader does: see `Firing.turn`."""
        return await self.firing.turn(self.epoch)


@dataclass(frozen=True, kw_only=True, order=True)
class Fired:
    """The job of a tick as its record tells."""

    schedule: str
    tick: int
    id: str
    status: str


class Stage:
    """A Redis, its clock, and what stands in it.

    Args:
        settings: Those of the leaders.
        server: An empty server or cluster; one in this process if left out.

    Example:
        async with Stage() as stage:
            await stage.put(made())
            leader = await stage.leader("w1")
            stage.advance(10_000)
            await leader.turn()
            assert stage.ticks() == [START + 10_000]
    """

    def __init__(self, settings: Settings | None = None, server: AnyServer | None = None) -> None:
        self.now = START
        self.keys = Keys()
        self.settings = settings or Settings(shards=2)
        self._clock: HeldClock | None = None
        self.redis: MemoryConnection | AnyConnection
        if server is None:
            self.url = f"{SCHEME}schedules-{uuid4().hex}"
            clocks.set_clock(self.url.removeprefix(SCHEME), self.seconds)
            self.redis = MemoryConnection(self.url)
        else:
            self.url = server.url
            self.redis = server.connect()
            self._clock = HeldClock(self.redis, self.now)
        self.connection = Timed(self.url, self._clock)
        self.timetable = Timetable(self.connection, self.keys)
        self._gates: list[Gate] = []

    def seconds(self) -> float:
        """The time, in seconds; half a microsecond more, so that rounding down loses no millisecond."""
        return self.now / 1000 + 0.0000005

    def advance(self, ms: int) -> None:
        """Let time pass."""
        self.now += ms
        if self._clock is not None:
            self._clock.set(self.now)

    # Schedules and leaders.

    async def put(self, *schedules: Schedule, app: str = APP, source: str = "api") -> Changed:
        """Put schedules in place."""
        call = schedule_put(
            self.keys,
            owner="",
            epoch="",
            app=app,
            source=source,
            schedules=[NewSchedule(one.name, one.timing_text, one.to_json()) for one in schedules],
        )
        changed = await self.connection.run(call)
        assert changed is not None
        return changed

    async def acquire(self, owner: str) -> int:
        """Try to take the lease; return its epoch, 0 when somebody else has it."""
        call = lua.lease_acquire(self.keys.lease(LEADER), owner=owner, ttl=TTL)
        return (await self.connection.run(call)).epoch

    def led(self, owner: str, epoch: int, *, shut: bool = False) -> Leader:
        """Return a leader that has taken the lease."""
        gate = Gate(self.url, self._clock, shut=shut)
        self._gates.append(gate)
        firing = Firing(
            gate,
            self.keys,
            self.settings,
            owner=owner,
            clock=RedisClock(monotonic=lambda: self.now / 1000),
        )
        return Leader(owner=owner, epoch=epoch, connection=gate, firing=firing)

    async def leader(self, owner: str, *, shut: bool = False) -> Leader:
        """Take the lease, waiting for the end of another's, and lead."""
        epoch = await self.acquire(owner)
        if not epoch:
            self.advance(TTL)
            epoch = await self.acquire(owner)
        assert epoch
        return self.led(owner, epoch, shut=shut)

    async def entry(self, name: str = "tidy") -> Entry:
        """How a schedule stands."""
        return await self.timetable.get(name)

    # What is in Redis, asked without capelin.

    def jobs(self) -> list[Fired]:
        """The jobs of ticks, by schedule and tick."""
        found: list[Fired] = []
        for key in texts(self.redis("KEYS", "capelin:*:job:*")):
            words = texts(self.redis("HGETALL", key))
            record = spelled_out(dict(zip(words[::2], words[1::2], strict=True)))
            if "tick" in record:
                found.append(
                    Fired(
                        schedule=record["schedule"],
                        tick=int(record["tick"]),
                        id=key.partition(":job:")[2],
                        status=record["status"],
                    )
                )
        return sorted(found)

    def ticks(self, schedule: str = "tidy") -> list[int]:
        """The ticks of a schedule that became jobs."""
        return [job.tick for job in self.jobs() if job.schedule == schedule]

    def stored(self, key: Callable[[Keys], str], name: str) -> Any:
        """A JSON field of one of the schedules' hashes; None if there is none."""
        text = self.redis("HGET", key(self.keys), name)
        return None if text is None else json.loads(str(text))

    def forget_jobs(self) -> None:
        """Remove every job, as if all had ended and been trimmed."""
        for pattern in ("*:job:*", "*:unique:*", "*:stream:*", "*:scheduled", "*:finished"):
            for key in texts(self.redis("KEYS", pattern)):
                self.redis("DEL", key)

    async def close(self) -> None:
        """Close everything, and forget the server."""
        for gate in self._gates:
            await gate.close()
        await self.connection.close()
        self.redis.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()
