"""A queue is cut anew while clients that know the old layout go on (guarantees 1 and 7)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import count

import pytest

from capelin import InvalidOption, JobConflict, JobStatus, lua
from capelin.admin import (
    Access,
    NotThere,
    Resharding,
    ReshardRefused,
    list_dead,
    list_queues,
    list_shards,
    named_dead,
    open_access,
    pause_queue,
    plan_reshard,
    purge,
    replay,
    reshard_queue,
    resume_queue,
    retry_job,
)
from capelin.ids import JobId
from capelin.jobs import Job
from capelin.keys import shard_of
from capelin.lua import OutcomeKind, Replayed
from capelin.options import OnDuplicateName
from capelin.resharding import settle, unnamed_shards
from capelin.settings import Settings
from capelin.workers.settling import Settling
from capelin.workers.strays import EVERY, SOON, Strays
from capelin.workers.territory import Territory
from tests.conformance.conftest import Shop

KEYS = [f"k{number}" for number in range(40)]


class Desk:
    """Clients of one queue, each of which knows the layout that it read last, and an operator.

    Attributes:
        old, new: Clients.
        access: The operator's.
    """

    def __init__(self, old: Shop, new: Shop, access: Access) -> None:
        self.old, self.new, self.access = old, new, access

    async def cut(self, shards: int) -> Resharding:
        """Cut the queue anew."""
        return await reshard_queue(self.access, "default", shards)

    async def settle(self) -> Resharding:
        """What workers do now and then; return what is left."""
        layout = (await self.access.read_layouts("default"))["default"]
        await settle(self.access.connection, self.access.keys, "default", layout)
        return await plan_reshard(self.access, "default")


@pytest.fixture
async def desk(backend_url: str) -> AsyncIterator[Desk]:
    """A queue of 8 shards, that `old` knows."""
    async with AsyncExitStack() as ends:
        old, new = Shop(backend_url), Shop(backend_url)
        for shop in (old, new):
            await ends.enter_async_context(shop.app)
        access = await ends.enter_async_context(
            open_access(backend_url, prefix=old.app.keys.prefix, settings=Settings())
        )
        await old.client.queues.open(["default"])
        yield Desk(old, new, access)


async def once(shop: Shop, key: str, number: int = 0, how: OnDuplicateName = "keep") -> Job[int]:
    """Enqueue with a dedupe key."""
    return await shop.plain.options(dedupe_key=key, on_duplicate=how).enqueue(number)


def home_of(key: str, shards: int) -> int:
    """The shard of a key of `once`."""
    return shard_of(f"plain:{key}", shards)


def moving_key(*counts: int) -> str:
    """A key whose home is another one under each of these numbers of shards."""
    return next(key for key in KEYS if len({home_of(key, count) for count in counts}) == len(counts))


# Where jobs go.


async def test_new_jobs_go_to_the_new_shards_and_the_old_ones_run_where_they_are(desk: Desk) -> None:
    before = await desk.old.app.enqueue([desk.old.plain.job(number) for number in range(80)])
    await desk.cut(32)
    after = await desk.new.app.enqueue([desk.new.plain.job(number) for number in range(640)])
    assert {job.shard for job in before} == set(range(8))
    assert {job.shard for job in after} == set(range(32))
    taken = [delivery.uid for _, delivery in await desk.new.hand.take(count=100)]
    assert sorted(taken) == sorted(JobId.parse(job.id).uid for job in [*before, *after])


@pytest.mark.parametrize("shards", [32, 3])
async def test_a_client_that_knows_the_old_layout_learns_the_new_one_from_a_refusal(
    desk: Desk, shards: int
) -> None:
    await desk.cut(shards)
    jobs = await desk.old.app.enqueue([desk.old.plain.job(number) for number in range(640)])
    assert len(set(jobs)) == 640
    assert {job.shard for job in jobs} == set(range(shards))
    assert desk.old.client.queues.known["default"].shards == shards
    assert len(await desk.new.hand.take(count=300)) == 640


async def test_in_a_smaller_queue_nothing_new_comes_to_the_shards_beyond(desk: Desk) -> None:
    await desk.cut(2)
    for number in range(20):
        assert (await desk.old.plain.enqueue(number)).shard < 2
        assert (await desk.old.plain.options(shard_key=str(number)).enqueue(number)).shard < 2
        assert (await once(desk.old, f"k{number}")).shard < 2


async def test_nobody_in_an_old_home_is_asked_about_a_job_that_has_a_shard_key_and_no_dedupe_key(
    desk: Desk,
) -> None:
    for key in KEYS[:8]:
        await once(desk.old, key)
    assert (await desk.cut(3)).older
    for key in KEYS:
        assert (await desk.new.plain.options(shard_key=key).enqueue(1)).shard == shard_of(key, 3)
    requests = [desk.old.plain.options(shard_key=key).job(1) for key in KEYS]
    assert [job.shard for job in await desk.old.app.enqueue(requests)] == [shard_of(key, 3) for key in KEYS]


async def test_a_job_of_an_old_shard_answers_under_its_id_until_its_end(desk: Desk) -> None:
    job = await desk.old.plain.options(shard_key="x").enqueue(7)
    await desk.cut(1)
    assert await job.status() is JobStatus.QUEUED
    await desk.new.hand.complete(result="7")
    assert await job.result(timeout=5) == 7
    assert job.shard == shard_of("x", 8)


# Dedupe keys.


@pytest.mark.parametrize("shards", [32, 3])
async def test_a_key_that_a_job_of_the_old_layout_holds_is_held_for_every_client(
    desk: Desk, shards: int
) -> None:
    first = {key: await once(desk.old, key) for key in KEYS}
    await desk.cut(shards)
    for shop in (desk.new, desk.old):
        for key in KEYS:
            again = await once(shop, key)
            assert again.duplicate
            assert again == first[key], "the handle names the place of the job that holds the key"
    assert len(await desk.new.hand.take(count=100)) == len(KEYS)


async def test_a_key_that_a_job_of_the_new_layout_holds_is_held_for_a_client_that_knows_the_old_one(
    desk: Desk,
) -> None:
    await desk.cut(32)
    first = {key: await once(desk.new, key) for key in KEYS}
    assert {key: job.shard for key, job in first.items()} == {key: home_of(key, 32) for key in KEYS}
    assert {key: await once(desk.old, key) for key in KEYS} == first


async def test_in_one_list_keys_of_old_and_new_homes_and_no_keys_go_together(desk: Desk) -> None:
    held = {key: await once(desk.old, key) for key in KEYS[:20]}
    await desk.cut(32)
    requests = [desk.new.plain.options(dedupe_key=key).job(1) for key in KEYS]
    jobs = await desk.new.app.enqueue([*requests, *[desk.new.plain.job(number) for number in range(50)]])
    assert [job.duplicate for job in jobs] == [True] * 20 + [False] * 70
    assert jobs[:20] == list(held.values())
    assert len(set(jobs)) == 90


async def test_replace_changes_the_job_in_the_old_shard(desk: Desk) -> None:
    key = moving_key(8, 32)
    first = await desk.old.plain.options(dedupe_key=key, delay=60).enqueue(1)
    await desk.cut(32)
    changed = await once(desk.new, key, 2, "replace")
    assert changed == first
    [(shard, delivery)] = await desk.new.hand.take()
    assert (shard, delivery.args) == (first.shard, b"[[2],{}]")


async def test_follow_adds_the_follower_beside_the_job_that_it_follows(desk: Desk) -> None:
    key = moving_key(8, 32)
    first = await once(desk.old, key, 1)
    shard, running = await desk.new.hand.take_one()
    await desk.cut(32)
    second = await once(desk.new, key, 2, "follow")
    assert not second.duplicate
    assert second.shard == first.shard
    assert await once(desk.old, key, 3, "follow") == second, "one follows, whoever asks"
    await desk.new.hand.finish("default", shard, running, OutcomeKind.COMPLETE)
    assert (await once(desk.new, key, 4)).duplicate, "the follower has inherited the key"
    await desk.new.hand.complete()
    assert (await once(desk.new, key, 5)).shard == home_of(key, 32), "it is free: its home is the new one"


async def test_a_window_holds_its_key_over_a_reshard(desk: Desk) -> None:
    key = moving_key(8, 32)
    first = await desk.old.plain.options(dedupe_key=key, dedupe_for=60).enqueue(1)
    await desk.new.hand.complete()
    await desk.cut(32)
    again = await desk.new.plain.options(dedupe_key=key, dedupe_for=60).enqueue(2)
    assert again.duplicate
    assert again == first
    left = await desk.settle()
    assert left.older
    assert 0 < left.window_seconds <= 60


async def test_there_and_back_and_there_again(desk: Desk) -> None:
    """Each key is taken under another layout, and is held under all that follow."""
    held: dict[str, Job[int]] = {}
    clients = [desk.old, desk.new]
    for turn, shards in enumerate([32, 8, 5, 32]):
        for key in KEYS[turn * 8 : turn * 8 + 8]:
            held[key] = await once(clients[turn % 2], key)
        await desk.cut(shards)
        for shop in clients:
            assert {key: await once(shop, key) for key in held} == held
    assert len(set(held.values())) == 32
    assert len(await desk.new.hand.take(count=100)) == 32


# What is left, and its end.


async def test_old_homes_are_asked_until_no_key_is_held_there(desk: Desk) -> None:
    key = moving_key(8, 32)
    await once(desk.old, key)
    cut = await desk.cut(32)
    assert [(home.version, home.shards) for home in cut.older] == [(1, 8)]
    assert cut.keys == 1
    await once(desk.new, "another")
    assert (await desk.settle()).older, "a job still holds a key there"
    for shard, delivery in await desk.new.hand.take():
        await desk.new.hand.finish("default", shard, delivery, OutcomeKind.COMPLETE)
    assert (await desk.settle()).settled
    assert (await once(desk.new, key)).shard == home_of(key, 32)


async def test_shards_beyond_are_served_until_nothing_is_in_them(desk: Desk) -> None:
    key = next(key for key in KEYS if home_of(key, 8) == 7)
    job = await once(desk.old, key)
    cut = await desk.cut(2)
    assert (cut.reach, cut.live, cut.ended) == (8, 1, 0)
    assert len(await list_shards(desk.access, "default")) == 8
    await desk.new.hand.bury()
    await desk.new.hand.leave()
    left = await desk.settle()
    assert (left.reach, left.live, left.ended) == (8, 0, 1)
    assert [one.id for one in (await list_dead(desk.access)).jobs] == [job.id]
    await purge(desk.access, await named_dead(desk.access, [job.id]))
    assert (await desk.settle()).reach == 2
    assert len(await list_shards(desk.access, "default")) == 2


async def test_a_worker_that_has_settled_a_queue_settles_it_again_when_it_is_cut_anew(desk: Desk) -> None:
    connection, keys = desk.new.client.connection, desk.new.client.keys
    await desk.cut(4)
    territory = Territory(keys, await desk.access.read_layouts("default"))
    settling = Settling(keys, territory)
    owned = {keys.shard("default", 0)}
    await settling.run(connection, owned)
    assert territory.layouts["default"].settled
    await settling.run(connection, owned)  # sees that nothing is left, and lets it be for minutes
    await once(desk.new, moving_key(3, 4))
    await desk.cut(3)
    territory.saw("default", (await desk.access.read_layouts("default"))["default"])
    for shard, delivery in await desk.new.hand.take():
        await desk.new.hand.finish("default", shard, delivery, OutcomeKind.COMPLETE)
    await settling.run(connection, owned)
    assert territory.layouts["default"].homes == ()


async def test_a_worker_that_knows_a_layout_which_redis_has_lost_goes_on_to_serve_what_lies_there(
    desk: Desk,
) -> None:
    connection, keys = desk.new.client.connection, desk.new.client.keys
    await desk.cut(32)
    territory = Territory(keys, await desk.access.read_layouts("default"))
    job = await once(desk.new, next(key for key in KEYS if home_of(key, 32) > 8))
    await connection.command("DEL", keys.queue_meta("default"))
    await connection.run(lua.open_queue(keys, "default", shards=8, schema=1))
    territory.look_soon()
    await territory.look(connection)
    assert territory.reach["default"] == job.shard + 1
    assert (await desk.access.read_layouts("default"))["default"].reach == job.shard + 1


async def lost(desk: Desk) -> Job[int]:
    """Redis forgets a reshard, and all that knows of it is a client, which has placed a job by it."""
    await desk.cut(32)
    job = await once(desk.new, next(key for key in KEYS if home_of(key, 32) > 8))
    connection, keys = desk.new.client.connection, desk.new.client.keys
    await connection.command("DEL", keys.queue_meta("default"))
    await connection.run(lua.open_queue(keys, "default", shards=8, schema=1))
    return job


async def look_for_strays(desk: Desk, territory: Territory, *, owned: int = 0) -> bool:
    """What the owner of a shard does when it is time."""
    connection, keys = desk.new.client.connection, desk.new.client.keys
    strays = Strays(keys, territory, clock=count(0.0, EVERY).__next__)
    assert not await strays.run(connection, {keys.shard("default", owned)}), "it has just begun"
    return await strays.run(connection, {keys.shard("default", owned)})


async def test_a_job_in_a_shard_that_nobody_knows_any_more_is_found_by_who_owns_the_first(desk: Desk) -> None:
    """Seed 8005 of the simulation: a failover lost the reshard before any worker had read it."""
    job = await lost(desk)
    territory = Territory(desk.new.client.keys, await desk.access.read_layouts("default"))
    assert not await look_for_strays(desk, territory, owned=1)
    assert await look_for_strays(desk, territory)
    assert territory.reach["default"] == job.shard + 1
    layout = (await desk.access.read_layouts("default"))["default"]
    assert (layout.reach, layout.shards) == (job.shard + 1, 8)
    assert layout.version > 2, "the client's version is one that cut the queue into other shards"


async def test_who_goes_by_a_layout_that_was_lost_is_refused_once_its_shards_were_told(desk: Desk) -> None:
    job = await lost(desk)
    connection, keys = desk.new.client.connection, desk.new.client.keys
    territory = Territory(keys, await desk.access.read_layouts("default"))
    owned = {keys.shard("default", 0)}
    await look_for_strays(desk, territory)
    assert desk.new.client.queues.known["default"].version == 2
    await Settling(keys, territory).run(connection, owned)
    assert territory.layouts["default"].homes == ()
    jobs = await desk.new.app.enqueue([desk.new.plain.job(number) for number in range(640)])
    assert {each.shard for each in jobs} == set(range(8)), "it has read the newest layout"
    taken = await desk.new.hand.take(count=1000)
    assert (job.shard, JobId.parse(job.id).uid) in [(shard, delivery.uid) for shard, delivery in taken]


async def test_strays_are_looked_for_every_minute(desk: Desk) -> None:
    connection, keys = desk.new.client.connection, desk.new.client.keys
    now = 100.0
    territory = Territory(keys, await desk.access.read_layouts("default"))
    strays = Strays(keys, territory, clock=lambda: now)
    owned = {keys.shard("default", 0)}
    assert not await strays.run(connection, owned)
    now += SOON
    assert not await strays.run(connection, owned), "there is nothing"
    job = await lost(desk)
    now += EVERY - 1
    assert not await strays.run(connection, owned)
    now += 1
    assert await strays.run(connection, owned)
    assert territory.reach["default"] == job.shard + 1


async def test_strays_are_not_looked_for_by_who_lives_for_seconds(desk: Desk) -> None:
    connection, keys = desk.new.client.connection, desk.new.client.keys
    await lost(desk)
    now = 100.0
    territory = Territory(keys, await desk.access.read_layouts("default"))
    strays = Strays(keys, territory, clock=lambda: now)
    owned = {keys.shard("default", 0)}
    assert not await strays.run(connection, owned)
    now += SOON - 1
    assert not await strays.run(connection, owned)
    now += 1
    assert await strays.run(connection, owned)


async def test_strays_are_looked_for_soon_when_the_layout_is_another_one(desk: Desk) -> None:
    connection, keys = desk.new.client.connection, desk.new.client.keys
    now = 100.0
    territory = Territory(keys, await desk.access.read_layouts("default"))
    strays = Strays(keys, territory, clock=lambda: now)
    owned = {keys.shard("default", 0)}
    await strays.run(connection, owned)
    now += SOON
    await strays.run(connection, owned)
    await lost(desk)
    made_good = lua.open_queue(keys, "default", shards=8, schema=1, floor=2)
    territory.saw("default", await connection.run(made_good))
    assert not await strays.run(connection, owned), "until then a client may place more by what it knew"
    now += SOON
    assert await strays.run(connection, owned)


async def test_keys_that_were_taken_under_a_version_that_was_lost_are_asked_for_after_the_next_reshard(
    desk: Desk,
) -> None:
    key = moving_key(8, 16, 3)
    await desk.cut(3)
    await desk.cut(8)
    await desk.settle()
    job = await once(desk.new, key)
    connection, keys = desk.new.client.connection, desk.new.client.keys
    await connection.command("DEL", keys.queue_meta("default"))
    await connection.run(lua.open_queue(keys, "default", shards=8, schema=1, floor=3))
    assert (await desk.cut(16)).older
    assert await once(desk.old, key) == await once(desk.new, key) == job


async def test_a_layout_whose_version_another_had_before_it_was_lost_becomes_the_next(desk: Desk) -> None:
    """Nobody had heard of the lost one, and the queue was cut anew since: both are version 2."""
    await desk.cut(32)
    await desk.new.client.queues.open(["default"])
    connection, keys = desk.new.client.connection, desk.new.client.keys
    for number in range(32):
        await connection.command("HDEL", keys.shard("default", number).meta, "layout")
    await connection.command("DEL", keys.queue_meta("default"))
    await connection.run(lua.open_queue(keys, "default", shards=8, schema=1))
    assert (await desk.cut(4)).layout == 2
    job = await once(desk.new, next(key for key in KEYS if home_of(key, 32) > 8))
    territory = Territory(keys, await desk.access.read_layouts("default"))
    assert await look_for_strays(desk, territory)
    layout = territory.layouts["default"]
    assert (layout.version > 2, layout.shards, layout.reach) == (True, 4, job.shard + 1)


async def test_who_replays_makes_a_lost_version_good_too(desk: Desk) -> None:
    """Nobody enqueues, and only the job's shard has heard of the version."""
    job = await once(desk.new, "k0")
    await desk.new.hand.bury()
    connection, keys = desk.new.client.connection, desk.new.client.keys
    await connection.command("HSET", keys.shard("default", job.shard).meta, "layout", "5")
    async with asyncio.timeout(10):
        assert (await replay(desk.access, await named_dead(desk.access, [job.id]))).done == 1
    assert (await desk.access.read_layouts("default"))["default"].version == 6


