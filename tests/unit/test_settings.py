"""Settings: each from its variable, durations in either way."""

from datetime import timedelta
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import SecretStr, ValidationError

from capelin.settings import Settings

# What fits both bounds that settings have of one another: blocking < a reply, re-sending < the window.
FITTING = {
    "socket_timeout": 7.5,
    "enqueue_timeout": 20.5,
    "block": 1.5,
    "resend_window": 77.5,
    "encryption_keys": SecretStr("eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg="),
}
DURATIONS = sorted(
    name
    for name, field in Settings.model_fields.items()
    if field.annotation is float and name != "steal_budget"
)


def another(name: str) -> Any:
    """A value that is not the default."""
    field = Settings.model_fields[name]
    hint = field.annotation
    if name in FITTING:
        return FITTING[name]
    if get_origin(hint) is Literal:
        return next(value for value in get_args(hint) if value != field.default)
    if hint is bool:
        return not field.default
    if hint is str:
        return {"redis_url": "redis://elsewhere:1/2", "prefix": "other"}[name]
    return 3.5 if hint is float else 5


@pytest.mark.parametrize("name", Settings.model_fields)
def test_each_is_read_from_its_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value = another(name)
    written = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    monkeypatch.setenv(f"CAPELIN_{name.upper()}", written)
    assert getattr(Settings(), name) == another(name) != Settings.model_fields[name].default


@pytest.mark.parametrize("name", DURATIONS)
def test_a_duration_is_given_in_seconds_or_as_a_timedelta_and_read_in_seconds(name: str) -> None:
    seconds = another(name)
    given: dict[str, Any] = {name: timedelta(seconds=seconds)}
    assert getattr(Settings(**given), name) == seconds
    assert Settings(**given) == Settings(**{name: seconds})


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("value", ["inf", "nan", "-1", "soon", timedelta(-1)], ids=str)
def test_a_duration_that_makes_no_sense_is_refused(name: str, value: object) -> None:
    given: dict[str, Any] = {name: value}
    with pytest.raises(ValidationError):
        Settings(**given)


def test_code_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPELIN_GRACE", "3")
    assert (Settings().grace, Settings(grace=timedelta(minutes=1)).grace) == (3, 60)
