"""Cron and every: what they tick at, what they say of themselves, and what is refused, and why."""

import contextlib
import json
import pickle
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from capelin.errors import InvalidOption
from capelin.ticks import CatchUp, Overlap, SkipReason
from capelin.timing import Cron, Every, Timing, every, parse_cron, timing_from_json

DAY = 86_400_000
MOMENTS = st.integers(0, 4_102_444_800_000)  # up to 2100


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def first_three(timing: Timing, since: str) -> list[str]:
    ticks = islice(timing.ticks(ms(since), ms(since) + 40_000 * DAY), 3)
    return [datetime.fromtimestamp(tick / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") for tick in ticks]


# Cron


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("* * * * *", "2026-11-23 18:31:00, 2026-11-23 18:32:00, 2026-11-23 18:33:00"),
        ("*/20 * * * *", "2026-11-23 18:40:00, 2026-11-23 19:00:00, 2026-11-23 19:20:00"),
        ("0 9 * * mon-fri", "2026-11-24 09:00:00, 2026-11-25 09:00:00, 2026-11-26 09:00:00"),
        ("0 9 * * SAT,sun", "2026-11-28 09:00:00, 2026-11-29 09:00:00, 2026-12-05 09:00:00"),
        ("0 9 * * 5-7", "2026-11-27 09:00:00, 2026-11-28 09:00:00, 2026-11-29 09:00:00"),
        ("15,45 8-9 1 jan *", "2027-01-01 08:15:00, 2027-01-01 08:45:00, 2027-01-01 09:15:00"),
        ("0 0 L * *", "2026-11-30 00:00:00, 2026-12-31 00:00:00, 2027-01-31 00:00:00"),
        ("0 0 * * mon#1", "2026-12-07 00:00:00, 2027-01-04 00:00:00, 2027-02-01 00:00:00"),
        ("0 0 29 2 *", "2028-02-29 00:00:00, 2032-02-29 00:00:00, 2036-02-29 00:00:00"),
        # A day of the month and a weekday, both given: either will do. With a star in one: both.
        ("0 0 13 * fri", "2026-11-27 00:00:00, 2026-12-04 00:00:00, 2026-12-11 00:00:00"),
        ("0 0 */32 2 sun", "the day of the month field"),
        ("0 0 */2 * sun", "2026-11-29 00:00:00, 2026-12-13 00:00:00, 2026-12-27 00:00:00"),
        # Six fields: the second comes first.
        ("*/20 * * * * *", "2026-11-23 18:30:40, 2026-11-23 18:31:00, 2026-11-23 18:31:20"),
        ("30 0 9 * * *", "2026-11-24 09:00:30, 2026-11-25 09:00:30, 2026-11-26 09:00:30"),
        ("@yearly", "2027-01-01 00:00:00, 2028-01-01 00:00:00, 2029-01-01 00:00:00"),
        ("@annually", "2027-01-01 00:00:00, 2028-01-01 00:00:00, 2029-01-01 00:00:00"),
        ("@monthly", "2026-12-01 00:00:00, 2027-01-01 00:00:00, 2027-02-01 00:00:00"),
        ("@weekly", "2026-11-29 00:00:00, 2026-12-06 00:00:00, 2026-12-13 00:00:00"),
        ("@daily", "2026-11-24 00:00:00, 2026-11-25 00:00:00, 2026-11-26 00:00:00"),
        ("@Midnight", "2026-11-24 00:00:00, 2026-11-25 00:00:00, 2026-11-26 00:00:00"),
        ("@hourly", "2026-11-23 19:00:00, 2026-11-23 20:00:00, 2026-11-23 21:00:00"),
        ("@minutely", "2026-11-23 18:31:00, 2026-11-23 18:32:00, 2026-11-23 18:33:00"),
    ],
)
def test_an_expression_ticks_when_it_says(expression: str, expected: str) -> None:
    if not expected.startswith("2"):
        with pytest.raises(InvalidOption, match=expected):
            parse_cron(expression)
        return
    assert first_three(parse_cron(expression), "2026-11-23T18:30:20.500") == expected.split(", ")


def test_a_tick_is_not_after_itself_and_is_the_latest_at_its_moment() -> None:
    timing, tick = Cron("0 9 * * *"), ms("2026-11-24T09:00")
    assert timing.after(tick - 1) == tick
    assert timing.after(tick) == tick + DAY
    assert timing.after(tick + 1) == tick + DAY
    assert timing.latest(tick - 1) == tick - DAY
    assert timing.latest(tick) == tick
    assert timing.latest(tick + 1) == tick


def test_a_range_of_ticks_leaves_its_beginning_out_and_its_end_in() -> None:
    for timing in (Cron("* * * * *"), Every(60_000)):
        assert list(timing.ticks(60_000, 180_000)) == [120_000, 180_000]
        assert list(timing.ticks(60_001, 179_999)) == [120_000]
        assert list(timing.ticks(60_000, 60_000)) == []
        assert list(timing.ticks(200_000, 100_000)) == []


