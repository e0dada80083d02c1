"""``capelin --version``."""

import typer


def show_version(value: bool) -> None:  # noqa: FBT001 -- typer's shape
    """Print the version and end, when asked to."""
    if value:
        import platform
        from importlib.metadata import version

        typer.echo(f"capelin {version('capelin')}, Python {platform.python_version()}")
        raise typer.Exit
