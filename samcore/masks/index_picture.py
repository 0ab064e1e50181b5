"""All masks of a frame as one small picture, for a window that shows them over the video."""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samcore.masks.row import MaskRow


@dataclass(frozen=True, slots=True, eq=False)
class IndexPicture:
    """Whose each pixel is. Where masks lie over each other the higher id is on top."""

    png: bytes
    """A PNG in RGB, so that a browser changes no value: red + 256 green + 65536 blue is 0 for the
    ground, else the object's place in `obj_ids`, from 1."""
    obj_ids: tuple[int, ...]
    """The objects that are present, ascending."""


def index_picture(rows: Iterable[MaskRow], *, width: int, height: int) -> IndexPicture:
    """Draw the masks of one frame at another size. The cost goes with the masks' boxes.

    Args:
        rows: Those of one frame.
        width: Columns of the picture that is made.
        height: Rows of it.

    Raises:
        ValueError: The run lengths are damaged.
    """
    index_hw = np.zeros((height, width), dtype=np.int32)
    present = sorted((row for row in rows if row.area > 0), key=lambda row: row.object_id)
    for place, row in enumerate(present, start=1):
        left, xs = _samples(row.x, row.w, width / row.width)
        top, ys = _samples(row.y, row.h, height / row.height)
        crop_hw = row.crop()[np.ix_(ys, xs)]
        index_hw[top : top + len(ys), left : left + len(xs)][crop_hw] = place
    levels = [(index_hw >> shift & 255).astype(np.uint8) for shift in (16, 8, 0)]
    # Low compression: such pictures are small anyway, and a person waits.
    written, png = cv2.imencode(".png", np.dstack(levels), [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not written:
        raise ValueError("this build of OpenCV writes no PNG")
    return IndexPicture(png.tobytes(), tuple(row.object_id for row in present))


def _samples(begin: int, length: int, scale: float) -> tuple[int, NDArray[np.int64]]:
    """Where a box begins on the axis of the other size, and which of its pixels is in the middle of
    each pixel there. Of a box that is too small for any of these, it is one."""
    first, end = int(begin * scale), max(int(np.ceil((begin + length) * scale)), 1)
    middles = (np.arange(first, end) + 0.5) / scale - begin
    inside = (middles >= 0) & (middles < length)
    if not inside.any():
        return first, np.array([length // 2])
    return first + int(np.argmax(inside)), middles[inside].astype(np.int64)
