"""Waits for an element of a list with `BLPOP`, on wires of its own, and loses none.

A `BLPOP` that was sent may pop at any moment until its reply is read, whatever became of its caller. So a
wait goes on when its caller was cancelled or got an answer from another slot, and the next `pop` joins it. A
wait that nobody joins in a moment, or that is for other lists than the next `pop`, is unblocked, and what it
popped meanwhile is pushed back.

A caller that handles elements as their replies are read has the next `BLPOP` sent for it, once it is done.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from capelin.connection.delivery import Plain
from capelin.connection.network import Network
from capelin.connection.refusals import Refusal, to_error
from capelin.connection.wire import Command, Wire
from capelin.errors import Unreachable

Handle = Callable[[str], asyncio.Future[None] | None]
"""Told of the list that an element was popped from. Returns when to wait on, or None to get it returned."""

_MOVING_PAUSE = 0.1  # while a slot moves, waiting in it is a pause
_SHORTEST = 0.01  # Redis 6 rounds less to 0, which means for ever
_UNBLOCK_AGAIN = 0.01
_ABANDONED_AFTER = 0.1
_CLOSING_SECONDS = 1


class _Popped(NamedTuple):
    key: str
    element: bytes


class _Line(NamedTuple):
    wire: Wire
    client_id: int  # 0 if the server does not tell


class _Wait:
    """One `BLPOP` under way, for lists of one group."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = frozenset(keys)
        self.line: _Line | None = None
        self.handled: asyncio.Future[None] | None = None
        self.task: asyncio.Task[_Popped | None]


