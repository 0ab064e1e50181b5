"""The command `longtake bench`."""

from typing import Annotated

import typer

from flows.cli.options import Dtype, Verbose, local_path, numbers
from flows.commands.console import Terminal, WarningPrinter
from samcore.errors import InputError
from samcore.speed.record import MOST_OBJECTS, OBJECTS, SECONDS, check_objects
from tasks.settings import load_settings

EXAMPLES = """[bold]Examples[/bold]

The embedded model, in less than a minute, with a page to look at:

  longtake bench --model nano -o bench.html

What to take for 10 frames a second, of two models and two sizes of their input:

  longtake bench --model sam2.1-tiny --model sam2.1-small --image-size 512,1024 --fps 10

A record for programs:

  longtake bench --model hf:facebook/sam2.1-hiera-tiny --json"""


def bench(
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What to measure, as for `longtake track`; any number. Default: sam2.1-tiny, if "
            "it is here.",
            show_default=False,
        ),
    ] = None,
    image_size: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            help="Sides of the models' input in pixels. Default: each model's own.",
            show_default=False,
        ),
    ] = None,
    objects: Annotated[
        str,
        typer.Option(metavar="N,N,...", help=f"Numbers of objects, {MOST_OBJECTS} at most."),
    ] = ",".join(map(str, OBJECTS)),
    device: Annotated[str, typer.Option(metavar="NAME", help="Where it runs.")] = "auto",
    dtype: Annotated[
        list[Dtype] | None,
        typer.Option(help="The arithmetic; any number. Default: auto.", show_default=False),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            help="Frames a second that are wanted: says which model, size, arithmetic and batch to "
            "take, of those that are measured.",
            show_default=False,
        ),
    ] = None,
    seconds: Annotated[
        float,
        typer.Option(
            metavar="S",
            help="For one measurement. A slow one takes at least two runs; what takes longer with "
            "more objects is left out.",
        ),
    ] = SECONDS,
    output: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Write an HTML page, too.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a record for programs.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a page that is there.")] = False,
    verbose: Verbose = False,
) -> None:
    """Measure how fast models track on this machine, stage by stage, and what bounds them.

    Nothing is concluded on a machine that does other work; the exit code is 2 then. Ctrl-C shows
    what was measured until then.
    """
    counts = check_objects(numbers(objects, "--objects") or [])
    sizes = numbers(image_size, "--image-size")
    for name, value in (("--seconds", seconds), ("--fps", fps)):
        if value is not None and not 0 < value < float("inf"):
            raise InputError(f"{name}: wanted a number above 0, got {value:g}")
    page = None if output is None else local_path(output, "--output").absolute()
    if page is not None and page.is_dir():
        raise InputError(f"{page} is a folder: --output names the page itself, such as bench.html")
    if page is not None and page.exists() and not force:
        raise InputError(f"{page} is there already: choose another name, or give --force")
    if page is not None and not page.parent.is_dir():
        raise InputError(f"no folder {page.parent} for the page: make it, or choose another one")
    # Late: torch takes seconds to import.
    from flows.commands import bench as command
    from samcore.progress import listening

    terminal = Terminal()
    with WarningPrinter(terminal).attached(), terminal.live(), listening(terminal.show):
        finished = command.run_bench(
            model or [None],
            image_sizes=sizes or [None],
            objects=counts,
            device=device,
            dtypes=[one.value for one in dtype or [Dtype.AUTO]],
            seconds=seconds,
            fps=fps,
            page=page,
            settings=load_settings(),
        )
    record = finished.record
    lines = [record.model_dump_json(indent=2)] if as_json else command.bench_lines(record)
    for line in lines:
        typer.echo(line)
    if page is not None and record.setups and not as_json:
        typer.echo(f"page: {page}")
    finished.end()
