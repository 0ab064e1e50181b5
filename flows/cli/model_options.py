"""Options of the model and of its memory, which several commands have."""

from typing import Annotated

import typer

from flows.cli.options import Dtype, name_in, request_field
from samcore.tracking.memory.policy import POLICIES

MODEL_PANEL = "Model and device"
"""Where `--help` shows them."""

Model = Annotated[str | None, request_field(metavar="NAME", rich_help_panel=MODEL_PANEL)]
Checkpoint = Annotated[str | None, request_field(metavar="FILE", rich_help_panel=MODEL_PANEL)]
Config = Annotated[str | None, request_field(metavar="NAME", rich_help_panel=MODEL_PANEL)]
ImageSize = Annotated[int | None, request_field(metavar="N", rich_help_panel=MODEL_PANEL)]
PlainEngine = Annotated[bool, request_field("--plain-engine", rich_help_panel=MODEL_PANEL)]
Compile = Annotated[bool, request_field("--compile", rich_help_panel=MODEL_PANEL)]
Stretch = Annotated[bool, request_field("--stretch", rich_help_panel=MODEL_PANEL)]
Device = Annotated[str | None, request_field(metavar="NAME", rich_help_panel=MODEL_PANEL)]
DtypeName = Annotated[Dtype | None, request_field(rich_help_panel=MODEL_PANEL)]
MemoryPool = Annotated[int | None, request_field(metavar="N", rich_help_panel=MODEL_PANEL)]
MemoryPolicy = Annotated[
    str | None,
    request_field(metavar="NAME", callback=name_in(POLICIES), rich_help_panel=MODEL_PANEL),
]
MemoryPolicyOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="A constant of the memory policy; `longtake policies` lists them.",
        show_default=False,
        rich_help_panel=MODEL_PANEL,
    ),
]
RetireAfter = Annotated[int | None, request_field(metavar="FRAMES", rich_help_panel=MODEL_PANEL)]
LookForEvery = Annotated[int | None, request_field(metavar="FRAMES", rich_help_panel=MODEL_PANEL)]
ArchiveSize = Annotated[int | None, request_field(metavar="N", rich_help_panel=MODEL_PANEL)]
