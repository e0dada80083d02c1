"""Where every job stands, read from the raw keys: nothing of capelin is asked.

Guarantee 1 says that a job is at every moment in exactly one place. A census finds every place of every
job, and tells which job is in none, in two, or in one that its status does not go with. Take it when
nothing moves.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.support.commands import CommandRecorder
from tests.support.leaks import Asked
from tests.support.records import spelled_out
from tests.support.resp import Reply, texts
from tests.support.servers import RedisServer

_KEY = re.compile(r"(?P<base>[^{]+:\{(?P<queue>[^:{}]+):(?P<shard>\d+)\}):(?P<kind>[a-z]+)(:(?P<rest>.+))?")
_RECORD = re.compile(r".+:job:(?P<job>.+)")
_STREAMS = ("returned", "critical", "high", "normal", "low", "unparked")
_WAITING = ("scheduled", "parked", "dlq", "finished")


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One job as Redis holds it.

    Attributes:
        record: the fields of its hash; empty when there is none.
        places: the names of the streams, sets and lists that hold it, as often as they do.
        pending: the workers in whose pending lists it is.
        failures: how many failed starts are noted.
        stale: by stream, entries that the shard knows to be of jobs that left by another door. A job that was
            replaced, to a later moment and back to now, has such an entry beside its own.
    """

    id: str
    record: dict[str, str] = field(default_factory=dict[str, str])
    places: list[str] = field(default_factory=list[str])
    pending: list[str] = field(default_factory=list[str])
    failures: int = 0
    stale: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def status(self) -> str:
        """Its status; `none` without a record."""
        return self.record.get("status", "none")

    @property
    def token(self) -> int:
        """How often it was started."""
        return int(self.record.get("token", 0))

    @property
    def crashes(self) -> int:
        """How many of its starts ended with the death of their worker."""
        return int(self.record.get("crashes", 0))

    def problem(self) -> str | None:
        """What is wrong with where it is; None when all is well."""
        streams = [place for place in self.places if place.startswith("stream:")]
        others = [place.split(":")[0] for place in self.places if not place.startswith("stream:")]
        match self.status:
            case "queued":
                name = "returned" if self.record.get("place") == "returned" else self._priority
                entries = streams.count(f"stream:{name}")
                right = not others and 1 <= entries <= 1 + self.stale.get(name, 0) and not self.pending
            case "running":
                right = not others and self.pending == [self.record.get("worker", "?")]
            case "scheduled":
                right = others == ["scheduled"] and not self.pending
            case "parked":
                right = others == ["parked"] and not self.pending
            case "failed":
                right = others in (["dlq"], ["finished"]) and not self.pending
            case "completed" | "cancelled":
                right = others == ["finished"] and not self.pending
            case _:
                right = others == ["dlq"] and not self.pending
        return None if right else f"{self.id} is {self.status}, in {self.places}, pending for {self.pending}"

    @property
    def _priority(self) -> str:
        return self.record.get("priority", "normal")


@dataclass(frozen=True, kw_only=True)
class Census:
    """Every job of some servers."""

    jobs: dict[str, Standing]

    def __getitem__(self, job_id: str) -> Standing:
        return self.jobs[job_id]

    @property
    def statuses(self) -> Counter[str]:
        """How many jobs have each status."""
        return Counter(job.status for job in self.jobs.values())

    @property
    def misplaced(self) -> list[str]:
        """One line for each job that is not in exactly one place."""
        return sorted(problem for job in self.jobs.values() if (problem := job.problem()) is not None)

    def of_task(self, task: str) -> list[Standing]:
        """The jobs of one task, the oldest first."""
        return sorted(
            (job for job in self.jobs.values() if job.record.get("task") == task), key=lambda job: job.id
        )


def take_census(*servers: RedisServer) -> Census:
    """Look at every job of these servers: one, or the masters of a cluster."""
    jobs: dict[str, Standing] = {}
    for server in servers:
        with server.connect() as redis:
            jobs.update(census_of(redis).jobs)
    return Census(jobs=jobs)


