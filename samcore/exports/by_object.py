"""A table's rows object by object, for formats that tell one masklet after another.

The table has them frame by frame. They are brought into the other order on the disk:

    table            frame 0: a b c    frame 1: a b c    ...    frame 9999: a b c
    spool file       | a a a  b b b  c c c | a a a  b b b  c c c | ...
                       batch of frames       next batch

One batch at a time is in memory; of the others it is known where each object's rows begin.
"""

import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO

from samcore.exports import Progress
from samcore.exports.source import ExportSource
from samcore.masks.table import MaskRow

BATCH_BYTES = 16 * 1024 * 1024
"""Rows that are held in memory at a time, packed."""


class RowsByObject:
    """The rows of each object in the order of frames; a context manager.

    The spool file has no name: it is gone with the process, however that ends. Its size is that
    of the rows, uncompressed.
    """

    def __init__(self, masklets: ExportSource, folder: Path, on_progress: Progress) -> None:
        """Nothing is read before the block is entered.

        Args:
            masklets: Whose rows.
            folder: On the disk that has the room.
            on_progress: Called with the frames that were read so far and all of them.
        """
        self._masklets = masklets
        self._folder = folder
        self._on_progress = on_progress
        self._file: IO[bytes] | None = None
        self._places: dict[int, array[int]] = {
            object_id: array("Q") for object_id in masklets.object_ids
        }

    def __enter__(self) -> "RowsByObject":
        self._file = tempfile.TemporaryFile(dir=self._folder)
        try:
            self._fill(self._file)
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def rows(self, object_id: int) -> Iterator[MaskRow]:
        """The rows of one object; any number of times. Holds one batch's share of them."""
        if self._file is None:
            raise ValueError("these rows are not open: use them in a `with` block")
        places = self._places[object_id]
        for start, stop in zip(places[0::2], places[1::2], strict=True):
            self._file.seek(start)
            data = self._file.read(stop - start)
            offset = 0
            while offset < len(data):
                row, offset = MaskRow.unpacked(data, offset)
                yield row

    def _fill(self, file: IO[bytes]) -> None:
        batch: dict[int, list[bytes]] = {}
        held = 0
        for frame, rows in self._masklets.frames():
            for row in rows:
                packed = row.packed()
                batch.setdefault(row.object_id, []).append(packed)
                held += len(packed)
            if held >= BATCH_BYTES:
                self._write(file, batch)
                batch, held = {}, 0
            self._on_progress(self._masklets.done(frame), self._masklets.num_frames)
        self._write(file, batch)
        file.flush()

    def _write(self, file: IO[bytes], batch: dict[int, list[bytes]]) -> None:
        for object_id, packed in batch.items():
            start = file.tell()
            file.writelines(packed)
            self._places[object_id].extend((start, file.tell()))
