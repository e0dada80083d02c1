"""``capelin``: every command in one tree, and the one place where an error becomes a line and an exit status.

Whoever asks for ``--help`` waits for nothing else: commands import what they need when they run.
"""

import os
import sys

import typer

from capelin.cli import workers
from capelin.cli.version import show_version

cli = typer.Typer(
    name="capelin",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Background jobs on Redis: start as many workers as you like, anywhere.",
)
cli.command("worker", rich_help_panel="Run")(workers.run)


@cli.callback()
def _options(
    version: bool = typer.Option(  # noqa: ARG001, FBT001 -- the callback acts
        False, "--version", callback=show_version, is_eager=True, help="Print the version and exit."
    ),
) -> None: ...


def main() -> None:
    """Run the command line; the exit status says how it went.

    2: something that was typed is wrong, or Redis cannot be asked. 1: a command did its work, and it failed.
    """
    from capelin.errors import CapelinError

    try:
        cli()
    except CapelinError as error:
        sys.stderr.write(f"capelin: {' '.join(str(error).split())}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read the output has enough (`capelin jobs | head`). Python would complain again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
