"""Values to JSON and back: exactly, or refused with a reason, before anything is written."""
# ruff: noqa: DTZ001, S106, S108 -- naive datetimes, secrets and paths are sample values here

import math
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from annotated_types import Gt
from pydantic import AfterValidator, SecretStr

from capelin.codec import Codec, Inexact, encode_plain, read_json, readable
from capelin.errors import InvalidArguments
from capelin.exact import difference
from tests.support.samples import (
    Address,
    Aliased,
    Blob,
    Box,
    Colour,
    Constants,
    Counted,
    Derived,
    Employee,
    Hidden,
    Json,
    Level,
    Loose,
    Movie,
    MyDatetime,
    MyDict,
    MyFloat,
    MyInt,
    MyList,
    MyStr,
    Names,
    Node,
    Pair,
    Person,
    Point,
    Private,
    Rights,
    Shape,
    Trimmed,
    Unequal,
    UserId,
    Word,
)

UID = UUID("12345678-1234-5678-1234-567812345678")
BERLIN = ZoneInfo("Europe/Berlin")

EXACT: list[tuple[Any, Any]] = [
    (str, "ä\x00\U0001f41f"),
    (str, ""),
    (int, -(2**70)),
    (bool, True),
    (None, None),
    (float, 0.1),
    (float, -0.0),
    (float, 1e308),
    (Any, {"a": [1, 2.5, None, True, {"b": "c"}]}),
    (object, ["x"]),
    (list, [1, "a"]),
    (dict, {"a": [1]}),
    (list[int], [1, 2]),
    (list[float], [1.5, 2.0]),
    (list[list[str]], [["a"], []]),
    (dict[str, int], {"a": 1}),
    (dict[str, list[float]], {"a": [1.0]}),
    (dict[int, str], {1: "a", -2: "b"}),
    (dict[UUID, int], {UID: 1}),
    (dict[date, int], {date(2026, 1, 2): 1}),
    (str | None, None),
    (str | None, "a"),
    (Optional[float], 1.5),  # noqa: UP045 -- both spellings are in the wild
    (Union[int, float], 1),  # noqa: UP007
    (int | float, 1.0),
    (int | str, "1"),
    (int | str, 1),
    (list[int] | list[str], ["a"]),
    (Literal["a", 1], 1),
    (Literal["a", 1], "a"),
    (UserId, "u1"),
    (Annotated[str, "a word about it"], "a"),
    (Annotated[int, Gt(0)], 1),
    (bytes, b"\xff\x00 not UTF-8"),
    (bytes, b""),
    (list[bytes], [b"\xff"]),
    (dict[str, bytes], {"a": b"\xfe"}),
    (datetime, datetime(2026, 1, 2, 3, 4, 5, 678901)),
    (datetime, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    (datetime, datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=-5, minutes=-30)))),
    (date, date(1, 1, 1)),
    (time, time(1, 2, 3, 4)),
    (timedelta, timedelta(days=-1, microseconds=1)),
    (UUID, UID),
    (Decimal, Decimal("1.10")),
    (Decimal, Decimal("-0.000000000000000000000001")),
    (Path, Path("/tmp/ä b")),
    (IPv4Address, IPv4Address("10.0.0.1")),
    (complex, 1 + 2j),
    (complex, complex(0.0, -1.5)),
    (Colour, Colour.GREEN),
    (Level, Level.HIGH),
    (Word, Word.YES),
    (Rights, Rights.READ | Rights.WRITE),
    (set[int], {1, 2}),
    (frozenset[str], frozenset({"a"})),
    (tuple[int, str], (1, "a")),
    (tuple[UUID, ...], (UID, UID)),
    (tuple[()], ()),
    (deque[int], deque([1, 2])),
    (Sequence[int], [1, 2]),
    (Mapping[str, date], {"a": date(2026, 1, 2)}),
    (defaultdict[str, list[int]], defaultdict(list, {"a": [1]})),
    (Names, Names(root=["a"])),
    (Box[UUID], Box[UUID](item=UID)),
    (Pair, Pair(1, UID)),
    (Movie, {"title": "Jaws"}),
    (Movie, {"title": "Jaws", "year": 1975}),
    (Point, Point(1.5)),
    (Blob, Blob(b"\xff", frozenset({"a"}))),
    (list[Blob], [Blob(b"\xff")]),
    (Counted, Counted("a")),
    (Address, Address(street="Elm")),
    (Person, Person(name="A", born=date(2000, 1, 1), homes=[Address(street="B", number=2)], picture=b"ok")),
    (Person | Address, Address(street="Elm")),
    (Aliased, Aliased.model_validate({"userName": "a", "v": 3})),
    (Loose, Loose.model_validate({"any": [1, {"b": None}]})),
    (Private, Private(name="a")),
    (Node, Node(name="a", children=[Node(name="b")])),
    (Json, {"a": [1, {"b": None}, "c"]}),
    (dict[str, Person | list[UUID]], {"a": [UID], "b": Person(name="A", born=date(2000, 1, 1))}),
]


