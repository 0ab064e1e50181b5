"""The command line: `longtake track`, `demo`, `models`, `probe`."""

import sys
import time
import traceback
from collections.abc import Sequence
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from flows.console import Terminal
from samcore.errors import InputError, SegmentationError
from tasks.settings import load_settings

# What takes seconds to import (torch, prefect, pyarrow) is imported inside the commands: --help
# and an error in an option should come at once.

EXIT_BUG, EXIT_USER, EXIT_INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="longtake",
    help="Segment and track objects through videos of any length with SAM 2.\n\n"
    "Begin with [bold]longtake demo[/bold]; it needs no video and no download.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


class Handoff(str, Enum):
    """What a chunk gets from the one before."""

    MEMORY = "memory"
    MASK = "mask"


class OnDisagreement(str, Enum):
    """What happens when two chunks disagree."""

    WARN = "warn"
    FAIL = "fail"


class Dtype(str, Enum):
    """Arithmetic of the model."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


_PROMPTS, _MODEL, _CHUNKS = "Objects to track", "Model and device", "Chunks and seams"

_TRACK_EXAMPLES = """[bold]Examples[/bold]

One object, by a box on frame 0 (left, top, right, bottom in pixels):

  longtake track dog.mp4 --box 1:0:412,180,640,520 -o out

Two objects, one of them by clicks, 1 on it and 0 off it, at 12.5 seconds; and a video to look at:

  longtake track game.mp4 --box 1:0:40,60,200,300 --point 2:12.5s:500,300
    --point 2:12.5s:90,40,0 -o out --overlay

Prompts from a file, a larger model, frames 1000 to 2999:

  longtake track tape.mkv --prompts tape.json --model sam2.1-large --start 1000 --stop 3000 -o out

