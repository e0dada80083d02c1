"""The dead man's switch: which schedules and singletons have gone silent.

Each run leaves a heartbeat in Redis, and every process reads the same ones: a figure kept in one process
would say "never" in all others. One is unhealthy when it has been silent for twice its interval. A move to
another process gives no grace: what nobody runs any more is to be seen as soon as what hangs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from capelin.schedule_book import LeaderInfo, ScheduleInfo

if TYPE_CHECKING:
    from capelin.admin.singletons import SingletonInfo


class Watched(StrEnum):
    """What has a dead man's switch."""

    SCHEDULE = "schedule"
    SINGLETON = "singleton"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """One schedule or singleton.

    Attributes:
        kind: Which of the two.
        name: Its name.
        app: The app that owns it.
        healthy: Whether its heartbeat came in time.
        last: Its last heartbeat: a run of the schedule that completed; a run, a save or a heartbeat of the
            singleton. None: there was none yet.
        due_by: The moment by which the next must come; None when none must.
    """

    kind: Watched
    name: str
    app: str
    healthy: bool
    last: datetime | None
    due_by: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What is known of everything that is to run by itself.

    Attributes:
        healthy: Whether everything is.
        leader: Who leads the scheduler.
        checks: Every schedule and singleton, the silent ones first.
    """

    healthy: bool
    leader: LeaderInfo
    checks: tuple[HealthCheck, ...]

    @classmethod
    def of(
        cls, leader: LeaderInfo, schedules: Iterable[ScheduleInfo], singletons: "Iterable[SingletonInfo]"
    ) -> "Health":
        """Return what these say together. Schedules whose ticks are not fired say nothing."""
        checks = [
            HealthCheck(
                kind=Watched.SCHEDULE,
                name=one.name,
                app=one.app,
                healthy=one.healthy,
                last=one.last_run,
                due_by=one.run_by,
            )
            for one in schedules
            if one.run_by is not None
        ]
        checks += [
            HealthCheck(
                kind=Watched.SINGLETON,
                name=one.name,
                app=one.app,
                healthy=one.healthy,
                last=one.beat,
                due_by=one.due_by,
            )
            for one in singletons
        ]
        checks.sort(key=lambda check: (check.healthy, check.kind, check.name))
        return cls(healthy=all(check.healthy for check in checks), leader=leader, checks=tuple(checks))
