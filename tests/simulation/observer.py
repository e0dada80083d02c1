"""Watches what scripts write into records: outcomes, who is judged, and how long jobs wait."""

from tests.simulation.apps import INTERVAL, TTL
from tests.simulation.faults import pod_of
from tests.simulation.history import Disturbance, Recorded, Wait
from tests.simulation.patches import EPOCH
from tests.simulation.records import JOB
from tests.simulation.session import Session
from tests.simulation.world import World

LATE = 1.0
"""Seconds beyond what is promised that a simulated network and a busy loop may take."""
_OF_REDIS = ("redis", "all")
_HARMLESS = ("blocked", "connections cut", "wall clock jumped")
_FATAL = ("killed", "vanished")


class Observer:
    """Told of each `HSET` of a script, before it is done."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._history = world.history
        self._seen: set[tuple[str, int, int]] = set()
        self._ready: dict[str, float] = {}

    def __call__(self, session: Session, words: list[bytes]) -> None:
        match = JOB.fullmatch(words[0])
        if match is None:
            return
        job = match["job"].decode()
        written = dict(zip(words[1::2], words[2::2], strict=False))
        new = b"task" in written and b"request" not in written  # nor does it replace another
        if (status := written.get(b"status", b"queued" if new else None)) is not None:
            self._moves(session, job, status, written)
        if b"last" in written:
            self._is_recorded(session, job, words[0], written)

    # How long jobs wait, and whether they may start at all.

    def _moves(self, session: Session, job: str, status: bytes, written: dict[bytes, bytes]) -> None:
        now = self._history.clock()
        match status:
            case b"queued":
                self._ready.setdefault(job, now)
            case b"scheduled":
                self._ready.pop(job, None)
                if b"due" in written:
                    self._ready[job] = float(written[b"due"]) / 1000 - EPOCH
            case b"running":
                record = session.redis.hash_at(_record(job))
                ready = self._ready.pop(job, now)
                self._history.waits.append(Wait(job=job, task=record["task"], ready=ready, taken=now))
                expires = float(record.get("expires", "inf"))
                if "token" not in record and expires <= (EPOCH + now) * 1000 - 1:
                    self._history.problem(f"{job} started, which had expired")
            case _:
                self._ready.pop(job, None)

    # Outcomes.

    def _is_recorded(self, session: Session, job: str, key: bytes, written: dict[bytes, bytes]) -> None:
        """Guarantee 2: only the newest start's outcome, once, by whoever ran it."""
        history = self._history
        record = session.redis.hash_at(key)
        token, kind = int(record.get("token", 0)), written[b"last"].decode()
        recorded = Recorded(
            at=history.clock(),
            job=job,
            token=token,
            kind=kind,
            pod=session.pod,
            newest=history.newest[job],
            status=record.get("status", ""),
        )
        history.recorded.append(recorded)
        history.note(session.pod, f"records {kind} for {job} token {token}")
        history.holds(2)
        losses = history.forgot_job(job)
        identity = (job, token, len(losses))
        in_doubt = any(loss.until > history.clock() for loss in losses)
        if identity in self._seen and not in_doubt:
            history.problem(f"token {token} of {job} was recorded twice; the second time as {kind}")
        self._seen.add(identity)
        if token < recorded.newest and not in_doubt:
            history.problem(
                f"{kind} was recorded for token {token} of {job}, of which token {recorded.newest} has begun"
            )
        if recorded.status != "running":
            history.problem(f"{kind} was recorded for {job}, which was {recorded.status}")
        owner = record.get("worker", "?")
        if kind == "reaped":
            self._judge(recorded, owner, crashed=int(written[b"crashes"]) > int(record.get("crashes", 0)))
        elif pod_of(owner) != session.pod:
            history.problem(f"{session.pod} recorded {kind} for token {token} of {job}, which {owner} runs")

    def _judge(self, reaped: Recorded, owner: str, *, crashed: bool) -> None:
        """Guarantees 5, 11 and 12: whoever was reaped was dead, asleep, or cut off.

        It counts as a crash only if it was something of its own.
        """
        history = self._history
        pod = pod_of(owner)
        since = reaped.at - 2 * (TTL + INTERVAL) - LATE
        near = [
            one
            for one in history.disturbances
            if one.pod in (pod, *_OF_REDIS) and (one.kind in _FATAL or one.ends >= since)
        ]
        for number in (5, 12):
            history.holds(number)
        if not any(one.kind not in _HARMLESS for one in near) and not self._left_behind(pod):
            history.problem(f"{reaped.job} of {pod} was reaped, and nothing had befallen {pod}")
        # Renewals, or that it had ended; a restart that loses nothing excuses nothing.
        forgotten = any(loss.since < loss.until for loss in history.forgot_job(reaped.job))
        harmed = forgotten or any(_of_its_own(one, pod) for one in near)
        if crashed and not harmed and not self._left_behind(pod):
            history.problem(
                f"a crash was counted for {reaped.job} of {pod}, which nothing but Redis had harmed"
            )

    def _left_behind(self, pod: str) -> bool:
        """A worker that was told twice to end, or whose grace is over, may leave before it has said so."""
        return any(stop.pod == pod and stop.hurry for stop in self._history.stops)


def _of_its_own(one: Disturbance, pod: str) -> bool:
    return one.pod == pod and one.kind not in _HARMLESS


def _record(job: str) -> bytes:
    queue, shard, _ = job.split(".", 2)
    return f"capelin:{{{queue}:{shard}}}:job:{job}".encode()
