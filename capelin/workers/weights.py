"""How the four priorities share a worker: smooth weighted round robin over all shards it takes from, so
that nothing starves.
"""

from collections.abc import Mapping

from capelin.priority import DEFAULT_WEIGHTS, Priority


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
        self._credit: dict[Priority, float] = dict.fromkeys(Priority, 0.0)

    def deal(self, count: int) -> dict[Priority, int]:
        """Return how many of ``count`` slots go to each priority first; what one leaves over, the others
        may use.
        """
        if self._strict:
            return {priority: count if priority is Priority.CRITICAL else 0 for priority in Priority}
        credit = self._credit
        shares: dict[Priority, int] = {}
        left = count
        for priority in Priority:
            credit[priority] += count * self._weights[priority] / self._total
            shares[priority] = max(0, min(left, int(credit[priority] + 1e-9)))
            left -= shares[priority]
        while left > 0:
            best = max(Priority, key=lambda priority: credit[priority] - shares[priority])
            shares[best] += 1
            left -= 1
        for priority in Priority:
            credit[priority] -= shares[priority]
        return shares
