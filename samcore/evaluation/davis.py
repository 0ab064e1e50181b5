"""J, F and J&F as DAVIS 2017 defines them.

J, the region similarity, is the intersection over union of two masks. F, the contour accuracy, is
the F-measure of the precision and recall of boundary pixels that have a boundary pixel of the other
mask near by: within 0.008 of the picture's diagonal. J&F is the mean of both.

Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation",
CVPR 2016, section 5; Pont-Tuset et al., "The 2017 DAVIS Challenge on Video Object Segmentation",
arXiv:1704.00675. Numbers are those of the benchmark's own package,
https://github.com/davisvideochallenge/davis2017-evaluation/blob/ac7c43f/davis2017/metrics.py and
utils.py beside it, but for one thing: that package keeps places of frames in 8 bits, so that its
decay is wrong for sequences of more than 256 frames.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

BOUNDARY_TOLERANCE = 0.008
"""How far apart boundaries may be and still match, as a share of the picture's diagonal."""
RECALL_ABOVE = 0.5
"""Recall is the share of frames with a value above this."""
_QUARTERS = 4


class Statistics(BaseModel):
    """What DAVIS says of one measure of one object over its frames."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: float
    """Over all frames; in [0, 1]."""
    recall: float
    """Share of frames with a value above 0.5."""
    decay: float
    """Mean over the first quarter of the frames less that over the last; what is lost with time."""


def region_similarity(
    mask_hw: NDArray[np.bool_], truth_hw: NDArray[np.bool_], void_hw: NDArray[np.bool_] | None
) -> float:
    """J of two masks, H x W booleans; 1.0 where both are empty.

    Args:
        mask_hw: What was found.
        truth_hw: What is true.
        void_hw: True on pixels that do not count; None if all do.
    """
    shared_hw, either_hw = mask_hw & truth_hw, mask_hw | truth_hw
    if void_hw is not None:
        shared_hw, either_hw = shared_hw & ~void_hw, either_hw & ~void_hw
    union = np.count_nonzero(either_hw)
    return np.count_nonzero(shared_hw) / union if union else 1.0


def contour_accuracy(
    mask_hw: NDArray[np.bool_], truth_hw: NDArray[np.bool_], void_hw: NDArray[np.bool_] | None
) -> float:
    """F of two masks, H x W booleans; 1.0 where neither has a boundary, 0.0 where one has none.

    Args:
        mask_hw: What was found.
        truth_hw: What is true.
        void_hw: True on pixels that do not count; None if all do.
    """
    if void_hw is not None:
        mask_hw, truth_hw = mask_hw & ~void_hw, truth_hw & ~void_hw
    found_hw, true_hw = boundary(mask_hw), boundary(truth_hw)
    num_found, num_true = np.count_nonzero(found_hw), np.count_nonzero(true_hw)
    if not num_found or not num_true:
        return float(num_found == num_true)
    radius = math.ceil(BOUNDARY_TOLERANCE * math.hypot(*mask_hw.shape))
    box = _box_around(found_hw | true_hw)
    found_hw, true_hw = found_hw[box], true_hw[box]
    precision = np.count_nonzero(found_hw & _near(true_hw, radius)) / num_found
    recall = np.count_nonzero(true_hw & _near(found_hw, radius)) / num_true
    both = precision + recall
    return 2 * precision * recall / both if both else 0.0


def boundary(mask_hw: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask's boundary, one pixel wide, half a pixel up and left of where it is.

    A pixel is on it if the one to its right, below it or below to the right is of the other kind;
    in the last column and row only the one below or to the right is asked.
    """
    edge_hw = np.zeros_like(mask_hw)
    here = mask_hw[:-1, :-1]
    edge_hw[:-1, :-1] = (
        (here ^ mask_hw[:-1, 1:]) | (here ^ mask_hw[1:, :-1]) | (here ^ mask_hw[1:, 1:])
    )
    edge_hw[-1, :-1] = mask_hw[-1, :-1] ^ mask_hw[-1, 1:]
    edge_hw[:-1, -1] = mask_hw[:-1, -1] ^ mask_hw[1:, -1]
    return edge_hw


def summarise(values: Sequence[float]) -> Statistics:
    """The statistics of one object's values, in the order of frames.

    The quarters share the frames where they meet, as in the benchmark's package.

    Raises:
        ValueError: There are no values.
    """
    if not len(values):
        raise ValueError("no values to summarise: wanted at least one frame")
    values_t = np.asarray(values, dtype=np.float64)
    # The tiny amount makes halves go up, whatever the rounding of linspace.
    ends = np.round(np.linspace(1, len(values_t), _QUARTERS + 1) + 1e-10).astype(int) - 1
    quarters = [values_t[ends[i] : ends[i + 1] + 1] for i in range(_QUARTERS)]
    return Statistics(
        mean=float(values_t.mean()),
        recall=float((values_t > RECALL_ABOVE).mean()),
        decay=float(quarters[0].mean() - quarters[-1].mean()),
    )


def _near(edge_hw: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """The pixels at most `radius` from a pixel of the edge: its dilation by a disk."""
    offset_y, offset_x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (offset_x**2 + offset_y**2 <= radius**2).astype(np.uint8)
    return cv2.dilate(np.ascontiguousarray(edge_hw).view(np.uint8), disk).view(np.bool_)


def _box_around(edge_hw: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Where the edge lies: what is outside of it matches nothing."""
    x, y, w, h = cv2.boundingRect(edge_hw.view(np.uint8))
    return np.s_[y : y + h, x : x + w]