def test_ticks_are_those_of_the_zones_clocks() -> None:
    assert Cron("0 9 * * *", "Europe/Berlin").after(ms("2026-01-10")) == ms("2026-01-10T08:00")
    assert Cron("0 9 * * *", "Europe/Berlin").after(ms("2026-07-10")) == ms("2026-07-10T07:00")
    assert Cron("0 9 * * *", "Asia/Kathmandu").after(ms("2026-07-10")) == ms("2026-07-10T03:15")


def test_what_does_not_come_for_50_years_is_none() -> None:
    leap_sunday = Cron("0 0 29 2 */7")  # both must match: the last before the next is 28 years earlier
    assert leap_sunday.after(ms("2026-01-01")) == ms("2032-02-29")
    assert leap_sunday.latest(ms("2032-02-28")) == ms("2004-02-29")
    assert Cron("0 0 1 1 *").after(10**18) is None
    assert Cron("*/5 * * * *", "Europe/Berlin").latest(10**18) is None
    assert list(Cron("* * * * *").ticks(10**18, 10**19)) == []
    for yearly in (Cron("@yearly"), Cron("*/60 0 1 1 *"), Cron("*/60 0 1 1 *", "Europe/Berlin")):
        assert len(list(yearly.ticks(ms("2026-06-01"), 10**19))) == 50


def test_a_time_that_comes_in_skipped_hours_alone_does_not_come() -> None:
    """Egypt sets its clocks forward at midnight before the last Friday in April."""
    assert Cron("*/5 0 * 4 5L", "Africa/Cairo").after(ms("2026-01-01")) is None
    assert Cron("*/5 0 * 4 5L", "Africa/Cairo").latest(ms("2062-01-01")) == ms("2022-04-28T22:55")
    assert Cron("*/5 0 * 4 5L", "Africa/Cairo").latest(ms("2075-01-01")) is None
    assert Cron("*/5 1 * 4 5L", "Africa/Cairo").after(ms("2026-01-01")) == ms("2026-04-23T22:00")


def _note(events: list[str], _frame: object, event: str, _arg: object) -> None:
    events.append(event)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize(
    "expression", ["* * * * *", "*/15 * * * *", "0 9 * * mon-fri", "@hourly", "*/2 * * * * *"]
)
def test_the_next_tick_is_mostly_found_by_a_few_calls(expression: str, zone: str) -> None:
    timing = Cron(expression, zone)
    calls: list[int] = []
    tick: int | None = ms("2026-03-28T12:00")
    for _ in range(500):
        events: list[str] = []
        assert tick is not None
        sys.setprofile(partial(_note, events))
        try:
            tick = timing.after(tick)
        finally:
            sys.setprofile(None)
        calls.append(events.count("call") + events.count("c_call"))
    # The days of a month are worked out when it begins; what lies between costs microseconds.
    assert sorted(calls)[250] <= 90


TIME = st.sampled_from(["*", "*/2", "*/5", "0", "9", "1-5", "1,3", "10-20/4", "5/7", "0,12,23"])
EXPRESSIONS = st.tuples(
    st.none() | TIME,
    TIME,
    TIME,
    st.sampled_from(["*", "*/2", "1", "13", "L", "LW", "1-7", "29", "15,L"]),
    st.sampled_from(["*", "2", "jan", "1-6", "*/3", "4,feb", "6-12/2"]),
    st.sampled_from(["*", "mon-fri", "5L", "1#2", "0,6", "7", "*/3", "SUN", "mon#5"]),
).map(lambda fields: " ".join(field for field in fields if field))


@settings(deadline=None)
@given(EXPRESSIONS, MOMENTS)
def test_an_expression_that_can_be_read_ticks_for_ever(expression: str, moment: int) -> None:
    timing = parse_cron(expression, "Asia/Kolkata")
    tick = timing.after(moment)
    assert tick is not None
    assert moment < tick == timing.latest(tick)
    before = timing.latest(tick - 1)
    assert before is None or (before <= moment and timing.after(before) == tick)
    assert timing.explain()
    assert timing_from_json(json.loads(json.dumps(timing.to_json()))) == timing


@settings(deadline=None)
@given(
    EXPRESSIONS,
    st.integers(ms("2000-01-01"), ms("2060-01-01")),
)
def test_without_a_change_of_clocks_cronsim_agrees_wholly(expression: str, moment: int) -> None:
    start, until = datetime.fromtimestamp(moment / 1000, UTC), moment + 45 * 365 * DAY
    theirs = [int(tick.timestamp() * 1000) for tick in islice(CronSim(expression, start), 10)]
    ours = islice(parse_cron(expression).ticks(moment, until), 10)
    assert list(ours) == [tick for tick in theirs if tick <= until]


