"""Every worker computes the same owners: evenly, and few shards move when members come or go."""

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from capelin.workers.assignment import assign, score


def draw(count: int, times: int) -> Iterator[list[str]]:
    """Memberships as they may be: ids of workers, drawn anew each time, and the same in each run."""
    drawn = random.Random(8)  # noqa: S311
    for _ in range(times):
        yield [f"worker-{drawn.randrange(2, 40_000)}-{drawn.getrandbits(40):010x}" for _ in range(count)]


def moves(shards: int, larger: int, times: int) -> list[int]:
    """How many shards change their owner between ``larger`` members and one fewer, either way."""
    counts: list[int] = []
    for members in draw(larger, times):
        after, before = assign("default", shards, members), assign("default", shards, members[:-1])
        counts.append(sum(after[shard] != before[shard] for shard in range(shards)))
    return sorted(counts)


@pytest.mark.parametrize("shards", [1, 2, 8, 13, 64])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9, 50])
def test_loads_differ_by_one_at_most(shards: int, count: int) -> None:
    for members in draw(count, 5):
        owners = assign("emails", shards, members)
        assert sorted(owners) == list(range(shards))
        loads = Counter(owners.values())
        assert set(loads) <= set(members)
        assert {loads[member] for member in members} <= {shards // count, -(-shards // count)}


def test_the_order_of_members_does_not_matter() -> None:
    for members in draw(20, 5):
        assert assign("q", 64, members) == assign("q", 64, members[::-1]) == assign("q", 64, sorted(members))


def test_queues_are_spread_differently() -> None:
    [members] = draw(4, 1)
    assert assign("emails", 8, members) != assign("reports", 8, members)


def test_without_members_nobody_owns_anything() -> None:
    assert assign("emails", 8, []) == {}


def test_two_releases_side_by_side_agree() -> None:
    """Were they to disagree in a rolling deploy, some shards would have two claimants and some none."""
    owners = assign("default", 8, ["a", "b", "c"])
    assert "".join(owners[shard] for shard in range(8)) == "aabcbbcc"


@pytest.mark.parametrize("larger", [3, 4], ids=["3 to 2", "3 to 4"])
def test_eight_shards_and_three_workers_move_five_at_most(larger: int) -> None:
    counts = moves(8, larger, 2_000)
    assert counts[0] >= 8 // larger
    assert counts[-1] <= 5
    assert sum(counts) / len(counts) < 3.1


@pytest.mark.parametrize("larger", [50, 51], ids=["50 to 49", "50 to 51"])
def test_sixty_four_shards_and_fifty_workers_move_sixteen_at_most_and_four_in_the_mean(larger: int) -> None:
    counts = moves(64, larger, 200)
    assert counts[0] >= 64 // larger
    assert counts[-1] <= 16
    assert sum(count > 10 for count in counts) <= len(counts) // 100
    assert sum(counts) / len(counts) < 4.5


def test_of_more_workers_than_shards_most_come_and_go_unnoticed() -> None:
    counts = moves(8, 21, 500)
    assert counts[-1] <= 8
    assert sum(count == 0 for count in counts) > len(counts) // 2, "13 of 21 own nothing"


def test_a_large_fleet_is_not_compared_pair_by_pair() -> None:
    [members] = draw(500, 1)
    score.cache_clear()
    assert len(set(assign("wide", 8, members).values())) == 8
    assert score.cache_info().misses == 500 + 8 * 8


def test_who_comes_and_is_not_chosen_makes_nobody_compare_pairs_again() -> None:
    [members] = draw(500, 1)
    before = assign("wider", 8, members[:-1])
    score.cache_clear()
    after = assign("wider", 8, members)
    assert members[-1] not in after.values(), "draw another one: this one was chosen"
    assert after == before
    assert score.cache_info().misses == 500


def test_a_queue_whose_members_are_as_before_is_not_worked_out_again() -> None:
    [members] = draw(20, 1)
    first = assign("idle", 8, members)
    score.cache_clear()
    assert assign("idle", 8, members[::-1]) == first
    assert score.cache_info().misses == 0
