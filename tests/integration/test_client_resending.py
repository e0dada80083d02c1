"""Enqueues, reads and cancels while the network breaks: nothing is lost, nothing is doubled (guarantee 6)."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest

from capelin import Cancellation, Capelin, EnqueueError, Job, JobStatus, Settings, Unreachable, _sending, lua
from capelin.keys import Keys
from capelin.tasks import AsyncTask
from tests.support.proxy import Predicate, RedisProxy, mentions
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until

Proxied = Callable[[str], RedisProxy]
_SHARD = Keys("capelin").shard("default", 0)
ENQUEUE = mentions("evalsha", lua.enqueue(_SHARD, most=None, resend_window=1, jobs=()).script.sha)
OPEN_QUEUE = mentions("evalsha", lua.open_queue(Keys("capelin"), "default", shards=8, schema=1).script.sha)
CANCEL = mentions("evalsha", lua.cancel(_SHARD, uid="x", resend_window=1, default_retention=1).script.sha)


class Setting:
    """An app behind a proxy."""

    def __init__(self, proxy: RedisProxy, server: RedisServer, **settings: float) -> None:
        self.proxy, self.server = proxy, server
        self.app = Capelin(proxy.url, settings=Settings.model_validate(settings))

        @self.app.task
        async def number(n: int) -> None:
            del n

        self.number: AsyncTask[[int], None] = number

    def stored(self) -> list[str]:
        """The keys of every job record."""
        keys = self.server.keys()
        return sorted(key for key in keys if ":job:" in key)


@pytest.fixture
async def cut_off(proxied: Proxied, redis_server: RedisServer) -> AsyncIterator[Setting]:
    """An app that is used already, so that the next calls are the test's own."""
    setting = Setting(proxied(redis_server.url), redis_server)
    async with setting.app:
        yield setting


@pytest.fixture
async def impatient(proxied: Proxied, redis_server: RedisServer) -> AsyncIterator[Setting]:
    """The same, and its enqueues give up after 0.3 s."""
    setting = Setting(
        proxied(redis_server.url), redis_server, enqueue_timeout=0.3, socket_timeout=0.7, block=0.3
    )
    async with setting.app:
        yield setting


@pytest.mark.parametrize("what", [ENQUEUE, OPEN_QUEUE], ids=["enqueue", "open_queue"])
@pytest.mark.parametrize("times", [1, 3])
async def test_an_enqueue_whose_reply_is_lost_is_one_job(
    cut_off: Setting, what: Predicate, times: int
) -> None:
    fault = cut_off.proxy.cut_reply_after(what, times=times)
    job = await cut_off.number.enqueue(1)
    assert fault.hits == times
    assert not job.duplicate
    assert await job.status() is JobStatus.QUEUED
    assert len(cut_off.stored()) == 1


@pytest.mark.parametrize("times", [1, 3])
async def test_so_it_is_where_jobs_were_enqueued_before(cut_off: Setting, times: int) -> None:
    """By then the call is packed but for its uid and its arguments."""
    for n in range(20):
        await cut_off.number.enqueue(n)
    fault = cut_off.proxy.cut_reply_after(ENQUEUE, times=times)
    job = await cut_off.number.enqueue(20)
    assert fault.hits == times
    assert not job.duplicate
    assert (await job.info()).args == (20,)
    assert len(cut_off.stored()) == 21


async def test_a_server_that_forgot_its_scripts_learns_them_again(cut_off: Setting) -> None:
    for n in range(20):
        await cut_off.number.enqueue(n)
    cut_off.server.command("SCRIPT", "FLUSH")
    job = await cut_off.number.enqueue(20)
    assert (await job.info()).args == (20,)
    assert len(cut_off.stored()) == 21


async def test_an_enqueue_that_did_not_arrive_is_sent_again(cut_off: Setting) -> None:
    fault = cut_off.proxy.cut_before(ENQUEUE, times=2)
    job = await cut_off.number.enqueue(1)
    assert fault.hits == 2
    assert await job.status() is JobStatus.QUEUED


