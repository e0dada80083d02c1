"""Every command once on a Cluster and once through Sentinel, whole and with a shard that is torn."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.cli.conftest import COLUMNS, Run
from tests.support.cluster import RedisCluster
from tests.support.sentinel import Watched
from tests.support.servers import RedisServer
from tests.support.worlds import Asked, World, build, put_back, tear

SAYS = {
    "queues": "1 worker",
    "queues show default": "1 not.here",
    "queues pause default": "queue default is paused",
    "queues resume default": "queue default is open",
    "queues drain default --timeout 0": "queue default is not drained",
    "queues purge default --yes": "4 jobs cancelled",
    "queues reshard default 4 --yes": "is cut into 4 shards instead of 2",
    "jobs": "running",
    "jobs show {dead}": "it fell over",
    "jobs cancel {keyed} --yes": "is cancelled",
    "jobs retry {dead}": "runs again",
    "dlq": "ValueError: it fell over",
    "dlq show {dead}": "it fell over",
    "dlq replay --all": "1 job set to run again",
    "dlq purge --all --yes": "1 job removed",
    "workers": "stopping",
    "workers show pod-3": "owns        default:1",
    "workers quiet pod-1": "is quiet",
    "workers resume pod-3": "takes jobs again",
    "workers stop pod-2 --yes": "stops; it runs 1 job",
    "shards": "nobody",
    "schedules": "0 9 * * *",
    "schedules show digest": "digest",
    "schedules next digest": "09:00:00",
    "schedules pause digest": "is paused",
    "schedules resume digest": "was not paused",
    "schedules trigger digest": "default.",
    "schedules add other every:60 greet": "is added",
    "schedules rm digest --yes": "is removed",
    "leader": "pod-3-cccc leads",
    "singletons": "indexer",
    "singletons show indexer": "indexer",
    "doctor --only version --only schema": "2 checks",
    'enqueue tests.cli.apps.shop:app greet ["x"]': "default.",
}


@pytest.fixture(params=["cluster", "sentinel"])
def elsewhere(
    request: pytest.FixtureRequest, redis_server: RedisServer
) -> Iterator[tuple[str, Asked, World]]:
    """A Cluster, and a Sentinel, with a whole world; `redis_server` skips where there is no Redis."""
    del redis_server
    if request.param == "cluster":
        cluster: RedisCluster = request.getfixturevalue("redis_cluster")
        with cluster.connect() as asked:
            yield cluster.url, asked, asyncio.run(build(cluster.url, asked))
        return
    with Watched() as watched, watched.master.connect() as asked:
        yield watched.url, asked, asyncio.run(build(watched.url, asked))


@pytest.mark.leaves_keys(reason="the world is made by hand")
def test_every_command_works_on_a_cluster_and_through_sentinel(
    run: Run, elsewhere: tuple[str, Asked, World]
) -> None:
    url, asked, world = elsewhere
    for command, says in SAYS.items():
        put_back(asked, world)
        said = run(*(word.format(**world.jobs) for word in command.split()), "--redis", url)
        assert said.status == (1 if "drain" in command else 0), (command, said)
        assert says in said.out, (command, said)
        assert all(len(line) <= COLUMNS or "default." in line for line in said.lines), (command, said.out)
    for name, command in (("dlq", "dlq"), ("meta", "shards"), ("stream:normal", "queues"), ("meta", "jobs")):
        put_back(asked, world)
        tear(asked, world.keys[name], "type")
        said = run(command, "--redis", url)
        assert said.status == 1, (command, said)
        assert f"not read: key {world.keys[name]} is a string" in said.err
    put_back(asked, world)
    tear(asked, world.keys["dlq"], "type")
    assert world.keys["dlq"] in run("jobs", "retry", world.jobs["dead"], "--redis", url).err
    put_back(asked, world)  # the check of what is left could not read it
