"""The fleet: who is a member, and which shards that gives to this worker."""

import json
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, cast

from capelin.ids import new_uid
from capelin.keys import Keys, ShardKeys
from capelin.names import check_name
from capelin.narrow import is_mapping
from capelin.workers.assignment import assign

KEY_LACKS = "key:"
"""Before the name of a key, in the place of the digest that refused a parked job's arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One worker's record in the membership.

    Attributes:
        queues: The queues it serves.
        tasks: The tasks it can run, with the digest of each signature.
        started: ms since the epoch, by its own clock; for display.
        slots: How many jobs it runs at a time.
        release: Digest of the schedules and singletons that its release declares; see ``scheduler.releases``.
        singletons: Those that it may host; none for a worker that does not stand for leases.
        candidate: Whether it may lead the scheduler.
        quiet: It was told to take nothing more. Its ``queues`` are none then, so that nobody leaves a shard,
            the lead or a singleton to it, members of older releases included.
        queues_before: The queues that it served until then.
        keys: The names of the keys with which it decrypts.
    """

    id: str
    app: str
    host: str
    pid: int
    version: str
    started: int
    queues: tuple[str, ...]
    slots: int
    tasks: Mapping[str, str]
    release: str = ""
    singletons: tuple[str, ...] = ()
    candidate: bool = False
    quiet: bool = False
    queues_before: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    def quieted(self) -> "Member":
        """The record of the same worker once it was told to be quiet."""
        return replace(self, quiet=True, queues=(), queues_before=self.queues, singletons=(), candidate=False)

    def to_json(self) -> str:
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return json.dumps(fields, separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Member | None":
        """Read a record; None for one that this release cannot read."""
        try:
            raw: dict[str, Any] = json.loads(text)
            known = {name: raw[name] for name in cls.__dataclass_fields__ if name in raw}
            for name in ("queues", "singletons", "queues_before", "keys"):
                known[name] = tuple(known.get(name, ()))
            member = cls(**known)
        except (ValueError, KeyError, TypeError):
            return None
        return member if member.sound else None

    @property
    def sound(self) -> bool:
        """Whether its fields are what they are said to be: whatever stands in Redis, nobody trips over it."""
        tasks = cast(object, self.tasks)
        if not is_mapping(tasks):
            return False
        texts = (self.id, self.app, self.host, self.version, self.release, *tasks, *tasks.values())
        lists = (*self.queues, *self.singletons, *self.queues_before, *self.keys)
        numbers = cast(tuple[object, ...], (self.pid, self.started, self.slots))
        return all(isinstance(text, str) for text in cast(tuple[object, ...], (*texts, *lists))) and all(
            isinstance(number, int) for number in numbers
        )

    def can_run(self, task: str, digest: str, *, refused_by: str) -> bool:
        """Whether it can run a parked job: it has the signature the job was enqueued with, or, if the job
        was parked since its task was unknown (nothing refused it), the task, or the key that lacked.
        """
        mine = self.tasks.get(task)
        if refused_by.startswith(KEY_LACKS):
            return mine is not None and refused_by.removeprefix(KEY_LACKS) in self.keys
        return mine is not None and (mine == digest or not refused_by)


def new_worker_id(name: str | None = None) -> str:
    """Return a worker id, new at each process start: its name or else its host, its pid, and something
    random.

    Raises:
        InvalidName: The name is not allowed.
    """
    if name is None:
        host = "".join(char if char.isalnum() or char == "-" else "-" for char in socket.gethostname())
        name = host[:40].strip("-") or "host"
    return f"{check_name('worker', name)}-{os.getpid()}-{new_uid()[-8:]}"


# When one of five hundred comes or goes, the records of the others are those that were read before.
_read = lru_cache(maxsize=1024)(Member.from_json)


def read_members(flat: Iterable[bytes]) -> dict[str, Member]:
    """Read the membership hash (``HGETALL``)."""
    pairs = list(flat)
    members: dict[str, Member] = {}
    for name, text in zip(pairs[::2], pairs[1::2], strict=True):
        member = None if name == b"#version" else _read(text)
        if member is not None and name == member.id.encode():
            members[member.id] = member
    return members


def wanted_shards(
    worker: str, members: Mapping[str, Member], layouts: Mapping[str, int], keys: Keys
) -> set[ShardKeys]:
    """The shards that the membership gives to a worker; every worker computes the same."""
    serving: dict[str, list[str]] = {queue: [] for queue in layouts}
    for member in members.values():
        for queue in layouts.keys() & member.queues:
            serving[queue].append(member.id)
    wanted: set[ShardKeys] = set()
    for queue, shards in layouts.items():
        for shard, owner in assign(queue, shards, serving[queue]).items():
            if owner == worker:
                wanted.add(keys.shard(queue, shard))
    return wanted
