"""Progress of running jobs, written to their records.

It is news for people, and no job may fail for want of it: what Redis did not answer or refused is logged and
forgotten.
"""

import json

import structlog

from capelin import lua
from capelin.connection import Connection
from capelin.errors import RedisRefused, Unreachable
from capelin.workers.running import Start

_LONGEST_MESSAGE = 1_000

log = structlog.get_logger("capelin.worker")


async def report_progress(
    connection: Connection, start: Start, worker: str, fraction: float, message: str
) -> None:
    """Write how far a start is; a start that is over is not heard."""
    text = json.dumps([fraction, message[:_LONGEST_MESSAGE]])
    call = lua.progress(start.shard, uid=start.uid, worker=worker, token=start.token, progress=text)
    try:
        await connection.run(call)
    except (Unreachable, RedisRefused) as error:
        log.warning("progress was not written", job=start.job_id, error=str(error))
