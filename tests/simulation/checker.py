"""Holds every guarantee of the design against what happened: while it does, when it has settled, at the end.

Each guarantee names what holds it; `observer` holds some of them at every write of a script.
"""

from collections import defaultdict
from collections.abc import Callable

from tests.simulation import checks_fleet, checks_jobs, checks_ticks, records
from tests.simulation.checks import Found
from tests.simulation.faults import pod_of
from tests.simulation.world import World
from tests.support.census import census_of
from tests.support.leaks import find_leaks

Check = Callable[[Found], None]

CHECKS: dict[int, tuple[Check, ...]] = {
    1: (checks_jobs.accepted_jobs_exist, checks_jobs.jobs_end_as_their_tasks_do),
    2: (checks_jobs.completed_once, checks_jobs.what_follows_an_end_follows_it_once),
    3: (checks_fleet.jobs_of_the_dead_start_again_in_time,),
    4: (checks_fleet.ready_jobs_are_taken_in_time,),
    6: (checks_jobs.no_request_becomes_two_jobs,),
    7: (
        checks_jobs.a_window_has_one_job,
        checks_jobs.duplicates_are_told_of_the_first,
        checks_jobs.keys_are_held_by_the_living,
    ),
    8: (
        checks_ticks.a_tick_has_one_job,
        checks_ticks.ticks_are_fired,
        checks_ticks.what_is_paused_or_removed_does_not_tick,
    ),
    9: (checks_jobs.poison_is_set_aside,),
    10: (checks_jobs.what_only_a_newer_release_can_run_is_run,),
    11: (checks_fleet.who_stops_stops_in_time, checks_fleet.who_stops_hands_on_what_it_owned),
    12: (checks_fleet.nobody_ends_by_itself,),
    13: (checks_jobs.payloads_are_json,),
}
"""What holds each guarantee once the fleet has settled.

Guarantee 5 is held by `observer.Observer._judge`: a worker that was merely blocked is never reaped. So are
the other halves of 11 and 12 (who stops or lives through an outage is not reaped, and no crash is counted),
and guarantee 2 at every outcome. Guarantees 1 and 7 are also held by `look`, all the time.
"""


def look(world: World) -> None:
    """What holds at every moment at which Redis can be read as a whole."""
    history = world.history
    found = records.all_records(world.servers)
    live: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for job, record in found.items():
        if record["status"] in records.LIVE and "key" in record and "follows" not in record:
            queue = job.partition(".")[0]
            live[queue, record["task"], record["key"]].append(job)
    for (_, task, key), jobs in live.items():
        history.holds(7)
        forgot = history.cuts and history.losses  # of keys in several homes Redis may have forgotten one
        if len(jobs) > 1 and not forgot and not any("window" in found[job] for job in jobs):
            history.problem(f"{len(jobs)} live jobs of {task} have the key {key}: {jobs}")
    for server in records.each(world.servers):
        census = census_of(server)
        history.holds(1, len(census.jobs))
        for line in census.misplaced:
            if line.partition(" ")[0] not in history.torn:  # until somebody has noticed
                history.problem(f"misplaced: {line}")


def check(world: World, faults_until: float, *, settles: bool = False) -> None:
    """What holds once the fleet has settled, while it still runs.

    Args:
        world: The simulation.
        faults_until: When the faults were over, s.
        settles: Whether the fleet had the time to strike off older layouts.
    """
    history = world.history
    for line in records.unfinished(world):
        history.problem(f"after {world.loop.elapsed - faults_until:.0f} s of quiet, {line}")
    if settles and (homes := records.older_layouts(world)):
        history.problem(f"keys may still be held by older layouts: {homes}")
    look(world)
    found = Found(world=world, history=history, jobs=records.all_records(world.servers))
    for checks in CHECKS.values():
        for hold in checks:
            hold(found)
    checks_ticks.a_singleton_builds_on_what_was_saved(found)


def check_end(world: World) -> None:
    """What holds when every worker has ended."""
    history = world.history
    for server in records.each(world.servers):
        for line in find_leaks(server):
            history.problem(f"leaked: {line}")
        census = census_of(server)
        for line in census.misplaced:
            history.problem(f"misplaced at the end: {line}")
        for job in census.jobs.values():
            history.holds(11)
            if job.pending:
                history.problem(f"{job.id} is pending for {job.pending}, which have ended")
    left = world.servers.ask("HKEYS", "capelin:{fleet}:members")
    gone = [name for name in left if pod_of(str(name)) in world.stopped_in_peace]
    if gone:
        history.problem(f"members that have ended: {gone}")
