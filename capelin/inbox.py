"""Control messages to one worker: a short stream that ends by itself, since a worker may be gone.

Most messages only hurry what renewals would bring anyway, so that one that is lost costs time and nothing
else. Orders of operators come no other way: who gives one looks whether it is carried out.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple, cast

from pydantic_core import from_json, to_json

from capelin.connection import Connection
from capelin.keys import Keys

MOST_MESSAGES = 1000
TTL_SECONDS = 3600


class Kind(StrEnum):
    """What a message is about."""

    CANCEL = "cancel"
    """A job of this worker's was flagged; ``data["job"]`` is its id."""
    FLEET = "fleet"
    """The membership changed: read it again."""
    SCHEDULES = "schedules"
    """A schedule was added or changed: the leader is to look."""
    DECLARE = "declare"
    """The leader does not know what this worker's release declares: say it again."""
    PARKED = "parked"
    """A job was parked that this worker may be able to run; ``data["job"]`` is its id."""
    QUIET = "quiet"
    """Take nothing more, and finish what runs."""
    RESUME = "resume"
    """Take jobs again."""
    STOP = "stop"
    """End, as after a SIGTERM."""


class Message(NamedTuple):
    """A message of an inbox."""

    kind: str
    data: dict[str, Any]

    @classmethod
    def read(cls, fields: Mapping[str, str]) -> "Message":
        """Read a stream entry's fields; what is not ours has a kind that nobody knows."""
        try:
            data: object = from_json(fields.get("data", "{}"))
        except ValueError:
            data = None
        return cls(fields.get("kind", ""), cast("dict[str, Any]", data) if isinstance(data, dict) else {})


async def post(
    connection: Connection, keys: Keys, worker: str, kind: Kind | str, data: Mapping[str, Any] | None = None
) -> None:
    """Add a message to a worker's inbox.

    Args:
        connection: Where.
        keys: The namespace.
        worker: The worker's id.
        kind: What it is about.
        data: Plain JSON.

    Raises:
        Unreachable, RedisRefused: It may not have been added.
    """
    await post_many(connection, keys, [worker], kind, data)


async def post_many(
    connection: Connection,
    keys: Keys,
    workers: Iterable[str],
    kind: Kind | str,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Add a message to several inboxes, in one round trip; the arguments are those of `post`."""
    text = to_json(data or {})
    commands: list[tuple[str | bytes | int | float, ...]] = []
    for worker in workers:
        inbox = keys.inbox(worker)
        commands.append(("XADD", inbox, "MAXLEN", "~", MOST_MESSAGES, "*", "kind", str(kind), "data", text))
        commands.append(("EXPIRE", inbox, TTL_SECONDS))
    if not commands:
        return
    for reply in await connection.commands(commands):
        if isinstance(reply, Exception):
            raise reply


async def read(
    connection: Connection, keys: Keys, worker: str, last_id: str, *, block: float
) -> tuple[str, list[Message]]:
    """Wait up to ``block`` seconds for messages after ``last_id``; return the id to go on from, and them."""
    entries = await connection.read_stream(keys.inbox(worker), last_id, block)
    return (entries[-1][0] if entries else last_id), [Message.read(fields) for _, fields in entries]
