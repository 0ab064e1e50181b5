"""What is found without a person: on the first frame that shows something, or throughout."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from samcore.detectors.detector import (
    Detection,
    check_detector,
    find_detector,
)
from samcore.detectors.wanted import grid_size, is_large_enough, least_score
from samcore.errors import InputError
from samcore.identities.config import AssociationConfig
from samcore.prompts.fields import DetectorName, DetectorWith, Every, Words
from samcore.prompts.file import MAX_LABEL_CHARS
from samcore.prompts.prompt import Prompt
from samcore.text import keeps_one_line

_SET_ELSEWHERE = ("detect_every", "max_objects", "prompted_labels", "reanchor_every")
ASSOCIATION_NAMES = tuple(
    name for name in AssociationConfig.model_fields if name not in _SET_ELSEWHERE
)
"""Constants of association that can be set by name; others have options of their own."""

FIRST_STEP_S = Fraction(1, 2)
"""Seconds to the second frame that is looked at; each next one lies twice as far from the first."""
_SAME_OBJECT = 0.5
"""Share of the smaller of two masks that they have in common, from which on they show one thing."""


class AutomaticPrompts(BaseModel):
    """Track every object that a detector finds: on the first frame that shows any, or, with
    `detect_every`, throughout the video."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, title="find them")

    max_objects: int = Field(
        default=10,
        ge=1,
        le=1000,
        title="At most",
        description="Objects to track, with Look every at once, prompted ones among them; the ones "
        "that the detector is most sure of.",
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
    detector: DetectorName | DetectorWith = Field(
        default="masks",
        title="Detector",
        description="What finds them; masks is the tracking model itself, asked for everything; "
        "sam3, the default with a text, is SAM 3's own detector.",
    )
    labels: Words = Field(
        default=(),
        max_length=100,
        title="Labels",
        description="Only objects that the detector calls one of these, such as person.",
    )
    text: Words = Field(
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

    more_detectors: tuple[DetectorName | DetectorWith, ...] = Field(
        default=(),
        max_length=10,
        title="More detectors",
        description="Others that look at the same frames. Labels and text are for those that know "
        "such; things of different labels are different objects.",
    )
    detect_every: Every | None = Field(
        default=None,
        title="Look every",
        description="Look for objects throughout the video, and track new ones from where they "
        "enter: on every frame whose number is a multiple of this, or, with cuts, on the first "
        "frame after each scene cut. Prompts are tracked beside them. The default looks at the "
        "first frame only.",
    )
    reanchor_every: int | None = Field(
        default=None,
        ge=0,
        title="Anchor every",
        description="On such frames that are multiples of this, what a detector is sure of "
        "corrects the mask of its object. The default is 16; 0 is never.",
    )
    association_options: dict[str, bool | int | float | str] = Field(
        default_factory=dict,
        max_length=len(ASSOCIATION_NAMES),
        title="Options of association",
        description="Some constants by which detections become objects, by name, such as "
        "hot_start, in place of their defaults.",
    )

    @model_validator(mode="before")
    @classmethod
    def _finds_texts(cls, given: object) -> object:
        """A text without a detector is for the model's own."""
        if isinstance(given, dict) and given.get("text"):
            named = {"detector", "more_detectors"} & given.keys()
            return given if named else {**given, "detector": "sam3"}
        return given

    @field_validator("detector")
    @classmethod
    def _is_known(cls, named: str) -> str:
        find_detector(named)
        return named

    @field_validator("more_detectors")
    @classmethod
    def _are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for named in names:
            find_detector(named)
        return names

    @model_validator(mode="after")
    def _goes_together(self) -> "AutomaticPrompts":
        if len({self.detector, *self.more_detectors}) <= len(self.more_detectors):
            raise ValueError(f"the detector {_twice(self)} is named twice")
        check_detectors(self)
        if self.detect_every is None:
            for name in ("reanchor_every", "association_options"):
                if getattr(self, name) not in (None, {}):
                    raise ValueError(f"{name} needs detect_every, which says when to look: give it")
            return self
        if self.frame is not None:
            raise ValueError(
                "detect_every looks throughout the video, and frame at one frame: give one of them"
            )
        self.association({})
        return self

    def __hash__(self) -> int:
        # By its text: a dictionary among its fields has no hash.
        return hash(self.model_dump_json())

    @property
    def each(self) -> tuple["AutomaticPrompts", ...]:
        """The same for each detector alone, with the labels and texts that it knows."""
        return tuple(self._of(named) for named in (self.detector, *self.more_detectors))

    @property
    def named(self) -> str:
        """The detectors, for a person."""
        return " and ".join((self.detector, *self.more_detectors))

    def association(self, prompted_labels: dict[int, str]) -> AssociationConfig:
        """The constants by which what is found throughout the video becomes objects.

        What counts for a detector, by its own bound, may be seen again and may be new: detectors'
        scores are not on one scale.

        Args:
            prompted_labels: What a person calls objects. One that is called what is looked for is
                such a thing only; another one may be any.

        Raises:
            ValueError: `association_options` are wrong; one line.
        """
        asked = {*self.labels, *self.text}
        # After a cut nothing looks a second time, so nothing is taken back.
        seldom = {"detect_every": 1, "hot_start": 1}
        given = {
            **(seldom if self.detect_every == "cuts" else {"detect_every": self.detect_every or 1}),
            "max_objects": self.max_objects,
            "min_score": 0.0,
            "birth_score": 0.0,
            **({} if self.reanchor_every is None else {"reanchor_every": self.reanchor_every}),
            **self.association_options,
            "prompted_labels": {i: name for i, name in prompted_labels.items() if name in asked},
        }
        unknown = [name for name in self.association_options if name not in ASSOCIATION_NAMES]
        if unknown:
            raise ValueError(
                f"association_options: there is no {unknown[0]!r}; there are "
                f"{', '.join(ASSOCIATION_NAMES)}"
            )
        try:
            return AssociationConfig.model_validate(given)
        except ValidationError as error:
            detail = error.errors(include_url=False)[0]
            name, why = detail["loc"][0] if detail["loc"] else "", detail["msg"]
            raise ValueError(
                f"association_options: {name}: {why[:1].lower() + why[1:]}, got {detail['input']!r}"
            ) from error

    def _of(self, named: str) -> "AutomaticPrompts":
        entry, _ = find_detector(named)
        changes: dict[str, Any] = {"detector": named, "more_detectors": ()}
        if self.more_detectors and not entry.has_labels:
            changes["labels"] = ()
        if self.more_detectors and not entry.takes_text:
            changes["text"] = ()
        return self.model_copy(update=changes)


def check_detectors(options: AutomaticPrompts) -> None:
    """Refuse detectors, labels or texts that can be seen to be wrong by words alone.

    Raises:
        InputError: One line that says what would do.
    """
    each = options.each
    for what in ("labels", "text"):
        if getattr(options, what) and not any(getattr(one, what) for one in each):
            # None of them knows such: the first one says which would.
            check_detector(each[0].model_copy(update={what: getattr(options, what)}))
    for one in each:
        check_detector(one)


def _twice(options: AutomaticPrompts) -> str:
    names = [options.detector, *options.more_detectors]
    return next(name for place, name in enumerate(names) if name in names[:place])


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

    One that shares more than half of its
    area, or of the other's, with a better one of the same label is a part of that object, or that
    object with something else, and is left out.

    Args:
        found: The wanted detections on one picture, in any order; compared as they were made.
        options: How many there may be, and how large each has to be.
    """
    size_hw = grid_size(found)
    chosen: list[Detection] = []
    regions: list[NDArray[np.bool_]] = []
    for item in sorted(found, key=lambda item: _order(item, size_hw)):
        if len(chosen) == options.max_objects:
            break
        region_hw = item.region(size_hw)
        if not is_large_enough(region_hw, options):
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
        found: The wanted detections on one picture, in any order: see `keep_wanted`.
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


class NothingFoundError(InputError):
    """A search found nothing on any of its frames."""


def nothing_found(options: AutomaticPrompts, frames: Sequence[int]) -> NothingFoundError:
    """The error of a search that found nothing on any of these frames."""
    where = f"no objects found on {name_frames(frames)}"
    if options.more_detectors or options.detector != "masks":
        kind = f", labelled {' or '.join(options.labels)}," if options.labels else ""
        return NothingFoundError(
            f"{where} by {options.named}: wanted one{kind} of at least {options.min_area:.10g} "
            f"of the picture with a score of {least_score(options):g}; name another frame "
            "(--automatic N:FRAME), ask for less (--min-score, --automatic-option "
            "min_area=0.0001), or give prompts"
        )
    return NothingFoundError(
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


def _order(item: Detection, size_hw: tuple[int, int]) -> tuple[float, int]:
    """Best first; of two that are equally good, the one that begins higher up."""
    return -item.score, int(item.region(size_hw).argmax())


def _is_same(one_hw: NDArray[np.bool_], other_hw: NDArray[np.bool_]) -> bool:
    common = np.count_nonzero(one_hw & other_hw)
    smaller = min(np.count_nonzero(one_hw), np.count_nonzero(other_hw))
    return bool(common > _SAME_OBJECT * smaller)
