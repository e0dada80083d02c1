"""Singletons run on one process of the fleet, move when it ends, and lose no update on the way.

What is asked of Redis here is asked over a bare connection, and what ran is read from the ledger.
"""

import asyncio
import json
import time
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import pytest

from capelin import Capelin, Leader
from capelin.jobs import Job
from tests.conftest import OwnRedis
from tests.guarantees.apps import hosting, recording
from tests.guarantees.fleet import MARGIN, TTL, record_key
from tests.support.cluster import AnyServer, RedisCluster
from tests.support.ledger import Ledger
from tests.support.processes import ChildProcess, Processes
from tests.support.resp import texts
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, RunningWorker

APP = "tests.guarantees.apps.hosting:app"
STALL_AFTER = 0.5
MIGRATIONS = 20


@dataclass(frozen=True, kw_only=True)
class Noted:
    """A line of the ledger."""

    what: str
    name: str
    worker: str
    token: int
    at: float
    words: tuple[str, ...]


class Hosts:
    """Worker processes that may host singletons."""

    def __init__(self, processes: Processes, server: AnyServer, ledger: Ledger) -> None:
        self._processes, self.server, self.ledger = processes, server, ledger
        self.workers: dict[str, ChildProcess] = {}

    async def start(self, count: int, *names: str) -> None:
        """Start workers that may host these, and return once they have started."""
        env = self.ledger.env | {
            hosting.ENV_NAMES: " ".join(names),
            "CAPELIN_LEASE_TTL": str(TTL),
            "CAPELIN_STALL_AFTER": str(STALL_AFTER),
            "CAPELIN_GRACE": "30",
        }
        children = [self._processes.worker(APP, redis_url=self.server.url, env=env) for _ in range(count)]
        for child in children:
            self.workers[(await child.wait_for_event("worker started"))["worker"]] = child

    def noted(self, what: str, name: str) -> list[Noted]:
        """What singletons of that name noted, in order."""
        return [
            Noted(
                what=what,
                name=words[0],
                worker=words[1],
                token=int(words[2]),
                at=float(words[3]),
                words=tuple(words[4:]),
            )
            for words in self.ledger.lines(what)
            if words[0] == name
        ]

    async def saved(self, name: str, *, after: int = 0) -> Noted:
        """Return the first save under a later token than that, once there is one."""

        def found() -> list[Noted]:
            return [line for line in self.noted("saved", name) if line.token > after]

        await wait_until(found, description=f"{name} to save under a token after {after}")
        return found()[0]

    async def heard(self, what: str, name: str, token: int) -> Noted:
        """Return what was noted under a token, once it is."""

        def found() -> list[Noted]:
            return [line for line in self.noted(what, name) if line.token == token]

        await wait_until(found, description=f"{name} to note {what} under {token}")
        return found()[0]

    def state(self, name: str) -> dict[str, Any]:
        """What Redis keeps of a singleton."""
        text = self.server.command("HGET", f"capelin:{{lease:{name}}}:state", "state")
        found: dict[str, Any] = json.loads(str(text))
        return found

    def holder(self, name: str) -> tuple[str, int]:
        """Whose lease it is, and its epoch."""
        key = f"capelin:{{lease:{name}}}:lease"
        return str(self.server.command("HGET", key, "owner")), int(
            str(self.server.command("HGET", key, "epoch"))
        )

    async def end(self) -> None:
        """Stop all workers cleanly."""
        living = [child for child in self.workers.values() if child.running]
        for child in living:
            child.terminate()
        for child in living:
            assert await child.wait() == 0

    def check_updates(self, name: str) -> None:
        """Each update that was saved is in the state, once; whatever is there was made once, in order."""
        state = self.state(name)
        marks: list[str] = state["marks"]
        assert state["n"] == len(marks)
        assert len(set(marks)) == len(marks)
        saved = [line.words[0] for line in self.noted("saved", name)]
        assert set(saved) <= set(marks), "an update was lost"
        made = [line.words[0] for line in self.noted("saving", name)]
        counted = [mark for mark in marks if not mark.startswith("goodbye")]
        assert counted == [mark for mark in made if mark in set(counted)], "updates came in another order"
        hosts: dict[int, set[str]] = {}
        for line in self.noted("became", name):
            hosts.setdefault(line.token, set()).add(line.worker)
        assert all(len(workers) == 1 for workers in hosts.values()), "a token was given twice"
        tokens = [line.token for line in self.noted("became", name)]
        assert tokens == sorted(set(tokens))


