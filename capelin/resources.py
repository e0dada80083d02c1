"""Resources: what an app's lifespan yields (pools, clients), open for as long as a worker runs, typed.

A worker enters the lifespan before it takes its first job and leaves it after its last. ``app.resources`` and
``resource(Type)`` give the same object; the second needs no import of the app.
"""

import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, Generic, TypeVar, cast

from capelin.errors import InvalidOption, NoResources

T = TypeVar("T")

Lifespan = Callable[[Any], AbstractAsyncContextManager[T]] | Callable[[], AbstractAsyncContextManager[T]]
"""A callable that takes the app, or nothing, and returns an async context manager that yields the
resources.
"""

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_IN_PROCESS = 'a job with run_in="process" has none, since they cannot leave the worker\'s process'


class _Provided:
    """One set of resources that is open now. A class of its own, so that equal resources are told apart."""

    __slots__ = ("slot", "value")

    def __init__(self, slot: "ResourceSlot[Any]", value: object) -> None:
        self.slot, self.value = slot, value


# Where a worker or a test provides resources, its tasks and threads inherit the variable; code that does not
# inherit it (a fixture's test, a thread of the user's own) finds what this process opened last.
_here: ContextVar[tuple[_Provided, ...]] = ContextVar("capelin_resources", default=())
_open: list[_Provided] = []


class ResourceSlot(Generic[T]):
    """The place of one app's resources.

    Args:
        app: The app's name, for messages.
        lifespan: What opens them, or None.

    Raises:
        InvalidOption: The lifespan cannot be called with the app, nor with nothing.

    Example:
        slot = ResourceSlot("billing", lifespan)
        async with slot.opened(app):
            slot.get().db
    """

    def __init__(self, app: str, lifespan: Lifespan[T] | None = None) -> None:
        self._app = app
        self._lifespan = lifespan
        self._takes_app = lifespan is not None and _takes_app(lifespan)

    @asynccontextmanager
    async def opened(self, app: object) -> AsyncGenerator[T | None]:
        """Enter the lifespan and provide what it yields; None for an app without one."""
        if self._lifespan is None:
            yield None
            return
        arguments = (app,) if self._takes_app else ()
        manager = cast(Callable[..., AbstractAsyncContextManager[T]], self._lifespan)(*arguments)
        if not isinstance(manager, AbstractAsyncContextManager):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(
                option="lifespan",
                value=self._lifespan,
                why="it must return an async context manager; put @asynccontextmanager above it",
            )
        async with manager as value:
            with self.provided(value):
                yield value

    @contextmanager
    def provided(self, value: T) -> Generator[T]:
        """Provide ready-made resources: what ``testing(resources=...)`` does."""
        entry = _Provided(self, value)
        _open.append(entry)
        token = _here.set((*_here.get(), entry))
        try:
            yield value
        finally:
            _open.remove(entry)
            try:
                _here.reset(token)
            except ValueError:
                # A fixture may be torn down in another context than the one it was set up in, which is gone
                # by then.
                _here.set(tuple(other for other in _here.get() if other is not entry))

    def get(self) -> T:
        """Return the resources that are open here.

        Raises:
            NoResources: None are.
        """
        for entry in _entries():
            if entry.slot is self:
                return cast(T, entry.value)
        raise NoResources(why=self._why_none())

    def _why_none(self) -> str:
        if self._lifespan is None:
            return f"app {self._app} has no resources; Capelin(lifespan=...) gives it some"
        return (
            f"the resources of app {self._app} are not open here: they are in a running worker and in "
            f"app.testing(resources=...); {_IN_PROCESS}"
        )


def resource(kind: type[T]) -> T:
    """Return the resources of that type that the current worker (or ``testing``) provides.

    Args:
        kind: The type of what the lifespan yields.

    Raises:
        NoResources: Nothing of that type is open here.

    Example:
        db = resource(Resources).db
    """
    entries = _entries()
    for entry in entries:
        if isinstance(entry.value, kind):
            return entry.value
    if entries:
        found = ", ".join(dict.fromkeys(type(entry.value).__qualname__ for entry in entries))
        raise NoResources(why=f"no resources of type {kind.__qualname__} are open here; there are: {found}")
    raise NoResources(
        why=f"no resources of type {kind.__qualname__} are open here: "
        f"no worker and no testing runs; {_IN_PROCESS}"
    )


def _entries() -> list[_Provided]:
    """Return what is open, the nearest first."""
    here = [entry for entry in reversed(_here.get()) if entry in _open]
    return [*here, *(entry for entry in reversed(_open) if entry not in here)]


def _takes_app(lifespan: Callable[..., object]) -> bool:
    try:
        signature = inspect.signature(lifespan)
    except (TypeError, ValueError) as cause:
        raise InvalidOption(
            option="lifespan", value=lifespan, why="expected a callable that takes the app"
        ) from cause
    if inspect.isasyncgenfunction(lifespan) or inspect.iscoroutinefunction(lifespan):
        raise InvalidOption(
            option="lifespan",
            value=lifespan,
            why="it must return an async context manager; put @asynccontextmanager above it",
        )
    places = [p for p in signature.parameters.values() if p.kind in _POSITIONAL]
    anywhere = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in signature.parameters.values())
    for arguments in ((None,), ()):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return bool(arguments) and bool(places or anywhere)
    raise InvalidOption(option="lifespan", value=lifespan, why="it is called with the app, or with nothing")
