"""Checks of the fleet: workers that are silent, shards that nobody waits on, jobs that nobody brings back."""

from capelin.admin.doctor.finding import Report
from capelin.admin.doctor.patient import Patient
from capelin.admin.doctor.words import count, some, span
from capelin.lua.looking import Survey
from capelin.lua.replies import text


async def members(patient: Patient, report: Report) -> None:
    """Look for members of the fleet that give no sign of life."""
    fleet = await patient.fleet()
    live = fleet.live
    silent = {
        name: (fleet.now - until) / 1000
        for name, (_, until) in fleet.members.items()
        # The living remove the others, but first they make sure: that takes them some seconds.
        if until <= fleet.now and (not live or fleet.now - until > patient.bounds.late * 1000)
    }
    if silent:
        named = [f"{name} (since {span(seconds)})" for name, seconds in silent.items()]
        report.warning(
            f"{count(len(silent), 'member')} of the fleet silent: {some(named, 3)}",
            why="it died or cannot reach Redis; "
            + ("the living have not removed it" if live else "no other worker lives that could take over"),
            do="look at its log and its process (capelin workers ls says where)"
            + ("" if live else "; start a worker: capelin worker APP"),
        )
    if fleet.unreadable:
        report.note(
            f"{count(len(fleet.unreadable), 'member')} with a record that cannot be read: "
            f"{some(fleet.unreadable, 3)}",
            why="it runs another release of capelin",
            do="finish the deploy, or pip install -U capelin here",
        )
    if not silent:
        slots = sum(member.slots for member in live)
        report.ok(f"{count(len(live), 'live worker')} with {count(slots, 'slot')}")


async def owners(patient: Patient, report: Report) -> None:
    """Look for shards on which nobody waits, though workers serve their queue."""
    fleet = await patient.fleet()
    live = {member.id for member in fleet.live}

    def owned(found: Survey) -> bool:
        return found.expires > found.now and found.owner in live

    shards = (await patient.shards()).found
    served = {shard: found for shard, found in shards.items() if fleet.serving(shard.queue)}
    # While workers come and go shards change hands: what has an owner a moment later is fine.
    bare = [shard for shard, found in served.items() if not owned(found)]
    again = await patient.look_again(bare)
    bare = [shard for shard in bare if shard in again and not owned(again[shard])]
    for queue in sorted({shard.queue for shard in bare}):
        of_queue = [shard for shard in bare if shard.queue == queue]
        total = sum(shard.queue == queue for shard in served)
        report.warning(
            f"nobody waits on {len(of_queue)} of the {total} shards of queue {queue} "
            f"({some([shard.shard for shard in of_queue])}), though it has "
            f"{count(len(fleet.serving(queue)), 'live worker')}",
            why="jobs there are found by probes only, later than they could be",
            do=f"capelin shards -q {queue}; look at the logs of its workers, and restart one that is blocked",
        )
    if not bare:
        report.ok(f"{count(len(served), 'shard')} of served queues, all with a live owner")


async def stuck(patient: Patient, report: Report) -> None:
    """Look for leases and stakes that ended long ago, and for what is behind them."""
    bound = patient.bounds.stuck * 1000
    shards = (await patient.shards()).found
    for shard, found in shards.items():
        over = found.now - found.expires
        waiting = sum(standing.waiting for standing in found.streams.values())
        if found.owner and over > bound and waiting and found.paused is None:
            report.problem(
                f"the lease of {shard} ended {span(over / 1000)} ago, with {count(waiting, 'job')} waiting",
                why=f"{found.owner} is gone, and nobody took the shard over",
                do=f"start a worker: capelin worker APP -q {shard.queue}; capelin shards -q {shard.queue}",
            )
    busy = [shard for shard, found in shards.items() if found.running]
    stakes = await patient.access.commands([("ZRANGE", shard.stakes, 0, -1, "WITHSCORES") for shard in busy])
    for shard, flat in zip(busy, stakes, strict=True):
        until = {text(name): float(score) for name, score in zip(flat[::2], flat[1::2], strict=True)}
        for worker, jobs in shards[shard].running.items():
            late = shards[shard].now - until.get(worker, 0.0)
            if late > bound:
                ended = f"ended {span(late / 1000)} ago" if worker in until else "is not there"
                report.problem(
                    f"{count(jobs, 'job')} of worker {worker} in flight in {shard}, and its stake {ended}",
                    why="it is dead, and no live worker brings its jobs back",
                    do=f"start a worker: capelin worker APP -q {shard.queue}",
                )
    if not report.findings:
        running = sum(sum(found.running.values()) for found in shards.values())
        report.ok(f"{count(running, 'job')} in flight; no lease or stake is over for {bound / 1000:g} s")
