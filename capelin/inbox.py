"""Inboxes: control messages to one worker, in a stream that ends by itself when nobody writes to it any more.

A message only hastens what the renewals would find: a cancel, a change of the fleet, a parked job. Losing one costs seconds.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from capelin.connection import Connection
from capelin.keys import Keys

CANCEL = "cancel"
"""A running job shall stop. Data: ``job`` (its id)."""
FLEET = "fleet"
"""A member left, or freed shards: look at the membership now."""
PARKED = "parked"
"""A job was parked that the receiver can run. Data: ``queue``, ``shard``."""

_LONGEST = 1_000
_TTL = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One control message."""

    kind: str
    data: Mapping[str, Any]


async def post(connection: Connection, keys: Keys, worker: str, kind: str, data: Mapping[str, Any]) -> None:
    """Write one message to a worker's inbox.

    Raises:
        Unreachable, RedisRefused: It was not written, or perhaps not.
    """
    await post_many(connection, keys, [worker], kind, data)


async def post_many(
    connection: Connection, keys: Keys, workers: Iterable[str], kind: str, data: Mapping[str, Any]
) -> None:
    """Write one message to several inboxes in one round trip."""
    text = json.dumps(dict(data), separators=(",", ":"))
    commands: list[tuple[str | bytes | int | float, ...]] = []
    for worker in workers:
        key = keys.inbox(worker)
        commands.append(("XADD", key, "MAXLEN", "~", _LONGEST, "*", "kind", kind, "data", text))
        commands.append(("EXPIRE", key, _TTL))
    for reply in await connection.commands(commands) if commands else ():
        if isinstance(reply, Exception):
            raise reply


async def read(
    connection: Connection, keys: Keys, worker: str, last_id: str, *, block: float
) -> tuple[str, list[Message]]:
    """Wait up to ``block`` seconds for messages after ``last_id``.

    Returns:
        The id to go on from, and the messages; one that cannot be read is left out.
    """
    messages: list[Message] = []
    for entry_id, fields in await connection.read_stream(keys.inbox(worker), last_id, block):
        last_id = entry_id
        try:
            messages.append(Message(kind=fields["kind"], data=json.loads(fields["data"])))
        except (KeyError, ValueError):
            continue
    return last_id, messages
