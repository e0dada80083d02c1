"""Guarantee 3, a hundred times: a worker is killed, and what it ran starts again."""

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from capelin import Capelin
from tests.chaos.apps import duties
from tests.chaos.journal import Journal, read_journal
from tests.chaos.measured.watching import MachineWatch
from tests.chaos.pods import Pod, Pods, Release
from tests.chaos.report import table
from tests.support.ledger import Ledger
from tests.support.processes import Processes
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until

WORKERS = 3
WORDS = ("-q", duties.DEFAULT, "-c", "50")
A_ROUND = 9
"""Jobs that are enqueued before each kill."""


@dataclass(frozen=True, kw_only=True)
class Kill:
    """One kill.

    Attributes:
        seconds: To the second start of each job that the worker had.
        still: The longest time for which the machine let Redis, or anybody else here, stand still.
    """

    seconds: tuple[float, ...]
    still: float

    @property
    def worst(self) -> float:
        """Seconds to the last of them."""
        return max(self.seconds)


@dataclass(kw_only=True)
class Kills:
    """What was measured."""

    ttl: float
    rounds: list[Kill] = field(default_factory=list[Kill])

    @property
    def bound(self) -> float:
        """Seconds: lease TTL and one renew interval."""
        return self.ttl * 4 / 3

    @property
    def late(self) -> list[Kill]:
        """Those beyond the bound."""
        return [kill for kill in self.rounds if kill.worst > self.bound]

    @property
    def unexplained(self) -> list[Kill]:
        """Those beyond the bound by more than the machine stood still."""
        return [kill for kill in self.late if kill.worst - kill.still > self.bound]

    def __str__(self) -> str:
        every = [second for kill in self.rounds for second in kill.seconds]
        heads = ["kills", "jobs that came back", "bound", "median", "worst", "kills beyond it", "unexplained"]
        row = [str(len(self.rounds)), str(len(every)), f"{self.bound:.2f} s"]
        row += [
            f"{median(every):.2f} s",
            f"{max(every):.2f} s",
            str(len(self.late)),
            str(len(self.unexplained)),
        ]
        lines = [table(heads, [row])]
        lines += [
            f"\n{kill.worst:.3f} s in one; the machine stood still for {kill.still:.3f} s of it"
            for kill in self.late
        ]
        return "\n".join(lines)


async def measure_kills(count: int, ttl: float, say: Callable[[str], None]) -> Kills:
    """Kill so many workers, one after the other."""
    with (
        tempfile.TemporaryDirectory(prefix="capelin-kills-") as folder,
        RedisServer(appendonly=True) as server,
        Processes() as processes,
        MachineWatch(server) as machine,
    ):
        ledger = Ledger(Path(folder) / "ledger")
        pods = Pods(
            processes, url=server.url, ledger=ledger, ttl=ttl, words=("-q", duties.DEFAULT, "-c", "50")
        )
        await asyncio.gather(*(pods.start(Release.TWO) for _ in range(WORKERS)))
        kills = Kills(ttl=ttl)
        async with Capelin(server.url) as app:
            app.include(duties.tasks)
            for number in range(count):
                victim = await _load(app, pods, ledger)
                kills.rounds.append(await _kill(victim, ledger, machine, bound=kills.bound))
                say(f"kill {number + 1}: {kills.rounds[-1].worst:.3f} s")
                await pods.start(Release.TWO)
        return kills


async def _load(app: Capelin, pods: Pods, ledger: Ledger) -> Pod:
    """Enqueue, and return the worker with the most in flight, once all is."""
    jobs = await app.enqueue([duties.kept.job() for _ in range(A_ROUND)])
    wanted = {job.id for job in jobs}

    def all_started() -> bool:
        return wanted <= read_journal(ledger.path).lives.keys()

    await wait_until(all_started, description="the jobs to start")
    journal = read_journal(ledger.path)
    return max(pods.working, key=lambda pod: len(_held(pod, journal)))


def _held(pod: Pod, journal: Journal) -> set[str]:
    """The jobs that a worker runs."""
    return {
        job
        for job, life in journal.lives.items()
        if life.starts and life.starts[-1].worker == pod.id and life.starts[-1].end is None
    }


async def _kill(victim: Pod, ledger: Ledger, machine: MachineWatch, *, bound: float) -> Kill:
    held = _held(victim, read_journal(ledger.path))
    victim.kill()
    if victim.ended is None:
        raise AssertionError("a worker that was killed has ended")

    def all_again() -> bool:
        lives = read_journal(ledger.path).lives
        return all(len(lives[job].starts) > 1 for job in held)

    await wait_until(all_again, description=f"{len(held)} jobs to start again", timeout=10 * bound + 20)
    journal = read_journal(ledger.path)
    again = [journal.lives[job].starts[1].at for job in held]
    return Kill(
        seconds=tuple(at - victim.ended for at in again),
        still=machine.lost(victim.ended, max(again), journal),
    )
