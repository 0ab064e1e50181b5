"""The command `longtake image`."""

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from flows.cli import model_options
from flows.cli.options import (
    EXIT_SOME_FAILED,
    FIELD,
    BucketCredentials,
    Labels,
    MinScore,
    RequestCommand,
    given_values,
    request_field,
)
from flows.commands.console import Terminal
from flows.commands.imports import much_imported
from samcore.errors import InputError
from samcore.picture_runs.formats import PICTURE_FORMATS
from tasks.settings import load_settings

_PROMPTS = "What to segment"

EXAMPLES = """[bold]Examples[/bold]

One object by a box (left, top, right, bottom in pixels), another by clicks:

  longtake image dog.jpg --box 412,180,640,520 -o out

  longtake image dog.jpg --point 500,300 --point 90,40,0 -o out

Everything on all pictures of a folder, and of those in it:

  longtake image tapes/ --everything -o out --format coco

What a table says of each picture (path,text or path,prompts,labels):

  longtake image todo.csv -o s3://results/todo

Stopped or killed? The same command goes on where it was. Pictures that cannot be segmented never
stop the others: they are listed at the end, and the exit code is 3."""


class ImageCommand(RequestCommand):
    """The command, whose fields are those of an `ImagesRequest`."""

    def known_fields(self) -> Mapping[str, Any]:
        """The fields that options may be."""
        from flows.images.request import ImagesRequest

        return ImagesRequest.model_fields


def image(
    ctx: typer.Context,
    pictures: Annotated[list[str], typer.Argument(help=FIELD, show_default=False)],
    destination: Annotated[str, request_field("-o", "--output", metavar="DEST")],
    box: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[ID:]x1,y1,x2,y2",
            help="A box around an object, in pixels of the picture as displayed. Each box is an "
            "object of its own, 1, 2 and so on, unless ID says which.",
            rich_help_panel=_PROMPTS,
        ),
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[ID:]x,y[,0|1]",
            help="A click on an object (1, or left out) or beside it (0); object 1, unless ID says "
            "which.",
            rich_help_panel=_PROMPTS,
        ),
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[ID:]FILE[#INDEX]",
            help="An object's rough mask, a PNG of the picture's size; what is not black is the "
            "object. Each is an object of its own, unless ID says which.",
            rich_help_panel=_PROMPTS,
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Objects and prompts in a JSON file, as for `longtake track` but without frames; "
            "the same for all pictures.",
            show_default=False,
            rich_help_panel=_PROMPTS,
        ),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--everything",
            help="Segment all that the model has a good mask for.",
            rich_help_panel=_PROMPTS,
        ),
    ] = False,
    everything_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="How, as SAM 2's mask generator has it: points_per_side (32), min_predicted_iou "
            "(0.8), min_stability (0.95), box_nms_iou (0.7), crop_layers (0), min_region_area (0), "
            "use_m2m (false) and the rest.",
            show_default=False,
            rich_help_panel=_PROMPTS,
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WORDS",
            help="Segment what the words say, such as 'red car'; any number. Each mask has the "
            "words that gave it as its label.",
            show_default=False,
            rich_help_panel=_PROMPTS,
        ),
    ] = None,
    detect: Annotated[
        str | None,
        typer.Option(
            metavar="DETECTOR",
            help="Segment what this detector finds: masks, torchvision:NAME[:FILE] or "
            "transformers:ORG/NAME. With --text or a table of texts, one that takes text: "
            "transformers:ORG/NAME, or sam3 with --model sam3.",
            show_default=False,
            rich_help_panel=_PROMPTS,
        ),
    ] = None,
    labels: Labels = None,
    min_score: MinScore = None,
    max_objects: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="With --detect or --text: the most masks of a picture (10).",
            show_default=False,
            rich_help_panel=_PROMPTS,
        ),
    ] = None,
    model: model_options.Model = None,
    checkpoint: model_options.Checkpoint = None,
    config: model_options.Config = None,
    image_size: model_options.ImageSize = None,
    plain_engine: model_options.PlainEngine = False,
    device: model_options.Device = None,
    dtype: model_options.DtypeName = None,
    overlay: Annotated[bool | None, request_field("--overlay/--no-overlay")] = None,
    formats: Annotated[
        list[str] | None,
        request_field(
            "--format", metavar="NAME", note=f" They are {', '.join(PICTURE_FORMATS.names)}."
        ),
    ] = None,
    shard_pictures: Annotated[int | None, request_field(metavar="N")] = None,
    credentials: BucketCredentials = None,
    work_dir: Annotated[str | None, request_field(metavar="DIR")] = None,
    force: Annotated[bool, request_field("--force")] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Show Prefect's log, and tracebacks.")
    ] = False,
) -> None:
    """Segment pictures and write their masks to DEST."""
    started = time.monotonic()
    ways = {
        "--box, --point, --mask": bool(box or point or mask),
        "--prompts": prompts is not None,
        "--everything": everything,
        "--text or --detect": bool(text) or detect is not None,
    }
    given = [name for name, is_given in ways.items() if is_given]
    if len(given) > 1:
        kinds = "; ".join(ways)
        raise InputError(f"give one kind of: {kinds}; got {' as well as '.join(given)}")
    if everything_option and not everything:
        raise InputError("--everything-option goes with --everything; give that, too")
    with much_imported():
        from flows.commands.lines import image_lines
        from flows.commands.run_images import run_images
        from flows.images.request import default_text_detector, validate_images
        from samcore.images.everything import EverythingOptions
        from samcore.named_values import parse_named_values
        from samcore.picture_runs.prompts import prompts_of_options
        from samcore.prompts.options import parse_automatic
    detector = detect or (default_text_detector(model) if text else None)
    found = parse_automatic(
        None,
        detect=None if detector is None else [detector],
        labels=labels,
        texts=text,
        min_score=min_score,
        max_objects=max_objects,
    )
    options = None
    if everything:
        names = tuple(name for name in EverythingOptions.model_fields if name != "point_grids")
        values = parse_named_values(
            "--everything-option",
            everything_option or (),
            EverythingOptions,
            names,
            "points_per_side=16",
        )
        options = EverythingOptions.model_validate(values)
    request = validate_images(
        **given_values(ctx, ctx.params),
        prompts=prompts_of_options(box or (), point or (), mask or ()) or prompts,
        detector=found,
        everything=options,
        credentials=credentials,
        # These files were named by the person at the keyboard; those in a file were not.
        any_mask_path=prompts is None,
    )
    result = run_images(request, Terminal(), settings=load_settings(), verbose=verbose)
    for line in image_lines(result, seconds=time.monotonic() - started):
        typer.echo(line)
    if result.broken:
        raise typer.Exit(EXIT_SOME_FAILED)
