"""What a shard holds, read from Redis as it is, without the code under test."""

from dataclasses import dataclass, field

from capelin.keys import ShardKeys
from capelin.priority import STREAMS
from tests.scripts.servers import Server
from tests.support.records import spelled_out
from tests.support.resp import Reply, texts


def pairs(reply: Reply) -> dict[str, str]:
    """A flat list of names and values, as a dict."""
    flat = texts(reply)
    return dict(zip(flat[::2], flat[1::2], strict=True))


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An entry of a stream; `consumer` has it in flight."""

    id: str
    uid: str
    consumer: str | None


@dataclass(kw_only=True)
class Look:
    """Everything that a shard's keys hold, by name."""

    records: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    aliases: dict[str, str] = field(default_factory=dict[str, str])
    failures: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    streams: dict[str, list[Entry]] = field(default_factory=dict[str, list[Entry]])
    orphans: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    consumers: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    scheduled: dict[str, float] = field(default_factory=dict[str, float])
    finished: dict[str, float] = field(default_factory=dict[str, float])
    parked: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    unique: dict[str, str] = field(default_factory=dict[str, str])
    dlq: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    dlq_ids: dict[str, str] = field(default_factory=dict[str, str])
    meta: dict[str, str] = field(default_factory=dict[str, str])
    totals: dict[str, str] = field(default_factory=dict[str, str])
    keys: dict[str, int] = field(default_factory=dict[str, int])
    windows: dict[str, int] = field(default_factory=dict[str, int])
    lent: dict[str, str] = field(default_factory=dict[str, str])
    lease: dict[str, str] = field(default_factory=dict[str, str])
    stakes: dict[str, float] = field(default_factory=dict[str, float])
    tokens: int = 0
    strange: list[str] = field(default_factory=list[str])

    @property
    def stale(self) -> dict[str, int]:
        """Counts of entries whose job has left, by stream."""
        return {
            STREAMS[int(name.removeprefix("stale:")) - 1]: int(value)
            for name, value in self.meta.items()
            if name.startswith("stale:")
        }

    @property
    def parked_counts(self) -> dict[str, int]:
        """Counts of parked jobs, by task."""
        counts = {name: value for name, value in self.meta.items() if name.startswith("parked:")}
        return {name.removeprefix("parked:"): int(value) for name, value in counts.items()}


# All keys of a shard and what they hold, in one call: {key, type, content, pending entries, consumers}.
_READ = """
local found = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  local kind = redis.call('TYPE', key).ok
  local content, pending, consumers = '', {}, {}
  if kind == 'hash' then content = redis.call('HGETALL', key) end
  if kind == 'list' then content = redis.call('LRANGE', key, 0, -1) end
  if kind == 'string' then content = redis.call('GET', key) end
  if kind == 'zset' then content = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end
  if kind == 'stream' then
    content = redis.call('XRANGE', key, '-', '+')
    local group = redis.pcall('XPENDING', key, 'workers', '-', '+', 10000)
    if not group.err then
      pending, consumers = group, redis.call('XINFO', 'CONSUMERS', key, 'workers')
    end
  end
  found[#found + 1] = { key, kind, content, pending, consumers }
end
return found
"""


def look(server: Server, shard: ShardKeys) -> Look:
    """Read the whole shard."""
    found = Look()
    for item in _list(server.command("EVAL", _READ, 0, f"{shard.base}:*")):
        key, kind, content, pending, consumers = _list(item)
        name = str(key).removeprefix(f"{shard.base}:")
        if kind == "stream":
            _stream(found, name, _list(content), _list(pending), _list(consumers))
        else:
            _note(found, shard, name, content)
    return found


def _note(found: Look, shard: ShardKeys, name: str, reply: Reply) -> None:
    kind, _, rest = name.partition(":")
    uid = rest.removeprefix(f"{shard.queue}.{shard.shard}.")
    match kind:
        case "job" if isinstance(reply, list):
            record = pairs(reply)
            if set(record) == {"alias"}:
                found.aliases[uid] = record["alias"]
            else:
                found.records[uid] = spelled_out(record)
        case "failures" if isinstance(reply, list):
            found.failures[uid] = texts(reply)
        case "scheduled" | "finished" | "stakes":
            setattr(found, kind, _scores(reply))
        case "meta":
            _meta(found, pairs(reply))
        case "lease" | "lent":
            setattr(found, kind, pairs(reply))
        case "parked":
            found.parked[rest] = _scores(reply)
        case "unique":
            found.unique[rest] = str(reply)
        case "wake":
            found.tokens = len(texts(reply))
        case _:
            found.strange.append(name)


def _meta(found: Look, fields: dict[str, str]) -> None:
    for name, value in fields.items():
        kind, _, rest = name.partition(":")
        match kind:
            case "total":
                found.totals[name] = value
            case "keys" | "windows":
                getattr(found, kind)[rest] = int(value)
            case _:
                found.meta[name] = value


def _scores(reply: Reply) -> dict[str, float]:
    return {member: float(score) for member, score in pairs(reply).items()}


def _fields(entry: Reply) -> tuple[str, dict[str, str]]:
    match entry:
        case [str(entry_id), [*fields]]:
            return entry_id, pairs(fields)
        case _:
            raise TypeError(f"no entry: {entry!r}")


def _list(reply: Reply) -> list[Reply]:
    if not isinstance(reply, list):
        raise TypeError(f"not a list: {reply!r}")
    return reply


def _stream(
    found: Look, name: str, content: list[Reply], pending: list[Reply], consumers: list[Reply]
) -> None:
    entries = [_fields(entry) for entry in content]
    if name == "dlq":
        found.dlq = [(fields["j"], fields["task"], fields["reason"]) for _, fields in entries]
        found.dlq_ids = {fields["j"]: entry_id for entry_id, fields in entries}
        return
    stream = name.removeprefix("stream:")
    in_flight = {str(entry_id): str(consumer) for entry_id, consumer, *_ in map(_list, pending)}
    found.consumers[stream] = {}
    for flat in map(_list, consumers):
        about = {str(n): v for n, v in zip(flat[::2], flat[1::2], strict=True)}
        count = about["pending"]
        found.consumers[stream][str(about["name"])] = count if isinstance(count, int) else -1
    found.streams[stream] = [
        Entry(id=entry_id, uid=fields.get("j", ""), consumer=in_flight.pop(entry_id, None))
        for entry_id, fields in entries
    ]
    if in_flight:
        found.orphans[stream] = list(in_flight)
