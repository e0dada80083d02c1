"""Tasks with ``run_in="process"``: each attempt runs in a process of a pool, so that code that holds the
GIL, leaks or crashes harms one attempt and nothing else.

What crosses the pipe to the child is the task's import path, the arguments as JSON text, and the result as
JSON text. An error comes back as itself when it can be pickled, else as its name and text.
"""

import importlib
import pickle
import signal
import traceback
from typing import Any, cast

import anyio
import anyio.to_process

from capelin.context import JobContext, running
from capelin.errors import WorkerLost
from capelin.logs import attach_to_worker
from capelin.tasks import SyncTask, Task


class RemoteError(Exception):
    """An error of a process task that cannot travel as itself.

    Attributes:
        remote_type: Its class name.
        remote_traceback: Its traceback, formatted where it happened.
    """

    def __init__(self, remote_type: str, message: str, remote_traceback: str) -> None:
        super().__init__(message)
        self.remote_type, self.remote_traceback = remote_type, remote_traceback


def _packed_error(error: BaseException) -> tuple[bytes | None, str, str, str]:
    text = "".join(traceback.format_exception(error))
    try:
        packed = pickle.dumps(error)
        pickle.loads(packed)  # noqa: S301 -- our own bytes, a moment old
    except Exception:  # noqa: BLE001 -- whatever the user's class does when pickled
        packed = None
    return packed, type(error).__qualname__, str(error), text


def run_in_child(import_path: str, args: bytes, context: JobContext) -> tuple[str | None, Any]:
    """Run one attempt; in the child. Returns the result's JSON and None, or None and the packed error."""
    module_name, _, qualname = import_path.partition(":")
    try:
        # A terminal sends Ctrl-C to the whole group: what comes of it is the worker's business.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        attach_to_worker()
        found: Any = importlib.import_module(module_name)
        for part in qualname.split("."):
            found = getattr(found, part)
        # A function that was made a task by a call, not by a decorator, is still itself in its module.
        known = isinstance(found, Task)
        task: Any = cast(Any, found) if known else SyncTask[..., Any](found, name=context.task)
        positional, keyword = task.signature.decode(args)
        with running(context):
            return task.signature.encode_result(task.function(*positional, **keyword)), None
    except BaseException as error:  # noqa: BLE001 -- SystemExit too: it is the attempt that ends, not the pool
        return None, _packed_error(error)


class ProcessPool:
    """Runs process tasks, at most ``size`` at a time. A crash or a kill of one child fails one attempt."""

    def __init__(self, size: int) -> None:
        self._limiter = anyio.CapacityLimiter(max(1, size))

    async def run(self, import_path: str, args: bytes, context: JobContext) -> str:
        """Run one attempt; returns the result as JSON. Cancelling it kills the child.

        Raises:
            WorkerLost: The child died.
            BaseException: What the task raised.
        """
        try:
            result, failure = await anyio.to_process.run_sync(
                run_in_child, import_path, args, context, cancellable=True, limiter=self._limiter
            )
        except (anyio.BrokenWorkerProcess, anyio.ClosedResourceError, anyio.EndOfStream) as error:
            raise ProcessDied(error.__cause__) from error
        if failure is None:
            return result or ""
        packed, name, message, text = failure
        if packed is None:
            raise RemoteError(name, message, text)
        raised = pickle.loads(packed)  # noqa: S301 -- from our own child, over our own pipe
        raised.remote_traceback = text
        raise raised


_SILENCE = (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError)


class ProcessDied(WorkerLost):
    """The process that ran the attempt died (a crash, a kill, out of memory). It counts as a failed
    attempt.
    """

    def __init__(self, cause: BaseException | None = None) -> None:
        if cause is None or isinstance(cause, _SILENCE):
            super().__init__("the process that ran the job died; was it killed, or out of memory?")
        else:
            super().__init__(
                f"the process for the job could not start: {cause!r}; can the main module be imported twice?"
            )
