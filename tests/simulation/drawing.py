"""Draws a scenario from a seed: a fleet, its work, its schedules, its deploys, and what befalls all of it."""

import random
from typing import Any

from tests.simulation.cluster import GROUPS, slot_of
from tests.simulation.scenario import Event, Scenario

KEYS = ("red", "green")
MODES = ("keep", "replace", "follow")
PRIORITIES = ("critical", "high", "normal", "low")
SCHEDULES = ("run.one", "run.two")
WINDOW = 5.0
"""Seconds for which the key `once` holds."""
FAULTS = {
    "kill": 3.0,
    "pause": 1.0,
    "block": 0.7,
    "doze": 1.0,
    "jump_clock": 0.7,
    "partition": 1.0,
    "cut": 1.0,
    "lose_requests": 1.0,
    "lose_replies": 3.0,
    "delay": 1.0,
    "slow": 1.0,
    "flush_scripts": 0.7,
    "restart_redis": 0.5,
    "fail_over": 1.0,
    "move_slot": 0.7,
    "strangers": 0.3,
    "tear": 0.3,
}
"""Kinds that disturb, and how likely each is; the rest is work, deploys among it."""
_OF_A_CLUSTER = {"fail_over", "move_slot"}
_DOZES_BEFORE = (
    "take",
    "finish",
    "renew",
    "reap",
    "lease_acquire",
    "fleet_beat",
    "schedule_intend",
    "schedule_commit",
    "singleton_save",
    "unpark",
    "adopt",
)


def draw(seed: int) -> Scenario:
    """The scenario of a seed."""
    pick = random.Random(seed)  # noqa: S311 -- to be repeated, not to be secret
    until = pick.uniform(7, 15)
    count = pick.choice([1, 2, 2, 3, 3, 4, 5])
    workers = {f"w{number}": pick.choice([1, 1, 2]) for number in range(count)}
    cluster = pick.random() < 0.35
    events = [
        *_work(pick, until, cluster=cluster),
        *_schedules(pick, until),
        *_faults(pick, until, list(workers), cluster=cluster),
        *_deploys(pick, until, list(workers)),
        *_reshards(pick, until),
    ]
    return Scenario(
        seed=seed,
        workers=workers,
        events=tuple(sorted(events, key=lambda event: event.at)),
        faults_until=until,
        cluster=cluster,
    )


def _work(  # noqa: C901 -- one line a choice
    pick: random.Random, until: float, *, cluster: bool
) -> list[Event]:
    events: list[Event] = []
    for n in range(1, pick.randint(8, 36)):
        slot = pick.choice(["web0", "web1"])
        at = round(pick.uniform(0.2, until), 3)
        details = {"n": n, **_job(pick)}
        options = _options(pick, details)
        if cluster and pick.random() < 0.25:
            options["min_replicas"] = 1
        if options:
            details["options"] = options
        if pick.random() < 0.3:
            details["wait"] = True
        if pick.random() < 0.3:
            details["headers"] = True
        events.append(Event(at=at, kind="submit", slot=slot, details=details))
        if pick.random() < 0.15:
            events.append(
                Event(at=round(at + pick.uniform(0, 4), 3), kind="cancel", slot=slot, details={"n": n})
            )
    if pick.random() < 0.3:
        events.append(_at(pick, until, "submit", "web0", n=1000, task="poison"))
    if pick.random() < 0.4:
        events.append(_many(pick, until))
    if pick.random() < 0.15:
        events.append(_at(pick, until, "halt", "ops", seconds=round(pick.uniform(0.2, 3), 2)))
    if pick.random() < 0.4:
        events.append(Event(at=round(until, 3), kind="replay", slot="web0"))
    return events


def _job(pick: random.Random) -> dict[str, Any]:  # noqa: C901, PLR0911 -- one case a kind
    """A task, and what it is to do."""
    plain = ["plain"] * 5 + ["slow"] * 4 + ["flaky"] * 2
    match pick.choice([*plain, "bad", "snooze", "retry", "reject", "shaped", "fresh", "then", "wrong"]):
        case "slow":
            return {"task": "work", "args": {"seconds": round(pick.uniform(0.1, 6), 2)}}
        case "flaky":
            return {"task": "work", "args": {"fails": pick.choice([1, 2])}}
        case "bad":
            return {"task": "work", "args": {"fails": 99}}
        case "snooze":
            return {"task": "work", "args": {"snoozes": pick.choice([1, 3])}}
        case "retry":
            return {"task": "work", "args": {"retries": pick.choice([1, 2])}}
        case "reject":
            return {"task": "work", "args": {"rejects": True}}
        case "shaped":
            return {"task": "shaped"} | ({"args": {"extra": "new"}} if pick.random() < 0.5 else {})
        case "fresh":
            return {"task": "fresh"}
        case "then":
            return {"task": "work", "then": True}
        case "wrong":
            return {"task": "work", "wrong": True}
        case _:
            return {"task": "work"}


