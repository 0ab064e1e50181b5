"""The mask generator: click on every point of a grid, and keep the masks that are good.

The steps and numbers are those of the sam2 package's `automatic_mask_generator.py` (1.1.0), over
any model; `tests/samcore/images/test_everything.py` holds the masks to that package's own. The
detector `masks` looks at frames with it, `ImageSegmenter.everything` at pictures.
"""

import itertools
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from samcore.images.encode import encode_pictures
from samcore.images.everything import EverythingOptions
from samcore.masks.rle import Rle, encode_box, encode_masks
from samcore.models.family import Candidates, ImageFeatures, TrackingModel
from samcore.tracking.numbers import check_numbers, finite
from samcore.tracking.postprocess import fill_holes_and_remove_specks, masks_to_host

logger = logging.getLogger(__name__)

PIXELS_AT_ONCE = 1 << 25
"""Upper bound of float pixels that enlarged masks hold (128 MiB)."""
_NEAR_EDGE_PX = 20
"""A mask whose box ends this near to the edge of its crop is cut off there."""
_MOST_LOGIT = 32.0
"""Logits that are given to the model again lie between this and its negative."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A mask that the generator proposes."""

    rle: Rle
    """The mask, of the picture's size."""
    predicted_iou: float
    """The model's guess of its quality."""
    stability: float
    """IoU of the mask cut at a higher and at a lower logit; NaN where both are empty."""
    point_xy_px: tuple[float, float]
    """The click that gave it, on the picture."""
    crop_xyxy_px: Box
    """The part of the picture that the model saw."""
    box_xyxy_px: Box
    """First and last column and row on the picture; the crop's corner four times if it is empty."""
    candidate: int
    """Which of the masks for its click it is."""


@dataclass(frozen=True, slots=True)
class _View:
    """What the model is shown at once: a picture or a crop of it."""

    picture: int
    image_hwc: NDArray[np.uint8]
    crop: Box
    picture_hw: tuple[int, int]
    points_n2: NDArray[np.float64]

    @property
    def is_whole(self) -> bool:
        return self.image_hwc.shape[:2] == self.picture_hw