@pytest.mark.parametrize(("hint", "value"), EXACT, ids=lambda part: repr(part)[:60])
def test_a_value_of_its_annotation_comes_back_equal_and_of_the_same_type(hint: Any, value: Any) -> None:
    codec = Codec(hint)

    back = codec.read(read_json(codec.write(value)))

    assert difference(value, back) is None
    assert back == value
    assert type(back) is type(value)


REFUSED: list[tuple[str, Any, Any, str]] = [
    ("NaN", float, math.nan, "nan is not a JSON number"),
    ("infinity", float, -math.inf, "-inf is not a JSON number"),
    ("NaN where None is allowed", float | None, math.nan, "nan is not a JSON number"),
    ("NaN deep in a list", list[float], [1.0, math.nan], "at [1]: nan"),
    ("NaN without an annotation", Any, {"a": [math.inf]}, "at ['a'][0]: inf is not"),
    ("NaN in a dataclass", Point, Point(math.nan), "nan is not a JSON number"),
    ("NaN in a model that would write it", Constants, Constants(value=math.nan), "nan is not a JSON number"),
    (
        "infinity in a model that would write it",
        Constants,
        Constants(value=math.inf),
        "inf is not a JSON number",
    ),
    ("a zero whose sign would be lost", complex, complex(-0.0, 0.0), "would come back as complex"),
    ("a Decimal NaN", Decimal, Decimal("NaN"), "expected Decimal"),
    ("a bool for an int", int, True, "expected int, got bool True"),
    ("an int for a bool", bool, 1, "expected bool, got int 1"),
    ("an int that no float equals", float, 2**53 + 1, "would come back as float 9007199254740992.0"),
    ("a bool for a float", float, True, "bool True would come back as float"),
    ("a str for an int", int, "5", "expected int, got str '5'"),
    ("a str for a datetime", datetime, "2026-01-02T03:04:05", "expected datetime, got str"),
    ("a datetime for a date", date, datetime(2026, 1, 2, tzinfo=UTC), "expected date"),
    ("a date for a datetime", datetime, date(2026, 1, 2), "expected datetime"),
    ("a subclass of str", str, MyStr("a"), "MyStr 'a' would come back as str"),
    ("a str enum for a str", str, Word.YES, "would come back as str 'yes'"),
    ("an int enum for an int", int, Level.LOW, "would come back as int 1"),
    ("a subclass of int", int, MyInt(1), "MyInt 1 would come back as int"),
    ("a subclass of float", float, MyFloat(1), "MyFloat 1.0 would come back as float"),
    ("a subclass of list", list[int], MyList([1]), "MyList [1] would come back as list"),
    ("a subclass of dict", dict[str, int], MyDict(a=1), "would come back as dict"),
    ("a subclass of datetime", datetime, MyDatetime(2026, 1, 2, tzinfo=UTC), "would come back as datetime"),
    ("a subclass of a model", Person, Employee(name="A", born=date(2000, 1, 1)), "would come back as Person"),
    ("a subclass of a dataclass", Point, Derived(1.0), "would come back as Point"),
    ("a subclass within a list", list[str], ["a", MyStr("b")], "at [1]: MyStr 'b' would come back as str"),
    ("a subclass without an annotation", Any, [MyStr("b")], "at [0]: MyStr 'b' would come back as str"),
    ("an int enum without an annotation", Any, Level.LOW, "would come back as int"),
    ("a tuple for a list", list[int], (1, 2), "expected list[int], got tuple"),
    ("a tuple for a sequence", Sequence[int], (1, 2), "would come back as list"),
    ("another factory", defaultdict[str, int], defaultdict(list), "would come back"),
    ("a list for a tuple", tuple[int, ...], [1, 2], "expected tuple[int, ...], got list"),
    ("a tuple without an annotation", Any, {"a": (1,)}, "at ['a']: tuple (1,) would come back as list"),
    ("a set without an annotation", Any, {1}, "set {1} is not plain JSON; annotate the parameter"),
    ("a datetime without an annotation", Any, [datetime(2026, 1, 1, tzinfo=UTC)], "not plain JSON; annotate"),
    ("bytes without an annotation", Any, b"a", "is not plain JSON"),
    ("a datetime in a plain list", list[Any], [datetime(2026, 1, 1, tzinfo=UTC)], "would come back as str"),
    ("an int key without an annotation", Any, {1: "a"}, "the key int 1 would come back as a str"),
    ("an int key in a bare dict", dict[Any, Any], {1: "a"}, "the key int 1"),
    ("an int key where a str key is meant", dict[str, int], {1: 1}, "the key int 1"),
    ("an int key where both are allowed", dict[str | int, int], {1: 1}, "int 1"),
    ("keys that fall together", dict[str | int, int], {1: 1, "1": 2}, "1"),
    ("a surrogate", str, "\ud800", "surrogates not allowed"),
    ("a surrogate in a path", Path, Path("/tmp/\udcff"), "surrogates not allowed"),
    ("bytes for a str", str, b"a", "expected str, got bytes"),
    (
        "bytes in a model that are no UTF-8",
        Person,
        Person.model_construct(name="A", born=date(2000, 1, 1), picture=b"\xff"),
        "utf-8",
    ),
    ("a tuple as an enum's value", Shape, Shape.SQUARE, "expected Shape"),
    ("another enum's member", Colour, Word.YES, "expected Colour, got Word"),
    ("an enum's value", Colour, "red", "would come back as Colour"),
    ("a key that a TypedDict lacks", Movie, {"title": "a", "stars": 5}, "the key str 'stars' would be lost"),
    ("a TypedDict without its key", Movie, {"year": 1975}, "title: Field required"),
    ("a dict for a dataclass", Point, {"x": 1.0, "y": 0.0}, "would come back as Point"),
    (
        "a field that is not written",
        Hidden,
        Hidden(name="a", token="t"),
        "at .token: str 't' would come back",
    ),
    ("a secret", SecretStr, SecretStr("s"), "would come back as"),
    ("a validator that changes it", Trimmed, Trimmed.model_construct(name=" a "), "at .name: str ' a '"),
    ("a constraint", Annotated[int, Gt(0)], 0, "Input should be greater than 0"),
    ("a private attribute", Private, Private.with_cache(), "at ._cache: the key str 'seen' would be lost"),
    ("a type that nothing can compare", Unequal, Unequal(), "has no __eq__"),
    ("a generator", list[int], (n for n in (1, 2)), "expected list[int], got generator"),
    ("a deque's bound", deque[int], deque([1], maxlen=3), "a maxlen of 3 would come back as None"),
    (
        "the second of a repeated hour, naive",
        datetime,
        datetime(2026, 10, 25, 2, 30, fold=1),
        "would come back",
    ),
    ("a time in a zone", time, time(1, 2, tzinfo=BERLIN), "would come back as time"),
    ("None where none is meant", str, None, "expected str, got None"),
    ("a value of no literal", Literal["a"], "b", "expected Literal['a'], got str 'b'"),
    ("an enum's member as a literal", Literal[Colour.RED], Colour.RED, "expected Literal"),
    ("True for the literal 1", Literal[1], True, "expected Literal[1], got bool True"),
]


