"""Looking into a test's Redis: which jobs there are, when the next is due, what went wrong."""

import inspect
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from capelin.calls import NamedTask
from capelin.connection import clocks, memory
from capelin.context import JobContext
from capelin.errors import InvalidArguments, JobFailed, KeyMissing, UnknownTask
from capelin.ids import JobId
from capelin.lua import OutcomeKind, OutcomeRow, Verdict
from capelin.middleware import CallNext
from capelin.records import JobInfo, moment, read_arguments, read_error, read_info
from capelin.retry import Retry
from capelin.tasks import Task
from capelin.workers.fleet import KEY_LACKS

if TYPE_CHECKING:
    from capelin.app import Capelin
    from capelin.workers.running import Start

_FAILURES = (OutcomeKind.RETRY, OutcomeKind.DEAD, OutcomeKind.PARK)


class Probe:
    """Reads what an in-process server holds.

    Args:
        app: The app that is bound to it.
        server: Its name.
    """

    def __init__(self, app: "Capelin[Any]", server: str) -> None:
        self._app, self._server = app, server
        self._keys = app.keys
        self._given: dict[str, bytes] = {}

    def note(self, job_id: str, args: bytes) -> None:
        """Note the arguments of a job: its record may be cut when it ends."""
        self._given.setdefault(job_id, args)

    def jobs(self) -> list[JobInfo]:
        """Return every job there is, in the order of their ids."""
        # A plain client: assertions are not awaited.
        import fakeredis

        client: Any = fakeredis.FakeRedis(server=memory.server(self._server), protocol=2)
        client.response_callbacks.clear()
        token = clocks.serving.set(self._server)
        try:
            names = sorted(client.execute_command("KEYS", f"{self._keys.prefix}:*:job:*"))
            infos = [self._read(client, name.decode().rpartition(":")[2]) for name in names]
        finally:
            clocks.serving.reset(token)
            client.close()
        return sorted((info for info in infos if info is not None), key=_age)

    async def layouts(self) -> dict[str, int]:
        """Return the number of shards of every queue that was used."""
        client = self._app.client()
        queues = await client.connection.command("SMEMBERS", self._keys.queues)
        layouts = await client.queues.open(sorted(queue.decode() for queue in queues))
        return {queue: layout.reach for queue, layout in layouts.items()}

    async def next_due(self, *, retries_only: bool) -> datetime | None:
        """Return when the next scheduled job is due (or only the next that failed before)."""
        connection = self._app.client().connection
        earliest = float("inf")
        for queue, shards in (await self.layouts()).items():
            for number in range(shards):
                shard = self._keys.shard(queue, number)
                found = await connection.command("ZRANGE", shard.scheduled, 0, -1, "WITHSCORES")
                for uid, due in zip(found[::2], found[1::2], strict=True):
                    if float(due) < earliest and (
                        not retries_only
                        or await connection.command("HEXISTS", shard.job(uid.decode()), "attempt")
                    ):
                        earliest = float(due)
        return moment(earliest)

    def _read(self, client: Any, job_id: str) -> JobInfo | None:
        place = JobId.parse(job_id)
        shard = self._keys.shard(place.queue, place.shard)
        info = read_info(
            shard,
            place.uid,
            client.execute_command("HGETALL", shard.job(place.uid)),
            client.execute_command("LRANGE", shard.failures(place.uid), 0, -1),
            seal=self._app.settings.seal,
        )
        if info is None or info.args or info.kwargs or job_id not in self._given:
            return info
        seal = self._app.settings.seal
        args, kwargs = read_arguments(seal.open_args(self._given[job_id], info.task))
        return replace(info, args=args, kwargs=kwargs)


def matches(
    job: JobInfo, task: Task[..., Any] | NamedTask | str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> bool:
    """Return whether a job is one of this task, with these arguments among its own.

    Raises:
        InvalidArguments: The task takes no such arguments.
    """
    name = task if isinstance(task, str) else task.name
    if not isinstance(task, Task):
        return job.task == name and (
            job.args[: len(args)] == args
            and all(job.kwargs.get(key, _NOTHING) == value for key, value in kwargs.items())
        )
    if job.task not in (name, *task.aliases):
        return False
    if not args and not kwargs:
        return True
    signature = inspect.signature(task.function)
    try:
        wanted = signature.bind_partial(*args, **kwargs).arguments
    except TypeError as cause:
        raise InvalidArguments(task=name, why=f"{cause}; it takes {task.signature}") from cause
    given, named = task.signature.decode(to_json([list(job.args), dict(job.kwargs)]))
    bound = signature.bind(*given, **named)
    bound.apply_defaults()
    return all(bound.arguments[key] == value for key, value in wanted.items())


_NOTHING = object()


def _age(job: JobInfo) -> tuple[str, str]:
    return job.id.rpartition(".")[2], job.id


class Errors:
    """What went wrong in one drain.

    Attributes:
        first: What to raise for the first start that failed.
    """

    def __init__(self, app: "Capelin[Any]") -> None:
        self._app = app
        self._raised: dict[tuple[str, int], Exception] = {}
        self.first: Exception | None = None

    async def middleware(self, job: JobContext, call_next: CallNext) -> Any:
        """Keep what a start raises."""
        try:
            return await call_next()
        except Exception as error:
            self._raised[job.id, job.token] = error
            raise

    def note(self, start: "Start", row: OutcomeRow, verdict: Verdict) -> None:
        """Take in an outcome that was recorded."""
        if row.kind not in _FAILURES or verdict is not Verdict.RECORDED or self.first is not None:
            return
        raised = self._raised.get((start.job_id, start.token))
        if isinstance(raised, Retry) and row.kind == OutcomeKind.RETRY:
            return  # the task asked for it
        self.first = raised if raised is not None else self._made(start, row)
        self.first.add_note(
            f"raised by job {start.job_id}: {start.delivery.task}, attempt {start.delivery.attempt + 1}"
        )

    def _made(self, start: "Start", row: OutcomeRow) -> Exception:
        task = start.delivery.task
        if row.kind == OutcomeKind.PARK and not row.body:
            return UnknownTask(task=task, known=list(self._app.registry))
        if row.kind == OutcomeKind.PARK and str(row.body).startswith(KEY_LACKS):
            return KeyMissing(key_id=str(row.body).removeprefix(KEY_LACKS))
        if row.kind == OutcomeKind.PARK:
            return InvalidArguments(
                task=task, why="its arguments fit another signature only; the job is parked"
            )
        error = read_error(row.failure, seal=self._app.settings.seal, uid=row.uid)
        return JobFailed(
            job_id=start.job_id,
            error_type=error.type if error else str(row.body),
            error_message=error.message if error else "",
            traceback=error.traceback if error else None,
        )
