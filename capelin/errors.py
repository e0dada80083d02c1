"""Every error that capelin raises.

One base class; each class says when it is raised and what to do; fields carry the details, so that programs
need not parse messages. ``retryable`` tells whether the same call may succeed later without a change.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from capelin.jobs import Job


class CapelinError(Exception):
    """Base of all errors of capelin."""

    retryable: ClassVar[bool] = False

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross the boundary of a process task by pickle, which would call __init__ with the message
        # alone.
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(cls: type[CapelinError], args: tuple[Any, ...], state: dict[str, Any]) -> CapelinError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigurationError(CapelinError):
    """The app, its settings or its surroundings are not usable as they are."""


class InvalidName(ConfigurationError, ValueError):
    """A name has characters that keys and ids do not allow."""

    def __init__(self, *, kind: str, name: str, why: str) -> None:
        self.kind, self.name = kind, name
        super().__init__(f"{kind} name {name} is not allowed: {why}")


class InvalidOption(ConfigurationError, ValueError):
    """An option has a value that makes no sense, or does not go with another option."""

    def __init__(self, *, option: str, value: object, why: str) -> None:
        self.option, self.value = option, value
        super().__init__(f"{option}={value!r}: {why}")


class InvalidTask(ConfigurationError, TypeError):
    """A function cannot be a task; refused at decoration."""

    def __init__(self, *, task: str, why: str) -> None:
        self.task = task
        super().__init__(f"{task} cannot be a task: {why}")


class InvalidSingleton(ConfigurationError, TypeError):
    """A function cannot be a singleton, or its state or its name cannot be used; refused at decoration."""

    def __init__(self, *, singleton: str, why: str) -> None:
        self.singleton = singleton
        super().__init__(f"{singleton} cannot be a singleton: {why}")


class InvalidURL(ConfigurationError, ValueError):
    """A Redis URL cannot be understood."""

    def __init__(self, *, url: str, why: str) -> None:
        super().__init__(f"Redis URL {url!r}: {why}")


class InvalidJobId(CapelinError, ValueError):
    """A text is not a job id."""

    def __init__(self, *, job_id: object) -> None:
        self.job_id = job_id
        super().__init__(f"{job_id!r} is not a job id; one looks like emails.3.06dpvgeqmvk5m3jvmfb6v0000s")


class InvalidArguments(CapelinError, TypeError):
    """Arguments do not fit the task's signature, or cannot be encoded exactly. Nothing was written."""

    def __init__(self, *, task: str, why: str) -> None:
        self.task, self.why = task, why
        super().__init__(f"{task}: {why}")


class InvalidResult(CapelinError, TypeError):
    """A task returned something that cannot be encoded exactly.

    The start counts as failed and is not retried.
    """

    def __init__(self, *, task: str, why: str) -> None:
        self.task, self.why = task, why
        super().__init__(f"{task} returned a value that cannot be stored: {why}")


class PayloadTooLarge(InvalidArguments):
    """The encoded arguments are larger than ``max_payload_bytes``.

    Store the data elsewhere and pass a reference.
    """

    def __init__(self, *, task: str, size: int, limit: int) -> None:
        self.size, self.limit = size, limit
        super().__init__(
            task=task,
            why=f"arguments take {size:,} bytes, the limit is {limit:,} (setting max_payload_bytes); "
            "store the data elsewhere and pass a reference",
        )


