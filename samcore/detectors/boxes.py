"""From the boxes that a network gives to detections."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from samcore.detectors.detector import Detection


def boxes_in_picture(
    boxes_n4: NDArray[np.float64],
    scores_n: NDArray[np.float64],
    labels: Sequence[str | None],
    picture_hw: tuple[int, int],
) -> list[Detection]:
    """Detections from the boxes that a network gave, best first; ties go by label and box.

    What lies outside the picture is cut off, and a box that lies outside altogether is left out.
    Scores have four digits.
    """
    height, width = picture_hw
    made = []
    for box, score, label in zip(boxes_n4.tolist(), scores_n.tolist(), labels, strict=True):
        left, right = (min(max(float(x), 0.0), float(width)) for x in box[0::2])
        top, bottom = (min(max(float(y), 0.0), float(height)) for y in box[1::2])
        if left < right and top < bottom:
            corners = (left, top, right, bottom)
            made.append(Detection(round(score, 4), picture_hw, box_xyxy_px=corners, label=label))
    return sorted(made, key=lambda one: (-one.score, one.label or "", one.box_xyxy_px))
