"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

from samcore.errors import InputError

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


def local_path(text: str, what: str) -> Path:
    """A path of this machine.

    Raises:
        InputError: It is an address.
    """
    if "://" in text:
        raise InputError(f"{what} is a path of this machine, got {text}")
    return Path(text).expanduser()
