"""Values to JSON and back, exactly or not at all.

One ``Codec`` is compiled for each annotation, once. Plain values (strings, whole numbers, finite floats,
lists and dicts of these) are recognised by their exact types and written as they are: a few hundred
nanoseconds. Every other value goes through pydantic, is read back and compared (``capelin.exact``), so that
no payload is ever written that would come back as something else.
"""

import math
from collections.abc import Callable
from functools import cached_property
from types import NoneType
from typing import Any, Literal, cast, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json
from typing_extensions import TypeAliasType

from capelin.errors import InvalidArguments
from capelin.exact import difference, is_json, show, why_not_finite, why_not_json
from capelin.hints import UNIONS, spell, unwrap

_PLAIN: frozenset[type] = frozenset({str, int, bool, NoneType})
# strict: a number is not made of a string, nor a bool of a number. Models keep the configuration that they
# declare.
_CONFIG = ConfigDict(strict=True, ser_json_bytes="base64", val_json_bytes="base64")
_SHOWN_ERRORS = 3
# A text this short can neither nest deeper nor hold a longer number than a JSON reader allows; a longer one
# is read back.
_SURELY_READABLE = 380

Check = Callable[[Any], bool]


class Inexact(Exception):
    """A value does not fit its annotation, or would not come back as it is."""


class Codec:
    """How the values of one annotation are written and read.

    Attributes:
        hint: The annotation; ``Any`` where there is none.
        exact: Types whose instances are written and read as they are.
        takes: Whether a value of another type is plain JSON that fits, too.
    """

    __slots__ = ("__dict__", "exact", "hint", "takes")

    def __init__(self, hint: Any) -> None:
        self.hint = hint
        self.exact, self.takes = _plain_checks(hint)
        self._anything = unwrap(hint) in (Any, object)
        if not self.exact and self.takes is _never:
            self._complete()

    def write(self, value: Any) -> bytes:
        """Return a value as JSON text.

        Raises:
            Inexact: It does not fit the annotation, or would not come back as it is.
        """
        if type(value) in self.exact or self.takes(value):
            return _plain_text(value)
        if self._anything:
            raise Inexact(why_not_json(value) or "it cannot be written as JSON")
        try:
            # Without pydantic's warnings, which cost more than the rest: the comparison finds what they would
            # tell.
            text = self._adapter.serializer.to_json(value, by_alias=True, warnings=False)
            if b"NaN" in text or b"Infinity" in text:  # a model's own configuration may allow what is no JSON
                read_json(text)
            why = difference(value, self._validated(text))
        except RecursionError as cause:
            raise Inexact("it contains itself, or is nested too deeply") from cause
        except Exception as cause:  # validators and serializers of the user's own types run in here
            raise Inexact(self._mismatch(value, self._explain(value, cause))) from cause
        if why is not None:
            raise Inexact(self._mismatch(value, why_not_finite(value) or why))
        return text

    def read(self, plain: Any) -> Any:
        """Return the value that a parsed piece of JSON stands for.

        Raises:
            Inexact: It does not fit the annotation.
        """
        if type(plain) in self.exact or self.takes(plain):
            return plain
        if self._anything:
            raise Inexact(why_not_json(plain) or "it is not plain JSON")
        try:
            return self._validated(to_json(plain))
        except Inexact as cause:
            raise Inexact(f"expected {spell(self.hint)}, got {show(plain)}: {cause}") from cause

    def check(self, value: Any, back: Any) -> None:
        """Raise ``Inexact`` if a value that was read back differs from the one that was written."""
        if why := difference(value, back):
            raise Inexact(self._mismatch(value, why))

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        # The alias lets the configuration reach dataclasses and TypedDicts; pydantic refuses to pass it to
        # them directly.
        return TypeAdapter(cast(Callable[..., Any], TypeAliasType)("Value", self.hint), config=_CONFIG)

    def _complete(self) -> None:
        if not self._adapter.pydantic_complete:
            raise NameError(f"{spell(self.hint)} mentions names that are not defined yet")

    def _validated(self, text: bytes) -> Any:
        try:
            return self._adapter.validator.validate_json(text, by_alias=True, by_name=True)
        except ValidationError as cause:
            raise Inexact(_summary(cause)) from cause
        except RecursionError as cause:
            raise Inexact("it is nested too deeply") from cause
        except Exception as cause:  # a user's validator may raise anything
            raise Inexact(_one_line(cause)) from cause

    def _explain(self, value: Any, cause: Exception) -> str:
        """Return in better words than pydantic's why a value could not be written, if there are any."""
        try:
            if why := why_not_finite(self._adapter.dump_python(value, warnings=False)):
                return why
            self._adapter.validate_python(value, strict=True)
        except ValidationError as error:
            return _summary(error)
        except Exception:  # noqa: BLE001 -- the first error is the one to tell
            return _one_line(cause)
        return _one_line(cause)

    def _mismatch(self, value: Any, why: str) -> str:
        return f"expected {spell(self.hint)}, got {show(value)}: {why}"


def write_plain(values: Any) -> str:
    """Return the JSON text of values that ``Codec.takes`` has recognised as plain.

    Raises:
        Inexact: A string cannot be written as UTF-8, a value contains itself, or is nested too deeply.
    """
    return readable(_plain_text(values))


