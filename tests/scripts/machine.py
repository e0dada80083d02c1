"""Does the same to a shard in Redis and to its model, and compares after each step."""

import json
from random import Random
from typing import Any

import hypothesis.strategies as st
from hypothesis import note
from hypothesis.stateful import RuleBasedStateMachine, rule

from capelin import lua
from capelin.lua import DeadRow, Delivery, KnownTask, NewJob, OutcomeRow, RunningRow, Submitted
from tests.scripts.driving import MANY, RESEND_WINDOW, TTL, Shard
from tests.scripts.events import Events, number, one, row, several, some_of
from tests.scripts.invariants import check
from tests.scripts.model import Model, comparable
from tests.scripts.model_state import Started
from tests.scripts.servers import Server

WORKERS = ("w1", "w2", "w3")
TASKS = ("a", "b")
# The digests that workers have of a task, and the ones that jobs come with.
DIGESTS = ("d1", "d2")
FAILURE = '{"type":"ValueError","message":"no"}'
THEN = json.dumps(["b", "d1", "[[],{}]", "high", "", {"retention": "60"}])
THEN_LATER = json.dumps(["b", "", "", "", "+5000", {}])
THEN_ANOTHER = json.dumps(
    ["b", "", "", "", "", {"batch": "b2", "then": ["a", "", "", "low", "", {"retention": "60"}]}]
)
ON_FAILURE = json.dumps(["alert", "d1", "critical"])

# Jumps are even and windows odd numbers of ms, so that no key ends in the very ms at which somebody looks.
JUMPS = (*[0] * 10, *[2, 60, 100, 1_000] * 2, 6_000, 6_000, 60_000, 130_000, 700_000, 7_000_000)
WINDOWS = (1_001, 60_001)

extras = some_of(
    0.15,
    expires_in=one(50, 5_000),
    retention=one("0", "0.5", "60"),
    then=one(THEN, THEN_LATER, THEN_ANOTHER),
    on_failure=one(ON_FAILURE),
    max_crashes=one("1"),
    headers=one('{"x":"ü"}'),
    correlation=one("q.3.first"),
    batch=one("b1"),
)
wishes = row(
    one(*TASKS),
    one("", "", "high", "low", "critical", "normal"),
    one("", "", "", "+50", "+5000", "past", "future"),
    extras,
    one("", "k", "k", "l"),
    one("", "", "", *WINDOWS),
    one("keep", "replace", "follow"),
)
picks = number(30)
workers = one(*WORKERS)
kinds = one("complete", "complete", "retry", "dead", "snooze", "return", "park", "park", "cancel")
dues = one("", "+50", "+5000", "+0")
coin = one(False, True)
event = Events()


