"""`capelin top`, driven key by key in this process, on a real Redis; what the screen shows is read back."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input
from typing_extensions import override

from capelin import Capelin, Reject
from capelin.admin import Access, JobStory, open_access
from capelin.records import JobStatus
from capelin.settings import Settings
from capelin.top import line
from capelin.top.line import Line
from capelin.top.screen import TopApp
from tests.conftest import OwnRedis
from tests.support.commands import counting_commands
from tests.support.screens import COLUMNS, LINES, lines_of
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, RunningWorker

EVERY = 0.2
DEAD, JOBS = "5", "6"


class Driver:
    """Presses keys, and waits for what the screen shows."""

    def __init__(self, pilot: Pilot[None], app: TopApp) -> None:
        self._pilot, self.app = pilot, app

    @property
    def lines(self) -> list[str]:
        """The screen."""
        return lines_of(self.app)

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        await self._pilot.press(*keys)

    def type_in(self, text: str) -> None:
        """Put a text where one is asked for."""
        self.app.screen.query_one(Input).value = text

    async def until(self, *words: str) -> list[str]:
        """Wait until the screen shows all of these."""

        async def shown() -> bool:
            await self._pilot.pause()
            text = "\n".join(self.lines)
            return all(each in text for each in words)

        try:
            await wait_until(shown, description=f"{words}")
        except AssertionError as error:
            raise AssertionError(f"{error}; the screen shows:\n" + "\n".join(self.lines)) from None
        return self.lines

    async def looks(self, more: int) -> None:
        """Wait for so many more looks at Redis."""
        enough = self.app.looks + more
        await wait_until(lambda: self.app.looks >= enough, description="more looks at Redis")


@asynccontextmanager
async def watching(url: str, *, size: tuple[int, int] = (COLUMNS, LINES)) -> AsyncGenerator[Driver]:
    async with open_access(url, prefix="capelin", settings=Settings()) as access:
        app = TopApp(Line(access), every=EVERY)
        async with app.run_test(size=size) as pilot:
            yield Driver(pilot, app)


@pytest.fixture
def make_app() -> Callable[[str], Capelin[Any]]:
    """Makes an app whose one task fails as long as it is told to."""

    def make(url: str) -> Capelin[Any]:
        app = Capelin(url, name="shop", settings=QUICK)

        @app.task(name="send", queue="emails")
        async def send(to: str) -> str:
            if to == "nobody":
                raise Reject("nobody to send it to")
            return to

        @app.every(timedelta(hours=1), name="digest", args=("all",), queue="digests")
        async def digest(to: str) -> None:
            del to

        return app

    return make


@pytest.fixture
async def shop(redis_url: str, make_app: Callable[[str], Capelin[Any]]) -> AsyncIterator[Capelin[Any]]:
    """That app, on the test's Redis."""
    async with make_app(redis_url) as app:
        yield app


async def a_dead_job(app: Capelin[Any]) -> str:
    job = await app.task_named("send", queue="emails").enqueue("nobody")
    await has(app, job.id, JobStatus.FAILED)
    return job.id


async def has(app: Capelin[Any], job_id: str, status: JobStatus) -> None:
    async def does() -> bool:
        return await app.job(job_id).status() is status

    await wait_until(does, description=f"{job_id} to be {status}")


async def test_it_begins_with_the_queues_and_who_works(
    shop: Capelin[Any], running_worker: RunningWorker
) -> None:
    worker = await running_worker(shop)
    await shop.task_named("send", queue="lost").enqueue("a@b.c")
    async with watching(shop.url) as top:
        shown = await top.until("3 queues: 1 wait, 0 run, 0 dead | 1 worker", "emails", "IN/s")
        assert any(line.startswith(" ! lost") for line in shown), "no worker serves it"
        await top.press("2")
        await top.until(worker.id[:30], "0/100", "16", "leads")
        await top.press("right")
        await top.until("digests:0", worker.id[:20])
        await top.press("right")
        await top.until("digest", "every 1h", "active")


async def test_an_empty_redis_says_so_in_every_list(redis_url: str) -> None:
    async with watching(redis_url) as top:
        await top.until("No queue yet", "0 queues", "leader: none")
        for key, words in zip(
            "23456", ("No worker", "No shard", "No schedule", "Nothing is dead", "No such job"), strict=True
        ):
            await top.press(key)
            await top.until(words)
        await top.press("enter", "p", "r", "c")  # of nothing
        await top.until("No such job")


async def test_a_dead_job_is_looked_into_and_runs_again_if_it_is_confirmed(
    shop: Capelin[Any], running_worker: RunningWorker
) -> None:
    await running_worker(shop)
    job = await a_dead_job(shop)
    async with watching(shop.url) as top:
        await top.press(DEAD)
        await top.until("Reject", "nobody to send it to", job)
        await top.press("enter")
        await top.until(
            f"job {job}", 'arguments   "nobody"', "status      failed", "Traceback", "start 1 failed"
        )
        await top.press("r")
        await top.until(f"Run {job} again?")
        await top.press("n")
        await top.until("status      failed")
        assert (await shop.job(job).info()).token == 1, "it was not confirmed"
        await top.press("r")
        await top.until(f"Run {job} again?")
        await top.press("y")
        await top.until(f"{job} runs again", "starts      2:")
        await top.press("escape")
        await top.until("5 dead", "DIED")


