"""What cannot be read is set aside by whichever script meets it; here that is said, alike for all."""

from collections.abc import Sequence

import structlog

from capelin.keys import ShardKeys
from capelin.metrics.meter import Meter

log = structlog.get_logger("capelin.worker")


def report_torn(shard: ShardKeys, entries: Sequence[str], meter: Meter) -> None:
    """Say that these were set aside: uids, or the ids of entries that name no job."""
    log.error("unreadable entries set aside in the DLQ", shard=str(shard), entries=entries)
    meter.set_aside(shard, len(entries))
