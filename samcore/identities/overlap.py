"""How masks lie on each other: overlaps, and whose a pixel is."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

_DIGITS = 4
_CLEANED_SIDE = 288
"""Side of the masks that `AssociationConfig.clean_area` is counted on."""
_FAINT = 0.1
"""Logit of a hole that is closed, as in `samcore.tracking.postprocess`."""
_OUT = -10.0
"""Logit of a pixel that is taken from a mask."""


def rounded(value: float) -> float:
    """A score or overlap as it is compared."""
    return round(float(value), _DIGITS)


def iou_matrix(
    rows: Sequence[NDArray[np.bool_]], columns: Sequence[NDArray[np.bool_]]
) -> NDArray[np.float64]:
    """IoU of each mask of `rows` with each of `columns`, rounded; 0 where both are empty."""
    if not rows or not columns:
        return np.zeros((len(rows), len(columns)))
    # Counts of pixels are whole numbers that float32 holds exactly.
    row_rp = np.stack([mask_hw.ravel() for mask_hw in rows]).astype(np.float32)
    column_cp = np.stack([mask_hw.ravel() for mask_hw in columns]).astype(np.float32)
    shared_rc = (row_rp @ column_cp.T).astype(np.float64)
    either_rc = row_rp.sum(axis=1)[:, None] + column_cp.sum(axis=1)[None] - shared_rc
    return np.asarray(np.round(shared_rc / np.maximum(either_rc, 1), _DIGITS), np.float64)


def box_iou(one: Sequence[float], other: Sequence[float]) -> float:
    """IoU of two boxes: left, top, right and bottom."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    either = sum(areas) - shared
    return shared / either if either > 0 else 0.0


def exclusive_shares(logits: Mapping[int, NDArray[np.float32]]) -> dict[int, float]:
    """Which part of its pixels each mask keeps if a pixel goes to the highest logit, rounded.

    Of equal logits the lower id has the pixel. 1 for an empty mask.
    """
    ids = sorted(logits)
    if not ids:
        return {}
    logits_nhw = np.stack([logits[obj_id] for obj_id in ids])
    owner_hw = logits_nhw.argmax(axis=0)
    shares = {}
    for place, obj_id in enumerate(ids):
        inside_hw = logits_nhw[place] > 0
        area = int(np.count_nonzero(inside_hw))
        kept = int(np.count_nonzero(inside_hw & (owner_hw == place)))
        shares[obj_id] = rounded(kept / area) if area else 1.0
    return shares


def blanked(logits_hw: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logits of a mask that is taken away."""
    result: NDArray[np.float32] = np.minimum(logits_hw, np.float32(_OUT))
    return result


def cleaned(logits_hw: NDArray[np.float32], *, area: int) -> NDArray[np.float32]:
    """The logits with small holes closed and small specks dropped; the same array if it has none.

    Args:
        logits_hw: Of one mask, H x W.
        area: Pixels of a mask of 288 x 288 up to which a hole or a speck is small; of other sizes
            in proportion.
    """
    most = area * logits_hw.size // _CLEANED_SIDE**2
    inside_hw = logits_hw > 0
    total = int(np.count_nonzero(inside_hw))
    if most < 1 or total == 0:
        return logits_hw
    is_hole_hw = _small_parts(~inside_hw, most)
    is_speck_hw = _small_parts(inside_hw, min(most, total // 2))
    if not is_hole_hw.any() and not is_speck_hw.any():
        return logits_hw
    result: NDArray[np.float32] = logits_hw.copy()
    result[is_hole_hw] = _FAINT
    result[is_speck_hw] = -_FAINT
    return result


def _small_parts(mask_hw: NDArray[np.bool_], most: int) -> NDArray[np.bool_]:
    """The connected parts of a mask that have at most so many pixels."""
    _, labels_hw, stats, _ = cv2.connectedComponentsWithStats(
        mask_hw.view(np.uint8), connectivity=8
    )
    is_small = stats[:, cv2.CC_STAT_AREA] <= most
    is_small[0] = False  # label 0 is what is not in the mask
    return np.asarray(is_small[labels_hw])