Stopped or killed? The same command goes on where it was. The masks are in out/masks.parquet."""


@app.callback(invoke_without_command=True)
def _root(
    show_version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True)
    ] = False,
) -> None:
    if show_version:
        typer.echo(f"longtake {version('longtake')}")
        raise typer.Exit


@app.command(epilog=_TRACK_EXAMPLES)
def track(
    source: Annotated[
        str,
        typer.Argument(
            help="Video file (mp4, mov, mkv, webm, avi) or folder of JPEG or PNG frames.",
            show_default=False,
        ),
    ],
    destination: Annotated[
        str,
        typer.Option(
            "-o", "--output", metavar="DEST", help="Folder for the masks.", show_default=False
        ),
    ],
    box: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID:FRAME:x1,y1,x2,y2",
            help="A box around object ID, in pixels of the video as displayed. FRAME counts "
            "from 0, or is a time such as 12.5s.",
            rich_help_panel=_PROMPTS,
        ),
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID:FRAME:x,y[,0|1]",
            help="A click on object ID (1, or left out) or beside it (0).",
            rich_help_panel=_PROMPTS,
        ),
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID:FRAME:FILE",
            help="Object ID's mask, a PNG of the video's size; what is not black is the object.",
            rich_help_panel=_PROMPTS,
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="All objects and prompts in a JSON file, in place of the options above.",
            show_default=False,
            rich_help_panel=_PROMPTS,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="One of `longtake models`. Default: sam2.1-tiny, if it is on this machine.",
            show_default=False,
            rich_help_panel=_MODEL,
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Other weights, with the --config or --model that they fit.",
            show_default=False,
            rich_help_panel=_MODEL,
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The checkpoint's configuration, e.g. configs/sam2.1/sam2.1_hiera_t.yaml.",
            show_default=False,
            rich_help_panel=_MODEL,
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Side of the model's input in pixels: smaller is faster, coarser.",
            show_default=False,
            rich_help_panel=_MODEL,
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.", rich_help_panel=_MODEL)
    ] = "auto",
    dtype: Annotated[
        Dtype, typer.Option(help="Arithmetic of the model.", rich_help_panel=_MODEL)
    ] = Dtype.AUTO,
    chunk_frames: Annotated[
        int, typer.Option(metavar="N", help="Frames of one chunk.", rich_help_panel=_CHUNKS)
    ] = 240,
    overlap: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Frames that two chunks both track, to check one by the other.",
            rich_help_panel=_CHUNKS,
        ),
    ] = 8,
    handoff: Annotated[
        Handoff,
        typer.Option(
            help="What a chunk gets from the one before: the tracker's whole memory (exact), or "
            "its last masks only.",
            rich_help_panel=_CHUNKS,
        ),
    ] = Handoff.MEMORY,
    min_agreement: Annotated[
        float | None,
        typer.Option(
            metavar="IOU",
            help="Mean IoU that two chunks must reach on their shared frames. "
            "Default: 0.99; 0.5 for --handoff mask.",
            show_default=False,
            rich_help_panel=_CHUNKS,
        ),
    ] = None,
    on_disagreement: Annotated[
        OnDisagreement, typer.Option(help="If they do not.", rich_help_panel=_CHUNKS)
    ] = OnDisagreement.WARN,
    start: Annotated[int, typer.Option(metavar="FRAME", help="First frame to track.")] = 0,
    stop: Annotated[
        int | None,
        typer.Option(metavar="FRAME", help="One past the last frame to track.", show_default=False),
    ] = None,
    work_dir: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Folder for work in progress. Default: DEST/.longtake.",
            show_default=False,
        ),
    ] = None,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also write overlay.mp4, the masks drawn in.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace another request's result in DEST.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Show Prefect's log, and tracebacks.")
    ] = False,
) -> None:
    """Track objects through a video and write their masks to DEST."""
    started = time.monotonic()
    from flows.report import result_lines
    from flows.run_local import run_local
    from samcore.tracking.prompt_options import (
        merge_options,
        parse_box_option,
        parse_mask_option,
        parse_point_option,
    )
    from tasks.request import validate_request

    options = (
        [parse_box_option(text) for text in box or ()],
        [parse_point_option(text) for text in point or ()],
        [parse_mask_option(text) for text in mask or ()],
    )
    if prompts is not None and any(options):
        raise InputError("give --prompts, or --box, --point and --mask; not both")
    request = validate_request(
        source=source,
        prompts=merge_options(*options) if prompts is None else prompts,
        destination=destination,
        model=model,
        checkpoint=checkpoint,
        config=config,
        image_size=image_size,
        settings={"device": device, "dtype": dtype.value},
        chunk_frames=chunk_frames,
        overlap=overlap,
        handoff=handoff.value,
        start=start,
        stop=stop,
        work_dir=work_dir,
        overlay=overlay,
        min_agreement=min_agreement,
        on_disagreement=on_disagreement.value,
        force=force,
        # These files were named by the person at the keyboard; those in a file were not.
        any_mask_path=prompts is None,
    )
    result = run_local(request, Terminal(), settings=load_settings(), verbose=verbose)
    for line in result_lines(result, seconds=time.monotonic() - started):
        typer.echo(line)


@app.command(
    epilog="[bold]Example[/bold]\n\n  longtake demo -o demo && open demo/overlay.mp4",
)
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
    from flows.demo import run_demo

    for line in run_demo(Path(destination), Terminal(), load_settings(), verbose=verbose):
        typer.echo(line)


@app.command(epilog="[bold]Example[/bold]\n\n  longtake track dog.mp4 --model sam2.1-small ...")
def models() -> None:
    """List the models that are known by name, and which of them are on this machine.

    The others are downloaded at first use.
    """
    from flows.report import model_lines

    for line in model_lines(load_settings().cache_dir):
        typer.echo(line)


@app.command(
    "train-nano",
    epilog="[bold]Examples[/bold]\n\n  longtake train-nano -o nano-run\n\n"
    "  longtake train-nano -o nano-run --config my.yaml --device cuda",
)
def train_nano(
    destination: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Folder for weights, checkpoint, log and curve.",
            show_default=False,
        ),
    ],
    config: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="What to train on and for how long. Default: as the shipped weights were made.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show tracebacks.")] = False,
) -> None:
    """Train the embedded model `nano` from nothing, or go on where DIR stands.

    Scenes are made as training goes; nothing is downloaded. It takes hours on two cores.

    Stopped or killed? The same command goes on from the last checkpoint.
    """
    from flows.train_nano import run_training

    for line in run_training(
        Path(destination), None if config is None else Path(config), device, Terminal()
    ):
        typer.echo(line)


@app.command(epilog="[bold]Example[/bold]\n\n  longtake probe dog.mp4 --json | jq .num_frames")
def probe(
    source: Annotated[str, typer.Argument(metavar="VIDEO", help="Video file or folder of frames.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print a record for programs.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show tracebacks.")] = False,
) -> None:
    """Decode a video once and say what is in it: size, frames, rate, damage."""
    from flows.report import video_lines
    from samcore.video import open_video

    terminal = Terminal()
    with terminal.live():
        info = open_video(source, on_progress=terminal.scan).info
    for line in [info.model_dump_json(indent=2)] if as_json else video_lines(info):
        typer.echo(line)


def run(args: Sequence[str]) -> int:
    """Run one command line; the exit code."""
    verbose = "-v" in args or "--verbose" in args
    try:
        code = typer.main.get_command(app).main(list(args), "longtake", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED
    except SegmentationError as error:
        return _fail(str(error), EXIT_USER, verbose=verbose)
    except Exception as error:
        if hasattr(error, "format_message"):  # an option that is wrong; typer's own class
            return _usage(error)
        name = type(error).__name__
        hint = "" if verbose else "; -v shows where"
        return _fail(f"failed: {name}: {error}{hint}", EXIT_BUG, verbose=verbose)
    if code == EXIT_INTERRUPTED:
        return _fail("stopped; the same command goes on from here", code, verbose=False)
    return code if isinstance(code, int) else 0


def _usage(error: Exception) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "longtake"
    message = str(error.format_message()) if hasattr(error, "format_message") else str(error)
    if context is not None and not message:
        return EXIT_USER  # no command was given, and typer has shown its help
    return _fail(f"{message.rstrip('.')}; see {command} --help", EXIT_USER, verbose=False)


def _fail(message: str, code: int, *, verbose: bool) -> int:
    if verbose:
        traceback.print_exc()
    typer.echo(f"longtake: {' '.join(message.split())}", err=True)
    return code


def main() -> None:
    """The console script."""
    from flows.process import end_quietly

    code = run(sys.argv[1:])
    end_quietly(code, verbose="-v" in sys.argv or "--verbose" in sys.argv)


if __name__ == "__main__":
    main()
