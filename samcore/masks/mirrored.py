"""A mask table of a video that is mirrored in time, as one of the video itself."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from samcore.masks.reader import MaskReader
from samcore.masks.row import SCHEMA
from samcore.masks.table import MaskWriter


def write_mirrored(path: Path, out: Path, *, last: int) -> None:
    """Write a table with frame `last - i` in the place of frame `i`, in order.

    No row becomes a Python object. Holds a row group of each table, read from the last one on.

    Args:
        path: The table.
        out: Where to; a file that is there is replaced.
        last: The frame that is frame 0 in `path`.

    Raises:
        ValueError: A frame of the table comes after `last`.
        StorageError: The table is unreadable, or `out` cannot be written.
    """
    with (
        MaskReader(path) as reader,
        MaskWriter(
            out, height=reader.height, width=reader.width, metadata=reader.metadata
        ) as writer,
    ):
        for table in reader.tables_backward():
            frame_n = last - table["frame"].to_numpy()
            if (frame_n < 0).any():
                raise ValueError(f"{path} has frames after {last = }")
            order_n = np.lexsort((table["object_id"].to_numpy(), frame_n))
            mirrored = table.set_column(0, SCHEMA.field("frame"), pa.array(frame_n))
            writer.write_table(mirrored.take(pa.array(order_n)))