class ShardMachine(RuleBasedStateMachine):
    """Does the same to a shard in Redis and to the model, and compares after each step."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.server = server
        self.shard = Shard(server)
        self.model = Model(server.now, self.shard.keys.job_id(""))
        self.sent: list[NewJob] = []
        # What a re-sent enqueue must be told, and until when.
        self.accepted: dict[str, tuple[set[Submitted], str, int]] = {}
        self.starts: list[Started] = []
        self.owners: list[str] = []
        self.last: list[tuple[str, list[OutcomeRow]]] = []
        self.highest: dict[str, int] = {}
        self.epochs: dict[str, int] = dict.fromkeys(WORKERS, 1)
        self.highest_epoch = 0

    def teardown(self) -> None:
        self.server.close()

    def agree(self) -> None:
        """Redis holds what the model holds, and the invariants hold."""
        found = self.shard.look()
        mine, theirs = self.model.look(), comparable(found)
        for name, expected in mine.items():
            assert theirs[name] == expected, f"{name}: {theirs[name]} in Redis, {expected} in the model"
        check(found)
        for uid, record in found.records.items():
            token = int(record.get("token", 0))
            assert token >= self.highest.get(uid, 0), "tokens only grow"
            self.highest[uid] = token
        self.highest = {uid: token for uid, token in self.highest.items() if uid in found.records}

    def pick(self, pick: int) -> str:
        uids = sorted(self.model.jobs) or ["nobody"]
        return uids[pick % len(uids)]

    # -- clients

    @event(5, wished=several(wishes, 4), most=one(None, None, None, 3, 8))
    def enqueue(self, wished: list[Any], most: int | None) -> None:
        now = self.server.now
        jobs: list[NewJob] = []
        for task, priority, due, extra, key, window, mode in wished:
            when: str = {"past": str(now - 1000), "future": str(now + 5000)}.get(due) or due
            jobs.append(
                NewJob(
                    uid=f"u{len(self.sent):03}",
                    task=task,
                    digest="d1",
                    args=f"[[{len(self.sent)}],{{}}]",
                    priority=priority,
                    due=when,
                    extra=json.dumps(extra) if extra else "",
                    unique_key=key,
                    unique_for=window,
                    on_duplicate=mode,
                )
            )
            self.sent.append(jobs[-1])
        self.submit(jobs, most)

    @event(
        2,
        lambda self: self.sent,
        chosen=several(picks, 3),
        most=one(None, 1),
    )
    def send_again(self, chosen: list[int], most: int | None) -> None:
        self.submit([self.sent[-1 - pick % len(self.sent)] for pick in chosen], most)

    def submit(self, jobs: list[NewJob], most: int | None) -> None:
        expected = self.model.enqueue(jobs, most)
        replies = self.shard.submit(*jobs, most=most)
        assert replies == expected
        for job, reply in zip(jobs, replies or [], strict=bool(replies)):
            self.remember(job, *reply)
        if replies is None:
            assert not all(self.remembered(job.uid) for job in jobs), (
                "what was accepted is never refused as too many"
            )
        self.agree()

    def remembered(self, uid: str) -> bool:
        return uid in self.accepted and self.accepted[uid][2] > self.server.now

    def remember(self, job: NewJob, verdict: Submitted, uid: str) -> None:
        if self.remembered(job.uid):
            verdicts, target, _ = self.accepted[job.uid]
            assert (verdict, uid) in {(known, target) for known in verdicts}, (
                "a re-sent request is recognised"
            )
            return
        end = self.server.now + RESEND_WINDOW
        if verdict is Submitted.REPLACED:
            self.accepted[job.uid] = ({verdict}, uid, end)
        elif verdict in {Submitted.NEW, Submitted.FOLLOWER}:
            self.accepted[job.uid] = ({Submitted.AGAIN}, job.uid, end)

    @event(2, pick=picks)
    def cancel(self, pick: int) -> None:
        uid = self.pick(pick)
        assert self.shard.cancel(uid) == self.model.cancel(uid)
        self.agree()

    @event(1, pick=picks)
    def replay(self, pick: int) -> None:
        uid = self.pick(pick)
        assert self.shard.replay(uid) == self.model.replay(uid)
        self.agree()

    @event(2, lambda self: self.model.dlq, pick=picks)
    def replay_a_dead_one(self, pick: int) -> None:
        uid = self.model.dlq[pick % len(self.model.dlq)].uid
        assert self.shard.replay(uid) == self.model.replay(uid)
        self.agree()

    @event(1, pick=picks)
    def watch(self, pick: int) -> None:
        uid = self.pick(pick)
        seen, expected = self.shard.watch(uid), self.model.watch(uid)
        if expected is None:
            assert seen is None
        else:
            assert seen is not None
            texts = [None if value is None else value.decode() for value in (seen.result, seen.error)]
            assert (seen.status, *texts) == expected
        self.agree()

    # -- workers

    @event(
        3,
        worker=workers,
        count=one(1, 1, 2, 3, 10),
        waits=coin,
        weights=one((4, 3, 2, 1), (1, 0, 0, 0), (1, 1, 1, 1), (0, 0, 0, 2)),
    )
    def take(self, *, worker: str, count: int, waits: bool, weights: tuple[int, int, int, int]) -> None:
        self.taken(worker, count, waits=waits, older_than=None, weights=weights)

    @event(
        4,
        lambda self: any(entries for entries in self.model.streams.values()),
        worker=workers,
        count=one(10, 2, 1),
    )
    def take_what_is_there(self, worker: str, count: int) -> None:
        self.taken(worker, count, waits=True, older_than=None, weights=(4, 3, 2, 1))

    @event(2, worker=workers, count=one(0, 1, 2, 10), older_than=one(1, 50, 100))
    def steal(self, worker: str, count: int, older_than: int) -> None:
        self.taken(worker, count, waits=False, older_than=older_than, weights=(4, 3, 2, 1))

    def taken(
        self,
        worker: str,
        count: int,
        *,
        waits: bool,
        older_than: int | None,
        weights: tuple[int, int, int, int],
    ) -> None:
        expected = self.model.take(worker, count, waits=waits, older_than=older_than, weights=weights)
        taken = self.shard.take(worker, count, waits=waits, older_than=older_than, weights=weights)
        self.started(worker, taken.jobs, expected.jobs)
        assert (taken.more, taken.next_due) == (expected.more, expected.next_due)
        assert (taken.torn, taken.dropped, taken.expired) == ([], expected.dropped, expected.expired)
        assert taken.now == self.server.now
        self.agree()

    def started(self, worker: str, jobs: list[Delivery], expected: list[Started]) -> None:
        assert [Started(job.uid, job.stream, job.token) for job in jobs] == expected
        for job in jobs:
            record = self.model.jobs[job.uid]
            assert (job.task, job.digest) == (record["task"], record.get("digest", ""))
            assert job.args.decode() == record.get("args", "")
            assert (job.attempt, job.crashes) == (
                int(record.get("attempt", 0)),
                int(record.get("crashes", 0)),
            )
            assert (job.priority, job.parent) == (record.get("priority", "normal"), record.get("parent", ""))
            assert (job.correlation, job.batch) == (record.get("correlation", ""), record.get("batch", ""))
            assert job.enqueued == int(record["enqueued"])
            self.starts.append(Started(job.uid, job.stream, job.token))
            self.owners.append(worker)

    @event(
        2,
        lambda self: self.starts,
        which=several(row(picks, kinds, dues, coin), 4),
        most_finished=one(MANY, MANY, MANY, 1, 0),
    )
    def finish(self, which: list[tuple[int, str, str, bool]], most_finished: int) -> None:
        """Outcomes of recent starts; with them come those of others, which must be refused."""
        first = -1 - which[0][0] % len(self.starts)
        worker = self.owners[first]
        rows: list[OutcomeRow] = []
        for pick, kind, due, noted in which:
            start = self.starts[-1 - pick % len(self.starts)]
            body = {"complete": "5", "dead": "ValueError", "park": "d2" if noted else ""}.get(kind, "")
            failure = FAILURE if kind in {"retry", "dead"} or (kind == "cancel" and noted) else ""
            when = due if kind in {"retry", "snooze"} else ""
            rows.append(OutcomeRow(start.uid, start.token, kind, body, when, failure))
        self.recorded(worker, rows, most_finished)
        self.last.append((worker, rows))

    @event(8, lambda self: self.model.flights, pick=picks, kind=kinds, due=dues, noted=coin)
    def finish_one_that_runs(self, *, pick: int, kind: str, due: str, noted: bool) -> None:
        running = sorted(self.model.flights)
        uid = running[pick % len(running)]
        start = Started(uid, "", int(self.model.jobs[uid]["token"]))
        self.starts.append(start)
        self.owners.append(self.model.flights[uid].worker)
        self.finish(which=[(0, kind, due, noted)], most_finished=MANY)

    @event(1, lambda self: self.last, pick=picks)
    def finish_again(self, pick: int) -> None:
        worker, rows = self.last[-1 - pick % len(self.last)]
        self.recorded(worker, rows, MANY)

    @event(1, lambda self: self.starts, pick=picks, worker=workers, off=one(-1, 0, 1), kind=kinds)
    def finish_as_somebody_else(self, pick: int, worker: str, off: int, kind: str) -> None:
        start = self.starts[-1 - pick % len(self.starts)]
        body = {"complete": "6", "park": "d1"}.get(kind, "")
        failure = FAILURE if kind in {"retry", "dead"} else ""
        self.recorded(worker, [OutcomeRow(start.uid, start.token + off, kind, body, "", failure)], MANY)

    def recorded(self, worker: str, rows: list[OutcomeRow], most_finished: int) -> None:
        expected = self.model.finish(worker, rows, most_finished)
        verdicts = self.shard.finish(*rows, worker=worker, most_finished=most_finished)
        assert verdicts == expected
        self.agree()

    @event(
        2,
        reaper=workers,
        limit=one(1, 2, 500),
        max_crashes=one(1, 2, 3),
        outage=coin,
    )
    def reap(self, *, reaper: str, limit: int, max_crashes: int, outage: bool) -> None:
        before = self.server.now + 1 if outage else 0
        expected = self.model.reap(reaper, limit, max_crashes, before)
        reaped = self.shard.reap(reaper, limit=limit, max_crashes=max_crashes, no_crash_before=before)
        assert (reaped.returned, reaped.buried) == (expected.returned, expected.buried)
        assert (reaped.cancelled, reaped.dead) == (expected.cancelled, expected.dead)
        assert reaped.more == expected.more
        self.agree()

    @event(2, worker=workers, left_out=several(number(8), 2), staked=coin, owns=coin)
    def renew(self, *, worker: str, left_out: list[int], staked: bool, owns: bool) -> None:
        """A list that lacks some of what runs, and has some that does not."""
        mine = [
            RunningRow(start.uid, start.token)
            for start, owner in zip(self.starts[-6:], self.owners[-6:], strict=True)
            if owner == worker
        ]
        rows = [row for index, row in enumerate(mine) if index not in left_out]
        epoch = self.epochs[worker] if owns else None
        expected = self.model.renew(worker, rows, epoch, staked=staked)
        renewed = self.shard.renew(worker, rows, epoch=epoch, staked=staked)
        assert {name: getattr(renewed, name) for name in vars(expected)} == vars(expected)
        adopted = self.shard.adopt(worker, *[RunningRow(uid, token) for uid, token in renewed.unknown])
        assert [(job.uid, job.token) for job in adopted] == expected.unknown
        self.agree()

    @event(1, worker=workers)
    def leave(self, worker: str) -> None:
        assert self.shard.leave(worker) == self.model.leave(worker)
        self.agree()

    @event(
        2,
        worker=workers,
        count=one(1, 2, 10),
        digests=row(one(*DIGESTS), one(*DIGESTS)),
    )
    def unpark(self, worker: str, count: int, digests: tuple[str, str]) -> None:
        tasks = [KnownTask(task, digest) for task, digest in zip(TASKS, digests, strict=True)]
        expected = self.model.unpark(worker, count, tasks)
        self.started(worker, self.shard.unpark(worker, count, *tasks), expected)
        self.agree()

    @event(1, lambda self: self.starts, pick=picks, worker=workers, off=one(0, 0, 0, 1))
    def progress(self, pick: int, worker: str, off: int) -> None:
        start = self.starts[-1 - pick % len(self.starts)]
        record = self.model.jobs.get(start.uid, {"status": "gone"})
        heard = record["status"] == "running" and (record["worker"], record["token"]) == (
            worker,
            str(start.token + off),
        )
        if heard:
            record["progress"] = "[0.5,null]"
        assert self.shard.progress(start.uid, worker, start.token + off, "[0.5,null]") == heard
        self.agree()

    # -- ownership

    @event(1, worker=workers, gives_up=coin)
    def own(self, *, worker: str, gives_up: bool) -> None:
        expected = self.model.acquire(worker)
        lease = self.server.run(lua.lease_acquire(self.shard.keys.lease, owner=worker, ttl=TTL))
        assert (lease.epoch, lease.expires_in, lease.owner) == expected
        if lease.epoch:
            assert lease.epoch > self.highest_epoch, "a lost lease never repeats an epoch"
            self.highest_epoch = self.epochs[worker] = lease.epoch
        if gives_up:
            epoch = self.epochs[worker]
            released = self.server.run(lua.lease_release(self.shard.keys.lease, owner=worker, epoch=epoch))
            assert released == self.model.release(worker, epoch)
        self.agree()

    @event(1)
    def pop_a_token(self) -> None:
        popped = self.server.command("LPOP", self.shard.keys.wake)
        assert (popped == "1") == (self.model.tokens > 0)
        self.model.tokens = max(0, self.model.tokens - 1)
        self.agree()

    # -- upkeep

    @event(1, waits=coin)
    def pause(self, *, waits: bool) -> None:
        """Until time passes; otherwise most of a run would be spent paused."""
        assert self.shard.pause() == self.model.pause()
        self.taken("w1", 3, waits=waits, older_than=None, weights=(4, 3, 2, 1))

    @event(
        2,
        limit=one(1, 3, 500),
        most_finished=one(MANY, 1, 0),
        dlq_age=one(60_000, 6_000_000),
        most_dead=one(MANY, 1, 0),
        parked_age=one(60_000, 600_000),
    )
    def retain(self, limit: int, most_finished: int, dlq_age: int, most_dead: int, parked_age: int) -> None:
        expected = self.model.retain(limit, most_finished, dlq_age, most_dead, parked_age)
        retained = self.shard.retain(
            limit=limit,
            most_finished=most_finished,
            dlq_age=dlq_age,
            most_dead=most_dead,
            parked_age=parked_age,
        )
        counts = (retained.trimmed, retained.purged, retained.buried, retained.more)
        assert (*counts, retained.parked) == expected
        self.agree()

    @event(1, lambda self: self.model.dlq, pick=picks)
    def purge(self, pick: int) -> None:
        """An operator removes a dead job for good; its uid is forgotten with it."""
        uid = self.model.dlq[pick % len(self.model.dlq)].uid
        entry = self.shard.look().dlq_ids[uid]
        assert self.shard.purge(DeadRow(uid, entry), DeadRow("nobody", "1-1")) == self.model.purge([uid])
        self.accepted.pop(uid, None)
        self.agree()

    @rule(seed=st.integers(0, 2**64 - 1))
    def step(self, seed: int) -> None:
        """Time passes, or does not, and something happens."""
        random = Random(seed)  # noqa: S311 -- so that a run can be repeated
        ms = random.choice(JUMPS)
        name, arguments = event.draw(random)
        note(f"+{ms} ms: {name} {arguments}")
        self.happen(ms, name, arguments)

    def happen(self, ms: int, name: str, arguments: dict[str, Any]) -> None:
        """Let time pass, and do something."""
        if ms:
            self.server.advance(ms)
            self.model.advance(ms)
            if self.model.paused:
                assert self.shard.resume() == self.model.resume()
        getattr(self, name)(**arguments)
