"""The command `longtake demo`."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.console import Terminal
from tasks.settings import load_settings

EXAMPLES = "[bold]Example[/bold]\n\n  longtake demo -o demo && open demo/overlay.mp4"


def demo(
    destination: Annotated[
        str, typer.Option("-o", "--output", metavar="DIR", help="Folder for what it makes.")
    ] = "demo",
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Show Prefect's log, and tracebacks.")
    ] = False,
) -> None:
    """Make a short video by itself, track two objects through it, and draw their masks in.

    Takes less than a minute, no download and no accelerator.
    """
    from flows.commands.demo import run_demo

    for line in run_demo(Path(destination), Terminal(), load_settings(), verbose=verbose):
        typer.echo(line)
