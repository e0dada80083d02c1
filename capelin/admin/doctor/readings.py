"""What was read, and what of it is too much: the values that checks judge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from capelin.keys import ShardKeys
from capelin.lua.looking import Survey
from capelin.workers.fleet import Member


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What is too much. Times are in seconds.

    Attributes:
        oldest: A job that waits longer is a problem; None: one that waits for 5 minutes is a warning.
        dead: So many dead jobs in a queue are a warning.
        dying: So many within the last hour, too.
        memory: The part of ``maxmemory`` from which on it is a warning.
        full: The part from which on it is a problem.
        slow: A median round trip beyond it is a warning.
        stalls: A worst round trip beyond it, too.
        clock: A clock that is off by more is a warning.
        lag: A replica that has been silent for longer is a warning.
        stuck: What has been over for longer, and nobody took care of, is stuck.
        late: A tick that is due for longer and has not been fired is late.
        again: How long to wait before what may be passing is looked at again.
        patience: How long a check may take.
        samples: How many round trips are timed, a server.
    """

    oldest: float | None = None
    dead: int = 1000
    dying: int = 100
    memory: float = 0.8
    full: float = 0.95
    slow: float = 0.01
    stalls: float = 0.1
    clock: float = 1.0
    lag: float = 10.0
    stuck: float = 30.0
    late: float = 10.0
    again: float = 1.5
    patience: float = 10.0
    samples: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """What ``INFO`` says, by server, and why the others did not answer."""

    infos: Mapping[str, Mapping[str, str]]
    silent: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Queues:
    """The queues.

    Attributes:
        shards: How many shards each has that this release can read.
        newer: The schema of those that it cannot read.
        broken: What else is wrong with one, by name.
    """

    shards: Mapping[str, int]
    newer: Mapping[str, int]
    broken: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shards:
    """How every shard stands, and why others could not be read."""

    found: Mapping[ShardKeys, Survey]
    lost: Mapping[ShardKeys, str]

    def of(self, queue: str) -> dict[ShardKeys, Survey]:
        """Return those of one queue."""
        return {shard: found for shard, found in self.found.items() if shard.queue == queue}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The members, each with the ms until which it counts as alive, and Redis's clock then, ms.

    Attributes:
        unreadable: Ids of members whose record this release cannot read.
    """

    now: int
    members: Mapping[str, tuple[Member, int]]
    unreadable: Sequence[str]

    @property
    def live(self) -> list[Member]:
        """Those that gave a sign of life in time."""
        return [member for member, until in self.members.values() if until > self.now]

    def serving(self, queue: str) -> list[Member]:
        """Return the live ones that serve a queue."""
        return [member for member in self.live if queue in member.queues]
