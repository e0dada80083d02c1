"""The key-leak check: whatever a test leaves in Redis is known, bounded, and accounted for.

A key with a TTL goes by itself. A key without one must be on the list below, which says why it may stay and
follows the table of docs/architecture.md. What belongs to a job must moreover belong to one that its shard
still holds: a record that no stream, set or DLQ knows of is a leak even though its name is fine, since
nothing will ever remove it. A test that leaves something else on purpose says so:
`@pytest.mark.leaves_keys(reason="...")`.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from tests.support.resp import Reply, texts

_PAGE = 500
_NAME = r"[A-Za-z0-9_.-]+"
_PREFIX = _NAME
_SHARD = rf"(?P<shard>{_PREFIX}:\{{{_NAME}:\d+\}})"


class Asked(Protocol):
    """A server of any backend that can be asked; see `resp.Connection`."""

    def __call__(self, *words: str | bytes | float) -> Reply: ...

    def pipeline(self, *commands: tuple[str | bytes | float, ...]) -> list[Reply]: ...


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """A kind of key that may stay without a TTL.

    Attributes:
        regex: matches the whole key; a group `shard` names the shard, a group `job` the job's uid.
        reason: why it may stay.
    """

    name: str
    regex: re.Pattern[str]
    reason: str


def _pattern(name: str, regex: str, reason: str) -> Pattern:
    return Pattern(name=name, regex=re.compile(regex), reason=reason)


PATTERNS = (
    _pattern(
        "stream",
        rf"{_SHARD}:stream:(returned|critical|high|normal|low|unparked)",
        "lives as long as its queue; its entries go with their jobs",
    ),
    _pattern("scheduled", rf"{_SHARD}:scheduled", "waiting jobs, each leaves when it is due"),
    _pattern("parked", rf"{_SHARD}:parked:.+", "waiting jobs, dead-lettered by age"),
    _pattern("dlq", rf"{_SHARD}:dlq", "trimmed by age and count by retention"),
    _pattern("finished", rf"{_SHARD}:finished", "trimmed by expiry by retention"),
    _pattern("job", rf"{_SHARD}:job:{_NAME}\.(?P<job>[^.]+)", "goes with its place in the shard"),
    _pattern("failures", rf"{_SHARD}:failures:{_NAME}\.(?P<job>[^.]+)", "goes with its job's record"),
    _pattern("unique", rf"{_SHARD}:unique:.+", "freed by the end of the job that holds it"),
    _pattern(
        "lent", rf"{_SHARD}:lent", "keys of jobs that run again elsewhere; upkeep strikes off what is over"
    ),
    _pattern("shard meta", rf"{_SHARD}:meta", "one a shard, as long as the queue lives"),
    _pattern("wake", rf"{_SHARD}:wake", "tokens for an owner; taken by the next one"),
    _pattern("lease", rf"{_SHARD}:lease", "one a shard; the epoch must outlive every owner"),
    _pattern("stakes", rf"{_SHARD}:stakes", "a dead worker's stake stays until a survivor reaps it"),
    _pattern("queue meta", rf"{_PREFIX}:\{{{_NAME}\}}:meta", "one a queue: its shard count"),
    _pattern("queues", rf"{_PREFIX}:queues", "one a prefix: the names of queues ever used"),
    _pattern(
        "fleet",
        rf"{_PREFIX}:\{{fleet\}}:(members|expiry|free)",
        "one a prefix: who is a member; the dead are removed by the living",
    ),
    _pattern(
        "named lease",
        rf"{_PREFIX}:\{{lease:{_NAME}\}}:(lease|state)",
        "one a name; the epoch and the state must outlive every leader",
    ),
    _pattern("schedules", rf"{_PREFIX}:\{{schedules\}}:.+", "one a prefix: what the app has declared"),
)


@dataclass(kw_only=True)
class _Shard:
    """What a shard holds: uids that have a place, and the keys that must belong to one of them."""

    placed: set[str] = field(default_factory=set[str])
    claims: dict[str, str] = field(default_factory=dict[str, str])


def find_leaks(redis: Asked) -> list[str]:
    """One line for each key of this server that nothing will ever remove; empty when all is well."""
    leaks: list[str] = []
    shards: defaultdict[str, _Shard] = defaultdict(_Shard)
    for key in _without_ttl(redis):
        found = next(((p, m) for p in PATTERNS if (m := p.regex.fullmatch(key))), None)
        if found is None:
            leaks.append(f"{key}: has no TTL and is on no list")
            continue
        pattern, match = found
        groups = match.groupdict()
        if "shard" not in groups:
            continue
        shard = shards[groups["shard"]]
        if "job" in groups:
            shard.claims[key] = groups["job"]
        elif pattern.name == "unique":
            shard.claims[key] = str(redis("GET", key)).rsplit(".", 1)[-1]
        else:
            shard.placed.update(_uids(redis, pattern.name, key))
    for shard in shards.values():
        leaks.extend(
            f"{key}: its job {uid!r} is in no stream, set or DLQ of the shard"
            for key, uid in shard.claims.items()
            if uid not in shard.placed
        )
    return sorted(leaks)


def _without_ttl(redis: Asked) -> Iterable[str]:
    cursor = "0"
    while True:
        reply = redis("SCAN", cursor, "COUNT", _PAGE)
        if not isinstance(reply, list):
            raise TypeError(f"SCAN answered {reply!r}")
        keys = texts(reply[1])
        ttls = redis.pipeline(*[("PTTL", key) for key in keys])
        yield from (key for key, ttl in zip(keys, ttls, strict=True) if ttl == -1)
        cursor = str(reply[0])
        if cursor == "0":
            return


def _uids(redis: Asked, name: str, key: str) -> set[str]:
    match name:
        case "scheduled" | "parked" | "finished":
            return set(texts(redis("ZRANGE", key, 0, -1)))
        case "stream" | "dlq":
            entries = redis("XRANGE", key, "-", "+")
            return {uid for entry in entries for uid in _entry(entry)} if isinstance(entries, list) else set()
        case _:
            return set()


def _entry(entry: Reply) -> set[str]:
    """The uid in field `j` of a stream entry; none in an alien one."""
    match entry:
        case [_, [*fields]]:
            words = [str(item) for item in fields]
            return {value for name, value in zip(words[::2], words[1::2], strict=True) if name == "j"}
        case _:
            return set()
