"""The singletons that run in this process, on the worker's event loop.

What the heartbeat finds out about their leases is told here; each lease that is held is one ``Tenure``.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from capelin.connection import Connection
from capelin.errors import CapelinError
from capelin.keys import Keys
from capelin.scheduler.candidacy import Candidacy, declared
from capelin.scheduler.holding import Hold
from capelin.scheduler.leases import Leases
from capelin.scheduler.tenure import End, Tenure
from capelin.settings import Settings
from capelin.singletons import Singleton

if TYPE_CHECKING:
    from capelin.app import Capelin

log = structlog.get_logger("capelin.singletons")

Release = Callable[[str, int], Coroutine[Any, Any, None]]


class Hosting:
    """Runs singletons for as long as their leases are held.

    Args:
        connection: The worker's.
        keys: The namespace.
        singletons: Those that may run here, by name.
        worker: The worker's id.
        leases: Their leases; they are kept on the heartbeat.
        release: Gives the lease of that name and epoch up, and tells the fleet.
        context: What singletons see in context variables; each gets a copy.
    """

    def __init__(
        self,
        connection: Connection,
        keys: Keys,
        *,
        singletons: Mapping[str, Singleton[Any]],
        worker: str,
        leases: Leases,
        release: Release,
        context: Context,
    ) -> None:
        self._connection, self._keys, self._singletons = connection, keys, singletons
        self._worker, self._leases, self._release, self._context = worker, leases, release, context
        self._tenures: dict[str, Tenure] = {}
        self._distrusted: deque[tuple[str, int]] = deque()
        self._releases: set[asyncio.Task[None]] = set()
        self._left_behind: set[asyncio.Task[None]] = set()
        self._closing = False

    # Asked in any thread.

    def busy(self, name: str) -> bool:
        """Whether code of a singleton runs here, also of a tenure that has ended: it must not run twice."""
        return name in self._tenures

    def take_distrusted(self) -> list[tuple[str, int]]:
        """Return the leases (name, epoch) under which nothing runs any more; each is told once."""
        return [self._distrusted.popleft() for _ in range(len(self._distrusted))]

    @property
    def closing(self) -> bool:
        """Whether the worker stops: nothing is hosted any more."""
        return self._closing

    # The heartbeat's findings; called on the worker's event loop.

    def gained(self, name: str, epoch: int) -> None:
        """The worker holds a lease now: the singleton begins."""
        if self._closing or name in self._tenures:
            _keep(self._releases, self._release_unused(name, epoch))
            return
        hold = Hold(
            self._connection,
            self._keys,
            name=name,
            epoch=epoch,
            leases=self._leases,
            refused=partial(self.lost, name, epoch),
        )
        tenure = self._tenures[name] = Tenure(
            self._singletons[name],
            hold,
            worker=self._worker,
            release=self._release,
            context=self._context.copy(),
        )
        tenure.task.add_done_callback(lambda _: self._ended(tenure))

    def lost(self, name: str, epoch: int) -> None:
        """A lease is not the worker's any more."""
        if (tenure := self._tenure(name, epoch)) is not None:
            tenure.end(End.LOST)

    def move(self, name: str, epoch: int) -> None:
        """Another worker is to host the singleton: it ends here, and then gives the lease up."""
        if (tenure := self._tenure(name, epoch)) is not None:
            tenure.end(End.LEFT)

    # The end.

    async def close(self, hurry: asyncio.Event) -> None:
        """End all that runs: cancel it, say goodbye, give the leases up.

        Args:
            hurry: Ends the waiting for singletons' code when it is set.
        """
        self._closing = True
        tenures = list(self._tenures.values())
        for tenure in tenures:
            tenure.end(End.LEFT)
        tasks = [tenure.task for tenure in tenures]
        if not tasks:
            return
        hurrying = asyncio.create_task(hurry.wait())
        while (left := [task for task in tasks if not task.done()]) and not hurrying.done():
            await asyncio.wait([hurrying, *left], return_when=asyncio.FIRST_COMPLETED)
        hurrying.cancel()
        for tenure in tenures:
            tenure.hurry()
        await asyncio.wait([*tasks, *self._releases])

    @property
    def left_behind(self) -> int:
        """Singletons whose code goes on though they have ended."""
        return sum(tenure.task.done() and tenure.running for tenure in self._tenures.values())

    def _tenure(self, name: str, epoch: int) -> Tenure | None:
        tenure = self._tenures.get(name)
        return tenure if tenure is not None and tenure.hold.epoch == epoch else None

    def _ended(self, tenure: Tenure) -> None:
        if not tenure.task.cancelled() and (error := tenure.task.exception()) is not None:
            log.critical("the end of a singleton failed", exc_info=error, singleton=tenure.singleton.name)
        # The heartbeat must not go on renewing a lease under which nothing runs.
        self._distrusted.append((tenure.singleton.name, tenure.hold.epoch))
        if tenure.running:
            _keep(self._left_behind, self._forget_when_done(tenure))
        else:
            self._forget(tenure)

    async def _forget_when_done(self, tenure: Tenure) -> None:
        await tenure.code_done()
        self._forget(tenure)

    def _forget(self, tenure: Tenure) -> None:
        if self._tenures.get(tenure.singleton.name) is tenure:
            del self._tenures[tenure.singleton.name]

    async def _release_unused(self, name: str, epoch: int) -> None:
        try:
            await self._release(name, epoch)
        except CapelinError as error:
            log.warning("the lease of a singleton could not be given up; it ends by itself", error=str(error))


def _keep(kept: "set[asyncio.Task[None]]", errand: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(errand)
    kept.add(task)  # or it might be collected while it runs
    task.add_done_callback(kept.discard)


class SingletonHost:
    """One worker's part in singletons: what runs here, and the candidate that lives on its heartbeat.

    Args:
        app: Its app.
        connection: The worker's.
        settings: Times and limits.
        worker: The worker's id.
        release: Digest of what its release declares.
        post: Runs a function on the worker's event loop.
        call: Runs something on the heartbeat's loop, with its connection.

    Attributes:
        hosting: What runs here.
        candidacy: The candidate.
    """

    def __init__(
        self,
        app: "Capelin[Any]",
        connection: Connection,
        settings: Settings,
        *,
        worker: str,
        release: str,
        post: Callable[..., None],
        call: Callable[[Callable[[Connection], Awaitable[None]]], Awaitable[None]],
    ) -> None:
        self._call = call
        leases = Leases(app.keys, owner=worker, ttl=int(settings.lease_ttl * 1000))
        self.hosting = Hosting(
            connection,
            app.keys,
            singletons=dict(app.singletons),
            worker=worker,
            leases=leases,
            release=self._release,
            context=copy_context(),
        )
        self.candidacy = Candidacy(
            app.keys,
            leases=leases,
            ttl=settings.lease_ttl,
            interval=settings.renew_interval,
            declared=declared(app.singletons.values(), app=app.name, release=release),
            app=app.name,
            host=self.hosting,
            post=post,
        )

    async def _release(self, name: str, epoch: int) -> None:
        await self._call(partial(self.candidacy.release, name=name, epoch=epoch))