async def test_a_queue_that_cannot_be_looked_at_keeps_nobody_from_the_others(desk: Desk) -> None:
    await lost(desk)
    connection, keys = desk.new.client.connection, desk.new.client.keys
    layout = (await desk.access.read_layouts("default"))["default"]
    territory = Territory(keys, {"a": layout, "default": layout})
    await connection.command("SET", keys.queue_meta("a"), "rubbish")
    now = 100.0
    strays = Strays(keys, territory, clock=lambda: now)
    owned = {keys.shard("a", 0), keys.shard("default", 0)}
    assert not await strays.run(connection, owned)
    now += SOON
    assert not await strays.run(connection, owned)
    now += SOON
    assert await strays.run(connection, owned)
    await connection.command("DEL", keys.queue_meta("a"))


async def test_a_shard_that_was_found_meanwhile_is_not_struck_off(desk: Desk) -> None:
    job = await lost(desk)
    connection, keys = desk.new.client.connection, desk.new.client.keys
    before = (await desk.access.read_layouts("default"))["default"]
    await connection.run(lua.open_queue(keys, "default", shards=8, schema=1, held=job.shard + 1))
    await settle(connection, keys, "default", before)
    assert (await desk.access.read_layouts("default"))["default"].reach == job.shard + 1


async def test_a_torn_shard_that_no_layout_names_hides_no_other(desk: Desk) -> None:
    job = await lost(desk)
    connection, keys = desk.new.client.connection, desk.new.client.keys
    torn, also = [keys.shard("default", number) for number in range(20, 23) if number != job.shard][:2]
    await connection.command("DEL", torn.meta)
    await connection.commands([("SET", torn.meta, "rubbish"), ("SET", also.scheduled, "rubbish")])
    found = {one.shard: one for one in await unnamed_shards(connection, keys, "default", reach=8)}
    assert torn not in found, "it has not heard of any layout that can be read"
    assert (found[also].heard, found[also].told) == (2, None)
    territory = Territory(keys, await desk.access.read_layouts("default"))
    assert await look_for_strays(desk, territory)
    assert territory.reach["default"] == job.shard + 1
    await connection.commands([("DEL", torn.meta), ("DEL", also.scheduled)])


