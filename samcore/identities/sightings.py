"""From what a detector says of a frame to what is held against the tracks."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samcore.detectors.detector import Detection
from samcore.errors import InputError
from samcore.identities.config import AssociationConfig
from samcore.identities.ledger import plain_label
from samcore.identities.overlap import box_iou, iou_matrix, rounded

Detections = Mapping[int, Sequence[Detection]] | Callable[[int], Sequence[Detection] | None] | None
"""What was detected on a frame, by its number in the video. A frame that a mapping lacks, or for
which there is None, is one that nobody looked at; an empty list says that there is nothing."""

_Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """A detection with its mask at low resolution."""

    mask_hw: NDArray[np.bool_]
    score: float
    """Rounded."""
    label: str | None = None
    detection: Detection | None = None
    """What it was made of."""


def by_frame(detections: Detections) -> Callable[[int], Sequence[Detection] | None]:
    """What was detected on a frame, as a function of its number."""
    if callable(detections):
        return detections
    known = detections or {}
    return lambda frame_idx: known.get(frame_idx)


def check_pictures(found: Iterable[Detection], size_hw: tuple[int, int], *, frame_idx: int) -> None:
    """Make sure that detections are of the video's pictures.

    Raises:
        InputError: One is of a picture of another size.
    """
    for item in found:
        if item.picture_hw != size_hw:
            raise InputError(
                f"a detection on frame {frame_idx} is of a picture of {item.picture_hw[1]} x "
                f"{item.picture_hw[0]}; the video has {size_hw[1]} x {size_hw[0]}"
            )


def likely(found: Iterable[Detection], config: AssociationConfig) -> list[Detection]:
    """The detections that are looked at: sure enough, and of equal boxes of a label the best.

    Returns:
        By falling score, then label, then box.
    """
    boxes = {id(item): _box(item) for item in found}
    kept: list[Detection] = []
    for item in sorted(found, key=lambda item: _order(item, boxes[id(item)])):
        box = boxes[id(item)]
        if rounded(item.score) <= config.min_score or _is_at_border(box, config.border):
            continue
        rivals = [
            boxes[id(other)]
            for other in kept
            if item.box_xyxy_px is not None and other.box_xyxy_px is not None
            # The same label as a track would have it.
            if plain_label(other.label) == plain_label(item.label)
        ]
        if all(rounded(box_iou(box, rival)) <= config.nms_box_iou for rival in rivals):
            kept.append(item)
    return kept


def distinct(
    found: Sequence[Detection], masks: Sequence[NDArray[np.bool_]], config: AssociationConfig
) -> list[Sighting]:
    """The detections whose masks are not empty, and not much the same as a better one's.

    Args:
        found: From `likely`.
        masks: Of each, at low resolution.
        config: How much two masks may overlap.

    Returns:
        In the same order.
    """
    kept: list[Sighting] = []
    for item, mask_hw in zip(found, masks, strict=True):
        label = plain_label(item.label)
        rivals = [other.mask_hw for other in kept if other.label == label]
        if mask_hw.any() and (iou_matrix([mask_hw], rivals) <= config.nms_iou).all():
            kept.append(Sighting(mask_hw, rounded(item.score), label, item))
    return kept


def _order(item: Detection, box: _Box) -> tuple[float, str, _Box]:
    return -rounded(item.score), plain_label(item.label) or "", box


def _box(item: Detection) -> _Box:
    """Left, top, right and bottom as parts of the picture's sides, rounded; zeros if empty."""
    if item.box_xyxy_px is not None:
        height, width = item.picture_hw
        left, top, right, bottom = item.box_xyxy_px
    else:
        mask_hw = item.region(item.mask_hw.shape if item.mask_hw is not None else (1, 1))
        height, width = mask_hw.shape
        columns, rows = np.flatnonzero(mask_hw.any(axis=0)), np.flatnonzero(mask_hw.any(axis=1))
        if not len(columns):
            return (0.0, 0.0, 0.0, 0.0)
        left, top, right, bottom = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return (
        rounded(left / width),
        rounded(top / height),
        rounded(right / width),
        rounded(bottom / height),
    )


def _is_at_border(box: _Box, border: float) -> bool:
    middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    return border > 0 and any(not border <= place <= 1 - border for place in middle)
