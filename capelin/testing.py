"""For users' tests: the user's own app on an in-process Redis, whose clock stands until the test moves it.

Jobs are run by the real transitions and the real executor, one test's apart from another's. Arguments are
read back and compared when a job is made: what would not arrive as it was given fails in the test.
"""

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from capelin._binding import Binding
from capelin._probing import Errors, Probe, matches
from capelin.calls import NamedTask
from capelin.connection import clocks, memory
from capelin.durations import Duration, seconds
from capelin.errors import CapelinError, InvalidOption
from capelin.lua import OutcomeRow, Verdict
from capelin.records import JobInfo
from capelin.tasks import Task

if TYPE_CHECKING:
    from capelin.app import Capelin
    from capelin.workers.running import Start

_MOST_ROUNDS = 10_000


class Testing:
    """An app bound to an in-process Redis: what ``app.testing()`` returns.

    It is entered with ``async with``, or ``with``.

    Args:
        app: The user's app.
        resources: What ``app.resources`` is meanwhile.
        now: Where the clock stands at first (aware).

    Raises:
        InvalidOption: ``now`` is naive.

    Example:
        async with app.testing() as t:
            await send.options(delay=60).enqueue("a@b.c")
            assert await t.drain() == 0
            t.advance(60)
            assert await t.drain(raise_errors=True) == 1
    """

    __test__ = False  # pytest collects classes of this name

    def __init__(self, app: "Capelin[Any]", *, resources: Any = None, now: datetime | None = None) -> None:
        self.app = app
        self._resources = resources
        self._now = _aware("now", datetime.now(UTC) if now is None else now)
        self._ends: ExitStack | None = None

    @property
    def now(self) -> datetime:
        """Where the clock stands, in UTC."""
        return self._now

    def advance(self, duration: Duration) -> None:
        """Move the clock on; what becomes due runs in the next ``drain``.

        Args:
            duration: Seconds, or a ``timedelta``.

        Raises:
            InvalidOption: It is negative.
        """
        self._now += timedelta(seconds=seconds("duration", duration))

    def enqueued(self, task: Task[..., Any] | NamedTask | str, /, *args: Any, **kwargs: Any) -> list[JobInfo]:
        """Return the jobs of a task that were enqueued in this test, whatever has become of them, in order.

        Args:
            task: The task, or its name.
            args: Only jobs with these arguments; those that are not given here may be anything.
            kwargs: The same.

        Raises:
            InvalidArguments: The task takes no such arguments.

        Example:
            assert t.enqueued(send, "a@b.c")
            assert not t.enqueued(send, subject="hi")
        """
        return [job for job in self._probe.jobs() if matches(job, task, args, kwargs)]

    async def drain(self, *, raise_errors: bool = False, until: Duration | datetime | None = None) -> int:
        """Run every job that is due, and whatever comes of it; the clock moves on for retries.

        Args:
            raise_errors: Raise what the first failing task raised, with its own traceback.
            until: Move the clock on to this moment, or by this much, running what becomes due on the way.
                Then delayed jobs run too, and retries beyond that moment do not.

        Returns:
            How many starts there were.

        Raises:
            What a task raised, if ``raise_errors``: ``JobFailed`` where there is no exception to raise again
                (wrong arguments, a timeout), ``UnknownTask`` for a job that nobody can run.
            CapelinError: It does not come to an end: some job comes back again and again.
        """
        end = None if until is None else self._moment(until)
        begun = 0
        for _ in range(_MOST_ROUNDS):
            begun += await self._run_due(raise_errors=raise_errors)
            due = await self._probe.next_due(retries_only=end is None)
            if due is None or (end is not None and due > end):
                break
            self._now = max(self._now, due)
        else:
            raise CapelinError(
                f"after {_MOST_ROUNDS} rounds there is still something to run; a job comes back for ever"
            )
        if end is not None:
            self._now = max(self._now, end)
        return begun

    def drain_sync(self, *, raise_errors: bool = False, until: Duration | datetime | None = None) -> int:
        """``drain`` for tests without an event loop.

        Raises:
            SyncInAsync: An event loop runs in this thread.
            The same as ``drain``.
        """
        return self.app.run_sync("drain_sync", lambda: self.drain(raise_errors=raise_errors, until=until))

    def __enter__(self) -> Self:
        if self._ends is not None:
            raise CapelinError("this testing() is entered already; call app.testing() again")
        name = f"testing-{uuid4().hex}"
        with ExitStack() as stack:
            memory.server(name)
            stack.callback(memory.forget, name)
            clocks.set_clock(name, self._clock)
            self._binding: Binding = stack.enter_context(self.app.rebound(f"memory://{name}"))
            stack.callback(self._binding.portal.close)
            if self._resources is not None:
                stack.enter_context(self.app.provided(self._resources))
            self._probe = Probe(self.app, name)
            self._ends = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ends is not None:
            self._ends.close()
            self._ends = None

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._binding.clients.close()
        self.__exit__(kind, error, trace)

    def __repr__(self) -> str:
        return f"<Testing {self.app.name} at {self._now.isoformat()}>"

    async def _run_due(self, *, raise_errors: bool) -> int:
        from capelin.workers.drain import drain

        errors = Errors(self.app)
        client = self.app.client()

        def recorded(start: "Start", row: OutcomeRow, verdict: Verdict) -> None:
            self._probe.note(start.job_id, start.delivery.args)
            errors.note(start, row, verdict)

        begun = await drain(
            self.app,
            client.connection,
            layouts=await self._probe.layouts(),
            on_recorded=recorded,
            middleware=(errors.middleware,),
            clock=self._clock,
        )
        if raise_errors and errors.first is not None:
            raise errors.first
        return begun

    def _moment(self, until: Duration | datetime) -> datetime:
        if isinstance(until, datetime):
            return _aware("until", until)
        return self._now + timedelta(seconds=seconds("until", until))

    def _clock(self) -> float:
        return self._now.timestamp()


def _aware(option: str, moment: datetime) -> datetime:
    if moment.utcoffset() is None:
        raise InvalidOption(
            option=option,
            value=moment,
            why="a naive datetime means another moment on every machine; give it a timezone",
        )
    return moment.astimezone(UTC)
