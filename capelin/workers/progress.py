"""Progress of running jobs, written to their records."""

import json

from capelin import lua
from capelin.connection import Connection
from capelin.workers.running import Start


async def report_progress(
    connection: Connection, start: Start, worker: str, fraction: float, message: str
) -> None:
    """Write how far a start is; a start that is over is not heard."""
    text = json.dumps([fraction, message])
    await connection.run(
        lua.progress(start.shard, uid=start.uid, worker=worker, token=start.token, progress=text)
    )
