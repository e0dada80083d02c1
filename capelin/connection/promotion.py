"""Who is the master now? Asked while a connection to one is open, too.

A master that was replaced while it could not be reached, or by an operator, goes on as a master until a
sentinel tells it otherwise, which takes about ten seconds; whatever it confirms in that time is gone. So the
sentinels are asked once a second, and a wire to a server that most of them do not name is dropped.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence

from capelin.connection.dial import Dialler
from capelin.connection.network import Dial, Line, OneServer
from capelin.connection.sentinel import address_in, open_master, question
from capelin.connection.urls import Address
from capelin.connection.wire import Wire
from capelin.errors import CapelinError

_ASK_EVERY = 1.0


class Promoted(OneServer):
    """The master of a service, whichever server that is.

    Args:
        sentinels: All of them; half must name another server, and no other half a third, before it counts.
        service: The name under which the sentinels watch it.
        ask: Opens wires to sentinels.
        data: Opens wires to Redis servers.
    """

    def __init__(self, sentinels: Sequence[Address], service: str, *, ask: Dialler, data: Dialler) -> None:
        super().__init__(self._dial_master, url=data.url, name=service)
        self._sentinels, self._service = sentinels, service
        self._ask, self._data = ask, data
        self._lines = [Line(self._dialler_of(sentinel), url=ask.url) for sentinel in sentinels]
        self._wires: list[Wire] = []
        self._watching: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """As `Network.close`."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        for line in self._lines:
            await line.close()
        await super().close()

    def _dialler_of(self, sentinel: Address) -> Dial:
        async def dial() -> Wire:
            return await self._ask.open(sentinel)

        return dial

    async def _dial_master(self) -> Wire:
        # Asked anew: who was named a moment ago may be the one that has just come back, and is no master.
        named = await self._most_name()
        wire = await open_master(self._sentinels, self._service, ask=self._ask, data=self._data, first=named)
        self._wires.append(wire)
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch(), name="capelin sentinels")
        return wire

    async def _watch(self) -> None:
        """Ask until there is no wire left that could be wrong."""
        while True:
            await asyncio.sleep(_ASK_EVERY)
            self._wires = [wire for wire in self._wires if wire.lost is None]
            if not self._wires:
                return
            named = await self._most_name()
            if named is not None:
                for wire in [wire for wire in self._wires if wire.name != str(named)]:
                    wire.drop(f"the sentinels name another master, {named}")

    async def _most_name(self) -> Address | None:
        """The server that most sentinels name; None while they do not agree, or too few answer."""
        deadline = asyncio.get_running_loop().time() + _ASK_EVERY
        asked = {asyncio.create_task(self._named_by(line)) for line in self._lines}
        left, votes = asked, Counter[Address]()
        try:
            while left and (patience := deadline - asyncio.get_running_loop().time()) > 0:
                done, left = await asyncio.wait(left, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                votes.update(address for task in done if (address := task.result()) is not None)
                for address, count in votes.items():
                    if count * 2 > len(asked):
                        return address  # whatever the others would say
        finally:
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        # Half of them, and no other half: one of two may be gone.
        many = [address for address, count in votes.items() if count * 2 >= len(asked)]
        return many[0] if len(many) == 1 else None

    async def _named_by(self, line: Line) -> Address | None:
        try:
            wire = await line.get()
        except CapelinError:  # it does not answer: the others have to know
            return None
        return address_in(await wire.send([question(self._service)]))
