"""The words for what becomes of a schedule's ticks: which are caught up, which overlap, why one is skipped.

They stand apart from the scheduler, so that an app can name them without importing it.
"""

from enum import StrEnum


class CatchUp(StrEnum):
    """Which ticks still run that fell due while nobody was there to fire them."""

    LATEST = "latest"
    """The newest one, unless it is stale. The default."""
    ALL = "all"
    """Each one that is not stale, in order."""
    NONE = "none"
    """None: a tick runs on time or not at all."""


class Overlap(StrEnum):
    """What a tick does while the job of an earlier one is not finished."""

    ALLOW = "allow"
    """It runs beside it. The default."""
    SKIP = "skip"
    """It is skipped, and counted."""
    QUEUE = "queue"
    """It runs after it."""


class SkipReason(StrEnum):
    """Why a tick did not run."""

    STALE = "stale"
    """It was older than ``skip_if_older_than``."""
    MISSED = "missed"
    """It was not stale, but ``catch_up`` passes it over for a newer one, or for being late."""
