"""The command `longtake track`."""

import time
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from flows.cli import model_options
from flows.cli.model_options import MODEL_PANEL
from flows.cli.options import (
    EXIT_SOME_FAILED,
    FIELD,
    AssociationOption,
    BucketCredentials,
    Detect,
    DetectEvery,
    Direction,
    Labels,
    MaxObjects,
    MinScore,
    ReanchorEvery,
    Text,
    name_in,
    request_field,
)
from flows.commands.console import Terminal
from flows.commands.imports import much_imported
from samcore.chunks.handoff import HANDOFFS
from samcore.errors import InputError
from samcore.exports import FORMATS
from tasks.settings import has_prefect_server, load_settings


class OnDisagreement(str, Enum):
    """What happens when two chunks disagree."""

    WARN = "warn"
    FAIL = "fail"


class Order(str, Enum):
    """In which order videos of a list are worked on."""

    GIVEN = "given"
    NAME = "name"
    SMALLEST = "smallest"
    LARGEST = "largest"


_PROMPTS, _CHUNKS = "Objects to track", "Chunks and seams"
_LISTS = "Several videos"

EXAMPLES = """[bold]Examples[/bold]

One object, by a box on frame 0 (left, top, right, bottom in pixels):

  longtake track dog.mp4 --box 1:0:412,180,640,520 -o out

Two objects, one of them by clicks, 1 on it and 0 off it, at 12.5 seconds; and a video to look at:

  longtake track game.mp4 --box 1:0:40,60,200,300 --point 2:12.5s:500,300
    --point 2:12.5s:90,40,0 -o out --overlay

Prompts from a file, a larger model, frames 1000 to 2999:

  longtake track tape.mkv --prompts tape.json --model sam2.1-large --start 1000 --stop 3000 -o out

Whatever there is to see on frame 0, ten objects at most:

  longtake track tape.mkv --automatic 10 -o out

People and cars, by a network of torchvision:

  longtake track tape.mkv --detect torchvision:fasterrcnn_resnet50_fpn_v2
    --labels person,car -o out

The same wherever they enter, looked for on every tenth frame:

  longtake track tape.mkv --detect torchvision:fasterrcnn_resnet50_fpn_v2
    --labels person,car --detect-every 10 -o out

Whatever a text says, by SAM 3:

  longtake track tape.mkv --model sam3 --text person --text "red car" -o out

The objects of another video's result, once `longtake memory other` was run:

  longtake track tape.mkv --warm-start other -o out

All videos of a folder; what a table says of each (source,prompts or source,text and so on):

  longtake track tapes/ --automatic 10 -o out
  longtake track todo.csv -o out --order smallest --limit 20

One recording in several files, of which every tenth frame is tracked:

  longtake track GX010042.MP4 GX020042.MP4 --join --every 10 --automatic 10 -o out

Stopped or killed? The same command goes on where it was. The masks are in out/masks.parquet."""


