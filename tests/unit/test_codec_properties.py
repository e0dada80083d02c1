"""Whatever the value: it comes back exactly, or it is refused."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from capelin.codec import Codec, Inexact, read_json, readable
from capelin.exact import is_json, why_not_json
from capelin.narrow import is_dict, is_list, is_tuple
from tests.support.samples import Address, Colour, Employee, Level, Person, Point, Word

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner),
    max_leaves=10,
)


@given(json_values)
def test_the_quick_check_and_the_reason_agree(value: Any) -> None:
    assert is_json(value) == (why_not_json(value) is None)


Hinted = tuple[Any, st.SearchStrategy[Any]]
scalars: list[Hinted] = [
    (str, st.text() | st.text(st.characters())),
    (int, st.integers() | st.booleans()),
    (bool, st.booleans() | st.integers(0, 1)),
    (float, st.floats() | st.integers()),
    (bytes, st.binary()),
    (datetime, st.datetimes(timezones=st.none() | st.timezones(), allow_imaginary=True)),
    (date, st.dates()),
    (time, st.times()),
    (timedelta, st.timedeltas()),
    (UUID, st.uuids()),
    (Decimal, st.decimals()),
    (Colour, st.sampled_from([*Colour, *Word])),
    (Level, st.sampled_from([*Level, 1])),
    (Any, json_values),
    (complex, st.complex_numbers()),
]


def models(text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    address = st.builds(Address, street=text, number=st.integers())
    person = st.builds(
        Person, name=text, born=st.dates(), homes=st.lists(address, max_size=2), picture=st.binary()
    )
    return address | person | st.builds(Employee, name=text, born=st.dates())


def generic(kind: Any, *parts: Any) -> Any:
    return kind[parts]


def wrapped(inner: Hinted) -> st.SearchStrategy[Hinted]:
    hint, values = inner
    some = st.lists(values, max_size=3)
    options: list[Hinted] = [
        (generic(list, hint), some | some.map(tuple)),
        (generic(tuple, hint, ...), some.map(tuple)),
        (generic(dict, str, hint), st.dictionaries(st.text(max_size=3), values, max_size=3)),
        (hint | None, st.none() | values),
        (hint | str, values | st.text()),
    ]
    return st.sampled_from(options)


hinted: st.SearchStrategy[Hinted] = st.sampled_from(
    [*scalars, (Person, models(st.text())), (Point, st.builds(Point, st.floats(), st.floats()))]
)


@given(st.data())
def test_any_value_comes_back_exactly_or_is_refused(data: st.DataObject) -> None:
    hint, values = data.draw(
        st.one_of(hinted, hinted.flatmap(wrapped), hinted.flatmap(wrapped).flatmap(wrapped))
    )
    value = data.draw(values)
    codec = Codec(hint)

    try:
        text = readable(codec.write(value))
    except Inexact:
        return
    back = codec.read(read_json(text))

    assert_same(value, back)


def assert_same(value: Any, back: Any) -> None:
    """A comparison of its own, so that a hole in the codec's is seen."""
    if type(value) is int and type(back) is float:
        assert value == back
        return
    assert type(back) is type(value)
    if is_list(value) or is_tuple(value):
        assert len(back) == len(value)
        for one, other in zip(value, back, strict=True):
            assert_same(one, other)
    elif is_dict(value):
        assert back.keys() == value.keys()
        for key in value:
            assert_same(value[key], back[key])
    elif isinstance(value, (datetime, time)):
        assert back.isoformat() == value.isoformat()
    elif isinstance(value, BaseModel):
        assert_same(value.__dict__, back.__dict__)
    elif isinstance(value, (Decimal, complex, float, Point)):
        assert repr(back) == repr(value)
    else:
        assert back == value
