"""The detector `masks`: click on every point of a grid, and keep the masks that are good.

The steps and numbers are those of the sam2 package's `automatic_mask_generator.py` (1.1.0) as it is
set up by default, over whatever model tracks; `tests/samcore/detectors/test_masks.py` holds the
masks to that package's own.
"""

import logging
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from samcore.detectors.detector import Detection
from samcore.masks.rle import Rle, decode_mask, encode_masks
from samcore.models.family import Candidates, ImageFeatures, TrackingModel
from samcore.prompts.automatic import AutomaticPrompts
from samcore.tracking.numbers import check_numbers, finite

logger = logging.getLogger(__name__)

_MAX_SIDE = 1024
"""Larger pictures are made smaller first: a mask is decoded at a quarter of the model's input, and
hundreds of masks at the size of an 8K picture would not fit into memory. Only what is tracked
is enlarged."""
_PIXELS_AT_ONCE = 1 << 25
"""Upper bound of float pixels that a batch of masks holds (128 MiB)."""
_MASKS_PER_POINT = 3
_SAME_BOX = 0.7
"""IoU of two masks' boxes above which the one that is less sure is left out."""
_OFFSET = 1.0
"""A mask is stable if it is nearly the same when cut at this logit more and less."""


class MaskGrid:
    """Finds whatever the tracking model has a sharp mask for."""

    def __init__(self, model: TrackingModel, options: AutomaticPrompts, *, batch: int) -> None:
        """Make a detector.

        Args:
            model: Any; runs on its device.
            options: How many points there are, and how good a mask has to be.
            batch: Points whose masks are made at once; large pictures have fewer.
        """
        self._model = model
        self._options = options
        self._batch = batch

    def detect(
        self,
        images_rgb_hwc_u8: Sequence[NDArray[np.uint8]],
        *,
        first_frame: int = 0,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[list[Detection]]:
        """Find masks; progress counts the points of a picture, from 0 for each picture.

        The masks of a picture may overlap: an object is often there with its parts. Their score is
        the predicted IoU times the stability.

        Raises:
            ModelError: The model gives no numbers.
        """
        return [
            self._detect(image_hwc, frame_idx, on_progress)
            for frame_idx, image_hwc in enumerate(images_rgb_hwc_u8, start=first_frame)
        ]

    def _detect(
        self,
        image_hwc: NDArray[np.uint8],
        frame_idx: int,
        on_progress: Callable[[int, int], None] | None,
    ) -> list[Detection]:
        small_hwc = _shrink(image_hwc)
        height, width = small_hwc.shape[:2]
        points_n2 = _grid(self._options.points_per_side) * np.array([width, height])
        batch = max(1, min(self._batch, _PIXELS_AT_ONCE // (height * width * _MASKS_PER_POINT)))
        proposals = _Proposals()
        with self._model.running():
            pixels_1chw = self._model.preprocess(small_hwc[None]).contiguous()
            (features,) = self._model.encode_images(pixels_1chw)
            for first in range(0, len(points_n2), batch):
                points = points_n2[first : first + batch]
                self._click(features, points, (height, width), proposals)
                if on_progress is not None:
                    on_progress(first + len(points), len(points_n2))
            if not proposals.rles:
                # What is not a number is no good mask either, and was left out without a word.
                self._click_once(features, frame_idx)
        logger.debug("the mask generator proposes %d masks", len(proposals.rles))
        return [
            Detection(
                score=proposals.ious[index] * proposals.stabilities[index],
                picture_hw=(image_hwc.shape[0], image_hwc.shape[1]),
                mask_hw=decode_mask(proposals.rles[index]),
            )
            for index in _best_boxes(proposals)
        ]

    def _click(
        self,
        features: ImageFeatures,
        points_n2: NDArray[np.float64],
        size_hw: tuple[int, int],
        proposals: "_Proposals",
    ) -> None:
        """Decode a mask or more for each point, and keep the good ones."""
        side, device = self._model.facts.image_size, self._model.device
        points_b2 = torch.as_tensor(points_n2, dtype=torch.float32, device=device)
        size_wh = torch.tensor([size_hw[1], size_hw[0]], dtype=torch.float32, device=device)
        candidates = self._decode(features, points_b2 / size_wh * side)
        logits_nhw = candidates.logits_bmhw.flatten(0, 1)
        # In the arithmetic that they were made in, in which the bound is rounded, too.
        ious_n = candidates.ious_bm.flatten().to(self._model.compute.dtype)
        if self._options.min_predicted_iou > 0:
            keep_n = ious_n > self._options.min_predicted_iou
            logits_nhw, ious_n = logits_nhw[keep_n], ious_n[keep_n]
        logits_nhw = F.interpolate(logits_nhw[:, None].float(), size_hw, mode="bilinear")[:, 0]
        stability_n = _stability(logits_nhw)
        if self._options.min_stability > 0:
            keep_n = stability_n >= self._options.min_stability
            logits_nhw, ious_n = logits_nhw[keep_n], ious_n[keep_n]
            stability_n = stability_n[keep_n]
        proposals.rles += encode_masks((logits_nhw > 0).cpu().numpy())
        proposals.ious += ious_n.float().tolist()
        proposals.stabilities += stability_n.tolist()

    def _decode(self, features: ImageFeatures, points_b2: Tensor) -> Candidates:
        """One click for each of B objects, in pixels of the model's input."""
        count = len(points_b2)
        fused = self._model.without_memory(features)
        return self._model.decode(
            # A copy lies in memory in another way, which changes the last bits of bfloat16.
            fused if count == 1 else fused.repeat_interleave(count, dim=0),
            features,
            is_cond=True,
            points_bp2=points_b2[:, None],
            labels_bp=torch.ones((count, 1), dtype=torch.int32, device=self._model.device),
        )

    def _click_once(self, features: ImageFeatures, frame_idx: int) -> None:
        """Decode a click in the middle of the picture, to see whether that gives numbers."""
        side, device = self._model.facts.image_size, self._model.device
        candidates = self._decode(features, torch.full((1, 2), side / 2, device=device))
        decoded = self._model.pick(candidates, candidates.ious_bm.argmax(dim=1))
        check_numbers(self._model, [finite(decoded)], frame_idx=frame_idx)


class _Proposals:
    """The masks that are kept so far, small as run lengths; three lists side by side."""

    def __init__(self) -> None:
        self.rles: list[Rle] = []
        self.ious: list[float] = []
        self.stabilities: list[float] = []


def _grid(side: int) -> NDArray[np.float64]:
    """Points in the middles of side x side equal fields of [0, 1] x [0, 1], row by row."""
    offset = 1 / (2 * side)
    line = np.linspace(offset, 1 - offset, side)
    return np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)


def _stability(logits_nhw: Tensor) -> Tensor:
    """IoU of each mask cut at a higher and at a lower logit; NaN where both are empty."""
    inner_n = (logits_nhw > _OFFSET).sum((-2, -1), dtype=torch.int32)
    outer_n = (logits_nhw > -_OFFSET).sum((-2, -1), dtype=torch.int32)
    return inner_n / outer_n


def _best_boxes(proposals: _Proposals) -> list[int]:
    """The masks whose boxes differ from those of all better ones, best first."""
    boxes_n4 = np.array([_corners(rle) for rle in proposals.rles], np.float32).reshape(-1, 4)
    left, top, right, bottom = boxes_n4.T
    area_n = (right - left) * (bottom - top)
    kept: list[int] = []
    left_out_n = np.zeros(len(boxes_n4), bool)
    for index in np.argsort(-np.array(proposals.ious), kind="stable").tolist():
        if left_out_n[index]:
            continue
        kept.append(index)
        width_n = np.minimum(right, right[index]) - np.maximum(left, left[index])
        height_n = np.minimum(bottom, bottom[index]) - np.maximum(top, top[index])
        common_n = np.maximum(width_n, 0) * np.maximum(height_n, 0)
        with np.errstate(invalid="ignore"):  # boxes of one row or column have no area
            iou_n = common_n / (area_n[index] + area_n - common_n)
        left_out_n |= iou_n > _SAME_BOX
    return kept


def _corners(rle: Rle) -> tuple[int, int, int, int]:
    """The first and last column and row of a mask, left, top, right, bottom; zeros if empty."""
    x, y, width, height = rle.box_xywh
    return (x, y, x + width - 1, y + height - 1) if width and height else (0, 0, 0, 0)


def _shrink(image_hwc: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image_hwc.shape[:2]
    scale = _MAX_SIDE / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(image_hwc)
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image_hwc, size_wh, interpolation=cv2.INTER_AREA).astype(np.uint8)