def track(
    ctx: typer.Context,
    source: Annotated[list[str], typer.Argument(metavar="VIDEO", help=FIELD, show_default=False)],
    destination: Annotated[str, request_field("-o", "--output", metavar="DEST")],
    box: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID:FRAME:x1,y1,x2,y2",
            help="A box around object ID, in pixels of the video as displayed; what lies outside "
            "by at most 2 % of the side is cut off. FRAME counts from 0, or is a time such as "
            "12.5s.",
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
            metavar="ID:FRAME:FILE[#INDEX]",
            help="Object ID's mask, a PNG of the video's size; what is not black is the object. Of "
            "a PNG with an index for each object, the one with index ID, or INDEX.",
            rich_help_panel=_PROMPTS,
        ),
    ] = None,
    masks: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FRAME:FILE",
            help="All objects of a PNG with an index for each, which becomes its ID. 0 is the "
            "ground and 255 is void, nobody's, as in DAVIS.",
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
    automatic: Annotated[
        str | None,
        typer.Option(
            metavar="N[:FRAME]",
            help="Track what is found on a frame, at most N objects, in place of prompts. "
            "Default: the first frame that is tracked; while there is nothing, those 0.5, 1, 2, 4 "
            "... 32 seconds later.",
            show_default=False,
            rich_help_panel=_PROMPTS,
        ),
    ] = None,
    automatic_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="What --automatic takes for an object: min_area (part of the picture, 0.001), "
            "min_predicted_iou (0.8), min_stability (0.85), points_per_side (32); how far it "
            "looks, look_ahead_s (32); and what finds them, detector (masks).",
            rich_help_panel=_PROMPTS,
        ),
    ] = None,
    detect: Detect = None,
    detect_every: DetectEvery = None,
    reanchor_every: ReanchorEvery = None,
    association_option: AssociationOption = None,
    labels: Labels = None,
    text: Text = None,
    min_score: MinScore = None,
    max_objects: MaxObjects = None,
    warm_start: Annotated[
        str | None, request_field(metavar="STATE", rich_help_panel=_PROMPTS)
    ] = None,
    direction: Annotated[Direction | None, request_field(rich_help_panel=_PROMPTS)] = None,
    model: model_options.Model = None,
    checkpoint: model_options.Checkpoint = None,
    config: model_options.Config = None,
    image_size: model_options.ImageSize = None,
    plain_engine: model_options.PlainEngine = False,
    compile: model_options.Compile = False,
    stretch: model_options.Stretch = False,
    allow_quality_loss: Annotated[
        bool, request_field("--allow-quality-loss", rich_help_panel=MODEL_PANEL)
    ] = False,
    device: model_options.Device = None,
    dtype: model_options.DtypeName = None,
    encode_every: Annotated[
        int | None, request_field(metavar="N", rich_help_panel=MODEL_PANEL)
    ] = None,
    memory_pool: model_options.MemoryPool = None,
    object_batch: Annotated[
        int | None, request_field(metavar="N", rich_help_panel=MODEL_PANEL)
    ] = None,
    chunk_frames: Annotated[int | None, request_field(metavar="N", rich_help_panel=_CHUNKS)] = None,
    overlap: Annotated[int | None, request_field(metavar="N", rich_help_panel=_CHUNKS)] = None,
    handoff: Annotated[
        str | None,
        request_field(
            metavar="|".join(HANDOFFS.names), callback=name_in(HANDOFFS), rich_help_panel=_CHUNKS
        ),
    ] = None,
    shards: Annotated[str | None, request_field(metavar="N|auto", rich_help_panel=_CHUNKS)] = None,
    runner: Annotated[
        str | None, request_field(metavar="NAME[:N|:ADDRESS]", rich_help_panel=_CHUNKS)
    ] = None,
    memory_policy: model_options.MemoryPolicy = None,
    memory_policy_option: model_options.MemoryPolicyOption = None,
    retire_after: model_options.RetireAfter = None,
    look_for_every: model_options.LookForEvery = None,
    archive_size: model_options.ArchiveSize = None,
    min_agreement: Annotated[
        float | None, request_field(metavar="IOU", rich_help_panel=_CHUNKS)
    ] = None,
    on_disagreement: Annotated[
        OnDisagreement | None, request_field(rich_help_panel=_CHUNKS)
    ] = None,
    start: Annotated[int | None, request_field(metavar="FRAME")] = None,
    stop: Annotated[int | None, request_field(metavar="FRAME")] = None,
    join: Annotated[
        bool,
        typer.Option(
            "--join",
            help="Take the files (or those of a folder, pattern, prefix, or list with a path a "
            "line, .txt) for one recording that a camera wrote in parts: one video, in this order.",
        ),
    ] = False,
    every: Annotated[int | None, request_field(metavar="N")] = None,
    fps: Annotated[float | None, request_field(metavar="F")] = None,
    credentials: BucketCredentials = None,
    work_dir: Annotated[str | None, request_field(metavar="DIR")] = None,
    keep_states: Annotated[bool | None, request_field("--keep-states/--no-keep-states")] = None,
    memory_log: Annotated[str | None, request_field(metavar="FILE")] = None,
    gpu_log: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File to which a line is added each second: how full and how busy each NVIDIA GPU "
            "is; JSON lines if it ends in .jsonl, else CSV.",
            show_default=False,
        ),
    ] = None,
    overlay: Annotated[bool, request_field("--overlay")] = False,
    report: Annotated[bool | None, request_field("--report/--no-report")] = None,
    formats: Annotated[
        list[str] | None,
        request_field("--format", metavar="NAME", note=f" They are {', '.join(FORMATS.names)}."),
    ] = None,
    force: Annotated[bool, request_field("--force")] = False,
    order: Annotated[
        Order,
        typer.Option(
            help="Of several videos: as given, by name, or the smallest or largest file first.",
            rich_help_panel=_LISTS,
        ),
    ] = Order.GIVEN,
    limit: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Of several videos, work on at most N; those with a result do not count.",
            show_default=False,
            rich_help_panel=_LISTS,
        ),
    ] = None,
    deployment: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Track nothing here: have the Prefect server make a run of this deployment for "
            "each video, such as segment-video; one that has its run already gets no other. Paths "
            "are those of the workers.",
            show_default=False,
            rich_help_panel=_LISTS,
        ),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Show Prefect's log, and tracebacks.")
    ] = False,
) -> None:
    """Track objects through a video and write their masks to DEST.

    Several videos, a folder of them, a pattern, a table (.csv, .tsv, .jsonl) or s3://bucket/prefix/
    get a run each, and DEST/NAME for its result. One that fails does not stop the others.
    """
    started = time.monotonic()
    with much_imported():
        from samcore.sources.videos import means_list
        from tasks.sources.listing import ListedBuckets

    bucket = ListedBuckets(credentials) if credentials is None or has_prefect_server() else None
    if join:
        from samcore.sources.recording import recording_parts

        first, *ctx.params["further_parts"] = recording_parts(source, bucket)
        source = [first]
    is_list = not join and means_list(source, bucket)
    if deployment is not None:
        if gpu_log is not None:
            raise InputError("--gpu-log is of this machine, and --deployment tracks elsewhere")
        _ask_for_runs(ctx, source, deployment, is_list=is_list, order=order, limit=limit)
        return
    if is_list:
        _track_list(ctx, source, order=order, limit=limit, verbose=verbose)
        return
    if limit is not None:
        raise InputError("--limit is for a list of videos; got one video")
    with much_imported():
        from flows.cli.track_request import track_request
        from flows.commands.lines import result_lines
        from flows.commands.run_local import run_local

    request = track_request(ctx, {**ctx.params, "source": source[0]})
    result = run_local(
        request, Terminal(), settings=load_settings(), gpu_log=gpu_log, verbose=verbose
    )
    for line in result_lines(result, seconds=time.monotonic() - started):
        typer.echo(line)


