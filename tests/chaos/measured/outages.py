"""Guarantee 12, twenty times in a row: Redis goes away, comes back, and the same workers consume again."""

import asyncio
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from capelin import Capelin
from tests.chaos.apps import duties
from tests.chaos.backends import AppendOnly
from tests.chaos.journal import read_journal
from tests.chaos.measured.watching import MachineWatch
from tests.chaos.pods import Pods, Release
from tests.chaos.report import table
from tests.support.ledger import Ledger
from tests.support.processes import Processes
from tests.support.waiting import wait_until

WORKERS = 2
BOUND = 2.0
"""Seconds from Redis's return until they consume again."""
LEASE = 6.0
REAPED = "jobs of dead workers came back"
HOW = ("killed", "frozen", "cut off")


@dataclass(frozen=True, kw_only=True)
class Outage:
    """One outage.

    Attributes:
        lasted: Seconds.
        due: Seconds from Redis's return to the first start of a job that became due in the outage.
        fresh: The same for a job that was enqueued the moment Redis was back; the time of its enqueue
            is in it.
        still: The longest time for which the machine let anybody stand still in the meantime.
    """

    how: str
    lasted: float
    due: float
    fresh: float
    still: float


@dataclass(kw_only=True)
class Outages:
    """What was measured."""

    rounds: list[Outage] = field(default_factory=list[Outage])
    problems: list[str] = field(default_factory=list[str])

    @property
    def late(self) -> list[Outage]:
        """Those after which it took longer than it may."""
        return [one for one in self.rounds if max(one.due, one.fresh) > BOUND]

    @property
    def good(self) -> bool:
        """Whether each was survived in time, or late by no more than the machine stood still."""
        return not self.problems and all(max(one.due, one.fresh) - one.still <= BOUND for one in self.late)

    def __str__(self) -> str:
        rows = [
            [how, str(len(found)), f"{min(f.lasted for f in found):.0f}-{max(f.lasted for f in found):.0f} s"]
            + [
                f"{figure(values):.2f} s"
                for values in ([f.due for f in found], [f.fresh for f in found])
                for figure in (median, max)
            ]
            for how in HOW
            if (found := [one for one in self.rounds if one.how == how])
        ]
        heads = ["Redis was", "outages", "lengths", "due job: median", "worst", "fresh job: median", "worst"]
        late = [f"\n{one}" for one in self.late]
        return "\n".join([table(heads, rows), *late, *self.problems])


async def measure_outages(count: int, longest: float, say: Callable[[str], None]) -> Outages:
    """Survive so many outages of 1 s to so many seconds."""
    lengths = [1 + (longest - 1) * number / max(1, count - 1) for number in range(count)]
    random.Random(12).shuffle(lengths)  # noqa: S311 -- it is to be repeatable
    outages = Outages()
    with (
        tempfile.TemporaryDirectory(prefix="capelin-outages-") as folder,
        AppendOnly() as backend,
        Processes() as processes,
    ):
        ledger = Ledger(Path(folder) / "ledger")
        pods = Pods(processes, url=backend.url, ledger=ledger, ttl=LEASE)
        await asyncio.gather(*(pods.start(Release.TWO) for _ in range(WORKERS)))
        async with Capelin(backend.url) as app:
            app.include(duties.tasks)
            for number, length in enumerate(lengths):
                outages.rounds.append(await _outage(app, backend, ledger, HOW[number % len(HOW)], length))
                say(str(outages.rounds[-1]))
        for pod in pods.all:
            if not pod.child.running or len(pod.child.events("worker started")) != 1:
                outages.problems.append(f"{pod.id} did not live through it:\n{pod.child.output[-2000:]}")
            if pod.child.events(REAPED):
                outages.problems.append(f"{pod.id} reaped: {pod.child.events(REAPED)}")
        if max(ledger.starts_of().values()) > 1:
            outages.problems.append("a job was started twice")
    return outages


async def _outage(app: Capelin, backend: AppendOnly, ledger: Ledger, how: str, length: float) -> Outage:
    in_it = [duties.quick.options(delay=length / 2).job(0) for _ in range(8)]
    due = {job.id for job in await app.enqueue(in_it)}
    match how:
        case "killed":
            backend.server.kill()
        case "frozen":
            backend.server.pause()
        case _:
            backend.network.cut_off()
    await asyncio.sleep(length)
    match how:
        case "killed":
            await asyncio.to_thread(backend.server.restart)
        case "frozen":
            backend.server.resume()
        case _:
            backend.network.heal()
    returned = time.time()
    with MachineWatch(backend.server) as machine:
        fresh = {job.id for job in await app.enqueue([duties.quick.job(0) for _ in range(8)])}
        await wait_until(
            lambda: (due | fresh) <= read_journal(ledger.path).lives.keys(),
            description="the jobs to start after the outage",
            timeout=60,
        )
        journal = read_journal(ledger.path)
    first_due, first_fresh = (min(journal.lives[job].starts[0].at for job in jobs) for jobs in (due, fresh))
    return Outage(
        how=how,
        lasted=length,
        due=max(0.0, first_due - returned),  # they may be quicker than whoever looks whether it is back
        fresh=first_fresh - returned,
        still=machine.lost(returned, max(first_due, first_fresh), journal),
    )
