"""Signatures: which arguments a task takes, how a call is written, and how a worker reads it again."""
# ruff: noqa: ARG001, D101, FBT001 -- the functions are signatures, the classes samples

import os
import subprocess
import sys
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from functools import wraps
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Never,
    NewType,
    NoReturn,
    NotRequired,
    Optional,
    ParamSpec,
    Self,
    TypeVar,
    Union,
    cast,
)
from uuid import UUID, uuid4

import pytest
from annotated_types import Ge
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, create_model
from typing_extensions import TypedDict, Unpack

from capelin.errors import InvalidArguments, InvalidResult, InvalidTask
from capelin.signatures import Signature

if TYPE_CHECKING:
    from email.message import Message

T = TypeVar("T")
P = ParamSpec("P")


class Size(BaseModel):
    width: int
    height: int = 1


class Options(TypedDict):
    colour: str
    size: NotRequired[Size]


class Colour(Enum):
    RED = 1


class NoSchema:
    pass


def send(to: str, subject: str = "hi", *, copies: int = 1) -> int:
    return 0


def nothing() -> None: ...
def only_optional(a: int = 1, *, b: str = "") -> None: ...
def plain(a: Any, b: Any = 1) -> None: ...


del plain.__annotations__["a"], plain.__annotations__["b"]


def rich(when: datetime, ident: UUID, size: Size, amount: Decimal = Decimal(0)) -> None: ...
def positional(a: int, b: int = 2, /, c: int = 3) -> None: ...
def anything(first: int, /, *rest: UUID, **named: date) -> None: ...
def shadowed(name: str, /, **named: str) -> None: ...
def unpacked(a: int, **options: Unpack[Options]) -> None: ...


def signature(function: Callable[..., Any]) -> Signature:
    return Signature.of(function, "t")


CALLS: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], str]] = [
    (nothing, (), {}, ""),
    (only_optional, (), {}, ""),
    (only_optional, (5,), {}, "[[5],{}]"),
    (send, ("a@b.c",), {}, '[["a@b.c"],{}]'),
    (send, ("a@b.c", "x"), {}, '[["a@b.c","x"],{}]'),
    (send, (), {"subject": "ä", "to": "a"}, '[[],{"subject":"ä","to":"a"}]'),
    (send, ("a",), {"copies": 2}, '[["a"],{"copies":2}]'),
    (plain, (1,), {"b": {"c": [None]}}, '[[1],{"b":{"c":[null]}}]'),
    (positional, (1, 2), {"c": 4}, '[[1,2],{"c":4}]'),
    (shadowed, ("a",), {"name": "b"}, '[["a"],{"name":"b"}]'),
]


@pytest.mark.parametrize(("function", "args", "kwargs", "text"), CALLS)
def test_a_call_is_written_as_given_and_read_as_given(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], text: str
) -> None:
    compiled = signature(function)

    assert compiled.encode(args, kwargs) == text
    assert compiled.encode(args, kwargs, check_round_trip=True) == text
    assert compiled.decode(text) == (args, kwargs)
    assert compiled.decode(text.encode()) == (args, kwargs)


RICH: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = [
    (rich, (datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), uuid4()), {"size": Size(width=2)}),
    (rich, (datetime(2026, 1, 2, tzinfo=UTC), uuid4(), Size(width=1, height=3), Decimal("1.50")), {}),
    (anything, (1, uuid4(), uuid4()), {"start": date(2026, 1, 2), "end": date(2027, 1, 2)}),
    (unpacked, (1,), {"colour": "red", "size": Size(width=1)}),
    (unpacked, (1,), {"colour": "red"}),
]


