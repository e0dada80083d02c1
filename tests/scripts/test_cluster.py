"""A shard's transitions on a real Redis Cluster: every key is declared or in the shard's slot."""

from collections.abc import AsyncIterator

import pytest

from capelin import lua
from capelin.connection import Connection, connect
from capelin.keys import Keys, ShardKeys
from capelin.lua import DeadRow, KnownTask, NewJob, OutcomeRow, RunningRow, Submitted, Verdict
from tests.support.cluster import RedisCluster

KEYS = Keys()
WINDOW, KEPT, TTL = 120_000, 600_000, 60_000


@pytest.fixture
async def connection(cluster_url: str) -> AsyncIterator[Connection]:
    """A connection to the cluster, as workers have it."""
    connection = connect(cluster_url)
    yield connection
    await connection.close()


class Driver:
    """The scripts of one shard over a connection."""

    def __init__(self, connection: Connection, shard: ShardKeys) -> None:
        self._run = connection.run
        self.keys = shard

    async def enqueue(self, *jobs: NewJob) -> list[tuple[Submitted, str]] | None:
        return await self._run(lua.enqueue(self.keys, most=500, resend_window=WINDOW, jobs=jobs))

    async def take(self, worker: str = "w1", *, count: int = 10, older_than: int | None = None) -> list[str]:
        taken = await self._run(
            lua.take(
                self.keys,
                worker=worker,
                count=count,
                ttl=TTL,
                waits=older_than is None,
                older_than=older_than,
                resend_window=WINDOW,
                default_retention=KEPT,
                critical=4,
                high=3,
                normal=2,
                low=1,
            )
        )
        return [job.uid for job in taken.jobs]

    async def finish(self, *rows: OutcomeRow, worker: str = "w1") -> list[Verdict]:
        return await self._run(
            lua.finish(
                self.keys,
                worker=worker,
                resend_window=WINDOW,
                default_retention=KEPT,
                most_finished=1000,
                outcomes=rows,
            )
        )

    async def status(self, uid: str) -> str | None:
        watched = await self._run(lua.watch(self.keys, uid=uid))
        return watched.status if watched else None

    async def whole_life(self) -> None:
        """Every script once at least, with keys, followers, children, parking, death and retention."""
        run, keys = self._run, self.keys
        then, alert = (
            '{"then":"[\\"b\\",\\"\\",\\"\\",\\"\\",\\"\\",{}]"}',
            '{"on_failure":"[\\"b\\",\\"\\",\\"\\"]"}',
        )
        assert (await run(lua.open_queue(KEYS, keys.queue, shards=64, schema=1))).shards == 64
        lease = await run(lua.lease_acquire(keys.lease, owner="w1", ttl=TTL))
        assert await self.take() == []
        await self.enqueue(
            NewJob("u1", "a", extra=then, unique_key="k"), NewJob("u2", "a", extra=alert), NewJob("u3", "a")
        )
        await self.enqueue(NewJob("u4", "a", due="+100000"), NewJob("u5", "a", priority="high"))
        assert await self.take() == ["u5", "u1", "u2", "u3"]
        await self.enqueue(NewJob("u6", "a", unique_key="k", on_duplicate="follow"))
        await self.enqueue(NewJob("u7", "a", unique_key="k", on_duplicate="replace"))
        assert await run(lua.progress(keys, uid="u1", worker="w1", token=1, progress="[1,null]"))
        verdicts = await self.finish(
            OutcomeRow("u1", 1, "complete", "1"),
            OutcomeRow("u2", 1, "dead", "E", failure="{}"),
            OutcomeRow("u3", 1, "park"),
            OutcomeRow("u5", 1, "return"),
        )
        assert verdicts == [Verdict.RECORDED] * 4
        assert await self.take("thief", older_than=0) == ["u5", "u6", "u1-t1", "u2-f1"]
        renewed = await run(
            lua.renew(keys, worker="thief", ttl=TTL, epoch=None, staked=False, running=[RunningRow("u5", 2)])
        )
        assert len(renewed.unknown) == 3
        adopted = await run(
            lua.adopt(
                keys, worker="thief", running=[RunningRow(uid, token) for uid, token in renewed.unknown]
            )
        )
        assert len(adopted.jobs) == 3
        unparked = await run(lua.unpark(keys, worker="w1", count=5, ttl=TTL, tasks=[KnownTask("a", "d")]))
        assert [job.uid for job in unparked] == ["u3"]
        assert not await run(lua.leave(keys, worker="thief"))
        await run(lua.cancel(keys, uid="u5", resend_window=WINDOW, default_retention=KEPT))
        await run(lua.renew(keys, worker="w1", ttl=0, epoch=lease.epoch, staked=True, running=[]))
        reaped = await run(
            lua.reap(
                keys,
                reaper="thief",
                limit=100,
                max_crashes=1,
                no_crash_before=0,
                resend_window=WINDOW,
                default_retention=KEPT,
            )
        )
        assert reaped.buried == ["u3"]
        assert (await run(lua.replay(keys, uid="u2")))[0] == "replayed"
        assert await run(lua.pause(keys, since=1))
        assert await self.take() == []
        assert await run(lua.resume(keys))
        assert await self.take() == ["u2"]
        await self.finish(OutcomeRow("u2", 2, "dead", "E", failure="{}"))
        rows = [
            OutcomeRow(uid, token, "complete")
            for uid, token in [("u5", 2), ("u6", 1), ("u1-t1", 1), ("u2-f1", 1)]
        ]
        assert await self.finish(*rows, worker="thief") == [Verdict.RECORDED] * 4
        assert (await run(lua.purge(keys, dead=[DeadRow("u3", "1-1")]))) == 0
        retained = await run(
            lua.retain(
                keys,
                limit=100,
                resend_window=WINDOW,
                default_retention=KEPT,
                most_finished=0,
                dlq_age=0,
                most_dead=0,
                parked_age=0,
            )
        )
        assert retained.purged == 2
        assert await self.status("u4") == "scheduled"
        assert await run(lua.lease_renew(keys.lease, owner="w1", epoch=lease.epoch, ttl=TTL))
        assert await run(lua.lease_release(keys.lease, owner="w1", epoch=lease.epoch))


