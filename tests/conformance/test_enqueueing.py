"""What a client can do without a worker, on every backend: enqueueing, in all its shapes."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from capelin import (
    Capelin,
    EnqueueError,
    InvalidArguments,
    JobStatus,
    PayloadTooLarge,
    Priority,
    QueueFull,
    RetryPolicy,
    UnsupportedSchema,
)
from capelin.context import JobContext, running
from capelin.lua import OutcomeKind
from tests.conformance.conftest import Shop


async def waiting(shop: Shop, queue: str = "default") -> list[int]:
    """How many entries each shard's streams hold."""
    keys, connection = shop.client.keys, shop.client.connection
    layout = (await shop.client.queues.open([queue]))[queue]
    counts: list[int] = []
    for number in range(layout.shards):
        streams = keys.shard(queue, number).streams
        counts.append(sum([await connection.command("XLEN", stream) for stream in streams]))
    return counts


class TestOneJob:
    """A single enqueue."""

    async def test_it_waits_in_its_queue_with_its_arguments_as_given(self, shop: Shop) -> None:
        before = datetime.now(UTC) - timedelta(seconds=1)
        job = await shop.send.enqueue("a@b.c", subject="x")
        info = await job.info()
        assert (job.queue, job.task, job.duplicate) == ("emails", "email.send", False)
        assert job.id.startswith(f"emails.{job.shard}.")
        assert (info.id, info.task, info.status) == (job.id, "email.send", JobStatus.QUEUED)
        assert (info.args, info.kwargs) == (("a@b.c",), {"subject": "x"})
        assert info.digest == shop.send.signature.digest
        assert info.priority is Priority.HIGH
        assert info.enqueued is not None
        assert before < info.enqueued < datetime.now(UTC) + timedelta(seconds=1)
        assert (info.token, info.attempt, info.crashes, info.worker, info.started) == (0, 0, 0, None, None)
        assert sum(await waiting(shop, "emails")) == 1

    async def test_rich_arguments_are_stored_as_plain_json(self, shop: Shop) -> None:
        moment = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
        job = await shop.stamp.enqueue(UUID(int=7), moment)
        info = await job.info()
        assert info.args == ("00000000-0000-0000-0000-000000000007", "2030-01-02T03:04:05Z")

    async def test_singles_go_to_the_shards_in_turn(self, shop: Shop) -> None:
        jobs = [await shop.nothing.enqueue() for _ in range(16)]
        assert Counter(job.shard for job in jobs) == dict.fromkeys(range(8), 2)

    async def test_a_queue_that_was_used_is_on_the_list_of_queues(self, shop: Shop) -> None:
        await shop.send.enqueue("a@b.c")
        members = await shop.client.connection.command("SMEMBERS", shop.client.keys.queues)
        assert set(members) == {b"emails"}

    async def test_a_queue_keeps_the_number_of_shards_it_was_made_with(
        self, shop: Shop, backend_url: str
    ) -> None:
        await shop.nothing.enqueue()
        other = Shop(backend_url, shards=3)
        async with other.app:
            jobs = await other.app.enqueue([other.nothing.job() for _ in range(200)])
        assert {job.shard for job in jobs} == set(range(8))

    async def test_a_task_known_by_name_only_can_be_enqueued_and_read(
        self, shop: Shop, backend_url: str
    ) -> None:
        async with Capelin(backend_url) as stranger:
            job = await stranger.task_named("email.send", queue="emails").enqueue(to="a@b.c")
            info = await job.info()
            assert (info.task, info.kwargs, info.digest) == ("email.send", {"to": "a@b.c"}, "")
            await shop.hand.complete("emails", "7")
            assert await job.result(timeout=5) == 7


