"""``Capelin``: an app. It knows its tasks, where its Redis is, and what its workers need.

It connects when it is first used. One app object serves any number of event loops, threads and forked
processes; ``_clients`` keeps them apart.
"""

import inspect
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast, overload

from typing_extensions import TypeVar as DefaultTypeVar

from capelin._binding import Binding
from capelin._including import Includes
from capelin._portal import in_a_running_loop
from capelin._sending import Full, Placed
from capelin.calls import Submit
from capelin.client import Client
from capelin.errors import EnqueueError, InvalidArguments, QueueFull, SyncInAsync
from capelin.ids import JobId
from capelin.jobs import Job, ReadResult
from capelin.keys import Keys
from capelin.lua import Submitted
from capelin.middleware import Middleware, checked_middleware
from capelin.names import check_name
from capelin.options import TaskOptions
from capelin.registry import TaskRegistry
from capelin.requests import JobRequest, is_request
from capelin.resources import Lifespan, ResourceSlot
from capelin.settings import Settings
from capelin.tasks import AppTasks, Task, Tasks

R = TypeVar("R")
T = TypeVar("T")
Resources = DefaultTypeVar("Resources", default=None)

_NEW = frozenset({Submitted.NEW, Submitted.AGAIN, Submitted.FOLLOWER})

# A test that runs beside another in one process has its own binding of the same app.
_rebound_here: ContextVar[tuple[Binding, ...]] = ContextVar("capelin_rebound", default=())


