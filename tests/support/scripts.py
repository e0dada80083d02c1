"""Small Lua scripts for tests of what carries scripts, not of what capelin's own scripts do."""

from collections.abc import Callable
from typing import Any, TypeVar

from capelin.lua.call import Call, Script

T = TypeVar("T")

ADD = Script(
    name="add", text="return redis.call('INCRBY', KEYS[1], ARGV[1])", keys=("counter",), args=("by",)
)
APPEND = Script(
    name="append", text="return redis.call('RPUSH', KEYS[1], ARGV[1])", keys=("list",), args=("what",)
)
LENGTH = Script(name="length", text="return redis.call('LLEN', KEYS[1])", keys=("list",))
# Two keys at once: what a migrating slot answers with TRYAGAIN while only one of them has moved.
ADD_BOTH = Script(
    name="add_both",
    text="redis.call('INCRBY', KEYS[1], ARGV[1]) return redis.call('INCRBY', KEYS[2], ARGV[1])",
    keys=("first", "second"),
    args=("by",),
)


def add(key: str, by: int = 1) -> Call[int]:
    """Adds to a counter and returns it: run twice, it shows."""
    return Call(ADD, [key], [by], int)


def add_both(first: str, second: str, by: int = 1) -> Call[int]:
    """Adds to two counters of one slot and returns the second."""
    return Call(ADD_BOTH, [first, second], [by], int)


def append(key: str, what: str) -> Call[int]:
    """Appends to a list and returns its length."""
    return Call(APPEND, [key], [what], int)


def parsed_by(call: Call[Any], parse: Callable[[Any], T]) -> Call[T]:
    """The same call with another way to read its reply."""
    return Call(call.script, call.keys, call.args, parse)
