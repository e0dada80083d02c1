"""What tests of singletons share: a stage on which they run in this process, and intruders."""

from contextlib import AsyncExitStack
from typing import Any

from capelin import Capelin, lua
from capelin.admin import Access, SingletonInfo, list_singletons
from capelin.settings import Settings
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, LocalWorker, start_worker


class Stage:
    """Workers in this process, and what their singletons said.

    Attributes:
        said: What singletons said, in order: tuples that begin with what happened.
    """

    def __init__(self, url: str, ends: AsyncExitStack) -> None:
        self.url, self._ends = url, ends
        self.said: list[tuple[Any, ...]] = []

    def app(self, *, name: str = "stage", settings: Settings = QUICK) -> Capelin[None]:
        """An app with one task, for its worker to have a queue."""
        app = Capelin(self.url, name=name, settings=settings)

        @app.task
        async def idle() -> None: ...

        return app

    def say(self, *words: Any) -> None:
        """Note something."""
        self.said.append(words)

    def count(self, *words: Any) -> int:
        """How often something was said that begins like this."""
        return sum(one[: len(words)] == words for one in self.said)

    async def heard(self, *words: Any, times: int = 1) -> None:
        """Return once it was said so often."""
        await wait_until(lambda: self.count(*words) >= times, description=f"{words}, {times} times")

    async def start(self, app: Capelin[Any], **options: Any) -> LocalWorker:
        """Start a worker of an app."""
        return await start_worker(self._ends, app, **options)

    async def standing(self, app: Capelin[Any], name: str) -> SingletonInfo:
        """How a singleton stands, as operators see it."""
        return next(one for one in await list_singletons(access_to(app)) if one.name == name)

    async def depose(self, app: Capelin[Any], name: str) -> int:
        """Take the lease of a singleton from whoever holds it, for an intruder that never renews it."""
        connection, key = app.client().connection, app.keys.lease(name)
        owner, epoch = await connection.command("HMGET", key, "owner", "epoch")
        await connection.run(lua.lease_release(key, owner=owner.decode(), epoch=int(epoch)))
        taken = await connection.run(lua.lease_acquire(key, owner="intruder", ttl=60_000))
        return taken.epoch


def access_to(app: Capelin[Any]) -> Access:
    """An operator's way to an app's Redis."""
    client = app.client()
    return Access(client.connection, client.keys, client.settings)