class TestOptions:
    """What is given for one call."""

    async def test_a_delayed_job_is_scheduled_by_the_clock_of_redis(self, shop: Shop) -> None:
        job = await shop.nothing.options(delay=3600).enqueue()
        info = await job.info()
        assert info.status is JobStatus.SCHEDULED
        assert info.due is not None
        assert info.enqueued is not None
        assert info.due - info.enqueued == timedelta(hours=1)
        assert await shop.hand.take() == []

    async def test_a_job_at_a_moment_is_due_then(self, shop: Shop) -> None:
        moment = datetime(2040, 5, 6, 7, 8, 9, 123_000, tzinfo=UTC)
        info = await (await shop.nothing.options(at=moment).enqueue()).info()
        assert (info.status, info.due) == (JobStatus.SCHEDULED, moment)

    async def test_a_job_whose_moment_is_past_waits_at_once(self, shop: Shop) -> None:
        job = await shop.nothing.options(at=datetime(2020, 1, 1, tzinfo=UTC)).enqueue()
        assert await job.status() is JobStatus.QUEUED

    async def test_what_is_given_for_one_job_is_in_its_record(self, shop: Shop) -> None:
        retry = RetryPolicy()
        job = await shop.nothing.options(
            expires=90,
            timeout=1.5,
            retry=retry,
            retention=timedelta(days=1),
            headers={"trace": "täg", "empty": ""},
            priority="low",
            queue="others",
        ).enqueue()
        info = await job.info()
        assert (job.queue, info.queue) == ("others", "others")
        assert info.priority is Priority.LOW
        assert info.enqueued is not None
        assert info.expires == info.enqueued + timedelta(seconds=90)
        assert (info.timeout, info.retention, info.retry) == (1.5, 86400.0, retry.to_json())
        assert info.headers == {"trace": "täg", "empty": ""}

    async def test_a_delayed_job_expires_counted_from_its_due_moment(self, shop: Shop) -> None:
        info = await (await shop.nothing.options(delay=60, expires=30).enqueue()).info()
        assert info.due is not None
        assert info.expires == info.due + timedelta(seconds=30)

    async def test_what_a_worker_gets_is_what_was_given(self, shop: Shop) -> None:
        await shop.send.options(headers={"a": "b"}, timeout=9).enqueue("ü@b.c")
        _, delivery = await shop.hand.take_one("emails")
        assert shop.send.signature.decode(delivery.args) == (("ü@b.c",), {})
        assert (delivery.timeout, delivery.headers, delivery.priority) == (9.0, b'{"a":"b"}', "high")

    async def test_jobs_with_one_shard_key_share_a_shard(self, shop: Shop) -> None:
        jobs = [await shop.nothing.options(shard_key="tenant-1").enqueue() for _ in range(5)]
        more = await shop.app.enqueue([shop.nothing.options(shard_key="tenant-1").job() for _ in range(5)])
        assert len({job.shard for job in [*jobs, *more]}) == 1

    async def test_jobs_with_different_shard_keys_spread(self, shop: Shop) -> None:
        requests = [shop.nothing.options(shard_key=f"tenant-{n}").job() for n in range(200)]
        assert {job.shard for job in await shop.app.enqueue(requests)} == set(range(8))


