"""Options that several commands have."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from samcore.errors import InputError
from samcore.registry import Registry

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


def name_in(registry: Registry[Any]) -> Callable[[str], str]:
    """A check of an option's value: the name of an entry, or an error that lists them."""

    def check(name: str) -> str:
        try:
            return str(registry.get(name).name)
        except InputError as error:
            raise typer.BadParameter(str(error)) from error

    return check
