"""How a worker takes from a shard: as the owner that waits there, as one that is busy, or as a thief."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from capelin import lua
from capelin.connection import pack_once
from capelin.keys import ShardKeys
from capelin.lua import Call, Taken
from capelin.priority import Priority
from capelin.workers.limits import Limits
from capelin.workers.ready import MOST_A_CALL, Visit
from capelin.workers.slots import Room, Slots
from capelin.workers.weights import Weights

_MOST_REMEMBERED = 1000


class Owned(Protocol):
    """What taking needs to know of ownership."""

    def owns(self, shard: ShardKeys) -> bool: ...

    @property
    def idle_others(self) -> int:
        """Other workers that have free slots."""
        ...


class Manner(NamedTuple):
    """What a take asks for besides jobs; it is decided once, when the take is sent.

    Attributes:
        waits: A note that the worker waits there.
        older_than: Only what waited longer, ms; None for all.
    """

    waits: bool
    older_than: int | None


class Alone(NamedTuple):
    """One take that is sent alone, in lists as for many."""

    visits: Sequence[Visit]
    manners: Sequence[Manner]
    calls: Sequence[Call[Taken]]


class Taking:
    """Makes the takes of one worker.

    Args:
        worker: This worker's id.
        lanes: How many pipelines share the slots.
    """

    def __init__(
        self, *, worker: str, limits: Limits, slots: Slots, owned: Owned, weights: Weights, lanes: int
    ) -> None:
        self._worker = worker
        self._lanes = lanes
        self._limits = limits
        self._slots = slots
        self._owned = owned
        self._weights = weights
        self._waiting = Manner(waits=True, older_than=None)
        self._passing = Manner(waits=False, older_than=None)
        self._lenient = Manner(waits=False, older_than=limits.steal_after * 2)
        self._calls: dict[tuple[ShardKeys, int, Manner, tuple[int, ...]], Call[Taken]] = {}
        self._peeks: dict[ShardKeys, Call[bool]] = {}
        self._alone: dict[ShardKeys, Alone] = {}
        self.stealing = Manner(waits=False, older_than=limits.steal_after)

    def manner(self, shard: ShardKeys) -> Manner:
        """How to take from a shard that is known to be ready."""
        if not self._owned.owns(shard):
            return self._passing
        return self._lenient if self._above_share() else self._waiting

    def owns(self, shard: ShardKeys) -> bool:
        """Whether the shard is this worker's."""
        return self._owned.owns(shard)

    def call(self, visit: Visit, manner: Manner) -> Call[Taken]:
        """The call that takes; made once for what is asked again and again."""
        deal = self._weights.deal(visit.count)
        asked = (visit.shard, visit.count, manner, tuple(deal.values()))
        call = self._calls.get(asked)
        if call is None:
            if len(self._calls) >= _MOST_REMEMBERED:
                self._calls.clear()
            call = self._calls[asked] = pack_once(self._call(visit, manner, deal))
        return call

    def alone(self, shard: ShardKeys) -> Alone | None:
        """What a worker asks of its own shard while nothing runs and it asks nobody else.

        Returns:
            None when it has no slots, or so many that the priorities' parts of them do not come out even:
            then each has its turn.
        """
        known = self._alone.get(shard)
        if known is None:
            count = min(Room(self._slots, self._lanes).free_for(shard.queue), MOST_A_CALL)
            deal = self._weights.even(count)
            if count == 0 or deal is None:
                return None
            visit, manner = Visit(shard, count), self._waiting
            if len(self._alone) >= _MOST_REMEMBERED:
                self._alone.clear()
            call = pack_once(self._call(visit, manner, deal))
            known = self._alone[shard] = Alone((visit,), (manner,), (call,))
        return known

    def peek(self, shard: ShardKeys) -> Call[bool]:
        """The call that tells a thief whether to take from a shard."""
        call = self._peeks.get(shard)
        if call is None:
            if len(self._peeks) >= _MOST_REMEMBERED:
                self._peeks.clear()
            call = self._peeks[shard] = pack_once(lua.peek(shard, older_than=self._limits.steal_after))
        return call

    def _call(self, visit: Visit, manner: Manner, deal: Mapping[Priority, int]) -> Call[Taken]:
        limits = self._limits
        return lua.take(
            visit.shard,
            worker=self._worker,
            count=visit.count,
            ttl=limits.ttl,
            waits=manner.waits,
            older_than=manner.older_than,
            resend_window=limits.resend_window,
            default_retention=limits.default_retention,
            **{priority.value: count for priority, count in deal.items()},
        )

    def look_again_in(self, manner: Manner, taken: Taken) -> float | None:
        """Seconds until an owner that got fewer than it asked for must look by itself; None: it is woken."""
        due = None if taken.next_due is None else max(0, taken.next_due - taken.now)
        if not manner.waits:  # it left no note
            due = min(self._limits.steal_after, self._limits.steal_after if due is None else due)
        return None if due is None else due / 1000

    def _above_share(self) -> bool:
        """A busy owner leaves what is beyond its share to those who idle; what they leave too, it takes a
        little later.
        """
        idle = self._owned.idle_others
        return idle > 0 and self._slots.running > self._slots.total // (1 + idle)
