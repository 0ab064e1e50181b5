"""Masks on disk: a Parquet table with one row per frame and live object.

Rows are in the order of (frame, object_id). Row groups end at frames' ends and depend on nothing
but the rows, so the same rows give the same bytes however they were cut into chunks before.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from samcore.disk.atomic import AtomicFile, storage_error
from samcore.errors import StorageError
from samcore.masks.frame_masks import FrameMasks
from samcore.masks.reader import MaskReader
from samcore.masks.rle import Rle, encode_box, encode_masks
from samcore.masks.row import (
    FORMAT_VERSION,
    GIVEN_UP_SCORE,
    HEADER_KEY,
    RETIRED_SCORE,
    SCHEMA,
    MaskRow,
)

__all__ = ["MaskReader", "MaskRow", "MaskWriter", "concat_tables", "table_digest"]

ROWS_PER_GROUP = 2048
"""Rows after which a row group ends, at the next frame's start."""
BYTES_PER_GROUP = 8 * 1024 * 1024
"""Run-length bytes after which a row group ends too: ragged masks must not fill the memory."""


class MaskWriter:
    """Streams masks to a Parquet file; a context manager.

    The file is under a temporary name in the same folder until the block ends without an
    exception; otherwise nothing is left. Holds one row group, however long the video is.
    """

    def __init__(
        self,
        path: Path,
        *,
        height: int,
        width: int,
        metadata: Mapping[str, str] | None = None,
        rows_per_group: int = ROWS_PER_GROUP,
    ) -> None:
        """Nothing is written before the block is entered.

        Args:
            path: The file; one that is there is replaced.
            height: Rows of the picture.
            width: Columns of the picture.
            metadata: Anything the caller wants to find again in `MaskReader.metadata`.
            rows_per_group: Rows after which a row group ends, at the next frame's start.
        """
        if height < 1 or width < 1 or rows_per_group < 1:
            raise ValueError(f"wanted at least 1, got {height = }, {width = }, {rows_per_group = }")
        self._path = Path(path)
        self._size_hw = (height, width)
        self._rows_per_group = rows_per_group
        self._schema = SCHEMA.with_metadata({HEADER_KEY: _header(height, width, metadata or {})})
        self._rows: list[MaskRow] = []
        self._tables: list[Any] = []
        """What comes before these rows in the group."""
        self._num_rows = 0
        self._num_bytes = 0
        self._last_frame = -1
        self._last_id = -1
        self._atomic: AtomicFile | None = None
        self._parquet: Any = None
        self.broken = False
        """A row group failed half way: nothing more can be written to this file."""

    def __enter__(self) -> "MaskWriter":
        if self._atomic is not None:
            raise ValueError("a MaskWriter writes one file; make another one")
        try:
            self._atomic = AtomicFile(self._path)
            self._parquet = pq.ParquetWriter(
                self._atomic.file,
                self._schema,
                compression="zstd",
                use_dictionary=["object_id", "prompted", "height", "width"],
                write_statistics=["frame"],  # of `counts` they would only bloat the footer
                write_page_checksum=True,
            )
        except OSError as error:
            self._abort()
            raise storage_error(self._path, error, doing="write") from error
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is not None or self._atomic is None:
            self._abort()
            return
        try:
            self._flush()
            self._parquet.close()
            self._atomic.commit()
        except OSError as error:
            self._abort()
            raise storage_error(self._path, error, doing="write") from error
        except BaseException:
            self._abort()
            raise
        self._parquet = None

    def write(self, output: FrameMasks, pts: int) -> None:
        """Add one frame's masks, one row per object.

        Args:
            output: Masks at the table's height and width; a later frame than the one before.
            pts: The frame's time stamp in units of the video's time base.

        Raises:
            ValueError: A frame or object out of order, or masks of another size.
            StorageError: The file cannot be written.
        """
        if output.frame_idx <= self._last_frame:
            raise ValueError(
                f"frames must ascend: got frame {output.frame_idx} after frame {self._last_frame}"
            )
        if output.masks_nhw.shape != (len(output.obj_ids), *self._size_hw):
            raise ValueError(
                f"wanted {len(output.obj_ids)} masks of {self._size_hw[0]} x {self._size_hw[1]}, "
                f"got {output.masks_nhw.shape = }"
            )
        rles = encode_masks(output.masks_nhw)
        # All rows before the first is added: a frame that fails here can be written again.
        rows = [_row(output, place, rle, pts) for place, rle in enumerate(rles)]
        if output.retired or output.given_up:
            rows = sorted([*rows, *self._gone(output, pts)], key=lambda row: row.object_id)
        for row in rows:
            self.write_row(row)
        self._last_frame = output.frame_idx

    def _gone(self, output: FrameMasks, pts: int) -> Iterator[MaskRow]:
        """Rows of the objects that are not tracked. Nothing is as large as a picture here."""
        height, width = self._size_hw
        nothing = encode_box(np.zeros((1, 1), np.bool_), (0, 0), height=height, width=width)
        scores = dict.fromkeys(output.retired, RETIRED_SCORE)
        scores |= dict.fromkeys(output.given_up, GIVEN_UP_SCORE)
        for object_id, score in scores.items():
            yield MaskRow(
                frame=output.frame_idx,
                pts=pts,
                object_id=object_id,
                object_score=score,
                predicted_iou=0.0,
                prompted=False,
                **dict.fromkeys(("x", "y", "w", "h", "area"), 0),
                height=height,
                width=width,
                counts=nothing.counts,
            )

    def write_row(self, row: MaskRow) -> None:
        """Add one finished row, as another table gave it.

        Raises:
            ValueError: A frame or object out of order, or a mask of another size.
            StorageError: The file cannot be written.
        """
        if self._parquet is None:
            raise ValueError("this MaskWriter is not open: use it in a `with` block")
        if (row.frame, row.object_id) <= (self._last_frame, self._last_id):
            raise ValueError(
                f"rows must ascend: got frame {row.frame} object {row.object_id} after "
                f"frame {self._last_frame} object {self._last_id}"
            )
        if (row.height, row.width) != self._size_hw:
            raise ValueError(
                f"wanted masks of {self._size_hw[0]} x {self._size_hw[1]}, got "
                f"{row.height} x {row.width} on frame {row.frame}"
            )
        is_full = self._num_rows >= self._rows_per_group or self._num_bytes >= BYTES_PER_GROUP
        if is_full and row.frame != self._last_frame:
            self._end_group()
        self._rows.append(row)
        self._num_rows += 1
        self._num_bytes += len(row.counts)
        self._last_frame, self._last_id = row.frame, row.object_id

    def write_table(self, table: Any) -> None:
        """Add finished rows as an Arrow table with the columns of `SCHEMA`.

        No row becomes a Python object. Groups end where they end if the rows come one by one, so
        what was a group of another file, and is one here, goes through as it is:

            groups read       |----------|----------|--- cut    cut --|----------|
            groups written    |----------|----------|-----------|-----------|-----

        Raises:
            ValueError: A frame or object out of order, or a mask of another size.
            StorageError: The file cannot be written.
        """
        if self._parquet is None:
            raise ValueError("this MaskWriter is not open: use it in a `with` block")
        if not table.num_rows:
            return
        frames, ids = table["frame"].to_numpy(), table["object_id"].to_numpy()
        self._check(table, frames, ids)
        self._tables += self._take_rows()
        frame_starts = np.flatnonzero(np.diff(frames, prepend=self._last_frame))
        # bytes_before[i] is what rows [0, i) weigh
        bytes_before = np.append(0, np.cumsum(pc.binary_length(table["counts"]).to_numpy()))
        low = 0
        while True:
            num_rows = self._num_rows + frame_starts - low
            num_bytes = self._num_bytes + bytes_before[frame_starts] - bytes_before[low]
            is_full = (num_rows >= self._rows_per_group) | (num_bytes >= BYTES_PER_GROUP)
            ends = frame_starts[is_full]
            stop = int(ends[0]) if len(ends) else table.num_rows
            self._tables.append(table.slice(low, stop - low))
            self._num_rows += stop - low
            self._num_bytes += int(bytes_before[stop] - bytes_before[low])
            if not len(ends):
                break
            self._end_group()
            low = stop
        self._last_frame, self._last_id = int(frames[-1]), int(ids[-1])

    def _check(self, table: Any, frames: NDArray[np.int64], ids: NDArray[np.int64]) -> None:
        """Refuse rows of a table that `write_row` would refuse, with the same words."""
        steps = np.diff(frames, prepend=self._last_frame)
        is_later = (steps > 0) | ((steps == 0) & (np.diff(ids, prepend=self._last_id) > 0))
        heights, widths = table["height"].to_numpy(), table["width"].to_numpy()
        fits = (heights == self._size_hw[0]) & (widths == self._size_hw[1])
        if not is_later.all():
            place = int(np.argmin(is_later))
            last = (
                (frames[place - 1], ids[place - 1]) if place else (self._last_frame, self._last_id)
            )
            raise ValueError(
                f"rows must ascend: got frame {frames[place]} object {ids[place]} after "
                f"frame {last[0]} object {last[1]}"
            )
        if not fits.all():
            place = int(np.argmin(fits))
            raise ValueError(
                f"wanted masks of {self._size_hw[0]} x {self._size_hw[1]}, got "
                f"{heights[place]} x {widths[place]} on frame {frames[place]}"
            )

    def _take_rows(self) -> list[Any]:
        """The single rows that are held, as a table, if there are any."""
        if not self._rows:
            return []
        columns = [
            pa.array([getattr(row, field.name) for row in self._rows], type=field.type)
            for field in self._schema
        ]
        self._rows.clear()
        return [pa.Table.from_arrays(columns, schema=self._schema)]

    def _end_group(self) -> None:
        try:
            self._flush()
        except OSError as error:
            raise storage_error(self._path, error, doing="write") from error

    def _flush(self) -> None:
        if not self._num_rows:
            return
        parts = [part.cast(self._schema) for part in (*self._tables, *self._take_rows())]
        # In one piece: where pages end must not depend on where the parts did.
        table = pa.concat_tables(parts).combine_chunks()
        self.broken = True
        self._parquet.write_table(table, row_group_size=self._num_rows)
        self.broken = False
        self._tables.clear()
        self._num_rows = self._num_bytes = 0

    def _abort(self) -> None:
        """Close and leave nothing behind; what fails here is the failure that brought us here."""
        if self._parquet is not None:
            try:
                self._parquet.close()  # writes a footer, into a file that goes away
            except (OSError, pa.ArrowException):
                self._parquet.is_open = False  # else its finaliser tries again, noisily
            self._parquet = None
        if self._atomic is not None:
            self._atomic.discard()


