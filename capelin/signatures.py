"""A task's signature, compiled once: which arguments it takes, how they are written, and read again.

What cannot be carried exactly is refused where it is given, before anything is written, and what a worker
reads is checked again: a job that reaches the function has the arguments that the caller meant.
"""

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Never, NoReturn, Self

import typing_extensions
from pydantic import PydanticUserError
from pydantic.errors import PydanticSchemaGenerationError

from capelin.codec import Codec, Inexact, read_json, readable, write_plain
from capelin.errors import InvalidArguments, InvalidResult, InvalidTask
from capelin.exact import show
from capelin.hints import describe, resolve, spell, unpacked, unwrap, why_unusable
from capelin.narrow import is_dict, is_list

_DIGEST_BYTES = 4
_MAX_SHAPES = 256
_Kind = inspect._ParameterKind  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] -- it has no public name
_POSITIONAL = (_Kind.POSITIONAL_ONLY, _Kind.POSITIONAL_OR_KEYWORD)
_KEYWORD = (_Kind.POSITIONAL_OR_KEYWORD, _Kind.KEYWORD_ONLY)
_REST = (_Kind.VAR_POSITIONAL, _Kind.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a task: its name, kind, codec, and whether a caller must give it."""

    name: str
    kind: inspect._ParameterKind  # pyright: ignore[reportPrivateUsage]
    codec: Codec
    required: bool

    def describe(self) -> str:
        """Return what the digest knows of it."""
        name = "" if self.kind in (_Kind.POSITIONAL_ONLY, *_REST) else self.name
        return f"{int(self.kind)}{name}{'' if self.required else '?'}:{describe(self.codec.hint)}"


@dataclass(frozen=True)
class _Shape:
    """Which parameter each argument of a call goes to: the same for all calls of the same form."""

    positional: tuple[Parameter, ...]
    keyword: tuple[Parameter, ...]

    @cached_property
    def codecs(self) -> tuple[Codec, ...]:
        """Those of all arguments, in order."""
        return tuple(parameter.codec for parameter in (*self.positional, *self.keyword))


class Signature:
    """Which arguments a task takes and what it returns.

    Attributes:
        task: The task's name, for messages.
        parameters: The parameters in order, keyword-only ones last.
        digest: Eight characters, the same in every process for the same accepted arguments.

    Example:
        >>> def send(to: str, subject: str = "hi") -> int: ...
        >>> signature = Signature.of(send, "email.send")
        >>> signature.encode(("a@b.c",), {"subject": "x"})
        '[["a@b.c"],{"subject":"x"}]'
        >>> signature.decode('[["a@b.c"],{"subject":"x"}]')
        (('a@b.c',), {'subject': 'x'})
    """

    def __init__(self, *, task: str, parameters: tuple[Parameter, ...], returns: Codec) -> None:
        self.task = task
        self.parameters = parameters
        self.returns = returns
        self.digest = _digest(parameters)
        self._positional = tuple(p for p in parameters if p.kind in _POSITIONAL)
        self._named = {p.name: p for p in parameters if p.kind in _KEYWORD}
        self._rest = next((p for p in parameters if p.kind is _Kind.VAR_POSITIONAL), None)
        self._named_rest = next((p for p in parameters if p.kind is _Kind.VAR_KEYWORD), None)
        self._shapes: dict[tuple[int, tuple[str, ...]], _Shape] = {}
        self._takes_nothing = not any(p.required for p in parameters)

    @classmethod
    def of(cls, function: Callable[..., Any], task: str) -> Self:
        """Compile a function's signature.

        Raises:
            InvalidTask: A hint cannot be resolved, is generic, or is of a type that JSON cannot carry.
        """
        try:
            hints = resolve(function)
        except (NameError, AttributeError, TypeError, SyntaxError) as cause:
            raise InvalidTask(
                task=task,
                why=f"its hints cannot be resolved ({cause}); import the types that it uses at run time, "
                "at the top of the module, not only under TYPE_CHECKING or inside a function",
            ) from cause
        parameters: list[Parameter] = []
        for parameter in inspect.signature(function).parameters.values():
            parameters.extend(_parameters(task, parameter, hints))
        returns = hints.get("return", Any)
        if returns in (Never, NoReturn, typing_extensions.Never):
            returns = None
        return cls(task=task, parameters=tuple(parameters), returns=_codec(task, "the return value", returns))

    def encode(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, check_round_trip: bool = False
    ) -> str:
        """Return the arguments of a call as JSON text ``[[positional], {keyword}]``, as given; "" for none.

        Args:
            args: Positional arguments.
            kwargs: Keyword arguments.
            check_round_trip: Read the text back as a worker would, and compare: what ``testing`` and ``dev``
                do, in addition to the exact checks that are always made.

        Raises:
            InvalidArguments: One is missing, unexpected, of a wrong type, or would not come back as it is.
        """
        if not args and not kwargs and self._takes_nothing:
            return ""
        shape = self._shape(len(args), kwargs)
        try:
            text = self._encode(shape, args, kwargs)
        except RecursionError as cause:
            raise self._refusal("an argument contains itself, or is nested too deeply") from cause
        if check_round_trip:
            self._check_round_trip(shape, args, kwargs, text)
        return text

    def decode(self, text: str | bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the positional and keyword arguments that a text holds, checked, in their rich types.

        Raises:
            InvalidArguments: The text is not of that form, or its arguments do not fit this signature.
        """
        if not text:
            if not self._takes_nothing:
                self._shape(0, {})
            return (), {}
        args, kwargs = self._parse(text)
        shape = self._shape(len(args), kwargs)
        for index, parameter in enumerate(shape.positional):
            value, codec = args[index], parameter.codec
            if type(value) not in codec.exact:
                args[index] = self._read(parameter, value, index)
        for parameter, (name, value) in zip(shape.keyword, kwargs.items(), strict=True):
            if type(value) not in parameter.codec.exact:
                kwargs[name] = self._read(parameter, value, name)
        return tuple(args), kwargs

    def encode_result(self, value: Any, *, check_round_trip: bool = False) -> str:
        """Return what the task returned as JSON text; "" for None.

        Raises:
            InvalidResult: It does not fit the return annotation, or would not come back as it is.
        """
        try:
            if value is None:
                if self._returns_none:
                    return ""
                self.returns.write(None)
                return ""
            text = readable(self.returns.write(value))
            if check_round_trip:
                self.returns.check(value, self.decode_result(text))
        except Inexact as cause:
            raise InvalidResult(task=self.task, why=str(cause)) from cause
        except RecursionError as cause:
            raise InvalidResult(task=self.task, why="it contains itself, or is nested too deeply") from cause
        return text

    def decode_result(self, text: str | bytes) -> Any:
        """Return the value that a result's text holds.

        Raises:
            InvalidResult: It does not fit the return annotation: another release of the task may have written
                it.
        """
        if not text:
            return None
        try:
            return self.returns.read(read_json(text))
        except Inexact as cause:
            raise InvalidResult(task=self.task, why=str(cause)) from cause

    def _encode(self, shape: _Shape, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        values = (*args, *kwargs.values()) if kwargs else args
        for codec, value in zip(shape.codecs, values, strict=True):
            if type(value) not in codec.exact and not codec.takes(value):
                return self._encode_rich(shape, args, kwargs)
        try:
            return write_plain((args, kwargs))
        except Inexact:
            return self._encode_rich(shape, args, kwargs)  # finds which argument it is

    def _encode_rich(self, shape: _Shape, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        positional = [
            self._write(parameter, value, index)
            for index, (parameter, value) in enumerate(zip(shape.positional, args, strict=True))
        ]
        try:
            keyword = [
                write_plain(name).encode() + b":" + self._write(parameter, value, name)
                for parameter, (name, value) in zip(shape.keyword, kwargs.items(), strict=True)
            ]
            return readable(b"[[" + b",".join(positional) + b"],{" + b",".join(keyword) + b"}]")
        except Inexact as cause:
            raise self._refusal(str(cause)) from cause

    def _write(self, parameter: Parameter, value: Any, place: int | str) -> bytes:
        try:
            return parameter.codec.write(value)
        except Inexact as cause:
            raise self._refusal(f"{_argument(parameter, place)}: {cause}") from cause

    def _read(self, parameter: Parameter, plain: Any, place: int | str) -> Any:
        try:
            return parameter.codec.read(plain)
        except Inexact as cause:
            raise self._refusal(f"{_argument(parameter, place)}: {cause}") from cause

    def _parse(self, text: str | bytes) -> tuple[list[Any], dict[str, Any]]:
        try:
            parsed = read_json(text)
        except Inexact as cause:
            raise self._refusal(f"its arguments are {cause}") from cause
        if is_list(parsed) and len(parsed) == 2:  # noqa: PLR2004 -- [[positional], {keyword}]
            args, kwargs = parsed
            if is_list(args) and is_dict(kwargs):
                return args, kwargs
        raise self._refusal(f"its arguments are not of the form [[positional], {{keyword}}]: {show(parsed)}")

    def _check_round_trip(
        self, shape: _Shape, args: tuple[Any, ...], kwargs: Mapping[str, Any], text: str
    ) -> None:
        back_args, back_kwargs = self.decode(text)
        pairs: list[tuple[Parameter, int | str, Any, Any]] = [
            *zip(shape.positional, range(len(args)), args, back_args, strict=True),
            *zip(shape.keyword, kwargs, kwargs.values(), back_kwargs.values(), strict=True),
        ]
        for parameter, place, value, back in pairs:
            try:
                parameter.codec.check(value, back)
            except Inexact as cause:
                raise self._refusal(f"{_argument(parameter, place)}: {cause}") from cause

    def _shape(self, positional: int, kwargs: Mapping[str, Any]) -> _Shape:
        key = (positional, tuple(kwargs))
        shape = self._shapes.get(key)
        if shape is None:
            shape = self._bind(positional, kwargs)
            if len(self._shapes) >= _MAX_SHAPES:  # **kwargs allow any number of them
                self._shapes.clear()
            self._shapes[key] = shape
        return shape

    def _bind(self, positional: int, kwargs: Mapping[str, Any]) -> _Shape:
        given = list(self._positional[:positional])
        if positional > len(given):
            if self._rest is None:
                raise self._refusal(
                    f"takes at most {len(given)} positional arguments, got {positional}{self._usage()}"
                )
            given += [self._rest] * (positional - len(given))
        taken = {parameter.name for parameter in given if parameter.kind in _KEYWORD}
        keyword: list[Parameter] = []
        for name in kwargs:
            if type(name) is not str:  # pyright: ignore[reportUnnecessaryIsInstance] -- ** takes subclasses
                raise self._refusal(f"keyword {show(name)} is not a plain str")
            if name in taken:
                raise self._refusal(f"{name} is given twice, by position and by keyword")
            parameter = self._named.get(name, self._named_rest)
            if parameter is None:
                raise self._refusal(f"unexpected argument {name!r}{self._usage()}")
            keyword.append(parameter)
        absent = [p.name for p in self.parameters if p.required and p not in given and p not in keyword]
        if absent:
            raise self._refusal(f"missing {', '.join(map(repr, absent))}{self._usage()}")
        return _Shape(tuple(given), tuple(keyword))

    def _refusal(self, why: str) -> InvalidArguments:
        return InvalidArguments(task=self.task, why=why)

    def _usage(self) -> str:
        return f"; it takes {self}"

    @property
    def _returns_none(self) -> bool:
        return type(None) in self.returns.exact

    def __str__(self) -> str:
        stars = {_Kind.VAR_POSITIONAL: "*", _Kind.VAR_KEYWORD: "**"}
        shown: list[str] = []
        for index, parameter in enumerate(self.parameters):
            before = self.parameters[index - 1].kind if index else None
            if before is _Kind.POSITIONAL_ONLY and parameter.kind is not _Kind.POSITIONAL_ONLY:
                shown.append("/")
            if parameter.kind is _Kind.KEYWORD_ONLY and before not in (
                _Kind.KEYWORD_ONLY,
                _Kind.VAR_POSITIONAL,
            ):
                shown.append("*")
            optional = "" if parameter.required or parameter.kind in _REST else " = …"
            shown.append(
                f"{stars.get(parameter.kind, '')}{parameter.name}: {spell(parameter.codec.hint)}{optional}"
            )
        if self.parameters and self.parameters[-1].kind is _Kind.POSITIONAL_ONLY:
            shown.append("/")
        return f"({', '.join(shown)})"

    def __repr__(self) -> str:
        return f"Signature({self.task}{self}, digest={self.digest})"


def _parameters(task: str, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> list[Parameter]:
    hint = hints.get(parameter.name, Any)
    if parameter.kind in _REST:
        stars = "*" if parameter.kind is _Kind.VAR_POSITIONAL else "**"
        if parameter.name not in hints:
            raise InvalidTask(
                task=task,
                why=f"{stars}{parameter.name} has no annotation; say what it takes (or Any), and if this is "
                "a decorator's wrapper, use functools.wraps in it",
            )
        options = unpacked(hint) if parameter.kind is _Kind.VAR_KEYWORD else None
        if options is not None and typing_extensions.is_typeddict(unwrap(options)):
            return _unpacked_parameters(task, unwrap(options))
        return [
            Parameter(
                parameter.name, parameter.kind, _codec(task, stars + parameter.name, hint), required=False
            )
        ]
    required = parameter.default is inspect.Parameter.empty
    return [Parameter(parameter.name, parameter.kind, _codec(task, parameter.name, hint), required=required)]


def _unpacked_parameters(task: str, options: Any) -> list[Parameter]:
    """Return ``**kwargs: Unpack[Options]`` as the keyword-only parameters that it stands for."""
    return [
        Parameter(
            name,
            _Kind.KEYWORD_ONLY,
            _codec(task, name, unwrap(hint)),
            required=name in options.__required_keys__,
        )
        for name, hint in typing_extensions.get_type_hints(options, include_extras=True).items()
    ]


def _codec(task: str, what: str, hint: Any) -> Codec:
    if why := why_unusable(hint):
        raise InvalidTask(task=task, why=f"{what}: {why}")
    try:
        return Codec(hint)
    except NameError as cause:
        raise InvalidTask(
            task=task, why=f"{what}: {cause}; define them above the task, and import them at run time"
        ) from cause
    except PydanticSchemaGenerationError as cause:
        raise InvalidTask(
            task=task,
            why=f"{what}: pydantic has no schema for {spell(hint)}; "
            "pass plain data (an id, a dict), a dataclass or a model",
        ) from cause
    except (PydanticUserError, TypeError) as cause:
        first = str(cause).partition("\n")[0]
        raise InvalidTask(task=task, why=f"{what}: pydantic refuses {spell(hint)}: {first}") from cause


def _argument(parameter: Parameter, place: int | str) -> str:
    if parameter.kind is _Kind.VAR_POSITIONAL:
        return f"*{parameter.name}[{place}]"
    return str(place) if parameter.kind is _Kind.VAR_KEYWORD else parameter.name


def _digest(parameters: tuple[Parameter, ...]) -> str:
    ordered = [p.describe() for p in parameters if p.kind is not _Kind.KEYWORD_ONLY]
    unordered = sorted(p.describe() for p in parameters if p.kind is _Kind.KEYWORD_ONLY)
    text = "\n".join((*ordered, *unordered))
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()
