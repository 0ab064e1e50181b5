"""The command `longtake export`."""

from typing import Annotated

import typer

from flows.cli.options import BucketCredentials, ResultPlace, Verbose, local_path
from flows.commands.console import Terminal, WarningPrinter
from samcore.exports import FORMATS, check_formats
from tasks.settings import load_settings

_ABOUT = "\n\n".join(f"  {item.name}: {item.about}" for item in FORMATS)

EXAMPLES = f"""[bold]Formats[/bold]

{_ABOUT}

[bold]Examples[/bold]

  longtake export out --format coco-video --format davis-png -o exports

The video with the masks drawn in; it was moved since:

  longtake export out --format overlay --video tapes/dog.mp4 -o exports"""


def export(
    result: ResultPlace,
    formats: Annotated[
        list[str],
        typer.Option(
            "--format",
            metavar="NAME",
            help="A format, see below; can be given several times.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Each format gets a folder in it, named like the format. Default: exports in the "
            "result, listed in its manifest.",
            show_default=False,
        ),
    ] = None,
    video: Annotated[
        str | None,
        typer.Option(
            metavar="VIDEO",
            help="Where the video is now, for the format overlay. Default: where it was.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace what is in these folders of DIR.")
    ] = False,
    credentials: BucketCredentials = None,
    verbose: Verbose = False,
) -> None:
    """Write a result's masks in formats that other tools read.

    Nothing is tracked again, and memory does not grow with the video.
    """
    check_formats(formats)
    folder = None
    if output is not None:
        folder = local_path(output, "--output, which is left out to add to the result itself,")
    # Late: pyarrow and OpenCV take a second to import.
    from flows.commands.export import export as run_export
    from samcore.progress import listening

    terminal = Terminal()
    lines: list[str] = []
    try:
        with (
            WarningPrinter(terminal).attached(),
            terminal.live(),
            listening(terminal.show),
        ):
            for line in run_export(
                result,
                formats,
                output=folder,
                video=video,
                credentials=credentials,
                replace=force,
                settings=load_settings(),
            ):
                lines.append(line)
    finally:
        # Formats that were written are told of, also if the next one failed.
        for line in lines:
            typer.echo(line)