def concat_tables(
    parts: Sequence[tuple[Path, int, int]],
    out: Path,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Join the rows with start <= frame < stop of each (path, start, stop) into one table.

    No row becomes a Python object. Holds a row group of one part and one of the result, however
    many there are.

    Raises:
        ValueError: No parts, or their ranges do not ascend.
        StorageError: A part is unreadable or of another picture size, or `out` cannot be written.
    """
    if not parts:
        raise ValueError("nothing to join: wanted at least one table")
    ranges = [(start, stop) for _, start, stop in parts]
    if any(start > stop for start, stop in ranges) or any(
        left[1] > right[0] for left, right in itertools.pairwise(ranges)
    ):
        raise ValueError(f"the parts' frames must ascend and not overlap, got {ranges}")
    with MaskReader(parts[0][0]) as first:
        height, width = first.height, first.width
    with MaskWriter(out, height=height, width=width, metadata=metadata) as writer:
        for path, start, stop in parts:
            with MaskReader(path) as reader:
                if (reader.height, reader.width) != (height, width):
                    raise StorageError(
                        f"cannot join {path}: its masks are {reader.height} x {reader.width}, "
                        f"those of {parts[0][0]} are {height} x {width}"
                    )
                for table in reader.tables(start, stop):
                    writer.write_table(table)


def table_digest(path: Path) -> str:
    """SHA-256 (hex) over the rows, whatever the file's compression, row groups and metadata.

    Raises:
        StorageError: Missing, damaged or not a mask table.
    """
    digest = hashlib.sha256()
    with MaskReader(path) as reader:
        for row in reader.rows():
            digest.update(row.packed())
    return digest.hexdigest()


def _row(output: FrameMasks, place: int, rle: Rle, pts: int) -> MaskRow:
    x, y, w, h = rle.box_xywh
    return MaskRow(
        frame=output.frame_idx,
        pts=pts,
        object_id=output.obj_ids[place],
        object_score=float(output.object_scores_n[place]),
        predicted_iou=float(output.predicted_ious_n[place]),
        prompted=bool(output.prompted_n[place]),
        x=x,
        y=y,
        w=w,
        h=h,
        area=rle.area,
        height=rle.height,
        width=rle.width,
        counts=rle.counts,
    )


def _header(height: int, width: int, metadata: Mapping[str, str]) -> bytes:
    header = {
        "version": FORMAT_VERSION,
        "height": height,
        "width": width,
        "metadata": dict(metadata),
    }
    return json.dumps(header, sort_keys=True).encode()
