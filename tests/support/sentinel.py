"""A master with a replica, and real sentinels that watch them."""

import contextlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.guardian import guardian
from tests.support.ports import LOOPBACK, free_port
from tests.support.resp import Connection, RespError
from tests.support.servers import BINARY, RedisServer
from tests.support.waiting import wait_until_sync

SERVICE = "main"


class Sentinel:
    """One sentinel on loopback that watches one master."""

    def __init__(self, master_port: int, *, quorum: int = 1) -> None:
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="capelin-test-sentinel-"))
        config = self._folder / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind {LOOPBACK}\ndir {self._folder}\n"
            f"sentinel monitor {SERVICE} {LOOPBACK} {master_port} {quorum}\n"
            f"sentinel down-after-milliseconds {SERVICE} 500\n"
            f"sentinel failover-timeout {SERVICE} 3000\n"
        )
        self._process = subprocess.Popen(
            [BINARY, str(config), "--sentinel"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        guardian.protect(self._process.pid)

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{LOOPBACK}:{self.port}"

    def knows_replica(self) -> bool:
        """Whether it could fail over by now."""
        return self._count("REPLICAS") == 1

    def knows_sentinels(self) -> int:
        """How many others it has heard of."""
        return self._count("SENTINELS")

    def master_port(self) -> int | None:
        """The port of what it takes for the master; None while it does not say."""
        with contextlib.suppress(OSError, RespError), Connection(self.port, timeout=1) as redis:
            match redis("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE):
                case [_, str(port)]:
                    return int(port)
                case _:
                    return None
        return None

    def _count(self, what: str) -> int:
        with contextlib.suppress(OSError, RespError), Connection(self.port, timeout=1) as redis:
            rows = redis("SENTINEL", what, SERVICE)
            return len(rows) if isinstance(rows, list) else 0
        return 0

    def fail_over(self) -> None:
        """Make the replica the master, as an operator does; the old master becomes a replica."""

        def accepted() -> bool:
            try:
                with Connection(self.port, timeout=5) as redis:
                    return redis("SENTINEL", "FAILOVER", SERVICE) == "OK"
            except RespError as error:
                # It has not heard from the replica for long enough, or is not yet done with the last one.
                if "NOGOODSLAVE" not in str(error) and "INPROG" not in str(error):
                    raise
                return False

        wait_until_sync(accepted, description="the sentinel to begin a failover")

    def stop(self) -> None:
        """End it. Can be called twice."""
        self._process.kill()
        self._process.wait(timeout=20)
        guardian.release(self._process.pid)
        shutil.rmtree(self._folder, ignore_errors=True)


class Watched:
    """A master, its replica, and a sentinel for both; ready for a failover when entered."""

    def __init__(self) -> None:
        self.master, self.replica = (RedisServer(config={"repl-diskless-sync-delay": 0}) for _ in range(2))
        self._stack = contextlib.ExitStack()
        self.sentinel: Sentinel

    @property
    def url(self) -> str:
        """`redis+sentinel://…`, with a dead sentinel in the first place."""
        return f"redis+sentinel://{LOOPBACK}:1,{self.sentinel.address}/{SERVICE}"

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.master)
            stack.enter_context(self.replica)
            self.replica.command("REPLICAOF", LOOPBACK, self.master.port)
            wait_until_sync(
                lambda: self.replica.info("replication").get("master_link_status") == "up",
                description="the replica to follow its master",
            )
            self.sentinel = Sentinel(self.master.port)
            stack.callback(self.sentinel.stop)
            # It asks its master for replicas every ten seconds, and at once when it starts.
            wait_until_sync(
                self.sentinel.knows_replica, description="the sentinel to know the replica", timeout=30
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
