"""How a task's arguments are typed: a JSON object (by name) or a list (by position)."""

import json
from typing import Any

from capelin.errors import InvalidArguments
from capelin.narrow import is_dict, is_list


def read_plain(task: str, text: str) -> tuple[list[Any], dict[str, Any]]:
    """Read arguments as plain JSON.

    Raises:
        InvalidArguments: That is no JSON, or something else than an object or a list.
    """
    try:
        value: object = json.loads(text)
    except ValueError as error:
        raise InvalidArguments(
            task=task, why=f"""{text!r} is no JSON ({error}); like '{{"name": "value"}}', in single quotes"""
        ) from error
    if is_dict(value):
        return [], value
    if is_list(value):
        return value, {}
    raise InvalidArguments(
        task=task, why=f"arguments are a JSON object (by name) or list (by position), not {text}"
    )
