"""Workers: who is in the fleet, what each runs and owns, and who died with jobs that are not back yet."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from capelin.admin.access import Access
from capelin.keys import ShardKeys
from capelin.lua.looking import Survey
from capelin.lua.replies import text, whole
from capelin.records import moment
from capelin.schedule_book import ScheduleBook
from capelin.workers.fleet import Member, read_members
from capelin.workers.pulse import Pulse


class WorkerState(StrEnum):
    """What a worker does, as far as Redis knows."""

    ALIVE = "alive"
    """It takes jobs."""
    QUIET = "quiet"
    """It was told to take nothing more, and finishes what runs."""
    STOPPING = "stopping"
    """It has left the fleet and keeps its stakes: it shuts down, or drains a burst."""
    GONE = "gone"
    """It gives no sign of life; what it ran comes back by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStanding:
    """How a worker stands.

    Attributes:
        alive: Whether it is a member of the fleet that gave a sign of life in time.
        state: What it does.
        app, host, pid, version: What it said of itself.
        started: When it joined, by its own clock.
        up_seconds: How long that is ago.
        queues: The queues it serves, or served until it was told to be quiet.
        slots: How many jobs it runs at a time.
        running: How many it runs, by queue.
        shards: The shards it owns, as ``queue:shard``.
        tasks: The tasks it can run, with the digest of each signature.
        candidate: Whether it may lead the scheduler.
        leads: Whether it does.
        seconds_left: For how long it counts as alive without another sign of life.
        loop_lag: The longest that its event loop kept a callback waiting in the last 15 seconds, in seconds;
            None when it does not say.
        memory: Bytes of RAM that it holds; None when it does not say.
    """

    id: str
    alive: bool
    state: WorkerState
    app: str = ""
    host: str = ""
    pid: int = 0
    version: str = ""
    started: datetime | None = None
    up_seconds: float | None = None
    queues: tuple[str, ...] = ()
    slots: int = 0
    running: Mapping[str, int] = field(default_factory=dict[str, int])
    shards: tuple[str, ...] = ()
    tasks: Mapping[str, str] = field(default_factory=dict[str, str])
    candidate: bool = False
    leads: bool = False
    seconds_left: float | None = None
    loop_lag: float | None = None
    memory: int | None = None


async def read_fleet(access: Access) -> Mapping[str, tuple[Member, int]]:
    """Return the members of the fleet by id, each with the ms until which it counts as alive."""
    flat, expiries = await access.commands(
        [("HGETALL", access.keys.fleet_members), ("ZRANGE", access.keys.fleet_expiry, 0, -1, "WITHSCORES")]
    )
    until = {text(name): whole(score) for name, score in zip(expiries[::2], expiries[1::2], strict=True)}
    return {name: (member, until.get(name, 0)) for name, member in read_members(flat).items()}


async def read_pulses(access: Access, workers: Sequence[str]) -> Mapping[str, Pulse]:
    """Return how those of these workers are that say it."""
    asked = [("GET", access.keys.fleet_pulse(worker)) for worker in workers]
    raw = await access.each_command(asked, {})
    pulses = {worker: Pulse.from_json(said) for worker, said in zip(workers, raw, strict=True)}
    return {worker: pulse for worker, pulse in pulses.items() if pulse is not None}


async def list_workers(access: Access, *, torn: dict[str, str] | None = None) -> list[WorkerStanding]:
    """Return every member of the fleet, and whoever else has jobs in flight.

    Args:
        access: Where.
        torn: Takes what is wrong with queues and shards that cannot be read, by name: what runs and who owns
            what is not known there.

    Raises:
        Unreachable, RedisRefused: Redis could not be asked.
    """
    surveys, broken = await access.readable_surveys()
    if torn is not None:
        torn |= {name: str(error) for name, error in broken.items()}
    return await worker_standings(access, surveys)


async def worker_standings(access: Access, surveys: Mapping[ShardKeys, Survey]) -> list[WorkerStanding]:
    """``list_workers`` for whoever has surveyed all shards already."""
    now = await access.clock()
    fleet = await read_fleet(access)
    pulses = await read_pulses(access, list(fleet))
    leader = (await ScheduleBook(access.connection, access.keys, access.settings).leader()).worker
    running: dict[str, dict[str, int]] = {}
    owned: dict[str, list[str]] = {}
    for shard, found in surveys.items():
        for worker, jobs in found.running.items():
            by_queue = running.setdefault(worker, {})
            by_queue[shard.queue] = by_queue.get(shard.queue, 0) + jobs
        if found.owner and found.expires > found.now:
            owned.setdefault(found.owner, []).append(str(shard))
    known = [
        WorkerStanding(
            id=member.id,
            alive=expires > now,
            state=_state_of(member) if expires > now else WorkerState.GONE,
            app=member.app,
            host=member.host,
            pid=member.pid,
            version=member.version,
            started=moment(member.started),
            up_seconds=max(0, now - member.started) / 1000,
            queues=member.queues or member.queues_before,
            slots=member.slots,
            running=running.get(member.id, {}),
            shards=tuple(owned.get(member.id, ())),
            tasks=member.tasks,
            candidate=member.candidate,
            leads=member.id == leader,
            seconds_left=(expires - now) / 1000,
            loop_lag=pulses[member.id].lag if member.id in pulses else None,
            memory=(pulses[member.id].memory or None) if member.id in pulses else None,
        )
        for member, expires in sorted(fleet.values(), key=lambda known: (known[0].started, known[0].id))
    ]
    others = sorted(running.keys() - fleet.keys())
    staked = await _with_stakes(access, surveys, others)
    return known + [
        WorkerStanding(
            id=worker,
            alive=False,
            state=WorkerState.STOPPING if worker in staked else WorkerState.GONE,
            running=running[worker],
            shards=tuple(owned.get(worker, ())),
        )
        for worker in others
    ]


def _state_of(member: Member) -> WorkerState:
    return WorkerState.QUIET if member.quiet else WorkerState.ALIVE


async def _with_stakes(
    access: Access, surveys: Mapping[ShardKeys, Survey], workers: Collection[str]
) -> set[str]:
    """Return those of these workers whose stakes hold where they have jobs running."""
    shards = [shard for shard, found in surveys.items() if not found.running.keys().isdisjoint(workers)]
    asked = [("ZRANGE", shard.stakes, 0, -1, "WITHSCORES") for shard in shards]
    replies = await access.each_command(asked, {})
    return {
        text(name)
        for shard, flat in zip(shards, replies, strict=True)
        for name, until in zip((flat or ())[::2], (flat or ())[1::2], strict=True)
        if float(until) > surveys[shard].now
    }.intersection(workers)
