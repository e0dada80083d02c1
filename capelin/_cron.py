"""Says what is wrong with a cron expression or a time zone, when it is written and not when it is due."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from capelin.errors import InvalidOption

NICKNAMES: Mapping[str, str] = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
    "@minutely": "* * * * *",
}
_FIVE, _SIX = 5, 6
_ANY = datetime(2000, 1, 1)  # noqa: DTZ001 -- a field is read the same at any moment
_LONGEST = 1000
_SHAPE = (
    "write five fields (minute, hour, day of the month, month, weekday) such as '0 9 * * mon-fri', "
    "or six with the second first"
)


@dataclass(frozen=True, kw_only=True)
class _Field:
    """One of the six places: its name, what may stand there, and how many values that are."""

    name: str
    takes: str
    size: int


_FIELDS = (
    _Field(name="second", takes="0-59", size=60),
    _Field(name="minute", takes="0-59", size=60),
    _Field(name="hour", takes="0-23", size=24),
    _Field(name="day of the month", takes="1-31, L (the last) or LW (the last weekday)", size=31),
    _Field(name="month", takes="1-12 or jan-dec", size=12),
    _Field(name="weekday", takes="0-7 or sun-sat (0 and 7 are Sunday; fri-sun is written 5-7)", size=7),
)
_STEP = re.compile(r"/([0-9]+)")


def check_expression(expression: object) -> str:
    """Return an expression with single spaces, nicknames in lower case.

    Raises:
        InvalidOption: It is no cron expression. Whether it ever ticks is not asked here.
    """
    if not isinstance(expression, str):
        raise _refused(expression, f"expected text; {_SHAPE}")
    return _check_text(expression)


@lru_cache(maxsize=1024)
def _check_text(expression: str) -> str:
    text = " ".join(expression.split())
    if len(text) > _LONGEST:
        raise _refused(f"{text[:50]}…", f"longer than {_LONGEST:,} characters; use several schedules")
    if text.startswith("@"):
        return _check_nickname(text.lower())
    fields = text.split(" ") if text else []
    if len(fields) not in (_FIVE, _SIX):
        raise _refused(expression, f"it has {len(fields)} fields; {_SHAPE}")
    for place, written in zip(_FIELDS[-len(fields) :], fields, strict=True):
        _check_field(expression, place, written)
    return text


def check_zone(timezone: object) -> str:
    """Return a time zone's name.

    Raises:
        InvalidOption: There is no such zone.
    """
    if isinstance(timezone, str) and timezone != "localtime" and _exists(timezone):
        return timezone
    if not isinstance(timezone, str):
        why = "expected the name of a time zone, such as 'Europe/Berlin'"
    elif timezone == "localtime":
        why = "it differs from machine to machine; write the name, such as 'Europe/Berlin'"
    elif near := _nearest(timezone):
        why = f"there is no such time zone; did you mean {near!r}?"
    else:
        why = "there is no such time zone; write a name such as 'Europe/Berlin' or 'UTC'"
    raise InvalidOption(option="timezone", value=timezone, why=why)


def never_ticks(expression: str) -> InvalidOption:
    """Return the error for an expression that names no day that ever comes."""
    return _refused(
        expression,
        "it never ticks: no such day comes in 50 years; see whether the month has that day "
        "('0 0 28 2 *' is the 28th of February, '0 0 L 2 *' its last day)",
    )


def _refused(expression: object, why: str) -> InvalidOption:
    return InvalidOption(option="cron", value=expression, why=why)


def _check_nickname(text: str) -> str:
    if text in NICKNAMES:
        return text
    if text == "@reboot":
        raise _refused(
            text,
            "a fleet never boots as a whole, so no moment is meant; enqueue the job where you deploy, "
            "or in the app's lifespan for each process",
        )
    near = difflib.get_close_matches(text, NICKNAMES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(NICKNAMES)}"
    raise _refused(text, f"no such nickname; {hint}")


def _check_field(expression: str, place: _Field, written: str) -> None:
    alone = ["*"] * _SIX
    alone[_FIELDS.index(place)] = written
    try:
        CronSim(" ".join(alone), _ANY)
    except CronSimError as cause:
        raise _refused(
            expression,
            f"the {place.name} field {written!r} is not understood; it takes {place.takes}, "
            "and lists, ranges and steps of them, such as '*/2', '1-5' or '1,3'",
        ) from cause
    for step in _STEP.findall(written):
        if int(step) > place.size:
            values = place.takes.split(" ")[0]
            raise _refused(
                expression,
                f"the {place.name} field {written!r} steps over all of {values} and would tick at its start "
                "alone; for a period that fits no field use every, such as "
                "@app.every(timedelta(minutes=90))",
            )


def _exists(timezone: str) -> bool:
    try:
        ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):  # unknown; a path out of the database; one of its folders
        return False
    return True


@lru_cache(maxsize=1)
def _zones() -> dict[str, str]:
    """Return the zones by what people write for them: the name, or the city alone."""
    names = sorted(available_timezones() - {"localtime"})
    cities = {name.rpartition("/")[2].lower(): name for name in names}
    return cities | {name.lower(): name for name in names}


def _nearest(timezone: str) -> str | None:
    zones = _zones()
    near = difflib.get_close_matches(timezone.lower().replace(" ", "_"), zones, n=1)
    return zones[near[0]] if near else None
