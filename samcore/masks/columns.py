"""Columns of a mask table without its masks, for those who only count and measure."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from samcore.errors import StorageError
from samcore.masks.row import SCHEMA


def read_columns(path: Path, names: Sequence[str]) -> Iterator[dict[str, NDArray[Any]]]:
    """Some columns of a table, one row group at a time; rows are in order of (frame, object).

    Run lengths are most of a file: a pass over the other columns is ten times as fast.

    Args:
        path: A mask table.
        names: Columns of `samcore.masks.row.SCHEMA`, without `counts`.

    Raises:
        ValueError: There is no such column of numbers.
        StorageError: The file is missing, damaged or not a mask table.
    """
    unknown = set(names) - (set(SCHEMA.names) - {"counts"})
    if unknown:
        raise ValueError(f"wanted columns of numbers of a mask table, got {sorted(unknown)}")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=list(names), use_threads=False)
                yield {name: table.column(name).to_numpy() for name in names}
    except (OSError, KeyError, pa.ArrowException) as error:
        raise StorageError(f"cannot read {path}: missing, damaged or not a mask table") from error


def object_ids(path: Path) -> tuple[int, ...]:
    """The objects that have rows in a table, ascending.

    Raises:
        StorageError: The file is missing, damaged or not a mask table.
    """
    columns = read_columns(path, ["object_id"])
    return tuple(sorted({int(n) for part in columns for n in np.unique(part["object_id"])}))
