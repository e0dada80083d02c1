"""Asks how many copies there are of what was written: `WAIT`, and `WAITAOF` where disks count, too.

Redis answers for the socket that asks: it waits for what this socket wrote last, and for one that wrote
nothing it says at once that everybody has it. So an answer counts only on the very wire over which the write
was confirmed, and a write that finds nothing left to do must write all the same (`touch` of the `enqueue`
script).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from capelin.connection.delivery import Errand, deliver
from capelin.connection.refusals import Refusal
from capelin.connection.wire import Command, Wire
from capelin.errors import Unreachable

_DEMOTED = "cannot be used with replica"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """How many copies there are to be.

    Attributes:
        replicas: Replicas that have it, beside the server that was written to.
        fsync: Whether it is to be on the disks of all of them, and of that server, not in their memory alone.
        patience: ms to wait for them.
    """

    replicas: int
    fsync: bool
    patience: int

    @property
    def command(self) -> Command:
        """What Redis is asked."""
        if self.fsync:
            return ("WAITAOF", 1, self.replicas, self.patience)
        return ("WAIT", self.replicas, self.patience)

    @property
    def granted(self) -> "Copies":
        """The copies that it asks for."""
        return Copies(self.replicas, self.fsync, None)


class Copies(NamedTuple):
    """What there is.

    Attributes:
        replicas: Replicas that confirmed it in time.
        on_disk: Whether the server that was written to has it on its disk; False when nobody asked.
        why: Redis's error, if it could not tell.
    """

    replicas: int
    on_disk: bool
    why: str | None


class Confirmed(NamedTuple):
    """A reply, and how many copies there are of what the call wrote."""

    reply: Any
    copies: Copies


class Confirmer:
    """Asks over one wire: one question at a time, so that no one waits for the patience of a hundred others.

    Whoever comes while a question is under way shares the next one, which is asked behind all their writes.
    """

    def __init__(self, wire: Wire, command: Command) -> None:
        self._wire, self._command = wire, command
        self._asked: asyncio.Task[Any] | None = None
        self._next: asyncio.Task[Any] | None = None

    async def ask(self) -> Any:
        """What Redis answers to a question that is asked from now on; None when the wire is lost."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._ask_after(self._asked))
        return await asyncio.shield(self._next)

    async def _ask_after(self, previous: asyncio.Task[Any] | None) -> Any:
        if previous is not None:
            await asyncio.wait([previous])
        self._asked, self._next = self._next, None
        replies = await self._wire.send([self._command])
        return replies[0] if replies else None


async def deliver_confirmed(wire: Wire, errands: Sequence[Errand], wish: Wish, *, url: str) -> list[Any]:
    """As `deliver`, with `Confirmed` where Redis answered.

    `Unreachable` stands where the wire was lost, or its server stopped being the master, before it could
    tell.
    """
    replies = await deliver(wire, errands, url=url)
    written = [place for place, reply in enumerate(replies) if not isinstance(reply, Exception)]
    if not written:
        return replies
    confirmer = wire.confirmers.get(wish.command)
    if confirmer is None:
        confirmer = wire.confirmers[wish.command] = Confirmer(wire, wish.command)
    answer = await confirmer.ask()
    if isinstance(answer, Refusal) and _DEMOTED in answer.message:
        wire.drop("it is a replica now")
    for place in written:
        if answer is None or wire.lost is not None:
            replies[place] = Unreachable(url=url, cause=f"{wire.name}: {wire.lost}")
        elif isinstance(answer, Refusal) and answer.passing:
            replies[place] = Unreachable(url=url, cause=f"{wire.name}: {answer.message}")
        else:
            replies[place] = Confirmed(replies[place], read_copies(answer))
    return replies


def read_copies(answer: Any) -> Copies:
    """Read what `WAIT` or `WAITAOF` replied."""
    match answer:
        case int():
            return Copies(answer, False, None)
        case [int(local), int(replicas)]:
            return Copies(replicas, local > 0, None)
        case _:
            return Copies(0, False, str(answer))