async def test_a_client_that_slept_for_all_of_it_is_refused_even_where_nothing_is_left(desk: Desk) -> None:
    await desk.cut(2)
    assert (await desk.settle()).settled
    for number in range(16):
        assert (await desk.old.plain.options(shard_key=str(number)).enqueue(number)).shard < 2


async def test_a_reshard_that_was_interrupted_is_finished_by_whoever_comes(desk: Desk) -> None:
    client = desk.new.client
    first = await once(desk.old, moving_key(8, 32))
    # The command died before any shard had heard of it.
    await client.connection.run(
        lua.queue_reshard(client.keys, "default", shards=32, most_homes=8, remembered=1000, floor=1)
    )
    assert (await once(desk.new, moving_key(8, 32))) == first
    unheard = await once(desk.old, "nobody has asked here yet")
    assert (await once(desk.new, "nobody has asked here yet")) == unheard
    again = await desk.cut(32)
    assert not again.changed
    assert again.layout == 2
    moved = await once(desk.old, moving_key(3, 32))
    assert moved.shard == home_of(moving_key(3, 32), 32) or moved.duplicate


# Replay.


async def buried(shop: Shop, key: str) -> Job[int]:
    """A dead job that had a key."""
    job = await once(shop, key)
    await shop.hand.bury()
    return job


