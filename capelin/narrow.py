"""``isinstance`` for the containers of values that users give, with ``Any`` inside for the type checkers."""

from collections.abc import Mapping
from typing import Any

from typing_extensions import TypeIs


def is_list(value: object) -> TypeIs[list[Any]]:
    """Return whether a value is a list."""
    return isinstance(value, list)


def is_dict(value: object) -> TypeIs[dict[Any, Any]]:
    """Return whether a value is a dict."""
    return isinstance(value, dict)


def is_tuple(value: object) -> TypeIs[tuple[Any, ...]]:
    """Return whether a value is a tuple."""
    return isinstance(value, tuple)


def is_mapping(value: object) -> TypeIs[Mapping[Any, Any]]:
    """Return whether a value is a mapping."""
    return isinstance(value, Mapping)


def is_number(value: object) -> TypeIs[int | float]:
    """Return whether a value is a whole number or a float, and not a bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
