"""The command `longtake watch`."""

import time
from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any

import typer

from flows.cli import model_options
from flows.cli.options import (
    FIELD,
    AssociationOption,
    BucketCredentials,
    Detect,
    DetectEvery,
    Labels,
    MaxObjects,
    MinScore,
    ReanchorEvery,
    RequestCommand,
    Text,
    given_fields,
    request_field,
)
from flows.commands.console import Terminal
from flows.commands.imports import much_imported
from samcore.errors import InputError
from tasks.settings import load_settings

_PROMPTS, _STREAM = "Objects to track", "Stream and results"
_DETECT_EVERY = "10"

EXAMPLES = """[bold]Examples[/bold]

People and cars before a camera, a result for each hour in out/20260101T120000Z and so on:

  longtake watch rtsp://camera/stream --detect torchvision:fasterrcnn_resnet50_fpn_v2
    --labels person,car -o out

What moves, in a live playlist:

  longtake watch https://host/live.m3u8 --detect motion -o s3://bucket/lobby

What is in a box on the first frame, of raw frames from another program:

  camera-program | longtake watch - --size 640x480 --rate 25 --box 1:0:10,20,200,300 -o out

Ctrl-C or SIGTERM publishes what there is. The same command goes on, with the same ids."""


class Drop(str, Enum):
    """Which frames are dropped."""

    OLDEST = "oldest"
    NEWEST = "newest"
    NEVER = "never"


class WatchCommand(RequestCommand):
    """A command with options that are fields of a request for a stream."""

    def known_fields(self) -> Mapping[str, Any]:
        from flows.streams.request import WatchRequest
        from samcore.config import TrackSettings

        return {**TrackSettings.model_fields, **WatchRequest.model_fields}


def watch(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(help=FIELD, show_default=False)],
    destination: Annotated[str, request_field("-o", "--output", metavar="DEST")],
    box: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID:0:x1,y1,x2,y2",
            help="A box around object ID on the first frame that is tracked.",
            rich_help_panel=_PROMPTS,
        ),
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID:0:x,y[,0|1]",
            help="A click on object ID there (1, or left out) or beside it (0).",
            rich_help_panel=_PROMPTS,
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="All objects in a JSON file, in place of the options above.",
            show_default=False,
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
    roll: Annotated[str | None, request_field(metavar="TIME", rich_help_panel=_STREAM)] = None,
    chunk: Annotated[str | None, request_field(metavar="TIME", rich_help_panel=_STREAM)] = None,
    drop: Annotated[Drop | None, request_field(rich_help_panel=_STREAM)] = None,
    waiting: Annotated[int | None, request_field(metavar="N", rich_help_panel=_STREAM)] = None,
    stall: Annotated[str | None, request_field(metavar="TIME", rich_help_panel=_STREAM)] = None,
    size: Annotated[str | None, request_field(metavar="WxH", rich_help_panel=_STREAM)] = None,
    rate: Annotated[str | None, request_field(metavar="N", rich_help_panel=_STREAM)] = None,
    model: model_options.Model = None,
    checkpoint: model_options.Checkpoint = None,
    config: model_options.Config = None,
    image_size: model_options.ImageSize = None,
    plain_engine: model_options.PlainEngine = False,
    compile: model_options.Compile = False,
    device: model_options.Device = None,
    dtype: model_options.DtypeName = None,
    memory_pool: model_options.MemoryPool = None,
    memory_policy: model_options.MemoryPolicy = None,
    memory_policy_option: model_options.MemoryPolicyOption = None,
    retire_after: model_options.RetireAfter = None,
    look_for_every: model_options.LookForEvery = None,
    archive_size: model_options.ArchiveSize = None,
    credentials: BucketCredentials = None,
    work_dir: Annotated[str | None, request_field(metavar="DIR")] = None,
    force: Annotated[bool, request_field("--force")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show tracebacks.")] = False,
) -> None:
    """Track objects in a stream without an end, and write a result to DEST each hour."""
    started = time.monotonic()
    with much_imported():
        from flows.commands.watch_local import summary_lines, watch_local
        from flows.streams.request import validate_watch
        from samcore.prompts.options import (
            merge_options,
            parse_automatic,
            parse_box_option,
            parse_point_option,
        )
        from samcore.tracking.memory.options import parse_policy_options

    boxes = [parse_box_option(item) for item in box or ()]
    points = [parse_point_option(item) for item in point or ()]
    if prompts is not None and (boxes or points):
        raise InputError("give --box and --point, or --prompts; not both")
    looks = bool(detect or text)
    found = parse_automatic(
        None,
        detect=detect,
        detect_every=detect_every or (_DETECT_EVERY if looks else None),
        reanchor_every=reanchor_every,
        association=association_option,
        labels=labels,
        texts=text,
        min_score=min_score,
        max_objects=max_objects,
    )
    if not (boxes or points or prompts or found):
        raise InputError(
            "nothing to track: give --box, --point or --prompts FILE for objects on the first "
            "frame, or --detect NAME or --text WORDS to find objects"
        )
    fields = given_fields(ctx, ctx.params)
    fields["settings"]["memory_policy_options"] = parse_policy_options(
        memory_policy or "sam2", memory_policy_option
    )
    request = validate_watch(
        **fields,
        prompts=merge_options(boxes, points, ()) if boxes or points else prompts,
        automatic=found,
        credentials=credentials,
        # These files were named by the person at the keyboard; those in a file were not.
        any_mask_path=prompts is None,
    )
    summary = watch_local(request, Terminal(), settings=load_settings(), verbose=verbose)
    for line in summary_lines(summary, request, seconds=time.monotonic() - started):
        typer.echo(line)
