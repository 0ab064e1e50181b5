"""Prompts as people and programs write them: a JSON file, checked against a video."""

import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from samcore.errors import InputError
from samcore.limits import DEFAULT_LIMITS, Limits
from samcore.text import keeps_one_line

MAX_OBJECT_ID = 2**31 - 1
"""Largest object id; the least is 0."""
MAX_LABEL_CHARS = 200
"""Longest label."""
MAX_NAME_CHARS = 1024
"""Longest name of a mask file."""

_INDEX = re.compile(r"(?P<name>.*[^/])#(?P<index>\d{1,9})", re.ASCII | re.DOTALL)

_STRICT = ConfigDict(
    frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
)
_Point = Annotated[tuple[float, float, Annotated[int, Field(ge=0, le=1)]], Field(strict=False)]

_WANTED = {
    "objects": "a list of at least one object",
    "id": f"a whole number from 0 to {MAX_OBJECT_ID}",
    "label": f"a line of at most {MAX_LABEL_CHARS} characters",
    "prompts": "a list of at least one prompt",
    "frame": "a whole number, 0 or above",
    "time": "seconds as a number, 0 or above",
    "box": "four numbers, [x1, y1, x2, y2]",
    "points": "a list of [x, y, label], label 1 on the object or 0 off it",
    "from_here": "true or false",
    "mask": f"the name of a PNG file, at most {MAX_NAME_CHARS} characters",
    "masks": "a list of {frame, mask}, each mask a PNG file with an index for each object",
}
_RLE_FORM = (
    'a COCO RLE, {"size": [height, width], "counts": "..."}, whose counts are a text or a list of '
    "run lengths"
)
_SHOWN_CHARS = 60
_NOT_ONE_LINE = "a control character or line break"


def split_index(mask: str) -> tuple[str, int | None]:
    """Give the file's name in `FILE` or `FILE#INDEX`, and the index, None where none is given."""
    match = _INDEX.fullmatch(mask)
    return (mask, None) if match is None else (match["name"], int(match["index"]))


class _OnOneFrame(BaseModel):
    model_config = _STRICT

    frame: int | None = Field(None, ge=0)
    """Position in the video, from 0. Either this or `time`."""
    time: float | None = Field(None, ge=0)
    """Seconds from the video's start, in place of `frame`."""

    @model_validator(mode="after")
    def _is_one_frame(self) -> "_OnOneFrame":
        if (self.frame is None) == (self.time is None):
            found = "neither" if self.frame is None else "both"
            raise ValueError(f"wanted either frame or time, got {found}")
        return self


class MaskRle(BaseModel):
    """A mask as COCO's run lengths: down the columns, background first."""

    model_config = _STRICT

    size: Annotated[
        tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]], Field(strict=False)
    ]
    """Rows and columns of the mask, which are the video's."""
    counts: str | Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False)]
    """Compressed as COCO does it, or the run lengths themselves."""

    def as_coco(self) -> dict[str, Any]:
        """What COCO's own tools take."""
        counts = self.counts if isinstance(self.counts, str) else list(self.counts)
        return {"size": list(self.size), "counts": counts}


def _file_or_rle(value: object) -> str | MaskRle | None:
    if value is None or isinstance(value, MaskRle):
        return value
    if isinstance(value, Mapping):
        try:
            return MaskRle.model_validate(value)
        except ValidationError as error:
            raise ValueError(f"wanted {_RLE_FORM}, got {shown(value)}") from error
    if isinstance(value, str) and 0 < len(value) <= MAX_NAME_CHARS and keeps_one_line(value):
        return value
    raise ValueError(
        f"wanted {_WANTED['mask']}, or a COCO RLE {{size, counts}}, got {shown(value)}"
    )


class PromptEntry(_OnOneFrame):
    """What is said about an object on one frame: a box, points, a mask, or a mask with points."""

    box: Annotated[tuple[float, float, float, float], Field(strict=False)] | None = None
    """x1, y1, x2, y2 in pixels of the video as displayed."""
    points: Annotated[tuple[_Point, ...], Field(strict=False)] = ()
    """Clicks x, y, label in pixels of the video as displayed; label 1 is on the object, 0 off."""
    mask: Annotated[str | MaskRle | None, BeforeValidator(_file_or_rle)] = None
    """A PNG file of the video's size; what is not black is the object. Where the PNG has an index
    for each object, that of this object's id, or of another one by `FILE#INDEX`. Or the mask
    itself, as run lengths."""
    from_here: bool = False
    """Hold from this frame on: masks of earlier frames are as without this prompt. All entries of
    an object on one frame say the same."""

    @model_validator(mode="after")
    def _is_one_thing_to_do(self) -> "PromptEntry":
        if self.box is None and not self.points and self.mask is None:
            raise ValueError("wanted a box, points or a mask, got none of them")
        if self.box is not None and self.mask is not None:
            raise ValueError("box and mask: wanted one of them, got both")
        if self.box is not None:
            x1, y1, x2, y2 = self.box
            if not (x1 < x2 and y1 < y2):
                raise ValueError(
                    f"box: wanted x1 < x2 and y1 < y2, got {list(self.box)}, which is inside out "
                    "or empty"
                )
        return self


