"""Type hints: resolved once, refused with a reason if no JSON can carry them, described for the digest.

A description names what a hint accepts, and looks into models, dataclasses and enums, so that a new required
field changes the digest as a new parameter does. It leaves modules out: a program run as a script knows its
classes by another module (``__main__``) than the worker that imports it.
"""

import collections.abc
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import Any, Literal, NewType, Union, cast, get_args, get_origin

import typing_extensions
from pydantic import BaseModel
from pydantic.fields import FieldInfo

ANNOTATED: object = get_origin(typing.Annotated[int, 0])
UNIONS: tuple[object, ...] = (Union, types.UnionType)
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_TYPE_ALIASES: tuple[type, ...] = tuple(
    cast(type, module.__dict__["TypeAliasType"])  # typing has it from 3.12 only
    for module in (typing, typing_extensions)
    if "TypeAliasType" in module.__dict__
)
_REQUIRED_MARKS = tuple(
    getattr(module, name)
    for module in (typing, typing_extensions)
    for name in ("Required", "NotRequired", "ReadOnly")
    if hasattr(module, name)
)
_UNPACK = (typing.Unpack, typing_extensions.Unpack)
_SELF: tuple[object, ...] = (typing.__dict__["Self"], typing_extensions.__dict__["Self"])
_NOT_DATA: tuple[Any, ...] = (
    collections.abc.AsyncGenerator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncIterator,
    collections.abc.Awaitable,
    typing.get_origin(typing.Callable[..., Any]),
    collections.abc.Coroutine,
    collections.abc.Generator,
    collections.abc.Iterable,
    collections.abc.Iterator,
    type,
)


def resolve(function: Callable[..., Any]) -> dict[str, Any]:
    """Return a function's hints by parameter, and its ``return``, with names resolved and ``Annotated`` kept.

    Raises:
        NameError, AttributeError, SyntaxError, TypeError: A hint cannot be resolved.
    """
    return typing.get_type_hints(function, include_extras=True)


def unwrap(hint: Any) -> Any:
    """Return what stands behind ``NewType``, aliases, ``Required``, and ``Annotated`` with words only."""
    while True:
        if isinstance(hint, NewType):
            hint = hint.__supertype__
        elif isinstance(hint, _TYPE_ALIASES):
            hint = getattr(hint, "__value__")  # noqa: B009 -- one checker sees Any here, the other object
        elif get_origin(hint) in _REQUIRED_MARKS:
            hint = get_args(hint)[0]
        elif get_origin(hint) is ANNOTATED and all(isinstance(word, str) for word in hint.__metadata__):
            hint = hint.__origin__
        else:
            return hint


def unpacked(hint: Any) -> Any:
    """Return the ``X`` of ``Unpack[X]`` or ``*X``, or None."""
    if get_origin(hint) in _UNPACK:
        return get_args(hint)[0]
    return hint if getattr(hint, "__unpacked__", False) else None


def why_unusable(hint: Any) -> str | None:
    """Return why values of a hint cannot be a job's arguments or result, or None."""
    return _why_unusable(hint, ())


def _why_unusable(hint: Any, within: tuple[object, ...]) -> str | None:
    hint = unwrap(hint)
    origin = get_origin(hint) or hint
    if origin is Literal or any(hint is outer for outer in within):
        return None
    if _is_type_variable(hint):
        return f"it is generic ({hint}): a worker cannot know the type; name it"
    if unpacked(hint) is not None or hint in _SELF:
        return f"{spell(hint)} is not supported here"
    if any(origin is kind for kind in _NOT_DATA):
        return (
            f"values of {spell(hint)} cannot be written as JSON; use a list or another type that holds data"
        )
    parts = (part for part in get_args(hint) if not isinstance(part, list))
    return next(filter(None, (_why_unusable(part, (*within, hint)) for part in parts)), None)


def _is_type_variable(hint: Any) -> bool:
    return type(hint).__name__ in {"TypeVar", "ParamSpec", "ParamSpecArgs", "ParamSpecKwargs", "TypeVarTuple"}


def spell(hint: Any) -> str:
    """Return a hint as a person would write it."""
    if hint is Any:
        return "any JSON value"
    if hint is None or hint is types.NoneType:
        return "None"
    if isinstance(hint, type) and not get_args(hint):
        return hint.__qualname__.rpartition("<locals>.")[2]
    if isinstance(hint, (NewType, *_TYPE_ALIASES)):
        return str(cast(Any, hint).__name__)
    if get_origin(hint) in UNIONS:
        return " | ".join(spell(part) for part in get_args(hint))
    return _ADDRESS.sub("", str(hint).replace("typing.", "").replace("collections.abc.", ""))


