"""``capelin demo``: real work shared by three workers, the leader of which is killed."""

from typing import Annotated

import typer


def demo(
    *,
    files: Annotated[
        int | None,
        typer.Option(
            "--files", metavar="N", min=1, help="Only so many of the library's files, evenly picked."
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave Redis and the workers running until Ctrl-C.")
    ] = False,
) -> None:
    """Watch three workers share real work, and one of them die.

    Each file of Python's standard library is one job: parse it and measure
    it; a schedule ticks once a second. Half way the worker that leads the
    scheduler is killed with SIGKILL; at the end every file and every tick is
    accounted for. It needs nothing but this Python: it starts a Redis of its
    own, and ends what it started.
    """
    import asyncio
    import signal

    from capelin.demo import run_demo

    async def main() -> int:
        task = asyncio.current_task()
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await run_demo(files=files, keep=keep)

    try:
        raise typer.Exit(asyncio.run(main()))
    except asyncio.CancelledError:
        raise typer.Exit(128 + signal.SIGTERM) from None
