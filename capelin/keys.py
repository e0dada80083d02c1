"""Every Redis key of capelin, in one file.

All keys of a shard share the hash tag ``{queue:shard}``: one Cluster slot, so that each transition is one
script. ``docs/architecture.md`` says what each key holds.
"""

import zlib
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import NamedTuple

from capelin.names import check_name
from capelin.priority import STREAMS

GROUP = "workers"
LEADER = "leader"
"""The name of the scheduler's lease."""


class _Shard(NamedTuple):
    prefix: str
    queue: str
    shard: int


class ShardKeys(_Shard):
    """The keys of one shard. A tuple, since shards are looked up more often than anything else.

    Attributes:
        base: ``<prefix>:{queue:shard}``, what every key of the shard starts with.
    """

    @cached_property
    def base(self) -> str:
        return f"{self.prefix}:{{{self.queue}:{self.shard}}}"

    @cached_property
    def streams(self) -> tuple[str, ...]:
        return tuple(f"{self.base}:stream:{name}" for name in STREAMS)

    @cached_property
    def scheduled(self) -> str:
        return f"{self.base}:scheduled"

    @cached_property
    def finished(self) -> str:
        return f"{self.base}:finished"

    @cached_property
    def dlq(self) -> str:
        return f"{self.base}:dlq"

    @cached_property
    def meta(self) -> str:
        return f"{self.base}:meta"

    @cached_property
    def never(self) -> str:
        # No such key ever exists. Every script of a shard declares it, so that a Cluster refuses the script
        # as a whole (`TRYAGAIN`) while the slot is on its way and the shard's keys stand on two nodes.
        return f"{self.base}:never"

    @cached_property
    def wake(self) -> str:
        return f"{self.base}:wake"

    @cached_property
    def lease(self) -> str:
        return f"{self.base}:lease"

    @cached_property
    def ticks(self) -> str:
        return f"{self.base}:ticks"

    @cached_property
    def lent(self) -> str:
        return f"{self.base}:lent"

    @cached_property
    def stakes(self) -> str:
        return f"{self.base}:stakes"

    def job_id(self, uid: str) -> str:
        return f"{self.queue}.{self.shard}.{uid}"

    def whole_id(self, text: str) -> str:
        """Return the id of a job that a record names: a uid alone, which has no dots, lives in this shard."""
        return text if "." in text else self.job_id(text)

    def job(self, uid: str) -> str:
        return f"{self.base}:job:{self.queue}.{self.shard}.{uid}"

    def failures(self, uid: str) -> str:
        return f"{self.base}:failures:{self.queue}.{self.shard}.{uid}"

    def unique(self, task: str, key: str) -> str:
        return f"{self.base}:unique:{task}:{key}"

    def parked(self, task: str) -> str:
        return f"{self.base}:parked:{task}"

    def result_channel(self, uid: str) -> str:
        """The Pub/Sub channel on which the end of a job is announced to those who wait for it."""
        return f"{self.base}:done:{self.queue}.{self.shard}.{uid}"

    def __str__(self) -> str:
        return f"{self.queue}:{self.shard}"


class Keys:
    """The keys of one namespace (one ``prefix``)."""

    def __init__(self, prefix: str = "capelin") -> None:
        self.prefix = check_name("prefix", prefix)
        self.shard = lru_cache(maxsize=4096)(self._shard)

    def _shard(self, queue: str, shard: int) -> ShardKeys:
        return ShardKeys(self.prefix, queue, shard)

    def queue_meta(self, queue: str) -> str:
        return f"{self.prefix}:{{{queue}}}:meta"

    @property
    def queues(self) -> str:
        return f"{self.prefix}:queues"

    @property
    def fleet_members(self) -> str:
        return f"{self.prefix}:{{fleet}}:members"

    @property
    def fleet_expiry(self) -> str:
        return f"{self.prefix}:{{fleet}}:expiry"

    @property
    def fleet_free(self) -> str:
        return f"{self.prefix}:{{fleet}}:free"

    def fleet_pulse(self, worker: str) -> str:
        return f"{self.prefix}:{{fleet}}:pulse:{worker}"

    def lease(self, name: str) -> str:
        """The lease of that name; the leader's lies in the slot of the schedules, which it fences."""
        return f"{self._schedules}:lease" if name == LEADER else f"{self.prefix}:{{lease:{name}}}:lease"

    def lease_state(self, name: str) -> str:
        """What a singleton keeps, in the slot of the lease that fences it."""
        return f"{self.prefix}:{{lease:{name}}}:state"

    @property
    def _schedules(self) -> str:
        return f"{self.prefix}:{{schedules}}"

    @property
    def schedules_lease(self) -> str:
        return self.lease(LEADER)

    @property
    def schedules_items(self) -> str:
        return f"{self._schedules}:items"

    @property
    def schedules_states(self) -> str:
        return f"{self._schedules}:states"

    @property
    def schedules_intents(self) -> str:
        return f"{self._schedules}:intents"

    @property
    def schedules_paused(self) -> str:
        return f"{self._schedules}:paused"

    @property
    def schedules_declared(self) -> str:
        return f"{self._schedules}:declared"

    @property
    def schedules_beats(self) -> str:
        return f"{self._schedules}:beats"

    @property
    def schedules_meta(self) -> str:
        return f"{self._schedules}:meta"

    @property
    def singletons(self) -> str:
        return f"{self._schedules}:singletons"

    def inbox(self, worker: str) -> str:
        return f"{self.prefix}:inbox:{worker}"


_TYPES: Mapping[str, str] = {
    **dict.fromkeys(("stream", "dlq", "inbox"), "stream"),
    **dict.fromkeys(("scheduled", "finished", "stakes", "ticks", "parked", "expiry", "free"), "zset"),
    **dict.fromkeys(("meta", "lease", "lent", "job", "members", "state", "singletons"), "hash"),
    **dict.fromkeys(("items", "states", "intents", "paused", "beats", "declared"), "hash"),
    **dict.fromkeys(("wake", "failures"), "list"),
    **dict.fromkeys(("unique", "pulse"), "string"),
    "queues": "set",
}


def type_of(key: str) -> str | None:
    """Return the Redis type that a key of capelin has, by its name; None for a name that is no key's.

    Example:
        >>> type_of("capelin:{emails:3}:dlq"), type_of("capelin:queues")
        ('stream', 'set')
    """
    _, tagged, rest = key.partition("}:")
    kind = rest if tagged else key.partition(":")[2]
    return _TYPES.get(kind.partition(":")[0])


def shard_of(text: str, shards: int) -> int:
    """Return the shard that a dedupe key or shard key belongs to. Part of the stored format."""
    return zlib.crc32(text.encode()) % shards