class ObjectPrompts(BaseModel):
    """One object and all that is said about it."""

    model_config = _STRICT

    id: int = Field(ge=0, le=MAX_OBJECT_ID)
    """The object's number in the results."""
    label: str | None = Field(None, max_length=MAX_LABEL_CHARS)
    """A name for people."""
    prompts: Annotated[tuple[PromptEntry, ...], Field(strict=False, min_length=1)]
    """At least one; several on one frame go together."""

    @field_validator("label")
    @classmethod
    def _is_one_line(cls, label: str | None) -> str | None:
        return _one_line(label)


class ManyMasks(_OnOneFrame):
    """The masks of all objects on one frame, in one PNG file."""

    mask: str = Field(min_length=1, max_length=MAX_NAME_CHARS)
    """A PNG file of the video's size. Each index is the id of an object, but 0 and 255 (void)."""

    @field_validator("mask")
    @classmethod
    def _is_a_whole_file(cls, mask: str) -> str:
        if split_index(mask)[1] is not None:
            raise ValueError(
                f"wanted a file all of whose objects are meant, got {shown(mask)}: give one of "
                "them as the mask of an object"
            )
        return _one_line(mask) or ""


class PromptFile(BaseModel):
    """All objects of one request."""

    model_config = _STRICT

    objects: Annotated[tuple[ObjectPrompts, ...], Field(strict=False)] = ()
    """Each object once."""
    masks: Annotated[tuple[ManyMasks, ...], Field(strict=False)] = ()
    """Files with the masks of several objects each, beside those of `objects` or in their place."""

    @model_validator(mode="after")
    def _has_objects(self) -> "PromptFile":
        if not self.objects and not self.masks:
            got = "objects: wanted {}, got 0" if "objects" in self.model_fields_set else ""
            raise ValueError((got or "objects is missing: wanted {}").format(_WANTED["objects"]))
        return self

    @model_validator(mode="after")
    def _ids_are_unique(self) -> "PromptFile":
        seen: set[int] = set()
        for item in self.objects:
            if item.id in seen:
                raise ValueError(
                    f"object {item.id}: this id is given twice; put all prompts of one object "
                    "in one entry"
                )
            seen.add(item.id)
        return self

    @property
    def labels(self) -> dict[int, str]:
        """The label of each object that has one, by id."""
        return {item.id: item.label for item in self.objects if item.label}

    @property
    def moments(self) -> tuple[_OnOneFrame, ...]:
        """All that is said, as far as that is on which frame or at which time."""
        return (*(entry for item in self.objects for entry in item.prompts), *self.masks)

    @property
    def mask_files(self) -> tuple[str, ...]:
        """The names of all mask files, each once, ascending; without indices."""
        entries = (entry for item in self.objects for entry in item.prompts)
        given = (*(entry.mask for entry in entries), *(many.mask for many in self.masks))
        return tuple(sorted({split_index(mask)[0] for mask in given if isinstance(mask, str)}))


def parse_prompts(
    source: Path | str | Mapping[str, Any], *, limits: Limits = DEFAULT_LIMITS
) -> PromptFile:
    """Check prompts from a JSON file, from JSON text, or from what JSON text stands for.

    Frames, boxes and masks are not held against a video yet; `resolve_prompts` does that.

    Args:
        source: The file, the text or its meaning.
        limits: How large a file is read, and how many objects and points are taken.

    Raises:
        InputError: One line that names the object, the field and the limit.
    """
    raw: object = source
    if isinstance(source, Path):
        raw = _parse_json(_read_text(source, limits), f"prompts file {source}")
    elif isinstance(source, str):
        limits.check_prompts_bytes(len(source.encode(errors="replace")), name="the prompts' JSON")
        raw = _parse_json(source, "prompts")
    spec = _validate(raw)
    check_limits(spec, limits)
    return spec


def check_limits(spec: PromptFile, limits: Limits) -> None:
    """Refuse more objects, or more points in one prompt, than may be.

    Raises:
        InputError: Names the limit and how to raise it.
    """
    limits.check_objects(len(spec.objects))
    for item in spec.objects:
        for index, entry in enumerate(item.prompts):
            limits.check_points(len(entry.points), name=f"object {item.id}, prompts[{index}]")