class UnknownTask(CapelinError, LookupError):
    """No task of that name is registered in this app."""

    def __init__(self, *, task: str, known: Sequence[str] = ()) -> None:
        import difflib

        self.task = task
        near = difflib.get_close_matches(task, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        super().__init__(f"no task named {task!r} in this app{hint}")


class Unreachable(CapelinError, ConnectionError):
    """Redis did not answer: it may be down, the address wrong, or the network cut.

    What was sent may or may not have run.
    """

    retryable = True

    def __init__(self, *, url: str, cause: str) -> None:
        self.url, self.cause = url, cause
        super().__init__(
            f"Redis at {url} does not answer ({cause}); check the address, the network and the server"
        )


class KeyMissing(ConfigurationError):
    """Something is encrypted with a key that this process does not have. Nothing was lost.

    Give it to the process (``CAPELIN_ENCRYPTION_KEYS``). A job whose arguments a worker cannot decrypt waits
    parked for one that can.
    """

    def __init__(self, *, key_id: str, known: Sequence[str] = ()) -> None:
        self.key_id, self.known = key_id, list(known)
        has = f"this process has {', '.join(known)}" if known else "this process has none"
        super().__init__(f"encrypted with key {key_id}, and {has}; see CAPELIN_ENCRYPTION_KEYS")


class SealBroken(CapelinError, ValueError):
    """Something encrypted was changed in Redis, or moved there from another task or job."""

    def __init__(self, *, place: str) -> None:
        self.place = place
        super().__init__(
            f"what is encrypted as {place} does not decrypt: it was changed, or moved there from elsewhere"
        )


class RedisRefused(CapelinError):
    """Redis answered with an error: out of memory, no permission, a key of another type.

    Attributes:
        message: Redis's own words.
        script: The script that was refused, if it was one.
        keys: The keys that it was about.
    """

    def __init__(self, *, message: str, script: str | None = None, keys: Sequence[str] = ()) -> None:
        self.message, self.script, self.keys = message, script, tuple(keys)
        super().__init__(f"Redis refused{f' {script}' if script else ''}: {message}")


class TornKey(RedisRefused):
    """A key of capelin's holds what capelin never wrote: something else did, or a part of it is lost.

    Put it out of the way (``redis-cli RENAME``), and what was refused works again, without what was in it.

    Attributes:
        key: The key.
        why: What is wrong with it.
    """

    def __init__(self, *, key: str, why: str, script: str | None = None) -> None:
        self.key, self.why = key, why
        super().__init__(message=why, script=script, keys=[key])
        do = f"Look at it, then put it out of the way: redis-cli RENAME '{key}' 'torn:{key}'"
        self.args = (f"key {key} {why}: it is not as capelin wrote it. {do}",)

    @classmethod
    def of_type(cls, *, key: str, found: str, wanted: str, script: str | None = None) -> "TornKey":
        """Return the error for a key that is of another type than it should be."""
        return cls(key=key, why=f"is a {found}, not a {wanted}", script=script)

    @classmethod
    def read(cls, text: str, *, script: str | None = None) -> "TornKey":
        """Read how a script names such a key: ``TORN <found> <wanted> <key>``."""
        _, found, wanted, key = text.split(" ", 3)
        return cls.of_type(key=key, found=found, wanted=wanted, script=script)


class UnsupportedSchema(CapelinError):
    """The data in Redis was written by a newer major version of capelin. Upgrade this process."""

    def __init__(self, *, queue: str, found: int, supported: int) -> None:
        self.queue, self.found, self.supported = queue, found, supported
        super().__init__(
            f"queue {queue!r} has record schema {found}, this capelin reads up to {supported}: "
            "upgrade this process"
        )


class EnqueueError(CapelinError):
    """Some jobs of an ``enqueue`` could not be written.

    Attributes:
        enqueued: The jobs that exist.
        unsent: Indexes, into the list that was given, of the requests that were not written or not confirmed.
        causes: The error for each unsent index.
        lacking: Those of ``enqueued`` that fewer replicas than ``min_replicas`` have.
    """

    retryable = True

    def __init__(
        self,
        *,
        enqueued: "Sequence[Job[Any]]",
        unsent: Sequence[int],
        causes: Sequence[BaseException],
        lacking: "Sequence[Job[Any]]" = (),
    ) -> None:
        self.enqueued, self.unsent, self.causes = list(enqueued), list(unsent), list(causes)
        self.lacking = list(lacking)
        first = f": {causes[0]}" if causes else ""
        super().__init__(
            f"{len(self.unsent)} of {len(self.unsent) + len(self.enqueued)} jobs not enqueued{first}"
        )


class QueueFull(EnqueueError):
    """The queue holds as many waiting jobs as ``max_queue_length`` allows.

    Nothing of this call's shard was written.
    """


class NotReplicated(CapelinError):
    """The jobs exist, but fewer replicas than ``min_replicas`` have confirmed them in time (or fewer disks).

    They will run. A failover at this moment could lose those that lack copies. Do not enqueue them again
    unless they have a ``dedupe_key``: then that asks once more, and gives the same jobs.

    Attributes:
        jobs: Every job of the call, in order: all of them exist.
        lacking: Those that have too few copies.
        wanted: The replicas that were asked for.
        got: The replicas that confirmed the one with the fewest.
        fsync: Whether disks were asked for, too.
        why: Redis's own words, if it could not tell (it has no ``WAITAOF``, or no append-only file).
    """

    def __init__(
        self,
        *,
        jobs: "Sequence[Job[Any]]",
        lacking: "Sequence[Job[Any]]",
        wanted: int,
        got: int,
        fsync: bool = False,
        why: str | None = None,
    ) -> None:
        self.jobs, self.lacking = list(jobs), list(lacking)
        self.wanted, self.got, self.fsync, self.why = wanted, got, fsync, why
        what = (
            f"job {self.lacking[0].id} exists"
            if len(self.lacking) == 1
            else f"{len(self.lacking)} jobs exist"
        )
        disks = " with their disks" if fsync else ""
        said = f" ({why})" if why else ""
        super().__init__(
            f"{what}, but {got} of {wanted} replicas{disks} confirmed it in time{said}: it will run, and a "
            "failover now may lose it; do not enqueue it again"
        )

    @property
    def job(self) -> "Job[Any]":
        """The job, or the first of those that have too few copies."""
        return self.lacking[0]


class JobNotFound(CapelinError, LookupError):
    """There is no record of this job: it never existed, or its retention is over."""

    def __init__(self, *, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"no job {job_id}: it never existed or its record was trimmed after its retention")


class JobFailed(CapelinError):
    """The job ended in the DLQ.

    Attributes:
        error_type: The exception's class name (``WorkerLost`` if its workers died).
        error_message: The exception's text.
    """

    def __init__(
        self, *, job_id: str, error_type: str, error_message: str, traceback: str | None = None
    ) -> None:
        self.job_id, self.error_type, self.error_message = job_id, error_type, error_message
        self.traceback = traceback
        super().__init__(f"job {job_id} failed: {error_type}: {error_message}")


class JobCancelled(CapelinError):
    """The job was cancelled or expired before it started."""

    def __init__(self, *, job_id: str, reason: str = "cancelled") -> None:
        self.job_id, self.reason = job_id, reason
        ended = "expired before it started" if reason == "expired" else f"was {reason}"
        super().__init__(f"job {job_id} {ended}")


class JobConflict(CapelinError):
    """The job is not in a status in which this can be done (a replay of a job that is not dead, say)."""

    def __init__(self, *, job_id: str, status: str, wanted: str) -> None:
        self.job_id, self.status = job_id, status
        super().__init__(f"job {job_id} is {status}; {wanted}")


class SyncInAsync(CapelinError, RuntimeError):
    """A ``*_sync`` function was called inside a running event loop.

    Use ``await`` and the function without ``_sync``.
    """

    def __init__(self, *, function: str) -> None:
        super().__init__(
            f"{function}() would block the running event loop; "
            f"await {function.removesuffix('_sync')}() instead"
        )


class ScheduleNotFound(CapelinError, LookupError):
    """There is no schedule of this name."""

    def __init__(self, *, name: str, known: Sequence[str] = ()) -> None:
        import difflib

        self.name = name
        near = difflib.get_close_matches(name, known, n=1)
        if near:
            hint = f"did you mean {near[0]!r}?"
        elif known:
            hint = f"there are: {', '.join(known[:5])}{', …' if len(known) > 5 else ''}"  # noqa: PLR2004
        else:
            hint = "there is none at all"
        super().__init__(f"no schedule named {name!r}; {hint}")


class ScheduleExists(CapelinError):
    """The schedule of this name is not one that can be changed or removed from here."""

    def __init__(self, *, name: str, why: str) -> None:
        self.name = name
        super().__init__(f"schedule {name!r}: {why}")


class InvalidState(CapelinError, TypeError):
    """A singleton's state cannot be encoded exactly, or is not of its type. Nothing was written."""

    def __init__(self, *, singleton: str, why: str) -> None:
        self.singleton = singleton
        super().__init__(f"the state of singleton {singleton} cannot be stored: {why}")


class LeadershipLost(CapelinError):
    """A singleton's lease is not this process's any more: nothing was written, and nothing can be.

    ``leader.save()`` and ``leader.heartbeat()`` raise it. Let it pass: it counts as no failure.
    """

    def __init__(self, *, singleton: str, fencing_token: int) -> None:
        self.singleton, self.fencing_token = singleton, fencing_token
        super().__init__(
            f"singleton {singleton} is led by somebody else now; what was led under token {fencing_token} "
            "is over"
        )


class NoCurrentJob(CapelinError, LookupError):
    """``current_job()`` was called outside a job. ``current_job(None)`` returns None there."""

    def __init__(self) -> None:
        super().__init__("current_job() was called outside a job; current_job(None) returns None there")


class NoCluster(CapelinError, LookupError):
    """``cluster()`` was called outside a worker. ``cluster(None)`` returns None there."""

    def __init__(self) -> None:
        super().__init__("cluster() was called outside a worker; cluster(None) returns None there")


class NotInThisProcess(CapelinError, RuntimeError):
    """What was asked for is in the worker's own process, and the job runs in another one."""

    def __init__(self, *, what: str) -> None:
        super().__init__(
            f'{what} is not available in a job with run_in="process": it needs the worker\'s process; '
            "a def task without run_in runs in a thread of it"
        )


class WorkerLost(CapelinError):
    """The job's worker died ``max_crashes`` times while running it.

    Recorded by the fleet, never raised in a task.
    """


class NoApp(ConfigurationError, RuntimeError):
    """A task is not registered in an app, or in several, so that it cannot know where to enqueue."""

    def __init__(self, *, task: str, apps: Sequence[str] = ()) -> None:
        self.task, self.apps = task, list(apps)
        why = (
            f"is registered in {len(self.apps)} apps ({', '.join(self.apps)}); say which: "
            f"app.task_named({task!r}, queue=...).enqueue(...)"
            if self.apps
            else "is not registered in an app; app.include(tasks) the group that it is in, first"
        )
        super().__init__(f"task {task} {why}")


class NoResources(CapelinError, LookupError):
    """There are no resources here: no worker or ``testing`` of this process provides what was asked for."""

    def __init__(self, *, why: str) -> None:
        super().__init__(why)


class JobTimeout(CapelinError, TimeoutError):
    """A start ran longer than its ``timeout``."""

    def __init__(self, *, timeout: float) -> None:
        self.timeout = timeout
        super().__init__(f"ran longer than its timeout of {timeout:g} s")
