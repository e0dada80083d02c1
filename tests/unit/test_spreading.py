"""Every worker computes the same hosts of singletons: evenly, and few move when members come or go."""

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from capelin.scheduler.spreading import spread


def names(count: int) -> list[str]:
    return [f"singleton-{number}" for number in range(count)]


def draw(count: int, times: int) -> Iterator[list[str]]:
    drawn = random.Random(9)  # noqa: S311
    for _ in range(times):
        yield [f"worker-{drawn.randrange(2, 40_000)}-{drawn.getrandbits(40):010x}" for _ in range(count)]


@pytest.mark.parametrize("singletons", [1, 2, 3, 7, 20])
@pytest.mark.parametrize("count", [1, 2, 3, 8, 30])
def test_loads_differ_by_one_at_most(singletons: int, count: int) -> None:
    for members in draw(count, 5):
        hosts = spread(dict.fromkeys(names(singletons), members))
        assert sorted(hosts) == sorted(names(singletons))
        loads = Counter(hosts.values())
        assert {loads[member] for member in members} <= {singletons // count, -(-singletons // count)}


def test_the_order_of_members_and_names_does_not_matter() -> None:
    for members in draw(6, 10):
        forth = spread(dict.fromkeys(names(9), members))
        back = spread(dict.fromkeys(reversed(names(9)), members[::-1]))
        assert forth == back


def test_a_singleton_is_hosted_only_by_whom_its_code_has() -> None:
    for old_and_new in draw(6, 20):
        new = old_and_new[3:]
        hosts = spread(dict.fromkeys(names(4), old_and_new) | dict.fromkeys(["new-1", "new-2"], new))
        assert {hosts["new-1"], hosts["new-2"]} <= set(new)
        # All together are spread evenly, too: who has a new one has no more than the others.
        assert set(Counter(hosts.values()).values()) == {1}


def test_apps_that_share_no_member_do_not_heed_each_other() -> None:
    for members in draw(4, 10):
        ours, theirs = dict.fromkeys(names(3), members[:2]), dict.fromkeys(["other"], members[2:])
        assert spread(ours | theirs) == spread(ours) | spread(theirs)


def test_a_singleton_that_nobody_can_host_has_no_host() -> None:
    assert spread({"a": [], "b": ["x"]}) == {"b": "x"}
    assert spread({}) == {}


def test_few_move_when_a_member_comes_or_goes() -> None:
    moved: list[int] = []
    for members in draw(5, 200):
        before = spread(dict.fromkeys(names(10), members))
        after = spread(dict.fromkeys(names(10), members[:-1]))
        moved.append(sum(before[name] != after[name] for name in names(10)))
    assert sum(moved) / len(moved) < 4  # two must
    assert max(moved) <= 7