@pytest.mark.parametrize(
    ("hint", "value", "why"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_what_would_come_back_as_something_else_is_refused(hint: Any, value: Any, why: str) -> None:

    with pytest.raises(Inexact) as error:
        Codec(hint).write(value)

    assert why in str(error.value)


def test_a_list_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(InvalidArguments, match="contains itself, or is nested too deeply"):
        encode_plain("t", (endless,), {})


def test_an_int_given_for_a_float_arrives_as_that_float() -> None:
    codec = Codec(list[float])

    back = codec.read(read_json(codec.write([1, 2.5])))

    assert back == [1.0, 2.5]
    assert [type(number) for number in back] == [float, float]


def test_a_whole_number_of_a_client_in_another_language_is_read_as_a_float() -> None:
    back = Codec(float).read(2)

    assert back == 2.0
    assert type(back) is float


@pytest.mark.parametrize(
    "moment", [datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=fold) for fold in (0, 1)]
)
def test_a_datetime_in_a_zone_comes_back_at_the_same_moment_with_the_same_offset(moment: datetime) -> None:
    codec = Codec(datetime)

    back: datetime = codec.read(read_json(codec.write(moment)))

    assert back.timestamp() == moment.timestamp()
    assert back.utcoffset() == moment.utcoffset()
    assert back.replace(tzinfo=None) == moment.replace(tzinfo=None, fold=0)


def test_an_offset_with_seconds_is_kept_or_refused() -> None:
    moment = datetime(2026, 1, 1, tzinfo=timezone(timedelta(minutes=53, seconds=28)))

    with pytest.raises(Inexact, match="would come back as"):
        Codec(datetime).write(moment)


def test_a_models_alias_may_stand_in_the_json_of_other_clients() -> None:
    codec = Codec(Aliased)

    assert codec.read({"user_name": "a"}) == codec.read({"userName": "a"}) == Aliased(userName="a")


READ_REFUSED: list[tuple[Any, Any, str]] = [
    (int, "5", "expected int, got str '5'"),
    (int, 5.0, "expected int, got float 5.0"),
    (bool, 1, "expected bool, got int 1"),
    (str, 5, "expected str, got int 5"),
    (float, True, "expected float, got bool True"),
    (list[int], [1, "2"], "1: Input should be a valid integer"),
    (datetime, "yesterday", "expected datetime, got str 'yesterday'"),
    (datetime, 1767323045, "expected datetime, got int"),
    (UUID, "x", "expected UUID, got str 'x'"),
    (Colour, "blue", "'red' or 'green'"),
    (Person, {"name": "A"}, "born: Field required"),
    (Point, {"x": "a"}, "x: Input should be a valid number"),
    (Any, float("inf"), "inf is not a JSON number"),
]


@pytest.mark.parametrize(("hint", "plain", "why"), READ_REFUSED)
def test_what_does_not_fit_the_annotation_is_refused_in_the_worker_too(
    hint: Any, plain: Any, why: str
) -> None:
    with pytest.raises(Inexact) as error:
        Codec(hint).read(plain)

    assert why in str(error.value)


def test_an_error_of_a_users_validator_is_told() -> None:
    def explode(_value: str) -> str:
        raise KeyError("the validator's own bug")

    hint = Annotated[str, AfterValidator(explode)]

    with pytest.raises(Inexact, match="the validator's own bug"):
        Codec(hint).write("a")
    with pytest.raises(Inexact, match="the validator's own bug"):
        Codec(hint).read("a")


def test_a_repr_that_fails_hides_no_error() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

    with pytest.raises(Inexact, match=r"Broken \.\.\. is not plain JSON"):
        Codec(Any).write(Broken())


def test_a_long_value_is_shortened_in_the_message() -> None:
    with pytest.raises(Inexact) as error:
        Codec(int).write("x" * 1000)

    assert len(str(error.value)) < 200


@pytest.mark.parametrize("value", [[[]], ["x" * 400], {"a": {"b": 10**300}}])
def test_what_a_reader_can_read_is_readable(value: Any) -> None:
    codec = Codec(Any)

    assert read_json(readable(codec.write(value))) == value


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [nested(250), 10**5000], ids=["too deep", "too many digits"])
def test_what_no_reader_could_read_back_is_refused(value: Any) -> None:
    with pytest.raises(Inexact, match="could not be read back"):
        readable(Codec(Any).write(value))


