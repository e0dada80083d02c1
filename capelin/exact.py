"""Whether a value came back from JSON exactly: equal, and of the same type, all the way down.

pydantic turns NaN into null, a subclass into its base and int keys into strings without a word. Every value of a rich type is
therefore encoded, decoded and compared here before anything is written, so that what a task receives is what was given.

One promotion is allowed, because every type checker allows it: an ``int`` given for a ``float`` arrives as that float, if it
is equal.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, cast

from pydantic import BaseModel

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
    """Return whether a value is plain JSON that comes back as itself: exact types, string keys, finite floats."""
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
    if kind in (str, int, bool) or value is None:
        return None
    if kind is float:
        return None if math.isfinite(cast(float, value)) else _at(path, f"{value} is not a JSON number")
    if kind is list:
        for index, item in enumerate(cast(list[object], value)):
            if why := why_not_json(item, f"{path}[{index}]"):
                return why
        return None
    if kind is dict:
        for key, item in cast(dict[object, object], value).items():
            if type(key) is not str:
                return _at(path, f"the key {show(key)} would come back as a string")
            if why := why_not_json(item, f"{path}[{key!r}]"):
                return why
        return None
    base = next((known for known in (str, int, float, list, dict) if isinstance(value, known)), None)
    if isinstance(value, tuple):
        base = list
    if base is not None:
        return _at(path, f"{show(value)} would come back as {base.__name__}")
    return _at(path, f"{show(value)} is not plain JSON; annotate the parameter with its type")


def difference(given: object, back: object, path: str = "") -> str | None:  # noqa: PLR0911 -- one return a kind of value
    """Return where and how what came back differs from what was given, or None if it is exactly the same."""
    kind = type(given)
    if kind is not type(back):
        if kind is int and type(back) is float and given == back:
            return None
        return _at(path, f"{show(given)} would come back as {show(back)}")
    if isinstance(given, float):
        same = given == back and math.copysign(1, given) == math.copysign(1, cast(float, back))
        return None if same else _changed(given, back, path)
    if isinstance(given, (str, bytes, int)):
        return None if given == back else _changed(given, back, path)
    if isinstance(given, Enum):
        return None if given is back else _changed(given, back, path)
    if isinstance(given, (datetime, time)):
        return None if _moment(given) == _moment(cast(datetime, back)) else _changed(given, back, path)
    if isinstance(given, Decimal):
        return None if given.as_tuple() == cast(Decimal, back).as_tuple() else _changed(given, back, path)
    if isinstance(given, BaseModel):
        return _model_difference(given, cast(BaseModel, back), path)
    if is_dataclass(given):
        names = [field.name for field in fields(given)]
        return _attribute_difference(names, given, back, path)
    if isinstance(given, Mapping):
        return _mapping_difference(cast(Mapping[Any, Any], given), cast(Mapping[Any, Any], back), path)
    if isinstance(given, (list, tuple, deque)):
        return _sequence_difference(cast(list[Any], given), cast(list[Any], back), path)
    if isinstance(given, (set, frozenset)):
        return _set_difference(cast(set[Any], given), cast(set[Any], back), path)
    if given == back:
        return None
    if kind.__eq__ is object.__eq__:
        return _at(path, f"{kind.__qualname__} has no __eq__, so that nothing shows that it comes back as it was")
    return _changed(given, back, path)


def _at(path: str, what: str) -> str:
    return f"at {path}: {what}" if path else what


def _changed(given: object, back: object, path: str) -> str:
    return _at(path, f"{show(given)} would come back as {show(back)}")


def _moment(value: datetime | time) -> object:
    # Not ==: two aware datetimes in a repeated hour never equal each other. The zone's name is not kept, its offset is.
    return value.replace(tzinfo=None, fold=0), value.utcoffset()


def _attribute_difference(names: Iterable[str], given: object, back: object, path: str) -> str | None:
    for name in names:
        if why := difference(getattr(given, name, None), getattr(back, name, None), f"{path}.{name}"):
            return why
    return None


def _model_difference(given: BaseModel, back: BaseModel, path: str) -> str | None:
    if why := _attribute_difference(type(given).model_fields, given, back, path):
        return why
    private = given.__pydantic_private__ or {}
    if why := _attribute_difference(private, given, back, path):
        return why
    return _mapping_difference(given.__pydantic_extra__ or {}, back.__pydantic_extra__ or {}, path)


def _mapping_difference(given: Mapping[Any, Any], back: Mapping[Any, Any], path: str) -> str | None:
    if len(given) != len(back):
        lost = next((key for key in given if key not in back), None)
        return _at(path, f"the key {show(lost)} would be lost" if lost is not None else "would come back with other keys")
    keys = {key: key for key in back}
    for key, value in given.items():
        if key not in keys:
            return _at(path, f"the key {show(key)} would come back as another")
        if why := difference(key, keys[key], path):
            return why
        if why := difference(value, back[key], f"{path}[{key!r}]"):
            return why
    return None


def _sequence_difference(given: Iterable[Any], back: Iterable[Any], path: str) -> str | None:
    ours, theirs = list(given), list(back)
    if len(ours) != len(theirs):
        return _at(path, f"{len(ours)} items would come back as {len(theirs)}")
    for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        if why := difference(one, other, f"{path}[{index}]"):
            return why
    return None


def _set_difference(given: Iterable[Any], back: Iterable[Any], path: str) -> str | None:
    found = {item: item for item in back}
    ours = list(given)
    if len(ours) != len(found):
        return _at(path, f"{len(ours)} items would come back as {len(found)}")
    for item in ours:
        if item not in found:
            return _at(path, f"the item {show(item)} would come back as another")
        if why := difference(item, found[item], path):
            return why
    return None