async def test_a_list_whose_replies_are_lost_half_way_is_there_once(cut_off: Setting) -> None:
    await cut_off.number.enqueue(0)
    third = cut_off.app.keys.shard("default", 3).meta
    fault = cut_off.proxy.cut_reply_after(lambda request: ENQUEUE(request) and third.encode() in request)
    jobs = await cut_off.app.enqueue([cut_off.number.job(n) for n in range(400)])
    assert fault.hits == 1
    assert len({job.id for job in jobs}) == 400
    assert not any(job.duplicate for job in jobs)
    assert len(cut_off.stored()) == 401
    assert [(await job.info()).args for job in jobs[::50]] == [(n,) for n in range(0, 400, 50)]


async def test_a_lost_reply_of_a_dedupe_key_does_not_find_itself(cut_off: Setting) -> None:
    cut_off.proxy.cut_reply_after(ENQUEUE)
    once = cut_off.number.options(dedupe_key="x")
    first = await once.enqueue(1)
    assert not first.duplicate
    cut_off.proxy.cut_reply_after(ENQUEUE)
    second = await once.enqueue(2)
    assert second.duplicate
    assert second == first
    assert len(cut_off.stored()) == 1


async def test_a_lost_reply_at_the_limit_of_a_queue_is_no_full_queue(
    proxied: Proxied, redis_server: RedisServer
) -> None:
    setting = Setting(proxied(redis_server.url), redis_server, max_queue_length=8)
    async with setting.app:
        jobs: list[Job[None]] = []
        for n in range(8):
            fault = setting.proxy.cut_reply_after(ENQUEUE)
            jobs.append(await setting.number.enqueue(n))
            assert fault.hits == 1
        assert len({job.id for job in jobs}) == len(setting.stored()) == 8


async def test_an_enqueue_outlives_an_outage(cut_off: Setting) -> None:
    await cut_off.number.enqueue(0)
    cut_off.proxy.refuse()
    enqueues = [asyncio.create_task(cut_off.number.enqueue(n)) for n in range(5)]
    many = asyncio.create_task(cut_off.app.enqueue([cut_off.number.job(n) for n in range(20)]))
    done, _ = await asyncio.wait(enqueues, timeout=0.3)
    assert not done
    cut_off.proxy.accept()
    jobs = [*await asyncio.gather(*enqueues), *await many]
    assert len({job.id for job in jobs}) == 25
    assert len(cut_off.stored()) == 26


async def test_a_network_that_swallows_replies_does_not_double_a_job(
    proxied: Proxied, redis_server: RedisServer
) -> None:
    setting = Setting(proxied(redis_server.url), redis_server, socket_timeout=0.6, block=0.3)
    async with setting.app:
        await setting.number.enqueue(0)
        setting.proxy.blackhole(requests_pass=True)
        enqueue = asyncio.create_task(setting.number.enqueue(1))
        await wait_until(lambda: len(setting.stored()) == 2, description="the job to be written")
        await wait_until(lambda: setting.proxy.accepted > 1, description="the client to connect anew")
        setting.proxy.accept()
        job = await enqueue
        assert await job.status() is JobStatus.QUEUED
        assert len(setting.stored()) == 2


async def test_when_the_time_is_over_it_says_what_was_not_sent_and_never_sends_it(impatient: Setting) -> None:
    await impatient.number.enqueue(0)
    impatient.proxy.refuse()
    began = time.monotonic()
    with pytest.raises(EnqueueError, match="3 of 3 jobs not enqueued: Redis at redis:") as caught:
        await impatient.app.enqueue([impatient.number.job(n) for n in range(3)])
    assert 0.1 < time.monotonic() - began < 2
    error = caught.value
    assert (error.enqueued, error.unsent) == ([], [0, 1, 2])
    assert error.retryable
    assert all(isinstance(cause, Unreachable) for cause in error.causes)
    impatient.proxy.accept()
    # What is enqueued next comes after anything that might still have been under way.
    await impatient.number.enqueue(4)
    assert len(impatient.stored()) == 2


