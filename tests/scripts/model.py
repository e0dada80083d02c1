"""A shard in plain Python: what the scripts must come to, without Redis, Lua or cleverness.

One method a script: it changes the model and returns what the script must answer. What Redis then holds, in
the words of `comparable`, and what `Model.look` gives must agree.
"""

import json
from typing import Any

from capelin.priority import STREAMS
from tests.scripts.looking import Look
from tests.scripts.model_clients import Clients
from tests.scripts.model_state import Entry
from tests.scripts.model_workers import Workers


class Model(Clients, Workers):
    """One shard, and its upkeep."""

    def pause(self) -> bool:
        was, self.paused = self.paused, True
        return not was

    def resume(self) -> bool:
        was, self.paused = self.paused, False
        self.wake(0)
        return was

    def retain(
        self, limit: int, most_finished: int, dlq_age: int, most_dead: int, parked_age: int
    ) -> tuple[int, int, int, bool, list[tuple[str, ...]]]:
        trimmed = self.trim(most_finished, limit)
        purged = [dead for dead in self.dlq if dead.at <= self.now - dlq_age][:limit]
        rest = [dead for dead in self.dlq if dead not in purged]
        purged += rest[: max(0, min(len(rest) - most_dead, limit))]
        for dead in purged:
            self.dlq.remove(dead)
            self.cut(dead.uid, self.needed_until(self.jobs[dead.uid]))
        buried = 0
        for task in list(self.parked):
            by_age = sorted((at, uid) for uid, at in self.parked[task].items() if at <= self.now - parked_age)
            for _, uid in by_age[: limit - buried]:
                reason = "NewerSignature" if self.jobs[uid]["parked_by"] else "UnknownTask"
                why = "no worker could run it before its time was over"
                self.leave_parked(uid)
                self.bury(uid, reason, f'{{"type":"{reason}","message":"{why}"}}')
                buried += 1
        self.wake(self.earliest)
        left = [
            (task, self.jobs[uid].get("digest", ""), self.jobs[uid]["parked_by"])
            for task, uids in self.parked.items()
            for _, uid in sorted((at, uid) for uid, at in uids.items())[:20]
        ]
        more = limit <= max(trimmed, len(purged), buried)
        return trimmed, len(purged), buried, more, list(dict.fromkeys(left))

    # -- comparing

    def look(self) -> dict[str, Any]:
        """Everything that can be compared with what Redis holds; see `comparable`."""
        meta = {f"stale:{STREAMS.index(name) + 1}": str(count) for name, count in self.stale().items()}
        meta.update({f"parked:{task}": str(len(uids)) for task, uids in self.parked.items()})
        if self.note is not None:
            meta["note"] = self.note
        return {
            "records": self.jobs,
            "aliases": {uid: target for uid, (target, _) in self.aliases.items()},
            "failures": self.failures,
            "unread": {name: entries for name, entries in self.streams.items() if entries},
            "running": {uid: (flight.stream, flight.worker) for uid, flight in self.flights.items()},
            "scheduled": self.scheduled,
            "finished": self.finished,
            "parked": self.parked,
            "unique": {name: uid for name, (uid, _) in self.unique.items()},
            "dlq": [dead[:3] for dead in self.dlq],
            "meta": meta,
            "paused": self.paused,
            "lease": self.lease,
            "stakes": self.stakes,
            "tokens": self.tokens,
        }


def comparable(found: Look) -> dict[str, Any]:
    """What Redis holds, in the words of `Model.look`."""
    lease = found.lease
    return {
        "records": {
            uid: {name: _place(value) if name == "place" else value for name, value in record.items()}
            for uid, record in found.records.items()
        },
        "aliases": found.aliases,
        "failures": {uid: [json.loads(line) for line in lines] for uid, lines in found.failures.items()},
        "unread": {
            name: unread
            for name, entries in found.streams.items()
            if (unread := [Entry(e.uid, int(e.id.partition("-")[0])) for e in entries if e.consumer is None])
        },
        "running": {
            e.uid: (name, e.consumer)
            for name, entries in found.streams.items()
            for e in entries
            if e.consumer is not None
        },
        "scheduled": found.scheduled,
        "finished": found.finished,
        "parked": found.parked,
        "unique": found.unique,
        "dlq": found.dlq,
        "meta": {name: value for name, value in found.meta.items() if name != "paused"},
        "paused": "paused" in found.meta,
        "lease": (lease["owner"], int(lease["epoch"]), int(lease["expires"])) if lease else None,
        "stakes": found.stakes,
        "tokens": found.tokens,
    }


def _place(place: str) -> str:
    """A place without the entry's id, which the model does not know."""
    kind, colon, _ = place.partition(":")
    return f"{kind}:*" if colon else place
