"""Prompts for single pictures: as options, as cells of a table, as files; held against a picture.

A picture is frame 0, which nobody has to say:

    [{"box": [4, 8, 90, 60]}, {"points": [[30, 20, 1], [5, 5, 0]]}]              an object each
    {"objects": [{"id": 7, "label": "dog", "prompts": [{"box": [4, 8, 90, 60]}]}]}
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from samcore.errors import InputError
from samcore.images.picture import read_picture
from samcore.limits import DEFAULT_LIMITS, Limits
from samcore.prompts.file import PromptFile, parse_prompts, shown, split_index
from samcore.prompts.prompt import Prompt
from samcore.prompts.resolve import resolve_prompts
from samcore.sources.listing import file_mark

_OBJECT = re.compile(r"(?:(?P<id>\d{1,9}):)?(?P<what>.+)", re.ASCII | re.DOTALL)
_FORMS = {
    "box": "x1,y1,x2,y2, or ID:x1,y1,x2,y2, such as 412,180,640,520",
    "point": "x,y on the object or x,y,0 beside it, or ID:x,y, such as 500,300",
    "mask": "FILE, or ID:FILE[#INDEX], such as dog.png",
}


def prompts_of_options(
    boxes: Iterable[str], points: Iterable[str], masks: Iterable[str]
) -> PromptFile | None:
    """What `--box`, `--point` and `--mask` say; None if none is given.

    Without an id, each box and each mask is an object of its own, numbered from 1 on, and all
    points are of object 1.

    Raises:
        InputError: One line that quotes the option and shows the wanted form.
    """
    entries: dict[int, list[dict[str, Any]]] = {}

    def add(given: str | None, default: int, entry: dict[str, Any]) -> None:
        entries.setdefault(default if given is None else int(given), []).append(entry)

    for kind, texts in (("box", boxes), ("mask", masks)):
        for number, text in enumerate(texts, 1):
            match = _matched(kind, text)
            what = match["what"]
            add(
                match["id"],
                number,
                {kind: _numbers(kind, text, what, {4}) if kind == "box" else what},
            )
    for text in points:
        match = _matched("point", text)
        x, y, *rest = _numbers("point", text, match["what"], {2, 3})
        label = rest[0] if rest else 1.0
        if label not in (0, 1):
            _refuse("point", text, "the third number is 1 (on the object) or 0 (beside it)")
        add(match["id"], 1, {"points": [[x, y, int(label)]]})
    if not entries:
        return None
    objects = [{"id": obj_id, "prompts": found} for obj_id, found in entries.items()]
    return picture_prompts({"objects": objects})


def picture_prompts(raw: object, labels: Sequence[str] = ()) -> PromptFile:
    """Check what JSON says of one picture, in either form above.

    Args:
        raw: What the JSON stands for, or its text.
        labels: Names of the objects in their order, where the JSON has none.

    Raises:
        InputError: One line that names the object and the field.
    """
    if isinstance(raw, str):
        try:
            raw = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise InputError(f"prompts: not valid JSON: {shown(raw)}") from error
    if isinstance(raw, list):
        raw = {"objects": [{"id": at, "prompts": [one]} for at, one in enumerate(raw, 1)]}
    if not isinstance(raw, dict):
        raise InputError(f"prompts: wanted a list, or an object in braces, got {shown(raw)}")
    copied: dict[str, Any] = json.loads(json.dumps(raw))
    for item in _dicts(copied.get("objects")):
        for entry in _dicts(item.get("prompts")):
            _on_the_picture(entry)
    for entry in _dicts(copied.get("masks")):
        _on_the_picture(entry)
    spec = parse_prompts(copied)
    if labels:
        if len(labels) != len(spec.objects):
            raise InputError(
                f"labels: wanted one for each of {len(spec.objects)} objects, got {len(labels)}"
            )
        objects = (
            item.model_copy(update={"label": item.label or label})
            for item, label in zip(spec.objects, labels, strict=True)
        )
        spec = parse_prompts(
            spec.model_copy(update={"objects": tuple(objects)}).model_dump(exclude_defaults=True)
        )
    return spec


def anchored(spec: PromptFile, base: Path, *, anywhere: bool) -> PromptFile:
    """The prompts with absolute paths in the place of the names of mask files.

    Args:
        spec: The prompts.
        base: The folder that names are relative to.
        anywhere: Whether masks may lie elsewhere: a person named them.

    Raises:
        InputError: A mask lies outside of the folder, and that is not allowed; or is not there.
    """

    def absolute(mask: object) -> object:
        if not isinstance(mask, str):
            return mask
        name, index = split_index(mask)
        path = base.absolute() / Path(name).expanduser()
        if not anywhere and base.resolve() not in path.resolve().parents:
            raise InputError(f"mask file {name} lies outside of {base}: put it beside the prompts")
        if not path.is_file():
            raise InputError(f"there is no mask file {path}")
        return str(path) + ("" if index is None else f"#{index}")

    objects = tuple(
        item.model_copy(
            update={
                "prompts": tuple(
                    entry.model_copy(update={"mask": absolute(entry.mask)})
                    for entry in item.prompts
                )
            }
        )
        for item in spec.objects
    )
    masks = tuple(one.model_copy(update={"mask": absolute(one.mask)}) for one in spec.masks)
    return spec.model_copy(update={"objects": objects, "masks": masks})


def mask_marks(spec: PromptFile) -> list[str]:
    """What changes when a mask file of anchored prompts does."""
    return [file_mark(Path(name)) for name in spec.mask_files]


def check_common_masks(spec: PromptFile, limits: Limits = DEFAULT_LIMITS) -> None:
    """Refuse mask files that fit no picture at all, of anchored prompts for all pictures.

    Raises:
        InputError: One is no mask, lacks the index, or has another size than the others.
    """
    sizes = {name: read_picture(Path(name), limits=limits).size_hw for name in spec.mask_files}
    if not sizes:
        return
    (first, size_hw), *others = sizes.items()
    for name, other_hw in others:
        if other_hw != size_hw:
            raise InputError(
                f"mask files of different sizes, which fit no picture: {first} has {size_hw[1]} x "
                f"{size_hw[0]} pixels, {name} {other_hw[1]} x {other_hw[0]}"
            )
    held_against(spec, height=size_hw[0], width=size_hw[1], limits=limits)


@dataclass(frozen=True, slots=True)
class _Size:
    width: int
    height: int
    num_frames: int = 1


def held_against(
    spec: PromptFile, *, height: int, width: int, limits: Limits = DEFAULT_LIMITS
) -> tuple[Prompt, ...]:
    """Anchored prompts as the segmenter takes them, for a picture of this size; by object id.

    Raises:
        InputError: One line that names the object, the field and the limit.
    """
    try:
        prompts = resolve_prompts(
            spec,
            video=_Size(width, height),
            frame_at=lambda _: 0,
            base_dir=Path("/"),
            start=0,
            stop=1,
            allow_any_path=True,
            limits=limits,
        )
    except InputError as error:
        said = str(error).replace(", frame 0", "").replace("the video's", "the picture's")
        raise InputError(said) from error
    return tuple(replace(one, label=spec.labels.get(one.obj_id)) for one in prompts)


def _dicts(given: object) -> list[dict[str, Any]]:
    return [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []


def _on_the_picture(entry: dict[str, Any]) -> None:
    if entry.get("time") is not None or entry.get("frame", 0) != 0 or entry.get("from_here"):
        raise InputError(
            "a picture has no frames and no time: leave out frame and time, from_here too"
        )
    entry["frame"] = 0


def _matched(kind: str, text: str) -> re.Match[str]:
    match = _OBJECT.fullmatch(text)
    if match is None:
        _refuse(kind, text)
    return match


def _numbers(kind: str, text: str, what: str, counts: set[int]) -> list[float]:
    try:
        numbers = [float(part) for part in what.split(",")]
    except ValueError:
        _refuse(kind, text)
    if len(numbers) not in counts:
        _refuse(kind, text, f"got {len(numbers)} numbers")
    return numbers


def _refuse(kind: str, text: str, why: str = "") -> NoReturn:
    reason = f": {why}" if why else ""
    raise InputError(f"--{kind} {shown(text)}{reason}; wanted {_FORMS[kind]}")
