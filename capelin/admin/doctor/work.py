"""Checks of the queues: work that nobody serves, that is too old, parked, dead, or cannot be read."""

from capelin.admin.doctor.finding import Report
from capelin.admin.doctor.patient import Patient
from capelin.admin.doctor.words import count, some, span
from capelin.keys import ShardKeys
from capelin.lua.looking import Survey
from capelin.resharding import unnamed_shards
from capelin.settings import SCHEMA

_OLD = 300.0
_HOUR = 3_600_000


async def schema(patient: Patient, report: Report) -> None:
    """Look whether this release can read every queue."""
    queues = await patient.queues()
    for queue, found in queues.newer.items():
        report.problem(
            f"queue {queue} has record schema {found}; this capelin reads up to {SCHEMA}",
            why="neither workers nor commands of this release touch it; what follows leaves it out",
            do="pip install -U capelin",
        )
    for queue, why in queues.broken.items():
        report.problem(
            f"queue {queue} cannot be read: {why}",
            why="nothing can be enqueued to it",
            do=f"capelin queues show {queue}; something else may have written its keys",
        )
    lost = (await patient.shards()).lost
    if lost:
        causes = sorted(set(lost.values()))
        report.problem(
            f"{count(len(lost), 'shard')} cannot be read: {some([*lost])} ({some(causes, 1)})",
            why="their jobs wait; what follows leaves them out",
            do="look at the servers first: the checks cluster and acl say more",
        )
    if not report.findings:
        total = sum(queues.shards.values())
        report.ok(f"{count(len(queues.shards), 'queue')} with {count(total, 'shard')}, all readable")


async def unserved(patient: Patient, report: Report) -> None:
    """Look for queues with jobs that no worker serves."""
    fleet = await patient.fleet()
    served = 0
    for queue in (await patient.queues()).shards:
        if fleet.serving(queue):
            served += 1
            continue
        shards = (await patient.shards()).of(queue).values()
        waiting, running = sum(map(_waiting, shards)), sum(sum(one.running.values()) for one in shards)
        later = sum(one.scheduled + one.followers for one in shards)
        do = f"capelin worker APP -q {queue}; capelin workers shows who serves what"
        if waiting or running:
            report.problem(
                f"no worker serves queue {queue}: {count(waiting, 'job')} waiting, {running:,} in flight, "
                f"{later:,} scheduled",
                why="they wait until one does",
                do=do,
            )
        elif later:
            report.warning(
                f"no worker serves queue {queue}: {count(later, 'job')} scheduled",
                why="they will be late",
                do=do,
            )
    await _unnamed(patient, report)
    if not report.findings:
        report.ok(f"{count(served, 'queue')} served; no other has jobs")


async def _unnamed(patient: Patient, report: Report) -> None:
    for queue, reach in (await patient.queues()).shards.items():
        found = await unnamed_shards(patient.connection, patient.keys, queue, reach=reach)
        if unreadable := [str(one.shard) for one in found if one.told is None]:
            report.problem(
                f"shards that the layout of queue {queue} lacks cannot be read: {some(unreadable)}",
                why="they were used under another layout; if jobs are left there, nobody serves them",
                do="find the key that something else wrote there (redis-cli: SCAN, TYPE), and delete it",
            )
        live = {str(one.shard): one.told.live for one in found if one.told is not None and one.told.live}
        if live:
            report.problem(
                f"{count(sum(live.values()), 'job')} of queue {queue} in shards that its layout lacks: "
                f"{some([*live])}",
                why="Redis has forgotten that the queue was cut into more, and no worker serves these",
                do=f"run a worker that serves {queue}, which finds them within a minute (capelin workers)",
            )


async def paused(patient: Patient, report: Report) -> None:
    """Look for queues that somebody paused."""
    for queue in (await patient.queues()).shards:
        shards = (await patient.shards()).of(queue).values()
        since = [one.now - one.paused for one in shards if one.paused is not None]
        if not since:
            continue
        seen = (
            f"queue {queue} is paused since {span(max(since) / 1000)}, "
            f"with {count(sum(map(_waiting, shards)), 'job')} waiting"
        )
        do = f"capelin queues resume {queue}"
        if len(since) == len(shards):
            report.note(seen, why="nothing is taken from it until somebody resumes it", do=do)
        else:
            report.warning(
                f"{seen}: {len(since)} of its {len(shards)} shards",
                why="the pause or its end was cut short, and some of its jobs wait for nothing",
                do=f"{do}, or capelin queues pause {queue}",
            )
    if not report.findings:
        report.ok("no queue is paused")


