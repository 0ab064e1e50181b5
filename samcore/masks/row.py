"""One row of a mask table, and the table's columns."""

import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from samcore.masks.rle import Rle, decode_box, decode_mask, run_lengths

SCHEMA = pa.schema(
    [
        pa.field("frame", pa.int64(), nullable=False),
        pa.field("pts", pa.int64(), nullable=False),
        pa.field("object_id", pa.int64(), nullable=False),
        pa.field("object_score", pa.float32(), nullable=False),
        pa.field("predicted_iou", pa.float32(), nullable=False),
        pa.field("prompted", pa.bool_(), nullable=False),
        pa.field("x", pa.int32(), nullable=False),
        pa.field("y", pa.int32(), nullable=False),
        pa.field("w", pa.int32(), nullable=False),
        pa.field("h", pa.int32(), nullable=False),
        pa.field("area", pa.int64(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("counts", pa.binary(), nullable=False),
    ]
)
"""The columns, as `MaskRow` has them."""
FORMAT_VERSION = 1
"""Raised when a reader of the older one would misread the file."""
HEADER_KEY = b"longtake.masks"
"""Of the table's metadata: where the picture's size and the like are."""

RETIRED_SCORE, GIVEN_UP_SCORE = -1024.0, -2048.0
"""The object score of an absent object that is only looked for from time to time, and of one that
is not looked for any more. No model gives these."""

_PACKED = struct.Struct("<qqqff?iiiiqiiq")


@dataclass(frozen=True, slots=True)
class MaskRow:
    """One object on one frame."""

    frame: int
    """Position in the source video, from 0."""
    pts: int
    """Presentation time stamp in units of the video's time base."""
    object_id: int
    """The caller's number of the object."""
    object_score: float
    """Logit that the object is in the frame at all; above 0 is present. While an object is retired
    it is `RETIRED_SCORE`, once it is given up `GIVEN_UP_SCORE`."""
    predicted_iou: float
    """The model's guess of the mask's quality, in [0, 1]."""
    prompted: bool
    """True where the mask comes from a prompt on this very frame."""
    x: int
    """Left edge of the mask's box in pixels; 0 where the object is absent, like all of the box."""
    y: int
    """Top edge in pixels."""
    w: int
    """Width in pixels."""
    h: int
    """Height in pixels."""
    area: int
    """Pixels inside the mask; 0 where the object is absent."""
    height: int
    """Rows of the picture."""
    width: int
    """Columns of the picture."""
    counts: bytes
    """COCO compressed run lengths."""

    @property
    def confidence(self) -> float:
        """The object score as a probability that the object is in the frame, in [0, 1]."""
        return confidence(self.object_score)

    @property
    def rle(self) -> Rle:
        """The mask, compressed."""
        return Rle(self.height, self.width, self.counts)

    def mask(self) -> NDArray[np.bool_]:
        """The mask as H x W booleans.

        Raises:
            ValueError: The run lengths are damaged.
        """
        return decode_mask(self.rle)

    def crop(self) -> NDArray[np.bool_]:
        """The mask within its box, h x w booleans; the cost goes with the box, not the picture.

        Raises:
            ValueError: The run lengths are damaged.
        """
        return decode_box(self.rle, (self.x, self.y, self.w, self.h))

    def packed(self) -> bytes:
        """The whole row as bytes: equal rows, to the last bit of a score, and only those."""
        values = [getattr(self, name) for name in _COLUMNS[:-1]]
        return _PACKED.pack(*values, len(self.counts)) + self.counts

    @classmethod
    def unpacked(cls, data: bytes, offset: int = 0) -> "tuple[MaskRow, int]":
        """The row that `packed` put at `offset`, and where the next one begins.

        Raises:
            struct.error: There is no whole row.
        """
        *values, num_bytes = _PACKED.unpack_from(data, offset)
        start = offset + _PACKED.size
        return cls(*(*values, data[start : start + num_bytes])), start + num_bytes


def confidence(score: float) -> float:
    """An object score as a probability."""
    return 1 / (1 + math.exp(-max(min(score, 700.0), -700.0)))


class FrameRows(Mapping[int, NDArray[np.bool_]]):
    """The masks of one frame as H x W booleans by object id, each decoded when it is asked for.

    Rows are held as they are stored: of a thousand masks only those in use take a picture's memory.
    """

    def __init__(self, rows: Iterable[MaskRow]) -> None:
        """Check that all can be decoded.

        Args:
            rows: Those of one frame.

        Raises:
            ValueError: The run lengths of one are damaged.
        """
        self._rows = {row.object_id: row for row in rows}
        for row in self._rows.values():
            run_lengths(row.rle)

    def __getitem__(self, object_id: int) -> NDArray[np.bool_]:
        return self._rows[object_id].mask()

    def __iter__(self) -> Iterator[int]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


_COLUMNS = [field.name for field in fields(MaskRow)]
