"""``Capelin``: an app. It knows its tasks, where its Redis is, and what its workers need.

It connects when it is first used. One app object serves any number of event loops, threads and forked
processes; ``_clients`` keeps them apart.
"""

import inspect
import sys
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

from typing_extensions import TypeVar as DefaultTypeVar
from typing_extensions import override

from capelin._app_schedules import AppSchedules
from capelin._bound import Bound
from capelin._declaring import describe_task
from capelin._handles import checked, handle, handles
from capelin._including import Includes
from capelin._sending import Placed
from capelin.calls import Submit
from capelin.ids import JobId
from capelin.jobs import Job, ReadResult
from capelin.middleware import Middleware, checked_middleware
from capelin.names import check_name
from capelin.options import TaskOptions
from capelin.registry import TaskRegistry
from capelin.requests import JobRequest, is_request
from capelin.resources import Lifespan, ResourceSlot
from capelin.settings import Settings
from capelin.singletons import SingletonRegistry
from capelin.tasks import AppTasks, Task, Tasks
from capelin.tracer import Tracer

if TYPE_CHECKING:
    from capelin.testing import Testing

R = TypeVar("R")
T = TypeVar("T")
Resources = DefaultTypeVar("Resources", default=None)


class Capelin(AppTasks, Bound, AppSchedules, Generic[Resources]):
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
        AppTasks.__init__(self, defaults=defaults)
        # Nothing in here holds the app: one that only includes groups goes with its last reference, so that a
        # test's app does not make the tasks of the next one's groups ambiguous.
        describe = partial(describe_task, self.registry, self.defaults)
        Bound.__init__(self, url=url, prefix=prefix, settings=settings, describe=describe)
        self._name = None if name is None else check_name("app", name)
        self._made_in = _module_of_caller()
        self._includes = Includes()
        for path in (include,) if isinstance(include, str) else include:
            self._includes.add(path)
        self.middleware = checked_middleware(middleware)
        self._slot: ResourceSlot[Resources] = ResourceSlot(self._name or self._made_in, lifespan)

    # What the app is.

    @property
    def name(self) -> str:
        """What it was named, else its import string (``billing.tasks:app``), else the module that made it."""
        if self._name is None:
            module = sys.modules.get(self._made_in)
            known = vars(module).items() if module is not None else ()
            variable = next((name for name, value in known if value is self), None)
            if variable is None:
                return _importable(self._made_in)
            self._name = f"{_importable(self._made_in)}:{variable}"
        return self._name

    def imported_as(self, path: str) -> None:
        """Note the import string by which it was loaded: its name, unless it was given one."""
        if self._name is None:
            self._name = path

    @property
    def tasks(self) -> TaskRegistry:
        """Its tasks by name; imports what it includes.

        Raises:
            ConfigurationError: An included module does not exist.
        """
        self._includes.load(self._include_group)
        return self.registry

    @property
    def singletons(self) -> SingletonRegistry:
        """Its singletons by name; imports what it includes.

        Raises:
            ConfigurationError: An included module does not exist.
        """
        self._includes.load(self._include_group)
        return self.singleton_registry

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
            NotReplicated: All exist, and fewer replicas than ``min_replicas`` have some of them.
            UnsupportedSchema: A newer major version of capelin wrote the queue; nothing was written.

        Example:
            jobs = await app.enqueue([send.job("a@b.c"), send.job("d@e.f")])
        """
        if self.tracer is not None:
            return await self._enqueue_traced(self.tracer, requests)
        if is_request(requests):
            return await self.enqueue_with(requests, requests.args)
        many = checked(requests)
        return handles(self, many, await self.client().enqueue(many)) if many else []

    async def enqueue_with(self, request: JobRequest[R], args: str, /) -> Job[R]:
        """``enqueue`` a request with these arguments (encoded) for its own: what tasks call."""
        tracer = self._tracer if self._asked_for_tracer else self.tracer
        if tracer is not None:
            traced: Job[R] = await self._enqueue_traced(tracer, request.with_args(args))
            return traced
        placed = await self.client().enqueue_one(request, args)
        if isinstance(placed, Placed) and placed.lack is None:
            return handle(self, request, placed)
        return handles(self, (request,), (placed,))[0]

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
        given: Any = requests if is_request(requests) else checked(requests)
        return cast(object, self.run_sync("enqueue_sync", partial(self.enqueue, given)))

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

    def testing(self, *, resources: Resources | None = None, now: datetime | None = None) -> "Testing":
        """Bind the app to an in-process Redis of its own, for the length of a test.

        Args:
            resources: What ``app.resources`` is meanwhile; the lifespan is not entered.
            now: Where the clock of that Redis stands (aware); the present moment by default.

        Raises:
            ConfigurationError: The extra ``embedded`` is not installed.

        Example:
            async with app.testing(resources=Resources(db=fake)) as t:
                await signup("a@b.c")
                assert t.enqueued(send)
                await t.drain(raise_errors=True)
        """
        from capelin.testing import Testing

        return Testing(self, resources=resources, now=now)

    def __repr__(self) -> str:
        return f"<Capelin {self.name}: {len(self.registry)} tasks>"

    # Inside.

    async def _enqueue_traced(self, tracer: Tracer, requests: Any) -> Any:
        given = [requests] if is_request(requests) else checked(requests)
        if not given:
            return []
        with tracer.sending(given) as sending:
            placed = await self.client().enqueue(sending.requests)
            jobs = handles(self, sending.requests, placed)
            sending.made(jobs)
        return jobs[0] if is_request(requests) else jobs

    @override
    def _new_tracer(self) -> Tracer:
        from capelin.tracing import Tracing

        return Tracing(self)

    def result_reader(self, task: str) -> ReadResult | None:
        """Return what reads the results of a task, if this process knows the task."""
        known: Task[..., Any] | None = self.registry.get(task)
        return None if known is None else known.signature.decode_result

    @contextmanager
    def provided(self, resources: Resources) -> Generator[Resources]:
        """Provide ready-made resources for a while: what ``testing(resources=...)`` does."""
        with self._slot.provided(resources) as value:
            yield value

    def _include_group(self, group: Tasks) -> None:
        super().include(group)


def _importable(module: str) -> str:
    """Return the name by which others import a module: a script, or ``python -m``, runs as ``__main__``."""
    main = sys.modules.get("__main__")
    if module != "__main__" or main is None:
        return module
    spec = getattr(main, "__spec__", None)
    path = getattr(main, "__file__", None)
    return spec.name if spec is not None else Path(path).stem if path else module


def _module_of_caller() -> str:
    frame = inspect.currentframe()
    for _ in range(2):
        frame = None if frame is None else frame.f_back
    return "?" if frame is None else str(frame.f_globals.get("__name__", "?"))
