"""Guarantee 1: nothing accepted is lost.

Workers are killed at random moments, again and again, while jobs are enqueued and run. In the end each job
that was accepted is recorded once, and every start it had is explained: by its token, and by the crash that
ended the start before.
"""

import random
from collections import Counter
from typing import Any

from capelin.jobs import Job
from tests.guarantees.apps import recording
from tests.guarantees.fleet import TTL, Fleet, Tuned
from tests.support.census import recordings
from tests.support.commands import CommandRecorder
from tests.support.waiting import wait_until

BATCHES, A_BATCH = 12, 25
KILLS = 4
WORKERS, SLOTS = 3, 10
SEED = 20261123
"""Draws which worker is killed, and after how many starts. When, within those, the machine draws."""


async def test_jobs_outlive_workers_that_are_killed_at_random_moments(fleet: Fleet) -> None:
    chance = random.Random(SEED)  # noqa: S311
    names = [f"worker-{number}" for number in range(WORKERS)]
    settings: Tuned = {"lease_ttl": TTL, "max_crashes": KILLS + 1}
    await fleet.start(*names, words=("-c", str(SLOTS)), **settings)
    jobs: list[Job[Any]] = []
    total = BATCHES * A_BATCH
    with CommandRecorder(fleet.server) as recorder:
        for batch in range(BATCHES):
            requests = [
                recording.lasting.options(delay=chance.choice([None, 0.2])).job(chance.uniform(0, 0.2))
                for _ in range(A_BATCH)
            ]
            jobs += await fleet.enqueue_many(requests)
            if batch % (BATCHES // KILLS) == 1:
                before = len(fleet.starts())
                some = min(before + chance.randrange(1, A_BATCH), len(jobs))
                await started(fleet, some)
                name = chance.choice(names)
                fleet.workers[name].child.kill()
                fleet.launch(name, "-c", str(SLOTS), **settings)
        accounts = await fleet.all_completed(jobs, timeout=60)

    assert len({job.id for job in jobs}) == total == len(fleet.census().jobs)
    ends = {job: count for (job, kind), count in recordings(recorder).items() if kind == "complete"}
    assert ends == {job.id: 1 for job in jobs}
    starts = fleet.ledger.starts()
    assert max(starts.values()) == 1, "a start ran twice in one worker"
    for job in accounts:
        # Of a start whose worker died before it could note it, only the token tells.
        noted = [token for (name, token) in starts if name == job.id]
        assert max(noted) == job.token == 1 + job.crashes == 1 + job.failures
    assert most_at_once(fleet) <= SLOTS
    assert sum(job.crashes for job in accounts) > 0, "no kill hit a running job: the test tests nothing"


async def started(fleet: Fleet, some: int) -> None:
    """Return once there have been so many starts."""
    await wait_until(lambda: len(fleet.starts()) >= some, description=f"{some} starts")


def most_at_once(fleet: Fleet) -> int:
    """How many jobs a worker ran at a time at most."""
    now: Counter[str] = Counter()
    most = 0
    changes = [(start.at, 1, start.worker) for start in fleet.starts()]
    changes += [(over.at, -1, over.worker) for over in fleet.overs()]
    for _, change, worker in sorted(changes):
        now[worker] += change
        most = max(most, now[worker])
    return most
