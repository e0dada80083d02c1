"""A stencil writes what the call that it was cut from writes."""

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


def _call(uid: str, args: str) -> Call[Any]:
    job = NewJob(uid, "email.send", "0123456789", args, "high", "+250", '{"retention":60}')
    return lua.enqueue(SHARD, most=None, resend_window=120_000, touch=False, jobs=[job])


@given(
    uid=st.text(st.characters(exclude_categories=["Cs"])),
    args=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_a_filled_stencil_is_the_packed_call(uid: str, args: str) -> None:
    filled = Stencil(_call).fill(uid, args)
    assert filled.packed == pack([_call(uid, args).command])
    assert (filled.script, filled.keys, filled.key) == (_call("", "").script, _call("", "").keys, SHARD.meta)


def test_a_call_without_room_for_both_texts_is_no_stencil() -> None:
    with pytest.raises(ValueError, match="not enough values"):
        Stencil(lambda uid, _: _call(uid, "[]"))


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        Stencil(_call).fill("uid", "\ud800")