@pytest.mark.parametrize(("function", "args", "kwargs"), RICH)
def test_rich_types_are_restored_by_their_annotations(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    compiled = signature(function)

    back_args, back_kwargs = compiled.decode(compiled.encode(args, kwargs, check_round_trip=True))

    assert (back_args, back_kwargs) == (args, kwargs)
    assert [type(value) for value in back_args] == [type(value) for value in args]
    assert list(back_kwargs) == list(kwargs)


REFUSED_CALLS: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], str]] = [
    (send, (), {}, "t: missing 'to'; it takes (to: str, subject: str = …, *, copies: int = …)"),
    (rich, (), {"size": Size(width=1)}, "missing 'when', 'ident'; it takes"),
    (send, ("a", "b", 1), {}, "takes at most 2 positional arguments, got 3"),
    (nothing, (1,), {}, "takes at most 0 positional arguments, got 1; it takes ()"),
    (send, ("a",), {"to": "b"}, "to is given twice, by position and by keyword"),
    (send, ("a",), {"subjekt": "b"}, "unexpected argument 'subjekt'"),
    (positional, (), {"a": 1}, "unexpected argument 'a'; it takes (a: int, b: int = …, /, c: int = …)"),
    (shadowed, (), {"name": "b"}, "missing 'name'"),
    (unpacked, (1,), {}, "missing 'colour'"),
    (unpacked, (1,), {"colour": "red", "shape": "x"}, "unexpected argument 'shape'"),
    (send, (5,), {}, "to: expected str, got int 5"),
    (send, ("a",), {"copies": "2"}, "copies: expected int, got str '2'"),
    (send, ("a", None), {}, "subject: expected str, got None"),
    (send, ("\ud800",), {}, "to: 'utf-8' codec can't encode"),
    (plain, (datetime(2026, 1, 1, tzinfo=UTC),), {}, "a: datetime"),
    (plain, ((1, 2),), {}, "a: tuple (1, 2) would come back as list"),
    (rich, (datetime(2026, 1, 1, tzinfo=UTC), "x", Size(width=1)), {}, "ident: expected UUID, got str 'x'"),
    (anything, (1, "x"), {}, "*rest[1]: expected UUID, got str 'x'"),
    (anything, (1,), {"start": 5}, "start: expected date, got int 5"),
    (anything, (1,), {"\udcff": date(2026, 1, 1)}, "utf-8"),
]


@pytest.mark.parametrize(("function", "args", "kwargs", "why"), REFUSED_CALLS)
def test_a_call_that_does_not_fit_is_refused_with_the_parameter_and_the_reason(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], why: str
) -> None:
    with pytest.raises(InvalidArguments) as error:
        signature(function).encode(args, kwargs)

    assert why in str(error.value)
    assert error.value.task == "t"


def test_a_call_is_checked_each_time_not_only_the_first_of_its_form() -> None:
    compiled = signature(send)
    compiled.encode(("a",), {"copies": 1})

    with pytest.raises(InvalidArguments, match="to: expected str, got int 1"):
        compiled.encode((1,), {"copies": 1})
    with pytest.raises(InvalidArguments, match="missing 'to'"):
        compiled.encode((), {"copies": 1})


def test_an_argument_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(InvalidArguments, match="contains itself, or is nested too deeply"):
        signature(plain).encode((endless,), {})


def test_keywords_without_end_fill_no_memory() -> None:
    compiled = signature(anything)

    for number in range(2000):
        compiled.encode((1,), {f"k{number}": date(2026, 1, 1)})

    assert len(compiled._shapes) <= 256  # pyright: ignore[reportPrivateUsage]


REFUSED_TEXTS: list[tuple[Callable[..., Any], str | bytes, str]] = [
    (send, "", "missing 'to'"),
    (send, "{", "its arguments are not JSON"),
    (send, b"\xff", "its arguments are not JSON"),
    (send, "[]", "not of the form [[positional], {keyword}]"),
    (send, "{}", "not of the form"),
    (send, "null", "not of the form"),
    (send, '[{"to":"a"},[]]', "not of the form"),
    (send, '[["a"],{},1]', "not of the form"),
    (send, "[[5],{}]", "to: expected str, got int 5"),
    (send, '[["a"],{"copies":true}]', "copies: expected int, got bool True"),
    (send, '[["a"],{"cc":"b"}]', "unexpected argument 'cc'"),
    (rich, '[["2026-01-01T00:00:00Z","x",{"width":1}],{}]', "ident: expected UUID, got str 'x'"),
    (rich, '[["2026-01-01T00:00:00Z"],{}]', "missing 'ident', 'size'"),
    (plain, "[[NaN],{}]", "not JSON"),
    (plain, "[[1e999],{}]", "a: inf is not a JSON number"),
    (anything, '[[1],{"start":"soon"}]', "start: expected date, got str 'soon'"),
]


@pytest.mark.parametrize(("function", "text", "why"), REFUSED_TEXTS)
def test_a_text_that_does_not_fit_is_refused_in_the_worker(
    function: Callable[..., Any], text: str | bytes, why: str
) -> None:
    with pytest.raises(InvalidArguments) as error:
        signature(function).decode(text)

    assert why in str(error.value)


# Results


def returns(hint: Any) -> Signature:
    def function() -> None: ...

    function.__annotations__["return"] = hint
    return signature(function)


