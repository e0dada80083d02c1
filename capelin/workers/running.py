"""The one table of starts that this process runs.

A start enters by the reply of a take, by adoption or by unparking, and leaves when its outcome is recorded
or it turns out to be somebody else's. All doors meet here by id and token, so that one start never runs
twice in a process. The event loop writes the table; the heartbeat's thread only reads snapshots of it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from capelin.keys import ShardKeys
from capelin.lua import Delivery, RunningRow

_REMEMBERED = 10_000


class Stage(Enum):
    """How far a start is in this process."""

    RUNNING = auto()
    """Its function runs, or is about to."""
    ENDING = auto()
    """It has an outcome that is being recorded. Its slot is free."""


class Stop(Enum):
    """Why a running start was told to stop."""

    CANCELLED = auto()
    """Somebody asked to cancel the job."""
    LOST = auto()
    """Redis says that this start is not ours any more; its outcome would be refused."""
    SHUTDOWN = auto()
    """The worker ends; the job is handed back."""
    TIMEOUT = auto()
    """It ran longer than its timeout."""


@dataclass(eq=False, slots=True)
class Start:
    """One start of a job in this process.

    Attributes:
        handle: The asyncio task that runs it, while there is one.
        stop: Why it was told to stop, if it was.
        pool: The slots it takes: ``loop``, ``thread`` or ``process``.
        began: When its coroutine began (``time.monotonic``), or None.
        ended: When it was over, if somebody counts.
        ready: When its job was ready to start (Redis's clock, ms), if somebody counts.
    """

    shard: ShardKeys
    delivery: Delivery
    pool: str = "loop"
    stage: Stage = Stage.RUNNING
    stop: Stop | None = None
    handle: "asyncio.Task[None] | None" = None
    began: float | None = None
    ended: float | None = None
    ready: int = 0

    @property
    def uid(self) -> str:
        return self.delivery.uid

    @property
    def token(self) -> int:
        return self.delivery.token

    @property
    def job_id(self) -> str:
        return self.shard.job_id(self.delivery.uid)

    def request_stop(self, why: Stop) -> None:
        """Tell a running start to stop. The first reason counts, but that it is lost overrides all."""
        if self.stop is None or why is Stop.LOST:
            self.stop = why
        # A thread cannot be stopped, and a coroutine that has not begun looks for itself.
        if (
            self.stage is Stage.RUNNING
            and self.handle is not None
            and self.began is not None
            and self.pool != "thread"
        ):
            self.handle.cancel()


@dataclass(eq=False, slots=True)
class Running:
    """The table."""

    _starts: dict[tuple[str, str], Start] = field(default_factory=dict[tuple[str, str], Start])
    # A reply that is late, or an adoption that was slow to arrive, must not begin what has ended meanwhile.
    _ended: "OrderedDict[tuple[str, str], int]" = field(default_factory=OrderedDict[tuple[str, str], int])

    def add(self, start: Start) -> bool:
        """Enter a start; False when this very start is or was known, by whatever door it came."""
        key, token = (start.shard.base, start.delivery.uid), start.delivery.token
        known = self._starts.get(key)
        if known is not None and known.token >= token:
            return False
        if self._ended.get(key, 0) >= token:
            return False
        if known is not None:
            known.request_stop(Stop.LOST)
        self._starts[key] = start
        return True

    def has_ended(self, start: Start) -> bool:
        """Whether this very start, or a later one of its job, has run here, and its end was recorded."""
        return self._ended.get((start.shard.base, start.uid), 0) >= start.token

    def remove(self, start: Start) -> None:
        key = (start.shard.base, start.uid)
        if self._starts.get(key) is start:
            del self._starts[key]
            self._ended[key] = start.token
            if len(self._ended) > _REMEMBERED:
                self._ended.popitem(last=False)

    def find(self, shard: ShardKeys, uid: str) -> Start | None:
        return self._starts.get((shard.base, uid))

    def by_shard(self) -> dict[ShardKeys, list[RunningRow]]:
        """A snapshot of what runs, for the renewals. Safe from another thread."""
        rows: dict[ShardKeys, list[RunningRow]] = {}
        for start in list(self._starts.values()):
            rows.setdefault(start.shard, []).append(RunningRow(start.uid, start.token))
        return rows

    def handles(self) -> "list[asyncio.Task[None]]":
        """The asyncio tasks of the starts that still run."""
        return [start.handle for start in self if start.handle is not None and not start.handle.done()]

    def __iter__(self) -> Iterator[Start]:
        return iter(list(self._starts.values()))

    def __len__(self) -> int:
        return len(self._starts)
