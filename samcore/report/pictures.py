"""Small pictures of the video with its masks drawn in."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samcore.overlay import Patch, cut_out, draw_patches

LONG_SIDE = 480
"""Pixels; on a phone that is all of the screen's width."""
_QUALITY = 70


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame, small."""

    frame: int
    """Position in the video, from 0."""
    width: int
    """Pixels across."""
    height: int
    """Pixels down."""
    jpeg: bytes
    """The file."""

    @property
    def data_uri(self) -> str:
        """The picture as an address that holds it."""
        return f"data:image/jpeg;base64,{base64.b64encode(self.jpeg).decode()}"


def draw_picture(
    frame: int,
    image_rgb_hwc_u8: NDArray[np.uint8],
    masks: Mapping[int, NDArray[np.bool_]],
    *,
    long_side: int = LONG_SIDE,
) -> Picture:
    """Make a small picture of a frame and its masks.

    Args:
        frame: Its number.
        image_rgb_hwc_u8: The frame, H x W x 3.
        masks: H x W booleans by object id.
        long_side: Pixels of its longer side; a smaller frame stays as it is.
    """
    height, width = image_rgb_hwc_u8.shape[:2]
    scale = min(1.0, long_side / max(height, width))
    small_wh = max(1, round(width * scale)), max(1, round(height * scale))
    # Made small before drawing, so that outlines and numbers are still to be seen.
    image = cv2.resize(image_rgb_hwc_u8, small_wh, interpolation=cv2.INTER_AREA)
    drawn = draw_patches(np.asarray(image, dtype=np.uint8), _small_patches(masks, small_wh))
    done, jpeg = cv2.imencode(
        ".jpg",
        cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR),
        [cv2.IMWRITE_JPEG_QUALITY, _QUALITY],
    )
    if not done:
        raise RuntimeError("this build of OpenCV writes no JPEG")
    return Picture(frame, *small_wh, jpeg.tobytes())


def _small_patches(
    masks: Mapping[int, NDArray[np.bool_]], size_wh: tuple[int, int]
) -> Iterator[Patch]:
    """One at a time: of many objects in a large picture all masks would fill the memory."""
    for obj_id in sorted(masks):
        patch = cut_out(obj_id, _shrink(masks[obj_id], size_wh))
        if patch is not None:
            yield patch


def _shrink(mask_hw: NDArray[np.bool_], size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask at the small size; what has a pixel keeps one, or it would look absent."""
    share_hw = cv2.resize(
        np.ascontiguousarray(mask_hw).view(np.uint8) * np.uint8(255),
        size_wh,
        interpolation=cv2.INTER_AREA,
    )
    small_hw: NDArray[np.bool_] = share_hw >= min(128, max(int(share_hw.max()), 1))
    return small_hw
