"""Prompts as they are written on a command line: ID:FRAME:what."""

import re
from collections.abc import Iterable
from typing import Any, NoReturn

from pydantic import ValidationError

from samcore.errors import InputError
from samcore.identities.config import AssociationConfig
from samcore.limits import DEFAULT_LIMITS
from samcore.named_values import parse_named_values
from samcore.prompts.automatic import ASSOCIATION_NAMES, AutomaticPrompts
from samcore.prompts.file import (
    ManyMasks,
    ObjectPrompts,
    PromptEntry,
    PromptFile,
    check_limits,
    error_line,
    shown,
)

_OPTION = re.compile(r"(?P<id>\d+):(?P<when>[^:]*):(?P<what>.+)", re.ASCII | re.DOTALL)
_FRAME = re.compile(r"\d+", re.ASCII)
_MASKS = re.compile(r"(?P<when>[^:]*):(?P<what>.+)", re.ASCII | re.DOTALL)
_AUTOMATIC = re.compile(r"(?P<max_objects>\d{1,9})(:(?P<frame>\d{1,18}))?", re.ASCII)
AUTOMATIC_NAMES = tuple(
    name
    for name in AutomaticPrompts.model_fields
    if name not in ("max_objects", "frame", "more_detectors", "detect_every", "reanchor_every")
    and name != "association_options"
)
"""What `--automatic-option` can set; the others are in `--automatic` itself, or have options."""
_TIME = re.compile(r"(?P<seconds>\d+(\.\d*)?|\.\d+)s", re.ASCII)
_FORMS = {
    "box": "ID:FRAME:x1,y1,x2,y2, such as 1:0:412,180,640,520",
    "point": "ID:FRAME:x,y or ID:FRAME:x,y,0 for a point off the object, such as 1:0:500,300",
    "mask": "ID:FRAME:FILE or ID:FRAME:FILE#INDEX, such as 1:0:dog.png",
    "masks": "FRAME:FILE, such as 0:00000.png",
}


def parse_box_option(text: str) -> ObjectPrompts:
    """Read `ID:FRAME:x1,y1,x2,y2`; FRAME may be a time such as `12.5s`.

    Raises:
        InputError: One line that quotes the option and shows the wanted form.
    """
    obj_id, when, what = _split("box", text)
    return _option("box", text, obj_id, {**when, "box": _numbers("box", text, what, {4})})


def parse_point_option(text: str) -> ObjectPrompts:
    """Read `ID:FRAME:x,y[,LABEL]`; LABEL is 1 (on the object, as without it) or 0 (off it).

    Raises:
        InputError: One line that quotes the option and shows the wanted form.
    """
    obj_id, when, what = _split("point", text)
    x, y, *rest = _numbers("point", text, what, {2, 3})
    label = rest[0] if rest else 1.0
    if label not in (0, 1):
        _refuse("point", text, "the third number is 1 (on the object) or 0 (off it)")
    return _option("point", text, obj_id, {**when, "points": [[x, y, int(label)]]})


def parse_mask_option(text: str) -> ObjectPrompts:
    """Read `ID:FRAME:FILE[#INDEX]`; the file's name may hold colons.

    Raises:
        InputError: One line that quotes the option and shows the wanted form.
    """
    obj_id, when, what = _split("mask", text)
    return _option("mask", text, obj_id, {**when, "mask": what})


def parse_masks_option(text: str) -> ManyMasks:
    """Read `FRAME:FILE`; FRAME may be a time such as `12.5s`, the file's name may hold colons.

    Raises:
        InputError: One line that quotes the option and shows the wanted form.
    """
    match = _MASKS.fullmatch(text)
    if match is None:
        _refuse("masks", text)
    raw = {**_frame("masks", text, match["when"]), "mask": match["what"]}
    try:
        return ManyMasks.model_validate(raw)
    except ValidationError as error:
        _refuse("masks", text, error_line(error, raw))


