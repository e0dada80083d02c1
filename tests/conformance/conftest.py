"""What the conformance tests share: an app with tasks on each backend, and a worker moved by hand."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from capelin import Capelin, FailedJob, Settings, lua
from capelin.client import Client
from capelin.durations import milliseconds
from capelin.lua import Delivery, OutcomeKind, OutcomeRow, Verdict
from capelin.tasks import AsyncTask


class Shop:
    """An app and its tasks. Their functions never run here: what is tested is what a client does.

    Attributes:
        app: The app.
        hand: A worker whose every step the test makes.
    """

    def __init__(self, url: str, **settings: Any) -> None:
        self.app = Capelin(url, settings=Settings(**settings))
        self.hand = Hand(self.app)

        @self.app.task
        async def nothing() -> None: ...

        @self.app.task(name="email.send", queue="emails", priority="high")
        async def send(to: str, subject: str = "hi") -> int:
            return len(to + subject)

        @self.app.task
        async def stamp(order: UUID, moment: datetime) -> datetime:
            del order
            return moment

        @self.app.task(priority="critical")
        async def alert(job: FailedJob) -> None:
            del job

        @self.app.task(on_failure=alert)
        async def risky(number: int) -> int:
            return number

        @self.app.task
        async def plain(number: int) -> int:
            return number

        self.nothing: AsyncTask[[], None] = nothing
        self.plain = plain
        self.send, self.stamp, self.alert, self.risky = send, stamp, alert, risky

    @property
    def client(self) -> Client:
        """The running loop's client."""
        return self.app.client()


class Hand:
    """Takes and finishes jobs when the test says so, by the real transitions."""

    name = "hand"

    def __init__(self, app: Capelin[Any]) -> None:
        self._app = app

    async def take(self, queue: str = "default", count: int = 10) -> list[tuple[int, Delivery]]:
        """Take what is due, from every shard: pairs of shard and delivery."""
        client = self._app.client()
        layout = (await client.queues.open([queue]))[queue]
        taken: list[tuple[int, Delivery]] = []
        for shard in range(layout.reach):
            reply = await client.connection.run(
                lua.take(
                    client.keys.shard(queue, shard),
                    worker=self.name,
                    count=count,
                    ttl=60_000,
                    waits=False,
                    older_than=None,
                    resend_window=milliseconds(client.settings.resend_window),
                    default_retention=milliseconds(client.settings.retention),
                    critical=0,
                    high=0,
                    normal=0,
                    low=0,
                )
            )
            taken += [(shard, delivery) for delivery in reply.jobs]
        return taken

    async def take_one(self, queue: str = "default") -> tuple[int, Delivery]:
        """Take the one job that is due."""
        [one] = await self.take(queue)
        return one

    async def finish(
        self,
        queue: str,
        shard: int,
        delivery: Delivery,
        kind: OutcomeKind,
        body: str = "",
        *,
        due: str = "",
        failure: str = "",
    ) -> Verdict:
        """Record an outcome."""
        [verdict] = await self._finish(
            queue, shard, [OutcomeRow(delivery.uid, delivery.token, kind.value, body, due, failure)]
        )
        return verdict

    async def complete(self, queue: str = "default", result: str = "") -> None:
        """Take the one job that is due, and complete it."""
        shard, delivery = await self.take_one(queue)
        assert await self.finish(queue, shard, delivery, OutcomeKind.COMPLETE, result) is Verdict.RECORDED

    async def bury(self, queue: str = "default", error: str = '{"type":"ValueError","message":"no"}') -> None:
        """Take the one job that is due, and send it to the DLQ."""
        shard, delivery = await self.take_one(queue)
        verdict = await self.finish(queue, shard, delivery, OutcomeKind.DEAD, "ValueError", failure=error)
        assert verdict is Verdict.RECORDED

    async def leave(self, queue: str = "default") -> None:
        """Take its name off every shard: it runs nothing."""
        client = self._app.client()
        layout = (await client.queues.open([queue]))[queue]
        for shard in range(layout.reach):
            await client.connection.run(lua.leave(client.keys.shard(queue, shard), worker=self.name))

    async def _finish(self, queue: str, shard: int, rows: Sequence[OutcomeRow]) -> list[Verdict]:
        client = self._app.client()
        return await client.connection.run(
            lua.finish(
                client.keys.shard(queue, shard),
                worker=self.name,
                resend_window=milliseconds(client.settings.resend_window),
                default_retention=milliseconds(client.settings.retention),
                most_finished=client.settings.max_finished,
                outcomes=rows,
            )
        )


@pytest.fixture
async def shop(backend_url: str) -> AsyncIterator[Shop]:
    """An app with tasks on one backend."""
    shop = Shop(backend_url)
    async with shop.app:
        yield shop


@pytest.fixture
async def small_shop(backend_url: str) -> AsyncIterator[Shop]:
    """The same with little room: 20 jobs may wait in a queue, arguments take 1,000 bytes at most."""
    shop = Shop(backend_url, max_queue_length=20, max_payload_bytes=1000)
    async with shop.app:
        yield shop
