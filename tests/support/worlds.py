"""A key space in which every key of capelin's table lies, to be torn and put back key by key.

Tests of what operators type go through all of it: each command before each torn key.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from tenacity import stop_after_attempt

from capelin import Capelin, RetryPolicy, lua
from capelin.keys import Keys, ShardKeys, shard_of
from capelin.priority import STREAMS
from capelin.settings import Settings
from capelin.workers.fleet import Member
from capelin.workers.pulse import Pulse
from capelin.workers.worker import Worker
from tests.support.resp import Reply, texts

SHARDS = 2
QUEUE = "default"
_FAR = 10**15
"""ms: long after every test."""
_WHOLE = Settings(shards=SHARDS, lease_ttl=1.0)


class Asked(Protocol):
    """A server of any backend; see `resp.Connection`."""

    def __call__(self, *words: str | bytes | float) -> Reply: ...

    def pipeline(self, *commands: tuple[str | bytes | float, ...]) -> list[Reply]: ...


@dataclass(frozen=True, kw_only=True)
class World:
    """What lies in it.

    Attributes:
        here: The shard in which all jobs are.
        jobs: Their ids, by what became of them.
        keys: Its torn keys by a name that is the same in every process.
        dumped: All of it, to be put back.
    """

    here: ShardKeys
    jobs: Mapping[str, str]
    keys: Mapping[str, str]
    dumped: Mapping[str, str] = field(repr=False)


async def build(url: str, asked: Asked) -> World:
    """Make it: jobs in every status, workers, schedules, a singleton; real ones, where that is possible."""
    app = Capelin(url, name="world", settings=_WHOLE)

    @app.task
    async def greet(name: str) -> str:
        return name

    @app.task(retry=RetryPolicy(stop=stop_after_attempt(1)))
    async def fail() -> None:
        raise ValueError("it fell over")

    @app.task
    async def again() -> None:
        raise ValueError("once more")

    async with app:

        async def here(task: Any, *args: Any, **more: Any) -> Any:
            return await task.options(shard_key="one", **more).enqueue(*args)

        jobs = {
            "done": await here(greet, "Ada"),
            "dead": await here(fail),
            "again": await here(again),
            "parked": await here(app.task_named("not.here", queue=QUEUE)),
        }
        await Worker(app, burst=True, settings=_WHOLE, scheduler=False).run()
        shard = Keys().shard(QUEUE, jobs["done"].shard)
        key = next(f"key-{n}" for n in range(100) if shard_of(f"key-{n}", SHARDS) == shard.shard)
        jobs["running"] = await here(greet, "Alan", priority="critical")
        await app.client().connection.run(
            lua.take(
                shard, worker="pod-2-bbbb", count=1, ttl=_FAR // 1000, waits=False, older_than=None,
                resend_window=1000, default_retention=1000, critical=1, high=1, normal=1, low=1,
            )
        )  # fmt: skip
        jobs["keyed"] = await greet.options(dedupe_key=key).enqueue("Grace")
        jobs["later"] = await here(greet, "Edsger", delay=3600)
        await app.schedule("digest", "0 9 * * *", greet.job("eu"))
    by_name = {
        "stream:critical": shard.streams[STREAMS.index("critical")],
        "stream:normal": shard.streams[STREAMS.index("normal")],
        "scheduled": shard.scheduled,
        "dlq": shard.dlq,
        "finished": shard.finished,
        "meta": shard.meta,
        "wake": shard.wake,
        "lease": shard.lease,
        "stakes": shard.stakes,
        "lent": shard.lent,
        "ticks": shard.ticks,
        "parked": shard.parked("not.here"),
        "unique": shard.unique("greet", key),
        **{f"job:{name}": shard.job(job.id.rpartition(".")[2]) for name, job in jobs.items()},
        "failures": shard.failures(jobs["dead"].id.rpartition(".")[2]),
        **_of_the_fleet(Keys(), asked, shard),
    }
    names = texts(asked("KEYS", "*"))
    dumps = asked.pipeline(*[("DUMP", name) for name in names])
    return World(
        here=shard,
        jobs={name: job.id for name, job in jobs.items()},
        keys=by_name,
        dumped={name: str(dump) for name, dump in zip(names, dumps, strict=True) if dump is not None},
    )


def _of_the_fleet(keys: Keys, asked: Asked, shard: ShardKeys) -> dict[str, str]:
    """Write what workers, their leader and a host of singletons leave, and the rarer keys of a shard."""
    alive = Member(
        id="pod-3-cccc",
        app="world",
        host="pod-3",
        pid=3,
        version="0.1.0",
        started=1,
        queues=(QUEUE,),
        slots=9,
        tasks={"greet": "abc"},
        candidate=True,
    )
    quiet = replace(alive, id="pod-1-aaaa", host="pod-1").quieted()
    lease = ("owner", alive.id, "epoch", 7, "expires", _FAR)
    singleton = {"app": "world", "interval_ms": 30_000, "release": "r", "registered": 1}
    asked.pipeline(
        *[("HSET", keys.fleet_members, one.id, one.to_json()) for one in (quiet, alive)],
        *[("ZADD", keys.fleet_expiry, _FAR, one.id) for one in (quiet, alive)],
        *[("ZADD", keys.fleet_free, 9, one.id) for one in (quiet, alive)],
        *[("SET", keys.fleet_pulse(one.id), Pulse(lag=0.1, memory=9).to_json()) for one in (quiet, alive)],
        ("HSET", keys.schedules_lease, *lease),
        ("HSET", keys.schedules_states, "digest", '{"fired":1}'),
        ("HSET", keys.schedules_intents, "digest", '{"tick":1,"job":"default.0.x","not_after":1}'),
        ("HSET", keys.schedules_paused, "other", 1),
        ("HSET", keys.schedules_beats, "digest", 1),
        ("HSET", keys.schedules_declared, "world abc", '{"names":[],"seen":1}'),
        ("HSET", keys.singletons, "indexer", json.dumps(singleton)),
        ("HSET", keys.lease("indexer"), *lease),
        ("HSET", keys.lease_state("indexer"), "state", "{}", "beat", 1, "runs", 1, "since", 1),
        ("XADD", keys.inbox(alive.id), "*", "kind", "fleet", "data", "{}"),
        ("HSET", shard.lease, *lease),
        ("ZADD", shard.stakes, _FAR, "pod-2-bbbb"),
        ("RPUSH", shard.wake, "x"),
        ("HSET", shard.lent, "greet:lent", "default.1.y#1"),
        ("ZADD", shard.ticks, 1, "digest"),
    )
    return {
        "queue-meta": keys.queue_meta(QUEUE),
        "queues": keys.queues,
        "members": keys.fleet_members,
        "expiry": keys.fleet_expiry,
        "free": keys.fleet_free,
        "pulse": keys.fleet_pulse(alive.id),
        "leader": keys.schedules_lease,
        "items": keys.schedules_items,
        "states": keys.schedules_states,
        "intents": keys.schedules_intents,
        "paused": keys.schedules_paused,
        "beats": keys.schedules_beats,
        "declared": keys.schedules_declared,
        "schedules-meta": keys.schedules_meta,
        "singletons": keys.singletons,
        "singleton-lease": keys.lease("indexer"),
        "singleton-state": keys.lease_state("indexer"),
        "inbox": keys.inbox(alive.id),
    }


def put_back(asked: Asked, world: World) -> None:
    """Make all of it whole again."""
    names = texts(asked("KEYS", "*"))
    asked.pipeline(*[("UNLINK", name) for name in names])
    asked.pipeline(*[("RESTORE", name, 0, dump) for name, dump in world.dumped.items()])


def everything(asked: Asked) -> Mapping[str, object]:
    """Return what lies in each key but inboxes: what is in those only hurries what happens anyway."""
    names = sorted(name for name in texts(asked("KEYS", "*")) if ":inbox:" not in name)
    kinds = asked.pipeline(*[("TYPE", name) for name in names])
    found = asked.pipeline(*[_READ[str(kind)](name) for name, kind in zip(names, kinds, strict=True)])
    return {name: _ordered(str(kind), one) for name, kind, one in zip(names, kinds, found, strict=True)}


_READ: Mapping[str, Callable[[str], tuple[str | int, ...]]] = {
    "hash": lambda name: ("HGETALL", name),
    "zset": lambda name: ("ZRANGE", name, 0, -1, "WITHSCORES"),
    "set": lambda name: ("SMEMBERS", name),
    "list": lambda name: ("LRANGE", name, 0, -1),
    "stream": lambda name: ("XRANGE", name, "-", "+"),
    "string": lambda name: ("GET", name),
}


def _ordered(kind: str, reply: Reply) -> object:
    if kind == "hash":
        flat = texts(reply)
        return dict(zip(flat[::2], flat[1::2], strict=True))
    return sorted(texts(reply)) if kind == "set" else reply


def tear(asked: Asked, key: str, how: Literal["type", "rubbish"]) -> bool:
    """Put something else in a key's place, or rubbish into it; return whether there is a way."""
    kind = str(asked("TYPE", key))
    if how == "type":
        asked("UNLINK", key)
        asked(*(("HSET", key, "a", "b") if kind == "string" else ("SET", key, "rubbish")))
        return True
    rubbish: Mapping[str, tuple[tuple[str | bytes | float, ...], ...]] = {
        "zset": (("ZADD", key, "1e300", "rub{bish", "-inf", "more", 5, ""),),
        "set": (("SADD", key, "rub{bish", b"\xff", ""),),
        "list": (("RPUSH", key, "rub{bish"),),
        "stream": (("XADD", key, "*", "rub", "bish"), ("XADD", key, "*", "j", "rub{bish")),
        "string": (("SET", key, "rub{bish"),),
        "hash": (("HSET", key, "rub{bish", b"\xff{"),),
    }
    if kind == "hash":
        asked.pipeline(*[("HSET", key, field, "rub{bish") for field in texts(asked("HKEYS", key))])
    asked.pipeline(*rubbish.get(kind, ()))
    return kind in rubbish
