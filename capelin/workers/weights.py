"""How the four priorities share a worker: smooth weighted round robin over all shards it takes from, so
that nothing starves.
"""

from collections.abc import Mapping

from capelin.priority import DEFAULT_WEIGHTS, Priority

_MOST_REMEMBERED = 1000


class Weights:
    """Deals out slots to priorities and remembers the remainders.

    Example:
        >>> Weights().deal(10)
        {<Priority.CRITICAL: 'critical'>: 4, <Priority.HIGH: 'high'>: 3, <Priority.NORMAL: 'normal'>: 2,
        <Priority.LOW: 'low'>: 1}
    """

    def __init__(self, weights: Mapping[Priority, int] | None = None, *, strict: bool = False) -> None:
        self._weights = dict(weights or DEFAULT_WEIGHTS)
        self._total = sum(self._weights.values())
        self._strict = strict
        self._credit: tuple[int, ...] = (0,) * len(Priority)  # in parts of a slot: as many as the total
        self._dealt: dict[tuple[int, tuple[int, ...]], tuple[Mapping[Priority, int], tuple[int, ...]]] = {}

    def deal(self, count: int) -> Mapping[Priority, int]:
        """Return how many of ``count`` slots go to each priority first; what one leaves over, the others
        may use.
        """
        hand = (count, self._credit)  # the same few come again and again
        dealt = self._dealt.get(hand)
        if dealt is None:
            if len(self._dealt) >= _MOST_REMEMBERED:
                self._dealt.clear()
            dealt = self._dealt[hand] = self._deal(count)
        shares, self._credit = dealt
        return shares

    def even(self, count: int) -> Mapping[Priority, int] | None:
        """Return how many of ``count`` slots each priority gets where these parts come out even, and are the
        same each time; None where they do not.
        """
        if self._strict:
            return self._deal(count)[0]
        if count % self._total:
            return None
        return {priority: count * self._weights[priority] // self._total for priority in Priority}

    def _deal(self, count: int) -> tuple[Mapping[Priority, int], tuple[int, ...]]:
        """Return the shares, and what each priority is owed after it."""
        if self._strict:
            return {priority: count if priority is Priority.CRITICAL else 0 for priority in Priority}, ()
        total = self._total
        credit = dict(zip(Priority, self._credit, strict=True))
        shares: dict[Priority, int] = {}
        left = count
        for priority in Priority:
            credit[priority] += count * self._weights[priority]
            shares[priority] = max(0, min(left, credit[priority] // total))
            left -= shares[priority]
        while left > 0:
            best = max(Priority, key=lambda priority: credit[priority] - shares[priority] * total)
            shares[best] += 1
            left -= 1
        return shares, tuple(credit[priority] - shares[priority] * total for priority in Priority)