def readable(text: bytes) -> str:
    """Return JSON bytes as text, having made sure that they can be read again.

    Raises:
        Inexact: They are nested too deeply, or hold a number of too many digits.
    """
    if len(text) > _SURELY_READABLE:
        try:
            from_json(text, allow_inf_nan=False)
        except ValueError as cause:
            raise Inexact(f"it could not be read back: {cause}") from cause
    return text.decode()


def read_json(text: str | bytes) -> Any:
    """Return what a JSON text says.

    Raises:
        Inexact: It is not JSON, or has a number that is not finite.
    """
    try:
        return from_json(text, allow_inf_nan=False)
    except (ValueError, UnicodeError) as cause:
        raise Inexact(f"not JSON: {cause}") from cause


def encode_plain(task: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return the arguments of a task whose signature is not known: plain JSON values only.

    Raises:
        InvalidArguments: A value is not plain JSON, or would not come back as it is.
    """
    if not args and not kwargs:
        return ""
    try:
        for name, value in (*enumerate(args), *kwargs.items()):
            if not is_json(value):
                where = f"argument {name}" if isinstance(name, int) else name
                raise InvalidArguments(task=task, why=f"{where}: {why_not_json(value)}")
        return write_plain([args, kwargs])
    except RecursionError as cause:
        raise InvalidArguments(
            task=task, why="an argument contains itself, or is nested too deeply"
        ) from cause
    except Inexact as cause:
        raise InvalidArguments(task=task, why=str(cause)) from cause


def _plain_text(values: Any) -> bytes:
    try:
        return to_json(values)
    except RecursionError as cause:
        raise Inexact("a value contains itself, or is nested too deeply") from cause
    except ValueError as cause:  # PydanticSerializationError, UnicodeEncodeError, a circular reference
        raise Inexact(_one_line(cause)) from cause


def _one_line(cause: BaseException) -> str:
    text = " ".join(str(cause).split()) or type(cause).__name__
    return text.removeprefix("Error serializing to JSON: ").removeprefix("UnicodeEncodeError: ")


def _summary(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [
        f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" if problem["loc"] else problem["msg"]
        for problem in problems[:_SHOWN_ERRORS]
    ]
    more = len(problems) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def _never(_value: Any) -> bool:
    return False


def _finite(value: Any) -> bool:
    return type(value) is float and math.isfinite(value)


def _plain_checks(hint: Any, within: tuple[object, ...] = ()) -> tuple[frozenset[type], Check]:
    """Return how a hint's plain values are recognised: by type alone, or by a check.

    Neither recognises anything where pydantic must decide each time.
    """
    hint = unwrap(hint)
    if any(hint is outer for outer in within):
        return frozenset(), _never
    if hint is None:
        hint = NoneType
    if hint in (Any, object):
        return _PLAIN, is_json
    if isinstance(hint, type) and hint in _PLAIN:
        return frozenset({hint}), _never
    origin, args = get_origin(hint) or hint, get_args(hint)
    if origin in UNIONS:
        return _union_checks(args, (*within, hint))
    return frozenset(), _container_check(origin, args, (*within, hint))


def _container_check(origin: Any, args: tuple[Any, ...], within: tuple[object, ...]) -> Check:
    if origin is float:
        return _finite
    if origin is Literal and all(type(arg) in _PLAIN for arg in args):
        allowed: frozenset[Any] = frozenset((type(arg), arg) for arg in args)
        return lambda value: type(value) in _PLAIN and (type(value), value) in allowed
    if origin is list:
        return _list_check(*_plain_checks(args[0] if args else Any, within))
    if origin is dict and (not args or unwrap(args[0]) in (str, Any)):
        return _dict_check(*_plain_checks(args[1] if args else Any, within))
    return _never


def _union_checks(args: tuple[Any, ...], within: tuple[object, ...]) -> tuple[frozenset[type], Check]:
    parts = [_plain_checks(arg, within) for arg in args]
    # A str given for ``str | UUID`` may come back as a UUID: only pydantic knows what a mixed union makes of
    # a text.
    if any(not exact and check is _never for exact, check in parts):
        return frozenset(), _never
    exact: frozenset[type] = frozenset(kind for exact, _ in parts for kind in exact)
    checks = [check for _, check in parts if check is not _never]
    if not checks:
        return exact, _never
    if len(checks) == 1:
        return exact, checks[0]
    return exact, lambda value: any(check(value) for check in checks)


def _list_check(exact: frozenset[type], check: Check) -> Check:
    if not exact and check is _never:
        return _never

    def is_plain_list(value: object) -> bool:
        if type(value) is not list:
            return False
        return all(type(item) in exact or check(item) for item in cast(list[object], value))

    return is_plain_list


def _dict_check(exact: frozenset[type], check: Check) -> Check:
    if not exact and check is _never:
        return _never

    def is_plain_dict(value: object) -> bool:
        if type(value) is not dict:
            return False
        items = cast(dict[object, object], value)
        return all(type(key) is str for key in items) and all(
            type(item) in exact or check(item) for item in items.values()
        )

    return is_plain_dict