async def test_every_transition_works_in_every_slot_that_a_queue_uses(
    connection: Connection, redis_cluster: RedisCluster
) -> None:
    shards = [KEYS.shard("emails", number) for number in range(64)]
    owners = {redis_cluster.owner_of(redis_cluster.slot_of(shard.meta)).port for shard in shards}
    assert len(owners) == 3, "the shards spread over all masters"
    for shard in shards[:12]:
        await Driver(connection, shard).whole_life()


async def test_all_keys_of_a_shard_share_a_slot(connection: Connection, redis_cluster: RedisCluster) -> None:
    shard = KEYS.shard("a.b-c_d", 1023)
    await Driver(connection, shard).whole_life()
    keys = {key for key in sorted(redis_cluster.keys()) if key.startswith(shard.base)}
    assert len({redis_cluster.slot_of(key) for key in keys}) == 1
    for name in ("job", "stream", "scheduled", "finished", "lease", "stakes"):
        assert any(key.startswith(f"{shard.base}:{name}") for key in keys), name


async def test_shards_on_different_masters_are_served_in_one_round(connection: Connection) -> None:
    shards = [KEYS.shard("emails", number) for number in range(64)]
    replies = await connection.run_many(
        [
            lua.enqueue(shard, most=None, resend_window=WINDOW, jobs=[NewJob(f"u{shard.shard}", "a")])
            for shard in shards
        ]
    )
    assert replies == [[(Submitted.NEW, f"u{shard.shard}")] for shard in shards]


async def test_the_fleet_lives_in_one_slot(connection: Connection) -> None:
    beat = lua.fleet_beat(KEYS, worker="w1", member="{}", ttl=TTL, free=1, judge_until=0)
    assert (await connection.run(beat)).joined
    assert await connection.run(lua.fleet_leave(KEYS, worker="w1")) == 2