@pytest.mark.parametrize(
    ("hint", "value", "text"),
    [
        (int, 5, "5"),
        (None, None, ""),
        (int | None, None, ""),
        (UUID | None, None, ""),
        (Any, None, ""),
        (str, "", '""'),
        (list[Size], [Size(width=1)], '[{"width":1,"height":1}]'),
        (bytes, b"\xff", '"_w=="'),
        (float, 1.5, "1.5"),
    ],
)
def test_a_result_comes_back_as_it_was(hint: Any, value: Any, text: str) -> None:
    compiled = returns(hint)

    assert compiled.encode_result(value) == text
    assert compiled.encode_result(value, check_round_trip=True) == text
    assert compiled.decode_result(text) == value
    assert compiled.decode_result(text.encode()) == value


@pytest.mark.parametrize(
    ("hint", "value", "why"),
    [
        (int, "5", "expected int, got str '5'"),
        (int, None, "expected int, got None"),
        (None, 5, "expected None, got int 5"),
        (NoReturn, 5, "expected None, got int 5"),
        (Never, "x", "expected None, got str 'x'"),
        (float, float("nan"), "nan is not a JSON number"),
        (Any, object(), "is not plain JSON"),
        (Any, {1: 2}, "the key int 1 would come back as a str"),
    ],
)
def test_a_result_that_would_not_come_back_is_refused(hint: Any, value: Any, why: str) -> None:
    with pytest.raises(InvalidResult) as error:
        returns(hint).encode_result(value)

    assert why in str(error.value)
    assert str(error.value).startswith("t returned a value that cannot be stored: ")


def test_a_result_that_contains_itself_is_refused() -> None:
    endless: dict[str, Any] = {}
    endless["again"] = endless

    with pytest.raises(InvalidResult, match="contains itself, or is nested too deeply"):
        returns(Any).encode_result(endless)


def test_a_result_of_another_release_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidResult, match="expected int, got str 'five'"):
        returns(int).decode_result('"five"')


# Refusals at decoration


def hinted(hint: Any) -> Callable[..., Any]:
    def function(a: Any) -> None: ...

    function.__annotations__["a"] = hint
    return function


def generic_argument(a: T) -> T:
    return a


def generic_inside(a: list[T]) -> T:
    return a[0]


class NamesNoKind(BaseModel):
    """Says of what kind it is with any text."""

    kind: str


class NamesNoKindEither(BaseModel):
    """The same."""

    kind: str


def told_apart_by_nothing(
    a: Annotated[NamesNoKind | NamesNoKindEither, Field(discriminator="kind")],
) -> None: ...


def parameters_of_another(function: Callable[P, int], *args: P.args, **kwargs: P.kwargs) -> int:
    return function(*args, **kwargs)


def takes_callable(a: Callable[[], int]) -> None: ...
def takes_iterable(a: Iterable[int]) -> None: ...
def takes_iterator(a: Iterator[int]) -> None: ...
def takes_generator(a: Generator[int]) -> None: ...
def takes_async_iterator(a: AsyncIterator[int]) -> None: ...
def takes_awaitable(a: list[Awaitable[int]]) -> None: ...
def takes_type(a: type[int]) -> None: ...
def takes_unpacked(*a: *tuple[int, str]) -> None: ...
def takes_no_schema(a: NoSchema) -> None: ...
def takes_no_schema_inside(a: dict[str, NoSchema]) -> None: ...
def returns_no_schema() -> NoSchema:
    return NoSchema()


async def returns_generator() -> AsyncGenerator[int]:
    yield 1


def only_for_checkers(a: "Message") -> None: ...
def misspelt(a: "Strin") -> None: ...  # type: ignore[name-defined]  # pyright: ignore[reportUndefinedVariable]  # noqa: F821
def bare_args(*args) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN002
def bare_kwargs(**kwargs) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN003


