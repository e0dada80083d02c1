"""Scenarios made by hand: for each protocol that is broken on purpose, one in which it shows."""

from typing import Any

from tests.simulation.drawing import KEYS, WINDOW
from tests.simulation.scenario import Event, Scenario

_TWO = {"w0": 2, "w1": 2}
_THREE = {**_TWO, "w2": 2}
_SIX = {f"w{number}": 2 for number in range(6)}


def _scenario(
    workers: dict[str, int], *events: Event, until: float = 6.0, seed: int = 1, cluster: bool = False
) -> Scenario:
    return Scenario(seed=seed, workers=workers, events=events, faults_until=until, cluster=cluster)


def _submit(
    at: float, n: int, *, task: str = "work", args: dict[str, Any] | None = None, **options: Any
) -> Event:
    details = {"n": n, "task": task, "args": args or {}, "options": options}
    return Event(at=at, kind="submit", slot="web0", details=details)


def _submits(first: float, apart: float, count: int, seconds: float) -> list[Event]:
    return [_submit(first + n * apart, n, args={"seconds": seconds}) for n in range(1, count + 1)]


def _event(at: float, kind: str, slot: str = "", **details: Any) -> Event:
    return Event(at=at, kind=kind, slot=slot, details=details)


_REPLIES_LOST = [_event(1.0, "lose_replies", "web0", count=2), *(_submit(1.1, n) for n in (1, 2, 3))]
_OUTAGE = _event(4.0, "restart_redis", down=5.0, lost=0.0)

REPLACED_AT_ONCE = _scenario(
    _THREE, *_submits(5.0, 0.02, 12, 4.0), _event(5.6, "kill", "w0", silent=False, again=1.5), until=9.0
)
"""A worker dies, and another starts in its place before its jobs have come back."""

SLEPT_TOO_LONG = _scenario(
    _TWO, *_submits(1.0, 0.01, 8, 12.0), _event(2.0, "pause", "w0", seconds=5.8), until=9.0, seed=0
)
"""A worker sleeps past its stakes, and wakes while its jobs run elsewhere."""

MORE_SHARDS = _scenario(
    _TWO,
    _event(6.0, "reshard", "ops", shards=4),
    *(_submit(6.1 + n / 20, n) for n in range(1, 33)),
    until=10.0,
)
"""A queue of two shards gets two more, and jobs at once."""

CRAFTED: dict[str, Scenario] = {
    "finish believes anybody": _scenario(
        _TWO, *_submits(1.0, 0.01, 8, 6.0), _event(2.0, "pause", "w0", seconds=5.8), until=8.0, seed=0
    ),
    "a token is used twice": _scenario(_TWO, _submit(1.0, 1, args={"fails": 2})),
    "take promotes without removing": _scenario(_TWO, _submit(1.0, 1, delay=0.5)),
    # The job ends at 2 s; Redis goes back to 1.9 s, where it runs.
    "what Redis forgot runs for ever": _scenario(
        {"w0": 2},
        _submit(1.0, 1, args={"seconds": 1.0}),
        _event(1.9, "restart_redis", down=0.1, lost=0.3),
        until=4.0,
    ),
    # The start of those who are reaped though they live is too long ago to excuse it.
    "nobody writes stakes": _scenario(
        _THREE,
        *_submits(6.5, 0.08, 20, 6.0),
        _event(8.2, "kill", "w2", silent=False, again=9.0),
        until=13.0,
    ),
    "what is enqueued again is written anew": _scenario(_TWO, _submit(0.5, 9), *_REPLIES_LOST),
    "dedupe looks away": _scenario(
        _TWO, *(_submit(n, n, dedupe_key="red", on_duplicate="keep", args={"seconds": 4.0}) for n in (1, 2))
    ),
    "finish keeps no account of ends": _scenario(_TWO, _submit(1.0, 1)),
    "reap forgets": _scenario(
        _TWO, *_submits(3.5, 0.01, 8, 3.0), _event(4.0, "kill", "w0", silent=False, again=9.0)
    ),
    # Of three, all may happen to renew before the first of them judges; of six, one comes too late.
    "reap counts every end of a stake as a crash": _scenario(
        _SIX, *_submits(3.5, 0.01, 12, 8.0), _OUTAGE, until=10.0
    ),
    # The leader sleeps between deciding to fire a tick and writing its intent.
    "ticks are forgotten": _scenario(
        _TWO,
        _event(0.9, "add", "w9", release=2),
        _event(3.9, "doze", script="schedule_intend", seconds=6.0),
        until=11.0,
    ),
    "ticks are passed over": _scenario(
        {"w0": 2}, _event(3.0, "pause", "w0", seconds=6.0), until=20.0, seed=0
    ),
    "the parked are forgotten": _scenario({"w0": 1}, _submit(1.0, 1, task="fresh")),
    # The first worker has no room for as long as its jobs run; the other one has.
    "nobody steals": _scenario(
        {"w0": 2},
        *_submits(1.0, 0.01, 24, 8.0),
        _event(1.5, "add", "w9", release=2),
        *(_submit(5.0 + n / 100, 100 + n) for n in range(8)),
        until=11.0,
    ),
    "a window is no window": _scenario(
        _TWO, *(_submit(n, n, dedupe_key="once", dedupe_for=WINDOW) for n in (1, 3))
    ),
    "a pause pauses nothing": _scenario(
        _TWO,
        _event(1.0, "put_schedule", "web0", name="run.one", every=1.0),
        _event(3.5, "pause_schedule", "web0", name="run.one"),
        until=8.0,
    ),
    # Of `red` and `green` one has another home in a queue of three shards, or of one.
    "old homes are not asked": _scenario(
        _TWO,
        *(_submit(1.0, n, dedupe_key=key, args={"seconds": 6.0}) for n, key in enumerate(KEYS, 1)),
        _event(2.0, "reshard", "ops", shards=3),
        *(_submit(3.0, n, dedupe_key=key, args={"seconds": 6.0}) for n, key in enumerate(KEYS, 11)),
        _event(4.0, "reshard", "ops", shards=1),
        *(_submit(5.0, n, dedupe_key=key, args={"seconds": 6.0}) for n, key in enumerate(KEYS, 21)),
    ),
    # The replica lags from 2 s on; the master dies at 3 s, with the job that was enqueued in between.
    "replicas are said to have what they lack": _scenario(
        _TWO,
        _event(2.0, "fail_over", node=0, behind=1.0, takes=1.0, back=1.0, split=False),
        _event(2.0, "fail_over", node=1, behind=1.0, takes=1.0, back=1.0, split=False),
        *(_submit(2.2 + n / 100, n, min_replicas=1) for n in range(1, 9)),
        until=8.0,
        cluster=True,
    ),
}
"""By the name of what is broken."""
