"""Enlarge a mask's logits to the video's size and cut at 0, without computing most pixels.

A pixel of the enlarged picture is a weighted mean of four logits, the corners of its cell:

    + +    all above 0: inside          - -    none above 0: outside
    + +                                 - -

Only cells with both signs, which the mask's edge crosses, need arithmetic. The bits are those of
`F.interpolate`: pixels too close to 0 for another order of arithmetic are computed by it.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

_TINY = 1e-30
"""Above it no product with a weight is rounded to 0."""
_CLOSE = 2.0**-20
"""Times the largest corner: more than float32 arithmetic in any order can be off by."""
_MIN_PIXELS = 200_000
_MIN_GROWTH = 4
"""Pixels, and pixels for each logit, below which plain interpolation is faster."""
_MAX_EDGE = 1 / 8
"""Share of pixels in cells with both signs above which plain interpolation is faster."""


@dataclass(frozen=True, slots=True)
class _Axis:
    """How `F.interpolate` resizes one side: output pixel o is between logits `cell_o` and the next.

    The cell of logit i is the output pixels [start_i, stop_i).
    """

    cell_o: NDArray[np.intp]
    near_o: NDArray[np.float64]
    far_o: NDArray[np.float64]
    start_i: NDArray[np.intp]
    stop_i: NDArray[np.intp]


def enlarge_and_cut(logits_hw: NDArray[np.float32], out_hw: NDArray[np.bool_]) -> bool:
    """Write the pixels above 0 of the bilinearly enlarged logits.

    Args:
        logits_hw: Logits of one object.
        out_hw: At the video's size, False everywhere.

    Returns:
        Whether it was done. If not, `out_hw` is as before, and plain interpolation is the way:
        the picture is small, the edge is long, or a logit is not a number.
    """
    if out_hw.size < max(_MIN_PIXELS, _MIN_GROWTH * logits_hw.size):
        return False
    rows = _axis(logits_hw.shape[0], out_hw.shape[0])
    cols = _axis(logits_hw.shape[1], out_hw.shape[1])
    if not np.isfinite(logits_hw).all():
        return False
    inside = _at_all_corners(logits_hw > _TINY)
    outside = _at_all_corners(logits_hw <= 0)
    has_pixels = (rows.stop_i > rows.start_i)[:, None] & (cols.stop_i > cols.start_i)
    r_k, c_k = np.nonzero(~inside & ~outside & has_pixels)
    high = int((rows.stop_i - rows.start_i).max())
    wide = int((cols.stop_i - cols.start_i).max())
    if len(r_k) * high * wide > out_hw.size * _MAX_EDGE:
        return False
    _fill(inside, rows, cols, out_hw)
    if len(r_k) > 0:
        y_kh = np.minimum(rows.start_i[r_k, None] + np.arange(high), rows.stop_i[r_k, None] - 1)
        x_kw = np.minimum(cols.start_i[c_k, None] + np.arange(wide), cols.stop_i[c_k, None] - 1)
        _cut_cells(logits_hw, rows, cols, y_kh, x_kw, out_hw)
    return True


def _at_all_corners(of_hw: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Cells that have it at all four; the last row and column are their own neighbours."""
    pairs = of_hw & np.concatenate([of_hw[1:], of_hw[-1:]])
    result: NDArray[np.bool_] = pairs & np.concatenate([pairs[:, 1:], pairs[:, -1:]], axis=1)
    return result


def _fill(
    inside_hw: NDArray[np.bool_], rows: _Axis, cols: _Axis, out_hw: NDArray[np.bool_]
) -> None:
    """Set the pixels of cells that lie inside."""
    used_cols = np.flatnonzero(inside_hw.any(axis=0))
    if len(used_cols) == 0:
        return
    left, right = cols.start_i[used_cols[0]], cols.stop_i[used_cols[-1]]
    wide = inside_hw[:, cols.cell_o[left:right]]
    for row in np.flatnonzero(inside_hw.any(axis=1)):
        out_hw[rows.start_i[row] : rows.stop_i[row], left:right] = wide[row]


