"""One event loop's client: everything that an app asks of Redis without being a worker.

It belongs to the loop and the process in which it is first used; ``_clients`` hands out the right one.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from capelin import inbox, lua
from capelin._express import Express
from capelin._patience import Patience
from capelin._queues import Queues
from capelin._rows import Describe, Rows
from capelin._sending import Placed, Sender
from capelin._waiting import Ends
from capelin.connection import connect
from capelin.durations import milliseconds
from capelin.errors import RedisRefused, Unreachable
from capelin.ids import JobId
from capelin.keys import Keys, ShardKeys
from capelin.lua import CancelVerdict, Replayed, Watched
from capelin.records import STATUS_FIELDS, JobInfo, JobStatus, read_info, read_status
from capelin.replaying import Replaying
from capelin.requests import MOST_BYTES, JobRequest
from capelin.settings import Settings

T = TypeVar("T")


class Client:
    """Talks to Redis for one event loop.

    What may be asked twice without harm is asked again through a short interruption (``socket_timeout``);
    enqueues are sent again for ``enqueue_timeout``; results are waited for as long as the caller likes.

    Args:
        url: Where Redis is.
        keys: The namespace.
        settings: Times and limits.
        describe: Tells of the tasks that ``on_failure`` names.

    Attributes:
        connection: The connection.
        keys: The namespace.
        settings: Times and limits.
        queues: The layouts of queues.
        seal: Decrypts what jobs carry.
        enqueue_one: Enqueues one request with some arguments; see ``Express.send``.
    """

    def __init__(self, *, url: str, keys: Keys, settings: Settings, describe: Describe) -> None:
        self.keys, self.settings, self.seal = keys, settings, settings.seal
        self.connection = connect(url, socket_timeout=settings.socket_timeout)
        self.queues = Queues(self.connection, keys, settings)
        # Redis lets whoever asks for replicas wait, and everything behind them on the same socket: they
        # get one of their own, opened when it is first needed.
        self._confirming = connect(
            url,
            socket_timeout=settings.socket_timeout + settings.replication_timeout,
            connect_timeout=settings.socket_timeout,
        )
        self._sender = Sender(
            self.connection,
            confirming=self._confirming,
            keys=keys,
            settings=settings,
            queues=self.queues,
            rows=Rows(describe, self.seal),
        )
        express = Express(
            self.connection, self._sender, most_characters=settings.max_payload_bytes // MOST_BYTES
        )
        self.enqueue_one = express.send
        self._ends = Ends(self.connection)

    def __repr__(self) -> str:
        return f"<Client {self.connection.url} prefix={self.keys.prefix}>"

    async def enqueue(self, requests: Sequence[JobRequest[Any]]) -> list[Placed | Exception]:
        """Enqueue; see ``Sender.send``."""
        return await self._sender.send(requests)

    async def status(self, job: JobId) -> JobStatus | None:
        """Return a job's status; None when there is no record.

        Raises:
            Unreachable, RedisRefused: It could not be read.
        """
        shard = self._shard(job)
        return read_status(
            *await self._patiently(
                lambda: self.connection.command("HMGET", shard.job(job.uid), *STATUS_FIELDS)
            )
        )

    async def info(self, job: JobId) -> JobInfo | None:
        """Return a job's record; None when there is none.

        Raises:
            Unreachable, RedisRefused: It could not be read.
        """
        shard = self._shard(job)

        async def read() -> list[Any]:
            replies = await self.connection.commands(
                [("HGETALL", shard.job(job.uid)), ("LRANGE", shard.failures(job.uid), 0, -1)]
            )
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
            return replies

        record, failures = await self._patiently(read)
        return read_info(shard, job.uid, record, failures, seal=self.seal)

    async def look(self, job: JobId) -> Watched | None:
        """Return how a job stands now, and its end if it has one; None when there is no record.

        Raises:
            Unreachable, RedisRefused: It could not be read.
        """
        return await self._patiently(lambda: self._ends.look(self._shard(job), job.uid))

    async def wait(self, job: JobId) -> Watched | None:
        """Wait until a job has ended, through any outage; None when there is no record.

        Raises:
            RedisRefused: Redis answered with an error.
        """
        return await self._ends.wait(self._shard(job), job.uid)

    async def cancel(self, job: JobId) -> tuple[CancelVerdict, str]:
        """Cancel a job, or flag it and tell its worker.

        Returns:
            As ``lua.cancel``.

        Raises:
            Unreachable, RedisRefused: It may or may not have been cancelled.
        """
        settings = self.settings
        call = lua.cancel(
            self._shard(job),
            uid=job.uid,
            resend_window=milliseconds(settings.resend_window),
            default_retention=milliseconds(settings.retention),
        )
        asked_before = False

        async def ask() -> tuple[CancelVerdict, str]:
            nonlocal asked_before
            try:
                return await self.connection.run(call)
            except Unreachable:
                asked_before = True
                raise

        verdict, detail = await self._patiently(ask)
        if verdict is CancelVerdict.FLAGGED:
            await self._hurry(detail, job)
        elif asked_before and verdict is CancelVerdict.ENDED and detail == "cancelled":
            return CancelVerdict.CANCELLED, ""  # by the call whose reply was lost
        return verdict, detail

    async def replay(self, job: JobId) -> tuple[Replayed, str]:
        """Run a dead job again, or a scheduled one at once; as ``Replaying.replay``."""
        return await Replaying(self.connection, self.keys, self.queues).replay(job)

    async def close(self) -> None:
        """Close the connection; who waits for results gets CancelledError."""
        await self._ends.close()
        await self._confirming.close()
        await self.connection.close()

    async def _hurry(self, worker: str, job: JobId) -> None:
        """Tell the worker; if that is lost, its next renewal tells it."""
        try:
            await inbox.post(self.connection, self.keys, worker, inbox.Kind.CANCEL, {"job": str(job)})
        except (Unreachable, RedisRefused):
            return

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        patience = Patience(self.settings.socket_timeout)
        while True:
            try:
                return await ask()
            except Unreachable:
                if not await patience.pause():
                    raise

    def _shard(self, job: JobId) -> ShardKeys:
        return self.keys.shard(job.queue, job.shard)
