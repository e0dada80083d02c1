"""What stands in keys that many workers read, and was written by none: nobody trips over it."""

import asyncio
import json
import re
from typing import Any

import pytest

from capelin import Capelin
from capelin.admin.access import open_access
from capelin.keys import Keys, type_of
from capelin.lua.loader import load
from capelin.settings import Settings
from capelin.workers.fleet import Member, read_members, wanted_shards
from capelin.workers.lanes import Lanes

MEMBER = Member(
    id="w-1", app="a", host="h", pid=1, version="1", started=1, queues=("q",), slots=1, tasks={"t": "d"}
)
ODD: dict[str, dict[str, Any]] = {
    "an id that is a number": {"id": 5},
    "another's id": {"id": "w-3"},
    "queues that are no names": {"queues": [[1]]},
    "queues that are nothing": {"queues": None},
    "tasks that are a list": {"tasks": ["t"]},
    "tasks that are nothing": {"tasks": None},
    "digests that are numbers": {"tasks": {"t": 1}},
    "singletons that are lists": {"singletons": [[]]},
    "keys that are numbers": {"keys": [7]},
    "slots that are a word": {"slots": "many"},
    "a start that is a word": {"started": "today"},
}


def record(**odd: Any) -> bytes:
    return json.dumps(json.loads(MEMBER.to_json()) | {"id": "w-2"} | odd).encode()


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
def test_a_member_that_cannot_be_one_is_none(odd: dict[str, Any]) -> None:
    found = read_members([b"#version", b"1", b"w-1", MEMBER.to_json().encode(), b"w-2", record(**odd)])
    assert found == {"w-1": MEMBER}
    assert len(wanted_shards("w-1", found, {"q": 8}, Keys())) == 8


@pytest.mark.parametrize("name", [b"\xff\xfe", b"", b"w-2"])
@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"null", b"5", b"\xff", b'{"queues": 1}'])
def test_what_is_no_record_makes_no_member(name: bytes, text: bytes) -> None:
    assert read_members([name, text, b"w-1", MEMBER.to_json().encode()]) == {"w-1": MEMBER}


async def test_names_of_queues_that_are_none_are_left_out() -> None:
    async with Capelin("memory://rubbish-names") as app:

        @app.task(queue="emails")
        async def send() -> None: ...

        await send.enqueue()
        async with open_access("memory://rubbish-names", prefix="capelin", settings=Settings()) as access:
            await access.commands([("SADD", access.keys.queues, b"\xff\xfe", "a b", "")])
            assert list(await access.layouts()) == ["emails"]
            broken: dict[str, Exception] = {}
            assert list(await access.layouts(broken=broken)) == ["emails"]
            assert sorted(broken) == ["", "a b", "\ufffd\ufffd"]


async def test_a_lane_that_was_cancelled_is_not_woken_in_the_place_of_one_that_waits() -> None:
    lanes = Lanes()
    waiting = asyncio.create_task(lanes.wait(None))
    await asyncio.sleep(0)
    leaving = asyncio.create_task(lanes.wait(None))
    await asyncio.sleep(0)
    leaving.cancel()
    lanes.wake()  # before the one that leaves has run again to say so
    await waiting
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert len(lanes) == 0


def test_scripts_and_python_agree_on_the_types_of_keys() -> None:
    """`whole` refuses by the one, and a person is told by the other."""
    table = load("pause").text.partition("local TYPES = {")[2].partition("}")[0]
    types = dict(re.findall(r"(\w+) = '(\w+)'", table))
    assert len(types) > 10
    assert types == {kind: type_of(f"capelin:{{emails:3}}:{kind}") for kind in types}