async def test_a_first_enqueue_to_nobody_ends_in_time_too(impatient: Setting) -> None:
    impatient.proxy.refuse()
    with pytest.raises(EnqueueError, match="1 of 1 jobs not enqueued"):
        await impatient.number.enqueue(1)
    impatient.proxy.accept()
    assert await (await impatient.number.enqueue(1)).status() is JobStatus.QUEUED


async def test_what_was_confirmed_of_a_list_is_told_apart_from_what_was_not(impatient: Setting) -> None:
    await impatient.number.enqueue(0)
    third = impatient.app.keys.shard("default", 3).meta
    fault = impatient.proxy.cut_before(
        lambda request: ENQUEUE(request) and third.encode() in request, times=None
    )
    with pytest.raises(EnqueueError) as caught:
        await impatient.app.enqueue([impatient.number.job(n) for n in range(80)])
    fault.lift()
    error = caught.value
    assert len(error.unsent) >= 10
    assert len(error.enqueued) + len(error.unsent) == 80
    there = [(await job.info()).args[0] for job in error.enqueued]
    assert sorted([*there, *error.unsent]) == list(range(80))
    assert len(impatient.stored()) >= len(error.enqueued) + 1


async def test_what_comes_after_an_outage_in_a_long_list_is_not_tried(
    impatient: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sending, "_CALLS_A_ROUND", 2)
    await impatient.number.enqueue(0)
    fault = impatient.proxy.cut_before(lambda request: b"[[170],{}]" in request, times=None)
    with pytest.raises(EnqueueError) as caught:
        await impatient.app.enqueue([impatient.number.job(n) for n in range(400)])
    fault.lift()
    error = caught.value
    # Calls of 50 jobs, two a round: those with the 170th are cut, and the rounds after them are left out.
    assert error.unsent[-200:] == list(range(200, 400))
    assert set(range(150, 200)) <= set(error.unsent)
    assert {(await job.info()).args[0] for job in error.enqueued} >= set(range(100))


async def test_a_list_of_several_rounds_is_there_once(
    cut_off: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sending, "_CALLS_A_ROUND", 3)
    fault = cut_off.proxy.cut_reply_after(lambda request: b"[[77],{}]" in request)
    jobs = await cut_off.app.enqueue([cut_off.number.job(n) for n in range(200)])
    assert fault.hits == 1
    assert [(await job.info()).args for job in jobs] == [(n,) for n in range(200)]
    assert len(cut_off.stored()) == 200


async def test_an_enqueue_that_is_cancelled_stops_being_sent(cut_off: Setting) -> None:
    await cut_off.number.enqueue(0)
    cut_off.proxy.refuse()
    enqueue = asyncio.create_task(cut_off.number.enqueue(1))
    await asyncio.wait([enqueue], timeout=0.1)
    enqueue.cancel()
    await asyncio.wait([enqueue])
    assert enqueue.cancelled()
    cut_off.proxy.accept()
    await cut_off.number.enqueue(2)
    assert len(cut_off.stored()) == 2


async def test_reads_go_on_after_a_short_interruption(cut_off: Setting) -> None:
    job = await cut_off.number.enqueue(1)
    cut_off.proxy.drop_all()
    assert await job.status() is JobStatus.QUEUED
    cut_off.proxy.cut_before(mentions("hgetall"))
    assert (await job.info()).args == (1,)


async def test_reads_of_a_redis_that_is_gone_say_so(impatient: Setting) -> None:
    job = await impatient.number.enqueue(1)
    impatient.proxy.refuse()
    for ask in (job.status, job.info, job.cancel):
        with pytest.raises(Unreachable):
            await ask()
    impatient.proxy.accept()
    assert await job.status() is JobStatus.QUEUED


async def test_a_cancel_whose_reply_is_lost_has_cancelled(cut_off: Setting) -> None:
    job = await cut_off.number.enqueue(1)
    fault = cut_off.proxy.cut_reply_after(CANCEL)
    assert await job.cancel() is Cancellation.CANCELLED
    assert fault.hits == 1
    assert await job.cancel() is Cancellation.ENDED
