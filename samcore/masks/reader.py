"""Reading masks from disk, see `samcore/masks/table.py`."""

import itertools
import json
from collections.abc import Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from samcore.disk.atomic import storage_error
from samcore.errors import StorageError
from samcore.masks.row import FORMAT_VERSION, HEADER_KEY, SCHEMA, FrameRows, MaskRow


class MaskReader:
    """Reads a mask table, one row group in memory at a time; a context manager."""

    def __init__(self, path: Path) -> None:
        """Open the file and check that it is a mask table.

        Raises:
            StorageError: Missing, damaged, not a mask table, or of another format version.
        """
        self.path = Path(path)
        """The file."""
        try:
            self._file = pq.ParquetFile(self.path, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(self.path, error) from error
        try:
            self.height, self.width, self.metadata = self._parse_header()
            self._group_frames = self._parse_groups()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "MaskReader":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def num_rows(self) -> int:
        """Rows of the whole table."""
        return int(self._file.metadata.num_rows)

    @property
    def frames(self) -> tuple[int, int] | None:
        """[first, last + 1) of the frames that have rows; None when there are no rows."""
        if not self._group_frames:
            return None
        return self._group_frames[0][0], self._group_frames[-1][1] + 1

    def object_ids(self) -> tuple[int, ...]:
        """The objects that have rows, ascending. Reads that one column only."""
        found: set[int] = set()
        for group in range(len(self._group_frames)):
            found.update(self._read(group, ["object_id"]).column(0).to_pylist())
        return tuple(sorted(found))

    def rows(self, start: int | None = None, stop: int | None = None) -> Iterator[MaskRow]:
        """The rows with start <= frame < stop, in order; open ends where None.

        Row groups outside are not read.

        Raises:
            StorageError: The file is damaged.
        """
        for table in self.tables(start, stop):
            columns = [column.to_pylist() for column in table.columns]
            for values in zip(*columns, strict=True):
                yield MaskRow(*values)

    def tables(self, start: int | None = None, stop: int | None = None) -> Iterator[Any]:
        """The same rows as Arrow tables, one a row group; no row becomes a Python object.

        Raises:
            StorageError: The file is damaged.
        """
        for group, (first, last) in enumerate(self._group_frames):
            if (start is not None and last < start) or (stop is not None and first >= stop):
                continue
            table = self._read(group, None)
            frames = table.column("frame").to_numpy()
            low = 0 if start is None else int(np.searchsorted(frames, start))
            high = len(frames) if stop is None else int(np.searchsorted(frames, stop))
            yield table.slice(low, high - low)

    def tables_backward(self) -> Iterator[Any]:
        """All rows as Arrow tables, one a row group, the last group first; a frame's rows are in
        one group.

        Raises:
            StorageError: The file is damaged.
        """
        for group in reversed(range(len(self._group_frames))):
            yield self._read(group, None)

    def frames_iter(
        self, start: int | None = None, stop: int | None = None
    ) -> Iterator[tuple[int, list[MaskRow]]]:
        """Each frame that has rows, with its rows by ascending object id.

        Raises:
            StorageError: The file is damaged.
        """
        for frame, rows in itertools.groupby(self.rows(start, stop), key=attrgetter("frame")):
            yield frame, list(rows)

    def nearest(self, frame: int) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
        """Frame and time stamp of the nearest rows at or before `frame`, and at or after it.

        Each is None where there are none. Reads two columns of two row groups at most.

        Raises:
            StorageError: The file is damaged.
        """
        groups = range(len(self._group_frames))
        before = [group for group in groups if self._group_frames[group][0] <= frame][-1:]
        after = [group for group in groups if self._group_frames[group][1] >= frame][:1]
        return self._time(before, frame, "right", -1), self._time(after, frame, "left", 0)

    def masks(self, frame: int) -> Mapping[int, NDArray[np.bool_]]:
        """H x W booleans by object id, each decoded anew when it is asked for; empty if the frame
        has no rows.

        Raises:
            StorageError: The file is damaged.
        """
        try:
            return FrameRows(self.rows(frame, frame + 1))
        except ValueError as error:
            raise _unreadable(self.path, error) from error

    def _read(self, group: int, columns: list[str] | None) -> Any:
        try:
            return self._file.read_row_group(group, columns=columns, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(self.path, error) from error

    def _time(
        self, group: list[int], frame: int, side: Literal["left", "right"], step: int
    ) -> tuple[int, int] | None:
        """Frame and time stamp of the row where `frame` would be in that group, if there is one."""
        if not group:
            return None
        frames, pts = self._read(group[0], ["frame", "pts"]).columns
        place = int(np.searchsorted(frames.to_numpy(), frame, side=side)) + step
        return frames[place].as_py(), pts[place].as_py()

    def _parse_header(self) -> tuple[int, int, dict[str, str]]:
        schema = self._file.schema_arrow
        raw = (schema.metadata or {}).get(HEADER_KEY)
        if raw is None:
            raise StorageError(f"cannot read {self.path}: a Parquet file, but not one of masks")
        try:
            header = json.loads(raw)
            version = header["version"]
            if version == FORMAT_VERSION and schema.remove_metadata().equals(SCHEMA):
                return int(header["height"]), int(header["width"]), dict(header["metadata"])
        except (ValueError, KeyError, TypeError) as error:
            raise _unreadable(self.path, error) from error
        if version != FORMAT_VERSION:
            raise StorageError(
                f"cannot read {self.path}: masks in format {version}, this Longtake reads format "
                f"{FORMAT_VERSION}; track again or use the version that wrote them"
            )
        raise StorageError(f"cannot read {self.path}: its columns are not those of a mask table")

    def _parse_groups(self) -> list[tuple[int, int]]:
        """First and last frame of each row group, from the footer's statistics."""
        groups: list[tuple[int, int]] = []
        for group in range(self._file.num_row_groups):
            statistics = self._file.metadata.row_group(group).column(0).statistics
            if statistics is None or not statistics.has_min_max:
                raise StorageError(f"cannot read {self.path}: it does not say where frames lie")
            groups.append((int(statistics.min), int(statistics.max)))
        if any(left[1] >= right[0] for left, right in itertools.pairwise(groups)):
            raise StorageError(f"cannot read {self.path}: its frames are out of order")
        return groups


def _unreadable(path: Path, error: BaseException) -> StorageError:
    if isinstance(error, OSError) and error.errno is not None:
        return storage_error(path, error, doing="read")
    return StorageError(f"cannot read {path}: damaged or not a mask table; track that part again")