def _options(pick: random.Random, details: dict[str, Any]) -> dict[str, Any]:
    """How a job is to be enqueued."""
    options: dict[str, Any] = {}
    if pick.random() < 0.3:
        options["priority"] = pick.choice(PRIORITIES)
    if pick.random() < 0.2:
        options["delay"] = round(pick.uniform(0.1, 4), 2)
    keyed = details["task"] == "work" and not {"then", "wrong"} & set(details)
    if keyed and pick.random() < 0.3:
        options |= {"dedupe_key": pick.choice(KEYS), "on_duplicate": pick.choice(MODES)}
    elif keyed and pick.random() < 0.1:
        options |= {"dedupe_key": "once", "dedupe_for": WINDOW}
    elif pick.random() < 0.1:
        options["shard_key"] = pick.choice("ab")
    if pick.random() < 0.08:
        options["expires"] = round(pick.choice([0.2, 1.0, 4.0]) * pick.uniform(0.5, 1.5), 2)
    if pick.random() < 0.08:
        options["retention"] = pick.choice([0, 0, 5])
    if pick.random() < 0.06:
        options["timeout"] = round(pick.uniform(0.3, 4), 2)
    if pick.random() < 0.05:
        options["batch_id"] = "lot"
    return options


def _many(pick: random.Random, until: float) -> Event:
    count = pick.choice([5, 30, 60])
    details: dict[str, Any] = {"n": 2000, "count": count}
    if pick.random() < 0.3:
        details["options"] = {"delay": round(pick.uniform(0.1, 2), 2)}
    return Event(at=round(pick.uniform(1, until), 3), kind="submit_many", slot="web1", details=details)


def _schedules(pick: random.Random, until: float) -> list[Event]:
    """Schedules that come, change and go at run time."""
    events: list[Event] = []
    for name in SCHEDULES:
        if pick.random() < 0.25:
            at = pick.uniform(0.3, until / 2)
            for kind in ["put_schedule", *_changes(pick)]:
                details: dict[str, Any] = {"name": name}
                if kind == "put_schedule":
                    details["every"] = pick.choice([1.0, 1.5, 2.0])
                events.append(
                    Event(at=round(at, 3), kind=kind, slot=pick.choice(["web0", "web1"]), details=details)
                )
                at += pick.uniform(0.3, 4)
    if pick.random() < 0.2:
        name = pick.choice(["beat.all", "beat.latest"])
        events.append(_at(pick, until, "trigger", "web1", name=name))
    return events


def _changes(pick: random.Random) -> list[str]:
    kinds = ["put_schedule", "pause_schedule", "resume_schedule", "trigger", "remove_schedule"]
    return [pick.choice(kinds) for _ in range(pick.randint(0, 4))]


def _faults(pick: random.Random, until: float, slots: list[str], *, cluster: bool) -> list[Event]:
    kinds = sorted(FAULTS) if cluster else sorted(FAULTS.keys() - _OF_A_CLUSTER)
    # A few kinds a seed, so that some scenarios are pure.
    chosen = pick.sample(kinds, pick.choice([0, 1, 1, 2, 3, len(kinds)]))
    if cluster and pick.random() < 0.4:
        chosen = sorted({*chosen, "fail_over"})
    events: list[Event] = []
    for number in range(pick.randint(1, 8) if chosen else 0):
        kind = pick.choices(chosen, [FAULTS[kind] for kind in chosen])[0]
        slot = pick.choice([*slots, *slots, "web0", "web1", "leader", "host", "runner"])
        slot, details = _fault(pick, kind, slot, slots, number=number, cluster=cluster)
        events.append(Event(at=round(pick.uniform(0.5, until), 3), kind=kind, slot=slot, details=details))
    return events


