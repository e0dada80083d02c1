"""What operators ask: listings and repairs, over a Redis URL alone and without any app's code.

    access      how they reach Redis, and which queues and shards there are
    queues      depth, age, pause and resume
    shards      who owns what
    fleet       workers
    jobs        list, look at, cancel, retry
    dead        the DLQ: list, replay, purge
    singletons  who hosts each, and whether it gives signs of life
    schedules   the book of schedules, adding one by its task's name, who leads

Listings read at most so many entries of each place, however large the backlog is: nothing scans.
"""

from capelin.admin.access import Access, NotThere, open_access
from capelin.admin.dead import DeadJob, Repaired, list_dead, pick_dead, purge, replay
from capelin.admin.fleet import WorkerStanding, list_workers
from capelin.admin.jobs import JobList, cancel_job, list_jobs, read_job, retry_job
from capelin.admin.queues import QueueStanding, list_queues, pause_queue, resume_queue
from capelin.admin.schedules import (
    OPERATOR,
    LeaderStanding,
    ScheduleAdded,
    add_schedule,
    named_request,
    read_leader,
    removable,
    schedule_book,
)
from capelin.admin.shards import ShardStanding, list_shards
from capelin.admin.singletons import SingletonInfo, SingletonState, list_singletons, read_singleton

__all__ = [
    "OPERATOR",
    "Access",
    "DeadJob",
    "JobList",
    "LeaderStanding",
    "NotThere",
    "QueueStanding",
    "Repaired",
    "ScheduleAdded",
    "ShardStanding",
    "SingletonInfo",
    "SingletonState",
    "WorkerStanding",
    "add_schedule",
    "cancel_job",
    "list_dead",
    "list_jobs",
    "list_queues",
    "list_shards",
    "list_singletons",
    "list_workers",
    "named_request",
    "open_access",
    "pause_queue",
    "pick_dead",
    "purge",
    "read_job",
    "read_leader",
    "read_singleton",
    "removable",
    "replay",
    "resume_queue",
    "retry_job",
    "schedule_book",
]
