"""One app object in several event loops, threads and processes, and from code without a loop."""

import asyncio
import gc
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from capelin import Capelin, ConfigurationError, Job, JobCancelled, JobStatus, Settings, SyncInAsync
from capelin.client import Client
from capelin.context import JobContext, running
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until, wait_until_sync


@pytest.fixture
def own_app(redis_url: str) -> Iterator[Capelin]:
    app = Capelin(redis_url)
    yield app
    app.close_sync()


def clients(server: RedisServer) -> int:
    """How many connections of capelin's the server has."""
    with server.connect() as redis:
        return str(redis("CLIENT", "LIST")).count("name=capelin")


def run_script(folder: Path, text: str, *args: str) -> "subprocess.CompletedProcess[str]":
    """Run a program in an interpreter that turns every warning into an error."""
    path = folder / "program.py"
    path.write_text(textwrap.dedent(text))
    return subprocess.run(
        [sys.executable, "-W", "error", str(path), *args],
        capture_output=True,
        text=True,
        timeout=6,
        check=False,
    )


class TestEventLoops:
    """Several loops, one after the other and at the same time."""

    def test_an_app_works_in_one_asyncio_run_after_another(
        self, own_app: Capelin, redis_server: RedisServer
    ) -> None:
        @own_app.task
        async def nothing() -> None: ...

        async def enqueue() -> tuple[Job[None], JobStatus]:
            job = await nothing.enqueue()
            return job, await job.status()

        jobs = [asyncio.run(enqueue()) for _ in range(3)]
        assert [status for _, status in jobs] == [JobStatus.QUEUED] * 3
        assert len({job for job, _ in jobs}) == 3
        wait_until_sync(lambda: clients(redis_server) == 0, description="every connection to be closed")

    def test_a_handle_goes_on_working_in_the_next_loop(self, own_app: Capelin) -> None:
        @own_app.task
        async def nothing() -> None: ...

        job = asyncio.run(nothing.enqueue())
        assert asyncio.run(job.status()) is JobStatus.QUEUED
        assert job.status_sync() is JobStatus.QUEUED

    def test_loops_of_several_threads_have_a_client_each(self, own_app: Capelin) -> None:
        @own_app.task
        async def nothing() -> None: ...

        together = threading.Barrier(4)

        async def enqueue() -> Client:
            client = own_app.client()
            await asyncio.to_thread(together.wait)
            await asyncio.gather(*[nothing.enqueue() for _ in range(20)])
            assert own_app.client() is client
            return client

        with ThreadPoolExecutor(4) as threads:
            used = [threads.submit(asyncio.run, enqueue()) for _ in range(4)]
            assert len({id(client.result()) for client in used}) == 4

    async def test_closing_ends_the_connections_and_the_next_use_opens_new_ones(
        self, own_app: Capelin, redis_server: RedisServer
    ) -> None:
        @own_app.task
        async def nothing() -> None: ...

        async with own_app:
            await nothing.enqueue()
            assert clients(redis_server) == 1
        assert clients(redis_server) == 0
        await own_app.close()
        await nothing.enqueue()
        assert clients(redis_server) == 1
        await own_app.close()

    def test_loops_that_were_closed_are_forgotten(self, own_app: Capelin) -> None:
        @own_app.task
        async def nothing() -> None: ...

        loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

        async def enqueue() -> None:
            loops.append(weakref.ref(asyncio.get_running_loop()))
            await nothing.enqueue()

        for _ in range(5):
            asyncio.run(enqueue())
        gc.collect()
        assert sum(loop() is not None for loop in loops) <= 1


