"""Masks as COCO compressed run lengths: the only door to pycocotools.

Runs go down the columns and begin with background. A run length is stored as the difference to
the run two before it (from the fourth run on), in groups of five bits, lowest group first, each
as one printable byte.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from samcore.masks.row_runs import row_runs_in

_MAX_BYTES_PER_RUN = 7
"""Seven groups of five bits hold any 32-bit run or difference."""


@dataclass(frozen=True, slots=True)
class Rle:
    """One mask, compressed. Equal masks have equal `counts`, and the other way round."""

    height: int
    """Rows of the mask."""
    width: int
    """Columns of the mask."""
    counts: bytes
    """COCO's compressed run lengths."""

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"a mask has rows and columns, got {self.height = }, {self.width = }")

    @property
    def area(self) -> int:
        """Pixels inside the mask."""
        return int(coco.area(_as_coco(self)))

    @property
    def box_xywh(self) -> tuple[int, int, int, int]:
        """Left, top, width, height of the smallest box around the mask; zeros if it is empty."""
        x, y, w, h = coco.toBbox(_as_coco(self))
        return int(x), int(y), int(w), int(h)


def encode_masks(masks_nhw: NDArray[np.bool_]) -> list[Rle]:
    """Compress N masks of H x W booleans, in order.

    Raises:
        ValueError: The array is not N x H x W booleans.
    """
    if masks_nhw.ndim != 3 or masks_nhw.dtype != np.bool_:
        raise ValueError(f"wanted N x H x W bool, got {masks_nhw.shape = }, {masks_nhw.dtype = }")
    _, height, width = masks_nhw.shape
    rles = []
    for mask_hw in masks_nhw:
        # One mask at a time, so that no second N x H x W array is made. The transpose puts columns
        # in a row, as pycocotools reads them; OpenCV's is several times faster than numpy's.
        mask_u8 = np.ascontiguousarray(mask_hw).view(np.uint8)
        columns_wh = cv2.transpose(mask_u8).reshape(width, height)
        rles.append(Rle(height, width, bytes(coco.encode(columns_wh.T[:, :, None])[0]["counts"])))
    return rles


def decode_mask(rle: Rle) -> NDArray[np.bool_]:
    """The mask as H x W booleans, row-major.

    Raises:
        ValueError: The run lengths are damaged.
    """
    # Not pycocotools' decode: it takes damaged runs (below), and numpy 2 warns at each call of it.
    runs = _run_lengths(rle)
    is_inside = np.arange(len(runs), dtype=np.uint8) & 1
    columns_wh = np.repeat(is_inside, runs).reshape(rle.width, rle.height)
    mask_u8 = cv2.transpose(columns_wh).reshape(rle.height, rle.width)
    mask_hw: NDArray[np.bool_] = mask_u8.view(np.bool_)
    return mask_hw


def run_lengths(rle: Rle) -> NDArray[np.int64]:
    """Run lengths in pixels down the columns, background first, off and on by turns.

    Raises:
        ValueError: The run lengths are damaged.
    """
    return _run_lengths(rle)


