"""The detector `masks`: whatever the tracking model has a sharp mask for.

The masks are those of the mask generator in `samcore/images/generator.py`;
`tests/samcore/detectors/test_masks.py` holds them to the sam2 package's own.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from samcore.detectors.detector import Detection
from samcore.images.everything import EverythingOptions
from samcore.images.generator import PIXELS_AT_ONCE, MaskGenerator
from samcore.masks.rle import decode_mask
from samcore.models.family import TrackingModel
from samcore.prompts.automatic import AutomaticPrompts

_MAX_SIDE = 1024
"""Larger pictures are made smaller first: a mask is decoded at a quarter of the model's input, and
hundreds of masks at the size of an 8K picture would not fit into memory. Only what is tracked
is enlarged."""
_MASKS_PER_POINT = 3


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
        generator = MaskGenerator(self._model, self._everything(small_hwc))
        (proposals,) = generator.generate(
            [small_hwc], names=[f"frame {frame_idx}"], on_progress=on_progress
        )
        return [
            Detection(
                score=proposal.predicted_iou * proposal.stability,
                picture_hw=(image_hwc.shape[0], image_hwc.shape[1]),
                mask_hw=decode_mask(proposal.rle),
            )
            for proposal in proposals
        ]

    def _everything(self, image_hwc: NDArray[np.uint8]) -> EverythingOptions:
        height, width = image_hwc.shape[:2]
        fitting = PIXELS_AT_ONCE // (height * width * _MASKS_PER_POINT)
        return EverythingOptions(
            points_per_side=self._options.points_per_side,
            points_per_batch=max(1, min(self._batch, fitting)),
            min_predicted_iou=self._options.min_predicted_iou,
            min_stability=self._options.min_stability,
        )


def _shrink(image_hwc: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image_hwc.shape[:2]
    scale = _MAX_SIDE / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(image_hwc)
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image_hwc, size_wh, interpolation=cv2.INTER_AREA).astype(np.uint8)
