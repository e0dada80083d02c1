"""Retry policies as JSON: a job that overrides its task's policy carries it in its record.

Only names on this page and numbers are read back, never code: a record cannot make a worker import or run
anything.
"""

import builtins
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import tenacity
from tenacity.retry import retry_base
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from capelin.errors import InvalidOption
from capelin.narrow import is_dict, is_list, is_number, is_tuple

_ADVICE = "set the policy on the task (retry=) instead of on the call"


@dataclass(frozen=True, kw_only=True)
class _Form:
    """How one tenacity class is written: its arguments, and the attributes that hold them.

    Attributes:
        cls: The class.
        make: Makes one: the class itself, unless releases of tenacity differ in its arguments.
        numbers: Attribute by argument.
        parts: The attribute that holds the combined objects, if it combines.
        exceptions: The attribute that holds exception classes, if it asks for them.
    """

    cls: type
    make: Callable[..., object]
    numbers: Mapping[str, str]
    parts: str = ""
    exceptions: str = ""


def _numbers(cls: type, **attributes: str) -> _Form:
    return _Form(cls=cls, make=cls, numbers=attributes)


def _named(cls: type, *arguments: str) -> _Form:
    return _numbers(cls, **{argument: argument for argument in arguments})


def _parts(cls: type, attribute: str) -> _Form:
    return _Form(cls=cls, make=cls, numbers={}, parts=attribute)


def _exceptions(cls: type) -> _Form:
    return _Form(cls=cls, make=cls, numbers={}, exceptions="exception_types")


def _single(instance: object) -> _Form:
    return _Form(cls=type(instance), make=lambda: instance, numbers={})


def _make_jitter(**numbers: float) -> tenacity.wait_exponential_jitter:
    # tenacity 9.2 calls multiplier what was called initial before, and knows a minimum; the JSON says it in
    # the new words.
    known = inspect.signature(tenacity.wait_exponential_jitter).parameters
    if "multiplier" not in known and "multiplier" in numbers:
        numbers["initial"] = numbers.pop("multiplier")
    if "min" not in known and numbers.get("min") == 0:
        del numbers["min"]
    return tenacity.wait_exponential_jitter(**numbers)


def _jitter() -> _Form:
    numbers = {name: name for name in ("max", "exp_base", "jitter", "min")}
    old = hasattr(tenacity.wait_exponential_jitter(), "initial")
    numbers["multiplier"] = "initial" if old else "multiplier"
    return _Form(cls=tenacity.wait_exponential_jitter, make=_make_jitter, numbers=numbers)


_EXPONENTIAL = ("multiplier", "max", "exp_base", "min")
_FORMS: Mapping[str, Mapping[str, _Form]] = {
    "stop": {
        "stop_never": _single(tenacity.stop_never),
        "stop_after_attempt": _named(tenacity.stop_after_attempt, "max_attempt_number"),
        "stop_after_delay": _named(tenacity.stop_after_delay, "max_delay"),
        "stop_before_delay": _named(tenacity.stop_before_delay, "max_delay"),
        "stop_any": _parts(tenacity.stop_any, "stops"),
        "stop_all": _parts(tenacity.stop_all, "stops"),
    },
    "wait": {
        "wait_none": _numbers(tenacity.wait_none),
        "wait_fixed": _numbers(tenacity.wait_fixed, wait="wait_fixed"),
        "wait_random": _numbers(tenacity.wait_random, min="wait_random_min", max="wait_random_max"),
        "wait_incrementing": _named(tenacity.wait_incrementing, "start", "increment", "max"),
        "wait_exponential": _named(tenacity.wait_exponential, *_EXPONENTIAL),
        "wait_random_exponential": _named(tenacity.wait_random_exponential, *_EXPONENTIAL),
        "wait_exponential_jitter": _jitter(),
        "wait_combine": _parts(tenacity.wait_combine, "wait_funcs"),
        "wait_chain": _parts(tenacity.wait_chain, "strategies"),
    },
    "retry": {
        "retry_never": _single(tenacity.retry_never),
        "retry_always": _single(tenacity.retry_always),
        "retry_if_exception_type": _exceptions(tenacity.retry_if_exception_type),
        "retry_if_not_exception_type": _exceptions(tenacity.retry_if_not_exception_type),
        "retry_any": _parts(tenacity.retry_any, "retries"),
        "retry_all": _parts(tenacity.retry_all, "retries"),
    },
}
_NAMES: Mapping[str, Mapping[type, str]] = {
    kind: {form.cls: name for name, form in forms.items()} for kind, forms in _FORMS.items()
}


