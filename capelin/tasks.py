"""Tasks: functions that can be enqueued, and the decorator that makes them.

A task stays the plain function for whoever calls it; ``enqueue``, ``enqueue_sync``, ``job`` and ``options``
stand beside that. Everything that can be known at decoration is checked there.
"""

import gc
import inspect
import sys
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any, Protocol, TypeVar, cast, overload

from typing_extensions import ParamSpec, Unpack

from capelin._declaring import DeclaredSchedule, ScheduleDecorators
from capelin._singleton_decorators import SingletonDecorators
from capelin.calls import NO_DEFAULTS, Enqueuer, NamedTask, Submit, TaskCall, request_fields
from capelin.errors import InvalidOption, InvalidTask, NoApp
from capelin.functions import RunIn, check_function, check_run_in
from capelin.names import check_name
from capelin.options import (
    CallArguments,
    CallOptions,
    EffectiveOptions,
    TaskArguments,
    TaskOptions,
)
from capelin.registry import TaskRegistry
from capelin.requests import JobRequest
from capelin.signatures import Signature
from capelin.singletons import Singleton

P = ParamSpec("P")
R = TypeVar("R")


class Task(Submit[P, R]):
    """A registered function, named.

    Attributes:
        name: The name it has in Redis, in the CLI and in the metrics.
        aliases: Names under which jobs of older releases may still come.
        function: The function itself.
        signature: Its compiled signature.
        run_in: ``loop`` (async functions), ``thread`` (others), or ``process``.
        declared: The options that were given with it and its group.
        maker: The app that made it, as long as no other has it: then nobody needs to look for one.
    """

    def __init__(
        self,
        function: Callable[P, Any],
        *,
        name: str,
        aliases: tuple[str, ...] = (),
        run_in: RunIn | None = None,
        options: TaskOptions | None = None,
    ) -> None:
        check_function(function, name)
        self.name = check_name("task", name)
        self.aliases = tuple(check_name("task", alias) for alias in aliases)
        self.function = function
        self.run_in: RunIn = check_run_in(function, name, run_in)
        self.signature = Signature.of(function, name)
        self.declared = options if options is not None else TaskOptions()
        self._apps: list[Callable[[], Enqueuer | None]] = []
        self.maker: Enqueuer | None = None
        self._known: tuple[TaskOptions, EffectiveOptions] | None = None
        self._plain_call = TaskCall(self, CallOptions())
        self.__wrapped__ = function
        self.__name__ = function.__name__
        self.__qualname__ = function.__qualname__
        self.__module__ = function.__module__
        self.__doc__ = function.__doc__

    @property
    def import_path(self) -> str:
        """Where the task is found by other processes: ``billing.tasks:send``."""
        return f"{self.__module__}:{self.__qualname__}"

    @property
    def app(self) -> Enqueuer:
        """The app in which the task is registered.

        Raises:
            NoApp: There is none, or there are several.
        """
        if self.maker is not None:
            return self.maker
        apps = self.apps
        if len(apps) > 1:
            apps.clear()  # or they would be held from here
            apps = self._living_apps()
        if len(apps) != 1:
            raise NoApp(task=self.name, apps=[app.name for app in apps])
        return apps[0]

    @property
    def apps(self) -> list[Enqueuer]:
        """The apps in which the task is registered."""
        return [app for ref in self._apps if (app := ref()) is not None]

    def _living_apps(self) -> list[Enqueuer]:
        # An app and its own tasks hold each other: those that nobody else holds any more (made by an earlier
        # test, by a factory) are still there until they are collected, and must not make the one that is used
        # ambiguous.
        gc.collect()
        return self.apps

    def attach(self, app: Enqueuer, *, keep: bool) -> None:
        """Note an app in which the task is registered.

        Args:
            app: The app.
            keep: Whether the task keeps the app alive: it does if it was made by the app, not if its group
                was included in it (an app made for one test must not make the next one's tasks ambiguous).
        """
        if not any(known is app for known in self.apps):
            self.maker = app if keep and not self._apps else None
            self._apps.append((lambda: app) if keep else cast(Any, weakref.ref(app)))

    def agreeing_apps(self) -> list[Enqueuer]:
        """Return the apps in which the task is registered, if a job of it is the same job in each of them.

        Raises:
            NoApp: It is not: their defaults differ.
        """
        apps = self.apps
        if len(apps) > 1 and not self._agree(apps):
            apps.clear()  # or they would be held from here
            apps = self._living_apps()
            if len(apps) > 1 and not self._agree(apps):
                raise NoApp(task=self.name, apps=[app.name for app in apps])
        return apps

    def _agree(self, apps: list[Enqueuer]) -> bool:
        fields = [request_fields(self._effective(app.defaults)) for app in apps]
        return all(other == fields[0] for other in fields[1:])

    def effective(self, defaults: TaskOptions) -> EffectiveOptions:
        """Return the options that hold in an app with these defaults."""
        known = self._known
        if known is None or known[0] is not defaults:
            known = self._known = (defaults, self._effective(defaults))
        return known[1]

    def _effective(self, defaults: TaskOptions) -> EffectiveOptions:
        effective = self.declared.over(defaults).effective()
        # An app's on_failure holds for the task that it names, too: a failing alert must not alert of itself
        # for ever.
        own = effective.on_failure in (self.name, *self.aliases)
        return replace(effective, on_failure=None) if own else effective

    def options(self, **options: Unpack[CallArguments]) -> "TaskCall[P, R]":
        """Return the task with options for one call; ``CallOptions`` says what they mean.

        Raises:
            InvalidOption: A value makes no sense, or two do not go together.

        Example:
            await send.options(delay=60, dedupe_key="welcome:42").enqueue("a@b.c")
        """
        return TaskCall(self, CallOptions(**options))

    def _asked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[JobRequest[R], str]:
        return self._plain_call._asked(args, kwargs)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] -- its own

    def _enqueuer(self) -> Enqueuer:
        return self.maker or self.app

    def __reduce__(self) -> str:
        # Like the function that it stands for, a task is pickled by its name.
        return self.__qualname__

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}{self.signature}>"


