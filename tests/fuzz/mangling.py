"""What somebody who writes to capelin's keys may leave there: one function a kind of harm."""

import contextlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from capelin.keys import Keys, ShardKeys
from tests.fuzz.words import raw
from tests.support.resp import Connection, RespError

FIELDS = (
    *("a", "at", "attempt", "batch", "called", "cancel", "correlation", "crashes", "d", "delay", "due"),
    *("expires", "first", "follower", "follows", "headers", "key", "last", "layout"),
    *("max_crashes", "on_failure", "parent", "place", "priority", "progress", "retention", "retry"),
    *("schedule", "started", "status", "task", "then", "tick", "timeout", "token", "waited", "window"),
    "worker",
)
NUMBERS = (
    *(
        b"",
        b"-1",
        b"0",
        b"1e999",
        b"-1e999",
        b"nan",
        b"inf",
        b"0x10",
        b" 7",
        b"7 ",
        b"1.5",
        b"9" * 15,
        b"9" * 19,
    ),
    *(b"9" * 25, b"9" * 400, b"-0", b"1e15", b"1e300", "\u0667".encode()),
)
SCORES = ("-inf", "+inf", "-1", "0", "1.5", "1e300", "-1e300", "9007199254740993", "1e15")
TYPES: dict[str, Sequence[tuple[str | bytes, ...]]] = {
    "string": (("SET", "{}", "rubbish"),),
    "hash": (("HSET", "{}", "a", "b"),),
    "list": (("RPUSH", "{}", "a"),),
    "set": (("SADD", "{}", "a"),),
    "zset": (("ZADD", "{}", "1", "a"),),
    "stream": (("XADD", "{}", "*", "a", "b"),),
}

TYPE_OF = {
    **dict.fromkeys(("scheduled", "finished", "stakes", "parked"), "zset"),
    **dict.fromkeys(("dlq", "stream"), "stream"),
    **dict.fromkeys(("meta", "lease"), "hash"),
    "wake": "list",
}
"""Of keys of a shard, by the first word of their name."""
_MEMBER: dict[str, Any] = {"app": "a", "host": "h", "pid": 1, "version": "1", "started": 1, "slots": 1}
_ODD: Sequence[dict[str, Any]] = (
    {"id": 5},
    {"queues": [[1]], "slots": "s", "tasks": [1], "app": 1, "pid": "p"},
    {"queues": "fuzz", "tasks": None},
    {"tasks": {"good": 5}, "singletons": [[]], "keys": [7], "candidate": "yes"},
)
MEMBERS = (
    b"[]",
    b"{}",
    *(json.dumps(_MEMBER | {"queues": ["fuzz"], "tasks": {}, "id": "x"} | odd).encode() for odd in _ODD),
)


@dataclass(kw_only=True)
class Scene:
    """Where harm is done.

    Attributes:
        victims: The records that may be torn: shard and uid of jobs that need not complete.
        worker: The id of the worker, if it has started.
        broken: Keys whose type was changed, with the names under which what they held is kept.
    """

    redis: Connection
    keys: Keys
    shards: Sequence[ShardKeys]
    singleton: str
    worker: str = "nobody"
    victims: list[tuple[ShardKeys, str]] = field(default_factory=list[tuple[ShardKeys, str]])
    broken: dict[str, str] = field(default_factory=dict[str, str])
    done: list[str] = field(default_factory=list[str])

    def do(self, *words: str | bytes | float) -> None:
        """Write something, and note it."""
        self.done.append(" ".join(ascii(word) for word in words))
        with contextlib.suppress(RespError):  # harm was done there before
            self.redis(*words)

    @property
    def story(self) -> str:
        """What was done, a line each."""
        return "\n  ".join(self.done)

    def repair(self) -> None:
        """Give keys of a wrong type back what they held."""
        for key, kept in self.broken.items():
            self.redis("DEL", key)
            if self.redis("EXISTS", kept):
                self.redis("RENAME", kept, key)
        self.broken.clear()


Harm = Callable[[random.Random, Scene], None]


def rubbish(draw: random.Random) -> bytes:
    """A number that is none, a word, or bytes."""
    return draw.choice(NUMBERS) if draw.random() < 0.4 else raw(draw)


def a_torn_field(draw: random.Random, scene: Scene) -> None:
    """Fields of a record."""
    if scene.victims:
        shard, uid = draw.choice(scene.victims)
        for name in draw.sample(FIELDS, draw.randint(1, 3)):
            scene.do("HSET", shard.job(uid), name, rubbish(draw))


def a_missing_field(draw: random.Random, scene: Scene) -> None:
    """A record without some of its fields."""
    if scene.victims:
        shard, uid = draw.choice(scene.victims)
        scene.do("HDEL", shard.job(uid), *draw.sample(FIELDS, draw.randint(1, 8)))


def a_record_of_another_type(draw: random.Random, scene: Scene) -> None:
    """A record, or its failures, that are no hash and no list."""
    if scene.victims:
        shard, uid = draw.choice(scene.victims)
        key = draw.choice([shard.job(uid), shard.failures(uid)])
        scene.do("DEL", key)
        _make(draw, scene, key)


def an_alien_entry(draw: random.Random, scene: Scene) -> None:
    """An entry of a stream that no enqueue wrote."""
    # What waits in `unparked` is found by upkeep alone, every ten seconds.
    streams = draw.choice(scene.shards).streams
    stream = draw.choice(streams[:-1] if draw.random() < 0.99 else streams)
    uid = _name(draw)
    fields: list[bytes] = draw.choice([[b"j", uid], [b"J", b"x", b"j", uid], [raw(draw) or b"f", raw(draw)]])
    scene.do("XADD", stream, "*", *fields)


