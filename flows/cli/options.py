"""Options that several commands have, and options that are fields of a request."""

from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from samcore.errors import InputError
from samcore.registry import Registry

EXIT_SOME_FAILED = 3
"""Of a command that ended with pictures or videos that have no result."""

Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Show tracebacks.")]


class Dtype(str, Enum):
    """Arithmetic of the model."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class Direction(str, Enum):
    """Where objects are tracked from their first prompt on."""

    FORWARD = "forward"
    BACKWARD = "backward"
    BOTH = "both"


BucketCredentials = Annotated[
    str | None,
    typer.Option(
        "--credentials",
        metavar="NAME",
        help="Prefect's AwsCredentials block for buckets. Default: the standard AWS settings.",
        show_default=False,
    ),
]

ResultPlace = Annotated[
    str,
    typer.Argument(
        metavar="RESULT",
        help="Where `longtake track` put its result: a folder, or s3://bucket/prefix.",
        show_default=False,
    ),
]


Detect = Annotated[
    list[str] | None,
    typer.Option(
        "--detect",
        metavar="DETECTOR",
        help="Track what this detector finds, in place of prompts: masks, motion (fixed cameras), "
        "torchvision:NAME[:FILE], transformers:ORG/NAME, file:DETECTIONS, sam3 (as --text alone); "
        "any number. It looks where --automatic says, or throughout the video, see --detect-every; "
        "at most 10 objects by default.",
        show_default=False,
    ),
]
DetectEvery = Annotated[
    str | None,
    typer.Option(
        "--detect-every",
        metavar="N|cuts",
        help="With --detect or --automatic: look throughout the video, on frames that are "
        "multiples of N, or on the first frame after each scene cut. What enters later is tracked "
        "from there on, and prompts beside it.",
        show_default=False,
    ),
]
ReanchorEvery = Annotated[
    int | None,
    typer.Option(
        "--reanchor-every",
        metavar="N",
        help="With --detect-every: on such frames that are multiples of N, what a detector is sure "
        "of corrects the mask of its object. Default: 16; 0 is never.",
        show_default=False,
    ),
]
AssociationOption = Annotated[
    list[str] | None,
    typer.Option(
        "--association-option",
        metavar="NAME=VALUE",
        help="With --detect-every: a constant by which detections become objects, such as "
        "hot_start=30; samcore/identities/config.py lists them.",
        show_default=False,
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels",
        metavar="A,B",
        help="Only what the detector calls one of these, such as person,car.",
        show_default=False,
    ),
]
Text = Annotated[
    list[str] | None,
    typer.Option(
        "--text",
        metavar="WORDS",
        help="What to look for, such as 'red car'; any number. By the model's own detector "
        "(--model sam3), or by one of --detect that takes text.",
        show_default=False,
    ),
]
MinScore = Annotated[
    float | None,
    typer.Option(
        "--min-score",
        metavar="0..1",
        help="How sure the detector must be. Default: 0.5 for networks, 0.3 with --text (sam3: "
        "0.5).",
        show_default=False,
    ),
]
MaxObjects = Annotated[
    int | None,
    typer.Option(
        "--max-objects",
        metavar="N",
        help="With --detect: the most objects that are tracked, at once with --detect-every.",
        show_default=False,
    ),
]


def local_path(text: str, what: str) -> Path:
    """A path of this machine.

    Raises:
        InputError: It is an address.
    """
    if "://" in text:
        raise InputError(f"{what} is a path of this machine, got {text}")
    return Path(text).expanduser()


def numbers(text: str | None, option: str) -> list[int] | None:
    """Whole numbers with commas between them.

    Raises:
        InputError: It is something else.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 16 for part in parts):
        raise InputError(f"{option}: wanted whole numbers such as 0,40, got {text[:40]!r}")
    return [int(part) for part in parts]


def name_in(registry: Registry[Any]) -> Callable[[str | None], str | None]:
    """A check of an option's value: the name of an entry, or an error that lists them."""

    def check(name: str | None) -> str | None:
        try:
            return None if name is None else str(registry.get(name).name)
        except InputError as error:
            raise typer.BadParameter(str(error)) from error

    return check


FIELD = "\0"
"""The text of an option that is a field of a request, until --help is asked for: to import
`SegmentRequest` takes half a second."""


def request_field(*names: str, note: str = "", **options: Any) -> Any:
    """An option that is a field of a request, and is declared there: its text, default and bounds.

    The parameter has the field's name. It is None where the option is not given.

    Args:
        names: Of the option, if it is not made from the field's name.
        note: What the command alone has to say, behind the field's text.
        options: Passed to `typer.Option`, such as `metavar`.
    """
    return typer.Option(*names, help=FIELD + note, show_default=False, **options)


class RequestCommand(TyperCommand):
    """A command with options that are fields of a request."""

    def known_fields(self) -> Mapping[str, Any]:
        """The fields that options may be."""
        from samcore.config import TrackSettings
        from tasks.request.segment_request import SegmentRequest

        return {**TrackSettings.model_fields, **SegmentRequest.model_fields}

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show the fields' texts and defaults."""
        known = self.known_fields()
        for param in _fields_of(self):
            field = known[param.name]
            param.help = (field.description or "") + param.help.removeprefix(FIELD)
            if not field.is_required() and _says_something(field.default):
                param.default, param.show_default = field.default, True
        super().format_help(ctx, formatter)


def given_fields(ctx: typer.Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request that a command line gives.

    Args:
        ctx: Of the command.
        params: The values of its parameters, by name; None is one that is not given.
    """
    from samcore.config import TrackSettings

    given = given_values(ctx, params)
    settings = {name: given.pop(name) for name in TrackSettings.model_fields if name in given}
    return {**given, "settings": settings}


def given_values(ctx: typer.Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """The same without a place of their own for settings."""
    names = [param.name for param in _fields_of(ctx.command)]
    return {name: params[name] for name in names if params[name] is not None}


def _says_something(default: Any) -> bool:
    return default is not None and default is not False and default != ()


def _fields_of(command: Any) -> list[Any]:
    """The options and arguments that are fields of a request."""
    return [one for one in command.params if (getattr(one, "help", "") or "").startswith(FIELD)]
