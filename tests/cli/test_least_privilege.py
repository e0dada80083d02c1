"""One user who enqueues, one who works, one who operates: each can do its part, the first no more."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from capelin import Capelin, JobCancelled, NotReplicated
from capelin.admin.doctor.rights import CALL, Words, acl_line, right
from capelin.lua.loader import load
from tests.cli.conftest import Run
from tests.support.doctoring import diagnose
from tests.support.resp import Connection, RespError
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, start_worker

SECRET = "of-a-test"  # noqa: S105 -- it is none
PAGE = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text(encoding="utf-8")
OF_CLIENTS = ("enqueue", "open_queue", "watch", "cancel", "lend", "loans")
"""The scripts that a program calls which only enqueues."""
FORBIDDEN = (
    *(
        ("FLUSHALL",),
        ("FLUSHDB",),
        ("KEYS", "*"),
        ("SCAN", "0"),
        ("CONFIG", "GET", "*"),
        ("ACL", "LIST"),
        ("SHUTDOWN",),
    ),
    *(
        ("MONITOR",),
        ("EVAL", "return 1", "0"),
        ("GET", "other:key"),
        ("SET", "other:key", "x"),
        ("DEL", "other:key"),
    ),
    *(("SUBSCRIBE", "other:channel"), ("PUBLISH", "other:channel", "x")),
    ("XREADGROUP", "GROUP", "workers", "w", "STREAMS", "capelin:{default:0}:stream:normal", ">"),
    ("XRANGE", "capelin:{default:0}:stream:normal", "-", "+"),
)


def rights_of_clients() -> list[str]:
    """What the page lists for a program that only enqueues."""
    [block] = [part for part in PAGE.split("```text\n") if part.startswith("+client|setname +del ")]
    return block.partition("```")[0].split()


def rights_of_operators() -> list[str]:
    """What the page adds for an operator."""
    [line] = [line for line in PAGE.splitlines() if line.startswith("+info ")]
    return [word for word in line.split() if word.startswith("+")]


@pytest.fixture
def users(redis_server: RedisServer) -> Iterator[dict[str, str]]:
    """The URL of each of three users on one server."""
    everything = acl_line("worker").replace(">PASSWORD", f">{SECRET}").split()
    first = everything.index("resetchannels")
    base = [word for word in everything if not word.startswith("+")]
    made = {
        "worker": everything,
        "client": [*base[:2], "client", *base[3:], *rights_of_clients()],
        "operator": [*everything[:2], "operator", *everything[3:], *rights_of_operators()],
    }
    assert first > 0
    redis_server.command("ACL", "LOG", "RESET")
    for words in made.values():
        assert redis_server.command(*words) == "OK"
    yield {name: redis_server.url.replace("://", f"://{name}:{SECRET}@") for name in made}
    for name in made:
        redis_server.command("ACL", "DELUSER", name)
    redis_server.command("ACL", "LOG", "RESET")


async def client_and_worker(users: dict[str, str]) -> None:
    """A worker as one user runs what a program enqueues as another, and cancels."""
    theirs = Capelin(users["worker"], name="worker", settings=QUICK)

    @theirs.task
    async def fine(number: int) -> int:
        return number

    @theirs.task
    async def hold() -> None:
        await asyncio.Event().wait()

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(theirs)
        await start_worker(stack, theirs)
        app = await stack.enter_async_context(Capelin(users["client"], name="client"))
        fine_, hold_ = app.task_named("fine"), app.task_named("hold")
        jobs = [
            *await app.enqueue([fine_.job(number=number) for number in (1, 2, 3)]),
            await fine_.options(delay=0.05).enqueue(number=4),
            await fine_.options(dedupe_key="w", dedupe_for=60).enqueue(number=5),
        ]
        assert [await job.result(timeout=20) for job in jobs] == [1, 2, 3, 4, 5]
        held = await hold_.options(dedupe_key="k", then=fine_.job(number=1)).enqueue()
        assert (await hold_.options(dedupe_key="k").enqueue()).duplicate
        await hold_.options(dedupe_key="k", on_duplicate="follow").enqueue()
        later = await fine_.options(delay=60, dedupe_key="d").enqueue(number=1)
        await fine_.options(delay=50, dedupe_key="d", on_duplicate="replace").enqueue(number=2)
        with pytest.raises(NotReplicated):
            await fine_.options(min_replicas=9).enqueue(number=6)

        async def runs() -> bool:
            return await held.status() == "running"

        await wait_until(runs, description="the job to run")
        assert (await later.info()).due is not None
        for job in (held, later):
            await job.cancel()
            with pytest.raises(JobCancelled):
                await job.result(timeout=20)


def test_each_user_can_do_its_part_and_is_refused_nothing(
    run: Run, redis_server: RedisServer, users: dict[str, str]
) -> None:
    asyncio.run(client_and_worker(users))
    for words in (("queues",), ("jobs",), ("dlq",), ("workers",), ("queues", "pause", "default")):
        assert run(*words, "--redis", users["operator"], "--json").status == 0, words
    assert run("queues", "resume", "default", "--redis", users["operator"]).status == 0
    found = diagnose(run, users["operator"], "--user", "worker")
    assert not [one for one in found.findings if "could not be looked at" in one["what"]]
    assert redis_server.command("ACL", "LOG") == []


@pytest.mark.parametrize("words", FORBIDDEN, ids=" ".join)
def test_who_only_enqueues_may_do_nothing_else(
    redis_server: RedisServer, users: dict[str, str], words: tuple[str, ...]
) -> None:
    del users  # they are there now
    with Connection(redis_server.port) as redis:
        redis("AUTH", "client", SECRET)
        with pytest.raises(RespError, match="NOPERM"):
            redis(*words)


def test_what_the_page_lists_for_clients_is_what_their_scripts_call_and_little_more() -> None:
    called: set[Words] = set()
    for name in OF_CLIENTS:
        called |= {(first.upper(),) for first, _ in CALL.findall(load(name).text)}
    listed = {*rights_of_clients()}
    assert {right(words) for words in called} <= listed
    assert listed <= {*acl_line().split()}


def test_a_client_user_is_told_what_it_lacks_to_be_a_worker(run: Run, users: dict[str, str]) -> None:
    found: Any = diagnose(run, users["client"], "--only", "acl")
    assert "+xreadgroup" in found.worst("acl")["what"]