class MaskGenerator:
    """Finds whatever a model has a sharp mask for."""

    def __init__(
        self, model: TrackingModel, options: EverythingOptions, *, views_at_once: int = 1
    ) -> None:
        """Make a generator.

        Args:
            model: Any; runs on its device.
            options: How many points there are, and how good a mask has to be.
            views_at_once: Pictures, or crops of them, that go through the encoder at once.
        """
        self._model = model
        self._options = options
        self._views_at_once = views_at_once

    def generate(
        self,
        images_rgb_hwc_u8: Sequence[NDArray[np.uint8]],
        *,
        names: Sequence[str],
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[list[Proposal]]:
        """Propose masks.

        Args:
            images_rgb_hwc_u8: Pictures of any sizes, each H x W x 3.
            names: Of each picture, for errors, such as `frame 7`.
            on_progress: Told how many points are done, of those of all pictures.

        Returns:
            Of each picture the masks that are left, the surest first, and those of smaller crops
            before those of larger ones.

        Raises:
            ModelError: The model gives no numbers.
        """
        views = [
            view
            for number, image_hwc in enumerate(images_rgb_hwc_u8)
            for view in self._views(number, image_hwc)
        ]
        total, done = sum(len(view.points_n2) for view in views), 0
        found: list[list[Proposal]] = [[] for _ in images_rgb_hwc_u8]
        with self._model.running():
            for first in range(0, len(views), self._views_at_once):
                some = views[first : first + self._views_at_once]
                features = encode_pictures(self._model, [view.image_hwc for view in some])
                for view, of_view in zip(some, features, strict=True):
                    proposals: list[Proposal] = []
                    for points_n2 in _batches(view.points_n2, self._options.points_per_batch):
                        proposals += self._click(of_view, points_n2, view)
                        done += len(points_n2)
                        if on_progress is not None:
                            on_progress(done, total)
                    if not proposals:
                        # What is not a number is no good mask either, and was left out silently.
                        self._click_once(of_view, names[view.picture])
                    found[view.picture] += self._best_of_view(proposals)
        logger.debug("the mask generator proposes %d masks", sum(map(len, found)))
        return [self._best_of_crops(proposals) for proposals in found]

    def _views(self, number: int, image_hwc: NDArray[np.uint8]) -> Iterator[_View]:
        options = self._options
        height, width = image_hwc.shape[:2]
        for crop, layer in crop_boxes(
            (height, width), layers=options.crop_layers, overlap=options.crop_overlap
        ):
            left, top, right, bottom = crop
            grid_n2 = point_grid(options, layer)
            if not len(grid_n2):
                continue
            yield _View(
                picture=number,
                image_hwc=image_hwc[top:bottom, left:right],
                crop=crop,
                picture_hw=(height, width),
                points_n2=grid_n2 * np.array([right - left, bottom - top]),
            )

    def _click(
        self, features: ImageFeatures, points_n2: NDArray[np.float64], view: _View
    ) -> list[Proposal]:
        """Decode a mask or more for each point, and keep the good ones."""
        options, model = self._options, self._model
        side, device = model.facts.image_size, model.device
        height, width = view.image_hwc.shape[:2]
        points_b2 = torch.as_tensor(points_n2, dtype=torch.float32, device=device)
        size_wh = torch.tensor([width, height], dtype=torch.float32, device=device)
        input_b2 = points_b2 / size_wh * side
        candidates = self._decode(features, input_b2, multimask=options.multimask)
        each = candidates.logits_bmhw.shape[1]
        logits_nhw = candidates.logits_bmhw.flatten(0, 1)
        # In the arithmetic that they were made in, in which the bound is rounded, too.
        ious_n = candidates.ious_bm.flatten().to(model.compute.dtype)
        place_n = torch.arange(len(ious_n), device=device)
        if options.use_m2m:
            logits_nhw, ious_n = self._refine(features, input_b2, logits_nhw)
        if options.min_predicted_iou > 0:
            keep_n = ious_n > options.min_predicted_iou
            logits_nhw, ious_n, place_n = logits_nhw[keep_n], ious_n[keep_n], place_n[keep_n]
        if options.min_region_area > 0:
            logits_nhw = fill_holes_and_remove_specks(
                logits_nhw, max_area=options.min_region_area, threshold=options.mask_threshold
            )
        proposals: list[Proposal] = []
        at_once = max(1, PIXELS_AT_ONCE // (height * width))
        for first in range(0, len(logits_nhw), at_once):
            part = slice(first, first + at_once)
            masks_nhw, stability_n, keep_n = self._enlarge(logits_nhw[part], (height, width))
            for mask_hw, iou, stability, place in zip(
                masks_nhw,
                ious_n[part][keep_n].float().tolist(),
                stability_n.tolist(),
                place_n[part][keep_n].tolist(),
                strict=True,
            ):
                proposal = _proposal(
                    *(mask_hw, view, iou, stability, points_n2[place // each].tolist()),
                    candidate=place % each,
                )
                if proposal is not None:
                    proposals.append(proposal)
        return proposals

    def _enlarge(
        self, logits_nhw: Tensor, size_hw: tuple[int, int]
    ) -> tuple[NDArray[np.bool_], Tensor, Tensor]:
        """Masks at the view's size that are stable, how stable, and which ones these are."""
        options = self._options
        large_nhw = F.interpolate(logits_nhw[:, None].float(), size_hw, mode="bilinear")[:, 0]
        stability_n = _stability(large_nhw, options.mask_threshold, options.stability_offset)
        keep_n = torch.ones_like(stability_n, dtype=torch.bool)
        if options.min_stability > 0:
            keep_n = stability_n >= options.min_stability
            large_nhw, stability_n = large_nhw[keep_n], stability_n[keep_n]
        return masks_to_host(large_nhw > options.mask_threshold), stability_n, keep_n

    def _refine(
        self, features: ImageFeatures, points_b2: Tensor, logits_nhw: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decode each mask once more from itself and its point: logits and predicted IoU."""
        each = len(logits_nhw) // len(points_b2)
        points_n2 = points_b2.repeat_interleave(each, dim=0)
        priors_n1hw = logits_nhw[:, None].float().clamp(-_MOST_LOGIT, _MOST_LOGIT)
        at_once = self._options.points_per_batch
        refined = [
            self._decode(
                features,
                points_n2[first : first + at_once],
                priors_n1hw=priors_n1hw[first : first + at_once],
                multimask=False,
            )
            for first in range(0, len(points_n2), at_once)
        ]
        ious_n = torch.cat([one.ious_bm[:, 0] for one in refined]).to(self._model.compute.dtype)
        return torch.cat([one.logits_bmhw[:, 0] for one in refined]), ious_n

    def _decode(
        self,
        features: ImageFeatures,
        points_b2: Tensor,
        *,
        priors_n1hw: Tensor | None = None,
        multimask: bool,
    ) -> Candidates:
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
            prior_logits_b1hw=priors_n1hw,
            multimask=multimask,
        )

    def _click_once(self, features: ImageFeatures, name: str) -> None:
        """Decode a click in the middle of the picture, to see whether that gives numbers."""
        side, device = self._model.facts.image_size, self._model.device
        middle_12 = torch.full((1, 2), side / 2, device=device)
        candidates = self._decode(features, middle_12, multimask=self._options.multimask)
        decoded = self._model.pick(candidates, candidates.ious_bm.argmax(dim=1))
        check_numbers(self._model, [finite(decoded)], where=name)

    def _best_of_view(self, proposals: list[Proposal]) -> list[Proposal]:
        scores = [proposal.predicted_iou for proposal in proposals]
        return _best_boxes(proposals, scores, max_iou=self._options.box_nms_iou)

    def _best_of_crops(self, proposals: list[Proposal]) -> list[Proposal]:
        """Of masks with nearly the same box that of the smallest crop."""
        if self._options.crop_layers == 0:
            return proposals
        scores = [1 / _area(proposal.crop_xyxy_px) for proposal in proposals]
        return _best_boxes(proposals, scores, max_iou=self._options.crop_nms_iou)


def point_grid(options: EverythingOptions, layer: int) -> NDArray[np.float64]:
    """The points of a layer of crops as parts of the crop's sides, N x 2: those that are given, or
    the middles of equal fields, row by row."""
    if options.point_grids is not None:
        return np.array(options.point_grids[layer], np.float64).reshape(-1, 2)
    side = int(options.points_per_side / options.crop_points_downscale**layer)
    if side == 0:
        return np.zeros((0, 2))
    offset = 1 / (2 * side)
    line = np.linspace(offset, 1 - offset, side)
    return np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)


def crop_boxes(
    size_hw: tuple[int, int], *, layers: int, overlap: float
) -> Iterator[tuple[Box, int]]:
    """The whole picture, and the crops of each layer, column by column; with the layer's number.

    Layer 1 has two crops across and down, layer 2 four, and so on:

        layer 1     |-----------|
                            |-----------|
        layer 2     |-----|   |-----|
                       |-----|   |-----|

    Args:
        size_hw: Rows and columns of the picture.
        layers: How many layers there are besides the picture.
        overlap: How far crops of the first layer overlap, as a part of the shorter side.
    """
    height, width = size_hw
    yield (0, 0, width, height), 0
    for layer in range(1, layers + 1):
        count = 2**layer
        common = int(overlap * min(size_hw) * (2 / count))
        lefts, across = _crops_along(width, count, common)
        tops, down = _crops_along(height, count, common)
        for left, top in itertools.product(lefts, tops):
            right, bottom = min(left + across, width), min(top + down, height)
            if left < right and top < bottom:  # a picture may have fewer pixels than crops
                yield (left, top, right, bottom), layer


def _crops_along(length: int, count: int, common: int) -> tuple[list[int], int]:
    """Where the crops along one side begin, and how long they are."""
    size = math.ceil((common * (count - 1) + length) / count)
    return [(size - common) * i for i in range(count)], size


def _batches(points_n2: NDArray[np.float64], size: int) -> Iterator[NDArray[np.float64]]:
    for first in range(0, len(points_n2), size):
        yield points_n2[first : first + size]


def _proposal(
    mask_hw: NDArray[np.bool_],
    view: _View,
    iou: float,
    stability: float,
    point_xy: Sequence[float],
    *,
    candidate: int,
) -> Proposal | None:
    """A mask on a view as one on the picture; None if the view's edge cuts it off."""
    (rle,) = encode_masks(mask_hw[None])
    left, top = view.crop[:2]
    height, width = view.picture_hw
    x1, y1, x2, y2 = _corners(rle)
    box = (x1 + left, y1 + top, x2 + left, y2 + top)
    if not view.is_whole:
        picture = (0, 0, width, height)
        if any(
            abs(at - edge) <= _NEAR_EDGE_PX < abs(at - end)
            for at, edge, end in zip(box, view.crop, picture, strict=True)
        ):
            return None
        rle = encode_box(mask_hw, (left, top), height=height, width=width)
    return Proposal(
        rle=rle,
        predicted_iou=iou,
        stability=stability,
        point_xy_px=(point_xy[0] + left, point_xy[1] + top),
        crop_xyxy_px=view.crop,
        box_xyxy_px=box,
        candidate=candidate,
    )


def _stability(logits_nhw: Tensor, threshold: float, offset: float) -> Tensor:
    """IoU of each mask cut at a higher and at a lower logit; NaN where both are empty."""
    inner_n = (logits_nhw > threshold + offset).sum((-2, -1), dtype=torch.int32)
    outer_n = (logits_nhw > threshold - offset).sum((-2, -1), dtype=torch.int32)
    return inner_n / outer_n


def _best_boxes(
    proposals: Sequence[Proposal], scores: Sequence[float], *, max_iou: float
) -> list[Proposal]:
    """The masks whose boxes differ from those of all better ones, best first."""
    boxes_n4 = np.array([one.box_xyxy_px for one in proposals], np.float32).reshape(-1, 4)
    left, top, right, bottom = boxes_n4.T
    area_n = (right - left) * (bottom - top)
    kept: list[Proposal] = []
    left_out_n = np.zeros(len(boxes_n4), bool)
    for index in np.argsort(-np.array(scores, np.float32), kind="stable").tolist():
        if left_out_n[index]:
            continue
        kept.append(proposals[index])
        width_n = np.minimum(right, right[index]) - np.maximum(left, left[index])
        height_n = np.minimum(bottom, bottom[index]) - np.maximum(top, top[index])
        common_n = np.maximum(width_n, 0) * np.maximum(height_n, 0)
        with np.errstate(invalid="ignore"):  # boxes of one row or column have no area
            iou_n = common_n / (area_n[index] + area_n - common_n)
        left_out_n |= iou_n.astype(np.float64) > max_iou
    return kept


def _corners(rle: Rle) -> Box:
    """The first and last column and row of a mask, left, top, right, bottom; zeros if empty."""
    x, y, width, height = rle.box_xywh
    return (x, y, x + width - 1, y + height - 1) if width and height else (0, 0, 0, 0)


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
