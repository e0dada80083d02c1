"""A call of a script, as a value: which script, which keys and arguments, and how its reply is read."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Script:
    """A loaded script.

    Attributes:
        name: The name of its file.
        text: The whole Lua text, includes resolved. Redis knows it by its SHA-1, so two releases share one
            server.
        keys, args: Names of the declared keys and arguments, in order.
        group: Names of the arguments that repeat after the fixed ones (empty when none do).
    """

    name: str
    text: str
    keys: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    group: tuple[str, ...] = ()

    @cached_property
    def sha(self) -> str:
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class Call(Generic[T]):
    """One call of a script. A value: a ``Connection`` runs it.

    Attributes:
        script: The script.
        keys: Every declared key; all in one Cluster slot.
        args: ``str``, ``bytes``, ``int`` or ``float``; no other type.
        parse: Turns the raw reply (RESP2: bytes, int, None, lists) into ``T``.
    """

    __slots__ = ("_command", "args", "keys", "parse", "script")

    def __init__(
        self,
        script: Script,
        keys: Sequence[str],
        args: Sequence[str | bytes | int | float],
        parse: Callable[[Any], T],
    ) -> None:
        self.script = script
        self.keys = keys
        self.args = args
        self.parse = parse
        self._command: tuple[str | bytes | int | float, ...] | None = None

    @property
    def command(self) -> tuple[str | bytes | int | float, ...]:
        """The command that runs it; a call that is made once and sent often keeps it."""
        command = self._command
        if command is None:
            command = self._command = ("EVALSHA", self.script.sha, len(self.keys), *self.keys, *self.args)
        return command

    @property
    def routed_by(self) -> str | None:
        """The key that says which node of a Cluster runs it."""
        return self.keys[0] if self.keys else None

    def __repr__(self) -> str:
        return f"<Call {self.script.name} {self.keys[0] if self.keys else ''}>"
