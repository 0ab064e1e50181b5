"""The command `longtake memory`."""

from typing import Annotated

import typer

from flows.cli.options import (
    BucketCredentials,
    ResultPlace,
    Verbose,
    local_path,
    name_in,
    numbers,
)
from flows.commands.console import Terminal, WarningPrinter
from samcore.tracking.memory.policy import POLICIES
from tasks.settings import load_settings

EXAMPLES = """[bold]Examples[/bold]

Remember what was tracked in one video, and find it in another one without any prompt:

  longtake memory out
  longtake track other.mp4 --warm-start out -o other

Only object 2, as it looks on frames 0 and 40, in a file of its own:

  longtake memory out --objects 2 --frames 0,40 -o dog.safetensors"""


def memory(
    result: ResultPlace,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="STATE",
            help="The file to write. Default: memory.safetensors in the result, listed in its "
            "manifest.",
            show_default=False,
        ),
    ] = None,
    frames: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            help="Frames that show the objects well, 8 at most. Default: those on which they were "
            "prompted.",
            show_default=False,
        ),
    ] = None,
    objects: Annotated[
        str | None,
        typer.Option(
            metavar="ID,ID,...",
            help="Which objects. Default: all that can be seen on these frames.",
            show_default=False,
        ),
    ] = None,
    memory_policy: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            callback=name_in(POLICIES),
            help="The memory policy of the runs that will begin with it. Default: the result's.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The model of these runs, and so are the next three. Default: the result's.",
            show_default=False,
        ),
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(metavar="FILE", help="Its weights.", show_default=False)
    ] = None,
    config: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its configuration.", show_default=False)
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(metavar="N", help="Side of its input.", show_default=False)
    ] = None,
    plain_engine: Annotated[
        bool,
        typer.Option(
            "--plain-engine",
            help="These runs compute as the model's own package does, too; goes with the options "
            "above.",
        ),
    ] = False,
    compile: Annotated[
        bool,
        typer.Option("--compile", help="These runs compile, too; goes with the options above."),
    ] = False,
    device: Annotated[str, typer.Option(metavar="NAME", help="Where it runs.")] = "auto",
    dtype: Annotated[str, typer.Option(metavar="NAME", help="Its arithmetic.")] = "auto",
    video: Annotated[
        str | None,
        typer.Option(
            metavar="VIDEO",
            help="Where the result's video is now. Default: where it was.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a memory that is there.")] = False,
    credentials: BucketCredentials = None,
    verbose: Verbose = False,
) -> None:
    """Keep what objects of a result look like, for other videos to begin with.

    `longtake track --warm-start` tracks these objects from the first frame on, without a prompt.
    Model, precision and memory policy of both have to be the same.
    """
    file = None if output is None else local_path(output, "--output").absolute()
    weights = None if checkpoint is None else local_path(checkpoint, "--checkpoint")
    chosen = numbers(frames, "--frames")
    ids = numbers(objects, "--objects")
    # Late: torch takes seconds to import.
    from flows.commands.memory import make_memory
    from samcore.progress import listening

    terminal = Terminal()
    with WarningPrinter(terminal).attached(), terminal.live(), listening(terminal.show):
        line = make_memory(
            result,
            output=file,
            frames=chosen,
            objects=ids,
            model=model,
            checkpoint=weights,
            config=config,
            image_size=image_size,
            plain_engine=plain_engine,
            compile=compile,
            device=device,
            dtype=dtype,
            memory_policy=memory_policy,
            video=video,
            credentials=credentials,
            replace=force,
            settings=load_settings(),
        )
    typer.echo(line)
