"""Which ticks of a schedule to fire now, and which to skip, and why.

A plan is a function of its arguments alone, without a clock. Every due tick is in it once, fired or skipped,
and ``last`` says up to where: plans that follow one another from there fire no tick twice and forget none, in
however many steps and by however many leaders they are made (guarantee 8).

All moments are milliseconds since the epoch.
"""

from dataclasses import dataclass
from itertools import islice

from capelin.ticks import CatchUp, SkipReason
from capelin.timing import Timing

ON_TIME = 2_000
"""How late a tick may be, in ms, to be on time for ``catch_up="none"``: a failover is not that quick."""

COUNT_LIMIT = 10_000
"""How many skipped ticks are counted: one a second makes 31 million in a year of downtime."""


@dataclass(frozen=True, kw_only=True)
class Skip:
    """Ticks that are not fired, for one reason.

    Attributes:
        reason: Why.
        first: The oldest of them.
        last: The newest of them.
        count: How many there are, both included.
        at_least: There are more than ``count``; they were not all counted.
    """

    reason: SkipReason
    first: int
    last: int
    count: int
    at_least: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What becomes of the ticks that are due.

    Attributes:
        fire: The ticks to fire now, in order.
        skipped: The ticks to skip: the stale ones first, then those passed over.
        last: The newest tick that this plan deals with: the next plan's ``since``. Equal to ``since`` when
            nothing was due.
        next: The first tick after ``last``; None if there is none before the schedule's end, or ever.
        more: There are due ticks after ``last``: plan again.
    """

    fire: tuple[int, ...]
    skipped: tuple[Skip, ...]
    last: int
    next: int | None
    more: bool


def plan(
    timing: Timing,
    *,
    since: int,
    now: int,
    catch_up: CatchUp,
    stale_after: int | None,
    start: int | None = None,
    end: int | None = None,
    most: int = 100,
) -> Plan:
    """Return what becomes of the ticks with ``since < tick <= now``.

    Args:
        timing: When the schedule ticks.
        since: Up to where ticks were dealt with.
        now: Redis's time.
        catch_up: Which late ticks are fired.
        stale_after: A tick that is later than this many ms is not fired; None: none is too late.
        start: Ticks before this moment do not count.
        end: Ticks after this moment do not count.
        most: At most so many are fired by one plan.

    Example:
        >>> from capelin.timing import Every
        >>> made = plan(Every(60_000), since=0, now=180_500, catch_up=CatchUp.LATEST, stale_after=None)
        >>> made.fire, [(skip.reason.value, skip.count) for skip in made.skipped], made.next
        ((180000,), [('missed', 2)], 240000)
    """
    # Ticks at or before `dealt_with` are none of this plan's, nor are those after `until`.
    dealt_with = since if start is None else max(since, start - 1)
    until = now if end is None else min(now, end)
    fresh = dealt_with + 1 if stale_after is None else max(dealt_with + 1, now - stale_after)
    fired = _oldest_to_fire(timing, catch_up, fresh=fresh, now=now, until=until)

    skips = (
        _skip(timing, SkipReason.STALE, after=dealt_with, until=min(fresh - 1, until)),
        _skip(timing, SkipReason.MISSED, after=fresh - 1, until=min(fired - 1, until)),
    )
    skipped = tuple(skip for skip in skips if skip is not None)
    due = timing.ticks(fired - 1, until)
    fire = tuple(islice(due, most))
    last = max([since, *(skip.last for skip in skipped), *fire])
    upcoming = timing.after(max(last, dealt_with))
    return Plan(
        fire=fire,
        skipped=skipped,
        last=last,
        next=None if upcoming is None or (end is not None and upcoming > end) else upcoming,
        more=next(due, None) is not None,
    )


def _oldest_to_fire(timing: Timing, catch_up: CatchUp, *, fresh: int, now: int, until: int) -> int:
    match catch_up:
        case CatchUp.ALL:
            return fresh
        case CatchUp.LATEST:
            newest = timing.latest(until)
            return fresh if newest is None else max(fresh, newest)
        case CatchUp.NONE:
            return max(fresh, now - ON_TIME)


def _skip(timing: Timing, reason: SkipReason, *, after: int, until: int) -> Skip | None:
    last = timing.latest(until)
    if last is None or last <= after:
        return None
    ticks = timing.ticks(after, until)
    counted = list(islice(ticks, COUNT_LIMIT))
    return Skip(
        reason=reason,
        first=counted[0],
        last=last,
        count=len(counted),
        at_least=next(ticks, None) is not None,
    )
