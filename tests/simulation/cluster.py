"""A Redis Cluster: three masters with a replica each, which say what nodes say of slots that are not theirs.

What the masters know of each other is known to all at once, but for a master that was cut off from them: it
goes on as if nothing had happened, until it hears otherwise. A replica holds what its master held when the
copying began to lag; it becomes the master without what was written since.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any

from fakeredis._helpers import OK, NoResponse, SimpleError
from redis.crc import key_slot

from tests.simulation.loop import SimLoop
from tests.simulation.server import Common, SimRedis
from tests.simulation.session import Session

SLOTS = 16384
GROUPS = 3
_FIRST_PORT = 7001
_REPLICAS = 100
_KEYLESS = {b"CLIENT", b"SCRIPT", b"SUBSCRIBE", b"UNSUBSCRIBE", b"PING", b"TIME", b"ROLE", b"INFO", b"SCAN"}


@lru_cache(maxsize=4096)
def slot_of(key: bytes) -> int:
    """The slot of a key."""
    return int(key_slot(key))


def keys_of(command: list[bytes]) -> list[bytes]:
    """The keys that a command declares."""
    match command[0].upper():
        case b"EVALSHA" | b"EVAL":
            return command[3 : 3 + int(command[2])]
        case b"BLPOP":
            return command[1:-1]
        case b"XREAD" | b"XREADGROUP":
            after = [word.upper() for word in command].index(b"STREAMS") + 1
            return command[after : after + (len(command) - after) // 2]
        case name:
            return [] if name in _KEYLESS else command[1:2]


class Group:
    """A master and its replica.

    Attributes:
        master: Who serves its slots, if it lives.
        replica: The other one.
        noticed: Whether the rest knows that the master is gone, and no replica has its place yet.
        detached: A former master that has not heard of its successor.
    """

    def __init__(self, master: SimRedis, replica: SimRedis) -> None:
        self.master, self.replica = master, replica
        self.noticed = False
        self.detached: SimRedis | None = None

    def promote(self) -> float:
        """The replica takes over; how many seconds of writes it never had."""
        lost = self.master.restore_snapshot(to=self.replica)
        self.master, self.replica = self.replica, self.master
        self.noticed = False
        return lost


class SimCluster:
    """The nodes, and what they know of each other."""

    def __init__(self, loop: SimLoop, common: Common) -> None:
        self.groups = [
            Group(
                SimRedis(loop, common=common, port=_FIRST_PORT + number, bus=self),
                SimRedis(loop, common=common, port=_FIRST_PORT + number + _REPLICAS, bus=self),
            )
            for number in range(GROUPS)
        ]
        self.moved: dict[int, int] = {}
        self._moving: dict[int, int] = {}

    @property
    def nodes(self) -> list[SimRedis]:
        """All of them, masters first."""
        return [group.master for group in self.groups] + [group.replica for group in self.groups]

    def number_of(self, slot: int) -> int:
        """Which group serves a slot."""
        return self.moved.get(slot, slot * GROUPS // SLOTS)

    def home(self, key: bytes) -> SimRedis:
        """The master of a key."""
        return self.groups[self.number_of(slot_of(key))].master

    def slots_of(self, number: int) -> Callable[[int], bool]:
        """Whether a slot is this group's now, asked later."""
        moved = dict(self.moved)
        return lambda slot: moved.get(slot, slot * GROUPS // SLOTS) == number

    @property
    def at_rest(self) -> bool:
        """Whether each slot has one master, which has all of its keys."""
        return not self._moving and not any(group.detached for group in self.groups)

    # Slots that move.

    def begin_to_move(self, slot: int, to: int) -> bool:
        """The target imports, the source migrates; False when it is there, or moves, or one of them ails."""
        at = self.number_of(slot)
        ailing = any(self.groups[n].master.lags or self.groups[n].detached for n in (at, to))
        if at == to or slot in self._moving or ailing:
            return False
        self._moving[slot] = to
        return True

    def move_keys(self, slot: int, *, part: float) -> None:
        """Move a part of a slot's keys."""
        if slot not in self._moving:
            return
        source, target = self.groups[self.number_of(slot)].master, self.groups[self._moving[slot]].master
        keys = sorted(key for key in source.all_keys() if slot_of(key) == slot)
        for key in keys[: round(len(keys) * part)]:
            _move(key, source, target)

    def end_move(self, slot: int) -> bool:
        """The slot is the target's; False when there was no move under way, or a failover ended it."""
        if slot not in self._moving:
            return False
        source = self.groups[self.number_of(slot)].master
        self.move_keys(slot, part=1.0)
        self.moved[slot] = self._moving.pop(slot)
        for session in list(source.blocked.values()):
            if any(slot_of(key) == slot for key in session.blocked_on):
                session.turn_away(self._elsewhere(session, slot))
        return True

    def give_up_moves(self, number: int) -> None:
        """A group ails: what moves from it or to it stays where it was."""
        for slot, to in list(self._moving.items()):
            at = self.number_of(slot)
            if number in (at, to):
                source, target = self.groups[at].master, self.groups[to].master
                for key in [key for key in target.all_keys() if slot_of(key) == slot]:
                    _move(key, target, source)
                del self._moving[slot]

    # What nodes say.

    def answer(  # noqa: PLR0911 -- one for each thing that it says
        self, node: SimRedis, session: Session, command: list[bytes]
    ) -> Any:
        """As `Bus.answer`."""
        asking, session.asking = session.asking, False
        match command[0].upper():
            case b"ASKING":
                session.asking = True
                return OK
            case b"CLUSTER":
                return self._map(node)
            case b"WAIT":
                return self._copies(node, session, wanted=int(command[1]), patience=int(command[2]) / 1000)
            case _:
                keys = keys_of(command)
        if not keys:
            return None
        session.blocked_on = keys
        slot = slot_of(keys[0])
        if any(slot_of(key) != slot for key in keys[1:]):
            return SimpleError("CROSSSLOT Keys in request don't hash to the same slot")
        number = self.number_of(slot)
        if self.groups[number].detached is node:
            return None
        if any(group.noticed for group in self.groups):
            return SimpleError("CLUSTERDOWN The cluster is down")
        if slot in self._moving and (answer := self._on_the_move(node, session, slot, keys, asking=asking)):
            return answer if isinstance(answer, SimpleError) else None
        return None if node is self.groups[number].master else self._elsewhere(session, slot)

    def _copies(self, node: SimRedis, session: Session, *, wanted: int, patience: float) -> Any:
        """How many replicas have what was written: the one that there is, unless it lags or is away."""
        group = next((group for group in self.groups if group.master is node), None)
        copies = int(group is not None and group.replica.up and not node.lags and group.detached is None)
        if copies >= wanted:
            return copies
        session.answer_later(patience, copies)
        return NoResponse()

    def _on_the_move(
        self, node: SimRedis, session: Session, slot: int, keys: list[bytes], *, asking: bool
    ) -> SimpleError | bool:
        """What source and target say of a slot on its way; True to serve it, False for what others say."""
        missing = sum(key not in node.db._dict for key in keys)
        to = self.groups[self._moving[slot]].master
        if node is self.groups[self.number_of(slot)].master:
            if not missing:
                return True
            if missing < len(keys):
                return SimpleError("TRYAGAIN Multiple keys request during rehashing of slot")
            return SimpleError(f"ASK {slot} {session.pod}.sim:{to.port}")
        if node is to and asking:
            if missing and len(keys) > 1:
                return SimpleError("TRYAGAIN Multiple keys request during rehashing of slot")
            return True
        return False

    def _elsewhere(self, session: Session, slot: int) -> SimpleError:
        port = self.groups[self.number_of(slot)].master.port
        return SimpleError(f"MOVED {slot} {session.pod}.sim:{port}")

    def _map(self, node: SimRedis) -> list[Any]:
        """`CLUSTER SLOTS`; a node that does not know its own host says none."""
        starts = {number * SLOTS // GROUPS + bool(number) for number in range(GROUPS)}
        starts |= {slot + more for slot in self.moved for more in (0, 1)}
        ranges: list[Any] = []
        ordered = sorted(starts | {SLOTS})
        for first, after in pairwise(ordered):
            group = self.groups[self.number_of(first)]
            master = node if group.detached is node else group.master
            ranges.append([first, after - 1, [None, master.port, b"%040d" % master.port]])
        return ranges


def _move(key: bytes, source: SimRedis, target: SimRedis) -> None:
    item = source.db._dict.pop(key)
    target.db._dict[key] = item
    target.db.schedule_expiry(key, item.expireat)
