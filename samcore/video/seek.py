"""Frame-exact decoding of any stretch of a video file."""

import contextlib
import copy
import logging
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from samcore.errors import SegmentationError, VideoError
from samcore.video.decoder import (
    DecodeProcess,
    Died,
    FfmpegProgram,
    ReadStopped,
    Stalled,
    decode_command,
)
from samcore.video.frame import Frame
from samcore.video.index import FrameIndex
from samcore.video.info import VideoInfo
from samcore.video.media import Media, VideoFile
from samcore.video.picking import Comb, within
from samcore.video.scan import connection_lost, content_changed, decoder_died

logger = logging.getLogger(__name__)


class VideoFrames:
    """Gives the frames of a video file that was scanned, each checked against the scan.

    A seek is a guess: a keyframe may not restore the picture (open GOP, intra refresh), and a
    demuxer may land elsewhere (edit lists, no cues). So every frame given has the time stamp and
    the checksum that the full decode gave it, and where they differ the decode begins again
    further back, in the end from the beginning:

        frames      0 . . . K . . . . K . . S . . . |stop
        1st try                       |-->  =========      from the keyframe at or before S
        2nd try               |---------->  =========      from an earlier one
        last try    |-------------------->  =========      without a seek
    """

    def __init__(
        self,
        program: FfmpegProgram,
        file: VideoFile,
        info: VideoInfo,
        index: FrameIndex,
        *,
        shown_pts_n: NDArray[np.int64],
    ) -> None:
        self._program = program
        self._file = file
        self._info = info
        self._index = index
        self._shown_pts_n = shown_pts_n
        self._picked_m: NDArray[np.int64] | None = None
        self._comb: Comb | None = None

    def only(self, numbers_m: NDArray[np.int64]) -> "VideoFrames | None":
        """Other frames are decoded, as they must be, but neither converted nor piped."""
        comb = Comb.of(self._index, numbers_m)
        if comb is None:
            return None
        picked = copy.copy(self)
        picked._picked_m, picked._comb = numbers_m, comb
        return picked

    def frames(
        self, start: int, stop: int, *, stopping: threading.Event, stall_s: float
    ) -> Generator[Frame, None, None]:
        """Give frames [start, stop); ends early when `stopping` is set.

        Where a connection is lost although ffmpeg connected again as often as it does (a signed
        address has expired, say), decoding goes on over a new one, if the last one gave a frame.

        Raises:
            VideoError: The decoder hangs, or no longer gives what the scan found.
            TransientStorageError: The connection is lost before it gives a frame.
            TransientVideoError: ffmpeg was killed, or crashed.
        """
        numbers: Sequence[int] = range(start, stop)
        if self._picked_m is not None:
            numbers = within(self._picked_m, start, stop).tolist()
        done = 0
        points = iter(self._index.seek_points(numbers[0])) if numbers else iter(())
        while done < len(numbers):
            wanted = numbers[done]
            point = next(points)
            began_at = wanted
            with contextlib.ExitStack() as stack:
                media = stack.enter_context(self._file.media())
                command = self._command(media, wanted, seek_pts=point)
                process = stack.enter_context(
                    DecodeProcess(command, stall_s=stall_s, stopping=stopping)
                )
                try:
                    for frame in self._matching(process, numbers[done:]):
                        yield frame
                        done += 1
                except ReadStopped:
                    return
                except Died as error:
                    if point is None:
                        raise decoder_died(self._file, wanted, str(error)) from error
                    logger.debug("ffmpeg was %s", error)
                except Stalled as error:
                    raise self._stalled(media, wanted, stall_s) from error
                log = process.log
            if done == len(numbers):
                return
            wanted = numbers[done]
            if log.broken:
                if wanted == began_at:
                    raise connection_lost(self._file, wanted, log.broken)
                logger.debug("%s: connecting again at frame %d", self._file.name, wanted)
                points = iter(self._index.seek_points(wanted))
            elif point is None:
                raise VideoError(self._why_other(wanted, log.complaint))
            else:
                logger.debug(
                    "frame %d of %s does not come, or is another one, after a seek to pts %d: "
                    "starting earlier",
                    wanted,
                    self._file.name,
                    point,
                )

    def _command(self, media: Media, wanted: int, *, seek_pts: int | None) -> list[str]:
        info = self._info
        size = f"{info.width}:{info.height}"
        filters = f"scale={size},format=rgb24"
        if info.size_changes:
            # the picture's size must not change on its way, nor its shape: bars fill what is left
            filters = (
                f"scale={size}:force_original_aspect_ratio=decrease,format=rgb24,pad={size}:-1:-1"
            )
        if self._index.seekable:
            # frames before the wanted one are dropped where they are, not converted and piped
            picked = "" if self._comb is None else f"*{self._comb.expression}"
            filters = f"select='gte(pts,{self._index.pts_n[wanted]}){picked}',{filters}"
        seek_s: Fraction | None = None if seek_pts is None else seek_pts * info.time_base
        return decode_command(
            self._program,
            media,
            filters=filters,
            one_thread=info.damaged is not None,
            seek_s=seek_s,
        )

    def _stalled(self, media: Media, frame_idx: int, stall_s: float) -> SegmentationError:
        if media.is_remote:
            return connection_lost(self._file, frame_idx, f"nothing came for {stall_s:g} s")
        return VideoError(
            f"the decoder gave nothing for {stall_s:g} s at frame {frame_idx} of "
            f"{self._file.name!r} and was ended: the file may be damaged there, or its disk does "
            "not answer"
        )

    def _matching(self, process: DecodeProcess, numbers: Sequence[int]) -> Iterator[Frame]:
        """Give these frames for as long as they are the ones of the index."""
        wanted, stop = numbers[0], numbers[-1] + 1
        index = self._index
        shape_hwc = (self._info.height, self._info.width, 3)
        is_dropped = self._is_dropped(numbers) if index.seekable else None
        # without usable time stamps frames are counted from the beginning
        for frame_idx in numbers if index.seekable else range(stop):
            image_rgb_hwc_u8 = np.empty(shape_hwc, np.uint8)
            record = process.read_frame(image_rgb_hwc_u8.data.cast("B"), is_dropped=is_dropped)
            if record is None or record.pts != index.pts_n[frame_idx]:
                return
            if record.checksum != index.checksum_n[frame_idx]:
                return
            if frame_idx >= wanted:
                yield Frame(frame_idx, int(self._shown_pts_n[frame_idx]), image_rgb_hwc_u8)

    def _is_dropped(self, numbers: Sequence[int]) -> Callable[[int], bool]:
        """Whether ffmpeg was told to drop the picture with a time stamp."""
        pts_n = self._index.pts_n
        first_pts = int(pts_n[numbers[0]])
        if self._comb is None:
            return lambda pts: pts < first_pts
        holds = self._comb.holds
        return lambda pts: pts < first_pts or not holds(pts)

    def _why_other(self, frame_idx: int, said: str | None) -> str:
        name = repr(self._file.name)
        if self._file.changed():
            return content_changed(self._file.name, frame_idx)
        because = f" (ffmpeg said: {said})" if said else ""
        return (
            f"frame {frame_idx} of {name} decodes to another picture than the first time{because}: "
            "decoding it is not reproducible; convert the file, e.g. with "
            "`ffmpeg -i FILE -c:v libx264 NEW.mp4`, and use that"
        )
