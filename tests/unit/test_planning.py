"""Every due tick is fired or skipped, once, as the tables of docs/schedules.md say."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capelin.scheduler.planning import COUNT_LIMIT, ON_TIME, Plan, Skip, plan
from capelin.ticks import CatchUp, SkipReason
from capelin.timing import Cron, Every, Timing

LATEST, ALL, NONE = CatchUp.LATEST, CatchUp.ALL, CatchUp.NONE
STALE, MISSED = SkipReason.STALE, SkipReason.MISSED
S, MIN, HOUR = 1000, 60_000, 3_600_000


def ms(text: str, zone: str = "UTC", *, second_time: bool = False) -> int:
    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=int(second_time))
    return int(local.timestamp() * 1000)


def story(timing: Timing, made: Plan, *, since: int, now: int) -> str:
    """What became of each due tick, in order: Fired, stale, missed, or left for the next plan."""
    signs = {STALE: "s", MISSED: "m"}
    return "".join(
        "F"
        if tick in made.fire
        else next((signs[skip.reason] for skip in made.skipped if skip.first <= tick <= skip.last), ".")
        for tick in timing.ticks(since, now)
    )


# Everything was down for ten minutes. Each combination, tick by tick; the newest tick is 30 s late.

TEN_MINUTES = """
    catch_up   skip_if_older_than   01 02 03 04 05 06 07 08 09 10
    latest     None                 m  m  m  m  m  m  m  m  m  F
    latest     1                    s  s  s  s  s  s  s  s  s  s
    latest     30                   s  s  s  s  s  s  s  s  s  F
    latest     300                  s  s  s  s  s  m  m  m  m  F
    latest     3600                 m  m  m  m  m  m  m  m  m  F
    all        None                 F  F  F  F  F  F  F  F  F  F
    all        1                    s  s  s  s  s  s  s  s  s  s
    all        30                   s  s  s  s  s  s  s  s  s  F
    all        300                  s  s  s  s  s  F  F  F  F  F
    all        3600                 F  F  F  F  F  F  F  F  F  F
    none       None                 m  m  m  m  m  m  m  m  m  m
    none       1                    s  s  s  s  s  s  s  s  s  s
    none       30                   s  s  s  s  s  s  s  s  s  m
    none       300                  s  s  s  s  s  m  m  m  m  m
    none       3600                 m  m  m  m  m  m  m  m  m  m
"""
# The same, but back exactly at the moment of the newest tick.
AT_THE_TICK = """
    catch_up   skip_if_older_than   01 02 03 04 05 06 07 08 09 10
    latest     None                 m  m  m  m  m  m  m  m  m  F
    latest     1                    s  s  s  s  s  s  s  s  s  F
    latest     30                   s  s  s  s  s  s  s  s  s  F
    latest     300                  s  s  s  s  m  m  m  m  m  F
    latest     3600                 m  m  m  m  m  m  m  m  m  F
    all        None                 F  F  F  F  F  F  F  F  F  F
    all        1                    s  s  s  s  s  s  s  s  s  F
    all        30                   s  s  s  s  s  s  s  s  s  F
    all        300                  s  s  s  s  F  F  F  F  F  F
    all        3600                 F  F  F  F  F  F  F  F  F  F
    none       None                 m  m  m  m  m  m  m  m  m  F
    none       1                    s  s  s  s  s  s  s  s  s  F
    none       30                   s  s  s  s  s  s  s  s  s  F
    none       300                  s  s  s  s  m  m  m  m  m  F
    none       3600                 m  m  m  m  m  m  m  m  m  F
