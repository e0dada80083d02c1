"""Priorities and the streams they are read from."""

from enum import StrEnum


class Priority(StrEnum):
    """How urgent a job is. By weights (4:3:2:1) the four share a busy worker, so that nothing starves."""

    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


RETURNED = "returned"
"""The stream of jobs that come back from the dead or from a shutdown. It is read before the priorities."""

UNPARKED = "unparked"
"""The stream through which `unpark` hands a job straight to its caller: every entry is in flight from the
moment it exists.
"""

STREAMS: tuple[str, ...] = (RETURNED, *(priority.value for priority in Priority), UNPARKED)
"""The streams of a shard, in the order in which scripts index them (from 1)."""

DEFAULT_WEIGHTS: dict[Priority, int] = {
    Priority.CRITICAL: 4,
    Priority.HIGH: 3,
    Priority.NORMAL: 2,
    Priority.LOW: 1,
}
