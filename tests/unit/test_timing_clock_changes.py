"""When clocks are set forward or back, schedules tick as docs/schedules.md says, however they are walked."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import example, given, settings
from hypothesis import strategies as st

from capelin._zones import Change, first_change, last_change
from capelin.timing import Cron, Timing

HOUR = 3_600_000


def ms(text: str, zone: str = "UTC", *, second_time: bool = False) -> int:
    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=int(second_time))
    return int(local.timestamp() * 1000)


def local(tick: int, zone: str) -> datetime:
    return datetime.fromtimestamp(tick / 1000, ZoneInfo(zone))


def shown(timing: Timing, zone: str, since: str, hours: float) -> list[str]:
    """The ticks of some hours from a local time on, as a clock shows them: day, time, offset from UTC."""
    start = ms(since, zone)
    ticks = timing.ticks(start - 1, start + int(hours * HOUR))
    moments = [local(tick, zone).isoformat(timespec="minutes") for tick in ticks]
    return [moment[8:].replace("T", " ") for moment in moments]


# The four zones, both ways. Each row: the schedule, from when, for how many hours, and what it does.

BERLIN, NEW_YORK, LORD_HOWE, KOLKATA = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
)


@pytest.mark.parametrize(
    ("zone", "since", "expected"),
    [
        (BERLIN, "2026-03-29 00:30", "29 01:00+01:00, 29 03:00+02:00, 29 04:00+02:00"),
        (BERLIN, "2026-10-25 00:30", "25 01:00+02:00, 25 02:00+02:00, 25 02:00+01:00"),
        (NEW_YORK, "2026-03-08 00:30", "08 01:00-05:00, 08 03:00-04:00, 08 04:00-04:00"),
        (NEW_YORK, "2026-11-01 00:30", "01 01:00-04:00, 01 01:00-05:00, 01 02:00-05:00"),
        # Clocks go from 02:00 to 02:30, which is no full hour, and in autumn from 02:00 to 01:30.
        (LORD_HOWE, "2026-10-04 00:30", "04 01:00+10:30, 04 03:00+11:00, 04 04:00+11:00"),
        (LORD_HOWE, "2026-04-05 00:30", "05 01:00+11:00, 05 02:00+10:30, 05 03:00+10:30"),
        (KOLKATA, "2026-03-29 00:30", "29 01:00+05:30, 29 02:00+05:30, 29 03:00+05:30"),
    ],
)
def test_an_hourly_schedule_ticks_when_the_clock_shows_a_full_hour(
    zone: str, since: str, expected: str
) -> None:
    assert shown(Cron("@hourly", zone), zone, since, 3) == expected.split(", ")


@pytest.mark.parametrize(
    ("expression", "zone", "since", "expected"),
    [
        # Skipped: at the moment at which clocks are set forward.
        ("30 2 * * *", BERLIN, "2026-03-28 00:00", "28 02:30+01:00, 29 03:00+02:00, 30 02:30+02:00"),
        ("30 2 * * *", NEW_YORK, "2026-03-07 00:00", "07 02:30-05:00, 08 03:00-04:00, 09 02:30-04:00"),
        ("15 2 * * *", LORD_HOWE, "2026-10-03 00:00", "03 02:15+10:30, 04 02:30+11:00, 05 02:15+11:00"),
        # Shown twice: the first time.
        ("30 2 * * *", BERLIN, "2026-10-24 00:00", "24 02:30+02:00, 25 02:30+02:00, 26 02:30+01:00"),
        ("30 1 * * *", NEW_YORK, "2026-10-31 00:00", "31 01:30-04:00, 01 01:30-04:00, 02 01:30-05:00"),
        ("45 1 * * *", LORD_HOWE, "2026-04-04 00:00", "04 01:45+11:00, 05 01:45+11:00, 06 01:45+10:30"),
        # Neither.
        ("30 2 * * *", KOLKATA, "2026-03-28 00:00", "28 02:30+05:30, 29 02:30+05:30, 30 02:30+05:30"),
        ("0 3 * * *", BERLIN, "2026-03-28 00:00", "28 03:00+01:00, 29 03:00+02:00, 30 03:00+02:00"),
        ("0 3 * * *", BERLIN, "2026-10-24 00:00", "24 03:00+02:00, 25 03:00+01:00, 26 03:00+01:00"),
        # Seconds that are fixed, too, change nothing.
        ("0 30 2 * * *", BERLIN, "2026-03-28 00:00", "28 02:30+01:00, 29 03:00+02:00, 30 02:30+02:00"),
        ("0 30 2 * * *", BERLIN, "2026-10-24 00:00", "24 02:30+02:00, 25 02:30+02:00, 26 02:30+01:00"),
    ],
)
def test_a_time_of_the_day_ticks_once_a_day(expression: str, zone: str, since: str, expected: str) -> None:
    assert shown(Cron(expression, zone), zone, since, 71) == expected.split(", ")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0,30 2 * * *", "29 03:00+02:00"),
        ("0 2,3 * * *", "29 03:00+02:00"),
        ("30 2,3 * * *", "29 03:00+02:00, 29 03:30+02:00"),
        ("0 1-4 * * *", "29 01:00+01:00, 29 03:00+02:00, 29 04:00+02:00"),
    ],
)
def test_times_of_the_day_that_are_skipped_together_tick_once(expression: str, expected: str) -> None:
    assert shown(Cron(expression, BERLIN), BERLIN, "2026-03-29 00:00", 10) == expected.split(", ")


@pytest.mark.parametrize(
    ("zone", "since", "expected"),
    [
        (BERLIN, "2026-03-29 01:30", "01:30 01:45 03:00 03:15 03:30"),
        (BERLIN, "2026-10-25 02:30", "02:30 02:45 02:00 02:15 02:30"),
        (NEW_YORK, "2026-03-08 01:30", "01:30 01:45 03:00 03:15 03:30"),
        (NEW_YORK, "2026-11-01 01:30", "01:30 01:45 01:00 01:15 01:30"),
        (LORD_HOWE, "2026-10-04 01:30", "01:30 01:45 02:30 02:45 03:00"),
        (LORD_HOWE, "2026-04-05 01:30", "01:30 01:45 01:30 01:45 02:00"),
        (KOLKATA, "2026-10-25 01:30", "01:30 01:45 02:00 02:15 02:30"),
    ],
)
def test_every_fifteen_minutes_is_every_fifteen_minutes(zone: str, since: str, expected: str) -> None:
    timing = Cron("*/15 * * * *", zone)
    ticks = list(timing.ticks(ms(since, zone) - 1, ms(since, zone) + HOUR))
    assert [f"{local(tick, zone):%H:%M}" for tick in ticks] == expected.split()
    assert {later - earlier for earlier, later in pairwise(ticks)} == {HOUR // 4}


@pytest.mark.parametrize(
    ("expression", "zone", "since", "expected"),
    [
        ("*/30 2 * * *", BERLIN, "2026-03-29 00:00", ""),
        (
            "*/30 2 * * *",
            BERLIN,
            "2026-10-25 00:00",
            "25 02:00+02:00, 25 02:30+02:00, 25 02:00+01:00, 25 02:30+01:00",
        ),
        # A star among the seconds is one as well.
        ("*/30 30 2 * * *", BERLIN, "2026-03-29 00:00", ""),
        (
            "*/59 30 2 * * *",
            BERLIN,
            "2026-10-25 00:00",
            "25 02:30+02:00, 25 02:30+02:00, 25 02:30+01:00, 25 02:30+01:00",
        ),
        # Both are times around a change by 30 minutes, and both were hard to get right.
        ("*/30 2 * * *", LORD_HOWE, "2026-04-05 00:00", "05 02:00+10:30, 05 02:30+10:30"),
        ("*/30 3 * * *", LORD_HOWE, "2026-10-04 00:00", "04 03:00+11:00, 04 03:30+11:00"),
        # Here the day itself begins with a skipped hour.
        ("*/30 0 * * sun", "America/Santiago", "2026-09-05 12:00", ""),
        ("*/30 1 * * sun", "America/Santiago", "2026-09-05 12:00", "06 01:00-03:00, 06 01:30-03:00"),
    ],
)
def test_a_star_follows_the_clock_on_the_wall(expression: str, zone: str, since: str, expected: str) -> None:
    assert shown(Cron(expression, zone), zone, since, 20) == (expected.split(", ") if expected else [])


def test_within_the_hour_that_is_repeated_the_times_of_the_day_wait_for_its_end() -> None:
    again = ms("2026-10-25 02:15", BERLIN, second_time=True)
    for time in ("0 3", "59 2", "0 2"):
        timing = Cron(f"{time} * * *", BERLIN)
        minute, hour = time.split()
        assert timing.after(again) == ms(f"2026-10-{25 if hour == '3' else 26} 0{hour}:{minute:0>2}", BERLIN)
        assert timing.latest(again) == ms(f"2026-10-{24 if hour == '3' else 25} 0{hour}:{minute:0>2}", BERLIN)


def test_a_day_that_a_zone_never_had_still_has_its_daily_tick() -> None:
    """Samoa went from the 29th of December 2011 straight to the 31st."""
    zone = "Pacific/Apia"
    assert shown(Cron("0 9 * * *", zone), zone, "2011-12-29 00:00", 47) == [
        "29 09:00-10:00",
        "31 00:00+14:00",
        "31 09:00+14:00",
    ]


# What holds in general, against a definition that is slow and plain: look at the clock every minute.

CHANGES = [
    (BERLIN, "2026-03-29 01:00"),
    (BERLIN, "2026-10-25 01:00"),
    (NEW_YORK, "2026-03-08 07:00"),
    (NEW_YORK, "2026-11-01 06:00"),
    (LORD_HOWE, "2026-10-03 15:30"),
    (LORD_HOWE, "2026-04-04 15:00"),
    ("America/Santiago", "2026-09-06 04:00"),  # at midnight, forward
    ("America/Santiago", "2026-04-05 03:00"),
    ("Africa/Cairo", "2026-04-23 22:00"),
    ("Africa/Cairo", "2026-10-29 21:00"),
    ("Africa/Casablanca", "2026-02-15 02:00"),  # Ramadan: back, and forward a month later
    ("Africa/Casablanca", "2026-03-22 02:00"),
]
NO_CHANGE = [(KOLKATA, "2026-03-29 01:00"), ("UTC", "2026-03-29 01:00"), ("Etc/GMT+12", "2026-10-25 01:00")]
AROUND = 27 * HOUR


@pytest.mark.parametrize(("zone", "moment"), CHANGES)
def test_clocks_are_set_at_these_moments(zone: str, moment: str) -> None:
    at = ms(moment)
    assert local(at - 60_000, zone).utcoffset() != local(at, zone).utcoffset()


def test_changes_are_found_up_to_their_moments() -> None:
    spring, autumn = ms("2026-03-29 01:00") // 1000, ms("2026-10-25 01:00") // 1000
    forward = Change(at=spring, before=3600, after=7200)
    back = Change(at=autumn, before=7200, after=3600)
    assert first_change(BERLIN, spring - 1, spring) == last_change(BERLIN, spring - 1, spring) == forward
    assert first_change(BERLIN, spring, autumn) == last_change(BERLIN, spring, autumn) == back
    assert first_change(BERLIN, spring, autumn - 1) is last_change(BERLIN, spring, autumn - 1) is None
    # The nearest one, however far the other end is.
    years = 10 * 366 * 86_400
    assert first_change(BERLIN, spring - 1, spring + years) == forward
    assert first_change(BERLIN, spring, spring + years) == back
    assert last_change(BERLIN, autumn - years, autumn) == back
    assert last_change(BERLIN, autumn - years, autumn - 1) == forward
    assert first_change(KOLKATA, spring, spring + years) is None


def fields(values: range, likely: range) -> st.SearchStrategy[tuple[str, frozenset[int]]]:
    """A field as it is written, and what it means."""
    steps = st.integers(1, len(values)).map(lambda step: (f"*/{step}", frozenset(values[::step])))
    lists = st.frozensets(st.sampled_from(likely), min_size=1, max_size=3).map(
        lambda some: (",".join(map(str, some)), some)
    )
    ranges = st.tuples(st.sampled_from(likely), st.sampled_from(likely)).map(
        lambda ends: (f"{min(ends)}-{max(ends)}", frozenset(range(min(ends), max(ends) + 1)))
    )
    return st.just(("*", frozenset(values))) | steps | lists | ranges


MINUTES = fields(range(60), range(60))
HOURS = fields(range(24), range(5)) | fields(range(24), range(24))


def by_definition(
    zone: str, minute: tuple[str, frozenset[int]], hour: tuple[str, frozenset[int]], since: int, until: int
) -> list[int]:
    """The ticks with `since <= tick <= until`."""

    def matches(wall: datetime) -> bool:
        return wall.minute in minute[1] and wall.hour in hour[1]

    ticks: list[int] = []
    each = timedelta(minutes=1)
    start = since - 3 * HOUR
    highest = local(start, zone).replace(tzinfo=None)
    for tick in range(start, until + 1, 60_000):
        wall = local(tick, zone).replace(tzinfo=None)
        if minute[0].startswith("*") or hour[0].startswith("*"):
            matched = matches(wall)
        else:
            # A time of the day: its moment is the first at which the clock shows it, or a later time.
            passed = [highest + each * count for count in range(1, (wall - highest) // each + 1)]
            matched = any(map(matches, passed))
        highest = max(highest, wall)
        if matched and tick >= since:
            ticks.append(tick)
    return ticks


def backward(timing: Timing, since: int, until: int) -> list[int]:
    ticks: list[int] = []
    tick = timing.latest(until)
    while tick is not None and tick >= since:
        ticks.append(tick)
        tick = timing.latest(tick - 1)
    return ticks[::-1]


def forward(timing: Timing, since: int, until: int) -> list[int]:
    ticks: list[int] = []
    tick = timing.after(since - 1)
    while tick is not None and tick <= until:
        ticks.append(tick)
        tick = timing.after(tick)
    return ticks


@settings(max_examples=150, deadline=None)
@given(where=st.sampled_from(CHANGES + NO_CHANGE), minute=MINUTES, hour=HOURS, data=st.data())
def test_the_ticks_are_those_of_the_definition_whichever_way_they_are_found(
    where: tuple[str, str],
    minute: tuple[str, frozenset[int]],
    hour: tuple[str, frozenset[int]],
    data: st.DataObject,
) -> None:
    zone, moment = where
    since, until = ms(moment) - AROUND, ms(moment) + AROUND
    timing = Cron(f"{minute[0]} {hour[0]} * * *", zone)
    expected = by_definition(zone, minute, hour, since, until)

    assert list(timing.ticks(since - 1, until)) == expected
    assert forward(timing, since, until) == expected
    assert backward(timing, since, until) == expected

    # From any moment between, too, and most of all from those near the change.
    offsets = st.integers(-2 * HOUR, 2 * HOUR) | st.integers(-AROUND, AROUND) | st.sampled_from([-1, 0, 1])
    for offset in data.draw(st.lists(offsets, max_size=20)):
        now = ms(moment) + offset
        later = [tick for tick in expected if tick > now]
        sooner = [tick for tick in expected if tick <= now]
        if later:
            assert timing.after(now) == later[0]
        if sooner:
            assert timing.latest(now) == sooner[-1]


SECONDS = fields(range(60), range(60))


@settings(max_examples=100, deadline=None)
@given(where=st.sampled_from(CHANGES), second=SECONDS, minute=MINUTES, hour=HOURS, data=st.data())
def test_schedules_by_the_second_tick_alike_whichever_way_they_are_walked(
    where: tuple[str, str],
    second: tuple[str, frozenset[int]],
    minute: tuple[str, frozenset[int]],
    hour: tuple[str, frozenset[int]],
    data: st.DataObject,
) -> None:
    zone, moment = where
    since = ms(moment) + data.draw(st.integers(-2 * HOUR, 2 * HOUR))
    until = since + HOUR // 4
    timing = Cron(f"{second[0]} {minute[0]} {hour[0]} * * *", zone)
    ticks = list(timing.ticks(since - 1, until))
    assert ticks == sorted(set(ticks)) == forward(timing, since, until) == backward(timing, since, until)
    for tick in ticks:
        # It is a moment that is named, or the one at which several that are skipped have passed.
        wall = local(tick, zone)
        named = wall.second in second[1] and wall.minute in minute[1] and wall.hour in hour[1]
        assert named or tick == ms(moment)


@settings(max_examples=50, deadline=None)
@given(
    zone=st.sampled_from([BERLIN, NEW_YORK, KOLKATA, "UTC"]),
    minute=MINUTES,
    hour=HOURS,
    days=st.sampled_from(["* * *", "1-7 * mon", "L * *", "* 3,10 sun", "29 2 *", "* * fri#2", "*/2 * 6,7"]),
    start=st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1)),  # noqa: DTZ001 -- given a zone below
)
@example(
    zone=BERLIN,
    minute=("30", frozenset([30])),
    hour=("2", frozenset([2])),
    days="* * *",
    start=datetime(2026, 3, 28, 12),  # noqa: DTZ001
)
def test_where_clocks_change_by_an_hour_cronsim_agrees(
    zone: str,
    minute: tuple[str, frozenset[int]],
    hour: tuple[str, frozenset[int]],
    days: str,
    start: datetime,
) -> None:
    expression = f"{minute[0]} {hour[0]} {days}"
    began = start.replace(tzinfo=UTC)
    theirs = CronSim(expression, began.astimezone(ZoneInfo(zone)))
    timing = Cron(expression, zone)
    tick = int(began.timestamp() * 1000)
    for _ in range(50):
        their_tick = int(next(theirs).timestamp() * 1000)
        assert timing.after(tick) == their_tick
        tick = their_tick