"""


def rows(table: str) -> Iterator[tuple[CatchUp, int | None, str]]:
    for line in table.strip().splitlines()[1:]:
        catch_up, older_than, *signs = line.split()
        yield CatchUp(catch_up), None if older_than == "None" else int(older_than) * S, "".join(signs)


def test_the_tables_are_whole() -> None:
    for table in (TEN_MINUTES, AT_THE_TICK):
        combinations = [(catch_up, stale_after) for catch_up, stale_after, _ in rows(table)]
        assert combinations == [(c, s) for c in CatchUp for s in (None, 1 * S, 30 * S, 300 * S, 3600 * S)]


def test_the_table_of_the_docs_is_this_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "schedules.md").read_text(encoding="utf-8")
    signs = {"**▶**": "F", "s": "s", "m": "m"}
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines()]
    table = [
        (CatchUp(row[0].strip("`")), row[1].strip("`"), "".join(signs[sign] for sign in row[2:]))
        for row in cells
        if len(row) == 12 and row[-1] in signs
    ]
    assert table == [
        (catch_up, "None" if stale_after is None else str(stale_after // S), story)
        for catch_up, stale_after, story in rows(TEN_MINUTES)
    ]


EVERY_MINUTE = Cron("* * * * *")
BERLIN = Cron("* * * * *", "Europe/Berlin")
DOWNTIMES = {
    "every minute": (Every(MIN), ms("2026-11-23 12:00:30"), ms("2026-11-23 12:10:30")),
    "cron": (EVERY_MINUTE, ms("2026-11-23 12:00:30"), ms("2026-11-23 12:10:30")),
    "clocks go forward": (
        BERLIN,
        ms("2026-03-29 01:55:30", "Europe/Berlin"),
        ms("2026-03-29 03:05:30", "Europe/Berlin"),
    ),
    "clocks go back": (
        BERLIN,
        ms("2026-10-25 02:55:30", "Europe/Berlin"),
        ms("2026-10-25 02:05:30", "Europe/Berlin", second_time=True),
    ),
}


@pytest.mark.parametrize("downtime", DOWNTIMES)
@pytest.mark.parametrize(("catch_up", "stale_after", "expected"), [*rows(TEN_MINUTES)])
def test_after_ten_minutes_of_downtime(
    downtime: str, catch_up: CatchUp, stale_after: int | None, expected: str
) -> None:
    timing, since, now = DOWNTIMES[downtime]
    made = plan(timing, since=since, now=now, catch_up=catch_up, stale_after=stale_after)
    assert story(timing, made, since=since, now=now) == expected
    assert made.last == now - 30 * S
    assert made.next == now + 30 * S
    assert not made.more


@pytest.mark.parametrize(("catch_up", "stale_after", "expected"), [*rows(AT_THE_TICK)])
def test_a_tick_is_due_at_its_moment(catch_up: CatchUp, stale_after: int | None, expected: str) -> None:
    since, now = ms("2026-11-23 12:00"), ms("2026-11-23 12:10")
    made = plan(EVERY_MINUTE, since=since, now=now, catch_up=catch_up, stale_after=stale_after)
    assert story(EVERY_MINUTE, made, since=since, now=now) == expected
    assert (made.last, made.next, made.more) == (now, now + MIN, False)


@pytest.mark.parametrize(
    ("expression", "catch_up", "since", "now", "expected"),
    [
        # A daily job in the hour that is skipped runs when the clocks go forward, if somebody is there.
        ("30 2 * * *", LATEST, "2026-03-29 01:55", "2026-03-29 03:04", "F"),
        ("30 2 * * *", LATEST, "2026-03-29 01:55", "2026-03-29 03:06", "s"),
        ("30 2 * * *", NONE, "2026-03-29 01:55", "2026-03-29 03:01", "m"),
        ("*/10 2 * * *", ALL, "2026-03-29 01:55", "2026-03-29 03:04", ""),
        # In the hour that is repeated it runs the first time; the second time nothing is due.
        ("59 2 * * *", LATEST, "2026-10-25 02:55", "2026-10-25 02:03 again", "F"),
        ("1 2 * * *", LATEST, "2026-10-25 02:55", "2026-10-25 02:05 again", ""),
        ("*/2 2 * * *", ALL, "2026-10-25 02:55", "2026-10-25 02:03 again", "sFFF"),
        ("*/2 2 * * *", LATEST, "2026-10-25 02:53", "2026-10-25 02:05 again", "sssmmF"),
    ],
)
def test_downtime_over_a_change_of_clocks(
    expression: str, catch_up: CatchUp, since: str, now: str, expected: str
) -> None:
    timing = Cron(expression, "Europe/Berlin")
    began = ms(since, "Europe/Berlin")
    ended = ms(now.removesuffix(" again"), "Europe/Berlin", second_time=now.endswith("again"))
    made = plan(timing, since=began, now=ended, catch_up=catch_up, stale_after=5 * MIN)
    assert story(timing, made, since=began, now=ended) == expected


# What a plan says


def test_skipped_ticks_are_told_apart_and_counted() -> None:
    made = plan(Every(MIN), since=0, now=10 * MIN + 1, catch_up=LATEST, stale_after=4 * MIN)
    assert made == Plan(
        fire=(10 * MIN,),
        skipped=(
            Skip(reason=STALE, first=MIN, last=6 * MIN, count=6),
            Skip(reason=MISSED, first=7 * MIN, last=9 * MIN, count=3),
        ),
        last=10 * MIN,
        next=11 * MIN,
        more=False,
    )


def test_a_tick_is_stale_only_once_it_is_older_than_that() -> None:
    def fired(late: int) -> tuple[int, ...]:
        return plan(Every(HOUR), since=0, now=HOUR + late, catch_up=LATEST, stale_after=5 * MIN).fire

    assert fired(5 * MIN) == (HOUR,)
    assert fired(5 * MIN + 1) == ()


def test_a_tick_is_on_time_up_to_two_seconds_late() -> None:
    def made(late: int, stale_after: int | None = None) -> Plan:
        return plan(Every(HOUR), since=0, now=HOUR + late, catch_up=NONE, stale_after=stale_after)

    assert made(0).fire == made(ON_TIME).fire == (HOUR,)
    assert made(ON_TIME + 1).fire == ()
    assert [skip.reason for skip in made(ON_TIME + 1).skipped] == [MISSED]
    # What is stale is not on time.
    assert made(ON_TIME, stale_after=500).fire == ()
    assert [skip.reason for skip in made(ON_TIME, stale_after=500).skipped] == [STALE]


@pytest.mark.parametrize("catch_up", CatchUp)
def test_when_nothing_is_due_nothing_is_planned(catch_up: CatchUp) -> None:
    made = plan(Every(MIN), since=MIN, now=2 * MIN - 1, catch_up=catch_up, stale_after=0)
    assert made == Plan(fire=(), skipped=(), last=MIN, next=2 * MIN, more=False)


@pytest.mark.parametrize("catch_up", CatchUp)
def test_a_clock_that_was_set_back_repeats_nothing(catch_up: CatchUp) -> None:
    """After a failover Redis's clock may be another's."""
    made = plan(Every(MIN), since=10 * MIN, now=5 * MIN, catch_up=catch_up, stale_after=None)
    assert made == Plan(fire=(), skipped=(), last=10 * MIN, next=11 * MIN, more=False)


def test_ticks_before_the_start_and_after_the_end_do_not_count() -> None:
    def made(now: int, since: int = 0) -> Plan:
        return plan(
            Every(MIN), since=since, now=now, catch_up=ALL, stale_after=None, start=3 * MIN, end=5 * MIN
        )

    assert made(2 * MIN) == Plan(fire=(), skipped=(), last=0, next=3 * MIN, more=False)
    assert made(3 * MIN) == Plan(fire=(3 * MIN,), skipped=(), last=3 * MIN, next=4 * MIN, more=False)
    assert made(4 * MIN).next == 5 * MIN
    assert made(9 * MIN) == Plan(
        fire=(3 * MIN, 4 * MIN, 5 * MIN), skipped=(), last=5 * MIN, next=None, more=False
    )
    assert made(9 * MIN, since=5 * MIN) == Plan(fire=(), skipped=(), last=5 * MIN, next=None, more=False)


@pytest.mark.parametrize(
    ("catch_up", "stale_after", "now", "expected"),
    [
        (LATEST, MIN, 4, "ssF"),
        (ALL, MIN, 4, "ssF"),
        (NONE, MIN, 4, "ssm"),
        # Long after the end the ticks that would have come since are neither stale nor missed.
        (LATEST, MIN, 10, "sss"),
        (ALL, MIN, 10, "sss"),
        (NONE, MIN, 10, "sss"),
        (LATEST, None, 10, "mmF"),
        (ALL, None, 10, "FFF"),
        (NONE, None, 10, "mmm"),
    ],
)
def test_the_last_ticks_before_the_end_are_caught_up_after_it(
    catch_up: CatchUp, stale_after: int | None, now: int, expected: str
) -> None:
    made = plan(Every(MIN), since=0, now=now * MIN, catch_up=catch_up, stale_after=stale_after, end=3 * MIN)
    assert story(Every(MIN), made, since=0, now=3 * MIN) == expected
    assert len(made.fire) + sum(skip.count for skip in made.skipped) == 3
    assert (made.last, made.next, made.more) == (3 * MIN, None, False)


def test_a_plan_fires_no_more_than_it_may_and_says_where_to_go_on() -> None:
    def made(since: int, now: int) -> Plan:
        return plan(Every(S), since=since, now=now, catch_up=ALL, stale_after=5 * S, most=3)

    first = made(0, 10 * S)
    assert first.fire == (5 * S, 6 * S, 7 * S)
    assert first.skipped == (Skip(reason=STALE, first=S, last=4 * S, count=4),)
    assert (first.last, first.next, first.more) == (7 * S, 8 * S, True)

    # Meanwhile time goes on, and what has become stale is skipped.
    second = made(first.last, 14 * S)
    assert second.fire == (9 * S, 10 * S, 11 * S)
    assert second.skipped == (Skip(reason=STALE, first=8 * S, last=8 * S, count=1),)
    assert second.more

    third = made(second.last, 14 * S)
    assert (third.fire, third.next, third.more) == ((12 * S, 13 * S, 14 * S), 15 * S, False)


def test_a_schedule_that_never_ticks_again_has_no_next() -> None:
    timing = Cron("*/5 0 * 4 5L", "Africa/Cairo")  # always in the hour that is skipped there
    since = ms("2026-01-01")
    for catch_up in CatchUp:
        made = plan(timing, since=since, now=since + HOUR, catch_up=catch_up, stale_after=None)
        assert made == Plan(fire=(), skipped=(), last=since, next=None, more=False)


# A long downtime


@pytest.mark.parametrize(
    "timing", [Every(S), Cron("* * * * * *"), Cron("* * * * * *", "Europe/Berlin")], ids=str
)
@pytest.mark.parametrize("catch_up", CatchUp)
def test_a_year_of_seconds_is_not_counted_to_the_end(
    timing: Timing, catch_up: CatchUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = 0
    walk = type(timing).ticks

    def counted(self: Timing, after: int, until: int) -> Iterator[int]:
        nonlocal looked_at
        for tick in walk(self, after, until):
            looked_at += 1
            yield tick

    monkeypatch.setattr(type(timing), "ticks", counted)
    now = ms("2026-11-23 12:00")
    since = now - 365 * 24 * HOUR
    made = plan(timing, since=since, now=now + 100, catch_up=catch_up, stale_after=5 * MIN)

    assert made.skipped[0] == Skip(
        reason=STALE, first=since + S, last=now - 5 * MIN, count=COUNT_LIMIT, at_least=True
    )
    assert looked_at <= COUNT_LIMIT + 500
    if catch_up is ALL:
        assert (made.fire[0], len(made.fire), made.more) == (now - 5 * MIN + S, 100, True)
    else:
        assert (made.fire[-1], made.last, made.next, made.more) == (now, now, now + S, False)


def test_as_many_as_are_counted_are_not_more_than_that() -> None:
    for count, at_least in ((COUNT_LIMIT, False), (COUNT_LIMIT + 1, True)):
        made = plan(Every(S), since=0, now=(count + 1) * S, catch_up=LATEST, stale_after=None)
        assert made.skipped == (
            Skip(reason=MISSED, first=S, last=count * S, count=COUNT_LIMIT, at_least=at_least),
        )


# In general

TIMINGS: st.SearchStrategy[Timing] = st.sampled_from(
    [
        Every(MIN),
        Every(7 * S + 1),
        Cron("* * * * *"),
        Cron("*/7 * * * *", "Europe/Berlin"),
        Cron("*/10 2 * * *", "Europe/Berlin"),
        Cron("0,30 1-3 * * *", "Europe/Berlin"),
        Cron("*/45 * * * * *", "Australia/Lord_Howe"),
    ]
)
BEGINS = st.sampled_from(
    [
        ms("2026-03-28 23:30"),  # before clocks go forward in Berlin
        ms("2026-10-24 23:30"),  # before they go back
        ms("2026-04-04 14:00"),  # before they go back on Lord Howe
        ms("2026-11-23 12:00"),
    ]
)
STEPS = st.lists(
    st.integers(-2 * MIN, 40 * MIN) | st.integers(0, 5 * S) | st.integers(2 * HOUR, 5 * HOUR),
    min_size=1,
    max_size=12,
)
OLDEST = st.none() | st.integers(0, HOUR) | st.sampled_from([0, S, 5 * MIN])


def nows(begin: int, steps: list[int]) -> list[int]:
    """Moments of planning: mostly later and later, at times a little earlier."""
    return [begin + sum(steps[:count]) for count in range(1, len(steps) + 1)]


@settings(max_examples=200, deadline=None)
@given(
    timing=TIMINGS,
    begin=BEGINS,
    steps=STEPS,
    catch_up=st.sampled_from(CatchUp),
    stale_after=OLDEST,
    most=st.integers(1, 20),
    window=st.tuples(st.none() | st.integers(0, HOUR), st.none() | st.integers(HOUR, 3 * HOUR)),
)
def test_however_time_goes_on_each_due_tick_is_fired_or_skipped_once(
    *,
    timing: Timing,
    begin: int,
    steps: list[int],
    catch_up: CatchUp,
    stale_after: int | None,
    most: int,
    window: tuple[int | None, int | None],
) -> None:
    start, end = (None if offset is None else begin + offset for offset in window)
    moments = nows(begin, steps)
    newest = max([begin, *moments])
    since, dealt_with = begin, list[int]()
    while moments:
        now = moments.pop(0)
        made = plan(
            timing,
            since=since,
            now=now,
            catch_up=catch_up,
            stale_after=stale_after,
            start=start,
            end=end,
            most=most,
        )
        assert list(made.fire) == sorted(made.fire)
        assert len(made.fire) <= (1 if catch_up is LATEST else most)
        for tick in made.fire:
            assert stale_after is None or now - tick <= stale_after
            assert catch_up is not NONE or now - tick <= ON_TIME
        fate = list(made.fire)
        for skip in made.skipped:
            ticks = list(timing.ticks(skip.first - 1, skip.last))
            assert (len(ticks), ticks[0], ticks[-1]) == (skip.count, skip.first, skip.last)
            for tick in ticks:
                assert (skip.reason is STALE) == (stale_after is not None and now - tick > stale_after)
            fate += ticks
        assert made.last == max([since, *fate])
        assert made.more == (made.next is not None and made.next <= now)
        assert made.next is None or made.next > made.last
        dealt_with += sorted(fate)
        since = made.last
        if not moments and (made.more or now < newest):
            moments.append(newest)

    # Together they are all that were due, in order: none twice, none forgotten.
    first = begin if start is None else max(begin, start - 1)
    last = newest if end is None else min(end, newest)
    assert dealt_with == list(timing.ticks(first, last))


@settings(deadline=None)
@given(timing=TIMINGS, begin=BEGINS, steps=STEPS, most=st.integers(1, 20))
def test_catching_up_all_of_any_age_fires_exactly_every_tick(
    timing: Timing, begin: int, steps: list[int], most: int
) -> None:
    fired: list[int] = []
    since = begin
    for now in nows(begin, steps):
        while True:
            made = plan(timing, since=since, now=now, catch_up=ALL, stale_after=None, most=most)
            assert made.skipped == ()
            fired += made.fire
            since = made.last
            if not made.more:
                break
    assert fired == list(timing.ticks(begin, max([begin, *nows(begin, steps)])))
    assert all(earlier < later for earlier, later in pairwise(fired))


@settings(deadline=None)
@given(
    timing=TIMINGS, begin=BEGINS, span=st.integers(0, HOUR), catch_up=st.sampled_from(CatchUp), oldest=OLDEST
)
def test_the_same_plan_is_made_of_the_same_arguments(
    timing: Timing, begin: int, span: int, catch_up: CatchUp, oldest: int | None
) -> None:
    """A successor plans what its dead predecessor did, and sends the same jobs again."""
    plans = [
        plan(timing, since=begin, now=begin + span, catch_up=catch_up, stale_after=oldest) for _ in range(2)
    ]
    assert plans[0] == plans[1]


def test_the_moments_of_these_tests_are_what_they_say() -> None:
    assert (
        datetime.fromtimestamp(DOWNTIMES["clocks go back"][2] / 1000, UTC)
        .isoformat()
        .endswith("01:05:30+00:00")
    )
    for _, since, now in DOWNTIMES.values():
        assert now - since == 10 * MIN
