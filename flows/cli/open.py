"""The command `longtake open`."""

from typing import Annotated

import typer

from flows.cli import model_options
from flows.cli.options import BucketCredentials, Verbose, given_fields
from tasks.settings import load_settings

EXAMPLES = """[bold]Examples[/bold]

The demo's video, which is made if it is not there:

  longtake open

A video of your own, with a larger model:

  longtake open dog.mp4 --model sam2.1-tiny

What was tracked, to judge it:

  longtake open dog.mp4.longtake

On a machine without a screen, to be reached by ssh -L 8080:127.0.0.1:8080:

  longtake open dog.mp4 --no-browser --port 8080"""


def open_(
    ctx: typer.Context,
    place: Annotated[
        str | None,
        typer.Argument(
            metavar="VIDEO|RESULT",
            help="A video as for `longtake track`: a file, a folder of frames, s3:// or https://; "
            "or where `longtake track` put its result. Default: the demo's video.",
            show_default=False,
        ),
    ] = None,
    destination: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DEST",
            help="Folder for the prompts and the result. Default: VIDEO.longtake beside the video.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int,
        typer.Option(metavar="N", min=0, max=65535, help="Where to listen; 0 is any free port."),
    ] = 0,
    browser: Annotated[
        bool,
        typer.Option(
            "--browser/--no-browser", help="Open the page in a browser, where there is a display."
        ),
    ] = True,
    model: model_options.Model = None,
    checkpoint: model_options.Checkpoint = None,
    config: model_options.Config = None,
    image_size: model_options.ImageSize = None,
    plain_engine: model_options.PlainEngine = False,
    compile: model_options.Compile = False,
    stretch: model_options.Stretch = False,
    device: model_options.Device = None,
    dtype: model_options.DtypeName = None,
    credentials: BucketCredentials = None,
    verbose: Verbose = False,
) -> None:
    """Open a page in the browser: look at a video, and point at what is to be tracked.

    Only this machine's own browser gets there, by the address that is printed.
    """
    from flows.commands.open_page import serve_page, what_to_open

    settings = load_settings()
    fields = {**given_fields(ctx, ctx.params), "credentials": credentials}
    opened = what_to_open(place, fields, destination, settings)
    for line in serve_page(opened, port=port, browser=browser, settings=settings):
        typer.echo(line)
