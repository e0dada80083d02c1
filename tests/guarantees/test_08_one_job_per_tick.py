"""Guarantee 8: one job per tick, whatever leaders come, go or overlap.

`CAPELIN_TICKING_SECONDS=600` lets leaders be killed for ten minutes instead of 20 s, and
`CAPELIN_TICKING_SEED=...` repeats the choices of a run; each prints its own.
"""

import os
import random
import time
from collections.abc import Callable
from itertools import accumulate

import pytest

from capelin.lua.loader import load
from tests.conftest import OwnRedis
from tests.guarantees.apps.ticking import PERIODS
from tests.guarantees.fleet import MARGIN, TTL
from tests.guarantees.ticking import SLOW, Candidates, due, now_ms
from tests.support.cluster import RedisCluster
from tests.support.ledger import Ledger
from tests.support.processes import Processes
from tests.support.proxy import RedisProxy, mentions
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until

SECONDS = float(os.environ.get("CAPELIN_TICKING_SECONDS", "20"))
SEED = int(os.environ.get("CAPELIN_TICKING_SEED", time.time_ns() % 1_000_000))
CANDIDATES = 5


@pytest.fixture
def candidates(processes: Processes, redis_server: RedisServer, ledger: Ledger) -> Candidates:
    """Candidates on a shared server."""
    return Candidates(processes, redis_server, ledger)


@pytest.fixture
def clustered(processes: Processes, redis_cluster: RedisCluster, ledger: Ledger) -> Candidates:
    """Candidates on a cluster: the schedules are in one slot, the shards of their jobs in others."""
    return Candidates(processes, redis_cluster, ledger)


async def depose(candidates: Candidates, how: str) -> tuple[int, int]:
    """End the leader's reign in one way; return from when until when nobody led, ms."""
    leader = await candidates.leader()
    before, fell = candidates.lease().epoch, now_ms()
    match how:
        case "kill":
            leader.kill()
            candidates.launch()
        case "terminate":
            leader.terminate()
            candidates.launch()
        case _:
            leader.freeze()
    await wait_until(lambda: candidates.lease().epoch > before, description=f"a new leader after {how}")
    if how == "freeze":
        leader.thaw()
    return fell, candidates.lease().epoch


@pytest.mark.slow
async def test_each_tick_becomes_one_job_while_leaders_are_killed_at_random(candidates: Candidates) -> None:
    await leaders_are_killed(candidates, SECONDS)


@pytest.mark.slow
async def test_so_it_does_on_a_cluster(clustered: Candidates) -> None:
    await leaders_are_killed(clustered, SECONDS / 2)


async def leaders_are_killed(candidates: Candidates, seconds: float) -> None:
    """Depose one leader after the other, and count what became of the ticks."""
    print(f"CAPELIN_TICKING_SEED={SEED}")  # noqa: T201 -- so that a failure can be repeated
    chance = random.Random(SEED)  # noqa: S311 -- so that a failure can be repeated
    for _ in range(CANDIDATES):
        candidates.launch()
    await candidates.leader()
    await candidates.ticks_more("quick", 1)
    end = time.monotonic() + seconds
    vacant: list[tuple[int, int]] = []
    while time.monotonic() < end:
        how = chance.choice(["kill", "kill", "freeze", "freeze", "terminate"])
        vacant.append(await depose(candidates, how))
        await candidates.ticks_more("quick", chance.randrange(5))

    await settled(candidates, list(PERIODS), since=now_ms())
    newest_ones_only(candidates, vacant)
    assert len(vacant) >= seconds / 5


async def settled(candidates: Candidates, schedules: list[str], *, since: int) -> None:
    """Each tick until a moment, and those since, became one job: in Redis, by its tasks, and by the count."""
    for schedule in schedules:
        period = PERIODS[schedule]
        await candidates.decided_until(since - period, schedule)
        state = candidates.state(schedule)
        ticks = due(period, candidates.since(schedule), state["last"])
        if schedule == "newest":
            continue
        assert (state["fired"], state["skipped"]) == (len(ticks), {}), schedule
        await candidates.all_ended(schedule, ticks)
        # What runs with retention 0 is gone from Redis as soon as it may be.
        assert candidates.problems_of(schedule, ticks, in_redis=schedule != "brief") == []


