"""Whether a value came back from JSON exactly: equal, and of the same type, all the way down.

pydantic turns NaN into null, a subclass into its base and int keys into strings without a word. Every value
of a rich type is therefore encoded, decoded and compared here before anything is written, so that what a task
receives is what was given.

One promotion is allowed, because every type checker allows it: an ``int`` given for a ``float`` arrives as
that float, if it is equal.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import datetime, time
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from types import NoneType
from typing import Any, cast

from pydantic import BaseModel

from capelin.narrow import is_list, is_mapping, is_tuple

_MAX_SHOWN = 60


def show(value: object) -> str:
    """Return a value's type and a short repr, for a message."""
    if value is None:
        return "None"
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 -- a user's broken __repr__ must not hide the error being reported
        text = "..."
    if len(text) > _MAX_SHOWN:
        text = text[: _MAX_SHOWN - 1] + "…"
    return f"{type(value).__qualname__} {text}"


def is_json(value: object) -> bool:
    """Return whether a value is plain JSON that comes back as itself.

    That takes exact types, keys that are strings, and finite floats.
    """
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return True
    if kind is float:
        return math.isfinite(cast(float, value))
    if kind is list:
        return all(map(is_json, cast(list[object], value)))
    if kind is dict:
        items = cast(dict[object, object], value)
        return all(type(key) is str for key in items) and all(map(is_json, items.values()))
    return False


def why_not_json(value: object, path: str = "") -> str | None:
    """Return where and why a value is not plain JSON, or None if it is."""
    kind = type(value)
    if kind is list:
        inside = (
            why_not_json(item, f"{path}[{index}]") for index, item in enumerate(cast(list[object], value))
        )
        return next(filter(None, inside), None)
    if kind is dict:
        items = cast(dict[object, object], value)
        for key in items:
            if type(key) is not str:
                return _at(path, f"the key {show(key)} would come back as a str")
        return next(
            filter(None, (why_not_json(item, f"{path}[{key!r}]") for key, item in items.items())), None
        )
    return None if is_json(value) else _at(path, _why_no_scalar(value))


def _why_no_scalar(value: object) -> str:
    if type(value) is float:
        return f"{value} is not a JSON number"
    for base, written in ((str, str), (int, int), (float, float), (list, list), (tuple, list), (dict, dict)):
        if issubclass(type(value), base):
            return f"{show(value)} would come back as {written.__name__}"
    return f"{show(value)} is not plain JSON; annotate the parameter with its type"


def why_not_finite(value: object, path: str = "") -> str | None:
    """Return where a value holds a float that JSON has no number for, or None."""
    if isinstance(value, float) and not math.isfinite(value):
        return _at(path, f"{value} is not a JSON number")
    inside: Iterable[tuple[object, object]] = ()
    if is_mapping(value):
        inside = value.items()
    elif is_list(value) or is_tuple(value):
        inside = enumerate(value)
    return next(filter(None, (why_not_finite(item, f"{path}[{key!r}]") for key, item in inside)), None)


def difference(given: object, back: object) -> str | None:
    """Return where and how what came back differs from what was given, or None if it is exactly the same."""
    found = _compare(given, back)
    return None if found is None else _at(*found)


# Where, as a path built from the inside out (only when there is something to tell), and what.
_Found = tuple[str, str]
_Comparison = Callable[[Any, Any], _Found | None]


def _compare(given: object, back: object) -> _Found | None:
    kind = type(given)
    if kind is not type(back):
        if kind is int and type(back) is float and given == back:
            return None
        return _changed(given, back)
    return _comparison(cast(Any, kind))(given, back)


@lru_cache(maxsize=1024)
def _comparison(kind: Any) -> _Comparison:
    """Return how two values of a type are compared."""
    if is_dataclass(kind):
        names = tuple(field.name for field in fields(kind))
        return lambda given, back: _compare_attributes(names, given, back)
    for base, comparison in _COMPARISONS:
        if issubclass(kind, base):
            return comparison
    if kind.__eq__ is object.__eq__:
        return _no_comparison
    return _compare_equal


def _at(path: str, what: str) -> str:
    return f"at {path}: {what}" if path else what


