"""What checks look at."""

from dataclasses import dataclass
from functools import cached_property

from capelin.workers.territory import LOOK_AGAIN
from tests.simulation.apps import INTERVAL, SETTINGS
from tests.simulation.history import Cut, Disturbance, History
from tests.simulation.world import World

_TOLD_WITHIN = 2 * INTERVAL
"""Seconds within which workers that are told of a new layout serve its shards."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A fleet that has settled.

    Attributes:
        jobs: Every record by its job's id.
    """

    world: World
    history: History
    jobs: dict[str, dict[str, str]]

    def forgotten(self, job: str | None) -> bool:
        """Whether the shard of a job has lost writes: then its promises are bounded only."""
        return job is not None and bool(self.history.forgot_job(job))

    @cached_property
    def cancelled(self) -> set[str]:
        """Jobs that somebody tried to cancel."""
        return {entry.job for entry in self.history.submitted if entry.cancelled is not None and entry.job}

    @property
    def layouts_forgotten(self) -> bool:
        """Whether a queue was cut anew, and Redis has forgotten something: a key may be taken twice then."""
        return bool(self.history.cuts and self.history.losses)

    @cached_property
    def nobody_there(self) -> list[tuple[float, float]]:
        """When no worker lived that had started."""
        history = self.history
        lives: list[tuple[float, float]] = []
        for one in history.disturbances:
            if one.kind == "worker started":
                ends = [other.at for other in history.disturbances if other.pod == one.pod and other.fatal]
                ends += [stop.at for stop in history.stops if stop.pod == one.pod]
                lives.append((one.at, min(ends, default=history.clock())))
        gaps: list[tuple[float, float]] = []
        until = 0.0
        for began, ended in sorted(lives):
            if began > until:
                gaps.append((until, began))
            until = max(until, ended)
        return gaps

    def unheard_of(self, job: str) -> list[tuple[float, float]]:
        """When workers need not have known of a job's shard, since the queue had just been cut anew."""
        shard = int(job.split(".", 2)[1])
        return [
            (cut.called, self._heard(cut))
            for cut in self.history.cuts
            if shard >= SETTINGS.shards and cut.shards > shard
        ]

    def _heard(self, cut: Cut) -> float:
        if cut.returned is None:
            return self.history.clock()
        quiet = not self.disturbed({cut.pod}, cut.called, cut.returned)
        return cut.returned + (_TOLD_WITHIN if quiet else LOOK_AGAIN + _TOLD_WITHIN)

    def disturbed(self, pods: set[str], since: float, until: float) -> list[Disturbance]:
        """What befell these pods, or everybody, in a time."""
        return [
            one
            for one in self.history.disturbances
            if one.pod in pods | {"all", "redis"} and one.at <= until and one.ends >= since
        ]