def _cut_cells(
    logits_hw: NDArray[np.float32],
    rows: _Axis,
    cols: _Axis,
    y_kh: NDArray[np.intp],
    x_kw: NDArray[np.intp],
    out_hw: NDArray[np.bool_],
) -> None:
    """Interpolate the pixels of K cells, each at the rows and columns given."""
    top_k, left_k = rows.cell_o[y_kh[:, 0]], cols.cell_o[x_kw[:, 0]]
    bottom_k = np.minimum(top_k + 1, logits_hw.shape[0] - 1)
    right_k = np.minimum(left_k + 1, logits_hw.shape[1] - 1)
    corners_4k = logits_hw[[top_k, top_k, bottom_k, bottom_k], [left_k, right_k, left_k, right_k]]
    corners_4k1 = corners_4k.astype(np.float64)[:, :, None]
    near_kw, far_kw = cols.near_o[x_kw], cols.far_o[x_kw]
    top_kw = corners_4k1[0] * near_kw + corners_4k1[1] * far_kw
    bottom_kw = corners_4k1[2] * near_kw + corners_4k1[3] * far_kw
    value_khw = top_kw[:, None] * rows.near_o[y_kh][..., None]
    value_khw += bottom_kw[:, None] * rows.far_o[y_kh][..., None]
    out_hw[y_kh[:, :, None], x_kw[:, None, :]] = value_khw > 0
    close_k = np.abs(corners_4k1).max(axis=0) * _CLOSE + _TINY
    unsure = np.abs(value_khw) <= close_k[:, :, None]
    if unsure.any():
        k, h, w = np.nonzero(unsure)
        _cut_exactly(logits_hw, y_kh[k, h], x_kw[k, w], out_hw)


def _cut_exactly(
    logits_hw: NDArray[np.float32],
    y_n: NDArray[np.intp],
    x_n: NDArray[np.intp],
    out_hw: NDArray[np.bool_],
) -> None:
    """Let `F.interpolate` itself compute N pixels.

    It enlarges each side by itself: rows first, then of the columns only those that are wanted.
    Resizing a side to the size that it has multiplies by 1 and adds 0.
    """
    columns, column_n = np.unique(x_n, return_inverse=True)
    logits = torch.from_numpy(np.ascontiguousarray(logits_hw))[None, None]
    wide = F.interpolate(logits, size=(logits_hw.shape[0], out_hw.shape[1]), mode="bilinear")
    wanted = wide[..., torch.from_numpy(columns)]
    large = F.interpolate(wanted, size=(out_hw.shape[0], len(columns)), mode="bilinear")
    out_hw[y_n, x_n] = large[0, 0].numpy()[y_n, column_n] > 0


@lru_cache(maxsize=64)
def _axis(size: int, new_size: int) -> _Axis:
    """Ask `F.interpolate` for its weights: it enlarges pictures that are 1 at every third place."""
    thirds = (torch.arange(size) % 3 == torch.arange(3)[:, None]).float()
    pictures = thirds[:, None, None].expand(3, 1, 2, size).contiguous()
    weights = F.interpolate(pictures, size=(2, new_size), mode="bilinear")
    weight_3o = weights[:, 0, 0].numpy().astype(np.float64)
    place_o = np.floor((np.arange(new_size) + 0.5) * size / new_size - 0.5).astype(np.intp)
    # The first of two neighbours with a weight, or the only one, which is within 1 of the place.
    has_3o = weight_3o > 0
    first_o = np.where(
        has_3o.sum(axis=0) == 2,
        np.argmax(has_3o & np.roll(has_3o, -1, axis=0), axis=0),
        np.argmax(has_3o, axis=0),
    )
    cell_o = place_o - 1 + (first_o - (place_o - 1)) % 3
    outputs = np.arange(new_size)
    places = np.arange(size)
    return _Axis(
        cell_o=cell_o,
        near_o=weight_3o[first_o, outputs],
        far_o=weight_3o[(first_o + 1) % 3, outputs],
        start_i=np.searchsorted(cell_o, places, side="left"),
        stop_i=np.searchsorted(cell_o, places, side="right"),
    )
