"""What reaches a running worker from outside: its heartbeat's findings, and the messages of its inbox."""

from collections.abc import Callable, Mapping, Sequence

import structlog

from capelin import inbox
from capelin._backoff import Backoff
from capelin.connection import Connection
from capelin.errors import CapelinError, InvalidJobId
from capelin.ids import JobId
from capelin.keys import Keys, ShardKeys
from capelin.lua import Delivery, ParkedRow
from capelin.workers.consumer import Consumer
from capelin.workers.ownership import Ownership
from capelin.workers.parking import Parking
from capelin.workers.running import Running, Stage, Stop
from capelin.workers.waiter import Waiter

log = structlog.get_logger("capelin.worker")


class Control:
    """Acts on what others say.

    Args:
        block: The longest wait for a message, seconds.
        shards: Returns every shard of the queues that the worker serves, now.
        poke: Has the heartbeat look at the fleet now.
        declare: Says again what the worker's release declares.
        orders: What is done when an operator says so.
    """

    def __init__(
        self,
        connection: Connection,
        keys: Keys,
        *,
        worker: str,
        block: float,
        consumer: Consumer,
        running: Running,
        ownership: Ownership,
        waiter: Waiter,
        parking: Parking,
        shards: Callable[[], Sequence[ShardKeys]],
        poke: Callable[[], None],
        declare: Callable[[], None],
        orders: Mapping[inbox.Kind, Callable[[], None]],
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._worker = worker
        self._block = block
        self._consumer = consumer
        self._running = running
        self._ownership = ownership
        self._waiter = waiter
        self._parking = parking
        self._shards = shards
        self._poke = poke
        self._declare = declare
        self._orders = orders

    # The heartbeat's findings.

    def gained(self, shard: ShardKeys) -> None:
        """The worker owns a shard now: it takes at once, and waits on it."""
        self._waiter.changed()
        if self._ownership.owns(shard):
            self._consumer.notify(shard)

    def gave_up(self, shard: ShardKeys) -> None:
        """The worker does not own a shard any more."""
        self._waiter.changed()
        if not self._ownership.owns(shard):
            self._consumer.ready.drop(shard)

    def lost_starts(self, shard: ShardKeys, starts: list[tuple[str, int]]) -> None:
        """Redis gave these starts to others: what still runs of them is stopped and forgotten."""
        for uid, token in starts:
            start = self._running.find(shard, uid)
            if start is not None and start.token == token and start.stage is Stage.RUNNING:
                log.warning("a job is not ours any more; its start is stopped", job=start.job_id, token=token)
                start.request_stop(Stop.LOST)

    def cancel_asked(self, shard: ShardKeys, uids: list[str]) -> None:
        """Somebody asked to cancel these jobs."""
        for uid in uids:
            start = self._running.find(shard, uid)
            if start is not None and start.stop is None:
                start.request_stop(Stop.CANCELLED)

    def adopted(self, shard: ShardKeys, deliveries: list[Delivery]) -> None:
        """Jobs that were delivered to the worker in a reply that it never read."""
        self._consumer.adopt(shard, deliveries)

    def joined(self) -> None:
        """The worker is a member of the fleet now, for the first time or again: what was parked before may
        be for it.
        """
        self._parking.look(self._shards())

    def found_parked(self, shard: ShardKeys, rows: list[ParkedRow]) -> None:
        """Jobs are parked in a shard of the worker's."""
        self._parking.found(shard, rows)

    # The inbox.

    async def read_inbox(self) -> None:
        """Heed messages until cancelled."""
        last_id = "0-0"
        backoff = Backoff()
        while True:
            try:
                last_id, messages = await inbox.read(
                    self._connection, self._keys, self._worker, last_id, block=self._block
                )
            except CapelinError as error:
                log.debug("the inbox cannot be read", error=str(error))
                await backoff.sleep()
                continue
            backoff.reset()
            for message in messages:
                self._heed(message)

    def _heed(self, message: inbox.Message) -> None:
        try:
            if message.kind in (inbox.Kind.FLEET, inbox.Kind.SCHEDULES):
                self._poke()
                return
            if message.kind == inbox.Kind.DECLARE:
                self._declare()
                return
            if (order := self._order(message.kind)) is not None:
                log.info("an operator gives an order", order=message.kind)
                order()
                return
            job = JobId.parse(message.data["job"])
            shard = self._keys.shard(job.queue, job.shard)
            if message.kind == inbox.Kind.PARKED and shard in self._shards():
                self._consumer.unpark(shard)
            elif message.kind == inbox.Kind.CANCEL:
                self.cancel_asked(shard, [job.uid])
        except (KeyError, InvalidJobId) as error:
            log.warning("a control message cannot be understood", kind=message.kind, error=str(error))

    def _order(self, kind: str) -> Callable[[], None] | None:
        return next((act for name, act in self._orders.items() if name == kind), None)
