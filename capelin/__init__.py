"""capelin: a Redis-backed distributed task system for Python.

Start as many worker processes as you like, anywhere; they share the work, take over from the dead, and lose
nothing.

    from capelin import Capelin

    app = Capelin()

    @app.task
    async def send(to: str, subject: str = "hi") -> int: ...

    job = await send.enqueue("a@b.c", subject="x")

Names are imported when they are first used: pytest imports this package for its plugin, also in runs that
have nothing to do with it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from capelin.app import Capelin
    from capelin.clusters import Cluster, ClusterWorker, OwnedShard, cluster
    from capelin.context import JobContext, current_job
    from capelin.errors import (
        CapelinError,
        ConfigurationError,
        EnqueueError,
        InvalidArguments,
        InvalidJobId,
        InvalidName,
        InvalidOption,
        InvalidResult,
        InvalidSingleton,
        InvalidState,
        InvalidTask,
        InvalidURL,
        JobCancelled,
        JobConflict,
        JobFailed,
        JobNotFound,
        JobTimeout,
        KeyMissing,
        LeadershipLost,
        NoApp,
        NoCluster,
        NoCurrentJob,
        NoResources,
        NotInThisProcess,
        NotReplicated,
        PayloadTooLarge,
        QueueFull,
        RedisRefused,
        ScheduleExists,
        ScheduleNotFound,
        SealBroken,
        SyncInAsync,
        TornKey,
        UnknownTask,
        Unreachable,
        UnsupportedSchema,
        WorkerLost,
    )
    from capelin.health import Health, HealthCheck
    from capelin.jobs import Job
    from capelin.middleware import CallNext, Middleware
    from capelin.options import TaskOptions
    from capelin.priority import Priority
    from capelin.records import Cancellation, FailedJob, FailedStart, JobError, JobInfo, JobStatus
    from capelin.requests import JobRequest, OnDuplicate
    from capelin.resources import resource
    from capelin.retry import Reject, Retry, RetryPolicy, Snooze
    from capelin.schedule_book import LeaderInfo, ScheduleInfo, ScheduleStatus
    from capelin.settings import Settings
    from capelin.singletons import Leader, Singleton
    from capelin.tasks import Task, Tasks
    from capelin.ticks import CatchUp, Overlap

__all__ = [
    "CallNext",
    "Cancellation",
    "Capelin",
    "CapelinError",
    "CatchUp",
    "Cluster",
    "ClusterWorker",
    "ConfigurationError",
    "EnqueueError",
    "FailedJob",
    "FailedStart",
    "Health",
    "HealthCheck",
    "InvalidArguments",
    "InvalidJobId",
    "InvalidName",
    "InvalidOption",
    "InvalidResult",
    "InvalidSingleton",
    "InvalidState",
    "InvalidTask",
    "InvalidURL",
    "Job",
    "JobCancelled",
    "JobConflict",
    "JobContext",
    "JobError",
    "JobFailed",
    "JobInfo",
    "JobNotFound",
    "JobRequest",
    "JobStatus",
    "JobTimeout",
    "KeyMissing",
    "Leader",
    "LeaderInfo",
    "LeadershipLost",
    "Middleware",
    "NoApp",
    "NoCluster",
    "NoCurrentJob",
    "NoResources",
    "NotInThisProcess",
    "NotReplicated",
    "OnDuplicate",
    "Overlap",
    "OwnedShard",
    "PayloadTooLarge",
    "Priority",
    "QueueFull",
    "RedisRefused",
    "Reject",
    "Retry",
    "RetryPolicy",
    "ScheduleExists",
    "ScheduleInfo",
    "ScheduleNotFound",
    "ScheduleStatus",
    "SealBroken",
    "Settings",
    "Singleton",
    "Snooze",
    "SyncInAsync",
    "Task",
    "TaskOptions",
    "Tasks",
    "TornKey",
    "UnknownTask",
    "Unreachable",
    "UnsupportedSchema",
    "WorkerLost",
    "__version__",
    "cluster",
    "current_job",
    "resource",
]

__version__ = "0.1.0"

if not TYPE_CHECKING:
    _HOMES = {
        "app": ("Capelin",),
        "clusters": ("Cluster", "ClusterWorker", "OwnedShard", "cluster"),
        "context": ("JobContext", "current_job"),
        "health": ("Health", "HealthCheck"),
        "jobs": ("Job",),
        "middleware": ("CallNext", "Middleware"),
        "options": ("TaskOptions",),
        "priority": ("Priority",),
        "records": ("Cancellation", "FailedJob", "FailedStart", "JobError", "JobInfo", "JobStatus"),
        "requests": ("JobRequest", "OnDuplicate"),
        "resources": ("resource",),
        "retry": ("Reject", "Retry", "RetryPolicy", "Snooze"),
        "schedule_book": ("LeaderInfo", "ScheduleInfo", "ScheduleStatus"),
        "settings": ("Settings",),
        "singletons": ("Leader", "Singleton"),
        "tasks": ("Task", "Tasks"),
        "ticks": ("CatchUp", "Overlap"),
    }
    _HOME = {name: home for home, names in _HOMES.items() for name in names}

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'capelin' has no attribute {name!r}")
        import importlib

        # What has no home of its own on the list is an error.
        value = getattr(importlib.import_module(f"capelin.{_HOME.get(name, 'errors')}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return [*globals(), *__all__]
