"""A dead job runs again: in one step, or in several if it has a key and its queue was cut anew.

The job stays where its id says, and so does whatever follows it there. But by now its key may belong to
another shard, where others would take it. So its home lends it to the job first; see ``docs/resharding.md``.
"""

from capelin import lua
from capelin._queues import Queues
from capelin._visiting import Arrived, Stop, borrower_of, visit
from capelin.connection import Connection
from capelin.ids import JobId, new_uid
from capelin.keys import Keys
from capelin.lua import Call, Layout, Lent, NewJob, Replayed, Submitted

_NO_ALIAS = 1
"""ms; a question leaves none."""


class Replaying:
    """Replays of one client.

    Args:
        connection: Where.
        keys: The namespace.
        queues: Layouts.
    """

    def __init__(self, connection: Connection, keys: Keys, queues: Queues) -> None:
        self._connection, self._keys, self._queues = connection, keys, queues

    async def replay(self, job: JobId, *, picked: str | None = None) -> tuple[Replayed, str]:
        """Run a dead job again, or one that waits for its time at once.

        Args:
            job: The job.
            picked: Its entry in the DLQ as it was seen: only this death is undone. None: in whatever state
                the job is.

        Returns:
            The verdict, and the status (``refused``) or the id of the job that holds its key (``duplicate``).

        Raises:
            Unreachable, RedisRefused: It may or may not run again.
        """
        return await self.go_on(
            job, *await self._connection.run(self.first(job, picked=picked)), picked=picked
        )

    def first(self, job: JobId, *, picked: str | None = None) -> Call[tuple[Replayed, str]]:
        """Return the call that does, unless it answers ``keyed``: what it answers goes to ``go_on``."""
        return lua.replay(self._keys.shard(job.queue, job.shard), uid=job.uid, picked=picked)

    async def go_on(
        self, job: JobId, verdict: Replayed, detail: str, *, picked: str | None = None
    ) -> tuple[Replayed, str]:
        """Finish what the first call began; arguments as it answered, the rest as ``replay``."""
        if verdict is not Replayed.KEYED:
            return verdict, self._id(job, job.shard, detail) if verdict is Replayed.DUPLICATE else detail
        task, _, key = detail.partition(":")
        journey = _Journey(self._connection, self._keys, self._queues, job, task=task, key=key, picked=picked)
        return await journey.end()

    @staticmethod
    def _id(job: JobId, shard: int, uid: str) -> str:
        return str(JobId(queue=job.queue, shard=shard, uid=uid))


class _Journey:
    """One replay of a job with a key: until everybody who might hold the key was asked under one layout."""

    def __init__(
        self,
        connection: Connection,
        keys: Keys,
        queues: Queues,
        job: JobId,
        *,
        task: str,
        key: str,
        picked: str | None,
    ) -> None:
        self._connection, self._keys, self._queues = connection, keys, queues
        self._job, self._task, self._key, self._picked = job, task, key, picked
        self._past: tuple[str, ...] = ()

    async def end(self) -> tuple[Replayed, str]:
        while True:
            layout = (await self._queues.open([self._job.queue]))[self._job.queue]
            ended = await self._try(layout)
            if ended is not None:
                return ended
            # Somebody knows a newer layout, or has called in the loan: begin anew.
            self._queues.known.pop(self._job.queue, None)

    async def _try(self, layout: Layout) -> tuple[Replayed, str] | None:
        *older, home = layout.route(f"{self._task}:{self._key}")
        arrived = await self._ask(layout, older)
        if arrived.verdict is not Submitted.FREE:
            return self._held(arrived)
        if home == self._job.shard:
            return await self._replay(layout, "here")
        verdict, detail = await self._connection.run(
            lua.lend(
                self._keys.shard(self._job.queue, home),
                layout=layout.version,
                task=self._task,
                key=self._key,
                job=str(self._job),
                past=" ".join(self._past),
            )
        )
        if verdict is Lent.LENT:
            return await self._replay(layout, detail)
        if verdict is Lent.DUPLICATE:
            return Replayed.DUPLICATE, detail
        if verdict is Lent.AWAY:
            return await self._ask_borrower(layout, detail)
        self._queues.moved(self._job.queue, int(detail))
        return None

    async def _replay(self, layout: Layout, home: str) -> tuple[Replayed, str] | None:
        shard = self._keys.shard(self._job.queue, self._job.shard)
        verdict, detail = await self._connection.run(
            lua.replay(
                shard,
                uid=self._job.uid,
                picked=self._picked,
                layout=layout.version,
                home=home,
                past=" ".join(self._past),
            )
        )
        if verdict is Replayed.AWAY:
            return await self._ask_borrower(layout, detail)
        if verdict is Replayed.MOVED:
            if detail:  # else the loan is over
                self._queues.moved(self._job.queue, int(detail))
            return None
        return verdict, shard.job_id(detail) if verdict is Replayed.DUPLICATE else detail

    async def _ask_borrower(self, layout: Layout, loan: str) -> tuple[Replayed, str] | None:
        self._past = (*self._past, loan)
        arrived = await self._ask(layout, [borrower_of(loan).shard])
        return None if arrived.verdict is Submitted.FREE else self._held(arrived)

    async def _ask(self, layout: Layout, shards: list[int]) -> Arrived:
        question = NewJob(new_uid(), self._task, unique_key=self._key)

        async def send(stop: Stop, past: tuple[str, ...]) -> list[tuple[Submitted, str]] | None:
            extra = f'{{"past":"{" ".join(past)}"}}' if past else ""
            return await self._connection.run(
                lua.enqueue(
                    self._keys.shard(self._job.queue, stop.shard),
                    most=None,
                    resend_window=_NO_ALIAS,
                    layout=layout.version,
                    question=True,
                    jobs=[question._replace(extra=extra)],
                )
            )

        arrived = await visit([Stop(shard, only_asked=True) for shard in shards], send, self._past)
        self._past = arrived.past
        return arrived

    def _held(self, arrived: Arrived) -> tuple[Replayed, str] | None:
        if arrived.verdict is Submitted.MOVED:
            self._queues.moved(self._job.queue, int(arrived.detail))
            return None
        holder = JobId(queue=self._job.queue, shard=arrived.shard, uid=arrived.detail)
        return Replayed.DUPLICATE, str(holder)
