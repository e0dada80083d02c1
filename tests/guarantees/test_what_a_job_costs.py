"""What a no-op job costs Redis: calls of scripts and the calls in them are counted, and held.

Seconds belong to a machine; these counts do not. A change that makes a job dearer fails here, and says so in
`docs/performance.md` if it is worth it.
"""

from collections import Counter

import pytest

from capelin import Capelin, Tasks
from capelin.settings import Settings
from capelin.tasks import AsyncTask
from tests.support.commands import CommandRecorder
from tests.support.resp import texts
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from tests.support.workers import RunningWorker

JOBS = 2_000
SHARDS = 8
SETTINGS = Settings(shards=SHARDS)

group = Tasks()
ended: list[int] = []


@group.task
async def note(number: int) -> None:
    ended.append(number)


@group.task(retention=0)
async def note_and_go(number: int) -> None:
    ended.append(number)


def an_app(server: RedisServer) -> Capelin[None]:
    app = Capelin(server.url, settings=SETTINGS)
    app.include(group)
    return app


def by_scripts(recorder: CommandRecorder) -> Counter[str]:
    """What scripts called, by command."""
    return Counter(command.name for command in recorder.commands if command.by_script)


async def test_enqueueing_one_job_is_one_call_with_seven_in_it(redis_server: RedisServer) -> None:
    async with an_app(redis_server):
        for number in range(3 * SHARDS):  # scripts are loaded, and what calls share is packed
            await note.enqueue(number)
        with CommandRecorder(redis_server) as recorder:
            for number in range(100):
                await note.enqueue(number)
    assert Counter(command.name for command in recorder.sent()) == {"EVALSHA": 100}
    assert by_scripts(recorder) == {
        "TIME": 100,
        "HMGET": 200,  # is the shard's layout newer? is the job there?
        "HSET": 100,
        "XADD": 100,
        "HGET": 100,  # does the owner wait?
        "HINCRBY": 100,  # the count of jobs ever enqueued
    }


async def test_a_waiting_job_is_an_entry_and_a_record_of_four_short_fields(redis_server: RedisServer) -> None:
    async with an_app(redis_server) as app:
        job = await note.enqueue(12_345)
        shard = app.keys.shard(job.queue, job.shard)
        uid = job.id.rpartition(".")[2]
        words = texts(redis_server.command("HGETALL", shard.job(uid)))
        record = dict(zip(words[::2], words[1::2], strict=True))
        assert set(record) == {"task", "at", "d", "a"}
        assert (record["task"], record["a"]) == ("note", "[[12345],{}]")
        assert len(record["at"]) == 13  # a number of 8 bytes to Redis
        # Redis adds two bytes to each of these, and seven to all: one more than 64, and it would take 80.
        assert 7 + sum(2 + (8 if word.isdigit() else len(word)) for word in words) <= 64
        assert redis_server.command("XLEN", shard.streams[3]) == 1
        assert len(texts(redis_server.command("KEYS", f"{shard.base}:*"))) == 3  # and the shard's own `meta`


async def test_enqueueing_many_is_a_call_for_each_500_with_three_in_it_for_each_job(
    redis_server: RedisServer,
) -> None:
    calls, jobs = SHARDS, SHARDS * 500
    async with an_app(redis_server) as app:
        await note.enqueue(0)
        with CommandRecorder(redis_server) as recorder:
            await app.enqueue([note.job(number) for number in range(jobs)])
    assert len(recorder.sent("EVALSHA")) == calls
    assert by_scripts(recorder) == {
        "TIME": calls,
        "HGET": calls,
        "HINCRBY": calls,
        "HMGET": jobs + calls,
        "HSET": jobs,
        "XADD": jobs,
    }


@pytest.mark.parametrize(
    ("task", "a_job"),
    [
        (note, {"HMGET": 2, "HLEN": 1, "HSET": 2, "ZADD": 1}),
        # A field of its own: all are read. Its record is cut to what recognises a request that is sent again.
        (note_and_go, {"HMGET": 3, "HLEN": 1, "HSET": 3, "HDEL": 1, "UNLINK": 1, "ZADD": 1}),
    ],
    ids=["with-history", "without"],
)
async def test_a_drained_job_costs_a_fifth_of_a_call_and_few_in_it(
    redis_server: RedisServer,
    running_worker: RunningWorker,
    task: AsyncTask[[int], None],
    a_job: dict[str, int],
) -> None:
    app = an_app(redis_server)
    ended.clear()
    async with app:
        await app.enqueue([task.job(number) for number in range(JOBS)])
        with CommandRecorder(redis_server) as recorder:
            worker = await running_worker(app, settings=SETTINGS, scheduler=False)
            await wait_until(lambda: len(ended) == JOBS, description="every job to run")
            await worker.stop()
    # Jobs come and go in batches of up to 50; a busy machine makes some of them smaller.
    assert len(recorder.sent()) <= JOBS / 5
    called = by_scripts(recorder)
    batches = called.total() - sum(JOBS * count for count in a_job.values())
    assert {name: called[name] // JOBS for name in called if called[name] >= JOBS} == a_job
    assert batches <= JOBS * 2
