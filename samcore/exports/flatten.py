"""One object a pixel, for formats that demand it."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from samcore.errors import StorageError
from samcore.masks.rle import Rle, decode_box, encode_box, overlap
from samcore.masks.table import MaskRow

_Level = TypeVar("_Level", np.uint8, np.uint16)


def damaged(row: MaskRow, error: ValueError) -> StorageError:
    """What to say of a mask that cannot be decoded."""
    return StorageError(
        f"cannot read the masks: frame {row.frame}, object {row.object_id}: {error}; track again"
    )


def crop(row: MaskRow) -> NDArray[np.bool_]:
    """The mask within its box, h x w booleans.

    Raises:
        StorageError: The mask is damaged.
    """
    try:
        return decode_box(row.rle, (row.x, row.y, row.w, row.h))
    except ValueError as error:
        raise damaged(row, error) from error


def paint(
    canvas_hw: NDArray[_Level], rows: Sequence[MaskRow], values: Mapping[int, int]
) -> NDArray[_Level]:
    """Paint each object's value where its mask is, over zeros, in place.

    Where masks overlap, the pixel goes to the object with the higher object score, and between
    equal scores to the lower id.

    Raises:
        StorageError: A mask is damaged.
    """
    canvas_hw[:] = 0
    # The last one painted wins.
    for row in sorted(rows, key=lambda row: (row.object_score, -row.object_id)):
        if row.area:
            box = canvas_hw[row.y : row.y + row.h, row.x : row.x + row.w]
            box[crop(row)] = values[row.object_id]
    return canvas_hw


def exclusive_rles(rows: Sequence[MaskRow]) -> dict[int, Rle]:
    """The masks that are not empty, by object id, without the pixels that `paint` gives to others.

    A mask of which nothing is left is not among them.

    Raises:
        StorageError: A mask is damaged.
    """
    present = [row for row in rows if row.area]
    rles = {row.object_id: row.rle for row in present}
    try:
        if not overlap(list(rles.values())):
            return rles
    except ValueError:
        for row in present:
            crop(row)  # says which one it is
        raise
    values = {row.object_id: place + 1 for place, row in enumerate(present)}
    first = present[0]
    canvas = paint(np.zeros((first.height, first.width), np.uint16), present, values)
    for row in present:
        box = canvas[row.y : row.y + row.h, row.x : row.x + row.w]
        left = box == values[row.object_id]
        pixels = np.count_nonzero(left)
        if not pixels:
            del rles[row.object_id]
        elif pixels < row.area:
            place = (row.x, row.y)
            rles[row.object_id] = encode_box(left, place, height=row.height, width=row.width)
    return rles
