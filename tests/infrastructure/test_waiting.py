"""Waiting ends when the event does, and says what did not happen."""

import asyncio
import time

import pytest

from tests.support.waiting import wait_until, wait_until_sync


async def test_the_wait_ends_when_a_sync_predicate_holds() -> None:
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, event.set)
    began = time.monotonic()
    await wait_until(event.is_set, description="the event")
    assert time.monotonic() - began < 5


async def test_the_wait_ends_when_an_async_predicate_holds() -> None:
    answers = iter([0, 0, 1])

    async def predicate() -> int:
        return next(answers)

    await wait_until(predicate, description="the third answer")


async def test_a_vain_wait_says_what_was_awaited() -> None:
    with pytest.raises(AssertionError, match="three jobs to run"):
        await wait_until(lambda: False, description="three jobs to run", timeout=0.05)


async def test_a_predicate_that_hangs_ends_the_wait_too() -> None:
    async def hangs() -> bool:
        await asyncio.Event().wait()
        return True

    with pytest.raises(AssertionError, match="did not return"):
        await wait_until(hangs, description="an answer", timeout=0.05)


async def test_an_error_in_the_predicate_is_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        await wait_until(lambda: 1 / 0, description="nonsense")


def test_the_sync_twin_waits_and_gives_up_alike() -> None:
    answers = iter([0, 0, 1])
    wait_until_sync(lambda: next(answers), description="the third answer")
    with pytest.raises(AssertionError, match="a miracle"):
        wait_until_sync(lambda: False, description="a miracle", timeout=0.05)
