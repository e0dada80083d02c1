"""What is refused when a singleton is declared, and why."""

import inspect
from collections.abc import Callable
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from capelin.durations import Duration, seconds
from capelin.errors import InvalidOption, InvalidSingleton
from capelin.functions import why_not
from capelin.hints import resolve, spell

_SHAPE = "write it as async def name(leader: Leader[State]) -> None"


def check_body(function: object, name: str) -> None:
    """Refuse what is no async function of the leader alone.

    Raises:
        InvalidSingleton: It is not.
    """
    if inspect.isasyncgenfunction(function):
        raise InvalidSingleton(
            singleton=name, why="it is an async generator, and nobody reads it; do not yield"
        )
    if why := why_not(function):
        raise InvalidSingleton(singleton=name, why=why)
    if not inspect.iscoroutinefunction(function):
        raise InvalidSingleton(singleton=name, why=f"it is not async, and could not be cancelled; {_SHAPE}")
    if not _takes_one(function):
        raise InvalidSingleton(
            singleton=name, why=f"it is called with the leader, and nothing else; {_SHAPE}"
        )


def _takes_one(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(None)
    except (TypeError, ValueError):
        return False
    return True


def check_hint(function: Callable[..., Any], name: str, leader: type, state: type | None) -> None:
    """Refuse a function whose hint names another state than it is given.

    Args:
        function: The function.
        name: The singleton's name.
        leader: The class ``Leader``.
        state: The state's model, or None.

    Raises:
        InvalidSingleton: They differ.
    """
    try:
        hints = resolve(function)
    except (NameError, AttributeError, SyntaxError, TypeError):
        return  # it means nothing at run time
    hint = hints.get(next(iter(inspect.signature(function).parameters)))
    if get_origin(hint) is not leader:
        return
    found = get_args(hint)[0]
    given = type(None) if state is None else state
    if (
        isinstance(found, type)
        and issubclass(found, (BaseModel, type(None)))
        and not issubclass(given, found)
    ):
        but = "no state= was given" if state is None else f"state={spell(state)} was given"
        raise InvalidSingleton(singleton=name, why=f"it takes a Leader[{spell(found)}], but {but}")


def checked_state(state: object, name: str) -> Any:
    """Return a state's model, or None.

    Raises:
        InvalidSingleton: It is something else.
    """
    if state is None:
        return None
    if not (isinstance(state, type) and issubclass(state, BaseModel) and state is not BaseModel):
        raise InvalidSingleton(
            singleton=name, why=f"state={state!r} is not a pydantic model (a BaseModel class)"
        )
    return state


def made(state: type[BaseModel], name: str) -> BaseModel:
    """Return a model's state of defaults.

    Raises:
        InvalidSingleton: It cannot be made of nothing.
    """
    required = [field for field, info in state.model_fields.items() if info.is_required()]
    if required:
        raise InvalidSingleton(
            singleton=name,
            why=f"{spell(state)} needs {', '.join(required)}, which nobody gives it; "
            "give defaults, or initial= a first state",
        )
    try:
        return state()
    except ValidationError as cause:
        raise InvalidSingleton(
            singleton=name, why=f"{spell(state)}() fails, so that there is no first state; give initial="
        ) from cause


def checked_hook(option: str, hook: Any) -> Any:
    """Return a hook, or None.

    Raises:
        InvalidOption: It is no async function of the leader alone.
    """
    if hook is None:
        return None
    if not inspect.iscoroutinefunction(hook):
        raise InvalidOption(option=option, value=hook, why="expected an async function that takes the leader")
    if not _takes_one(hook):
        raise InvalidOption(option=option, value=hook, why="it is called with the leader, and nothing else")
    return hook


def positive(option: str, value: Duration) -> float:
    """Return a duration in seconds.

    Raises:
        InvalidOption: It is not more than nothing.
    """
    found = seconds(option, value)
    if found <= 0:
        raise InvalidOption(option=option, value=value, why="must be more than 0 s")
    return found
