"""What `--http` adds to a worker process: it is counted and observed, and somebody answers for it."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from capelin.metrics.tally import Tally
from capelin.probes.family import Family
from capelin.probes.observer import Observer
from capelin.probes.server import Address, ProbeServer
from capelin.workers.supervisor import Supervisor
from capelin.workers.worker import Worker

if TYPE_CHECKING:
    from capelin.app import Capelin


class Watch:
    """Watches the worker of this process.

    Args:
        app: Its app.
        http: Where it answers itself: ``HOST:PORT``, or ``:PORT``.
        reporting: The descriptor of a supervisor's questions, which answers for it instead.

    Attributes:
        tally: What counts, for the worker to be made with.

    Raises:
        ConfigurationError: Nobody can listen there.
    """

    def __init__(self, app: "Capelin[Any]", *, http: str, reporting: int | None) -> None:
        self._app = app
        self.tally = Tally(
            {name: task.name for name, task in app.tasks.items()},
            {task.name: task.effective(app.defaults).queue for task in app.tasks.values()},
        )
        address = Address.parse(http)
        self._server = ProbeServer(address) if reporting is None else None
        self._link = None if reporting is None else socket.socket(fileno=reporting)
        if self._link is not None:
            self._link.set_inheritable(False)

    @property
    def address(self) -> Address:
        """Where it listens.

        Raises:
            RuntimeError: It does not: its supervisor does.
        """
        if self._server is None:
            raise RuntimeError("a supervisor answers for this process")
        return self._server.address

    @asynccontextmanager
    async def over(self, worker: Worker) -> AsyncGenerator[None]:
        """Watch it while it works."""
        observer = Observer(self._app, worker, self.tally)
        await observer.start(self._link)
        try:
            if self._server is not None:
                self._server.serve(observer, observer.loop)
            yield
        finally:
            if self._server is not None:
                self._server.close()
            await observer.stop()


class FamilyWatch:
    """Answers for the worker processes of a supervisor.

    Args:
        http: Where.

    Raises:
        ConfigurationError: Nobody can listen there.
    """

    def __init__(self, http: str) -> None:
        self._server = ProbeServer(Address.parse(http))

    @asynccontextmanager
    async def over(self, supervisor: Supervisor, *, processes: int) -> AsyncGenerator[None]:
        """Answer while it keeps them."""
        family = Family(processes, lambda: supervisor.children)
        self._server.serve(family, asyncio.get_running_loop())
        try:
            yield
        finally:
            self._server.close()
