"""``cluster()``: where it can be asked, and what a worker's view is made of."""

import threading
from contextvars import copy_context
from datetime import UTC, datetime

import pytest

from capelin import Cluster, ClusterWorker, NoCluster, NotInThisProcess, OwnedShard, cluster
from capelin.clusters import seen_by
from capelin.context import JobContext, running
from capelin.keys import ShardKeys
from capelin.workers.fleet import Member
from capelin.workers.ownership import Ownership
from capelin.workers.vantage import Vantage

HERE = Cluster(worker_id="w1", is_leader=True, workers=(), shards=())
JOB = JobContext(id="emails.3.x", task="t", queue="emails", shard=3, attempt=1, token=1, worker_id="w1")


def member(name: str, started: int) -> Member:
    return Member(
        id=name,
        app="shop",
        host="pod-1",
        pid=7,
        version="1.2",
        started=started,
        queues=("a", "b"),
        slots=5,
        tasks={"t": "d"},
    )


def test_outside_a_worker_there_is_none() -> None:
    with pytest.raises(NoCluster, match=r"cluster\(None\) returns None there"):
        cluster()
    assert cluster(None) is None
    assert cluster("nothing") == "nothing"


def test_a_job_without_its_worker_is_told_why_it_sees_none() -> None:
    with running(JOB):
        with pytest.raises(NotInThisProcess, match=r'cluster\(\) .* run_in="process"'):
            cluster()
        assert cluster(None) is None


def test_inside_a_worker_it_is_asked_anew_each_time() -> None:
    leads = [True, False]
    vantage = Vantage("w1", ownership=Ownership(), leads=leads.pop)
    with seen_by(vantage.look):
        assert [cluster().is_leader, cluster().is_leader] == [False, True]
    assert cluster(None) is None


def test_in_a_job_it_knows_where_the_job_lives() -> None:
    with seen_by(lambda: HERE):
        assert (cluster().queue, cluster().shard) == (None, None)
        with running(JOB):
            assert (cluster().queue, cluster().shard) == ("emails", 3)
            assert cluster().worker_id == "w1"


def test_a_thread_sees_it_that_inherits_the_context_and_no_other_does() -> None:
    seen: list[Cluster | None] = []
    with seen_by(lambda: HERE):
        context = copy_context()
    for target in (lambda: seen.append(context.run(cluster)), lambda: seen.append(cluster(None))):
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
    assert seen == [HERE, None]


def test_a_view_lists_shards_in_order_and_workers_by_age() -> None:
    ownership = Ownership()
    for queue, shard in (("b", 0), ("a", 10), ("a", 9)):
        ownership.gained(ShardKeys("capelin", queue, shard), 1)
    vantage = Vantage("w1", ownership=ownership, leads=lambda: False)
    assert vantage.look().workers == ()
    members = {name: member(name, started) for name, started in (("w1", 2_000), ("w3", 1_000), ("w2", 1_000))}
    vantage.members = lambda: members
    seen = vantage.look()
    assert seen.shards == (
        OwnedShard(queue="a", shard=9), OwnedShard(queue="a", shard=10), OwnedShard(queue="b", shard=0),
    )  # fmt: skip
    assert [str(shard) for shard in seen.shards] == ["a:9", "a:10", "b:0"]
    assert [worker.id for worker in seen.workers] == ["w2", "w3", "w1"]
    assert seen.workers[2] == ClusterWorker(
        id="w1",
        app="shop",
        host="pod-1",
        pid=7,
        version="1.2",
        queues=("a", "b"),
        slots=5,
        started=datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC),
    )


def test_a_view_follows_the_membership_and_makes_nothing_anew_while_it_stays() -> None:
    memberships = [{"w1": member("w1", 1)}, {"w1": member("w1", 1), "w2": member("w2", 2)}]
    vantage = Vantage("w1", ownership=Ownership(), leads=lambda: False)
    vantage.members = lambda: memberships[0]
    first = vantage.look().workers
    assert vantage.look().workers is first
    memberships.pop(0)
    assert [worker.id for worker in vantage.look().workers] == ["w1", "w2"]