class TestSync:
    """Code without an event loop."""

    def test_every_twin_does_what_the_async_one_does(self, own_app: Capelin) -> None:
        @own_app.task
        async def double(number: int) -> int:
            return number * 2

        job = double.enqueue_sync(2)
        jobs = own_app.enqueue_sync([double.job(n) for n in range(3)])
        assert [one.status_sync() for one in [job, *jobs]] == [JobStatus.QUEUED] * 4
        assert job.info_sync().args == (2,)
        with pytest.raises(TimeoutError):
            job.result_sync(timeout=0.01)
        assert job.cancel_sync()
        assert own_app.task_named("other").enqueue_sync(1).task == "other"
        assert double.options(delay=60).enqueue_sync(1).status_sync() is JobStatus.SCHEDULED

    async def test_in_a_running_loop_it_is_refused_and_says_what_to_do(self, own_app: Capelin) -> None:
        @own_app.task
        async def nothing() -> None: ...

        async with own_app:
            job = await nothing.enqueue()
            with pytest.raises(SyncInAsync, match=r"await enqueue\(\) instead"):
                nothing.enqueue_sync()
            with pytest.raises(SyncInAsync, match=r"await status\(\) instead"):
                job.status_sync()
            with pytest.raises(SyncInAsync):
                own_app.close_sync()

    async def test_in_a_thread_beside_a_running_loop_it_works(self, own_app: Capelin) -> None:
        @own_app.task
        async def nothing() -> None: ...

        async with own_app:
            job = await asyncio.to_thread(nothing.enqueue_sync)
            assert await job.status() is JobStatus.QUEUED
        await asyncio.to_thread(own_app.close_sync)

    def test_many_threads_share_one_connection(self, own_app: Capelin, redis_server: RedisServer) -> None:
        @own_app.task
        async def double(number: int) -> None:
            del number

        with ThreadPoolExecutor(10) as threads:
            jobs = list(threads.map(double.enqueue_sync, range(200)))
            infos = list(threads.map(Job[None].info_sync, jobs))
        assert [info.args for info in infos] == [(n,) for n in range(200)]
        assert clients(redis_server) == 1

    def test_a_job_that_is_enqueued_by_a_def_task_knows_its_parent(self, own_app: Capelin) -> None:
        @own_app.task
        async def nothing() -> None: ...

        here = JobContext(
            id="default.3.abc", task="x", queue="default", shard=3, attempt=1, token=1, worker_id="w"
        )
        with running(here):
            job = nothing.enqueue_sync()
        assert job.info_sync().parent_id == "default.3.abc"

    def test_after_closing_the_next_call_opens_it_again(
        self, own_app: Capelin, redis_server: RedisServer
    ) -> None:
        @own_app.task
        async def nothing() -> None: ...

        nothing.enqueue_sync()
        threads = threading.active_count()
        own_app.close_sync()
        assert threading.active_count() == threads - 1
        assert clients(redis_server) == 0
        own_app.close_sync()
        nothing.enqueue_sync()
        assert clients(redis_server) == 1

    async def test_closing_a_loops_connections_closes_those_of_sync_calls_too(
        self, own_app: Capelin, redis_server: RedisServer
    ) -> None:
        @own_app.task
        async def nothing() -> None: ...

        for _ in range(2):
            async with own_app:
                await nothing.enqueue()
                await asyncio.to_thread(nothing.enqueue_sync)
                assert clients(redis_server) == 2
            await wait_until(lambda: clients(redis_server) == 0, description="both connections to close")
            assert "capelin-sync" not in {thread.name for thread in threading.enumerate()}

    async def test_closing_a_loops_connections_leaves_a_sync_call_that_is_under_way(
        self, own_app: Capelin
    ) -> None:
        @own_app.task
        async def nothing() -> None: ...

        async with own_app:
            job = await nothing.enqueue()
            waiting = asyncio.create_task(asyncio.to_thread(job.result_sync))
            await waited_for(own_app, own_app.keys.shard("default", job.shard).job(job.id.rsplit(".", 1)[1]))
        assert await job.cancel()
        with pytest.raises(JobCancelled):
            await waiting
        await own_app.close()

    def test_closing_ends_the_calls_that_are_under_way(self, own_app: Capelin) -> None:
        @own_app.task
        async def nothing() -> None: ...

        job = nothing.enqueue_sync()
        with ThreadPoolExecutor(2) as threads:
            waiting = [threads.submit(job.result_sync) for _ in range(2)]
            key = own_app.keys.shard("default", job.shard).job(job.id.rsplit(".", 1)[1])
            own_app.run_sync("x", lambda: waited_for(own_app, key))
            own_app.close_sync()
            for call in waiting:
                with pytest.raises(ConfigurationError, match=r"closed while result_sync\(\) was under way"):
                    call.result(timeout=20)

    def test_an_error_reaches_the_caller(self, redis_server: RedisServer) -> None:
        app = Capelin(redis_server.url, settings=Settings(max_payload_bytes=10))

        @app.task
        async def store(text: str) -> None: ...

        with pytest.raises(ValueError, match="at least 0 s"):
            store.options(delay=-1)
        with pytest.raises(TypeError, match="the limit is 10"):
            store.enqueue_sync("x" * 20)
        app.close_sync()


async def waited_for(app: Capelin, key: str) -> None:
    """Return once somebody waits for the job of this record."""
    await wait_until(
        lambda: app.client().connection.command("HEXISTS", key, "waited"), description="a waiter to be noted"
    )


