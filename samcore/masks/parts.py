"""Masks of any frame at once, from one table or from several that share a video."""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from samcore.disk.atomic import storage_error
from samcore.masks.row import MaskRow
from samcore.masks.table import MaskReader

_OPEN = 4
"""Tables that stay open: those around the frames that are looked at."""


@dataclass(frozen=True, slots=True)
class Part:
    """A table, and the frames that it is read for."""

    table: Path
    """A mask table."""
    start: int
    """First frame."""
    stop: int
    """One past the last frame."""


class MaskParts:
    """Reads one frame's rows; holds a few tables open, and no row between two calls.

    A table that was replaced is opened anew. Calls may come from several threads.
    """

    def __init__(self, parts: Iterable[Part] = ()) -> None:
        """Nothing is opened yet.

        Args:
            parts: By ascending frame; none of them share a frame.
        """
        self.parts = tuple(parts)
        """What is read; may be set anew at any time."""
        self._open: OrderedDict[Path, tuple[tuple[int, int, int], MaskReader]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def covered(self) -> list[tuple[int, int]]:
        """The frames [start, stop) that have masks, neighbours joined; ascending."""
        found: list[tuple[int, int]] = []
        for part in self.parts:
            if found and found[-1][1] >= part.start:
                found[-1] = (found[-1][0], max(found[-1][1], part.stop))
            else:
                found.append((part.start, part.stop))
        return found

    def rows(self, frame: int) -> list[MaskRow]:
        """The rows of one frame by ascending object id; reads one row group.

        Raises:
            StorageError: The table is gone or damaged.
        """
        part = next((one for one in self.parts if one.start <= frame < one.stop), None)
        if part is None:
            return []
        with self._lock:
            return list(self._reader(part.table).rows(frame, frame + 1))

    def close(self) -> None:
        """Close all tables; the next call opens what it needs."""
        with self._lock:
            while self._open:
                self._open.popitem()[1][1].close()

    def _reader(self, path: Path) -> MaskReader:
        try:
            stat = path.stat()
        except OSError as error:
            raise storage_error(path, error, doing="read") from error
        mark = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        known = self._open.pop(path, None)
        if known is not None and known[0] != mark:
            known[1].close()
            known = None
        self._open[path] = known or (mark, MaskReader(path))
        while len(self._open) > _OPEN:
            self._open.popitem(last=False)[1][1].close()
        return self._open[path][1]