def describe(hint: Any) -> str:
    """Return what a hint accepts, in words that are the same in every process and every Python version."""
    return _describe(hint, ())


def _describe(hint: Any, within: tuple[object, ...]) -> str:
    if isinstance(hint, _TYPE_ALIASES):  # an alias may mention itself
        if any(hint is outer for outer in within):
            return spell(hint)
        within = (*within, hint)
    hint = unwrap(hint)
    if hint is None or hint is types.NoneType:
        return "None"
    if hint is Any or hint is object:
        return "Any"
    if isinstance(hint, str):
        return hint
    if isinstance(hint, typing.ForwardRef):
        return hint.__forward_arg__
    return _describe_special(hint, within) or _describe_class(hint, within)


def _describe_special(hint: Any, within: tuple[object, ...]) -> str | None:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return f"Literal[{','.join(f'{type(arg).__name__}:{_value(arg)}' for arg in args)}]"
    if origin is ANNOTATED:
        metadata = ",".join(_value(item) for item in hint.__metadata__)
        return f"Annotated[{_describe(hint.__origin__, within)},{metadata}]"
    if origin in UNIONS:
        return "|".join(dict.fromkeys(_describe(arg, within) for arg in args))
    return None


def _describe_class(hint: Any, within: tuple[object, ...]) -> str:
    origin, args = get_origin(hint), get_args(hint)
    name = getattr(origin or hint, "__qualname__", None) or _ADDRESS.sub("", str(hint))
    name = name.rpartition("<locals>.")[2]
    if args:
        name += f"[{','.join('...' if arg is ... else _describe(arg, within) for arg in args)}]"
    if any(hint is outer for outer in within):
        return name
    return name + _structure(origin or hint, (*within, hint))


def _structure(kind: Any, within: tuple[object, ...]) -> str:
    """Return the fields of a model, dataclass, TypedDict or NamedTuple, or an enum's values; else nothing."""
    if not isinstance(kind, type):
        return ""
    if issubclass(kind, Enum):
        return (
            "{"
            + ",".join(f"{name}={_value(member.value)}" for name, member in kind.__members__.items())
            + "}"
        )
    if issubclass(kind, BaseModel):
        extra = kind.model_config.get("extra")
        parts = [(name, field.is_required(), field) for name, field in kind.model_fields.items()]
        return _fields(parts, within) + (f"+{extra}" if extra else "")
    return _plain_structure(kind, within)


def _plain_structure(kind: Any, within: tuple[object, ...]) -> str:
    hints = _class_hints(kind)
    parts: list[tuple[str, bool, Any]]
    if is_dataclass(kind):
        parts = [
            (
                field.name,
                field.default is MISSING and field.default_factory is MISSING,
                hints.get(field.name, Any),
            )
            for field in fields(kind)
            if field.init
        ]
        return _fields(parts, within)
    if typing_extensions.is_typeddict(kind):
        parts = [(name, name in kind.__required_keys__, hint) for name, hint in hints.items()]
        return _fields(parts, within)
    if hasattr(kind, "_fields") and hasattr(kind, "_field_defaults"):
        defaults = kind._field_defaults
        parts = [(name, name not in defaults, hints.get(name, Any)) for name in kind._fields]
        return _fields(parts, within)
    return ""


def _class_hints(kind: Any) -> Mapping[str, Any]:
    try:
        return typing_extensions.get_type_hints(kind, include_extras=True)
    except (NameError, AttributeError, TypeError, SyntaxError):
        return getattr(kind, "__annotations__", {})


def _fields(parts: Sequence[tuple[str, bool, Any]], within: tuple[object, ...]) -> str:
    described: list[str] = []
    for name, required, hint in parts:
        if isinstance(hint, FieldInfo):
            text = _describe(hint.annotation, within) + "".join(f",{_value(item)}" for item in hint.metadata)
            if hint.validation_alias or hint.alias:
                text += f"@{_value(hint.validation_alias or hint.alias)}"
        else:
            text = _describe(hint, within)
        described.append(f"{name}{'' if required else '?'}:{text}")
    return "{" + ",".join(described) + "}"


def _value(value: object) -> str:
    if isinstance(value, FieldInfo):
        parts = [*value.metadata, *((value.alias,) if value.alias else ())]
        return f"Field({','.join(map(_value, parts))})"
    if isinstance(value, Enum):
        return f"{type(value).__qualname__}.{value.name}"
    if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
        return value.__qualname__
    return _ADDRESS.sub("", repr(value))
