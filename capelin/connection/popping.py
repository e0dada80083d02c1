"""Waits for a token on lists with `BLPOP`, on wires of its own, and loses none.

A `BLPOP` that was sent may pop at any moment until its reply is read, whatever became of the caller. So a wait goes on when
its caller is cancelled or got an answer from another slot, and the next `pop` joins it; a wait whose keys nobody asks for any
more is unblocked, and a token that it popped meanwhile is pushed back.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from capelin.connection.delivery import Errand
from capelin.connection.dial import refused
from capelin.connection.network import Network
from capelin.connection.wire import Refusal, Wire
from capelin.errors import Unreachable

_MOVING_PAUSE = 0.1  # while a slot moves, a wait in it is a pause
_SHORTEST = 0.01  # Redis 6 rounds less to 0, which means for ever


class _Wait:
    """One `BLPOP` under way, for the keys of one slot."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = frozenset(keys)
        self.wire: Wire | None = None
        self.client_id = 0
        self.task: asyncio.Task[tuple[str, bytes] | None]


class Popper:
    """The waits of one connection."""

    def __init__(self, network: Network, *, url: str) -> None:
        self._network, self._url = network, url
        self._waits: dict[int, _Wait] = {}
        self._idle: dict[int, tuple[Wire, int]] = {}
        self._retired: set[asyncio.Task[None]] = set()

    async def pop(self, keys: Sequence[str], seconds: float) -> str | None:
        """The key that a token was popped from; None when there was none in time.

        Raises:
            Unreachable: A server was lost, and no other had a token within the time.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        groups: dict[int, list[str]] = {}
        for key in keys:
            groups.setdefault(self._network.group(key), []).append(key)
        for group, wait in list(self._waits.items()):
            if wait.keys != frozenset(groups.get(group, ())):
                self._retire(group, wait)
        for group, wanted in groups.items():
            if group not in self._waits:
                self._start(group, wanted, deadline - loop.time())
        failure: Exception | None = None
        while groups:
            now = loop.time()
            waits = {self._waits[group].task: group for group in groups}
            # Our own clock ends the wait: the server looks at its clock only ten times a second.
            done, _ = await asyncio.wait(
                waits, timeout=max(0, deadline - now), return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
            for task in done:
                group = waits[task]
                del self._waits[group]
                try:
                    popped = task.result()
                except Exception as error:  # noqa: BLE001 -- raised below, when the other servers had their chance
                    failure = error
                    del groups[group]
                    continue
                if popped is not None:
                    return popped[0]
                remaining = deadline - loop.time()
                if remaining <= _SHORTEST:
                    return None
                self._start(group, groups[group], remaining)
        if failure is not None:
            raise failure
        return None

    async def close(self) -> None:
        """End every wait; a token that was popped meanwhile is pushed back."""
        for group, wait in list(self._waits.items()):
            self._retire(group, wait)
        if self._retired:
            await asyncio.wait(self._retired)
        for wire, _ in self._idle.values():
            await wire.close()
        self._idle.clear()

    def _start(self, group: int, keys: Sequence[str], seconds: float) -> None:
        loop = asyncio.get_running_loop()
        wait = _Wait(keys)
        wait.task = loop.create_task(self._block(group, wait, keys, max(seconds, _SHORTEST)))
        self._waits[group] = wait

    async def _block(self, group: int, wait: _Wait, keys: Sequence[str], seconds: float) -> tuple[str, bytes] | None:
        wire, client_id = self._idle.pop(group, (None, 0))
        if wire is None or wire.lost is not None:
            wire = await self._network.open(keys[0])
            [client_id] = await wire.send([("CLIENT", "ID")]) or [0]
        wait.wire, wait.client_id = wire, client_id if isinstance(client_id, int) else 0
        replies = await wire.send([("BLPOP", *keys, round(seconds, 3))])
        if not replies:
            self._network.doubt()
            raise Unreachable(url=self._url, cause=f"{wire.name}: {wire.lost}")
        reply = replies[0]
        if isinstance(reply, Refusal):
            if reply.code in {"ASK", "MOVED", "TRYAGAIN"}:
                self._network.learn(reply)
                await wire.close()
                await asyncio.sleep(min(seconds, _MOVING_PAUSE))
                return None
            self._keep(group, wire, wait.client_id)
            raise refused(self._url, wire.name, reply)
        self._keep(group, wire, wait.client_id)
        return None if reply is None else (reply[0].decode(), reply[1])

    def _keep(self, group: int, wire: Wire, client_id: int) -> None:
        if group in self._idle:
            wire.drop("not needed")
        else:
            self._idle[group] = (wire, client_id)

    def _retire(self, group: int, wait: _Wait) -> None:
        del self._waits[group]
        task = asyncio.get_running_loop().create_task(self._settle(wait))
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)

    async def _settle(self, wait: _Wait) -> None:
        while not wait.task.done():
            if wait.wire is not None and wait.client_id and wait.wire.lost is None:
                errand = Errand(("CLIENT", "UNBLOCK", wait.client_id))
                [reply] = await self._network.carry_to(wait.wire.name, [errand])
                if reply == 1 or not isinstance(reply, int):
                    await asyncio.wait([wait.task])
                    break
            await asyncio.wait([wait.task], timeout=0.01)
        try:
            popped = wait.task.result()
        except Exception:  # noqa: BLE001 -- nobody waits for it any more, and it holds no token
            return
        if popped is not None:
            key, token = popped
            await self._network.carry([Errand(("LPUSH", key, token), key=key)])


def stream_entries(reply: Any) -> list[tuple[str, dict[str, str]]]:
    """What `XREAD` of one stream returned, as (id, fields)."""
    if not reply:
        return []
    entries: list[tuple[str, dict[str, str]]] = []
    for entry_id, flat in reply[0][1]:
        texts = [text.decode(errors="replace") for text in flat or ()]
        entries.append((entry_id.decode(), dict(zip(texts[::2], texts[1::2], strict=False))))
    return entries
