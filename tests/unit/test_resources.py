"""Resources: what the lifespan yields, found by app and by type, for as long as it is open."""
# ruff: noqa: D101 -- the classes are samples

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from capelin.errors import InvalidOption, NoResources
from capelin.resources import ResourceSlot, resource


@dataclass
class Resources:
    db: str = "db"
    log: list[str] = field(default_factory=list[str])


@dataclass
class Others:
    cache: str = "cache"


@asynccontextmanager
async def with_app(app: list[str]) -> AsyncGenerator[Resources]:
    app.append("opened")
    try:
        yield Resources(db="real")
    finally:
        app.append("closed")


@asynccontextmanager
async def with_nothing() -> AsyncGenerator[Others]:
    yield Others()


async def test_the_lifespan_is_open_for_as_long_as_it_is_entered() -> None:
    app: list[str] = []
    slot = ResourceSlot("shop", with_app)

    async with slot.opened(app) as resources:
        assert app == ["opened"]
        assert slot.get() is resources is resource(Resources)
        assert slot.get().db == "real"

    assert app == ["opened", "closed"]


async def test_a_lifespan_may_take_nothing() -> None:
    slot = ResourceSlot("shop", with_nothing)

    async with slot.opened(object()):
        assert slot.get().cache == "cache"


async def test_a_lifespan_may_have_parameters_with_defaults() -> None:
    @asynccontextmanager
    async def lifespan(app: object = None, *, size: int = 5) -> AsyncGenerator[tuple[object, int]]:
        yield (app, size)

    slot = ResourceSlot("shop", lifespan)

    async with slot.opened("the app"):
        assert slot.get() == ("the app", 5)


async def test_an_app_without_a_lifespan_has_none_and_says_so() -> None:
    slot: ResourceSlot[Any] = ResourceSlot("shop")

    async with slot.opened(object()) as resources:
        assert resources is None
        with pytest.raises(NoResources, match=r"app shop has no resources; Capelin\(lifespan=\.\.\.\)"):
            slot.get()


async def test_before_and_after_there_are_none() -> None:
    slot = ResourceSlot("shop", with_nothing)

    with pytest.raises(NoResources, match="of app shop are not open here: they are in a running worker"):
        slot.get()
    with pytest.raises(NoResources, match="no resources of type Others are open here: no worker"):
        resource(Others)
    async with slot.opened(object()):
        pass
    with pytest.raises(NoResources):
        slot.get()


async def test_resources_of_another_type_are_named() -> None:
    slot = ResourceSlot("shop", with_nothing)

    async with slot.opened(object()):
        with pytest.raises(
            NoResources, match="no resources of type Resources are open here; there are: Others"
        ):
            resource(Resources)


async def test_each_app_has_its_own() -> None:
    one, two = ResourceSlot("one", with_app), ResourceSlot("two", with_nothing)

    async with one.opened([]) as resources, two.opened(object()) as others:
        assert (one.get(), two.get()) == (resources, others)
        assert (resource(Resources), resource(Others)) == (resources, others)


async def test_a_test_provides_its_own_over_those_that_are_open() -> None:
    slot = ResourceSlot("shop", with_app)
    fake = Resources(db="fake")

    async with slot.opened([]) as real:
        with slot.provided(fake):
            assert slot.get() is resource(Resources) is fake
        assert slot.get() is resource(Resources) is real


async def test_two_workers_in_one_process_each_have_their_own() -> None:
    slot = ResourceSlot("shop", with_app)
    both_run = asyncio.Barrier(2)

    async def worker() -> bool:
        async with slot.opened([]) as mine:
            await both_run.wait()
            found = slot.get() is mine and resource(Resources) is mine
            in_thread = await asyncio.to_thread(lambda: slot.get() is mine)
            await both_run.wait()
            return found and in_thread

    assert all(await asyncio.gather(worker(), worker()))


async def test_a_thread_of_the_users_own_finds_what_is_open() -> None:
    slot = ResourceSlot("shop", with_nothing)
    found: list[Others] = []

    async with slot.opened(object()) as others:
        thread = threading.Thread(target=lambda: found.append(slot.get()))
        thread.start()
        thread.join()

    assert found == [others]


async def test_a_fixture_may_be_torn_down_in_another_context() -> None:
    slot: ResourceSlot[Resources] = ResourceSlot("shop")
    provided = slot.provided(Resources(db="fake"))

    await asyncio.create_task(asyncio.to_thread(provided.__enter__))
    assert slot.get().db == "fake"
    await asyncio.create_task(asyncio.to_thread(provided.__exit__, None, None, None))

    with pytest.raises(NoResources):
        slot.get()


async def test_an_error_within_closes_it() -> None:
    app: list[str] = []
    slot = ResourceSlot("shop", with_app)

    with pytest.raises(KeyError):
        async with slot.opened(app):
            raise KeyError("a worker's own")

    assert app == ["opened", "closed"]
    with pytest.raises(NoResources):
        slot.get()


async def no_context_manager(_app: object) -> AsyncGenerator[Others]:
    yield Others()


async def a_coroutine(_app: object) -> Others:
    return Others()


def takes_two(_app: object, _more: object) -> None: ...


def returns_a_number(_app: object) -> int:
    return 5


@pytest.mark.parametrize(
    ("lifespan", "why"),
    [
        (no_context_manager, "put @asynccontextmanager above it"),
        (a_coroutine, "put @asynccontextmanager above it"),
        (5, "expected a callable that takes the app"),
        (takes_two, "it is called with the app, or with nothing"),
    ],
)
def test_what_cannot_be_a_lifespan_is_refused(lifespan: Any, why: str) -> None:
    with pytest.raises(InvalidOption) as error:
        ResourceSlot("shop", lifespan)

    assert why in str(error.value)


async def test_a_lifespan_that_returns_something_else_is_refused() -> None:
    lifespan: Any = returns_a_number

    with pytest.raises(InvalidOption, match="it must return an async context manager"):
        async with ResourceSlot("shop", lifespan).opened(object()):
            pass
