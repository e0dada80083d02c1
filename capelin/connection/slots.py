"""The map of a Cluster's slots: which node has which, as the nodes last said.

A Cluster of a thousand nodes has about a thousand ranges, and 16,384 slots: the map is read anew after each
reconnection, and keeps the ranges.
"""

from bisect import bisect_right
from collections.abc import Iterable
from operator import itemgetter

from capelin.connection.urls import Address

Range = tuple[int, int, Address]
"""The first slot, the last, and who has them."""


class SlotMap:
    """Who has which slot.

    Args:
        ranges: In any order; what none of them covers, nobody has.
    """

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._ranges = sorted(ranges, key=itemgetter(0))
        self._starts = [first for first, _, _ in self._ranges]
        self._moved: dict[int, Address] = {}

    def get(self, slot: int) -> Address | None:
        """Who has a slot; None when nobody has."""
        if (address := self._moved.get(slot)) is not None:
            return address
        place = bisect_right(self._starts, slot) - 1
        if place < 0:
            return None
        _, last, address = self._ranges[place]
        return address if slot <= last else None

    def move(self, slot: int, address: Address) -> None:
        """A slot is elsewhere, as a node has said since."""
        self._moved[slot] = address

    @property
    def masters(self) -> list[Address]:
        """All who have slots, in order."""
        return sorted({address for _, _, address in self._ranges})
