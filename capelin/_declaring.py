"""The decorators ``cron`` and ``every``, shared by apps and groups: they declare schedules in code."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast, overload

from typing_extensions import Unpack

from capelin.calls import request_fields
from capelin.durations import Duration
from capelin.errors import InvalidOption
from capelin.functions import RunIn
from capelin.names import check_name
from capelin.options import TaskArguments, TaskOptions
from capelin.registry import TaskRegistry
from capelin.requests import JobRequest
from capelin.schedules import Schedule, ScheduleArguments, SchedulePolicy
from capelin.timing import Timing, every, parse_cron

if TYPE_CHECKING:
    from capelin.tasks import AsyncTask, SyncTask, Task

P = ParamSpec("P")
R = TypeVar("R")
TaskT = TypeVar("TaskT", bound="Task[..., Any]")


class DeclareArguments(ScheduleArguments, TaskArguments, total=False):
    """What ``cron`` and ``every`` take besides their timing: see ``SchedulePolicy`` and ``TaskOptions``."""

    name: str | None
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    aliases: Iterable[str]
    run_in: RunIn | None


class ScheduleDecorator(Protocol):
    """What ``app.cron(...)`` returns: it makes a task of the function below it, or takes a task as it is."""

    @overload
    def __call__(self, task: TaskT, /) -> TaskT: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> "AsyncTask[P, R]": ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> "SyncTask[P, R]": ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredSchedule:
    """A schedule as code declares it.

    Attributes:
        name: Its name.
        task: What it runs.
        timing: When.
        policy: What becomes of its ticks.
        args: The arguments, encoded.
    """

    name: str
    task: "Task[..., Any]"
    timing: Timing
    policy: SchedulePolicy
    args: str

    def same_as(self, other: "DeclaredSchedule") -> bool:
        """Whether it is the same one, from a module that was imported twice, say."""
        mine = (self.name, self.task.name, self.timing, self.policy, self.args)
        return mine == (other.name, other.task.name, other.timing, other.policy, other.args)

    def within(self, defaults: TaskOptions, describe: Callable[[str], tuple[str, str]]) -> Schedule:
        """Return the schedule as it is in an app.

        Args:
            defaults: The app's.
            describe: Tells digest and priority of the task that ``on_failure`` names.
        """
        task = self.task
        request: JobRequest[Any] = JobRequest(
            task=task.name,
            digest=task.signature.digest,
            args=self.args,
            **request_fields(task.effective(defaults)),
        )
        return schedule_of(self.name, self.timing, request, self.policy, describe)


def schedule_of(
    name: str,
    timing: Timing,
    request: JobRequest[Any],
    policy: SchedulePolicy,
    describe: Callable[[str], tuple[str, str]],
) -> Schedule:
    """Return a schedule made of its parts.

    Raises:
        InvalidName, InvalidOption: A part makes no sense in a schedule.
    """
    named = {one.on_failure for one in (request, *_chain(request)) if one.on_failure is not None}
    return Schedule(
        name=name,
        timing=timing,
        request=request,
        described={task: describe(task) for task in sorted(named)},
        **policy.fields(),
    )


def _chain(request: JobRequest[Any]) -> Iterable[JobRequest[Any]]:
    while request.then is not None:
        request = request.then
        yield request


def describe_task(registry: TaskRegistry, defaults: TaskOptions, task: str) -> tuple[str, str]:
    """Return a task's digest and priority; both empty for one that is not known."""
    known: Task[..., Any] | None = registry.get(task)
    if known is None:
        return "", ""
    return known.signature.digest, str(known.effective(defaults).priority)


class ScheduleDecorators(ABC):
    """Declares schedules."""

    task_prefix: str

    def __init__(self) -> None:
        self.declared: dict[str, DeclaredSchedule] = {}

    def cron(
        self, expression: str, /, *, timezone: str = "UTC", **options: Unpack[DeclareArguments]
    ) -> ScheduleDecorator:
        """Run a task at the moments that a cron expression names, once across all processes.

        Args:
            expression: Five fields, six with the seconds first, or ``@hourly`` and the like.
            timezone: The zone whose clocks it means, such as ``Europe/Berlin``.
            options: ``name`` of the schedule (the task's by default; the task's too, when the task is made
                here), ``args`` and ``kwargs`` of each run; ``SchedulePolicy`` says what the other ones
                mean, and ``TaskOptions`` those of the task.

        Raises:
            InvalidOption: An option makes no sense, or the name is taken.
            InvalidTask: The function cannot be a task.
            InvalidArguments: The task cannot run with these arguments, or needs some.

        Example:
            @app.cron("0 9 * * mon-fri", timezone="Europe/Berlin")
            async def digest() -> None: ...
        """
        return self._declare(parse_cron(expression, timezone), options)

    def every(self, period: Duration, /, **options: Unpack[DeclareArguments]) -> ScheduleDecorator:
        """Run a task every so often, once across all processes.

        It ticks at multiples of the period since the epoch, whenever processes start.

        Args:
            period: Seconds, or a ``timedelta``.
            options: As for ``cron``.

        Raises:
            The same as ``cron``.

        Example:
            @app.every(timedelta(minutes=1))
            async def tidy() -> None: ...
        """
        return self._declare(every(period), options)

    @abstractmethod
    def add_schedule(self, declared: DeclaredSchedule) -> None:
        """Note a schedule.

        Raises:
            InvalidOption: Its name is taken.
        """

    def _declare(self, timing: Timing, given: DeclareArguments) -> ScheduleDecorator:
        options = cast(dict[str, Any], dict(given))
        policy = SchedulePolicy(
            **{name: options.pop(name) for name in ScheduleArguments.__annotations__ if name in options}
        )
        name: str | None = options.pop("name", None)
        args, kwargs = tuple(options.pop("args", ())), dict(options.pop("kwargs", {}))

        def decorate(function: Any) -> Any:
            from capelin.tasks import Task

            made: Task[..., Any]
            if isinstance(function, Task):
                if options:
                    option = next(iter(options))
                    raise InvalidOption(
                        option=option,
                        value=options[option],
                        why="the task below is made already; give its options to @app.task",
                    )
                made = cast("Task[..., Any]", function)
                short = name if name is not None else made.name.removeprefix(self.task_prefix)
            else:
                made = cast(Any, self).task(name=name, **options)(function)
                short = made.name.removeprefix(self.task_prefix)
            self.add_schedule(
                DeclaredSchedule(
                    name=self.task_prefix + check_name("schedule", short),
                    task=made,
                    timing=timing,
                    policy=policy,
                    args=made.signature.encode(args, kwargs, check_round_trip=True),
                )
            )
            return made

        return cast(ScheduleDecorator, decorate)

    def note_schedules(self, *declared: DeclaredSchedule) -> None:
        """Keep schedules, all or none.

        Raises:
            InvalidOption: A name is taken by another one.
        """
        for one in declared:
            present = self.declared.get(one.name)
            if present is not None and not present.same_as(one):
                raise InvalidOption(
                    option="name",
                    value=one.name,
                    why=f"that is a schedule of task {present.task.name}; give this one another name",
                )
        self.declared.update({one.name: one for one in declared})