def an_alien_member(draw: random.Random, scene: Scene) -> None:
    """A member of a set that no script put there."""
    shard = draw.choice(scene.shards)
    key = draw.choice([shard.scheduled, shard.finished, shard.stakes, shard.parked("good"), shard.ticks])
    scene.do("ZADD", key, draw.choice(SCORES), _name(draw))


def a_dead_letter(draw: random.Random, scene: Scene) -> None:
    """An entry of the DLQ that no script wrote."""
    fields = draw.choice([[b"j", _name(draw)], [raw(draw) or b"f", raw(draw)]])
    scene.do("XADD", draw.choice(scene.shards).dlq, "*", *fields)


def a_wake_token(draw: random.Random, scene: Scene) -> None:
    """Tokens that mean nothing."""
    scene.do("LPUSH", draw.choice(scene.shards).wake, *[raw(draw) for _ in range(draw.randint(1, 3))])


def a_note(draw: random.Random, scene: Scene) -> None:
    """Fields of a shard's meta."""
    names = ("note", "stale:4", "loan", "keys:1", "windows:1", "parked:good", "total:failed", "odd")
    scene.do("HSET", draw.choice(scene.shards).meta, draw.choice(names), rubbish(draw))


def a_lease(draw: random.Random, scene: Scene) -> None:
    """Fields of a lease: a shard's, the leader's, a singleton's."""
    keys = scene.keys
    leases = [*(shard.lease for shard in scene.shards), keys.schedules_lease, keys.lease(scene.singleton)]
    scene.do("HSET", draw.choice(leases), draw.choice(["owner", "epoch", "expires"]), rubbish(draw))


def a_member(draw: random.Random, scene: Scene) -> None:
    """Records of workers that are none."""
    keys = scene.keys
    name = raw(draw) or b"m"
    record = draw.choice([raw(draw), *MEMBERS])
    scene.do("HSET", keys.fleet_members, name, record)
    scene.do("HINCRBY", keys.fleet_members, "#version", 1)
    scene.do("ZADD", draw.choice([keys.fleet_expiry, keys.fleet_free]), draw.choice(SCORES), name)


def a_message(draw: random.Random, scene: Scene) -> None:
    """Messages of an inbox."""
    kinds = (b"cancel", b"parked", b"fleet", b"schedules", b"declare", raw(draw))
    ids = (b'"fuzz.0.x"', b'"fuzz.99999.x"', b'"other.0.x"', b'"fuzz.-1.x"', b'"a.b"')
    jobs = (*ids, b"5", b"null", b"[]", b'{"a":1}')
    data = draw.choice([b'{"job":' + draw.choice(jobs) + b"}", raw(draw), b"[]"])
    fields = draw.choice([[b"kind", draw.choice(kinds), b"data", data], [raw(draw) or b"f", raw(draw)]])
    scene.do("XADD", scene.keys.inbox(scene.worker), "*", *fields)


def a_schedule(draw: random.Random, scene: Scene) -> None:
    """What the scheduler reads."""
    keys = scene.keys
    hashes = (
        *(keys.schedules_items, keys.schedules_states, keys.schedules_intents, keys.schedules_paused),
        *(keys.schedules_beats, keys.schedules_declared, keys.schedules_meta, keys.singletons),
        keys.lease_state(scene.singleton),
    )
    names = (b"often", b"watcher", b"stranger", b"version", b"state", b"number", b"beat", raw(draw))
    items = (b'{"tick":"x","job":5}', b'{"rev":1,"since":0,"timing":"{}","def":"{}"}')
    values = (b"{}", b"[]", *items, rubbish(draw))
    scene.do("HSET", draw.choice(hashes), draw.choice(names), draw.choice(values))


def a_queue(draw: random.Random, scene: Scene) -> None:
    """Names of queues, and what is known of a queue that nobody serves."""
    name = raw(draw) or b"q"
    scene.do("SADD", scene.keys.queues, name)
    if draw.random() < 0.5:
        meta = f"{scene.keys.prefix}:{{stranger}}:meta"
        scene.do("HSET", meta, draw.choice(["shards", "schema", "layout", "homes", "reach"]), rubbish(draw))


def a_key_of_another_type(draw: random.Random, scene: Scene) -> None:
    """A key of one shard that is of no use until somebody repairs it."""
    if scene.broken:
        return  # of one shard at a time: the others are to go on
    shard = scene.shards[0]
    key = draw.choice(
        [
            *(shard.scheduled, shard.finished, shard.dlq, shard.meta, shard.wake, shard.lease, shard.stakes),
            *(*shard.streams, shard.parked("good")),
        ]
    )
    kept = f"{shard.base}:meta:kept"
    scene.do("DEL", kept)
    if scene.redis("EXISTS", key):
        scene.do("RENAME", key, kept)
    _make(draw, scene, key, but=TYPE_OF[key.removeprefix(shard.base).split(":")[1]])
    scene.broken[key] = kept


def _make(draw: random.Random, scene: Scene, key: str, *, but: str = "") -> None:
    for command in TYPES[draw.choice(sorted(TYPES.keys() - {but}))]:
        scene.do(*(key if word == "{}" else word for word in command))


def _name(draw: random.Random) -> bytes:
    return draw.choice([raw(draw), b"no-such-job", rubbish(draw)])


HARMS: Sequence[Harm] = (
    a_torn_field,
    a_torn_field,
    a_torn_field,
    a_missing_field,
    a_record_of_another_type,
    an_alien_entry,
    an_alien_entry,
    an_alien_member,
    an_alien_member,
    a_dead_letter,
    a_wake_token,
    a_note,
    a_lease,
    a_member,
    a_message,
    a_schedule,
    a_queue,
    a_key_of_another_type,
)