def _ask_for_runs(
    ctx: typer.Context,
    asked: list[str],
    deployment: str,
    *,
    is_list: bool,
    order: Order,
    limit: int | None,
) -> None:
    with much_imported():
        from flows.cli.track_list import list_requests, single_request
        from flows.commands.run_deployed import ask_for_runs, asked_lines
        from flows.commands.run_local import check_named_server
        from tasks.sources.listing import ListedBuckets

    check_named_server()
    bucket, terminal = ListedBuckets(ctx.params["credentials"]), Terminal()
    if is_list:
        videos, said = list_requests(ctx, asked, order=order.value, bucket=bucket)
        terminal.say(said)
    else:
        videos = [single_request(ctx, asked[0], bucket)]
    with terminal.live():
        runs = ask_for_runs(videos, deployment, terminal, limit=limit)
    for line in asked_lines(runs, videos=len(videos)):
        typer.echo(line)
    if runs.failed:
        raise typer.Exit(EXIT_SOME_FAILED)


def _track_list(
    ctx: typer.Context, asked: list[str], *, order: Order, limit: int | None, verbose: bool
) -> None:
    started = time.monotonic()
    with much_imported():
        from flows.cli.track_list import list_requests
        from flows.commands.run_many import many_lines, run_many
        from tasks.sources.listing import ListedBuckets

    credentials, destination = ctx.params["credentials"], ctx.params["destination"]
    bucket = ListedBuckets(credentials)
    results = run_many(
        lambda: list_requests(ctx, asked, order=order.value, bucket=bucket),
        Terminal(),
        settings=load_settings(),
        credentials=credentials,
        limit=limit,
        gpu_log=ctx.params["gpu_log"],
        verbose=verbose,
    )
    seconds = time.monotonic() - started
    for line in many_lines(results, destination=destination, seconds=seconds):
        typer.echo(line)
    if results.failed:
        raise typer.Exit(EXIT_SOME_FAILED)