def error_line(error: ValidationError, raw: object, *, within: tuple[int | str, ...] = ()) -> str:
    """The first thing that is wrong with prompts, in one line.

    Args:
        error: From one of this module's models.
        raw: What was validated, to name the object by its id.
        within: The place that the reader knows already.
    """
    # An unknown key first: a misspelt name says more than that the right one is missing. The rest
    # is not counted, as pydantic reports a list with a bad item also as one that is too short.
    details = error.errors(include_url=False)
    detail = min(details, key=lambda one: one["type"] != "extra_forbidden")
    if within and detail["loc"][: len(within)] == within:
        detail["loc"] = detail["loc"][len(within) :]
    return _describe(detail, raw)


def shown(value: object) -> str:
    """A value as an error shows it: on one line, and not too long."""
    text = ascii(value) if not isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."


def _one_line(text: str | None) -> str | None:
    if text is not None and not keeps_one_line(text):
        raise ValueError(_NOT_ONE_LINE)
    return text


def _describe(detail: ErrorDetails, raw: object) -> str:
    loc, kind = detail["loc"], detail["type"]
    where = _place(loc, raw)
    if kind == "value_error" and _NOT_ONE_LINE not in detail["msg"]:
        message = str(detail["ctx"]["error"])
        return f"{where}: {message}" if where else message
    names = [part for part in loc if isinstance(part, str)]
    field = names[-1] if names else ""
    if kind == "extra_forbidden":
        model = _model_at(loc[:-1])
        known = ", ".join(model.model_fields)
        where = _place(loc[:-1], raw)
        return f"{where + ': ' if where else ''}unknown key {shown(field)}; known are {known}"
    if kind == "missing" and loc[-1] == field:
        where = _place(loc[:-1], raw)
        return f"{where + ': ' if where else ''}{field} is missing: wanted {_WANTED[field]}"
    if kind in ("too_long", "too_short") and field != "box":
        return f"{where}: wanted {_WANTED[field]}, got {detail['ctx']['actual_length']}"
    wanted = _WANTED.get(field, "")
    lists = ("objects", "prompts", "masks")
    if kind == "model_type" or not wanted or (field in lists and loc[-1] != field):
        wanted = "an object in braces, {...}"
    return f"{where or 'prompts'}: wanted {wanted}, got {shown(detail['input'])}"


def _model_at(loc: tuple[int | str, ...]) -> type[BaseModel]:
    """The model whose field is at that place; a lone prompt's place is empty, too."""
    if "prompts" in loc:
        return PromptEntry
    return ObjectPrompts if "objects" in loc else ManyMasks if "masks" in loc else PromptFile


def _place(loc: tuple[int | str, ...], raw: object) -> str:
    """`object 3, prompts[1].box[2]` for ("objects", 0, "prompts", 1, "box", 2)."""
    head = ""
    rest = list(loc)
    if len(rest) >= 2 and rest[0] == "objects":
        head, rest = _object_name(raw, rest[1]), rest[2:]
    path = ""
    for part in rest:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return f"{head}, {path}" if head and path else head or path


def _object_name(raw: object, index: int | str) -> str:
    try:
        obj_id = raw["objects"][index]["id"]  # type: ignore[index]
    except (TypeError, KeyError, IndexError):
        obj_id = None
    return f"object {obj_id}" if type(obj_id) is int else f"objects[{index}]"


def _validate(raw: object) -> PromptFile:
    try:
        return PromptFile.model_validate(raw)
    except ValidationError as error:
        raise InputError(error_line(error, raw)) from error


def _read_text(path: Path, limits: Limits) -> str:
    try:
        if not path.is_file():
            raise InputError(f"there is no prompts file {path}")
        with path.open("rb") as file:
            content = file.read(limits.max_prompts_bytes + 1)
        limits.check_prompts_bytes(len(content), name=f"prompts file {path}", more=True)
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"prompts file {path} is not UTF-8 text, at byte {error.start}") from error
    except OSError as error:
        raise InputError(f"cannot read prompts file {path}: {error.strerror}") from error


def _parse_json(text: str, name: str) -> object:
    def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) < len(pairs):
            keys = sorted(key for key, _ in pairs)
            twice = next(one for one, other in itertools.pairwise(keys) if one == other)
            raise InputError(f"{name}: the key {shown(twice)} is given twice in one place")
        return members

    try:
        return json.loads(text, object_pairs_hook=unique_keys)
    except InputError:
        raise
    except json.JSONDecodeError as error:
        raise InputError(
            f"{name} is not valid JSON: line {error.lineno} column {error.colno}: "
            f"{error.msg.lower()}"
        ) from error
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, or brackets in brackets in brackets.
        raise InputError(f"{name} is not valid JSON: {type(error).__name__}") from error