def newest_ones_only(candidates: Candidates, vacant: list[tuple[int, int]]) -> None:
    """Of ticks that fell due together, the newest became one job; the others were counted."""
    state = candidates.state("newest")
    jobs = candidates.jobs()["newest"]
    ticks = due(PERIODS["newest"], candidates.since("newest"), state["last"])
    assert [tick for tick in ticks if len(jobs.get(tick, [])) > 1] == []
    left_out = [tick for tick in ticks if tick not in jobs]
    assert (state["fired"], state["skipped"].get("missed", 0)) == (len(ticks) - len(left_out), len(left_out))
    print(f"{len(vacant)} leaders fell; of {len(ticks)} ticks {len(left_out)} gave way to newer ones")  # noqa: T201
    slack = round(MARGIN * 1000)
    gaps = [(fell - 50, rose + slack) for fell, rose in vacant]
    elsewhere = [tick for tick in left_out if not any(fell <= tick <= rose for fell, rose in gaps)]
    assert elsewhere == [], "ticks give way only while nobody leads"


async def test_ticks_of_a_time_in_which_nobody_lived_are_caught_up(candidates: Candidates) -> None:
    candidates.launch()
    candidates.launch()
    await candidates.ticks_more("quick", 4)
    candidates.stop()
    fell = now_ms()
    await wait_until(lambda: now_ms() > fell + 3_000, description="three seconds without anybody")
    candidates.launch()
    await candidates.ticks_more("each", 1)
    await settled(candidates, ["each", "quick", "newest", "brief"], since=now_ms())
    newest_ones_only(candidates, [(fell, candidates.lease().epoch)])


async def test_ticks_of_a_time_in_which_redis_was_down_are_caught_up(
    processes: Processes, own_redis: OwnRedis, ledger: Ledger
) -> None:
    server = own_redis(appendonly=True)
    candidates = Candidates(processes, server, ledger)
    candidates.launch()
    candidates.launch()
    await candidates.ticks_more("quick", 4)
    server.kill()
    fell = now_ms()
    await wait_until(lambda: now_ms() > fell + 2_000, description="two seconds without Redis")
    server.restart()
    rose = now_ms()
    await candidates.decided_until(rose, "each", "quick", "brief")
    await settled(candidates, ["each", "quick", "newest", "brief"], since=now_ms())
    newest_ones_only(candidates, [(fell, now_ms())])


@pytest.mark.parametrize("lost", ["enqueue", "its reply", "schedule_commit"])
async def test_the_successor_of_a_leader_that_is_cut_off_sends_the_same_job(
    candidates: Candidates, proxied: Callable[[str], RedisProxy], lost: str
) -> None:
    proxy = proxied(candidates.server.url)
    cut_off = candidates.launch(redis_url=proxy.url)
    await candidates.ticks_more("each", 1)
    candidates.launch()
    match lost:
        case "enqueue":
            fault = proxy.cut_before(mentions("EVALSHA", load("enqueue").sha, "each-"), times=None)
        case "its reply":
            fault = proxy.cut_reply_after(mentions("EVALSHA", load("enqueue").sha, "each-"), times=None)
        case _:
            states = mentions("EVALSHA", load("schedule_commit").sha, "each", "outcome")
            fault = proxy.cut_before(states, times=None)
    await wait_until(lambda: fault.hits, description="a tick to be cut short")
    proxy.refuse()
    intent = candidates.intent("each")
    assert intent is not None
    assert await candidates.successor_of(cut_off) is not cut_off
    await candidates.decided_until(int(intent["tick"]), "each")
    assert candidates.jobs()["each"][int(intent["tick"])] == [intent["job"]]
    fault.lift()
    proxy.accept()
    await candidates.ticks_more("each", 2)
    await settled(candidates, ["each", "quick", "brief"], since=now_ms())