REFUSED_FUNCTIONS: list[tuple[Callable[..., Any], str]] = [
    (generic_argument, "a: it is generic (~T)"),
    (generic_inside, "a: it is generic (~T)"),
    (parameters_of_another, "function: values of Callable"),
    (takes_callable, "a: values of Callable[[], int] cannot be written as JSON"),
    (takes_iterable, "a: values of Iterable[int] cannot be written as JSON; use a list"),
    (takes_iterator, "a: values of Iterator[int] cannot be written"),
    (takes_generator, "a: values of Generator["),
    (takes_async_iterator, "a: values of AsyncIterator[int] cannot be written"),
    (takes_awaitable, "a: values of Awaitable[int] cannot be written"),
    (takes_type, "a: values of type[int] cannot be written"),
    (takes_unpacked, "is not supported here"),
    (takes_no_schema, "a: pydantic has no schema for NoSchema; pass plain data"),
    (takes_no_schema_inside, "a: pydantic has no schema for dict[str,"),
    (told_apart_by_nothing, "a: pydantic refuses Annotated["),
    (told_apart_by_nothing, "Model 'NamesNoKind' needs field 'kind' to be of type `Literal`"),
    (returns_no_schema, "the return value: pydantic has no schema for NoSchema"),
    (returns_generator, "the return value: values of AsyncGenerator["),
    (only_for_checkers, "its hints cannot be resolved (name 'Message' is not defined); import the types"),
    (misspelt, "its hints cannot be resolved (name 'Strin' is not defined)"),
    (hinted("list["), "its hints cannot be resolved"),
    (bare_args, "*args has no annotation"),
    (bare_kwargs, "**kwargs has no annotation"),
    (hinted(Self), "a: Self is not supported here"),
]


@pytest.mark.parametrize(("function", "why"), REFUSED_FUNCTIONS)
def test_a_function_whose_arguments_no_json_can_carry_is_refused(
    function: Callable[..., Any], why: str
) -> None:
    with pytest.raises(InvalidTask) as error:
        signature(function)

    assert why in str(error.value)
    assert str(error.value).startswith("t cannot be a task: ")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax is new in 3.12")
def test_functions_and_aliases_in_the_newer_syntax() -> None:
    names: dict[str, Any] = {}
    exec("def generic[T](a: list[T]) -> None: ...", names)  # noqa: S102 -- 3.11 cannot parse it
    exec("type Json = dict[str, Json] | list[Json] | str | int | None\ndef takes(a: Json): ...", names)  # noqa: S102
    value = {"a": [1, {"b": None}, "c"]}

    with pytest.raises(InvalidTask, match="a: it is generic"):
        signature(names["generic"])
    compiled = signature(names["takes"])

    assert compiled.decode(compiled.encode((value,), {})) == ((value,), {})
    assert len(compiled.digest) == 10


def test_a_model_with_names_that_are_not_defined_yet_is_refused() -> None:
    later: Any = cast(Any, create_model)("Later", field=("Undefined", ...))

    with pytest.raises(InvalidTask, match="names that are not defined yet"):
        signature(hinted(later))


def test_a_decorated_function_has_the_signature_of_the_function_below() -> None:
    def logged(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
            return function(*args, **kwargs)

        return wrapper

    assert signature(logged(rich)).digest == signature(rich).digest


# Digests


def digest(function: Callable[..., Any]) -> str:
    return signature(function).digest


def same_as_send(to: str, subject: str = "other default", *, copies: int = 7) -> str:
    return ""


def renamed(recipient: str, subject: str = "", *, copies: int = 1) -> int:
    return 0


def reordered(subject: str, to: str = "", *, copies: int = 1) -> int:
    return 0


def required(to: str, subject: str, *, copies: int = 1) -> int:
    return 0


def other_type(to: str, subject: str = "", *, copies: float = 1) -> int:
    return 0


def other_kind(to: str, subject: str = "", copies: int = 1) -> int:
    return 0


def positional_only(to: str, subject: str = "", /, *, copies: int = 1) -> int:
    return 0


def one_more(to: str, subject: str = "", *, copies: int = 1, cc: str = "") -> int:
    return 0


def rest(to: str, subject: str = "", *rest: str, copies: int = 1) -> int:
    return 0


@pytest.mark.parametrize(
    "other", [renamed, reordered, required, other_type, other_kind, positional_only, one_more, rest]
)
def test_the_digest_changes_with_what_is_accepted(other: Callable[..., Any]) -> None:
    assert digest(other) != digest(send)


def test_the_digest_does_not_change_with_default_values_or_results() -> None:
    assert digest(same_as_send) == digest(send)
    assert len(digest(send)) == 8


def test_the_order_of_keyword_only_parameters_does_not_matter() -> None:
    def one(*, a: int, b: str) -> None: ...
    def other(*, b: str, a: int) -> None: ...

    assert digest(one) == digest(other)


@dataclass
class Before:
    a: int


def variant(name: str, **fields: Any) -> Any:
    return create_model(name, **fields)


Name = NewType("Name", str)
typed_dict: Any = TypedDict


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Optional[int], int | None),  # noqa: UP045
        (Union[int, str], int | str),  # noqa: UP007
        (Sequence[int], Sequence[int]),
        (Name, str),
        (Annotated[str, "words"], str),
        (Any, object),
        (variant("M", a=(int, ...)), variant("M", a=(int, ...))),
        (variant("M", a=(int, 1)), variant("M", a=(int, 2))),
    ],
)
def test_hints_that_accept_the_same_have_the_same_digest(one: Any, other: Any) -> None:
    assert digest(hinted(one)) == digest(hinted(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (int, str),
        (list[int], list[str]),
        (int, int | None),
        (Literal["a"], Literal["a", "b"]),
        (Literal[1], Literal["1"]),
        (Annotated[int, Ge(1)], Annotated[int, Ge(2)]),
        (Annotated[int, Field(ge=1)], Annotated[int, Field(ge=2)]),
        (variant("M", a=(int, ...)), variant("M", a=(int, 1))),
        (variant("M", a=(int, ...)), variant("M", a=(str, ...))),
        (variant("M", a=(int, ...)), variant("M", a=(int, ...), b=(int, ...))),
        (variant("M", a=(int, ...)), variant("M", a=(int, Field(gt=1)))),
        (variant("M", a=(int, ...)), variant("M", a=(int, Field(alias="b")))),
        (variant("M", a=(Size, ...)), variant("M", a=(variant("Size", width=(int, ...)), ...))),
        (Enum("E", {"A": 1}), Enum("E", {"A": 1, "B": 2})),
        (Before, dataclass(type("Before", (), {"__annotations__": {"a": int, "b": int}}))),
        (typed_dict("D", {"a": int}), typed_dict("D", {"a": NotRequired[int]})),
    ],
)
def test_hints_that_accept_something_else_have_another_digest(one: Any, other: Any) -> None:
    assert digest(hinted(one)) != digest(hinted(other))


