"""Redis Cluster: which master has a key, and what to do while slots move.

An errand is sent again only when the server said that it did not run (`MOVED`, `ASK`, `TRYAGAIN`). A lost connection is
reported for what was on it and sends nothing again; the map of slots is then read anew before the next errand.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from redis.crc import key_slot

from capelin.connection.delivery import Errand, deliver
from capelin.connection.dial import Dialler
from capelin.connection.network import Line, Network, again
from capelin.connection.urls import Address
from capelin.connection.wire import Refusal, Wire
from capelin.errors import ConfigurationError, RedisRefused, Unreachable

_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 0.2


def slot_of(key: str) -> int:
    """The slot of a key: the part in braces alone counts when there is one."""
    return int(key_slot(key.encode()))


class ClusterNetwork(Network):
    """The masters of one Cluster.

    Args:
        dialler: Opens wires.
        seeds: The addresses of the URL.
        url: As it may be printed.
        patience: Seconds for which errands follow slots that move.
    """

    def __init__(self, dialler: Dialler, *, seeds: Sequence[Address], url: str, patience: float) -> None:
        self._dialler, self._seeds, self._url, self._patience = dialler, seeds, url, patience
        self.name = ",".join(map(str, seeds))
        self._slots: dict[int, Address] = {}
        self._lines: dict[Address, Line] = {}
        self._stale = True
        self._version = 0
        self._lock = asyncio.Lock()

    async def carry(self, errands: Sequence[Errand]) -> list[Any]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience
        pause = _FIRST_PAUSE
        results: list[Any] = [None] * len(errands)
        slots = [None if errand.key is None else slot_of(errand.key) for errand in errands]
        asked: dict[int, Address] = {}
        todo = list(range(len(errands)))
        while todo:
            try:
                await self._refresh()
            except (Unreachable, RedisRefused) as error:
                for i in todo:
                    results[i] = again(error)
                break
            groups: dict[Address | None, list[int]] = {}
            for i in todo:
                if i not in asked:
                    groups.setdefault(self._address(slots[i]), []).append(i)
            journeys = [self._visit(address, places, errands, results) for address, places in groups.items()]
            journeys += [self._ask(address, i, errands[i], results) for i, address in asked.items()]
            if len(journeys) == 1:
                await journeys[0]
            else:
                await asyncio.gather(*journeys)
            asked = {}
            left: list[int] = []
            wait = False
            for i in todo:
                reply = results[i]
                if reply.__class__ is not Refusal:
                    continue
                code = reply.code
                if code == "MOVED":
                    self.learn(reply)
                elif code == "ASK":
                    asked[i] = _redirected(reply, fallback=None)
                elif code == "TRYAGAIN":
                    wait = True
                else:
                    if code == "CLUSTERDOWN":
                        self._stale = True
                    continue
                left.append(i)
            todo = left if loop.time() < deadline else []
            if todo and wait:
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 -- spreads callers, keeps no secret
                pause = min(pause * 2, _LONGEST_PAUSE)
        return results

    def group(self, key: str) -> int:
        return slot_of(key)

    async def open(self, key: str | None) -> Wire:
        await self._refresh()
        address = self._address(None if key is None else slot_of(key))
        if address is None:
            raise self._homeless()
        try:
            return await self._dialler.open(address)
        except Unreachable:
            self._stale = True
            raise

    async def masters(self) -> list[str]:
        await self._refresh()
        return [str(address) for address in sorted(set(self._slots.values()))]

    async def carry_to(self, master: str, errands: Sequence[Errand]) -> list[Any]:
        await self._refresh()
        results: list[Any] = [None] * len(errands)
        address = next((known for known in self._slots.values() if str(known) == master), None)
        await self._visit(address, list(range(len(errands))), errands, results)
        return results

    async def close(self) -> None:
        for line in list(self._lines.values()):
            await line.close()

    def learn(self, refusal: Refusal) -> None:
        """Take in a `MOVED`: this slot at once, the rest before the next errand."""
        if refusal.code != "MOVED":
            return
        _, slot, _ = refusal.message.split(" ", 2)
        self._slots[int(slot)] = _redirected(refusal, fallback=self._slots.get(int(slot)))
        self._stale = True

    def doubt(self) -> None:
        self._stale = True

    def _address(self, slot: int | None) -> Address | None:
        if slot is None:
            return random.choice(list(self._slots.values())) if self._slots else None  # noqa: S311
        return self._slots.get(slot)

    def _line(self, address: Address) -> Line:
        line = self._lines.get(address)
        if line is None:
            line = self._lines[address] = Line(lambda: self._dialler.open(address))
        return line

    def _homeless(self) -> Unreachable:
        self._stale = True
        return Unreachable(url=self._url, cause="no master serves this slot: a failover or a change of slots is under way")

    async def _visit(
        self, address: Address | None, places: Sequence[int], errands: Sequence[Errand], results: list[Any]
    ) -> None:
        """Carry the errands of one node."""
        try:
            if address is None:
                raise self._homeless()
            wire = await self._line(address).get()
        except (Unreachable, RedisRefused) as error:
            self._stale = True
            for i in places:
                results[i] = again(error)
            return
        replies = await deliver(wire, [errands[i] for i in places], url=self._url)
        for i, reply in zip(places, replies, strict=True):
            results[i] = reply
            if isinstance(reply, Unreachable):
                self._stale = True
            elif reply.__class__ is Refusal and reply.code == "READONLY":
                self._stale = True

    async def _ask(self, address: Address, place: int, errand: Errand, results: list[Any]) -> None:
        """Carry one errand to the node that a slot is moving to; `ASKING` holds for the command right after it."""
        try:
            wire = await self._line(address).get()
        except (Unreachable, RedisRefused) as error:
            self._stale = True
            results[place] = again(error)
            return
        # The script goes ahead by itself: between ASKING and its command nothing may stand.
        if errand.script is not None and errand.script.sha not in wire.loaded:
            await deliver(wire, [Errand(("SCRIPT", "LOAD", errand.script.text))], url=self._url)
            wire.loaded.add(errand.script.sha)
        replies = await wire.send([("ASKING",), errand.command])
        if len(replies) > 1:
            results[place] = replies[1]
        else:
            self._stale = True
            results[place] = Unreachable(url=self._url, cause=f"{wire.name}: {wire.lost}")

    async def _refresh(self) -> None:
        """Read the map of slots if it may be wrong; concurrent callers share one reading.

        Raises:
            Unreachable: No node answers.
            ConfigurationError: It is not a Cluster.
        """
        if not self._stale:
            return
        seen = self._version
        async with self._lock:
            if seen != self._version:
                return
            causes: list[str] = []
            known = sorted(set(self._slots.values()), key=lambda address: self._alive(address), reverse=True)
            for address in dict.fromkeys([*known, *self._seeds]):
                try:
                    wire = await self._line(address).get()
                except Unreachable as error:
                    causes.append(error.cause)
                    continue
                replies = await wire.send([("CLUSTER", "SLOTS")])
                reply = replies[0] if replies else Refusal(f"{wire.lost}")
                if isinstance(reply, Refusal):
                    if "cluster support disabled" in reply.message:
                        raise ConfigurationError(
                            f"{self._url}: {address} is not part of a Cluster; use a redis:// URL for it"
                        )
                    causes.append(f"{address}: {reply.message}")
                    continue
                self._read(reply, address)
                await self._forget_gone()
                return
            raise Unreachable(url=self._url, cause="; ".join(causes))

    def _alive(self, address: Address) -> bool:
        line = self._lines.get(address)
        return line is not None and line.wire is not None and line.wire.lost is None

    def _read(self, ranges: Any, asked: Address) -> None:
        slots: dict[int, Address] = {}
        for first, last, (host, port, *_), *_ in ranges:
            address = Address(host.decode() if host and host != b"?" else asked.host, int(port))
            slots.update(dict.fromkeys(range(first, last + 1), address))
        self._slots = slots
        self._stale = False
        self._version += 1

    async def _forget_gone(self) -> None:
        """Close wires to nodes that have no slots any more, unless they are seeds or still owe replies."""
        stay = {*self._slots.values(), *self._seeds}
        for address in [known for known in self._lines if known not in stay]:
            line = self._lines[address]
            if line.wire is None or line.wire.lost is not None:
                del self._lines[address]


def _redirected(refusal: Refusal, *, fallback: Address | None) -> Address:
    place = refusal.message.rsplit(" ", 1)[1]
    host, _, port = place.rpartition(":")
    return Address(host or (fallback.host if fallback else "localhost"), int(port))
