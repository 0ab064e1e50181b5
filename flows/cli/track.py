"""The command `longtake track`."""

import time
from enum import Enum
from typing import Annotated

import typer

from flows.cli.options import (
    FIELD,
    AssociationOption,
    BucketCredentials,
    Detect,
    DetectEvery,
    Dtype,
    Labels,
    MaxObjects,
    MinScore,
    ReanchorEvery,
    Text,
    given_fields,
    name_in,
    request_field,
)
from flows.commands.console import Terminal
from flows.commands.imports import much_imported
from samcore.chunks.handoff import HANDOFFS
from samcore.errors import InputError
from samcore.exports import FORMATS
from samcore.tracking.memory.policy import POLICIES
from tasks.settings import load_settings


class OnDisagreement(str, Enum):
    """What happens when two chunks disagree."""

    WARN = "warn"
    FAIL = "fail"


_PROMPTS, _MODEL, _CHUNKS = "Objects to track", "Model and device", "Chunks and seams"

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

Stopped or killed? The same command goes on where it was. The masks are in out/masks.parquet."""


def track(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(help=FIELD, show_default=False)],
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
    model: Annotated[str | None, request_field(metavar="NAME", rich_help_panel=_MODEL)] = None,
    checkpoint: Annotated[str | None, request_field(metavar="FILE", rich_help_panel=_MODEL)] = None,
    config: Annotated[str | None, request_field(metavar="NAME", rich_help_panel=_MODEL)] = None,
    image_size: Annotated[int | None, request_field(metavar="N", rich_help_panel=_MODEL)] = None,
    plain_engine: Annotated[bool, request_field("--plain-engine", rich_help_panel=_MODEL)] = False,
    compile: Annotated[bool, request_field("--compile", rich_help_panel=_MODEL)] = False,
    stretch: Annotated[bool, request_field("--stretch", rich_help_panel=_MODEL)] = False,
    allow_quality_loss: Annotated[
        bool, request_field("--allow-quality-loss", rich_help_panel=_MODEL)
    ] = False,
    device: Annotated[str | None, request_field(metavar="NAME", rich_help_panel=_MODEL)] = None,
    dtype: Annotated[Dtype | None, request_field(rich_help_panel=_MODEL)] = None,
    encode_every: Annotated[int | None, request_field(metavar="N", rich_help_panel=_MODEL)] = None,
    memory_pool: Annotated[int | None, request_field(metavar="N", rich_help_panel=_MODEL)] = None,
    object_batch: Annotated[int | None, request_field(metavar="N", rich_help_panel=_MODEL)] = None,
    chunk_frames: Annotated[int | None, request_field(metavar="N", rich_help_panel=_CHUNKS)] = None,
    overlap: Annotated[int | None, request_field(metavar="N", rich_help_panel=_CHUNKS)] = None,
    handoff: Annotated[
        str | None,
        request_field(
            metavar="|".join(HANDOFFS.names), callback=name_in(HANDOFFS), rich_help_panel=_CHUNKS
        ),
    ] = None,
    memory_policy: Annotated[
        str | None,
        request_field(metavar="NAME", callback=name_in(POLICIES), rich_help_panel=_MODEL),
    ] = None,
    memory_policy_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A constant of the memory policy; `longtake policies` lists them.",
            show_default=False,
            rich_help_panel=_MODEL,
        ),
    ] = None,
    retire_after: Annotated[
        int | None, request_field(metavar="FRAMES", rich_help_panel=_MODEL)
    ] = None,
    look_for_every: Annotated[
        int | None, request_field(metavar="FRAMES", rich_help_panel=_MODEL)
    ] = None,
    archive_size: Annotated[int | None, request_field(metavar="N", rich_help_panel=_MODEL)] = None,
    min_agreement: Annotated[
        float | None, request_field(metavar="IOU", rich_help_panel=_CHUNKS)
    ] = None,
    on_disagreement: Annotated[
        OnDisagreement | None, request_field(rich_help_panel=_CHUNKS)
    ] = None,
    start: Annotated[int | None, request_field(metavar="FRAME")] = None,
    stop: Annotated[int | None, request_field(metavar="FRAME")] = None,
    credentials: BucketCredentials = None,
    work_dir: Annotated[str | None, request_field(metavar="DIR")] = None,
    keep_states: Annotated[bool | None, request_field("--keep-states/--no-keep-states")] = None,
    memory_log: Annotated[str | None, request_field(metavar="FILE")] = None,
    overlay: Annotated[bool, request_field("--overlay")] = False,
    report: Annotated[bool | None, request_field("--report/--no-report")] = None,
    formats: Annotated[
        list[str] | None,
        request_field("--format", metavar="NAME", note=f" They are {', '.join(FORMATS.names)}."),
    ] = None,
    force: Annotated[bool, request_field("--force")] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Show Prefect's log, and tracebacks.")
    ] = False,
) -> None:
    """Track objects through a video and write their masks to DEST."""
    started = time.monotonic()
    with much_imported():
        from flows.commands.lines import result_lines
        from flows.commands.run_local import run_local
        from samcore.prompts.options import (
            merge_options,
            parse_automatic,
            parse_box_option,
            parse_mask_option,
            parse_masks_option,
            parse_point_option,
        )
        from samcore.tracking.memory.options import parse_policy_options
        from tasks.request.segment_request import validate_request

    options = (
        [parse_box_option(text) for text in box or ()],
        [parse_point_option(text) for text in point or ()],
        [parse_mask_option(text) for text in mask or ()],
        [parse_masks_option(text) for text in masks or ()],
    )
    found = parse_automatic(
        automatic,
        automatic_option,
        detect=detect,
        detect_every=detect_every,
        reanchor_every=reanchor_every,
        association=association_option,
        labels=labels,
        texts=text,
        min_score=min_score,
        max_objects=max_objects,
    )
    ways = (any(options), prompts is not None, found is not None)
    beside = found is not None and found.detect_every is not None
    if sum(ways) - beside > 1:
        way = "--detect" if detect else "--text" if text else "--automatic"
        with_it = "" if beside or found is None else ", or --detect-every N to have both"
        raise InputError(
            f"give --box, --point, --mask and --masks, or --prompts, or {way}; not both{with_it}"
        )
    if not any(ways) and warm_start is None:
        raise InputError(
            "no prompts: give --box, --point, --mask or --masks, --prompts FILE, --automatic N, "
            "--detect NAME or --text WORDS to find objects, or --warm-start STATE to begin with "
            "those of another video"
        )
    fields = given_fields(ctx)
    fields["settings"]["memory_policy_options"] = parse_policy_options(
        memory_policy or "sam2", memory_policy_option
    )
    request = validate_request(
        **fields,
        prompts=merge_options(*options) if any(options) else prompts,
        automatic=found,
        credentials=credentials,
        # These files were named by the person at the keyboard; those in a file were not.
        any_mask_path=prompts is None,
    )
    result = run_local(request, Terminal(), settings=load_settings(), verbose=verbose)
    for line in result_lines(result, seconds=time.monotonic() - started):
        typer.echo(line)
