"""An event loop without real time: when nothing is ready, its clock goes on to the next timer.

The processes of a simulation are lanes of one loop. asyncio promises that the callbacks of one loop run in
the order in which they were registered, so within a lane they do; between lanes there is no promise, and the
seed decides whose turn it is. A lane that is frozen runs nothing: its process is paused, blocked, or dead.

The clock counts whole nanoseconds from a small number, so that no timer is ever a rounding error away.
"""

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from itertools import count
from typing import Any, TypeVar, TypeVarTuple, Unpack

from typing_extensions import override

SECOND = 1_000_000_000
T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_BEGIN = 1_000 * SECOND
_A_CALLBACK = 20_000
"""What a callback takes, ns: a loop of callbacks that waits for nothing ends when the time is over."""
_A_TURN = 64


class Stuck(Exception):
    """Nothing is ready, no timer is set, and the simulation has not ended: what it waits for never comes."""


class Lane:
    """The callbacks of one thread of one process.

    Attributes:
        frozen: Whether they wait.
        main: The lane of the process's event loop, when this is another thread's: what is posted with
            `call_soon_threadsafe` runs there.
        skew: By how much the wall clock of its process is wrong, s; of a process's main lane.
    """

    __slots__ = ("_frozen", "_loop", "main", "name", "ready", "skew")

    def __init__(self, loop: "SimLoop", name: str, *, main: "Lane | None" = None) -> None:
        self._loop, self.name = loop, name
        self.main = main or self
        self.ready: deque[asyncio.Handle] = deque()
        self.skew = 0.0
        self._frozen = False

    @property
    def frozen(self) -> bool:
        return self._frozen

    @frozen.setter
    def frozen(self, frozen: bool) -> None:
        if frozen != self._frozen:
            self._frozen = frozen
            self._loop.froze(self)

    def context(self) -> Context:
        """A new context whose tasks and callbacks run in this lane."""
        made = copy_context()
        made.run(LANE.set, self)
        return made

    def __repr__(self) -> str:
        return f"<Lane {self.name}{' frozen' if self._frozen else ''}>"


LANE: ContextVar[Lane] = ContextVar("simulated_lane")


class _Numbered:
    """Hashed by its number, so that sets of it are iterated alike in every run."""

    _number: int

    @override
    def __hash__(self) -> int:
        return self._number

    @override
    def __eq__(self, other: object) -> bool:
        return self is other


class SimTask(_Numbered, asyncio.Task[Any]):
    """A task with a number."""

    def __init__(self, coro: Any, *, loop: "SimLoop", **options: Any) -> None:
        self._number = next(loop.numbers)
        super().__init__(coro, loop=loop, **options)


class SimFuture(_Numbered, asyncio.Future[Any]):
    """A future with a number."""

    def __init__(self, *, loop: "SimLoop") -> None:
        self._number = next(loop.numbers)
        super().__init__(loop=loop)


class _Ready(asyncio.Handle):
    """A callback that can be told to run."""

    __slots__ = ()

    def go(self) -> None:
        self._run()


class _Timer(asyncio.TimerHandle):
    """A callback for later."""

    __slots__ = ("lane",)
    lane: Lane

    def go(self) -> None:
        self._run()


class SimLoop(asyncio.BaseEventLoop):
    """A loop whose time is virtual.

    Args:
        seed: Decides which lane's turn it is.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.numbers = count(1)
        self._random = random.Random(seed)  # noqa: S311 -- to be repeated, not to be secret
        self.now_ns = _BEGIN
        self.callbacks = 0
        self._stops = False
        self._timers: list[tuple[int, int, _Timer]] = []
        self._sequence = count()
        self._runnable: list[Lane] = []
        self.connector: Callable[[Callable[[], Any], str, int], Coroutine[Any, Any, Any]] | None = None
        self.home = Lane(self, "world")
        LANE.set(self.home)
        self.set_task_factory(_new_task)

    # The clock.

    @override
    def time(self) -> float:
        return self.now_ns / SECOND

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return (self.now_ns - _BEGIN) / SECOND

    # What asyncio asks of a loop.

    @override
    def create_future(self) -> asyncio.Future[Any]:
        return SimFuture(loop=self)

    @override
    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        lane = LANE.get(self.home) if context is None else context.get(LANE, self.home)
        handle = _Ready(callback, args, self, context)
        self._enqueue(lane, handle)
        return handle

    @override
    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        context = copy_context() if context is None else context
        lane = context.get(LANE, self.home).main
        context.run(LANE.set, lane)
        return self.call_soon(callback, *args, context=context)

    @override
    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = _Timer(when, callback, args, self, context)
        timer.lane = LANE.get(self.home) if context is None else context.get(LANE, self.home)
        # Rounded up, and later than now: when it runs, the clock has reached it.
        at = max(self.now_ns + 1, -int(-when * SECOND // 1))
        heapq.heappush(self._timers, (at, next(self._sequence), timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Called by asyncio; a timer that was cancelled is passed over when its time has come."""

    @override
    async def create_connection(
        self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any
    ) -> Any:
        if self.connector is None:
            raise OSError("there is no network in this simulation")
        return await self.connector(protocol_factory, str(host), int(port))

    @override
    def run_in_executor(self, executor: object, func: Callable[[Unpack[Ts]], T], *args: *Ts) -> Any:
        raise RuntimeError("there are no threads in a simulation")

    def _process_events(self, events: object) -> None:
        """Called by nothing: there are no sockets."""

    def _write_to_self(self) -> None:
        """Called by asyncio to wake a loop that waits for sockets; this one never does."""

    # Turns.

    @override
    def stop(self) -> None:
        self._stops = True
        super().stop()

    def froze(self, lane: Lane) -> None:
        """A lane was frozen, or thawed."""
        if lane.frozen:
            if lane in self._runnable:
                self._runnable.remove(lane)
        elif lane.ready:
            self._runnable.append(lane)

    def _enqueue(self, lane: Lane, handle: asyncio.Handle) -> None:
        if not lane.ready and not lane.frozen:
            self._runnable.append(lane)
        lane.ready.append(handle)

    def _run_once(self) -> None:
        """Called by asyncio until the loop is stopped: some callbacks."""
        timers = self._timers
        runnable = self._runnable
        for _ in range(_A_TURN):
            while timers and (timers[0][0] <= self.now_ns or timers[0][2].cancelled()):
                _, _, timer = heapq.heappop(timers)
                if not timer.cancelled():
                    self._enqueue(timer.lane, timer)
            if not runnable:
                if not timers:
                    raise Stuck("nothing is ready and no timer is set")
                self.now_ns = max(self.now_ns, timers[0][0])
                continue
            place = int(self._random.random() * len(runnable)) if len(runnable) > 1 else 0
            lane = runnable[place]
            handle: Any = lane.ready.popleft()
            if not lane.ready:
                runnable.pop(place)
            if not handle.cancelled():
                self.callbacks += 1
                self.now_ns += _A_CALLBACK
                handle.go()
            if self._stops:
                self._stops = False
                return


def _new_task(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
    assert isinstance(loop, SimLoop)
    return SimTask(coro, loop=loop, **options)


def in_lane(lane: Lane, coro: Coroutine[Any, Any, Any] | Generator[Any, Any, Any], *, name: str) -> SimTask:
    """Begin a task in a lane, from whichever one."""
    task: SimTask = asyncio.get_running_loop().create_task(coro, name=name, context=lane.context())  # type: ignore[assignment]
    return task