async def test_ticks_that_a_full_redis_refused_are_fired_once_it_has_room(
    processes: Processes, own_redis: OwnRedis, ledger: Ledger
) -> None:
    server = own_redis()
    candidates = Candidates(processes, server, ledger)
    candidates.launch()
    candidates.launch()
    await candidates.ticks_more("quick", 4)
    server.command("CONFIG", "SET", "maxmemory", "1")
    full = now_ms()
    await wait_until(lambda: now_ms() > full + 2_000, description="two seconds without room")
    jobs = sum(len(ids) for ids in candidates.jobs()["quick"].values())
    leader = await candidates.leader()
    assert leader.events("a tick could not be enqueued; trying again")
    server.command("CONFIG", "SET", "maxmemory", "0")
    room = now_ms()
    await candidates.decided_until(room, "each", "quick", "brief")
    assert sum(len(ids) for ids in candidates.jobs()["quick"].values()) >= jobs + 8
    await settled(candidates, ["each", "quick", "newest", "brief"], since=now_ms())
    newest_ones_only(candidates, [(full, room)])


async def test_runs_that_may_not_overlap_never_do_also_when_the_leader_changes(
    processes: Processes, redis_server: RedisServer, ledger: Ledger
) -> None:
    candidates = Candidates(processes, redis_server, ledger, SLOW)
    candidates.launch()
    candidates.launch()
    await candidates.ticks_more("allowing", 4)
    leader = await candidates.leader()
    leader.terminate()
    await candidates.successor_of(leader)
    await candidates.ticks_more("allowing", 6)
    until = candidates.last("allowing")
    await candidates.decided_until(until, "skipping", "queueing")
    overlaps = {schedule: most_at_once(candidates, schedule) for schedule in ("skipping", "queueing")}
    assert overlaps == {"skipping": 1, "queueing": 1}
    assert most_at_once(candidates, "allowing") == 2
    for schedule in ("skipping", "queueing"):
        state = candidates.state(schedule)
        ticks = due(500, candidates.since(schedule), state["last"])
        jobs = candidates.jobs()[schedule]
        assert [tick for tick in ticks if len(jobs.get(tick, [])) > 1] == []
        fired = [tick for tick in ticks if tick in jobs]
        assert state["skipped"] == {"overlap": len(ticks) - len(fired)}
        assert state["fired"] == len(fired)
        # A run takes one tick and a bit: every second tick finds the one before under way.
        assert len(ticks) / 3 <= len(fired) <= len(ticks) - 2


def most_at_once(candidates: Candidates, schedule: str) -> int:
    """How many runs of a schedule were under way at once."""
    moments = [(run.at, 1) for runs in candidates.runs("start")[schedule].values() for run in runs]
    moments += [(run.at, -1) for runs in candidates.runs("end")[schedule].values() for run in runs]
    return max(accumulate(step for _, step in sorted(moments)))


async def test_a_leader_that_shuts_down_is_replaced_within_a_second(candidates: Candidates) -> None:
    # With the default TTL, so that its end does not come in time.
    candidates.launch(lease_ttl=6)
    candidates.launch(lease_ttl=6)
    await candidates.ticks_more("quick", 1)
    for child in candidates.children.values():
        await child.wait_for_event("worker started")
    leader, told = await candidates.leader(), now_ms()
    leader.terminate()
    await candidates.successor_of(leader)
    assert candidates.lease().epoch - told < 1_000 + MARGIN * 1000


async def test_a_leader_that_is_killed_is_replaced_when_its_lease_has_ended(candidates: Candidates) -> None:
    candidates.launch()
    candidates.launch()
    await candidates.ticks_more("quick", 1)
    for child in candidates.children.values():
        await child.wait_for_event("worker started")
    leader, told = await candidates.leader(), now_ms()
    leader.kill()
    await candidates.successor_of(leader)
    assert candidates.lease().epoch - told < (TTL + MARGIN) * 1000


async def test_ticks_fire_by_timer_at_their_moment(candidates: Candidates) -> None:
    candidates.launch()
    await candidates.ticks_more("quick", 12)
    late = sorted(candidates.lateness("quick"))
    assert late[0] >= 0
    # A quarter of them: who polls meets none, and this machine does other things, too.
    assert late[len(late) // 4] <= 50
