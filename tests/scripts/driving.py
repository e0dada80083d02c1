"""The scripts of one shard, with the arguments that a test does not care about filled in."""

from collections.abc import Sequence

from capelin import lua
from capelin.keys import Keys, ShardKeys
from capelin.lua import (
    CancelVerdict,
    DeadRow,
    Delivery,
    KnownTask,
    NewJob,
    OutcomeRow,
    Reaped,
    Renewed,
    Replayed,
    Retained,
    RunningRow,
    Submitted,
    Taken,
    Verdict,
    Watched,
)
from tests.scripts.looking import Look, look, pairs
from tests.scripts.servers import Server
from tests.support.records import spelled_out

RESEND_WINDOW = 120_001
RETENTION = 600_000
TTL = 6_000
MANY = 1_000_000


class Shard:
    """One shard on one server."""

    def __init__(self, server: Server, queue: str = "q", number: int = 3) -> None:
        self.server = server
        self.keys: ShardKeys = Keys().shard(queue, number)

    @property
    def now(self) -> int:
        return self.server.now

    def advance(self, ms: int) -> None:
        self.server.advance(ms)

    def look(self) -> Look:
        return look(self.server, self.keys)

    def record(self, uid: str) -> dict[str, str]:
        """One job's record, empty when there is none."""
        return spelled_out(pairs(self.server.command("HGETALL", self.keys.job(uid))))

    def status(self, uid: str) -> str | None:
        return self.record(uid).get("status")

    def submit(self, *jobs: NewJob, most: int | None = None) -> list[tuple[Submitted, str]] | None:
        return self.server.run(lua.enqueue(self.keys, most=most, resend_window=RESEND_WINDOW, jobs=jobs))

    def enqueue(self, *jobs: NewJob | str) -> list[tuple[Submitted, str]]:
        """Enqueue jobs without a limit; a text is the uid of a job of task `a`."""
        replies = self.submit(*[NewJob(uid=job, task="a") if isinstance(job, str) else job for job in jobs])
        assert replies is not None
        return replies

    def take(
        self,
        worker: str = "w1",
        count: int = 10,
        *,
        waits: bool = False,
        older_than: int | None = None,
        ttl: int = TTL,
        weights: tuple[int, int, int, int] = (4, 3, 2, 1),
    ) -> Taken:
        critical, high, normal, low = weights
        worthwhile = older_than is None or self.peek(older_than)
        taken: Taken = self.server.run(
            lua.take(
                self.keys,
                worker=worker,
                count=count,
                ttl=ttl,
                waits=waits,
                older_than=older_than,
                resend_window=RESEND_WINDOW,
                default_retention=RETENTION,
                critical=critical,
                high=high,
                normal=normal,
                low=low,
            )
        )
        assert worthwhile or not (taken.jobs or taken.torn or taken.dropped), "a thief would not have looked"
        return taken

    def peek(self, older_than: int) -> bool:
        return self.server.run(lua.peek(self.keys, older_than=older_than))

    def take_one(self, worker: str = "w1") -> Delivery:
        """Take exactly one job."""
        [job] = self.take(worker, 1).jobs
        return job

    def finish(
        self, *outcomes: OutcomeRow, worker: str = "w1", retention: int = RETENTION, most_finished: int = MANY
    ) -> list[Verdict]:
        return self.server.run(
            lua.finish(
                self.keys,
                worker=worker,
                resend_window=RESEND_WINDOW,
                default_retention=retention,
                most_finished=most_finished,
                outcomes=outcomes,
            )
        )

    def cancel(
        self, uid: str, retention: int = RETENTION, *, only_waiting: bool = False
    ) -> tuple[CancelVerdict, str]:
        return self.server.run(
            lua.cancel(
                self.keys,
                uid=uid,
                resend_window=RESEND_WINDOW,
                default_retention=retention,
                only_waiting=only_waiting,
            )
        )

    def replay(self, uid: str, picked: str | None = None) -> tuple[Replayed, str]:
        return self.server.run(lua.replay(self.keys, uid=uid, picked=picked))

    def watch(self, uid: str) -> Watched | None:
        return self.server.run(lua.watch(self.keys, uid=uid))

    def reap(
        self,
        reaper: str = "reaper",
        *,
        limit: int = 500,
        max_crashes: int = 3,
        no_crash_before: int = 0,
        judge_until: int | None = None,
    ) -> Reaped:
        return self.server.run(
            lua.reap(
                self.keys,
                reaper=reaper,
                limit=limit,
                max_crashes=max_crashes,
                no_crash_before=no_crash_before,
                judge_until=judge_until,
                resend_window=RESEND_WINDOW,
                default_retention=RETENTION,
            )
        )

    def renew(
        self,
        worker: str = "w1",
        running: Sequence[RunningRow] = (),
        *,
        epoch: int | None = None,
        staked: bool = False,
    ) -> Renewed:
        return self.server.run(
            lua.renew(self.keys, worker=worker, ttl=TTL, epoch=epoch, staked=staked, running=running)
        )

    def adopt(self, worker: str, *running: RunningRow) -> list[Delivery]:
        return self.server.run(lua.adopt(self.keys, worker=worker, running=running)).jobs

    def unpark(self, worker: str = "w1", count: int = 10, *tasks: KnownTask) -> list[Delivery]:
        return self.server.run(
            lua.unpark(self.keys, worker=worker, count=count, ttl=TTL, tasks=tasks or [KnownTask("a", "d")])
        )

    def leave(self, worker: str) -> bool:
        return self.server.run(lua.leave(self.keys, worker=worker))

    def pause(self) -> bool:
        return self.server.run(lua.pause(self.keys, since=self.now))

    def resume(self) -> bool:
        return self.server.run(lua.resume(self.keys))

    def retain(
        self,
        *,
        limit: int = 500,
        most_finished: int = MANY,
        dlq_age: int = 10 * RETENTION,
        most_dead: int = MANY,
        parked_age: int = RETENTION,
    ) -> Retained:
        return self.server.run(
            lua.retain(
                self.keys,
                limit=limit,
                resend_window=RESEND_WINDOW,
                default_retention=RETENTION,
                most_finished=most_finished,
                dlq_age=dlq_age,
                most_dead=most_dead,
                parked_age=parked_age,
            )
        )

    def purge(self, *dead: DeadRow) -> int:
        return self.server.run(lua.purge(self.keys, dead=dead))

    def progress(self, uid: str, worker: str, token: int, text: str) -> bool:
        return self.server.run(lua.progress(self.keys, uid=uid, worker=worker, token=token, progress=text))
