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
        command: What is sent to run it.
        packed: The same as it goes over a socket, for one that is sent often: see `connection.pack_once`.
        key: One of them, which says which node of a Cluster runs it; None without any.
        args: ``str``, ``bytes``, ``int`` or ``float``; no other type.
        parse: Turns the raw reply (RESP2: bytes, int, None, lists) into ``T``.
    """

    __slots__ = ("args", "command", "key", "keys", "packed", "parse", "script")

    def __init__(
        self,
        script: Script,
        keys: Sequence[str],
        args: Sequence[str | bytes | int | float],
        parse: Callable[[Any], T],
    ) -> None:
        self.script = script
        self.keys = keys
        self.key = keys[0] if keys else None
        self.args = args
        self.parse = parse
        self.command: tuple[str | bytes | int | float, ...] = (
            "EVALSHA",
            script.sha,
            len(keys),
            *keys,
            *args,
        )
        self.packed: bytes | None = None

    def as_packed(self, packed: bytes) -> "Call[T]":
        """The same script with the same keys, and arguments that only this text has."""
        call: Call[T] = object.__new__(type(self))
        call.script, call.keys, call.key, call.args, call.parse = (
            self.script,
            self.keys,
            self.key,
            (),
            self.parse,
        )
        call.command, call.packed = (), packed
        return call

    def __repr__(self) -> str:
        return f"<Call {self.script.name} {self.keys[0] if self.keys else ''}>"
