"""Redis Cluster: which master has a key, and what to do while slots move.

An errand is sent again only when the server said that it did not run (`MOVED`, `ASK`, `TRYAGAIN`). A lost
connection is reported for what was on it and sends nothing again; the map of slots is then read anew before
the next errand.
"""

import asyncio
import random
from collections.abc import Coroutine, Sequence
from typing import Any

from redis.crc import key_slot

from capelin.connection.confirming import Wish, deliver_confirmed
from capelin.connection.delivery import Begun, Errand, Plain, deliver
from capelin.connection.dial import Dialler
from capelin.connection.network import Line, Network
from capelin.connection.refusals import Refusal, afresh
from capelin.connection.shared import Shared
from capelin.connection.slots import Range, SlotMap
from capelin.connection.urls import Address
from capelin.connection.wire import Wire
from capelin.errors import ConfigurationError, RedisRefused, Unreachable

_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 0.2
_UNKNOWN_HOSTS = (None, b"", b"?")


def slot_of(key: str) -> int:
    """The slot of a key: of its part in braces, if it has one.

    >>> slot_of("{emails:3}:meta") == slot_of("{emails:3}:wake")
    True
    """
    return int(key_slot(key.encode()))


class ClusterNetwork(Network):
    """The masters of one Cluster.

    Args:
        dialler: Opens wires.
        seeds: The addresses of the URL.
        patience: Seconds for which errands follow slots that move.
    """

    def __init__(self, dialler: Dialler, *, seeds: Sequence[Address], patience: float) -> None:
        self._dialler, self._seeds, self._patience = dialler, seeds, patience
        self._url = dialler.url
        self.name = ",".join(map(str, seeds))
        self._slots = SlotMap()
        self._masters: list[Address] = []
        self._lines: dict[Address, Line] = {}
        self._stale = True
        self._reading = Shared(self._read_slots, url=self._url)

    async def carry(
        self,
        errands: Sequence[Errand],
        begun: Begun | None = None,  # noqa: ARG002
        *,
        wish: Wish | None = None,
    ) -> list[Any]:
        """As `Network.carry`. Errands for one node run in order, but for those that a node turns away."""
        results: list[Any] = [None] * len(errands)
        deadline = asyncio.get_running_loop().time() + self._patience
        pause = _FIRST_PAUSE
        todo: Sequence[int] = range(len(errands))
        asked: dict[int, Address] = {}
        turn = 0
        while todo:
            if self._stale:
                try:
                    await self._reading.get()
                except (Unreachable, RedisRefused) as error:
                    for i in todo:
                        results[i] = afresh(error)
                    break
            await self._round(errands, todo, asked, results, wish)
            todo, asked, busy = self._turned_away(todo, results)
            turn += 1
            if not todo or (asyncio.get_running_loop().time() >= deadline and (busy or turn > 1)):
                break
            if busy or turn > 1:  # a single redirection is followed at once; gossip and migrations need time
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 -- to spread callers
                pause = min(pause * 2, _LONGEST_PAUSE)
        for i in todo:
            if (refusal := results[i]).__class__ is Refusal:
                # The source points to the target, and the target has not all keys yet: it passes.
                results[i] = Unreachable(url=self._url, cause=f"its slot is moving: {refusal.message}")
        return results

    async def carry_to(self, master: str, errands: Sequence[Errand]) -> list[Any]:
        """As `Network.carry_to`."""
        if self._stale:
            await self._reading.get()
        address = next((known for known in self._masters if str(known) == master), None)
        results: list[Any] = [None] * len(errands)
        await self._visit(address, range(len(errands)), errands, results)
        return results

    async def masters(self) -> list[str]:
        """As `Network.masters`."""
        if self._stale:
            await self._reading.get()
        return [str(address) for address in self._masters]

    async def open(self, key: str | None) -> Wire:
        """As `Network.open`."""
        if self._stale:
            await self._reading.get()
        address = self._address(key)
        if address is None:
            raise self._homeless()
        try:
            return await self._dialler.open(address)
        except Unreachable:
            self._stale = True
            raise

    def group(self, key: str) -> int:
        """As `Network.group`: a slot."""
        return slot_of(key)

    def learn(self, refusal: Refusal) -> None:
        """As `Network.learn`: this slot at once, the rest before the next errand."""
        if refusal.code == "MOVED":
            slot = int(refusal.message.split(" ")[1])
            self._slots.move(slot, _target(refusal, self._slots.get(slot)))
            self._stale = True

    def doubt(self) -> None:
        """As `Network.doubt`."""
        self._stale = True

    async def close(self) -> None:
        """As `Network.close`."""
        await self._reading.close()
        for line in list(self._lines.values()):
            await line.close()

    def _address(self, key: str | None) -> Address | None:
        if key is None:
            return random.choice(self._masters) if self._masters else None  # noqa: S311 -- any will do
        return self._slots.get(slot_of(key))

    def _line(self, address: Address) -> Line:
        line = self._lines.get(address)
        if line is None:
            line = self._lines[address] = Line(lambda: self._dialler.open(address), url=self._url)
        return line

    def _homeless(self) -> Unreachable:
        self._stale = True
        return Unreachable(
            url=self._url, cause="no master serves this key's slot; a failover may be under way"
        )

    async def _round(
        self,
        errands: Sequence[Errand],
        todo: Sequence[int],
        asked: dict[int, Address],
        results: list[Any],
        wish: Wish | None,
    ) -> None:
        """Send each errand once, to all nodes at the same time."""
        groups: dict[Address | None, list[int]] = {}
        for i in todo:
            if i not in asked:
                groups.setdefault(self._address(errands[i].key), []).append(i)
        visits: list[Coroutine[Any, Any, None]] = [
            self._visit(address, places, errands, results, wish) for address, places in groups.items()
        ]
        visits += [self._ask(address, i, errands[i], results, wish) for i, address in asked.items()]
        if len(visits) == 1:
            await visits[0]
        else:
            await asyncio.gather(*visits)

    def _turned_away(
        self, todo: Sequence[int], results: list[Any]
    ) -> tuple[list[int], dict[int, Address], bool]:
        """Which errands did not run and go again, where to if a node said so, and whether to wait before."""
        left: list[int] = []
        asked: dict[int, Address] = {}
        busy = False
        for i in todo:
            reply = results[i]
            if reply.__class__ is not Refusal:
                continue
            code = reply.code
            if code == "MOVED":
                self.learn(reply)
            elif code == "ASK":
                asked[i] = _target(reply, None)
            elif code == "TRYAGAIN":
                busy = True
            else:
                self._stale = self._stale or reply.says("CLUSTERDOWN") or reply.says("READONLY")
                continue
            left.append(i)
        return left, asked, busy

    async def _visit(
        self,
        address: Address | None,
        places: Sequence[int],
        errands: Sequence[Errand],
        results: list[Any],
        wish: Wish | None = None,
    ) -> None:
        """Carry the errands of one node."""
        try:
            if address is None:
                raise self._homeless()
            wire = await self._line(address).get()
        except (Unreachable, RedisRefused) as error:
            self._stale = True
            for i in places:
                results[i] = afresh(error)
            return
        carried = [errands[i] for i in places]
        if wish is None:
            replies = await deliver(wire, carried, url=self._url)
        else:
            replies = await deliver_confirmed(wire, carried, wish, url=self._url)
        for i, reply in zip(places, replies, strict=True):
            results[i] = reply
        if wire.lost is not None:
            self._stale = True

    async def _ask(
        self, address: Address, place: int, errand: Errand, results: list[Any], wish: Wish | None
    ) -> None:
        """Carry one errand to the node that its slot is moving to.

        `ASKING` holds for the command behind it on the wire; scripts are loaded ahead of both, and nothing
        comes between what goes out in one write.
        """
        both: list[Any] = [None, None]
        await self._visit(address, (0, 1), (Plain(("ASKING",)), errand), both, wish)
        results[place] = both[1]

    async def _read_slots(self) -> None:
        causes: list[str] = []
        for address in self._by_likelihood():
            try:
                wire = await self._line(address).get()
            except Unreachable as error:
                causes.append(error.cause)
                continue
            replies = await wire.send([("CLUSTER", "SLOTS")])
            if replies and not isinstance(replies[0], Refusal):
                self._take_in(replies[0], address)
                self._forget_gone()
                return
            cause = replies[0].message if replies else wire.lost
            if "cluster support disabled" in str(cause):
                raise ConfigurationError(
                    f"{self._url}: {address} is not part of a Cluster; write redis:// for a single server"
                )
            causes.append(f"{address}: {cause}")
        raise Unreachable(url=self._url, cause="; ".join(causes))

    def _by_likelihood(self) -> list[Address]:
        """Every node that is known, those that answer first."""
        known = dict.fromkeys([*self._masters, *self._seeds])
        return sorted(known, key=lambda address: self._line(address).up is None)

    def _take_in(self, ranges: Any, asked: Address) -> None:
        known: list[Range] = []
        for first, last, master, *_ in ranges:
            host = asked.host if master[0] in _UNKNOWN_HOSTS else master[0].decode()
            known.append((first, last, Address(host, int(master[1]))))
        self._slots = SlotMap(known)
        self._masters = self._slots.masters
        self._stale = False

    def _forget_gone(self) -> None:
        """Nodes that have no slots any more and do not answer; a wire that is up may still owe replies."""
        for address in set(self._lines).difference(self._masters, self._seeds):
            if self._lines[address].down:
                del self._lines[address]


def _target(redirection: Refusal, previous: Address | None) -> Address:
    """Where `MOVED 3999 host:port` or `ASK …` points; a server that does not know its host sends no host."""
    host, _, port = redirection.message.split(" ")[2].rpartition(":")
    return Address(host or (previous.host if previous else "localhost"), int(port))
