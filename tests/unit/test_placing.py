"""How lists of jobs are dealt to shards."""

import time

import pytest

from capelin._placing import Dealer
from capelin.lua import Layout

LAYOUT = Layout(shards=8, schema=1, version=1, reach=8, homes=(), fewest=8)


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    held = Clock()
    monkeypatch.setattr(time, "monotonic", held)
    return held


@pytest.fixture
def dealer() -> Dealer:
    return Dealer({"a": LAYOUT, "b": LAYOUT}, most_waiting=None)


def dealt(dealer: Dealer, queue: str, jobs: int) -> list[int]:
    """How many jobs each call of a list has."""
    return [len(batch.places) for batch in dealer.batches_of(queue, ["[[],{}]"] * jobs, LAYOUT)]


def test_a_short_list_is_cut_into_tens(dealer: Dealer, clock: Clock) -> None:
    assert dealt(dealer, "a", 25) == [10, 10, 5]
    clock.now += 1
    assert dealt(dealer, "a", 25) == [10, 10, 5]


def test_where_list_follows_list_each_goes_to_a_shard_of_its_own(dealer: Dealer, clock: Clock) -> None:
    dealt(dealer, "a", 1)
    shards: set[int] = set()
    for _ in range(8):
        clock.now += 0.01
        (batch,) = dealer.batches_of("a", ["[[],{}]"] * 50, LAYOUT)
        shards.add(batch.route[0])
    assert shards == set(range(8))


def test_lists_of_different_queues_do_not_follow_each_other(dealer: Dealer, clock: Clock) -> None:
    dealt(dealer, "b", 25)
    clock.now += 0.01
    assert dealt(dealer, "a", 25) == [10, 10, 5]


def test_a_long_list_is_spread_evenly_whatever_came_before_it(dealer: Dealer, clock: Clock) -> None:
    for _ in range(2):
        assert dealt(dealer, "a", 800) == [100] * 8
        clock.now += 0.001
        assert dealt(dealer, "a", 88) == [11] * 8, "limits of a queue count by the shard: each has its part"
