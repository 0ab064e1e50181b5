"""A video that is opened: know its frames, read any of them."""

import contextlib
import functools
import math
import threading
from collections.abc import Generator, Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from samcore.errors import InputError
from samcore.video.decoder import STALL_S
from samcore.video.frame import Frame, FrameProducer
from samcore.video.index import FrameIndex
from samcore.video.info import VideoInfo
from samcore.video.media import Media, VideoFile
from samcore.video.names import FrameNames
from samcore.video.reader import FrameReader

# a time in seconds that was rounded on its way still names its own frame
_TIME_SLACK_S = Fraction(1, 1_000_000)


class VideoSource:
    """A video whose every frame is known. Holds no file open and no frame.

    While a video is scanned, one may be had that knows its first frames only: `info.num_frames` is
    then what the header claims, and more than `index` has.

    Frames are numbered in presentation order, as one full decode gives them, and a frame that is
    read is that very frame, wherever reading began.
    """

    def __init__(
        self,
        info: VideoInfo,
        index: FrameIndex,
        producer: FrameProducer,
        *,
        shown_pts_n: NDArray[np.int64],
        stall_s: float = STALL_S,
        file: VideoFile | None = None,
        names: FrameNames | None = None,
        stretched: bool = False,
        is_whole: bool = True,
        numbers_m: NDArray[np.int64] | None = None,
    ) -> None:
        """Use `samcore.video.open_video` instead."""
        self.info = info
        """What is known of the video."""
        self.names = names
        """What the pictures of a folder are called; None for a video file."""
        self.stretched = stretched
        """Whether frames have only those of 16 bits that are in use."""
        self.index = index
        """Time stamps and checksums as decoded."""
        self.producer = producer
        """Decodes, in the thread that asks."""
        self._shown_pts_n = shown_pts_n
        self.stall_s = stall_s
        """Seconds without a frame after which a decoder is ended."""
        self.file = file
        """Where the bytes lie; None of what is no single file."""
        self.is_whole = is_whole
        """False if only some of the frames are read."""
        self._numbers_m = numbers_m

    def __repr__(self) -> str:
        info = self.info
        return f"VideoSource({info.source!r}, {info.num_frames} x {info.width}x{info.height})"

    @property
    def shown_pts_n(self) -> NDArray[np.int64]:
        """The time stamps of all frames that are known, as `pts` gives them."""
        return self._shown_pts_n

    def number(self, frame_idx: int) -> int:
        """Give a frame's number in the whole video: another one where this has only some of its
        frames, numbered anew."""
        return frame_idx if self._numbers_m is None else int(self._numbers_m[frame_idx])

    def pts(self, frame_idx: int) -> int:
        """Give a frame's time stamp in units of `info.time_base`; never below the one before.

        Raises:
            InputError: There is no such frame.
        """
        self._check(frame_idx)
        return int(self._shown_pts_n[frame_idx])

    def time_s(self, frame_idx: int) -> Fraction:
        """Give the seconds from the first frame to this one.

        Raises:
            InputError: There is no such frame.
        """
        return (self.pts(frame_idx) - self.info.start_pts) * self.info.time_base

    def clock_shifts_s(self) -> tuple[Fraction, ...]:
        """Give the seconds between the file's time stamps and those shown, for each part of a
        recording whose clock starts again; empty for others."""
        restarts = self.info.clock_restarts
        if not restarts:
            return ()
        shifts = [int(self._shown_pts_n[i]) - int(self.index.pts_n[i]) for i in restarts]
        return (Fraction(0), *(shift * self.info.time_base for shift in shifts))

    def frame_at(self, time_s: float) -> int:
        """Give the frame that is on the screen this many seconds after the first one appeared.

        Raises:
            InputError: The time is before the first frame or past the end of the last.
        """
        lasts_s = self.info.duration_s
        if not math.isfinite(time_s) or not 0 <= time_s < lasts_s:
            raise InputError(f"no frame at {time_s:g} s: the video lasts from 0 to {lasts_s:g} s")
        ticks = (Fraction(time_s) + _TIME_SLACK_S) / self.info.time_base + self.info.start_pts
        place = np.searchsorted(self._shown_pts_n, math.floor(ticks), side="right")
        return max(int(place) - 1, 0)

    def read(
        self,
        start: int = 0,
        stop: int | None = None,
        *,
        prefetch: int = 8,
        stall_s: float | None = None,
    ) -> FrameReader:
        """Read frames [start, stop), decoding a few ahead.

        Args:
            start: First frame.
            stop: One past the last frame; None is the video's end.
            prefetch: Frames that may wait decoded; memory holds two more at most.
            stall_s: Seconds without a frame after which the decoder is ended; None is what the
                video was opened with.

        Raises:
            InputError: The frames are not in the video.
        """
        num_frames = self.info.num_frames
        stop = num_frames if stop is None else stop
        if not 0 <= start <= stop <= num_frames:
            raise InputError(
                f"frames [{start}, {stop}) are not in the video: wanted 0 <= start <= stop <= "
                f"{num_frames}"
            )
        self._check_scanned(stop - 1)
        produce = functools.partial(
            _produce,
            self.producer,
            start,
            stop,
            self.stall_s if stall_s is None else stall_s,
        )
        return FrameReader(produce, prefetch=prefetch)

    def frame(self, frame_idx: int) -> Frame:
        """Read one frame.

        Raises:
            InputError: There is no such frame.
            VideoError: It cannot be decoded any more.
        """
        self._check(frame_idx)
        with self.read(frame_idx, frame_idx + 1, prefetch=1) as reader:
            for frame in reader:
                return frame
        raise InputError(f"frame {frame_idx} is none of those of the video that are read")

    @contextlib.contextmanager
    def media(self) -> Iterator[Media | None]:
        """Give what ffmpeg can read the whole file from, sound included; None for a folder.

        Valid within the block.

        Raises:
            StorageError: The store of the file does not give it.
        """
        if self.file is None:
            yield None
            return
        with self.file.media() as media:
            yield media

    def _check(self, frame_idx: int) -> None:
        if not 0 <= frame_idx < self.info.num_frames:
            raise InputError(
                f"no frame {frame_idx}: the video has frames 0 to {self.info.num_frames - 1}"
            )
        self._check_scanned(frame_idx)

    def _check_scanned(self, frame_idx: int) -> None:
        if frame_idx >= len(self.index):
            raise InputError(f"frame {frame_idx} is not scanned yet: {len(self.index)} frames are")


def _produce(
    producer: FrameProducer, start: int, stop: int, stall_s: float, stopping: threading.Event
) -> Generator[Frame, None, None]:
    return producer.frames(start, stop, stopping=stopping, stall_s=stall_s)
