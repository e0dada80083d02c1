"""How many copies an enqueue waits for, and how far Redis fell short of that."""

from typing import Any, NamedTuple

from capelin._placing import Requests
from capelin.connection import Copies, Wish
from capelin.durations import milliseconds
from capelin.requests import JobRequest
from capelin.settings import Settings


class Lack(NamedTuple):
    """How a job has fewer copies than were asked for; ``why`` is Redis's error, if it could not tell."""

    wanted: int
    got: int
    fsync: bool
    why: str | None


class Durability:
    """What requests and settings ask for.

    Args:
        settings: ``min_replicas``, ``fsync`` and ``replication_timeout``.

    Attributes:
        always: Whether every request asks for something.
    """

    def __init__(self, settings: Settings) -> None:
        self._min_replicas, self._fsync = settings.min_replicas, settings.fsync
        self._timeout = milliseconds(settings.replication_timeout)
        self.always = self._min_replicas > 0 or self._fsync

    def wish(self, requests: Requests) -> Wish | None:
        """Return how many copies are to be waited for: as many as the most demanding request wants."""
        replicas = max(self._wanted(request) for request in requests)
        fsync = any(self._fsynced(request) for request in requests)
        if not replicas and not fsync:
            return None
        return Wish(replicas=replicas, fsync=fsync, patience=self._timeout)

    def _wanted(self, request: JobRequest[Any]) -> int:
        return self._min_replicas if request.min_replicas is None else request.min_replicas

    def _fsynced(self, request: JobRequest[Any]) -> bool:
        return self._fsync if request.fsync is None else request.fsync

    def lack(self, request: JobRequest[Any], copies: Copies) -> Lack | None:
        """Return how far a job's copies fall short of what its request asked for; None if they do not."""
        wanted, fsync = self._wanted(request), self._fsynced(request)
        if copies.replicas >= wanted and (copies.on_disk or not fsync):
            return None
        return Lack(wanted, copies.replicas, fsync, copies.why)
