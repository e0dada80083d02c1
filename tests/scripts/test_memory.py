"""What a job costs in Redis's memory while it waits, and what is left when its time is over: nothing."""

from typing import TypeVar

import pytest

from capelin import lua
from capelin.ids import new_uid
from capelin.keys import Keys, ShardKeys
from capelin.lua import Call, NewJob, OutcomeRow, Retained, Verdict
from capelin.signatures import Signature
from tests.conftest import OwnRedis
from tests.scripts.servers import raw
from tests.support.resp import Connection, texts
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until_sync

KEYS = Keys()
SHARDS = [KEYS.shard("default", number) for number in range(8)]
A_CALL = 500
T = TypeVar("T")
MOST_BYTES = 300
JOBS = 100_000
WINDOW, RETENTION = 1, 1


async def noop() -> None:
    """Do nothing."""


DIGEST = Signature.of(noop, "noop").digest


class Loader:
    """Runs scripts by their SHA, in order, on a bare connection."""

    def __init__(self, redis: Connection) -> None:
        self.redis = redis
        self._loaded: set[str] = set()

    def run(self, call: Call[T]) -> T:
        if call.script.sha not in self._loaded:
            self.redis("SCRIPT", "LOAD", call.script.text)
            self._loaded.add(call.script.sha)
        return call.parse(raw(self.redis("EVALSHA", call.script.sha, len(call.keys), *call.keys, *call.args)))

    def enqueue(self, shard: ShardKeys, count: int) -> None:
        for _ in range(count // A_CALL):
            jobs = [NewJob(new_uid(), "noop", DIGEST) for _ in range(A_CALL)]
            assert self.run(lua.enqueue(shard, most=None, resend_window=WINDOW, jobs=jobs)) is not None

    def take(self, shard: ShardKeys) -> list[OutcomeRow]:
        """Take a full batch, and complete each of its jobs."""
        taken = self.run(
            lua.take(
                shard,
                worker="w1",
                count=A_CALL,
                ttl=60_000,
                waits=True,
                older_than=None,
                resend_window=WINDOW,
                default_retention=RETENTION,
                critical=4,
                high=3,
                normal=2,
                low=1,
            )
        )
        return [OutcomeRow(job.uid, job.token, "complete") for job in taken.jobs]

    def finish(self, shard: ShardKeys, outcomes: list[OutcomeRow]) -> None:
        verdicts = self.run(
            lua.finish(
                shard,
                worker="w1",
                resend_window=WINDOW,
                default_retention=RETENTION,
                most_finished=1_000_000,
                outcomes=outcomes,
            )
        )
        assert set(verdicts) == {Verdict.RECORDED}

    def finished(self, shard: ShardKeys) -> object:
        """How many records there are."""
        return self.redis("ZCARD", shard.finished)

    def retain(self, shard: ShardKeys) -> Retained:
        return self.run(
            lua.retain(
                shard,
                limit=A_CALL,
                resend_window=WINDOW,
                default_retention=RETENTION,
                most_finished=1_000_000,
                dlq_age=RETENTION,
                most_dead=0,
                parked_age=RETENTION,
            )
        )


def memory_of(server: RedisServer) -> int:
    return int(server.info("memory")["used_memory"])


def test_a_waiting_job_without_arguments_costs_at_most_300_bytes(own_redis: OwnRedis) -> None:
    server = own_redis()
    with server.connect() as redis:
        loader = Loader(redis)
        for shard in SHARDS:
            loader.enqueue(shard, A_CALL)  # what a shard costs once, and the server's own buffers
        before = memory_of(server)
        jobs = 50_000 // len(SHARDS) // A_CALL * A_CALL
        for shard in SHARDS:
            loader.enqueue(shard, jobs)
        bytes_a_job = (memory_of(server) - before) / (jobs * len(SHARDS))
    assert bytes_a_job <= MOST_BYTES


def live_and_go(loader: Loader, jobs: int) -> None:
    """Jobs from their enqueue to the end of their retention."""
    for shard in SHARDS:
        loader.enqueue(shard, jobs // len(SHARDS))
        while outcomes := loader.take(shard):
            loader.finish(shard, outcomes)
    wait_until_sync(
        lambda: not any(loader.retain(shard).more or loader.finished(shard) for shard in SHARDS),
        description="every record to be past its time and gone",
    )
    for shard in SHARDS:
        assert loader.run(lua.leave(shard, worker="w1"))
        loader.retain(shard)


@pytest.mark.slow
def test_a_hundred_thousand_finished_jobs_past_their_time_leave_nothing_behind(own_redis: OwnRedis) -> None:
    server = own_redis()
    with server.connect() as redis:
        loader = Loader(redis)
        live_and_go(loader, A_CALL * len(SHARDS))  # what the server needs once: buffers, scripts
        redis("SLOWLOG", "RESET")
        before, keys = memory_of(server), server.keys()
        live_and_go(loader, JOBS)
        assert {key.rpartition(":")[2] for key in keys | server.keys()} == {"meta", "wake"}, (
            "one of each a shard"
        )
        fields = [set(texts(redis("HKEYS", shard.meta))) - {"total:enqueued"} for shard in SHARDS]
        assert fields == [{"note"}] * len(SHARDS), "the owner waits"
        redis("SLOWLOG", "RESET")
        wait_until_sync(
            lambda: memory_of(server) - before < JOBS * 10,
            description="the memory to be given back: less than 10 bytes a job are the server's own",
        )
