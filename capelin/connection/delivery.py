"""Sends script calls and plain commands over one wire, and sees to it that the server knows the scripts.

A script is loaded the first time that a wire uses it, in the same write as its call: no round trip is added,
and the calls of one pipeline run in order. `NOSCRIPT` then only follows a `SCRIPT FLUSH`; it means that the
call did not run, so exactly those calls are sent again. Nothing else is ever sent twice.
"""

from collections.abc import Sequence
from typing import Any

from capelin.connection.refusals import Refusal
from capelin.connection.wire import Command, Wire, pack
from capelin.errors import Unreachable
from capelin.lua.call import Script

_RELOADS = 3


class Errand:
    """One command on its way: a call of a script, or a plain command (`script` is None)."""

    __slots__ = ("command", "key", "script")

    def __init__(self, command: Command, *, key: str | None = None, script: Script | None = None) -> None:
        self.command, self.key, self.script = command, key, script


async def deliver(wire: Wire, errands: Sequence[Errand], *, url: str) -> list[Any]:
    """Send errands over one wire.

    Returns:
        For each errand what Redis sent, a `Refusal` among it, or `Unreachable` where no reply was read. An
        errand with an argument that cannot be written gets its TypeError or ValueError, and the others are
        sent.
    """
    replies, refused = await _attempt(wire, errands, url)
    for _ in range(_RELOADS):
        if not refused:
            break
        again, refused_again = await _attempt(wire, [errands[i] for i in refused], url)
        for i, reply in zip(refused, again, strict=True):
            replies[i] = reply
        refused = [refused[i] for i in refused_again]
    return replies


async def _attempt(wire: Wire, errands: Sequence[Errand], url: str) -> tuple[list[Any], list[int]]:
    """Replies, and the places of the errands whose script the server did not know."""
    scripts = _not_loaded(wire, errands)
    loads: list[Command] = [("SCRIPT", "LOAD", script.text) for script in scripts]
    commands = [errand.command for errand in errands]
    try:
        sent = wire.send(loads + commands if loads else commands)
    except (TypeError, ValueError):
        return await _attempt_writable(wire, errands, scripts, url)
    # Marked before the reply: whatever is sent behind it on this wire runs behind it.
    wire.loaded.update(script.sha for script in scripts)
    replies = await sent
    refused_loads: dict[str, Refusal] = {}
    if loads:
        answers, replies = replies[: len(loads)], replies[len(loads) :]
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


def _not_loaded(wire: Wire, errands: Sequence[Errand]) -> list[Script]:
    scripts: dict[str, Script] = {}
    for errand in errands:
        script = errand.script
        if script is not None and script.sha not in wire.loaded:
            scripts[script.sha] = script
    return list(scripts.values())


async def _attempt_writable(
    wire: Wire, errands: Sequence[Errand], scripts: Sequence[Script], url: str
) -> tuple[list[Any], list[int]]:
    """Leave out the errands that cannot be written; if it is a script's text, say so at once."""
    pack([("SCRIPT", "LOAD", script.text) for script in scripts])
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
