"""When a worker dies or joins, few shards move: its own share, and a short chain (see `assignment`)."""

from tests.guarantees.fleet import SHARDS, TTL, Fleet

AT_MOST = 5
"""Moves of 8 shards when 3 workers become 2 or 4, or 2 become 3."""


async def test_killing_and_adding_a_worker_moves_few_shards(fleet: Fleet) -> None:
    victim, one, two = await fleet.start("victim", "one", "two", lease_ttl=TTL)
    before = fleet.owners()
    assert len(before) == SHARDS

    orphans = fleet.shards_of(victim)
    victim.child.kill()
    await fleet.shards_shared()
    after = fleet.owners()
    moved = {shard for shard in before if before[shard] != after[shard]}
    assert set(orphans) <= moved
    assert len(moved) <= AT_MOST

    await fleet.start("heir", lease_ttl=TTL)
    settled = fleet.owners()
    moved = {shard for shard in after if after[shard] != settled[shard]}
    assert SHARDS // 3 <= len(moved) <= AT_MOST
    assert set(settled.values()) == {one.id, two.id, fleet.workers["heir"].id}
