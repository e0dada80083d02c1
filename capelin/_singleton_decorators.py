"""The ``singleton`` decorator, shared by apps and groups of tasks."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, overload

from pydantic import BaseModel

from capelin.durations import Duration
from capelin.errors import InvalidSingleton
from capelin.names import check_name
from capelin.singletons import INTERVAL, LOSE_TIMEOUT, Body, Singleton, SingletonRegistry

S = TypeVar("S", bound=BaseModel)


class StatefulDecorator(Protocol[S]):
    """What ``app.singleton(state=...)`` returns."""

    def __call__(self, function: Body[S], /) -> Singleton[S]:
        """Make a singleton of the function."""
        ...


class StatelessDecorator(Protocol):
    """What ``app.singleton(...)`` returns without ``state=``."""

    def __call__(self, function: Body[None], /) -> Singleton[None]:
        """Make a singleton of the function."""
        ...


class SingletonDecorators(ABC):
    """The ``singleton`` decorator."""

    task_prefix: str

    def __init__(self) -> None:
        self.singleton_registry = SingletonRegistry()

    @overload
    def singleton(self, function: Body[None], /) -> Singleton[None]: ...
    @overload
    def singleton(
        self,
        name: str | None = None,
        /,
        *,
        state: type[S],
        initial: S | Callable[[], S] | None = None,
        interval: Duration = INTERVAL,
        on_become_leader: Body[S] | None = None,
        on_lose_leadership: Body[S] | None = None,
        lose_timeout: Duration = LOSE_TIMEOUT,
    ) -> StatefulDecorator[S]: ...
    @overload
    def singleton(
        self,
        name: str | None = None,
        /,
        *,
        state: None = None,
        interval: Duration = INTERVAL,
        on_become_leader: Body[None] | None = None,
        on_lose_leadership: Body[None] | None = None,
        lose_timeout: Duration = LOSE_TIMEOUT,
    ) -> StatelessDecorator: ...
    def singleton(self, name: Any = None, /, **options: Any) -> Any:
        """Run a coroutine on one process of the fleet at a time.

        It runs on some worker whose app has it, and on another within 8 s when that one dies. When it returns
        it runs again after ``interval``; when it raises, after 1 to 60 s, longer each time.

        Args:
            name: Its name, the function's own by default; a group's prefix stands before either. One for the
                whole namespace: apps that share a prefix of keys need different ones.
            options: The rest.
            state: The pydantic model of ``leader.state``; every field has a default, or ``initial`` is given.
                Without, the function takes a ``Leader[None]``.
            initial: The first state, or what makes it.
            interval: Seconds or timedelta from the end of one run to the next (60 s). A singleton is healthy
                if it gave a sign of life within twice of it.
            on_become_leader: Async, takes the leader; runs on each new host before the first run.
            on_lose_leadership: The same after the last one. When the host is stopped, or hands the singleton
                over, the lease is still held, so that it may save.
            lose_timeout: Seconds or timedelta that ``on_lose_leadership`` may take (5 s), and a run to heed
                that it was cancelled.

        Raises:
            InvalidSingleton: The function or its state cannot be one, or the name is taken.
            InvalidName: The name is not allowed.
            InvalidOption: An option makes no sense.

        Example:
            @app.singleton("indexer", state=IndexState, interval=30)
            async def indexer(leader: Leader[IndexState]) -> None:
                leader.state.position = await index_from(leader.state.position)
                await leader.save()
        """
        if name is not None and not isinstance(name, str):
            return self._make_singleton(name, None, {})

        def decorate(function: Any) -> Singleton[Any]:
            return self._make_singleton(function, name, options)

        return decorate

    def _make_singleton(self, function: Any, name: str | None, options: dict[str, Any]) -> Singleton[Any]:
        if isinstance(function, Singleton):
            raise InvalidSingleton(
                singleton=function.name, why="it is one already; decorate the function once"
            )
        short = name if name is not None else getattr(function, "__name__", type(function).__name__)
        if short == "<lambda>":
            raise InvalidSingleton(singleton=short, why="a lambda has no name; write a function")
        made: Singleton[Any] = Singleton(
            function, name=self.task_prefix + check_name("singleton", short), **options
        )
        self.add_singleton(made)
        return made

    @abstractmethod
    def add_singleton(self, singleton: Singleton[Any]) -> None:
        """Register a singleton.

        Raises:
            InvalidSingleton: Its name is taken.
        """
