"""May this worker judge others by their silence?

It may when its own renewals were on time for the last TTL and one interval: then Redis was there, this
    process was awake, and who is silent is dead. After a start, an outage or a stall it waits that long
    first. A stake that ended in an outage tells nothing about its holder, so a reap after one counts no
    crash.
"""

from collections.abc import Callable


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
        self._no_crash_before = 0

    def renewed(self, server_now: int) -> None:
        """A round of renewals was answered; ``server_now`` is Redis's clock in ms."""
        now = self._clock()
        if self._since is None:
            self._since = now
        elif now - self._last > self._interval * 1.5:
            self._since = now
            self._no_crash_before = server_now + int(self._ttl * 1000)
        self._last = now

    @property
    def fit(self) -> bool:
        """Whether others may be judged now."""
        now = self._clock()
        if self._since is None or now - self._last > self._interval * 1.5:
            return False
        return now - self._since >= self._ttl + self._interval

    @property
    def fit_in(self) -> float:
        """Seconds until others may be judged, if nothing goes wrong; 0 when they may be now."""
        if self._since is None:
            return self._ttl + self._interval
        return max(0.0, self._since + self._ttl + self._interval - self._clock())

    @property
    def no_crash_before(self) -> int:
        """Stakes that ended before this moment (Redis's clock, ms) ended in an outage."""
        return self._no_crash_before
