"""Prompts drawn from true masks, as a person might give them."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samcore.scenes import box_of
from samcore.training.config import PromptKind

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class PromptBatch:
    """One kind of prompt for R objects on one frame."""

    points_rp2: Tensor | None
    """Clicks or box corners, x and y in pixels of the model's input; None for a mask."""
    labels_rp: Tensor | None
    """1 on the object, 0 off it, 2 and 3 the corners of a box, int32."""
    masks_r1hw: Tensor | None
    """Masks at the model's input size, float; None for clicks and boxes."""


def draw_prompts(rng: np.random.Generator, masks_rhw: Bools, kind: PromptKind) -> PromptBatch:
    """Prompts of one kind; `correction` begins like `point` and is corrected later.

    An empty mask gets a click at a place without meaning: its row has no loss on that frame.
    """
    if kind == "mask":
        return PromptBatch(None, None, torch.from_numpy(masks_rhw).float()[:, None])
    if kind == "box":
        boxes = np.stack([_loose_box(rng, mask_hw) for mask_hw in masks_rhw])
        labels = np.tile(np.array([2, 3], np.int32), (len(masks_rhw), 1))
        return _points(boxes.reshape(-1, 2, 2), labels)
    count = int(rng.integers(2, 4)) if kind == "clicks" else 1
    points = np.stack([[_click(rng, mask_hw) for _ in range(count)] for mask_hw in masks_rhw])
    return _points(points, np.ones((len(masks_rhw), count), np.int32))


def add_correction(
    rng: np.random.Generator, prompts: PromptBatch, truth_rhw: Bools, predicted_rhw: Bools
) -> PromptBatch:
    """The prompts and one more click each, in the largest region where prediction and truth differ.

    Raises:
        ValueError: The prompts are masks.
    """
    if prompts.points_rp2 is None or prompts.labels_rp is None:
        raise ValueError("only clicks and boxes can be corrected by a click, got masks")
    points, labels = [], []
    for truth_hw, predicted_hw in zip(truth_rhw, predicted_rhw, strict=True):
        missed_hw, extra_hw = truth_hw & ~predicted_hw, predicted_hw & ~truth_hw
        is_missed = bool(missed_hw.sum() >= extra_hw.sum())
        points.append(_click(rng, _largest_part(missed_hw if is_missed else extra_hw)))
        labels.append(int(is_missed))
    return PromptBatch(
        torch.cat([prompts.points_rp2, torch.from_numpy(np.stack(points))[:, None]], dim=1),
        torch.cat([prompts.labels_rp, torch.tensor(labels, dtype=torch.int32)[:, None]], dim=1),
        None,
    )


def _points(points_rp2: NDArray[np.generic], labels_rp: NDArray[np.int32]) -> PromptBatch:
    return PromptBatch(
        torch.from_numpy(points_rp2.astype(np.float32)), torch.from_numpy(labels_rp), None
    )


def _loose_box(rng: np.random.Generator, mask_hw: Bools) -> NDArray[np.float64]:
    """The mask's box with each edge off by up to a tenth of the side, at most 8 pixels."""
    if not mask_hw.any():
        return np.array([0.0, 0.0, 1.0, 1.0])
    box = np.array(box_of(mask_hw))
    slack = np.minimum(np.tile(box[2:] - box[:2], 2) * 0.1, 8.0)
    limit = np.tile(mask_hw.shape[::-1], 2)
    return np.asarray(np.clip(box + rng.uniform(-1, 1, 4) * slack, 0, limit))


def _click(rng: np.random.Generator, mask_hw: Bools) -> NDArray[np.float32]:
    """A click inside the mask: half of them well inside, half anywhere."""
    if not mask_hw.any():
        return np.zeros(2, np.float32)
    if rng.uniform() < 0.5:
        padded = np.pad(mask_hw.astype(np.uint8), 1)
        depth_hw = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
        mask_hw = np.asarray(depth_hw >= 0.6 * depth_hw.max())
    ys, xs = np.nonzero(mask_hw)
    chosen = int(rng.integers(len(ys)))
    return np.array([xs[chosen], ys[chosen]], np.float32)


def _largest_part(mask_hw: Bools) -> Bools:
    count, part_hw, stats, _ = cv2.connectedComponentsWithStats(mask_hw.astype(np.uint8))
    if count < 2:
        return mask_hw
    return np.asarray(part_hw == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()))
