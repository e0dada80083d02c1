"""Job ids. An id names its place (queue and shard), so that nothing is hashed again to find a job."""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Self, cast

from uuid_utils import uuid7

from capelin.errors import InvalidJobId
from capelin.names import MAX_NAME_LENGTH, check_name

MAX_UID_LENGTH = MAX_NAME_LENGTH
MAX_DERIVED_LENGTH = 120
"""Of a derived uid: it leaves room for the uids of what follows the job, which begin with its own."""

# Ten bits at a time are three times as fast as base64.b32hexencode, for what every enqueue does.
_DIGITS = "0123456789abcdefghijklmnopqrstuv"
_PAIRS = tuple(first + second for first in _DIGITS for second in _DIGITS)
_PART = (1 << 30) - 1


def new_uid() -> str:
    """Return a new uid: a UUIDv7 in 26 characters (base 32, lower case) that sort by creation time."""
    number, pair = uuid7().int << 2, _PAIRS
    # Numbers of one machine word are shifted in a third of the time.
    a, b, c, d = number >> 90, number >> 60 & _PART, number >> 30 & _PART, number & _PART
    return (
        f"{pair[a >> 30]}{pair[a >> 20 & 1023]}{pair[a >> 10 & 1023]}{pair[a & 1023]}"
        f"{pair[b >> 20]}{pair[b >> 10 & 1023]}{pair[b & 1023]}"
        f"{pair[c >> 20]}{pair[c >> 10 & 1023]}{pair[c & 1023]}"
        f"{pair[d >> 20]}{pair[d >> 10 & 1023]}{pair[d & 1023]}"
    )


_ESCAPES = str.maketrans({"_": "__", "-": "_-", ".": "_d"})
_LIKE_A_CHILD = re.compile(r"-[tf][0-9]+\Z")  # what `then` and `on_failure` add to their parent's uid
_DIGEST_LENGTH = 40


def derived_uid(*parts: str) -> str:
    """Return a uid made from names: the same for the same names, and another for any others.

    Parts are joined by ``-``. Dots part ids, so they are written ``_d``; ``_`` is ``__`` and ``-`` is ``_-``.
    What is too long ends in a digest of all of it.

    Raises:
        InvalidName: A part is no name, or there is none.

    Example:
        >>> derived_uid("digest.eu", "1795445738860")
        'digest_deu-1795445738860'
    """
    uid = "-".join(check_name("part of a job uid", part).translate(_ESCAPES) for part in parts or ("",))
    if _LIKE_A_CHILD.search(uid):
        uid += "_e"
    if len(uid) > MAX_DERIVED_LENGTH:
        digest = sha256(uid.encode()).hexdigest()[:_DIGEST_LENGTH]
        uid = f"{uid[: MAX_DERIVED_LENGTH - _DIGEST_LENGTH - 2]}_x{digest}"
    return uid


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
