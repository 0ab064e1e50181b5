"""Automatic prompts: track whatever a detector finds on the first frame that shows it."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from samcore.detectors.detector import (
    DETECTORS,
    Detection,
    check_detector,
    find_detector,
)
from samcore.detectors.wanted import keep_wanted, least_score
from samcore.errors import InputError
from samcore.prompts.file import MAX_LABEL_CHARS
from samcore.prompts.prompt import Prompt
from samcore.text import keeps_one_line

_Listed = [
    name
    for entry in DETECTORS
    for name in ([f"{entry.name}:{one}" for one in entry.choices] or [entry.form])
    if entry.choices or not entry.takes
]
_More = [entry.name for entry in DETECTORS if entry.takes]
_DetectorName = Annotated[str, Field(json_schema_extra={"enum": _Listed})]
_DetectorWith = Annotated[
    str,
    Field(title="With a file or model", json_schema_extra={"pattern": f"^({'|'.join(_More)}):.+"}),
]
# The form shows them to choose from; the line on a wrong name is the registry's.


def _split_words(given: object) -> object:
    """`person,car` on a command line, or a list."""
    return tuple(given.split(",")) if isinstance(given, str) else given


def _clean_word(word: str) -> str:
    word = " ".join(word.split())
    if not word or len(word) > MAX_LABEL_CHARS or not keeps_one_line(word):
        raise ValueError(f"wanted words of at most {MAX_LABEL_CHARS} characters each")
    return word


_Words = Annotated[
    tuple[Annotated[str, BeforeValidator(_clean_word)], ...], BeforeValidator(_split_words)
]

FIRST_STEP_S = Fraction(1, 2)
"""Seconds to the second frame that is looked at; each next one lies twice as far from the first."""
_SAME_OBJECT = 0.5
"""Share of the smaller of two masks that they have in common, from which on they show one thing."""


class AutomaticPrompts(BaseModel):
    """Track every object that a detector finds on the first frame that shows any."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, title="find them")

    max_objects: int = Field(
        default=10,
        ge=1,
        le=1000,
        title="At most",
        description="Objects to track; the ones that the model is most sure of.",
    )
    frame: int | None = Field(
        default=None,
        ge=0,
        title="On frame",
        description="Where to look for them, and nowhere else; the default is the first frame "
        "that is tracked, and later ones while there is nothing.",
    )
    look_ahead_s: float = Field(
        default=32.0,
        ge=0,
        le=3600,
        title="Look ahead",
        description="Seconds after the first frame. While nothing is found, the frames 0.5, 1, 2, "
        "4 and so on seconds after it are looked at, up to this bound; 0 looks at one frame.",
    )
    min_area: float = Field(
        default=0.001,
        gt=0,
        lt=1,
        title="Least area",
        description="Of an object, as a part of the picture: 0.001 is a square of 45 px in HD.",
    )
    min_predicted_iou: float = Field(
        default=0.8,
        ge=0,
        le=1,
        title="Least predicted IoU",
        description="How good the model must think a mask is, 0 to 1.",
    )
    min_stability: float = Field(
        default=0.85,
        ge=0,
        le=1,
        title="Least stability",
        description="How sharp the edge of a mask must be, 0 to 1.",
    )
    points_per_side: int = Field(
        default=32,
        ge=1,
        le=128,
        title="Points per side",
        description="The model is asked at this many points across and down; more find smaller "
        "objects and take longer.",
    )
    detector: _DetectorName | _DetectorWith = Field(
        default="masks",
        title="Detector",
        description="What finds them; masks is the tracking model itself, asked for everything; "
        "sam3, the default with a text, is SAM 3's own detector.",
    )
    labels: _Words = Field(
        default=(),
        max_length=100,
        title="Labels",
        description="Only objects that the detector calls one of these, such as person.",
    )
    text: _Words = Field(
        default=(),
        max_length=100,
        title="Text",
        description="What to look for, in words such as red car, for a detector that takes text.",
    )
    min_score: float | None = Field(
        default=None,
        ge=0,
        le=1,
        title="Least score",
        description="How sure the detector must be, 0 to 1. The default is its own: 0.5 for "
        "networks, 0.3 with a text (sam3: 0.5), 0 for others.",
    )

    @model_validator(mode="before")
    @classmethod
    def _finds_texts(cls, given: object) -> object:
        """A text without a detector is for the model's own."""
        if isinstance(given, dict) and given.get("text") and "detector" not in given:
            return {**given, "detector": "sam3"}
        return given

    @field_validator("detector")
    @classmethod
    def _is_known(cls, named: str) -> str:
        find_detector(named)
        return named

    @model_validator(mode="after")
    def _goes_together(self) -> "AutomaticPrompts":
        check_detector(self)
        return self


