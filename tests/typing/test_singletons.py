"""What the type checkers infer of singletons, and what they flag.

As in `test_inference.py`: both pyright and mypy hold this file, and each `type: ignore` stands on an error
that both must report.
"""
# pyright: strict, reportUnnecessaryTypeIgnoreComment=error

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, assert_type

import pytest
from pydantic import BaseModel

from capelin import Capelin, CapelinError, Leader, Singleton, Tasks


class IndexState(BaseModel):
    """A state."""

    position: int = 0


class Other(BaseModel):
    """Another one."""

    words: list[str] = []


app = Capelin("memory://")
tasks = Tasks(prefix="more.")


async def became(leader: Leader[IndexState]) -> None:
    assert_type(leader.state, IndexState)


async def of_the_other(leader: Leader[Other]) -> int:
    return len(leader.state.words)


@app.singleton("indexer", state=IndexState, interval=30, on_become_leader=became)
async def indexer(leader: Leader[IndexState]) -> None:
    assert_type(leader.state, IndexState)
    assert_type(leader.state.position, int)
    assert_type(leader.fencing_token, int)
    assert_type(leader.held, bool)
    assert_type(leader.worker_id, str)
    leader.state.position += 1
    leader.state = IndexState(position=5)
    assert_type(await leader.save(), None)
    assert_type(await leader.heartbeat(), None)

    leader.state.words  # type: ignore[attr-defined] # noqa: B018
    leader.state = Other()  # type: ignore[assignment]
    leader.held = True  # type: ignore[misc]


@tasks.singleton(state=Other, initial=Other(words=["a"]), interval=timedelta(minutes=1), lose_timeout=2)
async def worded(leader: Leader[Other]) -> int:
    return len(leader.state.words)


@app.singleton
async def plain(leader: Leader[None]) -> None:
    assert_type(leader.state, None)


@app.singleton(interval=5)
async def bare(leader: Leader) -> None:
    assert_type(leader.state, None)


def what_a_decorator_makes() -> None:
    assert_type(indexer, Singleton[IndexState])
    assert_type(worded, Singleton[Other])
    assert_type(plain, Singleton[None])
    assert_type(bare, Singleton[None])
    assert_type(indexer.interval, float)
    assert_type(indexer.initial_state(), IndexState)


async def what_a_call_gives(leader: Leader[IndexState]) -> None:
    coroutine = assert_type(indexer(leader), Coroutine[Any, Any, object])
    assert_type(await coroutine, object)

    await worded(leader)  # type: ignore[arg-type]


def what_decorators_flag() -> None:
    app.singleton(state=int)  # type: ignore[type-var]
    app.singleton(initial=IndexState())  # type: ignore[call-overload]
    app.singleton(state=IndexState, on_become_leader=of_the_other)  # type: ignore[arg-type]
    app.singleton(every=30)  # type: ignore[call-overload]
    app.singleton(interval="1 m")  # type: ignore[call-overload]
    app.singleton(of_the_other)  # type: ignore[arg-type]


def synchronous(leader: Leader[IndexState]) -> None:
    del leader


FLAGGED: list[Callable[[], object]] = [
    lambda: app.singleton("a", state=IndexState)(of_the_other),  # type: ignore[arg-type]
    lambda: app.singleton("b")(of_the_other),  # type: ignore[arg-type]
    lambda: app.singleton("c", state=IndexState)(synchronous),  # type: ignore[arg-type]
    lambda: app.singleton("d", state=IndexState, interval="1 m")(became),  # type: ignore[call-overload]
]


@pytest.mark.parametrize("call", FLAGGED)
def test_what_the_checkers_flag_is_refused_when_it_runs(call: Callable[[], object]) -> None:
    with pytest.raises(CapelinError):
        call()


def test_what_the_checkers_infer_is_what_is_made() -> None:
    assert [type(one) for one in (indexer, worded, plain, bare)] == [Singleton] * 4
    assert isinstance(indexer.initial_state(), IndexState)
    assert plain.initial_state() is None
