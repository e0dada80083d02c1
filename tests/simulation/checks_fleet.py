"""What became of workers, and of those who waited for them: guarantees 3, 4, 11 and 12."""

from collections import defaultdict

from tests.simulation import records
from tests.simulation.apps import INTERVAL, SETTINGS, TTL
from tests.simulation.checks import Found
from tests.simulation.faults import pod_of
from tests.simulation.history import Disturbance, Wait
from tests.simulation.observer import LATE

_TAKEN_WITHIN = 2.5
"""Seconds: at 20 probes a second for two shards a job waits `steal_after` + 50 ms in the mean; a probe is
random, so that the slowest of thousands takes longer. More shards share the probes.
"""
_KNOWN_TO_ALL = ("work", "after", "alarm", "poison")


def jobs_of_the_dead_start_again_in_time(found: Found) -> None:  # noqa: C901 -- one condition a line
    """Guarantee 3."""
    history = found.history
    outcome = {(r.job, r.token): r for r in history.recorded}
    starts: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    for start in history.begun:
        starts[start.job].append((start.token, start.at))
    for fault in history.disturbances:
        if fault.kind not in ("killed", "vanished"):
            continue
        for start in history.begun:
            if start.pod != fault.pod or (start.job, start.token) in history.ended:
                continue
            if found.forgotten(start.job) or start.job in history.torn:
                continue
            history.holds(3)
            recorded = outcome.get((start.job, start.token))
            if recorded is None:
                history.problem(f"{start.job} was running in {fault.pod} when it died; nobody noticed")
                continue
            if recorded.kind != "reaped":
                continue
            unable = history.halts + found.unheard_of(start.job) + found.nobody_there
            deadline = _deadline(history.disturbances, unable, fault)
            record = found.jobs.get(start.job, {})
            again = min((at for token, at in starts[start.job] if token > start.token), default=None)
            if again is None and record.get("status") not in ("cancelled", "failed"):
                continue  # `unfinished` says so
            if start.job in history.replayed:
                again = None  # its last crash may have been the end of it, until then
            if recorded.at - fault.at > TTL + INTERVAL + LATE:
                history.coverage["recovered late, since others were disturbed"] += 1
            late = max(recorded.at, again or 0.0) - deadline
            if late > 0:
                history.problem(
                    f"{start.job} of {fault.pod}, dead since {fault.at:.3f} s, started again at {again} s: "
                    f"{late:.2f} s late"
                )


def _deadline(
    disturbances: list[Disturbance], unable: list[tuple[float, float]], fault: Disturbance
) -> float:
    """Until when the jobs of the dead are to have started: each disturbance begins the waiting anew."""
    since = fault.at
    others = [(one.at, one.ends) for one in disturbances if one is not fault] + unable
    for at, ends in sorted(others, key=lambda one: one[1]):
        if ends > since and at <= since + TTL + INTERVAL + LATE:
            since = max(since, ends)
    return since + TTL + INTERVAL + LATE


def ready_jobs_are_taken_in_time(found: Found) -> None:
    """Guarantee 4: while a worker has free slots and nothing befalls it, no job waits for somebody else."""
    most = max([SETTINGS.shards, *(cut.shards for cut in found.history.cuts)])
    within = _TAKEN_WITHIN * most / SETTINGS.shards
    for wait in found.history.waits:
        if wait.task not in _KNOWN_TO_ALL or found.forgotten(wait.job):
            continue
        found.history.holds(4)
        if wait.taken - wait.ready <= within:
            continue
        unable = found.history.halts + found.unheard_of(wait.job)
        if any(began < wait.taken and ended > wait.ready for began, ended in unable):
            continue
        for pod in found.world.pods.values():
            if pod.task is not None and _idle(found, pod.name, wait):
                found.history.problem(
                    f"{wait.job} was ready at {wait.ready:.2f} s and taken at {wait.taken:.2f} s, "
                    f"while {pod.name} had room and nothing befell it"
                )


def _idle(found: Found, pod: str, wait: Wait) -> bool:
    """Whether a worker was there, undisturbed and with room, for all of the time."""
    history, settled = found.history, TTL + INTERVAL
    if found.world.pods[pod].began > wait.ready - settled:
        return False
    if any(stop.pod == pod and stop.at < wait.taken for stop in history.stops):
        return False
    near = found.disturbed({pod}, wait.ready - settled, wait.taken)
    gone = [one for one in history.disturbances if one.pod == pod and one.kind in ("killed", "vanished")]
    if near or any(one.at < wait.taken for one in gone):
        return False
    busy = [
        start
        for start in history.begun
        if start.pod == pod
        and start.at < wait.taken
        and history.ended.get((start.job, start.token), wait.taken) > wait.ready
    ]
    return len(busy) < SETTINGS.concurrency


def who_stops_stops_in_time(found: Found) -> None:
    """Guarantee 11: within its grace time, unless something befalls it."""
    history = found.history
    for stop in history.stops:
        until = stop.at + (0.0 if stop.hurry else SETTINGS.grace) + _ENDS_WITHIN
        if found.disturbed({stop.pod}, stop.at - TTL - INTERVAL, until) or until > history.clock():
            continue
        history.holds(11)
        if stop.ended is None or stop.ended > until:
            history.problem(f"{stop.pod} was told to end at {stop.at:.2f} s and ended at {stop.ended}")


_ENDS_WITHIN = 2.0


def who_stops_hands_on_what_it_owned(found: Found) -> None:
    """Guarantee 11: it gives up its leases at once; what it could not give up, another has taken over."""
    for stop in found.history.stops:
        found.history.holds(11, stop.ended is not None)
    now = found.history.clock()
    long_ago = now - 3 * (TTL + INTERVAL)
    heirs = any(
        one.kind == "worker started" and one.at <= long_ago and found.world.pods[one.pod].alive
        for one in found.history.disturbances
    )
    served = records.reach(found.world)
    for server in found.world.servers.masters:
        for key in server.all_keys():
            if key.endswith(b"}:lease") and b"{default:" in key:
                owner = pod_of(server.hash_at(key).get("owner", ""))
                if not owner or found.world.pods[owner].alive or found.disturbed({owner}, long_ago, now):
                    continue
                shard = int(key.partition(b"{default:")[2].partition(b"}")[0])
                gave_up = _ended_undisturbed(found, owner)
                if gave_up or (heirs and shard < served):
                    found.history.problem(f"{key.decode()} is owned by {owner}, which has ended")


def _ended_undisturbed(found: Found, pod: str) -> bool:
    """Whether it could give up what it had, and Redis did not forget that it did."""
    return any(
        stop.pod == pod
        and stop.ended is not None
        and not found.disturbed({pod}, stop.at - TTL - INTERVAL, stop.ended + TTL)
        for stop in found.history.stops
    )


def nobody_ends_by_itself(found: Found) -> None:
    """Guarantee 12: whatever befell Redis, every worker that was not killed or told to end is there.

    `world.Pod` says so at once where one ends.
    """
    for one in found.history.disturbances:
        if one.kind in ("redis down", "failover", "two masters of one slot"):
            found.history.holds(12, len(found.world.workers()))