class Popper:
    """The waits of one connection."""

    def __init__(self, network: Network, *, url: str) -> None:
        self._network, self._url = network, url
        self._waits: dict[int, _Wait] = {}
        self._idle: dict[int, _Line] = {}
        self._settling: dict[asyncio.Task[None], _Wait] = {}
        self._closed = False
        self._handle: Handle | None = None
        self._deadline = 0.0
        self._followed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._abandoning: asyncio.TimerHandle | None = None

    async def pop(self, keys: Sequence[str], seconds: float, *, handle: Handle | None = None) -> str | None:
        """The list that an element was popped from; None when there was none in time or another call came.

        What ``handle`` takes care of, in the turn of the loop in which the reply is read, is not returned,
        and the wait goes on until its time is over.

        Raises:
            Unreachable, RedisRefused: A server was lost or refused, and no other had an element in time.
        """
        loop = asyncio.get_running_loop()
        self._end_call()
        self._handle = handle
        self._deadline = deadline = loop.time() + seconds
        followed = self._followed = loop.create_future()
        groups: dict[int, list[str]] = {}
        for key in keys:
            groups.setdefault(self._network.group(key), []).append(key)
        self._leave_out(groups)
        try:
            outcome = await self._first_of(groups, deadline, followed)
        finally:
            if not followed.done() and self._waits:
                self._abandoning = loop.call_later(_ABANDONED_AFTER, self._retire)
        if isinstance(outcome, _Popped):
            return outcome.key
        if self._closed:
            raise Unreachable(url=self._url, cause="the connection was closed")
        if outcome is not None and not followed.done():
            raise outcome
        return None

    async def close(self) -> None:
        """End every wait; an element that was popped meanwhile is pushed back."""
        self._closed = True
        self._end_call()
        self._leave_out({})
        if self._settling:
            await asyncio.wait(self._settling, timeout=_CLOSING_SECONDS)
        for task, wait in list(self._settling.items()):  # their server does not answer
            task.cancel()
            wait.task.cancel()
            await asyncio.wait([task, wait.task])
            if wait.line is not None:
                await wait.line.wire.close()
        for line in self._idle.values():
            await line.wire.close()
        self._idle.clear()

    async def _first_of(
        self, groups: dict[int, list[str]], deadline: float, followed: asyncio.Future[None]
    ) -> _Popped | BaseException | None:
        """What came first, until the deadline or the next call; if all else was silent, what failed."""
        loop = asyncio.get_running_loop()
        failure: BaseException | None = None
        while groups:
            remaining = deadline - loop.time()
            waiting = self._waiting_for(groups, remaining)
            # Our own clock ends the wait: the server looks at its clock ten times a second.
            events: list[asyncio.Future[Any]] = [*waiting, followed]
            done, _ = await asyncio.wait(events, timeout=remaining, return_when=asyncio.FIRST_COMPLETED)
            if not done or followed.done():
                break
            for task in waiting.keys() & done:
                group = waiting[task]
                del self._waits[group]
                outcome = self._outcome(task)
                if isinstance(outcome, _Popped):
                    return outcome
                if outcome is not None:
                    failure = outcome
                    del groups[group]  # the other servers may still have something
            if deadline - loop.time() < _SHORTEST:
                break
        return failure

    def _end_call(self) -> None:
        """End the call under way: from now on, the waits are not its business."""
        if not self._followed.done():
            self._followed.set_result(None)

    def _leave_out(self, groups: Mapping[int, Sequence[str]]) -> None:
        """Give up the waits for anything else than these lists, and wires that none of them needs."""
        if self._abandoning is not None:
            self._abandoning.cancel()
        self._retire(groups)
        for group in [group for group in self._idle if group not in groups]:
            self._idle.pop(group).wire.drop("not needed any more")

    def _retire(self, but: Mapping[int, Sequence[str]] | None = None) -> None:
        groups = but or {}
        for group, wait in list(self._waits.items()):
            if wait.keys != frozenset(groups.get(group, ())):
                del self._waits[group]
                task = asyncio.get_running_loop().create_task(self._settle(wait))
                self._settling[task] = wait
                task.add_done_callback(self._settled)

    def _waiting_for(
        self, groups: Mapping[int, Sequence[str]], seconds: float
    ) -> dict[asyncio.Task[_Popped | None], int]:
        """A wait for each group: the one under way, or a new one."""
        for group, keys in groups.items():
            if group not in self._waits:
                wait = self._waits[group] = _Wait(keys)
                wait.task = asyncio.get_running_loop().create_task(self._block(group, wait, keys, seconds))
                wait.task.add_done_callback(_seen)
        return {self._waits[group].task: group for group in groups}

    def _outcome(self, task: asyncio.Task[_Popped | None]) -> _Popped | BaseException | None:
        if task.cancelled():
            return Unreachable(url=self._url, cause="the wait was ended")
        return task.exception() or task.result()

    async def _block(self, group: int, wait: _Wait, keys: Sequence[str], seconds: float) -> _Popped | None:
        line = self._idle.pop(group, None)
        if line is None or line.wire.lost is not None:
            line = await self._open(keys[0])
        wait.line = line
        try:
            tell = partial(self._tell, group, wait)
            popped = await self._pop_over(line, keys, seconds, tell)
            while popped is not None and (handled := wait.handled) is not None:
                await handled
                wait.handled = None
                keys = _last(popped.key, keys)
                seconds = self._deadline - asyncio.get_running_loop().time()
                wanted = seconds >= _SHORTEST and self._waits.get(group) is wait
                popped = await self._pop_over(line, keys, seconds, tell) if wanted else None
        finally:
            if self._closed or group in self._idle:
                line.wire.drop("not needed any more")
            elif line.wire.lost is None:
                self._idle[group] = line
        return popped

    async def _pop_over(
        self, line: _Line, keys: Sequence[str], seconds: float, tell: Callable[[list[Any]], None]
    ) -> _Popped | None:
        """One `BLPOP`."""
        wire = line.wire
        replies = await _ask(wire, ("BLPOP", *keys, round(max(seconds, _SHORTEST), 3)), tell)
        if not replies:
            self._network.doubt()
            raise Unreachable(url=self._url, cause=f"{wire.name}: {wire.lost}")
        reply = replies[0]
        if isinstance(reply, Refusal):
            if not reply.redirects and reply.code != "TRYAGAIN":
                raise to_error(reply, url=self._url, server=wire.name)
            self._network.learn(reply)
            wire.drop("its slot moved")
            await asyncio.sleep(min(seconds, _MOVING_PAUSE))
            return None
        return None if reply is None else _Popped(reply[0].decode(), reply[1])

    def _tell(self, group: int, wait: _Wait, replies: list[Any]) -> None:
        """Tell the caller what was popped; a wait that was given up has none."""
        reply = replies[0]
        if reply is None or isinstance(reply, Refusal) or self._handle is None:
            return
        if self._waits.get(group) is wait:
            wait.handled = self._handle(reply[0].decode())

    async def _open(self, key: str) -> _Line:
        wire = await self._network.open(key)
        replies = await _ask(wire, ("CLIENT", "ID"))
        client_id = replies[0] if replies else 0
        return _Line(wire, client_id if isinstance(client_id, int) else 0)

    async def _settle(self, wait: _Wait) -> None:
        """End a wait that nobody needs, without losing what it may pop until its end."""
        while not wait.task.done():
            line = wait.line
            if line is not None and line.client_id:
                errand = Plain(("CLIENT", "UNBLOCK", line.client_id))
                [reply] = await self._network.carry_to(line.wire.name, [errand])
                if reply != 0:  # it is unblocked, or may not be and ends by itself
                    await asyncio.wait([wait.task])
                    break
            await asyncio.wait([wait.task], timeout=_UNBLOCK_AGAIN)
        popped = self._outcome(wait.task)
        if isinstance(popped, _Popped):
            await self._network.carry([Plain(("LPUSH", popped.key, popped.element), key=popped.key)])

    def _settled(self, task: asyncio.Task[None]) -> None:
        del self._settling[task]
        _seen(task)


def _last(key: str, keys: Sequence[str]) -> Sequence[str]:
    """The same lists, this one last.

    `BLPOP` takes from the first that has anything: the last would get nothing while the others are busy.
    """
    place = keys.index(key) + 1
    return (*keys[place:], *keys[:place])


async def _ask(wire: Wire, command: Command, at_once: Callable[[list[Any]], None] | None = None) -> list[Any]:
    """Send a command; when its caller is cancelled (the event loop ends), nobody else closes the wire."""
    try:
        return await wire.send([command], at_once=at_once)
    except BaseException:
        wire.drop("its caller was cancelled")
        raise


def _seen(task: asyncio.Task[Any]) -> None:
    """A task whose caller is gone may fail without anybody asking."""
    if not task.cancelled():
        task.exception()
