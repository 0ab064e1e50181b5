"""The only door to the `sam2` package's automatic mask generator."""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator

from samcore.errors import InputError
from samcore.models.family import TrackingModel
from samcore.models.sam2.adapter import Sam2Model
from samcore.tracking.numbers import check_numbers, finite

logger = logging.getLogger(__name__)

_MAX_SIDE = 1024
"""Larger pictures are made smaller first: a mask is decoded at a quarter of the model's input, and
hundreds of masks at the size of an 8K picture would not fit into memory. Only what is tracked
is enlarged."""
_PIXELS_AT_ONCE = 1 << 25
"""Upper bound of float pixels that a batch of masks holds (128 MiB)."""
_MASKS_PER_POINT = 3
MAX_POINTS_AT_ONCE = 64
_STRIDES = (4, 8, 16)
"""Of the feature maps that the image encoder gives."""


@dataclass(frozen=True, slots=True, eq=False)
class FoundMask:
    """One mask that the generator proposes."""

    mask_hw: NDArray[np.bool_]
    """As it was made: of a large picture, smaller than that."""
    predicted_iou: float
    """What the model thinks of it, about 0 to 1."""
    stability: float
    """IoU of the mask cut at a higher and at a lower logit, 0 to 1."""
    picture_hw: tuple[int, int] | None = None
    """Height and width of the picture; None is the mask's own."""

    def enlarged(self) -> NDArray[np.bool_]:
        """The mask at the size of the picture, H x W."""
        if self.picture_hw is None or self.mask_hw.shape == self.picture_hw:
            return np.ascontiguousarray(self.mask_hw)
        height, width = self.picture_hw
        # Linear between the pixels: no staircase along the edge.
        large = cv2.resize(
            self.mask_hw.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR
        )
        return np.asarray(large >= 0.5)


def generate_masks(
    model: TrackingModel,
    image_rgb_hwc_u8: NDArray[np.uint8],
    *,
    points_per_side: int,
    min_predicted_iou: float,
    min_stability: float,
    points_at_once: int = MAX_POINTS_AT_ONCE,
    on_progress: Callable[[int, int], None] | None = None,
    frame_idx: int = 0,
) -> list[FoundMask]:
    """Click on every point of a grid and give the masks that the model is sure of.

    The masks may overlap: an object is often there with its parts. Their order is that of the
    package. Equal arguments give equal masks on the same hardware.

    Args:
        model: Any SAM 2; runs on its device.
        image_rgb_hwc_u8: H x W x 3.
        points_per_side: The grid has this many points across, and down.
        min_predicted_iou: Masks that the model predicts a lower IoU for are left out; 0 to 1.
        min_stability: Masks with a softer edge are left out; 0 to 1.
        points_at_once: Points whose masks are made as one batch; large pictures have fewer.
        on_progress: Called after each batch with the points clicked on so far, and all of them.
        frame_idx: The picture's number, for an error.

    Raises:
        InputError: The model is not of the sam2 package.
        ModelError: The model gives no numbers.
    """
    if not isinstance(model, Sam2Model):
        raise InputError(
            "the mask generator works with models of the sam2 package only; give prompts, or name "
            "such a model"
        )
    height, width = image_rgb_hwc_u8.shape[:2]
    small_hwc = _shrink(image_rgb_hwc_u8)
    pixels = small_hwc.shape[0] * small_hwc.shape[1] * _MASKS_PER_POINT
    generator = _generator(
        model,
        points_per_side=points_per_side,
        points_per_batch=max(1, min(points_at_once, _PIXELS_AT_ONCE // pixels)),
        pred_iou_thresh=min_predicted_iou,
        stability_score_thresh=min_stability,
    )
    if on_progress is not None:
        _report_batches(generator, points_per_side**2, on_progress)
    with model.running(), _root_logger_left_alone():
        found = generator.generate(small_hwc)
        if not found:
            # What is not a number is no good mask either, and the package leaves it out unsaid.
            _click_once(model, small_hwc, frame_idx)
    logger.debug("the mask generator proposes %d masks", len(found))
    return [
        FoundMask(
            mask_hw=item["segmentation"],
            predicted_iou=float(item["predicted_iou"]),
            stability=float(item["stability_score"]),
            picture_hw=(height, width),
        )
        for item in found
    ]


def _click_once(model: Sam2Model, image_hwc: NDArray[np.uint8], frame_idx: int) -> None:
    """Decode a click in the middle of the picture, to see whether that gives numbers."""
    (features,) = model.encode_images(model.preprocess(image_hwc[None]))
    middle = torch.full((1, 1, 2), model.facts.image_size / 2, device=model.device)
    candidates = model.decode(
        model.without_memory(features),
        features,
        is_cond=True,
        points_bp2=middle,
        labels_bp=torch.ones((1, 1), dtype=torch.int32, device=model.device),
    )
    decoded = model.pick(candidates, candidates.ious_bm.argmax(dim=1))
    check_numbers(model, [finite(decoded)], frame_idx=frame_idx)


def _generator(model: Sam2Model, **options: float) -> SAM2AutomaticMaskGenerator:
    with warnings.catch_warnings():
        # The package compiles its transforms in a way that newer versions of torch warn of.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        # The network itself, which nothing outside this package gets to see.
        generator = SAM2AutomaticMaskGenerator(model._net, **options)
    # The package has the sizes of a 1024 px input written in.
    side = model.facts.image_size
    generator.predictor._bb_feat_sizes = [(side // stride, side // stride) for stride in _STRIDES]
    return generator


def _report_batches(
    generator: SAM2AutomaticMaskGenerator, total: int, on_progress: Callable[[int, int], None]
) -> None:
    """Have `on_progress` called after each batch; the package has no place for that."""
    process, done = generator._process_batch, 0

    def reported(points: NDArray[np.float64], *args: object, **kwargs: object) -> object:
        nonlocal done
        found = process(points, *args, **kwargs)
        done += len(points)
        on_progress(done, total)
        return found

    generator._process_batch = reported


@contextlib.contextmanager
def _root_logger_left_alone() -> Iterator[None]:
    """The package logs through the root logger, which sets itself up to print if nobody has."""
    root = logging.getLogger()
    nobody = logging.NullHandler()
    root.addHandler(nobody)
    try:
        yield
    finally:
        root.removeHandler(nobody)


def _shrink(image_hwc: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image_hwc.shape[:2]
    scale = _MAX_SIDE / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(image_hwc)
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image_hwc, size_wh, interpolation=cv2.INTER_AREA).astype(np.uint8)
