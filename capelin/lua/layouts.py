"""Transitions of a queue's layout: into how many shards it is cut, and how it was before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from capelin.keys import Keys, ShardKeys, shard_of
from capelin.lua.call import Call
from capelin.lua.replies import text
from capelin.lua.typed import Transition, checked

_OPEN_QUEUE = Transition("open_queue")
_RESHARD = Transition("queue_reshard")
_SETTLE = Transition("queue_settle")
_SEAL = Transition("seal")
_LEND = Transition("lend")
_LOANS = Transition("loans")


LAYOUT_FIELDS = ("shards", "schema", "layout", "reach", "homes", "fewest")
"""What ``{queue}:meta`` holds of a layout."""


class Home(NamedTuple):
    """An older layout of which keys may still be held."""

    version: int
    shards: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a queue is cut.

    Attributes:
        shards: Into how many shards.
        schema: The version of its records.
        version: 1 at first, and one more each time it is cut anew.
        reach: Shards that may hold anything; more than ``shards`` while those of a larger layout are not
            empty.
        homes: Older layouts of which keys may still be held, the oldest first.
        fewest: The smallest number of shards in the time for which ended jobs are kept: limits for a whole
            queue divide by it, so that cutting it anew trims nothing.
    """

    shards: int
    schema: int
    version: int
    reach: int
    homes: tuple[Home, ...]
    fewest: int

    @classmethod
    def read(cls, raw: Sequence[Any]) -> "Layout":
        """Read what a script says of a queue; of one that is not laid out, that it has no shards."""
        shards, schema, version, reach, homes, fewest = raw
        return cls(
            shards=int(shards),
            schema=int(schema),
            version=int(version),
            reach=int(reach),
            homes=tuple(Home(*map(int, each.split(":"))) for each in text(homes).split(",") if each),
            fewest=int(fewest),
        )

    @classmethod
    def read_used(cls, raw: Sequence[Any]) -> "Layout":
        """Read the reply of ``open_queue``: of a queue that is laid out.

        Raises:
            ValueError: It makes no sense.
        """
        layout = cls.read(raw)
        if min(layout.shards, layout.reach, layout.fewest) < 1:
            raise ValueError(f"{layout.shards} shards, {layout.reach} in reach")
        return layout

    @classmethod
    def of(cls, fields: Sequence[bytes | None]) -> "Layout | None":
        """Read the values of ``LAYOUT_FIELDS``; None when the queue is not laid out."""
        shards, schema, version, reach, homes, fewest = fields
        if shards is None:
            return None
        return cls.read_used([shards, schema or 0, version or 1, reach or shards, homes, fewest or shards])

    @property
    def settled(self) -> bool:
        """Whether nothing of an older layout is left."""
        return not self.homes and self.reach == self.shards

    def route(self, key: str) -> tuple[int, ...]:
        """Return the shards that a request with a key visits: its homes under older layouts, which are asked,
        and its home.
        """
        home = shard_of(key, self.shards)
        return (*self.older_homes(key, home), home) if self.homes else (home,)

    def older_homes(self, key: str, home: int, *, before: int | None = None) -> tuple[int, ...]:
        """Return the homes that a key had, each once.

        Args:
            key: What decides its shard.
            home: The shard that is its home; it is left out.
            before: Only under layouts older than this version.
        """
        shards = (
            shard_of(key, each.shards) for each in self.homes if before is None or each.version < before
        )
        return tuple(dict.fromkeys(shard for shard in shards if shard != home))


@checked(_OPEN_QUEUE)
def open_queue(
    keys: Keys, queue: str, *, shards: int, schema: int, floor: int = 1, held: int = 0
) -> Call[Layout]:
    """Read a queue's layout, writing it if the queue is new.

    Args:
        keys: The namespace.
        queue: The queue.
        shards: For a new one.
        schema: For a new one.
        floor: The version of a layout that the caller has seen: there is none older, unless Redis lost data.
        held: The number of shards in which the caller has just seen something: so many are served, whatever
            Redis has lost.
    """
    return _OPEN_QUEUE(
        (keys.queue_meta(queue),), Layout.read_used, shards=shards, schema=schema, floor=floor, held=held
    )


class Cut(StrEnum):
    """What ``queue_reshard`` did."""

    RESHARDED = "resharded"
    SAME = "same"
    MISSING = "missing"
    BUSY = "busy"


def _read_reshard(raw: Sequence[Any]) -> tuple[Cut, Layout]:
    verdict, *layout = raw
    return Cut(text(verdict)), Layout.read(layout)