async def test_two_operators_cannot_replay_a_job_twice(
    shop: Capelin[Any], running_worker: RunningWorker
) -> None:
    worker = await running_worker(shop)
    job = await a_dead_job(shop)
    await worker.stop()
    async with watching(shop.url) as one, watching(shop.url) as other:
        for top in (one, other):
            await top.press(DEAD)
            await top.until(job)
            await top.press("r")
            await top.until(f"Run {job} again?")
        await one.press("y")
        await one.until(f"{job} runs again")
        await other.press("y")
        await other.until("not done:", "queued")


async def test_a_scheduled_job_is_cancelled_from_the_list_of_its_queue(shop: Capelin[Any]) -> None:
    job = await shop.task_named("send", queue="emails").options(delay=3600).enqueue("a@b.c")
    async with watching(shop.url) as top:
        await top.until("emails")
        await top.press("enter")
        await top.until("of emails", job.id, "scheduled")
        await top.press("c")
        await top.until(f"Cancel {job.id}?")
        await top.press("y")
        await top.until(f"{job.id} is cancelled")
        await has(shop, job.id, JobStatus.CANCELLED)
        await top.press("s", "s")  # scheduled, queued
        await top.until("queued of emails", "No such job")
        await top.press("escape")
        await top.until("QUEUE")


async def test_a_queue_is_paused_and_goes_on(shop: Capelin[Any], running_worker: RunningWorker) -> None:
    await running_worker(shop)
    async with watching(shop.url) as top:
        await top.until("emails")
        await top.press("down", "p")
        await top.until("queue emails is paused", " ‖ emails", "emails: paused")
        job = await shop.task_named("send", queue="emails").enqueue("a@b.c")
        await top.until("1 wait")
        await top.press("p")
        await top.until("queue emails is open")
        assert await job.result(timeout=20) == "a@b.c"


async def test_a_schedule_is_paused_and_its_run_is_looked_into(
    shop: Capelin[Any], running_worker: RunningWorker
) -> None:
    await running_worker(shop)
    async with watching(shop.url) as top:
        await top.press("4")
        await top.until("digest", "active")
        await top.press("enter")
        await top.until("schedule digest has not fired yet")
        await top.press("p")
        await top.until("schedule digest is paused", "‖ digest", "paused")
        await top.press("p")
        await top.until("schedule digest goes on", "active")


async def test_a_job_is_found_by_its_id_and_a_wrong_one_is_said_to_be_wrong(shop: Capelin[Any]) -> None:
    job = await shop.task_named("send", queue="emails").enqueue("a@b.c")
    async with watching(shop.url) as top:
        await top.until("emails")
        await top.press("j")
        top.type_in(job.id)
        await top.press("enter")
        await top.until(f"job {job.id}", "status      queued")
        await top.press("escape", "j")
        top.type_in("nonsense")
        await top.press("enter")
        await top.until("not read:", "nonsense")
        await top.press("q", "j", "escape")
        await top.until("QUEUE")


async def test_the_cursor_stays_on_its_queue_when_others_come(shop: Capelin[Any]) -> None:
    await shop.task_named("send", queue="m").enqueue("a")
    await shop.task_named("send", queue="n").enqueue("a")
    async with watching(shop.url) as top:
        await top.until("n  ")
        await top.press("down")
        await top.until(" n: no worker")
        await shop.task_named("send", queue="a").enqueue("a")
        await top.until("3 queues", " n: no worker")


async def test_an_outage_is_said_and_survived(
    own_redis: OwnRedis, make_app: Callable[[str], Capelin[Any]]
) -> None:
    server = own_redis(appendonly=True)
    async with make_app(server.url) as app, watching(server.url) as top:
        await app.task_named("send", queue="emails").enqueue("a@b.c")
        await top.until("1 queue: 1 wait")
        server.kill()
        await top.until("seen", "ago: Redis at", "does not answer", "1 queue: 1 wait")
        await top.press("p")
        await top.until("not done: Redis")
        server.restart()
        await top.until("capelin top redis://", "1 queue: 1 wait")
        await app.task_named("send", queue="emails").enqueue("a@b.c")
        await top.until("1 queue: 2 wait")


async def test_a_redis_that_was_never_there_is_waited_for(own_redis: OwnRedis) -> None:
    server = own_redis(appendonly=True)
    server.kill()
    async with watching(server.url) as top:
        await top.until("never seen: Redis at")
        server.restart()
        await top.until("No queue yet")


async def test_every_list_fits_80_columns_and_shows_its_keys(
    shop: Capelin[Any], running_worker: RunningWorker
) -> None:
    await running_worker(shop)
    await a_dead_job(shop)
    async with watching(shop.url) as top:
        for key in "123456":
            await top.press(key)
            await top.looks(2)
            shown = await top.until("q Quit", "⏎ Look inside")
            assert len(shown) == LINES
            assert all(len(line) <= COLUMNS for line in shown)
            assert sum(bool(line.strip()) for line in shown) >= 6