class TestProcesses:
    """What holds for whole programs."""

    def test_the_interpreter_exits_cleanly_whatever_was_left_open(
        self, tmp_path: Path, redis_url: str
    ) -> None:
        done = run_script(
            tmp_path,
            """
            import asyncio, sys, threading
            from capelin import Capelin
            app = Capelin(sys.argv[1])
            @app.task
            async def nothing() -> None: ...
            asyncio.run(nothing.enqueue())
            job = nothing.enqueue_sync()
            def wait():
                try:
                    job.result_sync()
                except BaseException as error:
                    print(type(error).__name__)
            threading.Thread(target=wait, daemon=True).start()
            print(job.status_sync())
            """,
            redis_url,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("queued")

    @pytest.mark.parametrize("masked", [False, True], ids=["heard", "heard-by-another-thread-only"])
    def test_an_interrupt_ends_a_wait(self, tmp_path: Path, redis_url: str, *, masked: bool) -> None:
        # A signal that comes right before a thread waits does not wake it, no more than one which the kernel
        # gives to another thread; the latter can be arranged.
        path = tmp_path / "program.py"
        path.write_text(
            textwrap.dedent("""
            import signal, sys
            from capelin import Capelin
            app = Capelin(sys.argv[1])
            @app.task
            async def nothing() -> None: ...
            job = nothing.enqueue_sync()
            if sys.argv[2] == "True":
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                print("waiting", flush=True)
                job.result_sync()
            except KeyboardInterrupt:
                print("interrupted", job.status_sync())
            """)
        )
        command = [sys.executable, "-W", "error", str(path), redis_url, str(masked)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "waiting\n"
                process.send_signal(signal.SIGINT)
                assert process.communicate(timeout=60) == ("interrupted queued\n", "")
            finally:
                process.kill()
        assert process.returncode == 0

    def test_a_forked_process_opens_connections_of_its_own(self, tmp_path: Path, redis_url: str) -> None:
        done = run_script(
            tmp_path,
            """
            import asyncio, os, sys, threading
            from capelin import Capelin
            app = Capelin(sys.argv[1])

            @app.task
            async def number(n: int) -> None: ...

            async def several(first):
                jobs = await asyncio.gather(*[number.enqueue(first + n) for n in range(50)])
                return [(await job.info()).args[0] for job in jobs] == [first + n for n in range(50)]

            def in_child():
                right = [asyncio.run(several(300))]
                jobs = [number.enqueue_sync(400 + n) for n in range(20)]
                right.append([job.info_sync().args for job in jobs] == [(400 + n,) for n in range(20)])
                app.close_sync()
                os._exit(0 if right == [True, True] else 1)

            async def parent():
                assert await several(0)
                child = os.fork()
                if not child:
                    # In a thread of its own, since the parent's loop seems to run in this one.
                    thread = threading.Thread(target=in_child)
                    thread.start()
                    thread.join()
                    os._exit(2)
                # Both talk at the same time: a shared socket would mix their replies.
                assert await several(100)
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
                assert await several(200)

            number.enqueue_sync(1)  # the thread for code without a loop does not survive a fork
            asyncio.run(parent())
            assert number.enqueue_sync(2).status_sync() == "queued"
            """,
            redis_url,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def test_a_server_that_forks_after_loading_the_app_may_have_used_it_before(
        self, tmp_path: Path, redis_url: str
    ) -> None:
        done = run_script(
            tmp_path,
            """
            import asyncio, os, sys
            from capelin import Capelin
            app = Capelin(sys.argv[1])
            @app.task
            async def nothing() -> None: ...
            asyncio.run(nothing.enqueue())
            nothing.enqueue_sync()
            children = []
            for _ in range(3):
                child = os.fork()
                if not child:
                    asyncio.run(nothing.enqueue())
                    nothing.enqueue_sync()
                    sys.exit()
                children.append(child)
            print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
            print(nothing.enqueue_sync().status_sync())
            """,
            redis_url,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "[0, 0, 0]\nqueued\n"

    def test_a_forked_process_may_go_on_with_the_loop_object_of_its_parent(
        self, tmp_path: Path, redis_url: str
    ) -> None:
        done = run_script(
            tmp_path,
            """
            import asyncio, os, sys
            from capelin import Capelin
            app = Capelin(sys.argv[1])
            @app.task
            async def nothing() -> None: ...

            async def enqueue():
                return await (await nothing.enqueue()).status()

            runner = asyncio.Runner()
            runner.run(enqueue())
            child = os.fork()
            if not child:
                assert runner.run(enqueue()) == "queued"
                os._exit(0)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), runner.run(enqueue()))
            runner.close()
            """,
            redis_url,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "0 queued\n", "")


def test_a_program_that_is_not_run_connects_to_nothing() -> None:
    began = time.monotonic()
    idle = Capelin("redis://192.0.2.1:6379/0")  # an address that nobody has

    @idle.task
    async def nothing() -> None: ...

    assert nothing.job().task == "nothing"
    assert time.monotonic() - began < 1
