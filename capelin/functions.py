"""Which functions can be tasks, and where each kind runs.

The others are refused at decoration, with a reason.
"""

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
        InvalidTask: It is a method, an overload, a generator, a lambda, a class, a builtin, a partial, or no
            function.
    """
    if why := why_not(function):
        raise InvalidTask(task=task, why=why)
    return cast(Callable[..., Any], function)


def check_run_in(function: Callable[..., Any], task: str, run_in: RunIn | None) -> RunIn:
    """Return where a function runs: async ones on the loop, others in threads unless asked for a process.

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
            why="it is a plain function wrapped around an async one, which may mean either; make the wrapper "
            'async, or say run_in="loop" (its result is awaited) or run_in="thread" (it is not)',
        )
    if run_in is None:
        return "loop" if asynchronous else "thread"
    if asynchronous and run_in != "loop":
        raise InvalidTask(
            task=task, why=f'an async function runs on the loop; make it def for run_in="{run_in}"'
        )
    if run_in == "loop" and not asynchronous and not inspect.iscoroutinefunction(inspect.unwrap(function)):
        raise InvalidTask(
            task=task, why="a def function would block the event loop; make it async, or leave run_in out"
        )
    if run_in == "process" and "<locals>" in function.__qualname__:
        raise InvalidTask(
            task=task,
            why='run_in="process" imports it in another process; move it to the top level of its module',
        )
    return run_in


def same_function(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Return whether two functions are one piece of source, imported twice (once as ``__main__``, say)."""
    return one is other or _source(one) == _source(other)


def _source(function: Callable[..., Any]) -> tuple[str, str, int]:
    code = cast(types.FunctionType, inspect.unwrap(function)).__code__
    return code.co_filename, code.co_qualname, code.co_firstlineno


_METHOD = "it is a method; make it a function of its module, and pass what it needs as arguments"
_NOT_FUNCTIONS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    ((staticmethod, classmethod, types.MethodType), _METHOD),
    (functools.partial, "it is a functools.partial; write a function that makes the call"),
    (type, "it is a class; write a function that uses it"),
    (types.BuiltinFunctionType, "it is a builtin; write a function with annotations that calls it"),
)


def why_not(function: object) -> str | None:
    """Return why something is no plain function of a module, or None."""
    for kind, why in _NOT_FUNCTIONS:
        if isinstance(function, kind):
            return why
    if not isinstance(function, types.FunctionType):
        return f"it is not a function but {type(function).__qualname__}"
    return next((why for unfit, why in _UNFIT if unfit(function)), None)


def _is_lambda(function: types.FunctionType) -> bool:
    return function.__name__ == "<lambda>"


def _is_method(function: types.FunctionType) -> bool:
    owner = function.__qualname__.rpartition(".")[0]
    if owner and not owner.endswith("<locals>"):
        return True
    return next(iter(inspect.signature(function).parameters), None) in ("self", "cls")


def _is_generator(function: types.FunctionType) -> bool:
    plain = inspect.unwrap(function)
    return inspect.isasyncgenfunction(plain) or inspect.isgeneratorfunction(plain)


def _is_overloaded(function: types.FunctionType) -> bool:
    return bool(typing.get_overloads(function))


def _is_generic(function: types.FunctionType) -> bool:
    return bool(getattr(function, "__type_params__", ()))


_UNFIT: tuple[tuple[Callable[[types.FunctionType], bool], str], ...] = (
    (_is_lambda, "a lambda has no name and no annotations; write a function"),
    (_is_method, _METHOD),
    (
        _is_generator,
        "it is a generator, and a job has one result; return a list, or enqueue a job for each item",
    ),
    (_is_overloaded, "it is overloaded, and arguments are checked against one signature; give it one"),
    (_is_generic, "it is generic: a worker cannot know the types; name them"),
)