def _fault(  # noqa: C901, PLR0911, PLR0912 -- one case a kind
    pick: random.Random, kind: str, slot: str, slots: list[str], *, number: int, cluster: bool
) -> tuple[str, dict[str, Any]]:
    """Whom a fault befalls, and how."""
    node = {"node": pick.randrange(GROUPS)} if cluster else {}
    match kind:
        case "kill":
            return slot, {"silent": pick.random() < 0.3, "again": round(pick.uniform(0.1, 4), 2)}
        case "pause":
            return slot, {"seconds": _about(pick, 0.5, 1.5, 3, 5)}
        case "partition":
            return slot, {"seconds": _about(pick, 0.5, 1.5, 3, 5)} | (node if pick.random() < 0.5 else {})
        case "block":
            return pick.choice([*slots, "leader", "host"]), {"seconds": _about(pick, 1, 3, 6)}
        case "doze":
            return "", {"script": pick.choice(_DOZES_BEFORE), "seconds": _about(pick, 1.5, 3, 5)}
        case "jump_clock":
            return slot, {"by": pick.choice([-1, 1]) * _about(pick, 0.5, 5, 3600)}
        case "cut":
            return pick.choice([slot, ""]), {}
        case "lose_requests" | "lose_replies":
            return slot, {"count": pick.choice([1, 1, 2, 5])}
        case "delay":
            return slot, {"seconds": [_about(pick, 0.1, 1, 3) for _ in range(pick.choice([1, 2, 4]))]}
        case "slow":
            return slot, {"seconds": round(pick.uniform(1, 6), 2), "part": pick.choice([0.1, 0.5])}
        case "flush_scripts":
            return "", {}
        case "restart_redis":
            return "", {"down": _about(pick, 0.1, 1, 4), "lost": pick.choice([0.0, 0.0, 0.02, 0.5])} | node
        case "fail_over":
            return "", {
                "behind": pick.choice([0.0, 0.02, 0.3, 1.0]),
                "takes": _about(pick, 0.3, 1.5, 4),
                "back": _about(pick, 0.5, 3),
                "split": pick.random() < 0.25,
            } | node
        case "move_slot":
            tag = pick.choice([b"{default:0}", b"{default:1}", b"{schedules}", b"{fleet}"])
            return "", {
                "slot": slot_of(tag),
                "to": pick.randrange(GROUPS),
                "takes": _about(pick, 0.1, 1, 3),
            }
        case "strangers":
            return "", {"shard": pick.randrange(2), "n": number}
        case "tear":
            return "", {"pick": pick.randrange(100)}
        case _:
            raise ValueError(kind)


def _deploys(pick: random.Random, until: float, slots: list[str]) -> list[Event]:
    events: list[Event] = []
    if pick.random() < 0.4:
        at = pick.uniform(1, until)
        for slot in slots:
            events.append(
                Event(at=round(at, 3), kind="deploy", slot=slot, details={"hurry": pick.random() < 0.2})
            )
            at += pick.uniform(0.1, 2)
    if pick.random() < 0.3:
        events.append(_at(pick, until, "add", "w9", release=2))
    if pick.random() < 0.1:
        events.append(_at(pick, until, "retire", pick.choice(slots)))
    return events


def _reshards(pick: random.Random, until: float) -> list[Event]:
    """The queue is cut anew, once or several times in a row, while keys are taken, by replays, too."""
    if pick.random() >= 0.3:
        return []
    at = pick.uniform(0.5, until - 1)
    events: list[Event] = []
    for _ in range(pick.choice([1, 1, 2, 3])):
        slot = pick.choice(["ops", "ops", "ops", "web1"])
        shards = pick.choice([1, 2, 3, 4])
        details = {"shards": shards} | ({"settles": True} if pick.random() < 0.1 else {})
        events.append(Event(at=round(at, 3), kind="reshard", slot=slot, details=details))
        at = min(until, at + pick.choice([0.0, 0.02, 0.5, 4.0]) * pick.uniform(0.5, 1.5))
    for n in range(3000, 3000 + pick.choice([3, 8, 16])):
        args = pick.choice([{}, {"seconds": round(pick.uniform(0.1, 4), 2)}, {"fails": pick.choice([1, 99])}])
        options: dict[str, Any] = {"dedupe_key": pick.choice(KEYS), "on_duplicate": pick.choice(MODES)}
        if pick.random() < 0.1:
            options = {"dedupe_key": "once", "dedupe_for": WINDOW}
        slot = pick.choice(["web0", "web1"])
        events.append(_at(pick, until, "submit", slot, n=n, task="work", args=args, options=options))
    replays = range(pick.choice([0, 1, 2]))
    return events + [_at(pick, until, "replay", pick.choice(["web0", "web1"]), keyed=True) for _ in replays]


def _about(pick: random.Random, *seconds: float) -> float:
    """One of these, more or less."""
    return round(pick.choice(seconds) * pick.uniform(0.6, 1.4), 2)


def _at(pick: random.Random, until: float, kind: str, slot: str, **details: Any) -> Event:
    return Event(at=round(pick.uniform(0.5, until), 3), kind=kind, slot=slot, details=details)
