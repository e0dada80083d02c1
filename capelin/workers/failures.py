"""Calls of a heartbeat's round that failed while others were answered."""

from collections.abc import Sequence

import structlog

log = structlog.get_logger("capelin.worker")


class Failures:
    """What failed since it was looked at last.

    A part of Redis may be away, a master or a slot that moves: what the others answered counts.
    """

    def __init__(self) -> None:
        self._failures: list[Exception] = []
        self._part_away = False

    def count(self, replies: Sequence[object]) -> None:
        """Take in the replies of one pipeline.

        Raises:
            CapelinError: None of its calls was answered.
        """
        failures = [reply for reply in replies if isinstance(reply, Exception)]
        if failures and len(failures) == len(replies):
            raise failures[0]
        self._failures += failures

    def look(self) -> bool:
        """Say once that a part is away, and once that it is back; True while something failed."""
        failures, self._failures = self._failures, []
        if failures:
            say = log.debug if self._part_away else log.warning
            say("a part of redis does not answer", calls=len(failures), error=str(failures[0]))
        elif self._part_away:
            log.info("all of redis answers again")
        self._part_away = bool(failures)
        return self._part_away