@pytest.mark.parametrize("when", ["at once", "when nothing else is left"])
async def test_a_dead_job_of_an_old_home_runs_again_and_has_its_key(desk: Desk, when: str) -> None:
    key = moving_key(8, 32)
    dead = await buried(desk.old, key)
    await desk.cut(32)
    if when != "at once":
        assert not (await desk.settle()).older
    assert await retry_job(desk.access, dead.id) is Replayed.REPLAYED
    for shop in (desk.old, desk.new):
        again = await once(shop, key)
        assert again.duplicate
        assert again == dead
    assert (await once(desk.new, key, 2, "replace")) == dead, "who has the key is changed where it is"
    await desk.new.hand.complete()
    after = await once(desk.new, key)
    assert not after.duplicate
    assert after.shard == home_of(key, 32)


@pytest.mark.parametrize("when", ["at once", "when nothing else is left"])
async def test_a_dead_job_of_an_old_home_does_not_run_again_while_another_has_its_key(
    desk: Desk, when: str
) -> None:
    key = moving_key(8, 32)
    dead = await buried(desk.old, key)
    await desk.cut(32)
    if when != "at once":
        await desk.settle()
    holder = await once(desk.new, key)
    with pytest.raises(JobConflict, match=holder.id):
        await retry_job(desk.access, dead.id)
    repaired = await replay(desk.access, await named_dead(desk.access, [dead.id]))
    assert (repaired.done, list(repaired.refused)) == (0, [dead.id])
    await desk.new.hand.complete()
    assert (await replay(desk.access, await named_dead(desk.access, [dead.id]))).done == 1


