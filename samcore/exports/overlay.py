"""The video with the masks drawn in, for people to look at."""

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path

from samcore.drawing import Patch, draw_patches, warn_of_missing_letters
from samcore.errors import InputError, StorageError
from samcore.exports.source import ExportSource
from samcore.masks.table import MaskReader, MaskRow
from samcore.video import Frame, Media, Sound, VideoSource, VideoWriter, has_sound
from samcore.video.viewers import Show

_log = logging.getLogger(__name__)
FILE_NAME = "overlay.mp4"


@contextlib.contextmanager
def view_overlay(masklets: ExportSource, folder: Path, video: VideoSource) -> Iterator[Show]:
    """Write `overlay.mp4`: H.264 that plays in a browser, at the video's own pace, with its sound.

    Raises:
        InputError: It is not the video that was tracked.
    """
    if video.info.digest != masklets.video.digest:
        raise InputError(
            f"{video.info.source} is not the video that was tracked, {masklets.video.source}: "
            "its content differs; give that one with --video"
        )
    with view_masks(
        video,
        masklets.table,
        folder / FILE_NAME,
        labels=masklets.labels,
        start=masklets.start,
        stop=masklets.stop,
    ) as show:
        yield show


@contextlib.contextmanager
def view_masks(
    video: VideoSource,
    table: Path,
    out: Path,
    *,
    labels: Mapping[int, str],
    start: int,
    stop: int,
) -> Iterator[Show]:
    """Write a video of frames [start, stop) with their masks drawn over them.

    Each frame is shown when and as long as in the video, also where the rate varies, and with the
    sound of that stretch. Holds a few frames and one row group, however long the video is. The
    file is there when all of it is, and not before.

    Args:
        video: The video that was tracked.
        table: Its masks.
        out: The video to write.
        labels: Names by object id. One whose letters no font has is left out, with a warning.
        start: First frame.
        stop: One past the last frame.

    Raises:
        InputError: The masks are not of this video's size, or there is no frame to draw.
        StorageError: The masks cannot be read, or the video cannot be written.
    """
    info = video.info
    warn_of_missing_letters(labels)
    with MaskReader(table) as reader:
        if (reader.height, reader.width) != (info.height, info.width):
            raise InputError(
                f"the masks in {table} are {reader.width} x {reader.height} pixels, the video is "
                f"{info.width} x {info.height}: not tracked on this video"
            )
        if not 0 <= start < stop <= info.num_frames:
            raise InputError(
                f"no frames to draw: wanted 0 <= start < stop <= {info.num_frames}, got "
                f"{start = }, {stop = }"
            )
        mask_rows = reader.frames_iter(start, stop)
        pending = next(mask_rows, None)
        clock = _Clock(video, start)
        with (
            video.media() as media,
            VideoWriter(
                out,
                width=info.width,
                height=info.height,
                rate=Fraction(info.avg_rate),
                time_base=clock.time_base,
                sound=_sound(video, media, start, stop),
            ) as writer,
        ):

            def show(frame: Frame) -> None:
                nonlocal pending
                rows: list[MaskRow] = []
                if pending is not None and pending[0] == frame.frame_idx:
                    rows = pending[1]
                    pending = next(mask_rows, None)
                image = draw_patches(
                    frame.image_rgb_hwc_u8,
                    _decode(rows, table),
                    labels=labels,
                    scores={row.object_id: row.confidence for row in rows},
                    caption=f"frame {frame.frame_idx}",
                )
                writer.write(image, pts=clock.pts(frame))

            yield show


class _Clock:
    """When frames are shown, where they do not simply follow each other."""

    def __init__(self, video: VideoSource, start: int) -> None:
        is_even = video.is_whole and not video.info.variable_rate
        self.time_base = None if is_even else video.info.time_base
        """None for a constant rate."""
        self._start_pts = video.pts(start)
        self._last = -1

    def pts(self, frame: Frame) -> int | None:
        """The frame's time stamp from the first one on; None for a constant rate."""
        if self.time_base is None:
            return None
        # Time stamps of a broken video may repeat; no two frames can be shown at once.
        self._last = max(frame.pts - self._start_pts, self._last + 1)
        return self._last


def _sound(video: VideoSource, media: Media | None, start: int, stop: int) -> Sound | None:
    """What is heard while frames [start, stop) are shown, if anything is."""
    info = video.info
    if media is None:
        if info.parts:
            _log.warning("no sound: %s and what follows it are one recording", info.source)
        return None
    if info.num_clock_restarts > len(info.clock_restarts):
        _log.warning("no sound: the clock of %s starts again too often", info.source)
        return None
    sound = Sound(
        media,
        start_s=video.pts(start) * info.time_base,
        duration_s=video.time_s(stop - 1) - video.time_s(start) + 1 / info.avg_rate,
        shifts_s=video.clock_shifts_s(),
    )
    return sound if has_sound(sound) else None


def _decode(rows: Iterable[MaskRow], table: Path) -> Iterator[Patch]:
    for row in rows:
        if row.area:
            try:
                yield Patch(row.object_id, row.x, row.y, row.crop())
            except ValueError as error:
                raise StorageError(f"cannot read {table}: frame {row.frame}: {error}") from error
