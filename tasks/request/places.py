"""What all requests have in common: where results go, and what is said of a bad value."""

from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from samcore.errors import InputError
from tasks.store.locations import HttpsLocation, S3Location, parse_location

LONGEST_NAME = ".longtake/runs/" + "0" * 32 + "/chunks/00000/state.safetensors"
"""As long as the names that a run gives to objects below its destination."""


class AsksForModel(Protocol):
    """What requests say of the model, as `resolve_model` takes it."""

    @property
    def model(self) -> str | None: ...
    @property
    def checkpoint(self) -> str | None: ...
    @property
    def config(self) -> str | None: ...
    @property
    def image_size(self) -> int | None: ...
    @property
    def plain_engine(self) -> bool: ...


class AsksForPlace(Protocol):
    """What requests say of the destination."""

    @property
    def destination_place(self) -> Path | S3Location: ...
    @property
    def work_path(self) -> Path: ...
    @property
    def force(self) -> bool: ...
    @property
    def credentials(self) -> str | None: ...


def check_destination(destination: str) -> str:
    """A destination as it is.

    Raises:
        ValueError: Nothing can be written there.
    """
    place = parse_location(destination)
    if isinstance(place, HttpsLocation):
        raise ValueError(
            f"wanted a folder or s3://bucket/prefix, got {place}, which cannot be written to"
        )
    if isinstance(place, S3Location):
        place.join(LONGEST_NAME)
    return destination


def destination_place(destination: str) -> Path | S3Location:
    """Where a checked destination is; a path is absolute.

    Raises:
        InputError: Nothing can be written there.
    """
    place = absolute_place(parse_location(destination))
    if isinstance(place, HttpsLocation):
        raise InputError(f"{place} cannot be written to")  # refused when the request was made
    if isinstance(place, S3Location):
        return S3Location(place.bucket, place.key.rstrip("/"))
    return place


def absolute_place(
    place: Path | S3Location | HttpsLocation,
) -> Path | S3Location | HttpsLocation:
    """The place; a path is absolute."""
    return place.expanduser().absolute() if isinstance(place, Path) else place


def validation_line(error: ValidationError) -> str:
    """The first thing that is wrong with a request, in one line that holds no secret."""
    first = error.errors(include_url=False, include_context=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    value = first["input"]
    # Not an address: there may be a password in it.
    shows = isinstance(value, str | int | float) and "://" not in str(value)
    got = f", got {value!r}" if shows and "got" not in message else ""
    return f"{field + ': ' if field else ''}{message}{got}"