class TestFollowers:
    """Jobs that come of jobs."""

    async def test_then_adds_a_job_when_the_first_succeeds(self, shop: Shop) -> None:
        job = await shop.nothing.options(
            then=shop.risky.options(priority="low", headers={"h": "1"}).job(5)
        ).enqueue()
        await shop.hand.complete()
        shard, delivery = await shop.hand.take_one()
        assert shard == job.shard
        assert (delivery.task, delivery.args, delivery.priority) == ("risky", b"[[5],{}]", "low")
        assert (delivery.headers, delivery.digest) == (b'{"h":"1"}', shop.risky.signature.digest)
        info = await shop.app.job(f"default.{shard}.{delivery.uid}").info()
        assert (info.parent_id, info.correlation_id) == (job.id, job.id)
        assert info.on_failure == "alert"

    async def test_then_of_then_follows_in_turn(self, shop: Shop) -> None:
        last = shop.risky.job(3)
        middle = shop.risky.options(then=last).job(2)
        await shop.risky.options(then=middle).enqueue(1)
        for number in (b"[[1],{}]", b"[[2],{}]", b"[[3],{}]"):
            shard, delivery = await shop.hand.take_one()
            assert delivery.args == number
            await shop.hand.finish("default", shard, delivery, OutcomeKind.COMPLETE)
        assert await shop.hand.take() == []

    async def test_then_adds_nothing_when_the_first_fails(self, shop: Shop) -> None:
        await shop.nothing.options(then=shop.risky.job(5)).enqueue()
        await shop.hand.bury()
        assert await shop.hand.take() == []

    async def test_on_failure_tells_of_an_end_in_the_dlq(self, shop: Shop) -> None:
        job = await shop.risky.enqueue(5)
        await shop.hand.bury()
        _, delivery = await shop.hand.take_one()
        assert (delivery.task, delivery.digest) == ("alert", shop.alert.signature.digest)
        assert delivery.priority == "critical"
        (told,), _ = shop.alert.signature.decode(delivery.args)
        assert (told.job_id, told.task, told.args) == (job.id, "risky", ([5], {}))
        assert (told.attempt, told.crashes, told.reason) == (1, 0, "ValueError")
        assert (told.error.type, told.error.message, told.error.traceback) == ("ValueError", "no", None)

    async def test_a_job_that_is_enqueued_inside_a_job_names_it(self, shop: Shop) -> None:
        here = JobContext(
            id="emails.3.abc", task="email.send", queue="emails", shard=3, attempt=1, token=1, worker_id="w"
        )
        with running(here):
            first = await shop.nothing.enqueue()
        info = await first.info()
        assert (info.parent_id, info.correlation_id) == ("emails.3.abc", "emails.3.abc")
        outside = await (await shop.nothing.enqueue()).info()
        assert (outside.parent_id, outside.correlation_id) == (None, outside.id)
        assert (info.batch_id, outside.batch_id) == (None, None)

    async def test_a_batch_is_handed_on_to_all_that_comes_of_its_jobs(self, shop: Shop) -> None:
        first, *others = await shop.app.enqueue(
            [
                shop.nothing.options(batch_id="night.7", then=shop.risky.job(2)).job(),
                shop.nothing.options(batch_id="night.8").job(),
                shop.nothing.job(),
            ]
        )
        assert [(await job.info()).batch_id for job in (first, *others)] == ["night.7", "night.8", None]
        for other in others:
            await other.cancel()
        parent_id: str | None = None
        for task, kind in (
            ("nothing", OutcomeKind.COMPLETE), ("risky", OutcomeKind.DEAD), ("alert", OutcomeKind.COMPLETE),
        ):  # fmt: skip
            shard, delivery = await shop.hand.take_one()
            info = await shop.app.job(f"default.{shard}.{delivery.uid}").info()
            assert (info.task, info.parent_id) == (task, parent_id)
            assert (info.correlation_id, info.batch_id) == (first.id, "night.7")
            assert (delivery.correlation or info.id, delivery.batch) == (first.id, "night.7")
            await shop.hand.finish("default", shard, delivery, kind, failure="{}")
            parent_id = info.id

    async def test_what_a_job_of_a_batch_enqueues_is_of_its_batch_unless_it_says_otherwise(
        self, shop: Shop
    ) -> None:
        here = JobContext(
            id="emails.3.abc",
            task="email.send",
            queue="emails",
            shard=3,
            attempt=1,
            token=1,
            worker_id="w",
            batch_id="night",
        )
        with running(here):
            heir, other = await shop.app.enqueue(
                [shop.nothing.job(), shop.nothing.options(batch_id="day").job()]
            )
        infos = [await job.info() for job in (heir, other)]
        assert [info.batch_id for info in infos] == ["night", "day"]
        assert {info.correlation_id for info in infos} == {"emails.3.abc"}

    async def test_a_replaced_job_and_what_follows_it_are_of_one_chain(self, shop: Shop) -> None:
        first = await shop.nothing.options(dedupe_key="k").enqueue()
        again = await shop.nothing.options(
            dedupe_key="k", on_duplicate="replace", batch_id="b", then=shop.nothing.job()
        ).enqueue()
        assert again.id == first.id
        await shop.hand.complete()
        shard, delivery = await shop.hand.take_one()
        info = await shop.app.job(f"default.{shard}.{delivery.uid}").info()
        assert (info.parent_id, info.correlation_id, info.batch_id) == (first.id, first.id, "b")


class TestManyJobs:
    """A list in one call."""

    async def test_handles_come_in_the_order_of_the_requests(self, shop: Shop) -> None:
        requests = [shop.send.job(f"{n}@b.c") if n % 3 else shop.risky.job(n) for n in range(100)]
        jobs = await shop.app.enqueue(requests)
        infos = await asyncio.gather(*[job.info() for job in jobs])
        assert [info.args for info in infos] == [(f"{n}@b.c",) if n % 3 else (n,) for n in range(100)]
        assert len({job.id for job in jobs}) == 100

    async def test_many_from_one_line_of_code_arrive_as_they_are(self, shop: Shop) -> None:
        texts = ["", "a", "ü" * 300, "\n\r\n$3\r\n", "\0", "漢字🦆", '"]]', *map(str, range(90))]
        for _ in range(2):  # what they have in common is prepared by then
            jobs = await shop.app.enqueue([shop.send.job(text) for text in texts])
            infos = await asyncio.gather(*[job.info() for job in jobs])
            assert [info.args for info in infos] == [(text,) for text in texts]
            assert {(info.priority, info.task, info.digest) for info in infos} == {
                (Priority.HIGH, "email.send", shop.send.signature.digest)
            }

    async def test_a_list_is_spread_over_the_shards(self, shop: Shop) -> None:
        await shop.app.enqueue([shop.nothing.job() for _ in range(800)])
        assert await waiting(shop) == [100] * 8

    async def test_more_jobs_than_one_call_takes_are_all_there(self, shop: Shop) -> None:
        jobs = await shop.app.enqueue([shop.nothing.options(shard_key="one").job() for _ in range(1203)])
        assert sorted(await waiting(shop)) == [0] * 7 + [1203]
        assert len({job.id for job in jobs}) == 1203

    async def test_an_iterator_of_jobs_will_do(self, shop: Shop) -> None:
        jobs = await shop.app.enqueue(shop.risky.job(n) for n in range(3))
        assert [job.task for job in jobs] == ["risky"] * 3

    async def test_no_jobs_are_no_jobs(self, shop: Shop) -> None:
        assert await shop.app.enqueue([]) == []

    async def test_the_same_request_twice_is_two_jobs(self, shop: Shop) -> None:
        request = shop.nothing.job()
        one, other = await shop.app.enqueue([request, request])
        assert one != other
        assert await shop.app.enqueue(request) not in (one, other)

    async def test_what_is_no_job_is_refused_before_anything_is_written(self, shop: Shop) -> None:
        wrong: list[object] = [shop.nothing, [shop.nothing.job(), "email.send"], 5]
        for requests in wrong:
            with pytest.raises(InvalidArguments, match=r"expected jobs, as send\.job"):
                await shop.app.enqueue(requests)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
        assert sum(await waiting(shop)) == 0