def policy_to_json(stop: stop_base, wait: wait_base, retry: retry_base) -> dict[str, object]:
    """Return the parts of a policy as JSON values.

    Raises:
        InvalidOption: One is not of a class on this page, or asks for an exception that is not a built-in
            one.
    """
    return {"stop": _write("stop", stop), "wait": _write("wait", wait), "retry": _write("retry", retry)}


def policy_from_json(
    parsed: Mapping[str, Any],
) -> tuple[stop_base | None, wait_base | None, retry_base | None]:
    """Return the parts of a policy; None for those that are not in it.

    Raises:
        InvalidOption: Something in it is not known.
    """
    if unknown := set(parsed) - set(_FORMS):
        raise _unreadable(parsed, f"unknown {', '.join(sorted(unknown))}")
    parts = {kind: _read(kind, parsed[kind]) if kind in parsed else None for kind in _FORMS}
    return (
        cast(stop_base | None, parts["stop"]),
        cast(wait_base | None, parts["wait"]),
        cast(retry_base | None, parts["retry"]),
    )


def _write(kind: str, value: object) -> object:
    name = _NAMES[kind].get(type(value))
    if name is None:
        raise InvalidOption(
            option="retry",
            value=value,
            why=f"a job's own policy cannot carry {type(value).__name__}; {_ADVICE}",
        )
    form = _FORMS[kind][name]
    if form.parts:
        return [name, [_write(kind, part) for part in cast(Sequence[object], getattr(value, form.parts))]]
    if form.exceptions:
        return [name, [_exception_name(cls) for cls in _exception_types(getattr(value, form.exceptions))]]
    numbers = {
        arg: _number(value, getattr(value, attr))
        for arg, attr in form.numbers.items()
        if hasattr(value, attr)
    }
    # Releases of tenacity name their attributes differently: what was left out must not have mattered.
    if vars(form.make(**numbers)) != vars(value):
        raise InvalidOption(
            option="retry", value=value, why=f"this tenacity's {name} is not known; {_ADVICE}"
        )
    return [name, numbers] if numbers else [name]


def _number(owner: object, value: object) -> float:
    if not is_number(value) or not math.isfinite(value):
        raise InvalidOption(
            option="retry", value=value, why=f"not a finite number, in {type(owner).__name__}; {_ADVICE}"
        )
    return value


def _exception_types(value: object) -> tuple[type[BaseException], ...]:
    return value if is_tuple(value) else (cast(type[BaseException], value),)


def _exception_name(cls: type[BaseException]) -> str:
    if getattr(builtins, cls.__name__, None) is not cls:
        raise InvalidOption(
            option="retry", value=cls, why=f"a job's own policy can name built-in exceptions only; {_ADVICE}"
        )
    return str(cls.__name__)


def _read(kind: str, value: object) -> object:
    name, argument = _named_argument(kind, value)
    form = _FORMS[kind].get(name)
    if form is None:
        raise _unreadable(value, f"no {kind} of that name")
    try:
        if form.parts:
            if not argument:
                raise _unreadable(value, "it combines nothing")
            return form.make(*(_read(kind, part) for part in cast(Sequence[object], argument or [])))
        if form.exceptions:
            return form.make(tuple(_exception_class(name) for name in cast(Sequence[object], argument or [])))
        numbers = cast(Mapping[str, object], argument or {})
        return form.make(**{arg: _number(form, numbers[arg]) for arg in form.numbers if arg in numbers})
    except (TypeError, ValueError, AttributeError) as cause:
        if isinstance(cause, InvalidOption):
            raise
        raise _unreadable(value, str(cause)) from cause


def _named_argument(kind: str, value: object) -> tuple[str, object]:
    if is_list(value) and value and isinstance(value[0], str):
        if len(value) == 1:
            return value[0], None
        argument: object = value[1]
        if len(value) == 2 and (is_list(argument) or is_dict(argument)):  # noqa: PLR2004 -- a name and its arguments
            return value[0], argument
    raise _unreadable(value, f"expected the name of a {kind} and its arguments")


def _exception_class(name: object) -> type[BaseException]:
    found = getattr(builtins, name, None) if isinstance(name, str) else None
    if isinstance(found, type) and issubclass(found, BaseException):
        return found
    raise _unreadable(name, "no built-in exception of that name")


def _unreadable(value: object, why: str) -> InvalidOption:
    return InvalidOption(option="retry", value=value, why=why)