def decode_box(rle: Rle, box_xywh: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """The part of the mask inside a box, h x w booleans, row-major.

    Its cost goes with the box's columns and not with the picture.

    Args:
        rle: A mask.
        box_xywh: Left, top, width and height; within the picture, and around the whole mask.

    Raises:
        ValueError: The run lengths are damaged, or the box is not around the mask.
    """
    x, y, w, h = box_xywh
    if x < 0 or y < 0 or w < 0 or h < 0 or x + w > rle.width or y + h > rle.height:
        raise ValueError(f"the box {box_xywh} is not in a picture of {rle.width} x {rle.height}")
    found = _run_lengths(rle)
    runs = np.zeros(len(found) | 1, np.int64)  # an odd number: it ends with background, maybe none
    runs[: len(found)] = found
    # What lies before and after these columns is background.
    runs[0] -= x * rle.height
    runs[-1] -= (rle.width - x - w) * rle.height
    if runs[0] < 0 or runs[-1] < 0:
        raise ValueError(f"damaged mask: it reaches out of its box {box_xywh}")
    is_inside = np.arange(len(runs), dtype=np.uint8) & 1
    columns_wh = np.repeat(is_inside, runs).reshape(w, rle.height)
    inside: NDArray[np.bool_] = np.ascontiguousarray(columns_wh[:, y : y + h].T).view(np.bool_)
    return inside


def encode_box(
    crop_hw: NDArray[np.bool_], left_top: tuple[int, int], *, height: int, width: int
) -> Rle:
    """Compress a mask of which all lies in a box, without making it whole.

    Args:
        crop_hw: What is in the box.
        left_top: Where the box begins.
        height: Rows of the picture.
        width: Columns of the picture.
    """
    x, y = left_top
    # Reading order of the picture on its side is down the columns of the picture.
    runs = row_runs_in(crop_hw.T, (y, x), (width, height))
    as_coco = {"size": [height, width], "counts": runs.tolist()}
    return Rle(height, width, bytes(coco.frPyObjects(as_coco, height, width)["counts"]))


def overlap(rles: Sequence[Rle]) -> bool:
    """Whether any two of the masks share a pixel; without decoding.

    Raises:
        ValueError: The masks differ in size, or the run lengths of one are damaged.
    """
    if len({(rle.height, rle.width) for rle in rles}) > 1:
        raise ValueError("masks of one size wanted")
    for rle in rles:
        _run_lengths(rle)  # refuses damaged ones, on which pycocotools' merge never ends
    if len(rles) < 2:
        return False
    as_coco = [_as_coco(rle) for rle in rles]
    return bool(coco.area(coco.merge(as_coco)) < sum(int(area) for area in coco.area(as_coco)))


def decode_masks(rles: Sequence[Rle]) -> NDArray[np.bool_]:
    """The masks as N x H x W booleans, in order; 0 x 0 x 0 for none.

    Raises:
        ValueError: The masks differ in size, or the run lengths of one are damaged.
    """
    if not rles:
        return np.zeros((0, 0, 0), dtype=np.bool_)
    height, width = rles[0].height, rles[0].width
    masks_nhw = np.empty((len(rles), height, width), dtype=np.bool_)
    for mask_hw, rle in zip(masks_nhw, rles, strict=True):
        if (rle.height, rle.width) != (height, width):
            raise ValueError(
                f"masks of one size wanted, got {height} x {width} and {rle.height} x {rle.width}"
            )
        mask_hw[:] = decode_mask(rle)
    return masks_nhw


def rle_iou(a: Rle, b: Rle) -> float:
    """Intersection over union of two masks, without decoding; two empty masks agree (1.0).

    Raises:
        ValueError: The masks differ in size, or the run lengths of one are damaged.
    """
    if (a.height, a.width) != (b.height, b.width):
        raise ValueError(
            f"masks of one size wanted, got {a.height} x {a.width} and {b.height} x {b.width}"
        )
    for rle in (a, b):
        _run_lengths(rle)  # refuses damaged ones
    if a.counts == b.counts:
        return 1.0
    # Different bytes are different masks, so at most one of them is empty here.
    return float(coco.iou([_as_coco(a)], [_as_coco(b)], [0])[0, 0])


def iou_matrix(a: Sequence[Rle], b: Sequence[Rle]) -> NDArray[np.float64]:
    """Intersection over union of each mask of `a` (rows) with each of `b` (columns).

    Two empty masks have 0.0 here, as matchers want it: what is not there is no match.

    Raises:
        ValueError: The masks differ in size, or the run lengths of one are damaged.
    """
    if len({(rle.height, rle.width) for rle in (*a, *b)}) > 1:
        raise ValueError("masks of one size wanted")
    if not a or not b:
        return np.zeros((len(a), len(b)))
    for rle in (*a, *b):
        _run_lengths(rle)  # refuses damaged ones
    columns = [_as_coco(rle) for rle in b]
    ious = coco.iou([_as_coco(rle) for rle in a], columns, [0] * len(columns))
    return np.nan_to_num(np.asarray(ious, dtype=np.float64))


def rle_from_coco(segmentation: object, *, height: int, width: int) -> Rle:
    """A mask as COCO's JSON has it: compressed runs, runs as a list of numbers, or polygons.

    Polygons are filled as COCO's own code fills them. Runs that others wrote may have no length:
    they are joined, so that equal masks are equal here, too.

    Raises:
        ValueError: It is none of these, of another size, or damaged.
    """
    try:
        if isinstance(segmentation, dict):
            counts, size = segmentation["counts"], list(segmentation["size"])
            if size != [height, width]:
                raise ValueError(f"a mask of {size}, wanted {[height, width]}")
            if isinstance(counts, list):
                counts = coco.frPyObjects(dict(segmentation), height, width)["counts"]
            rle = Rle(height, width, counts.encode() if isinstance(counts, str) else bytes(counts))
        elif isinstance(segmentation, list):
            # Four numbers would be taken for a box, and fewer end in an error without a type.
            if not segmentation or any(len(p) < 6 or len(p) % 2 for p in segmentation):
                raise ValueError("no polygons: wanted lists of x and y, three points or more")
            parts = coco.frPyObjects(segmentation, height, width)
            rle = Rle(height, width, bytes(coco.merge(parts)["counts"]))
        else:
            raise ValueError(f"no mask of COCO's: {type(segmentation).__name__}")
    except (KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise ValueError(f"no mask of COCO's: {error!r}") from error
    return _canonical(rle)


def _canonical(rle: Rle) -> Rle:
    """The same mask in the one form that `encode_masks` gives: no run but the first is empty.

    Raises:
        ValueError: The run lengths are damaged.
    """
    runs = _run_lengths(rle)
    is_some = runs > 0
    values = (np.arange(len(runs)) & 1)[is_some]
    starts = np.flatnonzero(np.diff(values, prepend=-1))
    joined = np.add.reduceat(runs[is_some], starts).tolist()
    as_coco = {"size": [rle.height, rle.width], "counts": [0] * int(values[0]) + joined}
    packed = coco.frPyObjects(as_coco, rle.height, rle.width)["counts"]
    return Rle(rle.height, rle.width, bytes(packed))


def _as_coco(rle: Rle) -> dict[str, Any]:
    return {"size": [rle.height, rle.width], "counts": rle.counts}


def _run_lengths(rle: Rle) -> NDArray[np.int64]:
    """Run lengths in pixels, off and on by turns; their sum is exactly H * W.

    pycocotools itself accepts runs that are too short and leaves the rest of the mask as whatever
    was in memory before.

    Raises:
        ValueError: The bytes are no run lengths, or their sum is not H * W.
    """
    groups = np.frombuffer(rle.counts, dtype=np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((groups & 0x20) == 0)
    lengths = np.diff(ends, prepend=-1)
    if (
        not len(ends)
        or groups.min() < 0
        or groups.max() > 63
        or ends[-1] != len(groups) - 1
        or lengths.max() > _MAX_BYTES_PER_RUN
    ):
        raise ValueError("damaged mask: these bytes are no run lengths")
    starts = ends - lengths + 1
    place = np.arange(len(groups)) - np.repeat(starts, lengths)
    values = np.add.reduceat((groups & 0x1F) << (5 * place), starts)
    values -= np.where(groups[ends] & 0x10, np.int64(1) << (5 * lengths), 0)
    # From the fourth run on a value is a difference to the run two before: two running sums.
    runs: NDArray[np.int64] = values.copy()
    runs[1::2] = np.cumsum(values[1::2])
    runs[2::2] = np.cumsum(values[2::2])
    if runs.min() < 0 or runs.sum() != rle.height * rle.width:
        raise ValueError(
            f"damaged mask: its runs cover {int(runs.sum())} pixels of {rle.height} x {rle.width}"
        )
    return runs
