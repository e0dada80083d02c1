"""A Redis at `maxmemory`: nothing new is accepted, nothing half-written, and the fleet drains."""

import json
from collections.abc import Callable, Iterator

import pytest

from capelin import lua
from capelin.keys import LEADER, Keys
from capelin.lua import KnownTask, NewJob, OutcomeRow, RunningRow, Verdict
from capelin.lua.scheduling import (
    NewSchedule,
    NewState,
    ScheduleName,
    Tick,
    schedule_commit,
    schedule_drop,
    schedule_intend,
    schedule_pause,
    schedule_put,
)
from capelin.lua.singletons import (
    Declared,
    Note,
    singleton_begin,
    singleton_declare,
    singleton_note,
    singleton_save,
)
from tests.conftest import OwnRedis
from tests.scripts.driving import RETENTION, TTL, Shard
from tests.scripts.servers import RealServer, Refused, opened

KEYS = Keys()


@pytest.fixture
def full(own_redis: OwnRedis) -> Iterator[Shard]:
    """A shard that holds a job in every status, on a server that takes nothing more."""
    with opened(RealServer(own_redis())) as server:
        shard = Shard(server)
        shard.enqueue(
            *[NewJob(f"low{n}", "a", priority="low", unique_key=f"k{n}") for n in range(5)],
            NewJob("later", "a", due="+5000"),
        )
        shard.enqueue("running", "poison", "flagged", "parked", "done", "dead", "lost")
        shard.take(count=7, weights=(0, 0, 7, 0))
        shard.finish(
            OutcomeRow("parked", 1, "park"),
            OutcomeRow("done", 1, "complete", '"x"'),
            OutcomeRow("dead", 1, "dead", "Boom", failure="{}"),
        )
        shard.cancel("flagged")
        server.run(lua.lease_acquire(shard.keys.lease, owner="w1", ttl=TTL))
        server.run(lua.fleet_beat(KEYS, worker="w1", member="{}", ttl=TTL, free=1, judge_until=0))
        server.run(lua.fleet_beat(KEYS, worker="silent", member="{}", ttl=TTL, free=1, judge_until=0))
        row = NewSchedule("tidy", "", "{}")
        server.run(schedule_put(KEYS, owner="", epoch="", app="shop", source="code", schedules=[row]))
        server.command("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(Refused, match="OOM"):
            server.command("SET", "more", "x")
        yield shard


def refused(act: Callable[[], object]) -> None:
    with pytest.raises(Refused, match="OOM"):
        act()


@pytest.mark.parametrize(
    "job",
    [
        NewJob("new", "a"),
        NewJob("new", "a", due="+50"),
        NewJob("new", "a", unique_key="free"),
        NewJob("new", "a", unique_key="free", unique_for=60_001),
    ],
    ids=["plain", "scheduled", "keyed", "window"],
)
def test_an_enqueue_is_refused_and_writes_nothing(full: Shard, job: NewJob) -> None:
    before = full.look()
    refused(lambda: full.enqueue(job))
    refused(lambda: full.enqueue("one", job, "two"))
    assert full.look() == before


def test_what_adds_no_job_is_answered(full: Shard) -> None:
    assert full.enqueue("running", NewJob("new", "a", unique_key="k1")) == [
        ("again", "running"),
        ("duplicate", "low1"),
    ]


def test_work_is_taken_and_finished_and_the_memory_of_it_given_back(full: Shard) -> None:
    jobs = full.take("w2", 3).jobs
    assert [job.uid for job in jobs] == ["low0", "low1", "low2"]
    kinds = ("complete", "retry", "dead")
    rows = [OutcomeRow(job.uid, 1, kind, "", failure="{}") for job, kind in zip(jobs, kinds, strict=True)]
    assert full.finish(*rows, worker="w2", retention=0) == [Verdict.RECORDED] * 3
    assert [full.status(job.uid) for job in jobs] == ["completed", "queued", "failed"]


def test_due_work_is_promoted(full: Shard) -> None:
    full.server.command("CONFIG", "SET", "maxmemory", 0)
    full.advance(5_000)
    full.server.command("CONFIG", "SET", "maxmemory", 1)
    assert "later" in [job.uid for job in full.take("w2").jobs]


def test_stakes_leases_and_membership_are_renewed(full: Shard) -> None:
    epoch = full.server.run(lua.lease_acquire(full.keys.lease, owner="w1", ttl=TTL)).epoch
    assert epoch > 0
    renewed = full.renew("w1", [RunningRow("running", 1)], epoch=epoch)
    assert (renewed.lease, renewed.lost) == ("kept", [])
    assert full.server.run(lua.lease_renew(full.keys.lease, owner="w1", epoch=epoch, ttl=TTL))
    assert full.server.run(lua.lease_release(full.keys.lease, owner="w1", epoch=epoch))
    assert full.server.run(lua.lease_acquire(full.keys.lease, owner="w2", ttl=TTL)).epoch > epoch
    assert full.server.run(
        lua.fleet_beat(KEYS, worker="w3", member="{}", ttl=TTL, free=1, judge_until=0)
    ).joined
    assert full.server.run(lua.fleet_leave(KEYS, worker="w3")) > 0
    assert not full.leave("w1")
    assert full.leave("w2")


def test_singletons_are_hosted_and_save(full: Shard) -> None:
    run = full.server.run
    epoch = run(lua.lease_acquire(KEYS.lease("s"), owner="w1", ttl=TTL)).epoch
    assert run(singleton_begin(KEYS, "s", owner="w1", epoch=epoch)) is not None
    assert run(singleton_save(KEYS, "s", owner="w1", epoch=epoch, number=1, text=b"{}"))
    assert run(singleton_note(KEYS, "s", owner="w1", epoch=epoch, what=Note.RAN, error=""))
    assert run(singleton_declare(KEYS, declared=[Declared("s", '{"app":"x"}')])) == [""]


def test_the_jobs_of_the_dead_come_back_end_or_are_buried(full: Shard) -> None:
    full.server.command("CONFIG", "SET", "maxmemory", 0)
    full.server.command("HSET", full.keys.job("poison"), "max_crashes", "1")
    full.advance(TTL)
    full.server.command("CONFIG", "SET", "maxmemory", 1)
    reaped = full.reap()
    assert (reaped.returned, reaped.buried, reaped.cancelled) == (["running", "lost"], ["poison"], 1)
    assert full.status("flagged") == "cancelled"


def test_jobs_are_cancelled(full: Shard) -> None:
    assert [full.cancel(uid)[0] for uid in ("low1", "later", "parked", "running")] == [
        "cancelled",
        "cancelled",
        "cancelled",
        "flagged",
    ]


def test_jobs_are_unparked(full: Shard) -> None:
    assert [job.uid for job in full.unpark("w2", 1, KnownTask("a", "d"))] == ["parked"]


def test_retention_makes_room(full: Shard) -> None:
    full.server.command("CONFIG", "SET", "maxmemory", 0)
    full.advance(10 * RETENTION)
    full.server.command("CONFIG", "SET", "maxmemory", 1)
    retained = full.retain(dlq_age=RETENTION)
    assert (retained.trimmed, retained.purged, retained.buried) == (1, 1, 1)
    assert full.status("parked") == "failed"


def test_a_paused_shard_is_resumed(full: Shard) -> None:
    full.server.command("CONFIG", "SET", "maxmemory", 0)
    full.pause()
    full.server.command("CONFIG", "SET", "maxmemory", 1)
    assert full.resume()


def test_when_there_is_room_again_an_enqueue_is_accepted(full: Shard) -> None:
    refused(lambda: full.enqueue("new"))
    full.server.command("CONFIG", "SET", "maxmemory", 0)
    assert full.enqueue("new") == [("new", "new")]


def test_a_leader_decides_about_ticks_and_gives_up_schedules(full: Shard) -> None:
    """What cannot be enqueued now is intended, and the next leader finds that; what is skipped is written."""
    epoch = full.server.run(lua.lease_acquire(KEYS.lease(LEADER), owner="w1", ttl=TTL)).epoch
    assert epoch > 0
    revision = 1
    ticks = [Tick("tidy", revision, full.now, "q.3.tidy-1")]
    call = schedule_intend(KEYS, owner="w1", epoch=epoch, window=1000, ticks=ticks)
    intended = full.server.run(call)
    assert intended is not None
    assert intended.not_after == (full.now + 1000,)
    extra = json.dumps({"schedule": "tidy", "tick": str(full.now), "not_after": str(full.now + 1000)})
    refused(lambda: full.enqueue(NewJob("tidy-1", "a", extra=extra)))
    assert not full.server.command("EXISTS", full.keys.ticks)
    states = [NewState("tidy", '{"last":1}')]
    assert full.server.run(schedule_commit(KEYS, owner="w1", epoch=epoch, schedules=states)) is not None
    drop = schedule_drop(KEYS, owner="w1", epoch=epoch, retire=True, schedules=[ScheduleName("tidy")])
    retired = full.server.run(drop)
    assert retired is not None
    assert [verdict.value for verdict in retired.verdicts] == ["retired"]


def test_no_schedule_is_added_or_paused_by_halves(full: Shard) -> None:
    def all_keys() -> list[object]:
        return [full.server.command("HGETALL", key) for key in (KEYS.schedules_items, KEYS.schedules_meta)]

    before = all_keys()
    row = NewSchedule("new", "", "{}")
    put = schedule_put(KEYS, owner="", epoch="", app="shop", source="api", schedules=[row])
    refused(lambda: full.server.run(put))
    refused(lambda: full.server.run(schedule_pause(KEYS, name="tidy", pause=True)))
    assert all_keys() == before
    assert not full.server.command("EXISTS", KEYS.schedules_paused)
