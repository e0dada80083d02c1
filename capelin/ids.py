"""Job ids. An id names its place (queue and shard), so that nothing is hashed again to find a job."""

from dataclasses import dataclass
from typing import Self, cast

from uuid_utils import uuid7

from capelin.errors import InvalidJobId
from capelin.names import MAX_NAME_LENGTH, check_name

MAX_UID_LENGTH = MAX_NAME_LENGTH

# Ten bits at a time are three times as fast as base64.b32hexencode, for what every enqueue does.
_DIGITS = "0123456789abcdefghijklmnopqrstuv"
_PAIRS = tuple(first + second for first in _DIGITS for second in _DIGITS)
_SHIFTS = tuple(range(120, -1, -10))


def new_uid() -> str:
    """Return a new uid: a UUIDv7 in 26 characters (base 32, lower case) that sort by creation time."""
    number = uuid7().int << 2
    return "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])


def derived_uid(*parts: str) -> str:
    """Return a uid made from names, the same for the same names; dots, which part ids, become ``_``."""
    uid = "-".join(parts).replace(".", "_")
    return check_name("job uid", uid)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobId:
    """Where a job lives: its queue, its shard, and its uid within the shard.

    Example:
        >>> JobId.parse("emails.3.06dpvgeqmvk5m3jvmfb6v0000s").shard
        3
    """

    queue: str
    shard: int
    uid: str

    def __str__(self) -> str:
        return f"{self.queue}.{self.shard}.{self.uid}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take an id apart.

        Raises:
            InvalidJobId: It is not of the form ``<queue>.<shard>.<uid>``.
        """
        given = cast(object, text)  # it arrives from users, and may be anything
        parts = given.rsplit(".", 2) if isinstance(given, str) else []
        if len(parts) != 3 or not all(parts) or not (parts[1].isascii() and parts[1].isdigit()):  # noqa: PLR2004
            raise InvalidJobId(job_id=text)
        queue, shard, uid = parts
        return cls(queue=check_name("queue", queue), shard=int(shard), uid=check_name("job uid", uid))