@given(st.text("0123456789*/,-#lw@ ", max_size=30) | st.text())
def test_what_is_written_anyhow_is_read_or_refused_and_nothing_else(expression: str) -> None:
    with contextlib.suppress(InvalidOption):
        parse_cron(expression)


# What is wrong with an expression


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("", "it has 0 fields; write five fields .* such as '0 9 \\* \\* mon-fri', or six"),
        ("* * * *", "it has 4 fields; write five"),
        ("0 0 9 * * mon 2026", "it has 7 fields"),
        (None, "expected text"),
        (5, "expected text"),
        ("60 * * * *", "the minute field '60' is not understood; it takes 0-59, .* such as '\\*/2'"),
        ("60 * * * * *", "the second field '60' is not understood; it takes 0-59"),
        ("* 24 * * *", "the hour field '24' .* 0-23"),
        ("* * 0 * *", "the day of the month field '0' .* 1-31, L"),
        ("* * 32 * *", "the day of the month field '32'"),
        ("* * * 13 *", "the month field '13' .* 1-12 or jan-dec"),
        ("* * * mai *", "the month field 'mai'"),
        ("* * * * 8", "the weekday field '8' .* 0-7 or sun-sat"),
        ("* * * * fri-sun", "the weekday field 'fri-sun' .* written 5-7"),
        ("* * * * monday", "the weekday field 'monday'"),
        ("*/0 * * * *", "the minute field '\\*/0'"),
        ("5- * * * *", "the minute field '5-'"),
        ("9-5 * * * *", "the minute field '9-5'"),
        ("1,,2 * * * *", "the minute field '1,,2'"),
        ("*/90 * * * *", "steps over all of 0-59 .* @app.every\\(timedelta\\(minutes=90\\)\\)"),
        ("0 */36 * * *", "the hour field '\\*/36' steps over all of 0-23"),
        ("0 0 31 2 *", "never ticks: .* '0 0 L 2 \\*'"),
        ("0 0 31 4,6,9,11 *", "never ticks"),
        ("0 0 */30 * mon#2", "never ticks"),  # the 1st or the 31st, and the second Monday
        ("@reboot", "a fleet never boots as a whole"),
        ("@dayly", "did you mean '@daily'"),
        ("@x", "no such nickname; .*@hourly"),
        ("0," * 1000 + "0 * * * *", "longer than 1,000 characters"),
    ],
)
def test_what_is_wrong_with_an_expression_is_said(expression: Any, why: str) -> None:
    with pytest.raises(InvalidOption, match=why) as error:
        parse_cron(expression)
    assert error.value.option == "cron"


@pytest.mark.parametrize(
    ("zone", "why"),
    [
        ("europe/berlin", "did you mean 'Europe/Berlin'"),
        ("Berlin", "did you mean 'Europe/Berlin'"),
        ("Rome", "did you mean 'Europe/Rome'"),
        ("Europe/Berln", "did you mean 'Europe/Berlin'"),
        ("America/New York", "did you mean 'America/New_York'"),
        ("utc", "did you mean 'UTC'"),
        ("Middle-earth/Hobbiton", "there is no such time zone; write a name such as 'Europe/Berlin'"),
        ("", "there is no such time zone"),
        ("Europe", "there is no such time zone"),
        ("../etc/passwd", "there is no such time zone"),
        ("/etc/localtime", "there is no such time zone"),
        ("a\0b", "there is no such time zone"),
        ("localtime", "differs from machine to machine"),
        (None, "expected the name of a time zone, such as 'Europe/Berlin'"),
        (UTC, "expected the name of a time zone"),
    ],
)
def test_a_time_zone_that_is_none_is_refused(zone: Any, why: str) -> None:
    with pytest.raises(InvalidOption, match=why) as error:
        parse_cron("0 9 * * *", zone)
    assert error.value.option == "timezone"


def test_a_cron_that_is_made_without_parsing_is_checked_as_well() -> None:
    with pytest.raises(InvalidOption, match="never ticks"):
        Cron("0 0 30 2 *")
    with pytest.raises(InvalidOption, match="no such time zone"):
        Cron("0 0 * * *", "Nowhere")


# Every


@pytest.mark.parametrize(
    ("duration", "period_ms"),
    [
        (60, 60_000),
        (0.1, 100),
        (2.3, 2300),  # 2.3 * 1000 is not 2300
        (0.125, 125),
        (86_400.123, 86_400_123),
        (timedelta(minutes=5), 300_000),
        (timedelta(days=400, milliseconds=1), 400 * DAY + 1),
        (timedelta(milliseconds=250), 250),
    ],
)
def test_a_period_is_whole_milliseconds(duration: float | timedelta, period_ms: int) -> None:
    assert every(duration) == Every(period_ms)


