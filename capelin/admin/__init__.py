"""What operators ask: listings and repairs, over a Redis URL alone and without any app's code.

    access      how they reach Redis, and which queues and shards there are
    queues      depth, age, pause and resume
    draining    waiting until a queue has run empty
    reshard     cutting a queue into another number of shards
    shards      who owns what
    fleet       workers
    overview    queues, shards and workers from one look at each shard, for screens
    orders      quiet, resume and stop, through a worker's inbox
    selecting   which jobs are meant: filters
    lanes       the places in which jobs are, and one order over all of them
    walking     walks over them, in bounded pages
    jobs        list, look at, cancel, retry
    repairing   doing one thing to many jobs
    story       a job's whole story: its parents and children, too
    dead        the DLQ: list, replay, purge
    singletons  who hosts each, and whether it gives signs of life
    schedules   the book of schedules, adding one by its task's name, who leads

Listings read bounded pages, however large the backlog is, and say where to go on: nothing scans the keys.
"""

from capelin.admin.access import Access, NotThere, open_access
from capelin.admin.dead import (
    DeadJob,
    DeadList,
    count_dead,
    dead_batches,
    list_dead,
    named_dead,
    purge,
    replay,
    replay_all,
)
from capelin.admin.draining import CannotDrain, Drained, drain_queue
from capelin.admin.fleet import WorkerStanding, WorkerState, list_workers
from capelin.admin.jobs import JobList, cancel_job, each_page, list_jobs, read_job, retry_job
from capelin.admin.orders import NotObeyed, Order, find_worker, tell_worker
from capelin.admin.overview import Overview, read_overview
from capelin.admin.queues import QueueStanding, list_queues, pause_queue, resume_queue
from capelin.admin.repairing import Repaired, cancel_jobs, repair_all, retry_jobs
from capelin.admin.reshard import OldHome, Resharding, ReshardRefused, plan_reshard, reshard_queue
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
from capelin.admin.selecting import WAITING, Selection, Sighting, named
from capelin.admin.shards import ShardStanding, list_shards
from capelin.admin.singletons import SingletonInfo, SingletonState, list_singletons, read_singleton
from capelin.admin.story import JobStory, Kinship, Relative, read_story
from capelin.admin.walking import count_matching, matching, until_none
from capelin.resharding import MOST_SHARDS

__all__ = [
    "MOST_SHARDS",
    "OPERATOR",
    "WAITING",
    "Access",
    "CannotDrain",
    "DeadJob",
    "DeadList",
    "Drained",
    "JobList",
    "JobStory",
    "Kinship",
    "LeaderStanding",
    "NotObeyed",
    "NotThere",
    "OldHome",
    "Order",
    "Overview",
    "QueueStanding",
    "Relative",
    "Repaired",
    "ReshardRefused",
    "Resharding",
    "ScheduleAdded",
    "Selection",
    "ShardStanding",
    "Sighting",
    "SingletonInfo",
    "SingletonState",
    "WorkerStanding",
    "WorkerState",
    "add_schedule",
    "cancel_job",
    "cancel_jobs",
    "count_dead",
    "count_matching",
    "dead_batches",
    "drain_queue",
    "each_page",
    "find_worker",
    "list_dead",
    "list_jobs",
    "list_queues",
    "list_shards",
    "list_singletons",
    "list_workers",
    "matching",
    "named",
    "named_dead",
    "named_request",
    "open_access",
    "pause_queue",
    "plan_reshard",
    "purge",
    "read_job",
    "read_leader",
    "read_overview",
    "read_singleton",
    "read_story",
    "removable",
    "repair_all",
    "replay",
    "replay_all",
    "reshard_queue",
    "resume_queue",
    "retry_job",
    "retry_jobs",
    "schedule_book",
    "tell_worker",
    "until_none",
]
