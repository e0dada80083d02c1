"""What an app does with schedules beside declaring them: those of its code, and those of run time."""

import asyncio
from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack

from capelin._declaring import DeclaredSchedule, describe_task, schedule_of
from capelin._handles import checked
from capelin.durations import Duration
from capelin.health import Health
from capelin.options import TaskOptions
from capelin.registry import TaskRegistry
from capelin.requests import JobRequest, check_request_size
from capelin.schedule_book import ScheduleBook, ScheduleInfo
from capelin.schedules import Schedule, ScheduleArguments, SchedulePolicy, timing_of

if TYPE_CHECKING:
    from capelin.client import Client


class AppSchedules(ABC):
    """The part of ``Capelin`` that deals with schedules."""

    registry: TaskRegistry
    defaults: TaskOptions
    declared: dict[str, DeclaredSchedule]

    @property
    @abstractmethod
    def name(self) -> str:
        """The app's name."""

    @property
    @abstractmethod
    def tasks(self) -> TaskRegistry:
        """Its tasks; imports what it includes."""

    @abstractmethod
    def client(self) -> "Client":
        """Return the client of the running event loop."""

    async def schedule(
        self,
        name: str,
        when: str | Duration,
        request: JobRequest[Any],
        *,
        timezone: str | None = None,
        **policy: Unpack[ScheduleArguments],
    ) -> ScheduleInfo:
        """Add a schedule at run time, or change the one of that name. It lives in Redis until it is removed.

        The same call again changes nothing. One that ticks at other times than before owes nothing from
        before.

        Args:
            name: Its name, one for the whole namespace.
            when: A cron expression, or how often (seconds or a ``timedelta``).
            request: What each tick enqueues: ``digest.job("eu")``.
            timezone: The zone whose clocks a cron expression means; UTC by default.
            policy: ``SchedulePolicy`` says what these mean.

        Raises:
            InvalidName, InvalidOption: Something makes no sense; nothing was written.
            InvalidArguments: What is to be enqueued is no request.
            ScheduleExists: The name is that of another app's schedule, or of one that code declares.
            Unreachable, RedisRefused: It may or may not have been written.

        Example:
            await app.schedule("digest.eu", "0 9 * * *", digest.job("eu"), timezone="Europe/Berlin")
        """
        [given] = checked([request])
        describe = partial(describe_task, self.registry, self.defaults)
        made = schedule_of(name, timing_of(when, timezone), given, SchedulePolicy(**policy), describe)
        book = self.schedules
        check_request_size(given, book.max_payload_bytes)
        await book.timetable.put(self.name, made.sealed(book.seal))
        return await book.info(name)

    @property
    def schedules(self) -> ScheduleBook:
        """The schedules of the namespace: listed, paused, resumed, triggered, removed.

        Example:
            for schedule in await app.schedules.ls():
                print(schedule.name, schedule.next)
            await app.schedules.pause("digest.eu")
        """
        client = self.client()
        return ScheduleBook(client.connection, client.keys, client.settings)

    async def health(self) -> Health:
        """Return which schedules and singletons are silent: every process sees the same.

        A schedule is to complete a run, and a singleton to give a sign of life, within twice its interval.

        Raises:
            Unreachable, RedisRefused: It could not be read.

        Example:
            health = await app.health()
            if not health.healthy:
                print([check.name for check in health.checks if not check.healthy])
        """
        from capelin.admin.access import Access
        from capelin.admin.singletons import list_singletons

        client, book = self.client(), self.schedules
        access = Access(client.connection, client.keys, client.settings)
        leader, schedules, singletons = await asyncio.gather(
            book.leader(), book.ls(), list_singletons(access)
        )
        return Health.of(leader, schedules, singletons)

    def declared_schedules(self) -> list[Schedule]:
        """Return the schedules that its code declares; imports what it includes."""
        _ = self.tasks
        describe = partial(describe_task, self.registry, self.defaults)
        return [one.within(self.defaults, describe) for one in self.declared.values()]
