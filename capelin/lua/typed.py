"""From a typed Python function to a script: the names are compared when the module is imported."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

from capelin.keys import ShardKeys
from capelin.lua.call import Call, Script
from capelin.lua.loader import ScriptError, load

Value = str | bytes | int | float | None
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Call[Any]])


class Transition:
    """A script whose keys are those of one shard, called with arguments by name."""

    def __init__(self, name: str) -> None:
        self.script: Script = load(name)
        self._shard_keys: dict[str, tuple[str, ...]] = {}

    def keys_of(self, shard: ShardKeys) -> tuple[str, ...]:
        keys = self._shard_keys.get(shard.base)
        if keys is None:
            found: list[str] = []
            for name in self.script.keys:
                if name.startswith("*"):
                    found.extend(getattr(shard, name[1:]))
                else:
                    found.append(getattr(shard, name))
            if len(self._shard_keys) > 10_000:  # noqa: PLR2004 -- a bound, so that a process that sees many queues does not grow
                self._shard_keys.clear()
            keys = self._shard_keys[shard.base] = tuple(found)
        return keys

    def __call__(
        self,
        keys: ShardKeys | Sequence[str],
        parse: Callable[[Any], T],
        rows: Iterable[Sequence[str | bytes | int | float]] = (),
        /,
        **args: Value,
    ) -> Call[T]:
        values: list[str | bytes | int | float] = []
        for name in self.script.args:
            value = args[name]
            values.append("" if value is None else int(value) if isinstance(value, bool) else value)
        width = len(self.script.group)
        for row in rows:
            if len(row) != width:
                raise ScriptError(f"{self.script.name}: a row has {len(row)} values, not {width}")
            values += row  # `checked` has seen to it that they are plain
        return Call(self.script, self.keys_of(keys) if isinstance(keys, ShardKeys) else keys, values, parse)


def checked(
    transition: Transition, *, rows: type | None = None, given: Sequence[str] = ()
) -> Callable[[F], F]:
    """Compare a wrapper's keyword-only parameters with the script's ARGV, and a row type's fields with its
    group, at import.

    Args:
        transition: The script.
        rows: The ``NamedTuple`` that the repeating arguments are given as; its parameter's name does not
            matter.
        given: Arguments that the wrapper fills in itself.
    """

    def check(function: F) -> F:
        parameters = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
        names = [p.name for p in parameters]
        if rows is not None:
            names.pop()
        expected = [name for name in transition.script.args if name not in given]
        if sorted(names) != sorted(expected):
            raise ScriptError(f"{function.__name__}: parameters {names} are not the script's {expected}")
        fields = tuple(getattr(rows, "_fields", ()))
        if fields != transition.script.group:
            raise ScriptError(
                f"{function.__name__}: rows {fields} are not the script's {transition.script.group}"
            )
        for name, hint in get_type_hints(rows).items() if rows is not None else ():
            if any(part in (bool, NoneType) for part in (hint, *get_args(hint))):
                raise ScriptError(f"{function.__name__}: rows are sent as they are, and {name} is {hint}")
        return function

    return check
