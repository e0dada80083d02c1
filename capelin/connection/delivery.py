"""Sends script calls and plain commands over one wire, and sees to it that the server knows the scripts.

A script is loaded the first time that a wire uses it, in the same write as its call: no round trip is added, and the calls
of one pipeline run in order. `NOSCRIPT` then only follows a `SCRIPT FLUSH`; it means that the call did not run, so exactly
those calls are sent again. Nothing else is ever sent twice.
"""

from collections.abc import Sequence
from typing import Any

from capelin.connection.wire import Command, Refusal, Wire
from capelin.errors import Unreachable
from capelin.lua.call import Script

_LOADS = 3


class Errand:
    """One command on its way: a script's call, or a plain command (`script` is None)."""

    __slots__ = ("command", "key", "script")

    def __init__(self, command: Command, *, key: str | None = None, script: Script | None = None) -> None:
        self.command, self.key, self.script = command, key, script


async def deliver(wire: Wire, errands: Sequence[Errand], *, url: str) -> list[Any]:
    """The raw reply to each errand: what Redis sent, a `Refusal`, or `Unreachable` where no reply was read.

    An argument that cannot be written gives its TypeError or UnicodeError in the place of the reply; the others are sent.
    """
    results: list[Any] = [None] * len(errands)
    todo: Sequence[int] = range(len(errands))
    for turn in range(_LOADS + 1):
        scripts = _unloaded(wire, [errands[i] for i in todo])
        commands: list[Command] = [("SCRIPT", "LOAD", script.text) for script in scripts]
        commands += [errands[i].command for i in todo]
        try:
            pending = wire.send(commands)
        except (TypeError, ValueError):
            wire.loaded.difference_update(script.sha for script in scripts)
            todo = _writable(wire, errands, todo, results)
            continue
        replies = await pending
        loads, replies = replies[: len(scripts)], replies[len(scripts) :]
        again: list[int] = []
        for place, i in enumerate(todo):
            if place >= len(replies):
                results[i] = Unreachable(url=url, cause=f"{wire.name}: {wire.lost}")
                continue
            reply = results[i] = replies[place]
            if reply.__class__ is Refusal and (script := errands[i].script) is not None and reply.code == "NOSCRIPT":
                wire.loaded.discard(script.sha)
                again.append(i)
                for loaded, load in zip(scripts, loads, strict=False):
                    if loaded.sha == script.sha and isinstance(load, Refusal):
                        results[i] = load  # says why: a right that is missing, a text that does not compile
        if not again or turn == _LOADS or wire.lost is not None:
            break
        todo = again
    return results


def _unloaded(wire: Wire, errands: Sequence[Errand]) -> list[Script]:
    scripts: list[Script] = []
    for errand in errands:
        script = errand.script
        if script is not None and script.sha not in wire.loaded:
            wire.loaded.add(script.sha)
            scripts.append(script)
    return scripts


def _writable(wire: Wire, errands: Sequence[Errand], todo: Sequence[int], results: list[Any]) -> list[int]:
    left: list[int] = []
    for i in todo:
        try:
            wire.check(errands[i].command)
        except (TypeError, ValueError) as error:
            results[i] = error
        else:
            left.append(i)
    return left
