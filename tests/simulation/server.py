"""One Redis: fakeredis behind a socket, which the network may break.

Bytes come in and go out as over a real connection, so that the wire and hiredis are the real ones. The server
can be killed, and then comes back without the newest writes; as a node of a Cluster it asks its bus about
every command first.
"""

import asyncio
import copy
import time
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

import fakeredis
import hiredis
from fakeredis._helpers import NoResponse

from tests.simulation.loop import Lane, SimLoop
from tests.simulation.session import Session

Observe = Callable[[Session, list[bytes]], None]


class Bus(Protocol):
    """What the nodes of a Cluster know of each other."""

    def answer(self, node: "SimRedis", session: Session, command: list[bytes]) -> Any:
        """What a node says instead of running a command; None when it is to run it."""
        ...


@dataclass(kw_only=True)
class Common:
    """What the servers of one simulation share.

    Attributes:
        observe: Told of each `HSET` of a script, before it is done.
        channels: Subscriptions: what one node of a Cluster publishes, all deliver.
    """

    observe: Observe | None = None
    channels: Any = None
    numbers: Any = field(default_factory=lambda: count(1))
    scripts_run: int = 0


class SimRedis:
    """One server.

    Args:
        loop: The loop.
        common: What it shares with others.
        port: Where it listens.
        bus: Of the Cluster that it is a node of.
    """

    def __init__(
        self, loop: SimLoop, *, common: Common | None = None, port: int = 6379, bus: Bus | None = None
    ) -> None:
        self._loop = loop
        self.common = common or Common()
        self.port = port
        self._bus = bus
        self.lane = Lane(loop, f"redis {port}")
        self.context: Context = self.lane.context()
        self.fake: Any = fakeredis.FakeServer(version=(7,))
        self.db: Any = self.fake.dbs[0]
        self.sessions: dict[int, Session] = {}
        self.blocked: dict[int, Session] = {}
        self._waiting_for: dict[bytes, set[int]] = {}  # who is blocked, by each word of what they asked
        self._written: set[bytes] = set()
        self._unblocks = False
        self.up = True
        self._snapshot: tuple[float, Any] | None = None
        self._checker: Session | None = None
        _tell_of_writes(self.db, self._written.add)
        self.db.add_change_callback(self._note_unblocked)
        if self.common.channels is None:
            self.common.channels = self.fake.subscribers
        self.fake.subscribers = self.common.channels

    def __repr__(self) -> str:
        return f"<SimRedis {self.port}{'' if self.up else ' down'}>"

    def open(self, pod: str, reply: Callable[[bytes], None]) -> Session:
        """A new connection."""
        session = Session(self, pod, reply, next(self.common.numbers))
        self.sessions[session.number] = session
        return session

    def later(self, callback: Callable[[], None]) -> None:
        self._loop.call_soon(callback, context=self.context)

    def later_by(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_later(seconds, callback, context=self.context)

    def run(self, session: Session, command: list[bytes]) -> None:
        """Run a command, and then what others wait for because of it."""
        session.script_name = ""
        if self._bus is not None and (answer := self._bus.answer(self, session, command)) is not None:
            if not isinstance(answer, NoResponse):
                session.put_response(answer)
            return
        session.obey(command)
        while self._written or self._unblocks:
            written, everybody = self._written.copy(), self._unblocks
            self._written.clear()
            self._unblocks = False
            self.db.time = time.time()
            concerned = {number for word in written for number in self._waiting_for.get(word, ())}
            if not (everybody or concerned):
                continue
            for number, waiting in list(self.blocked.items()):
                if everybody or number in concerned:
                    waiting.try_again()

    def block(self, session: Session) -> None:
        self.blocked[session.number] = session
        for word in session.words:
            self._waiting_for.setdefault(word, set()).add(session.number)

    def unblock(self, session: Session) -> None:
        session.blocked = None
        session.mark_blocked(blocked=False)
        if self.blocked.pop(session.number, None) is not None:
            for word in session.words:
                self._waiting_for[word].discard(session.number)

    def _note_unblocked(self) -> None:
        self._unblocks = True

    # Asked by checkers, outside of the simulation's time.

    def ask(self, *words: str | bytes | float) -> Any:
        """The reply to a command, as texts; nobody else notices."""
        replies: list[bytes] = []
        if self._checker is None:
            self._checker = Session(self, "checker", replies.append, 0)
        session = self._checker
        session.reply = replies.append
        session.obey([word if isinstance(word, bytes) else str(word).encode() for word in words])
        self._written.clear()
        reader = hiredis.Reader(encoding="utf-8", errors="surrogateescape")
        for reply in replies:
            reader.feed(reply)
        return reader.gets()

    def hash_at(self, key: bytes) -> dict[str, str]:
        """The fields of a hash; empty if there is none."""
        item = self.db._dict.get(key)
        values: dict[bytes, bytes] = getattr(item.value, "_values", {}) if item is not None else {}
        return {name.decode(): value.decode(errors="replace") for name, value in values.items()}

    def expires(self, key: bytes) -> bool:
        """Whether a key ends by itself."""
        item = self.db._dict.get(key)
        return item is not None and item.expireat is not None

    def all_keys(self) -> list[bytes]:
        """Every key."""
        return list(self.db._dict)

    # What befalls servers.

    def flush_scripts(self) -> None:
        """The script cache is gone: a failover, a restart, an operator."""
        self.fake.script_cache.clear()

    def hang_up_on_all(self) -> None:
        """Every connection is gone."""
        for session in list(self.sessions.values()):
            session.hang_up()

    @property
    def lags(self) -> bool:
        """Whether what is written now will be lost."""
        return self._snapshot is not None

    def take_snapshot(self) -> None:
        """Keep what there is now: what a crash will lose is written after this moment."""
        self._snapshot = (self._loop.time(), copy.deepcopy((self.db._dict, self.db._expiry_heap)))

    def restore_snapshot(self, *, to: "SimRedis | None" = None) -> float:
        """Go back to the snapshot, or hand it to a replica; how many seconds of writes are lost."""
        if self._snapshot is None:
            return 0.0
        taken, (data, heap) = self._snapshot
        db = (to or self).db
        db._dict.clear()
        db._dict.update(data)
        db._expiry_heap[:] = heap
        self._snapshot = None
        return self._loop.time() - taken

    def empty(self) -> None:
        """Forget everything: what has become a replica is somebody else's copy."""
        self.db._dict.clear()
        self.db._expiry_heap.clear()


def _tell_of_writes(db: Any, tell: Callable[[bytes], object]) -> None:
    """Tell only that; nobody here watches keys, and who is blocked is looked after by `SimRedis.run`."""
    db.notify_watch = tell
