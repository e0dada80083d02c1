"""Questions from a supervisor to its processes: an answer belongs to its question, however late it comes."""

import asyncio
import socket
from typing import Any

import pytest

from capelin.workers.link import Link, answer_for_ever


async def test_an_answer_that_comes_too_late_is_not_taken_for_the_next() -> None:
    ours, theirs = socket.socketpair()
    may_answer = asyncio.Event()

    async def answer(question: str) -> Any:
        if question == "slow":
            await may_answer.wait()
        return [question, "x" * 200_000]

    answering = asyncio.create_task(answer_for_ever(theirs, answer))
    link = Link(ours)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await link.ask("slow")
    asked = asyncio.create_task(link.ask("next"))
    may_answer.set()
    assert await asked == ["next", "x" * 200_000]
    answers = await asyncio.gather(*(link.ask(str(number)) for number in range(5)))
    assert [said for said, _ in answers] == ["0", "1", "2", "3", "4"]
    link.close()
    await answering


async def test_a_process_that_is_gone_says_so() -> None:
    ours, theirs = socket.socketpair()
    link = Link(ours)
    theirs.close()
    with pytest.raises(ConnectionError):
        await link.ask("anything")
    link.close()


async def test_a_link_that_nobody_used_closes() -> None:
    ours, theirs = socket.socketpair()
    Link(ours).close()
    assert theirs.recv(1) == b""
    theirs.close()
