"""Finishes what a reshard leaves behind: old homes that hold no key, old shards that hold nothing.

Whoever owns a queue's first shard does it, so that one does. Two would do no harm, and nobody need have
started the reshard that is finished: its command may have died half-way.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass

import structlog

from capelin.connection import Connection
from capelin.errors import CapelinError
from capelin.keys import Keys, ShardKeys
from capelin.lua import Layout
from capelin.resharding import settle
from capelin.workers.territory import Territory

log = structlog.get_logger("capelin.worker")

_EVERY = 10.0
_EVERY_WHEN_SETTLED = 300.0
"""Loans of keys may be left, and are struck off, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """When to look again; at once where the layout is another one, for what was settled may be cut anew."""

    version: int
    settled: bool
    next_at: float

    def is_of(self, layout: Layout) -> bool:
        return (self.version, self.settled) == (layout.version, layout.settled)


class Settling:
    """What one worker finishes.

    Args:
        keys: The namespace.
        territory: Its shards.
    """

    def __init__(self, keys: Keys, territory: Territory) -> None:
        self._keys, self._territory = keys, territory
        self._looked: dict[str, _Look] = {}

    async def run(self, connection: Connection, owned: Collection[ShardKeys]) -> bool:
        """Do what is due; return whether other shards are to be served now."""
        now = time.monotonic()
        changed = False
        for queue, layout in list(self._territory.layouts.items()):
            if layout.version == 1 or self._keys.shard(queue, 0) not in owned:
                continue
            looked = self._looked.get(queue)
            if looked is not None and looked.is_of(layout) and now < looked.next_at:
                continue
            try:
                left = await settle(connection, self._keys, queue, layout)
            except CapelinError as error:
                log.debug("an older layout could not be looked at", queue=queue, error=str(error))
                continue
            finally:
                every = _EVERY_WHEN_SETTLED if layout.settled else _EVERY
                self._looked[queue] = _Look(
                    version=layout.version, settled=layout.settled, next_at=now + every
                )
            if left.layout.version != layout.version:
                self._territory.look_soon()  # it was cut anew, or Redis has lost what we know
                continue
            if self._territory.saw(queue, left.layout):
                changed = True
            if left.layout.settled and not layout.settled:
                log.info("nothing is left of a queue's older layouts", queue=queue, shards=layout.shards)
        return changed
