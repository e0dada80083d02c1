"""A stencil writes what the call that it was cut from writes."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capelin import lua
from capelin.connection import Stencil
from capelin.connection.wire import pack
from capelin.keys import Keys
from capelin.lua import Call, NewJob

SHARD = Keys("capelin").shard("emails", 3)


def _calls(rows: Sequence[tuple[str, str]]) -> Call[Any]:
    jobs = [
        NewJob(uid, "email.send", "0123456789", args, "high", "+250", '{"retention":60}')
        for uid, args in rows
    ]
    return lua.enqueue(SHARD, most=None, resend_window=120_000, touch=False, jobs=jobs)


def _call(uid: str, args: str) -> Call[Any]:
    return _calls([(uid, args)])


def read(raw: Any) -> Any:
    return raw


@given(
    uid=st.text(st.characters(exclude_categories=["Cs"])),
    args=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_a_filled_stencil_is_the_packed_call(uid: str, args: str) -> None:
    filled = Stencil(_call, read).fill(uid, args)
    assert filled.packed == pack([_call(uid, args).command])
    assert (filled.script, filled.keys, filled.key) == (_call("", "").script, _call("", "").keys, SHARD.meta)
    assert filled.parse is read


@given(
    rows=st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"])),
            st.text(st.characters(exclude_categories=["Cs"])),
        ),
        max_size=20,
    )
)
def test_one_that_is_filled_with_rows_is_the_packed_call_of_all_of_them(rows: list[tuple[str, str]]) -> None:
    filled = Stencil(_call, read).fill_rows([uid for uid, _ in rows], [args for _, args in rows])
    assert filled.packed == pack([_calls(rows).command])


def test_a_call_without_room_for_both_texts_is_no_stencil() -> None:
    with pytest.raises(ValueError, match="not enough values"):
        Stencil(lambda uid, _: _call(uid, "[]"), read)


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        Stencil(_call, read).fill("uid", "\ud800")
    with pytest.raises(UnicodeEncodeError):
        Stencil(_call, read).fill_rows(["uid"], ["\ud800"])