def commands(server: RedisServer) -> list[list[str]]:
    """What the server was asked, its words cut to 128 characters."""
    entries = server.command("SLOWLOG", "GET", -1)
    assert isinstance(entries, list)
    return [texts(entry[3]) for entry in entries if isinstance(entry, list)]


def is_running(server: AnyServer, job: Job[Any]) -> bool:
    """Whether a job runs, by its record."""
    return server.command("HGET", record_key(job), "status") == "running"


@pytest.fixture
def hosts(processes: Processes, redis_server: RedisServer, ledger: Ledger) -> Hosts:
    """Worker processes on a shared server."""
    return Hosts(processes, redis_server, ledger)


@pytest.fixture
def clustered(processes: Processes, redis_cluster: RedisCluster, ledger: Ledger) -> Hosts:
    """Worker processes on a shared cluster."""
    return Hosts(processes, redis_cluster, ledger)


@pytest.mark.slow
async def test_state_survives_twenty_migrations_without_a_lost_update(hosts: Hosts) -> None:
    await migrate(hosts, MIGRATIONS)


@pytest.mark.slow
async def test_so_it_does_on_a_cluster(clustered: Hosts) -> None:
    await migrate(clustered, 8)


async def migrate(hosts: Hosts, times: int) -> None:
    """Let a singleton lose its host in each way in turn, and look for every update in its state."""
    await hosts.start(3, "counter")
    last, starting = 0, list[asyncio.Task[None]]()
    for how in islice(cycle(("kill", "stop", "stall", "freeze")), times):
        line = await hosts.saved("counter", after=last)
        last = max(line.token, hosts.holder("counter")[1])
        host = hosts.holder("counter")[0] or line.worker
        await wait_until(lambda: host in hosts.workers, description="the host to have started")  # noqa: B023
        child = hosts.workers[host]
        match how:
            case "kill":
                child.kill()
            case "stop":
                child.terminate()
            case "stall":
                recording.gate(hosts.ledger.path, f"stall-{host}").touch()
            case _:
                child.freeze()
        await hosts.saved("counter", after=last)
        if how == "freeze":
            child.thaw()
        elif how in {"kill", "stop"}:
            starting.append(asyncio.create_task(hosts.start(1, "counter")))
    await asyncio.gather(*starting)
    await hosts.end()
    hosts.check_updates("counter")
    assert len(hosts.noted("became", "counter")) > times


async def test_a_killed_hosts_singletons_run_elsewhere_within_ttl_and_a_little(hosts: Hosts) -> None:
    names = ("counter", "waiter")
    await hosts.start(2, *names)
    await wait_until(
        lambda: {hosts.holder(name)[0] for name in names if hosts.noted("saved", name)} == set(hosts.workers),
        description="each worker to host one",
    )
    host, token = hosts.holder("counter")
    killed = time.time()
    hosts.workers[host].kill()
    line = await hosts.saved("counter", after=token)
    assert line.worker != host
    assert line.at - killed < TTL + 2 + MARGIN
    assert hosts.holder("waiter")[0] != host
    await hosts.end()
    hosts.check_updates("counter")


