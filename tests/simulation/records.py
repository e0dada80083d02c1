"""What the servers hold, read by a checker outside of the simulation's time."""

import re
from collections.abc import Iterator
from typing import Any

from tests.simulation.apps import QUEUE
from tests.simulation.faults import pod_of
from tests.simulation.patches import EPOCH
from tests.simulation.server import SimRedis
from tests.simulation.servers import Servers
from tests.simulation.world import World
from tests.support.records import spelled_out

JOB = re.compile(rb".+:\{[^}]+\}:job:(?P<job>.+)")
LIVE = ("scheduled", "queued", "running", "parked")
ENDED = ("completed", "failed", "cancelled")
BECOMES_QUIET = 10.0
"""Seconds for which the newest runs of a schedule may be under way."""


class Asked:
    """A server as `tests.support` asks it."""

    def __init__(self, redis: SimRedis) -> None:
        self._redis = redis

    def __call__(self, *words: str | bytes | float) -> Any:
        return self._redis.ask(*words)

    def pipeline(self, *commands: tuple[str | bytes | float, ...]) -> list[Any]:
        return [self(*words) for words in commands]


def each(servers: Servers) -> Iterator[Asked]:
    """Every server that holds data."""
    return (Asked(master) for master in servers.masters)


def all_records(servers: Servers) -> dict[str, dict[str, str]]:
    """Every job's record by its id."""
    found: dict[str, dict[str, str]] = {}
    for master in servers.masters:
        for key in master.all_keys():
            match = JOB.fullmatch(key)
            if match is not None:
                fields = spelled_out(master.hash_at(key))
                if "status" in fields:
                    found[match["job"].decode()] = fields
    return found


def dead(world: World, *, keyed: bool | None = None) -> list[str]:
    """The ids of jobs in the DLQ; of those with a dedupe key, or without one, or of both."""
    return sorted(
        job
        for job, record in all_records(world.servers).items()
        if record["status"] == "failed" and keyed in (None, "key" in record)
    )


def older_layouts(world: World) -> str:
    """Those of the queue of which keys may still be held, as its `homes` lists them."""
    return world.servers.hash_at(f"capelin:{{{QUEUE}}}:meta".encode()).get("homes", "")


def reach(world: World) -> int:
    """How many shards of the queue may hold something: they are those that workers own."""
    meta = world.servers.hash_at(f"capelin:{{{QUEUE}}}:meta".encode())
    return int(meta.get("reach") or meta.get("shards") or 0)


def _died(world: World, record: dict[str, str]) -> bool:
    """Whether whoever runs a job is dead."""
    pod = world.pods.get(pod_of(record.get("worker", "")))
    return record["status"] == "running" and pod is not None and not pod.alive


def unfinished(world: World) -> list[str]:
    """Jobs that have not ended and should, and clients that still wait."""
    now = (EPOCH + world.loop.elapsed) * 1000
    left = [
        f"{job} is {record['status']}"
        for job, record in all_records(world.servers).items()
        if record["status"] not in ENDED
        and not (
            "schedule" in record
            and float(record["enqueued"]) > now - BECOMES_QUIET * 1000
            and not _died(world, record)
        )
    ]
    left += [
        f"{entry.pod} waits for the result of {entry.n}"
        for entry in world.history.submitted
        if entry.waits and entry.result is None and world.pods[entry.pod].alive
    ]
    return left
