"""A mask table with other numbers for its objects."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from samcore.masks.reader import MaskReader
from samcore.masks.table import MaskWriter


def renumber_table(
    path: Path,
    out: Path,
    numbers: Mapping[int, int],
    stops: Mapping[int, int] | None = None,
) -> None:
    """Write a table's rows with other object ids, in order of (frame, object).

    No row becomes a Python object. Holds a row group, however long the table is.

    Args:
        path: A finished mask table.
        out: Where to; another file.
        numbers: The new id of each object. Rows of others are left out.
        stops: Of some objects, the frame from which on their rows are left out.

    Raises:
        ValueError: Two objects have the same new id on a frame.
        StorageError: The table is unreadable, or `out` cannot be written.
    """
    old_n = np.array(sorted(numbers), np.int64)
    new_n = np.array([numbers[one] for one in old_n.tolist()], np.int64)
    last = np.iinfo(np.int64).max
    stop_n = np.array([(stops or {}).get(one, last) for one in old_n.tolist()], np.int64)
    with (
        MaskReader(path) as reader,
        MaskWriter(out, height=reader.height, width=reader.width) as writer,
    ):
        for table in reader.tables():
            frame_n, id_n = table["frame"].to_numpy(), table["object_id"].to_numpy()
            if not len(old_n) or not len(id_n):
                continue
            place_n = np.minimum(np.searchsorted(old_n, id_n), len(old_n) - 1)
            is_kept_n = (old_n[place_n] == id_n) & (frame_n < stop_n[place_n])
            writer.write_table(_ordered(table, frame_n, new_n[place_n], is_kept_n))


def _ordered(table: Any, frame_n: Any, id_n: Any, is_kept_n: Any) -> Any:
    field = table.schema.get_field_index("object_id")
    ids = pa.array(id_n, type=table.schema.field(field).type)
    table = table.set_column(field, table.schema.field(field), ids)
    order_n = np.lexsort((id_n, frame_n))
    return table.take(pa.array(order_n[is_kept_n[order_n]]))
