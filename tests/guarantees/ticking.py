"""Worker processes that stand for the lead, and what became of the ticks of their schedules.

What is asked of Redis here is asked over a bare connection: nothing of capelin is believed.
"""

import json
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from tests.guarantees.fleet import TTL
from tests.support.cluster import AnyServer
from tests.support.ledger import Ledger
from tests.support.processes import ChildProcess, Processes
from tests.support.resp import texts
from tests.support.waiting import wait_until

_SCHEDULES = "capelin:{schedules}"
APP = "tests.guarantees.apps.ticking:app"
SLOW = "tests.guarantees.apps.ticking:slow"


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The leader's lease as Redis holds it; the epoch tells when it was taken, ms."""

    owner: str
    epoch: int
    expires: int


@dataclass(frozen=True, kw_only=True)
class Run:
    """A line of the ledger: a start of a tick's job, or its end."""

    schedule: str
    tick: int
    job: str
    token: int
    at: float


class Candidates:
    """Worker processes on one Redis, or on one cluster, each of which may lead.

    Example:
        candidates.launch(), candidates.launch()
        leader = await candidates.leader()
        leader.kill()
        await candidates.successor_of(leader)
    """

    def __init__(self, processes: Processes, server: AnyServer, ledger: Ledger, app: str = APP) -> None:
        self._processes, self._app = processes, app
        self.server, self.ledger = server, ledger
        self.children: dict[str, ChildProcess] = {}

    def launch(self, *, redis_url: str | None = None, **settings: object) -> ChildProcess:
        """Start one, without waiting for it; settings as in `Settings`."""
        env = {
            f"CAPELIN_{name.upper()}": str(value) for name, value in {"lease_ttl": TTL, **settings}.items()
        }
        child = self._processes.worker(
            self._app,
            "--name",
            f"c{len(self.children):03}",
            redis_url=redis_url or self.server.url,
            env=self.ledger.env | env,
        )
        self.children[f"c{len(self.children):03}"] = child
        return child

    # Who leads.

    def lease(self) -> Lease:
        """The lease as it stands."""
        owner, epoch, expires = self._asked("HMGET", f"{_SCHEDULES}:lease", "owner", "epoch", "expires")
        return Lease(owner=owner or "", epoch=int(epoch or 0), expires=int(expires or 0))

    def leading(self) -> ChildProcess | None:
        """The process whose lease holds now; None if there is none, or it has ended."""
        lease = self.lease()
        child = self.children.get(lease.owner.partition("-")[0])
        return child if child is not None and child.running and lease.expires > now_ms() else None

    async def leader(self) -> ChildProcess:
        """The process that leads, once one does."""
        found: list[ChildProcess] = []

        def look() -> bool:
            child = self.leading()
            found[:] = [] if child is None else [child]
            return bool(found)

        await wait_until(look, description="a leader")
        return found[0]

    async def successor_of(self, leader: ChildProcess) -> ChildProcess:
        """The process that leads, once it is another."""
        await wait_until(
            lambda: self.leading() not in {None, leader}, description=f"a successor of {leader.name}"
        )
        return await self.leader()

    # What became of ticks.

    def state(self, schedule: str) -> dict[str, Any]:
        """What the leaders wrote down about a schedule's ticks; empty at first."""
        text = self.server.command("HGET", f"{_SCHEDULES}:states", schedule)
        return json.loads(str(text)) if text is not None else {}

    def intent(self, schedule: str) -> dict[str, Any] | None:
        """The tick that is being enqueued."""
        text = self.server.command("HGET", f"{_SCHEDULES}:intents", schedule)
        return None if text is None else json.loads(str(text))

    def since(self, schedule: str) -> int:
        """Ticks after this moment are owed, ms."""
        text = self.server.command("HGET", f"{_SCHEDULES}:items", schedule)
        return int(json.loads(str(text))["since"])

    def last(self, schedule: str) -> int:
        """The newest tick that was decided about, ms; 0 at first."""
        return int(self.state(schedule).get("last") or 0)

    async def decided_until(self, moment: int, *schedules: str, timeout: float = 30) -> None:
        """Return once the ticks up to a moment were decided about."""
        await wait_until(
            lambda: all(self.last(schedule) >= moment for schedule in schedules),
            description=f"the ticks of {', '.join(schedules)} until {moment} to be decided about",
            timeout=timeout,
        )

    async def ticks_more(self, schedule: str, count: int) -> None:
        """Return once so many more ticks were fired than now."""
        before = int(self.state(schedule).get("fired", 0))
        await wait_until(
            lambda: int(self.state(schedule).get("fired", 0)) >= before + count,
            description=f"{count} more ticks of {schedule}",
        )

    def jobs(self) -> dict[str, dict[int, list[str]]]:
        """The ids of the jobs in Redis that ticks became, by schedule and tick."""
        found: defaultdict[str, defaultdict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
        with self.server.connect() as redis:
            keys = texts(redis("KEYS", "capelin:*:job:*"))
            rows = redis.pipeline(*[("HMGET", key, "schedule", "tick") for key in keys]) if keys else []
        for key, row in zip(keys, rows, strict=True):
            match row:
                case [str(schedule), str(tick)]:
                    found[schedule][int(tick)].append(key.partition(":job:")[2])
                case _:
                    continue
        return {schedule: dict(ticks) for schedule, ticks in found.items()}

    def lateness(self, schedule: str) -> list[int]:
        """How long after its tick each job was enqueued, ms."""
        with self.server.connect() as redis:
            keys = texts(redis("KEYS", "capelin:*:job:*"))
            rows = redis.pipeline(*[("HMGET", key, "schedule", "tick", "at") for key in keys])
        found = [texts(row) for row in rows if isinstance(row, list) and None not in row]
        return [int(enqueued) - int(tick) for name, tick, enqueued in found if name == schedule]

    def runs(self, what: str = "start") -> dict[str, dict[int, list[Run]]]:
        """What the ledger has of starts (or ends), by schedule and tick."""
        found: defaultdict[str, defaultdict[int, list[Run]]] = defaultdict(lambda: defaultdict(list))
        for schedule, tick, job, token, _, at in self.ledger.lines(what):
            run = Run(schedule=schedule, tick=int(tick), job=job, token=int(token), at=float(at))
            found[schedule][run.tick].append(run)
        return {schedule: dict(ticks) for schedule, ticks in found.items()}

    async def all_ended(self, schedule: str, ticks: list[int]) -> None:
        """Return once a run of each of these ticks has ended."""
        await wait_until(
            lambda: set(ticks) <= set(self.runs("end").get(schedule, {})),
            description=f"the jobs of {schedule} to end",
        )

    def problems_of(self, schedule: str, ticks: list[int], *, in_redis: bool = True) -> list[str]:
        """One line for each tick that did not become one job, in Redis and by what the tasks wrote down."""
        starts = self.runs().get(schedule, {})
        sources = {"in the ledger": {tick: sorted({run.job for run in starts[tick]}) for tick in starts}}
        if in_redis:
            sources["in Redis"] = self.jobs().get(schedule, {})
        problems = [
            f"{schedule}: tick {tick} has {len(found.get(tick, []))} jobs {where}: {found.get(tick, [])}"
            for where, found in sources.items()
            for tick in sorted({*ticks, *(other for other in found if other <= max(ticks, default=0))})
            if len(found.get(tick, [])) != 1 or tick not in ticks
        ]
        doubled = Counter((run.job, run.token) for runs in starts.values() for run in runs)
        return problems + [f"{start} began {count} times" for start, count in doubled.items() if count > 1]

    def stop(self) -> None:
        """Kill all that still run."""
        for child in self.children.values():
            if child.running:
                child.kill()

    def _asked(self, *words: str) -> list[str | None]:
        reply = self.server.command(*words)
        return [None if one is None else str(one) for one in reply] if isinstance(reply, list) else []


def now_ms() -> int:
    """The time; that of Redis, too, since it runs on this machine."""
    return int(time.time() * 1000)


def due(period: int, since: int, until: int) -> list[int]:
    """The ticks of a period with `since < tick <= until`."""
    return list(range(since - since % period + period, until + 1, period))
