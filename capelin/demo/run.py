"""The demo, in order: a Redis, workers, a schedule, jobs, a kill, and what became of every file and tick."""

import asyncio
import contextlib
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from capelin._binding import override
from capelin.admin import Access, open_access, schedule_book
from capelin.demo.files import library, library_files, make_failing_files
from capelin.demo.fleet import LEASE_TTL, Fleet, fleet_in
from capelin.demo.outcome import Kill, read_outcome
from capelin.demo.report import report
from capelin.demo.screen import Screen
from capelin.demo.tasks import app, measure
from capelin.demo.ticking import SCHEDULE, Pulse, feel, led, read_ticks
from capelin.demo.watching import Glance, glance, name_of
from capelin.embedded import EmbeddedRedis
from capelin.settings import Settings

WORKERS: Final = ("worker-1", "worker-2", "worker-3")

_LOOK_EVERY = 0.2
_STUCK_SECONDS = 120.0


async def run_demo(*, files: int | None = None, keep: bool = False) -> int:
    """Run the demo; returns the exit status: 0 when every file is accounted for, and each tick fired once.

    Whatever ends it, it ends what it started.

    Args:
        files: At most so many of the library's files, instead of all.
        keep: Leave Redis and the workers running, for trying out commands, until it is interrupted.

    Raises:
        ConfigurationError: There is no Redis to start, or the workers do not start.
    """
    screen = Screen()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="capelin-demo-")))
        redis = stack.enter_context(EmbeddedRedis())
        screen.say(f"Redis    {redis.why}, port {redis.port}")
        override(url=redis.url)
        async with (
            open_access(redis.url, prefix=app.keys.prefix, settings=Settings()) as access,
            fleet_in(folder) as fleet,
            app,
        ):
            await asyncio.gather(*(fleet.start(name, url=redis.url) for name in WORKERS))
            pids = ", ".join(f"{name} is pid {worker.pid}" for name, worker in fleet.workers.items())
            screen.say(f"Workers  {pids}")
            screen.say(
                f"Leader   {name_of(await led(access))} leads the scheduler, which ticks once a second"
            )
            demo = Demo(screen, fleet, access)
            jobs = await demo.enqueue(folder, files)
            seconds = await demo.follow(len(jobs))
            ticks = await read_ticks(access)
            outcome = await read_outcome(access, jobs, kill=demo.kill, seconds=seconds)
            report(screen, outcome, ticks, demo.kill, demo.pulses, url=redis.url, keep=keep)
            if keep:
                await schedule_book(access).resume(SCHEDULE)
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
    return 0 if outcome.complete and ticks.complete else 1


class Demo:
    """The work, from the first job to the last."""

    def __init__(self, screen: Screen, fleet: Fleet, access: Access) -> None:
        self._screen, self._fleet, self._access = screen, fleet, access
        self._began = time.monotonic()
        self.kill: Kill | None = None
        self.pulses: dict[int, Pulse] = {}

    async def enqueue(self, folder: Path, most: int | None) -> dict[Path, str]:
        """Enqueue a job for each file; returns the jobs' ids."""
        paths = library_files(most)
        failing = make_failing_files(folder)
        for index, path in enumerate(failing, 1):
            paths.insert(index * len(paths) // (len(failing) + 1), path)
        self._began = time.monotonic()
        jobs = await app.enqueue([measure.job(str(path)) for path in paths])
        self._screen.say(f"Files    {len(jobs) - len(failing):,} of {library()}")
        self._screen.say(
            f"Jobs     one for each, and {len(failing)} that will fail, "
            f"enqueued in {time.monotonic() - self._began:.2f} s"
        )
        return {path: job.id for path, job in zip(paths, jobs, strict=True)}

    async def follow(self, total: int) -> float:
        """Watch until all jobs ended, and kill the leader half way; returns how many seconds that took."""
        self._screen.begin(total)
        last, changed = -1, time.monotonic()
        ended_after = 0.0
        try:
            while not self._done(last, total) and time.monotonic() - changed < _STUCK_SECONDS:
                seen, pulse = await glance(self._access), await feel(self._access)
                if seen is not None and pulse is not None:
                    ended = seen.done + seen.dead
                    if ended != last:
                        last, changed, ended_after = ended, time.monotonic(), self._seconds
                    self._note(pulse)
                    if self.kill is None and self._half_way(seen, pulse, total):
                        await self.kill_leader(pulse, total)
                    self._screen.show(seen, pulse, workers=self._states(), seconds=self._seconds)
                if not self._fleet.alive:
                    break
                if not self._done(last, total):
                    await asyncio.sleep(_LOOK_EVERY)
        finally:
            self._screen.end()
        return ended_after

    def _done(self, ended: int, total: int) -> bool:
        """Whether all jobs ended, and somebody leads after the kill."""
        return ended >= total and self.kill is not None and max(self.pulses) > self.kill.epoch

    def _note(self, pulse: Pulse) -> None:
        if pulse.leader is None or pulse.epoch in self.pulses:
            return
        self.pulses[pulse.epoch] = pulse
        if self.kill is not None:
            self._screen.say(
                f"{self._seconds:5.1f} s  {name_of(pulse.leader)} leads now, "
                f"{(pulse.epoch - self.kill.at) / 1000:.1f} s after the kill"
            )

    def _half_way(self, seen: Glance, pulse: Pulse, total: int) -> bool:
        """Whether it is time for the kill: best while the leader runs something, too."""
        ended = seen.done + seen.dead
        if pulse.leader is None or ended * 2 < total:
            return False
        return bool(seen.running.get(name_of(pulse.leader))) or ended * 4 >= total * 3

    async def kill_leader(self, pulse: Pulse, total: int) -> None:
        """Kill the leader, unless it has just finished what it ran: then the next look may find better."""
        name = name_of(pulse.leader or "")
        pid = self._fleet.workers[name].pid
        after = self._seconds
        with self._fleet.frozen(name):
            at = await self._access.clock()  # also lets Redis take what it had sent before it froze
            seen = await glance(self._access)
            if seen is None or not self._half_way(seen, pulse, total):
                return
            await self._fleet.kill(name)
        self.kill = Kill(name=name, pid=pid, at=at, epoch=pulse.epoch, after=after)
        self._screen.say(
            f"{after:5.1f} s  half way: {name}, the leader, is killed with SIGKILL; lease TTL {LEASE_TTL:g} s"
        )

    def _states(self) -> dict[str, str]:
        states: dict[str, str] = {}
        for name, worker in self._fleet.workers.items():
            if self.kill is not None and name == self.kill.name:
                states[name] = f"killed at {self.kill.after:.1f} s"
            else:
                states[name] = "dead" if worker.ended else "alive"
        return states

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._began
