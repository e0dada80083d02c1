"""What the handle of a job can do, on every backend: status, record, result, cancelling."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from capelin import (
    Cancellation,
    InvalidJobId,
    InvalidResult,
    JobCancelled,
    JobError,
    JobFailed,
    JobNotFound,
    JobStatus,
    inbox,
    lua,
)
from capelin.lua import Delivery, OutcomeKind, Verdict
from tests.conformance.conftest import Shop
from tests.support.waiting import wait_until

UNKNOWN = "default.3.06dpvgeqmvk5m3jvmfb6v0000s"


class TestStatusAndRecord:
    """Looking at a job."""

    async def test_they_follow_a_job_through_its_life(self, shop: Shop) -> None:
        job = await shop.risky.enqueue(1)
        shard, delivery = await shop.hand.take_one()
        running = await job.info()
        assert (running.status, running.worker, running.token) == (JobStatus.RUNNING, "hand", 1)
        error = json.dumps({"type": "OSError", "message": "down", "traceback": "Traceback…"})
        await shop.hand.finish("default", shard, delivery, OutcomeKind.RETRY, due="+5", failure=error)
        retried = await job.info()
        assert retried.attempt == 1
        [failure] = retried.failures
        assert (failure.token, failure.attempt, failure.crashes, failure.worker) == (1, 1, 0, "hand")
        assert failure.error == JobError(type="OSError", message="down", traceback="Traceback…")
        assert failure.started == running.started
        taken: list[tuple[int, Delivery]] = []

        async def takes_it_again() -> bool:
            taken.extend(await shop.hand.take())
            return bool(taken)

        await wait_until(takes_it_again, description="the retry to be due")
        [(shard, delivery)] = taken
        await shop.hand.finish("default", shard, delivery, OutcomeKind.COMPLETE, "7")
        done = await job.info()
        assert (done.status, done.result, done.token, done.attempt) == (JobStatus.COMPLETED, 7, 2, 1)
        assert done.enqueued is not None
        assert done.started is not None
        assert done.finished is not None
        assert done.enqueued <= done.started <= done.finished
        assert done.failures == retried.failures

    async def test_progress_is_in_the_record(self, shop: Shop) -> None:
        job = await shop.nothing.enqueue()
        shard, delivery = await shop.hand.take_one()
        call = lua.progress(
            shop.client.keys.shard("default", shard),
            uid=delivery.uid,
            worker="hand",
            token=delivery.token,
            progress='[0.25,"reading"]',
        )
        assert await shop.client.connection.run(call)
        assert (await job.info()).progress == (0.25, "reading")

    async def test_a_parked_job_is_parked(self, shop: Shop) -> None:
        job = await shop.nothing.enqueue()
        shard, delivery = await shop.hand.take_one()
        await shop.hand.finish("default", shard, delivery, OutcomeKind.PARK, "0123456789")
        info = await job.info()
        assert (info.status, info.parked_by) == (JobStatus.PARKED, "0123456789")

    async def test_a_handle_made_of_the_id_sees_the_same_job(self, shop: Shop) -> None:
        job = await shop.send.enqueue("a@b.c")
        same = shop.app.job(job.id)
        assert same == job
        assert (same.task, same.queue, same.shard) == (None, "emails", job.shard)
        assert await same.info() == await job.info()

    async def test_a_job_without_a_record_is_not_found(self, shop: Shop) -> None:
        job = shop.app.job(UNKNOWN)
        for ask in (job.status, job.info, job.cancel, job.result):
            with pytest.raises(JobNotFound, match=UNKNOWN):
                await ask()

    async def test_a_torn_record_is_shown_as_far_as_it_can_be_read(self, shop: Shop) -> None:
        job = await shop.risky.enqueue(1)
        key = shop.client.keys.shard("default", job.shard).job(job.id.rsplit(".", 1)[1])
        torn = (
            "status",
            "queued",
            "a",
            "[[1",
            "token",
            "x",
            "due",
            "soon",
            "headers",
            "5",
            "progress",
            "{}",
            "priority",
            "top",
        )
        await shop.client.connection.command("HSET", key, *torn)
        info = await job.info()
        assert (info.status, info.task, info.args, info.token) == (JobStatus.QUEUED, "risky", (), 0)
        assert (info.due, info.headers, info.progress, info.priority) == (None, {}, None, "normal")

    def test_a_text_that_is_no_id_is_refused(self) -> None:
        for text in ("", "default", "default.x.abc", "default.3.", "de fault.3.abc", "default.-3.abc"):
            with pytest.raises(InvalidJobId if text.count(".") < 2 or " " not in text else ValueError):
                Shop("memory://unused").app.job(text)


class TestResult:
    """Waiting for its end."""

    async def test_it_is_what_the_task_returned_in_its_own_type(self, shop: Shop) -> None:
        moment = datetime(2030, 1, 2, tzinfo=UTC)
        job = await shop.stamp.enqueue(UUID(int=1), moment)
        await shop.hand.complete(result='"2030-01-02T00:00:00Z"')
        assert await job.result(timeout=5) == moment
        assert await shop.app.job(job.id, shop.stamp).result() == moment
        assert await shop.app.job(job.id).result() == "2030-01-02T00:00:00Z"

    async def test_nothing_is_a_result_too(self, shop: Shop) -> None:
        job = await shop.nothing.enqueue()
        await shop.hand.complete()
        assert await shop.app.job(job.id, shop.nothing).result(timeout=5) is None  # type: ignore[func-returns-value]

    async def test_who_waits_gets_it_when_it_comes(self, shop: Shop) -> None:
        job = await shop.risky.enqueue(1)
        shard, delivery = await shop.hand.take_one()
        waiters = [asyncio.create_task(job.result(timeout=20)) for _ in range(3)]
        await is_waited_for(shop, shard, delivery)
        await shop.hand.finish("default", shard, delivery, OutcomeKind.COMPLETE, "5")
        assert await asyncio.gather(*waiters) == [5, 5, 5]

    async def test_many_are_waited_for_at_once(self, shop: Shop) -> None:
        jobs = await shop.app.enqueue([shop.risky.job(n) for n in range(60)])
        waiters = [asyncio.create_task(job.result(timeout=20)) for job in jobs]
        for shard, delivery in await shop.hand.take(count=60):
            await is_waited_for(shop, shard, delivery)
            number = json.loads(delivery.args)[0][0]
            await shop.hand.finish("default", shard, delivery, OutcomeKind.COMPLETE, str(number * 2))
        assert await asyncio.gather(*waiters) == [n * 2 for n in range(60)]

    async def test_a_failure_is_raised_with_what_went_wrong(self, shop: Shop) -> None:
        job = await shop.send.enqueue("a")
        await shop.hand.bury("emails", '{"type":"OSError","message":"down","traceback":"Traceback…"}')
        with pytest.raises(JobFailed, match=r"failed: OSError: down") as caught:
            await job.result(timeout=5)
        error = caught.value
        assert (error.job_id, error.error_type, error.error_message) == (job.id, "OSError", "down")
        assert error.traceback == "Traceback…"

    async def test_a_cancelled_job_has_none(self, shop: Shop) -> None:
        job = await shop.nothing.enqueue()
        waiter = asyncio.create_task(job.result(timeout=20))
        await is_waited_for(shop, job.shard, job.id)
        await job.cancel()
        with pytest.raises(JobCancelled, match=f"{job.id} was cancelled"):
            await waiter

    async def test_a_job_that_expired_ends_cancelled_and_says_so(self, shop: Shop) -> None:
        job = await shop.nothing.options(expires=0.001).enqueue()

        async def expired() -> bool:
            assert await shop.hand.take() == []
            return await job.status() is JobStatus.CANCELLED

        await wait_until(expired, description="the job to expire")
        with pytest.raises(JobCancelled, match="expired"):
            await job.result()

    async def test_waiting_ends_when_the_time_is_over_and_can_begin_again(self, shop: Shop) -> None:
        job = await shop.risky.enqueue(1)
        with pytest.raises(TimeoutError, match=rf"{job.id} did not end within 0\.02 s"):
            await job.result(timeout=timedelta(milliseconds=20))
        await shop.hand.complete(result="4")
        assert await job.result(timeout=5) == 4

    async def test_a_timeout_of_0_looks_once(self, shop: Shop) -> None:
        job = await shop.risky.enqueue(1)
        with pytest.raises(TimeoutError, match="has not ended"):
            await job.result(timeout=0)
        await shop.hand.complete(result="4")
        assert await job.result(timeout=0) == 4

    async def test_a_result_that_does_not_fit_the_annotation_is_an_error(self, shop: Shop) -> None:
        job = await shop.risky.enqueue(1)
        await shop.hand.complete(result='"four"')
        with pytest.raises(InvalidResult, match="risky"):
            await job.result(timeout=5)
        assert await shop.app.job(job.id).result() == "four"

    async def test_one_that_was_not_kept_is_not_found(self, shop: Shop) -> None:
        job = await shop.risky.options(retention=0).enqueue(1)
        await shop.hand.complete(result="4")
        with pytest.raises(JobNotFound):
            await job.result(timeout=5)

    async def test_one_that_is_waited_for_is_kept_for_the_one_who_waits(self, shop: Shop) -> None:
        job = await shop.risky.options(retention=0).enqueue(1)
        waiter = asyncio.create_task(job.result(timeout=20))
        await is_waited_for(shop, job.shard, job.id)
        await shop.hand.complete(result="4")
        assert await waiter == 4


class TestCancelling:
    """Ending it early."""

    async def test_a_job_that_waits_ends_at_once(self, shop: Shop) -> None:
        job = await shop.nothing.enqueue()
        assert await job.cancel() is Cancellation.CANCELLED
        assert await job.status() is JobStatus.CANCELLED
        assert await shop.hand.take() == []

    async def test_so_does_one_that_is_scheduled(self, shop: Shop) -> None:
        job = await shop.nothing.options(delay=60).enqueue()
        assert await job.cancel() is Cancellation.CANCELLED
        assert await job.status() is JobStatus.CANCELLED

    async def test_one_that_ended_is_left_alone(self, shop: Shop) -> None:
        job = await shop.nothing.enqueue()
        await shop.hand.complete()
        outcome = await job.cancel()
        assert outcome is Cancellation.ENDED
        assert not outcome
        assert await job.status() is JobStatus.COMPLETED

    async def test_the_worker_of_one_that_runs_is_told(self, shop: Shop) -> None:
        job = await shop.risky.enqueue(1)
        shard, delivery = await shop.hand.take_one()
        outcome = await job.cancel()
        assert outcome is Cancellation.REQUESTED
        assert outcome
        info = await job.info()
        assert (info.status, info.cancel_requested) == (JobStatus.RUNNING, True)
        client = shop.client
        _, [message] = await inbox.read(client.connection, client.keys, "hand", "0", block=1)
        assert message == inbox.Message("cancel", {"job": job.id})
        assert await client.connection.command("TTL", client.keys.inbox("hand")) > 0
        failed = await shop.hand.finish(
            "default", shard, delivery, OutcomeKind.RETRY, failure='{"type":"X","message":""}'
        )
        assert failed is Verdict.CANCELLED
        assert await job.status() is JobStatus.CANCELLED

    async def test_one_that_succeeds_nevertheless_is_completed(self, shop: Shop) -> None:
        job = await shop.risky.enqueue(1)
        shard, delivery = await shop.hand.take_one()
        await job.cancel()
        await shop.hand.finish("default", shard, delivery, OutcomeKind.COMPLETE, "1")
        assert await job.result(timeout=5) == 1


async def is_waited_for(shop: Shop, shard: int, job: Delivery | str) -> None:
    """Return once somebody waits for the end of a job: only then the end is announced."""
    uid = job.uid if isinstance(job, Delivery) else job.rsplit(".", 1)[1]
    key = shop.client.keys.shard("default", shard).job(uid)
    await wait_until(
        lambda: shop.client.connection.command("HEXISTS", key, "waited"), description="a waiter to be noted"
    )