def census_of(redis: Asked) -> Census:
    """Look at every job of one server."""
    records: dict[str, dict[str, str]] = {}
    places: defaultdict[str, list[str]] = defaultdict(list)
    pending: defaultdict[str, list[str]] = defaultdict(list)
    failures: dict[str, int] = {}
    stale: dict[str, dict[str, int]] = {}
    for key in texts(redis("KEYS", "*")):
        match = _KEY.fullmatch(key)
        if match is None:
            continue
        kind, rest = match["kind"], match["rest"] or ""
        place = f"{match['queue']}.{match['shard']}."
        if kind == "job" and redis("TYPE", key) == "hash":
            fields = spelled_out(_pairs(redis("HGETALL", key)))
            if "status" in fields:
                records[rest] = fields
        elif kind == "meta" and redis("TYPE", key) == "hash":
            stale[place] = _stale(_pairs(redis("HGETALL", key)))
        elif kind == "failures":
            failures[rest] = int(str(redis("LLEN", key)))
        elif kind in _WAITING or kind == "stream":
            name = f"{kind}:{rest}" if rest else kind
            uids = _stream(redis, key) if kind in ("stream", "dlq") else dict.fromkeys(_set(redis, key), "")
            for entry, uid in _items(uids):
                places[place + uid].append(name)
                if kind == "stream":
                    pending[place + uid] += _owner(redis, key, entry)
    return Census(
        jobs={
            job: Standing(
                id=job,
                record=records.get(job, {}),
                places=places[job],
                pending=pending[job],
                failures=failures.get(job, 0),
                stale=stale.get(f"{job.rpartition('.')[0]}.", {}),
            )
            for job in {*records, *places}
            if job in records or any(not where.startswith("stream:") for where in places[job]) or pending[job]
        }
    )


def _stale(meta: dict[str, str]) -> dict[str, int]:
    """What a shard's meta counts, by stream."""
    return {
        name: int(meta[field])
        for index, name in enumerate(_STREAMS, start=1)
        if meta.get(field := f"stale:{index}", "").isdigit()
    }


def _items(found: dict[str, str]) -> Iterable[tuple[str, str]]:
    """Entry and uid; a set's members stand for themselves."""
    return [(key, uid or key) for key, uid in found.items()]


def _pairs(reply: Reply) -> dict[str, str]:
    words = texts(reply)
    return dict(zip(words[::2], words[1::2], strict=True))


def _set(redis: Asked, key: str) -> list[str]:
    return texts(redis("ZRANGE", key, 0, -1))


def _stream(redis: Asked, key: str) -> dict[str, str]:
    """The uid of each entry, by entry; alien entries have `?`."""
    found: dict[str, str] = {}
    entries = redis("XRANGE", key, "-", "+")
    for entry in entries if isinstance(entries, list) else []:
        match entry:
            case [str(number), ["j", str(uid), *_]]:
                found[number] = uid
            case [str(number), *_]:
                found[number] = "?"
            case _:
                continue
    return found


def _owner(redis: Asked, key: str, entry: str) -> list[str]:
    if not redis("XINFO", "GROUPS", key):
        return []
    rows = redis("XPENDING", key, "workers", entry, entry, 1)
    return [str(row[1]) for row in rows if isinstance(row, list)] if isinstance(rows, list) else []


def recordings(recorder: CommandRecorder) -> Counter[tuple[str, str]]:
    """How often each outcome (job id, kind) was recorded: by the writes of scripts, not by their replies."""
    found: Counter[tuple[str, str]] = Counter()
    for command in recorder.commands:
        match = _RECORD.fullmatch(command.words[1]) if command.by_script and command.name == "HSET" else None
        fields = dict(zip(command.words[2::2], command.words[3::2], strict=False))
        if match is not None and "last" in fields:
            found[match["job"], fields["last"]] += 1
    return found