def _changed(given: object, back: object) -> _Found:
    return "", f"{show(given)} would come back as {show(back)}"


def _compare_equal(given: object, back: object) -> _Found | None:
    return None if given == back else _changed(given, back)


def _no_comparison(given: object, _back: object) -> _Found:
    return "", f"{type(given).__qualname__} has no __eq__: nothing shows that it comes back as it was"


def _compare_members(given: object, back: object) -> _Found | None:
    return None if given is back else _changed(given, back)


def _compare_floats(given: float, back: float) -> _Found | None:
    same = given == back and math.copysign(1, given) == math.copysign(1, back)
    return None if same else _changed(given, back)


def _compare_complex(given: complex, back: complex) -> _Found | None:
    return None if given == back and repr(given) == repr(back) else _changed(given, back)  # 0j is not -0j


def _compare_decimals(given: Decimal, back: Decimal) -> _Found | None:
    return None if given.as_tuple() == back.as_tuple() else _changed(given, back)


def _compare_moments(given: datetime | time, back: datetime | time) -> _Found | None:
    # Not ==: two aware datetimes in a repeated hour never equal each other. A zone's name is not kept, its
    # offset is, and with it the meaning of fold; without a zone, fold would be lost.
    if (given.tzinfo is None) != (back.tzinfo is None) or given.isoformat() != back.isoformat():
        return _changed(given, back)
    return _changed(given, back) if given.tzinfo is None and given.fold != back.fold else None


def _compare_deques(given: deque[Any], back: deque[Any]) -> _Found | None:
    if given.maxlen != back.maxlen:
        return "", f"a maxlen of {given.maxlen} would come back as {back.maxlen}"
    return _compare_sequences(given, back)


def _compare_attributes(names: Iterable[str], given: object, back: object) -> _Found | None:
    for name in names:
        if found := _compare(getattr(given, name, None), getattr(back, name, None)):
            return f".{name}{found[0]}", found[1]
    return None


def _compare_models(given: BaseModel, back: BaseModel) -> _Found | None:
    return (
        _compare_attributes(type(given).model_fields, given, back)
        or _compare_attributes(given.__pydantic_private__ or (), given, back)
        or _compare_mappings(given.__pydantic_extra__ or {}, back.__pydantic_extra__ or {})
    )


def _compare_mappings(given: Mapping[Any, Any], back: Mapping[Any, Any]) -> _Found | None:
    if getattr(given, "default_factory", None) is not getattr(back, "default_factory", None):
        return "", f"{show(given)} would come back with another default_factory"
    keys = {key: key for key in back}
    for key, value in given.items():
        if key not in keys:
            return "", f"the key {show(key)} would be lost"
        if found := _compare(key, keys[key]):
            return found
        if found := _compare(value, back[key]):
            return f"[{key!r}]{found[0]}", found[1]
    return _compare_length(len(given), len(keys))


def _compare_sequences(given: Sequence[Any], back: Sequence[Any]) -> _Found | None:
    for index, (one, other) in enumerate(zip(given, back, strict=False)):
        if found := _compare(one, other):
            return f"[{index}]{found[0]}", found[1]
    return _compare_length(len(given), len(back))


def _compare_sets(given: AbstractSet[Any], back: AbstractSet[Any]) -> _Found | None:
    items = {item: item for item in back}
    for item in given:
        if item not in items:
            return "", f"the item {show(item)} would be lost"
        if found := _compare(item, items[item]):
            return found
    return _compare_length(len(given), len(items))


def _compare_length(given: int, back: int) -> _Found | None:
    return None if given == back else ("", f"{given} items would come back as {back}")


# The first that fits counts: an enum may be an int, a NamedTuple is a tuple.
_COMPARISONS: tuple[tuple[type | tuple[type, ...], _Comparison], ...] = (
    (Enum, _compare_members),
    (float, _compare_floats),
    (complex, _compare_complex),
    ((str, bytes, int, NoneType), _compare_equal),
    ((datetime, time), _compare_moments),
    (Decimal, _compare_decimals),
    (BaseModel, _compare_models),
    (Mapping, _compare_mappings),
    ((list, tuple), _compare_sequences),
    (deque, _compare_deques),
    ((set, frozenset), _compare_sets),
)
