"""From the arguments of `longtake track` to a list of videos, each with a request of its own."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from flows.cli.track_request import track_request
from flows.commands.run_many import AskedVideo, check_destinations
from samcore.errors import InputError
from samcore.progress import counted
from samcore.sources.listing import Bucket, SourceFile, file_mark
from samcore.sources.videos import list_videos, ordered

_OF_ALL = (
    *("source", "credentials", "verbose", "memory_log", "gpu_log", "work_dir"),
    *("order", "limit", "deployment", "join"),
)
"""Options of a command, and not of one video of a list."""
_MASKS = ("mask", "masks")
"""In a table, masks are given by a prompts file, which says where they lie."""
_PROMPTED = ("box", "point", "mask", "masks", "prompts")
_FINDERS = ("automatic", "detect", "text")
_OF_FINDERS = (
    *("automatic_option", "detect_every", "reanchor_every", "association_option"),
    *("labels", "min_score", "max_objects"),
)
_FILES = ("warm_start", "checkpoint")
"""Options that name a file; in a table they are relative to it."""


def list_requests(
    ctx: typer.Context, asked: Sequence[str], *, order: str, bucket: Bucket | None
) -> tuple[list[AskedVideo], str]:
    """All videos that are meant, in the order in which they are worked on, and what there is to
    say of the list.

    What a row of a table says goes before the options of the command. One that says what to track
    takes the place of all options that do.

    Args:
        ctx: Of the command.
        asked: Its arguments.
        order: One of `ORDERS`.
        bucket: Asked for what begins with `s3://`.

    Raises:
        InputError: One line: which row and column is wrong, or which videos would have one place
            for their results.
        StorageError: A bucket does not answer, or refuses.
    """
    destination = str(ctx.params["destination"])
    leave_out = None if "://" in destination else Path(destination).expanduser()
    columns = _columns(ctx)
    found = list_videos(asked, columns=tuple(columns), bucket=bucket, leave_out=leave_out)
    videos = [_asked(ctx, file, columns, destination) for file in ordered(found.files, order)]
    check_destinations(videos)
    said = counted(len(videos), "video")
    if found.repeated:
        said += f", {counted(found.repeated, 'repetition')} left out"
    if found.left_out:
        said += f", {counted(found.left_out, 'other file')} passed over"
    return videos, said


def single_request(ctx: typer.Context, source: str, bucket: Bucket) -> AskedVideo:
    """One video, whose result goes to DEST itself.

    Raises:
        InputError: The options are wrong.
        StorageError: A bucket does not answer, or refuses.
    """
    request = track_request(ctx, {**ctx.params, "source": source})
    place = request.source_place
    if isinstance(place, Path):
        mark = file_mark(place)
    else:
        mark = (bucket.mark(source) or "") if source.startswith("s3://") else ""
    return AskedVideo(name=request.video_name, mark=mark, request=request)


def _columns(ctx: typer.Context) -> dict[str, Any]:
    """The options that a row may give, by the names of columns: those of the options."""
    columns: dict[str, Any] = {}
    for param in ctx.command.params:
        if param.name in (*_OF_ALL, *_MASKS) or param.name is None:
            continue
        long = next(name for name in param.opts if name.startswith("--"))
        is_place = param.name == "destination"
        columns["destination" if is_place else long.strip("-").replace("-", "_")] = param
    return columns


def _asked(
    ctx: typer.Context, file: SourceFile, columns: Mapping[str, Any], destination: str
) -> AskedVideo:
    said = file.said
    try:
        given = {
            columns[name].name: _value(ctx, columns[name], name, value)
            for name, value in said.options.items()
            if value is not None and value != ""
        }
        table = said.where.rpartition(", line ")[0]
        place = given.pop("destination", None) or file.name
        params = {
            **_without_replaced(ctx.params, given),
            **{name: _beside(table, name, value) for name, value in given.items()},
            "source": file.place,
            "destination": _below(destination, place),
        }
        request = track_request(ctx, params)
    except InputError as error:
        raise InputError(f"{said.where}: {error}" if said.where else str(error)) from error
    return AskedVideo(name=file.name, mark=file.mark, request=request, where=said.where)


def _value(ctx: typer.Context, param: Any, column: str, value: Any) -> Any:
    """A cell as the command line would have it.

    Raises:
        InputError: It names the column.
    """
    if param.name == "prompts":
        return _prompts(column, value)
    with_itself = ["-", "--output", "-"]  # which each command line has to have
    try:
        tokens = list(_tokens(param, value))
        parsed = ctx.command.make_context("track", [*with_itself, *tokens], parent=ctx.parent)
    except Exception as error:
        if not hasattr(error, "format_message"):  # typer's own class of an option that is wrong
            raise
        said = getattr(error, "message", "") or error.format_message()
        raise InputError(f"{column}: {str(said).rstrip('.')}") from error
    found = parsed.params[param.name]
    return value if found is None and param.name == "destination" else found


def _tokens(param: Any, value: Any) -> Iterator[str]:
    """The words of a command line that give a value."""
    name = next(one for one in param.opts if one.startswith("--"))
    if getattr(param, "is_flag", False):
        is_set = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        chosen = is_set.get(str(value).strip().lower())
        if chosen is None:
            raise InputError(f"{name.strip('-')}: wanted true or false, got {str(value)[:40]!r}")
        if chosen or param.secondary_opts:
            yield name if chosen else param.secondary_opts[0]
        return
    if getattr(param, "multiple", False):
        parts = value if isinstance(value, list) else str(value).split(";")
    else:
        parts = [",".join(map(str, value)) if isinstance(value, list) else value]
    for part in parts:
        text = json.dumps(part) if isinstance(part, dict | list) else str(part).strip()
        if text:
            yield f"{name}={text}"


def _prompts(column: str, value: Any) -> Any:
    """Prompts as JSON, a list of objects among it, or the name of a file of them."""
    if isinstance(value, str) and value.strip()[:1] in ("{", "["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{column}: not valid JSON: {value[:40]!r}") from error
    if isinstance(value, list):
        return {"objects": value}
    if not isinstance(value, str | dict):
        raise InputError(f"{column}: wanted objects, or the name of a file, got {value!r:.40}")
    return value.strip() if isinstance(value, str) else value


def _without_replaced(params: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The command's options but for those that a row's take the place of."""
    left_out: set[str] = set()
    if any(name in given for name in (*_PROMPTED, *_FINDERS, "warm_start")):
        left_out |= {*_PROMPTED, *_FINDERS, "warm_start"}
        # `--detect-every` and the rest say how the command's detector looks.
        if not any(name in given for name in _FINDERS):
            left_out |= set(_OF_FINDERS)
    return {name: None if name in left_out else value for name, value in params.items()}


def _beside(table: str, name: str, value: Any) -> Any:
    """A file that a table names; a relative path is relative to the table."""
    if not table or not isinstance(value, str) or name not in ("prompts", *_FILES):
        return value
    if "://" in value:
        return value
    if table.startswith("s3://"):
        return f"{table.rpartition('/')[0]}/{value}"
    return os.path.normpath(Path(table).parent / Path(value).expanduser())


def _below(destination: str, place: str) -> str:
    if "://" in place or Path(place).expanduser().is_absolute():
        return place
    if Path(os.path.normpath(place)).parts[:1] == ("..",):
        raise InputError(
            f"destination: {place} is not below {destination}: wanted a path below it, an absolute "
            "one, or an address"
        )
    if "://" in destination:
        return f"{destination.rstrip('/')}/{place}"
    return str(Path(destination) / place)
