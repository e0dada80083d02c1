"""What disturbances are, and what they act on."""

import random
import time
from dataclasses import dataclass, field
from enum import StrEnum

from tests.chaos.backends import Backend
from tests.chaos.pods import Pod, Pods, Release


class Kind(StrEnum):
    """The kinds of disturbances, as the table names them."""

    KILLED = "a worker is killed"
    PAUSED = "a worker is paused"
    STARVED = "a worker is starved of CPU"
    HUNGRY = "a worker is starved of memory"
    BLOCKED = "an event loop is blocked"
    CUT = "connections are cut"
    CUT_OFF = "a worker is cut off"
    ALL_CUT_OFF = "all are cut off from Redis"
    PRODUCER_KILLED = "the producer is killed"
    DEPLOYED = "a rolling deploy"
    REDIS_KILLED = "Redis is killed"
    REDIS_PAUSED = "Redis is paused"
    FAILOVER_ASKED = "a failover is asked for"
    MASTER_KILLED = "a master is killed"
    MASTER_PAUSED = "a master is paused until it is replaced"


OF_REDIS = frozenset(
    {
        Kind.ALL_CUT_OFF,
        Kind.REDIS_KILLED,
        Kind.REDIS_PAUSED,
        Kind.FAILOVER_ASKED,
        Kind.MASTER_KILLED,
        Kind.MASTER_PAUSED,
    }
)
"""Those in which Redis is away: nobody is judged in them, and for a while after."""


@dataclass(eq=False, kw_only=True)
class Disturbance:
    """One disturbance that happened.

    Attributes:
        at: When it began.
        until: When it was over; None while it is not.
        workers: The ids of workers that it hit.
        shards: The shards whose Redis was away; None when it was nobody's or everybody's.
        returned: When Redis served them again; None when it never was away.
        may_lose: Whether acknowledged writes may have gone with it.
    """

    kind: Kind
    at: float = field(default_factory=time.time)
    until: float | None = None
    workers: tuple[str, ...] = ()
    shards: frozenset[str] | None = None
    returned: float | None = None
    may_lose: bool = False

    def __str__(self) -> str:
        lasted = "" if self.until is None else f", {self.until - self.at:.2f} s"
        return f"{self.kind}{lasted}" + (f" ({', '.join(self.workers)})" if self.workers else "")


class NobodyLeftError(Exception):
    """Something happens to every worker already."""


@dataclass(kw_only=True)
class Scene:
    """What disturbances act on, and the list of what they did."""

    backend: Backend
    pods: Pods
    ttl: float
    chance: random.Random
    rate: float
    seed: int
    release: Release = Release.ONE
    happened: list[Disturbance] = field(default_factory=list[Disturbance])

    def begin(self, kind: Kind, *pods: Pod, may_lose: bool = False) -> Disturbance:
        """Note that a disturbance begins."""
        found = Disturbance(kind=kind, workers=tuple(pod.id for pod in pods), may_lose=may_lose)
        self.happened.append(found)
        return found

    def victim(self) -> Pod:
        """A worker that nothing else happens to."""
        free = [pod for pod in self.pods.working if not pod.busy]
        if not free:
            raise NobodyLeftError
        pod = self.chance.choice(free)
        pod.busy = True
        return pod

    def around_the_ttl(self) -> float:
        """Seconds: some leases end in it and some do not."""
        return self.ttl * self.chance.uniform(0.4, 2.5)
