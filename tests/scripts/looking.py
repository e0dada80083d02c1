"""What a shard holds, read from Redis as it is, without the code under test."""

from dataclasses import dataclass, field

from capelin.keys import ShardKeys
from capelin.priority import STREAMS
from tests.scripts.servers import Refused, Server
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


_READ = {"hash": ("HGETALL",), "list": ("LRANGE", 0, -1), "string": ("GET",), "zset": ("ZRANGE", 0, -1, "WITHSCORES")}


def look(server: Server, shard: ShardKeys) -> Look:
    """Read the whole shard."""
    found = Look()
    keys = sorted(texts(server.command("KEYS", f"{shard.base.replace('[', '?')}:*")))
    kinds = server.pipeline(*[("TYPE", key) for key in keys])
    plain: list[tuple[str, str]] = []
    for key, kind in zip(keys, kinds, strict=True):
        if kind == "stream":
            _stream(server, found, key, key.removeprefix(f"{shard.base}:"))
        else:
            plain.append((key, str(kind)))
    commands = [(_READ[kind][0], key, *_READ[kind][1:]) for key, kind in plain]
    for (key, _), reply in zip(plain, server.pipeline(*commands), strict=True):
        _note(found, shard, key.removeprefix(f"{shard.base}:"), reply)
    return found


def _note(found: Look, shard: ShardKeys, name: str, reply: Reply) -> None:
    kind, _, rest = name.partition(":")
    uid = rest.removeprefix(f"{shard.queue}.{shard.shard}.")
    match kind:
        case "job":
            record = pairs(reply)
            if set(record) == {"alias"}:
                found.aliases[uid] = record["alias"]
            else:
                found.records[uid] = record
        case "failures":
            found.failures[uid] = texts(reply)
        case "scheduled":
            found.scheduled = _scores(reply)
        case "finished":
            found.finished = _scores(reply)
        case "parked":
            found.parked[rest] = _scores(reply)
        case "unique":
            found.unique[rest] = str(reply)
        case "meta":
            found.meta = pairs(reply)
        case "lease":
            found.lease = pairs(reply)
        case "stakes":
            found.stakes = _scores(reply)
        case "wake":
            found.tokens = len(texts(reply))
        case _:
            found.strange.append(name)


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


def _stream(server: Server, found: Look, key: str, name: str) -> None:
    entries = [_fields(entry) for entry in _list(server.command("XRANGE", key, "-", "+"))]
    if name == "dlq":
        found.dlq = [(fields["j"], fields["task"], fields["reason"]) for _, fields in entries]
        found.dlq_ids = {fields["j"]: entry_id for entry_id, fields in entries}
        return
    stream = name.removeprefix("stream:")
    in_flight: dict[str, str] = {}
    found.consumers[stream] = {}
    try:
        for item in _list(server.command("XPENDING", key, "workers", "-", "+", 10_000)):
            entry_id, consumer = _list(item)[:2]
            in_flight[str(entry_id)] = str(consumer)
        for item in _list(server.command("XINFO", "CONSUMERS", key, "workers")):
            flat = _list(item)
            about = {str(n): v for n, v in zip(flat[::2], flat[1::2], strict=True)}
            pending = about["pending"]
            found.consumers[stream][str(about["name"])] = pending if isinstance(pending, int) else -1
    except Refused as error:
        if "NOGROUP" not in str(error):
            raise
    found.streams[stream] = [
        Entry(id=entry_id, uid=fields.get("j", ""), consumer=in_flight.pop(entry_id, None)) for entry_id, fields in entries
    ]
    if in_flight:
        found.orphans[stream] = list(in_flight)
