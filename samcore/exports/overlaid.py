"""The video with the masks drawn in, as one of the formats."""

from pathlib import Path

from samcore.errors import InputError
from samcore.exports import Progress
from samcore.exports.source import ExportSource
from samcore.overlay import write_overlay
from samcore.video import VideoSource


def write_overlay_export(
    masklets: ExportSource, folder: Path, on_progress: Progress, *, video: VideoSource
) -> None:
    """Write `overlay.mp4`: H.264 that plays in a browser, at the video's own pace, with its sound.

    Raises:
        InputError: It is not the video that was tracked.
        VideoError: A frame cannot be read.
    """
    if video.info.digest != masklets.video.digest:
        raise InputError(
            f"{video.info.source} is not the video that was tracked, {masklets.video.source}: "
            "its content differs; give that one with --video"
        )
    write_overlay(
        video,
        masklets.table,
        folder / "overlay.mp4",
        labels=masklets.labels,
        start=masklets.start,
        stop=masklets.stop,
        on_progress=on_progress,
    )
