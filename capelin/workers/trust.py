"""May this worker judge others by their silence?

It may when its own renewals were on time for the last TTL and one interval: then Redis was there, this
process was awake, and who is silent is dead. After a start, an outage or a stall it waits that long first.
A stake that ended in an outage tells nothing about its holder, so a reap after one counts no crash.

In a Cluster one master may be away while the others answer, so an outage can also be one shard's.
"""

from collections.abc import Callable

from capelin.keys import ShardKeys

_LATE = 1.5
"""Intervals after which a renewal is late: by then others may have lost their stakes although they live."""


class Trust:
    """Keeps book of this worker's own renewals.

    Args:
        ttl: Seconds that leases and stakes hold.
        interval: Seconds between renewals.
        clock: Monotonic seconds.
    """

    def __init__(self, *, ttl: float, interval: float, clock: Callable[[], float]) -> None:
        self._ttl, self._interval, self._clock = ttl, interval, clock
        self._since: float | None = None
        self._last = clock()
        self._server_now = 0
        self._now_in: dict[ShardKeys, int] = {}
        self._no_crash_before = 0
        self._failed: dict[ShardKeys, float] = {}
        self._answered: dict[ShardKeys, float] = {}
        self._no_crash_in: dict[ShardKeys, int] = {}

    def renewed(self, server_now: int) -> None:
        """A round of renewals was answered; ``server_now`` is Redis's clock in ms."""
        now = self._clock()
        self._server_now = server_now
        if self._since is None:
            self._since = now
        elif now - self._last > self._interval * _LATE:
            self._since = now
            self._no_crash_before = server_now + int(self._ttl * 1000)
        self._last = now

    def renewed_in(self, shard: ShardKeys, server_now: int) -> None:
        """A call to one shard was answered, with the clock of its Redis in ms: each master has its own."""
        self._now_in[shard] = server_now
        self._answered[shard] = self._clock()

    def failed_in(self, shard: ShardKeys) -> None:
        """A call to one shard was not answered."""
        self._failed[shard] = self._clock()
        # Until it answers again nothing is judged there; a stake that ends within a TTL from then says
        # nothing.
        now = self._now_in.get(shard, self._server_now)
        self._no_crash_in[shard] = now + int((self._ttl + self._interval) * 1000)

    @property
    def silent_for(self) -> float:
        """Seconds since a round of renewals was answered; since the beginning, if none was yet."""
        return self._clock() - self._last

    @property
    def failing(self) -> list[ShardKeys]:
        """Shards of which the last call was not answered, and that was lately."""
        lately = self._clock() - self._ttl - self._interval
        return [
            shard
            for shard, at in list(self._failed.items())
            if at > lately and at > self._answered.get(shard, at - 1)
        ]

    @property
    def fit(self) -> bool:
        """Whether members may be judged now."""
        now = self._clock()
        if self._since is None or now - self._last > self._interval * _LATE:
            return False
        return now - self._since >= self._ttl + self._interval

    @property
    def fit_in(self) -> float:
        """Seconds until others may be judged, if nothing goes wrong; 0 when they may be now."""
        if self._since is None:
            return self._ttl + self._interval
        return max(0.0, self._since + self._ttl + self._interval - self._clock())

    @property
    def judge_until(self) -> int:
        """Until when (Redis's clock, ms) a call of now may judge; 0 when it may not. One that arrives later
        was held up by an outage, in which everybody was silent.
        """
        return self._server_now + round(self._interval * _LATE * 1000) if self.fit else 0

    def judge_until_in(self, shard: ShardKeys) -> int:
        """The same for the workers of a shard, by the clock of its Redis."""
        now = self._now_in.get(shard)
        return 0 if now is None or not self.fit_for(shard) else now + round(self._interval * _LATE * 1000)

    def fit_for(self, shard: ShardKeys) -> bool:
        """Whether the workers of a shard may be judged now."""
        failed = self._failed.get(shard)
        if failed is not None and self._clock() - failed < self._ttl + self._interval:
            return False
        return self.fit

    def fit_for_in(self, shard: ShardKeys) -> float:
        """Seconds until the workers of a shard may be judged."""
        failed = self._failed.get(shard)
        here = 0.0 if failed is None else max(0.0, failed + self._ttl + self._interval - self._clock())
        return max(here, self.fit_in)

    def no_crash_before(self, shard: ShardKeys) -> int:
        """Stakes of a shard that ended before this moment (Redis's clock, ms) ended in an outage."""
        return max(self._no_crash_before, self._no_crash_in.get(shard, 0))
