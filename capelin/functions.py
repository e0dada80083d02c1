"""Which functions can be tasks, and where each kind runs. The others are refused at decoration, with a reason."""

import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any, Literal, cast, get_args

from capelin.errors import InvalidOption, InvalidTask

RunIn = Literal["loop", "thread", "process"]
_RUN_IN: tuple[str, ...] = get_args(RunIn)


def check_function(function: object, task: str) -> Callable[..., Any]:
    """Return the function if it can be a task.

    Raises:
        InvalidTask: It is a method, an overload, a generator, a lambda, a class, a builtin, a partial, or no function.
    """
    if why := _why_not(function):
        raise InvalidTask(task=task, why=why)
    return cast(Callable[..., Any], function)


def check_run_in(function: Callable[..., Any], task: str, run_in: RunIn | None) -> RunIn:
    """Return where a function runs: async ones on the event loop, others in threads unless asked for a process.

    Raises:
        InvalidTask: The function cannot run there.
        InvalidOption: There is no such place.
    """
    if run_in is not None and run_in not in _RUN_IN:
        raise InvalidOption(option="run_in", value=run_in, why="expected one of 'loop', 'thread', 'process'")
    asynchronous = inspect.iscoroutinefunction(function)
    if not asynchronous and inspect.iscoroutinefunction(inspect.unwrap(function)) and run_in is None:
        raise InvalidTask(
            task=task,
            why="it is a plain function wrapped around an async one, which may mean either; make the wrapper async, or say "
            'run_in="loop" (its result is awaited) or run_in="thread" (it is not)',
        )
    if run_in is None:
        return "loop" if asynchronous else "thread"
    if asynchronous and run_in != "loop":
        raise InvalidTask(task=task, why=f'an async function runs on the loop; make it def for run_in="{run_in}"')
    if run_in == "loop" and not asynchronous and not inspect.iscoroutinefunction(inspect.unwrap(function)):
        raise InvalidTask(task=task, why="a def function would block the event loop; make it async, or leave run_in out")
    if run_in == "process" and "<locals>" in function.__qualname__:
        raise InvalidTask(
            task=task, why='run_in="process" imports it in another process; move it to the top level of its module'
        )
    return run_in


def same_function(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Return whether two functions are one piece of source, imported twice (as ``__main__`` and by its name, say)."""
    return one is other or _source(one) == _source(other)


def _source(function: Callable[..., Any]) -> tuple[str, str, int]:
    code = cast(types.FunctionType, inspect.unwrap(function)).__code__
    return code.co_filename, code.co_qualname, code.co_firstlineno


def _why_not(function: object) -> str | None:  # noqa: PLR0911 -- one return a reason
    if isinstance(function, (staticmethod, classmethod, types.MethodType)):
        return "it is a method; make it a function of its module, and pass what it needs as arguments"
    if isinstance(function, functools.partial):
        return "it is a functools.partial; write a function that makes the call"
    if isinstance(function, type):
        return "it is a class; write a function that uses it"
    if isinstance(function, types.BuiltinFunctionType):
        return "it is a builtin, which has no signature to check; write a function that calls it"
    if not isinstance(function, types.FunctionType):
        return f"it is not a function but {type(function).__qualname__}"
    if function.__name__ == "<lambda>":
        return "a lambda has no name and no annotations; write a function"
    if _is_method(function):
        return "it is a method; make it a function of its module, and pass what it needs as arguments"
    plain = inspect.unwrap(function)
    if inspect.isasyncgenfunction(plain) or inspect.isgeneratorfunction(plain):
        return "it is a generator, and a job has one result; return a list, or enqueue a job for each item"
    if typing.get_overloads(function):
        return "it is overloaded, so that its arguments cannot be checked against one signature; give it one"
    if getattr(function, "__type_params__", ()):
        return "it is generic: a worker cannot know the types; name them"
    return None


def _is_method(function: types.FunctionType) -> bool:
    owner = function.__qualname__.rpartition(".")[0]
    if owner and not owner.endswith("<locals>"):
        return True
    return next(iter(inspect.signature(function).parameters), None) in ("self", "cls")
