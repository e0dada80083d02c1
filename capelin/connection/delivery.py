"""Sends script calls and plain commands over one wire, and sees to it that the server knows the scripts.

A script is loaded the first time that a wire uses it, in the same write as its call: no round trip is added,
and the calls of one pipeline run in order. `NOSCRIPT` then only follows a `SCRIPT FLUSH`; it means that the
call did not run, so exactly those calls are sent again. Nothing else is ever sent twice.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from capelin.connection.refusals import Refusal
from capelin.connection.wire import Command, Wire, pack
from capelin.errors import Unreachable
from capelin.lua.call import Call, Script

T = TypeVar("T")

_RELOADS = 3


class Plain:
    """A plain command."""

    __slots__ = ("command", "key")
    script = None
    packed = None

    def __init__(self, command: Command, *, key: str | None = None) -> None:
        self.command, self.key = command, key


Errand = Plain | Call[Any]
"""One command on its way."""


class Begun(NamedTuple):
    """Errands that were written to a wire, and the scripts that were loaded ahead of them."""

    wire: Wire
    scripts: Sequence[Script]
    size: int
    sent: asyncio.Future[list[Any]]

    def whole(self, replies: list[Any]) -> list[Any] | None:
        """The errands' replies if that is simply what was read: nothing lost, refused or loaded."""
        plain = len(replies) == self.size and not self.scripts and Refusal not in map(type, replies)
        return replies if plain else None


def pack_once(call: Call[T]) -> Call[T]:
    """The same call, packed now, and not again each time that it is sent.

    Raises:
        TypeError, ValueError: For an argument that cannot be written.
    """
    call.packed = pack([call.command])
    return call


def begin(wire: Wire, errands: Sequence[Errand]) -> Begun | None:
    """Write errands to a wire; None when one of them cannot be written, and nothing was."""
    commands: list[Command | bytes] = []
    loaded, scripts = wire.loaded, dict[str, Script]()
    for errand in errands:
        script = errand.script
        if script is not None and script.sha not in loaded:
            scripts[script.sha] = script
        commands.append(errand.packed or errand.command)
    if scripts:
        commands[:0] = [("SCRIPT", "LOAD", script.text) for script in scripts.values()]
    try:
        sent = wire.send(commands)
    except (TypeError, ValueError):
        return None
    # Marked before the reply: whatever is sent behind it on this wire runs behind it.
    loaded.update(scripts)
    return Begun(wire, tuple(scripts.values()), len(errands), sent)


async def deliver(
    wire: Wire, errands: Sequence[Errand], *, url: str, begun: Begun | None = None
) -> list[Any]:
    """Send errands over one wire.

    Args:
        wire: The wire.
        errands: What to send.
        url: The URL as it may be printed.
        begun: What `begin` returned for these errands, if they were sent already.

    Returns:
        For each errand what Redis sent, a `Refusal` among it, or `Unreachable` where no reply was read. An
        errand with an argument that cannot be written gets its TypeError or ValueError, and the others are
        sent.
    """
    replies, refused = await _attempt(wire, errands, url, begun)
    for _ in range(_RELOADS):
        if not refused:
            break
        again, refused_again = await _attempt(wire, [errands[i] for i in refused], url)
        for i, reply in zip(refused, again, strict=True):
            replies[i] = reply
        refused = [refused[i] for i in refused_again]
    return replies


async def _attempt(
    wire: Wire, errands: Sequence[Errand], url: str, begun: Begun | None = None
) -> tuple[list[Any], list[int]]:
    """Replies, and the places of the errands whose script the server did not know."""
    begun = begun or begin(wire, errands)
    if begun is None:
        return await _attempt_writable(wire, errands, url)
    scripts = begun.scripts
    replies = await begun.sent
    refused_loads: dict[str, Refusal] = {}
    if scripts:
        answers, replies = replies[: len(scripts)], replies[len(scripts) :]
        refused_loads = {
            script.sha: answer
            for script, answer in zip(scripts, answers, strict=False)
            if isinstance(answer, Refusal)
        }
    unread = len(errands) - len(replies)
    replies += [Unreachable(url=url, cause=f"{wire.name}: {wire.lost}") for _ in range(unread)]
    unknown: list[int] = []
    for place, reply in enumerate(replies):
        if reply.__class__ is Refusal and reply.code == "NOSCRIPT":
            script = errands[place].script
            if script is None:
                continue
            wire.loaded.discard(script.sha)
            if wire.lost is not None:
                replies[place] = Unreachable(url=url, cause=f"{wire.name}: {wire.lost}")
            elif script.sha in refused_loads:
                replies[place] = refused_loads[
                    script.sha
                ]  # a right that is missing, a text that does not compile
            else:
                unknown.append(place)
    return replies, unknown


async def _attempt_writable(wire: Wire, errands: Sequence[Errand], url: str) -> tuple[list[Any], list[int]]:
    """Leave out the errands that cannot be written; if it is a script's text, say so at once."""
    pack([("SCRIPT", "LOAD", script.text) for errand in errands if (script := errand.script)])
    results: list[Any] = [None] * len(errands)
    writable: list[int] = []
    for place, errand in enumerate(errands):
        try:
            pack([errand.command])
        except (TypeError, ValueError) as error:
            results[place] = error
        else:
            writable.append(place)
    if not writable:
        return results, []
    replies, unknown = await _attempt(wire, [errands[place] for place in writable], url)
    for place, reply in zip(writable, replies, strict=True):
        results[place] = reply
    return results, [writable[place] for place in unknown]
