"""The part of an app that connects: its bindings, and which of them holds here."""

from abc import abstractmethod
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self, TypeVar

from capelin._binding import Binding
from capelin._portal import in_a_running_loop
from capelin._rows import Describe
from capelin.client import Client
from capelin.errors import SyncInAsync
from capelin.keys import Keys
from capelin.names import check_name
from capelin.settings import Settings
from capelin.tracer import Tracer

T = TypeVar("T")

# Two tests that run side by side in one process bind the same app each to a Redis of its own. Code that does
# not inherit the variable (a thread of the user's own, a fixture's test) goes by what was bound last.
_here: ContextVar[tuple[Binding, ...]] = ContextVar("capelin_bindings", default=())


class Bound:
    """An app's connections.

    Args:
        url, prefix, settings: As the app was given them.
        describe: Tells of the tasks that ``on_failure`` names.
    """

    def __init__(
        self, *, url: str | None, prefix: str | None, settings: Settings | None, describe: Describe
    ) -> None:
        self._url, self._settings, self._describe = url, settings, describe
        self._prefix = None if prefix is None else check_name("prefix", prefix)
        self._own: dict[str, Binding] = {}
        self._others: list[Binding] = []
        self._tracer: Tracer | None = None
        self._asked_for_tracer = False

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
    def check_round_trip(self) -> bool:
        """Whether arguments are read back and compared when a job is made (``testing`` and ``dev``)."""
        return self._binding.check_round_trip

    @check_round_trip.setter
    def check_round_trip(self, check: bool) -> None:
        self._binding.check_round_trip = check

    @property
    def tracer(self) -> Tracer | None:
        """What traces it: ``capelin.tracing.instrument`` or ``CAPELIN_TRACING`` ask for it. None: nothing."""
        if not self._asked_for_tracer:
            self._asked_for_tracer = True
            if self.settings.tracing:
                self._tracer = self._new_tracer()
        return self._tracer

    @tracer.setter
    def tracer(self, tracer: Tracer) -> None:
        self._tracer, self._asked_for_tracer = tracer, True

    @abstractmethod
    def _new_tracer(self) -> Tracer: ...

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
        """Close the running loop's connections, and those of ``*_sync`` calls if none is under way.

        The next use opens new ones.
        """
        await self._binding.clients.close()
        await self._binding.portal.close_if_idle()

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

    @contextmanager
    def rebound(self, url: str) -> Generator[Binding]:
        """Bind the app to a test's own Redis for a while, and check what would not arrive as it was given.

        Args:
            url: Where that Redis is; the command line does not override it.
        """
        binding = self._new_binding(url, final=True, check_round_trip=True)
        self._others.append(binding)
        token = _here.set((*_here.get(), binding))
        try:
            yield binding
        finally:
            self._others.remove(binding)
            try:
                _here.reset(token)
            except ValueError:  # a fixture may be torn down in another context than it was set up in
                _here.set(tuple(other for other in _here.get() if other is not binding))

    @property
    def _binding(self) -> Binding:
        if self._others:
            here = [binding for binding in _here.get() if binding in self._others]
            return (here or self._others)[-1]
        # setdefault: of two threads that come first, both get the same one.
        return self._own.get("") or self._own.setdefault("", self._new_binding(self._url))

    def _new_binding(
        self, url: str | None, *, final: bool = False, check_round_trip: bool = False
    ) -> Binding:
        return Binding(
            url=url,
            prefix=self._prefix,
            settings=self._settings,
            describe=self._describe,
            final=final,
            check_round_trip=check_round_trip,
        )
