"""From the mask decoder's logits to masks at the size of the video."""

from collections.abc import Collection, Mapping

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from samcore.machine.transfer import fetch, send
from samcore.masks.frame_masks import FrameMasks
from samcore.tracking.enlarge import enlarge_and_cut
from samcore.tracking.propagation import ObjectOutput

_PIXELS_AT_ONCE = 1 << 26
"""Upper bound of float pixels held while masks are enlarged (256 MiB)."""


def frame_masks(
    frame_idx: int,
    outputs: Mapping[int, ObjectOutput],
    prompted: Collection[int],
    *,
    height: int,
    width: int,
    fill_hole_area: int,
) -> FrameMasks:
    """A frame's masks at the size of the video.

    Args:
        frame_idx: The frame.
        outputs: Of each object, by `obj_id`.
        prompted: The objects that have a prompt on the frame.
        height, width: Size of the video in pixels.
        fill_hole_area: As for `masks_at_video_size`.
    """
    obj_ids = tuple(sorted(outputs))
    if not obj_ids:
        return FrameMasks.of_none(frame_idx, height=height, width=width)
    ordered = [outputs[obj_id] for obj_id in obj_ids]
    # One copy from the device for all scores, not two for each object.
    numbers_2n = torch.stack(
        [
            torch.stack([output.score for output in ordered]),
            torch.stack([output.predicted_iou for output in ordered]),
        ]
    ).cpu()
    return FrameMasks(
        frame_idx=frame_idx,
        obj_ids=obj_ids,
        masks_nhw=masks_at_video_size(
            torch.cat([output.logits_11hw for output in ordered]),
            height=height,
            width=width,
            fill_hole_area=fill_hole_area,
        ),
        object_scores_n=numbers_2n[0].numpy(),
        predicted_ious_n=numbers_2n[1].numpy(),
        prompted_n=np.array([obj_id in prompted for obj_id in obj_ids]),
    )


def masks_at_video_size(
    logits_n1hw: Tensor, *, height: int, width: int, fill_hole_area: int = 0
) -> NDArray[np.bool_]:
    """Enlarge low-resolution logits and cut at 0, as SAM 2's video predictor does.

    Args:
        logits_n1hw: Mask logits of N objects, N x 1 x H/4 x W/4 of the model's input.
        height, width: Size of the video in pixels.
        fill_hole_area: Background specks up to this many low-resolution pixels become foreground.

    Returns:
        N x height x width. One object's mask does not depend on the others.
    """
    if fill_hole_area > 0:
        logits_n1hw = fill_holes(logits_n1hw, max_area=fill_hole_area)
    if logits_n1hw.device.type != "cpu":
        return masks_by_bits(logits_n1hw, height=height, width=width)
    masks_nhw = np.zeros((logits_n1hw.shape[0], height, width), dtype=np.bool_)
    # An object at a time: the batch's shape must not reach the pixels, and one mask fits the cache.
    for logits_1hw, mask_hw in zip(logits_n1hw.float(), masks_nhw, strict=True):
        if not enlarge_and_cut(logits_1hw[0].numpy(), mask_hw):
            large = F.interpolate(logits_1hw[None], size=mask_hw.shape, mode="bilinear")
            mask_hw[:] = (large[0, 0] > 0).numpy()
    return masks_nhw


def masks_by_bits(
    logits_n1hw: Tensor, *, height: int, width: int, pixels_at_once: int = _PIXELS_AT_ONCE
) -> NDArray[np.bool_]:
    """The same where masks have to cross a bus: eight pixels to a byte, and one copy of all.

    Args:
        logits_n1hw: Mask logits of N objects, one or more.
        height, width: Size of the video in pixels.
        pixels_at_once: Upper bound of float pixels held on the device.
    """
    at_once = max(1, pixels_at_once // (height * width))
    packed = [
        packed_bits(F.interpolate(some.float(), size=(height, width), mode="bilinear")[:, 0] > 0)
        for some in torch.split(logits_n1hw, at_once)
    ]
    return _unpacked(torch.cat(packed), width)


def fill_holes(logits_n1hw: Tensor, *, max_area: int) -> Tensor:
    """Raise holes of at most `max_area` pixels to a faint foreground (0.1).

    The rule of `sam2/utils/misc.py:fill_holes_in_mask_scores`, whose CUDA extension most
    installations lack; OpenCV's connected components work everywhere.
    """
    filled = logits_n1hw.float().cpu().clone()
    for logits_hw in filled[:, 0]:
        logits_hw[_small_parts(logits_hw <= 0, max_area)] = 0.1
    return send(filled, logits_n1hw.device)


def fill_holes_and_remove_specks(
    logits_nhw: Tensor, *, max_area: int, threshold: float = 0.0
) -> Tensor:
    """Fill holes and remove specks of at most `max_area` pixels of low-resolution masks.

    The rule of `SAM2Transforms.postprocess_masks` for pictures (sam2 1.1.0): both are found on the
    mask as it was, and are then 10 above or below the threshold.

    Args:
        logits_nhw: Mask logits, N x H x W.
        max_area: In pixels of these.
        threshold: Logits above this are inside.
    """
    cleaned = logits_nhw.float().cpu().clone()
    for logits_hw in cleaned:
        inside_hw = logits_hw > threshold
        logits_hw[_small_parts(~inside_hw, max_area)] = threshold + 10
        logits_hw[_small_parts(inside_hw, max_area)] = threshold - 10
    return send(cleaned, logits_nhw.device)


def _small_parts(is_part_hw: Tensor, max_area: int) -> Tensor:
    """The pixels of connected parts of at most `max_area` pixels, diagonals included."""
    parts = is_part_hw.numpy().astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(parts, connectivity=8)
    is_small = stats[:, cv2.CC_STAT_AREA] <= max_area
    is_small[0] = False  # label 0 is what lies between
    return torch.from_numpy(is_small[labels])


def masks_to_host(masks_nhw: Tensor) -> NDArray[np.bool_]:
    """Copy masks to the CPU, eight pixels to a byte where they have to cross a bus."""
    if masks_nhw.device.type == "cpu":
        result: NDArray[np.bool_] = masks_nhw.numpy()
        return result
    return _unpacked(packed_bits(masks_nhw), masks_nhw.shape[-1])


def _unpacked(packed_nhb: Tensor, width: int) -> NDArray[np.bool_]:
    """On the CPU, a byte for each pixel again."""
    return np.unpackbits(fetch(packed_nhb).numpy(), axis=-1, count=width).view(np.bool_)


def packed_bits(masks_nhw: Tensor) -> Tensor:
    """Eight pixels of a row to a byte, as `np.packbits` does it; nothing waits for the device."""
    bits = F.pad(masks_nhw.to(torch.uint8), (0, -masks_nhw.shape[-1] % 8))
    bits = bits.reshape(*bits.shape[:-1], -1, 8)
    # Made there: a list of numbers would have to be sent, which waits.
    places = torch.arange(7, -1, -1, dtype=torch.uint8, device=bits.device)
    return (bits << places).sum(dim=-1, dtype=torch.uint8)