def parse_automatic(
    text: str | None,
    more: Iterable[str] | None = None,
    *,
    detect: Iterable[str] | None = None,
    detect_every: str | None = None,
    reanchor_every: int | None = None,
    association: Iterable[str] | None = None,
    labels: str | None = None,
    texts: Iterable[str] | None = None,
    min_score: float | None = None,
    max_objects: int | None = None,
) -> AutomaticPrompts | None:
    """Read what is to be found, as a command line says it; None where nothing is.

    Args:
        text: `--automatic`, `N` or `N:FRAME`.
        more: `--automatic-option`, `NAME=VALUE`, any number.
        detect: `--detect`, the detectors; with it alone objects are found, too.
        detect_every: `--detect-every`, `N` or `cuts`.
        reanchor_every: `--reanchor-every`.
        association: `--association-option`, `NAME=VALUE`, any number.
        labels: `--labels`, `person,car`.
        texts: `--text`, any number; with it alone, too.
        min_score: `--min-score`.
        max_objects: `--max-objects`.

    Raises:
        InputError: One line that quotes the option and shows the wanted form.
    """
    detectors = tuple(detect or ())
    constants = parse_named_values(
        "--association-option",
        association or (),
        AssociationConfig,
        ASSOCIATION_NAMES,
        "hot_start=30",
    )
    named = {
        "detector": ("--detect", detectors[0] if detectors else None),
        "more_detectors": ("--detect", detectors[1:] or None),
        "detect_every": ("--detect-every", detect_every),
        "reanchor_every": ("--reanchor-every", reanchor_every),
        "association_options": ("--association-option", constants or None),
        "labels": ("--labels", labels),
        "text": ("--text", tuple(texts or ()) or None),
        "min_score": ("--min-score", min_score),
        "max_objects": ("--max-objects", max_objects),
    }
    given = {name: value for name, (_, value) in named.items() if value is not None}
    if text is None and not detectors and "text" not in given:
        alone = ["--automatic-option"] if more else [named[name][0] for name in given]
        if alone:
            raise InputError(
                f"{alone[0]} goes with --automatic N, --detect NAME or --text WORDS; give that, too"
            )
        return None
    asked: dict[str, Any] = {}
    if text is not None:
        match = _AUTOMATIC.fullmatch(text)
        try:
            if match is None:
                raise ValueError
            asked = {name: int(digits) for name, digits in match.groupdict().items() if digits}
            AutomaticPrompts.model_validate(asked)
        except ValueError as error:
            raise InputError(
                f"--automatic {shown(text)}; wanted N or N:FRAME, N from 1 to 1000, such as 10 or "
                "5:300"
            ) from error
    values = parse_named_values(
        "--automatic-option", more or (), AutomaticPrompts, AUTOMATIC_NAMES, "min_area=0.01"
    )
    for name in given:
        other = "--automatic" if name in asked else "--automatic-option" if name in values else ""
        if other:
            raise InputError(f"{named[name][0]} and {other} both say {name}: give one of them")
    try:
        return AutomaticPrompts.model_validate({**asked, **values, **given})
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        option = named[str(detail["loc"][0])][0] + ": " if detail["loc"] else ""
        why = detail["msg"].removeprefix("Value error, ")
        raise InputError(f"{option}{why[:1].lower() + why[1:]}") from error


def merge_options(
    boxes: Iterable[ObjectPrompts],
    points: Iterable[ObjectPrompts],
    masks: Iterable[ObjectPrompts],
    many_masks: Iterable[ManyMasks] = (),
) -> PromptFile:
    """Gather options by object, in the order of boxes, points, masks.

    Raises:
        InputError: There are none, or too many objects.
    """
    entries: dict[int, tuple[PromptEntry, ...]] = {}
    for option in (*boxes, *points, *masks):
        entries[option.id] = entries.get(option.id, ()) + option.prompts
    files = tuple(many_masks)
    if not entries and not files:
        raise InputError("no prompts: give at least one box, point or mask, or a prompts file")
    objects = (
        ObjectPrompts(id=obj_id, label=None, prompts=found) for obj_id, found in entries.items()
    )
    spec = PromptFile(objects=tuple(objects), masks=files)
    check_limits(spec, DEFAULT_LIMITS)
    return spec


def _split(kind: str, text: str) -> tuple[int, dict[str, float], str]:
    match = _OPTION.fullmatch(text)
    if match is None:
        _refuse(kind, text)
    when = _frame(kind, text, match["when"])
    return _object_id(kind, text, match["id"]), when, match["what"]


def _frame(kind: str, text: str, when: str) -> dict[str, float]:
    if _FRAME.fullmatch(when):
        # Beyond 18 digits Python may refuse to make a number; no video is that long.
        if len(when) > 18:
            _refuse(kind, text, "the frame is far too large")
        return {"frame": int(when)}
    time = _TIME.fullmatch(when)
    if time is None:
        _refuse(kind, text, "FRAME is a whole number, or a time such as 12.5s")
    return {"time": float(time["seconds"])}


def _object_id(kind: str, text: str, digits: str) -> int:
    if len(digits) > 18:
        _refuse(kind, text, "the object's id is far too large")
    return int(digits)


def _numbers(kind: str, text: str, what: str, counts: set[int]) -> list[float]:
    try:
        numbers = [float(part) for part in what.split(",")]
    except ValueError:
        _refuse(kind, text)
    if len(numbers) not in counts:
        _refuse(kind, text, f"got {len(numbers)} numbers after the frame")
    return numbers


def _option(kind: str, text: str, obj_id: int, raw: dict[str, Any]) -> ObjectPrompts:
    try:
        return ObjectPrompts.model_validate({"id": obj_id, "prompts": [raw]})
    except ValidationError as error:
        _refuse(kind, text, error_line(error, raw, within=("prompts", 0)))


def _refuse(kind: str, text: str, why: str = "") -> NoReturn:
    reason = f": {why}" if why else ""
    raise InputError(f"--{kind} {shown(text)}{reason}; wanted {_FORMS[kind]}")
