"""A video from its end to its beginning: frames are decoded forward, and given in reverse.

A decoder only goes forward. So a piece that begins at a keyframe is decoded whole and kept, its
last frame is given first, and then comes the piece before it:

    frames        0 . . . K . . . . K . . . . K . . |
    decoded                         4====     2====>      pieces of one or more whole intervals,
    given         <============================           as many as fit into the buffer

An interval longer than the buffer is decoded again for each of its pieces, from its keyframe on:

    frames        K . . . . . . . . . . . . . . . . |
    1st piece     ---------------------->=========        decoded, but only === is kept
    2nd piece     ------------>=========

So an interval of L frames costs about L * L / (2 * B) decoded frames with a buffer of B, and memory
holds B frames however long it is. At 720p B is 97: one keyframe in 250 frames, as encoders choose
by default, costs the decoding of two intervals instead of one; a keyframe in 10,000 frames costs
that of 52. A file whose time stamps do not name frames is decoded from its beginning for each
piece.
"""

import threading
from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from samcore.video.frame import Frame, FrameProducer
from samcore.video.source import VideoSource

BUFFER_BYTES = 256 << 20
"""Decoded pictures that wait to be handed out in reverse."""
_LEAST_FRAMES = 8
"""Pictures that may wait however large they are."""


class BackwardVideo(VideoSource):
    """The same video, mirrored in time: its frame `i` is the video's frame `num_frames - 1 - i`.

    `info` and `index` are those of the video. Frames are the very ones that the video gives, with
    their own time stamps, which descend here.
    """

    def __init__(self, video: VideoSource, *, buffer_bytes: int = BUFFER_BYTES) -> None:
        """Nothing is read yet.

        Args:
            video: Scanned to its end.
            buffer_bytes: Pictures that may wait decoded; at least 8 may.
        """
        info = video.info
        fitting = buffer_bytes // (info.height * info.width * 3)
        # A folder has no intervals: any of its pictures is read alone.
        most = 1 if info.kind == "images" else max(_LEAST_FRAMES, fitting)
        producer = _BackwardFrames(
            video.producer, video.index.key_n, info.num_frames, most_frames=most
        )
        super().__init__(
            info,
            video.index,
            producer,
            shown_pts_n=video.shown_pts_n[::-1],
            stall_s=video.stall_s,
            file=video.file,
            stretched=video.stretched,
        )
        self._video = video

    def frame_at(self, time_s: float) -> int:
        """As the video's own, as a number here."""
        return mirrored(self._video.frame_at(time_s), self.info.num_frames)


def mirrored(frame_idx: int, num_frames: int) -> int:
    """The number of a frame when time runs the other way; the same call leads back."""
    return num_frames - 1 - frame_idx


class _BackwardFrames:
    """Gives a producer's frames in reverse, numbered from the last one on."""

    def __init__(
        self,
        producer: FrameProducer,
        key_n: NDArray[np.bool_],
        num_frames: int,
        *,
        most_frames: int,
    ) -> None:
        self._producer = producer
        self._key_n = key_n
        self._num_frames = num_frames
        self._most_frames = most_frames

    def frames(
        self, start: int, stop: int, *, stopping: threading.Event, stall_s: float
    ) -> Generator[Frame, None, None]:
        """Give frames [start, stop) of the mirrored video; ends early when `stopping` is set."""
        low, high = self._num_frames - stop, self._num_frames - start
        while low < high:
            first = self._piece_start(low, high)
            piece = list(self._producer.frames(first, high, stopping=stopping, stall_s=stall_s))
            if len(piece) < high - first:
                return  # stopped; a producer that lacks a frame raises
            while piece:
                frame = piece.pop()
                number = mirrored(frame.frame_idx, self._num_frames)
                yield Frame(number, frame.pts, frame.image_rgb_hwc_u8)
            high = first

    def _piece_start(self, low: int, high: int) -> int:
        """Where the piece begins that ends before `high`: at the first keyframe within reach."""
        reach = max(low, high - self._most_frames)
        if reach == low:
            return low
        keys = np.flatnonzero(self._key_n[reach:high])
        return reach + int(keys[0]) if len(keys) else reach