async def test_of_two_dead_jobs_with_one_key_in_two_homes_one_runs(desk: Desk) -> None:
    key = moving_key(8, 32)
    old = await buried(desk.old, key)
    await desk.cut(32)
    new = await buried(desk.new, key)
    assert old.shard != new.shard
    assert await retry_job(desk.access, old.id) is Replayed.REPLAYED
    with pytest.raises(JobConflict, match=old.id):
        await retry_job(desk.access, new.id)
    await desk.new.hand.complete()
    assert await retry_job(desk.access, new.id) is Replayed.REPLAYED
    with pytest.raises(JobConflict):
        await retry_job(desk.access, old.id)


async def test_a_loan_that_is_over_is_struck_off(desk: Desk) -> None:
    key = moving_key(8, 32)
    dead = await buried(desk.old, key)
    await desk.cut(32)
    await retry_job(desk.access, dead.id)
    assert (await desk.settle()).lent == 1, "its borrower runs"
    await desk.new.hand.complete()
    left = await desk.settle()
    assert (left.lent, left.settled) == (0, True)


@pytest.mark.parametrize("between", [32, 3])
async def test_a_lent_key_is_found_after_another_reshard(desk: Desk, between: int) -> None:
    """Also when its borrower's shard is none of the home's layout."""
    counts = (8, between, 5)
    key = next(key for key in KEYS if len({home_of(key, n) for n in counts}) == 3 and home_of(key, 8) > 4)
    dead = await buried(desk.old, key)
    await desk.cut(between)
    await retry_job(desk.access, dead.id)
    await desk.cut(5)
    for shop in (desk.old, desk.new):
        assert await once(shop, key) == dead
    await desk.new.hand.complete()
    assert (await once(desk.new, key)).shard == home_of(key, 5)


