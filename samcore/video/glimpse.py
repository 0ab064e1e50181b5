"""The first frames of a large file, for whoever wants to see something at once."""

import threading
from pathlib import Path

from samcore.limits import DEFAULT_LIMITS, Limits
from samcore.video.media import LocalFile
from samcore.video.opening import ScanOfFile, open_video
from samcore.video.source import VideoSource

_NOT_READ = "sha256:" + "0" * 64


def first_frames(
    path: Path, *, count: int = 24, limits: Limits = DEFAULT_LIMITS
) -> VideoSource | None:
    """The first frames of a video file, without reading the rest of it.

    Good to look at, and for nothing that stays: `info.digest` is none, and what comes later may
    show that the picture is larger, or the clock another one.

    Args:
        path: A file that is there.
        count: How many frames; fewer if the file has no more.
        limits: As in `open_video`.

    Returns:
        None if they are not certain before the whole file is decoded.

    Raises:
        SegmentationError: It is no video, or too large.
    """
    file = LocalFile(str(path), path, size_bytes=path.stat().st_size, digest=_NOT_READ)
    so_far, seen = ScanOfFile(), _Seen()

    def look(done: int, _total: int | None) -> None:
        if done >= count:
            seen.video = so_far.first_frames(count, stop=threading.Event())
            raise seen

    try:
        with so_far.scanning():
            return open_video(file, on_progress=look, limits=limits, so_far=so_far)
    except _Seen:
        return seen.video


class _Seen(BaseException):
    """Enough is seen: the scan ends."""

    video: VideoSource | None = None
