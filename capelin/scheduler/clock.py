"""Redis's clock, as this process can tell it: what a reply said, and how long ago that was.

Schedules go by Redis's clock, so that leaders on machines whose clocks differ mean the same moments. Between
replies the monotonic clock counts on; each reply that came quickly sets it right. It is never ahead of Redis.
"""

import time
from collections.abc import Callable

_WORTH = 60.0
"""Seconds after which a less exact reply is better than an old one: two crystals part by some ms a minute."""


class RedisClock:
    """Tells Redis's time.

    Args:
        monotonic: Monotonic seconds.

    Example:
        sent = clock.monotonic()
        reply = await connection.run(call)
        clock.heard(reply.now, sent=sent)
        clock.now()  # ms
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.monotonic = monotonic
        self._offset: float | None = None
        self._error = 0.0
        self._heard = 0.0

    @property
    def known(self) -> bool:
        """Whether any reply was heard yet."""
        return self._offset is not None

    def heard(self, now: int, *, sent: float) -> None:
        """Note what a reply said.

        Args:
            now: Redis's time in ms when the script ran.
            sent: When the call was sent (monotonic).
        """
        received = self.monotonic()
        # The script ran at some moment in between. Were it the first, Redis's clock is later by now: the last
        # one counts, so that this clock may be late, by no more than the reply took, and is never early. A
        # tick that fires early is wrong; one that fires late by a slow reply is not.
        error = received - sent
        offset = now - received * 1000
        jumped = self._offset is not None and abs(offset - self._offset) > (error + self._error) * 1000 + 1
        if self._offset is None or jumped or error <= self._error or received - self._heard > _WORTH:
            self._offset, self._error, self._heard = offset, error, received

    def now(self) -> int:
        """Return Redis's time, ms.

        Raises:
            RuntimeError: No reply was heard yet.
        """
        if self._offset is None:
            raise RuntimeError("no reply of Redis was heard yet")
        return int(self.monotonic() * 1000 + self._offset)
