"""What a worker has to do with schedules: it says what its release declares, stands for the lead, and tells
when a run of a schedule has completed.
"""

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from capelin.connection import Connection
from capelin.errors import CapelinError
from capelin.lua.scheduling import schedule_beat, schedule_declare
from capelin.scheduler.leadership import Leadership
from capelin.scheduler.releases import Declaration
from capelin.settings import Settings

if TYPE_CHECKING:
    from capelin.app import Capelin

log = structlog.get_logger("capelin.scheduler")


class Standing:
    """One worker's part in the scheduler.

    Args:
        app: Its app.
        connection: The worker's.
        settings: Times and limits.
        worker: Its id.

    Attributes:
        declaration: What its release declares.
        leadership: The candidate, which lives on the heartbeat.
    """

    def __init__(
        self, app: "Capelin[Any]", connection: Connection, settings: Settings, *, worker: str
    ) -> None:
        self._connection, self._keys = connection, app.keys
        self.declaration = Declaration.of(
            app.name,
            [schedule.sealed(settings.seal) for schedule in app.declared_schedules()],
            app.singletons,
        )
        self.leadership = Leadership(app.keys, settings, owner=worker, tracer=app.tracer)
        self._telling: set[asyncio.Task[None]] = set()

    async def declare(self) -> None:
        """Say what this release declares; if that fails now, the leader asks for it later."""
        declared = self.declaration
        call = schedule_declare(self._keys, release=declared.key, text=declared.to_json())
        try:
            if await self._connection.run(call):
                log.info("this release is new", app=declared.app, release=declared.digest)
        except CapelinError as error:
            log.warning("what this release declares could not be noted", error=str(error))

    def declare_again(self) -> None:
        """The leader does not know this release. Call it on the worker's event loop."""
        self._tell(self.declare())

    def completed(self, schedule: str) -> None:
        """A run of a schedule has completed: its dead man's switch is told."""
        self._tell(self._beat(schedule))

    async def _beat(self, schedule: str) -> None:
        try:
            await self._connection.run(schedule_beat(self._keys, name=schedule))
        except CapelinError as error:
            log.warning("a run of a schedule could not be noted", schedule=schedule, error=str(error))

    def _tell(self, step: Any) -> None:
        task = asyncio.get_running_loop().create_task(step)
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