_SOURCE = """
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Optional
from pydantic import AfterValidator, BaseModel, Field

class Colour(Enum):
    RED = 1

class Tree(BaseModel):
    name: Annotated[str, AfterValidator(lambda value: value)]
    colour: Colour = Colour.RED
    children: list["Tree"] = []

@dataclass
class Place:
    path: Path
    at: datetime | None = None

Many = Annotated[int, Field(gt=1)]

def task(a: Tree, b: Optional[Place], *rest: Many, **named: "dict[str, set[bytes]]"): ...
"""


def test_the_digest_is_the_same_in_every_process_and_as_script_or_module(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "digested.py").write_text(_SOURCE)
    show = "from capelin.signatures import Signature; print(Signature.of(task, 't').digest)"
    (tmp_path / "script.py").write_text(f"{_SOURCE}\n{show}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), *(path for path in sys.path if path))))

    digests = [
        subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True).stdout
        for arguments in (
            ["-c", f"from digested import task; {show}"],
            ["-c", f"from digested import task; {show}"],
            [str(tmp_path / "script.py")],
        )
    ]

    assert digests == ["c6c12ba1\n"] * 3


def test_a_signature_shows_itself_as_a_person_would_write_it() -> None:
    assert str(signature(anything)) == "(first: int, /, *rest: UUID, **named: date)"
    assert str(signature(unpacked)) == "(a: int, *, colour: str, size: Size = …)"
    assert str(signature(plain)) == "(a: any JSON value, b: any JSON value = …)"
    assert str(signature(hinted(int | None))) == "(a: int | None)"


# Any call of a function of many kinds of parameters is carried exactly, or refused.

values = (
    st.integers()
    | st.text()
    | st.booleans()
    | st.floats()
    | st.none()
    | st.binary()
    | st.uuids()
    | st.dates()
)


def many(
    a: int | str, b: UUID | None = None, /, c: date | float = 1.0, *d: bytes, e: str | None, **f: float
) -> None: ...


@given(
    st.lists(values, max_size=5).map(tuple),
    st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e", "f", "g"]), values, max_size=4),
    st.booleans(),
)
def test_any_call_is_carried_exactly_or_refused(
    args: tuple[Any, ...], kwargs: dict[str, Any], check: bool
) -> None:
    compiled = signature(many)

    try:
        text = compiled.encode(args, kwargs, check_round_trip=check)
    except InvalidArguments:
        return
    back_args, back_kwargs = compiled.decode(text)

    many(*back_args, **back_kwargs)
    assert (back_args, back_kwargs) == (args, kwargs)
    pairs = [*zip(args, back_args, strict=True), *((kwargs[name], back_kwargs[name]) for name in kwargs)]
    assert all(type(one) is type(other) or (type(one), type(other)) == (int, float) for one, other in pairs)