@checked(_RESHARD)
def queue_reshard(
    keys: Keys, queue: str, *, shards: int, most_homes: int, remembered: int, floor: int
) -> Call[tuple[Cut, Layout]]:
    """Cut a queue anew.

    Args:
        keys: The namespace.
        queue: The queue.
        shards: Into how many.
        most_homes: Older layouts of which keys may be held.
        remembered: ms for which ended jobs may be kept.
        floor: The newest version that one of its shards has heard of.
    """
    return _RESHARD(
        (keys.queue_meta(queue),),
        _read_reshard,
        shards=shards,
        most_homes=most_homes,
        remembered=remembered,
        floor=floor,
    )


def _read_settled(raw: Sequence[Any]) -> tuple[bool, Layout]:
    settled, *layout = raw
    return bool(settled), Layout.read(layout)


@checked(_SETTLE, given=("homes",))
def queue_settle(
    keys: Keys, queue: str, left: Sequence[Home], *, layout: int, reach: int, looked: int
) -> Call[tuple[bool, Layout]]:
    """Strike off what is over. False: the queue was cut anew since version ``layout``, or has more shards.

    Args:
        keys: The namespace.
        queue: The queue.
        left: Older layouts of which keys may still be held.
        layout: The version that the caller looked at.
        reach: Shards that may hold anything.
        looked: Shards that the caller looked at.
    """
    homes = ",".join(f"{home.version}:{home.shards}" for home in left)
    return _SETTLE(
        (keys.queue_meta(queue),), _read_settled, layout=layout, homes=homes, reach=reach, looked=looked
    )


class Held(NamedTuple):
    """Keys that are held in a shard: how many by jobs, and for how many ms the last window holds."""

    by_jobs: int
    window: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """The reply of ``seal``.

    Attributes:
        heard: The newest layout that the shard has heard of.
        live: Jobs that have not ended.
        ended: Jobs that have, and can still be asked for.
        stakes: Stakes of workers; one that ended goes when somebody reaps.
        lent: Keys that jobs of other shards may hold.
        paused: Whether nothing is taken from it.
        keys: Keys that are held, by the version of the layout under which they were taken.
    """

    heard: int
    live: int
    ended: int
    stakes: int
    lent: int
    paused: bool
    keys: Mapping[int, Held]

    @property
    def empty(self) -> bool:
        """Whether there is nothing in it that anybody might ask for, or look after."""
        return not (self.live or self.ended or self.stakes)

    @classmethod
    def read(cls, raw: Sequence[Any]) -> "Sealed":
        """Read the reply."""
        heard, live, ended, stakes, lent, paused, keys = raw
        return cls(
            heard=int(heard),
            live=live,
            ended=ended,
            stakes=stakes,
            lent=lent,
            paused=bool(paused),
            keys={version: Held(count, window) for version, count, window in keys},
        )


@checked(_SEAL)
def seal(shard: ShardKeys, *, layout: int) -> Call[Sealed]:
    """Have a shard take no request of an older layout from here on; tell what it holds. With 0 it only
    tells.
    """
    return _SEAL(shard, Sealed.read, layout=layout)


class Lent(StrEnum):
    """What ``lend`` did."""

    LENT = "lent"
    MOVED = "moved"
    DUPLICATE = "duplicate"
    AWAY = "away"


def _read_lent(raw: Sequence[Any]) -> tuple[Lent, str]:
    verdict, detail = raw
    return Lent(text(verdict)), str(detail) if isinstance(detail, int) else text(detail)


@checked(_LEND)
def lend(
    shard: ShardKeys, *, layout: int, task: str, key: str, job: str, past: str
) -> Call[tuple[Lent, str]]:
    """Let a dead job of another shard have a key whose home this is.

    Args:
        shard: The key's home.
        layout: The version by which it is.
        task: Whose key it is.
        key: The key.
        job: The job's whole id.
        past: Loans that are over, parted by spaces.

    Returns:
        The verdict, and the loan's number (``lent``), who holds the key (``duplicate``), or the loan to ask
        about (``away``).
    """
    return _LEND(shard, _read_lent, layout=layout, task=task, key=key, job=job, past=past)


class Loan(NamedTuple):
    """A key that was lent.

    Attributes:
        key: ``<task>:<dedupe key>``.
        loan: ``<job id>#<number>``.
    """

    key: str
    loan: str


def _read_loans(raw: Sequence[Any]) -> list[Loan]:
    return [Loan(text(key), text(loan)) for key, loan in raw]


@checked(_LOANS, rows=Loan)
def loans(shard: ShardKeys, *, limit: int, over: Sequence[Loan] = ()) -> Call[list[Loan]]:
    """Strike off loans that are over, and list about ``limit`` of those that are left."""
    return _LOANS(shard, _read_loans, over, limit=limit)
