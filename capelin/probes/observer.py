"""Watches one worker from a thread of its own, with an event loop and a connection of its own.

What the worker's code blocks, breaks or fills up is to be seen here, so nothing here depends on it.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog

from capelin.admin.access import Access
from capelin.admin.singletons import list_singletons
from capelin.connection import Connection, connect
from capelin.errors import CapelinError
from capelin.health import Health, Watched
from capelin.metrics import catalog
from capelin.metrics.figures import Figures
from capelin.metrics.tally import Tally
from capelin.probes.answers import Check, Question, timed
from capelin.probes.fleet import fleet_figures
from capelin.probes.vitals import Vitals
from capelin.schedule_book import ScheduleBook
from capelin.workers.beside import Beside
from capelin.workers.link import answer_for_ever
from capelin.workers.worker import Worker

if TYPE_CHECKING:
    from capelin.app import Capelin

log = structlog.get_logger("capelin.worker")

_FLEET_FOR: Final = 5.0
_HEALTH_FOR: Final = 2.0
_FLEET_PATIENCE: Final = 5.0
_LONGEST_WAIT: Final = 2.0
_NAMED: Final = 5
_ENDS_WITHIN: Final = 5.0


class NotWell(CapelinError):
    """A check found something wrong."""


class Observer:
    """Answers for one worker.

    Args:
        app: Its app.
        worker: The worker.
        tally: What it counts.
    """

    def __init__(self, app: "Capelin[Any]", worker: Worker, tally: Tally) -> None:
        self._app, self._worker, self._tally = app, worker, tally
        self._settings = worker.settings
        worker_loop = asyncio.get_running_loop()

        def post(function: Callable[[], None]) -> None:
            try:
                worker_loop.call_soon_threadsafe(function)
            except RuntimeError:  # the loop is closed: the worker is gone
                log.debug("the worker's event loop is closed")

        self._vitals = Vitals(worker, post=post, limit=self._settings.live_after)
        self._thread: Beside | None = None
        self._connection: Connection
        self._access: Access
        self._stop: asyncio.Event
        self._reading: asyncio.Lock
        self._health: tuple[float, Health] | None = None
        self._fleet: tuple[float, Figures] | None = None
        self.loop: asyncio.AbstractEventLoop

    async def start(self, link: socket.socket | None = None) -> None:
        """Begin to watch.

        Args:
            link: The end of a supervisor's questions, which are answered then.
        """
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        worker_loop = asyncio.get_running_loop()

        def tell() -> None:
            worker_loop.call_soon_threadsafe(started.set_result, None)

        self._thread = Beside(lambda: self._main(tell, link), name="capelin observer")
        self._thread.start()
        await started

    async def stop(self) -> None:
        """End it."""
        if self._thread is not None and self._thread.alive:
            self.loop.call_soon_threadsafe(self._stop.set)
            await self._thread.ended(patience=_ENDS_WITHIN)

    async def _main(self, tell_started: Callable[[], object], link: socket.socket | None) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop, self._reading = asyncio.Event(), asyncio.Lock()
        wait = min(self._settings.socket_timeout, _LONGEST_WAIT)
        self._connection = connect(self._app.url, socket_timeout=wait, patience=0)
        self._access = Access(self._connection, self._app.keys, self._settings)
        errands = [self._vitals.beat(), self._vitals.look(self._connection)]
        if link is not None:
            errands.append(answer_for_ever(link, self.answer))
        tasks = [asyncio.create_task(errand) for errand in errands]
        tell_started()
        await self._stop.wait()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await self._connection.close()

    # Asked, on the observer's loop.

    async def answer(self, asked: str) -> Any:
        """Answer a supervisor's question, as plain JSON."""
        if asked == "figures":
            return (await self.figures()).to_json()
        return [check.packed() for check in await self.checks(Question(asked))]

    async def checks(self, question: Question) -> list[Check]:
        """See ``Source``."""
        live = [] if question is Question.READY else self._vitals.checks()
        if question is Question.LIVE:
            return live
        ready = await asyncio.gather(
            timed("worker", self._working),
            timed("redis", self._redis),
            timed("leases", self._leases),
            timed("schedules", partial(self._silent, Watched.SCHEDULE)),
            timed("singletons", partial(self._silent, Watched.SINGLETON)),
        )
        return [*live, *ready]

    async def figures(self) -> Figures:
        """See ``Source``."""
        worker, figures = self._worker, self._tally.figures()
        figures.add(catalog.LEASES, (), len(worker.ownership.shards))
        figures.add(catalog.LEADER, (), float(worker.leads()))
        figures.add(catalog.LAG, (), self._vitals.lag)
        if worker.slots is not None:
            for pool, size in worker.slots.sizes.items():
                figures.add(catalog.SLOTS, (pool,), size)
                figures.add(catalog.SLOTS_USED, (pool,), worker.slots.used[pool])
        if worker.leads() and (fleet := await self._read_fleet()) is not None:
            figures.take_in(fleet)
        return figures

    # Readiness: each says what is worth knowing, or raises what is wrong.

    async def _working(self) -> str:
        if self._worker.stopping:
            raise NotWell("it stops")
        if not self._worker.started.is_set():
            raise NotWell("it starts")
        return self._worker.id

    async def _redis(self) -> str:
        await self._access.clock()
        return self._connection.url

    async def _leases(self) -> str:
        if not self._worker.started.is_set():
            raise NotWell("it starts")
        trust = self._worker.heartbeat.trust
        if failing := trust.failing:
            raise NotWell(f"{len(failing)} shards cannot be renewed, {failing[0]} among them")
        late = trust.silent_for
        if late > self._settings.lease_ttl:
            raise NotWell(f"not renewed for {late:.1f} s; they hold for {self._settings.lease_ttl:g} s")
        return f"renewed {late:.1f} s ago; {len(self._worker.ownership.shards)} shards"

    async def _silent(self, kind: Watched) -> str:
        """Raise what has gone silent of this app: another's is another's worry."""
        health = await self._read_health()
        mine = [check for check in health.checks if check.kind is kind and check.app == self._app.name]
        silent = [check.name for check in mine if not check.healthy]
        if silent:
            more = f" and {len(silent) - _NAMED} more" if len(silent) > _NAMED else ""
            raise NotWell(f"silent: {', '.join(silent[:_NAMED])}{more}")
        return f"{len(mine)} watched"

    async def _read_health(self) -> Health:
        async with self._reading:
            now = time.monotonic()
            if self._health is None or now - self._health[0] > _HEALTH_FOR:
                book = ScheduleBook(self._connection, self._app.keys, self._settings)
                leader, schedules, singletons = await asyncio.gather(
                    book.leader(), book.ls(), list_singletons(self._access)
                )
                self._health = now, Health.of(leader, schedules, singletons)
            return self._health[1]

    async def _read_fleet(self) -> Figures | None:
        async with self._reading:
            now = time.monotonic()
            if self._fleet is None or now - self._fleet[0] > _FLEET_FOR:
                self._fleet = None
                try:
                    async with asyncio.timeout(_FLEET_PATIENCE):
                        self._fleet = now, await fleet_figures(self._access)
                except (TimeoutError, CapelinError) as error:
                    log.warning("the fleet's figures cannot be read", error=str(error) or "no answer in time")
            return None if self._fleet is None else self._fleet[1]
