"""The masks of many pictures: a Parquet table with a row for each mask."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from samcore.disk.atomic import AtomicFile, storage_error
from samcore.errors import StorageError
from samcore.images.result import PictureMasks
from samcore.masks.rle import Rle, decode_box

SCHEMA = pa.schema(
    [
        pa.field("picture", pa.int64(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("object_id", pa.int64(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("predicted_iou", pa.float32()),
        pa.field("stability", pa.float32()),
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
"""The columns, as `PictureRow` has them."""
_ROWS_PER_GROUP = 2048


@dataclass(frozen=True, slots=True)
class PictureRow:
    """One mask on one picture."""

    picture: int
    """The picture's place in the list, from 0."""
    name: str
    """The picture's name in the list."""
    object_id: int
    """The prompt's number of the object; from 1 on, best first, where objects were found."""
    label: str | None
    """What the object is: the concept that gave it, or its label."""
    score: float
    """How sure it is, about 0 to 1."""
    predicted_iou: float | None
    """The model's guess of the mask's quality, 0 to 1; None where a detector gave the mask."""
    stability: float | None
    """How sharp its edge is, 0 to 1; None but of everything."""
    x: int
    """Left edge of the mask's box in pixels; 0 of an empty mask, like all of the box."""
    y: int
    """Top edge in pixels."""
    w: int
    """Width in pixels."""
    h: int
    """Height in pixels."""
    area: int
    """Pixels inside; 0 where a prompt gave no mask."""
    height: int
    """Rows of the picture."""
    width: int
    """Columns of the picture."""
    counts: bytes
    """COCO compressed run lengths."""

    @property
    def rle(self) -> Rle:
        """The mask, compressed."""
        return Rle(self.height, self.width, self.counts)

    def crop(self) -> NDArray[np.bool_]:
        """The mask within its box, h x w booleans.

        Raises:
            ValueError: The run lengths are damaged.
        """
        return decode_box(self.rle, (self.x, self.y, self.w, self.h))


def rows_of(picture: int, name: str, found: PictureMasks) -> list[PictureRow]:
    """The rows of one picture, by object id; of an object's candidates the first one."""
    rows: dict[int, PictureRow] = {}
    for mask in found.masks:
        rle, box = mask.rle, mask.box_xywh
        row = PictureRow(
            picture,
            name,
            mask.obj_id,
            mask.label,
            float(mask.score),
            mask.predicted_iou,
            mask.stability,
            *box,
            rle.area,
            rle.height,
            rle.width,
            rle.counts,
        )
        rows.setdefault(mask.obj_id, row)
    return [rows[obj_id] for obj_id in sorted(rows)]


class PictureMaskWriter:
    """Streams rows to a Parquet file; a context manager.

    The file is there when the block has ended without an exception. Holds one row group.
    """

    def __init__(self, path: Path) -> None:
        """Nothing is written before the block is entered."""
        self._path = path
        self._rows: list[PictureRow] = []

    def __enter__(self) -> "PictureMaskWriter":
        try:
            self._target = AtomicFile(self._path)
        except OSError as error:
            raise storage_error(self._path, error, doing="write") from error
        self._writer = pq.ParquetWriter(self._target.file, SCHEMA, compression="zstd")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is not None:
                with contextlib.suppress(OSError):
                    self._writer.close()  # else it complains when it is collected
                return
            self._flush()
            self._writer.close()
            self._target.commit()
        except OSError as failed:
            raise storage_error(self._path, failed, doing="write") from failed
        finally:
            self._target.discard()

    def write(self, rows: Iterable[PictureRow]) -> None:
        """Add rows, those of one picture or of several.

        Raises:
            StorageError: The disk is full.
        """
        self._rows += rows
        if len(self._rows) >= _ROWS_PER_GROUP:
            try:
                self._flush()
            except OSError as error:
                raise storage_error(self._path, error, doing="write") from error

    def _flush(self) -> None:
        if self._rows:
            columns: dict[str, list[Any]] = {
                name: [getattr(row, name) for row in self._rows] for name in SCHEMA.names
            }
            self._writer.write_table(pa.table(columns, schema=SCHEMA))
            self._rows = []


def read_pictures(path: Path) -> Iterator[tuple[int, list[PictureRow]]]:
    """Each picture that has rows, ascending, with its rows by object id; holds a row group and one
    picture's rows.

    Raises:
        StorageError: The table is damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(SCHEMA):
                raise StorageError(f"cannot read {path}: it is no table of pictures' masks")
            at, rows = -1, list[PictureRow]()
            for batch in file.iter_batches(_ROWS_PER_GROUP):
                for values in batch.to_pylist():
                    row = PictureRow(**values)
                    if row.picture != at:
                        if rows:
                            yield at, rows
                        at, rows = row.picture, []
                    rows.append(row)
            if rows:
                yield at, rows
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"cannot read {path}: it is damaged; run again") from error
