"""What can be enqueued: one ``job(...)`` that makes a request, and the two ways to send it, written once.

A task, a task with options for one call, and a task known by its name only differ in how they make the
request.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, overload

from typing_extensions import Unpack

from capelin.codec import encode_plain
from capelin.names import check_name
from capelin.options import CallArguments, CallOptions, EffectiveOptions, RequestFields, TaskOptions
from capelin.requests import JobRequest

if TYPE_CHECKING:
    from capelin.jobs import Job
    from capelin.tasks import Task

P = ParamSpec("P")
R = TypeVar("R")

NO_DEFAULTS = TaskOptions()
"""The defaults of a task that is in no app."""


class Enqueuer(Protocol):
    """What a task needs of its app."""

    @property
    def name(self) -> str:
        """The app's name, for messages."""
        ...

    @property
    def defaults(self) -> TaskOptions:
        """The options of its tasks that do not say otherwise."""
        ...

    @property
    def check_round_trip(self) -> bool:
        """Whether encoded arguments are read back and compared (``testing`` and ``dev``)."""
        ...

    async def enqueue_with(self, request: JobRequest[R], args: str, /) -> "Job[R]":
        """Enqueue a request with these arguments (encoded) for its own."""
        ...

    @overload
    def enqueue_sync(self, request: JobRequest[R], /) -> "Job[R]": ...
    @overload
    def enqueue_sync(self, requests: Iterable[JobRequest[Any]], /) -> "list[Job[Any]]": ...


class Submit(ABC, Generic[P, R]):
    """Makes requests of a task's arguments and sends them."""

    def job(self, /, *args: P.args, **kwargs: P.kwargs) -> JobRequest[R]:
        """Return one job to be, for ``app.enqueue([...])``, ``then=`` and schedules. Nothing is sent.

        Raises:
            InvalidArguments: The arguments do not fit the task's signature, or cannot be encoded exactly.
        """
        request, text = self._asked(args, kwargs)
        return request.with_args(text)

    @abstractmethod
    def _asked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[JobRequest[R], str]:
        """Return what is asked for but for its arguments, and these encoded."""

    @abstractmethod
    def _enqueuer(self) -> Enqueuer: ...

    async def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> "Job[R]":
        """Enqueue one job; when this returns, the job is not lost any more.

        Raises:
            InvalidArguments: The arguments do not fit the task's signature, or cannot be encoded exactly.
            PayloadTooLarge: They are too large.
            NoApp: The task is not registered in an app.
            EnqueueError: Redis did not confirm it in time, or refused it.

        Example:
            job = await send.enqueue("a@b.c", subject="x")
        """
        request, text = self._asked(args, kwargs)
        return await self._enqueuer().enqueue_with(request, text)

    def enqueue_sync(self, /, *args: P.args, **kwargs: P.kwargs) -> "Job[R]":
        """Enqueue one job from code without an event loop: Django, Flask, scripts, ``def`` tasks.

        Raises:
            SyncInAsync: There is a running event loop in this thread; use ``await ...enqueue(...)``.
            The same errors as ``enqueue`` otherwise.
        """
        return self._enqueuer().enqueue_sync(self.job(*args, **kwargs))


def request_fields(options: EffectiveOptions) -> RequestFields:
    """Return what a task's options put into each of its requests; the rest the worker knows from the task."""
    return {
        "queue": options.queue,
        "priority": options.priority,
        "retention": options.retention,
        "on_failure": options.on_failure,
        "max_crashes": options.max_crashes,
        "min_replicas": options.min_replicas,
        "fsync": options.fsync,
    }


class TaskCall(Submit[P, R]):
    """A task with options for one call: ``send.options(delay=60)``."""

    def __init__(self, task: "Task[P, R]", call: CallOptions) -> None:
        self._task = task
        self._changes = call.request_fields()
        self._known: tuple[TaskOptions, JobRequest[R]] | None = None

    def _asked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[JobRequest[R], str]:
        task = self._task
        app = task.maker
        if app is not None:
            check, defaults = app.check_round_trip, app.defaults
        else:
            apps = task.agreeing_apps()
            check = any(app.check_round_trip for app in apps)
            defaults = apps[0].defaults if apps else NO_DEFAULTS
        return self._without_args(defaults), task.signature.encode(args, kwargs, check_round_trip=check)

    def _enqueuer(self) -> Enqueuer:
        return self._task.app

    def _without_args(self, defaults: TaskOptions) -> JobRequest[R]:
        known = self._known
        if known is None or known[0] is not defaults:
            task = self._task
            fields = request_fields(task.effective(defaults)) | self._changes
            request: JobRequest[R] = JobRequest(task=task.name, digest=task.signature.digest, **fields)
            known = self._known = (defaults, request.at_site())
        return known[1]

    def __repr__(self) -> str:
        changes = ", ".join(f"{name}={value!r}" for name, value in self._changes.items())
        return f"<TaskCall {self._task.name} {changes}>"


class NamedTask(Submit[..., Any]):
    """A task that this program knows by name only: ``app.task_named("email.send", queue="emails")``.

    Its arguments must be plain JSON, since no signature says what else they could be; the worker checks them.

    Example:
        await app.task_named("email.send", queue="emails").enqueue(to="a@b.c")
    """

    def __init__(self, app: Enqueuer, name: str, call: CallOptions) -> None:
        self.name = check_name("task", name)
        self._app = app
        self._call = call
        fields = request_fields(app.defaults.effective()) | call.request_fields()
        self._request: JobRequest[Any] = JobRequest(task=self.name, **fields).at_site()

    def options(self, **options: Unpack[CallArguments]) -> "NamedTask":
        """Return this task with options for one call, laid over those it has (see ``CallOptions``)."""
        given = CallOptions(**options)
        changed = {f.name: value for f in fields(given) if (value := getattr(given, f.name)) is not None}
        return NamedTask(self._app, self.name, replace(self._call, **changed))

    def _asked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[JobRequest[Any], str]:
        return self._request, encode_plain(self.name, args, kwargs)

    def _enqueuer(self) -> Enqueuer:
        return self._app

    def __repr__(self) -> str:
        return f"<NamedTask {self.name} queue={self._request.queue}>"
