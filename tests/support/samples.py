"""Types and values as users have them: what the tests of the codec write and read."""
# ruff: noqa: D101 -- each class is a sample; its name says of what

import enum
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, NamedTuple, NewType, NotRequired, Self, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, RootModel
from pydantic_core import core_schema
from typing_extensions import TypeAliasType, TypedDict

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Word(enum.StrEnum):
    YES = "yes"


class Rights(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


class Shape(enum.Enum):
    SQUARE = (1, 1)


class Address(BaseModel):
    street: str
    number: int = 1


class Person(BaseModel):
    name: str
    born: date
    homes: list[Address] = []
    picture: bytes = b""


class Employee(Person):
    salary: Decimal = Decimal(0)


class Aliased(BaseModel):
    user_name: str = Field(alias="userName")
    valid: int = Field(validation_alias="v", default=0)


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")


class Constants(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="constants")

    value: float


class Hidden(BaseModel):
    name: str
    token: str = Field(default="", exclude=True)


class Private(BaseModel):
    name: str
    _cache: dict[str, int] = PrivateAttr(default_factory=dict[str, int])

    @classmethod
    def with_cache(cls) -> Self:
        private = cls(name="a")
        private._cache["seen"] = 1
        return private


class Trimmed(BaseModel):
    name: Annotated[str, AfterValidator(str.strip)]


class Names(RootModel[list[str]]):
    pass


class Box(BaseModel, Generic[T]):
    item: T


class Node(BaseModel):
    name: str
    children: list["Node"] = []


@dataclass
class Point:
    x: float
    y: float = 0.0


@dataclass(frozen=True, slots=True)
class Blob:
    data: bytes
    tags: frozenset[str] = frozenset()


@dataclass
class Derived(Point):
    z: float = 0.0


@dataclass
class Counted:
    name: str
    size: int = field(init=False, default=0)


class Pair(NamedTuple):
    left: int
    right: UUID | None = None


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


class MyStr(str):
    __slots__ = ()


class MyInt(int):
    pass


class MyFloat(float):
    pass


class MyList(list[int]):
    pass


class MyDict(dict[str, int]):
    pass


class MyDatetime(datetime):
    pass


class Unequal:
    """A type of the user's own that pydantic can carry, and that nothing can compare."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        return core_schema.no_info_plain_validator_function(
            lambda _value: cls(),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda _value: "unequal"),
        )


UserId = NewType("UserId", str)
Json = TypeAliasType("Json", "dict[str, Json] | list[Json] | str | int | float | bool | None")