@pytest.mark.parametrize(
    ("duration", "why"),
    [
        (0, "at least 0.1 s, such as 60 or timedelta"),
        (0.0999, "at least 0.1 s"),
        (-60, "at least 0 s"),
        (timedelta(seconds=-1), "at least 0 s"),
        (0.1005, "whole number of milliseconds, such as 0.25"),
        (timedelta(microseconds=100_001), "whole number of milliseconds"),
        (1 / 3, "whole number of milliseconds"),
        (60 * 365 * 86_400, "50 years at most; give seconds"),
        (1e300, "50 years at most"),
        (float("nan"), "finite"),
        (float("inf"), "finite"),
        ("1m", "seconds \\(a number\\) or a timedelta"),
        (True, "seconds \\(a number\\) or a timedelta"),
        (None, "seconds \\(a number\\) or a timedelta"),
    ],
)
def test_a_period_that_makes_no_sense_is_refused(duration: Any, why: str) -> None:
    with pytest.raises(InvalidOption, match=why) as error:
        every(duration)
    assert error.value.option == "every"


@pytest.mark.parametrize("period", [0, -1, 99, 10**15, 60_000.0, "60000", True, None])
def test_a_period_in_milliseconds_is_checked_as_well(period: Any) -> None:
    with pytest.raises(InvalidOption, match="period_ms"):
        Every(period)


@given(st.integers(100, 400 * DAY), MOMENTS)
def test_every_ticks_at_the_multiples_of_its_period_since_the_epoch(period: int, moment: int) -> None:
    timing = Every(period)
    assert timing.after(moment) % period == timing.latest(moment) % period == 0
    assert timing.latest(moment) <= moment < timing.after(moment)
    assert timing.after(moment) - timing.latest(moment) == period
    ticks = list(timing.ticks(moment, moment + 3 * period))
    assert ticks == [timing.after(moment) + count * period for count in range(3)]


# What they say of themselves


@pytest.mark.parametrize(
    ("timing", "text", "sentence"),
    [
        (
            Cron("0  9 * *  mon-fri", "Europe/Berlin"),
            "0 9 * * mon-fri Europe/Berlin",
            "Monday through Friday (Europe/B",
        ),
        (Cron("0 9 * * *"), "0 9 * * *", "At 09:00 every day"),
        (Cron("@daily"), "@daily", "At 00:00 every day"),
        (Cron("*/10 * * * * *"), "*/10 * * * * *", "Every 10th second of every minute"),
        (Every(60_000), "every 1m", "Every minute"),
        (Every(90_000), "every 90s", "Every 90 seconds"),
        (Every(5 * 60_000), "every 5m", "Every 5 minutes"),
        (Every(36 * 3_600_000), "every 36h", "Every 36 hours"),
        (Every(7 * DAY), "every 7d", "Every 7 days"),
        (Every(1500), "every 1500ms", "Every 1500 milliseconds"),
    ],
)
def test_a_timing_can_be_read(timing: Timing, text: str, sentence: str) -> None:
    assert str(timing) == text
    assert sentence in timing.explain()


@pytest.mark.parametrize("timing", [Cron("0 9 * * mon", "Europe/Berlin"), Cron("@daily"), Every(1500)])
def test_a_timing_survives_json_pickle_and_a_set(timing: Timing) -> None:
    assert timing_from_json(json.loads(json.dumps(timing.to_json()))) == timing
    assert pickle.loads(pickle.dumps(timing)) == timing  # noqa: S301 -- our own
    assert len({timing, pickle.loads(pickle.dumps(timing))}) == 1  # noqa: S301


def test_json_is_of_one_shape_for_good() -> None:
    """It lives in Redis, where releases meet."""
    assert Cron("0 9 * * *", "Europe/Berlin").to_json() == {"cron": "0 9 * * *", "timezone": "Europe/Berlin"}
    assert Every(60_000).to_json() == {"every_ms": 60_000}


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        "0 9 * * *",
        {},
        {"cron": "0 9 * * *"},
        {"cron": "0 9 * * *", "timezone": "UTC", "every_ms": 100},
        {"cron": None, "timezone": "UTC"},
        {"cron": "0 9 * * *", "timezone": "Nowhere"},
        {"cron": "0 0 31 2 *", "timezone": "UTC"},
        {"every_ms": "100"},
        {"every_ms": 5},
    ],
)
def test_json_of_another_shape_is_refused(raw: object) -> None:
    with pytest.raises(InvalidOption):
        timing_from_json(raw)


def test_the_words_are_those_that_people_write() -> None:
    assert [*CatchUp] == ["latest", "all", "none"]
    assert [*Overlap] == ["allow", "skip", "queue"]
    assert [*SkipReason] == ["stale", "missed"]