@pytest.mark.parametrize("text", ["", "{", "[NaN]", "[Infinity]", "[1] 2", b"\xff", "'a'"])
def test_what_is_not_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(Inexact, match="not JSON"):
        read_json(text)


def test_plain_arguments_are_written_as_given() -> None:
    assert encode_plain("t", (), {}) == ""
    assert encode_plain("t", (1, "a"), {"b": None}) == '[[1,"a"],{"b":null}]'


@pytest.mark.parametrize(
    ("args", "kwargs", "why"),
    [
        ((UID,), {}, "argument 0: UUID"),
        ((), {"at": datetime(2026, 1, 1, tzinfo=UTC)}, "at: datetime"),
        ((1, [math.nan]), {}, "argument 1: at [0]: nan is not a JSON number"),
        (("\ud800",), {}, "surrogates"),
    ],
)
def test_arguments_of_a_task_known_by_name_are_plain_json(
    args: tuple[Any, ...], kwargs: dict[str, Any], why: str
) -> None:
    with pytest.raises(InvalidArguments) as error:
        encode_plain("email.send", args, kwargs)

    assert why in str(error.value)
    assert str(error.value).startswith("email.send: ")


class Fixed(tzinfo):
    """A zone that does not know its offset: aware by its attribute, naive by its meaning."""

    def utcoffset(self, _moment: datetime | None) -> timedelta | None:
        return None

    def dst(self, _moment: datetime | None) -> timedelta | None:
        return None

    def tzname(self, _moment: datetime | None) -> str | None:
        return None


def test_a_zone_that_would_be_lost_is_a_difference() -> None:
    given = datetime(2026, 1, 1, tzinfo=Fixed())

    assert difference(given, given.replace(tzinfo=None)) is not None