async def oldest(patient: Patient, report: Report) -> None:
    """Look how long the oldest job waits."""
    bound = patient.bounds.oldest
    longest: tuple[float, str] | None = None
    for queue in (await patient.queues()).shards:
        ages = [
            (one.now - standing.oldest) / 1000
            for one in (await patient.shards()).of(queue).values()
            if one.paused is None
            for standing in one.streams.values()
            if standing.oldest is not None
        ]
        if not ages:
            continue
        age = max(ages)
        longest = max((age, queue), longest or (age, queue))
        if age <= (_OLD if bound is None else bound):
            continue
        seen = f"the oldest job of queue {queue} waits for {span(age)}"
        why = "jobs come in faster than workers end them, or nobody takes them"
        do = (
            f"capelin queues show {queue}: no workers, busy ones, or a shard that nobody takes from "
            f"(capelin shards -q {queue})? Start more: capelin worker APP -q {queue}"
        )
        if bound is None:
            report.warning(seen, why=why, do=do)
        else:
            report.problem(f"{seen}, longer than {span(bound)}", why=why, do=do)
    if report.findings:
        return
    report.ok(f"the oldest waits for {span(longest[0])}, in {longest[1]}" if longest else "no job waits")


async def parked(patient: Patient, report: Report) -> None:
    """Look for jobs that no worker can run."""
    fleet = await patient.fleet()
    for queue in (await patient.queues()).shards:
        tasks: dict[str, int] = {}
        for one in (await patient.shards()).of(queue).values():
            for task, jobs in one.parked.items():
                tasks[task] = tasks.get(task, 0) + jobs
        serving = fleet.serving(queue)
        for task, jobs in sorted(tasks.items()):
            seen = f"{count(jobs, 'job')} of task {task} parked in queue {queue}"
            look = f"capelin jobs ls --status parked --task {task}"
            if any(task in member.tasks for member in serving):
                report.warning(
                    f"{seen}: the workers of {queue} know the task, but with another signature",
                    why="they are dead-lettered a day after they were parked",
                    do=f"deploy the release that enqueues them; {look}",
                )
            else:
                report.problem(
                    f"{seen}: no live worker of {queue} knows the task",
                    why="they are dead-lettered a day after they were parked",
                    do=f"deploy a worker whose app has it: capelin worker APP -q {queue}; was it renamed? "
                    f"@app.task(aliases=[...]) keeps the old name; {look}",
                )
    if not report.findings:
        report.ok("no job is parked")


async def dead(patient: Patient, report: Report) -> None:
    """Look how many jobs died, and how many of them of late."""
    total = 0
    for queue in (await patient.queues()).shards:
        shards = (await patient.shards()).of(queue)
        there = sum(one.dead for one in shards.values())
        total += there
        lately = await _lately(patient, shards)
        if not there:
            continue
        seen = f"{count(there, 'dead job')} in queue {queue}, {_about(lately, patient)} in the last hour"
        do = f"capelin dlq ls -q {queue} shows why; capelin dlq replay -q {queue} runs them again"
        if there > patient.bounds.dead or lately > patient.bounds.dying:
            report.warning(seen, why="something fails for good, and the oldest are forgotten one day", do=do)
        else:
            report.note(seen, why="they run again only if somebody replays them", do=do)
    if not total:
        report.ok("no job is dead")


async def _lately(patient: Patient, shards: dict[ShardKeys, Survey]) -> int:
    """Count who died within the hour, up to one more than is much, a shard."""
    most = patient.bounds.dying + 1
    asked = [
        ("XREVRANGE", shard.dlq, "+", one.now - _HOUR, "COUNT", most)
        for shard, one in shards.items()
        if one.dead
    ]
    return sum(len(page) for page in await patient.access.commands(asked)) if asked else 0


def _about(lately: int, patient: Patient) -> str:
    return f"at least {lately:,}" if lately > patient.bounds.dying else f"{lately:,}"


def _waiting(found: Survey) -> int:
    return sum(standing.waiting for standing in found.streams.values())
