"""What clients do: they enqueue, wait, cancel, replay, and change schedules, whatever befalls them."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any

from capelin.admin.access import Access
from capelin.admin.queues import pause_queue, resume_queue
from capelin.admin.reshard import ReshardRefused, reshard_queue
from capelin.errors import CapelinError, EnqueueError, JobCancelled, JobFailed
from capelin.ids import JobId
from capelin.jobs import Job
from capelin.requests import JobRequest
from tests.simulation import records
from tests.simulation.apps import QUEUE, build_app
from tests.simulation.history import Change, Cut, Submitted
from tests.simulation.scenario import Event
from tests.simulation.world import Pod, World

_A_BATCH_OF_REPLAYS = 3
_RUBBISH = (("attempt", "many"), ("a", "[["), ("token", "?"), ("crashes", "-"), ("status", "lost"))


class Work:
    """Each public method is a kind of event."""

    def __init__(self, world: World) -> None:
        self.world, self.history = world, world.history
        self._submitted: dict[int, Submitted] = {}
        self._old_app: Any = None

    # Jobs.

    def submit(self, event: Event) -> None:
        client, details = self.world.slots[event.slot], event.details
        options: dict[str, Any] = dict(details.get("options", {}))
        entry = Submitted(
            at=event.at,
            n=details["n"],
            task=details["task"],
            pod=client.name,
            key=options.get("dedupe_key"),
            mode=options.get("on_duplicate"),
            options=options,
        )
        self._submitted[entry.n] = entry
        self.history.submitted.append(entry)
        client.do(self._submit(client, entry, details), f"submit {entry.n}")

    async def _submit(self, client: Pod, entry: Submitted, details: dict[str, Any]) -> None:
        request = self._request(client, entry, details)
        try:
            job: Job[Any] = await client.app.enqueue(request)
        except CapelinError as error:
            entry.error = f"{type(error).__name__}: {error}"
            self.history.note(client.name, f"enqueue {entry.n} failed: {entry.error}")
            return
        entry.job, entry.duplicate = job.id, job.duplicate
        entry.confirmed_at = self.history.clock()
        self.history.note(
            client.name, f"enqueued {entry.n} as {job.id}{' (duplicate)' if job.duplicate else ''}"
        )
        if details.get("wait"):
            await self._wait(client, entry, job)

    async def _wait(self, client: Pod, entry: Submitted, job: Job[Any]) -> None:
        entry.waits = True
        try:
            entry.result = repr(await job.result())
        except (JobFailed, JobCancelled) as error:
            entry.result = type(error).__name__
        except CapelinError as error:
            entry.result = f"{type(error).__name__}: {error}"
        self.history.note(client.name, f"result of {entry.n}: {entry.result}")

    def _request(self, client: Pod, entry: Submitted, details: dict[str, Any]) -> JobRequest[Any]:
        options = dict(entry.options)
        if details.get("then"):
            options["then"] = client.app.tasks["after"].job(entry.n)
        if details.get("headers"):
            options["headers"] = {"n": str(entry.n)}
        arguments: dict[str, Any] = details.get("args", {})
        task: Any = client.app.tasks[entry.task]
        if details.get("wrong"):
            task = client.app.task_named(entry.task, queue=QUEUE)
            arguments = {"number": entry.n}
        elif entry.task == "shaped" and not arguments:
            # An old client's: the job has the digest of the old signature.
            task = self._old().tasks["shaped"]
        positional = () if details.get("wrong") else (entry.n,)
        request: JobRequest[Any] = task.options(**options).job(*positional, **arguments)
        return request

    def _old(self) -> Any:
        if self._old_app is None:
            self._old_app = build_app(self.world.slots["web1"], 1)
        return self._old_app

    def submit_many(self, event: Event) -> None:
        """One call, many jobs; of some, only those that it says it enqueued are promised."""
        client, details = self.world.slots[event.slot], event.details
        entries = [
            Submitted(at=event.at, n=n, task="work", pod=client.name, options=details.get("options", {}))
            for n in range(details["n"], details["n"] + details["count"])
        ]
        self.history.submitted.extend(entries)

        async def submit() -> None:
            task = client.app.tasks["work"]
            requests = [task.options(**entry.options).job(entry.n) for entry in entries]
            jobs: list[Job[Any] | None]
            try:
                jobs = list(await client.app.enqueue(requests))
            except EnqueueError as error:
                sent = iter(error.enqueued)
                jobs = [None if place in error.unsent else next(sent) for place in range(len(entries))]
            except CapelinError:
                jobs = [None] * len(entries)
            for entry, job in zip(entries, jobs, strict=True):
                if job is None:
                    entry.error = "not enqueued"
                else:
                    entry.job, entry.confirmed_at = job.id, self.history.clock()
            self.history.note(client.name, f"enqueued {sum(job is not None for job in jobs)} jobs")

        self.history.coverage["many at once"] += 1
        client.do(submit(), "submit many")

    def cancel(self, event: Event) -> None:
        entry = self._submitted.get(event.details["n"])
        client = self.world.slots[event.slot]
        if entry is None or entry.job is None or not client.alive:
            return
        job = client.app.job(entry.job)

        async def cancel() -> None:
            entry.cancelled = "asked"
            try:
                entry.cancelled = (await job.cancel()).value
            except CapelinError as error:
                entry.cancelled = f"{type(error).__name__}"
            self.history.note(client.name, f"cancel of {entry.n}: {entry.cancelled}")

        self._do(client, "cancel", cancel())

    def replay(self, event: Event) -> None:
        client = self.world.slots[event.slot]

        async def replay() -> None:
            for job_id in records.dead(self.world, keyed=event.details.get("keyed"))[:_A_BATCH_OF_REPLAYS]:
                self.history.replayed.add(job_id)
                with contextlib.suppress(CapelinError):
                    verdict, detail = await client.app.client().replay(JobId.parse(job_id))
                    self.history.note(client.name, f"replay of {job_id}: {verdict} {detail}".rstrip())

        self._do(client, "replay", replay())

    # Queues.

    def halt(self, event: Event) -> None:
        """The queue is paused for a while, by somebody who tries until it is done."""
        client, seconds = self.world.slots[event.slot], event.details["seconds"]
        begun = self.history.clock()

        async def halt() -> None:
            access = Access(client.app.client().connection, client.app.keys, client.app.settings)
            for change, after in ((pause_queue, seconds), (resume_queue, 0.0)):
                while True:
                    try:
                        await change(access, QUEUE)
                        break
                    except CapelinError:
                        await asyncio.sleep(0.3)
                await asyncio.sleep(after)
            self.history.halts.append((begun, self.history.clock()))
            # A Redis that forgets may forget that the queue goes on: who paused it looks again.
            while True:
                await asyncio.sleep(2.0)
                with contextlib.suppress(CapelinError):
                    await resume_queue(access, QUEUE)

        self._do(client, "queue paused", halt())

    def reshard(self, event: Event) -> None:
        """The queue is cut anew, by somebody who tries until it is done; workers finish it if he dies."""
        client, shards = self.world.slots[event.slot], event.details["shards"]
        cut = Cut(pod=client.name, shards=shards, called=self.history.clock())

        async def reshard() -> None:
            access = Access(client.app.client().connection, client.app.keys, client.app.settings)
            while cut.returned is None:
                try:
                    done = await reshard_queue(access, QUEUE, shards)
                except ReshardRefused as error:
                    self.history.note(client.name, f"not cut into {shards}: {error}")
                    return
                except CapelinError:
                    await asyncio.sleep(0.3)
                else:
                    cut.returned = self.history.clock()
                    self.history.note(client.name, f"cut into {shards}, layout {done.layout}: {done}")

        if client.alive:
            self.history.cuts.append(cut)
            self._do(client, "queue cut anew", reshard())

    def strangers(self, event: Event) -> None:
        """Somebody writes into a stream what is no job: an entry without a record, and one without a name."""
        stream = f"capelin:{{{QUEUE}:{event.details['shard']}}}:stream:normal"
        uid = f"stranger{event.details['n']}"
        home = self.world.servers.home(stream.encode())
        if home.up and self.world.servers.up and not self.history.strangers:
            home.ask("XADD", stream, "*", "j", uid)
            home.ask("XADD", stream, "*", "alien", "1")
            self.history.strangers += 1
            self.history.disturb("redis", "strangers in a stream")

    def tear(self, event: Event) -> None:
        """Something writes rubbish into the record of a job that waits."""
        if not self.world.servers.up:
            return
        waiting = sorted(
            job
            for job, record in records.all_records(self.world.servers).items()
            if record["status"] in ("queued", "scheduled")
            and record["task"] == "work"
            and "key" not in record
        )
        if waiting:
            place: int = event.details["pick"] % len(waiting)
            job = waiting[place]
            queue, shard, _ = job.split(".", 2)
            key = f"capelin:{{{queue}:{shard}}}:job:{job}"
            self.world.servers.ask("HSET", key, *_RUBBISH[place % len(_RUBBISH)])
            self.history.torn.add(job)
            self.history.disturb("redis", "a record was torn")
            self.history.note("redis", f"{job} is torn")

    # Schedules.

    def put_schedule(self, event: Event) -> None:
        """Add a schedule at run time, or change it."""
        every = event.details["every"]

        async def put(client: Pod) -> None:
            await client.app.schedule(
                event.details["name"],
                timedelta(seconds=every),
                client.app.tasks["after"].job(0),
                catch_up="all",
                skip_if_older_than=None,
            )

        self._change(event, "put", put, every=every)

    def pause_schedule(self, event: Event) -> None:
        self._change(event, "pause", lambda client: client.app.schedules.pause(event.details["name"]))

    def resume_schedule(self, event: Event) -> None:
        self._change(event, "resume", lambda client: client.app.schedules.resume(event.details["name"]))

    def remove_schedule(self, event: Event) -> None:
        self._change(event, "remove", lambda client: client.app.schedules.remove(event.details["name"]))

    def trigger(self, event: Event) -> None:
        self._change(event, "trigger", lambda client: client.app.schedules.trigger(event.details["name"]))

    def _change(
        self, event: Event, kind: str, do: Callable[[Pod], Awaitable[object]], *, every: float = 0.0
    ) -> None:
        client = self.world.slots[event.slot]
        change = Change(name=event.details["name"], kind=kind, called=self.history.clock(), every=every)
        self.history.changes.append(change)

        async def run() -> None:
            try:
                await do(client)
            except CapelinError as error:
                self.history.note(client.name, f"{kind} of {change.name} failed: {error}")
            else:
                change.returned = self.history.clock()
                self.history.note(client.name, f"{kind} of schedule {change.name} was confirmed")

        self._do(client, f"schedule {kind}", run())

    def _do(self, client: Pod, name: str, what: Coroutine[Any, Any, None]) -> Any:
        self.history.coverage[name] += 1
        return client.do(what, name)