def frames_to_look_at(
    options: AutomaticPrompts, *, start: int, stop: int, rate: Fraction
) -> tuple[int, ...]:
    """Frames on which to look for objects until there are some, ascending.

    They depend on nothing but the arguments, so that the same request finds the same objects:

        0.5, 1, 2, 4, 8, 16 and 32 s after frame 0, at 24 frames/s and with 100 frames

        0           12          24                      48
        |-----------|-----------|-----------------------|----------------- - -

    Args:
        options: A frame, or how far to look ahead.
        start: The first frame that is tracked.
        stop: One past the last one.
        rate: Frames per second.

    Raises:
        InputError: The frame that is wanted is not tracked.
    """
    if options.frame is not None:
        if not start <= options.frame < stop:
            raise InputError(
                f"automatic.frame: wanted one of the frames to track, {start} to {stop - 1}, got "
                f"{options.frame}"
            )
        return (options.frame,)
    frames, ahead_s = {start}, FIRST_STEP_S
    while ahead_s <= options.look_ahead_s and (frame := start + round(ahead_s * rate)) < stop:
        frames.add(frame)
        ahead_s *= 2
    return tuple(sorted(frames))


def choose_detections(
    found: Sequence[Detection], options: AutomaticPrompts
) -> tuple[Detection, ...]:
    """The detections that are objects, best first.

    Those with a wanted label that are sure enough count. One that shares more than half of its
    area, or of the other's, with a better one of the same label is a part of that object, or that
    object with something else, and is left out.

    Args:
        found: All detections on one picture, in any order; compared as they were made.
        options: How many there may be, and how large each has to be.
    """
    found = keep_wanted(found, options)
    size_hw = _grid_size(found)
    chosen: list[Detection] = []
    regions: list[NDArray[np.bool_]] = []
    for item in sorted(found, key=lambda item: _order(item, size_hw)):
        if len(chosen) == options.max_objects:
            break
        region_hw = item.region(size_hw)
        if np.count_nonzero(region_hw) < max(1.0, options.min_area * region_hw.size):
            continue
        rivals = (
            other_hw
            for other, other_hw in zip(chosen, regions, strict=True)
            if other.label == item.label
        )
        if not any(_is_same(region_hw, other_hw) for other_hw in rivals):
            chosen.append(item)
            regions.append(region_hw)
    return tuple(chosen)


def choose_objects(
    found: Sequence[Detection], options: AutomaticPrompts, *, frame_idx: int
) -> tuple[Prompt, ...]:
    """Turn what a detector found into prompts: a mask, or a box where it gives no masks.

    Args:
        found: All detections on one picture, in any order.
        options: Which of them are objects: see `choose_detections`.
        frame_idx: The frame that they are of.

    Returns:
        A prompt for each object, best first, with the ids 1, 2, and so on; none if none is large
        enough.
    """
    return tuple(
        Prompt(
            obj_id=number,
            frame_idx=frame_idx,
            mask_hw=item.enlarged(),
            box_xyxy_px=item.box_xyxy_px,
            label=as_label(item.label),
        )
        for number, item in enumerate(choose_detections(found, options), start=1)
    )


def name_frames(frames: Sequence[int]) -> str:
    """`frame 5`, or `frames 0, 12 and 24`."""
    *others, last = frames
    return f"frames {', '.join(map(str, others))} and {last}" if others else f"frame {last}"


def nothing_found(options: AutomaticPrompts, frames: Sequence[int]) -> InputError:
    """The error of a search that found nothing on any of these frames."""
    where = f"no objects found on {name_frames(frames)}"
    if options.detector != "masks":
        kind = f", labelled {' or '.join(options.labels)}," if options.labels else ""
        return InputError(
            f"{where} by {options.detector}: wanted one{kind} of at least {options.min_area:.10g} "
            f"of the picture with a score of {least_score(options):g}; name another frame "
            "(--automatic N:FRAME), ask for less (--min-score, --automatic-option "
            "min_area=0.0001), or give prompts"
        )
    return InputError(
        f"{where}: wanted a mask of at least "
        f"{options.min_area:.10g} of the picture, predicted IoU {options.min_predicted_iou:g} and "
        "stability "
        f"{options.min_stability:g}; name another frame (--automatic N:FRAME), ask for less "
        "(--automatic-option min_predicted_iou=0.6; also min_stability and min_area), or give "
        "prompts"
    )


def as_label(said: str | None) -> str | None:
    """What a detector says as the label of an object, of which there is one line."""
    label = " ".join((said or "").split())[:MAX_LABEL_CHARS]
    return label if label and keeps_one_line(label) else None


def _grid_size(found: Sequence[Detection]) -> tuple[int, int]:
    """Rows and columns on which the detections of a picture are compared: those of its masks."""
    if not found:
        return (1, 1)
    sizes = [item.mask_hw.shape for item in found if item.mask_hw is not None]
    height, width = sizes[0] if sizes else found[0].picture_hw
    return (height, width)


def _order(item: Detection, size_hw: tuple[int, int]) -> tuple[float, int]:
    """Best first; of two that are equally good, the one that begins higher up."""
    return -item.score, int(item.region(size_hw).argmax())


def _is_same(one_hw: NDArray[np.bool_], other_hw: NDArray[np.bool_]) -> bool:
    common = np.count_nonzero(one_hw & other_hw)
    smaller = min(np.count_nonzero(one_hw), np.count_nonzero(other_hw))
    return bool(common > _SAME_OBJECT * smaller)