async def test_a_host_that_was_frozen_past_its_lease_is_cancelled_and_saves_nothing(hosts: Hosts) -> None:
    await hosts.start(2, "waiter")
    await hosts.saved("waiter")
    # It may have moved while the other one joined.
    before = await hosts.heard("saved", "waiter", hosts.holder("waiter")[1])
    hosts.workers[before.worker].freeze()
    after = await hosts.saved("waiter", after=before.token)
    assert after.worker != before.worker
    hosts.workers[before.worker].thaw()
    ended = await hosts.heard("ended", "waiter", before.token)
    assert ended.words == ("False",)
    goodbye = await hosts.heard("lost", "waiter", before.token)
    assert goodbye.words == ("False", "refused")
    assert all(child.running for child in hosts.workers.values())
    assert f"goodbye-{before.token}" not in hosts.state("waiter")["marks"]
    await hosts.end()
    hosts.check_updates("waiter")


async def test_a_host_that_blocks_its_loop_loses_the_lease_and_its_save_is_refused_by_redis(
    processes: Processes, own_redis: OwnRedis, ledger: Ledger
) -> None:
    server = own_redis(config={"slowlog-log-slower-than": 0, "slowlog-max-len": 100_000})
    hosts = Hosts(processes, server, ledger)
    await hosts.start(2, "blocker")
    first = await hosts.saved("blocker")
    second = await hosts.saved("blocker", after=first.token)
    assert second.worker != first.worker, "a blocked host kept its singleton"
    assert not hosts.noted("unblocked", "blocker")
    recording.gate(hosts.ledger.path, "blocker").touch()
    goodbye = await hosts.heard("lost", "blocker", first.token)
    assert goodbye.words == ("False", "refused")
    assert all(child.running for child in hosts.workers.values())
    assert [line.token for line in hosts.noted("saved", "blocker")].count(first.token) == 1
    # It was sent: nothing had told its process yet.
    [_, late] = [line.words[0] for line in hosts.noted("saving", "blocker") if line.token == first.token]
    assert any(
        first.worker in words and str(first.token) in words and late in words[-1]
        for words in commands(server)
    )
    assert late not in hosts.state("blocker")["marks"]
    await hosts.end()
    hosts.check_updates("blocker")


async def test_a_host_that_is_stopped_says_goodbye_and_another_goes_on_while_its_jobs_still_run(
    hosts: Hosts,
) -> None:
    await hosts.start(1, "waiter")
    await hosts.saved("waiter")
    [(host, child)] = hosts.workers.items()
    token = hosts.holder("waiter")[1]
    async with Capelin(hosts.server.url) as client:
        job = await client.task_named("held").enqueue("job")
        await wait_until(lambda: is_running(hosts.server, job), description="the job to run")
    child.terminate()
    await child.wait_for_event("worker stops")
    await hosts.start(1, "waiter")
    goodbye = await hosts.heard("lost", "waiter", token)
    assert goodbye.words == ("True", "saved")
    after = await hosts.saved("waiter", after=token)
    assert after.worker != host
    assert after.at > goodbye.at
    assert is_running(hosts.server, job)
    recording.gate(hosts.ledger.path, "job").touch()
    assert await child.wait() == 0
    assert f"goodbye-{token}" in hosts.state("waiter")["marks"]
    await hosts.end()
    hosts.check_updates("waiter")


async def test_in_an_outage_the_run_is_cancelled_before_another_may_begin_and_goes_on_after_it(
    own_redis: OwnRedis, running_worker: RunningWorker
) -> None:
    server = own_redis()
    app = Capelin(server.url, settings=QUICK)
    saved: list[int] = []

    @app.singleton(state=hosting.Marks, interval=0.02)
    async def steady(leader: Leader[hosting.Marks]) -> None:
        leader.state.n += 1
        await leader.save()
        saved.append(leader.state.n)

    worker = await running_worker(app)
    await wait_until(lambda: len(saved) > 3, description="some runs")
    server.pause()
    stopped = time.monotonic()
    hosted = worker.worker.singletons
    assert hosted is not None
    await wait_until(lambda: not hosted.hosting.busy("steady"), description="the run to be over")
    assert time.monotonic() - stopped < QUICK.lease_ttl + MARGIN
    before = len(saved)
    server.resume()
    await wait_until(lambda: len(saved) > before + 3, description="it to go on")
    assert saved == sorted(set(saved)), "an update was lost"