class AsyncTask(Task[P, R]):
    """A task whose function is asynchronous: calling it gives the coroutine."""

    def __init__(self, function: Callable[P, Coroutine[Any, Any, R]], **options: Any) -> None:
        super().__init__(function, **options)
        if sys.version_info >= (3, 12):  # frameworks ask before they await
            inspect.markcoroutinefunction(self)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Call the function here and now, as if it were no task."""
        return cast(Coroutine[Any, Any, R], self.function(*args, **kwargs))


class SyncTask(Task[P, R]):
    """A task whose function is a plain one; it runs in a thread, or in a process."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function here and now, as if it were no task."""
        return cast(R, self.function(*args, **kwargs))


class TaskDecorator(Protocol):
    """What ``app.task(...)`` returns: it makes a task of the function below it."""

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> SyncTask[P, R]: ...


class TaskDecorators(ScheduleDecorators, SingletonDecorators, ABC):
    """The decorators, shared by apps and groups."""

    def __init__(self, *, defaults: TaskOptions | None = None, prefix: str = "") -> None:
        ScheduleDecorators.__init__(self)
        SingletonDecorators.__init__(self)
        self.defaults = defaults if defaults is not None else TaskOptions()
        self.task_prefix = check_name("prefix", prefix) if prefix else ""
        self.registry = TaskRegistry()

    @overload
    def task(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> SyncTask[P, R]: ...
    @overload
    def task(
        self,
        /,
        *,
        name: str | None = None,
        aliases: Iterable[str] = (),
        run_in: RunIn | None = None,
        **options: Unpack[TaskArguments],
    ) -> TaskDecorator: ...
    def task(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        aliases: Iterable[str] = (),
        run_in: RunIn | None = None,
        **options: Unpack[TaskArguments],
    ) -> Any:
        """Make a task of a function: ``@app.task`` or ``@app.task(name="email.send", queue="emails")``.

        Args:
            function: The function, when the decorator is used without parentheses.
            name: The task's name; the function's own by default. A group's prefix stands before either.
            aliases: Names under which jobs of older releases may still come.
            run_in: ``process`` for CPU-bound plain functions. Async functions run on the loop, plain ones in
                threads.
            options: ``TaskOptions`` says what they mean.

        Raises:
            InvalidTask: The function cannot be a task, or the name is taken.
            InvalidName: A name is not allowed.
            InvalidOption: An option makes no sense.
        """
        declared = TaskOptions(**options).over(self.defaults if self._defaults_are_final else NO_DEFAULTS)
        if isinstance(aliases, str):
            raise InvalidOption(option="aliases", value=aliases, why="expected several names, as (name,)")
        names = tuple(aliases)

        def decorate(function: Callable[..., Any]) -> Task[..., Any]:
            if isinstance(function, Task):
                raise InvalidTask(task=function.name, why="it is one already; decorate the function once")
            short = name if name is not None else getattr(function, "__name__", type(function).__name__)
            full = self.task_prefix + check_name("task", short)
            checked = check_function(function, full)
            asynchronous = check_run_in(checked, full, run_in) == "loop"
            kind: type[Task[..., Any]] = AsyncTask[..., Any] if asynchronous else SyncTask[..., Any]
            made: Task[..., Any] = kind(checked, name=full, aliases=names, run_in=run_in, options=declared)
            self.add_task(made)
            return made

        return decorate if function is None else decorate(function)

    @abstractmethod
    def add_task(self, task: Task[..., Any]) -> None:
        """Register a task.

        Raises:
            InvalidTask: Its name is taken.
        """

    # A group's defaults are laid under its tasks' own options; an app's are read when a job is made, for its
    # groups' too.
    _defaults_are_final = False


class Tasks(TaskDecorators):
    """A group of tasks that knows no app: for libraries, and for many modules without an import circle.

    Args:
        prefix: Stands before the name of each task (not before aliases): ``billing.``.
        defaults: Options of its tasks that do not say otherwise.

    Example:
        >>> tasks = Tasks(prefix="billing.")
        >>> @tasks.task
        ... async def charge(order: int) -> None: ...
        >>> charge.name
        'billing.charge'
    """

    _defaults_are_final = True

    def __init__(self, *, prefix: str = "", defaults: TaskOptions | None = None) -> None:
        super().__init__(defaults=defaults, prefix=prefix)
        self._apps: list[weakref.ref[AppTasks]] = []

    def add_task(self, task: Task[..., Any]) -> None:
        """Register a task here and in the apps that included the group."""
        self.registry.add(task)
        for ref in self._apps:
            if (app := ref()) is not None:
                app.add_group_tasks(task)

    def add_schedule(self, declared: DeclaredSchedule) -> None:
        """Note a schedule here and in the apps that included the group."""
        self.note_schedules(declared)
        for ref in self._apps:
            if (app := ref()) is not None:
                app.note_schedules(declared)

    def add_singleton(self, singleton: Singleton[Any]) -> None:
        """Register a singleton here and in the apps that included the group."""
        self.singleton_registry.add(singleton)
        for ref in self._apps:
            if (app := ref()) is not None:
                app.add_singleton(singleton)

    def included_in(self, app: "AppTasks") -> None:
        """Note an app that includes the group, and give it what the group has."""
        app.add_group_tasks(*self.registry.values())
        app.note_schedules(*self.declared.values())
        app.singleton_registry.add(*self.singleton_registry.values())
        if not any(ref() is app for ref in self._apps):
            self._apps.append(weakref.ref(app))

    def __repr__(self) -> str:
        return f"<Tasks {self.task_prefix}* {len(self.registry)}>"


class AppTasks(TaskDecorators):
    """What an app does with tasks; ``Capelin`` is one, and is their ``Enqueuer``."""

    def add_task(self, task: Task[..., Any]) -> None:
        """Register a task that belongs to this app."""
        self.registry.add(task)
        task.attach(self._as_enqueuer(), keep=True)

    def add_schedule(self, declared: DeclaredSchedule) -> None:
        """Note a schedule of this app's."""
        self.note_schedules(declared)

    def add_singleton(self, singleton: Singleton[Any]) -> None:
        """Register a singleton, this app's own or a group's."""
        self.singleton_registry.add(singleton)

    def add_group_tasks(self, *tasks: Task[..., Any]) -> None:
        """Register tasks of an included group, all or none."""
        self.registry.add(*tasks)
        for task in tasks:
            task.attach(self._as_enqueuer(), keep=False)

    def include(self, *groups: Tasks) -> None:
        """Include groups of tasks, those that they will get later too.

        Raises:
            InvalidTask: A name is taken.
        """
        for group in groups:
            group.included_in(self)

    def task_named(self, name: str, *, queue: str | None = None) -> NamedTask:
        """Return a task that this program knows by name only; its arguments must be plain JSON.

        Args:
            name: The task's name in the program that runs it.
            queue: The queue that its workers serve; the app's default one if not given.

        Example:
            await app.task_named("email.send", queue="emails").enqueue(to="a@b.c")
        """
        return NamedTask(self._as_enqueuer(), name, CallOptions(queue=queue))

    def _as_enqueuer(self) -> Enqueuer:
        return cast(Enqueuer, self)
