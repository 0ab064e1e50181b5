"""Options that several commands have."""

from typing import Annotated

import typer

Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Show tracebacks.")]

BucketCredentials = Annotated[
    str | None,
    typer.Option(
        "--credentials",
        metavar="NAME",
        help="Prefect's AwsCredentials block for buckets. Default: the standard AWS settings.",
        show_default=False,
    ),
]
