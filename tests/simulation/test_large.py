"""An idle fleet asks for what its timers explain, and for nothing else, whatever its size."""

import pytest

from capelin.settings import Settings
from tests.simulation.large import Size, count, on_paper

# When the list of releases is read again, and the like: a few times a minute, whatever the size.
FEW = {"HGETALL", "HGET", "TIME", "reap", "SCRIPT", "CLIENT"}


@pytest.mark.parametrize(
    "size",
    [
        Size(workers=6, queues=1, shards=8, jobs=20),
        Size(workers=9, queues=2, shards=8, jobs=20),
        Size(workers=8, queues=1, shards=1, jobs=20),
    ],
    ids=lambda size: f"{size.workers}-workers-{size.all_shards}-shards",
)
def test_what_is_counted_is_what_was_worked_out_on_paper(size: Size) -> None:
    settings = Settings(shards=size.shards)
    counted = count(size, settings)
    for name, rate in on_paper(size, settings).items():
        expected = rate * size.seconds
        # A timer that fires every 2 s is seen four, five or six times in 10 s.
        slack = expected * 0.2 + max(
            size.workers, size.all_shards if name in ("renew", "take", "retain") else 1
        )
        assert abs(counted.idle[name] - expected) <= slack, name
    others = {name: times for name, times in counted.idle.items() if name not in on_paper(size, settings)}
    assert set(others) <= FEW
    assert sum(others.values()) <= 20
    assert counted.started == size.jobs
    assert counted.busy["enqueue"] == counted.busy["finish"] == size.jobs
