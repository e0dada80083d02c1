"""The map of a Cluster's slots finds who has a slot, in whatever order the nodes list their ranges."""

import pytest

from capelin.connection.slots import SlotMap
from capelin.connection.urls import Address

ONE, TWO, THREE = Address("a", 1), Address("a", 2), Address("b", 1)


@pytest.mark.parametrize(
    ("slot", "owner"),
    [(0, TWO), (99, TWO), (100, None), (199, None), (200, ONE), (201, TWO), (16383, TWO)],
)
def test_a_slot_is_found_in_the_range_that_covers_it(slot: int, owner: Address | None) -> None:
    slots = SlotMap([(201, 16383, TWO), (0, 99, TWO), (200, 200, ONE)])
    assert slots.get(slot) == owner


def test_a_map_without_ranges_knows_nobody() -> None:
    assert SlotMap().get(5) is None
    assert SlotMap().masters == []


def test_a_slot_that_has_moved_is_elsewhere_and_its_neighbours_are_not() -> None:
    slots = SlotMap([(0, 16383, ONE)])
    slots.move(7, THREE)
    assert [slots.get(slot) for slot in (6, 7, 8)] == [ONE, THREE, ONE]


def test_each_master_is_named_once_and_in_order() -> None:
    assert SlotMap([(9, 10, THREE), (0, 4, TWO), (5, 8, ONE), (11, 12, TWO)]).masters == [ONE, TWO, THREE]
