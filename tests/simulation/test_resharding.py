"""A queue that gets more shards: while its workers idle, and before any of them has heard of it."""

from tests.simulation.crafted import MORE_SHARDS
from tests.simulation.drawing import draw
from tests.simulation.run import run


def test_workers_are_told_of_new_shards_and_serve_them_at_once() -> None:
    outcome = run(MORE_SHARDS)
    assert outcome.problems == []
    begun = [line for line in outcome.trace if " begins default." in line and "beat" not in line]
    assert {line.split("default.")[1][0] for line in begun} == set("0123")
    assert len(begun) == 32
    assert max(float(line.split()[0]) for line in begun) < 10.0, "by themselves they look every 10 s"


def test_a_job_in_a_shard_of_which_only_a_client_knows_is_found() -> None:
    """A failover loses the reshard when one client has read it."""
    outcome = run(draw(8005))
    assert outcome.problems == []
    assert any("shards that no layout names hold jobs" in line for line in outcome.trace)
