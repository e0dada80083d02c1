"""Reads what another release wrote: new fields have their defaults, dropped ones are left out."""

from typing import Any

from pydantic import ValidationError

from capelin.codec import Codec, Inexact, read_json
from capelin.narrow import is_dict, is_list


def read_of_any_release(codec: Codec, text: bytes) -> Any:
    """Return a model's value.

    Raises:
        Inexact: It cannot be read.
    """
    plain = read_json(text)
    while True:
        try:
            return codec.read(plain)
        except Inexact as cause:
            if not _dropped_what_is_extra(plain, cause):
                raise


def _dropped_what_is_extra(plain: Any, cause: BaseException | None) -> bool:
    """Take out of parsed JSON what a model that forbids extra fields does not know.

    False: that is not all that is wrong.
    """
    while cause is not None and not isinstance(cause, ValidationError):
        cause = cause.__cause__
    if cause is None:
        return False
    errors = cause.errors(include_url=False, include_context=False, include_input=False)
    extra = [error["loc"] for error in errors if error["type"] == "extra_forbidden"]
    if len(extra) < len(errors):
        return False
    dropped = [_dropped(plain, where) for where in extra]
    return all(dropped)


def _dropped(plain: Any, where: tuple[int | str, ...]) -> bool:
    *path, last = where
    place: Any = plain
    for step in path:
        steps: Any = place
        if is_list(place):
            inside = isinstance(step, int) and step < len(place)
        else:
            inside = is_dict(place) and step in place
        if not inside:
            return False  # through a union, whose way is not that of the JSON
        place = steps[step]
    if not is_dict(place) or last not in place:
        return False
    del place[last]
    return True
