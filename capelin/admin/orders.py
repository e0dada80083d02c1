"""Orders to one worker, through its inbox; and whether it carries them out."""

import asyncio
from enum import StrEnum

from capelin import inbox
from capelin.admin.access import Access, NotThere
from capelin.admin.fleet import WorkerStanding, WorkerState, list_workers, read_fleet
from capelin.errors import CapelinError

_LOOK_EVERY = 0.1
PATIENCE = 10.0
"""Seconds after which a worker that has not carried out an order has not heard it."""


class Order(StrEnum):
    """What a worker can be told."""

    QUIET = "quiet"
    """Take nothing more, give up shards, the lead and singletons at once, and finish what runs."""
    RESUME = "resume"
    """Take jobs again."""
    STOP = "stop"
    """End as after a SIGTERM: finish what runs within the grace time, hand the rest back."""


class NotObeyed(CapelinError):
    """A worker was told something, and shows no sign that it does it."""

    def __init__(self, *, worker: str, order: Order, waited: float) -> None:
        self.worker, self.order, self.waited = worker, order, waited
        super().__init__(
            f"worker {worker} was told to {order.value} and has not within {waited:g} s; it may still. "
            f"Does its event loop stand still? capelin workers show {worker}; or signal its process"
        )


async def find_worker(access: Access, name: str) -> WorkerStanding:
    """Return the worker of this id, or the one whose id begins like this, that can be told something.

    Raises:
        NotThere: There is none, or more than one.
        Unreachable, RedisRefused: Redis could not be asked.
    """
    torn: dict[str, str] = {}
    there = [one for one in await list_workers(access, torn=torn) if one.state is not WorkerState.GONE]
    matching = [one for one in there if one.id == name] or [one for one in there if one.id.startswith(name)]
    if len(matching) != 1:
        known = [one.id for one in matching or there]
        raise NotThere(what="live worker", name=name, known=known, unread=torn.values())
    return matching[0]


async def tell_worker(access: Access, worker: str, order: Order, *, patience: float = PATIENCE) -> None:
    """Tell a worker something, and wait until the fleet sees that it does it.

    Args:
        access: Where.
        worker: Its id.
        order: What it is to do. The same again changes nothing; a second ``stop`` is a second SIGTERM: what
            still runs is handed back at once.
        patience: Seconds to wait.

    Raises:
        NotObeyed: It has not begun to within that time.
        Unreachable, RedisRefused: Redis could not be asked; it may have been told.

    Example:
        await tell_worker(access, (await find_worker(access, "pod-7")).id, Order.QUIET)
    """
    await inbox.post(access.connection, access.keys, worker, inbox.Kind(order.value))
    try:
        async with asyncio.timeout(patience):
            while True:
                if await _obeyed(access, worker, order):
                    return
                await asyncio.sleep(_LOOK_EVERY)
    except TimeoutError:
        raise NotObeyed(worker=worker, order=order, waited=patience) from None


async def _obeyed(access: Access, worker: str, order: Order) -> bool:
    member, _ = (await read_fleet(access)).get(worker, (None, 0))
    if member is None or order is Order.STOP:
        return member is None and order is Order.STOP
    return member.quiet == (order is Order.QUIET)
