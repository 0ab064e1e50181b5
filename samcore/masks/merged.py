"""Rows of several mask tables in one: some objects, or some frames of them, of each.

`concat_tables` joins tables whose frames follow one another; here they may have the same frames.

    objects of one run     1 1 1 1 1 1 1 1
    of another one             2 2 2 2
    a third one's                      3 3
    the table              1 1 12 12 12 12 13 13
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from samcore.errors import StorageError
from samcore.masks.reader import MaskReader
from samcore.masks.table import MaskWriter

Rule = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]
"""Which rows a table gives: frames and object ids of N rows, to N booleans."""


@dataclass(frozen=True, slots=True)
class TableRows:
    """Some rows of a finished mask table."""

    path: Path
    gives: Rule | None = None
    """Which rows are taken; None: all of them."""
    start: int | None = None
    """Only frames from here on; what lies before is not read."""
    stop: int | None = None
    """Only frames before this one."""


def frames_of_objects(ranges: Mapping[int, tuple[int | None, int | None]]) -> Rule:
    """The rows of some objects, each on its frames [start, stop), open where None.

    Args:
        ranges: By object id. Of objects that are not in it no row is taken.
    """
    ids = np.array(sorted(ranges), np.int64)
    bounds = [ranges[obj_id] for obj_id in ids.tolist()]
    least = np.iinfo(np.int64)
    starts = np.array([least.min if a is None else a for a, _ in bounds], np.int64)
    stops = np.array([least.max if b is None else b for _, b in bounds], np.int64)

    def gives(frame_n: NDArray[np.int64], id_n: NDArray[np.int64]) -> NDArray[np.bool_]:
        if not len(ids):
            return np.zeros(len(id_n), np.bool_)
        place_n = np.minimum(np.searchsorted(ids, id_n), len(ids) - 1)
        known_n = ids[place_n] == id_n
        given_n = known_n & (starts[place_n] <= frame_n) & (frame_n < stops[place_n])
        return np.asarray(given_n, np.bool_)

    return gives


def merge_tables(
    parts: Sequence[TableRows], out: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write the rows that the parts give, in order of (frame, object), as one table.

    It is the very file that these rows give if they are written one by one. No row becomes a Python
    object. Holds a row group of each part and one of the result, however long the tables are.

    Raises:
        ValueError: No parts, or two of them give a row of the same frame and object.
        StorageError: A part is unreadable or of another picture size, or `out` cannot be written.
    """
    if not parts:
        raise ValueError("nothing to merge: wanted at least one table")
    with ExitStack() as stack:
        readers = [stack.enter_context(MaskReader(part.path)) for part in parts]
        height, width = readers[0].height, readers[0].width
        for reader in readers:
            if (reader.height, reader.width) != (height, width):
                raise StorageError(
                    f"cannot merge {reader.path}: its masks are {reader.height} x {reader.width}, "
                    f"those of {readers[0].path} are {height} x {width}"
                )
        writer = stack.enter_context(MaskWriter(out, height=height, width=width, metadata=metadata))
        for table in _in_order([_Rows(*pair) for pair in zip(readers, parts, strict=True)]):
            writer.write_table(table)


class _Rows:
    """What one part still has to give: at most a row group of it is held."""

    def __init__(self, reader: MaskReader, part: TableRows) -> None:
        self._groups = reader.tables(part.start, part.stop)
        self._gives = part.gives
        self._held: Any = None
        self._frame_n: NDArray[np.int64] = np.zeros(0, np.int64)
        self.known_to: int | None = -1
        """All rows up to this frame are held or given; None if nothing is left to be read."""

    def read(self) -> None:
        """Read the next group, once the one before is given."""
        table = next(self._groups, None)
        if table is None:
            self.known_to = None
            return
        frame_n = table["frame"].to_numpy()
        if len(frame_n):
            self.known_to = int(frame_n[-1])
        if self._gives is not None:
            wanted_n = self._gives(frame_n, table["object_id"].to_numpy())
            if not wanted_n.all():
                table, frame_n = table.filter(pa.array(wanted_n)), frame_n[wanted_n]
        self._held, self._frame_n = table, frame_n

    @property
    def is_given(self) -> bool:
        """Whether nothing is held."""
        return not len(self._frame_n)

    def take(self, last: int | None) -> Any:
        """The rows up to frame `last`; None if there are none."""
        stop = len(self._frame_n)
        if last is not None:
            stop = int(np.searchsorted(self._frame_n, last, side="right"))
        if not stop:
            return None
        table = self._held.slice(0, stop)
        self._held, self._frame_n = self._held.slice(stop), self._frame_n[stop:]
        return table


def _in_order(sources: Sequence[_Rows]) -> Iterator[Any]:
    """Tables of all rows, by ascending frame and object."""
    while True:
        for source in sources:
            while source.is_given and source.known_to is not None:
                source.read()
        # A group ends at a frame's end, so of this frame all rows are there.
        ends = [source.known_to for source in sources if source.known_to is not None]
        last = min(ends, default=None)
        found = [table for source in sources if (table := source.take(last)) is not None]
        if len(found) == 1:
            yield found[0]  # as it is: a group that is one in the result, too, goes through
        elif found:
            table = pa.concat_tables(found)
            order_n = np.lexsort((table["object_id"].to_numpy(), table["frame"].to_numpy()))
            yield table.take(pa.array(order_n))
        if last is None:
            return
