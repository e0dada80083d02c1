"""What the pods of a simulation run: an app of two releases, whose tasks write down what they see."""

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any
from unittest import mock

from pydantic import BaseModel
from tenacity import stop_after_attempt, wait_random

from capelin import (
    Capelin,
    FailedJob,
    Leader,
    Reject,
    Retry,
    RetryPolicy,
    Snooze,
    current_job,
    signatures,
    singletons,
)
from capelin.codec import Codec
from capelin.context import JobContext
from capelin.middleware import CallNext
from capelin.settings import Settings

if TYPE_CHECKING:
    from tests.simulation.world import Pod

TTL = 2.0
QUEUE = "default"
SETTINGS = Settings(
    lease_ttl=TTL,
    grace=3.0,
    block=1.0,
    socket_timeout=2.0,
    enqueue_timeout=20.0,
    resend_window=60.0,
    shards=2,
    steal_budget=20.0,
    concurrency=20,
    threads=1,
    cpu=1,
    max_crashes=3,
)
INTERVAL = SETTINGS.renew_interval
EVERY = {"beat.all": 2.0, "beat.latest": 3.0, "beat.alone": 2.5}
RETRIES = 3


class Count(BaseModel):
    """The singleton's state."""

    value: int = 0


def build_app(pod: "Pod", release: int) -> Capelin[None]:
    """The app of a release, for one pod."""
    with (
        mock.patch.object(signatures, "Codec", _codec_of),
        mock.patch.object(singletons, "Codec", _codec_of),
    ):
        return _build(pod, release)


@cache
def _codec_of(hint: Any) -> Codec:
    """All pods have the same tasks: their types are compiled once."""
    return Codec(hint)


def _build(pod: "Pod", release: int) -> Capelin[None]:  # noqa: C901, PLR0915 -- its tasks
    history = pod.history

    async def watch(job: JobContext, call_next: CallNext) -> Any:
        how = "completed"
        try:
            return await call_next()
        except BaseException as error:
            how = type(error).__name__
            raise
        finally:
            history.end(pod.name, job, how)

    app = Capelin(pod.world.servers.url(pod.name), name="simulated", settings=SETTINGS, middleware=[watch])
    policy = RetryPolicy(stop=stop_after_attempt(RETRIES), wait=wait_random(0.05, 1.0))

    def begin(n: int) -> JobContext:
        job = current_job()
        history.begin(pod.name, job, n)
        return job

    @app.task
    async def alarm(job: FailedJob) -> None:
        begin(0)
        assert current_job().parent_id == job.job_id

    @app.task(retry=policy, on_failure="alarm")
    async def work(
        n: int,
        seconds: float = 0.0,
        fails: int = 0,
        snoozes: int = 0,
        retries: int = 0,
        *,
        rejects: bool = False,
    ) -> int:
        job = begin(n)
        if seconds:
            await asyncio.sleep(seconds)
        if rejects:
            raise Reject(f"{n} is not wanted")
        if job.attempt <= retries:
            raise Retry(delay=0.3)
        if job.token <= snoozes:
            raise Snooze(delay=0.5)
        if job.attempt <= fails:
            raise ValueError(f"attempt {job.attempt} of {n}")
        return n * 2

    @app.task(on_failure="alarm")
    async def poison(n: int) -> None:
        begin(n)
        pod.crash()
        await asyncio.sleep(3600)

    @app.task
    async def after(n: int) -> int:
        begin(n)
        return n * 2

    if release == 1:

        @app.task(name="shaped", retry=policy)
        async def shaped(n: int) -> int:
            begin(n)
            return n * 2

    else:

        @app.task(name="shaped", retry=policy)
        async def shaped_anew(n: int, extra: str = "") -> int:
            begin(n)
            history.note(pod.name, f"shaped {extra or 'as before'}")
            return n * 2

        @app.task
        async def fresh(n: int) -> int:
            begin(n)
            return n * 2

    @app.every(EVERY["beat.all"], name="beat.all", catch_up="all", skip_if_older_than=None)
    async def beat_all() -> None:
        begin(0)

    @app.every(EVERY["beat.latest"], name="beat.latest", catch_up="latest")
    async def beat_latest() -> None:
        begin(0)

    @app.every(EVERY["beat.alone"], name="beat.alone", overlap="skip")
    async def beat_alone() -> None:
        begin(0)
        await asyncio.sleep(4)

    @app.singleton("counter", state=Count, interval=0.7)
    async def counter(leader: Leader[Count]) -> None:
        leader.state.value += 1
        await leader.save()
        history_saved(pod, leader)

    return app


def history_saved(pod: "Pod", leader: Leader[Count]) -> None:
    """Note a save that was confirmed."""
    pod.saved(leader.fencing_token, leader.state.value)