async def test_a_wide_terminal_shows_more(shop: Capelin[Any]) -> None:
    await shop.task_named("send", queue="emails").options(delay=60).enqueue("a")
    async with watching(shop.url, size=(140, 40)) as top:
        await top.until("SCHED", "PARKED", "WORKERS")


async def test_a_look_costs_the_same_however_long_the_backlog_is(
    shop: Capelin[Any], redis_server: RedisServer
) -> None:
    app = shop
    send = app.task_named("send", queue="emails")

    async def cost() -> int:
        async with watching(app.url) as top:
            await top.until("emails")
            with counting_commands(redis_server) as counts:
                await top.looks(2)
            return counts.total()

    await app.enqueue([send.job("a@b.c") for _ in range(16)])
    few = await cost()
    await app.enqueue([send.job("a@b.c") for _ in range(4000)])
    many = await cost()
    assert many < 2 * few


async def test_a_redis_that_hangs_is_said_to_after_a_while_and_survived(
    own_redis: OwnRedis, make_app: Callable[[str], Capelin[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "PATIENCE", 0.5)  # shorter than the connection's own patience
    server = own_redis()
    async with make_app(server.url) as app, watching(server.url) as top:
        await app.task_named("send", queue="emails").enqueue("a@b.c")
        await top.until("1 queue: 1 wait")
        server.pause()
        await top.until("ago: Redis has not answered within 0.5 s", "1 queue: 1 wait")
        server.resume()
        await top.until("capelin top redis://", "1 queue: 1 wait")


async def test_an_answer_that_comes_when_its_screen_was_left_harms_nothing(redis_url: str) -> None:
    class SlowLine(Line):
        """Answers about jobs when it is let."""

        def __init__(self, access: Access) -> None:
            super().__init__(access)
            self.asked, self.answer = asyncio.Event(), asyncio.Event()

        @override
        async def job(self, job_id: str) -> JobStory:
            self.asked.set()
            with contextlib.suppress(asyncio.CancelledError):  # it had been answered at that very moment
                await self.answer.wait()
            return await super().job(job_id)

    async with Capelin(redis_url, name="client") as client:
        job = await client.task_named("send", queue="emails").enqueue("a@b.c")
    async with open_access(redis_url, prefix="capelin", settings=Settings()) as access:
        slow = SlowLine(access)
        app = TopApp(slow, every=EVERY)
        async with app.run_test(size=(COLUMNS, LINES)) as pilot:
            top = Driver(pilot, app)
            await top.press(JOBS)
            await top.until(job.id)
            await top.press("enter")
            await asyncio.wait_for(slow.asked.wait(), 10)
            await top.press("escape")
            slow.answer.set()
            await top.looks(2)
            await top.until("6 jobs", job.id)


async def test_it_works_on_a_cluster(
    cluster_url: str, make_app: Callable[[str], Capelin[Any]], running_worker: RunningWorker
) -> None:
    async with make_app(cluster_url) as app, watching(cluster_url) as top:
        worker = await running_worker(app)
        job = await a_dead_job(app)
        await top.until("2 queues", "1 dead", f"leader: {worker.id[:20]}")
        await top.press("3")
        await top.until("emails:0", worker.id[:20])
        await top.press(DEAD)
        await top.until(job)
        await top.press("r")
        await top.until(f"Run {job} again?")
        await top.press("y")
        await top.until(f"{job} runs again")


@pytest.mark.leaves_keys(reason="an entry that nobody can read, and a queue that a newer release wrote")
async def test_what_is_torn_is_shown_and_breaks_nothing(
    shop: Capelin[Any], redis_server: RedisServer
) -> None:
    job = await shop.task_named("send", queue="emails").enqueue("a@b.c")
    shard = shop.keys.shard("emails", int(job.id.split(".")[1]))
    redis_server.command("XADD", shard.dlq, "*", "nobody", "knows")
    broken = shop.keys.shard("emails", 7 - shard.shard)
    redis_server.command("SET", broken.meta, "no hash")
    redis_server.command("SADD", shop.keys.queues, "newer")
    redis_server.command("HSET", shop.keys.queue_meta("newer"), "shards", 8, "schema", 999)
    async with watching(shop.url) as top:
        await top.until("left out: newer and 1 more", "1 queue: 1 wait, 0 run, 1 dead", "emails")
        redis_server.command("SREM", shop.keys.queues, "newer")
        await top.until(f"left out: emails:{broken.shard}: key capelin:{{emails:{broken.shard}}}:meta is a")
        redis_server.command("DEL", broken.meta)
        await top.until("capelin top redis://", "1 queue: 1 wait")
        await top.press(DEAD)
        await top.until("?")
        await top.press("enter")
        await top.until("not read:")
        await top.press("escape", "r")
        await top.until("again?")
        await top.press("y")
        await top.until("not done:")
