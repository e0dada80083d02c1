"""One tenure: a singleton's life on one host, from the lease it gained to its end.

    gained ──► load ──► on_become_leader ──► run ──► wait ──► run ──► ...
                                              │ lost, distrusted, stopped, or moved
                                              ▼
                            cancelled ──► on_lose_leadership ──► released, if still held

It runs on the worker's event loop. The end comes from three sides: from the heartbeat (somebody else has the
lease, it was given up, the singleton moves), from a write that the fence refused, and from a timer that looks
whether the lease can still be trusted, which needs neither the heartbeat nor Redis.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from enum import Enum
from typing import Any

import structlog

from capelin._backoff import Backoff
from capelin.errors import CapelinError, LeadershipLost
from capelin.scheduler.holding import Hold
from capelin.singletons import Leader, Singleton

log = structlog.get_logger("capelin.singletons")

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Seconds before a run that raised an error is tried again; in between they double."""
_PATIENCE = 5.0
"""Seconds for what should take none: a script."""
_LATE = 0.001


class End(Enum):
    """Why a tenure ends."""

    LEFT = "left"
    """The worker stops, or hands the singleton over: the lease is held until the code is done."""
    LOST = "lost"
    """The lease cannot be trusted any more."""


class Tenure:
    """One holding of one singleton.

    Args:
        singleton: What runs.
        hold: The lease that is held, and what is written under it.
        worker: The worker's id.
        release: Gives the lease up; called at the end if it is still held.
        context: What the singleton's code sees in context variables; a copy for this tenure.

    Attributes:
        task: Done when the lease is free for others, as far as it is up to this tenure.
    """

    def __init__(
        self,
        singleton: Singleton[Any],
        hold: Hold,
        *,
        worker: str,
        release: Callable[[str, int], Awaitable[None]],
        context: Context,
    ) -> None:
        self.singleton, self.hold = singleton, hold
        self._worker, self._release, self._context = worker, release, context
        self._loop = asyncio.get_running_loop()
        self._leader: Leader[Any] | None = None
        self._introduced = False
        self._end: End | None = None
        self._ending = asyncio.Event()
        self._hurry = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        # What the singleton's code logs says whose it is; so does what is logged here about it.
        context.run(structlog.contextvars.bind_contextvars, singleton=singleton.name)
        self._code: list[asyncio.Task[None]] = []
        self._work = self._begin(self._lead())
        self.task = self._loop.create_task(self._serve(), name=f"tenure of {singleton.name}", context=context)
        self._watch()

    @property
    def running(self) -> bool:
        """Whether the singleton's code still runs: after the end, too, if it heeds nothing."""
        return any(not task.done() for task in self._code)

    async def code_done(self) -> None:
        """Wait for code that heeded nothing."""
        await asyncio.wait(self._code)

    def end(self, why: End) -> None:
        """End it: the run is cancelled now. What is lost while it is being left is lost."""
        if why is End.LOST:
            self.hold.over = True
        if self._end is None:
            self._work.cancel()
        if self._end is not End.LOST:
            self._end = why
        self._ending.set()

    def hurry(self) -> None:
        """End it without waiting for its code any longer."""
        self.end(End.LEFT)
        self._hurry.set()

    # Until the end.

    async def _lead(self) -> None:
        try:
            await self._run_for_ever()
        except LeadershipLost:
            self.end(End.LOST)

    async def _run_for_ever(self) -> None:
        backoff = Backoff(first=FIRST_PAUSE, most=LONGEST_PAUSE)
        began = self._loop.time()
        while True:
            try:
                leader = await self._prepared()
                while self._end is None:
                    began = self._loop.time()
                    await self.singleton.function(leader)
                    if self._end is not None:
                        return
                    backoff.reset()
                    await self._count(self.hold.ran())
                    await asyncio.sleep(self.singleton.interval)
            except asyncio.CancelledError as error:
                if self._end is not None or _is_cancelled():
                    raise
                await self._failed(error)  # something inside was cancelled, and let that out
            except Exception as error:
                if isinstance(error, LeadershipLost) and not self.hold.held:
                    raise
                if self._end is not None:
                    log.warning("a singleton failed while it was being stopped", exc_info=error)
                    return
                await self._failed(error)
            if self._loop.time() - began > LONGEST_PAUSE:
                backoff.reset()
            await asyncio.sleep(backoff.step())

    async def _prepared(self) -> Leader[Any]:
        """Load the state, also anew after a failed run; on a new host say that it leads."""
        state = await self._load()
        if self._leader is None:
            self._leader = Leader(
                self.singleton,
                state,
                fencing_token=self.hold.epoch,
                worker_id=self._worker,
                holder=self.hold,
            )
            log.info("hosts a singleton", epoch=self.hold.epoch)
        self._leader.state = state
        if not self._introduced:
            if self.singleton.on_become_leader is not None:
                await self.singleton.on_become_leader(self._leader)
            self._introduced = True
        return self._leader

    async def _load(self) -> Any:
        text = await self.hold.load()
        if text is None:
            return self.singleton.initial_state()
        try:
            return self.singleton.decode(text)
        except ValueError as error:
            log.error(
                "the state of a singleton cannot be read; it is kept aside, and a new one begins",
                error=str(error),
            )
            await self.hold.set_aside()
            return self.singleton.initial_state()

    async def _failed(self, error: BaseException) -> None:
        log.error("a singleton failed; it runs again after a pause", exc_info=error)
        await self._count(self.hold.failed(error))

    async def _count(self, noting: Coroutine[Any, Any, None]) -> None:
        try:
            await noting
        except LeadershipLost:
            raise
        except CapelinError as error:
            log.warning("how a run ended could not be noted", error=str(error))

    def _watch(self) -> None:
        """See to it that the run does not outlive the trust in its lease."""
        if self.hold.over:
            return
        until = self.hold.until
        if until is None:
            log.warning("the lease of a singleton cannot be trusted any more", singleton=self.singleton.name)
            self.end(End.LOST)
            return
        wait = max(0.0, until - time.monotonic()) + _LATE
        self._timer = self._loop.call_later(wait, self._watch)

    # The end.

    async def _serve(self) -> None:
        try:
            await self._until_ending()
            await self._patiently(
                self._work, "a singleton does not heed that it is cancelled; it is left behind"
            )
            await self._say_goodbye()
        finally:
            if self._timer is not None:
                self._timer.cancel()
            held = not self.hold.over
            self.hold.over = True
        if held:
            await self._give_up()
        log.info("hosts a singleton no more", epoch=self.hold.epoch, lease="released" if held else "lost")

    async def _until_ending(self) -> None:
        ending = self._loop.create_task(self._ending.wait())
        await asyncio.wait([ending, self._work], return_when=asyncio.FIRST_COMPLETED)
        if self._work.done() and not self._work.cancelled() and (error := self._work.exception()) is not None:
            log.critical("hosting a singleton failed", exc_info=error)
            self.end(End.LEFT)
        await ending

    async def _say_goodbye(self) -> None:
        leader, hook = self._leader, self.singleton.on_lose_leadership
        if leader is None or hook is None or self._hurry.is_set():
            return
        goodbye = self._begin(self._heard(hook(leader)))
        await self._patiently(goodbye, "on_lose_leadership takes too long; it is cancelled")
        goodbye.cancel()

    async def _heard(self, hook: Coroutine[Any, Any, object]) -> None:
        try:
            await hook
        except LeadershipLost as error:
            log.info("on_lose_leadership could not write any more", error=str(error))
        except Exception as error:
            log.error("on_lose_leadership failed", exc_info=error)

    async def _patiently(self, task: "asyncio.Task[None]", otherwise: str) -> None:
        hurry = self._loop.create_task(self._hurry.wait())
        await asyncio.wait(
            [task, hurry], timeout=self.singleton.lose_timeout, return_when=asyncio.FIRST_COMPLETED
        )
        hurry.cancel()
        if not task.done():
            log.error(otherwise, seconds=self.singleton.lose_timeout)

    async def _give_up(self) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._release(self.singleton.name, self.hold.epoch)
        except (TimeoutError, CapelinError) as error:
            log.warning(
                "the lease of a singleton could not be given up; it ends by itself",
                error=str(error) or "no answer in time",
            )

    def _begin(self, code: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = self._loop.create_task(code, name=f"singleton {self.singleton.name}", context=self._context)
        self._code.append(task)
        return task


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