class TestLimits:
    """What is refused."""

    async def test_arguments_that_are_too_large_are_refused_and_nothing_is_written(
        self, small_shop: Shop
    ) -> None:
        large = small_shop.send.job("ü" * 600)
        with pytest.raises(PayloadTooLarge, match=r"1,2\d\d bytes, the limit is 1,000") as caught:
            await small_shop.app.enqueue([small_shop.nothing.job(), large])
        assert caught.value.task == "email.send"
        assert sum(await waiting(small_shop)) == 0

    async def test_one_of_many_like_it_is_too_large(self, small_shop: Shop) -> None:
        await small_shop.send.enqueue("a")
        await small_shop.send.enqueue("b")
        for text in ("ü" * 600, "x" * 1001):
            with pytest.raises(PayloadTooLarge):
                await small_shop.app.enqueue([small_shop.send.job(text) for text in ("c", text, "d")])
        assert sum(await waiting(small_shop, "emails")) == 2
        long = await small_shop.app.enqueue([small_shop.send.job("x" * 900) for _ in range(3)])
        assert [(await job.info()).args for job in long] == [("x" * 900,)] * 3

    async def test_the_job_that_follows_is_measured_too(self, small_shop: Shop) -> None:
        with pytest.raises(PayloadTooLarge):
            await small_shop.nothing.options(then=small_shop.send.job("x" * 1000)).enqueue()

    async def test_a_payload_of_a_megabyte_arrives_as_it_is(self, shop: Shop) -> None:
        text = "ü" * (512 * 1024 - 20)
        job = await shop.send.enqueue(text)
        assert (await job.info()).args == (text,)

    async def test_a_queue_takes_as_many_as_it_may_hold_and_no_more(self, small_shop: Shop) -> None:
        jobs = [await small_shop.nothing.enqueue() for _ in range(20)]
        with pytest.raises(QueueFull, match="'default' is full: max_queue_length=20") as caught:
            await small_shop.nothing.enqueue()
        assert (caught.value.enqueued, caught.value.unsent) == ([], [0])
        assert sum(await waiting(small_shop)) == 20
        await jobs[0].cancel()
        await small_shop.hand.take()
        await small_shop.nothing.enqueue()

    async def test_a_list_fills_a_queue_to_its_limit_and_says_which_found_no_room(
        self, small_shop: Shop
    ) -> None:
        requests = [small_shop.risky.job(n) for n in range(26)]
        with pytest.raises(QueueFull) as caught:
            await small_shop.app.enqueue(requests)
        error = caught.value
        assert len(error.enqueued) + len(error.unsent) == 26
        assert len(error.unsent) >= 6
        assert sum(await waiting(small_shop)) == len(error.enqueued)
        there = [(await job.info()).args[0] for job in error.enqueued]
        assert sorted([*there, *error.unsent]) == list(range(26))

    async def test_a_queue_of_a_newer_schema_is_refused_and_nothing_is_written(self, shop: Shop) -> None:
        meta = shop.client.keys.queue_meta("default")
        await shop.client.connection.command("HSET", meta, "shards", 8, "schema", 2, "layout", 1)
        with pytest.raises(UnsupportedSchema, match="has record schema 2"):
            await shop.nothing.enqueue()
        await shop.client.connection.command("DEL", meta)

    async def test_what_redis_refuses_is_told_apart_from_what_it_took(self, backend_url: str) -> None:
        shop = Shop(backend_url, max_queue_length=1000)
        async with shop.app:
            alien = shop.client.keys.shard("default", 2).scheduled
            await shop.client.connection.command("SET", alien, "alien", "PX", 60_000)
            with pytest.raises(EnqueueError, match="10 of 80 jobs not enqueued: Redis refused") as caught:
                await shop.app.enqueue([shop.risky.job(n) for n in range(80)])
            error = caught.value
            assert {type(cause).__name__ for cause in error.causes} == {"RedisRefused"}
            assert 2 not in {job.shard for job in error.enqueued}
            there = [(await job.info()).args[0] for job in error.enqueued]
            assert sorted([*there, *error.unsent]) == list(range(80))
