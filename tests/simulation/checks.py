"""What checks look at."""

from dataclasses import dataclass
from functools import cached_property

from tests.simulation.history import Disturbance, History
from tests.simulation.world import World


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

    def disturbed(self, pods: set[str], since: float, until: float) -> list[Disturbance]:
        """What befell these pods, or everybody, in a time."""
        return [
            one
            for one in self.history.disturbances
            if one.pod in pods | {"all", "redis"} and one.at <= until and one.ends >= since
        ]
