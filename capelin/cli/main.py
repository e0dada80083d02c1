"""``capelin``: every command in one tree, and the one place where an error becomes a line and an exit status.

Whoever asks for ``--help`` waits for nothing else: commands import what they need when they run.
"""

import os
import sys
from typing import Annotated, Any, Final

import typer

from capelin.cli.demo import demo
from capelin.cli.dev import dev
from capelin.cli.dlq import dlq
from capelin.cli.doctor import doctor
from capelin.cli.enqueue import enqueue
from capelin.cli.fleet import workers
from capelin.cli.jobs import jobs
from capelin.cli.leader import leader
from capelin.cli.nouns import HELP
from capelin.cli.queues import queues
from capelin.cli.scheduler import scheduler
from capelin.cli.schedules import schedules
from capelin.cli.shards import shards
from capelin.cli.singletons import singletons
from capelin.cli.top import top
from capelin.cli.version import show_version
from capelin.cli.workers import run

WRONG: Final = 2
"""The exit status when something that was typed is wrong, or Redis cannot be asked."""
FAILED: Final = 1
"""The exit status when a command did its work, and that failed."""
INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141

# Typer's usage errors have no public name of their own; this one's base has been it in all releases.
_USAGE_ERROR: Final[type[Exception]] = typer.BadParameter.__mro__[1]

cli = typer.Typer(
    name="capelin",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": list(HELP)},
    help="Background jobs on Redis: start as many workers as you like, anywhere.",
    epilog="A noun alone lists: capelin jobs is capelin jobs ls.",
)
cli.command("demo", rich_help_panel="Run")(demo)
cli.command("dev", rich_help_panel="Run")(dev)
cli.command("worker", rich_help_panel="Run")(run)
cli.command("scheduler", rich_help_panel="Run")(scheduler)
cli.command("enqueue", rich_help_panel="Run")(enqueue)
for _noun, _name in (
    (queues, "queues"),
    (jobs, "jobs"),
    (dlq, "dlq"),
    (workers, "workers"),
    (shards, "shards"),
    (singletons, "singletons"),
    (schedules, "schedules"),
):
    cli.add_typer(_noun, name=_name, rich_help_panel="Look and repair")
cli.command("top", rich_help_panel="Look and repair")(top)
cli.command("doctor", rich_help_panel="Look and repair")(doctor)
cli.command("leader", rich_help_panel="Look and repair")(leader)


@cli.callback(invoke_without_command=True)
def _begin(
    ctx: typer.Context,
    *,
    version: Annotated[  # noqa: ARG001 -- its callback acts
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help(), nl=False)


def main() -> None:
    """Run the command line and end the process; the exit status says how it went."""
    from capelin.errors import CapelinError

    try:
        _check_words(sys.argv[1:])
        sys.exit(cli(standalone_mode=False))
    except CapelinError as error:
        _end(_told(error), _status_of(error))
    except TimeoutError as error:
        _end(str(error), FAILED)
    except typer.Abort:
        _end("nothing was changed", FAILED)
    except _USAGE_ERROR as error:
        _end(_usage(error), WRONG)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # Whoever read the output has enough (`capelin jobs | head`). Python would complain again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(PIPE_CLOSED)


def _check_words(words: list[str]) -> None:
    """Refuse bytes that are no text: nothing that has a name in Redis could be meant."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            _end(f"{word!r} is no text in UTF-8", WRONG)


def _end(line: str, status: int) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"capelin: {' '.join(line.split())}\n")
    sys.exit(status)


def _told(error: Exception) -> str:
    from capelin.errors import Unreachable

    hint = "; --redis or CAPELIN_REDIS_URL name another" if isinstance(error, Unreachable) else ""
    return f"{error}{hint}"


def _status_of(error: Exception) -> int:
    from capelin.errors import JobCancelled, JobFailed

    return FAILED if isinstance(error, (JobFailed, JobCancelled)) else WRONG


def _usage(error: Any) -> str:
    message = str(error.format_message()).rstrip(".")
    command = error.ctx.command_path if error.ctx is not None else "capelin"
    return f"{message[:1].lower()}{message[1:]} (see {command} --help)"