# The command.


@pytest.mark.parametrize("shards", [0, -1, 1025])
async def test_a_number_out_of_range_is_refused(desk: Desk, shards: int) -> None:
    with pytest.raises(InvalidOption, match="1 to 1024"):
        await desk.cut(shards)


async def test_a_queue_that_does_not_exist_is_not_made(desk: Desk) -> None:
    with pytest.raises(NotThere, match="nope"):
        await reshard_queue(desk.access, "nope", 4)


async def test_a_plan_says_what_would_happen_and_does_nothing(desk: Desk) -> None:
    job = await once(desk.old, next(key for key in KEYS if home_of(key, 8) == 6))
    plan = await plan_reshard(desk.access, "default", 2)
    assert (plan.before, plan.shards, plan.layout, plan.changed) == (8, 2, 2, True)
    assert (plan.reach, plan.live, plan.keys) == (8, 1, 1)
    layout = (await desk.access.read_layouts("default"))["default"]
    assert (layout.shards, layout.version, layout.homes) == (8, 1, ())
    assert await job.status() is JobStatus.QUEUED


async def test_the_same_number_changes_nothing(desk: Desk) -> None:
    same = await desk.cut(8)
    assert (same.changed, same.layout, same.settled) == (False, 1, True)


async def test_too_many_layouts_that_hold_keys_are_refused(desk: Desk) -> None:
    for turn in range(8):
        await once(desk.old, f"under layout {turn + 1}")
        await desk.cut(9 + turn)
    with pytest.raises(ReshardRefused, match="8 times"):
        await desk.cut(8)
    with pytest.raises(ReshardRefused, match="under each"):
        await plan_reshard(desk.access, "default", 8)
    for shard, delivery in await desk.new.hand.take():
        await desk.new.hand.finish("default", shard, delivery, OutcomeKind.COMPLETE)
    assert (await desk.cut(8)).changed


async def test_a_paused_queue_is_paused_in_its_new_shards_too(desk: Desk) -> None:
    await pause_queue(desk.access, "default")
    await desk.cut(32)
    [queue] = await list_queues(desk.access, "default")
    assert queue.paused
    assert queue.shards == 32
    await desk.new.app.enqueue([desk.new.plain.job(number) for number in range(320)])
    assert await desk.new.hand.take(count=100) == []
    await resume_queue(desk.access, "default")
    assert len(await desk.new.hand.take(count=100)) == 320


async def test_a_listing_shows_a_reshard_under_way(desk: Desk) -> None:
    await once(desk.old, next(key for key in KEYS if home_of(key, 8) == 7))
    await desk.cut(2)
    [queue] = await list_queues(desk.access, "default")
    assert (queue.shards, queue.layout, queue.shards_beyond, queue.older_layouts) == (2, 2, 6, 1)