class Capelin(AppTasks, Generic[Resources]):
    """An app: tasks, and the Redis that their jobs go through.

    Args:
        url: Where Redis is. ``--redis`` of the command line overrides it; without it, ``CAPELIN_REDIS_URL``
            or ``redis://localhost:6379/0``. Nothing is connected until the app is used.
        name: What to call the app in logs; its import string (``billing.tasks:app``) by default.
        prefix: What every key in Redis begins with (``capelin``). Apps with one prefix share their queues.
        include: Modules with tasks, imported when a worker starts; so they may import the app.
        lifespan: Opens what tasks need (pools, clients) for as long as a worker runs: an async context
            manager that takes the app, or nothing, and yields the resources.
        defaults: Options of tasks that do not say otherwise.
        middleware: Runs around each start of each job, the first one outermost.
        settings: Settings; ``CAPELIN_<NAME>`` by default.

    Raises:
        InvalidName: A name is not allowed.
        InvalidOption: The lifespan or middleware cannot be called.
        ConfigurationError: ``include`` names something that is no import path.

    Example:
        app = Capelin()

        @app.task
        async def send(to: str, subject: str = "hi") -> int: ...

        job = await send.enqueue("a@b.c", subject="x")
    """

    @overload
    def __init__(
        self: "Capelin[None]",
        url: str | None = None,
        *,
        name: str | None = None,
        prefix: str | None = None,
        include: Iterable[str] = (),
        lifespan: None = None,
        defaults: TaskOptions | None = None,
        middleware: Iterable[Middleware] = (),
        settings: Settings | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        url: str | None = None,
        *,
        name: str | None = None,
        prefix: str | None = None,
        include: Iterable[str] = (),
        lifespan: Lifespan[Resources],
        defaults: TaskOptions | None = None,
        middleware: Iterable[Middleware] = (),
        settings: Settings | None = None,
    ) -> None: ...
    def __init__(
        self,
        url: str | None = None,
        *,
        name: str | None = None,
        prefix: str | None = None,
        include: Iterable[str] = (),
        lifespan: Lifespan[Resources] | None = None,
        defaults: TaskOptions | None = None,
        middleware: Iterable[Middleware] = (),
        settings: Settings | None = None,
    ) -> None:
        super().__init__(defaults=defaults)
        self._url, self._settings = url, settings
        self._prefix = None if prefix is None else check_name("prefix", prefix)
        self._name = None if name is None else check_name("app", name)
        self._made_in = _module_of_caller()
        self._includes = Includes()
        for path in (include,) if isinstance(include, str) else include:
            self._includes.add(path)
        self.middleware = checked_middleware(middleware)
        self._slot: ResourceSlot[Resources] = ResourceSlot(self._name or self._made_in, lifespan)
        # Nothing in here holds the app: one that only includes groups goes with its last reference,
        # so that a test's app does not make the tasks of the next one's groups ambiguous.
        self._describe = partial(_describe_task, self.registry, self.defaults)
        self._own: Binding | None = None
        self._rebound: list[Binding] = []

    # What the app is.

    @property
    def name(self) -> str:
        """What it was named, else its import string (``billing.tasks:app``), else the module that made it."""
        if self._name is None:
            module = sys.modules.get(self._made_in)
            variable = (
                next((name for name, value in vars(module).items() if value is self), None)
                if module
                else None
            )
            if variable is None:
                return self._made_in
            self._name = f"{self._made_in}:{variable}"
        return self._name

    def imported_as(self, path: str) -> None:
        """Note the import string by which it was loaded: its name, unless it was given one."""
        if self._name is None:
            self._name = path

    @property
    def url(self) -> str:
        """Where Redis is, passwords included."""
        return self._binding.url

    @property
    def keys(self) -> Keys:
        """The keys of its prefix."""
        return self._binding.keys

    @property
    def settings(self) -> Settings:
        """Its settings."""
        return self._binding.settings

    @property
    def tasks(self) -> TaskRegistry:
        """Its tasks by name; imports what it includes.

        Raises:
            ConfigurationError: An included module does not exist.
        """
        self._includes.load(self._include_group)
        return self.registry

    @property
    def check_round_trip(self) -> bool:
        """Whether arguments are read back and compared when a job is made (``testing`` and ``dev``)."""
        return self._binding.check_round_trip

    @check_round_trip.setter
    def check_round_trip(self, check: bool) -> None:
        self._binding.check_round_trip = check

    def include(self, *parts: Tasks | str) -> None:
        """Include groups of tasks, and modules by name.

        A module is imported when a worker starts, and the groups in it are included.

        Raises:
            InvalidTask: A task's name is taken.
            ConfigurationError: A text is no import path.

        Example:
            app.include(tasks)
            app.include("billing.tasks")
        """
        for part in parts:
            if isinstance(part, str):
                self._includes.add(part)
            else:
                self._include_group(part)

    # Jobs.

    @overload
    async def enqueue(self, request: JobRequest[R], /) -> Job[R]: ...
    @overload
    async def enqueue(self, requests: Iterable[JobRequest[Any]], /) -> list[Job[Any]]: ...
    async def enqueue(self, requests: Any, /) -> Any:
        """Enqueue one job or many; when this returns, they are not lost any more.

        Jobs of one shard are written together or not at all, 500 at a time. Through an outage they are sent
        again, with the same ids, for ``enqueue_timeout`` (30 s).

        Args:
            requests: ``send.job("a@b.c")``, or several of such.

        Returns:
            A handle, or a list of them in the same order.

        Raises:
            InvalidArguments: Something else than jobs was given.
            PayloadTooLarge: Arguments take more than ``max_payload_bytes``; nothing was written.
            QueueFull: A queue holds as many waiting jobs as ``max_queue_length`` allows.
            EnqueueError: Redis did not confirm all of them in time, or refused some; it tells which exist.
            UnsupportedSchema: A newer major version of capelin wrote the queue; nothing was written.

        Example:
            jobs = await app.enqueue([send.job("a@b.c"), send.job("d@e.f")])
        """
        if is_request(requests):
            [placed] = await self.client().enqueue((requests,))
            if isinstance(placed, Exception):
                raise self._not_enqueued((requests,), (placed,))
            return self._handle(requests, placed)
        many = _checked(requests)
        if not many:
            return []
        places = await self.client().enqueue(many)
        jobs = [
            self._handle(request, placed)
            for request, placed in zip(many, places, strict=True)
            if not isinstance(placed, Exception)
        ]
        if len(jobs) < len(many):
            raise self._not_enqueued(many, places)
        return jobs

    @overload
    def enqueue_sync(self, request: JobRequest[R], /) -> Job[R]: ...
    @overload
    def enqueue_sync(self, requests: Iterable[JobRequest[Any]], /) -> list[Job[Any]]: ...
    def enqueue_sync(self, requests: Any, /) -> Any:
        """``enqueue`` for code without an event loop: Django, Flask, scripts, ``def`` tasks.

        Raises:
            SyncInAsync: An event loop runs in this thread; use ``await app.enqueue(...)``.
            The same as ``enqueue``.
        """
        return cast(object, self.run_sync("enqueue_sync", partial(self.enqueue, requests)))

    @overload
    def job(self, job_id: str, task: Submit[..., R]) -> Job[R]: ...
    @overload
    def job(self, job_id: str, task: None = None) -> Job[Any]: ...
    def job(self, job_id: str, task: Submit[..., Any] | None = None) -> Job[Any]:
        """Return the handle of a job by its id; nothing is asked of Redis.

        Args:
            job_id: ``<queue>.<shard>.<uid>``.
            task: Its task, which says what its result is; without, results are plain JSON.

        Raises:
            InvalidJobId: The text is not a job id.

        Example:
            await app.job(job_id, send).result()
        """
        place = JobId.parse(job_id)
        return Job(
            self,
            queue=place.queue,
            shard=place.shard,
            uid=place.uid,
            task=getattr(task, "name", None),
            read_result=task.signature.decode_result if isinstance(task, Task) else None,
        )

    # Resources.

    @property
    def resources(self) -> Resources:
        """What the lifespan yielded; open in workers and in ``testing(resources=...)``.

        Raises:
            NoResources: They are not open here.
        """
        return self._slot.get()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Resources | None]:
        """Enter the lifespan: what a worker does around all its jobs."""
        async with self._slot.opened(self) as resources:
            yield resources

    # Connections.

    def client(self) -> Client:
        """Return the running event loop's client; opened when first used.

        Raises:
            RuntimeError: No event loop runs in this thread.
        """
        return self._binding.clients.here()

    def run_sync(self, function: str, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine from code without an event loop, on the app's own background thread.

        Args:
            function: The name of the function that was called, for the message.
            begin: Makes the coroutine.

        Raises:
            SyncInAsync: An event loop runs in this thread.
        """
        return self._binding.portal.run(function, begin)

    async def close(self) -> None:
        """Close the running loop's connections. The next use opens new ones."""
        await self._binding.clients.close()

    def close_sync(self) -> None:
        """Close the connections that ``*_sync`` calls use, and end their thread. The next use opens new ones.

        Raises:
            SyncInAsync: An event loop runs in this thread; use ``await app.close()``.
        """
        if in_a_running_loop():
            raise SyncInAsync(function="close_sync")
        self._binding.portal.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Capelin {self.name}: {len(self.registry)} tasks>"

    # Inside.

    def result_reader(self, task: str) -> ReadResult | None:
        """Return what reads the results of a task, if this process knows the task."""
        known: Task[..., Any] | None = self.registry.get(task)
        return None if known is None else known.signature.decode_result

    @contextmanager
    def rebound(self, binding: Binding) -> Generator[Binding]:
        """Bind the app to another Redis for a while: what ``testing`` does."""
        self._rebound.append(binding)
        token = _rebound_here.set((*_rebound_here.get(), binding))
        try:
            yield binding
        finally:
            self._rebound.remove(binding)
            try:
                _rebound_here.reset(token)
            except ValueError:  # a fixture may be torn down in another context than it was set up in
                _rebound_here.set(tuple(other for other in _rebound_here.get() if other is not binding))

    @property
    def _binding(self) -> Binding:
        if self._rebound:
            here = [binding for binding in _rebound_here.get() if binding in self._rebound]
            return (here or self._rebound)[-1]
        if self._own is None:
            self._own = Binding(
                url=self._url, prefix=self._prefix, settings=self._settings, describe=self._describe
            )
        return self._own

    def _include_group(self, group: Tasks) -> None:
        super().include(group)

    def _handle(self, request: JobRequest[Any], placed: Placed) -> Job[Any]:
        return Job(
            self,
            queue=request.queue,
            shard=placed.shard,
            uid=placed.uid,
            task=request.task,
            duplicate=placed.verdict not in _NEW,
        )

    def _not_enqueued(
        self, requests: Sequence[JobRequest[Any]], places: Sequence[Placed | Exception]
    ) -> EnqueueError:
        enqueued: list[Job[Any]] = []
        unsent: list[int] = []
        causes: list[Exception] = []
        for index, (request, placed) in enumerate(zip(requests, places, strict=True)):
            if isinstance(placed, Exception):
                unsent.append(index)
                causes.append(placed)
            else:
                enqueued.append(self._handle(request, placed))
        kind = QueueFull if all(isinstance(cause, Full) for cause in causes) else EnqueueError
        return kind(enqueued=enqueued, unsent=unsent, causes=causes)


def _describe_task(registry: TaskRegistry, defaults: TaskOptions, task: str) -> tuple[str, str]:
    """Return a task's digest and priority; both empty for one that is not known."""
    known: Task[..., Any] | None = registry.get(task)
    if known is None:
        return "", ""
    return known.signature.digest, str(known.effective(defaults).priority)


def _module_of_caller() -> str:
    frame = inspect.currentframe()
    for _ in range(2):
        frame = None if frame is None else frame.f_back
    return "?" if frame is None else str(frame.f_globals.get("__name__", "?"))


def _checked(requests: object) -> list[JobRequest[Any]]:
    if not isinstance(requests, Iterable):
        raise InvalidArguments(task="enqueue", why=f"expected jobs, as send.job(...); got {requests!r}")
    many = list(cast(Iterable[object], requests))
    for request in many:
        if not is_request(request):
            raise InvalidArguments(task="enqueue", why=f"expected jobs, as send.job(...); got {request!r}")
    return cast(list[JobRequest[Any]], many)
