"""What became of schedules and singletons: guarantee 8."""

from collections import defaultdict

from tests.simulation.apps import EVERY
from tests.simulation.checks import Found
from tests.simulation.history import Change
from tests.simulation.patches import EPOCH
from tests.simulation.records import BECOMES_QUIET

_SCHEDULES = b"{schedules}"
_A_MOMENT = 0.1
"""Seconds: a tick as near to a change may be on either side of it."""


def _ticks(found: Found) -> dict[str, dict[int, set[str]]]:
    """The jobs of each tick (ms) of each schedule."""
    jobs: defaultdict[str, defaultdict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for job, record in found.jobs.items():
        if "schedule" in record and "tick" in record:
            jobs[record["schedule"]][int(float(record["tick"]))].add(job)
    return jobs  # type: ignore[return-value]


def a_tick_has_one_job(found: Found) -> None:
    """Guarantee 8: whoever leads, and however often it changes."""
    history = found.history
    for schedule, ticks in _ticks(found).items():
        for tick, ids in ticks.items():
            history.holds(8)
            # A job's name makes it one, whatever Redis forgot; but not in two shards, of two layouts.
            if len(ids) > 1 and not found.layouts_forgotten:
                history.problem(f"tick {tick} of {schedule} has {len(ids)} jobs: {sorted(ids)}")


def ticks_are_fired(found: Found) -> None:
    """Guarantee 8: all ticks of a schedule that catches up are there.

    From the first on; of one that was added or changed at run time, from its last change on.
    """
    history = found.history
    if history.losses:
        return  # a server that has forgotten a tick's job, or that it was owed, cannot be blamed for it
    ticks = _ticks(found)
    now = history.clock() - BECOMES_QUIET
    mine = sorted(ticks.get("beat.all", ()))
    if mine:
        _all_there(found, "beat.all", mine[0] / 1000 - EPOCH, now, EVERY["beat.all"])
    elif history.clock() > BECOMES_QUIET * 2:
        history.problem("beat.all was never fired")
    for name, changes in _changes(found).items():
        if any(change.returned is None for change in changes):
            continue
        last = [change for change in changes if change.kind in ("put", "resume")][-1:]
        if last and not any(_undoes(change) for change in changes[changes.index(last[0]) + 1 :]):
            put = [change for change in changes if change.kind == "put" and change.called <= last[0].called]
            if put and _runs(changes):
                _all_there(found, name, (last[0].returned or 0.0) + _A_MOMENT, now, put[-1].every)


def _all_there(found: Found, name: str, since: float, until: float, every: float) -> None:
    period = round(every * 1000)
    first = -(-round((EPOCH + since) * 1000) // period) * period
    ticks = _ticks(found).get(name, {})
    for tick in range(first, round((EPOCH + until) * 1000), period):
        found.history.holds(8)
        if tick not in ticks:
            found.history.problem(f"tick {tick} of {name} was not fired")


def what_is_paused_or_removed_does_not_tick(found: Found) -> None:
    """A schedule fires no tick that lies between a pause and the next change, or behind its removal."""
    for name, changes in _changes(found).items():
        for place, change in enumerate(changes):
            if not _undoes(change) or change.returned is None or found.history.forgot(_SCHEDULES):
                continue
            since = change.returned + _A_MOMENT
            until = min(
                (other.called for other in changes if other is not change and _ends_after(other, change)),
                default=found.history.clock(),
            )
            if any(
                other.called < change.returned and _ends_after(other, change) for other in changes[:place]
            ):
                continue
            found.history.holds(8)
            for tick in _ticks(found).get(name, {}):
                if since < tick / 1000 - EPOCH < until:
                    found.history.problem(f"tick {tick} of {name} was fired, after its {change.kind}")


def _changes(found: Found) -> dict[str, list[Change]]:
    """What was done to each schedule of run time, in order."""
    changes: defaultdict[str, list[Change]] = defaultdict(list)
    for change in found.history.changes:
        if change.name not in EVERY and change.kind != "trigger":
            changes[change.name].append(change)
    return changes


def _undoes(change: Change) -> bool:
    return change.kind in ("pause", "remove")


def _ends_after(other: Change, change: Change) -> bool:
    """Whether another change may have come behind this one."""
    return other.returned is None or other.returned > change.called


def _runs(changes: list[Change]) -> bool:
    """Whether the changes, one after the other, end with a schedule that ticks; else nobody can say."""
    paused = False
    there = False
    for before, change in zip([None, *changes], changes, strict=False):
        if before is not None and (before.returned is None or before.returned > change.called):
            return False
        match change.kind:
            case "put":
                there = True
            case "remove":
                there = paused = False
            case "pause":
                paused = True
            case _:
                paused = False
    return there and not paused


def a_singleton_builds_on_what_was_saved(found: Found) -> None:
    """Each save builds on the one before, under a fence that never goes back."""
    history = found.history
    if history.forgot(b"{lease:counter}"):
        return
    value = fence = 0
    for saved in history.saved:
        history.holds(2)
        if saved.fence < fence:
            history.problem(f"{saved.pod} saved {saved.value} under {saved.fence} after {fence} had")
        if saved.value <= value:
            history.problem(f"{saved.pod} saved {saved.value} after {value} was")
        value, fence = max(value, saved.value), max(fence, saved.fence)
    if not history.saved:
        history.problem("the singleton never ran")
