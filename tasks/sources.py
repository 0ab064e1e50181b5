"""Opened videos, shared by all tasks of a process."""

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from samcore.video import VideoSource, open_video
from tasks.files import make_folder

_KEPT = 4
"""A video's index is some ten bytes a frame: a few may stay."""

_Identity = tuple[Path, tuple[tuple[str, int, int], ...]]


class _OpenVideos:
    """The videos used last. To open one reads it whole, for its digest; a run has many tasks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sources: OrderedDict[_Identity, VideoSource] = OrderedDict()

    def open(
        self, path: Path, index_path: Path, on_progress: Callable[[int, int | None], None] | None
    ) -> VideoSource:
        with self._lock:
            # Each work folder gets its own index, for processes that come later.
            identity = (index_path, _state_of(path))
            source = self._sources.pop(identity, None)
            if source is None:
                make_folder(index_path.parent)
                source = open_video(path, index_path=index_path, on_progress=on_progress)
            self._sources[identity] = source
            while len(self._sources) > _KEPT:
                self._sources.popitem(last=False)
            return source


_videos = _OpenVideos()


def open_source(
    path: Path,
    work_dir: Path,
    *,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> VideoSource:
    """Open a video; at once if this process opened it before and it has not changed since.

    Args:
        path: Video file or folder of images.
        work_dir: Where the index of its frames is kept for other processes.
        on_progress: Called during the scan with the frames so far and how many the header claims.

    Raises:
        VideoError: It cannot be read.
        StorageError: The index cannot be written.
    """
    name = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:16]
    return _videos.open(path, work_dir / "index" / f"{name}.parquet", on_progress)


def _state_of(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Path, size and time of change of the file, or of all files of the folder."""
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        stats = [(str(file.absolute()), file.stat()) for file in files]
    except OSError:
        return ()
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
